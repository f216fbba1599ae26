"""Outcomes that are no classes: a number, a time and an event, or nothing at all; all declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.readers.groups import bin_names, bin_numbers
from auscult.readers.labels import NO, YES, Labels
from auscult.readers.values import numbers, texts

Outcome = Literal["class", "number", "time and event", "none"]
OUTCOMES = get_args(Outcome)
TIMED = np.dtype([("event", np.bool_), ("time", np.float64)])
EVENTS = ("no event", "event")
WHERE = "cohort.outcome"


def read_outcome(
    frame: pd.DataFrame,
    names: Sequence[str],
    outcome: Outcome,
    *,
    missing: Sequence[str],
    bins: Sequence[float] | None,
) -> Labels:
    """Labels of a declared outcome that is no class.

    Parameters
    ----------
    frame : DataFrame
    names : sequence of str
        One column or several numbers; the time, then the event; or no column.
    outcome : {"number", "time and event", "none"}
    missing : sequence of str
        Values that mean missing.
    bins : sequence of float, optional
        Cut points of a number, for what records are compared within. The model is given the number.

    Raises
    ------
    CohortError
        Columns do not fit the outcome, or hold what it cannot be.
    """
    if outcome not in OUTCOMES:
        raise CohortError(
            f'"{outcome}" is not a kind of outcome', where=WHERE, expected=", ".join(OUTCOMES)
        )
    if bins is not None and (outcome != "number" or len(names) != 1):
        raise CohortError(
            "label_bins apply to a single number, so they would be ignored",
            where="cohort.label_bins",
        )
    if outcome == "none":
        if names:
            raise CohortError(
                f'there is a label, "{names[0]}", but outcome is "none"',
                where=WHERE,
                expected='"class", "number" or "time and event", or no label',
            )
        return Labels(
            values=np.zeros((len(frame), 0)),
            missing=np.zeros(len(frame), dtype=np.bool_),
            task="none",
            classes=(),
        )
    if outcome == "number":
        return _numbers(frame, names, missing, bins)
    return _timed(frame, names, missing)


def _numbers(
    frame: pd.DataFrame, names: Sequence[str], missing: Sequence[str], bins: Sequence[float] | None
) -> Labels:
    columns = [_number(frame, name, missing) for name in names]
    values = columns[0] if len(columns) == 1 else np.column_stack(columns)
    absent = np.asarray(np.isnan(np.column_stack(columns)).any(axis=1))
    for name, column in zip(names, columns, strict=True):
        if len(np.unique(column[~absent])) < 2:
            raise CohortError(
                "all records have the same number" if not absent.all() else "no record has one",
                where=f"column {name}",
                expected="at least two different ones",
            )
    strata: NDArray[np.int64] | None = None
    found: tuple[str, ...] = ()
    if bins is not None:
        binned = bin_numbers(columns[0], bins, "cohort.label_bins")
        every = bin_names(bins)
        found = tuple(name for name in every if (binned[~absent] == name).any())
        place = {name: i for i, name in enumerate(found)}
        strata = np.array([place.get(one, 0) for one in binned.tolist()], dtype=np.int64)
    return Labels(
        values=np.where(np.isnan(values), 0.0, values),
        missing=absent,
        task="number",
        classes=(),
        strata=strata,
        stratum_names=found,
    )


def _timed(frame: pd.DataFrame, names: Sequence[str], missing: Sequence[str]) -> Labels:
    if len(names) != 2:
        raise CohortError(
            f"{len(names)} columns are not a time and an event",
            where="cohort.label",
            expected='two columns: label = ["time", "event"]',
        )
    time = _number(frame, names[0], missing)
    said = texts(frame[names[1]], missing).tolist()
    lower = np.array(["" if one is None else str(one).lower() for one in said])
    wrong = int((~np.isin(lower, [*YES, *NO, ""])).sum())
    if wrong:
        raise CohortError(
            f"{wrong} values are neither 0 nor 1",
            where=f"column {names[1]}",
            expected="1 where the event happened at that time, 0 where the patient was last seen "
            "without it",
            next_step='The time comes first: label = ["time", "event"]',
        )
    negative = int((time < 0).sum())
    if negative:
        raise CohortError(
            f"{negative} times are negative", where=f"column {names[0]}", expected="0 or more"
        )
    absent = np.isnan(time) | (lower == "")
    event = np.isin(lower, [*YES])
    if not event[~absent].any():
        raise CohortError(
            "no event happened",
            where=f"column {names[1]}",
            expected="events, and perhaps records without",
        )
    values = np.zeros(len(frame), dtype=TIMED)
    values["event"], values["time"] = event, np.nan_to_num(time)
    return Labels(
        values=values,
        missing=absent,
        task="time and event",
        classes=(),
        strata=event.astype(np.int64),
        stratum_names=EVENTS,
    )


def _number(frame: pd.DataFrame, name: str, missing: Sequence[str]) -> NDArray[np.float64]:
    values, unparsable = numbers(frame[name], missing)
    broken = unparsable + int(np.isinf(values).sum())
    if broken:
        raise CohortError(
            f"{broken} values are not finite numbers",
            where=f"column {name}",
            expected="numbers, as the outcome is declared",
            next_step="Name the values that mean missing in cohort.missing",
        )
    return values
