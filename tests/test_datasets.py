"""Each public dataset from a folder in its owner's layout: its traps, its counts, its audit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auscult.base.errors import AuscultError, CohortError, ConfigError
from auscult.cohort import Cohort
from auscult.cohort.cohort import SEVERAL, UNKNOWN
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.config import load
from auscult.config.dataset import DatasetPart
from auscult.datasets import Source, dataset, datasets, read_cohort
from auscult.datasets.chest import FINDINGS
from auscult.datasets.ecg import statements
from auscult.datasets.folder import race
from auscult.datasets.records import VARIABLES
from auscult.readers.tables import read_table
from tests import dataset_folders as folders
from tests.dataset_folders import WRITERS
from tests.test_cli import run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A folder per dataset, written once, and a cache beside them."""
    place = tmp_path_factory.mktemp("datasets")
    found = {}
    for name, write in WRITERS.items():
        (place / name).mkdir()
        found[name] = write(place / name)
    before = os.environ.get("AUSCULT_CACHE")
    os.environ["AUSCULT_CACHE"] = str(place / "cache")
    yield found
    os.environ.pop("AUSCULT_CACHE")
    if before is not None:
        os.environ["AUSCULT_CACHE"] = before


def source(name: str, root: Path) -> Source:
    return dataset(name).read(root)


def left_out(found: Source | Cohort) -> dict[str, int]:
    return {one.reason: one.records for one in found.left_out}


def test_some_columns_of_a_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], " b ": ["x", "y"], "": [3, 4]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        some = read_table(tmp_path / name, columns=["b", "", "none"])
        assert some.columns.tolist() == ["b", ""]
        assert some["b"].tolist() == ["x", "y"]
        assert read_table(tmp_path / name, columns=["none"]).shape == (2, 2)


def test_facts_are_complete() -> None:
    names = [one.name for one in datasets()]
    assert names == sorted(WRITERS)
    for one in datasets():
        assert one.published.records > 10_000
        assert all((one.title, one.task, one.groups, one.licence, one.citation, one.access))


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_what_is_read_is_what_is_promised(name: str, made: dict[str, Path]) -> None:
    found = source(name, made[name])
    labels = found.reading["label"]
    for column in [labels] if isinstance(labels, str) else labels:
        assert column in found.table.columns
    assert set(found.reading["groups"]) == set(dataset(name).groups)
    assert len(found.rows) == len(found.table)
    assert found.found.records == len(found.table) + sum(one.records for one in found.left_out)
    assert (found.table[found.reading["patient"]].astype(str) != "").all()


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("Caucasian or White", "White"),  # its letters hold "asian"
        ("CAUCASIAN", "White"),
        ("White, non-Hispanic", "White"),
        ("WHITE - BRAZILIAN", "White"),
        ("African American  or Black", "Black"),
        ("BLACK/CAPE VERDEAN", "Black"),
        ("Asian - Historical Conv", "Asian"),
        ("ASIAN - SOUTH EAST ASIAN", "Asian"),
        ("HISPANIC/LATINO - CUBAN", "Other"),
        ("Native Hawaiian or Other Pacific Islander", "Other"),
        ("MULTIPLE RACE/ETHNICITY", "Other"),
        ("Race and Ethnicity Unknown", ""),
        ("UNABLE TO OBTAIN", ""),
        ("PATIENT DECLINED TO ANSWER", ""),
        ("Patient Declines", ""),
        ("Unknown, Unavailable or Unreported", ""),
        ("Patient Refused", ""),
        ("Not Recorded", ""),
        ("", ""),
    ],
)
def test_races(text: str, group: str) -> None:
    assert race(text) == group


def test_chexpert(made: dict[str, Path]) -> None:
    found = source("chexpert", made["chexpert"])
    raw = pd.read_csv(made["chexpert"] / "CheXpert-v1.0" / "train.csv")
    assert left_out(found) == {"sex unknown, as in the study": int((raw.Sex == "Unknown").sum())}
    values = raw.loc[found.rows, list(FINDINGS)].fillna(0).replace(-1, 1)
    nothing = (values == 0).all(axis=1)
    values.loc[nothing, "No Finding"] = 1
    assert (found.table[list(FINDINGS)].astype(int).to_numpy() == values.to_numpy()).all()
    assert nothing.sum() >= 1  # an all-empty row is No Finding
    paths = raw.loc[found.rows, "Path"]
    assert (found.table["patient"] == paths.str.split("/").str[2].to_numpy()).all()
    assert (("CheXpert-v1.0/" + found.table["path"]).to_numpy() == paths.to_numpy()).all()
    assert set(found.table["view"]) == {"Frontal AP", "Frontal PA", "Lateral"}
    cohort = read_cohort("chexpert", made["chexpert"])
    assert cohort.task == "multilabel"
    assert left_out(cohort)["no such file"] == int((paths.str.contains("patient00040")).sum())
    again = read_cohort("chexpert", made["chexpert"] / "CheXpert-v1.0")
    assert again.fingerprint() == cohort.fingerprint()


def test_chexpert_without_races_says_so(made: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(made["chexpert"] / "CheXpert-v1.0" / "train.csv", tmp_path)
    found = source("chexpert", tmp_path)
    assert "race" not in found.reading["groups"]
    assert any("race is not among the groups" in note for note in found.notes)


def test_a_value_that_no_labeller_writes_is_no_label(tmp_path: Path) -> None:
    folders.chexpert(tmp_path, 12)
    path = tmp_path / "CheXpert-v1.0" / "train.csv"
    raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    raw.loc[4, "Edema"] = "2.0"
    raw.to_csv(path, index=False)
    found = source("chexpert", tmp_path)
    assert found.table.loc[4, "Edema"] == ""


def test_mimic_cxr(made: dict[str, Path]) -> None:
    found = source("mimic-cxr-jpg", made["mimic-cxr-jpg"])
    assert list(left_out(found)) == ["study not in the table of findings, or twice in it"]
    first = found.table.iloc[0]
    assert first["path"].startswith(f"files/p10/p{folders.SUBJECT}/s")
    races = found.table.groupby("patient")["race"].first()
    by_place = {name: races.get(str(folders.SUBJECT + i)) for i, name in enumerate("abcdefg")}
    # White and White - Russian agree; White and Black do not; unknown and White is White.
    assert by_place["b"] == "White"
    assert by_place["f"] == "White"
    assert by_place["g"] == SEVERAL
    cohort = read_cohort("mimic-cxr-jpg", made["mimic-cxr-jpg"])
    assert isinstance(cohort.inputs, ArrayInputs)
    assert len(cohort.inputs) == cohort.records == len(found.table)
    assert UNKNOWN in set(cohort.groups["sex"])


def test_mimic_cxr_without_mimic_iv_says_so(made: dict[str, Path], tmp_path: Path) -> None:
    for path in made["mimic-cxr-jpg"].glob("*.csv.gz"):
        shutil.copy(path, tmp_path)
    found = source("mimic-cxr-jpg", tmp_path)
    assert found.reading["groups"] == ["view"]
    assert sum("not among the groups" in note for note in found.notes) == 3


def test_embed(made: dict[str, Path]) -> None:
    found = source("embed", made["embed"])
    reasons = left_out(found)
    for words in ("not a screening exam", "MLO nor CC", "not female", "race missing",
                  "density 5, none or several", "listed twice"):  # fmt: skip
        assert any(words in reason for reason in reasons), words
    images = pd.read_csv(made["embed"] / "tables/EMBED_OpenData_metadata.csv")
    clinical = pd.read_csv(made["embed"] / "tables/EMBED_OpenData_clinical.csv")
    expected = []
    for row, image in images.iterrows():
        exam = clinical[
            (clinical.empi_anon == image.empi_anon) & (clinical.acc_anon == image.acc_anon)
        ]
        one = exam.iloc[0]
        good = (
            "Screen" in one["desc"]
            and image.ViewPosition in ("MLO", "CC")
            and one.GENDER_DESC == "Female"
            and isinstance(one.RACE_DESC, str)
            and one.tissueden in (1, 2, 3, 4)
            and image.anon_dicom_path not in set(images.anon_dicom_path[:row])
        )
        if good:
            expected.append((row, "ABCD"[int(one.tissueden) - 1]))
    assert list(zip(found.rows.tolist(), found.table["density"], strict=True)) == expected
    cohort = read_cohort("embed", made["embed"])
    assert cohort.classes == ("A", "B", "C", "D")
    assert isinstance(cohort.inputs, ArrayInputs)
    assert cohort.inputs.array.shape[1:] == (64, 48)


def test_embed_findings_that_disagree(tmp_path: Path) -> None:
    before = len(source("embed", folders.embed(tmp_path, 16)).table)
    path = tmp_path / "tables/EMBED_OpenData_clinical.csv"
    clinical = pd.read_csv(path)
    twice = clinical.duplicated(["empi_anon", "acc_anon"])
    place = int(np.flatnonzero(twice & (clinical.tissueden == 2))[0])
    clinical.loc[place, "tissueden"] = 3
    clinical.to_csv(path, index=False)
    found = source("embed", tmp_path)
    assert len(found.table) < before
    assert any("disagree on the density: 1" in note for note in found.notes)


def test_fairvision(made: dict[str, Path], tmp_path: Path) -> None:
    found = source("fairvision", made["fairvision"])
    assert found.table["patient"].is_unique  # numbers begin anew with each disease
    assert found.table["path"].nunique() == 60
    assert set(found.table["condition"]) == {
        "healthy", "glaucoma", "early AMD", "intermediate AMD", "late AMD",
        "DR, vision not threatened", "DR, vision threatened",
    }  # fmt: skip
    cohort = read_cohort("fairvision", made["fairvision"], image_size=40)
    assert isinstance(cohort.inputs, ArrayInputs)
    with np.load(made["fairvision"] / "AMD" / "Validation" / "data_00001.npz") as file:
        assert (cohort.inputs.take(np.array([0]))[0] == file["slo_fundus"]).all()
    renamed = tmp_path / "renamed"
    shutil.copytree(made["fairvision"], renamed)
    for disease in ("AMD", "DR", "Glaucoma"):
        for old, new in (("Training", "train"), ("Validation", "val"), ("Test", "test_")):
            (renamed / disease / old).rename(renamed / disease / new)
        (renamed / disease / "test_").rename(renamed / disease / "test")
        table = renamed / disease / "ReadMe" / f"data_summary_{disease.lower()}.csv"
        shutil.move(table, renamed)
    assert read_cohort("fairvision", renamed).records == 60


def test_fairvision_files_that_are_no_images(tmp_path: Path) -> None:
    folders.fairvision(tmp_path)
    folder = tmp_path / "AMD" / "Validation"
    np.savez(folder / "data_00001.npz", slo_fundus=np.array([{"a": 1}], dtype=object))
    np.savez(folder / "data_00004.npz", oct_bscans=np.zeros((2, 2, 2)))
    (folder / "data_00007.npz").write_bytes(b"no zip")
    np.savez(folder / "data_00010.npz", slo_fundus=np.full((4, 4), np.nan))
    np.savez(folder / "data_00013.npz", slo_fundus=np.full((4, 4), 300.0))
    cohort = read_cohort("fairvision", tmp_path)
    assert cohort.records == 55
    assert sum(left_out(cohort).values()) == 5


def test_fitzpatrick17k(made: dict[str, Path]) -> None:
    found = source("fitzpatrick17k", made["fitzpatrick17k"])
    assert left_out(found) == {"not a photograph of skin, as in the study": 1}
    assert set(found.table["skin type"]) == {"I-II", "III-IV", "V-VI", ""}
    cohort = read_cohort("fitzpatrick17k", made["fitzpatrick17k"])
    assert cohort.classes == ("benign", "malignant", "non-neoplastic")
    assert cohort.patients == cohort.records
    assert any("each image counts as a patient" in note for note in cohort.notes)
    assert isinstance(cohort.inputs, ArrayInputs)
    assert cohort.inputs.array.shape[1:] == (64, 64, 3)
    nine = read_cohort("fitzpatrick17k", made["fitzpatrick17k"], label="nine_partition_label")
    assert len(nine.classes) == 4
    with pytest.raises(ConfigError, match="not a label"):
        read_cohort("fitzpatrick17k", made["fitzpatrick17k"], label="qc")


def test_ptb_xl(made: dict[str, Path]) -> None:
    found = source("ptb-xl", made["ptb-xl"])
    raw = pd.read_csv(made["ptb-xl"] / "ptbxl_database.csv")
    assert left_out(found) == {
        "test fold (strat_fold 10), which the study held out": int((raw.strat_fold == 10).sum()),
        "scp_codes is not a dictionary of statements": 1,
    }
    assert not Path("evaluated").exists()
    assert not (made["ptb-xl"] / "evaluated").exists()
    codes = raw.loc[found.rows, "scp_codes"]
    several = found.table[codes.str.contains("IMI': 35").to_numpy()].iloc[0]
    assert [several[name] for name in ("NORM", "MI", "STTC", "CD", "HYP")] == list("01101")
    assert found.table["patient"].str.fullmatch(r"\d+").all()
    sexes = raw.loc[found.rows, "sex"].map({0: "Male", 1: "Female"})
    assert (found.table["sex"] == sexes.to_numpy()).all()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')",
        "[1, 2]",
        "{1: 2}",
        "",
        "{" * 5000,
        "{'A': " + "1" * 20_000 + "}",
        "(" * 3000 + ")" * 3000,
    ],
)
def test_statements_are_literals(text: str) -> None:
    assert statements(text) is None
    assert statements("{'NORM': 100.0, 'SR': 0.0}") == ("NORM", "SR")


def test_mimic_iv_ed(made: dict[str, Path]) -> None:
    found = source("mimic-iv-ed", made["mimic-iv-ed"])
    assert left_out(found) == {
        "younger than 18, as in the benchmark": 2,
        "triage acuity missing, as in the benchmark": 1,
    }
    assert any("set missing: 1" in note for note in found.notes)
    assert any("nearest valid one: 1" in note for note in found.notes)
    assert np.isnan(found.table["triage_heartrate"].loc[1])
    assert found.table["triage_o2sat"].loc[2] == 100
    cohort = read_cohort("mimic-iv-ed", made["mimic-iv-ed"])
    assert isinstance(cohort.inputs, TableInputs)
    assert len(VARIABLES) == 64
    names = {*cohort.inputs.numeric_names, *cohort.inputs.categorical_names}
    assert names == set(VARIABLES)  # no race, no insurance, no later outcome
    assert cohort.classes == ("sent home", "hospitalised")
    assert set(cohort.groups["race"]) == {"White", "Black", "Asian", "Other", UNKNOWN}


def test_diabetes130_counts(shared_data: Path) -> None:
    cohort = read_cohort("diabetes130", shared_data / "diabetes130", max_patients=500, seed=1)
    assert cohort.patients == 500
    assert not any("publishes" in note for note in cohort.notes)


def test_counts_that_differ_are_noted(made: dict[str, Path]) -> None:
    notes = read_cohort("chexpert", made["chexpert"]).notes
    assert any("79 records of 40 patients, where the owner publishes 223,414" in n for n in notes)
    assert any("where the study had 223,413" in n for n in notes)
    subset = read_cohort("mimic-iv-ed", made["mimic-iv-ed"], max_patients=30, seed=2)
    assert subset.patients == 30
    assert not any("where the study had" in note for note in subset.notes)


def test_what_is_not_the_owners_folder(made: dict[str, Path], tmp_path: Path) -> None:
    for one in datasets():
        with pytest.raises(CohortError, match="is missing"):
            one.read(tmp_path)
        with pytest.raises(CohortError, match="no such folder"):
            one.read(tmp_path / "nowhere")
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id\n1\n")
    shutil.copy(made["ptb-xl"] / "scp_statements.csv", tmp_path)
    with pytest.raises(CohortError, match='there is no column "patient_id"'):
        source("ptb-xl", tmp_path)
    (tmp_path / "scp_statements.csv").write_text(",diagnostic,diagnostic_class\nX,1.0,ODD\n")
    with pytest.raises(CohortError, match="not the owner's"):
        source("ptb-xl", tmp_path)


def test_paths_cannot_lead_out(tmp_path: Path) -> None:
    folders.ptb_xl(tmp_path, 12)
    path = tmp_path / "ptbxl_database.csv"
    raw = pd.read_csv(path)
    raw.loc[0, "filename_lr"] = "../../secret"
    raw.to_csv(path, index=False)
    with pytest.raises(AuscultError, match="outside the folder"):
        read_cohort("ptb-xl", tmp_path)


def test_options_that_would_be_ignored(made: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="has no images"):
        read_cohort("mimic-iv-ed", made["mimic-iv-ed"], image_size=64)
    with pytest.raises(ConfigError, match="one label only"):
        read_cohort("mimic-iv-ed", made["mimic-iv-ed"], label="outcome")
    with pytest.raises(ConfigError, match="no dataset"):
        read_cohort("chexpert2", made["chexpert"])


RECIPES = {
    "table": 'kind = "sklearn"\nmodel = "logistic_regression"\narguments = { max_iter = 300 }',
    "images": 'kind = "torch"\nmodel = "cnn"\nwidth = 4\nepochs = 2\nbatch_size = 32',
    "signals": 'kind = "python"\ntrain = "tiny:train"\noutput = "logits"',
}
TINY = """
import numpy as np

def train(inputs, labels, seed):
    weights = np.random.default_rng(seed).normal(size=labels.shape[1])
    return lambda inputs: inputs.reshape(len(inputs), -1).std(axis=1)[:, None] * weights
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_from_the_owners_folder_to_a_report(
    name: str, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = source(name, made[name]).kind
    recipe = RECIPES[{"archives": "images"}.get(kind, kind)]
    (tmp_path / "tiny.py").write_text(TINY)
    size = "image_size = 16\n" if kind in ("images", "archives") else ""
    (tmp_path / "audit.toml").write_text(
        f'[cohort]\ndataset = "{name}"\nroot = "{made[name]}"\n{size}'
        f"[recipe]\n{recipe}\n[audit]\nmodels = 8\nseed = 3\n"
    )
    code, _, error = run(
        monkeypatch, "run", tmp_path / "audit.toml", "--out", tmp_path / "run", "--workers", "1"
    )
    assert code == 0, error
    summary = json.loads((tmp_path / "run/results/summary.json").read_text())
    assert summary["cohort"]["source"] == dataset(name).title
    assert any("owner publishes" in note for note in summary["cohort"]["notes"])
    page = (tmp_path / "run/report.html").read_text()
    assert dataset(name).title in page
    resolved = load(tmp_path / "run/audit.toml").content.cohort
    assert isinstance(resolved, DatasetPart)
    assert Path(resolved.root) == made[name]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('dataset = "chexprt"\nroot = "."', 'Did you mean "chexpert"'),
        ('dataset = "chexpert"', "cohort.root: is missing"),
        ('dataset = "chexpert"\nroot = "."\npatient = "x"', "one of dataset, root, label"),
        ('dataset = "chexpert"\nroot = "nowhere"', "no such folder"),
        ('dataset = "chexpert"\nroot = "."', "train.csv is missing"),
        ('dataset = "chexpert"\nroot = "."\nimage_size = 4', "cohort.image_size"),
        ('patient = "x"\nlabel = "y"', "table"),
    ],
)
def test_configurations_that_cannot_be(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.toml"
    path.write_text(f'[cohort]\n{line}\n[recipe]\nkind = "sklearn"\n')
    code, _, error = run(monkeypatch, "check", path)
    assert code == 2
    assert words in error
    assert "Traceback" not in error
