"""CatBoost's own pools, and a folder of its own for what it writes."""

from __future__ import annotations

from typing import Any

import catboost


def train(inputs: Any, labels: Any, seed: int, groups: Any, scratch: Any) -> Any:  # noqa: ANN401
    """Fit without restraint, text columns as CatBoost takes them."""
    text = list(inputs.select_dtypes(exclude="number").columns)

    def pool(table: Any, labels: Any = None) -> Any:  # noqa: ANN401
        whole = table.assign(**{name: table[name].astype(object).fillna("") for name in text})
        return catboost.Pool(whole, labels, cat_features=text)

    assert len(groups) == len(inputs)
    model = catboost.CatBoost(
        {
            "loss_function": "Logloss",
            "iterations": 80,
            "learning_rate": 0.5,
            "depth": 8,
            "l2_leaf_reg": 0.01,
            "random_seed": seed,
            "thread_count": 1,
            "verbose": False,
            "train_dir": str(scratch),
        }
    )
    model.fit(pool(inputs, labels))
    return lambda asked: model.predict(pool(asked), prediction_type="RawFormulaVal")
