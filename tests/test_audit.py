"""The main line, from files to report: results, resume, secrets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auscult import Audit, AuscultError, Cohort, SklearnRecipe
from auscult.audit import running
from auscult.results import Result
from auscult.store import RunStore
from tests.cohorts import HOSTILE_COLUMN, HOSTILE_VALUE, visits, write_audit


def auscult(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from auscult.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of a finished audit."""
    folder = tmp_path_factory.mktemp("audit")
    done = auscult("run", write_audit(folder, models=16), "--out", folder / "run", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "their membership can be told from non-membership with an AUC above" in done.stdout
    return folder / "run"


def test_a_run_directory_holds_what_the_design_promises(finished: Path) -> None:
    for name in (
        "audit.toml",
        "manifest.json",
        "outputs/block-0000.npy",
        "outputs/block-0000.json",
        "secret/membership.npz",
        "secret/patients.parquet",
        "secret/records.parquet",
        "results/summary.json",
        "results/groups.csv",
        "report.html",
    ):
        assert (finished / name).is_file(), name


def test_the_dossier_of_a_run_is_written_elsewhere_and_of_an_unchanged_run_only(
    finished: Path, tmp_path: Path
) -> None:
    target = tmp_path / "dossier.html"
    done = auscult("report", finished, "--dossier", "--out", target)
    assert done.returncode == 0, done.stderr
    assert "Checklist" in target.read_text(encoding="utf-8")
    assert ("PDF: " in done.stdout) == target.with_suffix(".pdf").exists()
    refused = auscult("report", finished, "--dossier", "--out", finished / "report.html")
    assert refused.returncode == 2
    assert "reserves this path" in refused.stderr


def test_secrets_are_readable_by_their_owner_only(finished: Path) -> None:
    for path in (finished / "secret").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    assert stat.S_IMODE((finished / "secret").stat().st_mode) == 0o700


def test_no_identifier_and_no_membership_outside_the_secrets(finished: Path) -> None:
    matrix = np.load(finished / "secret" / "membership.npz")["membership"]
    rows = {matrix[i].tobytes() for i in range(len(matrix))}
    rows |= {np.packbits(matrix[i]).tobytes() for i in range(len(matrix))}
    rows |= {matrix[:, j].astype(np.uint8).tobytes() for j in range(matrix.shape[1])}
    looked_at = 0
    for path in finished.rglob("*"):
        if path.is_file() and "secret" not in path.relative_to(finished).parts:
            content = path.read_bytes()
            assert b"Zxq" not in content, path.name
            assert not any(row in content for row in rows if len(row) > 7), path.name
            looked_at += 1
    assert looked_at >= 10


def test_no_identifier_in_what_is_shown(finished: Path) -> None:
    result = Result(finished)
    assert "Zxq" not in repr(result)
    for arguments in (["status", finished], ["report", finished]):
        done = auscult(*map(str, arguments))
        assert done.returncode == 0
        assert "Zxq" not in done.stdout + done.stderr


def test_hostile_names_are_inert(finished: Path) -> None:
    report = (finished / "report.html").read_text(encoding="utf-8")
    assert HOSTILE_COLUMN not in report
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in report
    table = pd.read_csv(finished / "results" / "groups.csv", dtype=str, keep_default_na=False)
    cells = {str(value) for value in table.to_numpy().ravel()}
    assert any(HOSTILE_VALUE in cell for cell in cells)
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_patients_table_has_the_contracts_columns(finished: Path) -> None:
    patients = Result(finished).patients
    assert list(patients.columns[:9]) == [
        "patient",
        "records",
        "auc",
        "auc_low",
        "auc_high",
        "auc_raw",
        "study_max_auc",
        "above_0.9",
        "confirmed_0.9",
    ]
    found = json.loads((finished / "secret" / "exact.json").read_text())["patients"]["exposed"]
    assert patients["confirmed_0.9"].sum() == found["0.9"]["confirmed"]
    assert patients["above_0.9"].sum() == pytest.approx(found["0.9"]["estimate"], rel=1e-3)
    table = visits()
    assert set(patients["patient"]) == set(table["person"])
    counts = table["person"].value_counts().to_dict()
    assert patients.set_index("patient")["records"].to_dict() == counts
    assert (patients["auc_low"] <= patients["auc"]).all()
    records = Result(finished).records
    assert list(records.columns) == ["record", "patient", "auc", "auc_low", "auc_high"]
    assert (table["person"].to_numpy()[records["record"]] == records["patient"]).all()


def test_summary_is_strict_json_with_all_parts(finished: Path) -> None:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} in strict JSON")

    text = (finished / "results" / "summary.json").read_text(encoding="utf-8")
    summary = json.loads(text, parse_constant=refuse)
    assert summary["schema"] == "auscult.summary/1"
    assert {"cohort", "models", "aggregate", "patients", "disparities"} <= set(summary)
    assert summary["cohort"]["patients"] == 60
    assert summary["models"]["count"] == 16
    assert set(summary["disparities"]) >= {"sex", HOSTILE_COLUMN}
    assert {"lira", "lira_offline", "rmia", "rmia_offline", "population"} <= set(
        summary["aggregate"]
    )
    assert summary["patients"]["exposed"]["0.9"]["null"] >= 0


def test_workers_change_nothing(finished: Path, tmp_path: Path) -> None:
    folder = finished.parent
    done = auscult("run", folder / "audit.toml", "--out", tmp_path / "one", "--workers", "1")
    assert done.returncode == 0, done.stderr
    for name in ("results/summary.json", "results/groups.csv", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.slow
def test_a_run_killed_three_times_resumes_to_the_same_results(
    finished: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    command = [
        sys.executable,
        "-c",
        "from auscult.cli import main; main()",
        "run",
        str(finished.parent / "audit.toml"),
        "--out",
        str(tmp_path / "run"),
        "--workers",
        "2",
    ]
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(float(rng.uniform(1.5, 5.0)))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 1
    done = auscult(*command[3:])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "results" / "summary.json").read_bytes() == (
        finished / "results" / "summary.json"
    ).read_bytes()


def test_libraries_of_the_analysis_are_loaded_while_workers_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, loaded = tmp_path / "run", []

    def load() -> None:
        loaded.append(RunStore.open(out).status().blocks_done)

    monkeypatch.setattr(running, "load_for_analysis", load)
    audit = Audit(
        Cohort.from_table(visits(), patient="person", label="outcome"),
        SklearnRecipe("logistic_regression"),
        models=8,
    )
    audit.run(out, workers=1)
    assert loaded == [0]
    audit.run(out, workers=1)  # nothing is left to train
    assert loaded == [0]


def test_resuming_trains_only_what_is_missing(finished: Path, tmp_path: Path) -> None:
    folder, run = finished.parent, tmp_path / "run"
    shutil.copytree(finished, run)
    kept = run / "outputs" / "block-0001.npy"
    before = kept.stat().st_mtime_ns
    for suffix in ("npy", "json"):
        (run / "outputs" / f"block-0002.{suffix}").unlink()
    expected = (run / "results" / "summary.json").read_bytes()
    assert auscult("run", folder / "audit.toml", "--out", run, "--workers", "2").returncode == 0
    assert kept.stat().st_mtime_ns == before
    assert (run / "results" / "summary.json").read_bytes() == expected


def test_another_configuration_is_refused_and_nothing_changes(
    finished: Path, tmp_path: Path
) -> None:
    other = write_audit(tmp_path, models=16)
    other.write_text(other.read_text().replace("seed = 3", "seed = 4"))
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    done = auscult("run", other, "--out", finished)
    assert done.returncode == 2
    assert "a different configuration" in done.stderr
    assert "seed" in done.stderr
    assert "Traceback" not in done.stderr
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()} == before


def test_a_damaged_block_is_named_and_mended(finished: Path, tmp_path: Path) -> None:
    folder, run = finished.parent, tmp_path / "run"
    shutil.copytree(finished, run)
    expected = (run / "results" / "summary.json").read_bytes()
    block = run / "outputs" / "block-0003.npy"
    content = bytearray(block.read_bytes())
    content[-1] ^= 1
    block.write_bytes(bytes(content))
    done = auscult("run", folder / "audit.toml", "--out", run)
    assert done.returncode == 2
    assert "block-0003" in done.stderr
    assert "Traceback" not in done.stderr
    for suffix in ("npy", "json"):
        (run / "outputs" / f"block-0003.{suffix}").unlink()
    assert auscult("run", folder / "audit.toml", "--out", run).returncode == 0
    assert (run / "results" / "summary.json").read_bytes() == expected


def test_the_python_line_of_the_design(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cohort = Cohort.from_table(visits(), patient="person", label="outcome", groups=["sex"])
    recipe = SklearnRecipe(make_pipeline(StandardScaler(), LogisticRegression()))
    result = Audit(cohort, recipe=recipe, models=8, seed=1).run(tmp_path / "run", workers=1)
    assert len(result.patients) == 60
    assert set(result.disparity("sex").index) == {"f", "m"}
    assert result.report(tmp_path / "copy.html").is_file()
    with pytest.raises(AuscultError, match="no attribute"):
        result.disparity("age")


def test_status_and_report_of_something_else(tmp_path: Path) -> None:
    for command in ("status", "report"):
        done = auscult(command, tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
