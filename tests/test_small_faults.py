"""What a newcomer meets: help that is whole, messages that end once, names that were meant."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from auscult.audit import Audit
from auscult.base.errors import ConfigError, one_of
from auscult.recipes import SklearnRecipe
from auscult.report.view import page
from tests import report_summaries as summaries
from tests.consistency import tables_of
from tests.test_cli import run as command
from tests.test_cohort import cohort


def test_messages_end_in_one_mark() -> None:
    meant = one_of("mlpp", ["mlp", "forest"])
    assert str(ConfigError("there is none", expected=meant)).endswith('Did you mean "mlp"?')
    asked = str(ConfigError("there is none", expected=meant, next_step="Choose one"))
    assert asked.endswith('Did you mean "mlp"? Choose one.')
    assert str(ConfigError("a.", where="b")) == "b: a."
    assert str(ConfigError("why?", expected="c")) == "why? Expected: c."


def test_numbers_are_not_misspelt() -> None:
    assert "mean" not in one_of("resnet50", ["resnet-1d", "mlp"])
    assert "resnet18" in one_of("resnet18x", ["resnet18", "resnet-1d"]).partition("mean")[2]


@pytest.mark.parametrize("words", [("-h",), ("gate", "-h"), ("datasets", "-h")])
def test_help_has_a_short_name(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown, said = command(monkeypatch, *words)
    assert code == 0, said
    assert "Usage: " in shown


def test_help_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("--help",), ("datasets", "--help")):
        _, shown, _ = command(monkeypatch, *words)
        assert "..." not in shown.split("Commands:")[1]


def test_a_fitted_estimator_is_told_to_be_trained_anew() -> None:
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    assert "fitted" not in SklearnRecipe(estimator).settings()
    assert "fitted" not in SklearnRecipe("mlp").settings()
    estimator.fit(np.eye(4), [0, 1, 0, 1])
    assert "trained anew" in SklearnRecipe(estimator).settings()["fitted"]


def test_the_recipes_kind_and_model_stand_once() -> None:
    summary = summaries.rare_tail()
    summary["recipe"]["settings"] |= {"model": "mlp", "kind": "torch"}
    rows = [row[0] for row in tables_of(page(summary))["recipe"].rows]
    assert rows.count("model") == rows.count("kind") == 1


def test_a_file_name_alone_is_no_title() -> None:
    summary = summaries.rare_tail()
    source = summary["cohort"]["source"]
    summary["title"] = source
    summary["label"] = {"attribute": "readmitted"}
    assert page(summary).title == f"Model of readmitted, data of {source}"
    summary["title"] = "My audit"
    assert page(summary).title == "My audit"


def test_no_stage_of_check_counts_beyond_its_end() -> None:
    """It once said "Models: 14 of 8": what is trained twice is told as two stages."""

    class Counted:
        def __init__(self) -> None:
            self.stages: list[list[float]] = []
            self.labels: list[str] = []

        def start(self, label: str, total: float) -> None:
            self.stages.append([total, 0.0])
            self.labels.append(label)

        def advance(self, steps: float = 1.0) -> None:
            self.stages[-1][1] += steps

        def finish(self) -> None: ...

    told = Counted()
    Audit(cohort(), SklearnRecipe("logistic_regression"), models=16).trial(told)
    assert len(set(told.labels)) >= 3
    assert all(0 < done <= total for total, done in told.stages)
