"""Label columns to classes: binary, multi-class, multi-label; never a regression by accident."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError, one_of
from auscult.base.files import quoted_key
from auscult.cohort.cohort import CLASS_TASKS, Task
from auscult.readers.doubts import check_classes, odd_class
from auscult.readers.groups import bin_names, bin_numbers
from auscult.readers.values import numbers, texts

MOST_CLASSES = 50
MOST_FRACTIONAL = 10
RECORDS_PER_SHOWN_LABEL = 5
# Not always missing, and hardly ever a class: which of the two is the user's to say.
PERHAPS_MISSING = {
    *("?", "-", "--", ".", "..", "...", "#", "*", "unknown", "unk", "missing", "na", "n.a.", "n.a"),
    *("not available", "not known", "not done", "unbekannt", "k.a.", "keine angabe", "inconnu"),
    *("desconocido", "nil", "void", "-9", "-99", "-999", "-9999", "999", "9999", "none", "(blank)"),
}
YES = {"1", "1.0", "true", "yes"}
NO = {"0", "0.0", "false", "no"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Labels of all rows; `values` of a row whose label is missing mean nothing.

    Attributes
    ----------
    values : array, shape (rows,) or (rows, labels)
        As :attr:`auscult.Cohort.labels`.
    missing : bool array, shape (rows,)
    task : str
        As :attr:`auscult.Cohort.task`.
    classes : tuple of str
    strata : int64 array, shape (rows,), optional
        As :attr:`auscult.Cohort.strata`, with names in `stratum_names`.
    stratum_names : tuple of str
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_]
    task: Task
    classes: tuple[str, ...]
    strata: NDArray[np.int64] | None = None
    stratum_names: tuple[str, ...] = ()

    def of(self, rows: NDArray[np.int64]) -> Labels:
        """Labels of some rows, without the classes that none of them has.

        Raises
        ------
        CohortError
            One class is left.
        """
        values = self.values[rows]
        if self.task not in CLASS_TASKS:
            return self._other(rows)
        present = [int(n) for n in np.unique(values)]
        constant = [
            name
            for j, name in enumerate(self.classes)
            if values.ndim == 2 and (values[:, j] == values[0, j]).all()
        ]
        if constant or len(present) < 2:
            raise CohortError(
                "all records of the subset have the same label",
                where=f"column {constant[0]}" if constant else "cohort.max_patients",
                expected="at least two classes",
                next_step="Draw more patients",
            )
        kept, task = self.classes, self.task
        if values.ndim == 1 and len(present) < len(kept):
            values = np.searchsorted(present, values)
            kept = tuple(kept[n] for n in present)
        return Labels(values=values, missing=self.missing[rows], task=task, classes=kept)

    def _other(self, rows: NDArray[np.int64]) -> Labels:
        """Labels of some rows where they are no classes."""
        strata, names = self.strata, self.stratum_names
        if strata is not None:
            present, strata = np.unique(strata[rows], return_inverse=True)
            strata = np.asarray(strata, dtype=np.int64)
            names = tuple(names[int(n)] for n in present)
        return replace(
            self,
            values=self.values[rows],
            missing=self.missing[rows],
            strata=strata,
            stratum_names=names,
        )


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

    Parameters
    ----------
    frame : DataFrame
        One row per record.
    names : sequence of str
        One column, or several of a multilabel task.
    missing : sequence of str
        Words that stand for a missing value.
    positive : sequence of str or None
        Values that are the positive class.
    groups : mapping of str to sequence of str, or None
        Classes, and the values that each is made of.
    bins : sequence of float or None
        Where a numeric label is cut into classes.
    task : Task or None
        As declared.

    Raises
    ------
    CohortError
        One class only, a regression target, or values that were named but are not there.
    """
    if len(names) > 1 and task == "multiclass":
        return _one_hot(frame, names, missing)
    if len(names) > 1 or task == "multilabel":
        if not (positive is None and groups is None and bins is None):
            raise CohortError(
                "positive, label_groups and label_bins require a single label column",
                where="cohort.label",
            )
        if task not in (None, "multilabel"):
            raise CohortError(
                f"{len(names)} label columns are not a {task} task", where="cohort.task"
            )
        return _several(frame, names, missing, declared=task is not None)
    name = names[0]
    order: list[str] = []
    if bins is not None:
        values = _binned(frame[name], name, missing, bins)
        order = list(bin_names(bins))
    else:
        values = texts(frame[name], missing, _named(positive, groups))
    if groups is not None:
        values, order = _grouped(values, groups, name), []
    present = values != None  # noqa: E711 - elementwise
    found = pd.unique(values[present]).tolist()
    if positive is not None:
        positive = list(dict.fromkeys(positive))
        absent = [value for value in positive if value not in found]
        if absent or not positive:
            raise CohortError(
                f'no record has the label "{absent[0]}"' if absent else "it is empty",
                where="cohort.positive",
                expected=_existing(absent[0] if absent else "", values, name),
            )
        rest = _ordered([value for value in found if value not in positive])
        classes = [" or ".join(rest) if len(rest) < 4 else "other", " or ".join(positive)]
        index = {value: int(value in positive) for value in found}
    else:
        if bins is None:
            _refuse_many(values, name)
            _refuse_doubtful(found, values, _named(positive, groups), name)
        classes = [c for c in order if c in found] or _ordered(found)
        index = {value: classes.index(value) for value in found}
    if bins is None and len(found) * RECORDS_PER_SHOWN_LABEL <= len(values):
        counts = Counter(values[present].tolist())
        check_classes(index, counts, _named(positive, groups), name)
    if len(set(index.values())) < 2:
        raise CohortError(
            "all records have the same label" if found else "no record has a label",
            where=f"column {name}",
            expected="at least two classes",
            next_step=""
            if present.all()
            else "Empty fields and NA, NaN, null or None are missing labels, unless "
            "cohort.positive or cohort.label_groups names them",
        )
    if task == "binary" and len(classes) > 2:
        raise CohortError(
            f"there are {len(classes)} classes",
            where=f"column {name}",
            expected="two, because the task is binary",
            next_step="Declare the positive values: cohort.positive = [...]",
        )
    codes = np.array([index[v] if v is not None else 0 for v in values.tolist()], dtype=np.int64)
    found_task: Task = "binary" if len(classes) == 2 and task != "multiclass" else "multiclass"
    return Labels(values=codes, missing=~present, task=found_task, classes=tuple(classes))


def _refuse_doubtful(
    found: list[str], values: NDArray[np.object_], named: set[str], name: str
) -> None:
    """Raise where a word that often stands for missing would become a class."""
    doubtful = [v for v in found if v.lower() in PERHAPS_MISSING and v not in named]
    odd = odd_class(found, Counter(values[values != None].tolist()))  # noqa: E711 - elementwise
    if odd is not None and odd not in named and odd not in doubtful:
        doubtful.append(odd)
    if not doubtful or len(found) < 2:
        return
    count = int(np.isin(values.astype(str), doubtful).sum())
    shown = ", ".join(f'"{value}"' for value in doubtful)
    raise CohortError(
        f"{count} records have the label {shown}: a missing label, or a class",
        where=f"column {name}",
        expected="a declaration",
        next_step=f"If it is missing: missing_in = {{ {quoted_key(name)} = [{shown}] }} under "
        "[cohort] (missing = [...] is of all columns); if a class, name it in "
        f"cohort.label_groups, for example {shown.split(', ')[0]} = [{shown.split(', ')[0]}]",
    )


def _several(
    frame: pd.DataFrame, names: Sequence[str], missing: Sequence[str], *, declared: bool
) -> Labels:
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
    if not declared and len(names) > 1 and (combined[~absent].sum(axis=1) == 1).all():
        raise CohortError(
            "each record has exactly one of these labels: classes that exclude each other, or "
            "labels of which several may hold",
            where="cohort.label",
            expected="a declaration, since the two give different findings",
            next_step='Say which: task = "multiclass" or task = "multilabel" under [cohort]',
        )
    for j, name in enumerate(names):
        if len(np.unique(combined[~absent, j])) < 2:
            raise CohortError(
                "all records have the same label", where=f"column {name}", expected="0 and 1"
            )
    return Labels(values=combined, missing=absent, task="multilabel", classes=tuple(names))


def _one_hot(frame: pd.DataFrame, names: Sequence[str], missing: Sequence[str]) -> Labels:
    """Classes from one column for each, of which every record has one."""
    rows = _several(frame, names, missing, declared=True)
    other = int((rows.values[~rows.missing].sum(axis=1) != 1).sum())
    if other:
        raise CohortError(
            f"{other} records have none or several of these labels",
            where="cohort.label",
            expected='one for each record, as the task is "multiclass"',
            next_step='Where several may hold: task = "multilabel" under [cohort]',
        )
    return replace(
        rows,
        values=rows.values.argmax(axis=1).astype(np.int64),
        task="multiclass" if len(names) > 2 else "binary",
    )


def _binned(
    column: pd.Series[Any], name: str, missing: Sequence[str], bins: Sequence[float]
) -> NDArray[np.object_]:
    array, unparsable = numbers(column, missing)
    if unparsable:
        raise CohortError(
            f"{unparsable} values are not numbers",
            where=f"column {name}",
            expected="numbers, because cohort.label_bins is given",
        )
    values = bin_numbers(array, bins, "cohort.label_bins")
    empty = [one for one in bin_names(bins) if not (values == one).any()]
    if empty:
        raise CohortError(
            f'no record has a label that is "{empty[0]}"',
            where="cohort.label_bins",
            expected="cut points between labels that occur",
        )
    return values


def _named(positive: Sequence[str] | None, groups: Mapping[str, Sequence[str]] | None) -> set[str]:
    """Values that the user speaks of as labels: "None" is then a class, not a missing label."""
    return {*(positive or ()), *(value for old in (groups or {}).values() for value in old)}


def _existing(value: str, values: NDArray[np.object_], name: str) -> str:
    """Which labels exist; not where they are so many that they may be identifiers."""
    found = pd.unique(values[values != None]).tolist()  # noqa: E711 - elementwise
    if len(found) * RECORDS_PER_SHOWN_LABEL > len(values):
        return f"a value of column {name}, which has {len(found)} different ones"
    return one_of(value, _ordered(found))


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
                    expected=_existing(value, values, name),
                )
            if value in place:
                raise CohortError(
                    f'the label "{value}" is in two groups', where="cohort.label_groups"
                )
            place[value] = new
    for new in groups:
        if new in found and new not in place:
            raise CohortError(
                f'"{new}" is both the name of a group and a label outside it',
                where=f"cohort.label_groups, column {name}",
                next_step=f'Add "{new}" to its group, or rename the group',
            )
    return np.array([None if v is None else place.get(v, v) for v in values.tolist()], dtype=object)


def _refuse_many(values: NDArray[np.object_], name: str) -> None:
    """Raise where the label, after merging, has too many values to be classes."""
    array, unparsable = numbers(pd.Series(values, dtype=object))
    seen = array[~np.isnan(array)]
    distinct = len(pd.unique(values[values != None]))  # noqa: E711 - elementwise
    fractional = bool((seen != np.round(seen)).any())
    if not unparsable and (distinct > MOST_CLASSES or (fractional and distinct > MOST_FRACTIONAL)):
        raise CohortError(
            f"the label has {distinct} different numbers: this is a regression, which must be "
            "declared",
            where=f"column {name}",
            expected="classes",
            next_step='For a regression: cohort.outcome = "number". For classes, choose '
            "meaningful cut points: cohort.label_bins = "
            f"[{', '.join(f'{q:.3g}' for q in np.unique(np.quantile(seen, [1 / 3, 2 / 3])))}]",
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
