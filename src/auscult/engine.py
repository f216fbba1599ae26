"""Runs training blocks in worker processes and puts what they return into the store.

One worker per core, one thread each: measured, that beats threads by far. One worker is a process
too, so that any number of workers runs the same code under the same conditions and gives the same
numbers (law 6).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.cohort import TrainingData
from auscult.design import Membership
from auscult.errors import AuscultError, RecipeError
from auscult.progress import SILENT, Progress
from auscult.randomness import Stage, integer_seed
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.store import BlockPlan, RunStore, missing_blocks

POLL_SECONDS = 0.2
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
WORKER_KILLED = (
    "Most often memory ran out: use fewer workers (--workers). What is finished is kept: the same "
    "command resumes"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """What a worker needs to train any block."""

    data: TrainingData
    recipe: Recipe


def default_workers() -> int:
    """Number of cores this process may use."""
    import loky

    return int(loky.cpu_count())


def train(
    data: TrainingData,
    recipe: Recipe,
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    store: RunStore,
    *,
    seed: int,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> None:
    """Train the blocks that the store lacks and write each as soon as it is finished.

    Parameters
    ----------
    data : TrainingData
    recipe : Recipe
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    store : RunStore
        Open for writing; its plan says which models make a block.
    seed : int
        The audit's seed.
    workers : int, optional
        Worker processes; one per core by default. Changes the speed only.
    progress : Progress

    Raises
    ------
    RecipeError
        A model failed (says which model and block), or a worker was killed.
    """
    todo = missing_blocks(store.blocks, store)
    total = sum(len(block.models) for block in store.blocks)
    done = total - sum(len(block.models) for block in todo)
    progress.start("Models", total)
    progress.advance(done)
    if todo:
        jobs = {
            block.block: assignments(block.models, membership, patient_of_record, seed)
            for block in todo
        }
        plans = {block.block: block for block in todo}
        count = min(workers or default_workers(), len(todo))
        with _pool(_Work(data=data, recipe=recipe), count) as (pool, counter):
            _collect(pool, jobs, plans, store, counter, progress)
    progress.finish()


def train_one(
    data: TrainingData,
    recipe: Recipe,
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    *,
    seed: int,
    models: Sequence[int] = (0,),
    progress: Progress = SILENT,
) -> tuple[BlockOutputs, float]:
    """Train a few models in one worker and say how long it took; nothing is written.

    Returns
    -------
    outputs : BlockOutputs
    seconds : float
        Wall-clock time of training alone, the start of the worker left out.
    """
    progress.start("Models", len(models))
    with _pool(_Work(data=data, recipe=recipe), 1) as (pool, counter):
        job = assignments(models, membership, patient_of_record, seed)
        future = pool.submit(_run, BlockPlan(block=0, models=tuple(models)), job)
        while not wait([future], timeout=POLL_SECONDS).done:
            progress.advance(counter.since())
        outputs, seconds = _result(future)
    progress.finish()
    return outputs, seconds


def assignments(
    models: Sequence[int],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    seed: int,
) -> tuple[Assignment, ...]:
    """What each model of a block trains on, and its own seed."""
    return tuple(
        Assignment(
            model=model,
            members=membership.members(model, patient_of_record),
            seed=integer_seed(seed, Stage.TRAINING, model),
        )
        for model in models
    )


def _collect(
    pool: Any,  # noqa: ANN401
    jobs: dict[int, tuple[Assignment, ...]],
    plans: dict[int, BlockPlan],
    store: RunStore,
    counter: _Counter,
    progress: Progress,
) -> None:
    """Write blocks as they come; on a failure write those that are finished, then raise it."""
    pending: dict[Future[Any], BlockPlan] = {
        pool.submit(_run, plans[block], job): plans[block] for block, job in jobs.items()
    }
    failure: AuscultError | None = None
    while pending and failure is None:
        finished, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        progress.advance(counter.since())
        for future in finished:
            block = pending.pop(future)
            try:
                outputs, _ = _result(future)
                store.write_block(block, outputs)
            except AuscultError as error:
                failure = failure or error
    if failure is not None:
        raise failure


def _result(future: Future[Any]) -> tuple[BlockOutputs, float]:
    from loky.process_executor import BrokenProcessPool

    try:
        result: tuple[BlockOutputs, float] = future.result()
    except BrokenProcessPool as error:
        raise RecipeError(
            "a worker process ended before its models were trained",
            where="training",
            next_step=WORKER_KILLED,
        ) from error
    return result


@contextmanager
def _pool(work: _Work, workers: int) -> Iterator[tuple[Any, _Counter]]:
    """Fresh worker processes that hold the work, and a counter of what they have done."""
    import cloudpickle
    import loky

    folder = Path(tempfile.mkdtemp(prefix="auscult-"))  # holds the workers' progress, nothing else
    pool = None
    try:
        try:
            payload = cloudpickle.dumps(work)
        except Exception as error:
            raise RecipeError(
                f"the recipe cannot be sent to worker processes ({type(error).__name__}: {error})",
                where="recipe",
                next_step="Create what cannot be sent (open files, connections, locks) inside the "
                "training function",
            ) from error
        pool = loky.ProcessPoolExecutor(
            max_workers=workers,
            timeout=None,
            initializer=_begin,
            initargs=(payload, str(folder), os.getpid()),
            env=dict.fromkeys(THREAD_VARIABLES, "1"),
        )
        yield pool, _Counter(folder)
    finally:
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)
        shutil.rmtree(folder, ignore_errors=True)


class _Counter:
    """Sum of what the workers have written about their progress."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = 0.0

    def since(self) -> float:
        """Models' worth of work done since the last call."""
        total = 0.0
        for file in self._folder.glob("done-*"):
            content = file.read_bytes()
            if len(content) == 8:
                total += float(np.frombuffer(content)[0])
        step, self._last = max(total - self._last, 0.0), max(total, self._last)
        return step


_work: _Work | None = None
_folder: Path | None = None


def _begin(payload: bytes, folder: str, parent: int) -> None:
    """Start a worker: one thread, the work in memory, and no life beyond its parent's."""
    global _work, _folder
    import cloudpickle
    from threadpoolctl import threadpool_limits

    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    threadpool_limits(1)
    _folder = Path(folder)
    _work = cloudpickle.loads(payload)  # from the parent process, never from a file


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _run(block: BlockPlan, job: tuple[Assignment, ...]) -> tuple[BlockOutputs, float]:
    """Train one block inside a worker."""
    if _work is None or _folder is None:
        raise RuntimeError("the worker was not begun")
    marker = os.open(_folder / f"done-{os.getpid()}", os.O_RDWR | os.O_CREAT, 0o600)
    start = time.perf_counter()
    try:
        content = os.pread(marker, 8, 0)
        done = [float(np.frombuffer(content)[0]) if len(content) == 8 else 0.0]

        def advance(models: float) -> None:
            done[0] += models
            os.pwrite(marker, np.float64(done[0]).tobytes(), 0)

        outputs = _work.recipe.train_block(_work.data, job, advance)
    except AuscultError as error:
        place = f"{block.name}, {error.where}" if error.where else block.name
        raise type(error)(
            error.what, where=place, expected=error.expected, next_step=error.next_step
        ) from None
    except MemoryError:
        raise RecipeError(
            "memory ran out while training", where=block.name, next_step=WORKER_KILLED
        ) from None
    finally:
        os.close(marker)
    return outputs, time.perf_counter() - start
