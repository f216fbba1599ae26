"""The entry of one protection in the summary: privacy and utility, each beside the unprotected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from auscult.base.intervals import NORMAL_95
from auscult.protection.accusations import accusations
from auscult.protection.assessment import Assessment, Subject
from auscult.protection.paired import (
    Counts,
    Estimate,
    Noise,
    compared_counts,
    exposed_counts,
    mean_difference,
    mean_of,
    moments,
    shared_noise,
)
from auscult.protection.promise import promise
from auscult.risk.exposed import benjamini_hochberg
from auscult.risk.pooling import pool_small_cells
from auscult.risk.utility import NO_METRIC, UtilityPerModel, over_models

HEADLINE = 0.9
TOLERATED_LOSS = 0.01
AS_MUCH = 0.01

METHOD = (
    "Same membership, patients and attack as the unprotected recipe; the attacker knows the "
    "protection and trains with it. Exposed: sum of posterior tail probabilities. Differences are "
    "paired by patient: a patient's two posteriors correlate as prior and shared noise imply, and "
    "both priors are learned again on the same resampled patients; 95% intervals from gamma counts "
    "under a normal copula."
)
UTILITY_METHOD = (
    "Difference of each model to its unprotected twin on the same OUT patients; mean over models, "
    "95% interval from Student's t over models."
)
WORST_METHOD = (
    "The group with the highest mean AUC without protection, chosen on one half of each patient's "
    "folds of models and measured on the other; 95% interval over its patients."
)
WORST_UTILITY_METHOD = (
    "The group that loses most, chosen on the models of even number and measured on the others; "
    "95% interval from Student's t over models."
)
UNPAIRED_METHOD = (
    "Same patients and attack, another draw of members: exposed patients are compared as two "
    "independent counts, mean AUCs patient by patient."
)
WELCH = "Difference of the means over each run's own models, 95% interval after Welch."
FEW_MODELS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One audit: the patients' risk and the models' utility.

    Attributes
    ----------
    risk : Assessment
    utility : UtilityPerModel or None
    facts : dict
        Of its models.
    models : int
    """

    risk: Assessment
    utility: UtilityPerModel | None
    facts: dict[str, Any] = field(default_factory=dict)
    models: int = 0


def entry(
    *,
    name: str,
    kind: str,
    change: dict[str, Any],
    before: Side,
    after: Side,
    subject: Subject,
    compared: int,
    notes: list[str],
) -> dict[str, Any]:
    """What a protection changes.

    Parameters
    ----------
    name, kind : str
    change : dict
    before, after : Side
        Unprotected and protected, over the same patients and as many models.
    subject : Subject
    compared : int
        Number of protections that a reader chooses from.
    notes : list of str
    """
    noise = shared_noise(before.risk, after.risk)
    counts = exposed_counts(
        before.risk, after.risk, noise=noise.correlation, seed=subject.seed, compared=compared
    )
    auc = mean_difference(before.risk.risk.auc_raw, after.risk.risk.auc_raw)
    found: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "change": change,
        "patients": int(np.isfinite(after.risk.risk.auc_raw).sum()),
        "models": after.models,
        **counted(counts, after.risk),
        "ppv": accusations(before.risk, after.risk, subject.priors, subject.seed),
        "mean_auc_before": mean_auc(before.risk),
        "mean_auc": mean_auc(after.risk),
        "mean_auc_change": None if auc is None else auc[0].as_dict() | {"n": auc[1]},
        "worst_group": worst_group(noise, subject),
        **utilities(before.utility, after.utility, compared),
        **promised(after, subject),
        "parameters": after.facts.get("parameters"),
        "method": METHOD,
        "notes": notes,
        "recommended": False,
    }
    return found


def promised(after: Side, subject: Subject) -> dict[str, Any]:
    """What private training promises, beside what was found; nothing where it promises nothing."""
    dp = after.facts.get("dp")
    if not isinstance(dp, Mapping):
        return {"dp": dp}
    risk = after.risk
    return {
        "dp": dp,
        "guarantee": promise(
            risk.layout, risk.risk, dp, seed=subject.seed, smallest_cell=subject.smallest_cell
        ),
    }


def counted(counts: dict[float, Counts], after: Assessment) -> dict[str, Any]:
    """The parts of an entry that count exposed patients."""
    main = counts[HEADLINE]
    estimate = after.risk.estimate
    p = estimate.take(estimate.usable).p_above(HEADLINE)
    return {
        "exposed": {
            str(t): one.after.as_dict() | {"null": after.null[t]} for t, one in counts.items()
        },
        "exposed_before": {str(t): one.before.as_dict() for t, one in counts.items()},
        "exposed_change": change_of(main),
        "removed": _or_none(main.removed),
        "removed_at_least": main.removed_at_least,
        "confirmed": int(benjamini_hochberg(p, 0.05).sum()),
    }


def change_of(counts: Counts) -> dict[str, Any]:
    """The change in exposed patients, or why there is none."""
    if counts.change is None:
        return {"estimate": None, "low": None, "high": None, "reason": counts.reason}
    return counts.change.as_dict()


def mean_auc(side: Assessment) -> dict[str, float]:
    """Mean raw AUC over patients with the headline's interval, beside its null."""
    raw = side.risk.auc_raw[np.isfinite(side.risk.auc_raw)]
    mean = float(raw.mean())
    error = NORMAL_95 * float(raw.std(ddof=1) / np.sqrt(raw.size)) if raw.size > 1 else 0.0
    found = Estimate(estimate=mean, low=mean - error, high=mean + error)
    return found.as_dict() | {"null": side.null_mean, "n": int(raw.size)}


def utilities(
    before: UtilityPerModel | None, after: UtilityPerModel | None, compared: int
) -> dict[str, Any]:
    """Utility, its paired change, and that of the group which loses most.

    Parameters
    ----------
    before, after : UtilityPerModel or None
    compared : int
        Number of protections that a reader chooses from.
    """
    absent = {
        "utility": None,
        "utility_change": None,
        "utility_lost_at_most": None,
        "worst_group_utility_change": None,
    }
    if before is None or after is None:
        return absent | {"utility_reason": NO_METRIC}
    change = (after.outside - before.outside)[
        np.isfinite(after.outside) & np.isfinite(before.outside)
    ]
    if change.size < 2:
        return absent | {"utility_reason": "a class has too few records, or there are too few"}
    bound = mean_of(change, compared).low
    return {
        "utility": utility_estimate(after),
        "utility_change": mean_of(change).as_dict()
        | {"n": int(change.size), "method": UTILITY_METHOD},
        "utility_lost_at_most": max(0.0, -bound),
        "worst_group_utility_change": _worst_utility(before, after),
    }


def utility_estimate(side: UtilityPerModel) -> dict[str, Any] | None:
    """Mean over models, as the summary's own."""
    found = over_models(side.outside, side.metric)
    if found is None:
        return None
    comparable = {} if side.metric.comparable else {"comparable": False}
    return {
        "estimate": found.mean,
        "low": found.low,
        "high": found.high,
        "metric": side.metric.name,
        "n": found.n,
        **comparable,
    }


def unpaired(
    *, name: str, before: Side, after: Side, subject: Subject, compared: int
) -> dict[str, Any]:
    """The entry of a run over the same patients with another draw of members.

    Parameters
    ----------
    name : str
    before, after : Side
    subject : Subject
    compared : int
        Number of protections that a reader chooses from.
    """
    # Other models and other draws: whatever the patients have in common, the errors do not share.
    apart = {
        t: replace(one, covariance=0.0) for t, one in moments(before.risk, after.risk, 0.0).items()
    }
    counts = compared_counts(before.risk, after.risk, apart, seed=subject.seed, compared=compared)
    auc = mean_difference(before.risk.risk.auc_raw, after.risk.risk.auc_raw)
    return {
        "name": name,
        "kind": "run",
        "change": {},
        "patients": int(np.isfinite(after.risk.risk.auc_raw).sum()),
        "models": after.models,
        **counted(counts, after.risk),
        "mean_auc_before": mean_auc(before.risk),
        "mean_auc": mean_auc(after.risk),
        "mean_auc_change": None if auc is None else auc[0].as_dict() | {"n": auc[1]},
        "worst_group": None,
        **_unpaired_utility(before.utility, after.utility, compared),
        "dp": after.facts.get("dp"),
        "parameters": after.facts.get("parameters"),
        "method": UNPAIRED_METHOD,
        "notes": ["another draw of members: models and noise are not paired"],
        "recommended": False,
    }


def _unpaired_utility(
    before: UtilityPerModel | None, after: UtilityPerModel | None, compared: int
) -> dict[str, Any]:
    """Difference of two means over models, Welch's interval."""
    found = utilities(before, after, compared) if before is None or after is None else {}
    if before is None or after is None:
        return found
    x, y = (side.outside[np.isfinite(side.outside)] for side in (before, after))
    if min(x.size, y.size) < 2:
        return utilities(None, None, compared) | {"utility_reason": "too few models"}
    own, other = x.var(ddof=1) / x.size, y.var(ddof=1) / y.size
    error = float(np.sqrt(own + other))
    free = (own + other) ** 2 / max(own**2 / (x.size - 1) + other**2 / (y.size - 1), 1e-300)
    change = float(y.mean() - x.mean())
    reach, surely = (float(stdtrit(max(free, 1.0), 1 - 0.025 / n)) for n in (1, compared))
    interval = Estimate(
        estimate=change, low=change - reach * error, high=change + reach * error
    ).as_dict()
    return {
        "utility": utility_estimate(after),
        "utility_change": interval | {"n": int(y.size), "method": WELCH},
        "utility_lost_at_most": max(0.0, -(change - surely * error)),
        "worst_group_utility_change": None,
    }


def worst_group(noise: Noise, subject: Subject) -> dict[str, Any] | None:
    """The group most at risk without protection, before and after; None without groups."""
    usable = np.isfinite(noise.before).all(axis=1) & np.isfinite(noise.after).all(axis=1)
    best: tuple[float, str, str, NDArray[np.bool_]] | None = None
    for name in subject.groups.columns:
        labels, shown, _ = pool_small_cells(
            subject.groups[name].astype(str).to_numpy()[usable], subject.smallest_cell
        )
        for group in shown if len(shown) > 1 else []:
            inside = np.zeros(usable.size, dtype=bool)
            inside[usable] = labels == group
            mean = float(noise.before[inside, 0].mean())
            if best is None or mean > best[0]:
                best = (mean, str(name), group, inside)
    if best is None:
        return None
    _, attribute, group, inside = best
    first, second = noise.before[inside, 1], noise.after[inside, 1]
    return {
        "attribute": attribute,
        "group": group,
        "patients": int(inside.sum()),
        "mean_auc_before": mean_of(first).as_dict(),
        "mean_auc": mean_of(second).as_dict(),
        "change": mean_of(second - first).as_dict(),
        "method": WORST_METHOD,
    }


def recommend(entries: list[dict[str, Any]]) -> None:
    """Mark the protection to take first: surely removes most and surely costs little.

    Both are judged by bounds that hold for all protections together. Of those that remove as much
    to a hundredth, the one whose most affected group pays least.
    """
    fit = [
        one
        for one in entries
        if (one.get("removed_at_least") or 0.0) > 0
        and one.get("utility_lost_at_most") is not None
        and one["utility_lost_at_most"] <= TOLERATED_LOSS
        and (one.get("utility") or {}).get("comparable", True)
    ]
    if fit:
        most = max(one["removed_at_least"] for one in fit) - AS_MUCH
        alike = [one for one in fit if one["removed_at_least"] >= most]
        best = min(alike, key=lambda one: (_paid(one), one["utility_lost_at_most"]))
        best["recommended"] = True


def withdraw(entries: list[dict[str, Any]], reason: str) -> None:
    """Take a recommendation back that rests on evidence which is not there.

    Parameters
    ----------
    entries : list of dict
    reason : str
        What is missing; empty for nothing.
    """
    for one in entries if reason else []:
        if one["recommended"]:
            one["recommended"], one["unsupported"] = False, reason


def _paid(one: Mapping[str, Any]) -> float:
    """What the most affected group pays in utility, 0 where that is nothing or unknown."""
    change = one.get("worst_group_utility_change")
    return 0.0 if change is None else max(0.0, -float(change["estimate"]))


def _worst_utility(before: UtilityPerModel, after: UtilityPerModel) -> dict[str, Any] | None:
    best: tuple[float, tuple[str, str], NDArray[np.float64]] | None = None
    for key, values in after.by_group.items():
        difference = values - before.by_group[key]
        chooses, tells = difference[0::2], difference[1::2]
        tells = tells[np.isfinite(tells)]
        if not np.isfinite(chooses).any() or tells.size < FEW_MODELS:
            continue
        mean = float(np.nanmean(chooses))
        if best is None or mean < best[0]:
            best = (mean, key, tells)
    if best is None:
        return None
    _, (attribute, group), tells = best
    return {
        "attribute": attribute,
        "group": group,
        **mean_of(tells).as_dict(),
        "n": int(tells.size),
        "method": WORST_UTILITY_METHOD,
    }


def _or_none(value: Estimate | None) -> dict[str, float] | None:
    return None if value is None else value.as_dict()
