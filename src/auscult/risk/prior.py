"""The distribution of true effects over patients, learned from all of them (Stephens 2017).

A mixture of narrow normals on a grid, fitted by EM to the likelihood of every estimate. What the
covariates say of a patient, its centre, may shift one shape, pick one of several, or weigh one
shape as a second, independent measurement of the effect would: held-out likelihood decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.parallel import in_order
from auscult.risk.effect import Effect

GRID = 241
COMPONENTS = 61
ITERATIONS = 200
# Enough to compare shapes and replicates: from here on numbers of exposed patients move by less
# than a quarter of their error [diabetes130, simulated].
ROUGH_ITERATIONS = 100
# Pseudo-patients in all strata together. More of them smooth the prior: with 30 numbers of exposed
# patients have less variance, and a bias that is larger than their error [simulated].
PSEUDO_COUNT = 12.0
MOST_FOR_PRIOR = 20_000
MOST_FOR_CHOICE = 4000
FEWEST_PER_STRATUM = 100
SHAPE_BOOTSTRAPS = 200
SHAPE_SEED = 20181001  # of the bootstraps; part of the method
STRATA = (1, 3, 6)
PULLS = (0.0, 0.5, 1.0)
ROWS_AT_ONCE = 2048


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the predicted centre enters the prior.

    Attributes
    ----------
    strata : int
        Patients are split into so many equal parts by their centre, each with a shape of its own.
    pull : float
        Share of the way from the common mean to the predicted centre by which a shape is shifted.
    weighed : bool
        Whether the shape is weighed by how likely each effect makes the centre.
    """

    strata: int
    pull: float
    weighed: bool = False


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The centre as a measurement of the effect: normal around a line in it.

    A shift supposes that all patients differ alike from what is predicted. Where some patients leak
    much and others little, the prediction moves the odds between the two instead; taken for a shift
    it makes the little ones too many [simulated: 3% too many above 0.7 with 64 models].

    Attributes
    ----------
    intercept, slope, variance : float
        Mean ``intercept + slope * effect`` and variance of the centre.
    """

    intercept: float
    slope: float
    variance: float

    @classmethod
    def of(cls, effect: Effect, centre: NDArray[np.float64]) -> Self:
        """From moments, the estimates' own noise taken out."""
        x = effect.middle
        total = float(np.var(x))
        spread = max(total - float(effect.variance.mean()), 0.05 * total, 1e-9)
        slope = max(float(np.mean((centre - centre.mean()) * x)) / spread, 0.0)
        around = float(np.var(centre))
        return cls(
            intercept=float(centre.mean()) - slope * float(x.mean()),
            slope=slope,
            variance=max(around - slope**2 * spread, 0.05 * around, 1e-12),
        )

    def likelihood(
        self, centre: NDArray[np.float64], effects: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Of each effect, rows scaled to a largest value of 1, shape (n, points)."""
        exponent = (centre - self.intercept)[:, None] - self.slope * effects
        exponent *= exponent
        exponent *= -0.5 / self.variance
        exponent -= exponent.max(axis=1, keepdims=True)
        return np.exp(exponent, out=exponent)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """Distribution of a true effect around its location.

    Attributes
    ----------
    grid : float64 array, shape (points,)
        Distances from the location.
    mass : float64 array, shape (strata, points)
        Probability of each, rows of sum 1.
    cuts : float64 array, shape (strata - 1,)
        Centres that part the strata.
    mean, pull : float
        A patient's location is ``mean + pull * (centre - mean)``.
    measurement : Measurement, optional
        By which the shape is weighed.
    """

    grid: NDArray[np.float64]
    mass: NDArray[np.float64]
    cuts: NDArray[np.float64]
    mean: float
    pull: float
    measurement: Measurement | None = None

    def location(self, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the shape of each patient lies, shape (n,)."""
        return self.mean + self.pull * (centre - self.mean)

    def stratum(self, centre: NDArray[np.float64]) -> NDArray[np.int64]:
        """Row of `mass` for each patient, shape (n,)."""
        return np.searchsorted(self.cuts, centre, side="right")

    def masses(self, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prior of each patient on the grid, shape (n, points)."""
        mass = self.mass[self.stratum(centre)]
        if self.measurement is None:
            return mass
        return normalised(mass * self.measurement.likelihood(centre, self.mean + self.grid))


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Posterior of some patients on the prior's grid, each point's mass spread over its cell.

    Attributes
    ----------
    location : float64 array, shape (n,)
    grid : float64 array, shape (points,)
        Distances from the location, evenly spaced.
    mass : float64 array, shape (n, points)
        Rows of sum 1.
    """

    location: NDArray[np.float64]
    grid: NDArray[np.float64]
    mass: NDArray[np.float64]

    @classmethod
    def of(cls, effect: Effect, centre: NDArray[np.float64], prior: Prior) -> Self:
        """Posterior of patients under a prior."""
        location = prior.location(centre)
        likelihood, _ = _likelihood(effect, location, prior.grid)
        mass = normalised(likelihood * prior.masses(centre))
        return cls(location=location, grid=prior.grid, mass=mass)

    @property
    def step(self) -> float:
        """Width of a cell."""
        return float(self.grid[1] - self.grid[0])

    def mean_auc(self) -> NDArray[np.float64]:
        """Posterior mean of the AUC, shape (n,)."""
        points = self.location[:, None] + self.grid
        return np.asarray(np.einsum("np,np->n", self.mass, ndtr(points)))

    def above(self, effect: float) -> NDArray[np.float64]:
        """Probability of a true effect above `effect`, shape (n,)."""
        at = (effect - self.location - self.grid[0]) / self.step + 0.5
        cell = np.clip(np.floor(at), 0, self.grid.size - 1).astype(np.int64)
        rows = np.arange(len(cell))
        inside = np.clip(at - cell, 0.0, 1.0) * self.mass[rows, cell]
        below = np.where(cell > 0, self._cumulative()[rows, cell - 1], 0.0)
        return np.asarray(np.clip(1.0 - below - inside, 0.0, 1.0))

    def quantile(self, level: float) -> NDArray[np.float64]:
        """Quantile of the true effect, shape (n,)."""
        cumulative = self._cumulative()
        rows = np.arange(len(cumulative))
        at = np.minimum((cumulative < level).sum(axis=1), self.grid.size - 1)
        before = np.where(at > 0, cumulative[rows, np.maximum(at - 1, 0)], 0.0)
        mass = np.maximum(self.mass[rows, at], 1e-300)
        inside = np.clip((level - before) / mass, 0, 1) - 0.5
        return np.asarray(self.location + self.grid[at] + self.step * inside)

    def _cumulative(self) -> NDArray[np.float64]:
        if "cumulative" not in self.__dict__:
            object.__setattr__(self, "cumulative", np.cumsum(self.mass, axis=1))
        found: NDArray[np.float64] = self.__dict__["cumulative"]
        return found


class LikelihoodTable:
    """Likelihood of true effects on a grid for every patient: priors are fitted to it repeatedly.

    The mixture is of normals a quarter of a standard error wide; a few pseudo-patients drawn from
    the normal that has the right variance keep it proper where there are no data.

    Parameters
    ----------
    effect : Effect
        Shape (n,).
    centre : float64 array, shape (n,)
    pull : float
        See :class:`Prior`.
    """

    def __init__(self, effect: Effect, centre: NDArray[np.float64], pull: float) -> None:
        weight = 1 / (effect.variance + float(np.var(effect.middle)) + 1e-6)
        self.centre, self.pull = centre, pull
        self.mean = float(np.average(effect.middle, weights=weight))
        self._location = self.mean + pull * (centre - self.mean)
        self._effect = effect
        self._residual, self._variance = effect.middle - self._location, effect.variance
        noise = float(np.sqrt(np.median(effect.variance)))
        low, high = self._residual.min() - noise, self._residual.max() + noise
        self.grid = np.linspace(low, high, GRID)
        self._middle = np.linspace(low, high, COMPONENTS)
        self._width = max(0.25 * noise, (high - low) / COMPONENTS)
        shapes = np.exp(-0.5 * ((self.grid - self._middle[:, None]) / self._width) ** 2)
        self._shapes = normalised(shapes)
        n = centre.size
        self._likelihood, self._peak = np.empty((n, GRID)), np.empty(n)
        self._evidence = np.empty((n, COMPONENTS))

        def work(begin: int) -> None:
            rows = slice(begin, min(begin + ROWS_AT_ONCE, n))
            part = effect.take(rows)
            self._likelihood[rows], self._peak[rows] = _likelihood(
                part, self._location[rows], self.grid
            )
            self._evidence[rows] = self._likelihood[rows] @ self._shapes.T

        for _ in in_order(work, range(0, n, ROWS_AT_ONCE)):
            pass

    def fit(
        self, shape: Shape, rows: NDArray[np.int64] | None = None, *, iterations: int = ITERATIONS
    ) -> Prior:
        """Fit a prior to all patients or to some, who may be repeated, by so many steps of EM."""
        chosen = np.arange(self.centre.size) if rows is None else rows
        strata = shape.strata
        cuts = np.quantile(self.centre[chosen], np.arange(1, strata) / strata)
        stratum = np.searchsorted(cuts, self.centre[chosen], side="right")
        measurement, evidence = None, self._evidence
        if shape.weighed:
            centre = self.centre[chosen]
            measurement = Measurement.of(self._effect.take(chosen), centre)
            weights = measurement.likelihood(self.centre, self.mean + self.grid)
            weights *= self._likelihood
            evidence = weights @ self._shapes.T
            del weights
        mixtures = np.stack(
            [
                self._mixture(chosen[stratum == s], evidence, PSEUDO_COUNT / strata, iterations)
                for s in range(strata)
            ]
        )
        return Prior(
            grid=self.grid,
            mass=normalised(mixtures @ self._shapes),
            cuts=cuts,
            mean=self.mean,
            pull=self.pull,
            measurement=measurement,
        )

    def log_evidence(self, prior: Prior, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log probability of some patients' estimates, up to a constant of each estimate."""
        inside = np.einsum("np,np->n", self._likelihood[rows], prior.masses(self.centre[rows]))
        return np.asarray(np.log(np.maximum(inside, 1e-300)) + self._peak[rows])

    def shares_above(self, prior: Prior, effects: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over all patients of the posterior probability above each effect."""
        mass = normalised(self._likelihood * prior.masses(self.centre))
        cells = Cells(location=self._location, grid=self.grid, mass=mass)
        return np.array([float(cells.above(float(e)).mean()) for e in effects])

    def _mixture(
        self, rows: NDArray[np.int64], evidence: NDArray[np.float64], pseudo: float, iterations: int
    ) -> NDArray[np.float64]:
        """Weights of the components by EM, shape (components,)."""
        n = rows.size
        residual, evidence = self._residual[rows], evidence[rows]
        spread = max(float(np.var(residual) - self._variance[rows].mean()), 0.0) if n else 0.0
        place = float(residual.mean()) if n else 0.0
        start = np.exp(-0.5 * (self._middle - place) ** 2 / (spread + self._width**2))
        start /= start.sum()
        weight = start.copy()
        for _ in range(iterations if n else 0):
            # Expected membership of the components, summed over rows without writing it out.
            expected = weight * ((1 / (evidence @ weight)) @ evidence)
            weight = (expected + pseudo * start) / (n + pseudo)
        return np.asarray(weight)


def learned_prior(effect: Effect, centre: NDArray[np.float64], shape: Shape) -> Prior:
    """Fit a prior to at most 20,000 patients, evenly spaced.

    Parameters
    ----------
    effect : Effect
        Shape (n,).
    centre : float64 array, shape (n,)
    shape : Shape
    """
    effect, centre = spaced(effect, centre, MOST_FOR_PRIOR)
    return LikelihoodTable(effect, centre, shape.pull).fit(shape)


def weigh_shapes(effect: Effect, centre: NDArray[np.float64]) -> dict[Shape, float]:
    """How likely held-out patients are under each shape, by two-fold cross-validation.

    Strata need 100 patients each in the half that they are fitted on. At most 4,000 patients,
    evenly spaced, are read. Other patients might have preferred another shape: weights are averaged
    over Bayesian bootstraps of the patients (Yao et al. 2018, "pseudo-BMA+"), so that the interval
    of a count knows of shapes that are nearly as likely.

    Returns
    -------
    dict of Shape to float
        Sum 1, simplest shape first.
    """
    effect, centre = spaced(effect, centre, MOST_FOR_CHOICE)
    n = centre.size
    if np.ptp(centre) == 0:
        return {Shape(strata=1, pull=0.0): 1.0}
    # Sorting by centre and taking turns gives both halves the same spread of centres.
    order = np.argsort(centre, kind="stable")
    halves = [np.sort(order[np.arange(n) // 2 % 2 == half]) for half in (0, 1)]
    tables = [LikelihoodTable(effect, centre, pull) for pull in PULLS]
    shapes = [
        (Shape(strata=strata, pull=table.pull), table)
        for strata in STRATA
        for table in tables
        if strata == 1 or n >= 2 * strata * FEWEST_PER_STRATUM
    ]
    shapes.append((Shape(strata=1, pull=PULLS[0], weighed=True), tables[0]))

    def judge(candidate: tuple[Shape, LikelihoodTable]) -> NDArray[np.float64]:
        shape, table = candidate
        evidence = [
            table.log_evidence(table.fit(shape, fitted, iterations=ROUGH_ITERATIONS), judged)
            for fitted, judged in (halves, halves[::-1])
        ]
        return np.concatenate(evidence)

    evidence = np.stack(list(in_order(judge, shapes)))
    share = np.random.default_rng(SHAPE_SEED).standard_exponential((SHAPE_BOOTSTRAPS, n))
    totals = (n * normalised(share)) @ evidence.T
    weights = normalised(np.exp(totals - totals.max(axis=1, keepdims=True))).mean(axis=0)
    return {shape: float(w) for (shape, _), w in zip(shapes, weights, strict=True)}


def heaviest(weights: dict[Shape, float]) -> Shape:
    """The shape that weighs most; of equal ones the simplest."""
    return max(weights, key=lambda shape: weights[shape])


def spaced(
    effect: Effect, centre: NDArray[np.float64], most: int
) -> tuple[Effect, NDArray[np.float64]]:
    """At most so many patients, evenly spaced."""
    n = centre.size
    if n <= most:
        return effect, centre
    rows = np.linspace(0, n - 1, most).astype(np.int64)
    return effect.take(rows), centre[rows]


def normalised(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of sum 1."""
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def _likelihood(
    effect: Effect, location: NDArray[np.float64], grid: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Likelihood of each grid point, rows scaled to a largest value of 1; log of the scale."""
    exponent = effect.log_likelihood(location[:, None] + grid)
    peak = exponent.max(axis=1)
    return np.exp(exponent - peak[:, None]), peak
