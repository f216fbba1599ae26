"""Disclosure control: no combination of published tables bounds a patient beyond the policy."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from auscult.disclosure import (
    Atoms,
    Table,
    least_uncertainty,
    published,
    release_together,
    round_counts,
    rounded_count,
    supported,
)
from auscult.disclosure.bounds import rounding_step
from auscult.risk.released import released_tables

CELL = 10


def widest(tables: list[Table], patient: int) -> float:
    """Oracle: how far one patient's figure can move, one variable per patient, unbounded range.

    Totals may each be off by their rounding and every other patient's figure by one either way
    from a known guess; the patient's own figure then moves by this much: the dual programme.
    """
    people = tables[0].labels.size
    rows, slack = [np.ones(people)], [0.0]
    for table in tables:
        for row in table.rows():
            if np.isfinite(table.step(row)):
                rows.append(np.isin(table.labels, row.names).astype(float))
                slack.append(row.patients * table.step(row) / 2)
    matrix, error = np.array(rows), np.array(slack)
    cost = np.zeros(people)
    cost[patient] = -1
    # x[patient] is free; the others lie within one of the guess, totals within their error.
    bounds = [(None, None) if i == patient else (-1, 1) for i in range(people)]
    found = linprog(
        cost,
        A_ub=np.vstack([matrix, -matrix]),
        b_ub=np.concatenate([error, error]),
        bounds=bounds,
    )
    return np.inf if found.status == 3 else -float(found.fun or 0.0) + 1


def test_the_solver_agrees_with_one_variable_per_patient() -> None:
    rng = np.random.default_rng(4)
    for _ in range(2):
        people = 40
        tables = [Table(labels=rng.integers(0, k, people).astype(str)) for k in (2, 3, 4)]
        atoms = Atoms.of(tables)
        _, known = published(tables, atoms)
        everybody = np.arange(atoms.sizes.size)
        least = np.array([least_uncertainty(known, int(atom))[0] for atom in everybody])
        for atom in rng.integers(0, atoms.sizes.size, 4):
            one = np.flatnonzero(
                np.all(
                    [t.code == code[atom] for t, code in zip(tables, atoms.codes, strict=True)], 0
                )
            )[0]
            assert least[atom] == pytest.approx(widest(tables, int(one)), rel=1e-4)
        for wanted in (2.0, 8.0):
            sure = known.assured(everybody, wanted)
            assert (least[sure] >= wanted * (1 - 1e-6)).all()
            early = [least_uncertainty(known, int(a), enough=wanted)[0] for a in everybody]
            assert ((np.array(early) >= wanted) == (least >= wanted)).all()
        assert known.assured(everybody, 2.0).any()


def test_random_nested_and_crossed_tables_bound_nobody_closely() -> None:
    rng = np.random.default_rng(8)
    for _ in range(8):
        people = int(rng.integers(60, 130))
        hospital = rng.choice(6, people, p=[0.4, 0.3, 0.15, 0.1, 0.03, 0.02])
        region = hospital // 2
        sex = rng.integers(0, 2, people)
        tables = [Table(labels=x.astype(str)) for x in (region, hospital, sex, hospital * 2 + sex)]
        release_together(tables, CELL)
        for patient in rng.integers(0, people, 12):
            assert widest(tables, int(patient)) >= CELL * (1 - 1e-4)


def test_a_small_hospital_joins_one_of_its_own_region() -> None:
    i = np.arange(260)
    region = np.where(i < 101, "north", "south")
    hospital = np.select([i < 100, i < 101, i < 180], ["H1", "H2", "H3"], "H4")
    groups = pd.DataFrame({"region": region, "hospital": hospital})
    found = released_tables(groups, np.ones(260, bool), np.ones(260, dtype=np.int64))
    assert found["region"][1] == ["south", "north"]
    assert found["hospital"][1] == ["H4", "H3", "H1 and smaller groups"]


def test_a_table_that_differs_by_one_patient_from_a_fixed_one_is_coarsened() -> None:
    i = np.arange(260)
    earlier = Table(labels=np.where(i < 120, "younger", "older"), fixed=True)
    now = Table(labels=np.where(i < 121, "younger", "older"))
    assert widest([earlier, now], 120) < CELL
    release_together([now, earlier], CELL)
    assert widest([earlier, now], 120) >= CELL


def test_pooling_that_harms_nobody_leaves_large_tables_alone() -> None:
    labels = np.repeat(["a", "b", "c"], [50, 40, 30])
    table = Table(labels=labels)
    release_together([table], CELL)
    assert table.hidden == set()


def test_figures_are_rounded_to_what_their_patients_support() -> None:
    steps = [rounding_step(n) for n in (1, 10, 100, 10_000, 1_000_000)]
    assert steps == pytest.approx([0.1, 0.05, 0.01, 0.001, 0.0001])
    assert supported(0.123456789, 100) == 0.12
    assert supported(None, 100) is None
    for n, value in itertools.product((10, 333, 5000), (0.0, 0.51234, 1.0)):
        rounded = supported(value, n)
        assert rounded is not None
        assert abs(rounded - value) <= rounding_step(n) / 2 + 1e-12


def test_three_patients_of_unknown_sex_cost_the_others_a_digit() -> None:
    sex = np.repeat(["Female", "Male", "unknown"], [3000, 2917, 3])
    found = released_tables(
        pd.DataFrame({"sex": sex}), np.ones(sex.size, bool), np.ones(sex.size, dtype=np.int64)
    )["sex"]
    assert found.shown == ["Female", "Male"]
    assert found.pooled == 1
    assert found.steps["Male"] <= 0.01
    # Neither do three follow from the numbers.
    numbers = [rounded_count(int((found.labels == one).sum()), found.base) for one in found.shown]
    assert found.base == 5
    assert sex.size - sum(numbers) != 3


def test_a_small_cell_does_not_follow_from_numbers_of_patients() -> None:
    rng = np.random.default_rng(3)
    sex, race = rng.integers(0, 2, 400), rng.choice(3, 400, p=[0.6, 0.38, 0.02])
    tables = [Table(labels=x.astype(str)) for x in (sex, race, race * 2 + sex)]
    release_together(tables, CELL)
    round_counts(tables, CELL)
    exact = [
        np.isin(table.labels, row.names)
        for table in tables
        if table.base == 1
        for row in table.rows()
    ]
    known = np.array([*exact, np.ones(400, bool)], dtype=float)
    for table in tables:
        for name, size in table.sizes.items():
            if size < CELL:
                cell = (table.labels == name).astype(float)
                found = np.linalg.lstsq(known.T, cell, rcond=None)[0]
                assert np.abs(known.T @ found - cell).max() > 1e-6
    assert [rounded_count(n, 5) for n in (2, 3, 7, 8, 2917)] == [0, 5, 5, 10, 2915]
