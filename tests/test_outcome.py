"""The label as a group: how patients are classed, what is shown, what is said first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from auscult import Audit, AuscultError, Cohort, SklearnRecipe
from auscult.config.policy import parse_policy
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.policy import judge
from auscult.report import headline, officer_markdown, opening, render
from auscult.results import Result
from auscult.results.analysis import AnalysisSettings
from auscult.results.comparing import compare
from auscult.risk.disparity import crossings
from auscult.risk.outcome import findings, label_of_patients, with_label
from tests.consistency import disagreements
from tests.simulation import balanced


def classed(labels: list[int], patient: list[int], names: str) -> list[str]:
    values = label_of_patients(np.array(labels), tuple(names), np.array(patient), max(patient) + 1)
    return [str(one) for one in values]


# How a patient is classed


def test_a_patient_with_several_labels_counts_under_the_rarest() -> None:
    # Patient 0 was once positive; b is the rarer of both classes.
    assert classed([0, 1, 0, 0, 0, 0], [0, 0, 1, 2, 3, 3], "ab") == ["b", "a", "a", "a"]
    # The same where the rare class comes first: no class is taken for the disease by its place.
    assert classed([1, 0, 1, 1, 1, 1], [0, 0, 1, 2, 3, 3], "ab") == ["a", "b", "b", "b"]


def test_rare_is_what_few_patients_have_not_few_records() -> None:
    # c: five records of one patient; b: two records of two patients, one of them that patient.
    assert classed([2, 2, 2, 2, 2, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 2, 3], "abc") == [
        "c", "b", "a", "a",
    ]  # fmt: skip


def test_of_classes_as_rare_the_later_counts() -> None:
    assert classed([0, 1], [0, 0], "ab") == ["b"]


def test_every_patient_has_a_class_like_a_loop_finds_it() -> None:
    rng = np.random.default_rng(2)
    patient = np.sort(rng.integers(0, 60, 300))
    patient = np.unique(patient, return_inverse=True)[1]
    labels = rng.choice(5, 300, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    ever = [{int(p) for p in patient[labels == c]} for c in range(5)]
    wanted = []
    for one in range(patient.max() + 1):
        own = {int(c) for c in labels[patient == one]}
        wanted.append("abcde"[min(own, key=lambda c: (len(ever[c]), -c))])
    found = label_of_patients(labels, tuple("abcde"), patient, len(wanted))
    assert found.tolist() == wanted


def test_of_several_labels_those_that_are_positive_count() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0], [1, 0]])
    found = label_of_patients(labels, ("common", "rare"), np.array([0, 1, 2, 2]), 3)
    assert found.tolist() == ["common", "rare", "common"]
    nobody = label_of_patients(labels[:3], ("a", "none of the labels"), np.arange(3), 3)
    assert nobody.tolist() == ["a", "none of the labels", "(none of the labels)"]


# Its name beside declared groups


def attributes(groups: dict[str, list[str]], labels: list[int], **how: Any) -> Any:  # noqa: ANN401
    table = pd.DataFrame(groups, index=range(len(labels)))
    return with_label(table, np.array(labels), ("no", "yes"), np.arange(len(labels)), **how)


def test_a_declared_group_of_the_same_name_is_kept() -> None:
    found = attributes({"died": ["u", "v", "w"]}, [0, 1, 0], name="died")
    assert found.label == "died (label)"
    assert found.table["died"].tolist() == ["u", "v", "w"]
    assert found.table["died (label)"].tolist() == ["no", "yes", "no"]
    both = {"died": ["u", "v", "w"], "died (label)": ["x", "x", "y"]}
    assert attributes(both, [0, 1, 0], name="died").label == "died (label) (label)"


def test_the_label_declared_as_a_group_is_not_shown_twice() -> None:
    found = attributes({"died": ["0", "1", "0"]}, [0, 1, 0], name="died")
    assert (found.label, found.added, found.extra) == ("died", False, None)
    assert list(found.table.columns) == ["died"]


def test_without_a_name_it_is_the_label() -> None:
    assert attributes({"sex": ["f", "m"]}, [0, 1]).label == "label"


def test_it_is_crossed_with_the_first_groups_and_takes_none_of_their_places() -> None:
    names = ["a", "b", "c", "d", "died"]
    assert crossings(names, label="died") == (
        ("a", "b"), ("a", "c"), ("a", "d"), ("died", "a"), ("died", "b"), ("died", "c"),
    )  # fmt: skip
    assert crossings(names[:4]) == (("a", "b"), ("a", "c"), ("a", "d"))


# What is found


def row(patients: int, mean: float, share: float, q: float | None) -> dict[str, Any]:
    return {
        "patients": patients, "mean_auc": mean, "exposed_0.9": share, "q": q,
        "exposed_0.9_low": 0.9 * share, "exposed_0.9_high": min(1.0, 1.1 * share),
        "difference": mean - 0.5, "difference_low": mean - 0.55,
    }  # fmt: skip


def test_a_class_that_holds_the_exposed_is_concentrated() -> None:
    rows = {"0": row(1821, 0.5, 0.0, 0.001), "1": row(20, 0.96, 0.95, 0.001)}
    (one,) = findings({"groups": rows})
    assert one["group"] == "1"
    assert one["concentrated"]
    assert one["share_of_exposed"] == pytest.approx(1.0)
    assert one["others_mean_auc"] == pytest.approx(0.5)


@pytest.mark.parametrize("q", [0.2, 0.0501])
def test_a_difference_that_may_be_chance_is_no_finding(q: float) -> None:
    assert findings({"groups": {"0": row(900, 0.5, 0.0, q), "1": row(20, 0.6, 0.1, q)}}) == []


def test_where_nobody_has_as_many_records_the_interval_decides() -> None:
    rows = {"0": row(900, 0.5, 0.0, None), "1": row(20, 0.9, 0.6, None)}
    assert [one["group"] for one in findings({"groups": rows})] == ["1"]


def test_a_larger_share_that_is_not_thrice_the_others_is_said_without_who() -> None:
    rows = {"0": row(500, 0.6, 0.2, 0.001), "1": row(500, 0.7, 0.4, 0.001)}
    found = findings({"groups": rows})
    assert [one["concentrated"] for one in found] == [False, False]
    assert [one["group"] for one in found] == ["1", "0"]


# All the way


def scores(folder: Path, *, labels: bool = True, groups: bool = True) -> Path:
    """400 patients, 14 of whom died; who died is given away, nobody else is."""
    rng = np.random.default_rng(3)
    died = np.arange(400) < 14
    member = balanced(400, 32, rng)
    signals = rng.normal(size=member.shape) + 3.5 * member * died
    arrays: dict[str, Any] = {"signals": signals, "membership": member, "patient": np.arange(400)}
    if labels:
        arrays["labels"] = died.astype(int)
    if groups:
        arrays["sex"] = np.where(np.arange(400) % 2, "f", "m")
    np.savez(folder / "scores.npz", **arrays)
    return folder / "scores.npz"


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("rare")
    return import_scores(read_npz(scores(folder)), folder / "run", seed=1)


def test_who_has_the_rare_label_is_said_beside_the_answer(rare: Result) -> None:
    said = opening(rare.summary)
    assert said[0] == headline(rare.summary)
    assert disagreements(rare.summary) == []
    assert said[1].startswith("Who has label = 1 is who is exposed: ")
    assert "of these 14 patients lie above 0.9" in said[1]
    assert said[2].startswith("With one model, and one threshold for everybody")
    html = render(rare.summary)
    answer = html[html.index('<div class="answer') : html.index('<dl class="facts">')]
    assert "is who is exposed" in answer
    assert "With one model" in answer
    officer = officer_markdown(rare.summary)
    assert "is who is exposed" in officer
    assert "also says something about the label" in officer


def test_the_label_is_compared_and_crossed(rare: Result) -> None:
    found = rare.summary["disparities"]
    assert found["label"]["groups"]["1"]["patients"] == 14
    assert "label & sex" in found
    # 14 deaths are 7 of either sex: neither follows from what is shown.
    assert all(one["patients"] >= 10 for one in found["label & sex"]["groups"].values())
    assert set(rare.patients["label"]) == {"0", "1"}


def test_the_gate_judges_the_label_by_default(rare: Result) -> None:
    text = "[groups]\nexposed_share = 0.5\n"
    policy = parse_policy({"groups": {"exposed_share": 0.5}}, text, "policy.toml")
    decision = judge(policy, rare.summary)
    broken = [one.what for one in decision.checks if one.verdict == "fail"]
    assert "Share of label = 1 with an AUC above 0.9" in broken
    # The class alone, or a pool of its crossings: no other group is above the limit.
    assert all("label" in one for one in broken)


def test_a_label_of_fewer_than_a_cell_is_pooled(tmp_path: Path) -> None:
    result = import_scores(
        read_npz(scores(tmp_path)),
        tmp_path / "run",
        seed=1,
        settings=AnalysisSettings(smallest_cell=15),
    )
    assert list(result.summary["disparities"]["label"]["groups"]) == ["0"]
    assert result.summary["label"]["findings"] == []


@pytest.mark.parametrize(
    ("labels", "wanted", "reason"),
    [
        (False, True, "no labels were given"),
        (True, False, "left out, as declared: label_group = false"),
    ],
)
def test_a_label_that_is_not_compared_is_said(
    tmp_path: Path, labels: bool, wanted: bool, reason: str
) -> None:
    result = import_scores(
        read_npz(scores(tmp_path, labels=labels, groups=False)),
        tmp_path / "run",
        settings=AnalysisSettings(label_group=wanted),
    )
    assert result.summary["label"]["attribute"] is None
    assert result.summary["disparities"] == {}
    for page in (render(result.summary), officer_markdown(result.summary)):
        assert f"The label is not compared: {reason}." in page.replace("\\_", "_")


def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "id": [f"p{i // 2}" for i in range(120)],
            "x": rng.normal(size=120),
            "sex": np.where(np.arange(120) // 2 % 2, "f", "m"),
            "score": rng.normal(size=120),
            "flu": rng.integers(0, 2, 120),
            "gout": (np.arange(120) < 30).astype(int),
            "died": (np.arange(120) < 25).astype(int),
        }
    )


@pytest.mark.parametrize(
    ("how", "name", "groups"),
    [
        ({"label": "died"}, "died", {"0", "1"}),
        (
            {"label": "score", "label_bins": [-0.5, 0.5]},
            "score",
            {"< -0.5", "-0.5 to < 0.5", ">= 0.5"},
        ),
        ({"label": ["flu", "gout"]}, "label", {"flu", "gout", "none of the labels"}),
        ({"label": "died", "groups": ["sex", "died"]}, "died (label)", {"0", "1"}),
    ],
)
def test_a_cohorts_label_has_its_columns_name(
    how: dict[str, Any], name: str, groups: set[str]
) -> None:
    cohort = Cohort.from_table(table(), patient="id", **how)
    found = Audit(cohort, SklearnRecipe()).attributes()
    assert found.label == name
    assert set(found.table[name]) <= groups
    assert found.table[name].nunique() >= 2


def test_the_label_can_be_crossed_and_left_out() -> None:
    cohort = Cohort.from_table(table(), patient="id", label="died", groups=["sex"])
    Audit(cohort, SklearnRecipe(), intersections=(("died", "sex"),)).check()
    audit = Audit(cohort, SklearnRecipe(), intersections=(("died", "sex"),), label_group=False)
    with pytest.raises(AuscultError, match='"died" is not a group'):
        audit.check()


def test_a_run_compares_by_label_and_splits_no_utility_by_it(tmp_path: Path) -> None:
    cohort = Cohort.from_table(table(), patient="id", label="died", groups=["sex"])
    recipe = SklearnRecipe(LogisticRegression(max_iter=50))
    result = Audit(cohort, recipe, models=8, seed=1).run(tmp_path / "run", workers=1)
    found = result.summary["disparities"]
    assert set(found) == {"sex", "died", "died & sex"}
    # Groups that were pooled to protect a small cell have no utility of their own.
    whole = [one for name, one in found["sex"]["groups"].items() if "group" not in name]
    assert all("utility" in one for one in whole)
    assert not any("utility" in one for one in found["died"]["groups"].values())
    assert result.summary["cohort"]["groups"] == ["sex"]
    assert (result.patients["died"] == "1").sum() == 13
    # Seen again from its files, as `compare` does: the label is still no group of utility.
    other = Audit(cohort, recipe, models=8, seed=1, label_group=False).run(tmp_path / "other")
    assert "died" not in other.summary["disparities"]
    assert "died" not in other.patients
    entry = compare([tmp_path / "run", tmp_path / "other"]).entries[0]
    assert entry["worst_group_utility_change"] is None or (
        entry["worst_group_utility_change"]["attribute"] == "sex"
    )
