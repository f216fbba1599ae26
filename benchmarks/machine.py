"""Work on all cores; time and memory of whole processes; what the machine can do at most.

Linux alone binds processes to cores: elsewhere these measurements say so and end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from loky import get_reusable_executor

CORES = 2


def on_two_cores(command: list[str], **settings: str) -> tuple[float, float, str]:
    """Seconds, peak memory of the largest process in MB, and standard output."""
    import resource

    cores = _two_cores()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.perf_counter()
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | settings,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return seconds, max(peak, before) / 1024, done.stdout


def _two_cores() -> list[int]:
    if not hasattr(os, "sched_getaffinity"):
        raise SystemExit("this is measured on two cores, which only Linux binds processes to")
    return sorted(os.sched_getaffinity(0))[:CORES]


def sgemm_peak() -> float:
    """Sum over both cores of the GFLOP/s of one-thread float32 products of 1024 x 1024."""
    code = (
        "import torch, time; torch.set_num_threads(1)\n"
        "a = torch.randn(1024, 1024); b = a.T.clone()\n"
        "for _ in range(20): a @ b\n"
        "t = time.perf_counter()\n"
        "for _ in range(60): a @ b\n"
        "print(60 * 2 * 1024**3 / (time.perf_counter() - t) / 1e9)"
    )
    cores = _two_cores()
    running = [
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for core in cores
    ]
    return sum(float(process.communicate()[0]) for process in running)


def bandwidth() -> float:
    """Bytes per second that two threads read and write while copying half a gigabyte each."""
    source = [np.ones(1 << 26) for _ in range(CORES)]
    target = [np.empty_like(one) for one in source]

    def copy(place: int) -> None:
        for _ in range(4):
            np.copyto(target[place], source[place])

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(copy, range(CORES)))
        start = time.perf_counter()
        list(pool.map(copy, range(CORES)))
    return 4 * 2 * sum(one.nbytes for one in source) / (time.perf_counter() - start)


def memory_of(process: int) -> int:
    """Bytes held by a process and all that descend from it, shared pages counted once."""
    total, waiting = 0, [str(process)]
    while waiting:
        one = Path("/proc", waiting.pop())
        with contextlib.suppress(OSError):
            for thread in (one / "task").iterdir():
                waiting += (thread / "children").read_text().split()
            text = (one / "smaps_rollup").read_text()
            total += sum(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:"))
    return 1024 * total


def spread_over_cores(work: Callable[..., Any], cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Results of `work` for every case, one process per core."""
    # Each process works without threads of its own.
    alone = {"LOKY_MAX_CPU_COUNT": "1"}
    pool = get_reusable_executor(max_workers=len(os.sched_getaffinity(0)), timeout=60, env=alone)
    return [f.result() for f in [pool.submit(work, *case) for case in cases]]
