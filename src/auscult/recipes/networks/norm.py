"""Group norm, the normalisation of every built-in network with channels. Imports torch."""

from __future__ import annotations

from torch import nn

GROUPS = 8


def group_norm(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """Group norm with as many groups as divide the channels, at most `groups`.

    Instead of batch norm: it has no running statistics, which would mix a model's members in
    prediction, depend on the batch and forbid patient-level clipping (Wu and He 2018).
    """
    number = next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(number, channels)
