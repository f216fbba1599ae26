"""Runs that grow until the answer is sure: looks, budgets, and the error over all looks."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, poisson

from auscult import Cohort
from auscult.audit import growing
from auscult.audit.audit import Audit
from auscult.audit.growing import Until, grow
from auscult.base.errors import AuscultError, ConfigError, StoreError
from auscult.cli.until import goal_of, told
from auscult.cohort.design import Design
from auscult.policy import Decision, EvidenceLimits, ExposedLimit, Policy, judge, judge_run
from auscult.policy.gate import _looks
from auscult.policy.looks import level, next_look, widened, widening
from auscult.protection.variants import Variant
from auscult.recipes.base import BlockOutputs
from auscult.store import RunStore, missing_blocks, plan_blocks
from auscult.store.seal import SUMMARY
from auscult.training import dispatch
from tests.cohorts import visits
from tests.test_growing import Here, Remembering

DOUBLED = [16, 32, 64, 128, 256, 512, 1024]
SOME_POLICY = Policy(title="", smallest_cell=10, text="")


@pytest.mark.parametrize("looks", [DOUBLED, [16, 17, 18, 19, 20], [200], [16, 1 << 20]])
def test_all_looks_together_spend_less_than_the_error(looks: list[int]) -> None:
    spent = [level(looks[: number + 1]) for number in range(len(looks))]
    assert min(spent) > 0
    assert math.isclose(sum(spent), 0.05 * looks[-1] / (looks[-1] + 64))


def test_a_look_is_wider_than_a_single_judgement_and_errs_as_it_may() -> None:
    assert widening([]) == 1.0
    for number in range(len(DOUBLED)):
        looks = DOUBLED[: number + 1]
        factor = widening(looks)
        assert factor > 1
        # The bounds of a normal estimate, and the upper bound of a count of nobody.
        assert 2 * norm.sf(factor * norm.isf(0.025)) <= level(looks)
        assert poisson.cdf(0, factor * -math.log(0.025)) <= level(looks) / 2 + 1e-12


def test_bounds_move_away_from_the_estimate() -> None:
    found = widened({"estimate": 4.0, "low": 2.0, "high": 7.0, "null": 0.5}, 1.5)
    assert found == {"estimate": 4.0, "low": 1.0, "high": 8.5, "null": 0.5}
    assert widened({"low": 2.0, "high": 4.0}, 2.0) == {"low": 1.0, "high": 5.0}
    # The estimate of the worst prior may lie beyond a bound of another.
    assert widened({"estimate": 1.0, "low": 2.0, "high": 4.0}, 2.0)["low"] == 2.0
    assert widened({"reason": "no"}, 2.0) == {"reason": "no"}
    assert widened({"estimate": 3.0, "low": 3.0, "high": 3.0}, 9.0)["high"] == 3.0


def summary(estimate: float, low: float, high: float) -> dict[str, Any]:
    row = {"estimate": estimate, "low": low, "high": high, "null": 0.0}
    return {
        "models": {"count": 64, "learned": {"verdict": True}},
        "patients": {
            "count": 200,
            "estimable": 200,
            "exposed": {"0.9": row},
            "raw": {"null_mean": 0.5},
        },
        "disparities": {},
    }


def test_the_judge_asks_for_more_where_it_looks_several_times() -> None:
    policy = Policy(
        title="", smallest_cell=10, text="", exposed=(ExposedLimit(auc="0.9", patients=10),)
    )
    once = judge(policy, summary(4, 2, 9))
    assert once.verdict == "pass"
    assert "looks" not in once.as_dict()
    twice = judge(policy, summary(4, 2, 9), [32, 64])
    assert twice.verdict == "inconclusive"
    assert twice.as_dict()["looks"] == {"models": [32, 64], "error": level([32, 64])}
    assert judge(policy, summary(14, 10.4, 18)).verdict == "fail"
    assert judge(policy, summary(14, 10.4, 18), [64]).verdict == "inconclusive"
    assert judge(policy, summary(40, 30, 50), [64]).verdict == "fail"


def test_verdicts_of_all_looks_together_err_rarely() -> None:
    """A count that is estimated from ever more models, whose true value is the limit."""
    rng = np.random.default_rng(0)
    paths = 4000
    ends = np.diff([0, *DOUBLED])
    sums = np.cumsum(rng.standard_normal((paths, len(ends))) * np.sqrt(ends), axis=1)
    estimate = 50 + 40 * sums / np.array(DOUBLED)
    half = 40 * norm.isf(0.025) / np.sqrt(DOUBLED)
    factor = np.array([widening(DOUBLED[: k + 1]) for k in range(len(DOUBLED))])
    once = (np.abs(estimate - 50) > half).any(axis=1).mean()
    controlled = (np.abs(estimate - 50) > factor * half).any(axis=1).mean()
    assert once > 0.12  # what several looks do to a single judgement
    assert controlled < 0.05


def test_models_double_up_to_the_budget() -> None:
    looks = [0]
    while (following := next_look(looks[-1], 100)) != looks[-1]:
        looks.append(following)
    assert looks == [0, 16, 32, 64, 100]
    assert next_look(0, 8) == 8


class Trained:
    """An audit whose run trains blocks of nothing; its interval narrows with the models."""

    protect: tuple[Variant, ...] = ()

    def __init__(self, seconds: float = 0.0) -> None:
        self.models = 10
        self.time = [0.0]
        self.seconds = seconds

    def _design(self) -> Design:
        return Design(models=self.models, patients=3, seed=1)

    def run(self, out: Path, *, configuration: str | None) -> Any:  # noqa: ANN401, ARG002
        with RunStore.create_or_resume(
            out,
            fingerprint={"models": str(self.models)},
            configuration=None,
            blocks=plan_blocks(self.models, 2),
            records=3,
            wave=16,
        ) as store:
            for block in missing_blocks(store.blocks, store):
                values = np.zeros((len(block.models), 1, 3, 1), dtype=np.float32)
                store.write_block(block, BlockOutputs(values=values, kind="signal"))
                self.time[0] += self.seconds * len(block.models)
            (out / SUMMARY).parent.mkdir(exist_ok=True)
            (out / SUMMARY).write_text("{}")
        rows = [{"models": self.models, "interval_width": 2 / math.sqrt(self.models)}]
        return SimpleNamespace(summary={"patients": {"planning": rows}})


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "Result", lambda path: SimpleNamespace(path=path))


def grown(tmp_path: Path, until: Until, seconds: float = 0.0) -> growing.Grown:
    audit: Any = Trained(seconds)
    return grow(audit, tmp_path / "run", until, configuration=None, clock=lambda: audit.time[0])


@pytest.mark.parametrize(("share", "first"), [(0.5, 16), (0.7, 32), (0.9, 64)])
def test_it_begins_with_models_that_can_choose_the_most_exposed(share: float, first: int) -> None:
    audit: Any = Trained()
    audit._design = lambda: Design(models=8, patients=100, seed=1, share=share)
    audit.protect = (Variant(without_top=0.1),)
    assert growing._first_look(audit, 256) == first
    audit.protect = (Variant(max_records=1),)
    assert growing._first_look(audit, 256) == (32 if share == 0.9 else 16)


@pytest.mark.usefixtures("unread")
def test_it_stops_when_the_interval_is_narrow_enough(tmp_path: Path) -> None:
    found = grown(tmp_path, Until(width=0.3, most=256))
    assert (found.looks, found.reached, found.stopped_by) == ((16, 32, 64), True, "")
    assert list(told(found)) == ["A patient's 95% interval is 0.250 wide after 64 models."]
    # Again: the run is there, and one look is enough.
    assert grown(tmp_path, Until(width=0.3, most=256)).looks == (64,)


@pytest.mark.usefixtures("unread")
def test_it_stops_when_the_models_are_spent_and_goes_on_with_more(tmp_path: Path) -> None:
    found = grown(tmp_path, Until(width=0.2, most=50))
    assert (found.looks, found.reached, found.stopped_by) == ((16, 32, 50), False, "models")
    assert "the budget ended with its models" in list(told(found))[-1]
    with pytest.raises(StoreError, match="has 50 models already, more than the 40"):
        grown(tmp_path, Until(width=0.2, most=40))
    assert grown(tmp_path, Until(width=0.2, most=200)).looks == (50, 100)


@pytest.mark.usefixtures("unread")
def test_it_begins_nothing_that_would_take_longer_than_it_may(tmp_path: Path) -> None:
    found = grown(tmp_path, Until(width=0.01, most=512, hours=1), seconds=30)
    # 64 models take 32 minutes, 128 would take 64.
    assert (found.looks, found.reached, found.stopped_by) == ((16, 32, 64), False, "hours")


def test_models_added_by_hand_after_a_verdict_make_another_look(tmp_path: Path) -> None:
    audit, found = Trained(), []
    for models in (16, 16, 32, 32, 64):
        audit.models = models
        audit.run(tmp_path / "run", configuration=None)
        with RunStore.take_up(tmp_path / "run") as store:
            found.append(_looks(store, again=False))
    # Judged once, however often it is asked; every verdict on more models is a look.
    assert found == [[], [], [16, 32], [16, 32], [16, 32, 64]]


@pytest.mark.usefixtures("unread")
def test_it_stops_when_a_policy_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = iter(["inconclusive", "inconclusive", "fail"])

    def judge_next(*_: object, again: bool) -> Decision:
        assert again
        return Decision(verdict=next(verdicts), checks=())  # type: ignore[arg-type]

    monkeypatch.setattr(growing, "judge_run", judge_next)
    found = grown(tmp_path, Until(policy=SOME_POLICY, most=512))
    assert (found.looks, found.reached, found.stopped_by) == ((16, 32, 64), True, "")
    assert list(told(found)) == ["FAIL after 64 models."]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((None, None, ["64"]), "--at-most requires --until"),
        ((None, Path("policy.toml"), []), "--policy requires --until"),
        (("decided", None, []), "--until decided requires a policy"),
        (("width=0.1", Path("policy.toml"), []), "--policy requires --until decided"),
        (("width", None, []), '"width" is no goal'),
        (("width=thin", None, []), '"thin" is not a number'),
        (("width=nan", None, []), "is not the width of an interval"),
        (("width=0.1", None, ["64", "128"]), "models are given twice"),
        (("width=0.1", None, ["1h", "2h"]), "hours are given twice"),
        (("width=0.1", None, ["8h", "40@2.50"]), "hours are given twice"),
        (("width=0.1", None, ["40@0"]), 'an hour cannot cost "0"'),
        (("width=0.1", None, ["40@nan"]), 'an hour cannot cost "nan"'),
        (("width=0.1", None, ["@2"]), '"" is not a number'),
        (("width=0.1", None, ["-4@2"]), "-2.0 hours"),
        (("width=0.1", None, ["nanh"]), "nan hours"),
        (("width=0.1", None, ["5 euros"]), '"5 euros" is no budget'),
    ],
)
def test_options_that_cannot_be(
    options: tuple[str | None, Path | None, list[str]], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        goal_of(*options, models=64)
    assert said in str(caught.value)


def test_options_are_read() -> None:
    assert goal_of(None, None, [], models=64) is None
    assert goal_of("width=0.1", None, [], models=48) == Until(width=0.1, most=48)
    found = goal_of("width=0.1", None, ["256", "1.5h"], models=48)
    assert found == Until(width=0.1, most=256, hours=1.5)
    assert goal_of("width=0.1", None, ["40@2.50"], models=48) == Until(
        width=0.1, most=48, hours=16.0
    )
    with pytest.raises(AuscultError, match="a policy or a width"):
        Until().check()
    assert Audit.run_until.__doc__


def test_a_run_grows_until_it_is_decided_and_is_judged_alike_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing passes with 16 models: the policy asks for 32."""
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(dispatch, "hired", lambda work, *_: nullcontext(Here(work)))
    people = Cohort.from_table(visits(), patient="person", label="outcome")
    policy = Policy(
        exposed=(ExposedLimit(auc="0.9", patients=60),),
        evidence=EvidenceLimits(models=32, null_clear=False, learned=False),
    )
    run = tmp_path / "run"
    found = Audit(people, Remembering(0.1), seed=3).run_until(
        run, Until(policy=policy, most=128), workers=1
    )
    assert (found.looks, found.reached) == ((16, 32), True)
    assert found.decision is not None
    assert found.decision.verdict == "pass"
    decision = found.result.summary["decision"]
    assert decision["looks"] == {"models": [16, 32], "error": level([16, 32])}
    assert RunStore.open(run).manifest()["looks"] == [16, 32]
    again = judge_run(run, policy)
    assert again == found.decision
    assert "models = 32" in (run / "audit.toml").read_text()
