"""Columns that tell the outcome because they follow it in time: deaths, discharges, costs.

One column that predicts the label nearly perfectly is seldom a finding and often the label written
once more. Names are hints only: they are told, and never decide alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.ranks import average_ranks
from auscult.readers.values import numbers, texts

NEARLY = 0.9
WITH_A_NAME = 0.7  # where the name says so too
FEWEST_OF_CLASS = 20
MOST_LOOKED_AT = 20_000
MOST_LEVELS = 200
AT_A_TIME = 64  # columns
FEW_VALUES = 20  # a label of more different numbers is cut at its median
HINTS = re.compile(
    r"(^|[_.\W])(death|dead|died|dod|deceased|mortality|discharge|dischtime|outcome|cost|charges"
    r"|totcst|totmcst|hospdead|survival|followup|follow_up|d\.time|dtime)([_.\W]|$)",
    re.IGNORECASE,
)
# What hardly anybody knows before the outcome, whatever it tells.
AFTERWARDS = re.compile(
    r"(^|[_.\W])(death|dead|died|dod|deceased|hospdead|costs?|charges|totcst|totmcst|follow_?up"
    r"|s?los|length_of_stay|survival)([_.\W]|$|\d|time|date|offset)",
    re.IGNORECASE,
)


def leaking(
    frame: pd.DataFrame,
    label: pd.Series[Any],
    known: Mapping[str, NDArray[np.floating[Any]]] | None = None,
) -> dict[str, str]:
    """Columns that tell the label nearly perfectly, each with the reason.

    Parameters
    ----------
    frame : DataFrame
        Columns that would be inputs.
    label : Series
    known : mapping of str to float array, optional
        Numbers of columns that are known already, NaN where missing.

    Returns
    -------
    dict of str to str
        A column whose AUC for the commonest class against the others is 0.9 or more by itself
        (missing or not included), or 0.7 where its name tells the same; and deaths, costs and
        lengths of stay by their names alone. Categories are learned on
        one half of the records and measured on the other.
    """
    return reasons(told_alone(frame, label, known))


def reasons(aucs: Mapping[str, float]) -> dict[str, str]:
    """Columns that are thought to follow the outcome, each with the reason.

    Parameters
    ----------
    aucs : mapping of str to float
        How well each tells the label by itself.
    """
    found = {}
    for name, auc in aucs.items():
        named = HINTS.search(name) is not None
        if AFTERWARDS.search(name) and auc < WITH_A_NAME:
            found[name] = (
                "its name says that it is known only after the outcome (a death, a cost, a length "
                f"of stay); alone it tells the label with AUC {auc:.3f}"
            )
        if auc >= (WITH_A_NAME if named else NEARLY):
            hint = " Its name suggests that it follows the outcome" if named else ""
            found[name] = (
                f"predicts the label by itself (AUC {auc:.3f}): is it known only afterwards?{hint}"
            )
    return found


def told_alone(
    frame: pd.DataFrame,
    label: pd.Series[Any],
    known: Mapping[str, NDArray[np.floating[Any]]] | None = None,
) -> dict[str, float]:
    """How well each column tells the commonest class by itself, as AUC; see :func:`leaking`.

    Parameters
    ----------
    frame : DataFrame
        Columns that would be inputs.
    label : Series
    known : mapping of str to float array, optional
        Numbers of columns that are known already, NaN where missing.
    """
    wanted = texts(label)
    rows = np.flatnonzero(wanted != None)[:: max(1, len(wanted) // MOST_LOOKED_AT)]  # noqa: E711
    codes, classes = pd.factorize(wanted[rows])
    values, unparsable = numbers(pd.Series(wanted[rows], dtype=object))
    if not unparsable and len(classes) > FEW_VALUES:
        codes = (values > np.median(values)).astype(np.int64)
        classes = np.array([0, 1], dtype=object)
    if not 2 <= len(classes) <= MOST_LEVELS:
        return {}
    target = codes == np.bincount(codes).argmax()
    if min(target.sum(), (~target).sum()) < FEWEST_OF_CLASS:
        return {}
    known = known or {}
    quick = [name for name in map(str, frame.columns) if name in known]
    aucs = dict(zip(quick, _of_numbers([known[n] for n in quick], rows, target), strict=True))
    return {
        name: aucs[name] if name in aucs else _alone(frame[name].iloc[rows], target)
        for name in map(str, frame.columns)
    }


def _alone(column: pd.Series[Any], target: NDArray[np.bool_]) -> float:
    """How well one column tells a class: the AUC, whichever its direction."""
    values, unparsable = numbers(column)
    there = ~np.isnan(values)
    if unparsable > 0.05 * len(values):
        return _of_levels(texts(column), target)
    best = _auc(there.astype(np.float64), target)
    if there.any() and 0 < target[there].sum() < there.sum():
        share = float(there.mean())
        if share > 0.5:
            best = max(best, _auc(np.where(there, values, np.nanmedian(values)), target))
    return best


def _of_numbers(
    columns: Sequence[NDArray[np.floating[Any]]],
    rows: NDArray[np.integer],
    target: NDArray[np.bool_],
) -> list[float]:
    """As :func:`_alone` of numbers, many columns at a time."""
    found: list[float] = []
    inside, outside = int(target.sum()), int((~target).sum())
    for start in range(0, len(columns), AT_A_TIME):
        block = np.column_stack([one[rows] for one in columns[start : start + AT_A_TIME]])
        there = ~np.isnan(block)
        best = 0.5 + np.abs(there[target].mean(axis=0) - there[~target].mean(axis=0)) / 2
        usable = (there.mean(axis=0) > 0.5) & there[target].any(axis=0) & there[~target].any(axis=0)
        if usable.any():
            part = block[:, usable]
            gaps = np.isnan(part)
            if gaps.any():
                part = np.where(gaps, np.nanmedian(part, axis=0), part)
            ranks = average_ranks(part.T).T[target].sum(axis=0)
            auc = (ranks - inside * (inside + 1) / 2) / (inside * outside)
            best[usable] = np.maximum(best[usable], np.maximum(auc, 1 - auc))
        found += best.tolist()
    return found


def _of_levels(values: NDArray[np.object_], target: NDArray[np.bool_]) -> float:
    code, levels = pd.factorize(values, use_na_sentinel=False)
    if len(levels) > MOST_LEVELS:
        return 0.5
    first = np.arange(len(code)) % 2 == 0
    hits = np.bincount(code[first], weights=target[first], minlength=len(levels))
    total = np.bincount(code[first], minlength=len(levels))
    rate = (hits + target.mean()) / (total + 1)
    return _auc(rate[code[~first]], target[~first])


def _auc(values: NDArray[np.float64], target: NDArray[np.bool_]) -> float:
    inside, outside = int(target.sum()), int((~target).sum())
    if not inside or not outside:
        return 0.5
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    ranks = float(mean_rank[place][target].sum())
    auc = (ranks - inside * (inside + 1) / 2) / (inside * outside)
    return float(max(auc, 1 - auc))
