"""What scores made elsewhere mean: declared, or proved by their values, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.log_odds import log1mexp
from auscult.base.errors import CohortError
from auscult.cohort.design import Membership
from auscult.recipes.base import OutputKind
from auscult.recipes.evidence import (
    ROUNDED,
    SURE,
    better_order,
    direction,
    listed_order,
    one_in_each_row,
    total_of_rows,
    within_unit,
)

MOST_CLASSES = 10_000
SLIGHT = 1e-4  # beyond 0 and 1: rounding
SignalsAre = Literal["scores", "losses", "cross-entropy", "probabilities"]
OutputsAre = Literal["logits", "probabilities", "log-probabilities"]
LabelsAre = Literal["classes", "one-hot", "multi-label", "multi-hot"]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the arrays mean, where their values leave two readings.

    Attributes
    ----------
    signals : {"scores", "losses", "cross-entropy", "probabilities"}, optional
        Scores are higher for members. Losses are lower for members: their negative is the score.
        A cross-entropy (natural logarithm) is the loss of the probability of the true class, and
        probabilities are that probability: both become log-odds.
    outputs : {"logits", "probabilities", "log-probabilities"}, optional
    labels : {"classes", "one-hot", "multi-label", "multi-hot"}, optional
        Rows of 0 and 1 with one 1 in each may be classes or a multi-label task. Multi-hot: several
        labels may hold at once and the outputs are one softmax over all of them.
    no_finding : int, optional
        Column that rows of labels without any 1 belong to.
    classes : tuple of str, optional
        Label that each column of the outputs stands for, in the columns' order.
    groups : tuple of str, optional
        Arrays that are groups of patients; every array of one value per record where not said.
    """

    signals: SignalsAre | None = None
    outputs: OutputsAre | None = None
    labels: LabelsAre | None = None
    classes: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    no_finding: int | None = None

    def __post_init__(self) -> None:
        """Refuse words that are not known."""
        for name, words in (
            ("signals", get_args(SignalsAre)),
            ("outputs", get_args(OutputsAre)),
            ("labels", get_args(LabelsAre)),
        ):
            value = getattr(self, name)
            if value is not None and value not in words:
                raise CohortError(
                    f'"{value}" is not a valid meaning of {name}',
                    where=f"{name}_are",
                    expected=", ".join(words),
                )


def say(name: str, *words: str) -> str:
    """How to declare a meaning: the option, or the array in the npz."""
    options = " or ".join(f"--{name}-are {word}" for word in words)
    return f'Declare it: {options} (or {name}_are = "..." as an array of the npz)'


def read_labels(
    values: NDArray[Any],
    where: str,
    *,
    columns: int | None,
    declared: Declared,
    exclusive: bool | None = None,
) -> tuple[NDArray[np.int64], list[str]]:
    """Class indices (records,) or 0 and 1 (records, labels), and what to note.

    Parameters
    ----------
    values : array
    where : str
    columns : int or None
        Columns of the outputs; None for signals.
    declared : Declared
    exclusive : bool, optional
        Whether the outputs prove that classes exclude each other: their rows add up to 1.
    """
    labels = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if labels.ndim not in (1, 2) or not labels.size:
        raise CohortError(
            f"labels are {labels.dtype} of shape {labels.shape}",
            where=where,
            expected="class indices (records,) or 0 and 1 (records, labels)",
        )
    if declared.classes is not None and labels.ndim == 1:
        return _named(labels, declared.classes, columns, where), []
    if labels.dtype.kind not in "biuf":
        raise CohortError(
            f"labels are {labels.dtype} of shape {labels.shape}",
            where=where,
            expected="class indices (records,) or 0 and 1 (records, labels)",
            next_step="Where labels are names, add an array classes: the label of each column of "
            "the outputs, in their order (scikit-learn: model.classes_)",
        )
    whole = np.asarray(labels, dtype=np.float64)
    if labels.ndim == 2:
        whole, more = _with_no_finding(whole, where, declared)
        found, notes = _rows(whole, where, columns, declared, exclusive)
        return found, [*more, *notes]
    if declared.no_finding is not None:
        raise CohortError(
            "labels are one number per record, but a column for rows without any 1 is given",
            where=f"{where}, --no-finding",
        )
    if declared.labels in ("one-hot", "multi-label", "multi-hot"):
        raise CohortError(
            f"they are one number per record, but declared as {declared.labels}", where=where
        )
    if not np.isfinite(whole).all() or (whole != np.round(whole)).any() or whole.min() < 0:
        raise CohortError(
            "labels that are not class indices",
            where=where,
            expected="0, 1, 2, ...",
            next_step="Labels of -1 and 1 become (labels > 0)"
            if np.isin(whole, (-1, 1)).all()
            else "",
        )
    most = MOST_CLASSES if columns is None else max(columns, 2)
    if whole.max() >= most:
        counted = columns is not None and whole.min() >= 1 and whole.max() == most
        raise CohortError(
            f"labels up to {whole.max():.6g} do not match "
            + (f"{columns} columns of outputs" if columns is not None else "class indices"),
            where=where,
            expected=f"class indices from 0 to {most - 1}",
            next_step="They count from 1: save labels - 1" if counted else "",
        )
    return labels.astype(np.int64), []


def _named(
    labels: NDArray[Any], classes: tuple[str, ...], columns: int | None, where: str
) -> NDArray[np.int64]:
    wanted = len(classes) if columns is None else max(columns, 2)
    if len(set(classes)) != len(classes) or len(classes) != wanted:
        raise CohortError(
            f"classes names {len(set(classes))} different labels",
            where=where,
            expected=f"one for each of the {wanted} classes, in the order of the columns",
        )
    place = {name: i for i, name in enumerate(classes)}
    found = np.array([place.get(_word(value), -1) for value in labels.tolist()], dtype=np.int64)
    unknown = int((found < 0).sum())
    if unknown:
        raise CohortError(
            f"{unknown} labels are not among the classes",
            where=where,
            expected="labels that occur in the array classes",
        )
    return found


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def words(values: NDArray[Any]) -> tuple[str, ...]:
    """Labels as text, whole numbers without their ".0"."""
    return tuple(_word(value) for value in np.ravel(values).tolist())


def _with_no_finding(
    whole: NDArray[np.float64], where: str, declared: Declared
) -> tuple[NDArray[np.float64], list[str]]:
    """Rows of labels without any 1 get one in the column that was named for them."""
    column = declared.no_finding
    if column is None:
        return whole, []
    if not 0 <= column < whole.shape[1]:
        raise CohortError(
            f"there is no column {column} of labels",
            where=f"{where}, --no-finding",
            expected=f"0 to {whole.shape[1] - 1}",
        )
    empty = ~whole.any(axis=1)
    filled = whole.copy()
    filled[empty, column] = 1
    return filled, [f"{int(empty.sum()):,} rows of labels without any 1 count as label {column}"]


def _rows(
    whole: NDArray[np.float64],
    where: str,
    columns: int | None,
    declared: Declared,
    exclusive: bool | None,
) -> tuple[NDArray[np.int64], list[str]]:
    if not np.isin(whole, (0, 1)).all():
        total = total_of_rows(whole)
        raise CohortError(
            "rows of labels that are not 0 and 1"
            + ("; they add up to 1: smoothed or mixed labels, or probabilities" if total else ""),
            where=where,
            expected="class indices (records,) or 0 and 1 (records, labels)",
            next_step="Labels of -1 and 1 become (labels > 0); smoothed ones become "
            "labels.argmax(axis=1), where labels are the true labels, not a model's "
            "outputs",
        )
    labels = whole.astype(np.int64)
    single = one_in_each_row(labels)
    if declared.labels == "classes":
        raise CohortError("they are rows, but declared as classes", where=where)
    if declared.labels == "one-hot" and not single:
        raise CohortError(
            f"{int((labels.sum(axis=1) != 1).sum())} rows do not have exactly one 1, but they are "
            "declared as one-hot",
            where=where,
        )
    if columns is not None and labels.shape[1] not in (columns, 2 if columns == 1 else columns):
        raise CohortError(
            f"labels of {labels.shape[1]} columns do not match {columns} columns of outputs",
            where=where,
            expected="one column per class or label in both, in the same order",
        )
    if declared.labels == "multi-hot":
        empty = int((~labels.any(axis=1)).sum())
        if empty:
            raise CohortError(
                f"{empty:,} rows of labels have no 1, but a softmax has at least one answer",
                where=where,
                next_step="Give the column that they belong to, counted from 0: --no-finding N "
                "(the study counts them as No Finding, column 0, in CheXpert and "
                "MIMIC-CXR)",
            )
        return labels, []
    if not single:
        if exclusive:
            raise CohortError(
                "rows of labels have none or several 1, and the outputs of each record add up to "
                "1: classes that exclude each other",
                where=where,
                expected="sigmoid outputs for a multi-label task",
                next_step="If they are one softmax over labels of which several may apply, "
                "declare it: --labels-are multi-hot; otherwise save one label per "
                "record as class indices",
            )
        return labels, []
    if declared.labels == "multi-label":
        return labels, []
    if declared.labels is None and not exclusive and not (columns == 1 and labels.shape[1] == 2):
        raise CohortError(
            "each row of labels has exactly one 1: one-hot classes (a softmax task), or a "
            "multi-label task whose records have one label each",
            where=where,
            expected="a declaration, since the two give different findings",
            next_step=say("labels", "one-hot", "multi-label"),
        )
    note = (
        [] if declared.labels else ["labels were read as one-hot: the outputs exclude each other"]
    )
    return labels.argmax(axis=1), note


def read_outputs(
    values: NDArray[Any], labels: NDArray[np.int64], where: str, are: OutputsAre
) -> tuple[NDArray[np.float32], OutputKind, list[str]]:
    """Outputs (models, records, columns) as logits, what kind they are, and what to note.

    Parameters
    ----------
    values : array, shape (models, records, columns)
    labels : int64 array, shape (records,) or (records, columns)
    where : str
        Name of the file and the array, for messages.
    are : {"probabilities", "log-probabilities", "logits"} or None
        What the outputs were declared to be.
    """
    columns = values.shape[2]
    kind: OutputKind = (
        "multilabel" if labels.ndim == 2 else "sigmoid" if columns == 1 else "softmax"
    )
    if are == "logits":
        return values.astype(np.float32), kind, []
    if are == "log-probabilities":
        if values.max() > SLIGHT:
            raise CohortError("log-probabilities above 0", where=where, expected="0 or less")
        if kind == "softmax":
            return values.astype(np.float32), kind, []
        logs = np.asarray(values, dtype=np.float64)
        zeros = int((logs >= 0).sum())
        if zeros:
            below = logs[logs < 0]
            logs = np.minimum(logs, float(below.max()) / 2 if below.size else -1e-7)
        return (logs - log1mexp(logs)).astype(np.float32), kind, _repaired(zeros, logs.size)
    if values.min() < -SLIGHT or values.max() > 1 + SLIGHT:
        raise CohortError(
            "numbers that are not probabilities",
            where=where,
            expected="numbers from 0 to 1",
            next_step="Divide percentages by 100; declare logits with --outputs-are logits",
        )
    if kind == "softmax" and total_of_rows(np.maximum(values, 0)) is None:
        raise CohortError(
            "probabilities of a record do not add up to 1",
            where=where,
            expected="classes that exclude each other",
            next_step="For one sigmoid per label, give labels of 0 and 1 (records, labels)",
        )
    p = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    if kind == "softmax":
        logs, zeros = _logs(p)
        return logs.astype(np.float32), kind, _repaired(zeros, p.size)
    above, zeros = _logs(p)
    below, more = _logs(1 - p)
    return (above - below).astype(np.float32), kind, _repaired(zeros + more, p.size)


def _logs(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Logarithms; zeros become half of the smallest positive value of the same model."""
    zero = p <= 0
    if not zero.any():
        return np.log(p), 0
    floor = np.where(zero, np.inf, p).reshape(len(p), -1).min(axis=1) / 2
    floor = np.where(np.isfinite(floor), floor, 0.5).reshape(-1, *([1] * (p.ndim - 1)))
    return np.log(np.where(zero, floor, p)), int(zero.sum())


def _repaired(count: int, of: int) -> list[str]:
    if not count:
        return []
    return [
        (
            f"{count:,} of {of:,} probabilities are exactly 0 or 1, where logits would be more "
            "informative"
        )
    ]


def meaning_of_outputs(
    values: NDArray[np.floating], labels: NDArray[Any], where: str, declared: Declared, said: str
) -> tuple[OutputsAre, list[str]]:
    """Whether outputs are logits, probabilities or log-probabilities, and what to note.

    Parameters
    ----------
    values : float array, shape (models, records, columns)
    labels : array
        As they were given.
    where : str
    declared : Declared
        Its word is final.
    said : str
        Name of the array, which speaks where nothing is declared.
    """
    if declared.outputs is not None:
        return declared.outputs, []
    if said == "probabilities":
        return "probabilities", []
    total = total_of_rows(values)
    if total is not None and abs(total - 1) < ROUNDED:
        note = f"{said}: each row adds up to 1, so they were read as probabilities"
        return "probabilities", [note]
    if total is not None:
        raise CohortError(
            f"no number is negative and each row adds up to {total:.6g}: these are not logits",
            where=where,
            expected="logits, or probabilities that add up to 1",
            next_step=f"Divide them by {total:.6g}, or declare --outputs-are logits",
        )
    if within_unit(values):
        raise CohortError(
            f"all {said} lie from 0 to 1: they may be probabilities",
            where=where,
            expected="a declaration",
            next_step=say("outputs", "probabilities", "logits"),
        )
    alone = values.shape[2] == 1 or (labels.ndim == 2 and not one_in_each_row(_whole(labels)))
    if alone and values.max() <= 0:
        raise CohortError(
            f"all {said} are 0 or less: they may be logarithms of probabilities",
            where=where,
            expected="a declaration",
            next_step=say("outputs", "log-probabilities", "logits"),
        )
    return "logits", []


def _whole(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.dtype.kind in "biuf" and np.isin(labels, (0, 1)).all():
        return labels.astype(np.int64)
    return np.zeros(labels.shape, dtype=np.int64)


def read_signals(
    values: NDArray[np.float32], where: str, declared: Declared, said: str
) -> tuple[NDArray[np.float32], list[str]]:
    """Signals of which the higher ones speak for membership, and what to note.

    Parameters
    ----------
    values : float32 array, shape (models, records)
    where : str
        Name of the file and the array, for messages.
    declared : Declared
    said : str
        How the meaning can be declared, for messages.
    """
    are = declared.signals or ("losses" if said == "losses" else None)
    if are == "losses":
        return -values, []
    if are == "cross-entropy":
        if values.min() < 0:
            raise CohortError(
                "cross-entropies below 0", where=where, expected="0 or more, natural logarithms"
            )
        logs = -values.astype(np.float64)
        exact = logs >= 0
        if exact.any():
            rest = logs[~exact]
            logs = np.where(exact, float(rest.max()) / 2 if rest.size else -1e-7, logs)
        found = (logs - log1mexp(logs)).astype(np.float32)
        return found, _repaired(int(exact.sum()), values.size)
    if are == "probabilities":
        if not within_unit(values):
            raise CohortError("signals outside 0 to 1", where=where, expected="probabilities")
        p = values.astype(np.float64)
        above, zeros = _logs(p)
        below, more = _logs(1 - p)
        return (above - below).astype(np.float32), _repaired(int(zeros + more), p.size)
    if are is None and within_unit(values):
        raise CohortError(
            f"all {said} lie from 0 to 1: probabilities of the true class (which become log-odds), "
            "losses, or scores",
            where=where,
            expected="a declaration, since the findings differ",
            next_step=say("signals", "probabilities", "losses", "scores"),
        )
    return values, []


def check_direction(
    signals: NDArray[np.floating],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    where: str,
    *,
    declared: bool,
    said: str,
) -> list[str]:
    """Refuse signals that members have lower, unless their meaning was declared: then note it.

    Parameters
    ----------
    signals : float array, shape (models, records)
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    where : str
        Name of the file and the array, for messages.
    declared : bool
        Whether the meaning of the signals was declared.
    said : str
        How the meaning can be declared, for messages.
    """
    auc, distance = direction(signals, membership.reveal(), patient_of_record)
    if distance > -SURE:
        return []
    what = (
        f"members have the lower {said} nearly everywhere (mean AUC of the patients {auc:.2f}, "
        f"{-distance:.0f} standard errors below 0.5)"
    )
    if declared:
        return [f"{what}, as declared: the sign looks reversed, and so do the findings below"]
    raise CohortError(
        f"{what}: losses, or a membership that marks the records left out, or columns in another "
        "order",
        where=where,
        expected="higher for members",
        next_step=f"{say('signals', 'losses', 'cross-entropy', 'scores')}; where membership marks "
        "who was left out, save its opposite"
        if said in ("signals", "losses")
        else "Check the order of records, labels and columns; if membership marks who was left "
        "out, save its opposite; if all are right, declare what the outputs are "
        "(--outputs-are)",
    )


def check_order(
    values: NDArray[np.floating], labels: NDArray[np.int64], where: str, *, declared: bool
) -> list[str]:
    """Refuse columns that fit the labels clearly better in another order; note it if declared.

    Parameters
    ----------
    values : float array, shape (models, records, columns)
    labels : int64 array, shape (records,)
    where : str
        Name of the file and the array, for messages.
    declared : bool
        Whether the order of the columns was declared.
    """
    if labels.ndim == 2:
        return []
    found = better_order(values, labels)
    if found is None:
        return []
    what = (
        "the outputs fit the labels clearly better if the columns of classes 0, 1, 2, ... are "
        f"taken as {listed_order(found)}"
    )
    if declared:
        return [f"{what}; the declared order was kept"]
    raise CohortError(
        f'{what}: columns in another order than the labels (text sorts "10" before "2"), or '
        "records in another order than the labels",
        where=where,
        expected="column c for class c",
        next_step="Add an array classes: the label of each column, in the columns' order "
        "(scikit-learn: model.classes_)",
    )
