"""XGBoost, both ways: its own ``train``, and a search over its scikit-learn class."""

from __future__ import annotations

from typing import Any

import xgboost
from sklearn.model_selection import GridSearchCV, GroupKFold

DEEP = {"max_depth": 10, "eta": 0.5, "lambda": 0.0, "min_child_weight": 0.0}
SHALLOW = {"max_depth": 1, "eta": 0.02, "lambda": 200.0}


def numbers(table: Any) -> Any:  # noqa: ANN401
    """Numbers of a table; XGBoost itself takes what is missing."""
    return table.select_dtypes("number")


def train(inputs: Any, labels: Any, seed: int, weights: Any) -> Any:  # noqa: ANN401
    """Fit without restraint."""
    data = xgboost.DMatrix(numbers(inputs), labels, weight=weights)
    settings = {"objective": "binary:logistic", "seed": seed, "nthread": 1, **DEEP}
    model = xgboost.train(settings, data, num_boost_round=40)
    return lambda asked: model.predict(xgboost.DMatrix(numbers(asked)), output_margin=True)


def train_stopped(inputs: Any, labels: Any, seed: int, validation: Any) -> Any:  # noqa: ANN401
    """Stumps, stopped early on patients that are held back."""
    data = xgboost.DMatrix(numbers(inputs), labels)
    held = xgboost.DMatrix(numbers(validation[0]), validation[1])
    settings = {"objective": "binary:logistic", "seed": seed, "nthread": 1, **SHALLOW}
    model = xgboost.train(
        settings,
        data,
        num_boost_round=40,
        evals=[(held, "held")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    rounds = (0, model.best_iteration + 1)
    return lambda asked: model.predict(
        xgboost.DMatrix(numbers(asked)), output_margin=True, iteration_range=rounds
    )


def search(depths: list[int], learning_rate: float, reg_lambda: float) -> Any:  # noqa: ANN401
    """A search whose folds hold patients as a whole: they are given to GroupKFold."""
    model = xgboost.XGBClassifier(
        n_estimators=40,
        learning_rate=learning_rate,
        reg_lambda=reg_lambda,
        min_child_weight=0,
    )
    return GridSearchCV(model, {"max_depth": depths}, cv=GroupKFold(2), scoring="roc_auc")
