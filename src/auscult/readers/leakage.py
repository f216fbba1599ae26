"""Columns that tell the outcome because they follow it in time: deaths, discharges, costs.

One column that predicts the label nearly perfectly is seldom a finding and often the label written
once more. Names are hints only: they are told, and never decide alone.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.readers.tables import numbers, texts

NEARLY = 0.98
WITH_A_NAME = 0.7  # where the name says so too
FEWEST_OF_CLASS = 20
MOST_LOOKED_AT = 20_000
MOST_LEVELS = 200
FEW_VALUES = 20  # a label of more different numbers is cut at its median
HINTS = re.compile(
    r"(^|[_.\W])(death|dead|died|dod|deceased|mortality|discharge|dischtime|outcome|cost|charges"
    r"|totcst|totmcst|hospdead|survival|followup|follow_up|d\.time|dtime)([_.\W]|$)",
    re.IGNORECASE,
)


def leaking(frame: pd.DataFrame, label: pd.Series[Any]) -> dict[str, str]:
    """Columns that tell the label nearly perfectly, each with the reason.

    Parameters
    ----------
    frame : DataFrame
        Columns that would be inputs.
    label : Series

    Returns
    -------
    dict of str to str
        A column whose AUC for the commonest class against the others is 0.98 or more by itself
        (missing or not included), or 0.7 where its name tells the same. Categories are learned on
        one half of the records and measured on the other.
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
    found = {}
    for name in map(str, frame.columns):
        auc = _alone(frame[name].iloc[rows], target)
        named = HINTS.search(name) is not None
        if auc >= (WITH_A_NAME if named else NEARLY):
            hint = " Its name suggests that it follows the outcome" if named else ""
            found[name] = (
                f"predicts the label by itself (AUC {auc:.3f}): is it known only afterwards?{hint}"
            )
    return found


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
