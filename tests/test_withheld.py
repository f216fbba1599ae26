"""What leaves a run, function by function: steps, totals, small counts, rounded figures, ledger."""

# ruff: noqa: ANN401 - parts of a summary are anything

from __future__ import annotations

import copy
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from auscult.base.errors import StoreError
from auscult.base.intervals import clopper_pearson
from auscult.disclosure import (
    ABSENT,
    POOLED,
    Atoms,
    Entry,
    Reports,
    Row,
    Table,
    as_before,
    fixed_tables,
    is_small,
    least_uncertainty,
    ledger_name,
    other_people,
    outward,
    published,
    raw_digest,
    release_together,
    released,
    round_counts,
    rounded_count,
    rounding_step,
    step_of_at_least,
    strangers,
    supported,
)
from auscult.disclosure.control import COARSEST, FINE, _moves, _step_for
from auscult.disclosure.figures import WITHHELD
from auscult.disclosure.nested import between, named_patients, those_left_out

CELL = 10


def sizes(**of: int) -> Table:
    """A table whose groups have so many patients each, in this order."""
    return Table(labels=np.repeat(list(of), list(of.values())))


# Steps


def test_a_step_is_the_least_round_number_that_suffices() -> None:
    round_numbers = [m * 10.0**p for p in range(-9, 1) for m in (1, 2, 5)]
    for wanted in (0.0011, 0.002, 0.0021, 0.05, 0.3, 1.0, 1.1, 2.5, 5.0):
        assert step_of_at_least(wanted) == min(x for x in round_numbers if x >= wanted - 1e-15)
    assert step_of_at_least(0.02 * (1 + 1e-14)) == 0.02  # a last digit is no reason
    assert step_of_at_least(0.02 * (1 + 1e-9)) == 0.05
    assert step_of_at_least(80.0) == 5.0
    for patients in (0, 1, 3, 25, 30, 99, 100, 101, 2500, 12_345):
        assert rounding_step(patients) == step_of_at_least(0.1 / max(patients, 1) ** 0.5)


def test_a_figure_is_a_multiple_of_its_step() -> None:
    assert supported(0.1276, 100) == 0.13
    assert supported(0.1276, 100, 0.05) == 0.15
    assert supported(0.1276, 100, 0.02) == 0.12
    assert supported(None, 100) is None
    nothing = supported(float("nan"), 100)
    assert nothing is not None
    assert np.isnan(nothing)
    assert supported(float("inf"), 100) == float("inf")


@pytest.mark.parametrize(
    ("number", "base", "expected"),
    [
        *((2, 5, 0), (3, 5, 5), (7, 5, 5), (8, 5, 10), (12, 5, 10), (13, 5, 15), (0, 5, 0)),
        *((5, 10, 10), (4, 10, 0), (15, 10, 20), (1, 2, 2), (3, 2, 4), (7, 1, 7), (7, 0, 7)),
    ],
)
def test_numbers_are_rounded_half_up(number: int, base: int, expected: int) -> None:
    assert rounded_count(number, base) == expected


def test_ends_of_intervals_move_outward() -> None:
    assert outward(0.213, 0.287, 0.05) == (0.2, 0.3)
    assert outward(-0.213, -0.187, 0.05) == (-0.25, -0.15)
    assert outward(0.15, 0.3, 0.05) == (0.15, 0.3)  # multiples stay, whatever their last digit
    assert outward(0.1 + 0.2, 0.1 + 0.2, 0.1) == (0.3, 0.3)
    assert outward(0.3 - 1e-6, 0.3 + 1e-6, 0.1) == (0.2, 0.4)
    assert outward(None, None, 0.1) == (None, None)
    assert outward(0.12, float("inf"), 0.1) == (0.1, float("inf"))


# Tables and what follows from them


def test_a_table_publishes_its_groups_and_a_pool_that_is_large_enough() -> None:
    table = sizes(a=30, b=6, c=4, d=9)
    assert table.sizes == {"a": 30, "b": 6, "c": 4, "d": 9}
    assert table.small(9) == ["b", "c"]
    assert table.small(10) == ["b", "c", "d"]
    table.smallest = 10
    table.hidden = {"c", "b"}
    assert table.held() == 10
    assert [row.names for row in table.rows()] == [("a",), ("d",), ("b", "c")]
    assert table.rows()[-1] == Row(key=POOLED, names=("b", "c"), patients=10)
    table.hidden = {"c"}
    assert [row.names for row in table.rows()] == [("a",), ("b",), ("d",)]
    absent = Table(labels=np.array(["a", ABSENT, "a", ABSENT], dtype=object))
    assert absent.small(10) == ["a"]
    assert [row.names for row in absent.rows()] == [("a",)]


def test_a_row_is_rounded_as_coarsely_as_asked() -> None:
    table = sizes(a=100, b=25)
    a, b = table.rows()
    assert (table.step(a), table.step(b)) == (0.01, 0.02)
    assert (table.error(a), table.error(b)) == (100 * 0.01 / 2, 25 * 0.02 / 2)
    table.steps = {"a": 0.05, "b": 0.001}
    assert (table.step(a), table.step(b)) == (0.05, 0.02)
    exact = sizes(a=100)
    exact.rounded = False
    assert exact.step(exact.rows()[0]) == 0.0
    exact.steps = {"a": 0.2}
    assert exact.error(exact.rows()[0]) == pytest.approx(10.0)


def test_crossed_groups_are_pairs() -> None:
    sex = Table(labels=np.array(list("ffmmfm"), dtype=object), hidden={"m"})
    ward = Table(labels=np.array([*"xyxyx", ABSENT], dtype=object))
    both = sex.crossed(ward, " & ", weight=0.5)
    assert both.labels.tolist() == ["f & x", "f & y", "m & x", "m & y", "f & x", ABSENT]
    assert both.hidden == {"m & x", "m & y"}
    assert both.weight == 0.5
    assert ward.crossed(sex, "/", weight=1.0).hidden == {"x/m", "y/m"}


def test_atoms_are_the_patients_who_are_everywhere_together() -> None:
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, k, 60).astype(str) for k in (2, 3, 4)]
    tables = [Table(labels=x) for x in labels]
    atoms = Atoms.of(tables)
    kinds: dict[tuple[str, ...], int] = {}
    for one in zip(*labels, strict=True):
        kinds[one] = kinds.get(one, 0) + 1
    found = {
        tuple(t.names[code[i]] for t, code in zip(tables, atoms.codes, strict=True)): int(size)
        for i, size in enumerate(atoms.sizes)
    }
    assert found == kinds
    for table, row, inside in atoms.columns(tables):
        assert int(atoms.sizes[inside].sum()) == row.patients == table.sizes[row.names[0]]


def test_everything_that_is_published_is_a_total() -> None:
    table = sizes(a=60, b=40)
    table.steps = {"b": np.inf}
    atoms = Atoms.of([table])
    columns, known = published([table], atoms)
    assert [row.key for _, row, _ in columns] == ["a"]
    assert known.cells.tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert known.error.tolist() == [table.error(table.rows()[0]), 0.0]
    _, known = published([table], atoms, total=False)
    assert known.cells.tolist() == [[1.0], [0.0]]
    assert known.error.size == 1


def test_a_mean_of_so_many_patients_leaves_so_much_uncertainty() -> None:
    """Worked by hand: a total alone, with its rounding, and a difference of two totals."""
    exact = sizes(a=60, b=40)
    exact.rounded = False
    atoms = Atoms.of([exact])
    _, known = published([exact], atoms, total=False)
    assert known.leverage() == pytest.approx([1 / 60, 1 / 40])
    for atom, patients in ((0, 60), (1, 40)):
        assert least_uncertainty(known, atom)[0] == pytest.approx(patients, rel=1e-4)
        assert known.assured(np.array([atom]), patients / 2).tolist() == [True]
        assert known.assured(np.array([atom]), patients * 1.01).tolist() == [False]
    rounded = sizes(a=60, b=40)
    _, known = published([rounded], atoms, total=False)
    for atom, row in enumerate(rounded.rows()):
        uncertainty, weights = least_uncertainty(known, atom)
        assert uncertainty == pytest.approx(row.patients + rounded.error(row), rel=1e-4)
        assert weights[atom] == pytest.approx(1.0)
    wide, narrow = sizes(a=60, b=40), sizes(a=57, c=43)
    wide.rounded = narrow.rounded = False
    both = Atoms.of([wide, narrow])
    _, known = published([wide, narrow], both, total=False)
    three = int(np.flatnonzero(both.sizes == 3)[0])
    assert least_uncertainty(known, three)[0] == pytest.approx(3.0, rel=1e-3)
    # From a total that is known, who is in no row follows as well.
    one = sizes(a=95, b=5)
    one.rounded, one.steps = False, {"b": np.inf}
    _, known = published([one], Atoms.of([one]))
    assert least_uncertainty(known, 1)[0] == pytest.approx(5.0, rel=1e-3)
    _, known = published([one], Atoms.of([one]), total=False)
    assert least_uncertainty(known, 1)[0] == np.inf
    assert known.assured(np.array([], dtype=np.int64), 2.0).tolist() == []


@pytest.mark.parametrize("seed", range(4))
def test_bounds_are_sound_and_few_columns_find_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is surely kept is kept; looking at few atoms at a time ends at the same uncertainty."""
    rng = np.random.default_rng(seed)
    tables = [Table(labels=rng.integers(0, k, 50).astype(str)) for k in (2, 3, 4)]
    for table in tables:
        table.rounded = bool(rng.random() < 0.7)
    atoms = Atoms.of(tables)
    _, known = published(tables, atoms)
    everybody = np.arange(atoms.sizes.size)
    least = np.array([least_uncertainty(known, int(atom))[0] for atom in everybody])
    for share in (0.3, 0.6, 0.9):
        for atom in everybody[np.isfinite(least)]:
            sure = known.assured(np.array([atom]), float(share * least[atom]))
            assert sure.shape == (1,)
            assert not known.assured(np.array([atom]), float(1.01 * least[atom]))[0]
    near = [bool(known.assured(everybody[[a]], float(0.8 * least[a]))[0]) for a in everybody]
    assert np.mean(near) > 0.5
    # A patient of the most closely bounded atom keeps at least one over the leverage.
    assert least.min() >= 1 / known.leverage().max() - 1e-6
    monkeypatch.setattr("auscult.disclosure.bounds._COLUMNS", 3)
    for atom in everybody:
        for enough in (0.9 * least[atom], 1.1 * least[atom], 1.5 * least[atom]):
            value, weights = least_uncertainty(known, int(atom), enough=float(enough))
            assert (value >= enough) == (least[atom] >= enough)
            if value < enough:  # what its weights reach, and these single the patient out
                entering = known.cells @ weights
                reached = np.abs(entering) @ known.sizes + np.abs(weights) @ known.error
                assert value == pytest.approx(reached, rel=1e-3)
                assert entering[atom] == pytest.approx(1.0, abs=1e-6)
                assert value >= least[atom] * (1 - 1e-6)
        assert not known.assured(np.array([atom]), float(1.01 * least[atom]))[0]


def test_release_changes_what_it_must() -> None:
    for smallest, hidden in ((5, set()), (6, {"b"}), (1, set())):
        table = sizes(a=55, b=5)
        release_together([table], smallest)
        assert table.hidden >= hidden
        assert bool(table.hidden) == bool(hidden)
        assert table.smallest == (smallest if smallest > 1 else 0)
    few = sizes(a=5, b=4)
    release_together([few], 10)
    assert (few.hidden, few.steps) == (set(), {})
    release_together([], 10)
    just = sizes(a=10)
    release_together([just], 10)
    assert (just.smallest, just.hidden) == (10, set())
    fixed, kept = sizes(a=55, b=5), sizes(a=55, b=5)
    fixed.fixed, kept.poolable = True, False
    release_together([fixed], 10)
    assert (fixed.hidden, fixed.steps, fixed.smallest) == (set(), {}, 0)
    release_together([kept], 10)
    assert kept.hidden == set()
    assert max(kept.steps.values()) > 0.01


def test_a_step_that_gives_a_total_its_error() -> None:
    assert _step_for(1.0, 100) == 0.02
    assert _step_for(2.4, 100) == 0.05
    assert _step_for(COARSEST * 100 / 2, 100) == 0.05
    assert _step_for(2.6, 100) == np.inf


def moved(patients: int, lacking: float, *, weight: float = 1.0, **how: Any) -> dict[str, float]:
    """Prices of what can be done to the first group of a table, by what it is."""
    table = sizes(a=patients, b=3 * patients, c=4 * patients)
    for name, value in how.items():
        setattr(table, name, value)
    table.weight, table.smallest = weight, CELL
    columns, _ = published([table], Atoms.of([table]))
    weights = np.array([1.0, *np.zeros(len(columns))])
    prices = {}
    for move in _moves(columns, weights, lacking):
        names = ",".join(name for row in move.rows for name in row.names)
        prices[f"{move.step:g} {names}" if move.step else names] = move.price
    return prices


def test_what_costs_least_is_done_first() -> None:
    """The order that the module's first lines promise, and twice the price at twice the weight."""
    fine, coarse, gone = moved(100, 0.2), moved(100, 1.8), moved(100, 4.0)
    assert set(fine) == {"0.02 a", "a,b", "a,c"}
    assert set(coarse) == {"0.05 a", "a,b", "a,c"}
    assert set(gone) == {"inf a", "a,b", "a,c"}
    farther = moved(1000, 15.0)
    assert set(farther) == {"0.05 a", "a,b", "a,c"}  # more than five times the natural step
    assert fine["0.02 a"] < coarse["0.05 a"] < 0.5 * 100
    assert coarse["0.05 a"] / fine["0.02 a"] == pytest.approx(0.05 / 0.02)
    assert farther["0.05 a"] == 0.5 * 1000
    assert gone["inf a"] > 100
    assert gone["a,b"] == 400
    assert gone["a,c"] == 500
    for price, half in zip(gone.values(), moved(100, 4.0, weight=0.5).values(), strict=True):
        assert half == pytest.approx(price / 2)
    # With a pool there, a group may join it; and where pooling is not possible it is not offered.
    assert set(moved(100, 4.0, hidden={"b"})) == {"inf a", "a"}
    assert moved(100, 4.0, hidden={"b"})["a"] == 100
    assert set(moved(100, 4.0, poolable=False)) == {"inf a"}
    assert moved(100, 4.0, fixed=True) == {}
    assert FINE < COARSEST


# Numbers of patients


def test_numbers_that_tell_nothing_stay_as_they_are() -> None:
    large = sizes(a=50, b=40)
    release_together([large], CELL)
    round_counts([large], CELL)
    assert large.base == 1
    tiny = sizes(a=3, b=6)
    round_counts([tiny], CELL)
    round_counts([], CELL)
    assert tiny.base == 1
    one = sizes(a=50, b=3)
    one.hidden = {"b"}
    round_counts([one], 1)
    assert one.base == 1


@pytest.mark.parametrize(("base", "smallest", "used"), [(5, 10, 5), (20, 10, 10), (1, 10, 2)])
def test_a_hidden_group_does_not_follow_from_its_tables_total(
    base: int, smallest: int, used: int
) -> None:
    for total in (True, False):
        table = sizes(a=50, b=3)
        table.hidden, table.smallest = {"b"}, smallest
        round_counts([table], smallest, base=base, total=total)
        assert table.base == used
    pooled = sizes(a=50, b=6, c=4)
    pooled.hidden, pooled.smallest = {"b", "c"}, 10
    round_counts([pooled], 10)
    assert pooled.base == 1


def test_of_two_tables_that_differ_by_few_the_cheaper_is_rounded() -> None:
    for weights, bases in (((1.0, 0.5), (1, 5)), ((0.5, 1.0), (5, 1))):
        tables = [sizes(a=60, b=40), sizes(a=57, b=43)]
        for table, weight in zip(tables, weights, strict=True):
            table.weight = weight
        round_counts(tables, CELL)
        assert tuple(table.base for table in tables) == bases
    tables = [sizes(a=60, b=40), sizes(a=50, b=50)]
    round_counts(tables, CELL)
    assert [table.base for table in tables] == [1, 1]
    tables = [sizes(a=60, b=40), sizes(a=57, b=43)]
    tables[0].fixed = True
    round_counts(tables, CELL)
    assert [table.base for table in tables] == [1, 5]
    tables[1].fixed, tables[1].base = True, 1
    round_counts(tables, CELL)  # nothing here can be rounded
    assert [table.base for table in tables] == [1, 1]
    assert not [table.base for table in (sizes(a=60, b=40),) if table.base != 1]


def test_a_small_group_that_follows_from_others_in_several_parts_is_rounded_away() -> None:
    """Four patients of s, two of either sex: C less A are they, and no sex of them follows."""
    place = np.arange(200)
    s = place < 4
    sex = np.where(place % 2, "f", "m")
    first = np.where((place >= 4) & (place < 80), "A", "B")
    second = np.where(place < 80, "C", "D")
    small = Table(labels=np.where(s, "s", "r"), hidden={"s"})
    tables = [small, Table(labels=first), Table(labels=second), Table(labels=sex)]
    for table in tables:
        table.smallest = CELL
    round_counts(tables, CELL)
    assert small.base == 5
    assert sorted(table.base for table in tables[1:3]) == [1, 5]
    assert tables[3].base == 1


# Nested counts


def test_a_cell_lies_between_counts() -> None:
    assert not between([0, 10, 20], CELL)
    assert between([0, 9, 20], CELL)
    assert between([20, 11, 0], CELL)
    assert not between([10.2, 10.4, 0], CELL)  # the same number
    assert not between([], CELL)
    for count, small in ((None, 0), (0, 0), (0.4, 0), (0.5, 1), (1, 1), (9.9, 1), (10, 0)):
        assert is_small(count, CELL) == bool(small)


def exposed(**series: list[int | None]) -> dict[str, Any]:
    thresholds = ["0.7", "0.8", "0.9"]
    rows = {at: {k: v[i] for k, v in series.items()} for i, at in enumerate(thresholds)}
    return {"patients": {"count": 400, "estimable": 300, "exposed": rows}}


def shown(made: dict[str, Any], name: str) -> list[int | None]:
    return [row[name] for row in made["patients"]["exposed"].values()]


def test_a_series_of_counts_is_rounded_where_a_cell_follows() -> None:
    before = exposed(raw=[62, 41, 31], study=[62, 41, 33], confirmed=[30, 20, None])
    made = released(before, CELL)
    assert shown(made, "raw") == [62, 41, 31]
    assert shown(made, "study") == [60, 40, 35]
    assert shown(made, "confirmed") == [30, 20, None]
    assert made["patients"]["counts_rounded_to"] == 5
    assert "counts_rounded_to" not in released(exposed(raw=[62, 41, 31]), CELL)["patients"]
    # Of everybody who is estimable, few are not above the lowest threshold.
    assert shown(released(exposed(raw=[293, 41, 31]), CELL), "raw") == [295, 40, 30]
    assert shown(released(exposed(raw=[290, 41, 31]), CELL), "raw") == [290, 41, 31]
    # Counts under the cell are not shown, and those above are rounded to no more than the cell.
    assert shown(released(exposed(raw=[41, 31, 9]), CELL), "raw")[2] is None
    assert shown(released(exposed(raw=[8, 6, 3]), 3), "raw") == [9, 6, 3]
    declared = released(exposed(raw=[62, 41, 31]), CELL, 10)
    assert shown(declared, "raw") == [60, 40, 30]
    assert declared["patients"]["counts_rounded_to"] == 10


def test_a_curve_is_rounded_as_its_counts_are() -> None:
    before = exposed(raw=[62, 41, 33])
    curve: dict[str, Any] = {
        "auc": [0.75, 0.85, 0.95],
        "raw": [62 / 300, None, 33 / 300],
        "null": [0.1, 0.2, 0.3],
    }
    before["patients"]["survival"] = curve
    made = released(before, CELL)["patients"]["survival"]
    assert made["raw"] == [0.2, None, 0.1167]
    assert made["null"] == [0.1, 0.2, 0.3]
    assert curve["raw"][0] == 62 / 300


def row(patients: int, true: int, false: int, level: float) -> dict[str, Any]:
    found: dict[str, Any] = {"posterior": level, "prior": 0.5, "patients": patients}
    for key, rate, number, of in (("true", "tpr", true, 100), ("false", "fpr", false, 200)):
        low, high = clopper_pearson(number, of)
        found[key] = {"estimate": number, "low": low * of, "high": high * of, "of": of}
        found[rate] = {"estimate": number / of, "low": low, "high": high, "n": of}
    found["expected_members"] = {"estimate": true + 0.5, "low": true - 2.0, "high": true + 2.0}
    return found


def test_whom_a_release_names_is_counted_to_a_base() -> None:
    plain: dict[str, Any] = {"estimable": 300, "named": [row(80, 60, 20, 0.5)], "at_fpr": []}
    named_patients(plain, CELL)
    assert plain["named"][0]["patients"] == 80
    assert plain["named"][0]["true"]["estimate"] == 60
    assert "counts_rounded_to" not in plain
    # Two levels that differ by two true members, or by two named, or by few of everybody.
    for rows in (
        [row(80, 62, 20, 0.5), row(60, 60, 0, 0.9)],
        [row(82, 62, 20, 0.5), row(80, 40, 40, 0.9)],
        [row(297, 62, 20, 0.5)],
        [row(120, 97, 20, 0.5)],
        [row(280, 62, 196, 0.5)],
    ):
        made: dict[str, Any] = {"estimable": 300, "named": rows, "at_fpr": []}
        named_patients(made, CELL)
        assert made["counts_rounded_to"] == 5
        for one in rows:
            assert one["patients"] % 5 == 0
            assert one["true"]["estimate"] % 5 == 0
            hits = one["true"]["estimate"]
            low, high = clopper_pearson(hits, 100)
            assert one["true"]["low"] == pytest.approx(100 * low)
            assert one["true"]["high"] == pytest.approx(100 * high)
            assert (one["tpr"]["estimate"], one["tpr"]["low"]) == (hits / 100, low)
    declared: dict[str, Any] = {"estimable": 300, "named": [row(80, 60, 20, 0.5)]}
    declared["at_fpr"] = [{"patients": 83}]
    named_patients(declared, CELL, 20)
    assert declared["counts_rounded_to"] == 20
    assert declared["at_fpr"][0]["patients"] == 80


def test_few_who_are_named_are_not_counted() -> None:
    made: dict[str, Any] = {
        "estimable": 300,
        "named": [row(9, 9, 0, 0.9), row(40, 40, 0, 0.5)],
        "at_fpr": [],
    }
    made["named"][0]["expected_members"]["high"] = 11.0
    made["named"][1]["expected_members"]["high"] = 39.0
    named_patients(made, CELL)
    few, many = made["named"]
    assert few["patients"] is None
    assert few["fewer_than"] == {"patients": CELL}
    assert few["true"] == {
        "estimate": None,
        "low": 0.0,
        "high": 10.0,
        "of": 100,
        "fewer_than": {"estimate": CELL},
    }
    assert few["tpr"] == {
        "estimate": None,
        "low": None,
        "high": None,
        "n": 100,
        "reason": "fewer than 10 patients",
    }
    assert few["false"]["estimate"] == 0
    # An end at the number of those named is that number as it is shown; a lower one stays.
    assert few["expected_members"]["high"] == max(rounded_count(9, 5), 9)
    assert many["expected_members"]["high"] == 39.0


@pytest.mark.parametrize("small", ["removed", "remaining"])
def test_means_of_few_who_are_left_out_are_withheld(small: str) -> None:
    mean = {"estimate": 0.9, "low": 0.8, "high": 1.0, "n": 5, "unit": "AUC"}
    other = "remaining" if small == "removed" else "removed"
    layers = {
        small: {"patients": 9, "mean_auc": dict(mean), "mean_auc_before": dict(mean), "x": 1},
        other: {"patients": 10, "mean_auc": dict(mean), "mean_auc_before": {"estimate": 0.7}},
    }
    entry = {"layers": layers}
    those_left_out(entry, CELL)
    few, many = layers[small], layers[other]
    assert few["patients"] is None
    assert few["fewer_than"] == {"patients": CELL}
    for name in ("mean_auc", "mean_auc_before"):
        assert few[name] == dict.fromkeys(mean) | {
            "unit": "AUC",
            "reason": "fewer than 10 patients",
        }
    assert many["patients"] is None
    assert many["mean_auc"] == mean | {"n": None}
    assert many["mean_auc_before"] == {"estimate": 0.7}
    layers[small]["patients"], layers[other]["patients"] = 10, 10
    before = copy.deepcopy(layers)
    those_left_out(entry, CELL)
    assert layers == before
    those_left_out({"layers": {"removed": None, "remaining": {"patients": 1}}}, CELL)
    those_left_out({}, CELL)


# The figures that leave


def test_figures_have_four_digits_and_settings_all_of_theirs() -> None:
    long = 0.123456789
    before = {"x": long, "y": [long, (1234.5678, "text")], "recipe": {"rate": long}, "n": 123456}
    before |= {"p": long, "fraction": float("nan"), "planning": [{"width": long}]}
    made = released(before, CELL)
    assert (made["x"], made["y"], made["n"]) == (0.1235, [0.1235, [1235.0, "text"]], 123456)
    assert (made["recipe"], made["p"]) == ({"rate": long}, long)
    assert made["planning"] == [{"width": long}]
    assert np.isnan(made["fraction"])
    assert before["x"] == long


def test_small_counts_become_fewer_than() -> None:
    part = {"confirmed": 9, "raw": 10, "study": 0, "above_bound": 1, "other": 3}
    made = released({"part": part}, CELL)["part"]
    assert made == {
        "confirmed": None,
        "raw": 10,
        "study": 0,
        "above_bound": None,
        "other": 3,
        "fewer_than": {"confirmed": CELL, "above_bound": CELL},
    }
    for flag in (True, None, "many"):
        assert released({"part": {"confirmed": flag}}, CELL)["part"] == {"confirmed": flag}
    named = {"posterior": 0.9, "patients": 4}
    assert released({"part": named}, CELL)["part"]["patients"] is None
    assert released({"part": {"patients": 4}}, CELL)["part"]["patients"] == 4


def test_estimates_of_few_hold_zero_and_the_cell() -> None:
    def estimate(value: float, low: float | None, high: float | None) -> dict[str, Any]:
        return {"estimate": value, "low": low, "high": high}

    rows = {
        "0.6": estimate(9.9, 5.5, 12.5),
        "0.7": estimate(9.0, 5.5, 8.5),
        "0.8": estimate(10.0, 5.5, 12.5),
        "0.9": estimate(3.0, None, None),
        "1": estimate(3.0, 1.0, 4.0),
        "all": estimate(3.0, 1.0, 4.0),
    }
    made = released({"exposed": rows}, CELL)["exposed"]
    hidden = {"fewer_than": {"estimate": CELL}}
    assert made["0.6"] == {"estimate": None, "low": 0.0, "high": 12.5} | hidden
    assert made["0.7"] == {"estimate": None, "low": 0.0, "high": 10.0} | hidden
    assert made["0.8"] == estimate(10.0, 5.5, 12.5)
    assert made["0.9"] == estimate(None, None, None) | hidden  # type: ignore[arg-type]
    assert (made["1"], made["all"]) == (rows["1"], rows["all"])
    assert released({"part": {"true": estimate(3.0, 1.0, 4.0)}}, CELL)["part"]["true"] == (
        {"estimate": None, "low": 0.0, "high": 10.0} | hidden
    )
    numbers = released({"before": {"0.9": 3, "0.8": 30, "0.7": True}}, CELL)["before"]
    assert numbers == {"0.9": None, "0.8": 30, "0.7": True}


def test_a_change_does_not_tell_what_is_withheld_on_one_side() -> None:
    def entry(now: float, before: float) -> dict[str, Any]:
        made = {"estimate": now, "low": 0.0, "high": 50.0}
        return {
            "exposed": {"0.9": made},
            "exposed_before": {"0.9": made | {"estimate": before}},
            "exposed_change": {"estimate": now - before, "low": -9.0, "high": 9.0},
            "removed": {"share": 0.1234, "of": 3},
        }

    for now, before in ((4.0, 40.0), (40.0, 4.0)):
        made = released({"part": entry(now, before)}, CELL)["part"]
        assert made["exposed_change"] == {"estimate": None, "low": None, "high": None}
        assert made["removed"] == {"share": 0.1, "of": 3}
    made = released({"part": entry(40.0, 50.0)}, CELL)["part"]
    assert made["exposed_change"] == {"estimate": -10.0, "low": -9.0, "high": 9.0}
    assert made["removed"] == {"share": 0.1234, "of": 3}


def test_quantiles_and_curves_have_no_tail_of_few() -> None:
    def patients(n: int) -> dict[str, Any]:
        quantiles = {"q95": 0.8, "q99": 0.9}
        share = [0.5, 9 / n, 10 / n, 0.0, None]
        curve = {"auc": [0.6, 0.7, 0.8, 0.9, 0.95], "joint": share, "low": list(share)}
        curve |= {"high": [0.6, 0.05], "raw": [0.5, 9 / n, 0.5, 0.0, None]}
        found = {name: dict(quantiles) for name in ("auc", "raw", "study")}
        return {"estimable": n, **found, "survival": curve}

    made = released({"patients": patients(1000)}, CELL)["patients"]
    assert [made[name]["q99"] for name in ("auc", "raw", "study")] == [0.9, 0.9, 0.9]
    assert made["survival"]["joint"] == [0.5, None, 0.01, 0.0, None]
    assert made["survival"]["low"] == [0.5, None, 0.01, 0.0, None]
    assert made["survival"]["high"] == [0.6, None]
    assert made["survival"]["raw"] == [0.5, None, 0.5, 0.0, None]
    few = {**patients(1000), "few_models": "only bounds are known"}
    curve = released({"patients": few}, CELL)["patients"]["survival"]
    assert curve["joint"] == [0.5, None, 0.01, 0.0, None]
    assert curve["low"] == [0.5, 0.0, 0.01, 0.0, None]  # as of the counts above thresholds
    assert curve["high"] == [0.6, 0.05]
    made = released({"patients": patients(900)}, CELL)["patients"]
    assert [made[name]["q99"] for name in ("auc", "raw", "study")] == [None, None, None]
    assert made["auc"]["q95"] == 0.8
    empty = {"count": 0, "auc": {"q99": 0.9}}
    assert released({"patients": empty}, CELL)["patients"]["auc"]["q99"] == 0.9


def coarse(step: float | None, n: int = 1000) -> dict[str, Any]:
    patients = {
        "estimable": n,
        "rounded_to": step,
        "mean": 0.6123,
        "spread": 12.3,
        "raw": {"mean": 0.5678, "null_mean": 0.5012},
        "exposed": {"0.9": {"raw": 123, "share": 0.1234}},
        "survival": {"auc": [0.55, 0.9], "joint": [0.5678, None], "raw": [0.9999, 0.1]},
        "by_records": [{"mean": 0.6123}],
    }
    protection = [{"auc": 0.6123, "reason": "own words"}, {"auc": 0.6123, "note": "x"}]
    return {"patients": patients, "protection": protection, "models": {"auc": 0.6123}}


def test_what_is_about_everybody_is_as_coarse_as_an_earlier_cohort_asks() -> None:
    made = released(coarse(0.02), CELL)
    patients = made["patients"]
    assert (patients["mean"], patients["raw"]["mean"]) == (0.62, 0.56)
    assert patients["raw"]["null_mean"] == 0.5012
    assert patients["spread"] == 20.0  # a number, to the base of 1000 patients x 0.02
    assert patients["exposed"]["0.9"] == {"raw": 120, "share": 0.12}
    assert patients["survival"]["auc"] == [0.55, 0.9]
    assert patients["survival"]["joint"] == [0.56, None]
    assert patients["survival"]["raw"] == [1.0, 0.1]
    assert patients["by_records"] == [{"mean": 0.6123}]
    assert [one["auc"] for one in made["protection"]] == [0.62, 0.62]
    assert made["models"] == {"auc": 0.6123}
    # The base is the number of patients whose shares are rounded so, in whole fives.
    for step, n, raw in (
        (0.02, 1000, 120),
        (0.011, 1000, 120),
        (0.001, 1000, 125),
        (0.02, 90, 125),
    ):
        found = released(coarse(step, n), CELL)["patients"]["exposed"]["0.9"]["raw"]
        base = 5 * max(int(np.ceil(n * step / 5 - 1e-9)), 1)
        assert found == rounded_count(123, base) == raw


def test_where_no_step_is_coarse_enough_figures_are_withheld() -> None:
    made = released(coarse(None), CELL)
    patients = made["patients"]
    assert (patients["mean"], patients["reason"]) == (None, WITHHELD)
    assert patients["exposed"]["0.9"] == {"raw": 120, "share": None}  # to twice the cell
    assert patients["survival"]["joint"] == [0.56, None]
    assert [one["auc"] for one in made["protection"]] == [None, None]
    assert [one["reason"] for one in made["protection"]] == ["own words", WITHHELD]
    assert "reason" not in patients["exposed"]["0.9"]
    nothing = released({"patients": {"estimable": 9, "rounded_to": None, "auc": None}}, CELL)
    assert "reason" not in nothing["patients"]


def test_bands_of_the_cohort_are_counted_as_those_of_the_risk() -> None:
    before: dict[str, Any] = {
        "patients": {"by_records": [{"counts_rounded_to": 5}, {"counts_rounded_to": 10}, {}]},
        "cohort": {"records_per_patient": {"bands": [{"patients": 87}, {"patients": 12}]}},
    }
    bands = released(before, CELL)["cohort"]["records_per_patient"]["bands"]
    assert bands == [{"patients": 90}, {"patients": 10}]
    before["patients"]["by_records"] = [{}]
    bands = released(before, CELL)["cohort"]["records_per_patient"]["bands"]
    assert bands == [{"patients": 87}, {"patients": 12}]
    before["patients"]["by_records"] = [{"counts_rounded_to": 10}]
    del before["cohort"]
    assert "cohort" not in released(before, CELL)


def worst(step: float | None) -> dict[str, Any]:
    figure = {"estimate": 0.6789, "low": 0.6543, "high": 0.6999, "n": 33}
    group = {"attribute": "ward", "group": "A", "patients": 33}
    group |= {name: dict(figure) for name in ("mean_auc_before", "mean_auc", "change")}
    paid = {"attribute": "ward", "group": "A", "estimate": 0.0123, "low": -0.0456, "high": None}
    table = {"patients": 35, "rounded_to": step}
    if step is None:
        del table["rounded_to"]
    entry = {"worst_group": group, "worst_group_utility_change": paid}
    return {"protection": [entry], "disparities": {"ward": {"groups": {"A": table}}}}


def test_the_worst_group_is_no_finer_than_the_table_of_groups() -> None:
    made = released(worst(0.02), CELL)["protection"][0]
    assert made["worst_group"]["patients"] == 35
    for name in ("mean_auc_before", "mean_auc", "change"):
        assert made["worst_group"][name] == {"estimate": 0.68, "low": 0.66, "high": 0.7, "n": 33}
    paid = made["worst_group_utility_change"]
    assert (paid["estimate"], paid["low"], paid["high"]) == (0.02, -0.04, None)
    gone = released(worst(None), CELL)["protection"][0]
    assert (gone["worst_group"], gone["worst_group_utility_change"]) == (None, None)
    hidden = worst(0.02)
    hidden["disparities"]["ward"]["groups"]["A"]["patients"] = None
    assert released(hidden, CELL)["protection"][0]["worst_group"] is None
    # The same for a point of a sweep, and for a part that is one protection itself.
    swept = worst(0.02)
    swept["sweep"] = {"points": swept.pop("protection")}
    assert released(swept, CELL)["sweep"]["points"][0]["worst_group"]["patients"] == 35
    alone = worst(0.02)["protection"][0]
    assert released(alone, CELL)["worst_group"] is None
    assert alone["worst_group"] is not None


def test_an_interval_of_a_count_that_is_rounded_still_holds_it() -> None:
    """To the nearest 120 patients, 21 (11 to 30) would be 0 (0 to 0)."""
    row = {"estimate": 21.0, "low": 11.0, "high": 130.0, "null": 0.0}
    patients = {"count": 6000, "estimable": 6000, "rounded_to": 0.02, "exposed": {"0.9": row}}
    made = released({"patients": patients}, CELL)["patients"]["exposed"]["0.9"]
    assert (made["low"], made["high"]) == (0.0, 240.0)


# The ledger


def test_pairs_of_groups_are_counted() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.choice([0, 2, 3], 200), rng.choice([1, 2], 200)
    found = strangers._crossed(first, second)
    naive = [[np.sum((first == i) & (second == j)) for j in (1, 2)] for i in (0, 2, 3)]
    assert found.tolist() == naive
    statistic = chi2_contingency(found, correction=False)
    assert strangers._goes_with(found) == pytest.approx(statistic.pvalue)
    assert strangers._goes_with(found[:1]) == 1.0
    assert strangers._second_share(np.array([6.0, 3.0, 1.0])) == pytest.approx(0.4)
    assert strangers._second_share(np.array([6.0])) == 0.0
    assert strangers._second_share(np.array([])) == 1.0


def entry(patients: np.ndarray[Any, Any], **rows: np.ndarray[Any, Any]) -> Entry:
    sums = np.zeros((len(patients), 0), dtype=np.float32)
    return Entry(path=Path("x"), content={}, patients=patients, rows=rows, sums=sums)


def test_strangers_are_told_by_an_attribute_that_is_independent_of_itself() -> None:
    ids = np.array([f"{i:04d}" for i in range(400)], dtype="S")
    place = np.arange(400)
    sex, turned = place % 2, (place // 2) % 2
    assert other_people(entry(ids, sex=turned), ids, {"sex": sex}, ["sex"])
    assert not other_people(entry(ids, sex=sex), ids, {"sex": sex}, ["sex"])
    assert not other_people(entry(ids, sex=1 - sex), ids, {"sex": sex}, ["sex"])
    # Another name proves nothing, nor what is no attribute, nor few, nor one that hardly varies.
    assert not other_people(entry(ids, ward=turned), ids, {"sex": sex}, ["sex"])
    assert not other_people(entry(ids, sex=turned), ids, {"sex": sex}, [])
    assert not other_people(entry(ids[:99], sex=turned[:99]), ids, {"sex": sex}, ["sex"])
    assert other_people(entry(ids[:100], sex=turned[:100]), ids, {"sex": sex}, ["sex"])
    rare = (place % 20 == 0).astype(np.int64)
    assert not other_people(entry(ids, sex=turned), ids, {"sex": rare}, ["sex"])
    # Any table that goes with another of the earlier report: they are the same people.
    both = entry(ids, sex=turned, ward=(place // 4) % 2)
    assert other_people(both, ids, {"sex": sex, "age": (place // 8) % 2}, ["sex"])
    assert not other_people(both, ids, {"sex": sex, "age": (place // 4) % 2}, ["sex"])
    # Who is in no row of the earlier report is not compared.
    part = np.where(place < 150, turned, -1)
    assert other_people(entry(ids, sex=part), ids, {"sex": sex}, ["sex"])
    part = np.where(place < 90, turned, -1)
    assert not other_people(entry(ids, sex=part), ids, {"sex": sex}, ["sex"])
    shuffled = np.random.default_rng(2).permutation(400)
    assert not other_people(entry(ids[shuffled], sex=sex[shuffled]), ids, {"sex": sex}, ["sex"])


def test_a_digest_is_of_who_is_in_which_group() -> None:
    rng = np.random.default_rng(3)
    labels, inside = rng.choice(list("abc"), 30), rng.random(30) < 0.7
    ids = np.array([f"{i:04d}" for i in rng.permutation(30)], dtype="S")

    def digest(labels: Any, ids: Any, inside: Any) -> str:
        return raw_digest(Table(labels=labels), inside, ids[inside])

    first = digest(labels, ids, inside)
    order = rng.permutation(30)
    assert digest(labels[order], ids[order], inside[order]) == first
    other = labels.copy()
    usable = int(np.flatnonzero(inside)[0])
    other[usable] = "b" if labels[usable] != "b" else "a"
    assert digest(other, ids, inside) != first
    assert digest(np.char.add(labels, "x"), ids, inside) != first
    assert digest(labels, ids[::-1], inside) != first


def test_a_table_is_as_it_was_before_or_coarser() -> None:
    table = sizes(a=30, b=20, c=5)
    table.hidden, table.steps, table.base = {"c"}, {"a": 0.05, "b": 0.01}, 2
    said = {"hidden": ["b"], "steps": {"a": 0.02, "b": 0.02, "": None}, "base": 5}
    as_before(table, said)
    assert table.hidden == {"b", "c"}
    assert table.steps == {"a": 0.05, "b": 0.02, "": np.inf}
    assert table.base == 5
    as_before(table, {"hidden": [], "steps": {}, "base": 1})
    assert table.base == 5


def test_totals_of_earlier_reports_are_tables_over_everybody(tmp_path: Path) -> None:
    ids = list(range(40))
    reports = Reports.open(tmp_path / "ledger", "run" * 9, ids)
    table = Table(labels=np.repeat(["a", "b", "c"], [20, 12, 8]), hidden={"c"}, base=5)
    table.smallest, table.steps = CELL, {"b": 0.05}
    usable = np.arange(40) < 36
    for made_of in ("m" * 20, "n" * 20):
        reports.record(made_of, usable, {"ward": table}, usable)
    names = sorted(path.name for path in (tmp_path / "ledger").glob("*.npz"))
    assert names == [f"00000{k}-{('run' * 9)[:16]}-{c * 16}.npz" for k, c in ((0, "m"), (1, "n"))]
    found = reports.entries(usable)
    assert len(found) == 2
    said = found[0].content["tables"]["ward"]
    assert (said["hidden"], said["steps"], said["base"]) == (["c"], {"b": 0.05}, 5)
    assert said["rounding"] == [rounding_step(20), 0.05]
    assert found[0].rows["ward"].tolist() == [0] * 20 + [1] * 12 + [-1] * 4
    assert np.array_equal(found[0].patients, reports.patients[usable])
    # Nobody who is shared: not this report's concern.
    assert reports.entries(~usable) == []
    later = Reports.open(tmp_path / "ledger", "other", [*range(30, 50)])
    assert later.name == reports.name == ledger_name(tmp_path / "ledger")
    tables, others = fixed_tables(found, later.patients)
    assert len(tables) == 1
    (old,) = tables
    assert (old.fixed, old.rounded, old.base) == (True, False, 5)
    assert old.steps == {"0": rounding_step(20), "1": 0.05}
    assert others.size == 30
    who = dict(zip(reports.patients.tolist(), ["0"] * 20 + ["1"] * 12 + [ABSENT] * 8, strict=True))
    expected = [who.get(one, ABSENT) for one in [*later.patients.tolist(), *others.tolist()]]
    assert old.labels.tolist() == expected


def test_a_ledger_is_secret_and_knows_its_key(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    with pytest.raises(StoreError, match="no release ledger that can be read"):
        ledger_name(folder)
    reports = Reports.open(folder, "run", ["a", "b"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / ".lock").stat().st_mode) == 0o600
    assert {len(one) for one in reports.patients.tolist()} == {24}
    assert np.array_equal(Reports.open(folder, "run", ["a", "b"]).patients, reports.patients)
    assert Reports.open(tmp_path / "more", "run", ["a"]).patients[0] != reports.patients[0]
    reports.record("m", np.ones(2, bool), {}, np.ones(2, bool))
    key = (folder / "key").read_bytes()
    for content in (b"", key[:5], key[::-1], None):
        (folder / "key").unlink()
        if content is not None:
            (folder / "key").write_bytes(content)
        with pytest.raises(StoreError, match="key is gone or was changed"):
            Reports.open(folder, "run", ["a"])
        (folder / "key").write_bytes(key)
    (folder / ".x.part").write_text("half")
    with reports.held():
        assert not (folder / ".x.part").exists()
    (entry_file,) = folder.glob("*.npz")
    entry_file.write_bytes(b"x")
    with pytest.raises(StoreError, match="cannot be read"):
        reports.entries(np.ones(2, bool))
