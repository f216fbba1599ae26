"""What a training function asks for by name, and processes that it starts."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult import Cohort
from auscult.base.errors import ConfigError, RecipeError
from auscult.base.leftovers import PREFIX
from auscult.cohort import TrainingData
from auscult.recipes import PythonRecipe, asking
from auscult.recipes.asking import read_signature
from auscult.recipes.base import Assignment
from auscult.recipes.splitting import hold_back, weights_of
from tests.cohorts import visits, write_audit

Array = NDArray[Any]


@pytest.fixture(scope="module")
def data() -> TrainingData:
    found: TrainingData = Cohort.from_table(
        visits(80), patient="person", label="outcome"
    ).training_data()
    return found


def jobs(data: TrainingData, count: int = 2) -> list[Assignment]:
    assert data.patient_of_record is not None
    found = []
    for model in range(count):
        rng = np.random.default_rng(model)
        chosen = rng.random(80) < 0.5
        rows = np.flatnonzero(chosen[data.patient_of_record])
        found.append(Assignment(model=model, members=rows, seed=50 + model))
    return found


def test_everything_that_is_asked_for(data: TrainingData, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def train(
        inputs: Any,  # noqa: ANN401
        labels: Array,
        seed: int,
        groups: Array,
        *,
        classes: tuple[str, ...],
        weights: Array,
        validation: tuple[Any, Array],
        device: str,
        scratch: Path,
        rate: float = 0.1,
    ) -> Any:  # noqa: ANN401
        (scratch / "weights.npy").write_bytes(b"1")
        seen.append(locals().copy())

        def predict(asked: Any) -> Array:  # noqa: ANN401
            assert (scratch / "weights.npy").exists()
            return np.full(len(asked), rate)

        return predict

    recipe = PythonRecipe(train, validation=0.3)
    work = jobs(data)
    recipe.train_block(data, work, lambda _: None)
    assert data.patient_of_record is not None
    table = data.inputs.table()  # type: ignore[union-attr]
    for one, said in zip(work, seen, strict=True):
        held_inputs, held_labels = said["validation"]
        assert len(said["inputs"]) + len(held_inputs) == len(one.members)
        assert len(said["labels"]) == len(said["inputs"]) == len(said["groups"])
        assert len(held_labels) == len(held_inputs)
        everyone = np.unique(data.patient_of_record[one.members])
        held = np.setdiff1d(everyone, said["groups"])
        assert len(held) == round(0.3 * len(everyone))
        rows = one.members[np.isin(data.patient_of_record[one.members], held)]
        pd.testing.assert_frame_equal(held_inputs, table.iloc[rows].reset_index(drop=True))
        np.testing.assert_array_equal(held_labels, data.labels[rows])
        assert said["classes"] == ("no", "yes")
        count = np.bincount(said["labels"])
        np.testing.assert_allclose(said["weights"], len(said["labels"]) / 2 / count[said["labels"]])
        assert said["device"] in ("cpu", "cuda")
        assert said["rate"] == 0.1
        assert not said["scratch"].exists()
        assert said["scratch"].parent.name.startswith(PREFIX), "collected should this be killed"
    assert seen[0]["scratch"] != seen[1]["scratch"]
    settings = recipe.settings()
    assert (settings["validation"], settings["weights"]) == (0.3, "balanced")
    assert PythonRecipe(train).settings()["validation"] == 0.2


def test_a_scratch_folder_goes_when_training_fails(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "place", tmp_path)

    def train(inputs: Any, labels: Array, seed: int, scratch: Path) -> Any:  # noqa: ANN401
        assert scratch.parent == tmp_path
        assert scratch.stat().st_mode & 0o077 == 0
        (scratch / "deep").mkdir()
        raise ValueError("no")

    with pytest.raises(RecipeError, match="no"):
        PythonRecipe(train).train_block(data, jobs(data, 1), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_arguments_by_name_in_any_order() -> None:
    def plain(x, y, s): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def between(x, y, groups, seed): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def turned(seed, groups, labels, inputs): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def named(*, labels, inputs, seed, classes): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def wide(*values, **rest): ...  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003, ANN202

    @functools.wraps(between)
    def wrapped(*values, **rest): ...  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003, ANN202

    assert read_signature(plain).first == ()
    assert read_signature(between).first == ("x", "y", "seed")
    assert read_signature(wrapped) == read_signature(between)
    assert read_signature(turned).first == ("inputs", "labels", "seed")
    assert read_signature(named).first == ("inputs", "labels", "seed")
    assert read_signature(named).names == {"classes"}
    assert read_signature(wide).names == set()
    bound = functools.partial(turned, groups="mine")
    assert read_signature(bound).names == set()


def test_names_that_nobody_gives_are_refused(data: TrainingData) -> None:
    def unknown(x, y, s, patients): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def close(x, y, s, group=None): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def few(x, y): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def own(x, y, s, epochs=3, norm=None): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202

    with pytest.raises(RecipeError, match=r'"patients".*groups.*classes.*scratch'):
        PythonRecipe(unknown).supports(data)
    with pytest.raises(RecipeError, match='Did you mean "groups"'):
        PythonRecipe(close).supports(data)
    assert "inputs, labels and a seed" in str(PythonRecipe(few).supports(data))
    assert PythonRecipe(own).supports(data) is None
    for option, value in (("validation", 0.3), ("weights", "patients"), ("device", "cpu")):
        with pytest.raises(ConfigError, match=f"does not ask for {option}"):
            PythonRecipe(own, **{option: value}).settings()  # type: ignore[arg-type]


def test_options_that_cannot_be() -> None:
    def asks(x, y, s, validation, weights, device): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202

    for option, value in (("validation", 1.5), ("weights", "equal"), ("device", "gpu")):
        with pytest.raises(ConfigError, match=f"recipe.{option}"):
            PythonRecipe(asks, **{option: value}).settings()  # type: ignore[arg-type]


def test_validation_is_by_patient_and_leaves_every_class() -> None:
    patients = np.repeat(np.arange(30), 3)
    table = pd.DataFrame({"p": patients, "x": np.arange(90.0), "y": (patients == 7).astype(int)})
    data = Cohort.from_table(table, patient="p", label="y").training_data()
    members = np.arange(90)
    held_of = []
    for seed in range(40):
        fitted, held = hold_back(data, members, 0.2, seed)
        assert not set(patients[fitted]) & set(patients[held])
        np.testing.assert_array_equal(np.sort(np.concatenate([fitted, held])), members)
        assert 7 in patients[fitted]  # the only one of its class
        held_of.append(set(patients[held]))
        again = hold_back(data, members, 0.2, seed)
        np.testing.assert_array_equal(again[1], held)
    assert len(set.union(*held_of)) == 29  # everybody else is held back at times
    with pytest.raises(RecipeError, match="no patient can be held back"):
        hold_back(data, members[:3], 0.2, 0)
    weights = weights_of("patients", data, np.arange(4))
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2])
    assert weights_of("balanced", data, members)[21] == pytest.approx(15)


STARTS = """
import multiprocessing

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset


def square(x):
    return x * x


def train(inputs, labels, seed, groups):
    import helper

    loader = DataLoader(TensorDataset(torch.tensor(labels)), batch_size=32, num_workers=1)
    assert sum(len(batch[0]) for batch in loader) == len(groups)
    with multiprocessing.Pool(1) as pool:
        assert pool.map(square, [2, 3]) == [4, 9]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(helper.double, [2, 3]) == [4, 6]
    return lambda asked: np.full(len(asked), labels.mean())
"""
SCRIPT = """
from auscult import Audit, Cohort, PythonRecipe

if __name__ == "__main__":
    cohort = Cohort.from_table("visits.csv", patient="person", label="outcome")
    trial = Audit(cohort, PythonRecipe(train, folder="."), models=8).trial()
    print("different:", trial.repeat.different)
"""


@pytest.mark.slow
@pytest.mark.parametrize("door", ["script", "command line"])
def test_training_code_starts_processes(tmp_path: Path, door: str) -> None:
    path = write_audit(tmp_path, models=8)
    text = path.read_text(encoding="utf-8")
    recipe = '[recipe]\nkind = "python"\ntrain = "starts:train"\n\n[audit]'
    path.write_text(text[: text.index("[recipe]")] + recipe + text.split("[audit]")[1])
    (tmp_path / "helper.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    (tmp_path / "starts.py").write_text(STARTS, encoding="utf-8")
    (tmp_path / "script.py").write_text(STARTS + textwrap.dedent(SCRIPT), encoding="utf-8")
    command = [*("-m", "auscult", "check", path.name)] if door != "script" else ["script.py"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    assert ("different: 0" in done.stdout) or ("the same answers" in done.stdout), done.stdout
