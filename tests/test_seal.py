"""Evidence that was swapped or edited is seen: blocks, descriptions, results, secrets."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from auscult.base.errors import AuscultError, StoreError
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.results.result import read_summary_file
from auscult.store import RunStore, plan_blocks
from auscult.store.seal import require_sealed

PATIENTS, MODELS = 60, 16


def scores(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    member = rng.random((MODELS, PATIENTS)).argsort(0) < MODELS // 2
    signals = (rng.standard_normal((MODELS, PATIENTS)) + member).astype("f4")
    path = folder / f"scores{seed}.npz"
    np.savez(path, signals=signals, membership=member, patient=np.arange(PATIENTS))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    for seed in (1, 2):
        import_scores(read_npz(scores(folder, seed)), folder / f"run{seed}", seed=seed)
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run / "run1", tmp_path / "copy"))


def test_a_finished_run_is_as_its_seal_says(copy: Path) -> None:
    assert require_sealed(copy) == len([p for p in copy.rglob("*") if p.is_file()]) - 2


def test_a_run_folder_is_its_owners_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        plan = plan_blocks(2, 2)
        RunStore.create_or_resume(
            tmp_path / "new" / "run", fingerprint={}, configuration=None, blocks=plan, records=1
        ).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "run").stat().st_mode) == 0o700


def test_every_changed_byte_is_seen(copy: Path) -> None:
    rng = np.random.default_rng(5)
    files = sorted(
        p for p in copy.rglob("*") if p.is_file() and p.name != ".writer.lock" and p.stat().st_size
    )
    for _ in range(60):
        path = files[rng.integers(len(files))]
        before = path.read_bytes()
        changed = bytearray(before)
        changed[rng.integers(len(changed))] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(changed))
        with pytest.raises(StoreError):
            require_sealed(copy)
        path.write_bytes(before)
    require_sealed(copy)


@pytest.mark.parametrize("name", ["report.html", "secret/membership.npz", "seal.json"])
def test_a_file_that_is_gone_is_seen(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(StoreError):
        require_sealed(copy)


def test_an_edited_summary_is_not_read_and_running_again_mends_it(run: Path, copy: Path) -> None:
    path = copy / "results" / "summary.json"
    before = path.read_bytes()
    summary = json.loads(before)
    summary["patients"]["exposed"]["0.9"]["estimate"] = 0
    path.write_text(json.dumps(summary))
    with pytest.raises(StoreError, match="changed since the run was sealed"):
        read_summary_file(copy)
    import_scores(read_npz(run / "scores1.npz"), copy, seed=1)
    assert path.read_bytes() == before
    require_sealed(copy)


def test_a_block_of_another_run_is_refused(run: Path, copy: Path) -> None:
    for path in (run / "run2" / "outputs").glob("block-0000.*"):
        shutil.copy(path, copy / "outputs")
    with pytest.raises(AuscultError, match="belongs to another run"):
        import_scores(read_npz(run / "scores1.npz"), copy, seed=1)


@pytest.mark.parametrize(
    ("key", "value"), [("kind", "sigmoid"), ("facts", {"dp": 1}), ("notes", {"a": 2})]
)
def test_an_edited_description_is_refused(copy: Path, key: str, value: object) -> None:
    path = copy / "outputs" / "block-0000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(StoreError, match="changed after it was written"):
        RunStore.open(copy).outputs()
