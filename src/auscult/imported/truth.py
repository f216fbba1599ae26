"""Labels of scores made elsewhere: class indices, one-hot, several at once, or names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.imported.declared import Declared, say
from auscult.recipes.evidence import one_in_each_row, total_of_rows

MOST_CLASSES = 10_000


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
            else "Leave records without a label (-1, NaN) out of all arrays",
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
    if columns is not None and (whole == whole[0]).all():
        raise CohortError(
            f"all records have the label {whole[0]:g}",
            where=where,
            expected="the true class of each record",
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
