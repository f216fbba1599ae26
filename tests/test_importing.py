"""Scores made elsewhere: npz and model folders, trusted in nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult.attacks.log_odds import log_odds_of_truth
from auscult.base.errors import AuscultError, CohortError
from auscult.imported.declared import Declared
from auscult.imported.importing import import_scores
from auscult.imported.scores import Scores, read_model_folders, read_npz

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
    "wrong patients": (changed("membership", lambda x: x[:, :-1]), "membership refers to 39"),
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
    with pytest.raises(CohortError, match="Give the patient of each record"):
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


CLASSES = 12


def made_outputs(seed: int = 3, classes: int = 4) -> Arrays:
    """Logits of models that have learned something and remember their members."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(120), 2)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, owner.size - classes)])
    inside = rng.random((16, 120)).argsort(axis=0) < 8
    logits = rng.normal(size=(16, owner.size, classes))
    logits[:, np.arange(owner.size), labels] += 2 + 1.5 * inside[:, owner]
    return {
        "logits": logits.astype(np.float32),
        "labels": labels,
        "membership": inside,
        "patient": np.array([f"Zxq{i:03d}" for i in owner]),
    }


def shares(arrays: Arrays) -> NDArray[np.float64]:
    e = np.exp(arrays["logits"].astype(float))
    return np.asarray(e / e.sum(axis=2, keepdims=True))


def hot(arrays: Arrays) -> NDArray[np.int64]:
    return np.eye(arrays["logits"].shape[2], dtype=np.int64)[arrays["labels"]]


def truth(arrays: Arrays) -> NDArray[np.float64]:
    p = shares(arrays)
    return np.asarray(p[:, np.arange(p.shape[1]), arrays["labels"]])


def as_signals(values: Callable[[Arrays], Any], name: str = "signals") -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        found = values(arrays)
        del arrays["logits"]
        arrays[name] = np.asarray(found)

    return change


def put(**arrays: Callable[[Arrays], Any]) -> Callable[[Arrays], None]:
    def change(given: Arrays) -> None:
        given.update({name: np.asarray(made(given)) for name, made in arrays.items()})

    return change


def always(value: object) -> Callable[[Arrays], Any]:
    return lambda _: value


def then(*changes: Callable[[Arrays], object]) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        for one in changes:
            one(arrays)

    return change


def renamed(arrays: Arrays) -> None:
    arrays["probabilities"] = shares(arrays)
    del arrays["logits"]


def by_text(arrays: Arrays) -> NDArray[np.int64]:
    count = arrays["logits"].shape[2]
    return np.array(sorted(range(count), key=str))


# What is changed about the arrays, and how it is declared: the signals must be the same.
SAME: dict[str, tuple[Callable[[Arrays], None], Declared]] = {
    "one-hot declared": (put(labels=hot), Declared(labels="one-hot")),
    "one-hot in the file": (put(labels=hot, labels_are=always("one-hot")), Declared()),
    "one-hot of floats": (
        put(labels=lambda a: hot(a).astype(np.float32)),
        Declared(labels="one-hot"),
    ),
    "one-hot proved": (put(logits=shares, labels=hot), Declared()),
    "probabilities proved": (put(logits=shares), Declared()),
    "probabilities named": (renamed, Declared()),
    "half precision": (put(logits=lambda a: shares(a).astype(np.float16)), Declared()),
    "log-probabilities": (put(logits=lambda a: np.log(shares(a))), Declared()),
    "log-probabilities declared": (
        put(logits=lambda a: np.log(shares(a))),
        Declared(outputs="log-probabilities"),
    ),
    "a column of labels": (put(labels=lambda a: a["labels"][:, None]), Declared()),
    "labels as floats": (put(labels=lambda a: a["labels"].astype(float)), Declared()),
    "membership as floats": (put(membership=lambda a: a["membership"].astype(float)), Declared()),
    "classes in order of text": (
        put(logits=lambda a: a["logits"][:, :, by_text(a)], classes=lambda a: by_text(a)),
        Declared(),
    ),
    "labels as text": (
        put(
            labels=lambda a: np.array([f"c{n}" for n in a["labels"]]),
            classes=always([f"c{n}" for n in range(CLASSES)]),
        ),
        Declared(),
    ),
    "cross-entropy": (
        as_signals(lambda a: -np.log(truth(a)), "losses"),
        Declared(signals="cross-entropy"),
    ),
    "probability of the truth": (as_signals(truth), Declared(signals="probabilities")),
}


@pytest.mark.parametrize("name", SAME)
def test_other_layouts_of_the_same_outputs_give_the_same_signals(name: str, tmp_path: Path) -> None:
    arrays = made_outputs(classes=CLASSES)
    right = signals_of(read_npz(save(tmp_path / "right.npz", arrays)))
    change, declared = SAME[name]
    change(arrays)
    found = signals_of(read_npz(save(tmp_path / "given.npz", arrays), declared))
    np.testing.assert_allclose(found, right, atol=0.05 if name == "half precision" else 2e-3)


def signals_of(scores: Scores) -> NDArray[np.float64]:
    labels = scores.labels if scores.labels is not None else np.zeros(0, dtype=np.int64)
    return log_odds_of_truth(scores.values[:, 0], labels, scores.kind)


TWO_READINGS: dict[str, tuple[Callable[[Arrays], None], str]] = {
    "one-hot": (put(labels=hot), "labels-are one-hot or --labels-are multi-label"),
    "losses": (as_signals(lambda a: -np.log(truth(a))), "signals-are losses"),
    "losses in bits": (as_signals(lambda a: -np.log2(truth(a))), "signals-are losses"),
    "probability of the truth": (as_signals(truth), "signals-are probabilities"),
    "losses of probabilities": (as_signals(lambda a: 1 - truth(a)), "signals-are probabilities"),
    "losses named losses, negated": (
        as_signals(lambda a: np.log(truth(a)), "losses"),
        "members have the lower losses",
    ),
    "percentages": (put(logits=lambda a: 100 * shares(a)), "adds up to 100"),
    "percentages named": (
        as_signals(lambda a: 100 * shares(a), "probabilities"),
        "by 100",
    ),
    "sigmoids": (put(logits=lambda a: 1 / (1 + np.exp(-a["logits"]))), "lie from 0 to 1"),
    "order of text": (put(logits=lambda a: a["logits"][:, :, by_text(a)]), "model.classes_"),
    "order reversed": (put(logits=lambda a: a["logits"][:, :, ::-1]), "model.classes_"),
    "held out": (put(membership=lambda a: ~a["membership"]), "save its opposite"),
    "many-hot of a softmax": (
        put(logits=shares, labels=lambda a: np.maximum(hot(a), hot(a)[::-1])),
        "exclude each other",
    ),
    "smoothed": (put(labels=lambda a: 0.9 * hot(a) + 0.1 / CLASSES), "smoothed"),
    "from one": (put(labels=lambda a: a["labels"] + 1), "count from 1"),
    "huge float": (
        put(labels=lambda a: np.full(len(a["labels"]), 1e300)),
        "do not match",
    ),
    "huge": (put(labels=lambda a: a["labels"] + 2**40), "do not match"),
    "huge, with signals": (
        then(as_signals(lambda a: -truth(a)), put(labels=lambda a: a["labels"] + 2**40)),
        "do not match",
    ),
    "none": (put(labels=always([])), "0 labels"),
    "text": (put(labels=lambda a: a["labels"].astype(str)), "add an array classes"),
    "minus one": (put(labels=lambda a: np.where(a["labels"] > 0, 1, -1)), r"labels > 0"),
    "declared, and no labels": (
        then(as_signals(truth), without("labels"), put(labels_are=always("one-hot"))),
        "there are none",
    ),
    "indices for membership": (
        put(membership=lambda a: np.argsort(a["membership"], axis=1)[:, -60:]),
        "become a matrix",
    ),
}


@pytest.mark.parametrize("name", TWO_READINGS)
def test_what_has_two_readings_is_refused(name: str, tmp_path: Path) -> None:
    arrays = made_outputs(classes=CLASSES)
    change, words = TWO_READINGS[name]
    change(arrays)
    with pytest.raises(CohortError, match=words) as caught:
        read_npz(save(tmp_path / "scores.npz", arrays))
    assert "Zxq" not in str(caught.value)


def test_a_binary_model_whose_positive_class_is_the_other(tmp_path: Path) -> None:
    arrays = made_outputs(classes=2)
    arrays["logits"] = arrays["logits"][:, :, :1] - arrays["logits"][:, :, 1:]
    with pytest.raises(CohortError, match=r"taken as 1, 0"):
        read_npz(save(tmp_path / "scores.npz", arrays))
    arrays["classes"] = np.array([1, 0])  # the advice
    read_npz(save(tmp_path / "scores.npz", arrays))


def test_one_column_of_probabilities_asks_and_goes_on(tmp_path: Path) -> None:
    arrays = made_outputs(classes=2)
    right = signals_of(read_npz(save(tmp_path / "right.npz", arrays)))
    arrays["logits"] = shares(arrays)[:, :, 1:]
    path = save(tmp_path / "scores.npz", arrays)
    with pytest.raises(CohortError, match="outputs-are probabilities"):
        read_npz(path)
    found = signals_of(read_npz(path, Declared(outputs="probabilities")))
    np.testing.assert_allclose(found, right, atol=1e-2)
    arrays["logits"] = np.log(arrays["logits"])
    path = save(tmp_path / "scores.npz", arrays)
    with pytest.raises(CohortError, match="outputs-are log-probabilities"):
        read_npz(path)
    found = signals_of(read_npz(path, Declared(outputs="log-probabilities")))
    np.testing.assert_allclose(found, right, atol=1e-2)


def test_a_reversed_sign_that_was_declared_is_told(tmp_path: Path) -> None:
    arrays = made_outputs()
    as_signals(lambda a: -np.log(truth(a)))(arrays)
    path = save(tmp_path / "scores.npz", arrays)
    assert any("reversed" in n for n in read_npz(path, Declared(signals="scores")).notes)
    assert not any("reversed" in n for n in read_npz(path, Declared(signals="losses")).notes)
    arrays.pop("labels")
    path = save(tmp_path / "scores.npz", arrays)
    assert any("no labels" in n for n in read_npz(path, Declared(signals="losses")).notes)


def test_models_that_know_nothing_are_not_refused(tmp_path: Path) -> None:
    for seed in range(20):
        arrays = made_outputs(seed)
        rng = np.random.default_rng(seed)
        arrays["logits"] = rng.normal(size=arrays["logits"].shape)
        read_npz(save(tmp_path / "scores.npz", arrays))


def test_as_many_models_as_records(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    inside = rng.random((24, 24)).argsort(axis=0) < 12
    arrays = {
        "signals": rng.normal(size=(24, 24)) + inside,
        "labels": rng.integers(0, 2, 24),
        "membership": inside,
        "patient": np.array([f"p{i:02d}" for i in range(24)]),
        "seed": np.arange(24),
        "sex": np.where(np.arange(24) % 2, "f", "m"),
    }
    path = save(tmp_path / "scores.npz", arrays)
    with pytest.raises(CohortError, match="--group NAME"):
        read_npz(path)
    scores = read_npz(path, Declared(groups=("sex",)))
    assert list(scores.groups.columns) == ["sex"]
    assert any("(models, records)" in note for note in scores.notes)
    assert any("array seed was not used" in note for note in scores.notes)


def test_a_pipe_and_a_bomb_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "mkfifo"):  # Windows has none
        os.mkfifo(tmp_path / "pipe.npz")
        with pytest.raises(CohortError, match="not a regular file"):
            read_npz(tmp_path / "pipe.npz")
    path = save(tmp_path / "scores.npz", made_outputs())
    monkeypatch.setattr("auscult.base.opening.available_memory", lambda: 1000)
    with pytest.raises(CohortError, match="of memory are available"):
        read_npz(path)
