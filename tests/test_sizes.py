"""Sizes: models of several shares of the patients, and what follows for the whole cohort."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult import Audit, Cohort, SklearnRecipe, TorchRecipe
from auscult.attacks.log_odds import signals_from_outputs
from auscult.audit.sizing import recipe_of, steps_by_share
from auscult.base.errors import AuscultError
from auscult.cohort.design import Design
from auscult.disclosure import released
from auscult.protection.assessment import Subject, assess
from auscult.report.numbers import whole_cohort_sentence
from auscult.report.sizes import sizes_section
from auscult.report.summary import read_summary
from auscult.sizes.curve import Point, curve
from auscult.sizes.law import WANDERS, extrapolated
from auscult.sizes.shares import Size, sizes_of
from auscult.store import RunStore
from auscult.store.seal import require_sealed
from auscult.training.cost import Trial, VariantTrial, expected_of_variants
from tests.cohorts import visits, write_audit
from tests.consistency import disagreements
from tests.test_cli import run as command
from tests.test_growing import Killed, KilledAfter, Remembering, here, results_of

__all__ = ["here"]

Floats = NDArray[np.float64]
SEED = 3


# The law


def paths(numbers: Floats, draws: int, wanders: float, rng: np.random.Generator) -> Floats:
    """The law's own curves, drawn step by step: a line whose slope is a random walk."""
    place = np.log(numbers)
    steps = 400
    grid = np.linspace(place[0], place[-1], steps + 1)
    width = grid[1] - grid[0]
    slope = np.cumsum(rng.normal(0, wanders * np.sqrt(width), (draws, steps)), axis=1)
    path = np.concatenate([np.zeros((draws, 1)), np.cumsum(slope * width, axis=1)], axis=1)
    line = rng.normal(0, 3, (draws, 1)) + rng.normal(0, 3, (draws, 1)) * grid
    return np.stack([np.interp(place, grid, one) for one in path + line])


def test_the_law_is_a_bayesian_line_with_a_wandering_slope() -> None:
    """A naive oracle: condition a joint normal whose line has nearly no prior."""
    numbers = np.array([1500.0, 2500.0, 3500.0])
    values = np.array([-1.2, -0.8, -0.75])
    covariance = np.array([[9, 2, 1], [2, 7, 3], [1, 3, 12]]) * 1e-3
    place = np.log(np.append(numbers, 5000.0))
    at = place - place[0]
    path = [[min(s, t) ** 2 * (3 * max(s, t) - min(s, t)) / 6 for s in at] for t in at]
    lines = np.column_stack([np.ones(4), at])
    joint = WANDERS**2 * np.array(path) + 1e5 * lines @ lines.T
    seen = joint[:3, :3] + covariance
    weights = np.linalg.solve(seen, joint[:3, 3])
    deviation = np.sqrt(joint[3, 3] - weights @ joint[:3, 3])
    found = extrapolated(numbers, values, covariance, 5000.0)
    assert found.whole.mean == pytest.approx(weights @ values, abs=1e-4)
    assert found.whole.deviation / found.widened == pytest.approx(deviation, rel=1e-3)


def test_where_nothing_wanders_it_is_a_line_by_least_squares() -> None:
    numbers, error = np.array([100.0, 200.0, 300.0, 700.0]), 0.1
    values = 0.3 + 0.2 * np.log(numbers)
    found = extrapolated(numbers, values, error**2 * np.eye(4), 1000.0, wanders=0.0)
    x = np.log(numbers)
    reach = np.log(1000) - x.mean()
    wanted = error * np.sqrt(1 / 4 + reach**2 / ((x - x.mean()) ** 2).sum())
    assert found.whole.mean == pytest.approx(0.3 + 0.2 * np.log(1000))
    assert found.whole.deviation == pytest.approx(wanted)
    assert found.widened == 1.0


@pytest.mark.parametrize("sizes", [[0.5, 0.9], [0.3, 0.5, 0.7]])
def test_intervals_hold_curves_of_the_law(sizes: list[float]) -> None:
    rng = np.random.default_rng(5)
    numbers = 6000 * np.array([*sizes, 1.0])
    truth = paths(numbers, 2000, WANDERS, rng)
    error = np.array([0.1] * len(sizes))
    held = []
    for one in truth:
        seen = one[:-1] + error * rng.normal(size=len(sizes))
        low, high = extrapolated(numbers[:-1], seen, np.diag(error**2), 6000.0).whole.interval
        held.append(low <= one[-1] <= high)
    # Of two sizes exactly 95%; of three what is missed by chance widens some intervals.
    assert 0.935 <= np.mean(held) <= (0.965 if len(sizes) == 2 else 0.99)


def test_what_is_missed_widens_the_interval() -> None:
    numbers, error = np.array([1000.0, 1500.0, 2200.0]), 1e-4 * np.eye(3)
    straight = extrapolated(numbers, np.array([0.0, 0.1, 0.2]), error, 3000.0)
    bent = extrapolated(numbers, np.array([0.0, 0.1, 1.2]), error, 3000.0)
    assert straight.widened == 1.0
    assert bent.widened > 2
    assert bent.whole.deviation == pytest.approx(bent.widened * straight.whole.deviation)
    assert straight.left_out is not None
    assert straight.left_out.mean == pytest.approx(0.1 + 0.1 * np.log(2.2 / 1.5) / np.log(1.5))
    assert bent.left_out == straight.left_out  # it has not seen the largest
    # An estimate that shares its error with the others is missed by less of it.
    alike = extrapolated(numbers, np.array([0.0, 0.1, 0.2]), 1e-4 * (0.1 * np.eye(3) + 0.9), 3000.0)
    assert alike.left_out is not None
    assert alike.left_out.deviation < straight.left_out.deviation
    assert extrapolated(numbers[:2], np.array([0.0, 0.1]), error[:2, :2], 3000.0).left_out is None


@pytest.mark.parametrize(
    "sizes", [[0.5, 0.9], [0.5, 0.7, 0.9], [0.3, 0.5, 0.7], [0.5, 0.6, 0.7, 0.8, 0.9]]
)
@pytest.mark.parametrize("error", [0.03, 0.1])
def test_noise_that_sizes_share_makes_nothing_less_sure(sizes: list[float], error: float) -> None:
    """It is not counted: what lies beyond the sizes must not be surer for it than it is."""
    numbers, alone = 6000 * np.array(sizes), error**2 * np.eye(len(sizes))
    # The mean is linear in the values: these are its weights.
    weights = np.array(
        [extrapolated(numbers, one, alone, 6000.0).whole.mean for one in np.eye(len(sizes))]
    )
    assert weights.sum() == pytest.approx(1.0)
    counted = weights @ alone @ weights
    for shared in (0.3, 0.6, 0.9):
        assert weights @ ((1 - shared) * alone + shared * error**2) @ weights <= counted


# Which sizes there are


DESIGN = Design(models=64, patients=6000, seed=SEED)


def test_sizes_are_sorted_and_have_models_enough() -> None:
    found = sizes_of([0.95, 0.5, 0.7], DESIGN)
    assert [(one.share, one.models, one.own) for one in found] == [
        (0.5, 64, True),
        (0.7, 64, False),
        (0.95, 128, False),
    ]
    assert [one.patients for one in found] == [3000, 4200, 5700]
    assert sizes_of([], DESIGN) == ()
    # A few models give bounds at any size, and only as many are trained as can be assessed.
    assert [one.models for one in sizes_of([0.5, 0.9], replace(DESIGN, models=8))] == [8, 20]
    # More models of the audit never mean fewer of a size: they are added to what is there.
    for share in (0.05, 0.3, 0.75, 0.9, 0.95):
        numbers = [
            sizes_of([0.5, share], replace(DESIGN, models=models))[0 if share < 0.5 else 1].models
            for models in range(8, 200, 2)
        ]
        assert numbers == sorted(numbers)
        assert min(numbers) >= 8


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([0.5], "through 0.5 alone"),
        ([0.5, 0.5], "0.5 is listed twice"),
        ([0.5, 0.7, 0.7000000000001], "0.7 is listed twice"),
        ([0.5, 0.97], "nearest one is 0.95"),
        ([0.5, 1.0], "nearest one is 0.95"),
        ([0.5, 0.0], "nearest one is 0.05"),
        ([0.5, 0.62], "nearest one is 0.6"),
        ([0.5, float("nan")], "cannot be the share"),
        ([0.5, "as released"], "cannot be the share"),
        ([0.5, True], "cannot be the share"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes: list[Any], said: str) -> None:
    with pytest.raises(AuscultError, match=said) as refused:
        sizes_of(sizes, DESIGN)
    assert refused.value.where == "audit.sizes"
    assert "multiples of 0.05 from 0.05 to 0.95" in str(refused.value)


def test_models_of_a_size_are_planned_with_their_own_number() -> None:
    trial = Trial(
        models=2,
        seconds=4.0,
        start_seconds=0.0,
        worker_bytes=0,
        output_bytes=6400,
        facts={},
        notes={},
    )
    size = {"models": 64, "records": 1, "patients": 0, "workers": 1}
    one = expected_of_variants([VariantTrial(name="70%", trial=trial, models=64)], **size)
    twice = expected_of_variants([VariantTrial(name="95%", trial=trial, models=128)], **size)
    assert (one.training_seconds, one.disk_bytes) == (128.0, 6400)
    assert (twice.training_seconds, twice.disk_bytes) == (256.0, 12800)


# Whole runs


@pytest.fixture(scope="module")
def people() -> Cohort:
    table = visits(patients=120)
    return Cohort.from_table(table, patient="person", label="outcome", groups=["sex"])


def audit_of(people: Cohort, models: int = 24, **more: Any) -> Audit:  # noqa: ANN401
    return Audit(people, Remembering(1.0), models=models, seed=SEED, **more)


@pytest.mark.usefixtures("here")
def test_a_run_with_sizes(people: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "a" / "run"
    result = audit_of(people, sizes=[0.7, 0.5, 0.3]).run(run, workers=1)
    sizes = result.summary["sizes"]
    assert [one["share"] for one in sizes["points"]] == [0.3, 0.5, 0.7]
    assert [one["own"] for one in sizes["points"]] == [False, True, False]
    assert [one["trained_on"]["patients"] for one in sizes["points"]] == [36, 60, 84]
    own = sizes["points"][1]
    for threshold, row in own["exposed"].items():
        headline = result.summary["patients"]["exposed"][threshold]
        assert {k: headline[k] for k in ("estimate", "low", "high")} == {
            k: row[k] for k in ("estimate", "low", "high")
        }
    assert own["mean_auc"]["estimate"] == result.summary["patients"]["auc"]["mean"]
    whole = sizes["whole"]["exposed"]["0.8"]
    assert whole["low"] <= whole["estimate"] <= whole["high"]
    assert sizes["left_out"]["share"] == 0.7
    assert sizes["held"] == "settings"
    assert any("Trained on all 120 patients, expect" in said for said in result.opening)
    assert disagreements(result.summary) == []
    rows = pd.read_parquet(run / "secret" / "sizes.parquet")
    assert list(rows.columns[:4]) == ["patient", "auc 0.3", "low 0.3", "high 0.3"]
    own_rows = pd.read_parquet(run / "secret" / "patients.parquet")
    np.testing.assert_allclose(rows["auc 0.5"], own_rows["auc"], atol=1e-6)
    secrets = [path for path in run.rglob("secret/*") if path.is_file()]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    assert require_sealed(run) > 0
    assert sorted(path.name for path in (run / "sizes").iterdir()) == ["share-30", "share-70"]
    told = json.loads(command(monkeypatch, "status", run, "--json")[1])
    assert {one["name"]: one["models"]["done"] for one in told["variants"]} == {
        "share-30": 30,
        "share-70": 30,
    }
    # An audit of that share has the same models, and one without sizes the same results.
    other = tmp_path / "b" / "run"
    audit_of(people, models=30, share=0.7).run(other, workers=1)
    for path in (other / "outputs").glob("*.npy"):
        mine = run / "sizes" / "share-70" / "outputs" / path.name
        assert mine.read_bytes() == path.read_bytes()
    alone = tmp_path / "c" / "run"
    without = audit_of(people).run(alone, workers=1).summary
    assert without == {k: v for k, v in result.summary.items() if k != "sizes"}
    before, after = results_of(alone), results_of(run)
    for name in before:
        if name.startswith(("outputs", "secret")) and "exact" not in name:
            assert before[name] == after[name], name
    # Sizes may be left out again: what they found goes, their models stay.
    again = audit_of(people).run(run, workers=1)
    assert "sizes" not in again.summary
    assert not (run / "secret" / "sizes.parquet").exists()


@pytest.mark.usefixtures("here")
def test_runs_with_sizes_are_killed_and_grow(people: Cohort, tmp_path: Path) -> None:
    grown, whole = tmp_path / "a" / "run", tmp_path / "b" / "run"
    more: dict[str, Any] = {"models": 16, "sizes": [0.5, 0.6]}
    audit_of(people, **more | {"models": 8}).run(grown, workers=1)
    with pytest.raises(Killed):
        audit_of(people, **more).run(grown, workers=1, progress=KilledAfter(28))
    assert not (grown / "seal.json").exists()
    audit_of(people, **more).run(grown, workers=1)
    result = audit_of(people, **more).run(whole, workers=1)
    assert results_of(whole) == results_of(grown)
    sizes = result.summary["sizes"]
    assert sizes["left_out"] is None
    assert "three or more" in sizes["left_out_reason"]
    assert "could not be checked" in (whole / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_few_models_carry_nothing_on(people: Cohort, tmp_path: Path) -> None:
    audit = audit_of(people, models=16, sizes=[0.5, 0.6])
    result = audit.run(tmp_path / "run", workers=1)
    whole = result.summary["sizes"]["whole"]
    assert whole["exposed"]["0.9"]["estimate"] is None
    assert "models are needed" in whole["exposed"]["0.9"]["reason"]
    assert whole["mean_auc"]["estimate"] is not None
    assert not any("Trained on all" in said for said in result.opening)
    assert disagreements(result.summary) == []


def networks(people: Cohort, **more: Any) -> Audit:  # noqa: ANN401
    recipe = TorchRecipe("mlp", hidden=(8,), epochs=20, batch_size=16, warmup_epochs=2)
    made = audit_of(people, models=8, sizes=[0.25, 0.5, 0.75], sizes_steps="same", **more)
    made.recipe = recipe
    return made


@pytest.mark.usefixtures("here")
def test_networks_of_every_size_take_as_many_steps(people: Cohort, tmp_path: Path) -> None:
    audit = networks(people)
    small, own, large = audit.size_plans()
    assert people.records == 232  # half of them are 8 steps of 16 an epoch
    assert steps_by_share(audit, (small, own, large)) == {0.25: 160, 0.5: 160, 0.75: 165}
    assert recipe_of(audit, own) is audit.recipe
    recipe = recipe_of(audit, large)
    assert isinstance(recipe, TorchRecipe)
    assert (recipe.epochs, recipe.warmup_epochs) == (15, 1.5)
    result = audit.run(tmp_path / "run", workers=1)
    sizes = result.summary["sizes"]
    assert (sizes["held"], [one["steps"] for one in sizes["points"]]) == ("steps", [160, 160, 165])
    folders = [path.name for path in (tmp_path / "run" / "sizes").iterdir()]
    assert sorted(folders) == ["share-25-same-steps", "share-75-same-steps"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "about the same number of training steps" in page
    assert ">165<" in page
    assert disagreements(result.summary) == []
    # The same epochs are other models, beside these.
    audit.sizes_steps = None
    assert steps_by_share(audit, audit.size_plans()) == {0.25: 80, 0.5: 160, 0.75: 220}
    assert [one.slug for one in audit.size_plans()] == ["share-25", "share-50", "share-75"]
    assert recipe_of(audit, audit.size_plans()[2]) is audit.recipe


def test_steps_that_cannot_be_the_same_are_refused(people: Cohort) -> None:
    few = networks(people)
    few.recipe = TorchRecipe("mlp", epochs=1, batch_size=16)
    with pytest.raises(AuscultError, match="come no nearer to 8 steps than 11"):
        few.check()
    none = networks(people)
    none.sizes = ()
    with pytest.raises(AuscultError, match="there are none"):
        none.check()
    with pytest.raises(AuscultError, match="its own affair"):
        audit_of(people, sizes=[0.5, 0.7], sizes_steps="same").check()
    with pytest.raises(AuscultError, match='"other" is not valid'):
        audit_of(people, sizes=[0.5, 0.7], sizes_steps="other").check()


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_sizes_withhold_what_the_audit_withholds_and_are_not_asked_more(
    people: Cohort, tmp_path: Path
) -> None:
    from sklearn.tree import DecisionTreeClassifier

    run = tmp_path / "run"
    audit = audit_of(people, models=16, sizes=[0.5, 0.6], withhold=0.3, queries=["without:a"])
    audit.recipe = SklearnRecipe(DecisionTreeClassifier())
    result = audit.run(run, workers=1)
    assert [one["own"] for one in result.summary["sizes"]["points"]] == [True, False]
    size = RunStore.open(run / "sizes" / "share-60")
    assert (RunStore.open(run).outputs().queries, size.outputs().queries) == (2, 1)
    # A tree is right about all of its members' records, but for those that no model trains on.
    withheld = np.load(run / "secret" / "cohort.npz")["withheld"]
    of = people.patient_of_record
    inside = size.read_membership().reveal()[:, of]
    right = signals_from_outputs(size.outputs(), people.labels, (0,)) > 0
    assert right[:, ~withheld][inside[:, ~withheld]].all()
    assert right[:, withheld][inside[:, withheld]].mean() < 0.9


def test_sizes_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_audit(tmp_path, models=8)
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "sizes = [0.5, 0.8]\n", encoding="utf-8")
    _, out, _ = command(monkeypatch, "check", path, "--json", "--workers", "1")
    each = json.loads(out)["variants"]["each"]
    assert [(one["name"], one.get("models")) for one in each] == [
        ("50% of the patients", 8),
        ("80% of the patients", 20),
    ]
    assert [one["training_seconds"] is None for one in each] == [True, False]
    for wrong, said in (("[0.5, 0.62]", "nearest one is 0.6"), ("0.5", "valid list")):
        path.write_text(text + f"sizes = {wrong}\n", encoding="utf-8")
        code, _, error = command(monkeypatch, "check", path)
        assert code == 2
        assert said in error
        assert "sizes" in error


# What is released


def exposed_row(estimate: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    row = {"estimate": estimate, "low": 0.6 * estimate, "high": 1.7 * estimate}
    return {"exposed": {"0.9": row | more}}


def sizes_summary(*counts: float) -> dict[str, Any]:
    points = [
        {"share": 0.5 + 0.2 * i, "trained_on": {"patients": 300 + 120 * i, "of": 600}}
        | exposed_row(count, null=0.0)
        for i, count in enumerate(counts)
    ]
    return {
        "sizes": {
            "points": points,
            "whole": {"trained_on": {"patients": 600, "of": 600}, "utility": None}
            | exposed_row(46.3, widened=1.2),
            "left_out": {"share": 0.9} | exposed_row(33.0, held=True),
        }
    }


def test_what_is_carried_on_does_not_tell_a_count_that_is_withheld() -> None:
    whole = released(sizes_summary(20, 30, 40), 10)["sizes"]["whole"]["exposed"]["0.9"]
    assert whole["estimate"] == 46.3
    sizes = released(sizes_summary(7, 30, 40), 10)["sizes"]
    assert sizes["points"][0]["exposed"]["0.9"]["fewer_than"] == {"estimate": 10}
    whole = sizes["whole"]["exposed"]["0.9"]
    assert (whole["estimate"], whole["low"], whole["high"]) == (None, 20.0, 80.0)
    assert whole["widened"] is None
    assert "fewer than 10" in whole["reason"]
    left_out = sizes["left_out"]["exposed"]["0.9"]
    assert (left_out["estimate"], left_out["low"], left_out["held"]) == (None, 10.0, None)


def test_numbers_trained_on_are_rounded_with_that_of_everybody() -> None:
    summary = sizes_summary(20, 30, 40) | {
        "patients": {
            "count": 600,
            "estimable": 597,
            "not_estimable": [{"reason": "", "patients": 3}],
        },
        "cohort": {"patients": 600, "records": 900},
    }
    made = released(summary, 10)
    base = made["patients"]["count_rounded_to"]
    for part in (*made["sizes"]["points"], made["sizes"]["whole"]):
        assert part["trained_on"]["of"] == made["patients"]["count"]
        assert part["trained_on"]["patients"] % base == 0


def test_a_coarser_step_leaves_shares_of_the_patients_alone() -> None:
    summary = sizes_summary(20, 30, 40) | {
        "patients": {"count": 600, "estimable": 600, "rounded_to": 0.05}
    }
    summary["sizes"]["points"][0]["mean_auc"] = {"estimate": 0.7123, "low": 0.7, "high": 0.73}
    made = released(summary, 10)["sizes"]
    assert [one["share"] for one in made["points"]] == [0.5, 0.7, 0.9]
    assert made["points"][0]["mean_auc"]["estimate"] == 0.7
    whole = made["whole"]["exposed"]["0.9"]
    assert (whole["estimate"], whole["low"], whole["high"]) == (60.0, 0.0, 90.0)  # to 30 of 600
    assert made["whole"]["exposed"]["0.9"]["widened"] == 1.2


def test_the_sentence_on_the_whole_cohort() -> None:
    def said(**row: Any) -> str:  # noqa: ANN401
        part = {"trained_on": {"of": 6000}, "exposed": {"0.9": row}}
        return whole_cohort_sentence(
            read_summary({"schema": "auscult.summary/1", "sizes": {"whole": part}})
        )

    start = "Trained on all 6,000 patients, expect "
    assert said(estimate=1493.2, low=1201, high=1790) == f"{start}1,493 (1,201 to 1,790) exposed"
    part = {"trained_on": {"of": 6000}, "exposed": {"0.9": {"low": 20, "high": 80}}}
    held = {"schema": "auscult.summary/1", "sizes": {"whole": part, "held": "steps"}}
    assert "in as many steps as the audited models" in whole_cohort_sentence(read_summary(held))
    assert said(estimate=None, low=20, high=80) == f"{start}20 to 80 exposed"
    few = said(estimate=None, low=0, high=14, fewer_than={"estimate": 10})
    assert few == f"{start}fewer than 10 (0 to 14) exposed"
    assert said(estimate=None, low=None, high=None, reason="too few models") == ""


def test_a_null_that_is_off_leaves_no_conclusion() -> None:
    """Two sizes of one simulated cohort; at one of them shuffled membership seems to tell."""
    two = sizes_of([0.5, 0.6], Design(models=24, patients=60, seed=SEED))
    points = [simulated(size) for size in two]
    fine = curve(points, held="settings")
    assert fine["doubt"] == ""
    off = replace(points[1], risk=replace(points[1].risk, null_mean=0.58))
    said = curve([points[0], off], held="settings")
    assert said["doubt"].endswith("(0.580 with 60% of the patients)")
    summary = {"schema": "auscult.summary/1", "sizes": fine}
    assert whole_cohort_sentence(read_summary(summary)).startswith("Trained on all 60 patients")
    summary["sizes"] = said
    assert whole_cohort_sentence(read_summary(summary)) == ""
    section = sizes_section(read_summary(summary))
    assert section is not None
    assert any("0.580" in getattr(block, "text", "") for block in section.blocks)


def simulated(size: Size) -> Point:
    """A third of the patients leak much, the others nothing."""
    patients = size.design.patients
    rng = np.random.default_rng([SEED, size.models])
    membership = size.design.membership()
    effect = np.where(np.arange(patients) % 3 == 0, 3.0, 0.0)
    signals = rng.normal(size=(size.models, patients)) + membership.reveal() * effect
    subject = Subject(
        membership=membership,
        patient_of_record=np.arange(patients),
        groups=pd.DataFrame(index=range(patients)),
        labels=np.zeros(patients, dtype=np.int64),
        stratum=np.zeros(patients, dtype=np.int64),
        seed=SEED,
        smallest_cell=10,
        share=size.share,
    )
    return Point(size=size, risk=assess(signals.astype(np.float32), subject), utility=None)


def test_twenty_patients_who_leak_leak_in_the_whole_cohort() -> None:
    three = sizes_of([0.3, 0.5, 0.7], Design(models=32, patients=60, seed=SEED))
    found = curve([simulated(size) for size in three], held="epochs")
    row = found["whole"]["exposed"]["0.9"]
    assert row["low"] <= 20 <= row["high"]
    assert row["high"] - row["low"] < 40
    assert found["left_out"]["exposed"]["0.9"]["held"]
    assert found["whole"]["utility"]["reason"] == "utility is not known"
