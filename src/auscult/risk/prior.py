"""The distribution of true AUCs over patients, learned from all of them (Stephens 2017).

A mixture of narrow normals on the scale ``d = Phi^-1(AUC)``, fitted by EM to the likelihood of each
count. What else is known of a patient is gathered into one number, its sign, whose errors do not go
with those of the count (:mod:`auscult.risk.signs`). It may be left out, or taken as a second
measurement of the AUC; held-out likelihood says how much each deserves to be believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.base.parallel import in_order
from auscult.risk.estimate import GRID, Estimate
from auscult.risk.measurement import Measurement

COMPONENTS = 61
ITERATIONS = 200
ROUGH_ITERATIONS = 100  # enough to compare shapes and replicates
ROUNDS = 12  # in which a measurement and the prior are learned from each other
# Pseudo-patients, drawn from the likeliest normal: they keep a prior proper without data.
PSEUDO_COUNT = 12.0
MOST_FOR_PRIOR = 20_000
SHAPE_BOOTSTRAPS = 200
PARAMETERS = 4.0  # of a measurement: a cubic
NEGLIGIBLE = 0.001  # a shape that weighs less is left out
SHAPE_SEED = 20181001  # of the bootstraps; part of the method
ROWS_AT_ONCE = 2048
# Deviations of normals, as shares of the grid, and steps by which each is placed.
SPREADS = np.geomspace(0.004, 0.5, 12)
PLACE_STEPS = 4
NARROWER = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)  # shares of a prior's width
HALF_CHI_SQUARED = 3.0  # half of the 95% quantile with two degrees: place and spread


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the prior is made of.

    Attributes
    ----------
    measured : bool
        Whether the sign counts as a measurement of the AUC.
    """

    measured: bool


PLAIN, MEASURED = Shape(measured=False), Shape(measured=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """Distribution of true AUCs.

    Attributes
    ----------
    mass : float64 array, shape (points,)
        Probability of each point of the grid, of sum 1.
    measurement : Measurement, optional
        By which the sign is read.
    """

    mass: NDArray[np.float64]
    measurement: Measurement | None = None

    def narrowed(self, share: float) -> Prior:
        """The same with every distance from the mean shortened to a share of it."""
        middle = float(self.mass @ GRID)
        place = (middle + share * (GRID - middle) - GRID[0]) / _step()
        left = np.clip(np.floor(place), 0, GRID.size - 2).astype(np.int64)
        part = np.clip(place - left, 0.0, 1.0)
        mass = np.zeros(GRID.size)
        np.add.at(mass, left, self.mass * (1 - part))
        np.add.at(mass, left + 1, self.mass * part)
        return replace(self, mass=mass)

    def masses(self, sign: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prior of each patient on the grid, given its sign, shape (n, points) or (1, points)."""
        if self.measurement is None:
            return self.mass[None, :]
        found = self.measurement.likelihood(sign)
        found *= self.mass
        found /= found.sum(axis=1, keepdims=True)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Posterior of some patients on the grid, each point's mass spread over its cell.

    Attributes
    ----------
    mass : float64 array, shape (n, points)
        Rows of sum 1.
    """

    mass: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        likelihood: NDArray[np.float64],
        sign: NDArray[np.float64],
        priors: Sequence[tuple[float, Prior]],
    ) -> Self:
        """Posterior under several priors, each believed by its weight.

        Parameters
        ----------
        likelihood : float64 array, shape (n, grid)
        sign : float64 array, shape (n,)
        priors : sequence of (float, Prior)
            Each prior with its weight.
        """
        mass = np.zeros_like(likelihood)
        for weight, prior in priors:
            mass += weight * normalised(likelihood * prior.masses(sign))
        return cls(mass=mass)

    def mean_auc(self) -> NDArray[np.float64]:
        """Posterior mean of the AUC, shape (n,)."""
        return np.asarray(self.mass @ ndtr(GRID))

    def above(self, d: float) -> NDArray[np.float64]:
        """Probability of a true AUC above Phi(d), shape (n,)."""
        cell, part = _part_above(d)
        above = self.mass[:, cell + 1 :].sum(axis=1) + part * self.mass[:, cell]
        return np.asarray(np.clip(above, 0.0, 1.0))

    def quantile(self, level: float) -> NDArray[np.float64]:
        """Quantile of the true AUC on the scale of the grid, shape (n,)."""
        cumulative = self._cumulative()
        rows = np.arange(len(cumulative))
        at = np.minimum((cumulative < level).sum(axis=1), GRID.size - 1)
        before = np.where(at > 0, cumulative[rows, np.maximum(at - 1, 0)], 0.0)
        mass = np.maximum(self.mass[rows, at], 1e-300)
        inside = np.clip((level - before) / mass, 0, 1) - 0.5
        return np.asarray(GRID[at] + _step() * inside)

    def _cumulative(self) -> NDArray[np.float64]:
        if "cumulative" not in self.__dict__:
            object.__setattr__(self, "cumulative", np.cumsum(self.mass, axis=1))
        found: NDArray[np.float64] = self.__dict__["cumulative"]
        return found


class Likelihoods:
    """Likelihood of every true AUC for every patient: priors are fitted to it repeatedly.

    The mixture is of normals a quarter of a standard error wide.

    Parameters
    ----------
    estimate : Estimate
        Shape (n,), all usable.
    sign : float64 array, shape (n,)
    """

    def __init__(self, estimate: Estimate, sign: NDArray[np.float64]) -> None:
        self.sign = sign
        noise = float(np.sqrt(np.median(estimate.variance)))
        low = max(float(estimate.d.min()) - noise, GRID[0])
        high = min(float(estimate.d.max()) + noise, GRID[-1])
        self._middle = np.linspace(low, high, COMPONENTS)
        width = max(0.25 * noise, (high - low) / COMPONENTS)
        shapes = np.exp(-0.5 * ((GRID - self._middle[:, None]) / width) ** 2)
        self._shapes = normalised(shapes)
        n = estimate.size
        self.likelihood, self._peak = np.empty((n, GRID.size)), np.empty(n)
        self._evidence = np.empty((n, COMPONENTS))

        def work(begin: int) -> None:
            rows = slice(begin, min(begin + ROWS_AT_ONCE, n))
            self.likelihood[rows], self._peak[rows] = likelihood_of(estimate.take(rows))
            self._evidence[rows] = self.likelihood[rows] @ self._shapes.T

        for _ in in_order(work, range(0, n, ROWS_AT_ONCE)):
            pass

    def fit(
        self,
        shape: Shape,
        rows: NDArray[np.int64] | None = None,
        *,
        iterations: int = ITERATIONS,
        pseudo_count: float = PSEUDO_COUNT,
    ) -> Prior:
        """Fit a prior to all patients or to some, who may be repeated, by so many steps of EM.

        Parameters
        ----------
        shape : Shape
        rows : int64 array, optional
            Patients, who may be repeated; all when None.
        iterations : int
            Steps of EM.
        pseudo_count : float
            Pseudo-patients of the likeliest normal, which smooth the prior.
        """
        return self.fit_all((shape,), rows, iterations=iterations, pseudo_count=pseudo_count)[0]

    def fit_all(
        self,
        shapes: Iterable[Shape],
        rows: NDArray[np.int64] | None = None,
        *,
        iterations: int = ITERATIONS,
        pseudo_count: float = PSEUDO_COUNT,
    ) -> list[Prior]:
        """A prior of each shape. A measured one begins where the plain one ends.

        Parameters
        ----------
        shapes : iterable of Shape
        rows, iterations, pseudo_count
            As of :meth:`fit`.
        """
        evidence, own, times = self._evidence, self.sign, np.ones(self.sign.size)
        if rows is not None:
            # Who is drawn again counts again: a third less to go through.
            kept, number = np.unique(rows, return_counts=True)
            evidence, own, times = evidence[kept], own[kept], number.astype(np.float64)
        start = self._likeliest_normal(evidence, times)
        pseudo = pseudo_count * start
        plain = _mixture(evidence, times, start, pseudo, iterations)
        found = []
        for shape in shapes:
            if not shape.measured or not np.ptp(self.sign):
                found.append(Prior(mass=plain @ self._shapes))
                continue
            weight = plain
            measurement = self._measured(evidence * weight, own, times)
            for _ in range(ROUNDS):
                both = measurement.likelihood(own)
                both *= evidence
                weight = _mixture(both, times, weight, pseudo, iterations // ROUNDS)
                both *= weight
                measurement = self._measured(both, own, times)
            measurement = measurement.at(GRID, self._middle)
            found.append(Prior(mass=weight @ self._shapes, measurement=measurement))
        return found

    def log_evidence(self, prior: Prior, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log probability of some patients' counts given their signs, up to a constant of each."""
        inside = (self.likelihood[rows] * prior.masses(self.sign[rows])).sum(axis=1)
        return np.asarray(np.log(np.maximum(inside, 1e-300)) + self._peak[rows])

    def shares_above(
        self, priors: Sequence[tuple[float, Prior]], d: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean over all patients of the posterior probability above each point."""
        # How much of each cell lies above each point; the last column is the whole.
        shares = np.ones((GRID.size, d.size + 1))
        for place, at in enumerate(d):
            cell, part = _part_above(float(at))
            shares[:cell, place], shares[cell, place] = 0.0, part
        found = np.zeros(d.size)
        for weight, prior in priors:
            if prior.measurement is None:
                mass = self.likelihood @ (prior.mass[:, None] * shares)
            else:
                both = prior.masses(self.sign)
                both *= self.likelihood
                mass = both @ shares
            found += weight * (mass[:, :-1] / mass[:, -1:]).mean(axis=0)
        return found

    def plausible_shares(
        self, priors: Sequence[tuple[float, Prior]], d: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Shares above each point under narrower priors that the counts do not refute.

        Where all patients are alike, noise alone makes a learned prior too wide, and resampling the
        patients never shows a narrower one. Those within 3 nats of the learned one (a 95%
        profile likelihood interval) are as good as it.

        Returns
        -------
        float64 array, shape (priors that are plausible, points)
        """
        rows = np.arange(self.sign.size)
        _, heaviest = max(priors, key=lambda one: one[0])
        best = float(self.log_evidence(heaviest, rows).sum())
        found = []
        for share in NARROWER:
            narrow = heaviest.narrowed(share)
            if float(self.log_evidence(narrow, rows).sum()) >= best - HALF_CHI_SQUARED:
                found.append(self.shares_above([(1.0, narrow)], d))
        return np.array(found).reshape(-1, d.size)

    def _measured(
        self, mass: NDArray[np.float64], sign: NDArray[np.float64], times: NDArray[np.float64]
    ) -> Measurement:
        """What signs measure, from how likely each patient is in which component."""
        mass /= (mass.sum(axis=1) / times)[:, None]
        return Measurement.learned(self._middle, mass, sign)

    def _likeliest_normal(
        self, evidence: NDArray[np.float64], times: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Weights of the components that come nearest to one normal, the likeliest of them."""
        span = float(self._middle[-1] - self._middle[0])
        best, likelihood = np.full(COMPONENTS, 1 / COMPONENTS), -np.inf
        place = float(self._middle.mean())
        for spread in span * SPREADS[::-1]:
            for _ in range(PLACE_STEPS):
                weight = np.exp(-0.5 * ((self._middle - place) / spread) ** 2)
                weight /= weight.sum()
                inside = np.maximum(evidence @ weight, 1e-300)
                expected = weight * ((times / inside) @ evidence)
                place = float(expected @ self._middle / expected.sum())
            found = float(times @ np.log(inside))
            if found > likelihood:
                best, likelihood = weight, found
        return best


def _mixture(
    evidence: NDArray[np.float64],
    times: NDArray[np.float64],
    weight: NDArray[np.float64],
    pseudo: NDArray[np.float64],
    iterations: int,
) -> NDArray[np.float64]:
    """Weights of the components by EM, shape (components,).

    Each row counts `times`, and `pseudo` counts pseudo-patients.
    """
    n, count = float(times.sum()), float(pseudo.sum())
    for _ in range(iterations if n else 0):
        # Expected membership of the components, summed over rows without writing it out.
        expected = weight * ((times / np.maximum(evidence @ weight, 1e-300)) @ evidence)
        weight = (expected + pseudo) / (n + count)
    return weight


def learned_priors(
    estimate: Estimate, sign: NDArray[np.float64], shapes: dict[Shape, float]
) -> list[tuple[float, Prior]]:
    """Fit a prior of each shape to at most 20,000 patients, evenly spaced.

    Parameters
    ----------
    estimate : Estimate
        Shape (n,).
    sign : float64 array, shape (n,)
    shapes : dict of Shape to float
    """
    table = Likelihoods(*spaced(estimate, sign, MOST_FOR_PRIOR))
    return list(zip(shapes.values(), table.fit_all(shapes), strict=True))


def weigh_shapes(views: Sequence[tuple[Estimate, NDArray[np.float64]]]) -> dict[Shape, float]:
    """How likely held-out patients are under each shape, by two-fold cross-validation.

    Counts and signs must come from different models. From the same ones they share errors, which a
    measurement would take for knowledge of the patient. A measurement must be worth more nats than
    it has parameters. Other patients might have preferred another shape: weights are averaged over
    Bayesian bootstraps of the patients (Yao et al. 2018, "pseudo-BMA+"), so that posteriors and
    counts know of shapes that are nearly as likely.

    Parameters
    ----------
    views : sequence of (Estimate, float64 array of shape (n,))
        Counts and signs of the same patients, once for each half of the models.

    Returns
    -------
    dict of Shape to float
        Sum 1, simplest shape first.
    """
    n = views[0][1].size if views else 0
    if not n or not any(np.ptp(sign) for _, sign in views):
        return {PLAIN: 1.0}
    evidence = np.mean([_held_out(estimate, sign) for estimate, sign in views], axis=0)
    share = np.random.default_rng(SHAPE_SEED).standard_exponential((SHAPE_BOOTSTRAPS, n))
    totals = (n * normalised(share)) @ evidence.T
    totals[:, 1] -= PARAMETERS
    weights = normalised(np.exp(totals - totals.max(axis=1, keepdims=True))).mean(axis=0)
    weights[weights < NEGLIGIBLE] = 0.0
    weights /= weights.sum()
    return {s: float(w) for s, w in zip((PLAIN, MEASURED), weights, strict=True) if w > 0}


def _held_out(estimate: Estimate, sign: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log probability of each patient's count when the prior is learned from others.

    Returns
    -------
    float64 array, shape (shapes, n)
    """
    n = sign.size
    # Sorting by sign and taking turns gives both halves the same spread of signs.
    order = np.argsort(sign, kind="stable")
    halves = [np.sort(order[np.arange(n) // 2 % 2 == half]) for half in (0, 1)]
    table = Likelihoods(estimate, sign)

    evidence = np.empty((2, n))

    def judge(places: Sequence[NDArray[np.int64]]) -> None:
        fitted, judged = places
        priors = table.fit_all((PLAIN, MEASURED), fitted, iterations=ROUGH_ITERATIONS)
        for row, prior in zip(evidence, priors, strict=True):
            row[judged] = table.log_evidence(prior, judged)

    for _ in in_order(judge, (halves, halves[::-1])):
        pass
    return evidence


def spaced(
    estimate: Estimate, sign: NDArray[np.float64], most: int
) -> tuple[Estimate, NDArray[np.float64]]:
    """At most so many patients, evenly spaced.

    Parameters
    ----------
    estimate : Estimate
    sign : float64 array, shape (patients,)
    most : int
    """
    n = sign.size
    if n <= most:
        return estimate, sign
    rows = np.linspace(0, n - 1, most).astype(np.int64)
    return estimate.take(rows), sign[rows]


def normalised(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of sum 1."""
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def likelihood_of(estimate: Estimate) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Likelihood of each grid point, rows scaled to a largest value of 1; log of the scale."""
    exponent = estimate.log_likelihood()
    peak = exponent.max(axis=1)
    return np.exp(exponent - peak[:, None]), peak


def _part_above(d: float) -> tuple[int, float]:
    """The cell that holds a point, and how much of it lies above."""
    at = (d - float(GRID[0])) / _step() + 0.5
    cell = min(max(int(at), 0), GRID.size - 1)
    return cell, 1 - min(max(at - cell, 0.0), 1.0)


def _step() -> float:
    """Width of a cell."""
    return float(GRID[1] - GRID[0])
