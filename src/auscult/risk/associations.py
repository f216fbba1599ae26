"""What distinguishes patients of high risk: factors that hold with the others held equal.

Each factor is a yes or no of a patient. The difference in risk between those with and without it is
estimated by partialling out (Robinson 1988; double machine learning, Chernozhukov et al. 2018):
risk and factor are predicted from everything else by bent lines that were fitted on other patients,
and the residuals are regressed on each other. Nobody's risk is explained by a model that saw it.

A factor is claimed where two p-values, each corrected over all factors, are below 0.05: Holm's of
the t statistics, which hold whatever the other factors do but only nearly so (few patients with a
factor, skewed risks), and that of the same statistics after the risks were permuted over patients,
by the smallest of them (Westfall & Young 1993, step down). Where risk has nothing to do with any
factor, every permutation is as likely as what was seen, so that 5% is exact there, whatever the
risks' distribution.

An association is no cause: what is not among the factors may explain it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FOLDS = 5
ERROR = 0.05
FEWEST = 20  # patients with, and without, a factor
BENDS = (0.25, 0.5, 0.75, 0.95)  # quantiles at which a score's line may bend
RIDGE = 1.0
PERMUTATIONS = 249
METHOD = (
    "Difference in mean AUC between patients with and without a factor, the other factors held "
    "equal: both are predicted from the others by bent lines fitted on other patients, and the "
    "residuals are regressed on each other. 95% intervals over patients, from residuals that may "
    "differ in spread. q: corrected over all factors, the larger of Holm's and that of permuted "
    "risks (Westfall and Young)."
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

    def taken(self, patients: NDArray[np.bool_]) -> Factor:
        """The same of some of the patients."""
        return replace(self, has=self.has[patients], scores=self.scores[patients])


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
        It deals the patients to folds, and permutes risks.
    """
    known = np.isfinite(risk)
    return associated(risk[known], partialled([one.taken(known) for one in factors], rng), rng)


def associated(
    risk: NDArray[np.float64], parts: Sequence[Partialled], rng: np.random.Generator
) -> Associations:
    """The same of factors that were partialled out before.

    Parameters
    ----------
    risk : float64 array, shape (patients,)
        Finite.
    parts : sequence of Partialled
    rng : numpy.random.Generator
        It permutes risks.
    """
    found: list[Association] = []
    places = []
    for place, part in enumerate(parts):
        has = part.factor.has
        one = Association(
            name=part.factor.name,
            patients=int(has.sum()),
            mean_with=float(risk[has].mean()) if has.any() else None,
            mean_without=float(risk[~has].mean()) if not has.all() else None,
            reason=part.reason,
        )
        if not part.reason:
            places.append(place)
            difference, error = (float(value[0]) for value in part.estimates(risk[:, None]))
            half = error * float(stdtrit(part.freedom, 0.975))
            low, high = difference - half, difference + half
            one = replace(one, difference=difference, low=low, high=high)
        found.append(one)
    usable = [parts[place] for place in places]
    for place, q in zip(places, _corrected(risk, usable, rng), strict=True):
        found[place] = replace(found[place], q=q, claimed=q < ERROR)
    return Associations(factors=tuple(found), explained=_explained(risk, parts), patients=risk.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Partialled:
    """A factor less what the others tell of it; nothing here depends on anybody's risk.

    Attributes
    ----------
    factor : Factor
    others : Lines
        Predictions from the other factors.
    rest : float64 array, shape (patients,)
        Having the factor, less its prediction.
    reason : str
        Why no difference can be estimated; empty where one can.
    """

    factor: Factor
    others: Lines
    rest: NDArray[np.float64]
    reason: str

    @property
    def weight(self) -> float:
        """Sum of squares of what the others do not tell."""
        return float((self.rest**2).sum())

    @property
    def freedom(self) -> float:
        """As many patients tell the error as there are with the factor, roughly."""
        return max(self.weight**2 / float((self.rest**4).sum()) - 1, 1.0)

    def weights(self) -> NDArray[np.float64]:
        """The difference as a weighted sum of risks: each patient's weight, shape (patients,)."""
        return (self.rest - self.others.transposed(self.rest)) / self.weight

    def estimates(self, y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Differences and standard errors of several risks, shape (patients, several) each."""
        left = y - self.others.predicted(y)
        weight = self.weight
        difference = self.rest @ left / weight
        left -= self.rest[:, None] * difference
        # As if each patient had been left out (HC3): few patients have a factor.
        left /= (1 - self.rest**2 / weight)[:, None]
        return difference, np.asarray(np.sqrt(self.rest**2 @ left**2) / weight)

    def p(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of no difference, for several risks, shape (several,)."""
        difference, error = self.estimates(y)
        found = 2 * stdtr(self.freedom, -np.abs(difference) / np.maximum(error, 1e-300))
        return np.asarray(found, dtype=np.float64)


def partialled(factors: Sequence[Factor], rng: np.random.Generator) -> list[Partialled]:
    """Each factor less what the others tell of it.

    Parameters
    ----------
    factors : sequence of Factor
        Of the same patients.
    rng : numpy.random.Generator
        It deals the patients to folds.
    """
    n = factors[0].has.size if factors else 0
    fold = rng.permutation(n) % FOLDS
    found = []
    for place, one in enumerate(factors):
        others = [o.scores for k, o in enumerate(factors) if k != place]
        lines = Lines(np.column_stack(others) if others else np.zeros((n, 1)), fold)
        if not FEWEST <= one.has.sum() <= n - FEWEST:
            reason = f"fewer than {FEWEST} patients have it, or do not"
            part = Partialled(factor=one, others=lines, rest=np.zeros(n), reason=reason)
        else:
            has = one.has.astype(np.float64)
            rest = has - np.clip(lines.predicted(has[:, None])[:, 0], 0, 1)
            part = Partialled(factor=one, others=lines, rest=rest, reason="")
            if part.weight < FEWEST / 4:
                part = replace(part, reason="the other factors tell nearly exactly who has it")
        found.append(part)
    return found


class Lines:
    """Predictions for every patient by bent lines that are fitted on the other folds.

    Ridge regression: the predictions are a linear function of what is predicted.

    Parameters
    ----------
    x : float64 array, shape (patients, columns)
    fold : int64 array, shape (patients,)
    """

    def __init__(self, x: NDArray[np.float64], fold: NDArray[np.int64]) -> None:
        bent = _bent(x) if len(x) else x
        self.fold = fold
        self._pieces = []
        for one in range(FOLDS if len(x) > FOLDS else 0):
            rest, here = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
            middle = bent[rest].mean(axis=0)
            fitted = bent[rest] - middle
            normal = fitted.T @ fitted + RIDGE * np.eye(fitted.shape[1])
            shown = np.linalg.solve(normal, (bent[here] - middle).T)
            self._pieces.append((rest, here, fitted, shown))

    def predicted(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predictions of several targets, shape (patients, several)."""
        found = np.zeros_like(y)
        for rest, here, fitted, shown in self._pieces:
            told = y[rest]
            found[here] = told.mean(axis=0) + shown.T @ (fitted.T @ told)
        return found

    def transposed(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Whose target a weighted sum of predictions is a sum of, shape (patients,)."""
        found = np.zeros_like(weights)
        for rest, here, fitted, shown in self._pieces:
            found[rest] += weights[here].sum() / rest.size + fitted @ (shown @ weights[here])
        return found


def _corrected(
    y: NDArray[np.float64], parts: Sequence[Partialled], rng: np.random.Generator
) -> list[float]:
    """p-values corrected over factors; permuted only where there is something to refute."""
    p = [float(part.p(y[:, None])[0]) for part in parts]
    q = _holm(p)
    if not any(one < ERROR for one in q):
        return q
    again = np.stack([rng.permutation(y) for _ in range(PERMUTATIONS)], axis=1)
    by_chance = np.stack([part.p(again) for part in parts])
    return [max(one, other) for one, other in zip(q, _stepped(p, by_chance), strict=True)]


def _stepped(p: Sequence[float], by_chance: NDArray[np.float64]) -> list[float]:
    """Corrected p-values by permutation, step down (Westfall & Young 1993, algorithm 2.8).

    Parameters
    ----------
    p : sequence of float
    by_chance : float64 array, shape (factors, permutations)
    """
    order = np.argsort(p, kind="stable")
    smallest = np.minimum.accumulate(by_chance[order][::-1], axis=0)[::-1]
    result = [1.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(order.tolist()):
        below = int((smallest[rank] <= p[place]).sum())
        largest = max(largest, (1 + below) / (1 + by_chance.shape[1]))
        result[place] = largest
    return result


def _explained(y: NDArray[np.float64], parts: Sequence[Partialled]) -> float | None:
    """Share of the variance that all factors tell of patients they were not fitted on."""
    if not parts or y.size < 4 * FEWEST or not y.var() > 0:
        return None
    everything = Lines(
        np.column_stack([part.factor.scores for part in parts]), parts[0].others.fold
    )
    told = everything.predicted(y[:, None])[:, 0]
    return float(1 - ((y - told) ** 2).mean() / y.var())


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
