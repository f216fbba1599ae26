"""Photographs of skin: Fitzpatrick17k."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from auscult.datasets.facts import Counts, Dataset, Download, RemoteFile, Source
from auscult.datasets.folder import Sieve, columns, find, whole_numbers
from auscult.datasets.registry import register

SKIN_TYPES = {"1": "I-II", "2": "I-II", "3": "III-IV", "4": "III-IV", "5": "V-VI", "6": "V-VI"}
# Radiological images that went astray; the study leaves them out as well.
NOT_SKIN = (
    "2ea034fc482e9bd21a5dfa2506cc5d6b",
    "bccab73c32aba48c90602de9bb458272",
    "e69165b3455bb3a5a8b33a0f6fd8a1d3",
)
UNNAMED = (
    "the owner gives no patient identifiers: each image counts as a patient, and a person with "
    "several images counts as several"
)
LABELS = {
    "three_partition_label": "benign, malignant, non-neoplastic",
    "nine_partition_label": "nine kinds of condition",
}


def _read(root: Path) -> Source:
    frame = columns(
        find(root, ["fitzpatrick17k.csv"], "Fitzpatrick17k's table"),
        ["md5hash", "fitzpatrick_scale", *LABELS],
    )
    sieve = Sieve(frame)
    sieve.drop(frame["md5hash"].isin(NOT_SKIN), "not a photograph of skin, as in the study")
    sieve.drop(~sieve.frame["md5hash"].str.fullmatch(r"[0-9a-f]{32}"), "md5hash is none")
    sieve.drop(sieve.frame.duplicated("md5hash"), "image listed twice")
    kept = sieve.frame
    folder = "images/" if (root / "images").is_dir() else ""
    return Source(
        table=pd.DataFrame(
            {
                "patient": kept["md5hash"],
                "path": folder + kept["md5hash"] + ".jpg",
                **{name: kept[name] for name in LABELS},
                "skin type": whole_numbers(kept["fitzpatrick_scale"]).map(SKIN_TYPES).fillna(""),
            }
        ),
        rows=sieve.rows,
        reading={
            "patient": "patient",
            "label": next(iter(LABELS)),
            "task": "multiclass",
            "groups": ["skin type", "nine_partition_label"],
        },
        kind="images",
        files="path",
        root=root,
        found=Counts(records=len(frame), patients=None),
        left_out=tuple(sieve.left_out),
        notes=(UNNAMED,),
    )


register(
    Dataset(
        name="fitzpatrick17k",
        title="Fitzpatrick17k",
        task="kinds of skin condition in photographs",
        published=Counts(records=16_577, patients=None),
        studied=Counts(records=16_523, patients=None),
        groups=("skin type", "nine_partition_label"),
        licence="CC BY-NC-SA 3.0 for the annotations; the images belong to the two atlases",
        citation="Groh M. et al., Evaluating deep neural networks trained on clinical images in "
        "dermatology with the Fitzpatrick 17k dataset, CVPR Workshops 2021, arXiv 2104.09957",
        access="the table is open; images come from the two atlases or the owner's form",
        layout="fitzpatrick17k.csv and <md5hash>.jpg, beside it or in images/",
        labels=LABELS,
        read=_read,
        download=Download(
            base_url="https://raw.githubusercontent.com/mattgroh/fitzpatrick17k/main",
            files=(RemoteFile(name="fitzpatrick17k.csv"),),
            size="4 MB",
            note="the images: they are on the atlases' sites, see the column url",
        ),
    )
)
