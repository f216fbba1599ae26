"""What the columns of a table mean, as it was declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from auscult.base.errors import CohortError
from auscult.cohort import Task
from auscult.readers.columns import MAX_LEVELS, MIN_LEVEL_PATIENTS, Dates
from auscult.readers.outcomes import Outcome
from auscult.readers.quantities import Decimal
from auscult.readers.roles import check_roles
from auscult.readers.values import written

_COLUMNS = ("groups", "exclude", "numeric", "categorical", "inputs")


@dataclass(frozen=True, kw_only=True)
class ColumnMeaning:
    """What the columns of a table mean.

    Attributes
    ----------
    patient : str
        Column that says whose record it is. Every row needs a value.
    label : str or sequence of str
        Column that the model predicts; several columns of 0 and 1 make a multi-label task. Left
        out where the outcome is "none".
    outcome : {"class", "number", "time and event", "none"}
        What the label is. Of a number, `label_bins` cut what records are compared within, and the
        model gets the number; several columns are several numbers. A time and an event are two
        columns, in this order: `label=["time", "event"]`.
    groups : sequence of str
        Columns to compare risks by. They are inputs too, unless excluded.
    positive : sequence of str, optional
        Values of the label that count as positive; the others are negative.
    label_groups : mapping of str to sequence of str, optional
        New class names and the values merged into them.
    label_bins : sequence of float, optional
        Cut points that turn a numeric label into classes.
    task : {"binary", "multiclass", "multilabel"}, optional
        Told from the labels when not given.
    bins : mapping of str to sequence of float, optional
        Cut points of numeric group columns.
    exclude : sequence of str
        Columns that are no inputs (identifiers, later outcomes).
    missing : sequence of str
        Values that mean missing, besides empty fields and NA, NaN, null and None.
    missing_in : mapping of str to sequence of str
        Values that mean missing in one column alone, such as 9 or 999.
    numeric, categorical : sequence of str
        Columns whose kind is declared instead of recognised.
    max_levels, min_level_patients : int
        Categories beyond the `max_levels` most common, and those that fewer than
        `min_level_patients` patients have, are pooled as "(rare)".
    max_patients : int, optional
        Draw a random subset of so many patients.
    inputs : sequence of str
        Columns that models read beside arrays, images or signals: inputs are then several, by name.
    seed : int
        For the subset.
    source : str, optional
        Public name of the data; the file's name by default.
    join : Join, mapping or sequence of these, optional
        Second tables: see :class:`auscult.readers.joining.Join`.
    delimiter : str, optional
        Of delimited text; told from its lines where not said.
    decimal : "," or ".", optional
        What parts decimals in numbers that are text, where their values leave two readings.
    dates : {"days", "exclude"}, optional
        What becomes of input columns of dates: days since the first date of each patient in any of
        them, or no inputs. Without it such columns are refused.
    """

    patient: str
    label: str | Sequence[str] = ()
    outcome: Outcome = "class"
    groups: Sequence[str] = ()
    positive: Sequence[str] | None = None
    label_groups: Mapping[str, Sequence[str]] | None = None
    label_bins: Sequence[float] | None = None
    task: Task | None = None
    bins: Mapping[str, Sequence[float]] | None = None
    exclude: Sequence[str] = ()
    missing: Sequence[str] = ()
    missing_in: Mapping[str, Sequence[str]] | None = None
    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()
    max_levels: int = MAX_LEVELS
    min_level_patients: int = MIN_LEVEL_PATIENTS
    max_patients: int | None = None
    inputs: Sequence[str] = ()
    seed: int = 0
    source: str | None = field(default=None)
    join: Any = None
    delimiter: str | None = None
    decimal: Decimal | None = None
    dates: Dates | None = None

    def __post_init__(self) -> None:
        """Take numbers as the text that a file would hold; refuse a text where a list belongs."""
        for key in (*_COLUMNS, "missing", "positive"):
            values = getattr(self, key)
            if values is not None:
                object.__setattr__(self, key, _texts_of(values, key))
        if self.label_groups is not None:
            merged = {
                written(new): _texts_of(old, f"label_groups.{new}")
                for new, old in self.label_groups.items()
            }
            object.__setattr__(self, "label_groups", merged)
        if self.missing_in is not None:
            by_column = {
                str(name): _texts_of(values, f"missing_in.{name}")
                for name, values in self.missing_in.items()
            }
            object.__setattr__(self, "missing_in", by_column)

    def label_name(self) -> str:
        """Name of the label as a group: its column, or the event's."""
        names = self.labels()
        return names[-1] if len(names) == 1 or self.outcome == "time and event" else ""

    def labels(self) -> tuple[str, ...]:
        """Columns of the label."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    def check_columns(self, frame: pd.DataFrame) -> None:
        """Raise a CohortError for columns that the table lacks, or that cannot be two things."""
        bins = dict(self.bins or {})
        for key, said, known in (
            ("decimal", self.decimal, (",", ".")),
            ("dates", self.dates, ("days", "exclude")),
        ):
            if said is not None and said not in known:
                raise CohortError(
                    f'"{said}" is not known', where=f"cohort.{key}", expected=" or ".join(known)
                )
        for key, value in (("max_levels", self.max_levels), ("max_patients", self.max_patients)):
            if value is not None and value < 1:
                raise CohortError(
                    f"{value} is too few", where=f"cohort.{key}", expected="1 or more"
                )
        if self.seed < 0:
            raise CohortError(
                f"{self.seed} is not a valid seed", where="seed", expected="0 or more"
            )
        if not self.labels() and self.outcome != "none":
            raise CohortError("there is no label", where="cohort.label", expected="a column")
        roles = {key: list(getattr(self, key)) for key in _COLUMNS}
        roles |= {"patient": [self.patient], "label": list(self.labels())}
        check_roles(frame, roles, list(bins))

    def refuse_input_columns(self) -> None:
        """Raise where columns are declared inputs, though arrays are the inputs."""
        for name in ("numeric", "categorical", "exclude"):
            known = {*self.inputs, *(self.groups if name == "categorical" else ())}
            if name == "exclude":
                known = set()
            if set(getattr(self, name)) - known:
                raise CohortError(
                    "the table of an array holds no inputs, so there is nothing to declare",
                    where=f"cohort.{name}",
                    next_step="Leave it out",
                )


def _texts_of(values: Any, key: str) -> tuple[str, ...]:  # noqa: ANN401
    if isinstance(values, str):
        raise CohortError(
            "it is a text, not a list",
            where=f"cohort.{key}",
            next_step=f'Write {key} = ["{values}"]',
        )
    return tuple(written(value) for value in values)
