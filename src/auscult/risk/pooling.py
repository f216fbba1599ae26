"""Groups too small to be shown, pooled so that nothing about one of them can be worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.risk.released import AND_SMALLER, POOL


def pool_small_cells(
    labels: NDArray[Any], smallest: int, margins: Sequence[NDArray[Any]] = ()
) -> tuple[NDArray[Any], list[str], int]:
    """Pool groups too small to be shown, so that nothing about one of them can be worked out.

    Groups under `smallest` patients are pooled into "(other groups)". If that is a single group, or
    all of them together are still too few, the smallest of the others joins them: otherwise the
    pool's size would follow from the total (complementary suppression). A pool that one such group
    dominates is named after it: "Male and smaller groups".

    Parameters
    ----------
    labels : array of str, shape (patients,)
    smallest : int
    margins : sequence of arrays of str, shape (patients,)
        Of crossed attributes, the groups of each as they are shown: what is left of one of them
        beside the crossed groups shown is no small cell either.

    Returns
    -------
    labels : array of str
        With pooled groups renamed.
    shown : list of str
        Groups to show, largest first, the pool last.
    pooled : int
        How many groups the pool holds.
    """
    text = labels.astype(str)
    names, sizes = np.unique(text, return_counts=True)
    order = np.lexsort((names, -sizes))
    ranked = [(str(names[i]), int(sizes[i])) for i in order]
    hidden = [name for name, size in ranked if size < smallest]
    shown = [name for name, size in ranked if size >= smallest]
    held = sum(size for _, size in ranked if size < smallest)
    sizes_of = dict(ranked)
    while hidden and shown and (len(hidden) < 2 or held < smallest):
        held += sizes_of[shown[-1]]
        hidden.append(shown.pop())
    lines = [sorted(sizes_of), *(line for margin in margins for line in _lines(text, margin))]
    while shown and (line := _telling(lines, sizes_of, set(hidden), smallest)):
        near = {name for other in lines if set(other) & set(line) for name in other}
        for those in (set(line), near, set(shown)):
            if inside := [name for name in shown if name in those]:
                break
        shown.remove(inside[-1])
        hidden.append(inside[-1])
        held += sizes_of[inside[-1]]
    if not hidden:
        return text, shown, 0
    joined = [name for name in hidden if sizes_of[name] >= smallest]
    pool = f"{joined[0]}{AND_SMALLER}" if len(joined) == 1 else POOL
    pooled = np.where(np.isin(text, hidden), pool, text.astype(object))
    return pooled, [*shown, pool] if held >= smallest else shown, len(hidden)


def _lines(cells: NDArray[Any], margin: NDArray[Any]) -> list[list[str]]:
    """The crossed groups of each group of one attribute."""
    groups = margin.astype(str)
    return [sorted(set(cells[groups == group].tolist())) for group in np.unique(groups)]


def _telling(
    lines: list[list[str]], sizes: dict[str, int], hidden: set[str], smallest: int
) -> list[str] | None:
    """A line whose total gives away a small cell among what it hides, or None.

    What is the only one hidden of a line is known from its total, and then helps with the others.
    """
    unknown, found = set(hidden), True
    while found:
        found = False
        for line in lines:
            left = [name for name in line if name in unknown]
            if left and sum(sizes[name] for name in left) < smallest:
                return line
            if len(left) == 1:
                unknown.remove(left[0])
                found = True
    return None
