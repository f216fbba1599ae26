"""Health records: MIMIC-IV-ED as the public benchmark prepares it, and diabetes130."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from auscult.datasets.facts import Counts, Dataset, Download, RemoteFile, Source
from auscult.datasets.folder import Sieve, agreed, columns, ever, find, flags, mapped, race
from auscult.datasets.registry import register
from auscult.readers.values import numbers

_HISTORY = tuple(f"n_{what}_{days}d" for what in ("ed", "hosp", "icu") for days in (30, 90, 365))
# As charted at triage: outside the outer bounds a value is a slip and becomes missing, between the
# outer and the inner ones it is set to the inner one. The benchmark's ranges; degrees Fahrenheit.
TRIAGE = {
    "temperature": (57.56, 78.8, 113.0, 116.6),
    "heartrate": (0, 0, 350, 390),
    "resprate": (0, 0, 300, 330),
    "o2sat": (0, 0, 100, 150),
    "sbp": (0, 0, 375, 375),
    "dbp": (0, 0, 375, 375),
    "pain": (0, 0, 10, 10),
    "acuity": (1, 1, 5, 5),
}
_COMPLAINTS = (
    "chest_pain",
    "abdominal_pain",
    "headache",
    "shortness_of_breath",
    "back_pain",
    "cough",
    "nausea_vomiting",
    "fever_chills",
    "syncope",
    "dizziness",
)
_CHARLSON = (
    *("MI", "CHF", "PVD", "Stroke", "Dementia", "Pulmonary", "Rheumatic", "PUD", "Liver1"),
    *("DM1", "DM2", "Paralysis", "Renal", "Cancer1", "Liver2", "Cancer2", "HIV"),
)
_ELIXHAUSER = (  # those that the Charlson index does not have
    *("Arrhythmia", "Valvular", "PHTN", "HTN1", "HTN2", "NeuroOther", "Hypothyroid"),
    *("Lymphoma", "Coagulopathy", "Obesity", "WeightLoss", "FluidsLytes", "BloodLoss"),
    *("Anemia", "Alcohol", "Drugs", "Psychoses", "Depression"),
)
VARIABLES = (
    "age",
    "gender",
    *_HISTORY,
    *(f"triage_{name}" for name in TRIAGE),
    *(f"chiefcom_{name}" for name in _COMPLAINTS),
    *(f"cci_{name}" for name in _CHARLSON),
    *(f"eci_{name}" for name in _ELIXHAUSER),
)
ADULT = 18
INSURANCE = "insurance is known only for stays that ended in an admission, and unknown otherwise"
_OUTCOME = "outcome_hospitalization"
_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")


def _read_ed(root: Path) -> Source:
    frame = columns(
        find(root, ["master_dataset.csv", "master_dataset.csv.gz"], "the benchmark's table"),
        ["subject_id", "race", "insurance", _OUTCOME, *VARIABLES],
    )
    found = Counts(records=len(frame), patients=int(frame["subject_id"].nunique()))
    sieve = Sieve(frame)
    age, _ = numbers(frame["age"])
    sieve.drop(np.isnan(age), "age missing")
    sieve.drop(age[sieve.rows] < ADULT, "younger than 18, as in the benchmark")
    sieve.drop(sieve.frame["triage_acuity"] == "", "triage acuity missing, as in the benchmark")
    kept = sieve.frame
    subject = kept["subject_id"]
    inputs, notes = _inputs(kept)
    outcome = flags(kept[_OUTCOME], _TRUE, _FALSE)
    told = np.where(np.isnan(outcome), "", np.where(outcome == 1, "hospitalised", "sent home"))
    groups = {
        "race": subject.map(agreed(subject, mapped(kept["race"], race))).fillna(""),
        "insurance": subject.map(agreed(subject, kept["insurance"])).fillna(""),
        "cancer": ever(subject, _present(kept["cci_Cancer1"]), "in the history", "none recorded"),
        "obesity": ever(subject, _present(kept["eci_Obesity"]), "in the history", "none recorded"),
    }
    return Source(
        table=inputs.assign(patient=subject, outcome=told, **groups),
        rows=sieve.rows,
        reading={
            "patient": "patient",
            "label": "outcome",
            "positive": ["hospitalised"],
            "groups": ["race", "gender", "insurance", "cancer", "obesity"],
            "exclude": list(groups),
            "numeric": [name for name in VARIABLES if name != "gender"],
        },
        kind="table",
        root=root,
        found=found,
        left_out=tuple(sieve.left_out),
        notes=(*notes, INSURANCE),
    )


def _present(column: pd.Series[str]) -> pd.Series[bool]:
    return pd.Series(flags(column, _TRUE, _FALSE) == 1, index=column.index)


def _inputs(kept: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The 64 variables; triage values out of range become missing or the nearest valid one."""
    result: dict[str, object] = {"gender": kept["gender"]}
    missing = moved = 0
    for name in VARIABLES:
        if name == "gender":
            continue
        if name.startswith("triage_"):
            low, least, most, high = TRIAGE[name.removeprefix("triage_")]
            values, unparsable = numbers(kept[name])
            missing += unparsable
            with np.errstate(invalid="ignore"):
                slip = (values < low) | (values > high)
                values[slip] = np.nan
                odd = (values < least) | (values > most)
            missing += int(slip.sum())
            moved += int(odd.sum())
            result[name] = np.clip(values, least, most)
        elif name == "age" or name.startswith("n_"):
            result[name] = kept[name]
        else:
            result[name] = flags(kept[name], _TRUE, _FALSE)
    notes = [
        f"triage values outside the benchmark's ranges or not numeric, set missing: {missing:,}",
        f"triage values set to the nearest valid one: {moved:,}",
    ]
    return pd.DataFrame(result, index=kept.index), notes


def _read_diabetes(root: Path) -> Source:
    path = find(root, ["diabetic_data.csv", "diabetic_data.csv.gz"], "diabetes130's table")
    frame = columns_of_all(path)
    patients = int(frame["patient_nbr"].nunique())
    return Source(
        table=frame,
        rows=np.arange(len(frame), dtype=np.int64),
        reading={
            "patient": "patient_nbr",
            "label": "readmitted",
            "positive": ["<30", ">30"],
            "groups": ["race", "gender", "age"],
            "exclude": ["encounter_id"],
            "missing": ["?"],
        },
        kind="table",
        root=root,
        found=Counts(records=len(frame), patients=patients),
    )


def columns_of_all(path: Path) -> pd.DataFrame:
    """The whole table, after a look at the columns that are needed."""
    from auscult.readers.tables import read_table

    columns(path, ["encounter_id", "patient_nbr", "race", "gender", "age", "readmitted"])
    return read_table(path)


register(
    Dataset(
        name="mimic-iv-ed",
        title="MIMIC-IV-ED 2.2",
        task="hospitalisation, from 64 variables known at triage",
        published=Counts(records=425_087, patients=None),
        studied=Counts(records=418_007, patients=201_213),
        groups=("race", "gender", "insurance", "cancer", "obesity"),
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        citation="Johnson A. et al., MIMIC-IV-ED 2.2, PhysioNet 2023, doi 10.13026/5ntk-km72; Xie "
        "F. et al., Benchmarking emergency department prediction models with machine learning and "
        "public electronic health records, Scientific Data 9, 2022, 658",
        access="for credentialed users of PhysioNet; the table is made by the public ED benchmark",
        layout="master_dataset.csv",
        read=_read_ed,
    )
)
register(
    Dataset(
        name="diabetes130",
        title="Diabetes 130-US hospitals, 1999-2008",
        task="readmission (not a dataset of the study; open to try things out)",
        published=Counts(records=101_766, patients=71_518),
        groups=("race", "gender", "age"),
        licence="CC BY 4.0",
        citation="Strack B. et al., Impact of HbA1c measurement on hospital readmission rates, "
        "BioMed Research International 2014, 781670; UCI Machine Learning Repository, "
        "doi 10.24432/C5230J",
        access="open",
        layout="diabetic_data.csv or diabetic_data.csv.gz",
        read=_read_diabetes,
        download=Download(
            base_url="https://archive.ics.uci.edu/static/public/296",
            files=(
                RemoteFile(
                    name="diabetes+130-us+hospitals+for+years+1999-2008.zip",
                    sha256="f82ac129da2ddd2299391ff6fbae3a6a58b3edcf59ac9d7bd480c00fe453112a",
                ),
            ),
            members={
                "diabetic_data.csv": (
                    "0689e7ec031237dc63031b938805c48377748761a3b26acab621567afa24df97"
                ),
                "IDS_mapping.csv": (
                    "f1bb82b471cb34649352597572c9b1fb00bd27f77b9f5a22a03dc3eb1039749e"
                ),
            },
            size="3 MB, 19 MB unpacked",
        ),
    )
)
