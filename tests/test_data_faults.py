"""What was left out, who could not be assessed, and utility between two reports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.disclosure import ends, released
from auscult.disclosure.counts import possible_numbers
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.report.summary import Part

CELL = 10


def summary(lost: int, usable: int, **models: Any) -> dict[str, Any]:  # noqa: ANN401
    everybody = usable + lost
    return {
        "cohort": {
            "patients": everybody,
            "records": everybody,
            "classes": [{"name": "0", "records": everybody}],
            "left_out": [
                {"reason": "label missing", "records": 3},
                {"reason": "no such file", "records": 47, "patients": 12},
            ],
            "records_per_patient": {"max": 1, "bands": [{"records": "1", "patients": everybody}]},
        },
        "patients": {
            "count": everybody,
            "estimable": usable,
            "not_estimable": [{"reason": "too few models", "patients": lost}] if lost else [],
        },
        "models": models,
    }


def test_few_records_left_out_are_not_counted() -> None:
    few, many = released(summary(0, 100), CELL)["cohort"]["left_out"]
    assert few["records"] is None
    assert few["fewer_than"] == {"records": CELL}
    assert Part(few, "left_out").number("records") == CELL
    assert (many["records"], many["patients"]) == (47, 12)
    rounded = released(summary(0, 100), CELL, 5)["cohort"]["left_out"]
    assert (rounded[0]["records"], rounded[1]["records"], rounded[1]["patients"]) == (None, 45, 10)


@pytest.mark.parametrize("lost", range(1, 10))
@pytest.mark.parametrize("usable", [60, 97, 98, 113, 1000])
def test_few_who_could_not_be_assessed_do_not_follow_from_totals(lost: int, usable: int) -> None:
    trained = {"patients": (usable + lost) // 2, "of": usable + lost}
    made = released(summary(lost, usable, trained_on=trained), CELL)
    patients, cohort = made["patients"], made["cohort"]
    assert patients["not_estimable"] == [
        {"reason": "too few models", "patients": None, "fewer_than": {"patients": CELL}}
    ]
    low, high = ends(usable + lost, patients["count_rounded_to"])
    assert low <= usable + lost <= high
    assert high - max(low, usable + 1) + 1 >= possible_numbers(CELL)
    # Every other number of all patients is rounded in the same way: two would tell more.
    shown = [
        patients["count"],
        cohort["patients"],
        cohort["records"],
        cohort["classes"][0]["records"],
        cohort["records_per_patient"]["bands"][0]["patients"],
        made["models"]["trained_on"]["of"],
    ]
    assert len(set(shown)) == 1


def test_how_many_there_are_is_in_no_file_where_few_could_not_be_assessed(tmp_path: Path) -> None:
    """Of 2,037 patients three are IN all models: 2,034 are assessed, and 2,037 would tell three."""
    rng = np.random.default_rng(0)
    member = rng.random((16, 2037)).argsort(axis=0) < 8
    member[:, :3] = True
    signals = rng.standard_normal(member.shape) + member
    np.savez(
        tmp_path / "scores.npz",
        signals=signals.astype("f4"),
        membership=member,
        patient=np.arange(2037),
    )
    import_scores(read_npz(tmp_path / "scores.npz"), tmp_path / "run", seed=1)
    made = [*sorted((tmp_path / "run" / "results").iterdir()), tmp_path / "run" / "report.html"]
    assert len(made) > 3
    for file in made:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\d.])2,?037(?![\d.])", text), file.name
    said = json.loads((tmp_path / "run" / "results" / "summary.json").read_text())
    assert said["patients"]["estimable"] == 2034
    assert said["models"]["trained_on"] == {"patients": 1020, "of": 2040}


def test_many_who_could_not_be_assessed_are_counted() -> None:
    for lost in (0, 30):
        made = released(summary(lost, 100), CELL)
        assert made["patients"]["count"] == made["cohort"]["patients"] == 100 + lost
        assert sum(one["patients"] for one in made["patients"]["not_estimable"]) == lost


def test_utility_is_as_coarse_as_an_earlier_cohort_asks() -> None:
    said = "on patients it never saw a model ranks better than chance (AUROC {})"
    exact = {"mean": 0.81234, "low": 0.8051, "high": 0.8199, "metric": "auroc", "chance": 0.5}
    learned = {"verdict": True, "reason": said.format("0.812, 95% interval 0.805 to 0.820")}
    before = summary(0, 100, utility={**exact, "members": dict(exact)}, learned=learned)
    assert released(before, CELL)["models"]["utility"]["mean"] == 0.8123
    before["patients"]["rounded_to"] = 0.02
    made = released(before, CELL)["models"]
    for figure in (made["utility"], made["utility"]["members"]):
        assert (figure["mean"], figure["low"], figure["high"]) == (0.82, 0.8, 0.82)
        assert (figure["metric"], figure["chance"]) == ("auroc", 0.5)
    assert made["learned"]["reason"] == said.format("0.82, 95% interval 0.8 to 0.82")
    before["patients"]["rounded_to"] = None
    made = released(before, CELL)["models"]
    assert made["utility"]["mean"] is None
    assert "withheld" in made["utility"]["reason"]
    assert made["learned"]["reason"] == said.format("figures withheld")
