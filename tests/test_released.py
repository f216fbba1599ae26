"""What leaves a run is released: no small count, no digits that say nothing, in no file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.base.files import SECRET_MODE
from auscult.config.policy import parse_policy
from auscult.disclosure import released
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.policy import judge_run
from auscult.report import render
from auscult.results.result import Result
from tests.consistency import disagreements

PATIENTS, MODELS, FEW = 150, 24, 4


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Four patients are given away, one of them alone in a class; one has nine records."""
    folder = tmp_path_factory.mktemp("released")
    rng = np.random.default_rng(5)
    count = np.r_[9, np.full(PATIENTS - 1, 1)]
    patient = np.repeat(np.arange(PATIENTS), count)
    member = rng.random((MODELS, PATIENTS)).argsort(0) < MODELS // 2
    signals = rng.standard_normal((MODELS, patient.size))
    signals += 4 * (member & (np.arange(PATIENTS) < FEW))[:, patient]
    labels = np.where(patient == 0, 2, patient % 2)
    sex = np.where(
        np.arange(PATIENTS) < 3, "unknown", np.where(rng.random(PATIENTS) < 0.5, "f", "m")
    )
    np.savez(
        folder / "scores.npz",
        signals=signals.astype("f4"),
        membership=member,
        patient=patient,
        labels=labels,
        sex=sex[patient],
    )
    return import_scores(read_npz(folder / "scores.npz"), folder / "run", seed=1)


def exact(result: Result) -> dict[str, Any]:
    path = result.path / "secret" / "exact.json"
    assert path.stat().st_mode & 0o777 == SECRET_MODE
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_small_counts_are_fewer_than_the_cell(result: Result) -> None:
    before, now = (s["patients"]["exposed"]["0.9"] for s in (exact(result), result.summary))
    assert disagreements(result.summary) == []
    assert 0.5 < before["estimate"] < 10
    assert now["estimate"] is None
    assert (now["low"], now["high"]) == (0.0, max(10.0, before["high"]))
    assert now["fewer_than"]["estimate"] == 10
    if before["confirmed"]:
        assert now["confirmed"] is None
    assert result.headline.startswith("Fewer than 10 of 150 patients are exposed")
    report = render(result.summary)
    assert "fewer than 10" in report


def test_maxima_and_rare_classes_are_cells(result: Result) -> None:
    cohort = result.summary["cohort"]
    assert cohort["records_per_patient"]["max"] == 1
    assert len(exact(result)["patients"]["weights"]) > 1
    assert list(result.summary["patients"]["weights"]) == ["1"], "the others name a maximum"
    rare = cohort["classes"][2]
    assert rare["records"] is None
    assert rare["fewer_than"] == {"patients": 10}
    rest = cohort["records"] - sum(c["records"] for c in cohort["classes"][:2])
    assert rest != 9
    assert result.summary["patients"]["auc"]["q99"] is None


def test_no_figure_of_patients_has_many_digits(result: Result) -> None:
    for part in ("patients", "disparities", "aggregate", "models"):
        for number in re.findall(
            r"\d+\.\d+(?:e-?\d+)?", json.dumps(_without_p(result.summary[part]))
        ):
            assert len(number.replace(".", "").lstrip("0").split("e")[0]) <= 4, (part, number)


def _without_p(part: Any) -> Any:  # noqa: ANN401
    if isinstance(part, dict):
        kept = ("p", "q", "null", "planning", "weights", "fpr", "method", "reason", "rounded_to")
        return {k: _without_p(v) for k, v in part.items() if k not in kept}
    return [_without_p(v) for v in part] if isinstance(part, list) else part


def test_every_table_names_the_same_groups(result: Result) -> None:
    for entry in result.summary["disparities"].values():
        groups = set(entry["groups"])
        assert set((entry.get("composition") or {"groups": {}})["groups"]) <= groups
    sex = result.summary["disparities"]["sex"]
    assert "unknown" not in sex["groups"]
    assert PATIENTS - sum(row["patients"] for row in sex["groups"].values()) != 3


def test_the_gate_judges_exact_figures_and_shows_released_ones(result: Result) -> None:
    found = exact(result)["patients"]["exposed"]["0.9"]
    most = int(np.ceil(found["high"]))
    for limit, verdict in ((most, "pass"), (0, "fail")):
        assert found["low"] > 0
        text = f'[exposed."0.9"]\npatients = {limit}\n[evidence]\nmodels = 16\nlearned = false\n'
        policy = parse_policy(
            {
                "exposed": {"0.9": {"patients": limit}},
                "evidence": {"models": 16, "learned": False},
            },
            text,
            "policy.toml",
        )
        check = next(c for c in judge_run(result.path, policy).checks if c.key == "exposed.0.9")
        assert check.verdict == verdict
        assert (check.estimate, check.low, check.high) == (None, 0.0, max(10.0, most))
        assert check.reason in ("", "Patients with an AUC above 0.9: not within the limit of 0")


def test_protections_do_not_tell_what_is_withheld() -> None:
    entry = {
        "exposed": {"0.9": {"estimate": 4.2, "low": 1, "high": 9, "null": 0}},
        "exposed_before": {"0.9": {"estimate": 17.3, "low": 11, "high": 25}},
        "exposed_change": {"estimate": -13.1, "low": -19, "high": -8},
        "removed": {"estimate": 0.757, "low": 0.61, "high": 0.92},
        "confirmed": 3,
        "worst_group": {"attribute": "race", "group": "x", "patients": 12, "mean_auc": {}},
    }
    made = released({"protection": [entry], "disparities": {}}, 10)["protection"][0]
    assert made["exposed"]["0.9"]["estimate"] is None
    assert made["exposed_before"]["0.9"]["estimate"] == 17.3
    assert made["exposed_change"]["estimate"] is None
    assert made["removed"]["estimate"] == 0.8
    assert made["confirmed"] is None
    assert made["worst_group"] is None
    assert entry["confirmed"] == 3


def test_files_carry_nothing_exact(result: Result) -> None:
    mean = exact(result)["patients"]["auc"]["mean"]
    for path in result.path.rglob("*"):
        if path.is_file() and "secret" not in path.parts and path.suffix != ".npy":
            assert repr(mean) not in path.read_text(errors="replace"), path.name


def test_the_copy_is_complete(tmp_path: Path, result: Result) -> None:
    assert set(exact(result)) == set(result.summary)


def test_no_whole_number_tells_who_was_added_to_a_release() -> None:
    """An earlier report is about all but one patient: what the two differ by is about that one."""
    found: dict[str, Any] = {
        "disclosure": {"earlier_reports": 1, "labels_as_before": False},
        "cohort": {"classes": [{"name": "yes", "records": 145}, {"name": "no", "records": 141}]},
        "patients": {"rounded_to": 0.02, "estimable": 171},
        "protection": [
            {"layers": {"removed": {"patients": 37}, "remaining": {"patients": 134}}},
        ],
        "release": {
            "patients": 171,
            "estimable": 171,
            "members": {"members": 86, "non_members": 84, "unknown": 1, "unmatched": 1},
            "blind": {"members": 86, "others": 84, "records": 291},
            "auc": {"estimate": 0.812, "members": 86, "non_members": 84},
            "named": [
                {
                    "patients": 62,
                    "true": {"estimate": 41, "low": 30.1, "high": 52.2, "of": 86},
                    "tpr": {"estimate": 0.47, "low": 0.35, "high": 0.6},
                    "false": {"estimate": 21, "low": 14.0, "high": 29.0, "of": 84},
                    "fpr": {"estimate": 0.25, "low": 0.16, "high": 0.35},
                }
            ],
        },
    }
    made = released(found, 10)
    assert [one["records"] for one in made["cohort"]["classes"]] == [None, None]
    numbers: list[float] = []

    def look(part: Any) -> None:  # noqa: ANN401
        for value in part.values() if isinstance(part, dict) else part:
            if isinstance(value, dict | list):
                look(value)
            elif isinstance(value, int | float) and value >= 1:
                numbers.append(value)

    look({k: v for k, v in made["release"].items() if k not in ("patients", "estimable")})
    look(made["protection"])
    assert len(numbers) >= 14
    assert {number % 5 for number in numbers} == {0}
    alone = released(found | {"patients": {"estimable": 171}, "disclosure": {}}, 10)
    assert alone["cohort"] == found["cohort"]
    assert alone["release"]["members"] == found["release"]["members"]
