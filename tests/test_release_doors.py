"""Releases as people have saved them: labels, zipmaps, fixed batches, missing weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.base.errors import AuscultError
from auscult.cohort import Cohort, TrainingData
from auscult.release import FileDoor, FunctionDoor, OnnxDoor
from auscult.release.doors import ReleaseError
from auscult.release.graph import _of_zipmap
from auscult.release.nobody import of_nobody
from auscult.release.shown import View, shown
from tests.test_tables import N, cohort, visits

onnx = pytest.importorskip("onnx")


def data(classes: int = 2) -> TrainingData:
    rng = np.random.default_rng(1)
    frame = visits(died=[f"c{n}" for n in rng.integers(0, classes, N)])
    return cohort(frame).training_data()


def films(size: int = 4) -> TrainingData:
    values = np.random.default_rng(2).random((N, 1, size, size)).astype(np.float32)
    table = visits()[["id", "died"]]
    found = Cohort.from_arrays(values, table, patient="id", label="died", channels="first")
    return found.training_data()


def graph(path: Path, batch: int | str, size: int = 4, *, outside: bool = False) -> Path:
    """A graph that adds up the pixels of each film, for so many films at once."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((size * size, 1), dtype=np.float32), "w")
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 1])],
        [weights],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if outside:
        onnx.save_model(
            model,
            path,
            save_as_external_data=True,
            location=f"{path.name}.data",
            size_threshold=0,
        )
    else:
        onnx.save_model(model, path)
    return path


@pytest.mark.parametrize("batch", ["n", 1, 7, 64])
def test_graphs_of_any_number_of_records(batch: int | str, tmp_path: Path) -> None:
    given = films()
    door = OnnxDoor(path=graph(tmp_path / "m.onnx", batch))
    door.check(given)
    sums = given.inputs.take(np.arange(N)).reshape(N, -1).sum(axis=1)  # type: ignore[union-attr]
    np.testing.assert_allclose(door.answers(given)[:, 0], sums, rtol=1e-5)


def test_weights_that_were_left_behind_are_named_and_their_return_helps(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", "n", outside=True)
    content = (tmp_path / "m.onnx.data").read_bytes()
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(ReleaseError, match=r"Copy m\.onnx\.data there too"):
        OnnxDoor(path=path).check(films())
    (tmp_path / "m.onnx.data").write_bytes(content)
    OnnxDoor(path=path).check(films())


def test_a_graph_for_films_of_another_size_is_found_by_check(tmp_path: Path) -> None:
    door = OnnxDoor(path=graph(tmp_path / "m.onnx", "n", size=8))
    with pytest.raises(ReleaseError, match=r"x \[1, 8, 8\].*x \[1, 4, 4\]"):
        door.check(films())


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x08\x07" * 40])
def test_what_is_no_graph(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(AuscultError) as caught:
        OnnxDoor(path=tmp_path / "m.onnx").check(films())
    assert "(Fail)" not in str(caught.value)
    assert "(InvalidProtobuf)" not in str(caught.value)


def test_zipmaps_are_read_in_the_order_of_the_cohort() -> None:
    rows = [{"10": 0.7, "2": 0.3}, {"10": 0.1, "2": 0.9}]
    np.testing.assert_allclose(_of_zipmap(rows, ("2", "10"), "m"), [[0.3, 0.7], [0.9, 0.1]])
    numbered = [{1: 0.7, 0: 0.3}]
    np.testing.assert_allclose(_of_zipmap(numbered, ("no", "yes"), "m"), [[0.3, 0.7]])
    with pytest.raises(ReleaseError, match="label_groups"):
        _of_zipmap([{"a": 0.5, "b": 0.5}], ("no", "yes"), "m")


Z = np.random.default_rng(6).normal(0, 3, (N, 3))


@pytest.mark.parametrize(
    "answers",
    [
        lambda d: d.labels,
        lambda d: d.labels.astype(float)[:, None],
        lambda d: np.array(d.classes)[d.labels],
        lambda d: np.eye(len(d.classes))[d.labels],
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_labels_are_seen_as_labels(answers: Any, classes: int) -> None:  # noqa: ANN401
    given = data(classes)
    door = FunctionDoor(function=lambda _: answers(given))
    values, view, _ = shown(door.answers(given), "probabilities", given)
    assert view.labels
    assert np.isfinite(values).all()
    said = (values[:, 0] > 0).astype(int) if classes == 2 else values.argmax(axis=1)
    np.testing.assert_array_equal(said, given.labels)


def test_shadow_models_are_seen_as_labels_too() -> None:
    seen = View(kind="softmax", labels=True).through(Z)
    assert len(np.unique(seen)) == 2
    np.testing.assert_array_equal(seen.argmax(axis=1), Z.argmax(axis=1))
    seen = View(kind="sigmoid", labels=True).through(Z[:, :1])
    np.testing.assert_array_equal(seen > 0, Z[:, :1] > 0)


def test_a_saved_model_is_not_opened_and_its_lines_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import joblib
    from sklearn.dummy import DummyClassifier

    given = data()
    model = DummyClassifier().fit(np.zeros((N, 1)), given.labels)
    joblib.dump(model, tmp_path / "mine.joblib")
    with pytest.raises(ReleaseError, match="Auscult never opens such files") as caught:
        FileDoor(path=tmp_path / "mine.joblib").check(given)
    lines = caught.value.next_step.split("beside the configuration: ")[1]
    (tmp_path / "release_of_mine.py").write_text(lines.replace("; ", "\n"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    door = FunctionDoor(function="release_of_mine:predict", folder=tmp_path)
    assert door.answers(given).shape == (N, 2)


def test_names_that_are_no_classes() -> None:
    given = data(2)
    door = FunctionDoor(function=lambda _: np.array(["yes"] * N))
    with pytest.raises(ReleaseError, match="does not name a class"):
        door.answers(given)


def test_roundings_below_zero_and_probabilities_called_logits() -> None:
    given = data(3)
    p = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    p[0] = [-3.6e-7, 0.4, 0.6]
    values, _, zeros = shown(p, "probabilities", given)
    assert zeros == 1
    assert np.isfinite(values).all()
    p[0] = [-0.2, 0.6, 0.6]
    with pytest.raises(ReleaseError, match="not probabilities"):
        shown(p, "probabilities", given)
    p[0] = [0.0, 0.4, 0.6]
    with pytest.raises(ReleaseError, match='output = "probabilities"'):
        shown(p, "logits", given)


def test_the_record_of_nobody_is_no_record() -> None:
    found = of_nobody(data().inputs)
    assert len(found) == 1
    assert len(of_nobody(films().inputs)) == 1
