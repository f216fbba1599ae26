"""Chest radiographs: CheXpert and MIMIC-CXR-JPG, labelled alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from auscult.datasets.facts import Counts, Dataset, Source
from auscult.datasets.folder import Sieve, agreed, columns, find, look_for, mapped, race
from auscult.datasets.registry import register

FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
NO_FINDING = FINDINGS[0]
_VALUES = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1, "-1": 1, "-1.0": 1}
_UNCERTAIN = ("-1", "-1.0")
PREFIX = "patient"
_FOLDERS = ("", "CheXpert-v1.0/", "CheXpert-v1.0-small/")


def findings(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The 14 findings as 0 and 1, empty where a value is none of the labeller's.

    Uncertain (-1) counts as positive, not mentioned (empty) as negative; a study without any
    positive finding has No Finding.

    Returns
    -------
    findings : DataFrame of str
    notes : list of str
        How often each rule was used.
    """
    values = {
        name: frame[name].map(_VALUES).to_numpy(dtype=np.float64, na_value=np.nan)
        for name in FINDINGS
    }
    uncertain = int(frame[list(FINDINGS)].isin(_UNCERTAIN).to_numpy().sum())
    stacked = np.column_stack([values[name] for name in FINDINGS])
    nothing = (stacked == 0).all(axis=1)
    values[NO_FINDING][nothing] = 1
    text = pd.DataFrame(
        {
            name: np.where(np.isnan(array), "", np.where(array == 1, "1", "0"))
            for name, array in values.items()
        },
        index=frame.index,
        dtype=object,
    )
    return text, [
        f"uncertain findings (-1) that count as positive: {uncertain:,}",
        f"records without any finding, labelled No Finding: {int(nothing.sum()):,}",
    ]


def _read_chexpert(root: Path) -> Source:
    table = find(root, [f"{folder}train.csv" for folder in _FOLDERS], "CheXpert's train.csv")
    frame = columns(table, ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS])
    sieve = Sieve(frame)
    # Paths begin with the name of the folder itself, which differs between its two releases.
    below = frame["Path"].str.split("/", n=1).str[1].fillna("")
    patient = below.str.extract(rf"(?:^|/)({PREFIX}\d+)/")[0].fillna("")
    frame = frame.assign(patient=patient, path=below)
    sieve.frame = frame
    found = Counts(records=len(frame), patients=int(patient[patient != ""].nunique()))
    sieve.drop(frame["patient"] == "", "Path names no patient")
    sieve.drop(~sieve.frame["Sex"].isin(["Female", "Male"]), "sex unknown, as in the study")
    kept = sieve.frame
    values, notes = findings(kept)
    view = np.where(
        kept["Frontal/Lateral"] == "Frontal",
        ("Frontal " + kept["AP/PA"]).str.strip(),
        kept["Frontal/Lateral"],
    )
    groups = {"sex": kept["Sex"], "view": pd.Series(view, index=kept.index, dtype=object)}
    races = look_for(table.parent, ["CHEXPERT_DEMO.csv", "CHEXPERT DEMO.csv"])
    if races is None:
        notes.append(
            "race is not among the groups: it needs the owner's demographic file, saved as "
            "CHEXPERT_DEMO.csv beside train.csv"
        )
    else:
        people = columns(races, ["PATIENT", "PRIMARY_RACE"])
        of_patient = agreed(people["PATIENT"], mapped(people["PRIMARY_RACE"], race))
        groups["race"] = kept["patient"].map(of_patient).fillna("")
    return Source(
        table=values.assign(patient=kept["patient"], path=kept["path"], **groups),
        rows=sieve.rows,
        reading={"patient": "patient", "label": list(FINDINGS), "groups": list(groups)},
        kind="images",
        files="path",
        root=table.parent,
        found=found,
        left_out=tuple(sieve.left_out),
        notes=tuple(notes),
    )


def _read_mimic(root: Path) -> Source:
    name = "mimic-cxr-2.0.0"

    def both(stem: str) -> list[str]:
        return [f"{stem}.csv.gz", f"{stem}.csv"]

    metadata = find(root, both(f"{name}-metadata"), "MIMIC-CXR-JPG's metadata")
    frame = columns(metadata, ["dicom_id", "subject_id", "study_id", "ViewPosition"])
    found = Counts(records=len(frame), patients=int(frame["subject_id"].nunique()))
    labelled = columns(
        find(root, both(f"{name}-chexpert"), "MIMIC-CXR-JPG's table of findings"),
        ["subject_id", "study_id", *FINDINGS],
    )
    keys = ["subject_id", "study_id"]
    twice = labelled.duplicated(keys, keep=False)
    joined = frame.merge(labelled[~twice], on=keys, how="left", indicator="labelled")
    sieve = Sieve(joined)
    sieve.drop(joined["labelled"] != "both", "study not in the table of findings, or twice in it")
    kept = sieve.frame
    values, notes = findings(kept)
    subject, study = kept["subject_id"], kept["study_id"]
    path = (
        "files/p" + subject.str[:2] + "/p" + subject + "/s" + study + "/" + kept["dicom_id"]
    ) + ".jpg"
    view = mapped(kept["ViewPosition"], lambda text: text if text in _VIEWS else "Other")
    groups: dict[str, pd.Series[str]] = {"view": view}
    for column, file, change in (
        ("race", "admissions", race),
        ("insurance", "admissions", str),
        ("gender", "patients", str),
    ):
        place = look_for(root, [f"{folder}{one}" for folder in _MIMIC_IV for one in both(file)])
        if place is None:
            notes.append(
                f"{column} is not among the groups: it needs MIMIC-IV's {file}.csv.gz in the folder"
            )
            continue
        people = columns(place, ["subject_id", column])
        of_patient = agreed(people["subject_id"], mapped(people[column], change))
        groups[{"gender": "sex"}.get(column, column)] = subject.map(of_patient).fillna("")
    return Source(
        table=values.assign(patient=subject, path=path, **groups),
        rows=sieve.rows,
        reading={"patient": "patient", "label": list(FINDINGS), "groups": list(groups)},
        kind="images",
        files="path",
        root=root,
        found=found,
        left_out=tuple(sieve.left_out),
        notes=tuple(notes),
    )


_VIEWS = ("AP", "PA", "LATERAL", "LL")
_MIMIC_IV = ("", "hosp/", "core/")

register(
    Dataset(
        name="chexpert",
        title="CheXpert",
        task="14 findings in chest radiographs (multi-label)",
        published=Counts(records=223_414, patients=64_540),
        studied=Counts(records=223_413, patients=64_539),
        groups=("sex", "view", "race"),
        licence=(
            "Stanford University dataset research use agreement: research only, no redistribution"
        ),
        citation="Irvin J. et al., CheXpert: a large chest radiograph dataset with uncertainty "
        "labels and expert comparison, AAAI 2019, arXiv 1901.07031",
        access="after registration with the owner, Stanford AIMI; the demographic file is separate",
        layout="train.csv, CHEXPERT_DEMO.csv (for race), train/patientNNNNN/studyN/viewN_*.jpg",
        read=_read_chexpert,
    )
)
register(
    Dataset(
        name="mimic-cxr-jpg",
        title="MIMIC-CXR-JPG 2.0.0",
        task="14 findings in chest radiographs (multi-label)",
        published=Counts(records=377_110, patients=65_379),
        studied=Counts(records=377_110, patients=65_379),
        groups=("view", "race", "insurance", "sex"),
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        citation="Johnson A. et al., MIMIC-CXR-JPG, a large publicly available database of labeled "
        "chest radiographs, arXiv 1901.07042; PhysioNet, doi 10.13026/8360-t248",
        access="for credentialed users of PhysioNet; race, insurance and sex come from MIMIC-IV",
        layout="mimic-cxr-2.0.0-metadata.csv.gz, mimic-cxr-2.0.0-chexpert.csv.gz, "
        "files/p10/p10000032/s50414267/*.jpg; admissions.csv.gz and patients.csv.gz of MIMIC-IV",
        read=_read_mimic,
    )
)
