"""Servers that speak the protocols, on loopback: each checks what it gets, in its own way."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult import AuscultError, Cohort, ConfigError
from auscult.cohort import TrainingData
from auscult.config.release import ReleasePart
from auscult.release import EndpointDoor
from auscult.release.protocols import field_of, kserve_answers, kserve_inputs
from tests.released import Answer, ok, serving

N = 40
rng = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "id": [f"Zxq{i // 2}" for i in range(N)],
        "age": rng.integers(20, 90, N),
        "bmi": rng.normal(25, 4, N).round(2),
        "sex": np.where(rng.random(N) < 0.5, "f", "m"),
        "died": np.where(rng.random(N) < 0.5, "no", "yes"),
    }
)
# What every server below computes of a record.
TRUTH = 1 / (1 + np.exp(-(TABLE["age"] - 50) / 20 - (TABLE["sex"] == "f")))


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return Cohort.from_table(TABLE, patient="id", label="died").training_data()


def risk(age: Any, sex: Any) -> Any:  # noqa: ANN401
    return 1 / (1 + math.exp(-(float(age) - 50) / 20 - (sex == "f")))


def refused(code: int, value: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    return code, json.dumps(value).encode(), {}


SIZES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": object}


def kserve(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    """As Triton: every tensor has a name, a shape, a datatype and as many values."""
    tensors = {}
    for one in body["inputs"]:
        if set(one) != {"name", "shape", "datatype", "data"} or one["datatype"] not in SIZES:
            return refused(400, {"error": "unexpected input"})
        tensors[one["name"]] = np.array(one["data"], SIZES[one["datatype"]]).reshape(one["shape"])
    if set(tensors) == {"age", "bmi", "sex"}:
        age, sex = tensors["age"][:, 0], tensors["sex"][:, 0]
    else:
        age, sex = tensors["x"][:, 1], tensors["s"][:, 0]
    chance = [risk(a, s) for a, s in zip(age, sex, strict=True)]
    both = [value for one in chance for value in (1 - one, one)]
    return ok(
        {
            "model_name": "m",
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [len(age)], "data": [0] * len(age)},
                {"name": "p", "datatype": "FP32", "shape": [len(age), 2], "data": both},
            ],
        }
    )


def mlflow(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    """As `mlflow models serve`: exactly one of four keys."""
    if set(body) - {"params"} != {"dataframe_split"}:
        return refused(400, {"error_code": "BAD_REQUEST", "message": "The age 47 of Zxq3 is odd"})
    frame = pd.DataFrame(**body["dataframe_split"])
    return ok(
        {"predictions": [risk(a, s) for a, s in zip(frame["age"], frame["sex"], strict=True)]}
    )


def tensorflow(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    if set(body) - {"signature_name"} != {"instances"}:
        return refused(400, {"error": "Failed to process element: 0"})
    return ok({"predictions": [[risk(one["age"], one["sex"])] for one in body["instances"]]})


def single(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    """One JSON object per request."""
    return ok({"result": {"probability": risk(body["age"], body["sex"])}})


def fastapi(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    """An app whose model of a record wants a body mass index below 60."""
    faults = [
        {
            "type": "less_than",
            "loc": ["body", "records", i, "bmi"],
            "msg": "Input should be less than 60",
            "input": one["bmi"],
        }
        for i, one in enumerate(body["records"])
        if one["bmi"] is None or one["bmi"] > 60
    ]
    if faults:
        return refused(422, {"detail": faults})
    return ok({"answers": [{"score": risk(one["age"], one["sex"])} for one in body["records"]]})


def door(url: str, **how: Any) -> EndpointDoor:  # noqa: ANN401
    given = {"requests_per_second": 10000, "retries": 0, "batch": 13} | how
    return EndpointDoor(url=url, **given)


@pytest.mark.parametrize(
    ("server", "how", "columns"),
    [
        (kserve, {"protocol": "kserve-v2"}, 2),
        (kserve, {"protocol": "kserve-v2", "answer": "p",
                  "inputs": {"x": ["bmi", "age"], "s": "sex"}, "datatypes": {"x": "FP64"}}, 2),
        (mlflow, {"protocol": "mlflow", "body": {"params": {"a": 1}}}, 1),
        (tensorflow, {"protocol": "tf-serving", "body": {"signature_name": "serve"}}, 1),
        (single, {"protocol": "record", "answer": "result.probability"}, 1),
        (single, {"protocol": "record", "answers_at": "result", "answer": "probability"}, 1),
        (fastapi, {"answer": "score"}, 1),
    ],
)  # fmt: skip
def test_each_protocol_gives_the_model_s_own_numbers(
    server: Answer, how: dict[str, Any], columns: int, data: TrainingData
) -> None:
    with serving(server) as listening:
        asked = door(listening.url, **how)
        assert "synthetic record" in asked.try_out(data)
        assert len(listening.bodies) == 1
        assert "Zxq" not in json.dumps(listening.bodies)
        found = asked.answers(data)
        requests = len(listening.bodies) - 1
    expected = np.asarray(TRUTH, dtype=float)
    np.testing.assert_allclose(found if columns == 1 else found[:, 1], expected, rtol=1e-5)
    assert requests == (N if how.get("protocol") == "record" else 4)
    assert f"{requests} requests" in asked.plan(data)


def test_a_refusal_s_field_is_told_without_its_value(data: TrainingData) -> None:
    heavy = TABLE.assign(bmi=np.where(np.arange(N) == 3, 61.25, TABLE["bmi"]))
    given = Cohort.from_table(heavy, patient="id", label="died").training_data()
    with serving(fastapi) as listening, pytest.raises(AuscultError) as raised:
        door(listening.url, answer="score").answers(given)
    said = str(raised.value)
    assert "status 422: body.records.N.bmi, less_than" in said
    assert "61.25" not in said
    assert "release.prepare" in said
    with serving(mlflow) as listening, pytest.raises(AuscultError) as raised:
        door(listening.url, protocol="tf-serving").answers(data)
    assert "status 400: BAD_REQUEST" in str(raised.value)
    assert "47" not in str(raised.value)
    # The next step, when it is followed, works.
    with serving(fastapi) as listening:
        door(
            listening.url,
            answer="score",
            prepare=lambda rows: rows.assign(bmi=rows["bmi"].clip(upper=59)).to_dict("records"),
        ).answers(given)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ""),
        (b"<html>", ""),
        (b"[1]", ""),
        (b'{"detail": "Zxq3 is unknown"}', ""),
        (b'{"detail": [{"loc": ["body", "Zxq3", 7, "bmi"], "type": "Zxq 3!"}]}', "body.?.N.bmi"),
        (b'{"detail": [{"loc": ["bmi"], "type": "missing"}, {}]}', "bmi, missing and 1 more"),
        (b'{"error_code": "Zxq3 61"}', ""),
        (b"[" * 100_000, ""),
    ],
)
def test_only_known_words_of_a_refusal_are_told(content: bytes, said: str) -> None:
    assert field_of(content, ["bmi"]) == said


def test_missing_numbers_where_there_is_no_word_for_them() -> None:
    gaps = TABLE.assign(bmi=TABLE["bmi"].where(np.arange(N) % 7 > 0))
    given = Cohort.from_table(gaps, patient="id", label="died").training_data()
    for server, protocol in ((kserve, "kserve-v2"), (tensorflow, "tf-serving")):
        with serving(server) as listening, pytest.raises(AuscultError, match="missing in bmi"):
            door(listening.url, protocol=protocol).answers(given)

    def filled(rows: pd.DataFrame) -> dict[str, NDArray[Any]]:
        return {name: rows[[name]].fillna(25).to_numpy() for name in ("age", "bmi", "sex")}

    with serving(kserve) as listening:
        found = door(listening.url, protocol="kserve-v2", prepare=filled).answers(given)
        assert found.shape == (N, 2)
    with serving(mlflow) as listening:
        assert door(listening.url, protocol="mlflow").answers(given).shape == (N,)


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        [],
        [1],
        [{"name": "p", "datatype": "FP32", "shape": [3, 2], "data": [0.5] * 5}],
        [{"name": "p", "datatype": "FP32", "shape": [2], "data": [0.5] * 2}],
        [{"name": "p", "datatype": "FP32", "shape": [-1, -3], "data": [0.5] * 3}],
        [{"name": "p", "datatype": "BYTES", "shape": [3], "data": ["a"] * 3}],
        [{"name": "p", "datatype": "FP32", "shape": "x", "data": {}}],
    ],
)
def test_outputs_that_are_no_tensor_of_the_records(outputs: Any) -> None:  # noqa: ANN401
    with pytest.raises(AuscultError, match="output"):
        kserve_answers({"outputs": outputs}, "", 3)


def test_tensors_that_cannot_be_made() -> None:
    for inputs, datatypes, told in (
        ({"x": ["age", "weight"]}, {}, 'no column "weight"'),
        ({"x": ["age", "sex"]}, {}, "mixes categories"),
        ({}, {"x": "FP32"}, 'no tensor "x"'),
    ):
        with pytest.raises(ConfigError, match=told):
            kserve_inputs(TABLE, inputs, datatypes)
    films = np.zeros((2, 4, 4), dtype=np.uint8)
    with pytest.raises(ConfigError, match=r"inputs = \{ x = \[\] \}"):
        kserve_inputs(films, {}, {})
    (made,) = kserve_inputs(films, {"x": []}, {})
    assert (made["datatype"], made["shape"], len(made["data"])) == ("UINT8", [2, 4, 4], 32)


def test_keys_that_a_protocol_would_ignore(data: TrainingData) -> None:
    for how in (
        {"protocol": "mlflow", "records": "rows"},
        {"protocol": "tf-serving", "inputs": {"x": "age"}},
        {"protocol": "kserve-v2", "answers_at": "a"},
        {"protocol": "soap"},
    ):
        with pytest.raises(ConfigError, match=r"would be ignored|is not a protocol"):
            door("http://127.0.0.1:9/", **how).check(data)
    with pytest.raises(ValueError, match="batch would be ignored"):
        ReleasePart.model_validate(
            {"door": "endpoint", "url": "http://127.0.0.1:9", "protocol": "record", "batch": 2}
        )
    part = {"door": "endpoint", "url": "http://127.0.0.1:9", "protocol": "kserve-v2"}
    made = ReleasePart.model_validate({**part, "inputs": {"x": ["age"]}})._door(Path("/x"), None)
    assert isinstance(made, EndpointDoor)
    assert made.inputs == {"x": ["age"]}
