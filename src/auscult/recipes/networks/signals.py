"""A residual network for signals such as the ECG (Wang, Yan and Oates 2017). Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auscult.recipes.networks.norm import GROUPS, group_norm


def resnet_1d(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    width: int = 128,
    kernels: Sequence[int] = (7, 5, 3),
    stride: int = 1,
    dropout: float = 0.0,
    groups: int = GROUPS,
) -> nn.Module:
    """Three blocks of three convolutions; group norm in place of batch norm, pooling over time.

    Parameters
    ----------
    inputs : (leads, length)
    outputs : int
    width : int
        Feature maps of the first block; the others have twice as many.
    kernels : sequence of int
        Lengths of the three filters of a block, odd.
    stride : int
        By which every block shortens the signal; 1 is as published.
    dropout : float
        Share of pooled features dropped in training.
    groups : int
        Of the group norm, at most.
    """
    return nn.Sequential(
        _Block(inputs[0], width, kernels, stride, groups),
        _Block(width, 2 * width, kernels, stride, groups),
        _Block(2 * width, 2 * width, kernels, stride, groups),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(2 * width, outputs),
    )


class _Block(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernels: Sequence[int], stride: int, groups: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for place, length in enumerate(kernels):
            step = 1 if place else stride
            layers += [
                nn.Conv1d(width, outputs, length, stride=step, padding=length // 2, bias=False),
                group_norm(outputs, groups),
                nn.ReLU(),
            ]
            width = outputs
        self.path = nn.Sequential(*layers[:-1])
        self.short: nn.Module = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv1d(inputs, outputs, 1, stride=stride, bias=False),
                group_norm(outputs, groups),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.short(x))
