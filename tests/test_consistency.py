"""A report says one thing: plot and table, count and share, sentence and cell, all of the summary.

Finished runs are asked the same where other tests make them; see ``tests/consistency.py``.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from auscult.report import elements as e
from auscult.report import render
from auscult.report.dossier import limits
from auscult.report.summary import Part, read_summary
from auscult.report.view import page
from auscult.report.words import MINUS, NOT_ESTIMABLE
from tests import report_summaries as summaries
from tests.consistency import (
    _opposites,
    disagreements,
    disagreements_of,
    figures_of,
    tables_of,
)


@pytest.mark.parametrize("name", sorted(summaries.ALL))
def test_reports_agree_with_their_summaries_and_with_themselves(name: str) -> None:
    assert disagreements(summaries.ALL[name]()) == []


def test_models_that_memorise_without_learning_say_so_everywhere() -> None:
    summary = summaries.memorised()
    assert disagreements(summary) == []
    shown = render(summary)
    assert "No conclusion" not in shown
    assert "Train models that learn their task" in shown


def few_models() -> dict[str, Any]:
    """Too few models for more than bounds."""
    summary = summaries.ALL["later parts"]()
    summary["models"]["count"] = 16
    summary["patients"]["few_models"] = "with about 8 IN and OUT models only bounds are known"
    for one in summary["protection"]:
        if "exposed" in one:
            nothing = {"estimate": None, "low": None, "high": None}
            one["exposed_change"] = {**nothing, "reason": "with 16 models only bounds are known"}
            one |= {"removed": None, "removed_at_least": None, "recommended": False}
    return summary


def test_few_models_give_bounds_wherever_patients_are_counted() -> None:
    summary = few_models()
    assert disagreements(summary) == []
    shown = render(summary)
    row = summary["patients"]["exposed"]["0.9"]
    estimate = f"{row['estimate']:.0f} ("
    assert estimate not in shown, "an estimate that the headline calls not estimable"
    assert "Shares of groups above 0.9: not estimable" in shown


def test_a_change_that_few_models_do_not_tell_is_not_called_withheld() -> None:
    summary = few_models()
    for one in summary["protection"]:
        if "exposed" in one:
            few = {"estimate": None, "low": 0.0, "fewer_than": {"estimate": 10}}
            one["exposed"]["0.9"] |= few
    assert disagreements(summary) == []
    shown = render(summary)
    assert "only bounds are known" in shown
    assert "too small to be shown" not in shown
    assert "too few are exposed" not in shown


def test_a_protection_that_surely_helps_and_may_cost_is_named_everywhere() -> None:
    summary = summaries.ALL["later parts"]()
    for one in summary["protection"]:
        one |= {"recommended": False, "unsupported": None, "removed_at_least": 0.0}
    summary["protection"][0] |= {
        "name": "max depth 3",
        "removed_at_least": 0.913,
        "utility_lost_at_most": 0.01027,
    }
    assert disagreements(summary) == []
    shown = render(summary)
    said = "removes at least 91% of the exposed patients, but that its loss of quality is small"
    assert shown.count(said) == 2  # on the first screen, and for the privacy officer
    assert shown.count("it may be up to 0.011") == 2  # never rounded to the 0.01 that is allowed
    assert "none of those tried is known to help" not in shown


def test_weights_that_were_read_are_not_called_untried() -> None:
    summary = summaries.ALL["later parts"]()
    assert "attacks on the weights" in render(summary)
    assert "reading the weights" in render(summary)
    cell = copy.deepcopy(summary["exposure"][0])
    summary["exposure"].append(cell | {"access": "white-box", "access_label": "the weights"})
    shown = render(summary)
    assert "other attacks on the weights, attacks on gradients" in shown
    assert "reading the weights" not in shown
    assert "more in the weights" in shown
    said = str(limits(Part(summary)))
    assert "reading weights: not tested" not in said
    assert "the last layer's features were read" in said


def test_a_withheld_count_is_no_point_and_no_share() -> None:
    summary = summaries.rare_tail()
    row = summary["patients"]["exposed"]["0.9"]
    row |= {"estimate": None, "low": 0.0, "high": 10.0, "fewer_than": {"estimate": 10}}
    assert disagreements(summary) == []
    shown = render(summary)
    assert "less than 0.17%" in shown
    assert "figure-dots" not in shown


def test_a_change_from_another_number_than_the_first_rows_says_from_which() -> None:
    """Where one of two compared runs was attacked with less, so is the other."""
    summary = summaries.ALL["later parts"]()
    entry = summary["protection"][0]
    entry["exposed_before"]["0.9"] = {"estimate": 12.0, "low": 8.0, "high": 17.0}
    entry["exposed_change"] = {"estimate": -8.0, "low": -13.0, "high": -3.0}
    assert disagreements(summary) == []
    assert "12 (8 to 17) are exposed without it: its change is from that number" in render(summary)
    untold = changed(page(summary), "protection", lambda table: replace(table, notes=()))
    assert any("protection 1: from" in one for one in disagreements_of(untold, summary))


def test_a_change_from_a_withheld_count_is_withheld_everywhere() -> None:
    summary = summaries.ALL["later parts"]()
    entry = summary["protection"][0]
    few = {"estimate": None, "low": 0.0, "high": 10.0, "fewer_than": {"estimate": 10}}
    entry["exposed"]["0.9"] = few
    entry["exposed_change"] = {"estimate": None, "low": None, "high": None}
    entry["removed"] = {"estimate": 1.0, "low": 1.0, "high": 1.0}
    shown = page(summary)
    table = tables_of(shown)["protection"]
    assert table.rows[1][3:] == (NOT_ESTIMABLE, NOT_ESTIMABLE)
    assert any("too small to be shown" in note for note in table.notes)
    assert tables_of(shown)["frontier (figure)"].rows[1][2] == "fewer than 10 (0 to 10)"
    assert "Change in exposed patients not shown: too few are exposed" in render(summary)
    figure = figures_of(shown)["frontier"]
    assert "A line without a dot" in figure.small_print
    assert isinstance(figure.plot, e.ScatterChart)
    assert figure.plot.spots[1].y.bounds_only


def changed(shown: e.Page, key: str, change: Any) -> e.Page:  # noqa: ANN401
    """A page with the block of that key changed."""
    sections = tuple(
        replace(
            section,
            blocks=tuple(
                change(block) if getattr(block, "key", "") == key else block
                for block in section.blocks
            ),
        )
        for section in shown.sections
    )
    return replace(shown, sections=sections)


def test_each_kind_of_contradiction_is_seen() -> None:
    summary = summaries.ALL["later parts"]()
    shown = page(summary)
    assert disagreements_of(shown, summary) == []

    def other_number(table: e.Table) -> e.Table:
        first, second, *rest = table.rows
        return replace(table, rows=(first, (second[0], "777 (770 to 790)", *second[2:]), *rest))

    def moved(figure: e.Figure) -> e.Figure:
        assert isinstance(figure.plot, e.ScatterChart)
        base, one, *rest = figure.plot.spots
        up = replace(one, y=replace(one.y, value=25.0))
        return replace(figure, plot=replace(figure.plot, spots=(base, up, *rest)))

    def from_elsewhere(table: e.Table) -> e.Table:
        first, second, *rest = table.rows
        return replace(table, rows=(first, (*second[:2], f"{MINUS}0.300", *second[3:]), *rest))

    def untold(table: e.Table) -> e.Table:
        kept = tuple(one for one in table.notes if "without it" not in one)
        assert len(kept) == len(table.notes) - 1
        return replace(table, notes=kept)

    cases = {
        "averages 1": changed(shown, "averages", from_elsewhere),
        "averages 6": changed(shown, "averages", untold),
        "price 1": changed(shown, "price", from_elsewhere),
        "nowhere in the summary": replace(shown, verdict=("It is 0.4567.",)),
        "headline": replace(shown, headline=replace(shown.headline, lead="3 of 6,000 patients")),
        "is not": changed(shown, "protection", other_number),
        "drawn on the other side": changed(shown, "frontier", moved),
        "which its table has not": changed(shown, "frontier", moved),
    }
    for words, page_of in cases.items():
        assert any(words in one for one in disagreements_of(page_of, summary)), words
    summary["decision"] = {
        "verdict": "pass",
        "checks": [{"key": "exposed.0.9", "what": "x", "verdict": "fail", "reason": "y"}],
    }
    assert any("its checks say fail" in one for one in disagreements(summary))


def test_two_groups_that_are_everybody_are_opposites() -> None:
    summary = summaries.ALL["later parts"]()
    row = {
        "patients": 4000,
        "mean_auc": 0.64,
        "difference": -0.15,
        "difference_low": -0.2,
        "difference_high": -0.1,
        "difference_any_records": -0.16,
        "difference_any_records_low": -0.22,
        "difference_any_records_high": -0.1,
        "rounded_to": 0.005,
    }
    turned = {
        "difference": 0.15,
        "difference_low": 0.1,
        "difference_high": 0.2,
        "difference_any_records": 0.16,
        "difference_any_records_low": 0.1,
        "difference_any_records_high": 0.22,
    }
    other = row | {"patients": 2000, "mean_auc": 0.8, "rounded_to": 0.02} | turned
    table = {"n_patients": 6000, "groups": {"no": row, "yes": other}}
    part = read_summary(summary | {"disparities": {"disease": table}})
    assert list(_opposites(part)) == []
    for key, words in (
        ("difference", "no opposites in difference"),
        ("difference_any_records_low", "no opposites in difference_any_records"),
        ("mean_auc", "do not differ by -0.16"),
    ):
        before, other[key] = other[key], other[key] - 0.05
        assert any(words in one for one in _opposites(part))
        other[key] = before
