"""Nested counts, rates, intervals and p-values tell no more than one rounded figure."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from auscult.base.intervals import clopper_pearson
from auscult.config.policy import parse_policy
from auscult.disclosure import outward, released
from auscult.disclosure.nested import between
from auscult.policy import judge
from auscult.risk.composition import top_composition
from auscult.risk.published import coarse_p, rounded_row
from tests.report_simulation import simulated

CELL = 10


def test_a_cell_between_two_counts_is_seen() -> None:
    assert between([0, 25, 23, 400], CELL)
    assert between([0, 397, 400], CELL)
    assert not between([0, 10, 20, 400], CELL)
    assert not between([0, 25, 25, 400], CELL)


def test_counts_of_a_series_are_rounded_together() -> None:
    exposed = {
        "0.8": {"estimate": 30, "low": 20, "high": 40, "confirmed": 12, "raw": 25, "study": 60},
        "0.9": {"estimate": 20, "low": 10, "high": 30, "confirmed": 12, "raw": 23, "study": 40},
    }
    curve = {"auc": [0.8, 0.9], "joint": [0.075, 0.05], "raw": [25 / 400, 23 / 400]}
    patients = {"count": 400, "estimable": 400, "exposed": exposed, "survival": curve}
    made = released({"patients": patients}, CELL)["patients"]
    assert [made["exposed"][t]["raw"] for t in exposed] == [25, 25]
    assert [made["exposed"][t]["study"] for t in exposed] == [60, 40]
    assert made["survival"]["raw"] == [25 / 400, 25 / 400]
    assert made["counts_rounded_to"] == 5
    declared = released({"patients": copy.deepcopy(patients)}, CELL, 3)["patients"]
    assert [declared["exposed"][t]["study"] for t in exposed] == [60, 40]
    assert declared["exposed"]["0.8"]["estimate"] == 30


def few_models(step: object = 0.0) -> dict[str, Any]:
    """With few models an interval ends with those who are confirmed: 17 above, all but 4 below."""
    rows = {
        "0.6": {"estimate": 83.2, "low": 17, "high": 152, "confirmed": 17, "raw": 90, "study": 99},
        "0.9": {"estimate": 17.4, "low": 3, "high": 66, "confirmed": 3, "raw": 30, "study": 40},
    }
    patients: dict[str, Any] = {"count": 156, "estimable": 156, "exposed": rows}
    patients["few_models"] = "only bounds are known"
    patients |= {"rounded_to": step} if step != 0.0 else {}
    cohort = {"patients": 156, "records": 252}
    return released({"patients": patients, "cohort": cohort}, CELL)


def test_ends_of_intervals_count_nobody_who_is_confirmed() -> None:
    rows = few_models()["patients"]["exposed"]
    assert rows["0.9"]["confirmed"] is None
    assert [rows[t]["low"] for t in rows] == [15, 0]
    assert [rows[t]["high"] for t in rows] == [156, 70]


def test_other_ends_stay_as_they_are() -> None:
    """They are of a distribution that was learned: nobody is counted in them."""
    rows = {
        "0.8": {"estimate": 20.1, "low": 14.0, "high": 28.0, "confirmed": 0},
        "0.9": {"estimate": 12.3, "low": 3.0, "high": 21.0, "confirmed": 3},
        "0.95": {"estimate": 12.3, "low": 4.0, "high": 21.0, "confirmed": 3},
    }
    made = released({"patients": {"count": 900, "estimable": 900, "exposed": rows}}, CELL)
    found = made["patients"]["exposed"]
    assert (found["0.8"]["low"], found["0.8"]["high"]) == (14.0, 28.0)
    assert found["0.9"]["low"] == 0.0, "who is confirmed"
    assert (found["0.95"]["low"], found["0.95"]["high"]) == (4.0, 21.0)


def test_ends_of_a_protection_count_nobody_either() -> None:
    """Its own models may be few where those of the audit are not."""
    for reason, ends in (("only bounds are known", (0.0, 70.0)), ("", (3.0, 66.0))):
        change = {"estimate": None if reason else -4.0, "reason": reason}
        row = {"estimate": 17.4, "low": 3.0, "high": 66.0}
        entry = {"exposed": {"0.9": row}, "exposed_change": change}
        patients = {"count": 156, "estimable": 156, "exposed": {}}
        made = released({"patients": patients, "protection": [entry]}, CELL)
        found = made["protection"][0]["exposed"]["0.9"]
        assert (found["low"], found["high"]) == ends, reason


def test_whole_ends_are_rounded_where_an_earlier_cohort_differs_by_few() -> None:
    """16 of 155 were confirmed before, and 17 of 156 are now: that is who came."""
    made = few_models(None)
    row = made["patients"]["exposed"]["0.6"]
    assert (row["confirmed"], row["low"], row["high"]) == (20, 0, 156)
    # The number of records, less that of the earlier report, would be theirs.
    assert made["cohort"] == {"patients": 156, "records": 260}


def release() -> dict[str, Any]:
    def row(patients: int, hits: int, false: int) -> dict[str, Any]:
        found: dict[str, Any] = {"patients": patients}
        for key, rate, number, of in (("true", "tpr", hits, 60), ("false", "fpr", false, 50)):
            low, high = clopper_pearson(number, of)
            found[key] = {"estimate": number, "low": low * of, "high": high * of, "of": of}
            found[rate] = {"estimate": number / of, "low": low, "high": high, "n": of}
        return found

    expected = {"estimate": 40.2, "low": 36.0, "high": 47.0}
    named = [
        {"posterior": 0.5, "prior": 0.5, "expected_members": expected, **row(47, 43, 4)},
        {"posterior": 0.9, "prior": 0.5, "expected_members": dict(expected), **row(44, 41, 3)},
    ]
    return {"estimable": 110, "named": named, "at_fpr": [{"rate": 0.01, **row(6, 6, 0)}]}


@pytest.mark.parametrize("number", range(41, 50))
def test_the_expected_number_of_sure_members_does_not_count_the_named(number: int) -> None:
    """Where everybody trained the release, as many members are expected as are named."""
    sure = {"estimate": float(number), "low": number - 0.4, "high": float(number)}
    content: dict[str, Any] = {"estimable": 110}
    content["named"] = [{"patients": number, "expected_members": sure}]
    content["named"].append({"patients": number - 3, "expected_members": {"estimate": 20.0}})
    first, second = released({"release": content}, CELL)["release"]["named"]
    expected = first["expected_members"]
    assert first["patients"] % 5 == 0
    assert expected["low"] <= expected["estimate"] <= expected["high"] <= first["patients"]
    assert expected["estimate"] == first["patients"]
    assert second["expected_members"]["estimate"] == pytest.approx(
        20 * second["patients"] / (number - 3), rel=1e-3
    )


def test_rates_go_with_their_counts() -> None:
    before = release()
    made = released({"release": before}, CELL)["release"]
    first, second = made["named"]
    assert first["false"]["estimate"] is None
    assert first["fpr"]["estimate"] is None
    assert first["fpr"]["low"] is None
    assert [first["true"]["estimate"], second["true"]["estimate"]] == [45, 40]
    assert first["tpr"]["estimate"] == pytest.approx(45 / 60, abs=1e-4)
    # Named less true members would be the few non-members.
    assert first["patients"] - first["true"]["estimate"] not in range(1, 5)
    assert first["expected_members"]["high"] != 47
    few = made["at_fpr"][0]
    assert few["patients"] is None
    assert few["tpr"]["estimate"] is None
    assert few["false"]["estimate"] == 0
    assert before == release()


def test_few_patients_left_out_have_no_mean() -> None:
    mean = {"estimate": 0.91, "low": 0.8, "high": 0.95, "n": 4}
    layers = {
        "removed": {"patients": 4, "mean_auc_before": dict(mean), "mean_auc": dict(mean)},
        "remaining": {"patients": 396, "mean_auc_before": dict(mean), "mean_auc": dict(mean)},
    }
    stayed = {"mean_auc_change": {"estimate": -0.1, "low": -0.2, "high": -0.05, "n": 896}}
    made = released({"protection": [{"layers": layers, "worst_group": None, **stayed}]}, CELL)
    # The number of those who stay tells, beside everybody's, how many left.
    assert made["protection"][0]["mean_auc_change"]["n"] is None
    gone, stay = (made["protection"][0]["layers"][k] for k in ("removed", "remaining"))
    assert gone["patients"] is None
    assert gone["mean_auc_before"]["estimate"] is None
    assert stay["patients"] is None
    assert stay["mean_auc_before"]["estimate"] == 0.91
    assert stay["mean_auc_before"]["n"] is None
    assert layers["removed"]["patients"] == 4


def row_of(mean: float, tail: float, n: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(
        ("p", "q", "patients_compared", "others_compared", "difference_same_records")
    )
    row |= {"patients": n, "others": 400 - n, "mean_auc": mean, "low": mean - 0.03}
    row |= {"high": mean + 0.03, "exposed_0.9": tail, "exposed_0.9_low": 0, "exposed_0.9_high": 1}
    exact = (400 * (mean - 0.6)) / (400 - n)
    for name in ("difference", "difference_any_records"):
        row |= {name: exact, f"{name}_low": exact - 0.04, f"{name}_high": exact + 0.04}
    return row


def test_everything_of_a_group_follows_from_its_rounded_figures() -> None:
    """Whatever the exact mean and share within their rounding, the published row is the same."""
    rng = np.random.default_rng(0)
    rows = [
        rounded_row(row_of(0.7 + off, 0.2 + share, 40), 0.02, 1, patients=400, overall=0.6)
        for off, share in rng.uniform(-0.0099, 0.0099, (50, 2))
    ]
    assert all(row == rows[0] for row in rows)
    assert rows[0]["mean_auc"] == 0.7
    assert rows[0]["low"] <= 0.67
    assert rows[0]["high"] >= 0.73


def test_a_p_value_near_one_tells_no_difference() -> None:
    assert [coarse_p(p) for p in (1.0, 0.97, 0.5, 0.21, 0.11, 0.06)] == [1, 1, 0.5, 0.5, 0.2, 0.1]
    for p in (0.05, 0.0123456, 1e-9, 3.3e-300):
        coarse = coarse_p(p)
        assert coarse is not None
        assert p <= coarse <= 1.11 * p
    assert coarse_p(None) is None
    assert coarse_p(0.0) == 0.0


def test_ends_move_outward_and_only_once() -> None:
    assert outward(0.213, 0.287, 0.02) == (0.2, 0.3)
    assert outward(0.2, 0.3, 0.02) == (0.2, 0.3)
    assert outward(None, 0.3, 0.02) == (None, 0.3)


def test_who_is_in_the_top_is_said_from_rounded_numbers() -> None:
    """Any number that is rounded alike gives the same residuals, chi-squared and p."""
    import pandas as pd

    found = []
    for more in (-2, 0, 2):
        auc = np.linspace(0.5, 0.99, 400)
        group = np.full(400, "b", dtype=object)
        group[-(15 + more) :] = "a"
        group[: 85 - more] = "a"
        one = top_composition(pd.DataFrame({"g": group}), (auc, auc), smallest_cell=CELL)["g"]
        found.append({**one, "groups": dict(sorted(one["groups"].items()))})
    assert found[0] == found[1] == found[2]
    rare = np.where(np.arange(400) % 20 == 0, "r", "b")
    auc = np.linspace(0.5, 0.99, 400)
    one = top_composition(pd.DataFrame({"g": rare}), (auc, auc), smallest_cell=CELL)["g"]
    assert one["groups"]["r"]["residual"] == 0  # 1 or 2 of 30, and 1.5 are expected


def test_policies_limit_structure_and_ask_how_figures_were_released() -> None:
    text = "[structure]\nleaves = 0\nrecords = 0\n[disclosure]\ncounts_rounded_to = 5\n"
    content = {"structure": {"leaves": 0, "records": 0}, "disclosure": {"counts_rounded_to": 5}}
    policy = parse_policy(content, text, "policy.toml")
    summary = simulated()

    def verdicts() -> dict[str, str]:
        return {one.key: one.verdict for one in judge(policy, summary).checks}

    assert verdicts()["structure.leaves"] == "inconclusive"
    assert verdicts()["disclosure.counts_rounded_to"] == "fail"
    found = [{"key": "leaves", "part": "DecisionTreeClassifier", "count": 3, "what": "3 leaves"}]
    summary["structure"] = {"smallest_cell": 10, "findings": found}
    summary["disclosure"] = {"counts_rounded_to": 10}
    assert verdicts()["structure.leaves"] == "fail"
    assert verdicts()["structure.records"] == "pass"
    assert verdicts()["disclosure.counts_rounded_to"] == "pass"
