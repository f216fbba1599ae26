"""What an attack means for people: how often accusations are right, who is named, what is believed.

The game: a person is drawn from the population, a member with the prior's probability; the attacker
looks at one model and accuses or does not. Of its accusations a share

    PPV = prior TPR / (prior TPR + (1 - prior) FPR)

is right (METHOD 7). Somebody is *named* at a posterior q when log likelihood ratio and log prior
odds together exceed log odds of q. Thresholds are those of the other half of the models. Intervals
resample patients; where few were counted they are at least those of a Poisson count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from auscult.exposure.attack import Evidence
from auscult.randomness import Stage, generator

POSTERIORS = (0.5, 0.9, 0.99)
RATES = (0.001, 0.01, 0.1)
FEWEST_FALSE = 20  # false accusations that are expected at a rate before it counts as resolved
REPLICATES = 400
FEW = 20  # counted events under which a Poisson interval is looked at as well
PATIENTS_AT_ONCE = 1 << 22

METHOD = (
    "Joint attack on what the attacker holds of a patient; scores calibrated to log likelihood "
    "ratios on one half of the models, thresholds chosen there, counted on the other half. PPV at "
    "the false positive rate shown. Named: posterior above the threshold, for a model trained on "
    "the whole cohort, in a population in which the cohort has the prior's share. Intervals: 95%, "
    "patients resampled. Null: the same with each patient's membership permuted over the models."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Counts:
    """Hits of one threshold per patient, and the points they are of."""

    member: NDArray[np.float64]  # (patients,)
    other: NDArray[np.float64]
    members: NDArray[np.float64]
    others: NDArray[np.float64]
    draws: NDArray[np.float64]  # (replicates, patients): how often each patient is drawn

    def rate(self, *, member: bool) -> dict[str, float]:
        """Share of members (or others) who are hit, with its interval."""
        hits, points = self._of(member)
        total = float(points.sum())
        estimate = float(hits.sum()) / total
        low, high = np.quantile(self.resampled(member=member), [0.025, 0.975])
        if hits.sum() < FEW:
            poisson = _poisson(float(hits.sum()))
            low, high = min(low, poisson[0] / total), max(high, poisson[1] / total)
        return {
            "estimate": estimate,
            "low": float(min(low, estimate)),
            "high": float(min(max(high, estimate), 1.0)),
        }

    def resampled(self, *, member: bool) -> NDArray[np.float64]:
        """The rate in every replicate."""
        hits, points = self._of(member)
        return np.asarray((self.draws @ hits) / np.maximum(self.draws @ points, 1.0))

    def _of(self, member: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (self.member, self.members) if member else (self.other, self.others)


def resolved_rate(evidence: Evidence) -> float | None:
    """Smallest false positive rate that the points resolve, or None."""
    others = int((~evidence.member).sum())
    return next((rate for rate in RATES if rate * others >= FEWEST_FALSE), None)


def meaning(
    evidence: Evidence,
    priors: tuple[float, ...],
    prevalence: float | None,
    people: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The "by_prior" list of a cell.

    Parameters
    ----------
    evidence : Evidence
    priors : tuple of float
    prevalence : float, optional
        Of what membership reveals, among people outside the cohort.
    people : int
        Members of a model that is trained on the whole cohort: the cell's patients.
    seed : int
    """
    rate = resolved_rate(evidence)
    if rate is None:
        return []
    draws = _draws(evidence.patients, seed)
    at_rate = _counts(evidence, _thresholds(evidence, rate), draws, by_order=True)
    tpr, fpr = at_rate.rate(member=True), at_rate.rate(member=False)
    rows = []
    for prior in priors:
        right = _ppv(at_rate, prior, tpr, fpr)
        named = {}
        for posterior in POSTERIORS:
            bar = _log_odds(posterior) - _log_odds(prior)
            counts = _counts(evidence, (bar, bar), draws, by_order=False)
            others = people * (1 - prior) / prior
            named[str(posterior)] = {
                "patients": _times(counts.rate(member=True), people),
                "false": _times(counts.rate(member=False), others),
            }
        rows.append(
            {
                "prior": prior,
                "fpr": fpr["estimate"],
                "tpr": tpr,
                "ppv": right,
                "named": named,
                "belief": None if prevalence is None else _belief(right, prior, prevalence),
            }
        )
    return rows


def _log_odds(p: float) -> float:
    return math.log(p) - math.log1p(-p)


def _times(rate: dict[str, float], number: float) -> dict[str, float]:
    return {name: value * number for name, value in rate.items()}


def _thresholds(evidence: Evidence, rate: float) -> tuple[float, float]:
    """Threshold for each half of the models, from the others of the other half.

    The smallest value that no more than `rate` of them exceed.
    """
    found = []
    for side in (0, 1):
        known = np.sort(evidence.order[~evidence.member & (evidence.half != side)])
        found.append(float(known[known.size - 1 - int(rate * known.size)]))
    return found[0], found[1]


def _counts(
    evidence: Evidence,
    bars: tuple[float, float],
    draws: NDArray[np.float64],
    *,
    by_order: bool,
) -> _Counts:
    value = evidence.order if by_order else evidence.ratio
    hit = value > np.array(bars)[evidence.half]

    def per_patient(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        found = np.bincount(evidence.patient[rows], minlength=evidence.patients)
        return found.astype(np.float64)

    return _Counts(
        member=per_patient(hit & evidence.member),
        other=per_patient(hit & ~evidence.member),
        members=per_patient(evidence.member),
        others=per_patient(~evidence.member),
        draws=draws,
    )


def _draws(patients: int, seed: int) -> NDArray[np.float64]:
    """How often each patient is drawn in each replicate, from the seed alone."""
    rng = generator(seed, Stage.EXPOSURE, 1)
    replicates = max(50, min(REPLICATES, PATIENTS_AT_ONCE // patients))
    return rng.multinomial(patients, np.full(patients, 1 / patients), replicates).astype(float)


def _ppv(
    counts: _Counts, prior: float, tpr: dict[str, float], fpr: dict[str, float]
) -> dict[str, float | None]:
    """Share of accusations that are right, or None where nobody is accused."""

    def share(found: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
        accused = prior * found + (1 - prior) * wrong
        return np.where(accused > 0, prior * found / np.where(accused > 0, accused, 1.0), np.nan)

    if tpr["estimate"] + fpr["estimate"] <= 0:
        return {"estimate": None, "low": None, "high": None}
    estimate = float(share(np.array(tpr["estimate"]), np.array(fpr["estimate"])))
    drawn = share(counts.resampled(member=True), counts.resampled(member=False))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    if min(counts.member.sum(), counts.other.sum()) < FEW:
        low = min(low, float(share(np.array(tpr["low"]), np.array(fpr["high"]))))
        high = max(high, float(share(np.array(tpr["high"]), np.array(fpr["low"]))))
    return {
        "estimate": estimate,
        "low": float(min(low, estimate)),
        "high": float(max(high, estimate)),
    }


def _belief(
    right: dict[str, float | None], prior: float, prevalence: float
) -> dict[str, Any] | None:
    """How far belief in what membership reveals moves for a person who is accused.

    Before: members have it, others with the prevalence. After: the accused are members with the
    PPV's probability.
    """

    def with_it(member: float | None) -> float | None:
        return None if member is None else member + (1 - member) * prevalence

    if right["estimate"] is None:
        return None
    return {
        "from": with_it(prior),
        "to": {name: with_it(value) for name, value in right.items()},
    }


def _poisson(count: float) -> tuple[float, float]:
    """Exact 95% interval of a Poisson mean."""
    low = float(gammaincinv(count, 0.025)) if count > 0 else 0.0
    return low, float(gammaincinv(count + 1, 0.975))
