"""The same patients under two recipes: how much fewer are exposed, and how sure that is.

Both were trained on the same memberships, so what a patient's draw of models does to one estimate
it does in part to the other, and what the patients are like they are under both. Differences keep
both out.

The numbers exposed under either recipe, and their intervals, are the headline's: counted by
:mod:`auscult.risk.exposed` and nowhere else. Here they are paired. The number exposed is a sum of
posterior probabilities, and so is its difference. Its error has two sources. Given the priors,
whether a patient lies above the threshold is a coin under either recipe; the two coins of a patient
are correlated as its two posteriors are, taken as bivariate normal with the correlation that prior
and noise imply. And the priors were learned: both are learned again on the same resampled patients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit

from auscult.attacks.joint import auc_in_folds
from auscult.attacks.layout import Layout
from auscult.base.parallel import in_order, let_go
from auscult.base.randomness import Stage, generator
from auscult.protection.assessment import THRESHOLDS, Assessment
from auscult.risk import estimate as counts
from auscult.risk.exposed import Exposed, count_interval, widened

DRAWS = 4000
LARGEST = 1 - 1e-9  # correlation
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95% interval."""

    estimate: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For the summary."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Exposed patients before and after, at one threshold.

    Attributes
    ----------
    before, after : Estimate
    change : Estimate or None
        None where models are too few to count.
    removed : Estimate or None
        Share of those exposed before that is exposed no longer; None where that is nobody.
    removed_at_least : float or None
        Lower bound of it that holds for all compared protections together.
    reason : str
        Why there is no change.
    """

    before: Estimate
    after: Estimate
    change: Estimate | None
    removed: Estimate | None
    removed_at_least: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Noise:
    """What two assessments of the same patients share.

    Attributes
    ----------
    correlation : float
        Of the two recipes' scores within folds and classes, mean over patients.
    before, after : float64 array, shape (patients, 2)
        Raw AUC on either half of the folds.
    """

    correlation: float
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def shared_noise(before: Assessment, after: Assessment) -> Noise:
    """Compare the scores that each patient's models get under the two recipes."""
    places = list(zip(before.layout.parts(), after.layout.parts(), strict=True))

    def work(
        pair: tuple[tuple[slice, slice, Layout], tuple[slice, slice, Layout]],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        halves, residuals = [], []
        weight = pair[0][2].deal().weight
        half = weight.shape[1] // 2
        for (_, _, part), side in zip(pair, (before, after), strict=True):
            values = side.risk.attack.score(part, side.risk.centring.apply(part)).values
            halves.append(
                np.column_stack(
                    [
                        auc_in_folds(values[:, rows], weight[:, rows])
                        for rows in (slice(0, half), slice(half, None))
                    ]
                )
            )
            number = np.maximum(weight.sum(axis=3), 1)
            mean = (values * weight).sum(axis=3) / number
            residuals.append((values - mean[..., None]) * weight)
            let_go(side.layout.signals)
        first, second = residuals
        size = np.sqrt((first**2).sum(axis=(1, 2, 3)) * (second**2).sum(axis=(1, 2, 3)))
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = (first * second).sum(axis=(1, 2, 3)) / size
        return correlation, halves[0], halves[1]

    found = list(in_order(work, places))
    correlation = np.concatenate([one[0] for one in found])
    finite = correlation[np.isfinite(correlation)]
    return Noise(
        correlation=float(finite.mean()) if finite.size else 0.0,
        before=np.concatenate([one[1] for one in found]),
        after=np.concatenate([one[2] for one in found]),
    )


def exposed_counts(
    before: Assessment, after: Assessment, *, noise: float, seed: int, compared: int = 1
) -> dict[float, Counts]:
    """Exposed patients under both recipes and their paired difference, at each threshold.

    Parameters
    ----------
    before, after : Assessment
        Of the same patients.
    noise : float
        Correlation of the two recipes' scores.
    seed : int
        The audit's.
    compared : int
        Number of protections that a reader chooses from.
    """
    return compared_counts(
        before, after, moments(before, after, noise), seed=seed, compared=compared
    )


def compared_counts(
    before: Assessment,
    after: Assessment,
    found: dict[float, Moments],
    *,
    seed: int,
    compared: int = 1,
) -> dict[float, Counts]:
    """Counts of two assessments with what their difference owes to each; see the module.

    Parameters
    ----------
    before, after : Assessment
    found : dict of float to Moments
    seed : int
        The audit's.
    compared : int
        Number of protections that a reader chooses from.
    """
    patients = int(before.risk.estimate.usable.sum())
    few = before.few or after.few
    counts = {}
    for t, one in found.items():
        made = counts_from(one, patients, seed=seed, compared=compared)
        sides = {"before": _counted(before.exposed[t]), "after": _counted(after.exposed[t])}
        nothing = {"change": None, "removed": None, "removed_at_least": None, "reason": few}
        counts[t] = replace(made, **sides, **(nothing if few else {}))  # type: ignore[arg-type]
    return counts


def _counted(one: Exposed) -> Estimate:
    return Estimate(estimate=one.estimate, low=one.low, high=one.high)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Exposed patients under two recipes: numbers, variances and covariance."""

    before: float
    after: float
    variance_before: float
    variance_after: float
    covariance: float


def moments(before: Assessment, after: Assessment, noise: float) -> dict[float, Moments]:
    """Numbers of exposed patients and their errors, at each threshold; see the module.

    Parameters
    ----------
    before, after : Assessment
        Of the same patients.
    noise : float
        Correlation of the noise of the two estimates of a patient.
    """
    first, second = before.risk, after.risk
    usable = first.estimate.usable & second.estimate.usable
    n = int(usable.sum())
    wide = [widened(side) for side in (first, second)]
    correlation = posterior_correlation(first.estimate, second.estimate, usable, noise)
    found = {}
    for place, threshold in enumerate(THRESHOLDS):
        p, q = (side.posterior.tails[threshold][usable] for side in (first, second))
        together = joint_excess(p, q, correlation)
        errors = [n * side.errors[:, place] for side in (before, after)]
        found[threshold] = Moments(
            before=float(p.sum()),
            after=float(q.sum()),
            variance_before=float(wide[0] ** 2 * (p * (1 - p)).sum() + (errors[0] ** 2).mean()),
            variance_after=float(wide[1] ** 2 * (q * (1 - q)).sum() + (errors[1] ** 2).mean()),
            covariance=float(wide[0] * wide[1] * together.sum() + (errors[0] * errors[1]).mean()),
        )
    return found


def exposed_alone(side: Assessment) -> dict[float, Estimate]:
    """Exposed patients under one recipe, at each threshold."""
    return {t: _counted(one) for t, one in side.exposed.items()}


def counts_from(one: Moments, patients: int, *, seed: int, compared: int = 1) -> Counts:
    """Intervals of the two numbers, their difference and their quotient.

    The numbers have gamma distributions (as the count of one recipe has) under a normal copula;
    quantiles of difference and quotient are taken over draws of it.

    Parameters
    ----------
    one : Moments
    patients : int
    seed : int
        The audit's.
    compared : int
        Number of protections that a reader chooses from.
    """
    first, second = one.variance_before, one.variance_after
    rho = one.covariance / np.sqrt(first * second) if first > 0 and second > 0 else 0.0
    rho = float(np.clip(rho, -LARGEST, LARGEST))
    z = generator(seed, Stage.PROTECTION, 1).normal(size=(2, DRAWS))
    z[1] = rho * z[0] + np.sqrt(1 - rho**2) * z[1]
    before = _count_quantiles(one.before, first, patients, ndtr(z[0]))
    after = _count_quantiles(one.after, second, patients, ndtr(z[1]))
    low, high = np.quantile(after - before, [0.025, 0.975])
    if all(
        _interval(count, variance, patients).low == 0
        for count, variance in ((one.before, first), (one.after, second))
    ):
        low, high = min(low, 0.0), max(high, 0.0)  # there may be nobody, before and after
    change = one.after - one.before
    removed = bound = None
    if one.before >= 1:
        share = 1 - after / np.maximum(before, 1e-9)
        ends = np.quantile(share, [0.025, 0.975])
        middle = 1 - one.after / one.before
        bound = min(float(np.quantile(share, 0.025 / compared)), middle)
        # Counts are rounded outwards to patients: where none may be left, all may be removed.
        nobody = _interval(one.after, second, patients).low == 0
        removed = Estimate(
            estimate=middle,
            low=min(float(ends[0]), middle),
            high=1.0 if nobody else max(float(ends[1]), middle),
        )
    return Counts(
        before=_interval(one.before, first, patients),
        after=_interval(one.after, second, patients),
        change=Estimate(
            estimate=change, low=min(float(low), change), high=max(float(high), change)
        ),
        removed=removed,
        removed_at_least=bound,
    )


def posterior_correlation(
    before: counts.Estimate, after: counts.Estimate, usable: NDArray[np.bool_], noise: float
) -> NDArray[np.float64]:
    """Correlation of a patient's two true effects given both estimates, shape (usable patients,).

    Effects over patients and their noise are taken as bivariate normal; the covariance of the true
    effects is that of the estimates less that of the noise.

    Parameters
    ----------
    before, after : Estimate
    usable : bool array, shape (patients,)
        Patients who are estimable in both.
    noise : float
        Correlation of the noise of the two estimates of a patient.
    """
    first, second = before.take(usable), after.take(usable)
    x, y = first.d, second.d
    noise = float(np.clip(noise, -LARGEST, LARGEST))
    s11, s22 = first.variance, second.variance
    s12 = noise * np.sqrt(s11 * s22)
    spread = np.cov(x, y)
    t11 = max(float(spread[0, 0] - s11.mean()), 0.02 * float(s11.mean()))
    t22 = max(float(spread[1, 1] - s22.mean()), 0.02 * float(s22.mean()))
    limit = LARGEST * np.sqrt(t11 * t22)
    t12 = float(np.clip(spread[0, 1] - s12.mean(), -limit, limit))
    # Posterior covariance = inverse of (inverse of T + inverse of S), 2 by 2.
    t = t11 * t22 - t12**2
    s = s11 * s22 - s12**2
    a = t22 / t + s22 / s
    b = -(t12 / t + s12 / s)
    c = t11 / t + s11 / s
    return np.asarray(np.clip(-b / np.sqrt(a * c), -LARGEST, LARGEST))


def joint_excess(
    p: NDArray[np.float64], q: NDArray[np.float64], correlation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Covariance of two coins with probabilities p and q whose normal scores correlate, shape (n,).

    The integral of the bivariate normal density over the correlation (Plackett 1954).

    Parameters
    ----------
    p, q : float64 array, shape (n,)
    correlation : float64 array, shape (n,)
    """
    h, k = (ndtri(np.clip(side, 1e-12, 1 - 1e-12)) for side in (p, q))
    # With r = sin(t) the integrand stays bounded as the correlation nears 1.
    half = np.arcsin(correlation)[:, None] / 2
    angle = half * (NODES + 1)
    sine, cosine = np.sin(angle), np.maximum(np.cos(angle), 1e-9)
    inner = (h**2 + k**2)[:, None] - 2 * (h * k)[:, None] * sine
    density = np.exp(-inner / (2 * cosine**2)) / (2 * np.pi)
    return np.asarray(((half * WEIGHTS) * density).sum(axis=1))


def mean_difference(
    before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[Estimate, int] | None:
    """Mean of paired differences with its normal 95% interval; None with fewer than two."""
    difference = (after - before)[np.isfinite(after) & np.isfinite(before)]
    if difference.size < 2:
        return None
    return mean_of(difference), int(difference.size)


def mean_of(values: NDArray[np.float64], compared: int = 1) -> Estimate:
    """Mean with its interval from Student's t: 95%, for so many comparisons together."""
    mean = float(values.mean())
    reach = float(stdtrit(values.size - 1, 1 - 0.025 / compared))
    error = reach * float(values.std(ddof=1)) / float(np.sqrt(values.size))
    return Estimate(estimate=mean, low=mean - error, high=mean + error)


def _interval(estimate: float, variance: float, patients: int) -> Estimate:
    low, high = count_interval(estimate, variance, patients)
    return Estimate(estimate=estimate, low=low, high=high)


def _count_quantiles(
    estimate: float, variance: float, patients: int, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of the distribution from which intervals of counts are taken."""
    upside = estimate > patients / 2
    mean = patients - estimate if upside else estimate
    if mean <= 0 or variance <= 0:
        return np.full(at.shape, estimate)
    found = variance / mean * gammaincinv(mean**2 / variance, 1 - at if upside else at)
    return np.asarray(patients - found if upside else found)
