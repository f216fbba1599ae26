"""The blind baseline: exact areas, an honest interval, a true null, nothing on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auscult.base.errors import AnalysisError
from auscult.blind import auc_inside_folds, baseline, blind_baseline
from auscult.cohort.inputs import ArrayInputs, TableInputs
from tests.cohorts import write_audit
from tests.test_cli import run

Sample = tuple[TableInputs, np.ndarray, np.ndarray]


def table(values: np.ndarray) -> TableInputs:
    return TableInputs(
        numeric=values.astype(np.float32),
        numeric_names=tuple(f"x{j}" for j in range(values.shape[1])),
        codes=np.zeros((len(values), 0), dtype=np.int32),
        categorical_names=(),
        levels=(),
    )


def sample(patients: int, shift: float, seed: int) -> Sample:
    """Patients of two groups whose first column differs by `shift`."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(2 * patients), 1 + rng.poisson(0.5, 2 * patients))
    own = rng.normal(size=(2 * patients, 6))
    own[:patients, 0] += shift
    values = own[patient] + 0.3 * rng.normal(size=(patient.size, 6))
    return table(values), patient, patient < patients


def test_area_is_the_share_of_pairs_inside_folds() -> None:
    rng = np.random.default_rng(0)
    scores, member = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    fold = np.arange(60) % 3
    wins = pairs = 0.0
    for k in range(3):
        for inside in scores[(fold == k) & member]:
            for outside in scores[(fold == k) & ~member]:
                wins += (inside > outside) + (inside == outside) / 2
                pairs += 1
    auc, low, high = auc_inside_folds(scores, member, fold)
    assert auc == pytest.approx(wins / pairs)
    assert low < auc < high


def test_interval_covers_and_does_not_collapse() -> None:
    """Gaussian scores a distance d apart: the area is Phi(d / sqrt 2)."""
    for distance, truth in ((0.0, 0.5), (1.5, 0.8556)):
        covered = 0
        for seed in range(300):
            rng = np.random.default_rng(seed)
            member = np.arange(80) < 40
            scores = rng.normal(size=80) + distance * member
            _, low, high = auc_inside_folds(scores, member, np.arange(80) % 5)
            covered += low <= truth <= high
        assert 0.92 <= covered / 300 <= 0.99
    member = np.arange(40) < 20
    auc, low, high = auc_inside_folds(member.astype(float), member, np.arange(40) % 2)
    assert (auc, high) == (1.0, 1.0)
    assert 0.7 < low < 0.98


def test_ridge_matrix_is_ridge_regression() -> None:
    rng = np.random.default_rng(1)
    train, test, y = rng.normal(size=(30, 4)), rng.normal(size=(7, 4)), rng.random(30)
    centred, mean = train - train.mean(axis=0), train.mean(axis=0)
    power = (np.linalg.svd(centred)[1] ** 2).mean()
    expected = np.zeros(7)
    for strength in baseline.STRENGTHS:
        inverse = np.linalg.inv(centred.T @ centred + strength * power * np.eye(4))
        one = (test - mean) @ inverse @ centred.T
        expected += one / np.linalg.norm(one) @ y
    np.testing.assert_allclose(baseline._hat(train, test) @ y, expected, atol=1e-12)


def test_null_is_told_from_chance_as_often_as_it_should() -> None:
    found = [blind_baseline(*sample(40, 0.0, seed), seed=seed) for seed in range(120)]
    assert abs(np.mean([one.auc for one in found]) - 0.5) < 0.03
    assert np.mean([one.above_chance for one in found]) <= 0.07
    assert np.mean([one.p <= 0.1 for one in found]) <= 0.19
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) >= 0.88


def test_confounded_groups_are_told_apart() -> None:
    found = blind_baseline(*sample(60, 3.0, 1))
    assert found.auc > 0.93
    assert found.above_chance
    assert found.p == 1 / (1 + baseline.PERMUTATIONS)
    assert "is not evidence" in found.verdict()
    json.dumps(found.summary(), allow_nan=False)
    again = blind_baseline(*sample(60, 3.0, 1))
    assert again == found


def test_categories_and_missing_values_count_as_well() -> None:
    _, patient, member = sample(40, 0.0, 3)
    rng = np.random.default_rng(3)
    values = rng.normal(size=(patient.size, 2)).astype(np.float32)
    values[member & (rng.random(patient.size) < 0.8), 1] = np.nan
    inputs = TableInputs(
        numeric=values,
        numeric_names=("a", "b"),
        codes=np.full((patient.size, 1), -1, dtype=np.int32),
        categorical_names=("c",),
        levels=(("x", "y"),),
    )
    assert blind_baseline(inputs, patient, member).above_chance
    labels = member.astype(np.int64)
    plain = table(rng.normal(size=(patient.size, 3)))
    assert blind_baseline(plain, patient, member, labels=labels).auc > 0.95


@pytest.mark.parametrize("channels", ["none", "first", "last"])
def test_images_from_two_devices(channels: str) -> None:
    rng = np.random.default_rng(4)
    shape = {"none": (40, 30), "first": (3, 40, 30), "last": (40, 30, 3)}[channels]
    images = rng.integers(0, 200, (60, *shape)).astype(np.uint8)
    member = np.arange(60) < 30
    images[member] //= 2  # darker
    inputs = ArrayInputs(array=images, rows=np.arange(60), channels=channels)
    assert blind_baseline(inputs, np.arange(60), member).auc > 0.95


def test_what_is_on_both_sides_is_refused() -> None:
    inputs, patient, member = sample(20, 0.0, 5)
    wrong = member.copy()
    wrong[patient == 0] = np.arange((patient == 0).sum()) > 0
    two = np.concatenate([patient, [0]])
    with pytest.raises(AnalysisError, match="1 patients are members and non-members"):
        blind_baseline(
            table(np.concatenate([inputs.numeric, inputs.numeric[:1]])),
            two,
            np.concatenate([member, [False]]),
        )
    images = np.random.default_rng(6).integers(0, 255, (40, 8, 8)).astype(np.uint8)
    images[30] = images[3]
    with pytest.raises(AnalysisError, match="1 records are on both sides"):
        blind_baseline(images, np.arange(40), np.arange(40) < 20)


def test_copies_that_are_not_exact_are_noted() -> None:
    rng = np.random.default_rng(7)
    images = rng.integers(0, 255, (60, 32, 32)).astype(np.float32)
    images[40] = images[3] + rng.normal(0, 1, (32, 32))
    found = blind_baseline(images, np.arange(60), np.arange(60) < 30)
    assert any("1 records resemble" in note for note in found.notes)
    images[40] = rng.integers(0, 255, (32, 32))
    assert not blind_baseline(images, np.arange(60), np.arange(60) < 30).notes


def test_too_few_and_misshapen() -> None:
    inputs, patient, member = sample(20, 0.0, 8)
    with pytest.raises(AnalysisError, match="there are 4 members"):
        blind_baseline(inputs, patient, patient < 4)
    with pytest.raises(AnalysisError, match="one value per record"):
        blind_baseline(inputs, patient, member.astype(int))
    with pytest.raises(AnalysisError, match="labels"):
        blind_baseline(inputs, patient, member, labels=np.zeros(3, dtype=np.int64))
    images = np.zeros((40, 8, 8))
    images[3, 2, 2] = np.nan
    with pytest.raises(AnalysisError, match="NaN"):
        blind_baseline(images + np.arange(40)[:, None, None], np.arange(40), np.arange(40) < 20)
    with pytest.raises(AnalysisError, match="alike"):
        blind_baseline(table(np.ones((patient.size, 2))), patient, member)


def test_more_patients_than_wanted_are_drawn() -> None:
    found = blind_baseline(*sample(60, 2.0, 9), max_patients=30)
    assert (found.members, found.others) == (30, 30)
    assert "drawn at random" in found.notes[0]


def test_hospitals_are_told_apart_and_halves_of_one_are_not(shared_data: Path) -> None:
    """The two chest sets; radiographs that are in both stay on one side."""
    images, tables = {}, {}
    for name in ("hannover_covid_cxr_64", "covid_chestxray_64"):
        with np.load(shared_data / name / "images.npz") as content:
            images[name] = content["images"]
        tables[name] = pd.read_csv(shared_data / name / "metadata.csv")
    own, other = images["hannover_covid_cxr_64"], images["covid_chestxray_64"]
    ids = tables["hannover_covid_cxr_64"]["patient_id"].astype(str)
    far = tables["covid_chestxray_64"]
    copies = far.loc[far["from_hannover"] == 1, "patient_id"].unique()
    assert copies.size == 46
    apart = ~far["patient_id"].isin(copies).to_numpy()
    patient = np.concatenate(["h" + ids, "c" + far.loc[apart, "patient_id"].astype(str)])
    pixels = np.concatenate([own, other[apart]])
    found = blind_baseline(pixels, patient, np.arange(len(pixels)) < len(own))
    assert found.low > 0.85
    half = set(np.random.default_rng(0).permutation(ids.unique())[:35])
    assert not blind_baseline(own, ids.to_numpy(), ids.isin(half).to_numpy()).above_chance


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = write_audit(tmp_path)
    ids = [f"Zxq{i:04d}wv" for i in range(30)]
    listed = tmp_path / "members.csv"
    pd.DataFrame({"person": [*ids, "Zxq9999wv"]}).to_csv(listed, index=False)
    how = ("blind", audit, "--members", listed)
    code, out, error = run(monkeypatch, *how, "--out", tmp_path / "blind.json")
    assert (code, error) == (0, "")
    assert "tell 30 members from 30 non-members" in out
    assert "1 listed members are not patients" in out
    assert "Zxq" not in out
    figures = json.loads((tmp_path / "blind.json").read_text())
    assert 0 <= figures["auc"]["low"] <= figures["auc"]["mean"] <= figures["auc"]["high"] <= 1
    pd.DataFrame({"person": ids[:4], "b": 1}).to_csv(listed, index=False)
    code, _, error = run(monkeypatch, *how)
    assert code == 2
    assert "--column" in error
    code, _, error = run(monkeypatch, *how, "--column", "c")
    assert code == 2
    assert 'no column "c"' in error
    code, _, error = run(monkeypatch, *how, "--column", "person", "--out", tmp_path / "none.json")
    assert code == 2
    assert "there are 4 members" in error
    assert "Zxq" not in error
    assert not (tmp_path / "none.json").exists()
