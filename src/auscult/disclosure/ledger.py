"""What was published before of the same patients, so that reports cannot be set against others.

The ledger is a folder beside the runs (``.auscult-ledger``), mode 0700, with one file per report,
mode 0600: which patients each published total was over and how it was rounded, never a figure.
Patients stand there as keyed digests of their identifiers; the key lies beside them, so that
whoever may read the ledger can test identifiers against it: it is a secret.

An identifier means a person within one population, and a ledger is of one population. Two cohorts
that number their patients from 0 share identifiers and nobody: they are told apart where their own
attributes prove it, see :mod:`auscult.disclosure.strangers`, and otherwise belong into different
ledgers.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import secrets
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import StoreError
from auscult.base.files import write_bytes
from auscult.disclosure.control import ABSENT, Table
from auscult.disclosure.effects import Effects, Rounding, Sums

FOLDER = ".auscult-ledger"
KEY, LOCK = "key", ".lock"
_SCHEMA = "auscult.ledger/1"
FACTOR = "\0factor "
"""Begins the names of tables of factors: no attribute is called so."""
_WIDTH = 12
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One report.

    Attributes
    ----------
    path : Path
    content : dict
        Its run, what it was made of, and per table what is hidden and how it is rounded.
    patients : bytes array, shape (patients,)
        Digests of the patients.
    rows : dict
        Per table the published row that each patient is in; -1 for none.
    sums : float32 array, shape (patients, sums)
        Each patient's weight in the weighted sums that were published.
    """

    path: Path
    content: dict[str, Any]
    patients: NDArray[np.bytes_] = field(repr=False)
    rows: dict[str, NDArray[np.int64]] = field(repr=False)
    sums: NDArray[np.float32] = field(repr=False)

    @property
    def stands(self) -> bool:
        """Whether all reports that this one was held against are still entered."""
        return all((self.path.parent / name).exists() for name in self.content.get("against", ()))

    def effects(self) -> dict[str, Rounding]:
        """Factors that were published, and how they were rounded."""
        found = self.content.get("effects") or {}
        return {n: Rounding(step=float(step), base=int(base)) for n, (step, base) in found.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Reports:
    """The ledger as one report sees it.

    Attributes
    ----------
    folder : Path
    run : str
        Identity of the run that is reported.
    patients : bytes array, shape (patients,)
        Digests of its patients, in the cohort's order.
    """

    folder: Path
    run: str
    patients: NDArray[np.bytes_] = field(repr=False)

    @classmethod
    def open(cls, folder: Path, run: str, identifiers: Sequence[Any]) -> Reports:
        """Open a ledger, or start one.

        Parameters
        ----------
        folder : Path
        run : str
        identifiers : sequence
            One per patient.

        Raises
        ------
        StoreError
            It cannot be written, or its key is gone or another one.
        """
        path = folder / KEY
        with _locked(folder):
            entries = sorted(folder.glob("*.npz"))
            if not path.exists() and not entries:
                write_bytes(path, secrets.token_hex(32).encode(), secret=True)
            key = path.read_bytes() if path.exists() else b""
            # With another key nobody would be known again, and nothing be checked.
            if len(key) < _WIDTH or (entries and _read(entries[-1]).content["key"] != _told(key)):
                raise StoreError(
                    "the release ledger's key is gone or was changed, so what was published before "
                    "cannot be told",
                    where=str(path),
                    next_step="Restore the folder from a copy; or, if none of its reports was "
                    "handed out, delete the folder",
                )
        digests = [
            hmac.digest(key, str(one).encode("utf-8", "surrogatepass"), "sha256")[:_WIDTH].hex()
            for one in identifiers
        ]
        return cls(folder=folder, run=run, patients=np.array(digests, dtype="S"))

    @property
    def name(self) -> str:
        """Which ledger it is, wherever it lies: a digest made with its key."""
        return ledger_name(self.folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else checks or enters a report meanwhile."""
        with _locked(self.folder):
            yield

    def entries(self, usable: NDArray[np.bool_]) -> list[Entry]:
        """Reports of cohorts that share a patient with this one, oldest first.

        Raises
        ------
        StoreError
            An entry was damaged: what it said is not known, so nothing is published.
        """
        mine = self.patients[usable]
        found = [_read(path) for path in sorted(self.folder.glob("*.npz"))]
        return [one for one in found if np.isin(one.patients, mine).any()]

    def record(
        self,
        made_of: str,
        usable: NDArray[np.bool_],
        tables: Mapping[str, Table],
        inside: NDArray[np.bool_],
        effects: Effects | None = None,
        roundings: Mapping[str, Rounding] | None = None,
        against: Sequence[Entry] = (),
    ) -> None:
        """Enter a report, before anything of it is published.

        Parameters
        ----------
        made_of : str
            Digest of what the report is made of.
        usable : bool array, shape (patients,)
        tables : mapping
            As they are published.
        inside : bool array, shape (len(table.labels),)
            Which of the tables' patients are the usable ones, in their order.
        effects : Effects, optional
            Over the tables' patients.
        roundings : mapping of str to Rounding, optional
            Of the factors that are published.
        against : sequence of Entry
            Reports that this one was held against.
        """
        roundings = roundings or {}
        content: dict[str, Any] = {
            "schema": _SCHEMA,
            "run": self.run,
            "made_of": made_of,
            "key": self.name,
            "tables": {},
            "against": [one.path.name for one in against],
            "factors": "" if effects is None else effects.digest(int(inside.sum())),
            "effects": {name: [one.step, one.base] for name, one in roundings.items()},
        }
        arrays: dict[str, Any] = {"patients": self.patients[usable]}
        if effects is not None and roundings:
            chosen = [effects.names.index(name) for name in roundings]
            arrays["sums"] = effects.weights[inside][:, chosen].astype(np.float32)
            told = effects.tables()
            tables = dict(tables)
            for name, one in roundings.items():
                told[name].base = one.base
                tables[f"{FACTOR}{name}"] = told[name]
        for place, (name, table) in enumerate(tables.items()):
            rows = table.rows()
            number = {one: at for at, row in enumerate(rows) for one in row.names}
            of_name = np.array([number.get(one, -1) for one in table.names], dtype=np.int64)
            arrays[f"rows{place}"] = of_name[table.code[inside]].astype(np.int32)
            content["tables"][name] = {
                "raw": raw_digest(table, inside, self.patients[usable]),
                "hidden": sorted(table.hidden),
                "steps": {k: v if np.isfinite(v) else None for k, v in table.steps.items()},
                "base": table.base,
                "told": table.told,
                "rounding": [
                    step if np.isfinite(step := table.step(row)) else None for row in rows
                ],
            }
        numbers = [int(path.name[:6]) for path in self.folder.glob("[0-9]" * 6 + "-*.npz")]
        number_of = max(numbers, default=-1) + 1
        arrays["content"] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
        written = io.BytesIO()
        np.savez_compressed(written, **arrays)
        name = f"{number_of:06d}-{self.run[:16]}-{made_of[:16]}.npz"
        write_bytes(self.folder / name, written.getvalue(), secret=True)


def raw_digest(table: Table, inside: NDArray[np.bool_], patients: NDArray[np.bytes_]) -> str:
    """Digest of who is in which group of a table, before anything is pooled.

    Parameters
    ----------
    table : Table
    inside : bool array, shape (len(table.labels),)
        Which of the table's patients are the usable ones.
    patients : bytes array, shape (usable patients,)
        Digests of their identifiers.
    """
    order = np.argsort(patients, kind="stable")
    # That other reports are about other patients, too, is none of this one's making.
    names = [name for name in table.names if name != ABSENT]
    number = np.array([names.index(n) if n != ABSENT else -1 for n in table.names], dtype=np.int64)
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass"))
    digest.update(patients[order].tobytes())
    digest.update(number[table.code[inside]][order].tobytes())
    return digest.hexdigest()


def as_before(table: Table, content: Mapping[str, Any]) -> None:
    """Give a table what an earlier report of the same groups of the same patients has."""
    table.hidden |= set(content["hidden"])
    for key, step in content["steps"].items():
        step = np.inf if step is None else float(step)
        table.steps[key] = max(table.steps.get(key, 0.0), step)
    table.base = max(table.base, int(content["base"]))
    table.told &= bool(content.get("told", True))


def fixed_tables(
    entries: Sequence[Entry], patients: NDArray[np.bytes_], told: Sequence[Entry] | None = None
) -> tuple[list[Table], NDArray[np.bytes_]]:
    """The totals of earlier reports as tables, with the patients whom only they are about.

    Parameters
    ----------
    entries : sequence of Entry
    patients : bytes array, shape (patients,)
        Of the report that is made.
    told : sequence of Entry, optional
        Those among the entries whose totals are asked for; all when absent.

    Returns
    -------
    tables : list of Table
        Over `patients`, then the others. Equal tables of several reports stand once. A row whose
        figures were withheld is a number of patients all the same.
    others : bytes array
    """
    everybody = np.concatenate([patients, *(one.patients for one in entries)])
    others = np.setdiff1d(everybody, patients)
    universe = np.concatenate([patients, others])
    order = np.argsort(universe)
    found: dict[bytes, Table] = {}
    for one in entries if told is None else told:
        place = order[np.searchsorted(universe, one.patients, sorter=order)]
        for name, rows in one.rows.items():
            said = one.content["tables"][name]
            code = np.full(universe.size, -1, dtype=np.int64)
            code[place] = rows
            labels = np.array([*(f"{i}" for i in range(rows.max(initial=-1) + 1)), ABSENT], object)
            steps = {
                str(i): np.inf if step is None else float(step)
                for i, step in enumerate(said["rounding"])
            }
            table = Table(
                labels=labels[code],
                fixed=True,
                rounded=False,
                steps=steps,
                base=int(said["base"]),
            )
            key = code.tobytes() + json.dumps([steps, table.base]).encode()
            found.setdefault(hashlib.sha256(key).digest(), table)
    return list(found.values()), others


def fixed_sums(entries: Sequence[Entry], universe: NDArray[np.bytes_]) -> Sums:
    """The weighted sums of earlier reports.

    Parameters
    ----------
    entries : sequence of Entry
    universe : bytes array
        All patients of these reports, and maybe others.
    """
    order = np.argsort(universe)
    found: dict[bytes, tuple[NDArray[np.float64], float]] = {}
    for one in entries:
        place = order[np.searchsorted(universe, one.patients, sorter=order)]
        steps = [rounding.step for rounding in one.effects().values()]
        for column, step in zip(one.sums.T, steps, strict=True):
            weights = np.zeros(universe.size)
            weights[place] = column
            key = weights.tobytes() + json.dumps(step).encode()
            found.setdefault(hashlib.sha256(key).digest(), (weights, step))
    columns = [weights for weights, _ in found.values()]
    return Sums(
        weights=np.stack(columns, axis=1) if columns else np.zeros((universe.size, 0)),
        steps=np.array([step for _, step in found.values()]),
    )


def ledger_name(folder: Path) -> str:
    """Which ledger a folder is: a digest made with its key.

    Raises
    ------
    StoreError
        It is no ledger, or cannot be read.
    """
    try:
        return _told((folder / KEY).read_bytes())
    except OSError as error:
        raise StoreError(
            "this is no release ledger that can be read",
            where=str(folder),
            expected=f"a folder that a report was entered in, with a file {KEY}",
        ) from error


def _told(key: bytes) -> str:
    """What an entry says of the key that it was made with."""
    return hmac.digest(key, b"\0ledger", "sha256")[:_WIDTH].hex()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the ledger, and remove what killed processes left half written."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / LOCK).touch(mode=0o600)
        with FileLock(folder / LOCK, timeout=PATIENCE_SECONDS, fallback_to_soft=False):
            for stale in folder.glob(".*.part"):
                stale.unlink(missing_ok=True)
            yield
    except Timeout as error:
        raise StoreError(
            "another process holds the release ledger",
            where=str(folder),
            next_step="Wait until it has ended, then run the same command again: it resumes",
        ) from error
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(
            f"the release ledger cannot be held ({why})",
            where=str(folder),
            next_step="Name a folder on a local disk that you may write to (audit.ledger)",
        ) from error


def _read(path: Path) -> Entry:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            content = json.loads(arrays["content"].tobytes())
            if content["schema"] != _SCHEMA or not isinstance(content["key"], str):
                raise ValueError
            rows = {
                name: arrays[f"rows{place}"].astype(np.int64)
                for place, name in enumerate(content["tables"])
            }
            patients = arrays["patients"]
            none = np.zeros((patients.size, 0), dtype=np.float32)
            sums = arrays["sums"] if "sums" in arrays.files else none
            if sums.shape != (patients.size, len(content.get("effects") or {})):
                raise ValueError
            entry = Entry(path=path, content=content, patients=patients, rows=rows, sums=sums)
            entry.effects()  # what it says of factors has a form as well
            return entry
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise StoreError(
            "an entry of the release ledger cannot be read, so what was published before is "
            "not known",
            where=str(path),
            next_step=(
                "Restore it from a copy, or delete it if that report was never given to anyone"
            ),
        ) from error
