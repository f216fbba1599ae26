"""Releases trained on any share: totals that are known, intervals, and how far posteriors hold."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from auscult import Audit, SklearnRecipe
from auscult.attacks.layout import lay_out
from auscult.cohort.design import share_of_steps, steps_like
from auscult.config.policy import parse_policy
from auscult.policy import judge
from auscult.policy.limits import release_limits
from auscult.policy.rules import Policy, ReleaseLimits
from auscult.release import FileDoor, MemberList, Release
from auscult.release.assess import _share
from auscult.release.declaration import Asked
from auscult.release.likeness import likeness
from auscult.release.members import MEMBER, OUTSIDER, Roll
from auscult.release.named import named_at, sides_of
from auscult.release.ratios import judged_in_each_fold
from auscult.release.shown import View
from auscult.release.totals import overdispersion, variance_of_members, with_known_total
from auscult.release.transfer import other_share, transfer
from auscult.report.first import unknown
from auscult.report.release import transfer_sentence
from auscult.report.summary import Part
from tests.released import cohort, frame_of

KNOWN = {MEMBER: "", OUTSIDER: ""}


def asked(state: NDArray[np.integer] | NDArray[np.bool_]) -> Asked:
    return Asked(
        values=np.zeros((len(state), 1)),
        view=View(kind="sigmoid"),
        roll=Roll(np.asarray(state, dtype=np.int8)),
        about={},
    )


def test_posteriors_add_up_to_what_is_known() -> None:
    rng = np.random.default_rng(0)
    found = rng.normal(0, 2, (50, 3))
    found[4, 1] = np.nan
    many = np.array([20, 3, 50])
    shifted = with_known_total(found, many)
    for model, total in enumerate(many[:2]):
        own = shifted[:, model][np.isfinite(shifted[:, model])]
        assert expit(own + logit(total / own.size)).sum() == pytest.approx(total, abs=1e-6)
        moved = (shifted - found)[:, model]
        np.testing.assert_allclose(moved[np.isfinite(moved)], moved[0])
    assert np.isnan(shifted[4, 1])
    # A model of everybody has no other side: nothing is known of where its level lies.
    np.testing.assert_array_equal(shifted[:, 2], found[:, 2])
    # From far away, where a step of Newton's would leap.
    far = with_known_total(np.full((40, 1), 60.0), np.array([10]))
    assert expit(far + logit(0.25)).sum() == pytest.approx(10, abs=1e-5)


def test_a_known_total_is_what_bayes_says() -> None:
    """All assignments of 5 members to 12 patients, weighed by their likelihood."""
    log_odds = np.random.default_rng(1).normal(0, 1, 12)
    weights, inside = [], []
    for some in combinations(range(12), 5):
        weights.append(np.exp(log_odds[list(some)].sum()))
        inside.append(np.isin(np.arange(12), some))
    exact = np.average(inside, axis=0, weights=weights)
    found = expit(with_known_total(log_odds[:, None], np.array([5]))[:, 0] + logit(5 / 12))
    np.testing.assert_allclose(found, exact, atol=0.02)
    plain = expit(log_odds + logit(5 / 12))
    assert np.abs(plain - exact).max() > 2 * np.abs(found - exact).max()
    # The same of the variance of how many of the first six are members.
    first = np.array(inside)[:, :6].sum(axis=1)
    variance = np.average(first**2, weights=weights) - np.average(first, weights=weights) ** 2
    told = float(variance_of_members(found[:6], found[6:]))
    assert told == pytest.approx(variance, rel=0.15)
    assert float(variance_of_members(found[:6], None)) > 1.5 * variance


def simulated(
    rng: np.random.Generator, *, patients: int, models: int, share: float, level: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Right log-odds of two Gaussians, and models that are surer than others of everybody."""
    member = rng.random((patients, models)) < share
    effect = rng.uniform(0.5, 3, (patients, 1))
    score = effect * (member - 0.5) + rng.normal(size=member.shape)
    return effect * score + level * rng.normal(size=models), member


@pytest.mark.parametrize("level", [0.0, 0.6])
@pytest.mark.parametrize("total", [False, True])
def test_expected_members_cover_the_truth(level: float, *, total: bool) -> None:
    rng = np.random.default_rng(3)
    held, few, wide = 0, 300, []
    for _ in range(few):
        log_odds, member = simulated(rng, patients=200, models=33, share=0.4, level=level)
        state = member[:, -1]
        if total:
            log_odds = with_known_total(log_odds, member.sum(axis=0))
        sides = sides_of(asked(state), log_odds[:, :-1], member[:, :-1], log_odds[:, -1], 10)
        row = named_at(sides, 0.5, 0.5, float(state.mean()), total=total)["expected_members"]
        held += row["low"] <= row_truth(log_odds[:, -1], state) <= row["high"]
        p = expit(log_odds[:, -1] + logit(state.mean()))
        named = log_odds[:, -1] >= 0
        variance = float(variance_of_members(p[named], p[~named] if total else None))
        factor = overdispersion(log_odds[:, :-1], member[:, :-1], 0.0, total=total)
        wide.append((row["high"] - row["low"]) / (2 * 1.96 * factor * np.sqrt(variance)))
    assert held / few >= 0.93
    # Whole patients, and a factor that rests on 32 models.
    assert 1 < np.mean(wide) < 1.15


def row_truth(log_odds: NDArray[np.float64], state: NDArray[np.bool_]) -> int:
    return int(state[log_odds >= 0].sum())


def test_shadow_models_show_how_far_counts_lie() -> None:
    rng = np.random.default_rng(4)
    alike = simulated(rng, patients=400, models=64, share=0.5, level=0.0)
    surer = simulated(rng, patients=400, models=64, share=0.5, level=0.8)
    assert overdispersion(*alike, 0.0, total=False) < 1.25
    assert overdispersion(*surer, 0.0, total=False) > 2
    # By loops.
    log_odds, member = surer
    share = member.mean(axis=0)
    squares = []
    for model in range(64):
        named = log_odds[:, model] >= 0
        p = expit(log_odds[named, model] + logit(share[model]))
        off = p.sum() - member[named, model].sum()
        squares.append(off**2 / (p * (1 - p)).sum())
    assert overdispersion(*surer, 0.0, total=False) == pytest.approx(np.sqrt(np.mean(squares)))
    assert overdispersion(*alike, 99.0, total=False) == 1.0  # nobody is named


def test_what_is_moved_is_measured_and_covered() -> None:
    rng = np.random.default_rng(5)
    held = {0.0: 0, 1.0: 0}
    for _ in range(200):
        log_odds, member = simulated(rng, patients=120, models=25, share=0.8, level=0.4)
        state = np.where(member[:, -1], MEMBER, OUTSIDER).astype(np.int8)
        for shift in held:
            own = log_odds[:, -1] + shift
            found = transfer(log_odds[:, :-1], member[:, :-1], own, state, reasons=KNOWN)
            sides = [found[side]["difference"] for side in ("members", "non_members")]
            held[shift] += all(one["low"] <= 0 <= one["high"] for one in sides)
            ends = [max(one["high"], -one["low"]) for one in sides]
            assert found["error"]["high"] == pytest.approx(np.mean(ends))
    assert held[0.0] / 200 >= 0.88  # both sides at once
    assert held[1.0] / 200 < 0.5
    # Of everybody one side is measured, and the other is taken to be off by as much.
    none = transfer(
        log_odds[:, :-1],
        member[:, :-1],
        own,
        np.ones(120, dtype=np.int8),
        reasons={MEMBER: "", OUTSIDER: "nobody is known"},
    )
    assert none["non_members"]["reason"] == "nobody is known"
    assert none["error"]["estimate"] == abs(none["members"]["difference"]["estimate"])
    nobody = {MEMBER: "unknown", OUTSIDER: "unknown"}
    empty = transfer(log_odds[:, :-1], member[:, :-1], own, state, reasons=nobody)
    assert empty["error"] | {"reason": ""} == dict.fromkeys(("estimate", "low", "high")) | {
        "reason": ""
    }


def test_what_is_moved_by_loops() -> None:
    rng = np.random.default_rng(6)
    log_odds, member = simulated(rng, patients=30, models=9, share=0.6, level=0.0)
    log_odds[3, 2] = np.nan
    state = np.where(rng.random(30) < 0.6, MEMBER, OUTSIDER).astype(np.int8)
    own = rng.normal(size=30)
    found = transfer(log_odds, member, own, state, reasons=KNOWN)
    for key, side in (("members", MEMBER), ("non_members", OUTSIDER)):
        differences = []
        for i in np.flatnonzero(state == side):
            same = [
                expit(log_odds[i, k])
                for k in range(9)
                if member[i, k] == (side == MEMBER) and np.isfinite(log_odds[i, k])
            ]
            if len(same) >= 2:
                differences.append(expit(own[i]) - np.mean(same))
        assert found[key]["difference"]["estimate"] == pytest.approx(np.mean(differences))


def layout_of(rng: np.random.Generator, share: float, own: NDArray[np.bool_], level: float) -> Any:  # noqa: ANN401
    """Forty shadow models in waves of 20, and a release of given members, last."""
    patients = own.size
    ranks = rng.random((2, 20, patients)).argsort(axis=1).argsort(axis=1)
    member = (ranks < round(20 * share)).reshape(40, patients)
    both = np.vstack([member, own])
    signals = rng.normal(size=(1, patients)) + 1.5 * both + rng.normal(size=both.shape)
    signals[-1] += level
    hidden = np.vstack([member, np.zeros(patients, dtype=bool)])
    return lay_out(signals, hidden, np.arange(patients)), signals


def test_a_model_of_everybody_is_like_models_of_nearly_all() -> None:
    rng = np.random.default_rng(7)
    everybody = np.ones(300, dtype=bool)
    told = []
    for level in (0.0, 0.6):
        layout, _ = layout_of(rng, 0.95, everybody, level)
        held = np.zeros((300, 40))
        told.append(likeness(layout, held, np.zeros(300), everybody.astype(np.int8)))
    assert told[0]["verdict"] is True, told[0]["reason"]
    assert told[1]["verdict"] is False
    # Not knowing its members, it is only seen to differ from them.
    layout, _ = layout_of(rng, 0.5, everybody, 0.0)
    unknown = likeness(layout, np.zeros((300, 40)), np.zeros(300), np.full(300, -1, np.int8))
    assert unknown["verdict"] is False


def test_likeness_of_members_by_loops() -> None:
    rng = np.random.default_rng(8)
    own = rng.random(40) < 0.8
    layout, signals = layout_of(rng, 0.8, own, 0.0)
    found = likeness(layout, np.zeros((40, 40)), np.zeros(40), own.astype(np.int8))
    member = layout.member[:, :-1]
    total = np.zeros(40)
    for i in range(40):
        squares = 0.0
        for side in (True, False):
            same = signals[:-1, i][member[i] == side]
            squares += ((same - same.mean()) ** 2).sum()
        like = signals[:-1, i][member[i] == own[i]]
        spread = np.sqrt(squares / 38)
        total[i] = (signals[-1, i] - like.mean()) / spread * np.sqrt(len(like) / (len(like) + 1))
    assert found["level"]["release"] == pytest.approx(total.mean(), rel=1e-4)
    assert found["residual"]["release"] == pytest.approx(np.sqrt((total**2).mean()), rel=1e-4)


def test_a_share_that_is_not_shown_is_not_one_half() -> None:
    state = np.ones(200, dtype=np.int8)
    assert _share(asked(state), 10) == (1.0, False)
    state[:60] = 0
    assert _share(asked(state), 10) == (0.7, True)
    # Three non-members or seven: the same, and neither the prior of an ignorant attacker.
    told = {_share(asked(np.where(np.arange(200) < few, 0, 1)), 10) for few in (3, 7)}
    assert told == {(0.975, False)}
    assert _share(asked(np.where(np.arange(200) < 4, 1, 0)), 10) == (0.025, False)
    state[0] = -1
    assert _share(asked(state), 10) == (None, False)


def judged(error: dict[str, Any], *, other: bool = True, share: float = 1.0) -> dict[str, Any]:
    count = {"estimate": 40.0, "low": 30.0, "high": 50.0}
    release = {
        "calibration": {"ece": {"estimate": 0.01, "low": 0.005, "high": 0.015}},
        "likeness": {"verdict": True},
        "named": [{"posterior": 0.9, "prior": 0.5, "true": count}],
        "at_fpr": [],
        "transfer": {
            "share": share,
            "shadow_share": 0.95,
            "other_share": other,
            "error": error,
        },
    }
    policy = Policy(release=ReleaseLimits(named={"0.9": 60}))
    return {one.key: one.judged() for one in release_limits(policy, {"release": release})}


def test_another_share_passes_only_where_posteriors_surely_hold() -> None:
    sure = {"estimate": 0.004, "low": 0.0, "high": 0.012}
    unsure = {"estimate": 0.01, "low": 0.0, "high": 0.06}
    off = {"estimate": 0.08, "low": 0.05, "high": 0.11}
    found = judged(sure)
    assert {found[key].verdict for key in found} == {"pass"}
    for error in (unsure, off, {"estimate": None, "low": None, "high": None, "reason": "few"}):
        found = judged(error)
        assert found["release.transfer"].verdict == "inconclusive"
        assert found["release.named.0.9"].verdict == "inconclusive"
        assert "everybody" in found["release.named.0.9"].reason
        assert "release.non_members" in found["release.named.0.9"].reason
    assert 'audit.share = "as released"' in judged(off, share=0.7)["release.named.0.9"].reason
    # Of the same share nothing is asked for: shadow models have shown it.
    assert "release.transfer" not in judged(off, other=False)
    assert other_share(1.0, 0.95)
    assert not other_share(0.58, 0.6)
    assert not other_share(0.975, 0.95)
    assert not other_share(None, 0.5)


def test_the_report_says_how_far_they_hold() -> None:
    rng = np.random.default_rng(9)
    log_odds, member = simulated(rng, patients=120, models=24, share=0.9, level=0.2)
    found = transfer(
        log_odds,
        member,
        rng.normal(size=120),
        np.ones(120, dtype=np.int8),
        reasons={MEMBER: "", OUTSIDER: "nobody is known"},
    )
    moved = {"share": 1.0, "shadow_share": 0.95, "other_share": True, **found}
    told = transfer_sentence(Part({"transfer": moved}))
    for words in ("on 100% of the patients", "on 95%", "may therefore be off", "by as much"):
        assert words in told
    same = transfer_sentence(Part({"transfer": moved | {"other_share": False}}))
    assert "off by" not in same
    assert transfer_sentence(Part({})) == ""


def test_nothing_is_known_of_too_few_models() -> None:
    rng = np.random.default_rng(10)
    log_odds, member = simulated(rng, patients=20, models=1, share=0.5, level=0.0)
    found = transfer(
        log_odds, member, rng.normal(size=20), np.ones(20, dtype=np.int8), reasons=KNOWN
    )
    assert found["error"]["high"] is None
    assert "too few shadow models" in found["members"]["reason"]


def test_a_design_that_carries_an_audit_may_not_carry_a_release(tmp_path: Path) -> None:
    """Of 20 models at 0.8 a patient is OUT of 4: told before anything is fitted."""
    people = cohort(60)
    np.save(tmp_path / "answers.npy", np.linspace(-2, 2, people.records))
    members = MemberList(source=people.patient_ids.reveal()[:48].tolist())
    release = Release(
        door=FileDoor(path=tmp_path / "answers.npy"), output="logits", members=members
    )
    audit = Audit(
        people,
        SklearnRecipe("logistic_regression"),
        models=20,
        share="as released",
        release=release,
    )
    found = audit.run(tmp_path / "run", workers=1).summary["release"]
    assert found["estimable"] == 0
    assert "once a quarter of the 20 shadow models is held back" in found["reason"]
    rng = np.random.default_rng(11)
    for models, enough in ((20, False), (40, True)):
        ranks = rng.random((models // 20, 20, 30)).argsort(axis=1).argsort(axis=1)
        member = np.vstack([(ranks < 16).reshape(models, 30), np.zeros((1, 30), dtype=bool)])
        layout = lay_out(rng.normal(size=member.shape), member, np.arange(30))
        assert judged_in_each_fold(layout) == (30 if enough else 0)


@pytest.mark.slow
def test_a_release_of_everybody_is_answered_and_not_passed_in_silence(tmp_path: Path) -> None:
    people = cohort(60)
    np.save(tmp_path / "answers.npy", frame_of(people)["x0"].to_numpy())
    members = MemberList(source=people.patient_ids.reveal().tolist())
    release = Release(
        door=FileDoor(path=tmp_path / "answers.npy"), output="logits", members=members
    )
    audit = Audit(
        people,
        SklearnRecipe("logistic_regression"),
        models=60,
        share="as released",
        release=release,
    )
    result = audit.run(tmp_path / "run", workers=1)
    found = result.summary["release"]
    assert found["estimable"] == 60
    assert found["known_total"] is False
    assert found["transfer"]["share"] == 1.0
    assert found["transfer"]["shadow_share"] == pytest.approx(0.95)
    assert found["transfer"]["other_share"] is True
    assert found["transfer"]["members"]["posterior"] is not None
    assert "is known to be a non-member" in found["transfer"]["non_members"]["reason"]
    # All who are named are members: that is known, and not estimated.
    row = next(one for one in found["named"] if one["posterior"] == 0.5)
    assert row["expected_members"]["estimate"] == pytest.approx(row["patients"] or 0, abs=10)
    policy = parse_policy({"release": {"named": {"0.9": 60}}}, "", "policy.toml")
    decision = judge(policy, result.summary)
    assert decision.verdict != "pass"
    for page in ("report.html", "results/officer.md"):
        text = (tmp_path / "run" / page).read_text(encoding="utf-8")
        assert "It trained on 100% of the patients, the shadow models on 95%" in text
    assert "trained on another share" in "".join(unknown(Part(result.summary)))


def test_shadow_models_take_as_many_steps_as_the_release(tmp_path: Path) -> None:
    assert share_of_steps(0.58, 1000, 10) == 0.58
    assert share_of_steps(1.0, 1000, 10) == 1.0
    assert share_of_steps(0.6, 1000, 10) == 0.6
    # Nobody follows from it: too few did not train, or a hundredth is as fine as it gets.
    assert share_of_steps(0.995, 1000, 10) == 0.95
    assert share_of_steps(0.5837, 1000, 10) == 0.58
    people = cohort(100)
    np.save(tmp_path / "answers.npy", np.linspace(-2, 2, people.records))

    def audit(many: int, share: float | str = "as released") -> Audit:
        members = MemberList(source=people.patient_ids.reveal()[:many].tolist())
        release = Release(
            door=FileDoor(path=tmp_path / "answers.npy"), output="logits", members=members
        )
        return Audit(
            people,
            SklearnRecipe("logistic_regression"),
            models=40,
            share=share,
            release=release,
        )

    assert audit(58).share_of_members == 0.6
    assert audit(58)._training_data().share == 0.58
    assert audit(100)._training_data().share == 1.0
    assert audit(58, 0.6)._training_data().share == 0.6
    # Models that took other steps are other models.
    assert steps_like(0.58, 0.6) == {"share of training": "0.58"}
    assert steps_like(0.6, 0.6) == {}
