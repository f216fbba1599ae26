"""Small folders in the exact layout of each public dataset, made up, with its traps in them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auscult.datasets.chest import FINDINGS
from auscult.datasets.records import TRIAGE, VARIABLES

SIDE = 40
SUBJECT = 10_000_032


def picture(rng: np.random.Generator, *, colour: bool = False) -> np.ndarray[Any, np.dtype[Any]]:
    shape = (SIDE, SIDE, 3) if colour else (SIDE, SIDE)
    return rng.integers(0, 256, shape).astype(np.uint8)


def save_jpeg(path: Path, pixels: np.ndarray[Any, np.dtype[Any]]) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


def _findings(rng: np.random.Generator, rows: int) -> dict[str, list[str]]:
    """Labels as the owner writes them: empty, 0.0, 1.0, -1.0. No Finding only where told."""
    values = rng.choice(["", "", "0.0", "1.0", "-1.0"], (rows, len(FINDINGS)))
    values[:, 0] = ""
    values[0], values[1] = "", ["1.0", *[""] * 13]  # all empty; No Finding told
    values[2], values[3] = "1.0", "-1.0"
    return {name: values[:, j].tolist() for j, name in enumerate(FINDINGS)}


def chexpert(root: Path, patients: int = 40) -> Path:
    """One patient of unknown sex, lateral views, images of the last patient missing."""
    rng = np.random.default_rng(1)
    rows = []
    for patient in range(1, patients + 1):
        for study in range(1, 2 + patient % 2):
            for view in ("view1_frontal", "view2_lateral")[: 1 + patient % 3 // 2]:
                path = f"CheXpert-v1.0/train/patient{patient:05d}/study{study}/{view}.jpg"
                frontal = view.endswith("frontal")
                rows.append(
                    {
                        "Path": path,
                        "Sex": "Unknown" if patient == 5 else ("Female", "Male")[patient % 2],
                        "Age": 40 + patient,
                        "Frontal/Lateral": "Frontal" if frontal else "Lateral",
                        "AP/PA": ("AP", "PA")[patient % 2] if frontal else "",
                    }
                )
                if patient < patients:
                    save_jpeg(root / path, picture(rng))
    frame = pd.DataFrame(rows)
    folder = root / "CheXpert-v1.0"
    frame.assign(**_findings(rng, len(frame))).to_csv(folder / "train.csv", index=False)
    races = [
        "White, non-Hispanic", "White or Caucasian", "Asian", "Asian - Historical Conv",
        "Black or African American", "Race and Ethnicity Unknown", "Patient Refused", "Other",
    ]  # fmt: skip
    pd.DataFrame(
        {
            "PATIENT": [f"patient{i:05d}" for i in range(1, patients + 1)],
            "PRIMARY_RACE": [races[i % len(races)] for i in range(patients)],
            "GENDER": "",
            "ETHNICITY": "Non-Hispanic/Non-Latino",
        }
    ).to_csv(folder / "CHEXPERT_DEMO.csv", index=False)
    return root


def mimic_cxr(root: Path, patients: int = 40) -> Path:
    """Gzipped tables, nested paths, a study without findings, several races and insurances."""
    rng = np.random.default_rng(2)
    images, studies, admissions, people = [], [], [], []
    views = ["AP", "PA", "LATERAL", "LL", ""]
    races = [
        ["WHITE"], ["WHITE", "WHITE - RUSSIAN"], ["BLACK/CAPE VERDEAN"], ["ASIAN - CHINESE"],
        ["HISPANIC/LATINO - PUERTO RICAN"], ["UNKNOWN", "WHITE"], ["WHITE", "BLACK/AFRICAN"],
        ["PATIENT DECLINED TO ANSWER"],
    ]  # fmt: skip
    for i in range(patients):
        subject = SUBJECT + i
        for j in range(1 + i % 2):
            study = 50_414_267 + 100 * i + j
            if i != 7:
                studies.append({"subject_id": subject, "study_id": study})
            for k in range(1 + (i % 3 == 0)):
                dicom = f"{i:08x}-{j:08x}-{k:08x}-0000-ffff"
                images.append(
                    {
                        "dicom_id": dicom,
                        "subject_id": subject,
                        "study_id": study,
                        "ViewPosition": views[(i + k) % len(views)],
                        "Rows": SIDE,
                    }
                )
                path = f"files/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg"
                save_jpeg(root / path, picture(rng))
        if i % 5 != 4:
            told = races[i % len(races)]
            admissions += [
                {
                    "subject_id": subject,
                    "hadm_id": 1,
                    "insurance": ["Medicare", "Medicaid", "Other"][(i + n) % 3],
                    "race": race,
                }
                for n, race in enumerate(told)
            ]
            people.append({"subject_id": subject, "gender": "FM"[i % 2], "anchor_age": 50})
    name = "mimic-cxr-2.0.0"
    pd.DataFrame(images).to_csv(root / f"{name}-metadata.csv.gz", index=False)
    table = pd.DataFrame(studies)
    table.assign(**_findings(rng, len(table))).to_csv(root / f"{name}-chexpert.csv.gz", index=False)
    (root / "hosp").mkdir()
    pd.DataFrame(admissions).to_csv(root / "hosp" / "admissions.csv.gz", index=False)
    pd.DataFrame(people).to_csv(root / "hosp" / "patients.csv.gz", index=False)
    return root


def embed(root: Path, patients: int = 40) -> Path:
    """One row per finding, densities 5 and none, diagnostic exams, other views, a man, no race."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    rng = np.random.default_rng(3)
    clinical, images = [], []
    races = [
        "African American  or Black", "Caucasian or White", "Asian", "Multiple",
        "Unknown, Unavailable or Unreported", "",
    ]  # fmt: skip
    for i in range(patients):
        for exam in range(1 + i % 2):
            keys = {"empi_anon": 60_000_000 + i, "acc_anon": 10**15 + 10 * i + exam}
            screening = (i + exam) % 9 != 8
            for finding in range(1 + i % 2):
                row = {
                    **keys,
                    "desc": "MG Screening Bilateral" if screening else "MG Diagnostic Left",
                    "numfind": finding,
                    "asses": "NBAPSMK"[(i + finding) % 7],
                    "tissueden": [1.0, 2.0, 3.0, 4.0, 2.0, 3.0, 5.0, ""][i % 8],
                    "GENDER_DESC": "Male" if i == 11 else "Female",
                    "RACE_DESC": races[i % len(races)],
                }
                clinical.append(row)
            for k, view in enumerate(["MLO", "CC", "ML"][: 2 + (i % 4 == 0)]):
                below = f"images/cohort_1/{60_000_000 + i}/{exam}/{k}.dcm"
                images.append(
                    {
                        **keys,
                        "cohort_num": 1,
                        "FinalImageType": ("2D", "cview")[k % 2],
                        "ViewPosition": view,
                        "anon_dicom_path": f"/mnt/NAS2/mammo/anon_dicom/{below}",
                    }
                )
                path = root / below
                path.parent.mkdir(parents=True, exist_ok=True)
                file = Dataset()
                file.file_meta = FileMetaDataset()
                file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
                file.SOPClassUID = SecondaryCaptureImageStorage
                file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid(
                    entropy_srcs=[below]
                )
                file.Rows = file.Columns = SIDE
                file.PhotometricInterpretation = "MONOCHROME2"
                file.SamplesPerPixel, file.BitsAllocated, file.BitsStored = 1, 8, 8
                file.HighBit, file.PixelRepresentation = 7, 0
                file.PixelData = picture(rng).tobytes()
                file.save_as(path, enforce_file_format=True)
    images.append(images[0])  # listed twice
    (root / "tables").mkdir()
    pd.DataFrame(clinical).to_csv(root / "tables/EMBED_OpenData_clinical.csv", index=False)
    pd.DataFrame(images).to_csv(root / "tables/EMBED_OpenData_metadata.csv", index=False)
    return root


def fairvision(root: Path, patients: int = 60) -> Path:
    """Numbers that begin anew with each disease, npz files with strings and a large volume."""
    rng = np.random.default_rng(4)
    told: dict[str, list[str]] = {
        "Glaucoma": ["no", "yes"],
        "DR": ["non-vision threatening dr", "vision threatening dr"],
        "AMD": ["normal", "early amd", "intermediate amd", "late amd"],
    }
    for disease, values in told.items():
        rows = []
        for i in range(1, patients // 3 + 1):
            use = ["training", "validation", "test"][i % 3]
            rows.append(
                {
                    "filename": f"data_{i:05d}.npz",
                    "age": 50.5,
                    "gender": ("female", "male")[i % 2],
                    "race": ["asian", "black", "white"][i % 3],
                    "ethnicity": "non-hispanic",
                    disease.lower(): values[i % len(values)],
                    "use": use,
                }
            )
            folder = root / disease / use.title()
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(
                folder / f"data_{i:05d}.npz",
                slo_fundus=picture(rng),
                oct_bscans=np.zeros((4, SIDE, SIDE), dtype=np.uint8),
                race=np.int64(i % 3),
                dr_subtype=np.array("no.dr.diagnosis"),
            )
        (root / disease / "ReadMe").mkdir()
        table = root / disease / "ReadMe" / f"data_summary_{disease.lower()}.csv"
        pd.DataFrame(rows).to_csv(table, index=False)
    return root


def fitzpatrick(root: Path, images: int = 60) -> Path:
    """Skin type -1, an image that is no skin, one listed and not there."""
    from auscult.datasets.skin import NOT_SKIN

    rng = np.random.default_rng(5)
    nine = {
        "inflammatory": "non-neoplastic",
        "malignant melanoma": "malignant",
        "benign dermal": "benign",
        "genodermatoses": "non-neoplastic",
    }
    names = [f"{i:032x}" for i in range(1, images)] + [NOT_SKIN[0]]
    kinds = [list(nine)[i % 4] for i in range(images)]
    pd.DataFrame(
        {
            "md5hash": names,
            "fitzpatrick_scale": [(1, 2, 3, 4, 5, 6, -1)[i % 7] for i in range(images)],
            "fitzpatrick_centaur": 1,
            "label": "psoriasis",
            "nine_partition_label": kinds,
            "three_partition_label": [nine[kind] for kind in kinds],
            "qc": "",
            "url": "https://example.org/a,b.jpg",
        }
    ).to_csv(root / "fitzpatrick17k.csv", index=False)
    for name in names[1:]:
        save_jpeg(root / f"{name}.jpg", picture(rng, colour=True))
    return root


def _wfdb(path: Path, samples: np.ndarray[Any, np.dtype[Any]], leads: list[str]) -> None:
    """A record as PTB-XL has it: 16-bit samples of all leads in turn, a thousand per millivolt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.dat").write_bytes(samples.tobytes())
    lines = [f"{path.name} {len(leads)} 100 {len(samples)}"]
    for j, lead in enumerate(leads):
        total = int(samples[:, j].sum(dtype=np.int64)) % 65536
        check = total - 65536 if total > 32767 else total
        first = int(samples[0, j])
        lines.append(f"{path.name}.dat 16 1000.0(0)/mV 16 0 {first} {check} 0 {lead}")
    path.with_name(f"{path.name}.hea").write_text("\n".join(lines) + "\n")


def ptb_xl(root: Path, patients: int = 50) -> Path:
    """Identifiers as floats, dictionaries as text, fold 10, a text that must not be evaluated."""
    rng = np.random.default_rng(6)
    codes = [
        "{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 15.0, 'ABQRS': 0.0}", "{'NDT': 100.0, 'LVH': 50.0}",
        "{'CLBBB': 100.0}", "{'SR': 0.0}", "{'LVH': 100.0, 'NDT': 0.0, 'IMI': 35.0}",
    ]  # fmt: skip
    rows: list[dict[str, object]] = []
    leads = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    for i in range(patients):
        for _ in range(1 + (i % 4 == 0)):
            ecg = len(rows) + 1
            name = f"records100/{ecg // 1000 * 1000:05d}/{ecg:05d}_lr"
            rows.append(
                {
                    "ecg_id": ecg,
                    "patient_id": f"{15_000 + i}.0",
                    "age": 300.0 if i == 3 else 40.0 + i,
                    "sex": i % 2,
                    "report": "sinusrhythmus, normales ekg",
                    "scp_codes": codes[(i + ecg) % len(codes)],
                    "extra_beats": "1ES" if ecg % 7 == 0 else "",
                    "strat_fold": 10 if i % 10 == 9 else 1 + i % 9,
                    "filename_lr": name,
                    "filename_hr": name.replace("_lr", "_hr").replace("100", "500"),
                }
            )
            _wfdb(root / name, rng.normal(0, 200, (1000, 12)).astype("<i2"), leads)
    rows[1]["scp_codes"] = "__import__('os').system('touch evaluated')"
    pd.DataFrame(rows).to_csv(root / "ptbxl_database.csv", index=False)
    (root / "scp_statements.csv").write_text(
        ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
        "NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC\n"
        "NORM,normal ECG,1.0,,,NORM,NORM\n"
        "IMI,inferior myocardial infarction,1.0,,,MI,IMI\n"
        "LVH,left ventricular hypertrophy,1.0,,,HYP,LVH\n"
        "CLBBB,complete left bundle branch block,1.0,,,CD,CLBBB\n"
        "SR,sinus rhythm,,,1.0,,\n"
        "ABQRS,abnormal QRS,,1.0,,,\n",
        encoding="utf-8",
    )
    return root


def mimic_iv_ed(root: Path, patients: int = 80) -> Path:
    """Race strings, minors, no acuity, vital signs out of range, True and False."""
    rng = np.random.default_rng(7)
    races = [
        "WHITE", "BLACK/AFRICAN AMERICAN", "ASIAN - SOUTH EAST ASIAN", "HISPANIC/LATINO - CUBAN",
        "UNABLE TO OBTAIN", "WHITE - BRAZILIAN", "OTHER", "",
    ]  # fmt: skip
    rows: list[dict[str, object]] = []
    for i in range(patients):
        for stay in range(1 + i % 3):
            row: dict[str, object] = {
                "index": len(rows),
                "subject_id": SUBJECT + i,
                "stay_id": len(rows),
                "race": races[i % len(races)],
                "insurance": ["Medicare", "Medicaid", "Other", ""][(i + stay) % 4 if i % 5 else 0],
                "outcome_hospitalization": bool((i + stay) % 2),
                "outcome_critical": False,
                "ed_temperature_last": 98.0,
            }
            for name in VARIABLES:
                if name == "age":
                    row[name] = 17 if i == 13 else 20 + i % 60
                elif name == "gender":
                    row[name] = "FM"[i % 2]
                elif name.startswith("triage_"):
                    _, low, high, _ = TRIAGE[name.removeprefix("triage_")]
                    row[name] = round(float(low + (high - low) * rng.random()), 1)
                else:
                    row[name] = int(rng.random() < 0.3)
            rows.append(row)
    rows[0]["triage_acuity"] = ""
    rows[1]["triage_heartrate"] = 9999  # a slip: missing
    rows[2]["triage_o2sat"] = 120  # set to 100
    pd.DataFrame(rows).to_csv(root / "master_dataset.csv", index=False)
    return root


def diabetes(root: Path, patients: int = 60) -> Path:
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {
            "encounter_id": np.arange(2 * patients),
            "patient_nbr": np.repeat(np.arange(patients), 2),
            "race": rng.choice(["Caucasian", "AfricanAmerican", "?"], 2 * patients),
            "gender": np.repeat(rng.choice(["Female", "Male"], patients), 2),
            "age": np.repeat(rng.choice(["[50-60)", "[60-70)"], patients), 2),
            "time_in_hospital": rng.integers(1, 14, 2 * patients),
            "readmitted": rng.choice(["NO", "<30", ">30"], 2 * patients),
        }
    )
    with gzip.open(root / "diabetic_data.csv.gz", "wt", encoding="utf-8") as handle:
        frame.to_csv(handle, index=False)
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "chexpert": chexpert,
    "mimic-cxr-jpg": mimic_cxr,
    "embed": embed,
    "fairvision": fairvision,
    "fitzpatrick17k": fitzpatrick,
    "ptb-xl": ptb_xl,
    "mimic-iv-ed": mimic_iv_ed,
    "diabetes130": diabetes,
}
