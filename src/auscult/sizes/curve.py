"""What models of every size expose, and what models of everybody would.

Exposed patients are counted as the headline counts them, of every size with its own models; errors
of two sizes' counts are paired by patient, as those of two recipes are. On the scale of normal
quantiles the shares go on to the whole cohort by :mod:`auscult.sizes.law`, and so do the mean AUC
and a utility between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from auscult.base.intervals import NORMAL_95
from auscult.base.parallel import one_thread
from auscult.base.progress import Progress
from auscult.protection.assessment import (
    THRESHOLDS,
    Assessment,
    Subject,
    assess,
    signals_of,
    utility_of,
)
from auscult.protection.frontier import HEADLINE, mean_auc, utility_estimate
from auscult.protection.paired import mean_difference, moments
from auscult.risk.patients import NULL_TOLERANCE
from auscult.risk.utility import UtilityPerModel
from auscult.sizes.law import FEWEST_TO_CHECK, WANDERS, Extrapolated, extrapolated
from auscult.sizes.shares import Size
from auscult.sizes.stored import finished
from auscult.store import RunStore

METHOD = (
    "Exposed patients of every size are counted as in the headline, with models of that size. "
    "Shares above an AUC, the mean AUC and a utility between 0 and 1 are carried on to the whole "
    "cohort on the scale of normal quantiles: a straight line in the logarithm of the number of "
    "patients that a model trains on, whose slope may wander; errors of two sizes are paired by "
    "patient. Every size from the third on is predicted from the smaller ones, and what is missed "
    "widens the 95% interval."
)
NOT_CHECKED = (
    "with two sizes the law cannot be checked on one that it has not seen: three or more can"
)
# Effects of patients differ by about half a unit, so that their mean moves by half of what a share
# above a bar does; learning curves bend less still.
AUC_WANDERS = WANDERS / 2
UTILITY_WANDERS = WANDERS / 5
HALF_A_PATIENT = 0.25  # variance of a count, at least: it is whole patients
MARGIN = 1e-6  # of a share: normal quantiles of 0 and 1 are infinite


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """One size.

    Attributes
    ----------
    size : Size
    risk : Assessment
    utility : UtilityPerModel or None
    """

    size: Size
    risk: Assessment
    utility: UtilityPerModel | None


@one_thread()
def audit_sizes(
    store: RunStore,
    found: Sequence[Size],
    subject: Subject,
    *,
    held: str,
    steps: Mapping[float, int],
    progress: Progress,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Assess every size and go on to the whole cohort.

    Parameters
    ----------
    store : RunStore
        The audit's run; the models of all sizes are trained.
    found : sequence of Size
        The smallest first.
    subject : Subject
        Of the audit.
    held : {"steps", "epochs", "settings"}
        What is the same at every size.
    steps : mapping of float to int
        Optimizer steps of a model, by share; of recipes that tell.
    progress : Progress

    Returns
    -------
    sizes : dict
        For the summary.
    rows : DataFrame
        One row per patient, a secret: "auc 0.5", "low 0.5" and "high 0.5" for the size 0.5.
    """
    patients = found[0].design.patients
    progress.start("Sizes", 2.0 * patients * len(found))
    points = [assessed(store, size, subject, progress) for size in found]
    progress.finish()
    rows = {}
    for point in points:
        posterior = point.risk.risk.posterior
        for name, values in (
            ("auc", posterior.mean),
            ("low", posterior.low),
            ("high", posterior.high),
        ):
            rows[f"{name} {point.size.share:g}"] = values
    return curve(points, held=held, steps=steps), pd.DataFrame(rows)


def assessed(store: RunStore, size: Size, subject: Subject, progress: Progress) -> Point:
    """One size, from its finished models.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    size : Size
    subject : Subject
        Of the audit.
    progress : Progress
    """
    own = finished(store, size)
    outputs = own.outputs()
    mine = replace(subject, membership=own.read_membership(), share=size.share)
    _, signals = signals_of(outputs, mine, None)
    return Point(
        size=size,
        risk=assess(signals, mine, progress=progress),
        utility=utility_of(outputs, mine),
    )


def curve(
    points: Sequence[Point], *, held: str, steps: Mapping[float, int] | None = None
) -> dict[str, Any]:
    """The "sizes" object of the summary; see :func:`audit_sizes`.

    Parameters
    ----------
    points : sequence of Point
        The smallest first.
    held : {"steps", "epochs", "settings"}
    steps : mapping of float to int, optional
    """
    known = steps or {}
    of = points[0].size.design.patients
    told: dict[str, Any] = {
        "held": held,
        "points": [
            _entry(point, points[0]) | {"steps": known.get(point.size.share)} for point in points
        ],
        "whole": {"trained_on": {"patients": of, "of": of}},
        "left_out": None,
        "method": METHOD,
    }
    few = next((point.risk.few for point in points if point.risk.few), "")
    told["doubt"] = _doubt(points)
    carried = {} if few else {t: exposed_at(points, t, of) for t in THRESHOLDS}
    whole = told["whole"]
    if few:
        whole["exposed"] = {str(t): _nothing(few) for t in THRESHOLDS}
    else:
        whole["exposed"] = {str(t): counted(one, points) for t, one in carried.items()}
    auc = _carried(points, _mean_aucs(points), of, wanders=AUC_WANDERS)
    whole["mean_auc"] = _figure(auc)
    usefulness = _utilities(points)
    if isinstance(usefulness, str):
        whole["utility"] = _nothing(usefulness)
    else:
        whole["utility"] = _figure(_carried(points, usefulness, of, wanders=UTILITY_WANDERS)) | {
            "metric": told["points"][0]["utility"]["metric"]
        }
    if len(points) < FEWEST_TO_CHECK:
        told["left_out_reason"] = NOT_CHECKED
    elif few:
        told["left_out_reason"] = few
    else:
        told["left_out"] = _left_out(points, carried[HEADLINE], auc)
    return told


def _doubt(points: Sequence[Point]) -> str:
    """That shuffled membership does not give one half at a size; empty where it does."""
    said = []
    for point in points:
        estimate = point.risk.risk.estimate
        reach = estimate.reach[estimate.usable]
        # An AUC that tells nothing has a variance of (1 / IN + 1 / OUT) / 12.
        chance = float(np.sqrt(reach.mean() / 6 / max(reach.size, 1)))
        mean = point.risk.null_mean
        if abs(mean - 0.5) > NULL_TOLERANCE + 2 * chance:
            said.append(f"{mean:.3f} with {point.size.name}")
    if not said:
        return ""
    return f"with shuffled membership the mean AUC is not 0.5 ({', '.join(said)})"


def exposed_at(points: Sequence[Point], threshold: float, patients: float) -> Extrapolated:
    """The share of patients above an AUC in models that train on more of them.

    Parameters
    ----------
    points : sequence of Point
        The smallest first; all with models enough to count.
    threshold : float
        One of :data:`auscult.protection.assessment.THRESHOLDS`.
    patients : float
        Trained on.
    """
    return _carried(points, _counts(points, threshold), patients)


def counted(one: Extrapolated, points: Sequence[Point]) -> dict[str, Any]:
    """The same as a number of patients with its interval, ends rounded outward.

    Parameters
    ----------
    one : Extrapolated
    points : sequence of Point
    """
    usable = _usable(points[-1])
    return _count(one.whole.mean, one.whole.interval, usable) | {"widened": one.widened}


def _entry(point: Point, smallest: Point) -> dict[str, Any]:
    """What is told of one size."""
    risk, size = point.risk, point.size
    change = None
    if point is not smallest:
        found = mean_difference(smallest.risk.risk.auc_raw, risk.risk.auc_raw)
        change = None if found is None else found[0].as_dict() | {"n": found[1]}
    return {
        "share": size.share,
        "trained_on": {"patients": size.patients, "of": size.design.patients},
        "models": size.models,
        "own": size.own,
        "exposed": {
            str(t): {"estimate": one.estimate, "low": one.low, "high": one.high}
            | {"null": risk.null[t]}
            for t, one in risk.exposed.items()
        },
        "few_models": risk.few,
        "mean_auc": mean_auc(risk),
        "mean_auc_change": change,
        "utility": None if point.utility is None else utility_estimate(point.utility),
    }


def _usable(point: Point) -> int:
    return int(point.risk.risk.estimate.usable.sum())


Figures = tuple[NDArray[np.float64], NDArray[np.float64]]


def _counts(points: Sequence[Point], threshold: float) -> Figures:
    """Shares above a threshold on the law's scale, and the covariance of their errors."""
    size = len(points)
    share = np.empty(size)
    covariance = np.empty((size, size))
    for i, first in enumerate(points):
        usable = _usable(first)
        exposed = first.risk.exposed[threshold]
        # Half a patient more and one who is not: nobody and everybody have quantiles, too.
        share[i] = (exposed.estimate + 0.5) / (usable + 1)
        for j, second in enumerate(points[: i + 1]):
            found = moments(second.risk, first.risk, 0.0)[threshold]
            together = found.covariance
            if i == j:
                # As wide as the interval that is shown, where other sources widen that.
                shown = (exposed.high - exposed.low - 1) / (2 * NORMAL_95)
                together = max(found.variance_after, HALF_A_PATIENT, max(shown, 0.0) ** 2)
            covariance[i, j] = covariance[j, i] = together / ((usable + 1) * (_usable(second) + 1))
    return _on_the_scale(share, covariance)


def _mean_aucs(points: Sequence[Point]) -> Figures:
    raw = np.stack([point.risk.risk.auc_raw for point in points])
    raw = raw[:, np.isfinite(raw).all(axis=0)]
    covariance = np.atleast_2d(np.cov(raw)) / raw.shape[1]
    return _on_the_scale(raw.mean(axis=1), covariance)


def _utilities(points: Sequence[Point]) -> Figures | str:
    """Utilities of models on their OUT patients, or why they cannot be carried on."""
    means, errors = [], []
    for point in points:
        if point.utility is None:
            return "utility is not known"
        metric = point.utility.metric
        if (metric.low, metric.high) != (0.0, 1.0):
            return "utility is carried on where it lies between 0 and 1, as an area does"
        values = point.utility.outside[np.isfinite(point.utility.outside)]
        if values.size < 2:
            return "a class has too few records, or there are too few"
        means.append(float(values.mean()))
        errors.append(float(values.var(ddof=1)) / values.size)
    return _on_the_scale(np.array(means), np.diag(errors))


def _on_the_scale(share: NDArray[np.float64], covariance: NDArray[np.float64]) -> Figures:
    """Normal quantiles of shares; errors by the delta method, made a covariance matrix."""
    place = ndtri(np.clip(share, MARGIN, 1 - MARGIN))
    steep = np.exp(-(place**2) / 2) / np.sqrt(2 * np.pi)
    covariance = covariance / np.outer(steep, steep)
    # Covariances that are estimated pair by pair need not fit together.
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    floor = 1e-6 * max(float(values.max()), 1e-12)
    return place, np.asarray((vectors * np.maximum(values, floor)) @ vectors.T)


def _carried(
    points: Sequence[Point], figures: Figures, patients: float, *, wanders: float = WANDERS
) -> Extrapolated:
    numbers = np.array([point.size.share * point.size.design.patients for point in points])
    return extrapolated(numbers, *figures, patients, wanders=wanders)


def _count(mean: float, ends: tuple[float, float], usable: int) -> dict[str, Any]:
    """A share on the law's scale as a number of patients, ends rounded outward."""

    def back(place: float) -> float:
        return float(np.clip(ndtr(place) * (usable + 1) - 0.5, 0, usable))

    low, high = (back(end) for end in ends)
    return {
        "estimate": back(mean),
        "low": float(np.floor(low)),
        "high": float(np.ceil(high)),
    }


def _figure(one: Extrapolated) -> dict[str, Any]:
    return _plain(one.whole.mean, one.whole.interval) | {"widened": one.widened}


def _plain(mean: float, ends: tuple[float, float]) -> dict[str, Any]:
    low, high = (float(ndtr(end)) for end in ends)
    return {"estimate": float(ndtr(mean)), "low": low, "high": high}


def _nothing(reason: str) -> dict[str, Any]:
    return {"estimate": None, "low": None, "high": None, "reason": reason}


def _left_out(points: Sequence[Point], counts: Extrapolated, auc: Extrapolated) -> dict[str, Any]:
    """The largest size as the smaller ones predict it: exposed above 0.9, and mean AUC."""
    last = points[-1]
    told: dict[str, Any] = {"share": last.size.share}

    def held(predicted: dict[str, Any], value: float) -> dict[str, Any]:
        return predicted | {"held": predicted["low"] <= value <= predicted["high"]}

    if counts.left_out is not None:
        predicted = _count(counts.left_out.mean, counts.left_out.interval, _usable(last))
        told["exposed"] = {
            str(HEADLINE): held(predicted, last.risk.exposed[HEADLINE].estimate),
        }
    if auc.left_out is not None:
        raw = last.risk.risk.auc_raw
        told["mean_auc"] = held(
            _plain(auc.left_out.mean, auc.left_out.interval), float(raw[np.isfinite(raw)].mean())
        )
    return told
