"""How many patients are exposed above a threshold, how sure that is, and which are confirmed.

The number of patients whose true AUC exceeds t is the sum of their posterior tail probabilities,
not a count of estimates above t: with noisy estimates such a count is too large. Confirmed patients
are those whose own data, unshrunk, refute "AUC at most t" with a false discovery rate of 5% over
all patients (Benjamini & Hochberg 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from auscult.base.parallel import in_order
from auscult.base.progress import SILENT, Progress
from auscult.risk.patients import PatientRisk
from auscult.risk.prior import PSEUDO_COUNT, ROUGH_ITERATIONS, Likelihoods, Prior, Shape
from auscult.risk.shrinkage import sign_of

FALSE_RATE = 0.05
REPLICATES = 40
FEWEST_MODELS = 12  # IN and OUT
LOPSIDED = 0.45  # of the models: as many IN and OUT of them would be half
# Resampling patients does not show what smoothing the prior costs. A rougher prior shows most of
# it; for the rest there is a factor [simulated].
SMOOTHING_ERROR = 1.1
LESS_SMOOTH = 3.0  # pseudo-patients of the rougher prior
# With few models a patient's likelihood is wider than what is learned from all of them, and the
# prior's bias grows: intervals of counts held the truth in 84 to 92% of some cohorts with 32
# models, until they were widened by a fifth [simulated].
ENOUGH_MODELS = 32  # IN and OUT: more add nothing
FEW_MODELS_ERROR = 0.2
# Where an AUC at the threshold has a standard error of over twice its distance from 1, the prior's
# mass there is a guess: above 0.99, 32 models said three times as many as there were [simulated].
MOST_OF_DISTANCE = 2.0
MOST_FOR_REPLICATES = 3000
NOBODY = 0.025  # an expected number of patients that is no more likely than this to be one or more


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """Patients above one threshold.

    Attributes
    ----------
    threshold : float
    estimate, low, high : float
        Expected number of patients with a true AUC above it, with its 95% interval.
    confirmed : int
    raw, study : int
        Patients whose raw joint AUC, or the study's maximum, exceeds it: for comparison.
    """

    threshold: float
    estimate: float
    low: float
    high: float
    confirmed: int
    raw: int
    study: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """How much the shares above thresholds owe to learning the prior.

    Attributes
    ----------
    errors : float64 array, shape (replicates, thresholds)
        How far off the shares are when the prior is learned again, for all patients. Replicates of
        the same generator and number of patients resample the same patients, whatever the risk.
    smoothing : float64 array, shape (thresholds,)
        What a rougher prior takes away.
    plausible : float64 array, shape (priors, thresholds)
        Shares that narrower priors give which the counts do not refute.
    """

    errors: NDArray[np.float64]
    smoothing: NDArray[np.float64]
    plausible: NDArray[np.float64]

    @property
    def spread(self) -> NDArray[np.float64]:
        """Typical error of the share above each threshold, shape (thresholds,)."""
        return np.asarray(np.sqrt((self.errors**2).mean(axis=0) + self.smoothing**2))


def exposed(
    risk: PatientRisk,
    thresholds: tuple[float, ...],
    rng: np.random.Generator,
    progress: Progress = SILENT,
) -> list[Exposed]:
    """Count exposed patients at each threshold.

    The interval has two sources of uncertainty: given the prior, whether each patient lies above
    the threshold is a coin with the posterior's probability; and the prior itself was learned from
    these patients, whose bootstrap shows how much it would change.

    Parameters
    ----------
    risk : PatientRisk
        Whose posterior knows all `thresholds`.
    thresholds : tuple of float
    rng : numpy.random.Generator
        For the bootstrap over patients.
    progress : Progress
        Advanced by one per replicate of the bootstrap.
    """
    return exposed_by(risk, thresholds, learned_again(risk, thresholds, rng, progress))


def confirmed_above(risk: PatientRisk, threshold: float) -> NDArray[np.bool_]:
    """Patients whose AUC lies above a threshold with a false discovery rate of 5%, one by one."""
    usable = risk.estimate.usable
    found = np.zeros(usable.size, dtype=bool)
    found[usable] = benjamini_hochberg(risk.estimate.take(usable).p_above(threshold), FALSE_RATE)
    return found


def exposed_by(risk: PatientRisk, thresholds: tuple[float, ...], learned: Learned) -> list[Exposed]:
    """The same where it is known what learning the prior adds; see :func:`exposed`.

    Parameters
    ----------
    risk : PatientRisk
    thresholds : tuple of float
        Those of `learned`.
    learned : Learned
    """
    usable = risk.estimate.usable
    patients = int(usable.sum())
    spread, plausible = learned.spread, learned.plausible
    models = max(typical_models(risk), 1.0)
    widening = widened(risk)
    result = []
    for number, threshold in enumerate(thresholds):
        confirmed = int(confirmed_above(risk, threshold).sum())
        above = risk.posterior.above[threshold]
        estimate = above.mean
        error = SMOOTHING_ERROR * patients * spread[number]
        variance = widening**2 * (above.variance + error**2)
        low, high = count_interval(estimate, variance, patients)
        also = np.round(patients * plausible[:, number])
        low, high = min([low, *also]), max([high, *also])
        if _too_near_one(threshold, models):
            low = min(low, confirmed)
        if few_models(risk):
            below = benjamini_hochberg(risk.estimate.take(usable).p_below(threshold), FALSE_RATE)
            low, high = min(low, confirmed), max(high, patients - int(below.sum()))
        low, high = min(low, estimate), max(high, estimate)  # an estimate of 2 may be 1.9999999
        result.append(
            Exposed(
                threshold=threshold,
                estimate=estimate,
                low=low,
                high=high,
                confirmed=confirmed,
                raw=int((risk.auc_raw[usable] > threshold).sum()),
                study=int((risk.study_max_auc[usable] > threshold).sum()),
            )
        )
    return result


def typical_models(risk: PatientRisk) -> float:
    """IN models of the median patient, and as many OUT; 0 where nobody can be assessed."""
    usable = risk.estimate.usable
    return 1 / float(np.median(risk.estimate.reach[usable])) if usable.any() else 0.0


def widened(risk: PatientRisk) -> float:
    """How much wider errors of counts are than they look, because there are few models."""
    lacking = max(0.0, ENOUGH_MODELS / max(typical_models(risk), 1.0) - 1.0)
    return 1.0 + FEW_MODELS_ERROR * lacking


def few_models(risk: PatientRisk, of: int | None = None) -> str:
    """Why the patients' distribution cannot be learned; empty where models are enough.

    With fewer than 12 IN and 12 OUT models a prior that is learned from the patients put up to a
    quarter of them above a bar that nobody was above [simulated]. Intervals then reach from the
    patients who are confirmed above to all but those who are confirmed below.

    Parameters
    ----------
    risk : PatientRisk
    of : int, optional
        Models of the audit. Where patients are IN most of them, more are needed.
    """
    models = typical_models(risk)
    if models >= FEWEST_MODELS - 1e-9:
        return ""
    if of is not None and 0 < models < LOPSIDED * of:
        needed = int(np.ceil(of * FEWEST_MODELS / models / 2 - 1e-9)) * 2
        return (
            f"a patient's IN and OUT models say as much as {models:.0f} of either kind, so the "
            f"number is not estimable, only its bounds: {needed} models are needed at this share "
            "of members"
        )
    return (
        f"with about {models:.0f} IN and OUT models of a patient the number is not estimable, only "
        f"its bounds: {2 * FEWEST_MODELS} models are needed"
    )


def _too_near_one(threshold: float, models: float) -> bool:
    """Whether the counts cannot tell an AUC at the threshold from 1."""
    error = np.sqrt(threshold * (1 - threshold) / models)
    return bool(error > MOST_OF_DISTANCE * (1 - threshold))


def benjamini_hochberg(p: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at false discovery rate `rate`, shape (n,)."""
    return adjusted(p) <= rate


def adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini-Hochberg q-values: smallest false discovery rate that rejects each, shape (n,)."""
    n = p.shape[0]
    order = np.argsort(p)
    scaled = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def learned_again(
    risk: PatientRisk,
    thresholds: tuple[float, ...],
    rng: np.random.Generator,
    progress: Progress = SILENT,
) -> Learned:
    """Learn the prior again, from resampled patients, rougher and narrower.

    Each replicate learns it from resampled patients, in a shape drawn by its weight, and is
    compared with what is reported.

    Parameters
    ----------
    risk : PatientRisk
    thresholds : tuple of float
    rng : numpy.random.Generator
        It draws the same patients for every risk over as many: two of them can be paired.
    progress : Progress
        Advanced by one per replicate.
    """
    usable = np.flatnonzero(risk.estimate.usable)
    kept = sample_for_replicates(usable)
    weights = risk.posterior.shapes
    shapes = list(weights)
    draws = [
        (
            shapes[int(rng.choice(len(shapes), p=list(weights.values())))],
            np.sort(rng.integers(0, kept.size, kept.size)),
        )
        for _ in range(REPLICATES)
    ]
    table = table_of(risk, kept)

    def weighed(smooth: float) -> list[tuple[float, Prior]]:
        priors = table.fit_all(weights, iterations=ROUGH_ITERATIONS, pseudo_count=smooth)
        return list(zip(weights.values(), priors, strict=True))

    learned, rougher = in_order(weighed, (PSEUDO_COUNT, LESS_SMOOTH))
    error = prior_errors(table, learned, thresholds, draws, progress)
    levels = ndtri(np.array(thresholds))
    smoothing = table.shares_above(learned, levels) - table.shares_above(rougher, levels)
    # A prior learned from all patients varies less than one learned from the sample.
    return Learned(
        errors=error * np.sqrt(kept.size / usable.size),
        smoothing=smoothing,
        plausible=table.plausible_shares(learned, levels),
    )


def table_of(risk: PatientRisk, kept: NDArray[np.int64]) -> Likelihoods:
    """Likelihoods of some patients, from which priors are learned."""
    estimate = risk.estimate.take(kept)
    return Likelihoods(estimate, sign_of(estimate, risk.covariates.take(kept)))


def sample_for_replicates(kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most so many of the patients, evenly spaced: replicates learn priors from them."""
    if kept.size <= MOST_FOR_REPLICATES:
        return kept
    return kept[np.linspace(0, kept.size - 1, MOST_FOR_REPLICATES).astype(np.int64)]


def prior_errors(
    table: Likelihoods,
    learned: Sequence[tuple[float, Prior]],
    thresholds: tuple[float, ...],
    draws: Sequence[tuple[Shape, NDArray[np.int64]]],
    progress: Progress = SILENT,
) -> NDArray[np.float64]:
    """How far off the share above each threshold is when the prior is learned again.

    Parameters
    ----------
    table : Likelihoods
        Of the patients from whom priors are learned.
    learned : sequence of (float, Prior)
        Learned from all of them, each with its weight.
    thresholds : tuple of float
    draws : sequence of (Shape, int64 array)
        Shape of the prior and rows of the table, one pair per replicate.
    progress : Progress
        Advanced by one per replicate.

    Returns
    -------
    float64 array, shape (replicates, thresholds)
        Less what all patients give.
    """
    levels = ndtri(np.array(thresholds))

    def learn(draw: tuple[Shape, NDArray[np.int64]]) -> NDArray[np.float64]:
        prior = table.fit(*draw, iterations=ROUGH_ITERATIONS)
        return table.shares_above([(1.0, prior)], levels)

    shares = []
    for share in in_order(learn, draws):
        shares.append(share)
        progress.advance()
    return np.asarray(np.stack(shares) - table.shares_above(learned, levels))


def count_interval(estimate: float, variance: float, patients: int) -> tuple[float, float]:
    """Interval of a count from the gamma distribution that has its mean and variance.

    It keeps small counts above zero and is as good as normal for large ones. Of few patients, who
    may all have been missed, half a patient more is counted for the upper bound. Above half of the
    patients, those who are not exposed are counted. Bounds are whole patients; of fewer than 0.025
    expected patients the upper one may be 0, because the chance that there is one is smaller still
    (Markov).

    Parameters
    ----------
    estimate, variance : float
        Of the count.
    patients : int
    """
    if estimate > patients / 2:
        low, high = _gamma_interval(patients - estimate, variance)
        low, high = patients - high, patients - low
    else:
        low, high = _gamma_interval(estimate, variance)
    least, most = np.floor(estimate), np.ceil(estimate)
    if estimate <= NOBODY:
        most = 0.0
    if patients - estimate <= NOBODY:
        least = float(patients)
    low, high = min(np.round(low), least), max(np.round(high), most)
    return max(float(low), 0.0), min(float(high), float(patients))


def _gamma_interval(mean: float, variance: float) -> tuple[float, float]:
    if mean <= 1e-9 or variance <= 0:
        return mean, mean
    shape, scale = mean**2 / variance, variance / mean
    low = scale * gammaincinv(shape, 0.025)
    high = scale * gammaincinv(shape + 0.5 * mean / (mean + 1), 0.975)
    return float(low), max(float(high), mean)
