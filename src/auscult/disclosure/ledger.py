"""What was published before of the same patients, so that reports cannot be set against others.

The ledger is a folder beside the runs (``.auscult-ledger``), mode 0700, with one file per report,
mode 0600: which patients each published total was over and how it was rounded, never a figure.
Patients stand there as keyed digests of their identifiers; the key lies beside them, so that
whoever may read the ledger can test identifiers against it: it is a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import secrets
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import StoreError
from auscult.base.files import write_bytes
from auscult.disclosure.control import ABSENT, Table

FOLDER = ".auscult-ledger"
KEY = "key"
_SCHEMA = "auscult.ledger/1"
_WIDTH = 12


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
    """

    path: Path
    content: dict[str, Any]
    patients: NDArray[np.bytes_] = field(repr=False)
    rows: dict[str, NDArray[np.int64]] = field(repr=False)


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
            It cannot be written.
        """
        path = folder / KEY
        if not path.exists():
            write_bytes(path, secrets.token_hex(32).encode(), secret=True)
        key = path.read_bytes()
        digests = [
            hmac.digest(key, str(one).encode("utf-8", "surrogatepass"), "sha256")[:_WIDTH].hex()
            for one in identifiers
        ]
        return cls(folder=folder, run=run, patients=np.array(digests, dtype="S"))

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
        """
        content: dict[str, Any] = {
            "schema": _SCHEMA,
            "run": self.run,
            "made_of": made_of,
            "tables": {},
        }
        arrays: dict[str, Any] = {"patients": self.patients[usable]}
        for place, (name, table) in enumerate(tables.items()):
            rows = [row for row in table.rows() if np.isfinite(table.step(row))]
            number = {one: at for at, row in enumerate(rows) for one in row.names}
            of_name = np.array([number.get(one, -1) for one in table.names], dtype=np.int64)
            arrays[f"rows{place}"] = of_name[table.code[inside]].astype(np.int32)
            content["tables"][name] = {
                "raw": raw_digest(table, inside, self.patients[usable]),
                "hidden": sorted(table.hidden),
                "steps": {k: v if np.isfinite(v) else None for k, v in table.steps.items()},
                "base": table.base,
                "rounding": [table.step(row) for row in rows],
            }
        number_of = len(list(self.folder.glob("*.npz")))
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
    digest = hashlib.sha256("\0".join(table.names).encode("utf-8", "surrogatepass"))
    digest.update(patients[order].tobytes())
    digest.update(table.code[inside][order].tobytes())
    return digest.hexdigest()


def as_before(table: Table, content: Mapping[str, Any]) -> None:
    """Give a table what an earlier report of the same groups of the same patients has."""
    table.hidden |= set(content["hidden"])
    for key, step in content["steps"].items():
        step = np.inf if step is None else float(step)
        table.steps[key] = max(table.steps.get(key, 0.0), step)
    table.base = max(table.base, int(content["base"]))


def fixed_tables(
    entries: Sequence[Entry], patients: NDArray[np.bytes_]
) -> tuple[list[Table], NDArray[np.bytes_]]:
    """The totals of earlier reports as tables, with the patients whom only they are about.

    Parameters
    ----------
    entries : sequence of Entry
    patients : bytes array, shape (patients,)
        Of the report that is made.

    Returns
    -------
    tables : list of Table
        Over `patients`, then the others. Equal tables of several reports stand once.
    others : bytes array
    """
    everybody = np.concatenate([patients, *(one.patients for one in entries)])
    others = np.setdiff1d(everybody, patients)
    universe = np.concatenate([patients, others])
    order = np.argsort(universe)
    found: dict[bytes, Table] = {}
    for one in entries:
        place = order[np.searchsorted(universe, one.patients, sorter=order)]
        for name, rows in one.rows.items():
            said = one.content["tables"][name]
            code = np.full(universe.size, -1, dtype=np.int64)
            code[place] = rows
            labels = np.array([*(f"{i}" for i in range(rows.max(initial=-1) + 1)), ABSENT], object)
            steps = {str(i): float(step) for i, step in enumerate(said["rounding"])}
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


def _read(path: Path) -> Entry:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            content = json.loads(arrays["content"].tobytes())
            if content["schema"] != _SCHEMA:
                raise ValueError
            rows = {
                name: arrays[f"rows{place}"].astype(np.int64)
                for place, name in enumerate(content["tables"])
            }
            return Entry(path=path, content=content, patients=arrays["patients"], rows=rows)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise StoreError(
            "an entry of the release ledger cannot be read, so what was published before is "
            "not known",
            where=str(path),
            next_step=(
                "Restore it from a copy, or delete it if that report was never given to anyone"
            ),
        ) from error
