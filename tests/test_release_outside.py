"""Non-members from outside the cohort: read below its table, they did not train a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from auscult import Audit, AuscultError, Cohort
from auscult.config import load
from auscult.policy.limits import release_limits
from auscult.policy.rules import Policy, ReleaseLimits
from auscult.release import FileDoor, MemberList, Release
from auscult.report.officer_tables import named_sentence
from auscult.report.release import outside_sentence
from auscult.report.summary import Part
from tests.released import frame_of, recipe, table
from tests.test_cli import run as command
from tests.test_gate import AUDIT

OUTSIDE = 40
MODULE = """
import numpy as np

def predict(inputs):
    return 1 / (1 + np.exp(-inputs["x0"].to_numpy()))
"""
RELEASE = """
[release]
door = "function"
function = "released_outside:predict"
members = "visits.csv"
members_column = "person"
non_members = "other.csv"
"""


def written(folder: Path, *, far: bool = False) -> Path:
    """Sixty patients who trained it, and forty from elsewhere; the configuration."""
    frame = table(60 + OUTSIDE)
    number = frame["person"].str[3:7].astype(int)
    other = frame[number >= 60].copy()
    if far:
        other["x5"] += 8.0
    # Another order of columns, and one more, make no difference.
    other.assign(site="north")[["site", *frame.columns[::-1]]].to_csv(
        folder / "other.csv", index=False
    )
    frame[number < 60].to_csv(folder / "visits.csv", index=False)
    (folder / "released_outside.py").write_text(MODULE, encoding="utf-8")
    text = AUDIT.format(models=20).replace('"lbfgs", max_iter = 60', '"lbfgs", max_iter = 10')
    path = folder / "audit.toml"
    path.write_text(text.replace("seed = 3", 'seed = 3\nshare = "as released"') + RELEASE)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("far", [False, True])
def test_a_release_of_everybody_has_non_members_from_elsewhere(
    far: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, out = written(tmp_path, far=far), tmp_path / "run"
    code, _, said = command(monkeypatch, "run", path, "--out", out, "--workers", "1")
    assert code == 0, said
    summary = json.loads((out / "results" / "summary.json").read_text())
    release = summary["release"]
    assert summary["models"]["trained_on"] == {"patients": 60, "of": 100}
    assert release["members"]["members"] == 60
    assert release["members"]["non_members"] == OUTSIDE
    assert release["members"]["share"] == 0.6
    assert release["known_total"] is True
    assert release["outside"]["patients"] == OUTSIDE
    assert release["outside"]["blind"]["above_chance"] is far
    assert release["transfer"]["other_share"] is False
    row = next(one for one in release["named"] if one["posterior"] == 0.5)
    assert row["fpr"]["n"] == OUTSIDE  # with its interval, no longer "not estimable"
    notes = " ".join(summary["cohort"]["notes"])
    assert "rows of other.csv follow those of visits.csv" in notes
    assert "1 columns of other.csv that visits.csv lacks were left out" in notes
    report = (out / "report.html").read_text(encoding="utf-8")
    assert f"{OUTSIDE} patients of its non-members come from elsewhere" in report
    words = "do not show what holds" if far else "not prove that they are alike"
    assert words in report
    assert words in (out / "results" / "officer.md").read_text(encoding="utf-8")
    resolved = (out / "audit.toml").read_text()
    assert str(tmp_path / "other.csv") in resolved
    for public in ("results/summary.json", "results/officer.md", "report.html"):
        assert "Zxq" not in (out / public).read_text(encoding="utf-8")


def overlapping(folder: Path) -> None:
    frame = pd.read_csv(folder / "other.csv")
    first = pd.read_csv(folder / "visits.csv").iloc[:2].assign(site="north")
    pd.concat([frame, first]).to_csv(folder / "other.csv", index=False)


def lacking(folder: Path) -> None:
    pd.read_csv(folder / "other.csv").drop(columns=["x3", "x4"]).to_csv(
        folder / "other.csv", index=False
    )


def unlabelled(folder: Path) -> None:
    pd.read_csv(folder / "other.csv").assign(outcome=None).to_csv(folder / "other.csv", index=False)


def parquet(folder: Path) -> None:
    pd.read_csv(folder / "other.csv").to_parquet(folder / "other.parquet")
    rewritten(folder, '"other.csv"', '"other.parquet"')


def rewritten(folder: Path, old: str, new: str) -> None:
    path = folder / "audit.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def listed(folder: Path) -> None:
    names = [
        *pd.read_csv(folder / "visits.csv")["person"],
        *pd.read_csv(folder / "other.csv")["person"][:3],
    ]
    pd.DataFrame({"person": names}).to_csv(folder / "members.csv", index=False)
    rewritten(folder, 'members = "visits.csv"', 'members = "members.csv"')


def nobody(folder: Path) -> None:
    rewritten(folder, 'members = "visits.csv"\nmembers_column = "person"\n', "")


def flagged(folder: Path) -> None:
    rewritten(folder, 'members = "visits.csv"\nmembers_column = "person"', 'members_flag = "sex"')


def absent(folder: Path) -> None:
    (folder / "other.csv").unlink()


def other_labels(folder: Path) -> None:
    frame = pd.read_csv(folder / "other.csv")
    frame.loc[0, "outcome"] = "perhaps"
    frame.to_csv(folder / "other.csv", index=False)


def twice(folder: Path) -> None:
    text = (folder / "other.csv").read_text().splitlines()
    text[0] = text[0].replace("x3", "x4")
    (folder / "other.csv").write_text("\n".join(text))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (overlapping, ["1 of its 41 patients are in visits.csv as well", "release.non_members"]),
        (lacking, ['lacks columns of visits.csv: "x3", "x4"', "other.csv"]),
        (unlabelled, ["none of its 40 patients is in the cohort", "with a label"]),
        (parquet, ["another kind of file than visits.csv"]),
        (listed, ["of its patients are on the list of members"]),
        (nobody, ["non_members requires members"]),
        (flagged, ["non_members requires members"]),
        (absent, ["other.csv", "no such file"]),
        (other_labels, ['1 of its values of "outcome" do not occur', "cohort.positive"]),
        (twice, ["other.csv", "x4"]),
    ],
)
def test_what_cannot_be_outside(
    spoil: Any,  # noqa: ANN401
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written(tmp_path)
    spoil(tmp_path)
    code, _, said = command(monkeypatch, "check", path)
    told = " ".join(said.split())
    assert code == 2, told
    for word in words:
        assert word in told
    assert "Zxq" not in told
    assert "Traceback" not in told


def test_declared_labels_may_be_new(tmp_path: Path) -> None:
    path = written(tmp_path)
    other_labels(tmp_path)
    rewritten(tmp_path, 'label = "outcome"', 'label = "outcome"\npositive = ["yes", "perhaps"]')
    assert load(path).audit().cohort.patients == 60 + OUTSIDE


def test_arrays_have_no_table_of_their_own(tmp_path: Path) -> None:
    from auscult.config.cohort import CohortPart
    from auscult.config.release import ReleasePart

    images = CohortPart(table="a.csv", images="b.npz", patient="p", label="y")
    part = ReleasePart(
        door="file", path="x.npy", members="m.csv", non_members="o.csv", others="unknown"
    )
    with pytest.raises(AuscultError, match="only a cohort that is a table"):
        part.beside(tmp_path, images)


def test_outside_in_python(tmp_path: Path) -> None:
    frame = table(100)
    people = Cohort.from_table(
        frame, patient="person", label="outcome", groups=["sex"], exclude=["sex"]
    )
    ids = people.patient_ids.reveal()
    np.save(tmp_path / "answers.npy", frame_of(people)["x0"].to_numpy())
    door = FileDoor(path=tmp_path / "answers.npy")
    members = MemberList(source=ids[:60].tolist(), others="unknown")
    release = Release(door=door, output="logits", members=members, non_members=ids[60:85].tolist())
    roll = release.ask(people).roll
    assert roll.reveal().tolist() == [1] * 60 + [0] * 25 + [-1] * 15
    assert np.flatnonzero(roll.reveal_outside()).tolist() == list(range(60, 85))
    assert "Zxq" not in repr(release)
    assert release.share_of_members(people) is None
    for bad, words in (
        (ids[50:70].tolist(), "10 of its patients are on the list of members"),
        (["nobody"], "none of its 1 patients"),
    ):
        with pytest.raises(AuscultError, match=words):
            Release(door=door, output="logits", members=members, non_members=bad).check(people)
    with pytest.raises(AuscultError, match="no other patient is known to be a member"):
        Release(door=door, output="logits", non_members=ids[60:].tolist()).check(people)
    audit = Audit(people, recipe(), models=20, share="as released")
    audit.release = Release(
        door=door,
        output="logits",
        members=MemberList(source=ids[:60].tolist()),
        non_members=ids[60:].tolist(),
    )
    assert audit.share_of_members == 0.6


def test_what_people_from_elsewhere_do_not_prove() -> None:
    def verdicts(outside: dict[str, Any] | None) -> tuple[str, str]:
        count = {"estimate": 40.0, "low": 30.0, "high": 50.0}
        release = {
            "calibration": {"ece": {"estimate": 0.01, "low": 0.005, "high": 0.015}},
            "likeness": {"verdict": True},
            "named": [{"posterior": 0.9, "prior": 0.5, "true": count}],
            "outside": outside,
        }
        policy = Policy(release=ReleaseLimits(named={"0.9": 60}))
        found = [one.judged() for one in release_limits(policy, {"release": release})]
        return found[-1].verdict, found[-1].reason

    auc = {"mean": 0.5, "low": 0.4, "high": 0.6}
    assert verdicts(None)[0] == "pass"
    assert verdicts({"patients": 40, "blind": {"auc": auc, "above_chance": False}})[0] == "pass"
    told = verdicts({"patients": 40, "blind": {"auc": auc, "above_chance": True}})
    assert told[0] == "inconclusive"
    assert "without any model" in told[1]
    unknown = {"auc": {"mean": None}, "reason": "the records themselves are not at hand"}
    told = verdicts({"patients": None, "blind": unknown})
    assert told[0] == "inconclusive"
    assert "not at hand" in told[1]
    said = outside_sentence(Part({"outside": {"patients": None, "blind": unknown}}))
    assert "not known: the records themselves are not at hand" in said
    assert said in named_sentence(Part({"outside": {"patients": None, "blind": unknown}}))
    assert outside_sentence(Part({"outside": None})) == ""


def test_a_file_of_answers_has_rows_for_them_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    rewritten(
        tmp_path,
        'door = "function"\nfunction = "released_outside:predict"',
        'door = "file"\npath = "answers.npy"\noutput = "logits"',
    )
    own, other = (len(pd.read_csv(tmp_path / name)) for name in ("visits.csv", "other.csv"))
    np.save(tmp_path / "answers.npy", np.linspace(-2, 2, own))
    code, _, said = command(monkeypatch, "check", path)
    assert code == 2
    assert f"({own + other}, 1)" in said
    np.save(tmp_path / "answers.npy", np.linspace(-2, 2, own + other))
    load(path).audit().release.check(load(path).audit().cohort)  # type: ignore[union-attr]


def test_no_sentence_says_that_more_are_members_than_are_named() -> None:
    row = {
        "posterior": 0.9,
        "prior": 0.5,
        "patients": 115,
        "true": {"estimate": 115, "low": 99.6, "high": 129.3, "of": 210},
        "tpr": {"estimate": 0.55, "low": 0.48, "high": 0.62},
        "false": {"estimate": None, "low": 0.0, "high": 10.0, "fewer_than": {"estimate": 10}},
    }
    said = named_sentence(Part({"named": [row]}))
    assert "115 of them are members, 55% of all its members (48% to 62%)." in said
    assert "130" not in said
    assert "Fewer than 10 would be accused falsely." in said
