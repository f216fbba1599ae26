"""The results of a finished run, and the names of their files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from auscult.base.errors import AuscultError, StoreError, one_of
from auscult.base.notebooks import card
from auscult.base.opening import parse_json, read_text, reading, refuse_special
from auscult.report import headline, opening, write_report
from auscult.report.numbers import bounds_only, exposed_cell
from auscult.report.summary import SCHEMA, read_summary
from auscult.report.words import expected
from auscult.results.plots import Plots
from auscult.store.seal import check_sealed

SUMMARY = Path("results", "summary.json")
GROUPS = Path("results", "groups.csv")
OFFICER = Path("results", "officer.md")
REPORT = Path("report.html")
PATIENTS = "patients.parquet"
RECORDS = "records.parquet"
RELEASE = "release.parquet"
PROTECTED = "protected.parquet"
SIZES = "sizes.parquet"
COHORT = "cohort.npz"
NEARBY = "nearby.npy"
EXACT = "exact.json"
IN_COMMON = "in-common.json"


class Result:
    """Results of a run. Its repr shows aggregates only; rows of patients are read when asked for.

    ``summary`` contains released figures: counts of patients under the smallest cell are null.

    Parameters
    ----------
    path : path-like
        The run directory.

    Raises
    ------
    StoreError
        It holds no results.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.summary = read_summary_file(self.path)

    @property
    def headline(self) -> str:
        """The report's first sentence."""
        return headline(self.summary)

    @property
    def opening(self) -> tuple[str, ...]:
        """The report's first sentence, what one model reveals, and who is exposed."""
        return opening(self.summary)

    @property
    def plot(self) -> Plots:
        """The report's figures on matplotlib: ``plot.survival()``, ``plot.groups("sex")``, ..."""
        return Plots(self.summary)

    @property
    def patients(self) -> pd.DataFrame:
        """One row per patient: identifier, records, AUCs, groups. Secret: do not share."""
        return self._secret(PATIENTS)

    @property
    def records(self) -> pd.DataFrame:
        """One row per record: row in the source, patient, AUC with interval. Secret."""
        return self._secret(RECORDS)

    def disparity(self, attribute: str) -> pd.DataFrame:
        """Risk by group of one attribute, one row per group shown.

        Raises
        ------
        AuscultError
            The run has no such attribute.
        """
        found = self.summary["disparities"]
        if attribute not in found:
            raise AuscultError(
                f'there is no attribute "{attribute}"',
                where="disparities",
                expected=one_of(attribute, found),
            )
        rows = {
            group: {name: value for name, value in row.items() if not isinstance(value, dict)}
            for group, row in found[attribute]["groups"].items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis(attribute)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the report to a file of your choice."""
        target = Path(path)
        write_report(self.summary, target)
        return target

    def _secret(self, name: str) -> pd.DataFrame:
        path = self.path / "secret" / name
        refuse_special(path, str(path), StoreError)
        wanted = "the file written by `auscult run` under secret/"
        with reading(str(path), StoreError, expected=wanted):
            return pd.read_parquet(path)

    def __repr__(self) -> str:
        return f"Result({str(self.path)!r}: {self.headline})"

    def _repr_html_(self) -> str:
        first, *others = self.opening
        verdict = read_summary(self.summary).part("decision").text("verdict")
        return card(
            f"{first}.",
            [("Decision", verdict), ("Report", str(self.path / REPORT))],
            [("Patients exposed", _exposed(self.summary))],
            [f"{text}." for text in others],
        )


def _exposed(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Patients above each threshold, as the report's table has them."""
    part = read_summary(summary)
    few = bounds_only(part)
    return [
        (f"AUC above {name}", f"{exposed_cell(row, few)}; by chance {expected(row.number('null'))}")
        for name, row in part.part("patients").items("exposed")
    ]


def read_summary_file(path: Path) -> dict[str, Any]:
    """Read ``results/summary.json`` of a run directory.

    Raises
    ------
    StoreError
        It is missing, damaged, changed after it was written, or of another schema.
    """
    file = path / SUMMARY
    if not file.exists():
        raise StoreError(
            "the run has no results yet",
            where=str(path),
            expected=str(SUMMARY),
            next_step="Finish it with `auscult run`",
        )
    again = "Run again: the results are recomputed from the outputs"
    text = read_text(file, str(file), StoreError, next_step=again)
    summary = parse_json(text, str(file), StoreError, next_step=again)
    check_sealed(path, SUMMARY.as_posix())
    if not isinstance(summary, dict) or summary.get("schema") != SCHEMA:
        raise StoreError(
            "this is not a summary that this version can read",
            where=str(file),
            expected=f'schema "{SCHEMA}"',
        )
    return summary
