"""A finished run as its owner may see it: patients, records, signals, protections. All secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from auscult.attacks.log_odds import signals_from_outputs
from auscult.base.errors import StoreError
from auscult.base.opening import npz_arrays, parse_json, read_text, reading, refuse_special
from auscult.results import Result
from auscult.results.comparing import AGAIN, NOT_GROUPS
from auscult.results.result import COHORT, EXACT, IN_COMMON, PATIENTS, PROTECTED, RECORDS
from auscult.store import Outputs, RunStore
from auscult.store.seal import SEAL, require_sealed
from auscult.viewer.roll import NUMBERS, Attribute, Roll

PIECES, PIECE = 20, 100  # of the sample of records that others are compared with
LOG_ODDS = ("softmax", "sigmoid", "multilabel")


@dataclass(frozen=True, kw_only=True, eq=False)
class Holding:
    """What a run folder holds.

    Attributes
    ----------
    path : Path
    summary : dict
        Exact figures, where they are kept; else the released ones.
    roll : Roll
    patient_of_record, order, first : int64 arrays
        Patient of each record; records by patient, and where each patient's begin among them.
    record_rows : int64 array, shape (records,)
        Row of each record in the source.
    record_auc, record_low, record_high : float64 arrays, shape (records,)
        NaN for records that were withheld.
    labels : array, shape (records,) or (records, labels), or None
        As models were given them.
    classes : int64 array, shape (records,) or (records, labels), or None
        Classes, where labels are such.
    withheld : bool array, shape (records,), or None
    member : bool array, shape (models, patients)
    outputs : Outputs
    queries : tuple of int or None
        Which answers are those to the records themselves.
    protected : dict of str to array, or None
        Columns of the patients under each protection.
    in_common : dict
        What the exposed have in common, exactly; a "reason" alone where that was not kept.
    seal : tuple
        Identity of the seal's file when the run was opened.
    """

    path: Path
    summary: dict[str, Any] = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)
    roll: Roll
    patient_of_record: NDArray[np.int64]
    order: NDArray[np.int64]
    first: NDArray[np.int64]
    record_rows: NDArray[np.int64]
    record_auc: NDArray[np.float64]
    record_low: NDArray[np.float64]
    record_high: NDArray[np.float64]
    labels: NDArray[Any] | None
    classes: NDArray[np.int64] | None
    withheld: NDArray[np.bool_] | None
    member: NDArray[np.bool_]
    outputs: Outputs
    queries: tuple[int, ...] | None
    protected: dict[str, NDArray[Any]] | None
    in_common: dict[str, Any] = field(repr=False)
    seal: tuple[int, int, int]

    @classmethod
    def open(cls, path: Path) -> Holding:
        """Read a finished run and check it against its seal.

        Raises
        ------
        StoreError
            It is no run, not finished, or was changed.
        """
        store = RunStore.open(path)
        Result(path)  # says what is missing where it is not finished
        seal = _identity(path)
        require_sealed(path, values=False)
        exact = path / "secret" / EXACT
        summary = parse_json(read_text(exact, str(exact), StoreError), str(exact), StoreError)
        place = path / "secret" / COHORT
        content = npz_arrays(place, str(place), StoreError, next_step=AGAIN)
        of_record = content["patient_of_record"].astype(np.int64)
        withheld = content.get("withheld")
        records = _table(path / "secret" / RECORDS)
        index = np.arange(len(of_record))
        if withheld is not None:  # those that were attacked come first in the table
            index = np.concatenate([np.flatnonzero(~withheld), np.flatnonzero(withheld)])
        columns = {}
        for name in ("record", "auc", "auc_low", "auc_high"):
            values = records[name].to_numpy()
            columns[name] = np.empty(len(of_record), dtype=values.dtype)
            columns[name][index] = values
        protected = None
        if (path / "secret" / PROTECTED).exists():
            table = _table(path / "secret" / PROTECTED)
            protected = {
                name: table[name].to_numpy() for name in table.column_names if name != "patient"
            }
        classes, truth = content.get("labels"), content.get("truth")
        return cls(
            path=path,
            summary=summary,
            manifest=store.manifest(),
            roll=_roll(_table(path / "secret" / PATIENTS)),
            patient_of_record=of_record,
            order=np.argsort(of_record, kind="stable"),
            first=np.concatenate([[0], np.cumsum(np.bincount(of_record))]),
            record_rows=columns["record"].astype(np.int64),
            record_auc=columns["auc"],
            record_low=columns["auc_low"],
            record_high=columns["auc_high"],
            labels=classes if truth is None else truth,
            classes=classes,
            withheld=withheld,
            member=store.read_membership().reveal(),
            outputs=store.outputs(),
            queries=(0,) if bool(content.get("asked_more", False)) else None,
            protected=protected,
            in_common=_in_common(path / "secret" / IN_COMMON),
            seal=seal,
        )

    @property
    def name(self) -> str:
        """The folder's."""
        return self.path.resolve().name

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self.roll)

    def refuse_changed(self) -> None:
        """Raise a StoreError where the run was written to since it was opened."""
        if _identity(self.path) != self.seal:
            raise StoreError(
                "the run was changed after the viewer had opened it",
                where=str(self.path),
                next_step="Stop `auscult view` and start it again",
            )

    def records_of(self, patient: int) -> NDArray[np.int64]:
        """Records of one patient, in the cohort's order."""
        return np.sort(self.order[self.first[patient] : self.first[patient + 1]])

    def label_text(self, record: int) -> str:
        """The label of one record as people read it; empty where none is kept."""
        if self.labels is None:
            return ""
        value, names = self.labels[record], self._class_names
        if self.labels.dtype.names:
            event = "event" if bool(value["event"]) else "no event"
            return f"{event} at {float(value['time']):g}"
        if self.labels.dtype.kind == "f":
            return f"{float(value):g}"
        if self.labels.ndim == 2:
            return ", ".join(n for n, v in zip(names, value, strict=True) if v) or "none of them"
        return names[int(value)] if int(value) < len(names) else str(int(value))

    @property
    def _class_names(self) -> list[str]:
        return [str(one["name"]) for one in self.summary["cohort"].get("classes") or ()]

    @property
    def tells_probability(self) -> bool:
        """Whether signals are log-odds of the truth."""
        return self.outputs.kind in LOG_ODDS

    def signals(self, records: NDArray[np.int64]) -> NDArray[np.float64]:
        """Signals of all models on some records, shape (models, records)."""
        pieces = [self._read(int(one), int(one) + 1) for one in records]
        return np.concatenate(pieces, axis=1)

    def _read(self, start: int, stop: int) -> NDArray[np.float64]:
        outputs = Outputs.in_memory(self.outputs.read(start, stop), self.outputs.kind)
        known = self.labels
        labels = np.zeros(self.outputs.records, dtype=np.int64) if known is None else known
        found = signals_from_outputs(outputs, labels[start:stop], self.queries)
        return np.asarray(found, dtype=np.float64)

    def out_means(self) -> NDArray[np.float64]:
        """Mean signal over OUT models of an even sample of records, ascending."""
        n = self.outputs.records
        if n <= PIECES * PIECE:
            starts, size = [0], n
        else:
            starts, size = [round(k * (n - PIECE) / (PIECES - 1)) for k in range(PIECES)], PIECE
        means = []
        for start in starts:
            out = ~self.member[:, self.patient_of_record[start : start + size]]
            signals = self._read(start, start + size)
            with np.errstate(invalid="ignore"):
                means.append((signals * out).sum(axis=0) / out.sum(axis=0))
        found = np.concatenate(means)
        return np.sort(found[np.isfinite(found)])


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        found = (path / SEAL).stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _in_common(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"reason": f"an earlier version of Auscult made this run. {AGAIN}"}
    found: dict[str, Any] = parse_json(
        read_text(path, str(path), StoreError), str(path), StoreError
    )
    return found


def _table(path: Path) -> pa.Table:
    refuse_special(path, str(path), StoreError)
    wanted = "the file written by `auscult run` under secret/"
    with reading(str(path), StoreError, expected=wanted, next_step=AGAIN):
        return pq.read_table(path)


def _roll(table: pa.Table) -> Roll:
    names = table.column_names
    numbers = {
        name: np.asarray(table[name].to_numpy(), dtype=np.float64)
        for name in NUMBERS
        if name in names
    }
    return Roll(
        table["patient"].cast(pa.large_string()).combine_chunks(),
        numbers,
        table["confirmed_0.9"].to_numpy().astype(bool) if "confirmed_0.9" in names else None,
        [Attribute.of(_plain(name), table[name]) for name in names if name not in NOT_GROUPS],
    )


def _plain(name: str) -> str:
    """A group's own name: one that is called as a figure is carries a mark in the table."""
    plain = name.removeprefix("group ")
    return plain if plain in NOT_GROUPS else name
