"""Whether there is evidence enough to act on: one answer for the gate and for recommendations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from auscult.risk.patients import NULL_TOLERANCE

FEWEST_MODELS = 32


def lacking(summary: Mapping[str, Any], models: int = FEWEST_MODELS) -> Iterator[str]:
    """What a run lacks as evidence whatever its figures say, one reason each.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.
    models : int
        Fewest shadow models.
    """
    there = summary["models"].get("count")
    if there is None or there < models:
        yield f"{there} shadow models are too few: at least {models} are needed"
    if (summary["models"].get("learned") or {}).get("verdict") is not True:
        yield not_learned(summary)
    mean = (summary["patients"].get("raw") or {}).get("null_mean")
    if mean is None or abs(mean - 0.5) > NULL_TOLERANCE:
        yield null_off(mean)
    found = summary["patients"].get("agreement")
    if found is not None and not found["agrees"]:
        yield disagreement(found)
    signal = summary["models"].get("signal")
    if signal is not None and signal["inverted"]:
        yield signal["reason"]


def not_learned(summary: Mapping[str, Any]) -> str:
    """That the models have learned nothing, or that nobody knows."""
    if (summary["models"].get("learned") or {}).get("verdict") is False:
        return (
            "the models have learned nothing that generalises, and whom such models expose says "
            "little about models that have learned"
        )
    return "it is not known whether the models have learned anything"


def null_off(mean: float | None) -> str:
    """That shuffled membership does not give one half."""
    if mean is None:
        return "there is no null to compare with"
    return f"with shuffled membership the mean AUC is {mean:.3f} instead of 0.5"


def disagreement(found: Mapping[str, Any]) -> str:
    """That counted AUCs and estimates have different means."""
    said = [
        "withheld" if found[name] is None else f"{found[name]:.3f}"
        for name in ("raw_mean", "posterior_mean")
    ]
    return (
        f"the AUCs as counted have a mean of {said[0]}, the estimates one of {said[1]}: the number "
        "of exposed patients cannot be relied on"
    )
