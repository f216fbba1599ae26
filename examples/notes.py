"""Clinical text: admissions described in words, through TF-IDF; text is kept whole.

    python examples/notes.py DATA OUT

DATA holds mimic3_demo. An estimator that holds a ColumnTransformer gets the file's own columns:
text stays text, and is no category whose rare values are pooled.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from auscult import Audit, Cohort, SklearnRecipe

STRENGTH = {"overfitted": 1e4, "regularised": 1e-12}


def cohort(data: Path) -> Cohort:
    """One row per admission: what it was for and what was prescribed, in words."""
    folder = data / "mimic3_demo"
    visits = pd.read_csv(folder / "ADMISSIONS.csv")
    drugs = pd.read_csv(folder / "PRESCRIPTIONS.csv", low_memory=False)
    drugs = drugs.drop_duplicates(["HADM_ID", "DRUG"])
    words = drugs.astype({"DRUG": str}).groupby("HADM_ID")["DRUG"].agg(" ".join)
    note = visits["DIAGNOSIS"].fillna("") + ". " + visits["HADM_ID"].map(words).fillna("")
    return Cohort.from_table(
        visits[["SUBJECT_ID", "HOSPITAL_EXPIRE_FLAG", "INSURANCE"]].assign(note=note),
        patient="SUBJECT_ID",
        label="HOSPITAL_EXPIRE_FLAG",
        groups=["INSURANCE"],
        source="MIMIC-III demo",
    )


def audit(data: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    text = ColumnTransformer([("note", TfidfVectorizer(max_features=400), "note")])
    estimator = make_pipeline(text, LogisticRegression(C=STRENGTH[variant], max_iter=200))
    return Audit(cohort(data), SklearnRecipe(estimator), models=models, seed=7)


if __name__ == "__main__":
    print(audit(Path(sys.argv[1]), models=64).run(sys.argv[2]).headline)
