"""A dataset: a folder with ``visits.csv``, one row per visit, as its owner hands it out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from auscult.base.errors import CohortError
from auscult.cohort import LeftOut
from auscult.datasets import Counts, Dataset, Source

COLUMNS = ["person", "age", "pressure", "sex", "readmitted"]


def _read(root: Path) -> Source:
    path = root / "visits.csv"
    if not path.is_file():
        raise CohortError(
            "there is no visits.csv", where=str(root), expected="the folder of the download"
        )
    table = pd.read_csv(path, usecols=COLUMNS)
    kept = table["readmitted"].notna().to_numpy()
    left_out = [LeftOut("outcome unknown", int((~kept).sum()))] if not kept.all() else []
    return Source(
        table=table[kept].reset_index(drop=True),
        rows=np.flatnonzero(kept),
        reading={
            "patient": "person",
            "label": "readmitted",
            "positive": ["yes"],
            "groups": ["sex"],
        },
        kind="table",
        root=root,
        found=Counts(records=len(table), patients=int(table["person"].nunique())),
        left_out=tuple(left_out),
    )


VISITS = Dataset(
    name="example-visits",
    title="Example visits",
    task="readmission within 30 days",
    published=Counts(records=1000, patients=400),
    groups=("sex",),
    licence="CC0",
    citation="nobody: it is an example",
    access="made by its test",
    layout="visits.csv",
    read=_read,
)
