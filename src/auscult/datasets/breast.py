"""Screening mammograms: EMBED."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from auscult.cohort.cohort import SEVERAL
from auscult.datasets.facts import Counts, Dataset, Source
from auscult.datasets.folder import Sieve, agreed, columns, find, mapped, race, whole_numbers
from auscult.datasets.registry import register

DENSITIES = {"1": "A", "2": "B", "3": "C", "4": "D"}
VIEWS = ("MLO", "CC")
# What the letters of an assessment mean, from the least to the most suspicious.
ASSESSMENTS = {
    "N": "1 negative",
    "B": "2 benign",
    "P": "3 probably benign",
    "A": "0 additional evaluation",
    "S": "4 suspicious",
    "M": "5 highly suspicious",
    "K": "6 known cancer",
}
_KEYS = ["empi_anon", "acc_anon"]


def _places(stem: str) -> list[str]:
    return [
        f"{folder}EMBED_OpenData_{stem}{ending}.csv"
        for ending in ("_reduced", "")
        for folder in ("", "tables/")
    ]


def _read(root: Path) -> Source:
    clinical = columns(
        find(root, _places("clinical"), "EMBED's clinical table"),
        [*_KEYS, "desc", "asses", "tissueden", "GENDER_DESC", "RACE_DESC"],
    )
    images = columns(
        find(root, _places("metadata"), "EMBED's metadata table"),
        [*_KEYS, "FinalImageType", "ViewPosition", "anon_dicom_path"],
    )
    for table in (clinical, images):
        for key in _KEYS:
            table[key] = whole_numbers(table[key])
    found = Counts(records=len(images), patients=int(images["empi_anon"].nunique()))
    exams, notes = _exams(clinical)
    frame = images.merge(exams, on=_KEYS, how="left", indicator="clinical")
    sieve = Sieve(frame)
    for reason, wrong in (
        ("exam not in the clinical table", frame["clinical"] != "both"),
        ("not a screening exam", frame["screening"] != True),  # noqa: E712 - elementwise, NaN
        ("view is neither MLO nor CC", ~frame["ViewPosition"].isin(VIEWS)),
        ("not female", frame["GENDER_DESC"].fillna("") != "Female"),
        ("race missing, as in the study", frame["race told"] != True),  # noqa: E712
        ("breast density 5, none or several", ~frame["tissueden"].isin([*DENSITIES])),
    ):
        sieve.drop(wrong.reindex(sieve.frame.index), reason)
    sieve.drop(sieve.frame.duplicated("anon_dicom_path"), "image listed twice")
    kept = sieve.frame
    patient = kept["empi_anon"]
    path, more = _paths(kept["anon_dicom_path"])
    worst = kept["severity"].groupby(patient).transform("max")
    names = dict(enumerate(ASSESSMENTS.values()))
    return Source(
        table=pd.DataFrame(
            {
                "patient": patient,
                "path": path,
                "density": kept["tissueden"].map(DENSITIES),
                "race": kept["race"],
                "BI-RADS (worst)": worst.map(names).fillna(""),
                "image type": kept["FinalImageType"],
                "view": kept["ViewPosition"],
            }
        ),
        rows=sieve.rows,
        reading={
            "patient": "patient",
            "label": "density",
            "task": "multiclass",
            "groups": ["race", "BI-RADS (worst)", "image type", "view"],
        },
        kind="images",
        files="path",
        root=root,
        found=found,
        left_out=tuple(sieve.left_out),
        notes=(*notes, *more),
    )


def _exams(clinical: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row per exam from one row per finding."""
    exam = clinical["empi_anon"] + "\0" + clinical["acc_anon"]
    levels = {letter: i for i, letter in enumerate(ASSESSMENTS)}
    density = agreed(exam, whole_numbers(clinical["tissueden"]))
    parts = clinical.assign(
        screening=clinical["desc"].str.contains("screen", case=False),
        severity=clinical["asses"].map(levels).astype(np.float64),
    ).groupby(exam, sort=False)
    exams = parts[[*_KEYS]].first()
    exams["screening"] = parts["screening"].any()
    exams["severity"] = parts["severity"].max()
    exams["tissueden"] = density.reindex(exams.index)
    exams["GENDER_DESC"] = agreed(exam, clinical["GENDER_DESC"]).reindex(exams.index)
    exams["race"] = (
        agreed(exam, mapped(clinical["RACE_DESC"], race)).reindex(exams.index).fillna("")
    )
    exams["race told"] = (clinical["RACE_DESC"] != "").groupby(exam).any().reindex(exams.index)
    notes = [f"exams of several findings joined to one: {int((parts.size() > 1).sum()):,}"]
    split = int((exams["tissueden"] == SEVERAL).sum())
    if split:
        notes.append(f"exams whose findings disagree on the density: {split:,}")
    return exams.reset_index(drop=True), notes


def _paths(column: pd.Series[str]) -> tuple[pd.Series[str], list[str]]:
    """Paths below the root: the owner's begin with the folder of another machine."""
    below = column.str.extract(r"(?:^|/)(images/.*)$")[0]
    return below.fillna(column), (
        ["image paths are taken from their part below images/"] if below.notna().any() else []
    )


register(
    Dataset(
        name="embed",
        title="EMBED Open Data",
        task="breast density A to D in screening mammograms",
        published=Counts(records=480_323, patients=23_253),
        studied=Counts(records=360_159, patients=19_429),
        groups=("race", "BI-RADS (worst)", "image type", "view"),
        licence="EMBED data use agreement: non-commercial research, no redistribution",
        citation="Jeong J. et al., The EMory BrEast imaging Dataset (EMBED), Radiology: Artificial "
        "Intelligence 5(1), 2023, e220047, doi 10.1148/ryai.220047",
        access="after a request to Emory HITI, from the AWS Open Data registry",
        layout="tables/EMBED_OpenData_clinical*.csv, tables/EMBED_OpenData_metadata*.csv, images/",
        read=_read,
        image_size=(64, 48),
    )
)
