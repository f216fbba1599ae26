"""What the exposed have in common: found where it was planted, published so that nobody follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult.attacks.places import Places
from auscult.cohort.inputs import TableInputs
from auscult.disclosure import Effects, Reports, Table, release_effects
from auscult.disclosure.effects import WITH, Rounding, Sums
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.report import render
from auscult.report.common import common_sentence
from auscult.report.summary import Part
from auscult.risk.associations import Associations, associated, partialled
from auscult.risk.factors import DISAGREE, EXTREME, FAR, MANY, RARE, Known, Traits, traits
from auscult.risk.patients import permuted
from auscult.risk.released import Released, release_groups
from auscult.risk.stability import half_risks
from benchmarks.intruder import Row, closest
from tests.simulation import simulate
from tests.test_associations import made

CELL = 10


def effects_of(
    has: NDArray[np.bool_], weights: NDArray[np.float64] | None = None, *, implied: bool = False
) -> Effects:
    """Of one factor: a difference of means where no weights are given."""
    if weights is None:
        weights = np.where(has, 1 / has.sum(), -1 / (~has).sum())
    inside = np.ones(has.size, dtype=bool)
    return Effects(
        names=("a",),
        has=has[:, None],
        inside=inside,
        weights=weights[:, None],
        implied=(implied,),
    )


def rows(tables: list[Table], effects: Effects, found: dict[str, Rounding]) -> list[Row]:
    """Everything that is published, as an intruder writes it down."""
    told = [
        (np.isin(table.labels, row.names).astype(float), table.error(row))
        for table in tables
        for row in table.rows()
        if np.isfinite(table.step(row))
    ]
    for name, one in found.items():
        weights = effects.weights[:, effects.names.index(name)]
        told.append((weights, one.step / 2))
    return told


# What is found


def simulated(seed: int, patients: int = 300) -> tuple[Any, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    auc = np.where(np.arange(patients) % 6 == 0, 0.85, 0.55)
    layout = simulate(auc, 32, rng, records=rng.integers(1, 3, patients)).layout()
    return layout, auc


def looked_at(layout: Any, known: Known, seed: int = 3) -> tuple[Traits, Associations]:  # noqa: ANN401
    halves = half_risks(layout, np.random.default_rng(seed))
    assert halves is not None
    rng = np.random.default_rng(seed)
    found = traits(layout, halves, known, np.ones(layout.patients, bool), rng)
    return found, associated(found.risk, found.parts, rng)


def table_of(layout: Any, exposed: NDArray[np.bool_], seed: int) -> Known:  # noqa: ANN401
    """Inputs in which the exposed, and nobody else, have a rare level."""
    rng = np.random.default_rng(seed)
    owner = layout.patient[np.argsort(layout.order)]
    codes = np.where(exposed[owner], 1 + owner % 3, 0).astype(np.int32)[:, None]
    inputs = TableInputs(
        numeric=rng.standard_normal((owner.size, 3)).astype(np.float32),
        numeric_names=("x", "y", "z"),
        codes=codes,
        categorical_names=("where",),
        levels=(("usual", "a", "b", "c"),),
    )
    return Known(inputs=inputs, places=Places.of(inputs, owner))


def test_a_planted_rare_level_is_found_and_other_factors_are_not() -> None:
    layout, auc = simulated(1)
    _, every = looked_at(layout, table_of(layout, auc > 0.7, 1))
    found = {one.name: one for one in every.factors}
    assert set(found) == {MANY, DISAGREE, FAR, EXTREME, RARE}
    assert found[RARE].claimed
    assert found[RARE].difference == pytest.approx(0.3, abs=0.06)
    assert not found[EXTREME].claimed


def test_where_membership_is_permuted_nothing_is_claimed() -> None:
    layout, auc = simulated(2, 200)
    claims = 0
    for seed in range(6):
        again = permuted(layout, np.random.default_rng(seed))
        _, every = looked_at(again, table_of(layout, auc > 0.7, seed), seed)
        claims += any(one.claimed for one in every.factors)
    assert claims <= 2  # 3 or more happen once in 400 times where the rate is 5%


def test_a_difference_is_the_weighted_sum_that_is_checked() -> None:
    y, factors = made(4, 0.1)
    parts = partialled(factors, np.random.default_rng(0))
    every = associated(y, parts, np.random.default_rng(0))
    for part, one in zip(parts, every.factors, strict=True):
        assert one.difference == pytest.approx(float(part.weights() @ y), abs=1e-12)
        # It says nothing of a level that everybody shares.
        assert float(part.weights().sum()) == pytest.approx(0.0, abs=1e-9)


def test_a_large_cohort_is_represented_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.risk.factors.MOST_PATIENTS", 240)
    layout, auc = simulated(1)
    found, _ = looked_at(layout, table_of(layout, auc > 0.7, 1))
    assert found.chosen.size == 240
    effects = found.effects()
    assert effects.inside.sum() == 240
    assert not effects.weights[~effects.inside].any()
    assert WITH not in effects.tables()[FAR].labels[~effects.inside]


# What is published


def test_a_difference_that_isolates_a_patient_gives_way() -> None:
    """A group, and a factor that is the group but for one patient."""
    ids = np.arange(400)
    group = Table(labels=np.where(ids < 150, "g", "rest").astype(object), smallest=CELL)
    effects = effects_of(ids < 151)
    exact = [*rows([group], effects, {"a": Rounding(step=1e-6, base=1)})]
    exact[:2] = [(cells, 0.0) for cells, _ in exact[:2]]
    assert closest(exact, [150]) < 2, "with exact figures the patient follows"
    tight = Table(labels=group.labels, smallest=CELL, rounded=False)
    found = release_effects([tight], effects, CELL)
    assert closest(rows([tight], effects, found), [149, 150, 151]) >= CELL * (1 - 1e-4)
    natural = effects.natural()[0]
    assert "a" not in found or found["a"].step > natural


@pytest.mark.parametrize("seed", range(6))
def test_nobody_follows_from_tables_and_differences(seed: int) -> None:
    """An independent programme with a variable for each patient, on random small cohorts."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 140))
    groups = pd.DataFrame(
        {
            "site": rng.choice(list("abcd"), n, p=[0.5, 0.3, 0.15, 0.05]),
            "sex": rng.choice(["f", "m"], n),
        }
    )
    has = np.stack([groups["site"].isin(["b", "c"]), rng.random(n) < 0.3], axis=1)
    has[rng.integers(n), 0] ^= True
    noise = 0.3 * rng.standard_normal((n, 2)) / n
    weights = np.where(has, 1 / has.sum(0), -1 / (~has).sum(0)) + noise
    effects = Effects(
        names=("b or c", "other"),
        has=has,
        inside=np.ones(n, dtype=bool),
        weights=weights,
        implied=(False, True),
    )
    every, one = np.ones(n, bool), np.ones(n, dtype=np.int64)
    alone = release_groups(groups, every, one, smallest_cell=CELL)
    beside = release_groups(groups, every, one, smallest_cell=CELL, effects=effects)
    assert {k: (t.steps, t.base) for k, t in alone.tables.items()} == {
        k: (t.steps, t.base) for k, t in beside.tables.items()
    }, "the tables stay as they are"
    told = figures_of(beside, n)
    for name, rounding in beside.effects.items():
        column = effects.weights[:, effects.names.index(name)]
        # Without the factors' rows somebody may be closer already, by what is fixed: never here.
        told.append((column / np.abs(column).max(), rounding.step / 2 / np.abs(column).max()))
    tried = rng.permutation(n)[:25]
    assert closest(told, tried) >= CELL * (1 - 1e-3)


def figures_of(found: Released, n: int) -> list[Row]:
    told: list[Row] = [(np.ones(n), 0.0)]
    for table in found.tables.values():
        for name in table.shown:
            inside = table.labels == name
            step = table.steps[name]
            if np.isfinite(step):
                told.append((inside.astype(float), inside.sum() * step / 2))
    return told


def test_a_number_that_tells_a_small_group_is_rounded_or_left_out() -> None:
    """Three patients of a site that is not shown: the factor less what is shown is their number."""
    ids = np.arange(300)
    site = np.where(ids < 100, "a", np.where(ids < 297, "b", "c")).astype(object)
    tables = [
        Table(labels=site, hidden={"b", "c"}, smallest=CELL, told=False, base=5),
        Table(labels=np.full(300, "all", object), fixed=True, rounded=False, counted=True),
    ]
    weights = np.where(ids % 2, 1.0, -1.0) / 150
    shown = site == "b"
    rounded = release_effects(tables, effects_of(shown, weights), CELL)
    assert rounded["a"].base >= 5
    known = release_effects(tables, effects_of(shown, weights, implied=True), CELL)
    assert known == {}, "known exactly, it is 300 - 100 - 197"


# Over time


def report(folder: Path, run: str, ids: NDArray[np.int64], effects: Effects) -> Released:
    groups = pd.DataFrame({"sex": np.where(ids % 2, "f", "m")})
    every, one = np.ones(ids.size, bool), np.ones(ids.size, dtype=np.int64)
    reports = Reports.open(folder, run, ids.tolist())
    return release_groups(groups, every, one, smallest_cell=CELL, reports=reports, effects=effects)


def test_a_factor_that_moved_by_a_patient_gives_way(tmp_path: Path) -> None:
    ids = np.arange(300)
    before, after = effects_of(ids < 100), effects_of(ids < 101)
    first = report(tmp_path, "a", ids, before)
    again = report(tmp_path, "a", ids, before)
    same = report(tmp_path, "other run", ids, before)
    assert first.effects == again.effects == same.effects
    assert "a" in first.effects
    second = report(tmp_path, "b", ids, after)
    told: list[Row] = [
        *figures_of(first, 300),
        (before.weights[:, 0].astype(float) * 100, 100 * first.effects["a"].step / 2),
    ]
    if "a" in second.effects:
        told.append((after.weights[:, 0].astype(float) * 100, 100 * second.effects["a"].step / 2))
        assert second.effects["a"].step > first.effects["a"].step
    assert closest(told, [99, 100, 101]) >= CELL * (1 - 1e-3)
    alone = report(tmp_path / "elsewhere", "b", ids, after)
    assert alone.effects == first.effects, "and only because of the first"


def test_a_run_that_grew_is_published_as_if_it_had_been_so_at_once(tmp_path: Path) -> None:
    ids = np.arange(300)
    report(tmp_path, "a", ids, effects_of(ids < 100))
    grown = report(tmp_path, "a", ids, effects_of(ids < 101))
    at_once = report(tmp_path / "elsewhere", "a", ids, effects_of(ids < 101))
    assert grown.effects == at_once.effects
    # What others publish meanwhile does not change what was published.
    report(tmp_path, "b", np.arange(40, 400), effects_of(np.arange(360) < 70))
    assert report(tmp_path, "a", ids, effects_of(ids < 101)).effects == grown.effects


def test_a_factor_of_fewer_patients_than_the_cell_is_left_out() -> None:
    ids = np.arange(300)
    tables = [Table(labels=np.where(ids % 2, "f", "m").astype(object), smallest=30)]
    assert release_effects(tables, effects_of(ids < 25), 30) == {}
    assert release_effects(tables, effects_of(ids < 35), 30) != {}


def test_what_earlier_reports_said_is_taken_into_account() -> None:
    ids = np.arange(300)
    tables = [Table(labels=np.where(ids % 2, "f", "m").astype(object), smallest=CELL)]
    now = effects_of(ids < 101)
    earlier = Sums(weights=effects_of(ids < 100).weights, steps=np.array([0.001]))
    assert release_effects(tables, now, CELL) != release_effects(tables, now, CELL, earlier)


# A whole report


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    rng = np.random.default_rng(9)
    people, models = 300, 24
    patient = np.repeat(np.arange(people), 1 + (rng.random(people) < 0.15))
    member = rng.random((models, people)).argsort(0) < models // 2
    signals = rng.standard_normal((models, patient.size))
    odd = np.arange(people) % 8 == 0
    signals += np.where(odd, -3 + 2.5 * member, 0.2 * member)[:, patient]
    np.savez(
        folder / "scores.npz",
        signals=signals.astype("f4"),
        membership=member,
        patient=patient,
        sex=rng.choice(["f", "m"], people)[patient],
    )
    return folder / "scores.npz"


def test_imported_scores_have_what_their_signals_tell(scores: Path, tmp_path: Path) -> None:
    result = import_scores(read_npz(scores), tmp_path / "run", seed=1)
    found = result.summary["in_common"]
    by_name = {one["name"]: one for one in found["factors"]}
    assert by_name[DISAGREE]["claimed"]
    assert {one["name"] for one in found["not_estimable"]} == {FAR, EXTREME, RARE}
    assert all("not at hand" in one["reason"] for one in found["not_estimable"])
    for one in found["factors"]:
        for key in ("difference", "low", "high"):
            steps = one[key] / one["rounded_to"]
            assert steps == pytest.approx(round(steps), abs=1e-6)
    page = render(result.summary)
    assert "What the exposed have in common" in page
    assert "the mean AUC is higher where this holds: models that never saw them disagree" in page
    again = import_scores(read_npz(scores), tmp_path / "again", seed=1)
    same = (run / "results" / "summary.json" for run in (result.path, again.path))
    assert len({path.read_bytes() for path in same}) == 1
    exact = json.loads((result.path / "secret" / "in-common.json").read_text())
    assert exact["explained"] is not None
    assert "explained" not in json.dumps(result.summary)
    assert "mean_with" not in json.dumps(result.summary)


def test_few_models_say_why_there_is_nothing(scores: Path, tmp_path: Path) -> None:
    content = dict(np.load(scores))
    content["signals"], content["membership"] = (
        content["signals"][:12],
        np.random.default_rng(3).random((12, 300)).argsort(0) < 6,
    )
    np.savez(tmp_path / "few.npz", **content)
    result = import_scores(read_npz(tmp_path / "few.npz"), tmp_path / "run", seed=1)
    found = result.summary["in_common"]
    assert found["factors"] == []
    assert found["reason"] == "fewer than 16 models"
    assert "Not estimable: fewer than 16 models." in render(result.summary)


def test_the_sentence_says_what_is_claimed_and_nothing_else() -> None:
    one = {"name": "far", "difference": 0.04, "claimed": True}
    other = {"name": "near", "difference": -0.02, "claimed": True}
    third = {"name": "odd", "difference": 0.5, "claimed": False}
    said = common_sentence(Part({"factors": [one, other, third]}))
    assert "higher where this holds: far, +0.04" in said
    assert "lower where this holds: near, \N{MINUS SIGN}0.02" in said
    assert "odd" not in said
    assert "beyond chance" in common_sentence(Part({"factors": [third]}))
    assert common_sentence(Part({"factors": [], "reason": "few models"})) == ""
