"""From the files that hospitals hold to a report: DICOM, WFDB, NIfTI, MEDS, related tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from auscult.base.errors import CohortError, ConfigError
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.config import load
from auscult.config.loading import parse
from tests.files import MARK, write_dicom, write_meds, write_wfdb
from tests.test_cli import run
from tests.test_images import folder_of_pngs, write_nifti
from tests.test_meds import made_up
from tests.test_signals_reader import bomb

CNN = 'kind = "torch"\nmodel = "cnn"\nwidth = 4\nepochs = 2\nbatch_size = 64\n'
PYTHON = 'kind = "python"\ntrain = "flat_for_tests:train"\n'
LOGISTIC = 'kind = "sklearn"\nmodel = "logistic_regression"\narguments = { max_iter = 300 }\n'
FLAT = """
import numpy as np
from sklearn.linear_model import LogisticRegression
def train(inputs, labels, seed):
    def flat(x):
        return np.asarray(x, dtype=np.float32).reshape(len(x), -1)[:, ::7] / 255
    model = LogisticRegression(C=0.01, max_iter=200).fit(flat(inputs), labels)
    return lambda x: model.predict_proba(flat(x))
"""


def audit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cohort: str, recipe: str
) -> tuple[dict[str, Any], str]:
    """Write audit.toml, run it from the command line; the summary, and all that was said."""
    monkeypatch.setenv("AUSCULT_CACHE", str(folder / "cache"))
    (folder / "flat_for_tests.py").write_text(FLAT, encoding="utf-8")
    text = f"[cohort]\n{cohort}\n[recipe]\n{recipe}\n[audit]\nmodels = 8\nseed = 1\n"
    (folder / "audit.toml").write_text(text, encoding="utf-8")
    code, out, error = run(
        monkeypatch, "run", folder / "audit.toml", "--out", folder / "run", "--workers", "2"
    )
    assert code == 0, error
    said = out + error + (folder / "run" / "report.html").read_text(encoding="utf-8")
    for name in ("results/summary.json", "results/groups.csv", "manifest.json", "audit.toml"):
        said += (folder / "run" / name).read_text(encoding="utf-8")
    assert MARK not in said
    summary = json.loads((folder / "run" / "results" / "summary.json").read_text(encoding="utf-8"))
    assert summary["patients"]["count"] == summary["cohort"]["patients"]
    again = load(folder / "run" / "audit.toml").cohort()  # absolute paths, every key kept
    assert again.fingerprint() == load(folder / "audit.toml").cohort().fingerprint()
    return summary["cohort"], said


def chest(shared_data: Path, count: int) -> tuple[np.ndarray[Any, Any], pd.DataFrame]:
    folder = shared_data / "covid_chestxray_64"
    with np.load(folder / "images.npz") as content:
        images = content["images"][:count]
    return images, pd.read_csv(folder / "metadata.csv").head(count)


def dicom_folder(folder: Path, shared_data: Path, count: int = 120) -> pd.DataFrame:
    """Chest images as DICOM: plain, compressed, inverted; one damaged, one of nobody."""
    images, table = chest(shared_data, count)
    ids = [f"{MARK}{patient}" for patient in table["patient_id"]]
    for i, pixels in enumerate(images):
        inverted = i % 7 == 3
        place = folder / "archive" / f"{MARK}-{i % 5}"
        place.mkdir(parents=True, exist_ok=True)
        write_dicom(
            place / f"1.2.840.{i}",
            255 - pixels if inverted else pixels,
            None if i == 10 else ids[i],
            compressed={1: RLELossless, 2: JPEG2000Lossless}.get(i % 5),
            photometric="MONOCHROME1" if inverted else "MONOCHROME2",
            PatientSex={"F": "F", "M": "M"}.get(str(table["sex"][i]), ""),
        )
    damaged = folder / "archive" / f"{MARK}-0" / "1.2.840.20"
    damaged.write_bytes(damaged.read_bytes()[:700])
    outcomes = pd.DataFrame({"who": ids, "covid": table["label_covid"]}).groupby("who").max()
    outcomes.to_csv(folder / "outcomes.csv")
    return table


@pytest.mark.slow
def test_a_dicom_folder(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom_folder(tmp_path, shared_data)
    cohort, _ = audit(
        tmp_path,
        monkeypatch,
        'images = "archive"\nimage_size = 64\nheader = ["PatientID", "PatientSex"]\n'
        'patient = "PatientID"\nlabel = "covid"\ngroups = ["PatientSex"]\n'
        'join = { table = "outcomes.csv", on = "PatientID", to = "who" }\n',
        CNN,
    )
    assert cohort["records"] == 118
    # One file each: fewer than 10 are not counted in what is released.
    assert {x["reason"]: x["records"] for x in cohort["left_out"]} == {
        "damaged, or not valid in its format": None,
        "no patient in the file's header": None,
    }
    loaded = load(tmp_path / "audit.toml").cohort()
    assert {x.reason: x.records for x in loaded.left_out} == {
        "damaged, or not valid in its format": 1,
        "no patient in the file's header": 1,
    }
    assert isinstance(loaded.inputs, ArrayInputs)
    images, _ = chest(shared_data, 120)
    known = {pixels.tobytes() for pixels in images}
    found = loaded.inputs.take(np.arange(loaded.records))
    assert all(pixels.tobytes() in known for pixels in found)  # inverted back, axes as they were


@pytest.mark.slow
def test_a_folder_of_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "ecg").mkdir()
    rows = []
    for i in range(80):
        ill = i // 2 % 2
        wave = np.sin(np.arange(1100) / (20 + 5 * ill))[:, None] + rng.normal(size=(1100, 3))
        name = f"{MARK}{i}"
        write_wfdb(tmp_path / "ecg", name, wave, rate=500)
        rows.append(
            {"person": f"{MARK}{i // 2}", "file": name, "ill": ill, "sex": "fm"[i % 4 // 2]}
        )
    (tmp_path / "ecg" / f"{MARK}7.dat").write_bytes(b"short")
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    cohort, _ = audit(
        tmp_path,
        monkeypatch,
        'table = "t.csv"\nsignals = "ecg"\npath = "file"\nrate = 100\nseconds = 2\n'
        'leads = ["II", "V1"]\npatient = "person"\nlabel = "ill"\ngroups = ["sex"]\n',
        PYTHON,
    )
    assert cohort["records"] == 79
    assert any("2 leads of 200 samples" in note for note in cohort["notes"])


@pytest.mark.slow
def test_nifti_volumes(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, table = chest(shared_data, 60)
    (tmp_path / "nii").mkdir()
    for i, pixels in enumerate(images):
        volume = np.stack([pixels.T[:, ::-1]] * 4, axis=2).astype(np.int16) * 10
        write_nifti(tmp_path / "nii" / f"{MARK}{i}.nii.gz", volume)
    (tmp_path / "nii" / "text.nii.gz").write_bytes(b"no volume")
    table["file"] = [f"{MARK}{i}.nii.gz" for i in range(60)]
    table.loc[5, "file"] = "text.nii.gz"
    table.to_csv(tmp_path / "t.csv", index=False)
    cohort, _ = audit(
        tmp_path,
        monkeypatch,
        'table = "t.csv"\nimages = "nii"\npath = "file"\nimage_size = 16\nslices = "volume"\n'
        'depth = 3\npatient = "patient_id"\nlabel = "label_covid"\n',
        PYTHON,
    )
    assert cohort["records"] == 59
    assert any("3 x 16 x 16" in note for note in cohort["notes"])


@pytest.mark.slow
def test_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_meds(tmp_path / "meds", made_up())
    cohort, _ = audit(
        tmp_path,
        monkeypatch,
        'events = "meds"\nadmission = "ADMISSION"\ndischarge = "DISCHARGE"\nhours = 24\n'
        'patient = "subject_id"\nlabel = "DEATH"\ngroups = ["GENDER"]\n',
        LOGISTIC,
    )
    assert cohort["groups"] == ["GENDER"]
    assert any("before its window ended" in x["reason"] for x in cohort["left_out"])


@pytest.mark.slow
def test_related_tables_of_real_admissions(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of docs/clinical.md, as it stands there."""
    text = (Path(__file__).parents[1] / "docs" / "clinical.md").read_text(encoding="utf-8")
    example = text.split("<!-- admissions -->")[1].split("```toml\n")[1].split("```")[0]
    example = example.replace("mimic3_demo/", f"{shared_data}/mimic3_demo/")
    (tmp_path / "audit.toml").write_text(example.replace("models = 64", "models = 8"))
    code, _, error = run(monkeypatch, "run", tmp_path / "audit.toml", "--out", tmp_path / "run")
    assert code == 0, error
    summary = json.loads((tmp_path / "run" / "results" / "summary.json").read_text())
    assert summary["cohort"]["records"] == 129
    assert summary["cohort"]["patients"] == 100
    notes = "\n".join(summary["cohort"]["notes"])
    for name in ("PATIENTS.csv", "ICUSTAYS.csv", "DIAGNOSES_ICD.csv"):
        assert f"{name}: joined on" in notes
    loaded = load(tmp_path / "audit.toml").cohort()
    assert isinstance(loaded.inputs, TableInputs)
    diagnoses = pd.read_csv(shared_data / "mimic3_demo" / "DIAGNOSES_ICD.csv", dtype=str)
    admissions = pd.read_csv(shared_data / "mimic3_demo" / "ADMISSIONS.csv", dtype=str)
    column = loaded.inputs.frame()["ICD9_CODE = 4019"]
    counts = diagnoses[diagnoses["ICD9_CODE"] == "4019"].groupby("HADM_ID").size()
    expected = admissions["HADM_ID"].map(counts).fillna(0)
    np.testing.assert_array_equal(column, expected)


def test_init_finds_the_column_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = folder_of_pngs(tmp_path / "films", 12)
    table = pd.DataFrame(
        {
            "p": [f"{MARK}{i // 2}" for i in range(12)],
            "odd": ["../secret"] * 12,
            "file": names,
            "y": [0, 1] * 6,
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    asked = ("init", "t.csv", "--patient", "p", "--label", "y", "--images", "films")
    code, out, error = run(monkeypatch, *asked)
    assert code == 0, error
    (tmp_path / "audit.toml").write_text(out)
    cohort = load(tmp_path / "audit.toml").cohort()
    assert isinstance(cohort.inputs, ArrayInputs)
    assert cohort.inputs.array.shape == (12, 64, 64)
    table.drop(columns="file").to_csv(tmp_path / "t.csv", index=False)
    code, _, error = run(monkeypatch, *asked)
    assert (code, "no column of the table holds paths" in error) == (2, True)
    code, _, error = run(monkeypatch, *asked[:-1], "none")
    assert (code, "no such folder" in error) == (2, True)


BASE = {"patient": "p", "label": "y"}


@pytest.mark.parametrize(
    ("cohort", "words"),
    [
        ({}, "table is missing"),
        ({"images": "a.npz"}, "table is missing"),
        ({"table": "t.csv", "image_size": 8}, "image_size requires a folder of images"),
        ({"table": "t.csv", "images": "a.npy", "path": "f"}, "path requires a folder"),
        ({"images": "folder", "channels": "first"}, "channels requires"),
        ({"images": "folder", "rate": 100.0}, "rate requires a folder of signals"),
        ({"signals": "folder", "slices": "each"}, "slices requires a folder of images"),
        ({"events": "m", "signals": "s"}, "signals and events cannot be combined"),
        ({"events": "m", "cache": "c"}, "cache requires"),
        ({"table": "t.csv", "hours": 2.0}, "hours requires events"),
        ({"images": "f", "slices": 1.5}, "cohort.slices"),
        ({"images": "f", "image_size": "big"}, "cohort.image_size"),
        ({"table": "t", "join": {"table": "u"}}, "cohort.join"),
        ({"table": "t", "join": {"table": "u", "on": "p", "cunt": ["x"]}}, 'Did you mean "count"'),
    ],
)
def test_keys_that_would_be_ignored_are_errors(cohort: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"cohort": BASE | cohort, "recipe": {"kind": "sklearn"}}, "audit.toml")
    assert words in str(caught.value)


def test_sizes_are_asked_for_and_integers_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for kind, key in (("images", "image_size"), ("signals", "seconds")):
        text = (
            f'[cohort]\n{kind} = "f"\npatient = "folder"\nlabel = "y"\n[recipe]\nkind = "sklearn"\n'
        )
        (tmp_path / "audit.toml").write_text(text)
        with pytest.raises(CohortError, match=f"cohort.{key}: is missing"):
            load(tmp_path / "audit.toml").cohort()
    (tmp_path / "audit.toml").write_text(
        text.replace('"f"', '"f"\nseconds = 2\nrate = 100\nstart = 1')
    )
    part: Any = load(tmp_path / "audit.toml").content.cohort
    assert (part.seconds, part.rate, part.start) == (2, 100, 1)


def test_an_npz_that_is_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    pd.DataFrame({"p": range(10), "y": [0, 1] * 5}).to_csv(tmp_path / "t.csv", index=False)
    text = '[cohort]\ntable = "t.csv"\nimages = "a.npz"\narray = "signal"\npatient = "p"\n'
    (tmp_path / "audit.toml").write_text(text + 'label = "y"\n[recipe]\nkind = "sklearn"\n')
    bomb(tmp_path / "a.npz")
    code, _, error = run(monkeypatch, "check", tmp_path / "audit.toml")
    assert (code, "cannot be read" in error) == (2, True)
    # One whose header and size agree: more than there is memory for.
    np.savez_compressed(tmp_path / "a.npz", signal=np.zeros((10, 1 << 15)))
    monkeypatch.setattr("auscult.readers.arrays.available_memory", lambda: 1 << 20)
    code, _, error = run(monkeypatch, "check", tmp_path / "audit.toml")
    assert (code, "memory" in error) == (2, True)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("signal.npy", b"\x93NUMPY\x01\x00")
    code, _, error = run(monkeypatch, "check", tmp_path / "audit.toml")
    assert (code, "cannot be read" in error) == (2, True)


@pytest.mark.parametrize("name", ["../films/{}", "/etc/hostname", "a/../../t.csv"])
def test_a_table_that_climbs_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = folder_of_pngs(tmp_path / "films", 10)
    names[4] = name.format(names[4])
    pd.DataFrame({"p": range(10), "f": names, "y": [0, 1] * 5}).to_csv(tmp_path / "t.csv")
    (tmp_path / "audit.toml").write_text(
        '[cohort]\ntable = "t.csv"\nimages = "films"\npath = "f"\nimage_size = 8\npatient = "p"\n'
        'label = "y"\ncache = "kept"\n[recipe]\nkind = "torch"\nmodel = "cnn"\n'
    )
    code, out, error = run(monkeypatch, "run", tmp_path / "audit.toml", "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert "column f: 1 of 10 paths are absolute or lead outside the folder" in error
    assert MARK not in error
    assert "etc" not in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "kept").exists()
