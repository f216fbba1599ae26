"""The tutorials: their code runs as it stands there, and prints what they say that it prints."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from auscult.results.result import read_summary_file
from tests.consistency import disagreements, dossier_disagreements

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
SHARE, FEW = 0.15, 3.0  # by which numbers may differ between versions of libraries


class Step(NamedTuple):
    """A block of code and the output that is shown under it; None where none is."""

    code: str
    output: str | None


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for kind, content in BLOCK.findall(text):
        if kind == "python":
            found.append(Step(content, None))
        else:
            assert found, "an output without code"
            assert found[-1].output is None, "two outputs of one block"
            found[-1] = found[-1]._replace(output=content)
    return found


def printed(text: str) -> list[tuple[Step, str]]:
    """What every block of a page prints, run one after the other in one module."""
    module: dict[str, object] = {"__name__": "__main__"}
    found = []
    for step in steps(text):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(step.code, "tutorial", "exec"), module)  # noqa: S102 - our own pages
        found.append((step, out.getvalue()))
    return found


def differences(shown: str, told: str) -> str:
    """Where two outputs differ in words, or in a number by more than libraries may move it."""
    if " ".join(NUMBER.sub("#", shown).split()) != " ".join(NUMBER.sub("#", told).split()):
        return f"other words:\n{told}"
    for one, other in zip(NUMBER.findall(shown), NUMBER.findall(told), strict=True):
        a, b = (float(number.replace(",", "")) for number in (one, other))
        near = FEW if "." not in one else 0.05
        if abs(a - b) > max(SHARE * abs(a), near):
            return f"{other} instead of {one}:\n{told}"
    return ""


def test_outputs_that_differ_are_seen() -> None:
    shown = "15 of 900 patients: AUC 0.63\n"
    assert differences(shown, "16 of 900 patients: AUC 0.65\n") == ""
    assert "other words" in differences(shown, "15 of 900 records: AUC 0.63\n")
    assert "instead of 15" in differences(shown, "40 of 900 patients: AUC 0.63\n")
    assert "instead of 0.63" in differences(shown, "15 of 900 patients: AUC 0.90\n")
    with pytest.raises(AssertionError, match="without code"):
        steps("```text\nx\n```\n")
    assert {page.stem for page in PAGES} == {"images", "records", "release"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.stem == "images":
        pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")
    wrong = []
    for step, told in printed(page.read_text(encoding="utf-8")):
        if step.output is None:
            assert told == "", f"what this prints is not shown:\n{step.code}"
        elif said := differences(step.output, told):
            wrong.append(said)
    assert not wrong, "\n\n".join(wrong)
    # Finished runs with protections, a release and a decision, of models enough for estimates.
    runs = [file.parents[1] for file in tmp_path.glob("*/results/summary.json")]
    assert runs
    for run in runs:
        summary = read_summary_file(run)
        assert disagreements(summary) == []
        assert dossier_disagreements(summary) == []
        assert not any("reason" in one["exposed_change"] for one in summary["protection"])
