"""Whether two reports that share identifiers are about the same people.

An identifier means a person within one population. Two cohorts that number their patients from 0
share identifiers and nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from auscult.disclosure.ledger import Entry

# How many shared identifiers and how even an attribute it takes to prove that nobody is shared, and
# the probability with which strangers are taken for the same people.
FEWEST_SHARED, FEWEST_OF_A_KIND, STRANGERS = 100, 0.1, 1e-3


def other_people(
    entry: Entry,
    patients: NDArray[np.bytes_],
    codes: Mapping[str, NDArray[np.int64]],
    attributes: Collection[str],
) -> bool:
    """Whether the patients who share identifiers with an earlier report are surely other people.

    Of the same people, an attribute goes with itself, though its cuts were moved and its values
    renamed. It is proved that they are others where an attribute of the same name in both reports
    is independent of itself, over at least 100 shared identifiers, and no table of one report goes
    with any of the other. Anything else is taken for the same people: that costs digits only.

    Parameters
    ----------
    entry : Entry
    patients : bytes array, shape (patients,)
        Of the report that is made.
    codes : mapping of str to int64 array, shape (patients,)
        Group of each of these patients, per table.
    attributes : collection of str
        Tables that are attributes of the patients themselves.
    """
    _, mine, theirs = np.intersect1d(patients, entry.patients, return_indices=True)
    if mine.size < FEWEST_SHARED:
        return False
    least = STRANGERS / max(len(codes) * len(entry.rows), 1)
    proved = False
    before = {name: rows[theirs] for name, rows in entry.rows.items()}
    # The tables that both reports have come first: the same people are known by one of them.
    for name, code in sorted(codes.items(), key=lambda one: one[0] not in before):
        now = code[mine]
        for other in sorted(before, key=lambda one: one != name):
            known = before[other] >= 0
            found = _crossed(now[known], before[other][known])
            if _goes_with(found) < least:
                return False
            even = min(_second_share(found.sum(axis=axis)) for axis in (0, 1)) >= FEWEST_OF_A_KIND
            enough = found.sum() >= FEWEST_SHARED
            proved |= name == other and name in attributes and enough and even
    return proved


def _crossed(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many are in each pair of groups, without empty groups."""
    width = int(second.max(initial=0)) + 1
    height = int(first.max(initial=0)) + 1
    pairs = np.bincount(first * width + second, minlength=height * width)
    found = pairs.reshape(height, width).astype(np.float64)
    return found[found.any(axis=1)][:, found.any(axis=0)]


def _second_share(sizes: NDArray[np.float64]) -> float:
    """Share of all but the largest group."""
    return 1 - float(sizes.max(initial=0)) / max(float(sizes.sum()), 1.0)


def _goes_with(found: NDArray[np.float64]) -> float:
    """Chi-squared p-value of independence; 1 where one of them does not vary."""
    if min(found.shape) < 2:
        return 1.0
    expected = np.outer(found.sum(axis=1), found.sum(axis=0)) / found.sum()
    statistic = float(((found - expected) ** 2 / expected).sum())
    return float(chdtrc((found.shape[0] - 1) * (found.shape[1] - 1), statistic))
