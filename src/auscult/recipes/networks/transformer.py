"""The vision transformer (Dosovitskiy et al. 2021) in plain PyTorch. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPREAD = 0.02
EPSILON = 1e-6


def vision_transformer(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    width: int,
    depth: int,
    heads: int,
    mlp: int,
    patch: int,
    dropout: float = 0.0,
) -> nn.Module:
    """Transformer over square patches with learned positions and a class token.

    Parameters
    ----------
    inputs : (channels, height, width)
        Height and width are multiples of the patch.
    outputs : int
    width, depth, heads, mlp : int
        Width of a token, number of blocks, attention heads, hidden units of a block.
    patch : int
        Height and width of a patch.
    dropout : float
        Of tokens and of what each block adds to them, in training.
    """
    return _Transformer(inputs, outputs, width, depth, heads, mlp, patch, dropout)


class _Transformer(nn.Module):
    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: int,
        width: int,
        depth: int,
        heads: int,
        mlp: int,
        patch: int,
        dropout: float,
    ) -> None:
        super().__init__()
        channels, high, wide = inputs
        self.patch = patch
        self.embed = nn.Linear(channels * patch * patch, width)
        self.first = nn.Parameter(torch.zeros(1, width))
        self.places = nn.Parameter(torch.zeros(1 + (high // patch) * (wide // patch), width))
        self.dropout = _dropout(dropout)
        self.blocks = nn.Sequential(*(_Block(width, heads, mlp, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, outputs)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=SPREAD)
                nn.init.zeros_(part.bias)
        nn.init.trunc_normal_(self.first, std=SPREAD)
        nn.init.trunc_normal_(self.places, std=SPREAD)

    def forward(self, x: Tensor) -> Tensor:
        records, channels, high, wide = x.shape
        rows, columns, p = high // self.patch, wide // self.patch, self.patch
        patches = x.reshape(records, channels, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5)
        tokens = self.embed(patches.reshape(records, rows * columns, channels * p * p))
        first = self.first.expand(records, 1, -1)
        tokens = self.dropout(torch.cat([first, tokens], dim=1) + self.places)
        return self.head(self.norm(self.blocks(tokens)[:, 0]))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm = nn.LayerNorm(width, eps=EPSILON)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.Sequential(nn.Linear(width, mlp), nn.GELU(), nn.Linear(mlp, width))
        self.dropout = _dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self._attention(self.first_norm(x)))
        return x + self.dropout(self.mlp(self.second_norm(x)))  # type: ignore[no-any-return]

    def _attention(self, x: Tensor) -> Tensor:
        records, tokens, width = x.shape
        parts = self.queries_keys_values(x).reshape(records, tokens, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        # PyTorch's fused attention has no rule for stacked models; patches are few here.
        shares = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)
        return self.joined((shares @ v).transpose(1, 2).reshape(records, tokens, width))  # type: ignore[no-any-return]


def _dropout(share: float) -> nn.Module:
    return nn.Dropout(share) if share else nn.Identity()
