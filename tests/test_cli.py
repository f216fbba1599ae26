"""The command line: bad input of every kind gets one clear message and exit code 2."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from auscult.cli import main
from tests.cohorts import visits, write_audit

IDENTIFIER = "Zxq"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> tuple[int, str, str]:
    """Run the command line in this process; exit code, standard output and standard error."""
    out, error = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "argv", ["auscult", *map(str, arguments)])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, out.getvalue(), error.getvalue()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def rewrite(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    table = pd.read_csv(folder / "visits.csv", keep_default_na=False, dtype=str)
    change(table).to_csv(folder / "visits.csv", index=False)


def replaced(table: pd.DataFrame, column: str, row: int, value: str) -> pd.DataFrame:
    table = table.copy()
    table.loc[row, column] = value
    return table


def module(folder: Path, text: str) -> None:
    (folder / "mine_for_tests.py").write_text(text, encoding="utf-8")


Break = Callable[[Path], object]

RAISES = """
def train(inputs, labels, seed):
    raise ValueError("my code is wrong")
"""
WRONG_SHAPE = """
import numpy as np
def train(inputs, labels, seed):
    return lambda inputs: np.full((len(inputs), 3), 1 / 3)
"""
NO_FUNCTION = """
def train(inputs, labels, seed):
    return 5
"""
DIES = """
import os, signal
def train(inputs, labels, seed):
    os.kill(os.getpid(), signal.SIGKILL)
"""
WRONG_MODULE = """
from torch import nn
def make(inputs, outputs):
    return nn.Linear(inputs, 7)
"""
PYTHON = 'kind = "python"\ntrain = "mine_for_tests:train"\n'
SKLEARN = 'kind = "sklearn"\nmodel = "logistic_regression"\narguments = { max_iter = 200 }\n'


def python_recipe(text: str) -> Break:
    def change(folder: Path) -> None:
        module(folder, text)
        edit(folder / "audit.toml", SKLEARN, PYTHON)

    return change


def torch_recipe(folder: Path) -> None:
    module(folder, WRONG_MODULE)
    edit(folder / "audit.toml", SKLEARN, 'kind = "torch"\nmodel = "mine_for_tests:make"\n')


def key(old: str, new: str) -> Break:
    return lambda folder: edit(folder / "audit.toml", old, new)


def cell(column: str, row: int, value: str) -> Break:
    return lambda folder: rewrite(folder, lambda table: replaced(table, column, row, value))


def write(name: str, content: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes(content)


BAD: dict[str, tuple[Break, list[str]]] = {
    "missing configuration": (lambda f: (f / "audit.toml").unlink(), ["no such file", "init"]),
    "no toml": (write("audit.toml", b"[cohort\n"), ["not TOML"]),
    "toml in another encoding": (write("audit.toml", b"# \xff\xfe"), ["UTF-8"]),
    "unknown key": (key("seed = 3", "sed = 3"), ["audit.sed", "seed"]),
    "missing key": (key('patient = "person"\n', ""), ["cohort.patient", "missing"]),
    "wrong type": (key("seed = 3", 'seed = "3"'), ["audit.seed", "integer"]),
    "negative seed": (key("seed = 3", "seed = -3"), ["audit.seed"]),
    "unknown recipe": (key('kind = "sklearn"', 'kind = "keras"'), ["recipe.kind", "torch"]),
    "unknown estimator": (key('"logistic_regression"', '"logistic"'), ["logistic_regression"]),
    "estimator arguments": (key("max_iter = 200", "max_it = 200"), ["recipe.arguments"]),
    "ignored option": (
        key(SKLEARN, 'kind = "torch"\nmodel = "mlp"\nwidth = 3\n'),
        ["width", "cnn"],
    ),
    "missing table": (lambda f: (f / "visits.csv").unlink(), ["visits.csv", "no such file"]),
    "empty table": (write("visits.csv", b""), ["visits.csv", "empty"]),
    "header only": (write("visits.csv", b"person,sex,outcome\n"), ["no rows"]),
    "ragged table": (
        write("visits.csv", b"person,sex,outcome\nZxq1,f,yes\nZxq2,m,no,9\n"),
        ["number of fields"],
    ),
    "binary table": (write("visits.csv", b"a,b\n\xff\xfe\x00,1\n"), ["UTF-8"]),
    "two columns of one name": (
        write("visits.csv", b"person,sex,sex\nZxq1,f,yes\n"),
        ["two columns sex"],
    ),
    "absent label": (key('label = "outcome"', 'label = "outcom"'), ["outcom", "outcome"]),
    "absent patient": (key('patient = "person"', 'patient = "preson"'), ["preson", "person"]),
    "absent group": (key('["sex"', '["sexx"'), ["sexx", 'mean "sex"']),
    "patient is the label": (key('label = "outcome"', 'label = "person"'), ["both"]),
    "one class only": (
        lambda f: rewrite(f, lambda t: t.assign(outcome="yes")),
        ["same label", "outcome"],
    ),
    "absent positive": (
        key('label = "outcome"', 'label = "outcome"\npositive = ["dead"]'),
        ["dead", "cohort.positive"],
    ),
    "regression": (key('label = "outcome"', 'label = "a"'), ["regression", "label_bins"]),
    "empty patient": (cell("person", 4, "  "), ["1 of", "no patient"]),
    "infinite feature": (cell("b", 3, "inf"), ["column b", "infinite"]),
    "too large a feature": (cell("b", 3, "1e300"), ["column b", "infinite or beyond"]),
    "declared numeric": (
        key('label = "outcome"', 'label = "outcome"\nnumeric = ["sex"]'),
        ["column sex", "not numbers"],
    ),
    "few patients": (lambda f: rewrite(f, lambda t: t.head(20)), ["patients", "at least 20"]),
    "odd models": (key("models = 8", "models = 9"), ["9 models", "even"]),
    "tiny models": (key("models = 8", "models = 2"), ["2 models", "at least 8"]),
    "training raises": (
        python_recipe(RAISES),
        ["block-000", "model ", "ValueError", "my code is wrong", "line 3"],
    ),
    "predictions of the wrong shape": (python_recipe(WRONG_SHAPE), ["model ", "shape (", ", 3)"]),
    "no prediction function": (python_recipe(NO_FUNCTION), ["int", "predict(inputs)"]),
    "worker dies": (python_recipe(DIES), ["a worker process was ended by signal 9", "memory"]),
    "missing module": (
        key(SKLEARN, 'kind = "python"\ntrain = "nowhere:train"\n'),
        ["nowhere", "no module"],
    ),
    "module returns the wrong shape": (torch_recipe, ["(2, 7)", "(2, 1)"]),
    "images where there are none": (
        key('table = "visits.csv"', 'table = "visits.csv"\nimages = "x.npz"'),
        ["x.npz", "no such file"],
    ),
    "a key without images": (
        key('table = "visits.csv"', 'table = "visits.csv"\narray = "x"'),
        ["array requires images"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_audit(tmp_path)
    change, words = BAD[name]
    change(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_for_tests", raising=False)
    out = tmp_path / "run"
    code, shown, said = run(monkeypatch, "run", path, "--out", out, "--workers", "1")
    assert code == 2, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    for word in words:
        assert word in errors[0], errors[0]
    assert "Traceback" not in said
    assert IDENTIFIER not in said + shown
    assert not (out / "results").exists()
    assert not (out / "report.html").exists()


def test_nan_is_missing_and_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_audit(tmp_path)
    rewrite(tmp_path, lambda table: replaced(table, "b", 2, "nan"))
    code, _, said = run(monkeypatch, "run", path, "--out", tmp_path / "run", "--workers", "1")
    assert code == 0, said


@pytest.mark.parametrize("rest", [["--workers", "0"], ["--workers", "-1"]])
def test_impossible_workers(
    rest: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, said = run(monkeypatch, "run", write_audit(tmp_path), "--out", tmp_path / "run", *rest)
    assert code == 2
    assert "workers" in said
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_things_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_audit(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    code, _, said = run(monkeypatch, "run", path, "--out", other)
    assert code == 2
    assert "not a run" in said
    assert [entry.name for entry in other.iterdir()] == ["thesis.txt"]


def test_a_full_disk_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    path, out = write_audit(tmp_path), tmp_path / "run"
    real, calls = os.fsync, [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, said = run(patch, "run", path, "--out", out, "--workers", "1")
    assert code == 2
    assert "disk is full" in said
    assert "Traceback" not in said
    assert not list(out.rglob(".*.part"))
    assert not (out / "report.html").exists()
    finished = len(list((out / "outputs").glob("*.json")))
    assert finished >= 1
    code, _, said = run(monkeypatch, "run", path, "--out", out, "--workers", "1")
    assert code == 0, said


def test_an_unforeseen_error_shows_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import auscult.audit.running

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("patient Zxq0001wv")

    monkeypatch.setattr(auscult.audit.running, "write_results", broken)
    code, _, said = run(
        monkeypatch, "run", write_audit(tmp_path), "--out", tmp_path / "run", "--workers", "1"
    )
    assert code == 1
    assert "internal error: RuntimeError" in said
    assert IDENTIFIER not in said


def test_help_loads_no_framework() -> None:
    script = (
        "import sys; import auscult; import auscult.cli; sys.argv = ['auscult', '--help']\n"
        "try:\n auscult.cli.main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'sklearn', 'plotly', 'pandas', 'scipy'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in done.stdout
    for command in ("demo", "init", "check", "run", "status", "report", "import"):
        assert command in done.stdout


def test_init_writes_a_configuration_that_checks_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = visits()
    table["age"] = np.random.default_rng(0).integers(20, 90, len(table))
    table["record_id"] = [f"r{i}" for i in range(len(table))]
    table.to_csv(tmp_path / "visits.csv", index=False)
    monkeypatch.chdir(tmp_path)
    arguments = ["init", "visits.csv", "--patient", "person", "--label", "outcome"]
    code, text, said = run(monkeypatch, *arguments, "--group", "sex", "--group", "age")
    assert code == 0, said
    assert 'exclude = ["record_id"]' in text
    assert IDENTIFIER not in text
    path = tmp_path / "audit.toml"
    path.write_text(text.replace("models = 64", "models = 8"), encoding="utf-8")
    code, text, said = run(monkeypatch, "check", path)
    assert code == 0, said
    for word in ("60 patients", "Group    sex", "Model    one takes", "8 models", "Plan     width"):
        assert word in text
    assert IDENTIFIER not in text + said
    assert run(monkeypatch, "run", path, "--workers", "1")[0] == 0
    assert (tmp_path / "runs" / "audit" / "report.html").is_file()
    code, text, _ = run(monkeypatch, "status", tmp_path / "runs" / "audit")
    assert code == 0
    assert "Models: 8 of 8" in text
    code, text, said = run(
        monkeypatch, "check", path, "--pilot", tmp_path / "runs" / "audit", "--width", "0.3"
    )
    assert code == 0, said
    assert "from the pilot's 8 models" in text
    assert "a width of 0.3 needs" in text


def test_usage_errors_are_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    from auscult.cli.common import app

    assert CliRunner().invoke(app, ["run"]).exit_code == 2
    assert run(monkeypatch, "demo", "--cohort", "mars")[0] == 2
