"""Every way in which randomness comes in: a model's seed decides all of it, its order nothing."""

from __future__ import annotations

import random
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline

from auscult import Cohort
from auscult.recipes import PythonRecipe, SklearnRecipe
from auscult.recipes.base import Assignment
from auscult.recipes.seeding import seed_estimator, seeded, trained


def assignments(records: int) -> list[Assignment]:
    rng = np.random.default_rng(0)
    return [
        Assignment(model=m, members=np.sort(rng.permutation(records)[: records // 2]), seed=100 + m)
        for m in range(3)
    ]


def draw(kind: str) -> float:
    if kind == "python":
        return random.random()  # noqa: S311
    if kind == "numpy":
        return float(np.random.rand())  # noqa: NPY002
    import torch

    return float(torch.rand(()))


class Plain:
    """Neither BaseEstimator nor parameters; draws from a global generator."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.random_state: int | None = None
        self.classes_ = np.array([0, 1])

    def __repr__(self) -> str:
        return "Plain()"

    def fit(self, inputs: Any, labels: Any) -> Plain:  # noqa: ANN401, ARG002
        if self.random_state is None:
            raise AssertionError
        self.share = draw(self.kind)
        return self

    def predict_proba(self, inputs: Any) -> Any:  # noqa: ANN401
        p = np.full(len(inputs), (self.share + draw(self.kind)) / 2)
        return np.stack([1 - p, p], axis=1)


def training(kind: str) -> Any:  # noqa: ANN401
    def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
        share = draw(kind)
        return lambda asked: np.full(len(asked), (share + draw(kind)) / 2)

    return train


@pytest.mark.parametrize("kind", ["python", "numpy", "torch"])
@pytest.mark.parametrize("make", [Plain, training])
def test_global_generators_follow_the_model(kind: str, make: Any) -> None:  # noqa: ANN401
    table = pd.DataFrame({"p": np.arange(20), "x": np.arange(20.0), "y": [0, 1] * 10})
    data = Cohort.from_table(table, patient="p", label="y").training_data()
    recipe = SklearnRecipe(make(kind)) if make is Plain else PythonRecipe(make(kind))
    jobs, before = assignments(20), random.getstate()
    together = recipe.train_block(data, jobs, lambda _: None).values
    backwards = recipe.train_block(data, jobs[::-1], lambda _: None).values[::-1]
    np.testing.assert_array_equal(together, backwards)
    assert len(np.unique(together[:, 0, 0, 0])) == 3
    assert random.getstate() == before


def test_seeds_inside_estimators_are_set() -> None:
    class Booster(LogisticRegression):  # type: ignore[misc]
        def __init__(self, seed: int | None = None, random_seed: int | None = 0) -> None:
            super().__init__()
            self.seed = seed
            self.random_seed = random_seed

    booster = Booster()
    seed_estimator(booster, 5)
    assert booster.seed is not None
    assert len({booster.seed, booster.random_seed}) == 2

    cases = (StratifiedKFold(3, shuffle=True), ShuffleSplit(3), KFold(3, shuffle=True))
    for splitter in cases:
        search = GridSearchCV(make_pipeline(RandomForestClassifier()), {}, cv=splitter)
        seed_estimator(search, 5)
        assert isinstance(search.cv.random_state, int)
        assert splitter.random_state is None
        assert isinstance(search.estimator[-1].random_state, int)
    fixed = GridSearchCV(LogisticRegression(), {}, cv=KFold(3))
    seed_estimator(fixed, 5)
    assert fixed.cv.random_state is None


def test_no_warning_comes_from_the_number_of_processes() -> None:
    model = LogisticRegression()
    seed_estimator(model, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(np.arange(8.0)[:, None], [0, 1] * 4)


def test_processes_are_set_where_none_would_be_all_cores() -> None:
    class Own(LogisticRegression):  # type: ignore[misc]
        pass

    class Foreign(BaseEstimator):  # type: ignore[misc]
        def __init__(self, n_jobs: int | None = None) -> None:
            self.n_jobs = n_jobs

    own, foreign, forest = Own(), Foreign(n_jobs=8), RandomForestClassifier(n_jobs=8)
    for model in (own, foreign, forest):
        seed_estimator(model, 1)
    assert (own.n_jobs, foreign.n_jobs, forest.n_jobs) == (None, 1, None)


def test_keras_and_tensorflow_are_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    def saying(name: str) -> Any:  # noqa: ANN401
        return SimpleNamespace(
            set_random_seed=lambda seed: seen.append((name, seed)),
            set_seed=lambda seed: seen.append((name, seed)),
        )

    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(random=saying("tensorflow")))
    with seeded(3):
        assert seen == [("tensorflow", 3)]
        # What is loaded while it trains has drawn without a seed: it trains again.
        keras = SimpleNamespace(utils=saying("keras"))
        tries = []

        def train() -> int:
            monkeypatch.setitem(sys.modules, "keras", keras)
            tries.append(random.random())  # noqa: S311
            return len(tries)

        assert trained(3, train) == 2
    assert seen[1:] == [("keras", 3), ("tensorflow", 3)]
    assert tries[0] == tries[1]


def test_a_missing_class_is_renumbered_for_who_refuses_gaps() -> None:
    class Gapless(LogisticRegression):  # type: ignore[misc]
        def fit(self, inputs: Any, labels: Any) -> Gapless:  # noqa: ANN401
            if (np.unique(labels) != np.arange(len(np.unique(labels)))).any():
                raise ValueError("gap")
            super().fit(inputs, labels)
            return self

    labels = ["a", "b", "c"] * 10
    table = pd.DataFrame({"p": np.arange(30), "x": np.arange(30.0), "y": labels})
    data = Cohort.from_table(table, patient="p", label="y").training_data()
    jobs = [Assignment(model=0, members=np.flatnonzero(data.labels != 1), seed=1)]
    found = SklearnRecipe(Gapless()).train_block(data, jobs, lambda _: None)
    usual = SklearnRecipe(LogisticRegression()).train_block(data, jobs, lambda _: None)
    np.testing.assert_array_equal(found.values, usual.values)
    assert any("class" in note for note in found.notes)


def test_generators_are_put_back() -> None:
    before = str(np.random.get_state(legacy=False))  # noqa: NPY002
    with seeded(3):
        np.random.rand()  # noqa: NPY002
    assert str(np.random.get_state(legacy=False)) == before  # noqa: NPY002
