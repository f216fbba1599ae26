"""The cohort itself: its identity, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from auscult import Audit, Cohort, PythonRecipe, TorchRecipe
from auscult.cohort import PatientIds
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.recipes.base import Assignment


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


def older(one: Cohort) -> TableInputs:
    assert isinstance(one.inputs, TableInputs)
    return replace(one.inputs, numeric=one.inputs.numeric + 1)


def train(inputs: pd.DataFrame, labels: object, seed: int) -> Callable[[object], object]:
    raise NotImplementedError


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
    "the inputs": lambda one: replace(one, inputs=older(one)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_changes_with(change: str) -> None:
    one = cohort()
    assert one.fingerprint() == cohort().fingerprint()
    assert CHANGES[change](one).fingerprint() != one.fingerprint()


def test_what_is_shown_of_a_cohort_holds_counts_and_no_value() -> None:
    one = cohort()
    text = repr(one)
    assert "60 records of 30 patients" in text
    assert "groups: sex" in text
    for shown in (text, repr(one.training_data()), repr(one.inputs), repr(one.patient_ids)):
        for value in ("NHS-7", "female", "readmitted", "well", "array(", "[", "0."):
            assert value not in shown
    pictures = ArrayInputs(
        array=np.full((5, 8, 9), 77, "uint8"), rows=np.arange(4), channels="none"
    )
    assert repr(pictures) == "ArrayInputs(4 records of 8 x 9, uint8, channels none)"


def test_what_is_shown_of_a_model_to_train_does_not_tell_on_whom() -> None:
    shown = repr(Assignment(model=3, members=np.array([11, 12, 13]), seed=5))
    assert shown == "Assignment(model=3, seed=5)"


def test_audits_and_recipes_show_their_parameters_as_scikit_learn_does() -> None:
    recipe = TorchRecipe("mlp", epochs=3, hidden=[8])
    assert repr(recipe) == "TorchRecipe(hidden=[8], epochs=3)"
    audit = Audit(cohort(), recipe, models=16, seed=7)
    assert repr(audit) == f"Audit(cohort={audit.cohort!r}, recipe={recipe!r}, models=16, seed=7)"
    assert repr(PythonRecipe(train)) == "PythonRecipe(train=tests.test_cohort.train)"
    assert "NHS-7" not in repr(audit)
