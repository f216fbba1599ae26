"""Would other models have told the same, and how many would tell enough?

Two halves of the models are audited apart, and what is chosen on one is looked at on the other.
From the same noise follows how many models a wanted precision needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, owens_t

from auscult.attacks.dealing import deal
from auscult.attacks.layout import (
    FEWEST_PER_CLASS,
    MANY,
    RAREST,
    Centring,
    Layout,
)
from auscult.base.intervals import NORMAL_95
from auscult.base.parallel import MOST_AT_ONCE, in_order, let_go, scratch
from auscult.risk.estimate import KNOTS, NoiseLaw
from auscult.risk.patients import PatientRisk, patient_risk

TOP_SHARE = 0.01
HALVED_AUC = 0.9
FEW_FOR_HALVES = f"fewer than {4 * FEWEST_PER_CLASS} models"
PLANNED_MODELS = (16, 32, 64, 128, 256, 512)


def _law_of_normals() -> NoiseLaw:
    """Noise of counts of two equal normals, from the chance that two pairs which share one win."""
    auc = np.minimum(KNOTS, 1 - 1e-6)
    d = ndtri(auc)
    both = auc - 2 * owens_t(d, 1 / np.sqrt(3))
    return NoiseLaw(factor=2 * (both - auc**2) / (auc * (1 - auc)))


NORMAL_LAW = _law_of_normals()


@dataclass(frozen=True, kw_only=True, eq=False)
class Halves:
    """Each patient on two disjoint halves of the models, each half blind to the other.

    Attributes
    ----------
    first : bool array, shape (patients, models)
        Models of the patient's first half; the others are the second.
    aucs : pair of float64 arrays, shape (patients,)
        Raw AUC on either half.
    above : pair of float64 arrays, shape (patients,)
        Posterior probability of an AUC above 0.9 on either half.
    """

    first: NDArray[np.bool_]
    aucs: tuple[NDArray[np.float64], NDArray[np.float64]]
    above: tuple[NDArray[np.float64], NDArray[np.float64]]


def half_risks(
    layout: Layout, rng: np.random.Generator, *, centring: Centring | None = None
) -> Halves | None:
    """Assess each patient on two disjoint halves of the models, or None with too few models.

    The halves are drawn per patient, half of its IN and half of its OUT models in each, so both
    have the same precision.

    Parameters
    ----------
    layout : Layout
    rng : numpy.random.Generator
        It draws the halves.
    centring : Centring, optional
        Made from the layout when absent.
    """
    if not_halved(layout):
        return None
    halves = both_halves(layout, int(rng.integers(1 << 60)))
    centring = centring or Centring(layout)

    def assess(half: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        used = replace(layout, used=half)
        risk, _ = patient_risk(used, (HALVED_AUC,), centring=centring, confirming=False)
        return risk.auc_raw, risk.posterior.tails[HALVED_AUC]

    first, second = in_order(assess, halves, apart=layout.patients > MOST_AT_ONCE)
    return Halves(first=halves[0], aucs=(first[0], second[0]), above=(first[1], second[1]))


def not_halved(layout: Layout) -> str:
    """Why the models cannot be split in two halves that tell of every patient; empty if they can.

    Parameters
    ----------
    layout : Layout
        Of the whole cohort.
    """
    if layout.models < 4 * FEWEST_PER_CLASS:
        return FEW_FOR_HALVES
    fewest = layout.typically_fewest() if layout.uneven else layout.at_most_of_the_rarer()
    few, many = fewest // 2, (layout.models - fewest) // 2
    if few < FEWEST_PER_CLASS and not (layout.uneven and few >= RAREST and many >= MANY):
        return (
            f"a patient is IN or OUT of {fewest} of the {layout.models} models only, too few for "
            "two halves"
        )
    return ""


def both_halves(layout: Layout, salt: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Half of each patient's IN and half of its OUT models, and the rest.

    Returns
    -------
    pair of bool arrays, shape (patients, models)
    """
    halves = scratch((2, *layout.member.shape), np.bool_)
    for patients, _, part in layout.parts():
        dealt = deal(part.member, 2, number=part.number, salt=salt, wave=part.wave)
        row, label, place = np.nonzero(dealt.weight[:, 0])
        first = np.zeros(part.member.shape, dtype=bool)
        first[row, dealt.model[row, 0, label, place]] = True
        halves[0, patients], halves[1, patients] = first, ~first
        let_go(halves)
    return halves[0], halves[1]


def stability(
    halves: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    rng: np.random.Generator,
    reason: str = "",
) -> dict[str, Any]:
    """Rank agreement of the halves and overlap of their top 1%, with intervals over patients.

    Parameters
    ----------
    halves : pair of float64 arrays, shape (patients,), or None
        Raw AUC on either half.
    rng : numpy.random.Generator
    reason : str
        Why there are no halves.
    """
    if halves is None:
        reason = reason or FEW_FOR_HALVES
        return {"rank_agreement": None, "top_1_percent_overlap": None, "reason": reason}
    usable = np.isfinite(halves[0]) & np.isfinite(halves[1])
    first, second = halves[0][usable], halves[1][usable]
    n = first.size
    agreement = _rank_correlation(first, second) if np.ptp(first) * np.ptp(second) else 0.0
    # Fisher's z with Bonett & Wright's (2000) variance for rank correlations.
    z, error = (
        np.arctanh(np.clip(agreement, -0.999999, 0.999999)),
        np.sqrt((1 + agreement**2 / 2) / max(n - 3, 1)),
    )
    wanted = max(1, int(np.ceil(TOP_SHARE * n)))
    shuffled = rng.permutation(n)  # equal risks must not be ranked by the order of the cohort
    tops = [
        set(shuffled[np.argsort(-half[shuffled], kind="stable")[:wanted]].tolist())
        for half in (first, second)
    ]
    shared = len(tops[0] & tops[1]) / wanted
    return {
        "rank_agreement": {
            "estimate": agreement,
            "low": float(np.tanh(z - NORMAL_95 * error)),
            "high": float(np.tanh(z + NORMAL_95 * error)),
        },
        "top_1_percent_overlap": {"estimate": shared, "by_chance": wanted / n, "patients": wanted},
        "n_patients": n,
        "method": "Each half of the models audited on its own; Spearman's rank correlation (Bonett "
        "and Wright's interval) and share of the top 1% of one half that is in the other's.",
    }


def _rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's correlation; ties share their mean rank."""
    return float(pd.Series(first).rank().corr(pd.Series(second).rank()))


def planning(risk: PatientRisk, models: int) -> list[dict[str, Any]]:
    """Width of a patient's 95% interval that other numbers of models would give.

    Noise variance falls with the number of models; the spread of true effects stays. The width is
    that of the posterior interval of a patient of median risk.
    """
    usable = risk.estimate.usable
    if not usable.any():
        return []
    estimate = risk.estimate.take(usable)
    typical = float(np.median(estimate.d))
    noise = _noise(estimate.law, typical, float(np.median(estimate.reach)))
    # What is left around the predicted centre is what the posterior has to resolve.
    width_now = float(np.median((risk.posterior.high - risk.posterior.low)[usable]))
    half = _effect_half_width(typical, width_now)
    posterior_variance = (half / float(ndtri(0.975))) ** 2
    prior_precision = max(1 / posterior_variance - 1 / noise, 0.0)
    rows = []
    for number in sorted({*PLANNED_MODELS, models}):
        variance = 1 / (number / models / noise + prior_precision)
        reach = float(ndtri(0.975)) * np.sqrt(variance)
        width = float(ndtr(typical + reach) - ndtr(typical - reach))
        rows.append({"models": number, "interval_width": width})
    return rows


def models_needed(plan: list[dict[str, Any]], width: float) -> int | None:
    """Fewest planned models whose interval is at most `width` wide, or None."""
    enough = [row["models"] for row in plan if row["interval_width"] <= width]
    return int(min(enough)) if enough else None


def planning_without_pilot(auc: float, models: int, share: float = 0.5) -> list[dict[str, Any]]:
    """Width of a patient's unshrunk 95% interval at a given AUC, before anything was trained.

    For scores as noisy as two equal normals; a pilot's :func:`planning` knows how noisy they are,
    and shrinks.

    Parameters
    ----------
    auc : float
        Between 0.5 and 1.
    models : int
        Number planned so far, always among the rows.
    share : float
        Of the models that a patient is IN.
    """
    d = float(ndtri(auc))
    rows = []
    for number in sorted({*PLANNED_MODELS, models}):
        reach = float(ndtri(0.975)) * np.sqrt(
            _noise(NORMAL_LAW, d, 1 / (2 * share * (1 - share) * number))
        )
        width = float(ndtr(d + reach) - ndtr(d - reach))
        rows.append({"models": number, "interval_width": width})
    return rows


def _noise(law: NoiseLaw, d: float, reach: float) -> float:
    """Sampling variance of a counted AUC on the scale of d, by the delta method."""
    auc = float(ndtr(d))
    return float(law.variance(np.array(auc), reach)) * 2 * np.pi * float(np.exp(d**2))


def _effect_half_width(middle: float, width: float) -> float:
    """Half width in d of an interval around `middle` that is `width` wide in AUC (bisection)."""
    low, high = 0.0, 8.0
    for _ in range(60):
        half = (low + high) / 2
        if ndtr(middle + half) - ndtr(middle - half) < width:
            low = half
        else:
            high = half
    return max((low + high) / 2, 1e-6)
