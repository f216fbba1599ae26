"""Randomness follows names: what stands beside a figure, and where, changes none of its digits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from auscult import Access, Audit, Cohort, SklearnRecipe, Variant
from auscult.attacks.record import RECORD_ATTACKS
from auscult.base.randomness import Stage, generator, integer_seed, sequence
from auscult.cohort.design import Membership
from auscult.results import analysis, patient_figures
from auscult.results.analysis import AnalysisSettings, Evidence, analyse
from tests.cohorts import visits
from tests.simulation import simulate

# Figures of a protection that hold for all that are compared at once.
TOGETHER = {"removed_at_least"}


def evidence(groups: pd.DataFrame | None = None) -> Evidence:
    rng = np.random.default_rng(5)
    auc = rng.uniform(0.5, 0.97, 90)
    records = np.where(np.arange(90) < 50, 1, 2)
    made = simulate(auc, 16, rng, records=records)
    if groups is None:
        groups = pd.DataFrame({"sex": np.where(np.arange(90) % 2, "f", "m")})
    return Evidence(
        signals=made.signals.astype(np.float32),
        membership=Membership(made.member),
        patient_of_record=made.patient,
        groups=groups,
    )


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return analyse(evidence(), seed=3, settings=AnalysisSettings(intersections=())).summary


def again() -> dict[str, Any]:
    return analyse(evidence(), seed=3, settings=AnalysisSettings(intersections=())).summary


def test_stages_and_names_have_streams_of_their_own() -> None:
    texts: list[tuple[int | str, ...]] = [("a",), ("b",), ("a", "b"), ("ab",), ("b", "a")]
    named = [*texts, (), (0,), (1,), ("a", 1)]
    draws = {integer_seed(3, stage, *names) for stage in Stage for names in named}
    assert len(draws) == len(named) * len(Stage)
    assert len({stage.value for stage in Stage}) == len(Stage.__members__)


def test_numbers_name_the_same_streams_as_ever() -> None:
    # Membership and training derive from these: a run that is resumed must find them again.
    old = np.random.SeedSequence(7, spawn_key=(int(Stage.TRAINING), 5))
    assert sequence(7, Stage.TRAINING, 5).generate_state(2).tolist() == (
        old.generate_state(2).tolist()
    )
    assert int(Stage.MEMBERSHIP) == 1
    assert int(Stage.RECORD_CAP) == 40
    assert generator(7, Stage.NULL, "1").random() != generator(7, Stage.NULL, 1).random()


def test_inserted_removed_and_turned_attacks_change_no_other(
    plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = replace(RECORD_ATTACKS[0], name="more", label="More")
    monkeypatch.setattr(analysis, "RECORD_ATTACKS", (more, *RECORD_ATTACKS[:0:-1]))
    found = again()
    assert {"more", *plain["aggregate"]} - set(found["aggregate"]) == {RECORD_ATTACKS[0].name}
    for attack in RECORD_ATTACKS[1:]:
        assert found["aggregate"][attack.name] == plain["aggregate"][attack.name]
    assert found | {"aggregate": None} == plain | {"aggregate": None}


def test_more_thresholds_change_no_other_and_bands_have_names(
    plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[int | str, ...]] = set()

    def noted(seed: int, stage: Stage, *names: int | str) -> np.random.Generator:
        asked.add(names)
        return generator(seed, stage, *names)

    monkeypatch.setattr(analysis, "generator", noted)
    monkeypatch.setattr(patient_figures, "generator", noted)
    monkeypatch.setattr(patient_figures, "THRESHOLDS", (0.55, *patient_figures.THRESHOLDS[::-1]))
    found = again()
    exposed = found["patients"].pop("exposed")
    assert exposed.pop("0.55")
    rest = dict(plain["patients"])
    assert exposed == rest.pop("exposed")
    assert found["patients"] == rest
    assert found["aggregate"] == plain["aggregate"]
    assert found["disparities"] == plain["disparities"]
    # Bands of record counts: some stand empty, and where they stand says nothing.
    assert {names for names in asked if names[:1] == ("records",)} == {
        ("records", "1"),
        ("records", "2"),
    }


def test_turned_and_inserted_groups_change_no_other() -> None:
    rng = np.random.default_rng(2)
    columns = {
        "sex": np.where(np.arange(90) % 2, "f", "m"),
        "age": rng.choice(["old", "young"], 90),
        "site": rng.choice(["a", "b"], 90),
    }
    settings = AnalysisSettings(intersections=(), smallest_cell=1)

    def found(*names: str) -> dict[str, Any]:
        frame = pd.DataFrame({name: columns[name] for name in names})
        return dict(analyse(evidence(frame), seed=3, settings=settings).summary)

    first, second = found("sex", "age"), found("site", "age", "sex")
    assert set(second["disparities"]) - set(first["disparities"]) == {"site"}
    for name, entry in first["disparities"].items():
        for group, row in entry["groups"].items():
            again = second["disparities"][name]["groups"][group]
            # The false discovery rate is over all that is shown.
            assert row | {"q": None} == again | {"q": None}
        assert entry["spread"] == second["disparities"][name]["spread"]
    assert first | {"disparities": None} == second | {"disparities": None}


def protected(folder: Path, protect: Sequence[Variant]) -> dict[str, Any]:
    from sklearn.tree import DecisionTreeClassifier

    cohort = Cohort.from_table(visits(), patient="person", label="outcome", groups=["sex"])
    recipe = SklearnRecipe(DecisionTreeClassifier())
    Audit(cohort, recipe, models=8, seed=3, protect=protect).run(folder, workers=1)
    return dict(json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_turned_and_inserted_protections_change_no_other(tmp_path: Path) -> None:
    labels, rounded = Variant(access=Access(label_only=True)), Variant(access=Access(digits=1))
    first = protected(tmp_path / "first", [labels, rounded])
    second = protected(tmp_path / "second", [Variant(access=Access(digits=3)), rounded, labels])
    before, after = ({e["name"]: e for e in one.pop("protection")} for one in (first, second))
    assert len(before) == 2
    for name, entry in before.items():
        # What holds for all compared protections together is less, the more there are.
        assert {key for key in entry if entry[key] != after[name][key]} <= TOGETHER, name
    for key in ("aggregate", "patients", "disparities"):
        assert first[key] == second[key]
