"""Runs training blocks on a crew of workers and puts what they return into the store.

One worker per core, one thread each: measured, that beats threads by far. One worker is a process
too, so that any number of workers runs the same code under the same conditions and gives the same
numbers (law 6).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError, RecipeError
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, integer_seed
from auscult.cohort import TrainingData
from auscult.cohort.design import Membership
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.store import BlockPlan, RunStore, missing_blocks
from auscult.store.blocks import WrittenBlock
from auscult.training.engines import Crew, Engine, LostWorkerError, Pending, hired
from auscult.training.worker import RESUMES, Work

POLL_SECONDS = 0.1
TRAINED_TWICE_SECONDS = 20.0

FAULTS = ("SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV")
WINDOWS_FAULT = 0xC0000000  # exit codes from here on are faults there, as signals are elsewhere
UNKNOWN = "The log of the worker or of the system says why"
SIGNALS = {  # by name: Windows has few of them
    ("SIGKILL",): "Most often the system ran out of memory: use fewer workers (--workers)",
    FAULTS: (
        "Most often this is a fault in compiled code below Auscult (PyTorch, another library, an "
        "extension of yours), seldom a full disk. Run again with --workers 1: what it prints "
        "before this message names the Python line that called it. Report that with `pip freeze` "
        "and `lscpu` to Auscult's developers if the network is built in, otherwise to the "
        "library's"
    ),
    ("SIGTERM", "SIGINT", "SIGHUP"): (
        "Somebody, or a batch system whose time limit was reached, told it to end"
    ),
    ("SIGXCPU",): "A limit on processor time was reached (ulimit -t): raise it",
}


def train(
    data: TrainingData,
    recipe: Recipe,
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    store: RunStore,
    *,
    seed: int,
    engine: Engine | None = None,
    progress: Progress = SILENT,
    withheld: NDArray[np.bool_] | None = None,
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
    engine : Engine, optional
        Processes of this machine by default. Changes the speed only.
    progress : Progress
    withheld : bool array, shape (records,), optional
        Records that no model trains on.

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
        jobs = [
            (block, assignments(block.models, membership, patient_of_record, seed, withheld))
            for block in todo
        ]
        work = Work(data=data, recipe=recipe)
        outputs = (store.path / "outputs").resolve()
        outputs.mkdir(exist_ok=True)  # workers elsewhere look for it
        with hired(work, engine or Engine(), len(todo), outputs, store.records) as crew:
            _collect(crew, jobs, store, progress)
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
    withheld: NDArray[np.bool_] | None = None,
) -> tuple[BlockOutputs, list[float]]:
    """Train a few models in one worker and say how long it took; nothing is written.

    Short ones are trained twice: the first time holds what is done once per worker.

    Parameters
    ----------
    data : TrainingData
    recipe : Recipe
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    seed : int
        The audit's seed.
    models : sequence of int
    progress : Progress
    withheld : bool array, shape (records,), optional
        Records that no model trains on.

    Returns
    -------
    outputs : BlockOutputs
    seconds : list of float
        Wall-clock time of training alone, the start of the worker left out, each time.
    """
    progress.start("Models", len(models))
    with hired(Work(data=data, recipe=recipe), Engine(workers=1), 1, Path(), 0) as crew:
        job = assignments(models, membership, patient_of_record, seed, withheld)
        plan = BlockPlan(block=0, models=tuple(models))
        times: list[float] = []
        while not times or (len(times) == 1 and times[0] < TRAINED_TWICE_SECONDS):
            pending = crew.submit(plan, job)
            while not pending.done():
                time.sleep(POLL_SECONDS)
                progress.advance(crew.since())
            found = _result(pending)
            if isinstance(found, WrittenBlock):
                raise TypeError("a local worker returns what it trained")
            outputs, seconds = found
            times.append(seconds)
    progress.finish()
    return outputs, times


def assignments(
    models: Sequence[int],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    seed: int,
    withheld: NDArray[np.bool_] | None = None,
) -> tuple[Assignment, ...]:
    """What each model of a block trains on, and its own seed.

    Parameters
    ----------
    models : sequence of int
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    seed : int
        The audit's seed.
    withheld : bool array, shape (records,), optional
        Records that no model trains on.
    """
    return tuple(
        Assignment(
            model=model,
            members=membership.records(model, patient_of_record, withheld),
            seed=integer_seed(seed, Stage.TRAINING, model),
        )
        for model in models
    )


def _collect(
    crew: Crew,
    jobs: Sequence[tuple[BlockPlan, tuple[Assignment, ...]]],
    store: RunStore,
    progress: Progress,
) -> None:
    """Write blocks as they come; on a failure write those that are finished, then raise it.

    A block whose worker was lost is given to another, a few times; the others are not touched.
    """
    pending = {block.block: crew.submit(block, job) for block, job in jobs}
    of = {block.block: (block, job) for block, job in jobs}
    attempts = dict.fromkeys(pending, 1)
    failure: AuscultError | None = None
    while pending and failure is None:
        time.sleep(POLL_SECONDS)
        within = crew.since()
        progress.advance(within)
        for number in [n for n, one in pending.items() if one.done()]:
            block, job = of[number]
            try:
                found = pending.pop(number).result()
            except LostWorkerError as error:
                if attempts[number] < crew.attempts:
                    attempts[number] += 1
                    pending[number] = crew.submit(block, job)
                else:
                    failure = failure or _lost(error)
                continue
            except AuscultError as error:
                failure = failure or error
                continue
            try:
                if isinstance(found, WrittenBlock):
                    store.adopt_block(block, found)
                    progress.advance(len(block.models))
                else:
                    store.write_block(block, found[0])
            except AuscultError as error:
                failure = failure or error
    if failure is not None:
        raise failure


def _result(pending: Pending) -> tuple[BlockOutputs, float] | WrittenBlock:
    try:
        return pending.result()
    except LostWorkerError as error:
        raise _lost(error) from error


def _lost(error: LostWorkerError) -> RecipeError:
    """How a worker ended, and what usually makes one end like that."""
    number = -min(error.ends, default=0)
    if number > 0:
        name = _signal_name(number)
        how = f"was ended by signal {number} ({name})"
        usually = next((said for names, said in SIGNALS.items() if name in names), UNKNOWN)
    elif max(error.ends, default=0) >= WINDOWS_FAULT:
        how = f"was ended by Windows with status {max(error.ends):#x}"
        usually = SIGNALS[FAULTS]
    elif error.ends:
        how = f"ended by itself with exit code {max(error.ends)}"
        usually = "Something in the training code or in a library ended the process: see its output"
    else:
        how = f"ended (the batch system says {error.state})" if error.state else "ended"
        usually = UNKNOWN
    return RecipeError(
        f"a worker process {how} before its models were trained",
        where="training",
        next_step=f"{usually}. {RESUMES}",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "not one of the standard signals"
