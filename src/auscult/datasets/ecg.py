"""Electrocardiograms: PTB-XL."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd

from auscult.base.errors import CohortError
from auscult.datasets.facts import Counts, Dataset, Download, RemoteFile, Source
from auscult.datasets.folder import Sieve, columns, ever, find, whole_numbers
from auscult.datasets.registry import register

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
TEST_FOLD = "10"
SECONDS, RATE = 10.0, 100.0
LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
LONGEST_CODES = 10_000  # characters of one record's statements; the longest has about 200


def statements(text: str) -> tuple[str, ...] | None:
    """Names of the SCP statements in a Python dictionary written as text; None where it is none.

    Parsed as a literal, never evaluated.
    """
    if len(text) > LONGEST_CODES:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return None
    return tuple(value)


def _classes(root: Path) -> dict[str, str]:
    path = find(root, ["scp_statements.csv"], "PTB-XL's table of statements")
    table = columns(path, ["", "diagnostic", "diagnostic_class"])
    diagnostic = table[whole_numbers(table["diagnostic"]) == "1"]
    classes = dict(zip(diagnostic[""], diagnostic["diagnostic_class"], strict=True))
    unknown = sorted(set(classes.values()) - set(SUPERCLASSES))
    if unknown or not classes:
        raise CohortError(
            "its diagnostic classes are not the owner's",
            where=path.name,
            expected=", ".join(SUPERCLASSES),
        )
    return classes


def _read(root: Path) -> Source:
    classes = _classes(root)
    frame = columns(
        find(root, ["ptbxl_database.csv"], "PTB-XL's table of records"),
        ["patient_id", "sex", "scp_codes", "extra_beats", "strat_fold", "filename_lr"],
    )
    frame["patient_id"] = whole_numbers(frame["patient_id"])
    found = Counts(records=len(frame), patients=int(frame["patient_id"].nunique()))
    codes = frame["scp_codes"].map(statements)
    sieve = Sieve(frame)
    fold = whole_numbers(frame["strat_fold"])
    sieve.drop(fold == TEST_FOLD, "test fold (strat_fold 10), which the study held out")
    sieve.drop(
        codes.isna().reindex(sieve.frame.index), ("scp_codes is not a dictionary of statements")
    )
    kept = sieve.frame
    held = [{classes.get(code, "") for code in codes[row]} for row in kept.index]
    table = pd.DataFrame(
        {name: ["1" if name in one else "0" for one in held] for name in SUPERCLASSES},
        index=kept.index,
    )
    without = sum(not one & {*SUPERCLASSES} for one in held)
    return Source(
        table=table.assign(
            patient=kept["patient_id"],
            path=kept["filename_lr"],
            sex=whole_numbers(kept["sex"]).map({"0": "Male", "1": "Female"}).fillna(""),
            **{
                "extra beats": ever(
                    kept["patient_id"], kept["extra_beats"] != "", "in a record", "in none"
                )
            },
        ),
        rows=sieve.rows,
        reading={
            "patient": "patient",
            "label": list(SUPERCLASSES),
            "groups": ["sex", "extra beats"],
        },
        kind="signals",
        signals={"seconds": SECONDS, "rate": RATE, "leads": LEADS},
        files="path",
        root=root,
        found=found,
        left_out=tuple(sieve.left_out),
        notes=(
            f"records without a diagnostic superclass, negative in all five: {without:,}",
            "records at 100 Hz (filename_lr)",
        ),
    )


register(
    Dataset(
        name="ptb-xl",
        title="PTB-XL 1.0.3",
        task="5 diagnostic superclasses of 12-lead ECGs (multi-label)",
        published=Counts(records=21_799, patients=18_869),
        studied=Counts(records=19_601, patients=None),
        groups=("sex", "extra beats"),
        licence="CC BY 4.0",
        citation="Wagner P. et al., PTB-XL, a large publicly available electrocardiography "
        "dataset, Scientific Data 7, 2020, 154, doi 10.1038/s41597-020-0495-6; PhysioNet 1.0.3, "
        "doi 10.13026/kfzx-aw45",
        access="open",
        layout="ptbxl_database.csv, scp_statements.csv, records100/NNNNN/NNNNN_lr.{hea,dat}",
        read=_read,
        download=Download(
            base_url="https://physionet.org/files/ptb-xl/1.0.3",
            listing=RemoteFile(
                name="SHA256SUMS.txt",
                sha256="b7224b92b341511ec3ceb13dc6652079b2c36a06504bcb49506f157f51dc695d",
            ),
            listed=(
                "LICENSE.txt",
                "ptbxl_database.csv",
                "scp_statements.csv",
                "records100/",
            ),
            size="about 1 GB in 43,600 files",
            note="the records at 500 Hz, which are not read",
        ),
    )
)
