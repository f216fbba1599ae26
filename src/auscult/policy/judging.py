"""The judge: a pure function of policy and summary. It looks at bounds, never at estimates.

A limit is kept when the upper bound lies within it, broken when the lower bound lies beyond it and
beyond what chance alone gives, and open in between. A limit without its figure is open. One broken
limit fails; otherwise one open limit, or one piece of missing evidence, is inconclusive; only what
is kept throughout, on enough evidence, passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from auscult.policy.limits import (
    Check,
    Limit,
    deployment_limits,
    exposed_limits,
    group_limits,
    release_limits,
    structure_limits,
)
from auscult.policy.looks import level, widened, widening
from auscult.policy.rules import EvidenceLimits, Policy
from auscult.results.lacking import (
    disagreement,
    not_learned,
    null_off,
)
from auscult.risk.patients import NULL_TOLERANCE

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a policy says of a run.

    Attributes
    ----------
    verdict : {"pass", "fail", "inconclusive"}
    checks : tuple of Check
        Evidence first, then limits.
    looks : tuple of int
        Models of the run each time that it was judged, where it grows until it is decided.
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    looks: tuple[int, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What keeps it from a decision, one sentence each."""
        return tuple(one.reason for one in self.checks if one.verdict == "inconclusive")

    def as_dict(self) -> dict[str, Any]:
        """The "decision" object of the summary, without policy and fingerprints."""
        return {
            "verdict": self.verdict,
            "checks": [asdict(one) for one in self.checks],
            "missing": list(self.missing),
            **(
                {"looks": {"models": list(self.looks), "error": level(self.looks)}}
                if self.looks
                else {}
            ),
        }


def judge(policy: Policy, summary: Mapping[str, Any], looks: Sequence[int] = ()) -> Decision:
    """Judge a run's summary.

    Parameters
    ----------
    policy : Policy
    summary : mapping
        The contents of ``summary.json``.
    looks : sequence of int
        Models of the run at every look up to this one, where it is judged several times: bounds are
        then wider, so that all looks together err in 5% of cases; see :mod:`auscult.policy.looks`.

    Returns
    -------
    Decision
    """
    limits = [
        *exposed_limits(policy, summary),
        *group_limits(policy, summary),
        *deployment_limits(policy, summary),
        *release_limits(policy, summary),
        *structure_limits(policy, summary),
    ]
    factor = widening(looks)
    limits = [replace(one, figure=widened(one.figure, factor)) for one in limits]
    checks = (*_evidence(policy, summary, limits), *(one.judged() for one in limits))
    verdicts = {one.verdict for one in checks}
    verdict: Verdict = (
        "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"
    )
    return Decision(verdict=verdict, checks=checks, looks=tuple(looks))


def _evidence(policy: Policy, summary: Mapping[str, Any], limits: list[Limit]) -> Iterator[Check]:
    evidence = policy.evidence
    models = summary["models"].get("count")
    yield _needs(
        "evidence.models",
        "Shadow models",
        models is not None and models >= evidence.models,
        estimate=models,
        limit=evidence.models,
        reason=f"{models} shadow models are too few: the policy asks for {evidence.models}",
    )
    if evidence.learned:
        verdict = (summary["models"].get("learned") or {}).get("verdict")
        yield _needs(
            "evidence.learned",
            "The models have learned their task",
            verdict is True,
            reason=not_learned(summary),
        )
    if evidence.interval_width is not None:
        yield _width(evidence, summary)
    if evidence.null_clear:
        yield _null(summary, limits)
    yield from _agreement(summary)
    yield from _direction(summary)
    yield _cells(policy, summary)
    yield from _disclosure(policy, summary)
    if summary.get("guarantee"):
        yield _guarantee(summary["guarantee"])


def _width(evidence: EvidenceLimits, summary: Mapping[str, Any]) -> Check:
    models = summary["models"].get("count")
    rows = summary["patients"].get("planning") or []
    width = next((row["interval_width"] for row in rows if row["models"] == models), None)
    narrow = next(
        (row["models"] for row in rows if row["interval_width"] <= (evidence.interval_width or 0)),
        None,
    )
    more = (
        f"; about {narrow} models would be enough"
        if narrow is not None
        else "; more models narrow it"
    )
    return _needs(
        "evidence.interval_width",
        "Width of a patient's 95% interval, in AUC",
        width is not None and width <= (evidence.interval_width or 0),
        estimate=width,
        limit=evidence.interval_width,
        reason="the width of a patient's interval is not estimable"
        if width is None
        else f"a patient's interval is {width:.3f} wide{more}",
    )


def _null(summary: Mapping[str, Any], limits: list[Limit]) -> Check:
    mean = (summary["patients"].get("raw") or {}).get("null_mean")
    # What is broken beyond chance is judged already: chance does not make it unknown again.
    beyond = [
        one.what
        for one in limits
        if one.null is not None and one.beyond(one.null) and one.judged().verdict != "fail"
    ]
    clear = mean is not None and abs(mean - 0.5) <= NULL_TOLERANCE and not beyond
    reason = null_off(mean)
    if mean is not None and beyond:
        reason = f"chance alone exceeds the limit ({beyond[0]}), so it cannot be judged here"
    return _needs(
        "evidence.null_clear",
        "Shuffled membership shows nothing",
        clear,
        estimate=mean,
        reason=reason,
    )


def _agreement(summary: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the estimates agree with what was counted; nothing of a summary that cannot tell."""
    found = summary["patients"].get("agreement")
    if found is None:
        return
    yield _needs(
        "evidence.agreement",
        "The estimates agree with the AUCs as counted",
        bool(found["agrees"]),
        estimate=found["difference"],
        limit=found["allowed"],
        reason=disagreement(found),
    )


def _direction(summary: Mapping[str, Any]) -> Iterator[Check]:
    """Whether members are fitted better, where the outputs are a loss or a score."""
    found = summary["models"].get("signal")
    if found is not None:
        yield _needs(
            "evidence.direction",
            "Members are fitted better than others, as the output's name says",
            not found["inverted"],
            estimate=found["mean_auc"],
            reason=found["reason"],
        )


def _cells(policy: Policy, summary: Mapping[str, Any]) -> Check:
    """Whether the report shows groups smaller than the policy allows: a fact, not an estimate."""
    cells = [
        cell
        for one in summary["disparities"].values()
        if (cell := (one.get("suppressed") or {}).get("smallest_cell")) is not None
    ]
    smallest = min(cells, default=None)
    broken = smallest is not None and smallest < policy.smallest_cell
    return Check(
        key="smallest_cell",
        what="Smallest group that the report may show",
        verdict="fail" if broken else "pass",
        limit=policy.smallest_cell,
        estimate=smallest,
        reason=f"the report may show groups of {smallest} patients: set audit.smallest_cell to "
        f"{policy.smallest_cell} and run again (the models are kept)"
        if broken
        else "",
    )


def _disclosure(policy: Policy, summary: Mapping[str, Any]) -> Iterator[Check]:
    """Whether figures were released as the policy asks: facts, not estimates."""
    rules, found = policy.disclosure, summary.get("disclosure") or {}
    if (base := rules.counts_rounded_to) is not None:
        used = found.get("counts_rounded_to", 1)
        kept = used % base == 0
        yield Check(
            key="disclosure.counts_rounded_to",
            what="What numbers of patients are rounded to",
            verdict="pass" if kept else "fail",
            limit=base,
            estimate=used,
            reason=""
            if kept
            else f"numbers of patients are rounded to {used}: set audit.count_base (or import "
            f"--count-base) to {base} and run again (the models are kept)",
        )
    if rules.ledger is not None:
        entered = found.get("ledger")
        reason = ""
        if entered is None:
            reason = "it is not known in which release ledger the report was entered"
        elif entered != rules.ledger:
            reason = (
                "the report was entered in another release ledger: set audit.ledger (or import "
                "--ledger) to the policy's and run again (the models are kept)"
            )
        yield Check(
            key="disclosure.ledger",
            what="The report is entered in the policy's release ledger",
            verdict="pass" if not reason else "inconclusive" if entered is None else "fail",
            reason=reason,
        )


def _guarantee(guarantee: Mapping[str, Any]) -> Check:
    """Whether what was found contradicts the guarantee that the training promises."""
    defects = guarantee.get("defects") or []
    return Check(
        key="guarantee",
        what="The promised guarantee is not contradicted",
        verdict="fail" if defects else "pass",
        estimate=len(defects),
        limit=0,
        reason="; ".join(str(one).rstrip(".") for one in defects),
    )


def _needs(
    key: str,
    what: str,
    enough: bool,
    *,
    reason: str,
    estimate: float | None = None,
    limit: float | None = None,
) -> Check:
    return Check(
        key=key,
        what=what,
        verdict="pass" if enough else "inconclusive",
        estimate=estimate,
        limit=limit,
        reason="" if enough else reason,
    )
