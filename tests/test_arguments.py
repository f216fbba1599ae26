"""Arguments of an audit that are something else than their names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from auscult import Audit, Cohort, SklearnRecipe
from auscult.audit.growing import Until
from auscult.base.errors import AuscultError
from tests.cohorts import visits


def audit(**given: Any) -> Audit:  # noqa: ANN401
    cohort = Cohort.from_table(visits(60), patient="person", label="outcome")
    usual: dict[str, Any] = {
        "cohort": cohort,
        "recipe": SklearnRecipe("logistic_regression"),
        "models": 8,
    }
    return Audit(**(usual | given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cohort": pd.DataFrame({"a": [1]})}, "cohort.*: DataFrame is not a Cohort.*from_table"),
        ({"recipe": "mlp"}, "recipe.*: str is not a recipe.*SklearnRecipe"),
        ({"recipe": LogisticRegression()}, r"recipe.*SklearnRecipe\(estimator\)"),
        ({"recipe": print}, r"recipe.*PythonRecipe\(train\)"),
        ({"models": "16"}, "models.*: '16' is not a whole number"),
        ({"models": True}, "models.*: True is not a whole number"),
        ({"seed": 1.5}, r"seed.*: 1\.5 is not a whole number"),
        ({"smallest_cell": None}, "smallest_cell.*: None is not a whole number"),
        ({"withhold": "0.2"}, "withhold.*: '0.2' is not a number"),
        ({"protect": ["early stopping"]}, "protect.*: str is not a Variant"),
        ({"protect": "early stopping"}, "protect.*: str is not a Variant"),
        ({"deployment": {"prior": 0.1}}, "deployment.*: dict is not a Deployment"),
        ({"release": "model.onnx"}, "release.*: str is not a Release"),
        ({"sizes": 0.5}, r"sizes.*through 0\.5 alone"),
        ({"queries": "nosie:0.1"}, 'queries.*"nosie:0.1" is not a valid query'),
    ],
)
def test_each_gets_one_message_and_no_folder(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(AuscultError, match=said):
        audit(**given).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_ledger_that_is_a_file_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("")
    with pytest.raises(AuscultError, match=r'ledger.*: "ledger" is a file'):
        audit(ledger=tmp_path / "ledger").run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_query_and_one_variant_need_no_list() -> None:
    assert audit(queries="noise:0.1").queries == ("noise:0.1",)
    audit(queries="noise:0.1").check()


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ({"policy": "policy.toml"}, "policy: str is not a policy"),
        ({"width": "0.1"}, "width: '0.1' is not a number"),
        ({"width": 0.1, "most": "32"}, "most: '32' is not a whole number"),
        ({"width": 0.1, "most": None}, "most: None is not a whole number"),
        ({"width": 0.1, "hours": "8h"}, "hours: '8h' is not a number"),
    ],
)
def test_goals_and_budgets_are_numbers(until: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match=said):
        audit().run_until(tmp_path / "run", Until(**until))
    assert not (tmp_path / "run").exists()
