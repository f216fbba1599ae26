"""Nothing is left of killed runs, and nothing that lives is taken for a leftover."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from auscult.base import leftovers
from auscult.base.leftovers import LOCK, OWNER, PREFIX, SEMAPHORES, collect, temporary_folder

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows forks no process")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty TMPDIR with a name short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="a") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(name)


def _hold(place: Path) -> None:
    with temporary_folder() as made:
        (place / "ready").touch()
        assert made.is_dir()
        time.sleep(60)


def _holder(place: Path) -> ForkProcess:
    """Another process that holds a folder."""
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(place,))
    process.start()
    while not (place / "ready").exists():
        time.sleep(0.005)
    (place / "ready").unlink()
    return process


def _kill(process: ForkProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def folders(place: Path) -> list[Path]:
    return sorted(place.glob(f"{PREFIX}*"))


@fork
def test_folders_of_killed_runs_are_collected_and_no_others(place: Path) -> None:
    process = _holder(place)
    user = place / f"{PREFIX}2024"  # for example what --out named
    user.mkdir()
    (user / "manifest.json").touch()
    os.utime(user, (0, 0))
    with temporary_folder() as mine:
        assert len(folders(place)) == 3, "its owner lives"
        _kill(process)
        assert collect() == 1
        assert mine.exists(), "one's own is not a leftover"
    assert folders(place) == [user]


@fork
def test_a_folder_is_its_makers_and_no_forked_process_removes_or_unlocks_it(place: Path) -> None:
    held = temporary_folder()
    mine = held.__enter__()
    child = os.fork()
    if child == 0:  # ends as a script would, closing whatever it has
        held.__exit__(None, None, None)
        leftovers.drop_folder(mine)
        os._exit(collect())
    assert os.waitpid(child, 0)[1] == 0
    assert (mine / OWNER).is_file()
    other = _holder(place)  # which looks for leftovers first
    assert mine.is_dir()
    _kill(other)
    held.__exit__(None, None, None)
    collect()
    assert folders(place) == []


@fork
@linux
def test_an_owner_that_lives_keeps_its_folder_without_a_lock(place: Path) -> None:
    """Not every file system shared between machines shares its locks."""
    process = _holder(place)
    (folder,) = folders(place)
    (folder / LOCK).unlink()
    (folder / LOCK).touch()
    assert collect() == 0
    _kill(process)
    kept = (folder / OWNER).read_text()
    host, _, *rest = kept.split("\n")
    (folder / OWNER).write_text("\n".join(("another", "start", *rest)))
    assert collect() == 0, "another machine's, to which its own locks are unknown here"
    (folder / OWNER).write_text("\n".join((host, "start", *rest)))
    assert collect() == 1, "this machine's, from before it was started anew"


def test_a_process_killed_before_it_had_the_lock(place: Path) -> None:
    for name, old in (("new", False), ("old", True), ("older", True), ("empty", True)):
        folder = place / f"{PREFIX}{name}"
        folder.mkdir()
        if name != "empty":
            (folder / OWNER).write_text(leftovers._this_process().replace("\n", "\n0", 3))
        if name == "older":
            (folder / "other").touch()
        if old:
            os.utime(folder, (0, 0))
    collect()
    kept = [f"{PREFIX}new", f"{PREFIX}older"]
    owner = (place / kept[0] / OWNER).read_text()
    assert owner.split("\n")[1] != leftovers._this_process().split("\n")[1]
    assert [one.name for one in folders(place)] == kept


def test_an_owner_whose_folder_is_collected_before_it_is_locked_makes_another(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []
    take = leftovers._take

    def late(path: Path) -> object:
        if not tried:
            tried.append(path.parent)
            (path.parent / OWNER).unlink()  # the first that whoever collects does
        return take(path)

    monkeypatch.setattr(leftovers, "_take", late)
    with temporary_folder() as mine:
        assert folders(place) == [mine]
        assert mine != tried[0]


def test_where_nothing_can_be_locked_nothing_is_collected(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(path: Path) -> object:
        raise OSError(95, "not supported", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "_take", never)
        held = temporary_folder()
        mine = held.__enter__()
    assert not (mine / LOCK).exists()
    os.utime(mine, (0, 0))
    assert collect() == 0
    assert mine.is_dir()
    held.__exit__(None, None, None)
    assert list(place.iterdir()) == []


def test_without_flock_another_lock_is_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "fcntl", None)  # as on Windows
    with temporary_folder() as mine:
        assert leftovers._take(mine / LOCK) is None
    assert list(place.iterdir()) == []


@linux
def test_semaphores_go_with_the_folder_if_they_are_the_same_files(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = place / "shm"
    shared.mkdir()
    monkeypatch.setattr(leftovers, "SHARED", shared)
    stale = place / f"{PREFIX}x"
    stale.mkdir()
    (stale / LOCK).touch()
    names = [f"sem.loky-7-{one}" for one in ("a", "b", "c")] + ["sem.other"]
    for name in names:
        (shared / name).touch()
    said = [f"{name} {(shared / name).stat().st_ino}" for name in names]
    said[1] = f"{names[1]} 1"  # another file has this name by now
    del said[2]
    (stale / SEMAPHORES).write_text("\n".join([*said, "../victim 1", "sem.loky-7-a/../x 1"]))
    assert collect() == 1
    assert sorted(one.name for one in shared.iterdir()) == names[1:]


KILLED = """
import os, signal, threading
import loky
from auscult.base.leftovers import note_semaphores, temporary_folder
from auscult.training.warm import server, warm_up
from auscult.training.worker import _end_with_hirer
def begin():
    threading.Thread(target=_end_with_hirer, daemon=True).start()
if __name__ == "__main__":
    warm_up("python")
    assert server()
    with temporary_folder() as folder:
        pool = loky.ProcessPoolExecutor(max_workers=1, context=server(), initializer=begin)
        pool.submit(int)
        note_semaphores(folder)
        print(len((folder / "semaphores").read_text().split("\\n")), flush=True)
        os.kill(os.getpid() if {alone} else 0, signal.SIGKILL)
"""
NEXT = "from auscult.training.warm import server, warm_up; warm_up('python'); assert server()"


@pytest.mark.slow
@linux
@pytest.mark.parametrize("alone", [True, False])
def test_a_killed_run_with_a_server_and_workers_leaves_nothing(place: Path, *, alone: bool) -> None:
    script = place.parent / f"{place.name}.py"
    script.write_text(KILLED.format(alone=alone))
    try:
        killed = subprocess.run(
            [sys.executable, script],
            start_new_session=True,
            stdout=subprocess.PIPE,
            check=False,
        )
    finally:
        script.unlink()
    assert (killed.returncode, int(killed.stdout)) == (-signal.SIGKILL, 7)
    left = [
        one.split()[0]
        for folder in folders(place)
        if (folder / SEMAPHORES).is_file()
        for one in (folder / SEMAPHORES).read_text().splitlines()
    ]
    assert len(left) == 7
    done = subprocess.run(
        [sys.executable, "-c", NEXT], check=False, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(place.iterdir()) == []
    assert not any((leftovers.SHARED / name).exists() for name in left)


AT_ONCE = """
import sys, time
from pathlib import Path
from auscult.base.leftovers import temporary_folder
for number in range(60):
    with temporary_folder() as folder:
        (folder / "progress").write_text("1")
        time.sleep(0.0005 * (number % 3))
        assert (folder / "progress").read_text() == "1"
        assert (folder / "owner").is_file()
"""


def test_several_processes_start_at_once_and_keep_their_folders(place: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", AT_ONCE], stderr=subprocess.PIPE) for _ in range(3)
    ]
    said = [one.communicate()[1] for one in started]
    assert said == [b"", b"", b""]
    assert list(place.iterdir()) == []
