"""Groups: suppression, coverage, power, false alarms with unequal record counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from auscult.risk.composition import top_composition
from auscult.risk.disparity import disparities
from auscult.risk.equal_counts import at_equal_counts
from auscult.risk.patients import patient_risk
from auscult.risk.pooling import pool_small_cells
from auscult.risk.released import POOL
from auscult.risk.stability import half_risks
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


def test_a_planted_disparity_is_found_and_covered() -> None:
    found, covered = [], []
    for seed in range(20):
        inside = np.arange(500) < 150
        auc = np.where(inside, 0.75, 0.70)
        groups = pd.DataFrame({"g": np.where(inside, "yes", "no")})
        row = compare(auc, groups, seed, models=64)["g"]["groups"]["yes"]
        found.append(row["q"] < 0.05)
        covered.append(row["difference_low"] <= 0.05 <= row["difference_high"])
    assert np.mean(found) > 0.8  # 93% over 350 cohorts
    assert np.mean(covered) > 0.8


@pytest.mark.slow
def test_intervals_of_group_differences_cover() -> None:
    covered = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        labels = rng.choice(["a", "b"], 120, p=[0.75, 0.25])
        auc = rng.uniform(0.55, 0.9, 120) + np.where(labels == "b", 0.05, 0.0)
        row = compare(auc, pd.DataFrame({"g": labels}), seed)["g"]["groups"]["b"]
        covered.append(row["difference_low"] <= 0.05 <= row["difference_high"])
    # Nominal 95%, and 94% over 1,200 other seeds; less three standard errors of 150 below.
    assert 0.88 <= np.mean(covered) <= 0.99


def test_record_counts_alone_raise_no_alarm() -> None:
    alarms = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        labels = rng.choice(["few", "many"], 300)
        records = np.where(labels == "many", rng.integers(1, 9, 300), rng.integers(1, 3, 300))
        groups = pd.DataFrame({"g": labels, "h": rng.choice(["x", "y", "z"], 300)})
        found = compare(np.full(300, 0.5), groups, seed, records=records)
        rows = [r for entry in found.values() for r in entry["groups"].values()]
        alarms.append(min(r["q"] for r in rows) < 0.05)
    assert np.mean(alarms) <= 0.17  # 5% expected; more than 4 of 24 has probability 0.005


def test_groups_that_share_no_record_count_are_not_compared_by_p() -> None:
    labels = np.array(["one"] * 40 + ["two"] * 40)
    records = np.array([1] * 40 + [2] * 40)
    found = compare(np.full(80, 0.6), pd.DataFrame({"g": labels}), 1, records=records)
    row = found["g"]["groups"]["one"]
    assert row["p"] is None
    assert row["reason"] == "nobody else has as many records"


def naive_comparison(
    auc: np.ndarray, inside: np.ndarray, count: np.ndarray
) -> tuple[float, float, float, float, int, int]:
    """The same by matrices of patients: dummies of counts, hats between knots, textbook errors."""
    exact, near = np.zeros(auc.size, dtype=bool), np.zeros(auc.size, dtype=bool)
    columns, segment = [inside.astype(float)], np.zeros(auc.size)
    for k in np.unique(count):
        here = count == k
        if 0 < inside[here].sum() < here.sum() and (here.sum() >= 10 or k <= 3):
            exact |= here
            columns.append(here.astype(float))
            segment[here] = k
    rest = ~exact & (count > 3)
    for i in np.flatnonzero(rest):
        others = count[rest & (inside != inside[i])]
        near[i] = bool(((others >= count[i] / 1.25) & (others <= 1.25 * count[i])).any())
    if near.any():
        x = np.log(count[near])
        pieces = int(np.ceil((x.max() - x.min()) / np.log(1.5)))
        knots = np.linspace(x.min(), x.max(), pieces + 1)
        for one in np.eye(pieces + 1):
            columns.append(np.zeros(auc.size))
            columns[-1][near] = np.interp(x, knots, one) if pieces else 1.0
        segment[near] = 1000 + np.searchsorted(knots[1:-1], x, side="right")
    used = exact | near
    design = np.column_stack(columns)[used]
    inverse = np.linalg.pinv(design)
    keep = np.eye(used.sum()) - design @ inverse
    free, residual, weight = np.diag(keep), keep @ auc[used], inverse[0] ** 2
    scaled = keep @ np.diag(weight / free)
    pooled = []
    for one in np.unique(segment[used]):
        here = segment[used] == one
        spread = (residual[here] ** 2).sum() / free[here].sum()
        pooled.append((weight[here].sum() * spread, free[here].sum()))
    variances = [
        ((weight * residual**2 / free).sum(), np.trace(scaled) ** 2 / np.trace(scaled @ scaled)),
        (
            sum(v for v, _ in pooled),
            sum(v for v, _ in pooled) ** 2 / sum(v**2 / f for v, f in pooled),
        ),
    ]
    found = float(inverse[0] @ auc[used])
    half = max(t.ppf(0.975, df) * np.sqrt(v) for v, df in variances)
    p = max(2 * t.sf(abs(found) / np.sqrt(v), df) for v, df in variances)
    sides = int((inside & used).sum()), int((~inside & used).sum())
    return found, found - half, found + half, p, *sides


@pytest.mark.parametrize("seed", range(6))
def test_comparison_at_equal_counts_agrees_with_naive(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = (60, 100, 200, 200, 300, 80)[seed]
    count = (
        rng.integers(1, 31, n),
        rng.integers(1, 6, n),
        np.exp(rng.uniform(0, 4.6, n)).astype(int),
        rng.geometric(0.2, n),
        rng.choice([4, 5, 6], n),
        rng.integers(6, 10, n),
    )[seed]
    inside = rng.random(n) < 0.2 + 0.5 * (count > count.mean())
    auc = rng.normal(0.7, 0.1, n) + 0.03 * np.log(count)
    found = at_equal_counts(auc, inside, count, fewest=5)
    expected = naive_comparison(auc, inside, count)
    assert found.difference is not None
    np.testing.assert_allclose(
        np.array([found.difference, found.low, found.high, found.p], dtype=np.float64),
        np.array(expected[:4]),
        atol=1e-9,
    )
    assert (found.patients, found.others) == expected[4:]


def test_one_count_gives_the_plain_difference() -> None:
    rng = np.random.default_rng(1)
    auc, inside = rng.normal(0.7, 0.1, 60), np.arange(60) < 25
    found = at_equal_counts(auc, inside, np.ones(60, dtype=np.int64), fewest=10)
    assert found.difference == pytest.approx(auc[inside].mean() - auc[~inside].mean())
    assert (found.patients, found.others) == (25, 35)


def drawn(
    rng: np.random.Generator, n: int, low: int, high: int, share: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """A group with more records, and everybody's counts, as often in each factor of two."""
    counts = np.arange(low, high + 1)
    many = np.linspace(0.1, 1, counts.size) ** 2 / counts
    few = np.linspace(1, 0.1, counts.size) ** 2 / counts
    inside = rng.random(n) < share
    draws = [rng.choice(counts, n, p=weight / weight.sum()) for weight in (few, many)]
    return inside, np.where(inside, draws[1], draws[0])


@pytest.mark.parametrize(
    ("low", "high", "n"), [(3, 5, 500), (6, 10, 500), (21, 40, 500), (1, 100, 400), (1, 100, 60)]
)
@pytest.mark.parametrize("shape", ["saturating", "step", "wave"])
def test_intervals_at_equal_counts_cover_whatever_counts_do(
    low: int, high: int, n: int, shape: str
) -> None:
    effects: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "saturating": lambda k: norm.cdf(0.25 * np.sqrt(k)),
        "step": lambda k: 0.6 + 0.2 * (k >= (low * high) ** 0.5),
        "wave": lambda k: 0.7 + 0.1 * np.sin(2 * np.log(k)),
    }
    effect = effects[shape]
    planted, covered, plain = 0.03, [], []
    for seed in range(300):
        rng = np.random.default_rng([seed, low, n])
        inside, count = drawn(rng, n, low, high)
        noise = rng.normal(0, 0.09 / np.sqrt(1 + 0.1 * count))
        auc = effect(count) + noise + planted * inside
        found = at_equal_counts(auc, inside, count, fewest=10)
        if found.difference is None:
            continue
        assert found.low is not None
        assert found.high is not None
        covered.append(found.low <= planted <= found.high)
        plain.append(found.difference)
    # Nominal 95%, and a little more where the two errors differ; three standard errors below. Of 60
    # patients with 1 to 100 records too few are comparable in nearly half of the cohorts.
    assert len(covered) > (150 if n == 60 else 290)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / len(covered))
    assert abs(np.mean(plain) - planted) < 3.5 * np.std(plain) / np.sqrt(len(plain))


def test_a_small_group_near_one_is_not_disparate_for_want_of_an_outlier() -> None:
    alarms = []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        auc = np.where(rng.random(300) < 0.1, rng.uniform(0.6, 0.9, 300), 1.0)
        found = at_equal_counts(auc, np.arange(300) < 12, np.full(300, 2), fewest=10)
        assert found.p is not None
        alarms.append(found.p < 0.05)
    assert np.mean(alarms) <= 0.07


def test_spreads_that_differ_raise_no_alarm() -> None:
    alarms = []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        inside = np.arange(200) < 12
        auc = rng.normal(0.7, np.where(inside, 0.15, 0.05))
        found = at_equal_counts(auc, inside, np.full(200, 2), fewest=10)
        assert found.p is not None
        alarms.append(found.p < 0.05)
    assert np.mean(alarms) <= 0.07


def test_who_cannot_be_compared_is_said() -> None:
    rng = np.random.default_rng(0)
    inside = np.arange(60) < 30
    auc = rng.normal(0.7, 0.1, 60)
    # A group all with one record, others with 1 to 100: only those with one record compare.
    count = np.where(inside, 1, rng.integers(2, 101, 60))
    found = at_equal_counts(auc, inside, count, fewest=10)
    assert (found.difference, found.patients) == (None, 0)
    assert found.reason == "nobody else has as many records"
    count[30:37] = 1
    found = at_equal_counts(auc, inside, count, fewest=10)
    assert (found.difference, found.patients, found.others) == (None, 30, 7)
    assert "too few patients" in found.reason
    count[30:45] = 1
    found = at_equal_counts(auc, inside, count, fewest=10)
    assert found.difference == pytest.approx(auc[:30].mean() - auc[30:45].mean())
    assert (found.patients, found.others) == (30, 15)


def test_counts_that_tell_the_groups_apart_are_not_comparable() -> None:
    rng = np.random.default_rng(0)
    inside = np.arange(400) < 200
    # 4 and 5 are close, but a line through them is the difference between the groups.
    found = at_equal_counts(rng.normal(size=400), inside, np.where(inside, 4, 5), fewest=10)
    assert found.difference is None
    assert "too few patients" in found.reason


def test_groups_compared_in_part_say_so_without_a_small_cell() -> None:
    rng = np.random.default_rng(3)
    labels = np.array(["a"] * 100 + ["b"] * 100)
    records = np.where(labels == "a", 1, 1 + (np.arange(200) >= 150))
    row = compare(rng.uniform(0.6, 0.8, 200), pd.DataFrame({"g": labels}), 1, records=records)["g"]
    assert row["groups"]["a"]["patients_compared"] == 100
    assert row["groups"]["a"]["others_compared"] == 50
    records[150:195] = 1  # five are left: under the smallest cell
    row = compare(rng.uniform(0.6, 0.8, 200), pd.DataFrame({"g": labels}), 1, records=records)["g"]
    assert row["groups"]["b"]["patients_compared"] is None
    assert row["groups"]["b"]["others_compared"] == 100


@pytest.mark.slow
def test_equal_leakage_per_record_is_no_disparity_within_a_band() -> None:
    alarms, held, apart = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        inside, count = drawn(rng, 500, 3, 5)
        groups = pd.DataFrame({"g": np.where(inside, "B", "A")})
        auc = norm.cdf(0.6 * np.sqrt(count / 2))
        row = compare(auc, groups, seed, records=count)["g"]["groups"]["B"]
        alarms.append(row["q"] < 0.05)
        held.append(row["difference_low"] <= 0 <= row["difference_high"])
        apart.append(row["difference_any_records_low"] > 0)
    assert np.mean(apart) > 0.5  # a plain comparison finds one
    assert np.sum(alarms) <= 3  # 5% expected; more than 3 of 12 has probability 0.0002
    assert np.sum(held) >= 9


def test_spread_is_judged_against_its_null() -> None:
    p = []
    for seed in range(5, 9):
        rng = np.random.default_rng(seed)
        groups = pd.DataFrame({"g": rng.choice(list("abcdefghijkl"), 240)})
        spread = compare(np.full(240, 0.6), groups, seed)["g"]["spread"]
        assert spread["null_mean"] > 0.03  # far from zero although nothing differs
        p.append(spread["p"])
    assert np.mean(p) > 0.15  # of four uniform ones: less has probability 0.005


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
    halves = half_risks(layout, rng)
    assert halves is not None
    groups = pd.DataFrame(
        {"planted": np.where(inside, "yes", "no"), "other": rng.choice(["u", "v"], 1500)}
    )
    found = top_composition(groups, halves.aucs)
    assert found["planted"]["groups"]["yes"]["residual"] > 5
    assert found["planted"]["p"] < 1e-6
    assert abs(found["other"]["groups"]["u"]["residual"]) < 3
