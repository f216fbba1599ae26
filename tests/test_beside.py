"""Code beside the configuration that imports its neighbours only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult import PythonRecipe, SklearnRecipe, TorchRecipe
from auscult.cohort import TrainingData
from auscult.recipes.base import Assignment
from auscult.release import FunctionDoor
from auscult.release.graph import prepare_function
from tests.test_tables import N, cohort, visits

CODE = """
def network(inputs, outputs):
    import neighbour_for_test
    from torch import nn
    return nn.Linear(inputs, outputs)

def estimator():
    import neighbour_for_test
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression()

def predict(inputs):
    import neighbour_for_test
    return [0.5] * len(inputs)

def prepare(inputs):
    import neighbour_for_test
    return inputs

def measured(labels, said):
    import neighbour_for_test
    return 1.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "of_mine_for_test.py").write_text(CODE)
    (tmp_path / "neighbour_for_test.py").write_text("")
    yield tmp_path
    for name in ("of_mine_for_test", "neighbour_for_test"):
        sys.modules.pop(name, None)


def data() -> TrainingData:
    return cohort(visits()).training_data()


def assignments() -> list[Assignment]:
    member = np.arange(N) % 2 == 0
    return [Assignment(model=0, seed=1, members=np.flatnonzero(member))]


def the_network(folder: Path) -> Any:  # noqa: ANN401
    pytest.importorskip("torch")
    recipe = TorchRecipe("of_mine_for_test:network", epochs=1, folder=folder)
    return recipe.train_block(data(), assignments(), lambda _: None)


def the_estimator(folder: Path) -> Any:  # noqa: ANN401
    recipe = SklearnRecipe("of_mine_for_test:estimator", folder=folder)
    return recipe.train_block(data(), assignments(), lambda _: None)


def the_release(folder: Path) -> Any:  # noqa: ANN401
    return FunctionDoor(function="of_mine_for_test:predict", folder=folder).answers(data())


def the_preparation(folder: Path) -> Any:  # noqa: ANN401
    return prepare_function("of_mine_for_test:prepare", folder)([1])


def the_utility(folder: Path) -> Any:  # noqa: ANN401
    recipe = PythonRecipe(
        "of_mine_for_test:predict",
        output="loss",
        utility="of_mine_for_test:measured",
        folder=folder,
    )
    metric = recipe.metric()
    assert metric is not None
    assert metric.measure is not None
    assert metric.name == "measured"
    return metric.measure(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize(
    "use", [the_network, the_estimator, the_release, the_preparation, the_utility]
)
def test_neighbours_are_found_when_the_code_runs(folder: Path, use: Callable[[Path], Any]) -> None:
    before = list(sys.path)
    assert use(folder) is not None
    assert "neighbour_for_test" in sys.modules
    assert sys.path == before
