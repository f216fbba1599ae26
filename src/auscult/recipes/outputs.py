"""What predictions become: finite log-odds and log-probabilities, with every repair counted.

Probabilities of exactly 0 have no logarithm. They are replaced by half of the smallest positive
probability that the same model returned, and counted (law 2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import RecipeError
from auscult.cohort import TrainingData
from auscult.recipes.base import OutputKind
from auscult.recipes.evidence import total_of_rows, within_unit

ZEROS = "probabilities of exactly 0 replaced by half of the model's smallest positive one"
ROUNDING = 1e-4
AT_END = 0.02  # of 0 or 1
PILED = 0.05  # of the numbers at each end


def output_kind(data: TrainingData) -> OutputKind:
    """Kind of outputs of a task: one log-odds for two classes, a column per class for more.

    A ready signal where labels are no classes.
    """
    kinds: dict[str, OutputKind] = {
        "binary": "sigmoid",
        "multiclass": "softmax",
        "multilabel": "multilabel",
    }
    return kinds.get(data.task, "signal")


def output_columns(data: TrainingData) -> int:
    """Number of output columns of the task."""
    return 1 if data.task == "binary" else len(data.classes)


def from_probabilities(
    probabilities: NDArray[np.floating], data: TrainingData, where: str
) -> tuple[NDArray[np.float64], int]:
    """Turn probabilities into log-odds or log-probabilities.

    Parameters
    ----------
    probabilities : float array
        Shape (records,) or (records, 2) for a binary task, (records, classes) for multi-class,
        (records, labels) for multi-label.
    data : TrainingData
    where : str
        Names the model in errors.

    Returns
    -------
    values : float64 array, shape (records, columns)
    zeros : int
        Zeros that were replaced.

    Raises
    ------
    RecipeError
        Wrong shape, or numbers that are no probabilities.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim == 2 and p.shape[1] == 1 and data.task == "binary":
        p = p[:, 0]
    wide = data.task == "multiclass" or (data.task == "binary" and p.ndim == 2)
    columns = 2 if data.task == "binary" and p.ndim == 2 else len(data.classes)
    expected = (len(data.labels), columns) if p.ndim == 2 or wide else (len(data.labels),)
    if data.task == "multilabel":
        expected = (len(data.labels), len(data.classes))
    if p.shape != expected:
        raise RecipeError(
            f"predictions of shape {p.shape}", where=where, expected=f"shape {expected}"
        )
    if not np.isfinite(p).all():
        raise RecipeError("predictions that are not finite", where=where)
    if p.min() < 0 or p.max() > 1 + ROUNDING or (wide and abs(p.sum(axis=1) - 1).max() > 1e-3):
        raise RecipeError(
            "predictions that are not probabilities",
            where=where,
            expected="numbers from 0 to 1" + (", each row adding up to 1" if wide else ""),
            next_step='If they are logits, declare it: output = "logits"',
        )
    p = np.minimum(p, 1.0)
    if data.task == "multiclass":
        logs, zeros = _logs(p)
        return logs, zeros
    if data.task == "binary":
        pair = p if p.ndim == 2 else np.stack([1 - p, p], axis=1)
        logs, zeros = _logs(pair)
        return (logs[:, 1] - logs[:, 0])[:, None], zeros
    positive, zeros_above = _logs(p)
    negative, zeros_below = _logs(1 - p)
    return positive - negative, zeros_above + zeros_below


def from_logits(
    logits: NDArray[np.floating], data: TrainingData, where: str
) -> NDArray[np.float64]:
    """Check logits and give them the task's shape.

    Parameters
    ----------
    logits : float array
        Shape (records,) or (records, 1) for one log-odds, (records, 2) for two logits of a binary
        task, (records, classes) or (records, labels).
    data : TrainingData
    where : str

    Returns
    -------
    float64 array, shape (records, columns)

    Raises
    ------
    RecipeError
        Wrong shape or not finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim == 1 and data.task == "binary":
        z = z[:, None]
    if z.ndim == 2 and z.shape[1] == 2 and data.task == "binary":
        z = z[:, 1:] - z[:, :1]
    expected = (len(data.labels), output_columns(data))
    if z.shape != expected:
        raise RecipeError(
            f"predictions of shape {np.shape(logits)}", where=where, expected=f"shape {expected}"
        )
    if not np.isfinite(z).all():
        raise RecipeError("predictions that are not finite", where=where)
    return z


def refuse_probabilities(logits: NDArray[np.floating], data: TrainingData, where: str) -> None:
    """Raise where numbers that were declared to be logits prove to be probabilities.

    Rows that add up to 1 prove it, and so do numbers from 0 to 1 that pile up at both ends, as
    those of models that know their members do; logits would go on beyond.

    Parameters
    ----------
    logits : float array, shape (records,) or (records, columns)
    data : TrainingData
    where : str
        Names the model in errors.
    """
    z = np.asarray(logits, dtype=np.float64)
    rows = z.ndim == 2 and z.shape[1] > 1 and data.task != "multilabel"
    if rows:
        total = total_of_rows(z)
        proved = total is not None and abs(total - 1) < ROUNDING
    else:
        ends = min(np.mean(z < AT_END), np.mean(z > 1 - AT_END)) if z.size else 0.0
        proved = within_unit(z) and bool(ends >= PILED)
    if proved:
        raise RecipeError(
            "predictions that are probabilities, and logits were declared: "
            + ("each row adds up to 1" if rows else "all lie from 0 to 1, many at both ends"),
            where=where,
            expected="logits: the numbers before the sigmoid or softmax",
            next_step='Return these, or say output = "probabilities"',
        )


def _logs(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    zero = p <= 0
    count = int(zero.sum())
    if not count:
        return np.log(p), 0
    positive = p[~zero]
    floor = float(positive.min()) / 2 if positive.size else 0.5
    return np.log(np.where(zero, max(floor, np.finfo(np.float64).tiny), p)), count
