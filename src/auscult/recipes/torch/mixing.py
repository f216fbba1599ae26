"""Whether what a network says of one record depends on the others of its batch.

Batches are filled up with records of weight 0 where models are trained together or compiled, and
private training needs a gradient for each record. Neither is right for a network that looks at the
whole batch, such as one with batch norm. Imports torch: load it lazily.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from auscult.recipes.torch.backbone import train_mode
from auscult.recipes.torch.cards import drawing
from auscult.recipes.torch.encoding import Encoded
from auscult.recipes.torch.training import shaped

TOLERANCE = 1e-4


def mixing(module: nn.Module, encoded: Encoded, records: int) -> str | None:
    """What mixes the records of a batch while the module trains, or None where nothing does.

    Parameters
    ----------
    module : Module
        It is put into training mode.
    encoded : Encoded
    records : int
    """
    train_mode(module)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
            return "batch norm"
    probe = copy.deepcopy(module)
    for part in probe.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.eval()
    device = next(module.parameters()).device
    x = encoded.batch([0], torch.tensor([[0, records // 2, records - 1]], device=device))[0]

    def asked(these: Tensor) -> Tensor:
        with drawing(0, device), torch.no_grad():
            return shaped(probe(these))

    # The same number of records and the same seed, so that nothing but the neighbours differs.
    together = asked(x)
    apart = torch.stack([asked(x[[place] * len(x)])[place] for place in range(len(x))])
    alike = torch.allclose(together, apart, rtol=TOLERANCE, atol=TOLERANCE)
    return None if alike else "the network"
