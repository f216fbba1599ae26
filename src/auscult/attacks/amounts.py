"""How much of what a model gives to everybody is taken from a patient's signals.

The amount that leaves the least variance need not be the one that tells members best: a model that
memorises gives its members what it gives nobody else, and their signals do not follow the others'.
So multiples of that amount are tried, and the one that tells members best is used. A group of
patients gets the one that is best for patients of *other* groups: nobody's membership decides
anything about their own signals, and a null stays a null. What is not surely better is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auscult.base.parallel import in_order
from auscult.base.ranks import average_ranks

if TYPE_CHECKING:
    from auscult.attacks.layout import Layout

AMOUNTS = (0.0, 0.25, 0.5, 0.75, 1.25)
JUDGES = 2048  # patients by whose membership the amount is chosen
FEWEST_PATIENTS = 40
SURE = 1.0  # standard errors that are taken from a gain: what is left must be above zero, and most


def chosen_amounts(
    sample: Layout,
    centred: Callable[[Layout, float], NDArray[np.floating]],
    groups: int,
) -> NDArray[np.float64]:
    """The multiple of the usual amount for each group of patients, shape (groups,).

    Parameters
    ----------
    sample : Layout
        Patients by whose membership it is chosen, usually at most :data:`JUDGES`.
    centred : callable
        Signals of a part of the sample at a multiple, shape (records, models).
    groups : int
        A patient's group is its number modulo this.
    """
    amounts = np.ones(groups)
    if sample.patients < FEWEST_PATIENTS:
        return amounts

    def measure(place: tuple[slice, slice, Layout]) -> NDArray[np.float64]:
        _, _, part = place
        found = [told_apart(part, centred(part, amount)) for amount in (1.0, *AMOUNTS)]
        return np.stack(found)

    told = np.concatenate(list(in_order(measure, sample.parts())), axis=1)
    gain = told[1:] - told[0]
    group = sample.number % groups
    for g in range(groups):
        others = gain[:, (group != g) & np.isfinite(gain).all(axis=0)]
        if others.shape[1] < 2:
            continue
        mean = others.mean(axis=1)
        error = others.std(axis=1, ddof=1) / np.sqrt(others.shape[1])
        sure = mean - SURE * error
        if sure.max() > 0:
            amounts[g] = AMOUNTS[int(sure.argmax())]
    return amounts


def told_apart(part: Layout, signals: NDArray[np.floating]) -> NDArray[np.float64]:
    """AUC of each record's signal over models, mean over a patient's records, shape (patients,).

    NaN for a patient who is not estimable.

    Parameters
    ----------
    part : Layout
    signals : float array, shape (records, models)
    """
    x = signals.astype(np.float64)
    member = part.member[part.patient]
    inside, outside = member, ~member
    if part.used is not None:
        used = part.used[part.patient]
        inside, outside = member & used, ~member & used
        x = np.where(used, x, np.inf)  # last, so that the ranks of the others are theirs alone
    ranks = average_ranks(x)
    many, few = inside.sum(axis=1), outside.sum(axis=1)
    won = np.where(inside, ranks, 0.0).sum(axis=1) - many * (many + 1) / 2
    auc = won / np.maximum(many * few, 1)
    found = np.add.reduceat(auc, part.first) / part.count
    return np.where(part.estimable(), found, np.nan)
