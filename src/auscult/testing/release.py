"""Checks of doors to a release."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import AuscultError
from auscult.cohort import Cohort, TrainingData
from auscult.release.doors import Door
from auscult.testing.failing import Subject

Make = Callable[[NDArray[np.float64], Path], Door]
PATIENTS, RECORDS = 11, 30
NEAR = 1e-6  # files of single precision are good enough


def check_release(make: Make) -> None:
    """Check a door: it says of each record what the model says of it.

    Answers come in the order of the cohort's records, whatever that order is, and are the same
    when the door is asked again; labels change none of them; too few answers and answers that are
    not finite are refused or handed on, never filled up; what is said about the door is JSON
    without a folder of this machine.

    Parameters
    ----------
    make : callable
        ``make(answers, folder)`` gives a door to a model that answers record i of a cohort of 30
        records with ``answers[i]``, a probability. `folder` is empty, for the door's files. The
        cohort's one input, "x", is i for record i.

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    data = _cohort().training_data()
    rng = np.random.default_rng(11)
    answers = rng.uniform(0.02, 0.98, RECORDS)
    with tempfile.TemporaryDirectory() as top:
        for number, said in enumerate((answers, answers[::-1].copy())):
            folder = Path(top) / f"it has spaces {number}"
            folder.mkdir()
            door = make(said, folder)
            if not number:
                _check_words(door, folder)
            _check_answers(door, data, said, folder)
        folder = Path(top) / "short"
        folder.mkdir()
        _check_short(make, data, answers, folder)


def _cohort() -> Cohort:
    """Patients with one to three records, the same label for all records of a patient."""
    patient = np.sort(np.arange(RECORDS) * 7 % PATIENTS)
    table = pd.DataFrame(
        {"x": np.arange(RECORDS, dtype=float), "patient": patient, "ill": patient % 2}
    )
    return Cohort.from_table(table, patient="patient", label="ill")


def _subject(door: Door) -> Subject:
    return Subject("release door", getattr(door, "kind", type(door).__name__))


def _check_words(door: Door, folder: Path) -> None:
    subject = _subject(door)
    subject.need(isinstance(door, Door), f"it is a {type(door).__name__}, not a Door")
    subject.need(bool(door.label.strip()), "it has no label")
    with subject.doing("telling about itself"):
        about = door.about()
    subject.need(about.get("door") == door.kind, f'about()["door"] is not "{door.kind}"')
    try:
        said = json.dumps(about)
    except TypeError:
        subject.need(False, "about() is not JSON")
    subject.need(
        str(folder.parent) not in said and folder.name not in said,
        "about() tells a folder of this machine",
    )


def _check_answers(
    door: Door, data: TrainingData, expected: NDArray[np.float64], folder: Path
) -> None:
    subject = _subject(door)
    before = _files(folder)
    with subject.doing("being checked"):
        door.check(data)
    with subject.doing("answering"):
        found = door.answers(data)
        again = door.answers(data)
        turned = door.answers(replace(data, labels=1 - data.labels))
    subject.need(isinstance(found, np.ndarray), f"it gives {type(found).__name__}, not an array")
    subject.need(found.dtype.kind == "f", f"it gives {found.dtype}, not floating-point numbers")
    subject.need(
        found.shape[:1] == (RECORDS,), f"it gives shape {found.shape} of {RECORDS} records"
    )
    member = found if found.ndim == 1 else found[:, -1]
    subject.need(
        np.allclose(np.sort(member), np.sort(expected), atol=NEAR),
        "its answers are not those of the model",
    )
    subject.need(
        np.allclose(member, expected, atol=NEAR), "its answers are not in the order of the records"
    )
    subject.need(np.array_equal(found, again), "its answers differ when it is asked again")
    subject.need(np.array_equal(found, turned), "its answers depend on the labels")
    subject.need(_files(folder) == before, "it changed a file of the model's")


def _check_short(
    make: Make, data: TrainingData, answers: NDArray[np.float64], folder: Path
) -> None:
    """One answer is missing: an error, or one answer less, which the audit refuses."""
    try:
        door = make(answers[:-1], folder)
        subject = _subject(door)
        door.check(data)
        found = door.answers(data)
    except AuscultError:
        return
    except Exception as error:
        raise AssertionError(
            f"with one answer less than records it raised {type(error).__name__}: {error}; an "
            "AuscultError says what to do"
        ) from error
    subject.need(
        len(found) < RECORDS or not np.isfinite(found).all(),
        "one answer was missing, and it made one up",
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
