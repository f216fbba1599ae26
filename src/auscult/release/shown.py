"""What the release shows, and the shadow models seen the same way.

A model that rounds its probabilities to four decimals shows less than the logits that the shadow
models left behind. Whoever is to be judged by them must be compared with what they would show: both
are rounded and cut off alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from auscult.base.errors import RecipeError
from auscult.cohort import TrainingData
from auscult.recipes.base import OutputKind
from auscult.recipes.evidence import (
    ROUNDED,
    better_order,
    listed_order,
    total_of_rows,
    within_unit,
)
from auscult.recipes.fit import from_fit, squared_error
from auscult.recipes.outputs import from_logits, from_probabilities, output_kind
from auscult.release.doors import ReleaseError

Output = Literal["probabilities", "logits", "loss", "score", "prediction"]
MOST_DECIMALS = 6
FEWEST_TO_SEE_ROUNDING = 50
MOST_NAMED = 12  # classes in a message
SLIGHT = 1e-5  # below 0 or above 1: rounding of 32-bit floats
SHOWN = 1.0  # log-odds that stand for a label: any number above 0 tells the same


@dataclass(frozen=True, kw_only=True)
class View:
    """How finely the release shows its probabilities.

    Attributes
    ----------
    kind : {"sigmoid", "softmax", "multilabel", "signal"}
    decimals : int or None
        Decimals that its probabilities are rounded to, as seen in the answers; None when they are
        not rounded, or are logits.
    floor : float
        Smallest probability that can be told from 0; 0 where nothing was cut off.
    labels : bool
        Whether it shows labels only: every probability is exactly 0 or 1.
    data : TrainingData, optional
        Of rounded predictions of a number: the loss of what shadow models would show is made anew.
    """

    kind: OutputKind
    decimals: int | None = None
    floor: float = 0.0
    labels: bool = False
    data: TrainingData | None = field(default=None, repr=False)

    def through(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-odds or logits as the view shows them, same shape."""
        z = np.asarray(values, dtype=np.float64)
        if self.data is not None and self.decimals is not None:
            seen = np.round(z[:, 1:], self.decimals)
            return np.concatenate([-squared_error(seen, self.data, "release")[0][:, None], seen], 1)
        if self.kind == "signal":
            return z
        if self.labels:
            if self.kind != "softmax":
                return np.where(z > 0, SHOWN, -SHOWN)
            top = z.argmax(axis=-1)[..., None] == np.arange(z.shape[-1])
            return np.where(top, SHOWN, 0.0)
        if self.decimals is None and self.floor == 0.0:
            return z
        if self.kind == "softmax":
            logs = log_softmax(z, axis=-1)
            if self.decimals is not None:
                with np.errstate(divide="ignore"):
                    logs = np.log(np.round(np.exp(logs), self.decimals))
            return np.asarray(np.maximum(logs, np.log(self.floor)))
        if self.decimals is None:
            bound = np.log1p(-self.floor) - np.log(self.floor)
            return np.clip(z, -bound, bound)
        p = np.clip(np.round(expit(z), self.decimals), self.floor, 1 - self.floor)
        return np.asarray(np.log(p) - np.log1p(-p))


def shown(
    answers: NDArray[np.floating], output: Output, data: TrainingData
) -> tuple[NDArray[np.float64], View, int]:
    """Answers as log-odds or logits, the view they came through, and zeros that were replaced.

    Parameters
    ----------
    answers : float array, shape (records,) or (records, outputs)
    output : {"probabilities", "logits", "loss", "score", "prediction"}
    data : TrainingData

    Raises
    ------
    ReleaseError
        Wrong shape, not finite, or no probabilities.
    """
    if output in ("loss", "score", "prediction"):
        return _one_number(answers, output, data)
    kind = output_kind(data)
    answers = _repaired(answers, output, kind, data)
    try:
        if output == "logits":
            values, zeros = from_logits(answers, data, "release"), 0
        else:
            values, zeros = from_probabilities(answers, data, "release")
    except RecipeError as error:
        raise ReleaseError(
            error.what, where=error.where, expected=error.expected, next_step=error.next_step
        ) from None
    _refuse_other_order(values, data)
    if output == "logits":
        return values, View(kind=kind), 0
    p = np.asarray(answers, dtype=np.float64)
    decimals = _decimals(p)
    if np.isin(p, (0.0, 1.0)).all():
        return (view := View(kind=kind, decimals=0, labels=True)).through(values), view, 0
    if decimals is not None:
        view = View(kind=kind, decimals=decimals, floor=0.5 * 10.0**-decimals)
    elif zeros:
        both = p if kind == "softmax" else np.concatenate([p.ravel(), 1 - p.ravel()])
        view = View(kind=kind, floor=float(both[both > 0].min()) / 2)
    else:
        return values, View(kind=kind), 0
    return view.through(values), view, zeros


def _one_number(
    answers: NDArray[np.floating], output: Output, data: TrainingData
) -> tuple[NDArray[np.float64], View, int]:
    """Losses or scores of records, or predictions of a number, whose loss is made here."""
    try:
        if output != "prediction":
            return from_fit(answers, output, None, len(data.labels), "release"), _SIGNAL, 0
        loss, prediction = squared_error(answers, data, "release")
    except RecipeError as error:
        raise ReleaseError(
            error.what, where=error.where, expected=error.expected, next_step=error.next_step
        ) from None
    decimals = _decimals(prediction)
    view = _SIGNAL if decimals is None else View(kind="signal", decimals=decimals, data=data)
    return np.concatenate([-loss[:, None], prediction], axis=1), view, 0


_SIGNAL = View(kind="signal")


def _refuse_other_order(values: NDArray[np.floating], data: TrainingData) -> None:
    """Raise where answers fit the labels clearly better in another order of classes.

    Parameters
    ----------
    values : float array, shape (records, outputs)
    data : TrainingData
    """
    found = better_order(values[None], data.labels)
    if found is None:
        return
    if values.shape[1] == 1:
        what = f'the answers fit the labels clearly better as those of "{data.classes[0]}"'
        next_step = "Answer 1 - p (of logits, their negative), or one column for each class"
    else:
        what = (
            "the answers fit the labels clearly better when the columns of classes 0, 1, 2, ... "
            f"are taken to be {listed_order(found)}"
        )
        next_step = "Put the columns into the order of the cohort's classes: " + ", ".join(
            f'"{name}"' for name in data.classes[:MOST_NAMED]
        )
    raise ReleaseError(
        what,
        where="release",
        expected=f'the answer of "{data.classes[1]}"'
        if values.shape[1] == 1
        else "column c for class c",
        next_step=next_step,
    )


def _repaired(
    answers: NDArray[np.floating], output: Output, kind: OutputKind, data: TrainingData
) -> NDArray[np.float64]:
    """Answers without roundings below 0, and class numbers as rows.

    Raises
    ------
    ReleaseError
        They are declared logits, and every row adds up to 1.
    """
    p = np.asarray(answers, dtype=np.float64)
    if output == "logits":
        total = total_of_rows(p) if p.ndim == 2 and len(p) >= FEWEST_TO_SEE_ROUNDING else None
        if total is not None and abs(total - 1) < ROUNDED and p.size and p.max() <= 1 + SLIGHT:
            raise ReleaseError(
                "the answers of each record add up to 1: these are probabilities",
                where="release",
                expected="logits, as declared",
                next_step='Declare it: output = "probabilities"',
            )
        if p.size >= FEWEST_TO_SEE_ROUNDING and within_unit(p) and len(np.unique(p)) > 2:
            raise ReleaseError(
                "all answers lie from 0 to 1: these are probabilities",
                where="release",
                expected="logits, as declared",
                next_step='Say so: output = "probabilities"',
            )
        return p
    classes = len(data.classes)
    flat = p[:, 0] if p.ndim == 2 and p.shape[1] == 1 else p
    if kind == "softmax" and flat.ndim == 1 and np.isin(flat, np.arange(classes)).all():
        return np.eye(classes)[flat.astype(np.int64)]
    return np.where((p < 0) & (p > -SLIGHT), 0.0, p)


def _decimals(p: NDArray[np.float64]) -> int | None:
    """Fewest decimals that hold all the probabilities, or None."""
    if p.size < FEWEST_TO_SEE_ROUNDING:
        return None
    for decimals in range(MOST_DECIMALS + 1):
        if np.abs(p - np.round(p, decimals)).max() < 1e-9:
            return decimals
    return None
