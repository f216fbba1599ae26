"""Fundus photographs: Harvard FairVision."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from auscult.datasets.facts import Counts, Dataset, Source
from auscult.datasets.folder import Sieve, columns, find, look_for
from auscult.datasets.registry import register

# Numbers are given once per disease: patient 1 of AMD is not patient 1 of DR.
DISEASES = ("AMD", "DR", "Glaucoma")
CONDITIONS = {
    ("Glaucoma", "no"): "healthy",
    ("Glaucoma", "yes"): "glaucoma",
    ("AMD", "normal"): "healthy",
    ("AMD", "early amd"): "early AMD",
    ("AMD", "intermediate amd"): "intermediate AMD",
    ("AMD", "late amd"): "late AMD",
    ("DR", "non vision threatening dr"): "DR, vision not threatened",
    ("DR", "vision threatening dr"): "DR, vision threatened",
}
NUMBERS = (
    "patient numbers start again for each disease: a person photographed for two of them would "
    "count as two"
)
_FOLDERS = {"training": "Training", "validation": "Validation", "test": "Test"}
_RENAMED = {"Training": "train", "Validation": "val", "Test": "test"}


def _read(root: Path) -> Source:
    parts = []
    for disease in DISEASES:
        lower = disease.lower()
        summary = find(
            root,
            [f"{disease}/ReadMe/data_summary_{lower}.csv", f"data_summary_{lower}.csv"],
            f"FairVision's summary of {disease}",
        )
        part = columns(summary, ["filename", "gender", "race", lower, "use"])
        parts.append(part.rename(columns={lower: "told"}).assign(disease=disease))
    frame = pd.concat(parts, ignore_index=True)
    sieve = Sieve(frame)
    sieve.drop(~frame["use"].str.lower().isin([*_FOLDERS]), "neither training, validation nor test")
    number = sieve.frame["filename"].str.extract(r"^data_(\d+)\.npz$")[0]
    sieve.drop(number.isna(), "file name is not the owner's")
    kept = sieve.frame
    told = kept["told"].str.lower().str.replace(r"[-_\s]+", " ", regex=True).str.strip()
    condition = [
        CONDITIONS.get(pair, "") for pair in zip(kept["disease"], told.tolist(), strict=True)
    ]
    renamed = _renamed(root)
    folders = kept["use"].str.lower().map(_FOLDERS)
    if renamed:
        folders = folders.map(_RENAMED)
    return Source(
        table=pd.DataFrame(
            {
                "patient": kept["disease"] + " " + number.reindex(kept.index),
                "path": kept["disease"] + "/" + folders + "/" + kept["filename"],
                "condition": condition,
                "race": kept["race"].str.title(),
                "gender": kept["gender"].str.title(),
            }
        ),
        rows=sieve.rows,
        reading={
            "patient": "patient",
            "label": "condition",
            "task": "multiclass",
            "groups": ["race", "gender"],
        },
        kind="archives",
        key="slo_fundus",
        files="path",
        root=root,
        found=Counts(records=len(frame), patients=len(frame)),
        left_out=tuple(sieve.left_out),
        notes=(NUMBERS,),
    )


def _renamed(root: Path) -> bool:
    """Whether the folders are named as the owner's training code wants them."""
    look_for(root, [])
    return any((root / disease / "train").is_dir() for disease in DISEASES)


register(
    Dataset(
        name="fairvision",
        title="Harvard FairVision",
        task="7 eye conditions in scanning laser ophthalmoscopy",
        published=Counts(records=30_000, patients=30_000),
        studied=Counts(records=30_000, patients=30_000),
        groups=("race", "gender"),
        licence="CC BY-NC-ND 4.0; non-commercial research only",
        citation="Luo Y. et al., FairVision: equitable deep learning for eye disease screening via "
        "fair identity scaling, arXiv 2310.02492",
        access="after a request to the Harvard Ophthalmology AI Lab",
        layout="AMD, DR and Glaucoma, each with Training, Validation and Test (or train, val, "
        "test) of data_NNNNN.npz, and data_summary_*.csv",
        read=_read,
    )
)
