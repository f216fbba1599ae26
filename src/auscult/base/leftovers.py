"""Temporary folders that do not outlive a killed process for long.

A process that is killed cannot tidy up. Each temporary folder holds a file that its owner keeps
locked; the system lets the lock go when the process ends, however it ends. Whoever makes the next
folder removes those whose owners are gone, with the semaphores that their pools of workers left in
shared memory. In doubt nothing is removed.

- A folder is its maker's: a process forked from it neither removes the folder nor unlocks it.
- Who the owner is stands in the folder before the lock can be taken. A folder of another machine,
  or whose owner is seen to live, stays even where its lock seems free: not every file system shared
  between machines shares its locks.
- Whoever collects takes the lock, then removes the owner's name, then the rest. An owner that finds
  its name gone once it has the lock makes another folder.
- A semaphore is removed if it is the same file that the owner itself had open.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = "auscult-run-"
LOCK, OWNER, SEMAPHORES = "owner.lock", "owner", "semaphores"
SHARED = Path("/dev/shm")  # noqa: S108 - where Linux keeps named semaphores
ABANDONED_SECONDS = 3600.0
TRIES = 20

# The process that made each folder, and its lock: held here until the folder goes, or the process.
_held: dict[Path, tuple[int, Any]] = {}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder under TMPDIR that is gone afterwards, or at the next start after a kill."""
    folder = make_folder()
    try:
        yield folder
    finally:
        drop_folder(folder)


def make_folder() -> Path:
    """A folder under TMPDIR, this process's until `drop_folder`, or until the process ends."""
    collect()
    for _ in range(TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            (folder / OWNER).write_text(_this_process(), encoding="utf-8")
            lock = _take(folder / LOCK)
        except FileNotFoundError:  # collected before it was locked
            continue
        except (OSError, NotImplementedError):
            with suppress(OSError):  # nobody can lock here: then nobody may collect it
                (folder / LOCK).unlink(missing_ok=True)
            _held[folder] = os.getpid(), None
            return folder
        if lock is not None and (folder / OWNER).is_file():
            _held[folder] = os.getpid(), lock
            return folder
        _free(lock)
        shutil.rmtree(folder, ignore_errors=True)
    raise FileExistsError(f"no temporary folder could be made in {tempfile.gettempdir()}")


def drop_folder(folder: Path) -> None:
    """Remove a folder that this process made; one of the process it was forked from stays.

    Parameters
    ----------
    folder : Path
    """
    maker, lock = _held.get(folder, (None, None))
    if maker != os.getpid():
        return
    del _held[folder]
    shutil.rmtree(folder, ignore_errors=True)
    _free(lock)
    shutil.rmtree(folder, ignore_errors=True)  # Windows removes no file that is held


def note_semaphores(folder: Path) -> None:
    """Write down which semaphores of a pool this process has open, for who collects the folder.

    Parameters
    ----------
    folder : Path
        Made by this process.
    """
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        here = f"sem.loky-{os.getpid()}-"
        # The system knows a semaphore by the name it had for an instant; its inode stays.
        open_here = {line.split()[4] for line in maps.splitlines() if f"{SHARED}/sem." in line}
        mine = [
            f"{path.name} {path.lstat().st_ino}"
            for path in SHARED.glob(f"{here}*")
            if str(path.lstat().st_ino) in open_here
        ]
        (folder / SEMAPHORES).write_text("\n".join(mine), encoding="utf-8")
    except OSError:
        pass  # only Linux has these files


def collect() -> int:
    """Remove the folders of this user whose owners are gone.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    mine = os.getuid() if hasattr(os, "getuid") else None  # Windows: the folder is the user's own
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            if folder.is_symlink() or not folder.is_dir() or mine not in (None, found.st_uid):
                continue
            removed += _collected(folder, found)
        except (OSError, NotImplementedError, ValueError):
            continue
    return removed


def _collected(folder: Path, found: os.stat_result) -> bool:
    """Remove a folder whose owner is proved to be gone; False where it is not."""
    if not (folder / LOCK).is_file():
        # Made this instant and not yet locked, or killed in that instant, or not of this kind.
        names = {path.name for path in folder.iterdir()}
        old = time.time() - found.st_mtime > ABANDONED_SECONDS
        if not old or not names <= {OWNER}:
            return False
    owner = folder / OWNER
    if owner.is_file() and not _is_gone(owner.read_text(encoding="utf-8")):
        return False
    lock = _take(folder / LOCK)
    if lock is None:
        return False
    try:
        owner.unlink(missing_ok=True)
        _remove_semaphores(folder, found.st_uid)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        _free(lock)
    shutil.rmtree(folder, ignore_errors=True)  # Windows removes no file that is held
    return not folder.exists()


def _take(path: Path) -> Any:  # noqa: ANN401
    """Lock a file without waiting; None where another process has it.

    Where there is `flock` the lock is a number in this module: no object whose end would free it in
    a forked process.

    Raises
    ------
    OSError or NotImplementedError
        There is no such folder, or the file system cannot lock files.
    """
    if fcntl is None:
        from filelock import FileLock, Timeout

        lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # some file systems say the second
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _free(lock: Any) -> None:  # noqa: ANN401
    if isinstance(lock, int):
        os.close(lock)
    elif lock is not None:
        lock.release()


def _machine() -> str:
    """The machine since its last start; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _began(process: int) -> str | None:
    """When a process began, in the system's ticks; None where there is none, or nobody says."""
    try:
        content = Path("/proc", str(process), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return content.rpartition(")")[2].split()[19]


def _numbers() -> str:
    """Where the numbers of processes are given: containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _this_process() -> str:
    process = os.getpid()
    return "\n".join(
        (socket.gethostname(), _machine(), _numbers(), str(process), _began(process) or "")
    )


def _is_gone(owner: str) -> bool:
    """Whether nothing speaks against it that the owner of a folder is gone; its lock tells."""
    host, machine, numbers, process, began = owner.split("\n")
    if machine != _machine() or not machine:
        return host == socket.gethostname()  # another machine's, or from before this one's start
    if numbers != _numbers() or not began:
        return True  # a container's process is not seen here, but its lock is
    return _began(int(process)) != began


def _remove_semaphores(folder: Path, user: int) -> None:
    """Remove what the pool of a process that is gone left in shared memory."""
    try:
        lines = (folder / SEMAPHORES).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, inode = line.partition(" ")
        if not re.fullmatch(r"sem\.loky-\d+-\w+", name):
            continue
        with suppress(OSError):
            found = (SHARED / name).lstat()
            if (found.st_uid, str(found.st_ino)) == (user, inode):
                (SHARED / name).unlink()
