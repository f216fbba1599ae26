"""What an audit will cost, and a word before it starts on what will not fit.

Time is told from one trained block, its start included, because most of a short run is starting.
Analysis is told from the size of the signals and constants measured on two cores of 2024.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auscult.base.errors import AuscultError, StoreError
from auscult.base.parallel import available_memory, cores
from auscult.training.repeat import Repeat

ANALYSIS_START_SECONDS = 5.0
# On two cores, all attacks, the null and disclosure control included: 16 s for 64 models of 8,694
# records, 30 s for 256, 35 s for 64 of 100,000 and 181 s of a million, which no straight line fits.
ANALYSIS_SECONDS, ANALYSIS_POWER = 7.2e-3, 0.55
CELL_SECONDS = 0.3  # one access with one knowledge, its null included
CELL_SECONDS_PER_SIGNAL = 1.5e-6
VARIANT_ANALYSIS_SECONDS = 2.0
TASK_BYTES = 400_000_000  # an interpreter with its libraries
SPARE_DISK = 50_000_000  # what must stay free besides the outputs
# Measured: report, summary and groups; a row of each patient and record; a membership bit, packed.
RESULT_BYTES = 450_000
PATIENT_BYTES, RECORD_BYTES, MEMBERSHIP_BYTES = 52, 43, 0.16
ANALYSIS_COPIES = 4  # signals, signals by record, scores, and room for pieces


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What training one block told.

    Attributes
    ----------
    models : int
        In the block.
    seconds : float
        Wall-clock time of training them in one process with one thread.
    start_seconds : float
        From asking for a worker to its first step.
    worker_bytes : int
        Most memory that the worker held for itself alone.
    output_bytes : int
        Size of all models' outputs on disk.
    facts : dict
    notes : dict
    repeat : Repeat, optional
        How the models compare with themselves, trained again.
    written : tuple of str
        Entries of the current folder that training code made or changed.
    """

    models: int
    seconds: float
    start_seconds: float
    worker_bytes: int
    output_bytes: int
    facts: dict[str, Any]
    notes: dict[str, int]
    repeat: Repeat | None = None
    written: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VariantTrial:
    """A protection, a size of the sweep, or models of another share of the patients.

    Attributes
    ----------
    name : str
    trial : Trial or None
        None where no models of its own are trained.
    models : int, optional
        How many are trained, where that is not the audit's number.
    """

    name: str
    trial: Trial | None
    models: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an audit is expected to take.

    Attributes
    ----------
    training_seconds, analysis_seconds : float
    memory_bytes : int
        At the same time, by all processes.
    disk_bytes : int
    """

    training_seconds: float
    analysis_seconds: float
    memory_bytes: int
    disk_bytes: int


def expected(
    trial: Trial, *, models: int, records: int, patients: int, workers: int, cells: int = 0
) -> Cost:
    """Cost of an audit from a trial.

    Parameters
    ----------
    trial : Trial
    models, records, patients : int
        Of the audit.
    workers : int
    cells : int
        Accesses times knowledges that exposure looks at.
    """
    rounds = math.ceil(math.ceil(models / trial.models) / workers)
    signals = models * records
    speed = 2 / max(1, min(cores(), 8))
    exposure = cells * (CELL_SECONDS + CELL_SECONDS_PER_SIGNAL * signals * speed)
    return Cost(
        training_seconds=trial.start_seconds + rounds * trial.seconds,
        analysis_seconds=ANALYSIS_START_SECONDS
        + ANALYSIS_SECONDS * signals**ANALYSIS_POWER * speed
        + exposure,
        memory_bytes=max(
            workers * trial.worker_bytes + TASK_BYTES, TASK_BYTES + 4 * ANALYSIS_COPIES * signals
        ),
        disk_bytes=trial.output_bytes
        + int(MEMBERSHIP_BYTES * models * patients)
        + PATIENT_BYTES * patients
        + RECORD_BYTES * records
        + RESULT_BYTES,
    )


def expected_of_variants(
    variants: Sequence[VariantTrial], *, models: int, records: int, patients: int, workers: int
) -> Cost:
    """Cost of all variants together, beside that of the audit.

    A variant's analysis leaves out the attacks over all records and takes about half of one.

    Parameters
    ----------
    variants : sequence of VariantTrial
    models, records, patients : int
        Of the audit.
    workers : int
    """
    found = [
        expected_of_variant(one, models=models, records=records, patients=patients, workers=workers)
        for one in variants
    ]
    costs = [cost for cost in found if cost is not None]
    analysed = ANALYSIS_SECONDS * (models * records) ** ANALYSIS_POWER
    each = VARIANT_ANALYSIS_SECONDS + 0.5 * analysed
    return Cost(
        training_seconds=sum(cost.training_seconds for cost in costs),
        analysis_seconds=each * (len(variants) + 1) if variants else 0.0,
        memory_bytes=max((cost.memory_bytes for cost in costs), default=0),
        disk_bytes=sum(
            _outputs(one.trial, one.models, models)
            + int(MEMBERSHIP_BYTES * (one.models or models) * patients)
            for one in variants
            if one.trial is not None
        ),
    )


def expected_of_variant(
    one: VariantTrial, *, models: int, records: int, patients: int, workers: int
) -> Cost | None:
    """Cost of one variant as if it were an audit; None without models of its own.

    Parameters
    ----------
    one : VariantTrial
    models, records, patients : int
        Of the audit.
    workers : int
    """
    if one.trial is None:
        return None
    trial = replace(one.trial, output_bytes=_outputs(one.trial, one.models, models))
    return expected(
        trial, models=one.models or models, records=records, patients=patients, workers=workers
    )


def _outputs(trial: Trial, own: int | None, models: int) -> int:
    """Bytes of a variant's outputs; a trial tells those of as many models as the audit has."""
    return trial.output_bytes if own is None else trial.output_bytes * own // models


def refuse_what_does_not_fit(
    folder: Path, *, output_bytes: int, data_bytes: int, workers: int
) -> None:
    """Raise a StoreError or AuscultError when disk or memory will surely not do.

    Parameters
    ----------
    folder : Path
        The run directory; need not exist.
    output_bytes : int
        What is still to be written.
    data_bytes : int
        Size of the cohort's inputs, of which every worker holds a copy.
    workers : int
        Worker processes on this machine.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if output_bytes + SPARE_DISK > free:
        raise StoreError(
            f"the outputs will take {in_bytes(output_bytes)}, but only {in_bytes(free)} are free",
            where=str(folder),
            expected=f"{in_bytes(output_bytes + SPARE_DISK)} of free space",
            next_step="Free some space, name another directory with --out, or train fewer models",
        )
    available = available_memory()
    needed = TASK_BYTES + workers * (TASK_BYTES // 2 + data_bytes)
    if available is not None and needed > available:
        raise AuscultError(
            f"{workers} workers need at least {in_bytes(needed)} of memory, but only "
            f"{in_bytes(available)} are available",
            where="memory",
            next_step="Use fewer workers (--workers), a subset (cohort.max_patients), or a larger "
            "machine",
        )


def in_bytes(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
