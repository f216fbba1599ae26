"""LightGBM's own ``train``."""

from __future__ import annotations

from typing import Any

import lightgbm

FREE = {"num_leaves": 63, "min_data_in_leaf": 1, "learning_rate": 0.3, "min_sum_hessian_in_leaf": 0}
TIED = {"num_leaves": 2, "learning_rate": 0.02, "lambda_l2": 200.0}
PLAIN = {"objective": "binary", "verbose": -1, "num_threads": 1, "deterministic": True}


def numbers(table: Any) -> Any:  # noqa: ANN401
    """Numbers of a table; LightGBM itself takes what is missing."""
    return table.select_dtypes("number").to_numpy()


def train(inputs: Any, labels: Any, seed: int, weights: Any) -> Any:  # noqa: ANN401
    """Fit without restraint."""
    data = lightgbm.Dataset(numbers(inputs), labels, weight=weights)
    model = lightgbm.train(PLAIN | FREE | {"seed": seed}, data, num_boost_round=40)
    return lambda asked: model.predict(numbers(asked), raw_score=True)


def train_stopped(inputs: Any, labels: Any, seed: int, validation: Any) -> Any:  # noqa: ANN401
    """Stumps, stopped early on patients that are held back."""
    data = lightgbm.Dataset(numbers(inputs), labels)
    held = lightgbm.Dataset(numbers(validation[0]), validation[1], reference=data)
    model = lightgbm.train(
        PLAIN | TIED | {"seed": seed},
        data,
        num_boost_round=40,
        valid_sets=[held],
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
    )
    return lambda asked: model.predict(numbers(asked), raw_score=True)
