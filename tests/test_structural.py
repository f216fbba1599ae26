"""Structural checks: what a fitted model carries of its training data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from auscult.recipes.structure import structural_findings

RNG = np.random.default_rng(1)
X = RNG.standard_normal((60, 3))
Y = (X[:, 0] + RNG.standard_normal(60) > 0).astype(int)


def found(model: BaseEstimator) -> dict[str, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model.fit(X, Y)
    return {one.key: one.count for one in structural_findings(fitted, 60, 10)}


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(),
        SVC(),
        GaussianProcessClassifier(),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        VotingClassifier([("a", LogisticRegression()), ("b", SVC())]),
    ],
    ids=["knn", "svm", "gp", "pipeline", "voting"],
)
def test_models_that_keep_records(model: BaseEstimator) -> None:
    kept = found(model)
    assert 0 < kept["records"] <= 60
    if not isinstance(model, SVC | VotingClassifier):
        assert kept["records"] == 60


def test_small_and_pure_leaves_are_counted() -> None:
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    leaf = tree.tree_.children_left == -1
    kept = found(DecisionTreeClassifier(random_state=0))
    assert kept["leaves"] == (tree.tree_.n_node_samples[leaf] < 10).sum()
    assert kept["pure_leaves"] == leaf.sum()
    assert "leaves" not in found(DecisionTreeClassifier(min_samples_leaf=10))
    assert found(RandomForestClassifier(5, random_state=0))["leaves"] > kept["leaves"]


def test_plain_models_have_nothing() -> None:
    assert found(make_pipeline(StandardScaler(), LogisticRegression())) == {}


def test_more_parameters_than_records() -> None:
    assert found(MLPClassifier((100,), max_iter=2))["parameters"] >= 8


def test_words_of_a_few_records() -> None:
    texts = ["fever", "cough", "fever rare"] * 20
    rare = CountVectorizer().fit(texts)
    assert [one.key for one in structural_findings(rare, 60, 10)] == ["vocabulary"]
    assert not structural_findings(CountVectorizer(min_df=10).fit(texts), 60, 10)


def test_words_hold_no_value_of_a_record() -> None:
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    said = " ".join(one.what for one in structural_findings(tree, 60, 10))
    assert "leaves of DecisionTreeClassifier hold fewer than 10 records" in said
    assert "." not in said.replace("(min_df)", "")
