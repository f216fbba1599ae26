"""A residual network for tables (Gorishniy et al. 2021). Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def tabular_resnet(
    inputs: int,
    outputs: int,
    *,
    width: int = 300,
    blocks: int = 6,
    units: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Blocks of norm, linear, ReLU, linear beside a shortcut; layer norm in place of batch norm.

    Parameters
    ----------
    inputs, outputs : int
    width : int
        Of the residual stream.
    blocks : int
    units : int, optional
        Hidden units inside a block; as many as `width` where None.
    dropout : float
        Behind the ReLU of a block, in training.
    """
    return nn.Sequential(
        nn.Linear(inputs, width),
        *(_Block(width, units or width, dropout) for _ in range(blocks)),
        nn.LayerNorm(width),
        nn.ReLU(),
        nn.Linear(width, outputs),
    )


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, hidden)
        self.dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        self.second = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(self.norm(x)))
        return x + self.second(self.dropout(y))  # type: ignore[no-any-return]
