"""Whatever a file or a reply holds, the answer is an AuscultError; nothing hangs."""

from __future__ import annotations

import gzip
import os
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auscult.base.errors import AuscultError, CohortError, ConfigError
from auscult.base.opening import depth, npz_arrays, refuse_special
from auscult.cohort import Cohort
from auscult.config.loading import load
from auscult.release import EndpointDoor, FileDoor
from auscult.release.graph import OnnxDoor
from auscult.store import RunStore
from benchmarks import fuzz
from tests.released import ok, serving
from tests.test_tables import N, visits

BOUNDED = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", sorted(fuzz.DOORS))
def test_spoiled_files(name: str, tmp_path: Path) -> None:
    suffix, maker, door = fuzz.DOORS[name]
    make, path = maker(), tmp_path / f"file.{suffix}"

    @BOUNDED
    @given(st.randoms(use_true_random=False))
    def spoil(rng: random.Random) -> None:
        path.write_bytes(make(rng))
        assert fuzz.trouble(door, path) is None

    spoil()


def test_spoiled_runs(tmp_path: Path) -> None:
    run = fuzz.RunDoor(tmp_path)

    @settings(BOUNDED, max_examples=8)
    @given(st.randoms(use_true_random=False))
    def spoil(rng: random.Random) -> None:
        try:
            assert fuzz.trouble(run.read, run.spoil(rng)) is None
        finally:
            run.mend()

    spoil()


@pytest.mark.parametrize(
    "text",
    ["a." * 200_000 + "a = 1", "[" + "a." * 200_000 + "a]", '"a".' * 200_000 + "a = 1",
     "a = " + "[" * 100_000, "a = " + "{a=" * 5_000, "a = " + "[" * 150 + "]" * 150],
    ids=["dotted", "table", "quoted", "arrays", "mappings", "deep"],
)  # fmt: skip
def test_keys_and_nesting_without_an_end(text: str, tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"too many parts|too deeply|not TOML"):
        load(tmp_path / "audit.toml")


def test_columns_with_dots_are_no_long_keys(tmp_path: Path) -> None:
    names = ", ".join(f'"gene.{one}"' for one in range(5_000))
    numbers = ", ".join(f"{one}.5" for one in range(500))
    (tmp_path / "audit.toml").write_text(f"[cohort]\nexclude = [{names}]\nother = [{numbers}]\n")
    with pytest.raises(ConfigError, match=r"cohort\.|is missing") as raised:
        load(tmp_path / "audit.toml")
    assert "too many parts" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.npz", "a.npy", "a.toml"])
def test_pipes_are_not_waited_for(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    doors: dict[str, Any] = {
        ".csv": lambda: Cohort.from_table(path, patient="a", label="b"),
        ".parquet": lambda: Cohort.from_table(path, patient="a", label="b"),
        ".npz": lambda: fuzz.read_scores_of(path),
        ".npy": lambda: FileDoor(path=path)._read(),
        ".toml": lambda: load(path),
    }
    with pytest.raises(AuscultError, match="not a regular file"):
        doors[path.suffix]()
    with pytest.raises(AuscultError, match="not a regular file"):
        refuse_special(Path("/dev/zero"), "device", CohortError)


def test_a_manifest_that_is_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "manifest.json")
    with pytest.raises(AuscultError):
        RunStore.open(tmp_path / "run")


def test_archives_that_unpack_to_more_than_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, signals=np.zeros((1000, 1000)), other=np.zeros(3))
    assert path.stat().st_size < 50_000
    monkeypatch.setattr("auscult.base.opening.available_memory", lambda: 1 << 20)
    with pytest.raises(AuscultError, match="would unpack to"):
        npz_arrays(path, "bomb", CohortError)
    with pytest.raises(AuscultError, match="would unpack to"):
        FileDoor(path=path, array="signals")._read()
    assert npz_arrays(path, "bomb", CohortError, names=["other"])["other"].size == 3


def test_depth_of_what_is_deep() -> None:
    value: Any = []
    for _ in range(5_000):
        value = [value, {"a": 1}]
    assert depth(value) == 5_001
    assert depth(3) == 0


def released(reply: bytes, headers: dict[str, str], **how: Any) -> None:  # noqa: ANN401
    given = {"batch": 30, "requests_per_second": 1000, "retries": 0, "pause_seconds": 0.01} | how
    rows = Cohort.from_table(visits(), patient="id", label="died").training_data()

    def answer(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
        return 200, reply, headers

    with serving(answer) as server:
        EndpointDoor(url=server.url, **given).answers(rows)


BOMB = gzip.compress(b" " * (1 << 22))


@pytest.mark.parametrize(
    ("reply", "headers", "told"),
    [
        (BOMB, {"Content-Encoding": "gzip"}, "does not end"),
        (gzip.compress(BOMB), {"Content-Encoding": "gzip, gzip"}, "was not requested"),
        (zlib.compress(BOMB), {"Content-Encoding": "deflate"}, "was not requested"),
        (b"no gzip", {"Content-Encoding": "gzip"}, "damaged"),
        (b"[" * 100_000, {}, "nested too deeply"),
        (b"[" * 150 + b"]" * 150, {}, "nested too deeply"),
        (b'{"answers": [' + b"1" + b"0" * 400 + b"]}", {}, "answers"),
    ],
    ids=["gzip", "twice", "deflate", "no gzip", "deep", "nested", "number"],
)
def test_replies_that_are_bombs(
    reply: bytes, headers: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auscult.release.connection.MOST_REPLY_BYTES", 1 << 20)
    with pytest.raises(AuscultError, match=told):
        released(reply, headers)


def test_a_packed_reply_is_read() -> None:
    rows = Cohort.from_table(visits(), patient="id", label="died").training_data()

    def packed(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
        status, content, headers = ok({"answers": [0.5] * len(body["records"])})
        return status, gzip.compress(content), {**headers, "Content-Encoding": "gzip"}

    with serving(packed) as server:
        found = EndpointDoor(url=server.url, requests_per_second=1000).answers(rows)
    assert (found == 0.5).all()
    assert found.size == N


def test_a_graph_that_loops_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    of = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "sum"], ["next"]),
        ],
        "body",
        [
            of("i", TensorProto.INT64, []),
            of("go", TensorProto.BOOL, []),
            of("sum", TensorProto.FLOAT, ["n", 1]),
        ],
        [of("go_on", TensorProto.BOOL, []), of("next", TensorProto.FLOAT, ["n", 1])],
    )
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "age"], ["y"], body=body)],
        "g",
        [of("age", TensorProto.FLOAT, ["n", 1])],
        [of("y", TensorProto.FLOAT, ["n", 1])],
        [true],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, tmp_path / "loop.onnx")
    monkeypatch.setattr("auscult.release.graph.MOST_SECONDS", 0.5)
    rows = Cohort.from_table(visits(), patient="id", label="died").training_data()
    with pytest.raises(AuscultError, match="endless loop"):
        OnnxDoor(path=tmp_path / "loop.onnx", inputs={"age": "age"}).check(rows)
