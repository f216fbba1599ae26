"""Which tool wrote the scores: told by the files, or declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError, ConfigError
from auscult.imported.declared import Declared
from auscult.imported.long import read_long
from auscult.imported.privacy_meter import memberships_of, read_privacy_meter
from auscult.imported.scores import MODEL_FILES, Scores, read_model_folders, read_npz
from auscult.imported.truth import words
from auscult.readers.tables import require_columns
from auscult.readers.values import texts

Layout = Literal["npz", "folders", "leakoscope", "privacy-meter", "table", "leakpro", "sacro-ml"]
# Suffixes of tables; R's own files are named so that the refusal can say what to do.
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".feather", ".arrow")
R_FILES = (".rds", ".rda", ".rdata")
EXPECTED = (
    "scores.npz, a table of one row per model and record (.csv, .parquet), a folder of one folder "
    "per model, or the log folder of Privacy Meter"
)


def recognise(path: Path) -> Layout:
    """Which layout a file or folder has, by the names of its files.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CohortError
        It has none that is known; or it is of another tool and needs a step there first.
    """
    if not path.exists():
        raise CohortError("there is no such file", where=path.name, next_step="Check the path")
    name = path.name.lower()
    if memberships_of(path) is not None:
        return "privacy-meter"
    if path.is_dir():
        if any((path / "attack_cache").glob("*_logits.npy")):
            return "leakpro"
        if any(path.glob("*/indices_train.pkl")):
            return "sacro-ml"
        if any(path.glob(f"*/{MODEL_FILES[0]}")):
            return "folders"
        raise CohortError(
            "the layout of the scores is not recognised", where=path.name, expected=EXPECTED
        )
    if name.endswith(".npz"):
        return "npz"
    if name.removesuffix(".gz").endswith(TABLES):
        return "table"
    if name == "report.json":
        return "sacro-ml"
    if name.endswith(R_FILES):
        raise CohortError(
            "files in R's own format are not supported",
            where=path.name,
            expected=EXPECTED,
            next_step='In R: write.csv(scores, "scores.csv", row.names = FALSE), then import that',
        )
    raise CohortError(
        "the layout of the scores is not recognised", where=path.name, expected=EXPECTED
    )


def read_scores(
    path: Path,
    declared: Declared | None = None,
    *,
    layout: str | None = None,
    table: pd.DataFrame | None = None,
    patient: str | None = None,
    label: str | None = None,
    groups: Sequence[str] = (),
) -> Scores:
    """Read scores in any layout that is known.

    Parameters
    ----------
    path : Path
    declared : Declared, optional
        What the arrays mean.
    layout : str, optional
        Of :data:`Layout`; told by the files where absent.
    table : DataFrame, optional
        Row i describes record i, for layouts that hold no patients: folders of models and Privacy
        Meter.
    patient, label : str, optional
        Columns of `table`. Folders of models hold labels of their own.
    groups : sequence of str
        Columns of `table`, or names of arrays or columns of the file.

    Raises
    ------
    AuscultError
        The layout is not known or holds too little, something is declared that would be ignored,
        or the scores do not hold together.
    """
    declared = declared or Declared()
    if layout is not None and layout not in get_args(Layout):
        raise ConfigError(
            f'"{layout}" is not a layout', where="--layout", expected=", ".join(get_args(Layout))
        )
    found = layout or recognise(path)
    if found == "leakpro":
        raise _leakpro(path)
    if found == "sacro-ml":
        raise _sacro(path)
    outside = found in ("folders", "leakoscope", "privacy-meter")
    if table is not None and not outside:
        raise ConfigError(
            "--table and --patient require a folder of model folders, or Privacy Meter",
            where="import",
            next_step="An npz or a table contains its own patients and groups",
        )
    if label is not None and found != "privacy-meter":
        raise ConfigError(
            "--label requires Privacy Meter: these scores contain their own labels",
            where="import --label",
        )
    if found in ("folders", "leakoscope"):
        if declared.signals is not None:
            raise ConfigError(
                "model folders contain outputs, not signals", where="import --signals-are"
            )
        return read_model_folders(
            path, table, patient, groups, declared, study=found == "leakoscope"
        )
    if found == "privacy-meter":
        columns, declared = _columns(table, patient, label, groups, declared)
        return read_privacy_meter(path, columns, declared)
    declared = replace(declared, groups=tuple(groups) or None)
    return read_long(path, declared) if found == "table" else read_npz(path, declared)


def _columns(
    table: pd.DataFrame | None,
    patient: str | None,
    label: str | None,
    groups: Sequence[str],
    declared: Declared,
) -> tuple[dict[str, NDArray[Any]], Declared]:
    """Columns of the table of records as the arrays that an npz would hold."""
    if table is None:
        for option, given in (("--label", label), ("--group", groups)):
            if given:
                raise ConfigError(
                    "it names a column, but there is no table",
                    where=f"import {option}",
                    next_step="Add --table metadata.csv --patient COLUMN",
                )
        return {}, declared
    asked = [("--patient", str(patient)), *(("--group", one) for one in groups)]
    require_columns(table, asked if label is None else [*asked, ("--label", label)], "table")
    found: dict[str, NDArray[Any]] = {
        name: np.array([one or "" for one in texts(table[name])], dtype=str) for name in groups
    }
    found["patient"] = np.array([one or "" for one in texts(table[str(patient)])], dtype=str)
    if label is not None:
        values = np.array([one or "" for one in texts(table[label])], dtype=str)
        empty = int((values == "").sum())
        if empty:
            raise CohortError(
                f"{empty:,} records have no label", where="table, --label", expected="all of them"
            )
        found["labels"] = values
        declared = replace(declared, classes=words(np.unique(values)))
    return found, replace(declared, groups=tuple(groups))


def _leakpro(path: Path) -> CohortError:
    return CohortError(
        "it is an output folder of LeakPro, which stores the members of each model in pickles: "
        "Auscult never opens them",
        where=path.name,
        expected="scores.npz",
        next_step="Where LeakPro is installed, run examples/exporters/leakpro.py on it, then "
        "import the scores.npz that it writes",
    )


def _sacro(path: Path) -> CohortError:
    return CohortError(
        "it is output of SACRO-ML, whose report is about one model and whose shadow models are "
        "pickles: Auscult never opens them",
        where=path.name,
        expected="scores.npz, with the outputs of all shadow models",
        next_step="Where SACRO-ML is installed, run examples/exporters/sacro_ml.py on its folder "
        "of shadow models, then import the scores.npz that it writes",
    )
