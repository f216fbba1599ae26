"""Counts of the same patients in models of several sizes, and what is carried on from them.

What the whole cohort is told to expect follows from the counts of all sizes. Where one of those is
withheld, it must not follow backwards: no estimate is given then, and the ends of its interval are
moved outward to multiples of the smallest cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auscult.disclosure.nested import FEWER, outward


def carried_on(sizes: dict[str, Any], smallest: int) -> None:
    """Withhold what would tell a count of a size that is withheld.

    Parameters
    ----------
    sizes : dict
        The "sizes" object of a summary, whose own counts are as they are released; changed in
        place.
    smallest : int
    """
    for part in (sizes.get("whole"), sizes.get("left_out")):
        for threshold, row in ((part or {}).get("exposed") or {}).items():
            if row.get("low") is None:
                continue  # nothing is told
            points = (point["exposed"].get(threshold) or {} for point in sizes["points"])
            if any(FEWER in point for point in points):
                row["low"], row["high"] = outward(row.get("low"), row.get("high"), smallest)
                row |= {
                    "estimate": None,
                    "reason": f"models of one size expose fewer than {smallest} patients",
                }
                row.pop(FEWER, None)
                for name in ("widened", "held"):
                    if name in row:
                        row[name] = None


def numbers_trained_on(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """How many patients models trained on, wherever a summary tells it."""
    sizes = made.get("sizes") or {}
    for part in (made.get("models"), *(sizes.get("points") or []), sizes.get("whole")):
        if part and part.get("trained_on"):
            yield part["trained_on"]


def figures_of_sizes(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Every size, and the whole cohort: parts that have a utility."""
    sizes = made.get("sizes") or {}
    return [*(sizes.get("points") or []), *([sizes["whole"]] if sizes.get("whole") else [])]
