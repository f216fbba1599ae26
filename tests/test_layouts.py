"""Scores in the layouts of other tools: recognised, and the same numbers as computed directly."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from auscult.base.errors import AuscultError
from auscult.imported.declared import Declared
from auscult.imported.importing import import_scores
from auscult.imported.layouts import read_scores, recognise
from auscult.imported.scores import read_npz
from tests.test_cli import run as command

MODELS, PATIENTS = 10, 30
EXPORTERS = Path(__file__).parents[1] / "examples" / "exporters"


class Study:
    """Signals of records of patients, members higher, and what models would answer."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.owner = np.repeat(np.arange(PATIENTS), 1 + rng.integers(0, 3, PATIENTS))
        self.records = len(self.owner)
        self.inside = rng.random((MODELS, PATIENTS)).argsort(axis=0) < MODELS // 2
        self.signals = rng.normal(size=(MODELS, self.records)) + 1.5 * self.inside[:, self.owner]
        self.labels = rng.integers(0, 3, self.records)
        self.logits = rng.normal(size=(MODELS, self.records, 3))
        for model in range(MODELS):
            self.logits[model, np.arange(self.records), self.labels] += self.signals[model]
        self.patient = np.array([f"Zxq{one}" for one in self.owner])
        self.table = pd.DataFrame(
            {
                "id": self.patient,
                "sex": np.where(self.owner % 2, "f", "m"),
                "grade": np.array(["low", "mid", "top"])[self.labels],
            }
        )

    def folders(self, path: Path, labels: NDArray[Any], views: int = 0) -> Path:
        """As the study's code writes them."""
        for model in range(MODELS):
            folder = path / f"2025-01-0{model}"
            folder.mkdir(parents=True)
            logits = self.logits[model].astype(np.float32)
            np.save(folder / "train_logits.npy", np.stack([logits] * views, 1) if views else logits)
            np.save(folder / "train_labels.npy", labels.astype(np.float32))
            np.save(folder / "subset_mask.npy", self.inside[model])
            np.save(folder / "subset_idcs.npy", np.flatnonzero(self.inside[model]))
        np.save(path / "super_mask.npy", self.inside)
        return path


STUDY = Study()


def theirs(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """The study's signal of multi-hot labels, as the paper defines it."""
    chance = softmax(logits, axis=-1)
    true = (chance * labels).sum(axis=-1)
    return np.asarray(np.log(true) - np.log((chance * (1 - labels)).sum(axis=-1)))


def test_the_study_s_one_hot_labels(tmp_path: Path) -> None:
    one_hot = np.eye(3)[STUDY.labels]
    path = STUDY.folders(tmp_path / "models", one_hot)
    assert recognise(path) == "folders"
    with pytest.raises(AuscultError, match="--labels-are one-hot"):
        read_scores(path, table=STUDY.table, patient="id")
    for options in ({"layout": "leakoscope"}, {"declared": Declared(labels="one-hot")}):
        scores = read_scores(path, table=STUDY.table, patient="id", **options)
        assert scores.kind == "softmax"
        np.testing.assert_array_equal(scores.labels, STUDY.labels)
        np.testing.assert_allclose(scores.values[:, 0], STUDY.logits, atol=1e-6)


@pytest.mark.parametrize("views", [0, 2])
def test_the_study_s_multi_hot_labels(tmp_path: Path, views: int) -> None:
    labels = np.random.default_rng(1).integers(0, 2, (STUDY.records, 3))
    labels[0], labels[1] = 0, 1
    path = STUDY.folders(tmp_path / "models", labels, views)
    with pytest.raises(AuscultError, match="--no-finding N"):
        read_scores(path, layout="leakoscope", table=STUDY.table, patient="id")
    told = read_scores(
        path,
        Declared(no_finding=0),
        layout="leakoscope",
        table=STUDY.table,
        patient="id",
        groups=["sex"],
    )
    labels[labels.sum(axis=1) == 0, 0] = 1
    assert told.kind == "signal"
    assert told.values.shape == (MODELS, max(views, 1), STUDY.records, 1)
    np.testing.assert_array_equal(told.labels, labels)
    part = labels.min(axis=1) == 0  # where all labels are true, one softmax tells nothing
    expected = theirs(STUDY.logits[:, part], labels[part])
    np.testing.assert_allclose(told.values[:, 0, part, 0], expected, atol=1e-4)
    assert not told.values[:, :, ~part].any()
    assert any("have every label" in note for note in told.notes)
    if views:
        return
    result = import_scores(told, tmp_path / "run")
    assert set(result.summary["disparities"]["sex"]["groups"]) == {"f", "m"}
    # Undeclared, each label is a sigmoid, and the note names the other reading.
    plain = read_scores(path, table=STUDY.table, patient="id")
    assert plain.kind == "multilabel"
    assert any("--layout leakoscope" in note for note in plain.notes)


def test_multi_hot_labels_of_an_npz(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 2, (STUDY.records, 3))
    labels[:, 0] |= labels.sum(axis=1) == 0
    labels[:, 1] &= labels.sum(axis=1) < 3
    arrays: dict[str, Any] = {
        "logits": softmax(STUDY.logits, axis=2),
        "membership": STUDY.inside,
        "patient": STUDY.patient,
        "labels": labels,
    }
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(AuscultError, match="--labels-are multi-hot"):
        read_npz(tmp_path / "s.npz")
    scores = read_npz(tmp_path / "s.npz", Declared(labels="multi-hot"))
    np.testing.assert_allclose(scores.values[:, 0, :, 0], theirs(STUDY.logits, labels), atol=1e-4)


def privacy_meter(path: Path, signals: NDArray[Any], name: str = "rmia_signals.npy") -> Path:
    (path / "models").mkdir(parents=True)
    (path / "signals").mkdir()
    np.save(path / "models" / "memberships.npy", STUDY.inside[:, STUDY.owner])
    np.save(path / "signals" / name, signals)
    np.save(path / "signals" / name.replace(".npy", "_pop.npy"), signals[:5])
    return path


def test_privacy_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = expit(STUDY.signals).T.astype(np.float32)
    path = privacy_meter(tmp_path / "demo", chance)
    STUDY.table.to_csv(tmp_path / "rows.csv", index=False)
    assert recognise(path) == "privacy-meter"
    assert recognise(path / "signals" / "rmia_signals.npy") == "privacy-meter"
    scores = read_scores(path, table=STUDY.table, patient="id", label="grade", groups=["sex"])
    np.testing.assert_allclose(scores.values[:, 0, :, 0], logit(chance.T), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(scores.labels, STUDY.labels)
    np.testing.assert_array_equal(scores.membership.reveal(), STUDY.inside)
    assert any("1 other files" in note for note in scores.notes)
    options = ("--table", tmp_path / "rows.csv", "--patient", "id", "--group", "sex")
    code, _, error = command(monkeypatch, "import", path, *options, "--out", tmp_path / "run")
    assert code == 0, error
    alone = read_scores(path)
    assert len(alone.patient_ids) == STUDY.records
    assert any("counts as a separate patient" in note for note in alone.notes)


@pytest.mark.parametrize(
    ("signals", "name", "said", "right"),
    [
        (np.log1p(np.exp(-STUDY.signals)) + 1e-3, "loss_signals.npy", None, "exact"),
        (0.9 * expit(-STUDY.signals), "loss_signals.npy", None, "--signals-are"),
        (STUDY.signals, "rmia_signals.npy", None, "outside 0 to 1"),
        (STUDY.signals, "other_signals.npy", None, "read"),
        (expit(STUDY.signals)[:, :-1], "rmia_signals.npy", None, "did not save which one"),
        (expit(STUDY.signals)[:-1], "rmia_signals.npy", None, "signals have shape"),
    ],
)
def test_signals_of_privacy_meter_mean_what_the_file_says(
    tmp_path: Path, signals: NDArray[Any], name: str, said: str | None, right: str
) -> None:
    path = privacy_meter(tmp_path / "demo", signals.T, name)
    if right in ("exact", "read"):
        found = read_scores(path).values[:, 0, :, 0]
        loss = -signals.astype(np.float64)
        wanted = signals if right == "read" else loss - np.log(-np.expm1(loss))
        np.testing.assert_allclose(found, wanted, atol=1e-3)
        return
    with pytest.raises(AuscultError, match=right):
        read_scores(path)


def long(**columns: NDArray[Any]) -> pd.DataFrame:
    model = np.repeat(np.arange(MODELS), STUDY.records)
    record = np.tile(np.arange(STUDY.records), MODELS)
    owner = STUDY.owner[record]
    frame = pd.DataFrame(
        {
            "model": [f"fit {one}" for one in model],
            "record": record,
            "patient": STUDY.patient[record],
            "member": np.where(STUDY.inside[model, owner], "TRUE", "FALSE"),
            "label": STUDY.table["grade"].to_numpy()[record],
            "sex": np.where(owner % 2, "f", "m"),
            **columns,
        }
    )
    return frame.sample(frac=1, random_state=0)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_as_r_writes_them(tmp_path: Path, suffix: str) -> None:
    chance = softmax(STUDY.logits, axis=2).reshape(-1, 3)
    # R orders classes by its factor's levels: here the top one first.
    frame = long(
        **{f"probability.{n}": chance[:, c] for c, n in ((2, "top"), (0, "low"), (1, "mid"))}
    )
    path = tmp_path / f"scores.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    scores = read_scores(path)
    assert scores.kind == "softmax"
    assert list(scores.groups.columns) == ["sex"]
    # Records and models stand in the order in which the shuffled table names them first.
    place = np.asarray(pd.unique(frame["record"]), dtype=np.int64)
    models = np.array([int(name.removeprefix("fit ")) for name in pd.unique(frame["model"])])
    expected = softmax(STUDY.logits, axis=2)[np.ix_(models, place, np.array([2, 0, 1]))]
    np.testing.assert_allclose(softmax(scores.values[:, 0], axis=2), expected, atol=1e-5)
    np.testing.assert_array_equal(
        np.array(["top", "low", "mid"])[scores.labels], STUDY.table["grade"].to_numpy()[place]
    )
    inside = scores.membership.reveal()[:, scores.patient_of_record]
    np.testing.assert_array_equal(inside, STUDY.inside[:, STUDY.owner][np.ix_(models, place)])


def test_tables_of_one_value(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    long(signal=STUDY.signals.ravel()).to_csv(path, index=False)
    assert read_scores(path).kind == "signal"
    loss = np.log1p(np.exp(-STUDY.signals.ravel()))
    long(loss=loss).to_csv(path, index=False)
    np.testing.assert_allclose(read_scores(path).values.min(), -loss.max(), rtol=1e-5)
    yes = np.where(STUDY.labels == 1, STUDY.signals, -STUDY.signals)
    frame = long(**{"logit.yes": yes.ravel()})
    frame["label"] = np.where(frame["label"] == "mid", "yes", "no")
    frame.to_csv(path, index=False)
    scores = read_scores(path)
    assert scores.kind == "sigmoid"
    assert scores.labels is not None
    assert scores.labels.sum() == (STUDY.labels == 1).sum()
    frame.rename(columns={"logit.yes": "logit"}).to_csv(path, index=False)
    with pytest.raises(AuscultError, match=r"logit\.CLASS"):
        read_scores(path)


def spoiled(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "twice":
        return pd.concat([frame, frame.head(2)])
    if how == "absent":
        return frame.iloc[3:]
    if how == "patient":
        return frame.assign(patient=np.where(np.arange(len(frame)) == 5, "Zxq1", frame["patient"]))
    if how == "member":
        return frame.assign(member="maybe")
    if how == "no record":
        return frame.drop(columns="record")
    if how == "words":
        return frame.assign(signal=np.where(np.arange(len(frame)) == 5, "high", frame["signal"]))
    if how == "both":
        return frame.assign(loss=1.0)
    if how == "none":
        return frame.drop(columns="signal")
    return frame.rename(columns={"model": "fit"})


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("twice", "2 pairs of model and record occur more than once"),
        ("absent", "3 of .* pairs of model and record are missing"),
        ("patient", "more than one patient"),
        ("member", "neither yes nor no"),
        ("no record", "number them in a column record"),
        ("words", "not numbers"),
        ("both", "signal and loss"),
        ("none", "no column of signals"),
        ("model", "no column model"),
    ],
)
def test_tables_that_do_not_hold_together(tmp_path: Path, how: str, told: str) -> None:
    spoiled(long(signal=STUDY.signals.ravel()), how).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(AuscultError, match=told) as raised:
        read_scores(tmp_path / "s.csv")
    assert "Zxq" not in str(raised.value)


def exporter(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"exporter_{name}", EXPORTERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_leakpro_through_its_exporter(tmp_path: Path) -> None:
    cache, objects = tmp_path / "out" / "attack_cache", tmp_path / "out" / "attack_objects"
    cache.mkdir(parents=True)
    (objects / "shadow_model").mkdir(parents=True)
    asked = np.random.default_rng(0).permutation(STUDY.records) + 7  # of a larger population
    for model in range(MODELS):
        inside = np.flatnonzero(STUDY.inside[model, STUDY.owner]) + 7
        about = SimpleNamespace(population_hash="ab12", train_indices=inside.tolist())
        (objects / "shadow_model" / f"metadata_{model}.pkl").write_bytes(pickle.dumps(about))
        np.save(cache / f"sm_{model}_ab12_indices.npy", asked)
        np.save(cache / f"sm_{model}_ab12_logits.npy", STUDY.logits[model, asked - 7])
    np.save(tmp_path / "labels.npy", np.append(np.zeros(7, int), STUDY.labels))
    np.save(tmp_path / "patients.npy", np.append(["nobody"] * 7, STUDY.patient))
    with pytest.raises(AuscultError, match=r"exporters/leakpro\.py"):
        read_scores(tmp_path / "out")
    out = tmp_path / "scores.npz"
    exporter("leakpro").main(
        str(tmp_path / "out"),
        str(tmp_path / "labels.npy"),
        str(out),
        str(tmp_path / "patients.npy"),
    )
    scores = read_scores(out)
    np.testing.assert_allclose(scores.values[:, 0], STUDY.logits, atol=1e-6)
    np.testing.assert_array_equal(scores.membership.reveal(), STUDY.inside)
    np.testing.assert_array_equal(scores.labels, STUDY.labels)


class Shadow:
    """As SACRO-ML wraps a classifier: one that never saw class 2 has no column for it."""

    def __init__(self, answers: NDArray[Any]) -> None:
        self.answers = answers

    def get_classes(self) -> NDArray[Any]:
        return np.arange(self.answers.shape[1])

    def predict_proba(self, records: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self.answers[records[:, 0].astype(int)])


def test_sacro_ml_through_its_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = softmax(STUDY.logits, axis=2)
    few = softmax(STUDY.logits[0, :, :2], axis=1)
    inside = [np.flatnonzero(STUDY.inside[model, STUDY.owner]) for model in range(MODELS)]
    for model in range(MODELS):
        (tmp_path / "shadow" / str(model)).mkdir(parents=True)
        (tmp_path / "shadow" / str(model) / "indices_train.pkl").write_bytes(b"never opened")
    shadows = [Shadow(few if model == 0 else chance[model]) for model in range(MODELS)]
    whole = np.arange(STUDY.records)[:, None].astype(float)

    class Target:
        X_train, X_test = whole[:20], whole[20:]
        y_train, y_test = STUDY.labels[:20], STUDY.labels[20:]
        model = SimpleNamespace(get_classes=lambda: np.arange(3))

        def load(self, path: str) -> None:
            assert path == "target"

    stubs: dict[str, dict[str, Any]] = {
        "sacroml": {},
        "sacroml.attacks": {},
        "sacroml.attacks.target": {"Target": Target},
        "sacroml.attacks.utils": {
            "check_and_update_dataset": lambda target: target,
            "get_shadow_model": lambda _, number: (shadows[number], inside[number], None),
        },
    }
    for name, content in stubs.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(AuscultError, match=r"exporters/sacro_ml\.py"):
        read_scores(tmp_path / "shadow")
    np.save(tmp_path / "patients.npy", STUDY.patient)
    out = str(tmp_path / "scores.npz")
    exporter("sacro_ml").main(
        "target", str(tmp_path / "shadow"), out, str(tmp_path / "patients.npy")
    )
    scores = read_scores(Path(out))
    np.testing.assert_allclose(softmax(scores.values[1:, 0], axis=2), chance[1:], atol=1e-5)
    np.testing.assert_array_equal(scores.membership.reveal(), STUDY.inside)
    with np.load(out) as content:
        np.testing.assert_allclose(content["probabilities"][0], np.c_[few, np.zeros(len(few))])


def test_what_no_layout_is(tmp_path: Path) -> None:
    (tmp_path / "scores.rds").write_bytes(b"\x1f\x8b")
    with pytest.raises(AuscultError, match=r"write\.csv"):
        read_scores(tmp_path / "scores.rds")
    (tmp_path / "report.json").write_text(json.dumps({}))
    with pytest.raises(AuscultError, match="SACRO-ML"):
        read_scores(tmp_path / "report.json")
    for name in ("absent.npz", "scores.xyz"):
        (tmp_path / "scores.xyz").write_text("")
        with pytest.raises(AuscultError, match=r"no such file|layout of the scores is not"):
            read_scores(tmp_path / name)
    with pytest.raises(AuscultError, match="layout of the scores is not"):
        read_scores(tmp_path)
    with pytest.raises(AuscultError, match="is not a layout"):
        read_scores(tmp_path, layout="mine")
    np.savez(tmp_path / "s.npz", a=1)
    with pytest.raises(AuscultError, match="--table and --patient require"):
        read_scores(tmp_path / "s.npz", table=STUDY.table, patient="id")
    with pytest.raises(AuscultError, match="--label requires"):
        read_scores(tmp_path / "s.npz", label="grade")
    with pytest.raises(AuscultError, match="--table metadata"):
        read_scores(privacy_meter(tmp_path / "pm", expit(STUDY.signals).T), label="grade")
