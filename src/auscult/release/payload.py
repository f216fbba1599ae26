"""JSON in and out: what a record looks like in a request, and where an answer stands in a reply."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.cohort import TrainingData
from auscult.recipes.python import plain_inputs, rows_of
from auscult.release.doors import ReleaseError

WHERE = "release.url"


def records_of(
    data: TrainingData, rows: NDArray[np.int64], prepare: Callable[[Any], Any] | None
) -> list[Any]:
    """Some records as JSON values.

    A record of a table is an object: column name to number, text, true, false or null. A record of
    an array is nested lists of numbers, in the array's own shape. `prepare`, where given, makes the
    list itself from a dataframe or an array.

    Parameters
    ----------
    data : TrainingData
    rows : int64 array, shape (chosen,)
        The records to send.
    prepare : callable or None
    """
    return records_in(plain_inputs(data.inputs), rows, prepare)


def records_in(
    inputs: pd.DataFrame | NDArray[Any],
    rows: NDArray[np.int64],
    prepare: Callable[[Any], Any] | None,
) -> list[Any]:
    """The same of inputs that were made plain already: a table is copied once, not per batch.

    Parameters
    ----------
    inputs : DataFrame or array
        Of all records.
    rows : int64 array
        Which records.
    prepare : callable, optional
        Makes the list from some inputs.
    """
    part = rows_of(inputs, rows)
    if prepare is not None:
        made = list(prepare(part))
        if len(made) != rows.size:
            raise ReleaseError(
                f"prepare returned {len(made)} items for {rows.size} records",
                where="release.prepare",
                expected="one item per record",
            )
        return made
    if isinstance(part, pd.DataFrame):
        columns = {str(name): _plain(part[name]) for name in part.columns}
        return [{name: values[i] for name, values in columns.items()} for i in range(rows.size)]
    if isinstance(part, dict):
        raise ReleaseError(
            f"the cohort has several inputs ({', '.join(part)})",
            where="release.prepare",
            expected='"module:function", which makes the items from a dictionary of them',
        )
    return list(part.tolist())


def _plain(column: pd.Series[Any]) -> list[Any]:
    missing = column.isna().to_numpy(dtype=bool)
    return [
        None if gone else value.item() if isinstance(value, np.generic) else value
        for value, gone in zip(column.tolist(), missing, strict=True)
    ]


def request_body(constant: Mapping[str, Any], place: str, records: list[Any]) -> Any:  # noqa: ANN401
    """The constant part of a request with the records put at a dotted place; "" is the whole.

    Parameters
    ----------
    constant : mapping
    place : str
    records : list
    """
    if not place:
        return records
    body = copy.deepcopy(dict(constant))
    at = body
    *steps, last = place.split(".")
    for step in steps:
        at = at.setdefault(step, {})
    at[last] = records
    return body


def answers_of(
    reply: Any,  # noqa: ANN401
    place: str,
    within: str,
    classes: tuple[str, ...],
    records: int,
) -> NDArray[np.float64]:
    """Find one answer per record in a reply.

    Parameters
    ----------
    reply : JSON value
    place : str
        Dotted place of the list of answers; "" when the reply is the list.
    within : str
        Dotted place of the number or list within each answer; "" when the answer is it.
    classes : tuple of str
        The order in which an answer that is an object, class name to number, is read.
    records : int

    Returns
    -------
    float64 array, shape (records,) or (records, outputs)

    Raises
    ------
    ReleaseError
        Something else stands there, or a number is not finite. Nothing of the reply is quoted.
    """
    found = _at(reply, place, "reply")
    if not isinstance(found, list):
        raise ReleaseError(
            f"the reply has no list of answers{f' at {place}' if place else ''}",
            where=WHERE,
            next_step="Say where it is: release.answers",
        )
    if len(found) != records:
        raise ReleaseError(
            f"the reply has {len(found)} answers for {records} records",
            where=WHERE,
            expected="one answer per record, in the order of the request",
        )
    rows = [_row(_at(one, within, "answer"), classes) for one in found]
    widths = {len(row) for row in rows}
    if len(widths) != 1:
        raise ReleaseError("the answers differ in length", where=WHERE)
    values = np.array(rows, dtype=np.float64)
    if not np.isfinite(values).all():
        broken = int((~np.isfinite(values).all(axis=1)).sum())
        raise ReleaseError(
            f"{broken} of {records} answers hold NaN or infinity",
            where=WHERE,
            expected="finite numbers",
        )
    return values[:, 0] if widths == {1} else values


def place_in(reply: Any, place: str) -> Any:  # noqa: ANN401
    """What stands at a dotted place of a reply; "" is the whole.

    Raises
    ------
    ReleaseError
        Nothing stands there.
    """
    return _at(reply, place, "reply")


def _at(value: Any, place: str, what: str) -> Any:  # noqa: ANN401
    for step in place.split(".") if place else ():
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and _counts(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            key = "answers" if what == "reply" else "answer"
            raise ReleaseError(
                f'the {what} has nothing at "{place}"',
                where=WHERE,
                next_step=f"Say where it is: release.{key}",
            )
    return value


def _counts(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) < 10


def _row(value: Any, classes: tuple[str, ...]) -> list[float]:  # noqa: ANN401
    if isinstance(value, Mapping):
        if set(value) != set(classes):
            raise ReleaseError(
                f"an answer is an object with {len(value)} names that are not the classes",
                where=WHERE,
                expected=f"a number, a list of numbers, or an object of the {len(classes)} classes",
            )
        value = [value[name] for name in classes]
    if not isinstance(value, list):
        value = [value]
    if not value or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in value
    ):
        raise ReleaseError(
            "an answer is neither a number nor a list of numbers",
            where=WHERE,
            next_step="Say where the number is in an answer: release.answer",
        )
    try:
        return [float(one) for one in value]
    except OverflowError:  # a whole number beyond all floats
        return [math.inf for _ in value]
