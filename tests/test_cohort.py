"""The cohort itself: its identity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from auscult import Cohort
from auscult.cohort import PatientIds


def cohort() -> Cohort:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "person": np.repeat([f"NHS-{7000 + i}" for i in range(30)], 2),
            "age": rng.integers(20, 90, 60),
            "sex": np.repeat(rng.choice(["female", "male"], 30), 2),
            "outcome": rng.choice(["readmitted", "well"], 60),
        }
    )
    return Cohort.from_table(
        table, patient="person", label="outcome", positive=["readmitted"], groups=["sex"]
    )


CHANGES: dict[str, Callable[[Cohort], Cohort]] = {
    "a label": lambda one: replace(one, labels=np.where(np.arange(60) == 7, 1, 0) ^ one.labels),
    "the names of classes": lambda one: replace(one, classes=one.classes[::-1]),
    "the task": lambda one: replace(one, task="multiclass"),
    "whose a record is": lambda one: replace(
        one, patient_of_record=np.where(np.arange(60) == 7, 0, one.patient_of_record)
    ),
    "who a patient is": lambda one: replace(
        one, patient_ids=PatientIds(one.patient_ids.reveal()[::-1])
    ),
    "a group": lambda one: replace(one, groups=one.groups.replace("male", "other")),
    "the name of a group": lambda one: replace(one, groups=one.groups.rename(columns=str.upper)),
    "the inputs": lambda one: replace(
        one,
        inputs=replace(one.inputs, numeric=one.inputs.numeric + 1),  # type: ignore[type-var, union-attr]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_changes_with(change: str) -> None:
    one = cohort()
    assert one.fingerprint() == cohort().fingerprint()
    assert CHANGES[change](one).fingerprint() != one.fingerprint()
