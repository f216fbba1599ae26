"""What distinguishes patients of high risk: factors that hold with the others held equal.

Each factor is a yes or no of a patient. The difference in risk between those with and without it is
estimated by partialling out (Robinson 1988; double machine learning, Chernozhukov et al. 2018):
risk and factor are predicted from everything else by bent lines that were fitted on other patients,
and the residuals are regressed on each other. Nobody's risk is explained by a model that saw it. A
factor is claimed where its p-value, corrected over all factors (Holm), is below 0.05.

An association is no cause: what is not among the factors may explain it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FOLDS = 5
ERROR = 0.05
FEWEST = 20  # patients with, and without, a factor
BENDS = (0.25, 0.5, 0.75, 0.95)  # quantiles at which a score's line may bend
METHOD = (
    "Difference in mean AUC between patients with and without a factor, the other factors held "
    "equal: both are predicted from the others by bent lines fitted on other patients, and the "
    "residuals are regressed on each other. 95% intervals over patients, from residuals that may "
    "differ in spread; p-values corrected over factors after Holm."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Factor:
    """A property of patients, fixed without a look at their risk.

    Attributes
    ----------
    name : str
    has : bool array, shape (patients,)
    scores : float64 array, shape (patients, columns)
        The same in finer steps, by which other factors' differences are adjusted.
    """

    name: str
    has: NDArray[np.bool_]
    scores: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Association:
    """What was found of one factor.

    Attributes
    ----------
    name : str
    patients : int
        With the factor.
    mean_with, mean_without : float or None
        Mean risk, nothing held equal.
    difference, low, high : float or None
        With the others held equal, and its 95% interval.
    q : float or None
        Corrected p-value.
    claimed : bool
    reason : str
        Why it was not estimated.
    """

    name: str
    patients: int
    mean_with: float | None
    mean_without: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    q: float | None = None
    claimed: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Associations:
    """All factors, and how much they explain together.

    Attributes
    ----------
    factors : tuple of Association
    explained : float or None
        Share of the variance of risk that all factors predict in patients not fitted on.
    patients : int
    """

    factors: tuple[Association, ...]
    explained: float | None
    patients: int


def associations(
    risk: NDArray[np.float64], factors: Sequence[Factor], rng: np.random.Generator
) -> Associations:
    """Which factors go with a higher or lower risk.

    Parameters
    ----------
    risk : float64 array, shape (patients,)
        Unshrunk, for example AUCs; NaN where not estimable. No factor may be made from the models
        that it is estimated from.
    factors : sequence of Factor
    rng : numpy.random.Generator
        It deals the patients to folds.
    """
    known = np.isfinite(risk)
    y = risk[known]
    n = y.size
    own = [Factor(name=one.name, has=one.has[known], scores=one.scores[known]) for one in factors]
    usable = [bool(FEWEST <= one.has.sum() <= n - FEWEST) for one in own]
    fold = rng.permutation(n) % FOLDS
    found: list[Association] = []
    p = []
    for place, one in enumerate(own):
        count = int(one.has.sum())
        plain = Association(
            name=one.name,
            patients=count,
            mean_with=float(y[one.has].mean()) if count else None,
            mean_without=float(y[~one.has].mean()) if count < n else None,
        )
        if not usable[place]:
            reason = f"fewer than {FEWEST} patients have it, or do not"
            found.append(_with(plain, reason=reason))
            continue
        others = [o.scores for k, o in enumerate(own) if k != place]
        x = np.column_stack(others) if others else np.zeros((n, 1))
        left = y - _predicted(x, y, fold)
        mine: NDArray[np.float64] = one.has - np.clip(
            _predicted(x, one.has.astype(np.float64), fold), 0, 1
        )
        weight = float((mine**2).sum())
        if weight < FEWEST / 4:
            reason = "the other factors tell nearly exactly who has it"
            found.append(_with(plain, reason=reason))
            continue
        difference = float((mine * left).sum()) / weight
        rest = left - difference * mine
        # As if each patient had been left out (HC3): few patients have a factor.
        rest /= 1 - mine**2 / weight
        error = float(np.sqrt((mine**2 * rest**2).sum())) / weight
        # As many patients tell the error as there are with the factor, roughly.
        freedom = max(weight**2 / float((mine**4).sum()) - 1, 1.0)
        value = 2 * float(stdtr(freedom, -abs(difference) / max(error, 1e-300)))
        p.append((len(found), value))
        half = error * float(stdtrit(freedom, 0.975))
        low, high = difference - half, difference + half
        found.append(_with(plain, difference=difference, low=low, high=high))
    for (where, _), q in zip(p, _holm([value for _, value in p]), strict=True):
        found[where] = _with(found[where], q=q, claimed=q < ERROR)
    explained = None
    if own and n >= 4 * FEWEST and y.var() > 0:
        x = np.column_stack([one.scores for one in own])
        explained = float(1 - ((y - _predicted(x, y, fold)) ** 2).mean() / y.var())
    return Associations(factors=tuple(found), explained=explained, patients=n)


def _with(one: Association, **changes: object) -> Association:
    return Association(**{**vars(one), **changes})


def _predicted(
    x: NDArray[np.float64], y: NDArray[np.float64], fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Predictions for every patient by lines fitted on the other folds."""
    from sklearn.linear_model import Ridge

    bent = _bent(x)
    found = np.empty(y.size)
    for one in range(FOLDS):
        rest = fold != one
        found[~rest] = Ridge(alpha=1.0).fit(bent[rest], y[rest]).predict(bent[~rest])
    return found


def _bent(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns, and each beyond some of its quantiles, in standard deviations."""
    columns = []
    for column in x.T:
        bends = np.unique(np.quantile(column, BENDS))
        bends = bends[(bends > column.min()) & (bends < column.max())]
        columns += [column, *(np.maximum(column - bend, 0) for bend in bends)]
    made = np.column_stack(columns)
    spread = made.std(axis=0)
    return np.asarray((made - made.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _holm(p: Sequence[float]) -> list[float]:
    """Corrected p-values (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    result = [1.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        result[place] = largest
    return result
