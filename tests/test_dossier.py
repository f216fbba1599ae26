"""The dossier: a few pages in plain words that somebody signs, from released figures alone."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from auscult import AuscultError
from auscult.config.loading import Configuration
from auscult.report import elements as e
from auscult.report import write_dossier
from auscult.report.checklist import LINES, NOT_TESTED
from auscult.report.dossier import FACTS, NOT_DECLARED, declared, dossier_page
from auscult.report.paper import BROWSERS, HOW, write_pdf
from tests import report_summaries as summaries
from tests.consistency import dossier_disagreements, tables_of, texts_of, unknown_numbers

MOST_PAGES = 6
HARDEST = 12.0
TERMS = ("[deployment]", "[release]", "unshrunk", "null finds nothing", "posterior", "folds")
DECLARED = {
    "system": "Readmission score",
    "controller": "University Hospital",
    "purpose": "Call patients after discharge",
    "approver": "Head of data protection",
}
every = pytest.mark.parametrize("name", sorted(summaries.ALL))


def running_text(shown: e.Page) -> str:
    """Sentences of the sections: no cells, no headings, no names."""
    found: list[str] = []
    for section in shown.sections:
        for block in section.blocks:
            if isinstance(block, e.Paragraph):
                found.append(block.text)
            elif isinstance(block, e.Items):
                found += [f"{name} {text}" for name, text in block.items]
            elif isinstance(block, e.Table):
                found += block.notes
    return re.sub("\u2068.*?\u2069", "name", " ".join(found))


def grade(text: str) -> float:
    """Years of school that a text asks for (Kincaid et al. 1975), syllables by their vowels."""
    words = re.findall(r"[A-Za-z][A-Za-z']*", text)
    sentences = [one for one in re.split(r"[.!?]+\s", text) if re.search("[A-Za-z]", one)]
    syllables = 0
    for word in map(str.lower, words):
        silent = word.endswith("e") and not word.endswith(("le", "ee"))
        syllables += max(len(re.findall("[aeiouy]+", word)) - silent, 1)
    return 0.39 * len(words) / len(sentences) + 11.8 * syllables / len(words) - 15.59


def test_the_measure_tells_easy_from_hard() -> None:
    easy = "The cat sat on the mat. It was a big red cat. We saw it go."
    hard = (
        "Empirical approximations of posterior distributions necessitate computationally "
        "demanding regularisation of hierarchical parameterisations, notwithstanding asymptotics."
    )
    assert grade(easy) < 3 < HARDEST < grade(hard)


@every
def test_it_says_the_summarys_numbers_in_plain_words(name: str) -> None:
    summary = summaries.ALL[name]()
    shown = dossier_page(summary)
    assert dossier_disagreements(summary) == []
    assert grade(running_text(shown)) <= HARDEST
    told = " ".join(text for _, text in texts_of(shown))
    assert not [term for term in TERMS if term in told]


@every
def test_every_line_of_the_checklist_is_bound_to_the_summary_or_not_tested(name: str) -> None:
    summary = summaries.ALL[name]()
    table = tables_of(dossier_page(summary))["checklist"]
    assert len(table.rows) == len(LINES)
    assert {line.text.split(",")[0].split(" Art")[0] for line in LINES} >= {"EDPB Opinion 28/2024"}
    for _, asks, found, key in table.rows:
        if found == NOT_TESTED:
            assert key == ""
            continue
        at: Any = summary
        for step in re.split(r"\.(?!9)", key):
            assert at.get(step) is not None, (asks, key)
            at = at[step]


def test_nothing_that_was_withheld_is_told() -> None:
    summary = summaries.rare_tail()
    row = summary["patients"]["exposed"]["0.9"]
    row |= {"estimate": None, "low": 0.0, "high": 10.0, "fewer_than": {"estimate": 10}}
    table = tables_of(dossier_page(summary))["findings"]
    assert next(r for r in table.rows if r[0].startswith("9 "))[1] == "fewer than 10 (0 to 10)"
    assert unknown_numbers(summary, dossier_page) == []


def test_what_a_person_declares_is_told_as_that_and_checked() -> None:
    summary = summaries.rare_tail()
    rows = {r[0]: r[1] for r in tables_of(dossier_page(summary))["system"].rows}
    assert {rows[name] for name in FACTS.values()} == {NOT_DECLARED}
    summary["dossier"] = declared(DECLARED)
    shown = dossier_page(summary)
    rows = {r[0]: r[1] for r in tables_of(shown)["system"].rows}
    assert rows["Controller"] == "University Hospital"
    assert rows["Contact"] == NOT_DECLARED
    assert shown.title == "Readmission score"
    assert ("Approved by", "Head of data protection", "", "") in tables_of(shown)["sign"].rows
    for wrong in ({"signature": "x"}, {"owner": ""}, {"owner": 3}, {"owner": "x" * 501}):
        with pytest.raises(AuscultError, match="dossier"):
            declared(wrong)


def test_the_table_is_read_from_the_configuration() -> None:
    text = """
[cohort]
table = "visits.csv"
patient = "person"
label = "outcome"

[recipe]
kind = "sklearn"
model = "mlp"

[dossier]
system = "Score"
approver = "DPO"
"""
    found = Configuration.model_validate(tomllib.loads(text)).dossier
    assert found is not None
    assert found.given() == {"system": "Score", "approver": "DPO"}
    with pytest.raises(ValueError, match="sign"):
        Configuration.model_validate(tomllib.loads(text + 'sign = "x"\n'))
    assert set(type(found).model_fields) == set(FACTS)


def test_without_a_program_it_says_how_to_get_the_pdf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("auscult.report.paper.find_spec", lambda _: None)
    monkeypatch.setattr("auscult.report.paper.shutil.which", lambda _: None)
    assert write_pdf(tmp_path / "a.html", tmp_path / "a.pdf") == HOW
    assert not list(tmp_path.iterdir())


@pytest.mark.browser
def test_it_is_at_most_six_pages_of_a4(tmp_path: Path) -> None:
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium on the path")
    summary = summaries.ALL["later parts"]()
    summary["dossier"] = declared(DECLARED)
    record = {"fingerprint": {"cohort": "a" * 64, "seed": "7"}, "versions": {"auscult": "0.1.0"}}
    html, pdf = tmp_path / "dossier.html", tmp_path / "dossier.pdf"
    write_dossier(json.loads(json.dumps(summary)), html, record)
    assert write_pdf(html, pdf) == ""
    pages = len(re.findall(rb"/Type /Page\b(?!s)", pdf.read_bytes()))
    assert 2 <= pages <= MOST_PAGES
