"""One number per record: how well a model fits it, in any task.

A loss is low, and a score is high, where a model fits a record well; the name declares which. The
attacks need no more. What is stored is the score, and after it what utility is measured on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import RecipeError
from auscult.cohort import TrainingData
from auscult.recipes.metrics import Metric

FITS = ("loss", "score")
SIGNS = {"loss": -1.0, "score": 1.0}


def labels_given(data: TrainingData, rows: NDArray[np.int64] | None = None) -> Any:  # noqa: ANN401
    """A copy of the labels as foreign code gets them: None where the task has none."""
    if data.task == "none":
        return None
    return data.labels.copy() if rows is None else data.labels[rows].copy()


def check_measure(measure: Callable[..., Any], output: str, where: str) -> None:
    """Raise a RecipeError where a function cannot be called with inputs and labels.

    Parameters
    ----------
    measure : callable
        What the training function returned.
    output : str
        "loss" or "score".
    where : str
        Names the model in errors.
    """
    try:
        inspect.signature(measure).bind(None, None)
    except ValueError:  # written in C: it is tried
        return
    except TypeError as error:
        raise RecipeError(
            f"what the training function returned cannot be called with two arguments ({error})",
            where=where,
            expected=f'a function {output}(inputs, labels), since output = "{output}": the '
            f"{output} of a record depends on its true label",
        ) from error


def from_fit(
    returned: Any,  # noqa: ANN401
    output: str,
    metric: Metric | None,
    records: int,
    where: str,
) -> NDArray[np.float64]:
    """What a function said of all records, as a signal and what utility is measured on.

    Parameters
    ----------
    returned : array or mapping
        The loss (or score), shape (records,); or a mapping that has it under its name, and what
        the metric needs under "prediction" or the metric's own name.
    output : {"loss", "score"}
    metric : Metric, optional
    records : int
    where : str
        Names the model in errors.

    Returns
    -------
    float64 array, shape (records, 1 + numbers of the metric)
        The signal is higher for a better fit.

    Raises
    ------
    RecipeError
        Wrong names, shapes, or numbers that are not finite.
    """
    named = returned if isinstance(returned, Mapping) else {output: returned}
    wanted = [output] if metric is None else [output, metric.column]
    lacking = [name for name in wanted if name not in named]
    if lacking:
        has = ", ".join(f'"{name}"' for name in named) if isinstance(returned, Mapping) else "array"
        raise RecipeError(
            f'there is no "{lacking[0]}" in what the function returned ({has})',
            where=where,
            expected="a dictionary with " + " and ".join(f'"{name}"' for name in wanted),
            next_step=""
            if metric is None
            else f'"{lacking[0]}" is what the metric needs'
            if lacking[0] != output
            else "",
        )
    columns = [_column(named[name], name, records, where, one=name == output) for name in wanted]
    columns[0] = SIGNS[output] * columns[0]
    return np.concatenate(columns, axis=1)


def _column(
    values: Any,  # noqa: ANN401
    name: str,
    records: int,
    where: str,
    *,
    one: bool,
) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise RecipeError(f'"{name}" holds {array.dtype}', where=where, expected="numbers")
    array = array.astype(np.float64)
    shape = array.shape
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != records or (one and array.shape[1] != 1):
        raise RecipeError(
            f'"{name}" of shape {shape}',
            where=where,
            expected=f"shape ({records},): one number per record"
            + ("" if one else f", or ({records}, numbers)"),
            next_step='In PyTorch, reduction="none" gives one loss per record'
            if shape == ()
            else "",
        )
    if not np.isfinite(array).all():
        raise RecipeError(
            f'"{name}" is not finite for {int((~np.isfinite(array)).any(axis=1).sum())} records',
            where=where,
            expected="finite numbers: use a special number for a record without one",
        )
    return array


def squared_error(
    prediction: Any,  # noqa: ANN401
    data: TrainingData,
    where: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standardised squared error of each record, and predictions as columns.

    The error is divided by the outcome's standard deviation over the cohort; of several numbers
    the mean is taken.

    Parameters
    ----------
    prediction : array, shape (records,)
    data : TrainingData
        Whose outcome is a number.
    where : str
        Names the model in errors.

    Returns
    -------
    loss : float64 array, shape (records,)
    prediction : float64 array, shape (records, numbers)
    """
    truth = data.labels.reshape(len(data.labels), -1)
    found = _column(prediction, "prediction", len(truth), where, one=False)
    if found.shape != truth.shape:
        raise RecipeError(
            f"predictions of shape {np.shape(prediction)}",
            where=where,
            expected=f"shape {data.labels.shape}: one number for each of the outcome",
        )
    error = (found - truth) / truth.std(axis=0)
    return np.asarray((error**2).mean(axis=1)), found
