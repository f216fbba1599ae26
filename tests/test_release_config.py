"""``[release]`` in audit.toml: a finished run is analysed anew, and nothing is ignored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.released import table
from tests.test_cli import run as command
from tests.test_gate import AUDIT

IDENTIFIER = "Zxq"

MODULE = """
import numpy as np

def predict(inputs):
    assert "trained" not in inputs and "person" not in inputs and "outcome" not in inputs
    return 1 / (1 + np.exp(-inputs["x0"].to_numpy()))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame = table(60)
    order = np.random.default_rng(0).permutation(60)
    frame["trained"] = np.where(order < 30, "yes", "no")[frame["person"].str[3:7].astype(int)]
    frame.to_csv(tmp_path / "visits.csv", index=False)
    (tmp_path / "released_for_tests.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


def configured(folder: Path, release: str, exclude: str = '["sex", "trained"]') -> Path:
    text = AUDIT.format(models=16).replace('exclude = ["sex"]', f"exclude = {exclude}")
    path = folder / "audit.toml"
    path.write_text(text.replace('"lbfgs", max_iter = 60', '"lbfgs", max_iter = 20') + release)
    return path


ENDPOINT = '\n[release]\ndoor = "endpoint"\nurl = "https://far.example/"\n'
FUNCTION = '\n[release]\ndoor = "function"\nfunction = "released_for_tests:predict"\n'


@pytest.mark.slow
def test_a_finished_run_is_only_analysed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "run"
    path = configured(folder, "")
    assert command(monkeypatch, "run", path, "--out", out, "--workers", "1")[0] == 0
    outputs = {p.name: p.stat().st_mtime_ns for p in (out / "outputs").iterdir()}
    path = configured(folder, FUNCTION + 'members_flag = "trained"\nname = "Sieve"\n')
    code, _, said = command(monkeypatch, "run", path, "--out", out, "--workers", "1")
    assert code == 0, said
    assert {p.name: p.stat().st_mtime_ns for p in (out / "outputs").iterdir()} == outputs
    release = json.loads((out / "results" / "summary.json").read_text())["release"]
    assert release["name"] == "Sieve"
    assert release["members"]["members"] == 30
    assert "[release]" in (out / "audit.toml").read_text()
    assert IDENTIFIER not in (out / "report.html").read_text(encoding="utf-8")
    code, shown, _ = command(monkeypatch, "check", path)
    assert code == 0
    assert "records through its function" in shown


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ('\n[release]\ndoor = "phone"\n', ["release.door"]),
        ('\n[release]\ndoor = "function"\n', ["needs function"]),
        (FUNCTION + 'pth = "x"\n', ["release.pth", "no such key", "path"]),
        (FUNCTION + "batch = 3\n", ["batch requires", "onnx", "endpoint", "ignored"]),
        (FUNCTION + 'others = "unknown"\n', ["others requires members"]),
        (FUNCTION + 'members = "absent.csv"\n', ["absent.csv", "no such file"]),
        (FUNCTION + 'members_flag = "trainde"\n', ["trainde", "trained"]),
        (FUNCTION.replace(":predict", ":guess"), ['no "guess"']),
        ('\n[release]\ndoor = "file"\npath = "absent.npy"\n', ["absent.npy", "no such file"]),
        ('\n[release]\ndoor = "onnx"\npath = "absent.onnx"\n', ["absent.onnx", "no such file"]),
        ('\n[release]\ndoor = "endpoint"\nurl = "http://far.example/"\n', ["unencrypted"]),
        (
            ENDPOINT + 'headers_from = { Authorization = "NOT_THERE" }\n',
            ["NOT_THERE"],
        ),
    ],
)
def test_what_cannot_be_is_said_before_training(
    release: str, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configured(folder, release)
    code, shown, said = command(monkeypatch, "run", path, "--out", folder / "run")
    assert code == 2, said
    for word in words:
        assert word in said
    assert "Traceback" not in said
    assert IDENTIFIER not in shown + said
    assert not (folder / "run").exists()


def test_the_flag_of_members_is_no_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = configured(folder, FUNCTION + 'members_flag = "trained"\n', '["sex"]')
    code, _, said = command(monkeypatch, "run", path, "--out", folder / "run")
    assert code == 2
    assert "says who is a member" in said
    assert "cohort.exclude" in said


def test_every_key_of_an_endpoint_arrives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auscult.config import load
    from auscult.release import EndpointDoor

    monkeypatch.setenv("MODEL_TOKEN", "42")
    keys = """
records = "instances"
body = { signature = "predict" }
answers = "predictions"
answer = "p"
headers_from = { Authorization = "MODEL_TOKEN" }
batch = 7
requests_per_second = 2
timeout_seconds = 3
retries = 1
version = "9"
"""
    path = configured(folder, ENDPOINT + keys)
    release = load(path).audit().release
    assert release is not None
    assert release.door == EndpointDoor(
        url="https://far.example/",
        records="instances",
        body={"signature": "predict"},
        answers_at="predictions",
        answer="p",
        headers_from={"Authorization": "MODEL_TOKEN"},
        batch=7,
        requests_per_second=2.0,
        timeout_seconds=3.0,
        retries=1,
        version="9",
        folder=folder.resolve(),
    )
    assert "42" not in repr(release)
    code, shown, _ = command(monkeypatch, "check", path, "--offline")
    assert code == 0
    assert "records will be sent to far.example in" in shown
