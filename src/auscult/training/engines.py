"""Crews of workers: processes of this machine, a Dask cluster, Slurm.

A crew takes blocks and gives back something with ``done()`` and ``result()``. Which crew trains a
block changes the time and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from auscult.base.errors import AuscultError, ConfigError, RecipeError
from auscult.base.leftovers import note_semaphores, temporary_folder
from auscult.base.parallel import cores
from auscult.base.pools import new_pool
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.recipes.devices import needs_card
from auscult.store import BlockPlan
from auscult.store.blocks import WrittenBlock
from auscult.training.warm import WORKERS, server
from auscult.training.worker import Work, begin, run_anywhere, run_here

ENGINES = ("local", "dask", "slurm")
MOST_ATTEMPTS = 3
CONNECT_SECONDS = 15
CARD = "GPU"  # what Dask's workers call it by custom: dask worker ... --resources GPU=1
SLURM_DEFAULTS = {"timeout_min": 240, "cpus_per_task": 1, "mem_gb": 8}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where models are trained.

    Attributes
    ----------
    kind : {"local", "dask", "slurm"}
    workers : int, optional
        Worker processes of "local", by default one per card where the recipe trains on cards, else
        one per core; jobs at once of "slurm".
    scheduler : str, optional
        Address of Dask's scheduler, for example "tcp://host:8786".
    options : mapping
        Of "slurm": what submitit's executor takes (timeout_min, mem_gb, slurm_partition, ...), and
        `cluster`, "slurm" by default ("local" runs the jobs on this machine).
    """

    kind: str = "local"
    workers: int | None = None
    scheduler: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def hands(self, recipe: Recipe) -> int:
        """Worker processes of "local": as many as are asked for, else one per card or core."""
        return self.workers or len(recipe.cards()) or cores()

    def check(self) -> None:
        """Raise a ConfigError when the parts cannot be combined."""
        if self.kind not in ENGINES:
            raise ConfigError(
                f'there is no engine "{self.kind}"',
                where="--engine",
                expected=", ".join(ENGINES),
            )
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"{self.workers} workers", where="workers", expected="1 or more")
        if (self.kind == "dask") != (self.scheduler is not None):
            raise ConfigError(
                "--engine dask and --scheduler must be given together",
                where="--scheduler",
                expected="an address such as tcp://host:8786",
            )
        if self.options and self.kind != "slurm":
            raise ConfigError("--slurm requires --engine slurm", where="--slurm")


class Pending(Protocol):
    """A block under way."""

    def done(self) -> bool:
        """Whether it has ended, well or not."""

    def result(self) -> tuple[BlockOutputs, float] | WrittenBlock:
        """Outputs with the seconds they took, or the name of what a worker wrote.

        Raises
        ------
        AuscultError
            Training failed.
        LostWorkerError
            The worker did not live to tell.
        """


class LostWorkerError(Exception):
    """A worker died before its block was trained.

    Parameters
    ----------
    ends : sequence of int
        Exit codes of the processes that ended, as `multiprocessing` gives them: -9 for signal 9.
        Empty where nobody says.
    state : str
        What the batch system says of the job, for example "OUT_OF_MEMORY".
    """

    def __init__(self, ends: Sequence[int] = (), state: str = "") -> None:
        super().__init__()
        self.ends, self.state = tuple(ends), state


class Crew(Protocol):
    """Workers that train blocks."""

    attempts: int

    def submit(
        self, block: BlockPlan, job: tuple[Assignment, ...], *, heard: bool = True
    ) -> Pending:
        """Give a block to a worker; one that is not heard does not count as progress.

        Parameters
        ----------
        block : BlockPlan
        job : tuple of Assignment
            What each model trains on.
        heard : bool
            Whether it counts as progress.
        """

    def since(self) -> float:
        """Models' worth of progress inside blocks since the last call."""


@contextmanager
def hired(work: Work, engine: Engine, blocks: int, outputs: Path, records: int) -> Iterator[Crew]:
    """A crew for some blocks, sent home at the end.

    Parameters
    ----------
    work : Work
    engine : Engine
    blocks : int
        How many there are to train.
    outputs : Path
        The run's folder of outputs, for workers that write there themselves.
    records : int
    """
    import cloudpickle

    try:
        payload = cloudpickle.dumps(work)
    except Exception as error:
        raise RecipeError(
            f"the recipe cannot be sent to worker processes ({type(error).__name__}: {error})",
            where="recipe",
            next_step="Create what cannot be sent (open files, connections, locks) inside the "
            "training function",
        ) from error
    if engine.kind == "dask":
        with _dask(payload, engine, outputs, records, card=needs_card(work.recipe)) as crew:
            yield crew
    elif engine.kind == "slurm":
        with _slurm(payload, engine, outputs, records, card=needs_card(work.recipe)) as crew:
            yield crew
    else:
        cards = work.recipe.cards()
        with _local(payload, min(engine.hands(work.recipe), blocks), cards) as crew:
            yield crew


class _Future:
    """A `concurrent.futures` future whose executor says by some errors that a worker was lost."""

    def __init__(self, future: Any, lost: tuple[type[BaseException], ...]) -> None:  # noqa: ANN401
        self._future = future
        self._lost = lost

    def done(self) -> bool:
        return bool(self._future.done())

    def result(self) -> tuple[BlockOutputs, float] | WrittenBlock:
        try:
            found = self._future.result()
        except self._lost as error:
            raise LostWorkerError(_exit_codes(str(error))) from error
        return _unless_failed(found)


def _exit_codes(said: str) -> list[int]:
    """Exit codes in the words of loky, such as "the workers are {SIGKILL(-9), EXIT(1)}"."""
    listed = re.search(r"exit codes of the workers are \{([^}]*)\}", said)
    return [int(code) for code in re.findall(r"\((-?\d+)\)", listed[1])] if listed else []


def _unless_failed(found: Any) -> tuple[BlockOutputs, float] | WrittenBlock:  # noqa: ANN401
    """Raise what a worker returned as a failure."""
    if isinstance(found, AuscultError):
        raise found
    result: tuple[BlockOutputs, float] | WrittenBlock = found
    return result


# This machine


class _LocalCrew:
    attempts = 1  # the pool is broken with its worker; the same command resumes

    def __init__(self, pool: Any, folder: Path) -> None:  # noqa: ANN401
        self._pool = pool
        self._folder = folder
        self._last = 0.0
        self._noted = False

    def submit(
        self, block: BlockPlan, job: tuple[Assignment, ...], *, heard: bool = True
    ) -> Pending:
        from loky.process_executor import BrokenProcessPool

        future = self._pool.submit(run_here, block, job, heard=heard)
        if not self._noted:  # the first block starts what the pool had not yet started
            note_semaphores(self._folder)
            self._noted = True
        return _Future(future, (BrokenProcessPool,))

    def since(self) -> float:
        total = 0.0
        for file in self._folder.glob("done-*"):
            content = file.read_bytes()
            if len(content) == 8:
                total += float(np.frombuffer(content)[0])
        step, self._last = max(total - self._last, 0.0), max(total, self._last)
        return step


@contextmanager
def _local(payload: bytes, workers: int, cards: Sequence[str]) -> Iterator[Crew]:
    """Fresh worker processes that hold the work, each with a card of its own if there are any."""
    with temporary_folder() as folder:  # holds the workers' progress, nothing else
        pool = new_pool(
            workers,
            initializer=partial(begin, forked=server() is not None, cards=cards),
            initargs=(payload, str(folder)),
            context=server(),
            env=WORKERS if server() is None else None,
        )
        note_semaphores(folder)
        try:
            yield _LocalCrew(pool, folder)
        finally:
            pool.shutdown(wait=True, kill_workers=True)


# Dask


class _DaskCrew:
    attempts = MOST_ATTEMPTS

    def __init__(
        self,
        client: Any,  # noqa: ANN401
        payload: bytes,
        outputs: Path,
        records: int,
        resources: dict[str, int] | None = None,
    ) -> None:
        self._client, self._resources = client, resources
        self._identity = hashlib.sha256(payload).hexdigest()
        self._payload = client.scatter(payload, broadcast=True, hash=False)
        self._outputs, self._records = str(outputs), records

    def submit(
        self,
        block: BlockPlan,
        job: tuple[Assignment, ...],
        *,
        heard: bool = True,  # noqa: ARG002
    ) -> Pending:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        future = self._client.submit(
            run_anywhere,
            self._payload,
            self._identity,
            block,
            job,
            self._outputs,
            self._records,
            pure=False,
            retries=0,
            resources=self._resources,
        )
        return _Future(future, (KilledWorker, FutureCancelledError))

    def since(self) -> float:
        return 0.0


@contextmanager
def _dask(
    payload: bytes, engine: Engine, outputs: Path, records: int, *, card: bool
) -> Iterator[Crew]:
    try:
        from distributed import Client
    except ImportError as error:
        raise _missing("dask.distributed", "--engine dask") from error
    try:
        client: Any = Client(  # type: ignore[no-untyped-call]
            engine.scheduler, timeout=CONNECT_SECONDS, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {engine.scheduler} ({type(error).__name__})",
            where="--scheduler",
            next_step="Start one with `dask scheduler` and workers with `dask worker ADDRESS`",
        ) from error
    try:
        workers = client.scheduler_info()["workers"]
        if not workers:
            raise ConfigError(
                f"the scheduler at {engine.scheduler} has no workers",
                where="--scheduler",
                next_step="Start some: dask worker ADDRESS --nthreads 1",
            )
        # Only where workers say what they have: a task that asks for more waits without end.
        offered = any(dict(one.get("resources") or {}).get(CARD) for one in workers.values())
        resources = {CARD: 1} if card and offered else None
        yield _DaskCrew(client, payload, outputs, records, resources)
    finally:
        client.close()


# Slurm


class _SlurmJob:
    def __init__(self, job: Any) -> None:  # noqa: ANN401
        self._job = job

    def done(self) -> bool:
        return bool(self._job.done())

    def result(self) -> tuple[BlockOutputs, float] | WrittenBlock:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            found = self._job.result()
        except (FailedJobError, UncompletedJobError) as error:
            raise LostWorkerError(state=str(self._job.state)) from error
        return _unless_failed(found)


class _SlurmCrew:
    attempts = MOST_ATTEMPTS

    def __init__(self, executor: Any, payload: bytes, outputs: Path, records: int) -> None:  # noqa: ANN401
        self._executor = executor
        self._payload = payload
        self._identity = hashlib.sha256(payload).hexdigest()
        self._outputs, self._records = str(outputs), records

    def submit(
        self,
        block: BlockPlan,
        job: tuple[Assignment, ...],
        *,
        heard: bool = True,  # noqa: ARG002
    ) -> Pending:
        return _SlurmJob(
            self._executor.submit(
                run_anywhere,
                self._payload,
                self._identity,
                block,
                job,
                self._outputs,
                self._records,
            )
        )

    def since(self) -> float:
        return 0.0


@contextmanager
def _slurm(
    payload: bytes, engine: Engine, outputs: Path, records: int, *, card: bool
) -> Iterator[Crew]:
    try:
        import submitit
    except ImportError as error:
        raise _missing("submitit", "--engine slurm") from error
    options: dict[str, Any] = dict(engine.options)
    cluster = options.pop("cluster", "slurm")
    # submitit passes work through files of its own: they hold memberships and lie with the secrets.
    folder = outputs.parent / "secret" / f"jobs-{int(time.time())}-{os.getpid()}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            executor.update_parameters(**slurm_parameters(options, card=card))
            if cluster == "slurm" and engine.workers is not None:
                executor.update_parameters(slurm_array_parallelism=engine.workers)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise ConfigError(
                f"submitit rejected this: {str(error).splitlines()[0]}",
                where="--slurm",
                next_step="Check that this machine may submit jobs to Slurm",
            ) from error
        yield _SlurmCrew(executor, payload, outputs, records)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def slurm_parameters(options: Mapping[str, str], *, card: bool) -> dict[str, Any]:
    """What submitit is told: our defaults, a GPU for each job where one is needed, the options.

    Parameters
    ----------
    options : mapping of str to str
        They come last; where one of them asks for GPUs, ours does not.
    card : bool
        Whether the recipe cannot be trained without.
    """
    asked = any("gpu" in name or name.endswith("gres") for name in options)
    ours = {"gpus_per_node": 1} if card and not asked else {}
    return SLURM_DEFAULTS | ours | _numbers(options)


def _numbers(options: Mapping[str, str]) -> dict[str, Any]:
    return {name: int(text) if text.isdigit() else text for name, text in options.items()}


def _missing(package: str, what: str) -> ConfigError:
    return ConfigError(
        f"{package} is not installed",
        where=what,
        next_step='Install it: pip install "auscult[cluster]" -c constraints.txt',
    )
