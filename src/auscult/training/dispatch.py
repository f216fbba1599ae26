"""Runs training blocks on a crew of workers and puts what they return into the store.

One worker per core, one thread each: measured, that beats threads by far. One worker is a process
too, so that any number of workers runs the same code under the same conditions and gives the same
numbers (law 6).
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError, RecipeError
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, integer_seed
from auscult.cohort import TrainingData
from auscult.cohort.design import Membership
from auscult.recipes import checkpoints
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.store import BlockPlan, RunStore, missing_blocks
from auscult.store.blocks import WrittenBlock
from auscult.training.engines import Crew, Engine, LostWorkerError, Pending, hired
from auscult.training.repeat import TOGETHER, Repeat, compared, likely_cause
from auscult.training.shared import Watched
from auscult.training.worker import RESUMES, Work

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.1
TRAINED_TWICE_SECONDS = 20.0
REPEATED = "repeated"
ONE_BY_ONE = "one after the other"  # how a recipe's models were trained, as their facts say
WRITTEN = "written"  # into the current folder, by training code
STATES = "states"  # of trainings under way
STATE_SECONDS = checkpoints.SECONDS

FAULTS = ("SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV")
WINDOWS_FAULT = 0xC0000000  # exit codes from here on are faults there, as signals are elsewhere
UNKNOWN = "See the log of the worker or of the system for the cause"
SIGNALS = {  # by name: Windows has few of them
    ("SIGKILL",): "Usually the system ran out of memory: use fewer workers (--workers)",
    FAULTS: (
        "Usually this is a fault in compiled code (PyTorch, another library, your own extension), "
        "rarely a full disk. Run again with --workers 1: the output before this message names the "
        "Python line that called it. Report it, with the output of `pip freeze` and `lscpu`, to "
        "Auscult's developers if the network is built in, otherwise to the library's"
    ),
    ("SIGTERM", "SIGINT", "SIGHUP"): (
        "It was terminated by somebody, or by a batch system whose time limit was reached"
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
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Train the blocks that the store lacks and write each as soon as it is finished.

    The first model is trained again at the end, where a recipe's models are independent: the
    manifest's `repeated` says whether it gave the same numbers.

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
    meanwhile : callable, optional
        What this process can do while the workers begin; of a second or so, in which blocks that
        are finished wait.

    Raises
    ------
    RecipeError
        A model failed (says which model and block), or a worker was killed.
    """
    todo = missing_blocks(store.blocks, store)
    first = store.blocks[0].models[0]
    again = recipe.independent and REPEATED not in store.manifest()
    total = sum(len(block.models) for block in store.blocks)
    done = total - sum(len(block.models) for block in todo)
    LOG.info("Models of %s: %d of %d are there", store.path, done, total)
    progress.start("Models", total)
    progress.advance(done)
    if todo or again:
        jobs = [
            (block, assignments(block.models, membership, patient_of_record, seed, withheld))
            for block in todo
        ]
        once_more = (
            assignments((first,), membership, patient_of_record, seed, withheld) if again else None
        )
        states = _states(store, todo)
        work = Work(data=data, recipe=recipe, states=states)
        outputs = (store.path / "outputs").resolve()
        outputs.mkdir(exist_ok=True)  # workers elsewhere look for it
        watched = Watched([store.path]) if "code" in recipe.settings() else None
        try:
            with hired(work, engine or Engine(), len(todo) or 1, outputs, store.records) as crew:
                repeated = _collect(crew, jobs, once_more, store, progress, meanwhile)
        finally:
            left = missing_blocks(store.blocks, store)
            checkpoints.sweep(states.folder, (model for block in left for model in block.models))
            hands = (engine or Engine()).hands(recipe)
            _keep_written(store, watched, min(hands, len(todo)))
        if repeated is not None:
            store.update_manifest(**{REPEATED: _repeated(repeated, store, recipe)})
    if not recipe.independent and REPEATED not in store.manifest():
        store.update_manifest(**{REPEATED: {"models": 0, "reason": TOGETHER}})
    progress.finish()


def _states(store: RunStore, todo: Sequence[BlockPlan]) -> checkpoints.Place:
    """Where trainings leave their state; what finished or other runs left there is removed."""
    folder = store.secret_path(STATES).resolve()
    checkpoints.sweep(folder, (model for block in todo for model in block.models))
    folder.mkdir(mode=0o700, exist_ok=True)
    return checkpoints.Place(folder=folder, run=store.identity, seconds=STATE_SECONDS)


def _keep_written(store: RunStore, watched: Watched | None, workers: int) -> None:
    """Keep in the manifest how many entries of the current folder training changed, if any."""
    count = 0 if watched is None else len(watched.changed())
    before = store.manifest().get(WRITTEN, {})
    if count:
        side_by_side = max(workers, before.get("workers", 1))
        entries = max(count, before.get("entries", 0))
        store.update_manifest(**{WRITTEN: {"entries": entries, "workers": side_by_side}})


def _repeated(
    found: tuple[BlockOutputs, float] | WrittenBlock | Exception, store: RunStore, recipe: Recipe
) -> dict[str, Any]:
    """How the first model compares with itself when it is trained again."""
    if isinstance(found, Exception):
        return {"models": 0, "reason": f"training it again failed ({type(found).__name__})"}
    if isinstance(found, WrittenBlock):
        file = store.path / "outputs" / found.file
        values = np.load(file, allow_pickle=False)
        file.unlink()
    else:
        values = found[0].values
    block = store.block(0)
    kept = block.values[:1]
    if block.inside is not None:
        kept = np.concatenate([kept, block.inside[:1]], axis=3)
    return compared(np.asarray(kept), values, drawn=recipe.draws()).summary()


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """What training a few models told.

    Attributes
    ----------
    outputs : BlockOutputs
        Of the models that were trained, which may be fewer than asked for.
    seconds : list of float
        Wall-clock time of training alone, the start of the worker left out, each time.
    start_seconds : float
        From asking for a worker to its first step.
    repeat : Repeat or None
        How the models compare with themselves, trained by another process; None of long trainings
        that Auscult's own code does alone.
    written : tuple of str
        Entries of the current folder that training code made or changed.
    """

    outputs: BlockOutputs
    seconds: list[float]
    start_seconds: float
    repeat: Repeat | None
    written: tuple[str, ...] = ()


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
) -> Tried:
    """Train a few models in one worker, again in another, and compare; nothing is written.

    Short ones are trained twice by the first worker: the first time holds what is done once per
    worker. Of models that are trained one after the other, and would take long, both workers train
    the first only. Of other long ones the other worker trains one model only, where a recipe's
    models are independent.

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
    Tried
        Outputs, wall-clock seconds of training alone each time, and how the trainings compare.
    """
    work = Work(data=data, recipe=recipe)
    job = assignments(models, membership, patient_of_record, seed, withheld)
    asked = time.perf_counter()
    found: list[BlockOutputs] = []
    times: list[float] = []
    foreign = "code" in recipe.settings()
    watched = Watched([]) if foreign else None
    with hired(work, Engine(workers=1), 1, Path(), 0) as crew:
        if len(job) > 1:
            progress.start("First model", 1)
            outputs, seconds = _trained(crew, job[:1], progress)
            progress.finish()
            apart = recipe.independent or outputs.facts.get("trained") == ONE_BY_ONE
            if apart and seconds * len(job) >= TRAINED_TWICE_SECONDS:
                job, found, times = job[:1], [outputs], [seconds]
            else:
                asked += seconds
        progress.start("Models", len(job))
        while not times or (len(times) == 1 and times[0] < TRAINED_TWICE_SECONDS):
            if times:
                progress.finish()
                progress.start("Models again", len(job))
            outputs, seconds = _trained(crew, job, progress)
            found.append(outputs)
            times.append(seconds)
    start = max(time.perf_counter() - asked - len(times) * times[-1], 0.0)
    progress.finish()
    long = len(times) == 1
    if long and not recipe.independent and not foreign:
        return Tried(outputs=found[-1], seconds=times, start_seconds=start, repeat=None)
    # The last: in the block, others were trained before it.
    again = job[-1:] if long and recipe.independent else job
    progress.start("Once more", len(again))
    with hired(work, Engine(workers=1), 1, Path(), 0) as crew:
        elsewhere, _ = _trained(crew, again, progress)
    progress.finish()
    first = found[0].values[-len(again) :]
    second = None if len(found) == 1 else compared(first, found[1].values)
    other = compared(first, elsewhere.values)
    worse = second if second is not None and second.different > other.different else other
    if worse.different:
        cause = likely_cause(
            second_differs=None if second is None else bool(second.different),
            elsewhere_differs=bool(other.different),
        )
        worse = replace(worse, cause=cause, drawn=recipe.draws())
    return Tried(
        outputs=found[-1],
        seconds=times,
        start_seconds=start,
        repeat=worse,
        written=() if watched is None else watched.changed(),
    )


def _trained(
    crew: Crew, job: tuple[Assignment, ...], progress: Progress
) -> tuple[BlockOutputs, float]:
    plan = BlockPlan(block=0, models=tuple(one.model for one in job))
    pending = crew.submit(plan, job)
    while not pending.done():
        time.sleep(POLL_SECONDS)
        progress.advance(crew.since())
    found = _result(pending)
    if isinstance(found, WrittenBlock):
        raise TypeError("a local worker returns what it trained")
    return found


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
    once_more: tuple[Assignment, ...] | None,
    store: RunStore,
    progress: Progress,
    meanwhile: Callable[[], None] | None = None,
) -> tuple[BlockOutputs, float] | WrittenBlock | Exception | None:
    """Write blocks as they come; on a failure write those that are finished, then raise it.

    A block whose worker was lost is given to another, a few times; the others are not touched. What
    is trained once more comes last, in a worker that has trained others before where there is one.
    """
    pending = {block.block: crew.submit(block, job) for block, job in jobs}
    repeat: Pending | None = None
    repeats, settled = 1, once_more is None
    repeated: tuple[BlockOutputs, float] | WrittenBlock | Exception | None = None
    first = store.blocks[0]
    if once_more is not None:
        first = BlockPlan(block=first.block, models=(once_more[0].model,))
        repeat = crew.submit(first, once_more, heard=False)
    if meanwhile is not None:
        meanwhile()
    of = {block.block: (block, job) for block, job in jobs}
    attempts = dict.fromkeys(pending, 1)
    failure: AuscultError | None = None
    while failure is None and (pending or not settled):
        time.sleep(POLL_SECONDS)
        within = crew.since()
        progress.advance(within)
        if repeat is not None and once_more is not None and not settled and repeat.done():
            repeated = _outcome(repeat)
            settled = repeats == crew.attempts or not isinstance(repeated, LostWorkerError)
            if not settled:
                repeats += 1
                repeat = crew.submit(first, once_more, heard=False)
        for number in [n for n, one in pending.items() if one.done()]:
            block, job = of[number]
            try:
                found = pending.pop(number).result()
            except LostWorkerError as error:
                if attempts[number] < crew.attempts:
                    attempts[number] += 1
                    LOG.warning("%s: its worker was lost, another takes it", block.name)
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
                checkpoints.drop(store.secret_path(STATES), block.models)
                LOG.debug("%s: %d models are written", block.name, len(block.models))
            except AuscultError as error:
                failure = failure or error
    if failure is not None:
        raise failure
    return repeated


def _outcome(pending: Pending) -> tuple[BlockOutputs, float] | WrittenBlock | Exception:
    """What was found, or what went wrong; as long as the crew is there to say it."""
    try:
        return pending.result()
    except (LostWorkerError, AuscultError) as error:
        return error


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
        how = f"exited with code {max(error.ends)}"
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
