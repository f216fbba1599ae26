"""How a table, or an array with its table, becomes a cohort."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.base.randomness import Stage, generator
from auscult.cohort import Cohort, LeftOut, PatientIds
from auscult.cohort.inputs import ArrayInputs, Inputs, NamedInputs, TableInputs
from auscult.readers.arrays import arrays_by_name, channel_axis, finite_array
from auscult.readers.column_meaning import ColumnMeaning
from auscult.readers.columns import table_inputs
from auscult.readers.doubts import check_patients
from auscult.readers.groups import read_groups
from auscult.readers.joining import join_table, joins_of
from auscult.readers.labels import Labels, read_labels
from auscult.readers.leakage import leaking
from auscult.readers.outcomes import read_outcome
from auscult.readers.tables import files_of, read_table, rows_of, told, with_missing, with_types
from auscult.readers.values import texts

ARRAY, TABLE = "array", "table"  # names of inputs, where there are several and none is given

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reading(ColumnMeaning):
    """How tables, and arrays with their tables, become cohorts; its fields say what columns mean.

    See :class:`auscult.readers.column_meaning.ColumnMeaning` for the fields.
    """

    def table(self, data: Any) -> Cohort:  # noqa: ANN401
        """Read a table whose columns are the inputs."""
        frame, notes = self.joined(self.read(data))
        return self.from_frame(frame, notes, _source(data))

    def from_frame(
        self,
        frame: pd.DataFrame,
        notes: Sequence[str],
        source: str,
        left_out: tuple[LeftOut, ...] = (),
    ) -> Cohort:
        """A cohort from a table that was read already; what was left out before is told.

        Parameters
        ----------
        frame : DataFrame
            One row per record.
        notes : sequence of str
            What the cohort tells of how it was read.
        source : str
            Where the table came from, for messages.
        left_out : tuple of LeftOut
            What was left out before.
        """
        self.check_columns(frame)
        kept = self.keep(frame)
        kept = replace(kept, left_out=(*left_out, *kept.left_out))
        dropped = {self.patient, *self.labels(), *self.exclude}
        given = rows_of(frame, kept.rows)
        inputs, more = table_inputs(
            given[[name for name in frame.columns if name not in dropped]],
            kept.patient_of_record,
            missing=self.missing,
            numeric=self.numeric,
            categorical=self.categorical,
            max_levels=self.max_levels,
            min_level_patients=self.min_level_patients,
            dated=self.dates,
            typed=with_types(frame),
        )
        more += self._leaks(given, inputs)
        return self._cohort(frame, kept, inputs, [*notes, *more], source)

    def arrays(
        self,
        array: Any,  # noqa: ANN401
        table: Any,  # noqa: ANN401
        *,
        key: str | Sequence[str] | None,
        channels: str,
        nan: float | None = None,
    ) -> Cohort:
        """Read an array whose row i is described by the table's row i.

        Parameters
        ----------
        array : array, path-like or mapping
            Shape (records, ...).
        table : path-like or dataframe
        key : str or None
            The array's name in an npz.
        channels : {"auto", "none", "first", "last"}
        nan : float, optional
            What NaN is replaced with; None refuses it.
        """
        self.refuse_input_columns()
        given = arrays_by_name(array, key, ARRAY, taken=TABLE)
        frame = self.read(table)
        for values, where in given.values():
            if len(frame) != len(values):
                raise CohortError(
                    f"the array has {len(values)} entries and the table {len(frame)} rows",
                    where=where,
                    expected="row i of the table describes entry i of the array",
                )
        frame, notes = self.joined(frame)
        self.check_columns(frame)
        kept = self.keep(frame)
        parts: dict[str, TableInputs | ArrayInputs] = {}
        for name, (values, where) in given.items():
            # Of several arrays, those without an axis of channels have none to declare.
            said = "auto" if len(given) > 1 and values.ndim < 4 else channels
            values, more = finite_array(values, kept.rows, where, nan)
            notes = [*notes, *more]
            parts[name] = ArrayInputs(
                array=values, rows=kept.rows, channels=channel_axis(values.shape, said, where)
            )
        inputs = parts[ARRAY] if ARRAY in parts else NamedInputs(parts=parts)
        return self._cohort(frame, kept, inputs, notes, _source(array))

    def described(
        self,
        frame: pd.DataFrame,
        inputs: Callable[[NDArray[np.int64]], Inputs],
        *,
        record_rows: NDArray[np.int64],
        left_out: tuple[LeftOut, ...],
        notes: Sequence[str],
        source: str = "files",
    ) -> Cohort:
        """A cohort of records that were read already, row i of the frame describing record i.

        Parameters
        ----------
        frame : DataFrame
        inputs : callable
            Inputs of some of the rows.
        record_rows : int64 array, shape (rows,)
            The rows' names: see :class:`auscult.Cohort`.
        left_out : tuple of LeftOut
            What was left out before.
        notes : sequence of str
        source : str
        """
        self.check_columns(frame)
        kept = self.keep(frame)
        named = replace(
            kept,
            left_out=(*left_out, *kept.left_out),
        )
        return self._cohort(
            frame, named, inputs(kept.rows), list(notes), source, record_rows[kept.rows]
        )

    def read(self, data: Any) -> pd.DataFrame:  # noqa: ANN401
        """A table in the way that its numbers and lines were declared to be written."""
        return read_table(
            data, delimiter=self.delimiter, decimal=self.decimal, missing=self.missing
        )

    def joined(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """The table with the columns of those that are joined to it, and what to note."""
        notes = told(frame)
        for how in joins_of(self.join):
            frame, more = join_table(
                frame,
                how,
                patient=self.patient,
                missing=self.missing,
                max_levels=self.max_levels,
                min_level_patients=self.min_level_patients,
                read=self.read,
            )
            notes += more
        if self.missing_in:
            frame, more = with_missing(frame, self.missing_in)
            notes += more
        return frame, notes

    def keep(self, frame: pd.DataFrame) -> _Kept:
        """Which rows make the cohort, whose they are and what was left out."""
        names = texts(frame[self.patient])
        empty = int(sum(name is None for name in names.tolist()))
        if empty:
            raise CohortError(
                f"{empty} of {len(frame)} rows have no patient",
                where=f"column {self.patient}",
                expected="a value in every row: the patient is the unit of the audit",
                next_step="Remove these rows or complete them",
            )
        notes = check_patients(frame[self.patient], names, f"column {self.patient}")
        labels = self._read_labels(frame)
        left_out = []
        rows = np.flatnonzero(~labels.missing)
        if labels.missing.any():
            left_out.append(LeftOut("label missing", int(labels.missing.sum())))
        codes, ids = pd.factorize(names[rows].astype(str))
        if self.max_patients is not None and self.max_patients < len(ids):
            order = generator(self.seed, Stage.SUBSET).permutation(len(ids))
            drawn = np.zeros(len(ids), dtype=np.bool_)
            drawn[order[: self.max_patients]] = True
            stay = drawn[codes]
            left_out.append(
                LeftOut("patient not drawn into the subset (max_patients)", int((~stay).sum()))
            )
            rows = rows[stay]
            codes, ids = pd.factorize(names[rows].astype(str))
        return _Kept(
            rows=rows,
            patient_of_record=codes.astype(np.int64),
            ids=np.asarray(ids, dtype=str),
            labels=labels.of(rows),
            left_out=tuple(left_out),
            notes=tuple(notes),
        )

    def _with_columns(
        self, frame: pd.DataFrame, kept: _Kept, inputs: Inputs
    ) -> tuple[NamedInputs, list[str]]:
        """Arrays, and the declared columns of their table beside them."""
        if isinstance(inputs, TableInputs):
            raise CohortError(
                "a table's columns are inputs already",
                where="cohort.inputs",
                expected="an array, images or signals in addition to the table",
                next_step="Leave it out; cohort.exclude removes columns",
            )
        table, more = table_inputs(
            rows_of(frame, kept.rows)[list(self.inputs)],
            kept.patient_of_record,
            missing=self.missing,
            numeric=[name for name in self.numeric if name in self.inputs],
            categorical=[name for name in self.categorical if name in self.inputs],
            max_levels=self.max_levels,
            min_level_patients=self.min_level_patients,
            dated=self.dates,
            typed=with_types(frame),
        )
        arrays = inputs.parts if isinstance(inputs, NamedInputs) else {ARRAY: inputs}
        more += self._leaks(rows_of(frame, kept.rows), table)
        return NamedInputs(parts={**arrays, TABLE: table}), more

    def _leaks(self, given: pd.DataFrame, inputs: TableInputs) -> list[str]:
        """Notes of columns that tell a label by themselves."""
        known = {name: inputs.numeric[:, j] for j, name in enumerate(inputs.numeric_names)}
        columns = given[[*known, *inputs.categorical_names]]
        return [
            f"{name}: {why}"
            for label in self.labels()
            for name, why in leaking(columns, given[label], known).items()
        ]

    def _read_labels(self, frame: pd.DataFrame) -> Labels:
        if self.outcome == "class":
            return read_labels(
                frame,
                self.labels(),
                missing=self.missing,
                positive=self.positive,
                groups=self.label_groups,
                bins=self.label_bins,
                task=self.task,
            )
        for key in ("positive", "label_groups", "task"):
            if getattr(self, key) is not None:
                raise CohortError(
                    f'it requires classes, but the outcome is "{self.outcome}"',
                    where=f"cohort.{key}",
                    next_step="Leave it out",
                )
        return read_outcome(
            frame, self.labels(), self.outcome, missing=self.missing, bins=self.label_bins
        )

    def _cohort(
        self,
        frame: pd.DataFrame,
        kept: _Kept,
        inputs: Inputs,
        notes: list[str],
        source: str,
        record_rows: NDArray[np.int64] | None = None,
    ) -> Cohort:
        if self.inputs:
            inputs, told_more = self._with_columns(frame, kept, inputs)
            notes = [*notes, *told_more]
        groups, more = read_groups(
            rows_of(frame, kept.rows),
            self.groups,
            kept.patient_of_record,
            len(kept.ids),
            missing=self.missing,
            bins=dict(self.bins or {}),
            categorical=self.categorical,
        )
        cohort = Cohort(
            inputs=inputs,
            labels=kept.labels.values,
            task=kept.labels.task,
            classes=kept.labels.classes,
            patient_of_record=kept.patient_of_record,
            patient_ids=PatientIds(kept.ids),
            record_rows=kept.rows if record_rows is None else record_rows,
            groups=groups,
            left_out=kept.left_out,
            notes=(*notes, *kept.notes, *more),
            source=self.source or source,
            label_name=self.label_name(),
            strata=kept.labels.strata,
            stratum_names=kept.labels.stratum_names,
        )
        LOG.info(
            "Read %s: %d records of %d patients", cohort.source, cohort.records, cohort.patients
        )
        return cohort


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    rows: NDArray[np.int64]
    patient_of_record: NDArray[np.int64]
    ids: NDArray[np.str_] = field(repr=False)
    labels: Labels
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = ()


def _source(data: Any) -> str:  # noqa: ANN401
    files = files_of(data)
    return files[0].name if files else "data in memory"
