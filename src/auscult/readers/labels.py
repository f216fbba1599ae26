"""Label columns to classes: binary, multi-class, multi-label; never a regression by accident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.cohort import Task
from auscult.errors import CohortError, one_of
from auscult.readers.groups import bin_names, bin_numbers
from auscult.readers.tables import numbers, texts

MOST_CLASSES = 50
MOST_FRACTIONAL = 10
YES = {"1", "1.0", "true", "yes"}
NO = {"0", "0.0", "false", "no"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Labels of all rows; `values` of a row whose label is missing mean nothing.

    Attributes
    ----------
    values : int64 array, shape (rows,) or (rows, labels)
    missing : bool array, shape (rows,)
    task : {"binary", "multiclass", "multilabel"}
    classes : tuple of str
    """

    values: NDArray[np.int64]
    missing: NDArray[np.bool_]
    task: Task
    classes: tuple[str, ...]


def read_labels(
    frame: pd.DataFrame,
    names: Sequence[str],
    *,
    missing: Sequence[str],
    positive: Sequence[str] | None,
    groups: Mapping[str, Sequence[str]] | None,
    bins: Sequence[float] | None,
    task: Task | None,
) -> Labels:
    """Read one label column or several.

    Raises
    ------
    CohortError
        One class only, a regression target, or values that were named but are not there.
    """
    if len(names) > 1 or task == "multilabel":
        if positive or groups or bins:
            raise CohortError(
                "positive, label_groups and label_bins go with one label column",
                where="cohort.label",
            )
        if task not in (None, "multilabel"):
            raise CohortError(f"{len(names)} label columns are no {task} task", where="cohort.task")
        return _several(frame, names, missing)
    name = names[0]
    if bins:
        values = _binned(frame[name], name, missing, bins)
        order = list(bin_names(bins))
    else:
        values = texts(frame[name], missing)
        order = []
    if groups:
        values, order = _grouped(values, groups, name), list[str]()
    present = values != None  # noqa: E711 - elementwise
    found = pd.unique(values[present]).tolist()
    if positive is not None:
        absent = [value for value in positive if value not in found]
        if absent or not positive:
            raise CohortError(
                f'no record has the label "{absent[0]}"' if absent else "positive is empty",
                where="cohort.positive",
                expected=one_of(absent[0] if absent else "", sorted(found)),
            )
        rest = sorted(set(found) - set(positive))
        classes = [" or ".join(rest) if len(rest) < 4 else "other", " or ".join(positive)]
        index = {value: int(value in positive) for value in found}
    else:
        if not bins and not groups:
            _refuse_regression(frame[name], name, missing, len(found))
        classes = [c for c in order if c in found] or _ordered(found)
        index = {value: classes.index(value) for value in found}
    if len(set(index.values())) < 2:
        raise CohortError(
            "all records have the same label" if found else "no record has a label",
            where=f"column {name}",
            expected="at least two classes",
        )
    if task == "binary" and len(classes) > 2:
        raise CohortError(
            f"there are {len(classes)} classes",
            where=f"column {name}",
            expected="two, since the task is binary",
            next_step="Say which values are positive: cohort.positive = [...]",
        )
    codes = np.array([index[v] if v is not None else 0 for v in values.tolist()], dtype=np.int64)
    found_task: Task = "binary" if len(classes) == 2 and task != "multiclass" else "multiclass"
    return Labels(values=codes, missing=~present, task=found_task, classes=tuple(classes))


def _several(frame: pd.DataFrame, names: Sequence[str], missing: Sequence[str]) -> Labels:
    columns, absent = [], np.zeros(len(frame), dtype=bool)
    for name in names:
        values = texts(frame[name], missing)
        lower = np.array(["" if v is None else str(v).lower() for v in values.tolist()])
        wrong = int((~np.isin(lower, [*YES, *NO, ""])).sum())
        if wrong:
            raise CohortError(
                f"{wrong} values are neither 0 nor 1",
                where=f"column {name}",
                expected="0 and 1 (or yes and no, true and false) in each of several labels",
            )
        columns.append(np.isin(lower, [*YES]))
        absent |= lower == ""
    combined = np.column_stack(columns).astype(np.int64)
    for j, name in enumerate(names):
        if len(np.unique(combined[~absent, j])) < 2:
            raise CohortError(
                "all records have the same label", where=f"column {name}", expected="0 and 1"
            )
    return Labels(values=combined, missing=absent, task="multilabel", classes=tuple(names))


def _binned(
    column: pd.Series[Any], name: str, missing: Sequence[str], bins: Sequence[float]
) -> NDArray[np.object_]:
    array, unparsable = numbers(column, missing)
    if unparsable:
        raise CohortError(
            f"{unparsable} values are no numbers",
            where=f"column {name}",
            expected="numbers, since cohort.label_bins is given",
        )
    return bin_numbers(array, bins, "cohort.label_bins")


def _grouped(
    values: NDArray[np.object_], groups: Mapping[str, Sequence[str]], name: str
) -> NDArray[np.object_]:
    found = {v for v in values.tolist() if v is not None}
    place: dict[str, str] = {}
    for new, old in groups.items():
        for value in old:
            if value not in found:
                raise CohortError(
                    f'no record has the label "{value}"',
                    where=f"cohort.label_groups, column {name}",
                    expected=one_of(value, sorted(found)),
                )
            if value in place:
                raise CohortError(
                    f'the label "{value}" is in two groups', where="cohort.label_groups"
                )
            place[value] = new
    return np.array([None if v is None else place.get(v, v) for v in values.tolist()], dtype=object)


def _refuse_regression(
    column: pd.Series[Any], name: str, missing: Sequence[str], distinct: int
) -> None:
    array, unparsable = numbers(column, missing)
    seen = array[~np.isnan(array)]
    fractional = bool((seen != np.round(seen)).any())
    if not unparsable and (distinct > MOST_CLASSES or (fractional and distinct > MOST_FRACTIONAL)):
        raise CohortError(
            f"the label has {distinct} different numbers: this is a regression, and regressions "
            "are not audited",
            where=f"column {name}",
            expected="classes",
            next_step="Name cut points: cohort.label_bins = "
            f"[{', '.join(f'{q:.4g}' for q in np.unique(np.quantile(seen, [1 / 3, 2 / 3])))}]",
        )
    if distinct > MOST_CLASSES:
        raise CohortError(
            f"the label has {distinct} different values",
            where=f"column {name}",
            expected=f"at most {MOST_CLASSES} classes",
            next_step="Merge values with cohort.label_groups, or name the positive ones with "
            "cohort.positive",
        )


def _ordered(found: list[str]) -> list[str]:
    try:
        return sorted(found, key=float)
    except ValueError:
        return sorted(found)
