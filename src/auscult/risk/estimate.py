"""Counted AUCs with the sampling distribution that the cohort's own scores show.

A counted AUC is unbiased whatever the scores look like, but how far it strays depends on them: on
tails, on ties, on how much wider members' scores are. One patient's few dozen models cannot tell;
all patients together can. The variance of a count of true AUC `A` is written

    var = k(A) reach A (1 - A),

`reach` the mean of 1 / n_in and 1 / n_out. The factor `k` lies between 0 and 2 whatever the
distribution (2/3 for two equal normals, 1 for right or wrong in equal measure); it is learned as a
smooth function of the AUC from the patients' unbiased variance estimates. Likelihoods, intervals
and p-values take the count as beta distributed with this mean and variance, in cells as wide as one
pair of models, so that an AUC of 1 is an event like any other.

Everything is told on the scale ``d = Phi^-1(AUC)``: it is a scale, not an assumption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import betainc, betaincc, betaln, gammaln, ndtr, ndtri

from auscult.risk.counting import Counted

GRID = np.linspace(-2.4, 4.8, 241)  # of true AUCs, on the scale of d
# Share of the binomial in the likelihood: counts are less skewed than a beta distribution of their
# mean and variance, by a fifth for normal scores and by a half for right or wrong [simulated].
BINOMIAL = 0.6
MASS_STEP = 4  # points of the grid between those at which a cell's probability is computed
NODES = 161  # counted AUCs at which likelihoods are tabulated
KNOTS = np.linspace(0.3, 1.0, 29)
BANDWIDTH = 0.06
# As many patients' worth of the cohort's common factor pull every knot's.
COMMON = 20.0
SMALLEST_FACTOR, LARGEST_FACTOR = 0.02, 2.0
ROWS_AT_ONCE = 1 << 16
ALIKE = 0.02  # in logarithm: patients of so nearly equal reach share a table


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseLaw:
    """How the variance of a counted AUC depends on the true one.

    Attributes
    ----------
    factor : float64 array, shape (knots,)
        The factor `k` at the knots, linear between them.
    """

    factor: NDArray[np.float64]

    def variance(
        self, auc: NDArray[np.float64], reach: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        """Sampling variance of a count where the true AUC is `auc`, by broadcasting."""
        factor: NDArray[np.float64] = np.interp(auc, KNOTS, self.factor)
        return np.asarray(factor * reach * auc * (1 - auc))


def learned_law(counted: Counted) -> NoiseLaw:
    """Ratio of noise to ``A (1 - A)`` near each AUC, over patients.

    Numerator and denominator are unbiased and are summed over the same patients, so that looking at
    patients of one *counted* AUC instead of one true AUC does not bias a ratio that changes slowly.

    Parameters
    ----------
    counted : Counted
        Of all patients.
    """
    usable = np.isfinite(counted.auc) & np.isfinite(counted.noise)
    noise, spread = counted.noise[usable], (counted.spread * counted.reach)[usable]
    factor = kernel_ratio(counted.auc[usable], noise, spread)
    return NoiseLaw(factor=np.clip(factor, SMALLEST_FACTOR, LARGEST_FACTOR))


def kernel_ratio(
    auc: NDArray[np.float64],
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Ratio of two sums over the patients near each knot, drawn to the ratio over all of them.

    Parameters
    ----------
    auc, top, bottom : float64 array, shape (n,)

    Returns
    -------
    float64 array, shape (knots,)
        2/3, as for two equal normals, where the bottom vanishes.
    """
    total = float(bottom.sum())
    common = float(top.sum()) / total if total > 0 else 2 / 3
    pull = COMMON * max(total, 1e-300) / max(auc.size, 1)
    above, below = np.full(KNOTS.size, pull * common), np.full(KNOTS.size, pull)
    for start in range(0, auc.size, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        near = np.exp(-0.5 * ((auc[rows, None] - KNOTS) / BANDWIDTH) ** 2)
        above += top[rows] @ near
        below += bottom[rows] @ near
    return np.asarray(above / np.maximum(below, 1e-300))


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Counted AUCs of some patients, or records, and how noisy they are.

    Attributes
    ----------
    auc, reach, pairs : float64 array, shape (n,)
        See :class:`Counted`; NaN where not estimable.
    law : NoiseLaw
    chance : dict of float to float64 array
        What patients near each bar reach by chance, see :mod:`auscult.risk.tails`; empty where
        nobody is to be confirmed.
    """

    auc: NDArray[np.float64]
    reach: NDArray[np.float64]
    pairs: NDArray[np.float64]
    law: NoiseLaw
    chance: dict[float, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, counted: Counted, law: NoiseLaw | None = None) -> Estimate:
        """Estimates from counts; the law is learned from them unless it is given."""
        return cls(
            auc=counted.auc,
            reach=counted.reach,
            pairs=counted.pairs,
            law=learned_law(counted) if law is None else law,
        )

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Estimate:
        """Estimates of some of the rows."""
        return replace(self, auc=self.auc[rows], reach=self.reach[rows], pairs=self.pairs[rows])

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which rows have an estimate, shape (n,)."""
        return np.isfinite(self.auc)

    @property
    def size(self) -> int:
        """Number of rows."""
        return int(self.auc.size)

    @cached_property
    def inner(self) -> NDArray[np.float64]:
        """Counted AUCs drawn in from 0 and 1 by half a pair, shape (n,)."""
        return np.asarray((self.auc * self.pairs + 0.5) / (self.pairs + 1))

    @cached_property
    def d(self) -> NDArray[np.float64]:
        """``Phi^-1`` of the counted AUC, finite, shape (n,)."""
        return np.asarray(ndtri(self.inner))

    @cached_property
    def noise(self) -> NDArray[np.float64]:
        """Sampling variance of the counted AUC, at the estimate, shape (n,)."""
        return self.law.variance(self.inner, self.reach)

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """Sampling variance of `d`, by the delta method, shape (n,)."""
        return np.asarray(self.noise * 2 * np.pi * np.exp(self.d**2))

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Confidence interval of the AUC: what a count does not refute, two arrays (n,)."""
        low, high = np.full(self.size, np.nan), np.full(self.size, np.nan)
        for rows, table in self._tables():
            low[rows], high[rows] = table.interval(self.auc[rows], level)
        return low, high

    def p_above(self, auc: float) -> NDArray[np.float64]:
        """One-sided p-value of "the AUC is at most `auc`", shape (n,); NaN where not estimable.

        The larger of two: of the beta distribution, and of models drawn again near the bar.
        """
        p = np.full(self.size, np.nan)
        for rows, table in self._tables():
            p[rows] = table.p_above(self.auc[rows], auc)
        if self.chance:
            bar = min(self.chance, key=lambda one: abs(one - auc))
            reached = self.chance[bar]
            at = self.auc - 0.25 / self.pairs - (auc - bar)
            beyond = reached.size - np.searchsorted(reached, at, side="left")
            p = np.where(np.isnan(p), np.nan, np.maximum(p, (beyond + 1) / (reached.size + 1)))
        return p

    def p_below(self, auc: float) -> NDArray[np.float64]:
        """One-sided p-value of "the AUC is at least `auc`", shape (n,); NaN where not estimable."""
        p = np.full(self.size, np.nan)
        for rows, table in self._tables():
            p[rows] = table.p_below(self.auc[rows], auc)
        return p

    def log_likelihood(self) -> NDArray[np.float64]:
        """Log-likelihood of each true AUC of the grid, up to a constant per row.

        Returns
        -------
        float64 array, shape (n, points)
        """
        found = np.full((self.size, GRID.size), np.nan)
        for rows, table in self._tables():
            found[rows] = table.at(self.auc[rows])
        return found

    def _tables(self) -> list[tuple[NDArray[np.int64], _Table]]:
        """Rows of nearly equal reach and the table that serves them."""
        rows = np.flatnonzero(self.usable)
        step = np.round(np.log(np.column_stack([self.reach[rows], self.pairs[rows]])) / ALIKE)
        kinds, kind = np.unique(step, axis=0, return_inverse=True)
        kept: dict[tuple[float, float], _Table] = self.law.__dict__.setdefault("tables", {})
        found = []
        for number, one in enumerate(kinds):
            key = (float(one[0]), float(one[1]))
            if key not in kept:
                kept[key] = _Table(self.law, *np.exp(one * ALIKE).tolist())
            found.append((rows[kind.ravel() == number], kept[key]))
        return found


class _Table:
    """Likelihood of every true AUC for every counted one, to be read by interpolation.

    Nodes are even in the arcsine of the root, as close as the noise of a count wants near 0 and 1.
    """

    def __init__(self, law: NoiseLaw, reach: float, pairs: float) -> None:
        self._law, self._reach, self._half = law, reach, 0.5 / pairs
        self._counts = np.sin(np.linspace(0, np.pi / 2, NODES)) ** 2
        auc = ndtr(GRID)
        self._first, self._second = _shape(auc, law.variance(auc, reach))
        inner = np.clip(self._counts, 1e-12, 1 - 1e-12)[:, None]
        self._log = (
            np.log(inner) * (self._first - 1)
            + np.log1p(-inner) * (self._second - 1)
            - betaln(self._first, self._second)
            - np.log(pairs)
        )
        # Near 0 and 1 a density changes inside the width of a pair, or has no end.
        near = np.flatnonzero(np.minimum(self._counts, 1 - self._counts) < 2.5 * self._half)
        self._log[near] = np.log(np.maximum(self._mass(near), 1e-300))
        binomial = _binomial(self._counts, auc, law.variance(auc, reach)) * self._cell()[:, None]
        mixed = (1 - BINOMIAL) * np.exp(self._log) + BINOMIAL * binomial
        self._log = np.log(np.maximum(mixed, 1e-300))

    def at(self, auc: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-likelihood on the grid for each count."""
        node = self._node(auc)
        lower = np.minimum(node.astype(np.int64), NODES - 2)
        share = (node - lower)[:, None]
        return np.asarray((1 - share) * self._log[lower] + share * self._log[lower + 1])

    def p_above(self, auc: NDArray[np.float64], bar: float) -> NDArray[np.float64]:
        """Probability of a count at least as large where the true AUC is `bar`."""
        edge = np.clip(self._counts - self._half, 0.0, 1.0)
        return self._tail(auc, np.asarray(betaincc(*self._at(bar), edge), dtype=np.float64))

    def p_below(self, auc: NDArray[np.float64], bar: float) -> NDArray[np.float64]:
        """Probability of a count at most as large where the true AUC is `bar`."""
        edge = np.clip(self._counts + self._half, 0.0, 1.0)
        return self._tail(auc, np.asarray(betainc(*self._at(bar), edge), dtype=np.float64))

    def _at(self, bar: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        at = np.array(bar)
        return _shape(at, self._law.variance(at, self._reach))

    def _tail(self, auc: NDArray[np.float64], tail: NDArray[np.float64]) -> NDArray[np.float64]:
        logged = np.log(np.maximum(tail, 1e-300))
        return np.exp(np.interp(self._node(auc), np.arange(NODES), logged))

    def interval(
        self, auc: NDArray[np.float64], level: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """True AUCs under which a count as large, or as small, is not rarer than wanted."""
        tail = (1 - level) / 2
        # Half of the cell counts to either side: with few pairs, bounds are not too wide.
        lows = ndtr(self._crossings(betaincc, tail, 1))
        highs = ndtr(self._crossings(betainc, tail, -1))
        # A count of 1 has its whole cell below it, a count of 0 above it.
        cell = self._mass(np.array([0, NODES - 1])) / 2
        lows[0], highs[-1] = 0.0, 1.0
        highs[0], lows[-1] = ndtr(_crossing(-cell[0], -tail)), ndtr(_crossing(cell[1], tail))
        node, places = self._node(auc), np.arange(NODES)
        return np.interp(node, places, lows), np.interp(node, places, highs)

    def _crossings(
        self, tail_of: Callable[..., Any], level: float, sign: int
    ) -> NDArray[np.float64]:
        """Where on the grid the tail beyond each node reaches a level, shape (nodes,).

        The tail rises along the grid (`sign` 1) or falls (-1), so that halving finds the place.
        """

        def at(place: NDArray[np.int64]) -> NDArray[np.float64]:
            found = tail_of(self._first[place], self._second[place], self._counts)
            return np.asarray(sign * found)

        last = GRID.size - 1
        low, high = np.zeros(NODES, np.int64), np.full(NODES, last)
        while (high - low).max() > 1:
            middle = (low + high) // 2
            reached = at(middle) >= sign * level
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        below, above = at(low), at(high)
        rise = np.maximum(above - below, 1e-300)
        share = np.clip((sign * level - below) / rise, 0.0, 1.0)
        return np.asarray(GRID[low] + share * (GRID[high] - GRID[low]))

    def _cell(self) -> NDArray[np.float64]:
        """Width of the cell around each node, inside [0, 1]."""
        edges = (self._counts - self._half, self._counts + self._half)
        return np.asarray(np.minimum(edges[1], 1.0) - np.maximum(edges[0], 0.0))

    def _mass(self, nodes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probability of the cell around some nodes, one pair wide, shape (nodes, points)."""
        low = np.clip(self._counts[nodes] - self._half, 0, 1)[:, None]
        high = np.clip(self._counts[nodes] + self._half, 0, 1)[:, None]
        # Beta functions take most of a small audit's time: the curve between is smooth.
        some = np.arange(0, GRID.size, MASS_STEP)
        first, second = self._first[some], self._second[some]
        mass = np.empty((nodes.size, some.size))
        # Differences of the smaller tail keep their digits.
        upper = self._counts[nodes] > 0.5
        below, upto = (betainc(first, second, edge[~upper]) for edge in (low, high))
        over, beyond = (betaincc(first, second, edge[upper]) for edge in (low, high))
        mass[~upper], mass[upper] = upto - below, over - beyond
        logged = CubicSpline(GRID[some], np.log(np.maximum(mass, 1e-300)), axis=1)
        return np.asarray(np.exp(logged(GRID)))

    @staticmethod
    def _node(auc: NDArray[np.float64]) -> NDArray[np.float64]:
        """Place of a count between the nodes."""
        return np.asarray(np.arcsin(np.sqrt(np.clip(auc, 0, 1))) * (2 / np.pi) * (NODES - 1))


def _binomial(
    counts: NDArray[np.float64], auc: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Density of a binomial share between its whole numbers, shape (counts, points)."""
    trials = auc * (1 - auc) / np.maximum(variance, 1e-12)
    x = counts[:, None]
    logged = trials * x * np.log(auc) + trials * (1 - x) * np.log1p(-auc)
    logged -= gammaln(trials * x + 1) + gammaln(trials * (1 - x) + 1)
    density = np.exp(logged - logged.max(axis=0))
    return np.asarray(density / np.trapezoid(density, counts, axis=0))


def _shape(
    mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Parameters of the beta distribution of a mean and variance."""
    size = np.maximum(mean * (1 - mean) / np.maximum(variance, 1e-12) - 1, 1e-3)
    return mean * size, np.maximum((1 - mean) * size, 1e-12)


def _crossing(rising: NDArray[np.float64], level: float) -> float:
    """Where on the grid a rising row reaches a level."""
    return float(np.interp(level, np.maximum.accumulate(rising), GRID))
