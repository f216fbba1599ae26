"""Scores made elsewhere: npz and model folders, trusted in nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult.errors import AuscultError, CohortError
from auscult.importing import import_scores
from auscult.scores import read_model_folders, read_npz

MODELS, PATIENTS = 12, 40


Arrays = dict[str, NDArray[Any]]


def made_scores(seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    count = 1 + rng.integers(0, 3, PATIENTS)
    owner = np.repeat(np.arange(PATIENTS), count)
    inside = rng.random((MODELS, PATIENTS)).argsort(axis=0) < MODELS // 2
    signals = rng.normal(size=(MODELS, owner.size)) + inside[:, owner]
    return {
        "signals": signals,
        "membership": inside,
        "patient": np.array([f"Zxq{i:03d}" for i in owner]),
        "sex": np.where(np.arange(PATIENTS) % 2, "f", "m")[owner],
    }


def save(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_signals_are_analysed(tmp_path: Path) -> None:
    scores = read_npz(save(tmp_path / "scores.npz", made_scores()))
    result = import_scores(scores, tmp_path / "run", seed=1)
    assert result.summary["recipe"] is None
    assert result.summary["cohort"]["patients"] == PATIENTS
    assert result.summary["models"]["utility"] is None
    assert set(result.summary["disparities"]["sex"]["groups"]) == {"f", "m"}
    assert result.patients["auc_raw"].mean() > 0.7
    assert "Zxq" not in (tmp_path / "run" / "report.html").read_text()


def test_membership_per_record_is_the_same_audit(tmp_path: Path) -> None:
    arrays = made_scores()
    one = import_scores(read_npz(save(tmp_path / "a.npz", arrays)), tmp_path / "one", title="t")
    owner = pd.factorize(arrays["patient"])[0]
    arrays["membership"] = arrays["membership"][:, owner]
    other = import_scores(read_npz(save(tmp_path / "b.npz", arrays)), tmp_path / "two", title="t")
    assert one.summary["patients"] == other.summary["patients"]


def test_logits_give_the_signals_that_their_labels_imply(tmp_path: Path) -> None:
    arrays = made_scores()
    signals = arrays.pop("signals")
    labels = np.asarray(np.random.default_rng(5).integers(0, 2, signals.shape[1]))
    arrays["labels"] = labels
    arrays["logits"] = np.where(labels, signals, -signals)[:, :, None]
    result = import_scores(read_npz(save(tmp_path / "l.npz", arrays)), tmp_path / "run", seed=1)
    assert result.summary["models"]["utility"] is not None
    assert result.summary["cohort"]["task"] == "binary"
    arrays["logits"] = np.concatenate([0 * arrays["logits"], arrays["logits"]], axis=2)
    two = import_scores(read_npz(save(tmp_path / "m.npz", arrays)), tmp_path / "two", seed=1)
    np.testing.assert_allclose(result.patients["auc_raw"], two.patients["auc_raw"], atol=1e-6)


def without(name: str) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.pop(name)


def changed(name: str, value: Callable[[Any], Any]) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.update({name: value(arrays[name])})


def split_patient(matrix: NDArray[np.bool_]) -> NDArray[np.bool_]:
    owner = pd.factorize(made_scores()["patient"])[0]
    records = matrix[:, owner].copy()
    twice = int(np.flatnonzero(owner[1:] == owner[:-1])[0])
    records[0, twice] = ~records[0, twice]
    return records


BAD: dict[str, tuple[Callable[[Arrays], object], str]] = {
    "no signals": (without("signals"), "signals or logits"),
    "no membership": (without("membership"), "membership"),
    "no patient": (without("patient"), "patient"),
    "objects": (changed("patient", lambda x: x.astype(object)), "Python objects"),
    "empty patient": (changed("patient", lambda x: np.where(x == "Zxq003", "", x)), "no patient"),
    "NaN": (changed("signals", lambda x: np.where(x > 2, np.nan, x)), "NaN"),
    "wrong models": (changed("membership", lambda x: x[:-1]), "membership is bool"),
    "wrong patients": (changed("membership", lambda x: x[:, :-1]), "membership speaks of 39"),
    "split patient": (changed("membership", split_patient), "1 patients have records on both"),
    "numbers for membership": (changed("membership", lambda x: x + 0.5), "membership is float"),
    "one dimension": (changed("signals", lambda x: x[0]), "2 dimensions"),
    "few models": (
        lambda a: a.update(signals=a["signals"][:4], membership=a["membership"][:4]),
        "4 models",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_scores_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    arrays = made_scores()
    change, words = BAD[name]
    change(arrays)
    with pytest.raises(CohortError, match=words) as caught:
        read_npz(save(tmp_path / "scores.npz", arrays))
    assert "Zxq" not in str(caught.value)


def test_a_file_that_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "scores.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(CohortError, match="cannot be read"):
        read_npz(tmp_path / "scores.npz")
    with pytest.raises(CohortError, match="no such file"):
        read_npz(tmp_path / "absent.npz")


def model_folders(path: Path, queries: int | None = None) -> Arrays:
    """A folder per model, as the study's code writes them."""
    arrays = made_scores()
    labels = np.random.default_rng(5).integers(0, 2, arrays["signals"].shape[1])
    for m in range(MODELS):
        folder = path / f"model_{m:03d}"
        folder.mkdir(parents=True)
        logits = np.where(labels, arrays["signals"][m], -arrays["signals"][m])[:, None]
        if queries:
            logits = np.repeat(logits[:, None], queries, axis=1)
        np.save(folder / "train_logits.npy", logits)
        np.save(folder / "train_labels.npy", labels)
        np.save(folder / "subset_mask.npy", arrays["membership"][m])
    return arrays


@pytest.mark.parametrize("queries", [None, 3])
def test_folders_of_models_give_what_the_npz_gives(tmp_path: Path, queries: int | None) -> None:
    arrays = model_folders(tmp_path / "models", queries)
    table = pd.DataFrame({"id": arrays["patient"], "sex": arrays["sex"]})
    scores = read_model_folders(tmp_path / "models", table, "id", ["sex"])
    assert scores.labels is not None
    arrays["labels"] = scores.labels
    result = import_scores(scores, tmp_path / "run", seed=1)
    expected = import_scores(
        read_npz(save(tmp_path / "s.npz", arrays)),
        tmp_path / "npz",
        seed=1,
    )
    np.testing.assert_allclose(result.patients["auc_raw"], expected.patients["auc_raw"], atol=1e-6)
    assert list(result.patients["patient"]) == list(expected.patients["patient"])


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    arrays = model_folders(tmp_path / "models")
    table = pd.DataFrame({"id": arrays["patient"]})
    with pytest.raises(CohortError, match="Say whose records"):
        read_model_folders(tmp_path / "models")
    with pytest.raises(CohortError, match='no column "idd"'):
        read_model_folders(tmp_path / "models", table, "idd")
    with pytest.raises(CohortError, match="rows"):
        read_model_folders(tmp_path / "models", table.head(5), "id")
    labels = tmp_path / "models" / "model_003" / "train_labels.npy"
    np.save(labels, 1 - np.load(labels))
    with pytest.raises(CohortError, match="model_003"):
        read_model_folders(tmp_path / "models", table, "id")
    with pytest.raises(AuscultError, match="no folder of a model"):
        read_model_folders(tmp_path)
