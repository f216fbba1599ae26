"""What runs inside a worker: training one block, one thread, on whatever machine.

Nothing here knows who sent the work. A worker on another machine writes its block's values beside
the others and reports their name; the process that holds the run's lock makes the block exist.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from auscult.base.errors import AuscultError, RecipeError
from auscult.base.parallel import peak_memory, shared_memory
from auscult.cohort import TrainingData
from auscult.recipes import asking, checkpoints, devices
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.recipes.torch.convolutions import guard_convolutions
from auscult.store import BlockPlan
from auscult.store.blocks import WrittenBlock, write_block_values
from auscult.training.warm import THREAD_VARIABLES, WORKERS

RESUMES = "Finished work is kept; run the same command again to resume"
MEMORY_RAN_OUT = f"Use fewer workers (--workers). {RESUMES}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What a worker needs to train any block.

    Attributes
    ----------
    data : TrainingData
    recipe : Recipe
    states : Place, optional
        Where long trainings leave their state.
    """

    data: TrainingData
    recipe: Recipe
    states: checkpoints.Place | None = None


_work: Work | None = None
_identity: str | None = None
_folder: Path | None = None


def begin(payload: bytes, folder: str, *, forked: bool, cards: Sequence[str] = ()) -> None:
    """Start a worker process of this machine: one thread, the work in memory, no orphan's life.

    Parameters
    ----------
    payload : bytes
        The work.
    folder : str
        Where progress is told.
    forked : bool
        Whether it was forked from a server and not started by the process that hires it.
    cards : sequence of str
        One of which this worker takes for itself.
    """
    global _work, _folder

    # Windows tells a process nothing new when its parent ends; loky hands the parent's handle on.
    end = _end_with_hirer if forked or sys.platform == "win32" else _end_with_parent
    threading.Thread(target=end, daemon=True).start()
    _one_thread()
    # Processes that the training code starts are those of a plain script, not this pool's kind.
    multiprocessing.set_start_method(None, force=True)
    _folder = Path(folder)
    asking.place = _folder
    devices.be_a_worker()
    devices.claim(_folder, cards)  # before anything in the work may touch one
    _work = _unpacked(payload)


def run_here(
    block: BlockPlan, job: tuple[Assignment, ...], *, heard: bool = True
) -> tuple[BlockOutputs, float]:
    """Train one block in a process that was begun; tells how far it is through a file.

    Parameters
    ----------
    block : BlockPlan
    job : tuple of Assignment
        What each model trains on.
    heard : bool
        Whether it counts as progress.
    """
    if _work is None or _folder is None:
        raise RuntimeError("the worker was not started")
    if not heard:
        return _trained(_work, block, job, _unheard)
    path = _folder / f"done-{os.getpid()}"
    path.touch(mode=0o600)
    with path.open("r+b", buffering=0) as marker:
        content = marker.read(8)
        done = [float(np.frombuffer(content)[0]) if len(content) == 8 else 0.0]

        def advance(models: float) -> None:
            done[0] += models
            marker.seek(0)
            marker.write(np.float64(done[0]).tobytes())

        return _trained(_work, block, job, advance)


def run_anywhere(
    payload: bytes,
    identity: str,
    block: BlockPlan,
    job: tuple[Assignment, ...],
    folder: str,
    records: int,
) -> WrittenBlock | AuscultError:
    """Train one block on any machine and write its values into the run's folder of outputs.

    What the user can mend is returned and not raised: engines tell of exceptions each in their way.

    Parameters
    ----------
    payload : bytes
        The work; unpacked once per process and `identity`.
    identity : str
    block : BlockPlan
    job : tuple of Assignment
    folder : str
        On a file system that this machine shares with the one that holds the run.
    records : int
    """
    global _work, _identity
    if _identity != identity or _work is None:
        for name in (*THREAD_VARIABLES, "CUBLAS_WORKSPACE_CONFIG"):
            os.environ.setdefault(name, WORKERS[name])
        _work, _identity = _unpacked(payload), identity
    _one_thread()
    devices.be_a_worker()
    if not Path(folder).is_dir():
        return RecipeError(
            "a worker cannot see the run directory",
            where=block.name,
            expected="a file system shared by all workers under the same path",
        )
    try:
        outputs, _ = _trained(_work, block, job, _unheard)
        return write_block_values(Path(folder), block, outputs, records)
    except AuscultError as error:
        return error


def _unheard(_: float) -> None:
    """Progress inside a block is not sent between machines, and repeating a model is none."""


def _trained(
    work: Work,
    block: BlockPlan,
    job: tuple[Assignment, ...],
    advance: Callable[[float], None],
) -> tuple[BlockOutputs, float]:
    guard_convolutions()
    states = work.states
    # Elsewhere the run's folder may not be seen; training then goes on without.
    checkpoints.place = states if states is not None and states.folder.is_dir() else None
    start, processor = time.perf_counter(), time.process_time()
    try:
        outputs = work.recipe.train_block(work.data, job, advance)
    except AuscultError as error:
        place = f"{block.name}, {error.where}" if error.where else block.name
        raise type(error)(
            error.what, where=place, expected=error.expected, next_step=error.next_step
        ) from None
    except MemoryError:
        raise RecipeError(
            "memory ran out while training", where=block.name, next_step=MEMORY_RAN_OUT
        ) from None
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    speed = dict(outputs.speed) | {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(processor, 3),
    }
    peak = peak_memory()
    if peak is not None:
        speed["peak_bytes"] = peak - shared_memory()
    return replace(outputs, speed=speed), seconds


def _unpacked(payload: bytes) -> Work:
    import cloudpickle

    work: Work = cloudpickle.loads(payload)  # from the run's own process, never from its files
    _be_the_script(work.recipe)
    return work


def _be_the_script(recipe: Recipe) -> None:
    """Let what came from the user's script be found under its name, as pickle looks for it.

    A process pool that the training code starts sends functions by name; those of a script are
    looked up in the main module, which here is another one.
    """
    main = sys.modules["__main__"]
    for held in vars(recipe).values():
        methods = vars(type(held)).values()
        for function in (held, *methods):
            scope = getattr(function, "__globals__", {})
            if getattr(function, "__module__", None) == "__main__":
                for name, value in scope.items():
                    if not name.startswith("__") and not hasattr(main, name):
                        setattr(main, name, value)


def _one_thread() -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with_hirer() -> None:
    """Exit when the process ends that hired this one: the server between them may live on."""
    hirer = multiprocessing.parent_process()
    if hirer is not None:
        hirer.join()
        os._exit(1)


def _end_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
