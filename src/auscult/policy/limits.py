"""Limits of a policy beside the figures of a summary, each with its bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from auscult.policy.rules import GroupLimits, Policy
from auscult.report.words import count_interval

SIGNIFICANT = 0.05
FARTHEST_RATE = 1e-9
ROUNDING = 1e-12
HALF_A_PATIENT = 0.5


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was judged.

    Attributes
    ----------
    key : str
        Where the policy asks for it.
    what : str
    verdict : {"pass", "fail", "inconclusive"}
    limit, estimate, low, high : float or None
    reason : str
        Why it did not pass.
    """

    key: str
    what: str
    verdict: Literal["pass", "fail", "inconclusive"]
    limit: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit and its figure.

    Attributes
    ----------
    key, what : str
    most : float
        The limit.
    figure : mapping
        "estimate", "low" and "high", or a "reason".
    null : float, optional
        The same figure when nothing leaks.
    open_because : str
        Why it cannot be kept whatever the figure says.
    unbroken_because : str
        Why it is not broken although the lower bound lies beyond it.
    whole : bool
        Whether it limits a number of patients: what is expected by chance is then compared as a
        whole number, so that a limit of 0 can be kept.
    """

    key: str
    what: str
    most: float
    figure: Mapping[str, Any]
    null: float | None = None
    open_because: str = ""
    unbroken_because: str = ""
    whole: bool = False

    def beyond(self, value: float) -> bool:
        """Whether a figure, of chance for example, exceeds the limit."""
        return value >= self.most + HALF_A_PATIENT if self.whole else value > self.most

    def judged(self) -> Check:
        """Compare bounds with the limit."""
        estimate, low, high = (self.figure.get(name) for name in ("estimate", "low", "high"))

        def check(verdict: Literal["pass", "fail", "inconclusive"], reason: str = "") -> Check:
            return Check(
                key=self.key,
                what=self.what,
                verdict=verdict,
                limit=self.most,
                estimate=estimate,
                low=low,
                high=high,
                reason=reason,
            )

        if low is None or high is None:
            because = self.figure.get("reason") or "the run does not contain this figure"
            return check("inconclusive", f"{self.what}: not estimable, {because}")
        bounds = self._bounds(low, high)
        beyond_chance = self.null is None or low > self.null
        if low > self.most and beyond_chance and not self.unbroken_because:
            return check("fail", f"{self.what}: {bounds}, beyond the limit of {_shown(self.most)}")
        if self.open_because:
            return check("inconclusive", f"{self.what}: {self.open_because}")
        if high <= self.most:
            return check("pass")
        if low > self.most:
            because = self.unbroken_because or "the interval does not exceed its null"
            return check("inconclusive", f"{self.what}: {bounds}, but {because}")
        return check(
            "inconclusive",
            f"{self.what}: the interval {bounds} lies neither within the limit of "
            f"{_shown(self.most)} nor beyond it; more models or patients narrow it",
        )

    def _bounds(self, low: float, high: float) -> str:
        """The interval in words: of patients as in the report, unless that hid which side it is."""
        counted = self.whole or ".named." in self.key
        crossed = math.floor(low) <= self.most < low or high <= self.most < math.ceil(high)
        return (
            count_interval(low, high)
            if counted and not crossed
            else f"{_shown(low)} to {_shown(high)}"
        )


def exposed_limits(policy: Policy, summary: Mapping[str, Any]) -> Iterator[Limit]:
    """Patients above an AUC."""
    patients = summary["patients"]
    of = patients.get("estimable") or patients.get("count")
    lost = (patients.get("count") or 0) - (of or 0)
    for one in policy.exposed:
        row = (patients.get("exposed") or {}).get(one.auc)
        reason = "" if row else f"the run has no threshold {one.auc}"
        most = one.patients if one.patients is not None else (one.share or 0.0) * (of or 0)
        yield Limit(
            key=f"exposed.{one.auc}",
            what=f"Patients with an AUC above {one.auc}",
            most=float(most),
            figure=row or {"reason": reason},
            null=None if row is None else row.get("null"),
            open_because=f"{lost} patients are not estimable" if lost > 0 else "",
            whole=True,
        )


def group_limits(policy: Policy, summary: Mapping[str, Any]) -> Iterator[Limit]:
    """Differences between groups, and shares of groups."""
    limits = policy.groups
    if limits is None:
        return
    found = summary["disparities"]
    names = limits.attributes or tuple(found)
    if not names:
        yield Limit(
            key="groups",
            what="Groups",
            most=0.0,
            figure={"reason": "the run compares no groups: name some under cohort.groups"},
        )
    for attribute in names:
        groups = (found.get(attribute) or {}).get("groups") or {}
        judged = {
            name: row for name, row in groups.items() if row["patients"] >= limits.min_patients
        }
        if not judged:
            reason = (
                f'the run has no attribute "{attribute}"'
                if attribute not in found
                else "it shows no group that is large enough"
            )
            yield Limit(
                key=f"groups.{attribute}",
                what=f"Groups of {attribute}",
                most=0.0,
                figure={"reason": reason},
            )
        few = str(summary["patients"].get("few_models") or "")
        for name, row in judged.items():
            yield from _of_group(limits, attribute, name, row, few)


def _of_group(
    limits: GroupLimits, attribute: str, name: str, row: Mapping[str, Any], few: str
) -> Iterator[Limit]:
    difference, share = limits.difference, limits.exposed_share
    if difference is not None:
        q = row.get("q")
        doubt = "" if q is not None and q <= SIGNIFICANT else _doubt(q)
        yield Limit(
            key=f"groups.difference: {attribute}",
            what=f"Mean AUC of {attribute} = {name} above others' with equally many records",
            most=difference,
            figure={
                "estimate": row.get("difference"),
                "low": row.get("difference_low"),
                "high": row.get("difference_high"),
                "reason": row.get("reason", ""),
            },
            unbroken_because=doubt,
        )
    if share is not None:
        yield Limit(
            key=f"groups.exposed_share: {attribute}",
            what=f"Share of {attribute} = {name} with an AUC above 0.9",
            most=share,
            figure={
                "estimate": row.get("exposed_0.9"),
                "low": row.get("exposed_0.9_low"),
                "high": row.get("exposed_0.9_high"),
            },
            open_because=few,  # the interval of a share is as good as what was learned of all
            unbroken_because=few,
        )


def _doubt(q: float | None) -> str:
    if q is None:
        return "the difference could not be tested"
    return f"among patients with equally many records it may be chance (q = {q:.2f})"


def deployment_limits(policy: Policy, summary: Mapping[str, Any]) -> Iterator[Limit]:
    """What an attacker reaches in the declared deployment."""
    limits = policy.deployment
    if limits is None:
        return
    cells = [cell for cell in summary.get("exposure") or [] if cell.get("declared")]
    declared = (summary.get("deployment") or {}).get("prior") or []
    wanted: list[tuple[str, str, float]] = []
    if limits.ppv is not None:
        wanted.append(("ppv", "Probability that a named patient is a member", limits.ppv))
    for level, most in limits.named.items():
        wanted.append((f"named.{level}", f"Patients whose posterior passes {level}", most))
    if limits.belief is not None:
        wanted.append(("belief", "Belief in the condition of a named patient", limits.belief))
    for key, what, most in wanted:
        yield Limit(
            key=f"deployment.{key}",
            what=what,
            most=most,
            figure=_worst(cells, declared, key),
        )


def _worst(
    cells: list[Mapping[str, Any]], declared: Sequence[float], key: str
) -> Mapping[str, Any]:
    """The figure with the highest upper bound over declared cells and priors."""
    if not cells:
        return {"reason": "no deployment is declared: add [deployment] to audit.toml"}
    figures: list[Mapping[str, Any]] = []
    for cell in cells:
        rows = [row for row in cell.get("by_prior") or [] if _within(row["prior"], declared)]
        if not rows:
            return {"reason": cell.get("reason") or "the declared cell has no declared prior"}
        for row in rows:
            figure = _figure(row, key)
            if figure.get("high") is None or figure.get("low") is None:
                because = figure.get("reason") or cell.get("reason") or "a prior lacks it"
                return {"reason": because}
            figures.append(figure)
    highest = max(figures, key=lambda one: one["high"])
    # The worst prior decides either way: a limit that one prior breaks for sure is broken.
    return {**highest, "low": max(one["low"] for one in figures)}


def _within(prior: float, declared: Sequence[float]) -> bool:
    """Whether a prior lies in the declared range: a run shows others beside it."""
    return not declared or min(declared) - ROUNDING <= prior <= max(declared) + ROUNDING


def _figure(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if key == "belief":
        belief = row.get("belief")
        if not belief:
            return {"reason": "no prevalence is declared: set deployment.prevalence"}
        return belief.get("to") or {}
    if key == "ppv":
        return row.get("ppv") or {}
    level = key.removeprefix("named.")
    return ((row.get("named") or {}).get(level) or {}).get("patients") or {}


def release_limits(policy: Policy, summary: Mapping[str, Any]) -> Iterator[Limit]:
    """What the release audit found."""
    limits = policy.release
    if limits is None:
        return
    release = summary.get("release") or {}
    absent = "" if release else "the run has no release: declare [release] in audit.toml"
    absent = absent or release.get("reason", "")
    doubt = _unlike(release)
    error = (release.get("calibration") or {}).get("ece") or {"reason": absent}
    calibration = Limit(
        key="release.calibration_error",
        what="Calibration error of the posteriors",
        most=limits.calibration_error,
        figure=error,
        unbroken_because="posteriors that are not calibrated cannot be judged",
    )
    yield calibration
    if calibration.judged().verdict != "pass":
        doubt = doubt or "the posteriors are not calibrated well enough"
    moved = release.get("transfer") or {}
    if moved.get("other_share"):
        carried = Limit(
            key="release.transfer",
            what="Calibration error of the posteriors because the release trained on another share "
            "of the patients than the shadow models",
            most=limits.calibration_error,
            figure=moved["error"],
            unbroken_because="posteriors that do not hold for the release cannot be judged",
        )
        yield carried
        if carried.judged().verdict != "pass":
            doubt = doubt or _not_carried(moved)
    for level, most in limits.named.items():
        rows = [
            row
            for row in release.get("named") or []
            if row["posterior"] == float(level) and row["prior"] == 0.5
        ]
        yield Limit(
            key=f"release.named.{level}",
            what=f"Members named by the release with a posterior of {level} or more",
            most=most,
            figure=_members_named(rows[0]) if rows else {"reason": absent or _no_level(level)},
            open_because=doubt,
            unbroken_because=doubt,
        )
    for rate, most in limits.tpr.items():
        found = [
            row
            for row in release.get("at_fpr") or []
            if abs(row["rate"] - float(rate)) < FARTHEST_RATE
        ]
        figure: Mapping[str, Any] = {"reason": absent or _no_level(rate)}
        if found:
            figure = found[0].get("tpr") or {"reason": found[0].get("reason", "")}
        yield Limit(
            key=f"release.tpr.{rate}",
            what=f"Share of the release's members named at a false positive rate of {rate}",
            most=most,
            figure=figure,
            open_because=doubt,
            unbroken_because=doubt,
        )


_CARRIED = {
    "records": "Training records that a model keeps",
    "leaves": "Leaves of trees under the smallest cell",
    "pure_leaves": "Leaves of trees that answer with one class",
    "vocabulary": "Words of a vocabulary that takes rare ones",
    "parameters": "Parameters per training record",
}


def structure_limits(policy: Policy, summary: Mapping[str, Any]) -> Iterator[Limit]:
    """What one fitted model carries: counted, so that both bounds are the count."""
    if policy.structure is None:
        return
    found = summary.get("structure")
    for key, most in policy.structure.most.items():
        figure: Mapping[str, Any] = {"reason": "the structure of no model could be read"}
        if found is not None:
            counts = [one["count"] for one in found["findings"] if one["key"] == key]
            number = max(counts) if key == "parameters" and counts else sum(counts)
            figure = dict.fromkeys(("estimate", "low", "high"), number)
        yield Limit(key=f"structure.{key}", what=_CARRIED[key], most=most, figure=figure)


def _members_named(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """True members where they are known, otherwise as many as the posteriors expect."""
    true = row.get("true") or {}
    return true if true.get("estimate") is not None else row.get("expected_members") or {}


def _unlike(release: Mapping[str, Any]) -> str:
    verdict = (release.get("likeness") or {}).get("verdict")
    if verdict is False:
        return "the release is not like the shadow models"
    outside = release.get("outside")
    if not outside:
        return ""
    blind = outside.get("blind") or {}
    if blind.get("above_chance"):
        return (
            "its non-members from elsewhere are told from its members without any model, so they "
            "do not show what non-members like the members would meet"
        )
    if (blind.get("auc") or {}).get("mean") is None:
        return (
            "whether its non-members from elsewhere are like its members is not known: "
            f"{blind.get('reason') or 'it was not tried'}"
        )
    return ""


def _not_carried(moved: Mapping[str, Any]) -> str:
    share, shadow = moved["share"], moved["shadow_share"]
    trained = "everybody" if share == 1 else f"{100 * share:.0f}% of the patients"
    least = (
        'put patients who did not train it beside the cohort ("release.non_members")'
        if share == 1
        else 'train the shadow models like it (audit.share = "as released")'
    )
    return (
        f"the release trained on {trained} and the shadow models on {100 * shadow:.0f}%, and it is "
        f"not sure enough that their posteriors hold for it; {least}"
    )


def _no_level(level: str) -> str:
    return f"the run has no figure at {level}"


def _shown(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
