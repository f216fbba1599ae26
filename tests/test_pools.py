"""Pools of workers end with all that their workers started, in slim containers as well."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from auscult.base import pools

on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")


def begin_one() -> int:
    """Start a process that would outlive its worker, and one below it."""
    return subprocess.Popen(["/bin/sh", "-c", "/bin/sleep 20; true"]).pid


def is_there(process: int) -> bool:
    try:
        content = Path("/proc", str(process), "stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return content.rpartition(")")[2].split()[0] != "Z"


def becomes(said: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not said() and time.monotonic() < until:
        time.sleep(0.02)
    return said()


@on_linux
@pytest.mark.parametrize("kind", ["loky", "spawn"])
def test_a_pool_ends_where_nothing_lists_processes(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from loky import backend, process_executor

    monkeypatch.setattr(backend.utils, "psutil", None)
    monkeypatch.setattr(process_executor, "kill_process_tree", None)  # and put back at the end
    monkeypatch.setattr(pools, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    context = None if kind == "loky" else get_context(kind)
    pool = pools.new_pool(1, context=context)
    try:
        started = pool.submit(begin_one).result(timeout=60)
        assert becomes(lambda: len(pools.descendants([started])) == 1)
        all_of_them = [*pool._processes, *pools.descendants(list(pool._processes))]
        assert started in all_of_them
        assert all(map(is_there, all_of_them))
    finally:
        pool.shutdown(wait=True, kill_workers=True)
    assert becomes(lambda: not any(map(is_there, all_of_them)))


def test_loky_ends_its_workers_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    from loky import process_executor

    monkeypatch.setattr("auscult.base.pools.shutil.which", lambda _: "/usr/bin/pgrep")
    before = process_executor.kill_process_tree
    pools.new_pool(1).shutdown()
    assert process_executor.kill_process_tree is before


def test_nobody_is_a_descendant_of_no_process() -> None:
    assert pools.descendants([]) == []
    assert pools.descendants([1 << 30]) == []
