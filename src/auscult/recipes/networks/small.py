"""Small networks: `mlp` for tables, `cnn` for images. Imports torch: load it lazily."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auscult.recipes.networks.norm import group_norm


def mlp(inputs: int, outputs: int, hidden: Sequence[int], dropout: float) -> nn.Module:
    """Fully connected network with ReLU.

    Parameters
    ----------
    inputs, outputs : int
    hidden : sequence of int
        Units of each hidden layer.
    dropout : float
        Share of hidden units dropped in training.
    """
    layers: list[nn.Module] = []
    width = inputs
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = units
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def cnn(shape: tuple[int, ...], outputs: int, width: int, dropout: float) -> nn.Module:
    """Small residual network: a stem, three blocks of doubling width, average pooling.

    Group norm instead of batch norm: it has no running statistics, which would mix a model's
    members in prediction and depend on the batch (He et al. 2016; Wu and He 2018).

    Parameters
    ----------
    shape : (channels, height, width)
    outputs : int
    width : int
        Channels of the first block.
    dropout : float
        Share of pooled features dropped in training.
    """
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, stride=2, padding=1, bias=False),
        group_norm(width),
        nn.ReLU(),
        _Residual(width, width, 1),
        _Residual(width, 2 * width, 2),
        _Residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(4 * width, outputs),
    )


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = group_norm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = group_norm(outputs)
        self.short: nn.Module = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.short(x))
