"""What one system has and another lacks: it works without, and gives the same results."""

from __future__ import annotations

import ast
import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

import auscult
from auscult.base import parallel
from auscult.base.errors import StoreError
from auscult.base.files import write_bytes
from auscult.store.lock import HOLDER, LOCK, lock_holder, take_lock
from auscult.training import dispatch, worker
from auscult.training.engines import LostWorkerError

# What Linux has and Windows lacks, macOS some of it. Loaded by every process of a run, the workers
# too. Calls that Python's own process machinery makes on this system cannot be taken away here.
LACKING = """
import errno, mmap, os, pathlib, signal, sys

for name in (
    "sched_getaffinity sched_setaffinity posix_fallocate posix_fadvise fchmod fchown pread pwrite "
    "mkfifo killpg setsid getloadavg sysconf nice getpgid O_DIRECTORY"
).split():
    if hasattr(os, name):
        delattr(os, name)
for name in [one for one in dir(mmap) if one.startswith("MADV_")]:
    delattr(mmap, name)
for name in ("SIGBUS", "SIGXCPU", "SIGHUP"):
    delattr(signal, name)
for name in ("resource", "pwd", "grp", "termios", "psutil"):
    sys.modules[name] = None

plain, opened = pathlib.Path.read_text, os.open

def read_text(self, *how, **more):
    if str(self).startswith("/proc"):
        raise FileNotFoundError(errno.ENOENT, "no /proc here", str(self))
    return plain(self, *how, **more)

def open_(path, flags, *how, **more):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "folders are not opened here", str(path))
    return opened(path, flags, *how, **more)

pathlib.Path.read_text, os.open = read_text, open_
"""
AUDIT = """
import sys
from pathlib import Path

import numpy as np
import pandas as pd

def main():
    from sklearn.linear_model import LogisticRegression

    import auscult.base.parallel
    from auscult import Audit, Cohort, SklearnRecipe
    from auscult.readers.images import ImageSettings, decode_images
    from auscult.readers.paths import scan

    auscult.base.parallel.MOST_IN_MEMORY = 1000
    folder = Path(sys.argv[1])
    names, _ = scan(folder / "images", "images")
    cache = folder / sys.argv[2] / "cache"
    found = decode_images(names, folder / "images", ImageSettings(size=(4, 4)), cache=cache)
    table = pd.DataFrame(found.array.reshape(len(found.array), -1)).add_prefix("pixel")
    table["patient"] = [f"p{i}" for i in range(len(table))]
    table["label"] = np.arange(len(table)) % 2
    cohort = Cohort.from_table(table, patient="patient", label="label")
    audit = Audit(cohort, recipe=SklearnRecipe(LogisticRegression()), models=8, seed=3)
    audit.run(folder / sys.argv[2] / "run", workers=1)

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("systems")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        pixels = rng.integers(0, 256, (4, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i:02}.png")
    (folder / "lacking").mkdir()
    (folder / "lacking" / "sitecustomize.py").write_text(LACKING, encoding="utf-8")
    (folder / "audit.py").write_text(AUDIT, encoding="utf-8")
    return folder


def run(folder: Path, out: str, *paths: str) -> bytes:
    places = [*paths, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    done = subprocess.run(
        [sys.executable, folder / "audit.py", folder, out],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return (folder / out / "run" / "results" / "summary.json").read_bytes()


@pytest.mark.slow
def test_an_audit_without_the_calls_of_linux_gives_the_same_bytes(folder: Path) -> None:
    assert run(folder, "without", str(folder / "lacking")) == run(folder, "with")


def test_nothing_that_a_system_may_lack_is_imported_with_a_module() -> None:
    lacking = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
    lacking |= {"msvcrt", "winreg", "_winapi", "psutil"}
    for path in Path(auscult.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not lacking & set(names), path


# Memory and space


def nothing(*_: object, **__: object) -> NoReturn:
    raise FileNotFoundError(errno.ENOENT, "nothing here")


def test_memory_is_told_by_psutil_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", nothing)
    said = SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(available=123),
        Process=lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=7, rss=5)),
    )
    monkeypatch.setitem(sys.modules, "psutil", said)
    assert parallel.available_memory() == 123
    monkeypatch.setitem(sys.modules, "resource", None)
    assert parallel.peak_memory() == 7
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert parallel.available_memory() is None
    assert parallel.peak_memory() is None


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_has_the_unit_of_the_system(
    platform: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: SimpleNamespace(ru_maxrss=5000))
    monkeypatch.setitem(sys.modules, "resource", usage)
    monkeypatch.setattr(sys, "platform", platform)
    assert parallel.peak_memory() == 5000 * unit


@pytest.mark.parametrize("how", ["no call", "no support"])
def test_large_arrays_have_their_space_without_the_call(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    if how == "no call":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    monkeypatch.setattr(parallel, "MOST_IN_MEMORY", 10)
    monkeypatch.setattr(parallel, "PIECE_BYTES", 1000)
    found = parallel.scratch((501, 5), np.float64)
    assert isinstance(found, np.memmap)
    assert found.shape == (501, 5)
    assert not found.any()
    found[:] = 3.0
    parallel.let_go(found)
    assert (found == 3.0).all()


def test_a_full_folder_of_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(parallel, "MOST_IN_MEMORY", 10)
    with pytest.raises(StoreError, match="no room for a temporary file") as told:
        parallel.scratch((100, 5), np.float64)
    assert "TMPDIR" in str(told.value)


def test_files_are_written_where_no_modes_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fchmod", raising=False)
    write_bytes(tmp_path / "a" / "b", b"c\n", secret=True)
    assert (tmp_path / "a" / "b").read_bytes() == b"c\n"


# Locks


def test_who_holds_a_run_is_told_and_a_killed_holder_frees_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from auscult.store.lock import take_lock\n"
        "lock = take_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            assert (lock_holder(tmp_path) or "").startswith(f"process {other.pid} on ")
            with pytest.raises(StoreError, match=f"process {other.pid} on .* is writing"):
                take_lock(tmp_path)
        finally:
            other.kill()
    assert (tmp_path / HOLDER).exists()  # it had no time to tidy up
    assert lock_holder(tmp_path) is None
    take_lock(tmp_path).close()
    assert not (tmp_path / HOLDER).exists()


def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=r"cannot lock files.*\n*.*local disk"):
        take_lock(tmp_path)
    (tmp_path / LOCK).touch()
    assert lock_holder(tmp_path) is None
    (tmp_path / HOLDER).write_text("12 elsewhere\n", encoding="utf-8")
    assert lock_holder(tmp_path) == "process 12 on elsewhere, unless it was killed"


# Workers


def test_a_worker_on_windows_ends_with_its_parent_by_the_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    begun: list[Any] = []
    parent = SimpleNamespace(join=lambda: ended.append(0))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(worker, "_unpacked", lambda _: None)
    monkeypatch.setattr(worker, "_one_thread", lambda: None)
    monkeypatch.setattr(
        "auscult.training.worker.threading.Thread",
        lambda target, **_: SimpleNamespace(start=lambda: begun.append(target)),
    )
    monkeypatch.setattr(worker, "_work", None)
    monkeypatch.setattr(worker, "_folder", None)
    worker.begin(b"", str(tmp_path), forked=False)
    begun[0]()
    assert ended == [0, 1]


def test_how_a_worker_ended_is_told_on_windows() -> None:
    said = str(dispatch._lost(LostWorkerError((3221225477,))))
    assert "Windows with status 0xc0000005" in said
    assert "fault in compiled code" in said
