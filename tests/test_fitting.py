"""What an estimator's fit gets: patients, weights, arguments, and patients that are held back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit, KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from auscult import Cohort
from auscult.base.errors import ConfigError, RecipeError
from auscult.cohort import TrainingData
from auscult.recipes import SklearnRecipe
from auscult.recipes.base import Assignment

SEEN: list[dict[str, Any]] = []


@pytest.fixture(scope="module")
def data() -> TrainingData:
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(40), 3)
    table = pd.DataFrame(
        {
            "p": patients,
            "x": rng.normal(size=120),
            "kind": rng.choice(["a", "b"], 120),
            "y": (patients % 4 == 0).astype(int),
        }
    )
    found: TrainingData = Cohort.from_table(table, patient="p", label="y").training_data()
    return found


@pytest.fixture(autouse=True)
def _forget() -> None:
    SEEN.clear()


def block(recipe: SklearnRecipe, data: TrainingData) -> Any:  # noqa: ANN401
    assert recipe.supports(data) is None
    rows = np.flatnonzero(np.isin(np.arange(120) // 3, np.arange(0, 30)))
    return recipe.train_block(data, [Assignment(model=0, members=rows, seed=9)], lambda _: None)


class Watching:
    """Neither BaseEstimator nor parameters: it only has fit and predict_proba."""

    def __init__(self) -> None:
        self.options = {"a": 1}

    def fit(
        self,
        inputs: Any,  # noqa: ANN401
        labels: Any,  # noqa: ANN401
        sample_weight: Any = None,  # noqa: ANN401
        eval_set: Any = None,  # noqa: ANN401
        notes: Any = None,  # noqa: ANN401
    ) -> Watching:
        SEEN.append(
            {"inputs": inputs, "labels": labels, "weights": sample_weight, "eval_set": eval_set}
        )
        if notes is not None:
            notes.append("fitted")
            SEEN[-1]["notes"] = list(notes)
        self.classes_ = np.unique(labels)
        return self

    def predict_proba(self, inputs: Any) -> Any:  # noqa: ANN401
        return np.full((len(inputs), 2), 0.5)


class Listed(ClassifierMixin, BaseEstimator, Watching):  # type: ignore[misc]
    """The same with scikit-learn's base."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize("make", [Watching, Listed, lambda: make_pipeline(Listed())])
def test_what_is_held_back_goes_through_the_encoder(make: Any, data: TrainingData) -> None:  # noqa: ANN401
    given: list[str] = []
    fit = {"listed__notes": given} if hasattr(make(), "steps") else {"notes": given}
    recipe = SklearnRecipe(make(), validation=0.2, weights="balanced", fit=fit)
    block(recipe, data)
    block(recipe, data)
    one, two = SEEN
    ((held, held_labels),) = one["eval_set"]
    assert held.shape == (18, one["inputs"].shape[1])  # 6 of 30 patients, encoded
    assert len(one["inputs"]) == len(one["weights"]) == 72
    assert set(np.unique(held_labels)) <= {0, 1}
    count = np.bincount(one["labels"])
    np.testing.assert_allclose(one["weights"], 36 / count[one["labels"]])
    assert one["notes"] == two["notes"] == ["fitted"]  # a copy for each model
    assert not given
    np.testing.assert_array_equal(held, two["eval_set"][0][0])
    assert recipe.settings()["validation"] == 0.2


def test_early_stopping_on_patients_that_are_held_back(data: TrainingData) -> None:
    model = HistGradientBoostingClassifier(max_iter=60, early_stopping=True, n_iter_no_change=3)
    found = block(SklearnRecipe(model, validation=0.3), data)
    plain = block(SklearnRecipe(HistGradientBoostingClassifier(max_iter=60)), data)
    spread = [float(one.values.std()) for one in (found, plain)]
    assert spread[0] < spread[1] / 2  # noise: it stops long before the end


@pytest.mark.parametrize("splitter", [GroupKFold(3), GroupShuffleSplit(3)])
@pytest.mark.parametrize("inside", [False, True])
def test_searches_split_by_patient(splitter: Any, inside: bool, data: TrainingData) -> None:  # noqa: ANN401
    class Spying(KNeighborsClassifier):  # type: ignore[misc]
        def fit(self, inputs: Any, labels: Any) -> Any:  # noqa: ANN401
            SEEN.append({"inputs": np.asarray(inputs)})
            return super().fit(inputs, labels)

    search = GridSearchCV(Spying(), {"n_neighbors": [1, 3]}, cv=splitter)
    model = make_pipeline(StandardScaler(), search) if inside else search
    block(SklearnRecipe(model), data)
    whole = SEEN[-1]["inputs"]
    assert len(whole) == 90
    for one in SEEN[:-1]:
        rows = {tuple(row) for row in one["inputs"]}
        there = np.array([tuple(row) in rows for row in whole]).reshape(30, 3)
        assert (there.all(axis=1) == there.any(axis=1)).all()  # patients as a whole
        assert 0 < there.sum() < 90


def test_patients_inside_another_split_are_not_guessed(data: TrainingData) -> None:
    inner = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=GroupKFold(3), error_score="raise")
    outer = GridSearchCV(inner, {}, cv=KFold(2), error_score="raise")
    with pytest.raises(RecipeError, match="GroupKFold splits 45 rows, and the members have 90"):
        block(SklearnRecipe(outer), data)


def test_weights_reach_the_estimator_inside(data: TrainingData) -> None:
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=KFold(2))
    weighed = block(SklearnRecipe(search, weights="balanced"), data)
    plain = block(SklearnRecipe(search), data)
    by_class = LogisticRegression(class_weight="balanced")
    other = block(SklearnRecipe(make_pipeline(StandardScaler(), by_class)), data)
    np.testing.assert_allclose(weighed.values, other.values, atol=1e-4)
    assert np.abs(weighed.values - plain.values).max() > 0.1


def test_what_would_be_ignored_is_refused(data: TrainingData) -> None:
    options: list[tuple[str, dict[str, Any]]] = [
        ("weights", {"weights": "balanced"}),
        ("validation", {"validation": 0.2}),
    ]
    for option, given in options:
        recipe = SklearnRecipe(KNeighborsClassifier(), **given)
        with pytest.raises(ConfigError, match=f"recipe.{option}: KNeighborsClassifier.fit takes"):
            recipe.supports(data)
    with pytest.raises(ConfigError, match="no weights"):
        SklearnRecipe(weights="heavy").settings()
    one, two = (SklearnRecipe(Watching(), fit={"notes": [n]}).settings() for n in (1, 2))
    assert one["code"] != two["code"]


def test_what_is_fitted_already_is_refused(data: TrainingData) -> None:
    """A copy keeps what it knows: nobody would seem exposed, though everybody was memorised."""
    torch = pytest.importorskip("torch")
    numbers = data.inputs.frame().select_dtypes("number")  # type: ignore[union-attr]
    knows = DecisionTreeClassifier().fit(numbers, data.labels)

    class Wrapped(LogisticRegression):  # type: ignore[misc]
        def __init__(self, module: Any = None, criterion: Any = None) -> None:  # noqa: ANN401
            super().__init__()
            self.module, self.criterion = module, criterion

    loss = torch.nn.CrossEntropyLoss(weight=torch.ones(2))
    refused = {
        "FrozenEstimator": FrozenEstimator(knows),
        "not fitted": make_pipeline(FrozenEstimator(knows), LogisticRegression()),
        "Put the Decision": make_pipeline(
            FunctionTransformer(knows.predict_proba), LogisticRegression()
        ),
        "its class, Linear": Wrapped(module=torch.nn.Linear(2, 2)),
    }
    for said, estimator in refused.items():
        reason = SklearnRecipe(estimator).supports(data)
        assert reason is not None
        assert said in reason
    reason = SklearnRecipe(LogisticRegression(), fit={"init_model": "m.txt"}).supports(data)
    assert reason is not None
    assert "goes on from" in reason
    for allowed in (
        knows,  # a copy is not fitted
        make_pipeline(FunctionTransformer(np.log1p), DecisionTreeClassifier()),
        Wrapped(module=torch.nn.Linear, criterion=loss),
    ):
        assert SklearnRecipe(allowed).supports(data) is None
