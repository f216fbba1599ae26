"""Group norm, the normalisation of every built-in network with channels. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUPS = 8


class MixedGroupNorm(nn.GroupNorm):
    """Group norm that stays in 16 bits where the layers around it do.

    Under autocast PyTorch's own goes to 32 bits and back. On a GPU that is half of the time of a
    wide residual network; the kernels sum in 32 bits either way.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """See :class:`torch.nn.GroupNorm`."""
        if input.dtype == self.weight.dtype:
            return super().forward(input)
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        with torch.autocast(input.device.type, enabled=False):
            return nn.functional.group_norm(input, self.num_groups, weight, bias, self.eps)


def group_norm(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """Group norm with as many groups as divide the channels, at most `groups`.

    Instead of batch norm: it has no running statistics, which would mix a model's members in
    prediction, depend on the batch and forbid patient-level clipping (Wu and He 2018).
    """
    number = next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0)
    return MixedGroupNorm(number, channels)
