"""The command line for programs: --json, the log, completion, -h everywhere."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from auscult.base.errors import AuscultError
from auscult.cli import machine
from auscult.cli.common import app
from tests.cohorts import write_audit
from tests.test_cli import edit, run

Monkey = pytest.MonkeyPatch
PAGE = Path(__file__).resolve().parents[1] / "docs" / "command-line.md"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A configuration and two finished runs of it."""
    folder = tmp_path_factory.mktemp("machine")
    path = write_audit(folder, models=8, patients=60)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("one", "two"):
            code, _, error = run(monkeypatch, "run", path, "--out", folder / name, "--workers", "1")
            assert code == 0, error
    return path, folder / "one", folder / "two"


def told(out: str) -> dict[str, Any]:
    """Standard output as strict JSON."""

    def refused(word: str) -> None:
        raise AssertionError(word)

    assert out.isascii()
    found: dict[str, Any] = json.loads(out, parse_constant=refused)
    return found


def documented(schema: str) -> set[str]:
    """Keys that the page lists of a schema."""
    section = PAGE.read_text(encoding="utf-8").partition(f"### `{schema}`")[2].partition("\n#")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)} - {"schema", "auscult"}


def test_check_tells_programs_what_it_tells_people(
    runs: tuple[Path, Path, Path], monkeypatch: Monkey
) -> None:
    code, out, error = run(monkeypatch, "check", runs[0], "--json", "--workers", "1")
    assert code == 0, error
    found = told(out)
    assert found.pop("schema") == "auscult.check/1"
    assert found.pop("auscult")
    assert set(found) == documented("auscult.check/1")
    _, text, _ = run(monkeypatch, "check", runs[0], "--workers", "1")
    cohort = found["cohort"]
    assert f"{cohort['records']} records of {cohort['patients']} patients" in text
    women = next(one for one in cohort["groups"]["sex"] if one["name"] == "f")
    assert f"f {women['patients']}" in text
    assert f"{found['audit']['models']} models with {found['audit']['workers']} worker" in text
    assert f"a width of 0.1 needs {found['planning']['models']} models" in text
    assert found["variants"] is None
    assert "Zxq" not in out


def test_check_of_variants_and_small_groups(tmp_path: Path, monkeypatch: Monkey) -> None:
    path = write_audit(tmp_path, models=8, patients=60)
    edit(path, "seed = 3", "seed = 3\nsmallest_cell = 40\n")
    text = "\n[[protect]]\ncohort.max_records = 1\n[[protect]]\naccess.digits = 1\n"
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    code, out, error = run(monkeypatch, "check", path, "--json", "--workers", "1")
    assert code == 0, error
    found = told(out)
    own, none = found["variants"]["each"]
    assert own["training_seconds"] > 0
    assert none["training_seconds"] is None
    whole = found["variants"]["with_the_audit"]
    assert whole["training_seconds"] > found["audit"]["training_seconds"]
    shown = [one for groups in found["cohort"]["groups"].values() for one in groups]
    assert all(one["patients"] >= 40 for one in shown)


def test_training_code_cannot_write_between(tmp_path: Path) -> None:
    """What a user's function prints, in a worker or in this process, is not on standard output."""
    path = write_audit(tmp_path, models=8, patients=60)
    (tmp_path / "loud.py").write_text(
        "import sys\n"
        "def train(inputs, labels, seed):\n"
        "    print('I AM LOUD'); sys.stdout.flush()\n"
        "    from sklearn.linear_model import LogisticRegression\n"
        "    import numpy as np\n"
        "    return lambda inputs: np.full(len(inputs), labels.mean())\n",
        encoding="utf-8",
    )
    old = 'kind = "sklearn"\nmodel = "logistic_regression"\narguments = { max_iter = 200 }\n'
    edit(path, old, 'kind = "python"\ntrain = "loud:train"\n')
    done = subprocess.run(
        [sys.executable, "-m", "auscult", "check", path, "--json", "--workers", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 0, done.stderr
    assert told(done.stdout)["schema"] == "auscult.check/1"
    assert "I AM LOUD" in done.stderr


def test_status_and_comparison(runs: tuple[Path, Path, Path], monkeypatch: Monkey) -> None:
    code, out, _ = run(monkeypatch, "status", runs[1], "--json")
    found = told(out)
    assert (code, found.pop("schema"), bool(found.pop("auscult"))) == (0, "auscult.status/1", True)
    assert set(found) == documented("auscult.status/1")
    assert found["models"] == {"done": 8, "total": 8}
    assert found["writer"] is None
    page = runs[1].parent / "comparison.html"
    code, out, _ = run(monkeypatch, "compare", runs[1], runs[2], "--json", "--html", page)
    found = told(out)
    assert (code, found.pop("schema")) == (0, "auscult.comparison/1")
    del found["auscult"]
    assert set(found) == documented("auscult.comparison/1")
    assert page.is_file()
    summary = json.loads((runs[1] / "results" / "summary.json").read_text(encoding="utf-8"))
    assert found["first"]["exposed"] == summary["patients"]["exposed"]
    assert found["first"]["mean_auc"]["estimate"] == summary["patients"]["auc"]["mean"]
    (entry,) = found["runs"]
    assert entry["name"] == "two"
    assert entry["mean_auc_change"]["estimate"] == 0
    assert "Zxq" not in out


def test_errors_are_one_line_of_json(
    runs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: Monkey
) -> None:
    cases: dict[str, tuple[str | Path, ...]] = {
        "StoreError": ("status", tmp_path / "nowhere", "--json"),
        "ConfigError": ("compare", runs[1], "--json"),
        "usage": ("status", "--json", "--nope"),
    }
    for kind, arguments in cases.items():
        code, out, error = run(monkeypatch, *arguments)
        assert (code, out) == (2, ""), kind
        found = json.loads(error.splitlines()[-1])
        assert found["schema"] == "auscult.error/1"
        assert found["kind"] == kind
        assert found["exit"] == 2
        assert found["what"] in found["message"]
    # The same without --json is text, with the same exit code.
    code, _, error = run(monkeypatch, "status", tmp_path / "nowhere")
    assert code == 2
    assert error.startswith("error: ")


def test_unforeseen_errors_and_interrupts_too(tmp_path: Path, monkeypatch: Monkey) -> None:
    from auscult.store import RunStore

    for raised, kind, exits in (
        (ValueError("Zxq7"), "internal", 1),
        (KeyboardInterrupt(), "stopped", 130),
    ):

        def broken(path: Path, error: BaseException = raised) -> None:
            raise error

        monkeypatch.setattr(RunStore, "open", broken)
        code, out, error = run(monkeypatch, "status", tmp_path, "--json")
        assert (code, out) == (exits, "")
        assert json.loads(error.splitlines()[-1])["kind"] == kind
        assert "Zxq7" not in error


def test_json_is_asked_for_only_where_it_is_an_option(monkeypatch: Monkey) -> None:
    for given, wanted in (
        (["status", "run", "--json"], True),
        (["-v", "check", "--json", "audit.toml"], True),
        (["status", "--", "--json"], False),
        (["gate", "run", "--json", "decision.json"], False),
        (["run", "audit.toml"], False),
    ):
        monkeypatch.setattr(sys, "argv", ["auscult", *given])
        assert machine.json_asked() is wanted, given


def test_what_is_not_a_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    content = {"a": float("nan"), "b": np.float32(0.5), "c": np.arange(2), "d": (1, True, None)}
    machine.print_json("x/1", {**content, "e": "\u202e", "f": np.inf})
    found = told(capsys.readouterr().out)
    assert [found[key] for key in "abcdef"] == [None, 0.5, [0, 1], [1, True, None], "\u202e", None]


def test_error_lines_keep_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    error = AuscultError("it is wrong", where="here", expected="right", next_step="mend it")
    machine.print_error("AuscultError", str(error), 2, error)
    found = json.loads(capsys.readouterr().err)
    assert (found["where"], found["expected"], found["next_step"]) == ("here", "right", "mend it")


# The log


def test_the_library_is_silent_and_has_a_logger() -> None:
    code = (
        "import logging, auscult; log = logging.getLogger('auscult');"
        "log.warning('nobody asked'); print([type(h).__name__ for h in log.handlers])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['NullHandler']"
    assert done.stderr == ""


def test_verbosity(runs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: Monkey) -> None:
    kept = logging.getLogger("auscult").level
    try:
        _, _, silent = run(monkeypatch, "run", runs[0], "--out", tmp_path / "0", "--workers", "1")
        _, _, some = run(
            monkeypatch, "-v", "run", runs[0], "--out", tmp_path / "1", "--workers", "1"
        )
        _, _, more = run(
            monkeypatch, "run", "-vv", runs[0], "--out", tmp_path / "2", "--workers", "1"
        )
        _, _, both = run(
            monkeypatch, "-v", "run", "-v", runs[0], "--out", tmp_path / "3", "--workers", "1"
        )
    finally:
        logging.getLogger("auscult").setLevel(kept)
    assert "INFO" not in silent
    assert "INFO auscult.readers.reading: Read visits.csv: 121 records of 60 patients" in some
    assert "DEBUG" not in some
    assert "DEBUG auscult.training.dispatch: block-0000" in more
    assert "DEBUG" in both
    assert "Zxq" not in some + more


def test_log_lines_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    from auscult.cli.logs import set_verbosity

    set_verbosity(1)
    try:
        logging.getLogger("auscult.test").info("a name: %s", "\u202edecived\x1b[2J")
    finally:
        logger = logging.getLogger("auscult")
        logger.handlers = [one for one in logger.handlers if isinstance(one, logging.NullHandler)]
        logger.setLevel(logging.NOTSET)
    said = capsys.readouterr().err
    assert "\\u202e" in said
    assert "\x1b" not in said


# Help and completion


def commands() -> list[list[str]]:
    """Every command and group by its words."""

    def walked(command: Any, words: list[str]) -> Any:  # noqa: ANN401
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            yield from walked(inner, [*words, name])

    return list(walked(typer.main.get_command(app), []))


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words) or "auscult")
def test_h_helps_everywhere(words: list[str], monkeypatch: Monkey) -> None:
    code, short, _ = run(monkeypatch, *words, "-h")
    _, long, _ = run(monkeypatch, *words, "--help")
    assert code == 0
    assert short == long
    assert "-v, --verbose" in short


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, monkeypatch: Monkey) -> None:
    monkeypatch.setenv("_AUSCULT_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "auscult com")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("COMP_WORDS", "auscult com")
    monkeypatch.setenv("COMP_CWORD", "1")
    code, out, _ = run(monkeypatch)
    assert code == 0
    assert "compare" in out
    assert "check" not in out
