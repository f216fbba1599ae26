"""Reports of overlapping cohorts: no patient follows from setting one against another."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult.base.errors import StoreError
from auscult.disclosure import Reports
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.risk.released import Released, release_groups
from benchmarks.disclosure import closest, pair, rows_of, single

CELL = 10


def report(
    folder: Path, run: str, ids: NDArray[np.int64], **groups: NDArray[Any]
) -> tuple[Released, Reports]:
    reports = Reports.open(folder, run, ids.tolist())
    found = release_groups(
        pd.DataFrame(groups),
        np.ones(ids.size, bool),
        np.ones(ids.size, dtype=np.int64),
        smallest_cell=CELL,
        reports=reports,
    )
    return found, reports


def test_an_age_cut_that_moves_by_a_patient_is_coarsened(tmp_path: Path) -> None:
    ids = np.arange(260)
    first, _ = report(tmp_path, "a", ids, age=np.where(ids < 120, "younger", "older"))
    alone, _ = report(tmp_path / "other", "b", ids, age=np.where(ids < 121, "younger", "older"))
    second, _ = report(tmp_path, "b", ids, age=np.where(ids < 121, "younger", "older"))
    assert first.tables["age"].steps == {"younger": 0.01, "older": 0.01}
    assert alone.tables["age"].steps == first.tables["age"].steps
    both = [*rows_of(first, ids), *rows_of(second, ids)]
    assert closest([*rows_of(first, ids), *rows_of(alone, ids)], ids, [120]) < CELL / 2
    assert closest(both, ids, [120]) >= CELL * (1 - 1e-4)


def test_the_same_report_again_is_the_same_and_is_entered_once(tmp_path: Path) -> None:
    ids = np.arange(200)
    age = np.where(ids < 90, "younger", "older")
    first, reports = report(tmp_path, "a", ids, age=age)
    report(tmp_path, "b", ids, age=np.where(ids < 91, "younger", "older"))
    again, _ = report(tmp_path, "a", ids, age=age)
    assert again.tables["age"].steps == first.tables["age"].steps
    files = sorted(p.name for p in tmp_path.glob("*.npz"))
    assert [name[:6] for name in files] == ["000000", "000001"]
    everywhere = [p for p in tmp_path.iterdir() if p.is_file()]
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in everywhere)
    # Another run with the same groups of the same patients shows them as they were.
    other, _ = report(tmp_path, "c", ids, age=age)
    assert other.tables["age"].steps == first.tables["age"].steps
    assert reports.run == "a"


def test_a_cohort_without_one_patient_coarsens_what_is_about_everybody(tmp_path: Path) -> None:
    ids = np.arange(2000)
    sex = np.where(ids % 2, "f", "m")
    first, _ = report(tmp_path, "a", ids, sex=sex)
    fewer, _ = report(tmp_path, "b", ids[1:], sex=sex[1:])
    assert first.step == 0
    assert fewer.step >= 0.005


def test_other_patients_are_no_concern(tmp_path: Path) -> None:
    ids = np.arange(260)
    report(tmp_path, "a", ids, age=np.where(ids < 120, "younger", "older"))
    second, _ = report(tmp_path, "b", ids + 1000, age=np.where(ids < 121, "younger", "older"))
    assert second.tables["age"].steps == {"younger": 0.01, "older": 0.01}


def test_a_damaged_entry_stops_the_report(tmp_path: Path) -> None:
    ids = np.arange(60)
    report(tmp_path, "a", ids, age=np.where(ids < 30, "younger", "older"))
    entry = next(tmp_path.glob("*.npz"))
    entry.write_bytes(entry.read_bytes()[:-40])
    with pytest.raises(StoreError, match="delete it if that report"):
        report(tmp_path, "b", ids, age=np.where(ids < 31, "younger", "older"))
    entry.unlink()
    report(tmp_path, "b", ids, age=np.where(ids < 31, "younger", "older"))


def test_an_entry_holds_no_figure_and_no_identifier(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    member = rng.random((16, 40)).argsort(0) < 8
    signals = (rng.standard_normal((16, 40)) + member).astype("f4")
    np.savez(
        tmp_path / "s.npz",
        signals=signals,
        membership=member,
        patient=np.array([f"MRN{i:05d}" for i in range(40)]),
    )
    result = import_scores(read_npz(tmp_path / "s.npz"), tmp_path / "run", seed=1)
    before = (result.path / "results" / "summary.json").read_bytes()
    folder = tmp_path / ".auscult-ledger"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with np.load(next(folder.glob("*.npz"))) as arrays:
        assert {array.dtype.kind for array in arrays.values()} <= {"S", "i", "u"}
        assert b"MRN" not in b"".join(array.tobytes() for array in arrays.values())
    import_scores(read_npz(tmp_path / "s.npz"), tmp_path / "run", seed=1)
    assert (result.path / "results" / "summary.json").read_bytes() == before


def test_random_reports_and_pairs_bound_nobody_closely(tmp_path: Path) -> None:
    """The campaign of ``benchmarks/disclosure.py``, in small."""
    rng = np.random.default_rng(6)
    for number in range(2):
        assert pair(rng, tmp_path / str(number), patients=2) >= CELL * (1 - 1e-3)
        least, follows = single(rng, patients=2)
        assert least >= CELL * (1 - 1e-3)
        assert not follows
