"""The HTTP door in trouble: a clear word, a state that resumes, and no packet anywhere else."""

from __future__ import annotations

import json
import shutil
import ssl
import stat
import subprocess
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult import AuscultError, Cohort
from auscult.cohort import TrainingData
from auscult.release import EndpointDoor
from auscult.release.payload import answers_of, records_of, request_body
from tests.cohorts import HOSTILE_COLUMN, visits
from tests.released import Server, ok, serving

IDENTIFIER = "Zxq"
RESUMES = "run the same command again to continue"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """A hundred records with numbers, categories and gaps."""
    table = visits(60).head(100)
    cohort = Cohort.from_table(table, patient="person", label="outcome")
    found: TrainingData = cohort.training_data()
    return found


def half(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    return ok({"answers": [0.5] * len(body["records"])})


def door(server: Server, **settings: Any) -> EndpointDoor:  # noqa: ANN401
    given = {"batch": 30, "requests_per_second": 1000, "retries": 2, "pause_seconds": 0.01}
    return EndpointDoor(url=server.url, **(given | settings))


def kept(cache: Path) -> list[Path]:
    return sorted(cache.rglob("batch-*.json"))


def test_records_travel_as_they_are(data: TrainingData) -> None:
    with serving(half) as server:
        door(server, body={"model": "a"}, records="input.rows").check(data)
        assert not server.bodies  # a check sends nothing
        with pytest.raises(AuscultError):  # `half` looks under another name
            door(server, body={"model": "a"}, records="input.rows", retries=0).answers(data)
        body = server.bodies[0]
    assert body["model"] == "a"
    record = body["input"]["rows"][0]
    frame = data.inputs.frame()  # type: ignore[union-attr]
    assert set(record) == set(frame.columns)
    assert isinstance(record[HOSTILE_COLUMN], str)
    gap = int(np.flatnonzero(frame["c"].isna())[0])
    assert records_of(data, np.array([gap]), None)[0]["c"] is None
    assert IDENTIFIER not in json.dumps(server.bodies)
    assert request_body({}, "", [1, 2]) == [1, 2]


def test_answers_are_found_where_they_stand() -> None:
    classes = ("no", "yes")
    for reply, place, within in (
        ([0.1, 0.2], "", ""),
        ({"a": {"b": [0.1, 0.2]}}, "a.b", ""),
        ([{"p": [{"v": 0.1}]}, {"p": [{"v": 0.2}]}], "", "p.0.v"),
    ):
        np.testing.assert_allclose(answers_of(reply, place, within, classes, 2), [0.1, 0.2])
    named = answers_of([{"yes": 0.9, "no": 0.1}], "", "", classes, 1)
    np.testing.assert_allclose(named, [[0.1, 0.9]])


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"<html>", "not JSON"),
        (b'{"other": []}', 'nothing at "answers"'),
        (b'{"answers": 5}', "no list of answers"),
        (b'{"answers": [0.5]}', "1 answers for 30 records"),
        (json.dumps({"answers": [float("nan")] * 30}).encode(), "30 of 30 answers hold NaN"),
        (json.dumps({"answers": ["x"] * 30}).encode(), "neither a number"),
        (json.dumps({"answers": [True] * 30}).encode(), "neither a number"),
        (json.dumps({"answers": [{"sick": 1.0}] * 30}).encode(), "not the classes"),
        (json.dumps({"answers": [[0.5]] * 29 + [[0.5, 0.5]]}).encode(), "differ in length"),
    ],
)
def test_replies_that_cannot_be_read_leave_a_state_that_resumes(
    reply: bytes, words: str, data: TrainingData, tmp_path: Path
) -> None:
    def second(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
        return half(number, body) if number == 0 else (200, reply, {})

    with serving(second) as server:
        with pytest.raises(AuscultError) as caught:
            door(server).answers(data, tmp_path)
        assert words in str(caught.value)
        assert "batch 2 of 4" in str(caught.value)
        assert RESUMES in str(caught.value)
        assert len(server.bodies) == 2  # what cannot be read is not asked for again and again
        assert len(kept(tmp_path)) == 1


def test_a_run_goes_on_where_it_stopped(data: TrainingData, tmp_path: Path) -> None:
    down = True

    def answer(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
        if down and len(kept(tmp_path)) == 2:
            return 503, b"secret of Zxq0001wv", {}
        return half(number, body)

    with serving(answer) as server:
        with pytest.raises(AuscultError) as caught:
            door(server).answers(data, tmp_path)
        assert "status 503 at batch 3 of 4, 3 times" in str(caught.value)
        assert RESUMES in str(caught.value)
        assert IDENTIFIER not in str(caught.value)
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept(tmp_path))
        assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in kept(tmp_path))
        asked = len(server.bodies)
        down = False
        answers = door(server).answers(data, tmp_path)
        assert len(server.bodies) == asked + 2  # batches 3 and 4 only
        assert answers.shape == (100,)
        # A batch that was cut off on the disk is asked for again; nothing else is.
        kept(tmp_path)[0].write_text("[0.5, 0.", encoding="utf-8")
        door(server).answers(data, tmp_path)
        assert len(server.bodies) == asked + 3
        # Another version of the model is another model.
        door(server, version="2").answers(data, tmp_path)
        assert len(server.bodies) == asked + 7


def test_another_question_gets_no_old_answer(data: TrainingData, tmp_path: Path) -> None:
    helper = ModuleType("helper")
    helper.__dict__["scale"] = 1.0

    def prepare(inputs: pd.DataFrame) -> list[float]:
        return [helper.scale * float(x) for x in inputs["a"]]

    with serving(half) as server:
        door(server, prepare=prepare).answers(data, tmp_path)
        door(server, prepare=prepare).answers(data, tmp_path)
        assert len(server.bodies) == 4
        helper.__dict__["scale"] = 2.0  # nothing of the function's own text has changed
        door(server, prepare=prepare).answers(data, tmp_path)
        assert len(server.bodies) == 8
        # What makes the same question is the same, whatever its code.
        door(server, prepare=lambda inputs: [2.0 * float(x) for x in inputs["a"]]).answers(
            data, tmp_path
        )
        assert len(server.bodies) == 8


def test_too_many_requests_are_waited_for(data: TrainingData) -> None:
    def answer(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
        return (429, b"", {"Retry-After": "1"}) if number == 0 else half(number, body)

    with serving(answer) as server:
        started = time.monotonic()
        door(server, batch=100).answers(data)
        assert 1.0 <= time.monotonic() - started < 10
        assert len(server.bodies) == 2


def test_the_rate_is_kept(data: TrainingData) -> None:
    with serving(half) as server:
        door(server, batch=20, requests_per_second=20).answers(data)
        gaps = np.diff(server.times)
    assert len(gaps) == 4
    assert gaps.min() > 0.03


def test_no_answer_in_time(data: TrainingData, tmp_path: Path) -> None:
    def answer(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
        time.sleep(0.4)
        return half(number, body)

    with serving(answer) as server, pytest.raises(AuscultError, match="no answer in time") as it:
        door(server, timeout_seconds=0.1, retries=1).answers(data, tmp_path)
    assert RESUMES in str(it.value)


def test_nobody_listens(data: TrainingData) -> None:
    with serving(half) as server:
        closed = door(server, retries=1)
    with pytest.raises(AuscultError, match="the connection failed") as caught:
        closed.answers(data)
    assert RESUMES in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int, data: TrainingData) -> None:
    with serving(half) as elsewhere:
        target = {"Location": elsewhere.url}
        with serving(lambda *_: (status, b"", target)) as server:
            with pytest.raises(AuscultError, match="redirects elsewhere"):
                door(server).answers(data)
            assert len(server.bodies) == 1
        assert not elsewhere.bodies


def test_no_proxy_and_no_credential_of_the_environment(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hidden")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(half) as proxy, serving(half) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        door(server).answers(data)
        assert len(server.bodies) == 4
        assert not proxy.bodies
        assert "Authorization" not in server.headers[0]
        monkeypatch.setenv("MODEL_TOKEN", "Bearer 42")
        door(server, headers_from={"Authorization": "MODEL_TOKEN"}).answers(data)
        assert server.headers[-1]["Authorization"] == "Bearer 42"


@pytest.mark.parametrize(("status", "words"), [(401, "headers_from"), (404, "status 404")])
def test_refusals_are_not_repeated(status: int, words: str, data: TrainingData) -> None:
    with serving(lambda *_: (status, b"", {})) as server:
        with pytest.raises(AuscultError, match=words):
            door(server).answers(data)
        assert len(server.bodies) == 1


def test_a_certificate_that_does_not_hold(data: TrainingData, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words, *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(half) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:")
        with pytest.raises(AuscultError, match="certificate is not valid") as caught:
            EndpointDoor(url=url, retries=2, pause_seconds=0.01).answers(data)
        assert RESUMES in str(caught.value)
        assert not server.bodies
        trusted = EndpointDoor(url=url, certificates=certificate, requests_per_second=1000)
        assert trusted.answers(data).shape == (100,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "ftp://host/x"}, "not an address"),
        ({"url": "predict"}, "not an address"),
        ({"url": "https://me:word@host/x"}, "contains a credential"),
        ({"url": "http://model.example/x"}, "unencrypted"),
        ({"url": "https://host/x", "headers_from": {"A": "NO_SUCH_NAME"}}, "NO_SUCH_NAME"),
        ({"url": "https://host/x", "records": "", "body": {"a": 1}}, "body would be ignored"),
        ({"url": "https://host/x", "certificates": Path("absent.pem")}, "certificates cannot"),
        ({"url": "http://localhost/x", "certificates": Path("absent.pem")}, "without https"),
        ({"url": "https://host/x", "batch": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str, data: TrainingData) -> None:
    with pytest.raises(AuscultError, match=words) as caught:
        EndpointDoor(**settings).check(data)
    assert "word@" not in str(caught.value)


def test_plain_http_on_a_trusted_network_is_said(data: TrainingData) -> None:
    there = EndpointDoor(url="http://model.example/x", allow_plain_http=True)
    there.check(data)
    assert "100 records will be sent to model.example in 2 requests" in there.plan(data)


def test_prepared_requests(data: TrainingData) -> None:
    def prepare(inputs: Any) -> list[list[float]]:  # noqa: ANN401
        return [[float(a)] for a in inputs["a"]]

    with serving(half) as server:
        found: NDArray[np.float64] = door(server, prepare=prepare).answers(data)
        assert found.shape == (100,)
        assert len(server.bodies[0]["records"][0]) == 1
        with pytest.raises(AuscultError, match="cannot be written as JSON"):
            door(server, prepare=lambda x: [float("nan")] * len(x)).answers(data)
        with pytest.raises(AuscultError, match="prepare returned 1 items"):
            door(server, prepare=lambda _: [1]).answers(data)
