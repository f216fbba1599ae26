"""The folder that Privacy Meter writes: ``models/memberships.npy`` and ``signals/*.npy``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import CohortError, one_of
from auscult.imported.declared import Declared
from auscult.imported.parts import load_npy
from auscult.imported.scores import Scores, from_arrays

MEMBERSHIPS = ("models/memberships.npy", "memberships.npy")
ENDING = "_signals.npy"


def memberships_of(path: Path) -> Path | None:
    """The file of memberships of a folder of Privacy Meter's, or None where it is no such folder.

    Parameters
    ----------
    path : Path
        The log folder, or one of the files in its ``signals``.
    """
    root = path if path.is_dir() else path.parent.parent
    if not path.is_dir() and (path.suffix != ".npy" or path.parent.name != "signals"):
        return None
    found = [root / name for name in MEMBERSHIPS if (root / name).is_file()]
    return found[0] if found and (root / "signals").is_dir() else None


def read_privacy_meter(
    path: Path, columns: dict[str, NDArray[Any]] | None = None, declared: Declared | None = None
) -> Scores:
    """Read the signals and memberships of a run of Privacy Meter.

    Signals have shape (records, models) and memberships (models, records). Those of its attack
    RMIA are the softmax of the true class; losses are cross-entropies in natural logarithms.

    Parameters
    ----------
    path : Path
        The log folder, or one file of its ``signals``.
    columns : dict of str to array, optional
        ``patient``, ``labels`` and groups, one value per record.
    declared : Declared, optional

    Raises
    ------
    CohortError
        Files are missing, do not fit together, or leave two readings.
    """
    memberships = memberships_of(path)
    if memberships is None:
        raise CohortError(
            "it is not a log folder of Privacy Meter",
            where=path.name,
            expected="models/memberships.npy and signals/rmia_signals.npy",
        )
    file, notes = _signals_file(path)
    signals, member = load_npy(file), load_npy(memberships)
    where = file.name
    if signals.ndim == 3 and signals.shape[2] == 1:
        signals = signals[:, :, 0]
    if signals.ndim != 2 or member.ndim != 2 or signals.shape[1] != member.shape[0]:
        raise CohortError(
            f"signals have shape {signals.shape} and memberships {member.shape}",
            where=where,
            expected="signals (records, models) and memberships (models, records)",
        )
    if signals.shape[0] != member.shape[1]:
        raise CohortError(
            f"there are signals of {signals.shape[0]:,} records and memberships of "
            f"{member.shape[1]:,}: the run audited a sample and did not save which one",
            where=where,
            next_step="Take data_size out of its audit settings, delete the folder signals, and "
            "run Privacy Meter again: the trained models are used again",
        )
    declared = declared or Declared()
    if declared.signals is None and where.startswith("rmia"):
        declared = replace(declared, signals="probabilities")
    elif declared.signals is None and where.startswith("loss") and signals.max(initial=0) > 1:
        declared = replace(declared, signals="cross-entropy")
    arrays = {"signals": signals.T, "membership": member, **(columns or {})}
    if "patient" not in arrays:
        arrays["patient"] = np.arange(len(signals)).astype(str)
        notes.append("no patient was given for the records: each counts as a separate patient")
    found = from_arrays(arrays, where, declared)
    return replace(found, source=f"Privacy Meter, {where}", notes=(*notes, *found.notes))


def _signals_file(path: Path) -> tuple[Path, list[str]]:
    if path.is_file():
        chosen, folder = path, path.parent
    else:
        folder = path / "signals"
        found = sorted(
            one for one in folder.glob(f"*{ENDING}") if not one.name.endswith(f"ramia{ENDING}")
        )
        if len(found) != 1:
            raise CohortError(
                "which signals are meant?" if found else "there are no signals of records",
                where=f"{path.name}/signals",
                expected=one_of("", [one.name for one in found])
                if found
                else "a file such as rmia_signals.npy; those of ranges and of the population are "
                "not signals of records",
                next_step="Name the file itself" if found else "",
            )
        chosen = found[0]
    others = sum(one != chosen for one in folder.glob("*.npy"))
    return chosen, [f"{others} other files of signals were not used"] if others else []
