"""The judge, check by check, on summaries written by hand: which figure, limit and verdict."""

# ruff: noqa: ANN401 - parts of a summary are anything

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from auscult.base.errors import StoreError
from auscult.base.version import __version__
from auscult.policy import (
    Check,
    Decision,
    DeploymentLimits,
    DisclosureRules,
    EvidenceLimits,
    ExposedLimit,
    GroupLimits,
    Policy,
    ReleaseLimits,
    StructureLimits,
    judge,
)
from auscult.policy.gate import (
    _entered,
    _exact,
    _released,
    fingerprints,
    write_decision_json,
    write_junit,
)
from auscult.policy.limits import Limit, _shown
from auscult.results.result import EXACT


def summary(**parts: Any) -> dict[str, Any]:
    """A run of 64 models and 200 patients in which everything is as it should be."""
    row = {"estimate": 4.0, "low": 2.0, "high": 7.0, "null": 0.5}
    return {
        "models": {"count": 64, "learned": {"verdict": True}},
        "patients": {
            "count": 200,
            "estimable": 200,
            "exposed": {"0.9": row},
            "raw": {"null_mean": 0.5},
            "planning": [
                {"models": 32, "interval_width": 0.4},
                {"models": 64, "interval_width": 0.25},
                {"models": 128, "interval_width": 0.12},
                {"models": 256, "interval_width": 0.06},
            ],
        },
        "disparities": {},
    } | parts


def check(policy: Policy, found: dict[str, Any], key: str) -> Check:
    (one,) = [one for one in judge(policy, found).checks if one.key == key]
    return one


def keys(policy: Policy, found: dict[str, Any]) -> list[str]:
    return [one.key for one in judge(policy, found).checks]


PLAIN = Policy(exposed=(ExposedLimit(auc="0.9", patients=7),))


def test_a_decision_is_as_bad_as_its_worst_check() -> None:
    found = summary()
    decision = judge(PLAIN, found)
    assert decision.verdict == "pass"
    assert decision.missing == ()
    assert keys(PLAIN, found) == [
        *("evidence.models", "evidence.learned", "evidence.null_clear", "smallest_cell"),
        "exposed.0.9",
    ]
    found["models"]["learned"] = {"verdict": False}
    decision = judge(PLAIN, found)
    assert decision.verdict == "inconclusive"
    (why,) = decision.missing
    assert why.startswith("the models have learned nothing")
    assert decision.as_dict()["missing"] == list(decision.missing)
    found["models"]["learned"] = {}
    assert judge(PLAIN, found).missing == (
        "it is not known whether the models have learned anything",
    )
    broken = Policy(exposed=(ExposedLimit(auc="0.9", patients=1),))
    assert judge(broken, found).verdict == "fail"
    assert judge(broken, found).as_dict()["verdict"] == "fail"


def test_enough_models_are_enough() -> None:
    for models, verdict in ((31, "inconclusive"), (32, "pass"), (33, "pass"), (None, None)):
        found = summary(models={"count": models, "learned": {"verdict": True}})
        one = check(PLAIN, found, "evidence.models")
        assert one.verdict == (verdict or "inconclusive")
        assert (one.limit, one.estimate) == (32, models)
    assert PLAIN.evidence == EvidenceLimits(
        models=32, interval_width=None, null_clear=True, learned=True
    )
    off = Policy(exposed=PLAIN.exposed, evidence=EvidenceLimits(null_clear=False, learned=False))
    assert keys(off, summary()) == ["evidence.models", "smallest_cell", "exposed.0.9"]


@pytest.mark.parametrize(
    ("width", "verdict", "words"),
    [
        (0.25, "pass", ""),
        (0.24, "inconclusive", "a patient's interval is 0.250 wide; about 128 models would be en"),
        (0.12, "inconclusive", "about 128 models would be enough"),
        (0.11, "inconclusive", "about 256 models would be enough"),
        (0.01, "inconclusive", "a patient's interval is 0.250 wide; more models narrow it"),
    ],
)
def test_the_width_is_that_of_so_many_models(width: float, verdict: str, words: str) -> None:
    policy = Policy(exposed=PLAIN.exposed, evidence=EvidenceLimits(interval_width=width))
    one = check(policy, summary(), "evidence.interval_width")
    assert (one.verdict, one.estimate, one.limit) == (verdict, 0.25, width)
    assert words in one.reason
    unknown = summary(models={"count": 65, "learned": {"verdict": True}})
    one = check(policy, unknown, "evidence.interval_width")
    assert (one.verdict, one.estimate) == ("inconclusive", None)
    assert one.reason == "the width of a patient's interval is not estimable"


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [
        *((0.5, "pass"), (0.515, "pass"), (0.485, "pass")),
        *((0.525, "inconclusive"), (0.475, "inconclusive"), (0.9, "inconclusive")),
    ],
)
def test_the_null_lies_within_two_hundredths_of_one_half(mean: float, verdict: str) -> None:
    found = summary()
    found["patients"]["raw"]["null_mean"] = mean
    one = check(PLAIN, found, "evidence.null_clear")
    assert (one.verdict, one.estimate) == (verdict, mean)
    assert one.reason == (
        ""
        if verdict == "pass"
        else f"with shuffled membership the mean AUC is {mean:.3f} instead of 0.5"
    )


def test_chance_within_the_limit_is_clear_and_beyond_it_is_not() -> None:
    found = summary()
    found["patients"]["exposed"]["0.9"]["null"] = 7.0
    assert check(PLAIN, found, "evidence.null_clear").verdict == "pass"
    found["patients"]["exposed"]["0.9"]["null"] = 7.5
    one = check(PLAIN, found, "evidence.null_clear")
    assert one.verdict == "inconclusive"
    assert "(Patients with an AUC above 0.9)" in one.reason
    del found["patients"]["raw"]
    assert check(PLAIN, found, "evidence.null_clear").reason == ("there is no null to compare with")


def test_agreement_and_direction_are_judged_where_they_are_known() -> None:
    found = summary()
    agreement = {"agrees": False, "difference": 0.03, "allowed": 0.01, "posterior_mean": 0.62}
    found["patients"]["agreement"] = agreement | {"raw_mean": None}
    signal = {"inverted": True, "mean_auc": 0.31, "reason": "members fit worse"}
    found["models"]["signal"] = signal
    one = check(PLAIN, found, "evidence.agreement")
    assert (one.verdict, one.estimate, one.limit) == ("inconclusive", 0.03, 0.01)
    assert "have a mean of withheld, the estimates one of 0.620" in one.reason
    one = check(PLAIN, found, "evidence.direction")
    assert (one.verdict, one.estimate, one.reason) == ("inconclusive", 0.31, "members fit worse")
    found["patients"]["agreement"] = agreement | {"agrees": True, "raw_mean": 0.6}
    found["models"]["signal"] = signal | {"inverted": False}
    assert judge(PLAIN, found).verdict == "pass"


def test_groups_as_small_as_the_policy_allows_may_be_shown() -> None:
    assert PLAIN.smallest_cell == 10
    assert check(PLAIN, summary(), "smallest_cell").verdict == "pass"
    for cells, verdict in (((10, 12), "pass"), ((12, 9), "fail"), ((None, 30), "pass")):
        shown: dict[str, Any] = {
            f"a{place}": {"suppressed": {"smallest_cell": cell}} for place, cell in enumerate(cells)
        }
        found = summary(disparities=shown | {"b": {"suppressed": None}})
        one = check(PLAIN, found, "smallest_cell")
        assert (one.verdict, one.limit) == (verdict, 10)
        assert one.estimate == min(cell for cell in cells if cell is not None)


@pytest.mark.parametrize(
    ("used", "verdict"), [(None, "fail"), (1, "fail"), (5, "pass"), (10, "pass"), (7, "fail")]
)
def test_counts_are_rounded_to_the_base_or_a_multiple(used: int | None, verdict: str) -> None:
    rules = Policy(exposed=PLAIN.exposed, disclosure=DisclosureRules(counts_rounded_to=5))
    found = summary(disclosure={} if used is None else {"counts_rounded_to": used})
    one = check(rules, found, "disclosure.counts_rounded_to")
    assert (one.verdict, one.limit, one.estimate) == (verdict, 5, used or 1)
    assert bool(one.reason) == (verdict == "fail")


@pytest.mark.parametrize(
    ("entered", "verdict", "words"),
    [
        (None, "inconclusive", "it is not known"),
        ("ward", "pass", ""),
        ("other", "fail", "another release ledger"),
    ],
)
def test_the_ledger_is_the_policys(entered: str | None, verdict: str, words: str) -> None:
    rules = Policy(exposed=PLAIN.exposed, disclosure=DisclosureRules(ledger="ward"))
    one = check(rules, summary(disclosure={"ledger": entered}), "disclosure.ledger")
    assert one.verdict == verdict
    assert words in one.reason
    assert bool(words) == bool(one.reason)


def test_a_promise_is_counted_by_its_defects() -> None:
    assert "guarantee" not in keys(PLAIN, summary())
    for defects, verdict in (([], "pass"), (["too much.", "no noise"], "fail")):
        one = check(PLAIN, summary(guarantee={"defects": defects, "epsilon": 1}), "guarantee")
        assert (one.verdict, one.limit, one.estimate) == (verdict, 0, len(defects))
        assert one.reason == "; ".join(x.rstrip(".") for x in defects)


def judged(low: float | None, high: float | None, **more: Any) -> Check:
    figure = {"estimate": 1.0, "low": low, "high": high}
    return Limit(key="k", what="It", most=5.0, figure=figure, **more).judged()


def test_every_verdict_says_why() -> None:
    for low, high in ((None, 4.0), (4.0, None)):
        one = judged(low, high)
        assert one.verdict == "inconclusive"
        assert one.reason == "It: not estimable, the run does not contain this figure"
        assert (one.low, one.high, one.estimate, one.limit) == (low, high, 1.0, 5.0)
    one = Limit(key="k", what="It", most=5.0, figure={"reason": "too few"}).judged()
    assert one.reason == "It: not estimable, too few"
    assert judged(5.0, 5.0) == Check(
        key="k", what="It", verdict="pass", limit=5.0, estimate=1.0, low=5.0, high=5.0
    )
    one = judged(5.5, 6.0)
    assert (one.verdict, one.reason) == ("fail", "It: 5.5 to 6, beyond the limit of 5")
    one = judged(5.5, 6.0, null=5.5)
    assert one.reason == "It: 5.5 to 6, but the interval does not exceed its null"
    assert judged(5.5, 6.0, null=5.4).verdict == "fail"
    one = judged(5.5, 6.0, unbroken_because="q = 0.3")
    assert one.reason == "It: 5.5 to 6, but q = 0.3"
    one = judged(1.0, 2.0, open_because="3 are missing")
    assert (one.verdict, one.reason) == ("inconclusive", "It: 3 are missing")
    assert judged(5.5, 6.0, open_because="3 are missing").verdict == "fail"
    one = judged(5.0, 5.5)
    assert one.verdict == "inconclusive"
    assert one.reason.startswith("It: the interval 5 to 5.5 lies neither within the limit of 5")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (99.7, 129.3, "99 to 130"),  # as in the report's tables
        (10.4, 25.0, "10.4 to 25"),  # "10 to 25, beyond the limit of 10" would contradict itself
    ],
)
def test_numbers_of_patients_have_the_same_bounds_in_every_sentence(
    low: float, high: float, said: str
) -> None:
    figure = {"estimate": 20.0, "low": low, "high": high}
    one = Limit(key="release.named.0.9", what="Named", most=10.0, figure=figure).judged()
    assert one.reason == f"Named: {said}, beyond the limit of 10"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *((3.0, "3"), (1234.0, "1,234"), (-2.0, "-2"), (0.12345, "0.123"), (99.96, "100")),
        *((100.5, "100"), (1234.5, "1,234"), (-0.25, "-0.25"), (-1234.5, "-1,234")),
    ],
)
def test_figures_are_short(value: float, words: str) -> None:
    assert _shown(value) == words


def test_a_share_is_one_of_the_patients_who_are_assessed() -> None:
    policy = Policy(exposed=(ExposedLimit(auc="0.9", share=0.05),))
    found = summary()
    assert check(policy, found, "exposed.0.9").limit == 0.05 * 200
    found["patients"]["estimable"] = 180
    one = check(policy, found, "exposed.0.9")
    assert one.limit == 0.05 * 180
    assert one.reason == "Patients with an AUC above 0.9: 20 patients are not estimable"
    found["patients"]["estimable"] = 199
    assert "1 patients are not estimable" in check(policy, found, "exposed.0.9").reason
    found["patients"]["estimable"] = None
    assert check(policy, found, "exposed.0.9").limit == 0.05 * 200
    assert check(policy, found, "exposed.0.9").verdict == "pass"
    absent = Policy(exposed=(ExposedLimit(auc="0.6", patients=3),))
    assert (
        "not estimable, the run has no threshold 0.6" in check(absent, found, "exposed.0.6").reason
    )


def group(patients: int = 20, q: float | None = 0.01, **more: Any) -> dict[str, Any]:
    row = {"patients": patients, "q": q, "difference": 0.2}
    row |= {"difference_low": 0.15, "difference_high": 0.25}
    row |= {"exposed_0.9": 0.3, "exposed_0.9_low": 0.2, "exposed_0.9_high": 0.4}
    return row | more


def groups(found: dict[str, dict[str, Any]], **limits: Any) -> list[Check]:
    policy = Policy(groups=GroupLimits(**limits))
    shown = summary(disparities={name: {"groups": rows} for name, rows in found.items()})
    return [one for one in judge(policy, shown).checks if one.key.startswith("groups")]


def test_a_group_is_judged_by_what_the_policy_limits() -> None:
    both = groups({"sex": {"F": group()}}, difference=0.1, exposed_share=0.1)
    assert [one.key for one in both] == ["groups.difference: sex", "groups.exposed_share: sex"]
    assert [(one.verdict, one.estimate, one.low, one.high) for one in both] == [
        ("fail", 0.2, 0.15, 0.25),
        ("fail", 0.3, 0.2, 0.4),
    ]
    assert groups({"sex": {"F": group()}}, difference=0.1)[0].what.startswith("Mean AUC of sex = F")
    assert len(groups({"sex": {"F": group()}}, exposed_share=0.5)) == 1
    assert [one.key for one in groups({}, difference=0.1)] == ["groups"]
    assert "compares no groups" in groups({}, difference=0.1)[0].reason


@pytest.mark.parametrize(
    ("q", "verdict", "words"),
    [
        (0.05, "fail", "beyond the limit"),
        (0.051, "inconclusive", "may be chance (q = 0.05)"),
        (None, "inconclusive", "the difference could not be tested"),
    ],
)
def test_a_difference_is_broken_where_its_test_finds_it(
    q: float | None, verdict: str, words: str
) -> None:
    (one,) = groups({"sex": {"F": group(q=q)}}, difference=0.1)
    assert one.verdict == verdict
    assert words in one.reason


def test_groups_that_are_too_small_are_not_judged() -> None:
    rows = {"A": group(19), "B": group(20), "C": group(21)}
    assert GroupLimits().min_patients == 0
    assert len(groups({"ward": {"A": group(0)}}, difference=0.1)) == 1
    found = groups({"ward": rows}, difference=0.1, min_patients=20)
    assert [one.what.split(" above")[0][-1] for one in found] == ["B", "C"]
    (one,) = groups({"ward": rows}, difference=0.1, min_patients=22)
    assert one.reason == "Groups of ward: not estimable, it shows no group that is large enough"
    asked = groups({"ward": rows}, difference=0.1, attributes=("race", "ward"))
    assert len(asked) == 4
    assert asked[0].reason == ('Groups of race: not estimable, the run has no attribute "race"')


def cell(*rows: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    made = [
        {
            "prior": prior,
            "ppv": {"estimate": (low + high) / 2, "low": low, "high": high},
            "belief": {"to": {"estimate": low, "low": low / 2, "high": high / 2}},
            "named": {"0.9": {"patients": {"estimate": 3, "low": 10 * low, "high": 10 * high}}},
        }
        for prior, low, high in rows
    ]
    return {"declared": True, "by_prior": made} | more


def deployed(cells: list[dict[str, Any]], key: str, prior: Any = None, **limits: Any) -> Check:
    found = summary(exposure=cells, deployment={"prior": prior})
    return check(Policy(deployment=DeploymentLimits(**limits)), found, f"deployment.{key}")


def test_the_worst_of_declared_cells_and_priors_decides() -> None:
    cells = [cell((0.1, 0.3, 0.4), (0.2, 0.5, 0.55)), cell((0.1, 0.2, 0.6))]
    one = deployed(cells, "ppv", ppv=0.6)
    assert (one.low, one.high, one.verdict) == (0.5, 0.6, "pass")
    assert deployed(cells, "ppv", ppv=0.45).verdict == "fail"
    one = deployed(cells, "belief", belief=0.1)
    assert (one.low, one.high) == (0.25, 0.3)
    one = deployed(cells, "named.0.9", named={"0.9": 6})
    assert (one.low, one.high, one.verdict) == (5.0, 6.0, "pass")
    # Only what the policy limits, and only what is declared.
    policy = Policy(deployment=DeploymentLimits(ppv=0.6))
    assert keys(policy, summary(exposure=cells))[-1:] == ["deployment.ppv"]
    assert sum(x.startswith("deployment") for x in keys(policy, summary(exposure=cells))) == 1
    hidden = [*cells, cell((0.1, 0.9, 1.0)) | {"declared": False}]
    assert deployed(hidden, "ppv", ppv=0.6).high == 0.6


@pytest.mark.parametrize(
    ("declared", "high"),
    [
        ([0.1], 0.4),
        ([0.2], 0.6),
        ([0.1, 0.2], 0.6),
        ([0.05, 0.15], 0.4),
        ([0.1 + 1e-15], 0.4),
        ([0.1 - 1e-15], 0.4),
        ([0.2 - 1e-6, 0.3], 0.6),
        (None, 0.6),
    ],
)
def test_priors_count_within_their_range(declared: list[float] | None, high: float) -> None:
    assert deployed([cell((0.1, 0.3, 0.4), (0.2, 0.5, 0.6))], "ppv", declared, ppv=0.9).high == high


def test_a_deployment_without_its_figure_says_what_is_missing() -> None:
    assert "no deployment is declared" in deployed([], "ppv", ppv=0.5).reason
    own = cell((0.1, 0.3, 0.4))
    assert "has no declared prior" in deployed([own], "ppv", [0.3, 0.4], ppv=0.5).reason
    assert (
        "few models"
        in deployed([own | {"by_prior": [], "reason": "few models"}], "ppv", ppv=1).reason
    )
    for bound in ("low", "high"):
        lacking = cell((0.1, 0.3, 0.4))
        lacking["by_prior"][0]["ppv"][bound] = None
        assert "a prior lacks it" in deployed([lacking], "ppv", ppv=0.5).reason
    lacking["by_prior"][0]["ppv"]["reason"] = "no model"
    assert "no model" in deployed([lacking], "ppv", ppv=0.5).reason
    lacking["by_prior"][0]["belief"] = None
    assert "set deployment.prevalence" in deployed([lacking], "belief", belief=0.5).reason
    assert deployed([own], "named.0.5", named={"0.5": 3}).verdict == "inconclusive"


def release(**parts: Any) -> dict[str, Any]:
    count = {"estimate": 40.0, "low": 30.0, "high": 50.0}
    return {
        "calibration": {"ece": {"estimate": 0.01, "low": 0.005, "high": 0.02}},
        "likeness": {"verdict": True},
        "named": [
            {"posterior": 0.9, "prior": 0.1, "true": {"estimate": 1.0, "low": 1.0, "high": 1.0}},
            {"posterior": 0.5, "prior": 0.5, "true": {"estimate": 2.0, "low": 2.0, "high": 2.0}},
            {"posterior": 0.9, "prior": 0.5, "true": count},
        ],
        "at_fpr": [
            {"rate": 0.001, "tpr": {"estimate": 0.5, "low": 0.4, "high": 0.6}},
            {"rate": 0.01, "tpr": {"estimate": 0.2, "low": 0.15, "high": 0.25}},
        ],
    } | parts


def of_release(found: dict[str, Any], key: str, **limits: Any) -> Check:
    return check(Policy(release=ReleaseLimits(**limits)), summary(release=found), f"release.{key}")


def test_a_release_is_judged_at_the_level_that_is_limited() -> None:
    one = of_release(release(), "named.0.9", named={"0.9": 50})
    assert (one.low, one.high, one.verdict) == (30.0, 50.0, "pass")
    one = of_release(release(), "named.0.5", named={"0.5": 1})
    assert (one.estimate, one.verdict) == (2.0, "fail")
    one = of_release(release(), "tpr.0.01", tpr={"0.01": 0.25})
    assert (one.low, one.high, one.verdict) == (0.15, 0.25, "pass")
    assert of_release(release(), "tpr.0.001", tpr={"0.001": 0.3}).low == 0.4
    assert "no figure at 0.99" in of_release(release(), "named.0.99", named={"0.99": 3}).reason
    assert "no figure at 0.1" in of_release(release(), "tpr.0.1", tpr={"0.1": 0.3}).reason
    lacking = release(at_fpr=[{"rate": 0.1, "reason": "too few outsiders"}])
    assert "too few outsiders" in of_release(lacking, "tpr.0.1", tpr={"0.1": 0.3}).reason
    policy = Policy(release=ReleaseLimits(named={"0.9": 50}))
    assert "release.calibration_error" in keys(policy, summary(release=release()))
    assert ReleaseLimits().calibration_error == 0.02
    for found in ({}, {"reason": "too few models"}):
        one = of_release(found, "named.0.9", named={"0.9": 50})
        assert (found.get("reason") or "the run has no release") in one.reason


def test_members_are_expected_where_they_are_not_known() -> None:
    expected = {"estimate": 9.0, "low": 8.0, "high": 10.0}
    row = {"posterior": 0.9, "prior": 0.5, "true": {"estimate": None}, "expected_members": expected}
    assert of_release(release(named=[row]), "named.0.9", named={"0.9": 10}).high == 10.0
    known = row | {"true": {"estimate": 0.0, "low": 0.0, "high": 1.0}}
    assert of_release(release(named=[known]), "named.0.9", named={"0.9": 10}).high == 1.0


def test_posteriors_that_do_not_hold_decide_nothing() -> None:
    bad = {"ece": {"estimate": 0.05, "low": 0.03, "high": 0.07}}
    one = of_release(release(calibration=bad), "calibration_error", named={"0.9": 50})
    assert one.verdict == "inconclusive"
    assert one.reason.endswith("but posteriors that are not calibrated cannot be judged")
    for limits, key in (({"named": {"0.9": 1}}, "named.0.9"), ({"tpr": {"0.01": 0.1}}, "tpr.0.01")):
        one = of_release(release(calibration=bad), key, **limits)
        assert one.verdict == "inconclusive"
        assert one.reason.endswith("the posteriors are not calibrated well enough")
        one = of_release(release(likeness={"verdict": False}), key, **limits)
        assert one.reason.endswith("the release is not like the shadow models")
        assert of_release(release(likeness={}), key, **limits).verdict == "fail"


def test_what_a_model_carries_is_counted() -> None:
    found = {
        "findings": [
            *({"key": "leaves", "count": 3}, {"key": "leaves", "count": 4}),
            *({"key": "parameters", "count": 3}, {"key": "parameters", "count": 4}),
        ]
    }
    limits = {"leaves": 7.0, "parameters": 4.0, "records": 0.0}
    policy = Policy(structure=StructureLimits(most=limits))
    for key, count in (("leaves", 7), ("parameters", 4), ("records", 0)):
        one = check(policy, summary(structure=found), f"structure.{key}")
        assert (one.estimate, one.low, one.high, one.verdict) == (count, count, count, "pass")
    found["findings"] += [{"key": "vocabulary", "count": 3}, {"key": "vocabulary", "count": 4}]
    words = Policy(structure=StructureLimits(most={"vocabulary": 9.0}))
    assert check(words, summary(structure=found), "structure.vocabulary").estimate == 7
    few = Policy(structure=StructureLimits(most={"leaves": 6.0, "parameters": 3.0}))
    for key in ("leaves", "parameters"):
        assert check(few, summary(structure=found), f"structure.{key}").verdict == "fail"
    assert "could be read" in check(policy, summary(), "structure.leaves").reason


def made(verdict: Any, low: float, key: str = "k", reason: str = "") -> Check:
    return Check(
        key=key, what="It", verdict=verdict, limit=5.0, estimate=low, low=low, high=6, reason=reason
    )


def test_the_exact_figures_decide_and_those_released_are_shown() -> None:
    def both(exact: Check, shown: Check) -> Check:
        (one,) = _released(
            Decision(verdict=exact.verdict, checks=(exact,)),
            Decision(verdict=shown.verdict, checks=(shown,)),
        ).checks
        return one

    exact = made("fail", 5.2, reason="exactly 5.2")
    assert both(exact, made("fail", 5.2, reason="other words")) is exact
    one = both(exact, made("fail", 5.5, reason="about 5.5"))
    assert (one.verdict, one.low, one.reason) == ("fail", 5.5, "about 5.5")
    one = both(exact, made("inconclusive", 5.0, reason="open"))
    assert (one.verdict, one.low) == ("fail", 5.0)
    assert one.reason == "It: not within the limit of 5"
    one = both(made("pass", 4.9), made("fail", 5.5, reason="about 5.5"))
    assert (one.verdict, one.reason) == ("pass", "")
    whole = _released(
        Decision(verdict="fail", checks=(exact,)), Decision(verdict="pass", checks=(exact,))
    )
    assert whole.verdict == "fail"


def test_a_decision_is_written_for_machines(tmp_path: Path) -> None:
    checks = (
        made("pass", 1.0, "a"),
        made("fail", 5.5, "b", "too many"),
        made("fail", 5.7, "c", "too many"),
        Check(key="d", what="Unknown", verdict="inconclusive", reason="not known"),
    )
    decision = Decision(verdict="fail", checks=checks)
    write_junit(decision, tmp_path / "d.xml", "")
    suite = ElementTree.fromstring((tmp_path / "d.xml").read_bytes())[0]  # noqa: S314 - our own
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "2", "errors": "1", "skipped": "0"}
    assert suite.get("name") == "auscult gate"
    cases = {one.get("classname"): list(one) for one in suite}
    assert [len(cases[key]) for key in "abcd"] == [0, 1, 1, 1]
    assert cases["b"][0].tag == "failure"
    assert cases["b"][0].get("message") == "too many"
    assert cases["b"][0].text == "limit 5, estimate 5.5, low 5.5, high 6"
    assert (cases["d"][0].tag, cases["d"][0].text) == ("error", "none")
    write_junit(decision, tmp_path / "d.xml", "Ward")
    suite = ElementTree.fromstring((tmp_path / "d.xml").read_bytes())[0]  # noqa: S314 - our own
    assert suite.get("name") == "Ward"
    write_decision_json(decision.as_dict(), tmp_path / "d.json")
    written = json.loads((tmp_path / "d.json").read_text())
    assert written == {"schema": "auscult.decision/1", **decision.as_dict()}


def test_a_decision_names_what_was_judged() -> None:
    policy = Policy(text="title = 'x'")
    manifest = {
        "fingerprint": {"cohort": "c1", "recipe": "r1", "seed": 3},
        "blocks": [[0, 1], [2, 3], [4]],
    }
    found = fingerprints(policy, manifest)
    assert (found["data"], found["recipe"], found["models"]) == ("c1", "r1", "5, seed 3")
    assert found["policy"] == hashlib.sha256(b"title = 'x'").hexdigest()
    version, digest = found["code"].split()
    assert (version, len(digest)) == (__version__, 64)
    imported = fingerprints(policy, {"fingerprint": {"scores": "s1"}, "blocks": []})
    assert (imported["data"], imported["recipe"]) == ("s1", "none: the scores were imported")
    assert fingerprints(policy, {"fingerprint": {}, "blocks": []})["data"] == ""


def test_exact_figures_are_read_where_a_run_has_them(tmp_path: Path) -> None:
    store: Any = SimpleNamespace(
        secret_path=lambda name: tmp_path / name, manifest=lambda: {"ledger": "ward"}
    )
    assert _exact(store, {"x": 1}) == {"x": 1}
    (tmp_path / EXACT).write_text('{"x": 2}')
    assert _exact(store, {"x": 1}) == {"x": 2}
    (tmp_path / EXACT).write_text("{")
    with pytest.raises(StoreError, match="exact figures cannot be read"):
        _exact(store, {"x": 1})
    entered = _entered(store, {"disclosure": {"counts_rounded_to": 5, "ledger": "old"}, "y": 3})
    assert entered == {"disclosure": {"counts_rounded_to": 5, "ledger": "ward"}, "y": 3}
    assert _entered(store, {})["disclosure"] == {"ledger": "ward"}
