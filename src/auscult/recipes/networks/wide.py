"""Wide residual networks for images (Zagoruyko and Komodakis 2016). Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auscult.recipes.networks.norm import GROUPS, group_norm

STEM = 16


def wide_resnet(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    depth: int,
    widening: int,
    dropout: float = 0.0,
    groups: int = GROUPS,
) -> nn.Module:
    """Three stages of (depth - 4) / 6 pre-activated blocks, with group norm in place of batch norm.

    Parameters
    ----------
    inputs : (channels, height, width)
    outputs : int
    depth : int
        Layers with weights: 6 n + 4.
    widening : int
        The stages have 16, 32 and 64 times so many channels.
    dropout : float
        Between the two convolutions of a block, in training.
    groups : int
        Of the group norm, at most.
    """
    blocks: list[nn.Module] = []
    width = STEM
    for stage in range(3):
        for place in range((depth - 4) // 6):
            wider = STEM * 2**stage * widening
            stride = 2 if stage and not place else 1
            blocks.append(_Block(width, wider, stride, dropout, groups))
            width = wider
    module = nn.Sequential(
        nn.Conv2d(inputs[0], STEM, 3, padding=1, bias=False),
        *blocks,
        group_norm(width, groups),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, outputs),
    )
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return module


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float, groups: int) -> None:
        super().__init__()
        self.first_norm = group_norm(inputs, groups)
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second_norm = group_norm(outputs, groups)
        self.dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.short = (
            None
            if stride == 1 and inputs == outputs
            else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.first_norm(x))
        # Where the shape changes, the shortcut starts behind the activation, as published.
        short = x if self.short is None else self.short(active)
        y = self.dropout(torch.relu(self.second_norm(self.first(active))))
        return short + self.second(y)  # type: ignore[no-any-return]
