"""The report: the right words and figures, nothing that runs, nothing that leaves the page."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from auscult.base.errors import StoreError
from auscult.report import (
    answer,
    groups_csv,
    headline,
    officer_markdown,
    opening,
    render,
    words,
    write_report,
)
from auscult.report.exposure_tables import same_together
from tests import report_summaries as summaries
from tests.report_simulation import Summary

SECTIONS = [
    "exposed",
    "survival",
    "records",
    "groups",
    "aggregate",
    "utility",
    "cohort",
    "method",
    "limits",
]
HTML_FORBIDDEN = {"script", "iframe", "object", "embed", "form", "base", "img", "audio", "video"}

every_summary = pytest.mark.parametrize("make", summaries.ALL.values(), ids=summaries.ALL)


class Page(HTMLParser):
    """What a browser would see: tags with attributes, texts, and whether tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute stands twice in <{tag}>"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "link"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, white space collapsed."""
        return " ".join(" ".join(self.texts).split())

    def values(self, attribute: str) -> list[str]:
        """The attribute's value wherever it stands."""
        return [found[attribute] for _, found in self.tags if attribute in found]


def exposed(**values: Any) -> Summary:  # noqa: ANN401
    """The usual summary with other numbers of patients above 0.9."""
    summary = summaries.rare_tail()
    summary["patients"]["exposed"]["0.9"] |= values
    return summary


# The answer


def test_headline_reads_as_promised() -> None:
    assert headline(exposed(estimate=17, low=11, high=25, null=0)) == (
        "17 of 6,000 patients are exposed: over many models, their membership can be told from "
        "non-membership with an AUC above 0.9 "
        "(95% interval 11 to 25); by chance alone: 0"
    )


@pytest.mark.parametrize(
    ("values", "lead", "aside"),
    [
        ({"estimate": 0, "low": 0, "high": 2.3, "null": 0}, "0 of 6,000", "0 to 3); by chance"),
        ({"estimate": 0.2, "low": 0, "high": 1}, "Fewer than 1 of 6,000", "0 to 1)"),
        ({"estimate": 1234.5, "low": 1199.6, "high": 1250.2}, "1,235 of", "1,199 to 1,251)"),
        ({"estimate": 6000, "low": 6000, "high": 6000}, "6,000 of 6,000", "6,000 to 6,000)"),
        ({"null": 0.03}, "21 of", "by chance alone: <0.1"),
        ({"null": 2.44}, "21 of", "by chance alone: 2.4"),
        ({"null": None}, "21 of", "by chance alone: not estimable"),
        ({"low": None}, "21 of", "(95% interval not estimable)"),
    ],
)
def test_headline_rounds_counts_outwards(values: Summary, lead: str, aside: str) -> None:
    sentence = headline(exposed(**values))
    assert sentence.startswith(lead)
    assert aside in sentence


def test_one_patient_is_singular() -> None:
    summary = exposed(estimate=1, low=1, high=1)
    summary["patients"] |= {"count": 1, "estimable": 1}
    assert headline(summary).startswith("1 of 1 patient is exposed: over many models")
    assert "n = 1 patient. " in Page(render(summary)).text


def test_unlearned_models_prove_nothing() -> None:
    summary = summaries.nothing_learned()
    assert headline(summary).startswith("No conclusion: these models have not learned")
    assert "This is not evidence of safety." in Page(render(summary)).text


def test_unlearned_models_that_memorise_expose() -> None:
    summary = summaries.memorised()
    page = Page(render(summary)).text
    assert "patients are exposed" in headline(summary)
    assert "No conclusion" not in page
    assert "they have memorised their members and learned nothing that generalises" in page
    assert "expose nobody" not in page
    doubted = summaries.memorised()
    agreement = {"agrees": False, "raw_mean": 0.6, "posterior_mean": 0.7}
    doubted["patients"]["agreement"] = agreement | {"difference": 0.1, "allowed": 0.02}
    page = Page(render(doubted)).text
    assert headline(doubted).startswith("No conclusion: the number of exposed")
    assert "they have memorised" not in page
    assert "expose nobody" not in page
    assert "What such models expose is not known here" in page


def test_unlearned_models_may_expose_below_the_threshold() -> None:
    summary = summaries.memorised()
    for at in (at for at in summary["patients"]["exposed"] if float(at) >= 0.9):
        summary["patients"]["exposed"][at] |= {"low": 0, "null": 1.5}
    assert "expose nobody clearly above an AUC of 0.9" in headline(summary)
    assert "Above 0.8 it is one" in Page(render(summary)).text


def test_what_is_not_clear_of_chance_is_no_finding() -> None:
    text = Page(render(exposed(estimate=3, low=0, high=6, null=2))).text
    assert "so it is not a finding" in text
    assert "This exceeds chance" in Page(render(summaries.scary())).text


def test_patients_without_estimate_are_counted_with_their_reason() -> None:
    summary = summaries.rare_tail()
    summary["patients"] |= {
        "estimable": 5999,
        "not_estimable": [{"reason": "IN fewer than 4 models", "patients": 1}],
    }
    text = Page(render(summary)).text
    assert "1 patient of 6,000 could not be assessed and is not counted" in text
    assert "IN fewer than 4 models (1)" in text


# What is on the page


@every_summary
def test_each_section_is_there_and_linked(make: Callable[[], Summary]) -> None:
    page = Page(render(make()))
    sections = [found["id"] for tag, found in page.tags if tag == "section"]
    assert [name for name in sections if name in SECTIONS] == SECTIONS
    links = [found["href"] for tag, found in page.tags if tag == "a"]
    assert links == ["#main", *(f"#{name}" for name in sections)]


@every_summary
def test_page_is_well_formed_and_names_its_parts(make: Callable[[], Summary]) -> None:
    page = Page(render(make()))
    repeated = [name for name, count in Counter(page.values("id")).items() if count > 1]
    assert not repeated
    ids = set(page.values("id"))
    for name in page.values("aria-labelledby"):
        assert name in ids
    for tag, found in page.tags:
        if found.get("role") == "img":
            assert len(found["aria-label"]) > 20
        if tag == "svg":
            assert found["aria-hidden"] == "true", "its name stands on the element around it"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert [found["lang"] for tag, found in page.tags if tag == "html"] == ["en"]


@every_summary
def test_no_broken_number_is_drawn(make: Callable[[], Summary]) -> None:
    html = render(make())
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    for drawing in drawings:
        assert not re.search(r"\bnan\b|\binf\b|None", re.sub(r"<t.*?</t\w+>", "", drawing))
    assert "None" not in Page(html).text.replace("None of", "")


def test_planted_patients_are_shown_beside_the_others() -> None:
    text = Page(render(summaries.demonstration())).text
    assert "What was planted, and what was found" in text
    assert "It found 9 of 12." in text
    assert "planted" not in Page(render(summaries.rare_tail())).text


def test_low_error_rates_that_few_models_do_not_resolve_say_why() -> None:
    text = Page(render(summaries.rare_tail())).text
    assert "counting it needs about 400 models" in text
    assert "extrapolated" not in text


def test_unresolved_rate_is_not_estimable_and_says_why() -> None:
    text = Page(render(summaries.rare_tail())).text
    assert "a target has about 4,200 non-member records" in text


def test_chance_stands_beside_the_raw_and_the_study_estimate() -> None:
    summary = exposed(raw=81, raw_null=7, study=62, study_null=44)
    text = Page(render(summary)).text
    assert "81 (7)" in text
    assert "62 (44)" in text


def test_group_reasons_and_suppression_are_told() -> None:
    summary = summaries.rare_tail()
    race = summary["disparities"]["race"]
    race["suppressed"] = {"groups": 2, "smallest_cell": 10}
    race["groups"]["Asian"] |= {"p": None, "q": None, "reason": "nobody else has as many records"}
    race["composition"] |= {"chi_squared": None, "reason": "too few expected patients in a group"}
    text = Page(render(summary)).text
    assert "2 small groups are not shown by name." in text
    assert "a group of under 10 patients could identify individuals" in text
    assert "Not comparable, because nobody else has as many records" in text
    assert "chi-squared not estimable: too few expected patients in a group" in text


def test_unsupported_attack_gives_its_reason() -> None:
    summary = summaries.rare_tail()
    summary["aggregate"]["lira"] = {"label": "LiRA", "auc": None, "reason": "8 models are too few"}
    text = Page(render(summary)).text
    assert "LiRA: not estimable. 8 models are too few." in text


def test_strongest_attack_comes_first() -> None:
    summary = summaries.rare_tail()
    summary["aggregate"]["rmia"]["auc"] = 0.9
    assert "the strongest attack, RMIA (online), has an AUC of 0.900" in Page(render(summary)).text


def test_imported_signals_explain_missing_utility() -> None:
    summary = summaries.imported()
    summary["models"]["learned"]["reason"] = "not estimable: the outputs are ready signals"
    text = Page(render(summary)).text
    assert "and how well: not estimable. The outputs are ready signals." in text
    assert "relies on this record" in text


def test_nulls_read_not_estimable_with_the_reason() -> None:
    summary = summaries.nothing_estimable()
    assert headline(summary).startswith("Not estimable: how many patients")
    page = Page(render(summary))
    assert page.text.count("not estimable") > 20
    assert "too few models in which a patient is a member" in page.text
    assert not [found for _, found in page.tags if found.get("role") == "img"]


@pytest.mark.parametrize("part", ["cohort", "recipe", "models", "aggregate", "patients"])
@pytest.mark.parametrize("empty", [{}, None, "absent"])
def test_missing_parts_are_no_error(part: str, empty: Any) -> None:  # noqa: ANN401
    summary = summaries.rare_tail() | {part: empty}
    if empty == "absent":
        del summary[part]
    page = Page(render(summary))
    assert {found["id"] for tag, found in page.tags if tag == "section"} >= {"limits", "exposed"}


def test_bare_summary_is_a_page() -> None:
    page = Page(render({"schema": "auscult.summary/1"}))
    assert "Untitled audit" in page.text
    assert "absence of evidence" in page.text


def test_nobody_and_everybody() -> None:
    assert headline(summaries.harmless()).startswith("0 of 6,000 patients")
    assert headline(summaries.everyone()).startswith("400 of 400 patients")
    assert "found no patient whom this attack exposes" in Page(render(summaries.harmless())).text


# Nothing runs, nothing leaves


@every_summary
def test_nothing_runs_and_nothing_is_loaded(make: Callable[[], Summary]) -> None:
    html = render(make())
    assert "<script" not in html.lower()
    page = Page(html)
    assert not HTML_FORBIDDEN & {tag for tag, _ in page.tags}
    for tag, found in page.tags:
        assert not [name for name in found if name.startswith("on") or name in ("src", "style")]
        assert found.get("href", "#")[0] == "#" or (tag, found["href"]) == ("link", "data:,")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_policy_allows_the_one_style_sheet_only() -> None:
    page = Page(render(summaries.rare_tail()))
    policy = next(
        found["content"]
        for _, found in page.tags
        if found.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script-src" not in policy


def test_hostile_names_are_text() -> None:
    html = render(summaries.hostile())
    page = Page(html)
    assert summaries.HOSTILE_ATTRIBUTE in page.text
    assert "{{ 7*7 }} {% raw %} ${7*7}" in page.text
    assert "onerror" not in {name for _, found in page.tags for name in found}
    assert "\u202e" not in html
    assert "\\u202e" in html
    html.encode("utf-8")


def test_hostile_title_and_reasons_are_text() -> None:
    attack = '"><script>alert(1)</script>'
    summary = summaries.nulled(summaries.rare_tail())
    summary["title"] = summary["cohort"]["source"] = attack
    summary["patients"]["reason"] = attack
    summary["models"]["learned"] = {"verdict": None, "reason": attack}
    html = render(summary)
    assert "<script" not in html
    assert attack in Page(html).text


# groups.csv


def rows_of(summary: Summary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(groups_csv(summary), newline="")))


def test_csv_holds_every_group_unrounded() -> None:
    summary = summaries.rare_tail()
    rows = rows_of(summary)
    assert len(rows) == sum(len(part["groups"]) for part in summary["disparities"].values())
    first = summary["disparities"]["race"]["groups"]["Caucasian"]
    assert float(rows[0]["mean_auc"]) == first["mean_auc"]
    assert float(rows[0]["exposed_0.9_high"]) == first["exposed_0.9_high"]
    assert int(rows[0]["patients"]) == first["patients"]


def test_csv_runs_nothing_in_a_spreadsheet() -> None:
    rows = rows_of(summaries.hostile())
    names = {row["group"] for row in rows}
    for name in ('=HYPERLINK("http://x")', "+1-2", "@SUM(1;2)", "\tcell", "\rcell"):
        assert f"'{name}" in names
    for row in rows:
        for column in ("attribute", "group", "utility_metric"):
            assert not row[column].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_csv_leaves_what_is_not_estimable_empty() -> None:
    row = rows_of(summaries.single_group())[0]
    assert row["difference"] == row["p"] == row["q"] == ""
    assert rows_of(summaries.imported()) == []


def test_csv_tells_of_an_attribute_that_is_wholly_suppressed() -> None:
    summary = summaries.rare_tail()
    summary["disparities"] = {
        "ward": {"groups": {}, "suppressed": {"groups": 3, "smallest_cell": 10}}
    }
    (row,) = rows_of(summary)
    assert (row["attribute"], row["group"], row["groups_suppressed"]) == ("ward", "", "3")
    assert "3 small groups are not shown by name." in Page(render(summary)).text


# Files and damage


def test_same_summary_same_bytes(tmp_path: Path) -> None:
    summary = summaries.rare_tail()
    before = json.dumps(summary)
    first, second = tmp_path / "one" / "report.html", tmp_path / "two.html"
    write_report(summary, first)
    write_report(json.loads(before), str(second))
    assert first.read_bytes() == second.read_bytes()
    assert json.dumps(summary) == before, "the summary is left as it was"
    assert len(first.read_bytes()) < 300_000


@pytest.mark.parametrize(
    "summary",
    [{}, {"schema": "auscult.summary/2"}, {"schema": None}, [], "text", None],
    ids=repr,
)
@pytest.mark.parametrize("use", [render, headline, groups_csv])
def test_other_schema_is_refused(use: Callable[[Any], str], summary: Any) -> None:  # noqa: ANN401
    with pytest.raises(StoreError, match=r"auscult\.summary/1"):
        use(summary)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("patients.exposed", [1]),
        ("patients.exposed", {"high": {"estimate": 1}}),
        ("patients.auc.mean", float("nan")),
        ("patients.auc.mean", "0.7"),
        ("patients.survival.auc", "0.5"),
        ("patients.tpr_at_fpr.0_01", True),
        ("models.learned.verdict", "yes"),
        ("cohort.left_out", ["label missing"]),
        ("cohort.records", True),
    ],
)
def test_damage_is_named(path: str, value: Any) -> None:  # noqa: ANN401
    summary = summaries.rare_tail()
    *parents, last = path.split(".")
    inner = summary
    for name in parents:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(StoreError, match=re.escape(parents[0])):
        render(summary)


# Numbers as people read them


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (words.whole(6000), "6,000"),
        (words.whole(0.3), "fewer than 1"),
        (words.whole(None), "not estimable"),
        (words.expected(9.27), "9.3"),
        (words.expected(9.97), "10"),
        (words.expected(0), "0"),
        (words.count_interval(10.6, 24.2), "10 to 25"),
        (words.decimal(0.99996), ">0.999"),
        (words.decimal(1.0), "1.000"),
        (words.decimal(-0.0001), "0.000"),
        (words.signed(-0.01), "\N{MINUS SIGN}0.010"),
        (words.signed(0.0001), "0.000"),
        (words.share(0.0284), "2.8%"),
        (words.share(0.00004), "<0.01%"),
        (words.share(0.9999), ">99%"),
        (words.share(1), "100%"),
        (words.probability(0.0004), "<0.001"),
        (words.counted(1, "patient"), "1 patient"),
        (words.counted(2, "class", "classes"), "2 classes"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.listed(list("abcdefgh"), most=3), "a, b and 6 more"),
        (words.metric_name("macro_auroc"), "macro AUROC"),
    ],
)
def test_numbers_and_words(text: str, wanted: str) -> None:
    assert text == wanted


def test_equal_accesses_share_a_row() -> None:
    rows = [("logits", "x", "1"), ("label", "x", "2"), ("probabilities (declared)", "x", "1")]
    assert same_together(rows) == (
        ("logits and probabilities (declared)", "x", "1"),
        ("label", "x", "2"),
    )


def test_nothing_is_promised_without_noise() -> None:
    summary = summaries.ALL["later parts"]()
    one = summary["protection"][0]
    rows = [{"records": "1", "auc": 0.6, "bound": 1.0}]
    one["guarantee"] = {"dp": {"epsilon": "inf"}, "patients": rows}
    assert "It guarantees nothing: no noise is added." in render(summary)
    one["guarantee"] = {"dp": {"epsilon": 8.0}, "patients": rows}
    assert "1 record: 0.600 of at most" in render(summary)


def test_the_docs_promise_no_more_than_is_measured() -> None:
    folder = Path(__file__).parents[1]
    said = f"patients are {answer.EXPOSED} 0.9"
    for path in (folder / "README.md", folder / "docs" / "report.md", folder / "docs/summary.md"):
        text = " ".join(path.read_text(encoding="utf-8").split())
        assert "can be identified" not in text, path.name
        assert said in text, path.name


def test_one_model_stands_beside_the_answer() -> None:
    summary = summaries.rare_tail()
    assert len(opening(summary)) == 1
    figure = {"estimate": 0.08, "low": 0.074, "high": 0.087}
    absent = {"members": None, "exposed": None, "reason": "a model has 900 non-members"}
    summary["patients"]["one_model"] = {
        "patients": 6000, "members_per_model": 3000, "others_per_model": 3000,
        "exposed_per_model": 11.0, "method": "every model in turn",
        "at_fpr": {"0.01": {"members": figure, "exposed": figure | {"estimate": 0.71}},
                   "0.001": absent},
    }  # fmt: skip
    said = (
        "With one model, and one threshold for everybody, an attacker finds 8.0% of its members "
        "(7.4% to 8.7%) at 1% false positives; of the exposed among its members, "
        "71% (7.4% to 8.7%) at 1%; at 0.1%: not estimable (a model has 900 non-members)"
    )
    assert opening(summary)[1:] == (said,)
    text = Page(render(summary)).text
    assert said in text
    assert "By chance alone, an attacker finds a share of the members equal to" in text
    assert said in officer_markdown(summary)
    summary["patients"]["one_model"]["at_fpr"] = {"0.01": absent}
    assert opening(summary)[1] == (
        "What one model alone reveals, at 1%: not estimable (a model has 900 non-members)"
    )
