"""What an attack means for people: how often accusations are right, who is named, what is believed.

The game: a person is drawn from the population, a member with the prior's probability; the attacker
looks at one model and accuses or does not. Of its accusations a share

    PPV = prior TPR / (prior TPR + (1 - prior) FPR)

is right (METHOD 7). Somebody is *named* at a posterior q when log likelihood ratio and log prior
odds together exceed log odds of q. Thresholds are those of the other half of the models. Intervals
leave out each of 20 groups of patients in turn, calibration and thresholds included (the delete-a-
group jackknife); where few were counted they are at least those of a Poisson count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaincinv

from auscult.exposure.calibration import GROUPS
from auscult.exposure.cell import Evidence

POSTERIORS = (0.5, 0.9, 0.99)
RATES = (0.001, 0.01, 0.1)
FEWEST_FALSE = 20  # false accusations that are expected at a rate before it counts as resolved
FEW = 20  # counted events under which a Poisson interval is looked at as well
STUDENT = 2.093  # 97.5% quantile of t with one degree of freedom less than there are groups

METHOD = (
    "Joint attack on what the attacker holds of a patient; scores calibrated to log likelihood "
    "ratios on one half of the models, thresholds chosen there, counted on the other half. PPV at "
    "the false positive rate shown. Named: posterior above the threshold, for a model trained on "
    "the whole cohort, in a population in which the cohort has the prior's share. Intervals: 95%, "
    "by leaving out groups of patients, calibration and thresholds included. Null: the same with "
    "each patient's membership permuted over the models."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Hits:
    """How many members and others exceed a threshold: counted on everybody, and without each group.

    Attributes
    ----------
    member, other : int
        Counted on everybody.
    members, others : int
        Points of each kind.
    rates : float64 array, shape (2, 1 + groups)
        Share of members, and of others, that are hit; of everybody, and without each group.
    """

    member: int
    other: int
    members: int
    others: int
    rates: NDArray[np.float64]

    def rate(self, *, member: bool) -> dict[str, float]:
        """Share of members (or others) who are hit, with its interval."""
        found = self.rates[0 if member else 1]
        hits = self.member if member else self.other
        total = self.members if member else self.others
        estimate = float(found[0])
        low, high = estimate - _half_width(found[1:]), estimate + _half_width(found[1:])
        if hits < FEW:
            poisson = _poisson(hits)
            low, high = min(low, poisson[0] / total), max(high, poisson[1] / total)
        return {"estimate": estimate, "low": max(low, 0.0), "high": min(high, 1.0)}


def resolved_rate(evidence: Evidence) -> float | None:
    """Smallest false positive rate that the points resolve, or None."""
    others = int((~evidence.member).sum())
    return next((rate for rate in RATES if rate * others >= FEWEST_FALSE), None)


def meaning(
    evidence: Evidence,
    priors: tuple[float, ...],
    prevalence: float | None,
    people: int,
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
    """
    rate = resolved_rate(evidence)
    if rate is None:
        return []
    at_rate = _hits(evidence, rate, None)
    tpr, fpr = at_rate.rate(member=True), at_rate.rate(member=False)
    rows = []
    for prior in priors:
        right = _ppv(at_rate, prior, tpr, fpr)
        named = {}
        for posterior in POSTERIORS:
            found = _hits(evidence, None, _log_odds(posterior) - _log_odds(prior))
            others = people * (1 - prior) / prior
            named[str(posterior)] = {
                "patients": _times(found.rate(member=True), people),
                "false": _times(found.rate(member=False), others),
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


def _hits(evidence: Evidence, rate: float | None, bar: float | None) -> _Hits:
    """Count who exceeds a threshold: of a false positive rate, or a given ratio.

    A rate's threshold is, for each half of the models, the smallest value of the other half's
    others that no more than `rate` of fresh ones exceed on average.
    """
    member, half = evidence.member, evidence.half
    hits = np.empty((2, 1 + GROUPS))
    points = np.empty((2, 1 + GROUPS))
    for row in range(1 + GROUPS):
        kept = evidence.group != row - 1  # nobody is in group -1
        if bar is not None:
            hit = evidence.ratios[row] > bar
        else:
            value = evidence.order[row]
            bars = [_bar(value[kept & ~member & (half != side)], rate) for side in (0, 1)]
            hit = value > np.array(bars, dtype=value.dtype)[half]
        for place, which in enumerate((member, ~member)):
            hits[place, row] = np.count_nonzero(hit & kept & which)
            points[place, row] = np.count_nonzero(kept & which)
    return _Hits(
        member=int(hits[0, 0]),
        other=int(hits[1, 0]),
        members=int(points[0, 0]),
        others=int(points[1, 0]),
        rates=hits / np.maximum(points, 1),
    )


def _bar(values: NDArray[np.floating], rate: float | None) -> float:
    """Smallest of the values that no more than `rate` of fresh ones exceed on average.

    Of n values the k-th largest is exceeded by ``k / (n + 1)`` of fresh ones.
    """
    allowed = int((rate or 0.0) * (values.size + 1) + 1e-9)
    if allowed == 0:
        return math.inf
    place = values.size - allowed
    return float(np.partition(values, place)[place])


def _half_width(left_out: NDArray[np.float64]) -> float:
    """Half of a 95% interval from estimates that each leave out a group (jackknife)."""
    groups = left_out.size
    variance = (groups - 1) / groups * float(((left_out - left_out.mean()) ** 2).sum())
    return STUDENT * math.sqrt(variance)


def _ppv(
    hits: _Hits, prior: float, tpr: dict[str, float], fpr: dict[str, float]
) -> dict[str, float | None]:
    """Share of accusations that are right, or None where nobody is accused."""

    def share(found: Any, wrong: Any) -> NDArray[np.float64]:  # noqa: ANN401
        accused = prior * np.asarray(found) + (1 - prior) * np.asarray(wrong)
        return np.asarray(prior * found / np.maximum(accused, 1e-300))

    every = share(*hits.rates)
    if hits.member + hits.other == 0:
        return {"estimate": None, "low": None, "high": None}
    # On the scale of log odds, where the interval stays inside 0 and 1.
    odds = np.log(np.maximum(every, 1e-12)) - np.log(np.maximum(1 - every, 1e-12))
    half = _half_width(odds[1:])
    estimate = float(every[0])
    low, high = (float(expit(odds[0] + sign * half)) for sign in (-1, 1))
    if min(hits.member, hits.other) < FEW:
        low = min(low, float(share(tpr["low"], fpr["high"])))
        high = max(high, float(share(tpr["high"], fpr["low"])))
    return {"estimate": estimate, "low": min(low, estimate), "high": max(high, estimate)}


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


def _poisson(count: int) -> tuple[float, float]:
    """Exact 95% interval of a Poisson mean."""
    low = float(gammaincinv(count, 0.025)) if count > 0 else 0.0
    return low, float(gammaincinv(count + 1, 0.975))
