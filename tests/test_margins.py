"""Possible numbers of patients of a small cell, against every table that there could be."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog

from auscult.disclosure import Table, ends, round_counts, rounded_count, rounding_step
from auscult.disclosure.bounds import patients_of_step
from auscult.disclosure.control import Atoms
from auscult.disclosure.counts import possible_numbers
from auscult.disclosure.margins import Margins, small_cells
from auscult.disclosure.prices import furthest
from auscult.risk.disparity import NOT_TOLD
from auscult.risk.published import rounded_row
from auscult.risk.released import Released, release_groups

CELL, WIDE = 10, 5


def every(people: int, atoms: int) -> NDArray[np.int64]:
    """All ways to put so many patients into so many atoms, shape (ways, atoms)."""
    bars = np.array(list(itertools.combinations(range(people + atoms - 1), atoms - 1)))
    ends_of = np.column_stack(
        [np.full(len(bars), -1), bars, np.full(len(bars), people + atoms - 1)]
    )
    return np.diff(ends_of, axis=1) - 1


def agreeing(tables: list[Table], atoms: Atoms, smallest: int) -> NDArray[np.int64]:
    """Oracle: all numbers of the atoms that agree with what is published, by counting them up."""
    ways = every(int(atoms.sizes.sum()), atoms.sizes.size)
    for table, code in zip(tables, atoms.codes, strict=True):
        names = np.array(table.names, dtype=object)[code]
        for row in table.rows():
            made = ways[:, np.isin(names, row.names)].sum(axis=1)
            same = [
                rounded_count(n, table.base) == rounded_count(row.patients, table.base)
                and n >= smallest
                and rounding_step(n) == rounding_step(row.patients)
                for n in range(int(atoms.sizes.sum()) + 1)
            ]
            ways = ways[np.array(same)[made]]
        if table.hidden and table.held() < smallest:
            held = ways[:, np.isin(names, sorted(table.hidden))].sum(axis=1)
            ways = ways[(held >= 1) & (held < smallest)]
        for name in table.hidden if table.told else ():
            ways = ways[ways[:, names == name].sum(axis=1) >= 1]
    return ways


def random_tables(rng: np.random.Generator, smallest: int) -> list[Table]:
    """Two attributes and, at times, one that lies within the first; small groups hidden."""
    people = int(rng.integers(12, 19))
    first = rng.choice(3, people, p=[0.5, 0.35, 0.15])
    second = np.where(rng.random(people) < 0.15, first // 2, first)
    tables = []
    for labels in (first, second):
        table = Table(labels=labels.astype(str), base=int(rng.choice([1, 3, 4, 5])))
        table.told, table.smallest = bool(rng.random() < 0.5), smallest
        table.hidden = set(table.small(smallest))
        tables.append(table)
    return tables


def test_ranges_are_those_of_all_tables_that_there_could_be() -> None:
    rng, compared, narrow = np.random.default_rng(5), 0, 0
    for _ in range(10):
        tables = random_tables(rng, 5)
        atoms = Atoms.of(tables)
        if atoms.sizes.size > 5:
            continue
        ways = agreeing(tables, atoms, 5)
        assert (ways == atoms.sizes).all(axis=1).any()
        margins = Margins(tables, atoms, 5, total=True)
        for cell in small_cells(tables, atoms, 5):
            made = ways[:, cell].sum(axis=1)
            possible = int(made.max() - max(made.min(), 1)) + 1
            for wanted in (2, 3, WIDE):
                fresh = Margins(tables, atoms, 5, total=True)
                assert fresh.keeps(cell, wanted) == (possible >= wanted)
            assert margins.possible(cell, WIDE) == min(possible, WIDE)
            assert margins.keeps(cell, WIDE) == (possible >= WIDE)
            compared, narrow = compared + 1, narrow + (possible < WIDE)
    assert compared > 8
    assert 2 < narrow < compared


def test_prices_bound_how_far_a_cell_goes_when_tables_are_rounded_otherwise() -> None:
    """Never less than a programme of its own finds, and as much where nothing was changed."""
    rng, equal, changed = np.random.default_rng(11), 0, 0
    for _ in range(12):
        tables = random_tables(rng, 5)
        atoms = Atoms.of(tables)
        before = Margins(tables, atoms, 5, total=True)
        cells = small_cells(tables, atoms, 5)
        everyone = np.arange(atoms.sizes.size)
        for cell, wanted in itertools.product(cells, (4, -3)):
            own = cell.astype(float)
            far, prices = furthest(before.known, everyone, atoms.sizes, own, wanted)
            assert prices.most(before.known) == pytest.approx(far, abs=1e-5)
            place = int(rng.integers(len(tables)))
            as_it_was = tables[place].base
            tables[place].base = int(rng.choice([3, 7, 10]))
            after = before.coarser(place).known
            tables[place].base = as_it_was
            now, _ = furthest(after, everyone, atoms.sizes, own, wanted)
            assert prices.most(after) >= now - 1e-6
            equal, changed = equal + (prices.most(after) < now + 1e-6), changed + (now != far)
    assert equal > 10
    assert changed > 5


def test_numbers_that_do_not_hold_a_cell_are_not_tried_by_programmes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """98 of 99 tell how many the others are; what else is rounded has no price in it."""
    sex = Table(labels=np.repeat(["f", "x"], [98, 1]), hidden={"x"}, smallest=CELL)
    site = Table(labels=np.repeat(["a", "b"], [49, 50]), smallest=CELL)
    tables = [sex, site]
    margins, cell = Margins(tables, Atoms.of(tables), CELL, total=True), np.array([0, 0, 1], bool)
    assert not margins.keeps(cell, WIDE)
    for name in ("milp", "furthest"):
        monkeypatch.setattr(f"auscult.disclosure.margins.{name}", None)
    site.base = 10
    assert not margins.coarser(1).keeps(cell, WIDE)
    sex.base = 20
    assert margins.coarser(0).keeps(cell, WIDE)  # one exchange


def test_small_cells_keep_their_range_in_tiny_tables() -> None:
    """After rounding, counting up all tables finds as many possible numbers as were promised."""
    rng, seen = np.random.default_rng(8), 0
    wanted = possible_numbers(5)
    for _ in range(12):
        tables = random_tables(rng, 5)
        for table in tables:
            table.base, table.told = 1, True
        if Atoms.of(tables).sizes.size > 5 or round_counts(tables, 5):
            continue
        atoms = Atoms.of(tables)
        ways = agreeing(tables, atoms, 5)
        for table, code in zip(tables, atoms.codes, strict=True):
            for name in table.small(5):
                made = ways[:, code == table.names.index(name)].sum(axis=1)
                assert made.max() - max(made.min(), 1) + 1 >= wanted
                seen += 1
    assert seen > 3


def test_how_many_numbers_are_kept() -> None:
    assert [possible_numbers(cell) for cell in (2, 3, 5, 10, 30)] == [1, 2, 4, 5, 5]
    assert possible_numbers(10, 3) == 3
    assert [ends(n, 5) for n in (2, 3, 7, 8)] == [(-2, 2), (3, 7), (3, 7), (8, 12)]
    assert [ends(n, 10) for n in (4, 5, 14, 15)] == [(-5, 4), (5, 14), (5, 14), (15, 24)]
    for base, number in itertools.product((1, 2, 3, 5, 10, 15), range(40)):
        low, high = ends(number, base)
        same = [n for n in range(-20, 80) if rounded_count(n, base) == rounded_count(number, base)]
        assert (low, high) == (same[0], same[-1])


@pytest.mark.parametrize("number", [1, 4, 9, 24, 25, 99, 100, 399, 400, 2500, 123456])
def test_a_step_tells_between_which_numbers_its_patients_lie(number: int) -> None:
    least, most = patients_of_step(rounding_step(number))
    assert least <= number <= most
    assert rounding_step(most) == rounding_step(number) != rounding_step(most + 1)


def test_one_rounding_at_the_edge_of_its_interval_is_not_enough() -> None:
    """98 of 99 would be 100 of 99: at most one patient is of the other sex, if rounded to 5."""
    sex = Table(labels=np.repeat(["f", "x"], [98, 1]), hidden={"x"}, smallest=CELL)
    assert not round_counts([sex], CELL)
    low = ends(98, sex.base)[0]
    assert sex.base > 5
    assert 99 - low >= WIDE


def test_a_cell_that_two_tables_tell_is_kept_from_both() -> None:
    labels = np.repeat(["a", "b", "s"], [60, 36, 4])
    shown = np.where(labels == "s", "a", labels)
    tables = [Table(labels=one, smallest=CELL) for one in (labels, labels, shown)]
    tables[0].hidden, tables[1].hidden = {"s"}, {"s"}
    assert not round_counts(tables, CELL)
    margins = Margins(tables, Atoms.of(tables), CELL, total=True)
    assert margins.possible(np.array([False, False, True]), WIDE) == WIDE


def test_the_number_of_groups_is_not_told_where_it_tells_their_sizes() -> None:
    """Seven groups of nine patients in all: none has more than three."""
    labels = np.repeat(["a", *"bcdefgh"], [91, 3, 1, 1, 1, 1, 1, 1])
    groups = pd.DataFrame({"site": labels})
    table = release_groups(groups, np.ones(100, bool), np.ones(100, dtype=np.int64)).tables["site"]
    assert not table.told
    assert table.pooled == 7
    assert "withheld" in NOT_TOLD


def test_two_sides_of_a_total_are_one_number() -> None:
    """Of 101, 13 and 88 alone are rounded to 15 and 90: the others follow from the group."""
    names = ("difference", "difference_low", "difference_high", "mean_auc", "low", "high")
    row: dict[str, Any] = dict.fromkeys(names)
    row |= {"patients": 13, "others": 88, "patients_compared": 13, "others_compared": None}
    made = rounded_row(row, np.inf, 5, patients=101, overall=None)
    assert (made["patients"], made["others"], made["patients_compared"]) == (15, 86, 15)
    assert rounded_row(row, np.inf, 1, patients=101, overall=None)["others"] == 88


def labels_of(groups: pd.DataFrame, name: str) -> NDArray[np.str_]:
    parts = [groups[one].to_numpy(dtype=str) for one in name.split(" & ")]
    return parts[0] if len(parts) == 1 else np.char.add(np.char.add(parts[0], " & "), parts[1])


def followed(found: Released, groups: pd.DataFrame) -> list[str]:
    """Oracle: small groups that a programme over all combinations of groups bounds too closely."""
    own = list(groups.columns)
    region = dict(zip(groups["site"], groups["region"], strict=True))
    combined = itertools.product(*(sorted(set(groups[name])) for name in own))
    cells = pd.DataFrame([one for one in combined if region[one[1]] == one[0]], columns=own)
    rows, low, high = [np.ones(len(cells))], [float(len(groups))], [float(len(groups))]
    wanted: dict[str, Any] = {}
    for name, table in found.tables.items():
        labels, named = labels_of(cells, name), [one for one in table.shown if one != table.pool]
        pool = ~np.isin(labels, named)
        for group in table.shown:
            rows.append((labels == group if group in named else pool).astype(float))
            least, most = ends(int((table.labels == group).sum()), table.base)
            low.append(float(max(least, CELL)))
            high.append(float(most))
        if table.pooled and not table.pool:
            rows.append(pool.astype(float))
            low.append(float(table.pooled if table.told else 1))
            high.append(float(CELL - 1))
        true = Counter(labels_of(groups, name).tolist())
        wanted |= {f"{name} = {g}": labels == g for g, n in true.items() if n < CELL}
    matrix = np.array(rows)
    bound, told = np.concatenate([high, -np.array(low)]), []
    for what, cell in wanted.items():
        side: list[float] = []
        for s in (1, -1):
            found_end = linprog(
                s * cell.astype(float),
                A_ub=np.vstack([matrix, -matrix]),
                b_ub=bound,
                method="highs",
            )
            assert found_end.fun is not None
            side.append(float(found_end.fun))
        if np.floor(-side[1] + 1e-6) - max(np.ceil(side[0] - 1e-6), 1) < WIDE - 1:
            told.append(what)
    return told


@pytest.mark.parametrize("number", [1, 2])
def test_no_small_group_of_a_random_report_is_bounded_closely(number: int) -> None:
    rng = np.random.default_rng([27, number])
    people = int(rng.integers(60, 140))
    site = rng.choice(7, people, p=rng.dirichlet(np.full(7, 0.6)))
    groups = pd.DataFrame(
        {
            "region": (site // 3).astype(str),
            "site": site.astype(str),
            "sex": rng.choice(["f", "m", "x"], people, p=[0.48, 0.48, 0.04]),
        }
    )
    found = release_groups(
        groups,
        np.ones(people, bool),
        np.ones(people, dtype=np.int64),
        intersections=(("region", "sex"), ("site", "sex")),
    )
    assert followed(found, groups) == []
