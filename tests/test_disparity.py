"""Groups: suppression, coverage, power, false alarms with unequal record counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from auscult.disparity import (
    POOL,
    disparities,
    pool_small_cells,
    record_strata,
    top_composition,
)
from auscult.risk.patients import patient_risk
from auscult.risk.stability import half_aucs
from tests.simulation import simulate


def compare(
    auc: np.ndarray,
    groups: pd.DataFrame,
    seed: int,
    models: int = 32,
    **options: Any,  # noqa: ANN401
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    layout = simulate(auc, models, rng, records=options.pop("records", None)).layout()
    risk, _ = patient_risk(layout, (0.9,))
    return disparities(groups, risk, layout, seed=seed, **options)


def test_small_groups_are_pooled_so_that_none_follows_from_the_total() -> None:
    labels = np.array(["a"] * 50 + ["b"] * 30 + ["c"] * 3)
    pooled, shown, number = pool_small_cells(labels, 10)
    # c alone in the pool would be the total less a and b: b must join it.
    assert shown == ["a", "b and smaller groups"]
    assert number == 2
    assert (pooled == "b and smaller groups").sum() == 33


def test_pool_of_several_tiny_groups_is_still_large_enough() -> None:
    labels = np.array(["a"] * 50 + ["b"] * 30 + ["c"] * 3 + ["d"] * 2)
    _, shown, number = pool_small_cells(labels, 10)
    assert shown == ["a", "b and smaller groups"]
    assert number == 3
    labels = np.array(["a"] * 50 + ["b"] * 30 + ["c"] * 7 + ["d"] * 6)
    assert pool_small_cells(labels, 10)[1:] == (["a", "b", POOL], 2)


def test_nothing_is_pooled_without_need() -> None:
    labels = np.array(["a"] * 50 + ["b"] * 30)
    assert pool_small_cells(labels, 10)[1:] == (["a", "b"], 0)


def test_a_cohort_of_tiny_groups_shows_none() -> None:
    assert pool_small_cells(np.array(["a", "b", "c"]), 10)[1] == []


def test_record_strata_double() -> None:
    assert record_strata(np.array([1, 2, 3, 5, 6, 10, 11, 40])).tolist() == [
        0, 1, 2, 2, 3, 3, 4, 5,
    ]  # fmt: skip


def test_a_planted_disparity_is_found_and_covered() -> None:
    found, covered = [], []
    for seed in range(30):
        inside = np.arange(500) < 150
        auc = np.where(inside, 0.75, 0.70)
        groups = pd.DataFrame({"g": np.where(inside, "yes", "no")})
        row = compare(auc, groups, seed, models=64)["g"]["groups"]["yes"]
        found.append(row["q"] < 0.05)
        covered.append(row["difference_low"] <= 0.05 <= row["difference_high"])
    assert np.mean(found) > 0.9
    assert np.mean(covered) > 0.85


@pytest.mark.slow
def test_intervals_of_group_differences_cover() -> None:
    covered = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels = rng.choice(["a", "b"], 120, p=[0.75, 0.25])
        auc = rng.uniform(0.55, 0.9, 120) + np.where(labels == "b", 0.05, 0.0)
        row = compare(auc, pd.DataFrame({"g": labels}), seed)["g"]["groups"]["b"]
        covered.append(row["difference_low"] <= 0.05 <= row["difference_high"])
    # Nominal 95%, and 94% over 1,200 other seeds; less three standard errors of 400 below.
    assert 0.905 <= np.mean(covered) <= 0.98


def test_record_counts_alone_raise_no_alarm() -> None:
    alarms = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = rng.choice(["few", "many"], 300)
        records = np.where(labels == "many", rng.integers(1, 9, 300), rng.integers(1, 3, 300))
        groups = pd.DataFrame({"g": labels, "h": rng.choice(["x", "y", "z"], 300)})
        found = compare(np.full(300, 0.5), groups, seed, records=records)
        rows = [r for entry in found.values() for r in entry["groups"].values()]
        alarms.append(min(r["q"] for r in rows) < 0.05)
    assert np.mean(alarms) <= 0.125  # 5% expected; more than 5 of 40 has probability 0.01


def test_groups_that_share_no_record_count_are_not_compared_by_p() -> None:
    labels = np.array(["one"] * 40 + ["two"] * 40)
    records = np.array([1] * 40 + [2] * 40)
    found = compare(np.full(80, 0.6), pd.DataFrame({"g": labels}), 1, records=records)
    row = found["g"]["groups"]["one"]
    assert row["p"] is None
    assert row["reason"] == "nobody else has as many records"


def test_spread_is_judged_against_its_null() -> None:
    rng = np.random.default_rng(1)
    groups = pd.DataFrame({"g": rng.choice(list("abcdefghijkl"), 240)})
    spread = compare(np.full(240, 0.6), groups, 5)["g"]["spread"]
    assert spread["null_mean"] > 0.03  # far from zero although nothing differs
    assert spread["p"] > 0.05


def test_intersections_and_everybody_in_one_group() -> None:
    groups = pd.DataFrame({"a": ["x"] * 60, "b": ["u"] * 30 + ["v"] * 30})
    found = compare(np.full(60, 0.7), groups, 2, intersections=(("a", "b"),))
    assert set(found) == {"a", "b", "a & b"}
    assert set(found["a & b"]["groups"]) == {"x & u", "x & v"}
    only = found["a"]["groups"]["x"]
    assert only["difference"] is None
    assert only["reason"] == "nobody else to compare with"


def test_no_small_cell_follows_from_a_group_and_its_crossed_groups() -> None:
    sizes = {(sex, race): 30 for sex in "FM" for race in "ABCDE"}
    sizes[("M", "A")] = sizes[("M", "B")] = 6  # race A is shown: 36 less the 30 of F & A are 6
    cells = [cell for cell, size in sizes.items() for _ in range(size)]
    groups = pd.DataFrame(cells, columns=["sex", "race"])
    found = compare(np.full(len(cells), 0.7), groups, 4, intersections=(("sex", "race"),))
    crossed = {
        tuple(name.split(" & ")): row["patients"]
        for name, row in found["sex & race"]["groups"].items()
        if tuple(name.split(" & ")) in sizes
    }
    assert crossed, "something is shown"
    for place, attribute in enumerate(("sex", "race")):
        for name, row in found[attribute]["groups"].items():
            shown = sum(size for cell, size in crossed.items() if cell[place] == name)
            left = row["patients"] - shown
            assert left == 0 or left >= 10, f"{left} patients follow from {name}"


def test_composition_finds_the_planted_group_only() -> None:
    rng = np.random.default_rng(3)
    inside = np.arange(1500) < 150
    layout = simulate(np.where(inside, 0.97, 0.6), 64, rng).layout()
    halves = half_aucs(layout, rng)
    assert halves is not None
    groups = pd.DataFrame(
        {"planted": np.where(inside, "yes", "no"), "other": rng.choice(["u", "v"], 1500)}
    )
    found = top_composition(groups, halves)
    assert found["planted"]["groups"]["yes"]["residual"] > 5
    assert found["planted"]["p"] < 1e-6
    assert abs(found["other"]["groups"]["u"]["residual"]) < 3
