"""scikit-learn regressors: their standardised squared error is the loss of a record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.cohort import TrainingData
from auscult.recipes.fit import squared_error
from auscult.recipes.metrics import METRICS

R2 = METRICS["r2"]
WAY = "predictions; loss: squared error in units of the outcome's variance"


def predicts_classes(estimator: Any) -> bool:  # noqa: ANN401
    """Whether an estimator gives probabilities or a decision function."""
    return hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")


def no_regressor(estimator: Any, data: TrainingData) -> str | None:  # noqa: ANN401
    """Why an estimator cannot be trained on an outcome that is no class, or None."""
    name = type(estimator).__name__
    if data.task != "number":
        return (
            f'the outcome is "{data.task}": train with your own function, kind = "python" and '
            'output = "loss"'
        )
    if predicts_classes(estimator):
        return (
            f"the outcome is a number, but {name} predicts classes: name a regressor, such as "
            '"gradient_boosting_regressor"'
        )
    if not hasattr(estimator, "predict"):
        return f"the outcome is a number, but {name} has no predict"
    return None


def regressed(
    model: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
    data: TrainingData,
    where: str,
) -> tuple[NDArray[np.float64], int, str]:
    """The negative loss of each record and the predictions, no zeros, and what they are.

    Parameters
    ----------
    model : estimator
        Fitted.
    inputs : DataFrame or array, shape (records, ...)
    data : TrainingData
        Whose outcome is a number.
    where : str
        Names the model in errors.
    """
    loss, prediction = squared_error(model.predict(inputs), data, where)
    return np.concatenate([-loss[:, None], prediction], axis=1), 0, WAY
