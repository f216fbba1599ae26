"""Reports of overlapping cohorts: no patient follows from setting one against another."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, StoreError
from auscult.config.policy import parse_policy
from auscult.disclosure import Reports, round_counts, rounded_count
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.policy import judge_run
from auscult.results.analysis import AnalysisSettings
from auscult.risk.released import Released, release_groups
from benchmarks.disclosure import closest, pair, rows_of, single

CELL = 10


def report(
    folder: Path, run: str, ids: NDArray[np.int64], **groups: NDArray[Any]
) -> tuple[Released, Reports]:
    reports = Reports.open(folder, run, ids.tolist())
    found = release_groups(
        pd.DataFrame(groups),
        np.ones(ids.size, bool),
        np.ones(ids.size, dtype=np.int64),
        smallest_cell=CELL,
        reports=reports,
    )
    return found, reports


def test_an_age_cut_that_moves_by_a_patient_is_coarsened(tmp_path: Path) -> None:
    ids = np.arange(260)
    first, _ = report(tmp_path, "a", ids, age=np.where(ids < 120, "younger", "older"))
    alone, _ = report(tmp_path / "other", "b", ids, age=np.where(ids < 121, "younger", "older"))
    second, _ = report(tmp_path, "b", ids, age=np.where(ids < 121, "younger", "older"))
    assert first.tables["age"].steps == {"younger": 0.01, "older": 0.01}
    assert alone.tables["age"].steps == first.tables["age"].steps
    both = [*rows_of(first, ids), *rows_of(second, ids)]
    assert closest([*rows_of(first, ids), *rows_of(alone, ids)], ids, [120]) < CELL / 2
    assert closest(both, ids, [120]) >= CELL * (1 - 1e-4)


def test_the_same_report_again_is_the_same_and_is_entered_once(tmp_path: Path) -> None:
    ids = np.arange(200)
    age = np.where(ids < 90, "younger", "older")
    first, reports = report(tmp_path, "a", ids, age=age)
    report(tmp_path, "b", ids, age=np.where(ids < 91, "younger", "older"))
    again, _ = report(tmp_path, "a", ids, age=age)
    assert again.tables["age"].steps == first.tables["age"].steps
    files = sorted(p.name for p in tmp_path.glob("*.npz"))
    assert [name[:6] for name in files] == ["000000", "000001"]
    everywhere = [p for p in tmp_path.iterdir() if p.is_file()]
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in everywhere), everywhere
    # Another run with the same groups of the same patients shows them as they were.
    other, _ = report(tmp_path, "c", ids, age=age)
    assert other.tables["age"].steps == first.tables["age"].steps
    labels: dict[str, Any] = {"label": "age", "reports": Reports.open(tmp_path, "d", ids.tolist())}
    everybody, one = np.ones(ids.size, bool), np.ones(ids.size, dtype=np.int64)
    same = release_groups(pd.DataFrame({"age": age}), everybody, one, **labels)
    moved = pd.DataFrame({"age": np.where(ids < 92, "younger", "older")})
    assert same.label_alike
    assert not release_groups(moved, everybody, one, **labels).label_alike
    assert (first.alike, again.alike, other.alike) == (True, True, True)
    assert reports.run == "a"


def test_the_same_report_again_is_the_same_after_one_of_a_larger_cohort(tmp_path: Path) -> None:
    ids = np.arange(300)
    age = np.where(ids < 90, "younger", "older")
    first, _ = report(tmp_path, "a", ids[:200], age=age[:200])
    report(tmp_path, "b", ids[40:], age=age[40:])
    again, _ = report(tmp_path, "a", ids[:200], age=age[:200])
    assert again.tables["age"].steps == first.tables["age"].steps
    assert (again.step, again.earlier) == (first.step, first.earlier) == (0.0, 0)
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_a_cohort_without_one_patient_coarsens_what_is_about_everybody(tmp_path: Path) -> None:
    ids = np.arange(2000)
    sex = np.where(ids % 2, "f", "m")
    first, _ = report(tmp_path, "a", ids, sex=sex)
    fewer, _ = report(tmp_path, "b", ids[1:], sex=sex[1:])
    assert first.step == 0
    assert fewer.step >= 0.005


@pytest.mark.parametrize("new", [1, 3])
def test_who_came_is_not_told_by_bands_of_records(new: int, tmp_path: Path) -> None:
    """Whoever knows the first report's numbers does not see in the second's which band grew."""
    count = np.repeat([1, 2, 3, 1], [87, 46, 21, new])
    people = np.arange(count.size)
    groups = pd.DataFrame({"sex": np.where(people % 2, "f", "m"), "site": (people % 5).astype(str)})
    made = []
    for size in (count.size - new, count.size):
        reports = Reports.open(tmp_path, f"run{size}", people[:size].tolist())
        here = slice(0, size)
        everybody = np.ones(size, bool)
        made.append(release_groups(groups[here], everybody, count[here], reports=reports))
    first, second = made
    assert first.tables["sex"].shown
    assert all(one.pool for one in second.tables.values())  # no group by itself
    numbers = dict(zip(*np.unique(first.bands.labels, return_counts=True), strict=True))
    assert set(second.bands.shown) == set(numbers)
    possible = [
        band
        for band in numbers
        if all(
            rounded_count(int(numbers[one]) + new * (one == band), second.bands.base)
            == rounded_count(int((second.bands.labels == one).sum()), second.bands.base)
            for one in numbers
        )
    ]
    assert len(possible) > 1
    # Nor by which of them lost digits.
    assert len({second.bands.steps[band] for band in numbers}) == 1


def test_few_who_came_long_ago_take_no_groups_from_later_reports(tmp_path: Path) -> None:
    """That three came is told by two earlier reports; where they are, by neither, nor by this."""
    shown = []
    for size in (600, 603, 640):
        people = np.arange(size)
        made, _ = report(tmp_path, f"run{size}", people, sex=np.where(people % 2, "f", "m"))
        shown.append(not made.tables["sex"].pool)
    assert shown == [True, False, True]


def test_a_cohort_that_grew_is_not_released_one_group_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 40 groups it was done forty times over, for nothing."""
    calls = []

    def counted(*given: Any, **named: Any) -> bool:  # noqa: ANN401
        calls.append(1)
        return round_counts(*given, **named)

    monkeypatch.setattr("auscult.risk.released.round_counts", counted)
    for size in (599, 600):
        people = np.arange(size)
        report(tmp_path, f"run{size}", people, site=(people % 40).astype(str))
    assert len(calls) <= 4


def test_other_patients_are_no_concern(tmp_path: Path) -> None:
    ids = np.arange(260)
    report(tmp_path, "a", ids, age=np.where(ids < 120, "younger", "older"))
    second, _ = report(tmp_path, "b", ids + 1000, age=np.where(ids < 121, "younger", "older"))
    assert second.tables["age"].steps == {"younger": 0.01, "older": 0.01}


def test_other_people_with_the_same_identifiers_are_told_apart(tmp_path: Path) -> None:
    """Two cohorts numbered from 0 whose sex has nothing to do with each other."""
    rng = np.random.default_rng(5)
    ids = np.arange(400)
    young = np.where(ids < 180, "younger", "older")
    report(tmp_path, "a", ids, sex=rng.choice(["f", "m"], 400), age=young[rng.permutation(400)])
    sex, age = rng.choice(["f", "m"], 400), young[rng.permutation(400)]
    second, _ = report(tmp_path, "b", ids, sex=sex, age=age)
    assert second.earlier == 0
    assert second.step == 0
    assert second.tables["sex"].steps == {"f": 0.01, "m": 0.01}


@pytest.mark.parametrize(
    "what", ["age cut", "renamed", "half of the sexes", "no common name", "few"]
)
def test_the_same_people_are_never_taken_for_others(what: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    ids = np.arange(90 if what == "few" else 300)
    sex, years = rng.choice(["f", "m"], ids.size), rng.integers(20, 90, ids.size)
    report(tmp_path, "a", ids, sex=sex, age=np.where(years < 50, "younger", "older"))
    if what == "age cut":
        groups = {"age": np.where(years < 51, "young", "old")}
    elif what == "renamed":
        groups = {"sex": np.where(sex == "f", "1", "0")}
    elif what == "half of the sexes":
        groups = {
            "sex": np.where(rng.random(ids.size) < 0.5, sex, rng.choice(["f", "m"], ids.size))
        }
    elif what == "no common name":
        groups = {"smoker": rng.choice(["yes", "no"], ids.size)}
    else:
        groups = {"sex": rng.choice(["f", "m"], ids.size)}
    found, _ = report(tmp_path, "b", ids, **groups)
    assert found.earlier == 1


def test_the_label_proves_nobody_to_be_somebody_else(tmp_path: Path) -> None:
    """The same patients, audited for another label of the same name."""
    rng = np.random.default_rng(9)
    ids = np.arange(300)
    for run in ("a", "b"):
        found = release_groups(
            pd.DataFrame({"label": rng.choice(["0", "1"], 300)}),
            np.ones(300, bool),
            np.ones(300, dtype=np.int64),
            reports=Reports.open(tmp_path, run, ids.tolist()),
            label="label",
        )
    assert found.earlier == 1


def test_a_ledger_without_its_key_stops_the_report(tmp_path: Path) -> None:
    ids = np.arange(60)
    report(tmp_path, "a", ids, age=np.where(ids < 30, "younger", "older"))
    key = (tmp_path / "key").read_bytes()
    for content in (None, b"0" * 64, b""):
        (tmp_path / "key").unlink()
        if content is not None:
            (tmp_path / "key").write_bytes(content)
        with pytest.raises(StoreError, match="key is gone or was changed"):
            report(tmp_path, "b", ids, age=np.where(ids < 31, "younger", "older"))
        (tmp_path / "key").write_bytes(key)
    (tmp_path / ".x.part").write_bytes(b"half")
    report(tmp_path, "b", ids, age=np.where(ids < 31, "younger", "older"))
    assert not (tmp_path / ".x.part").exists()


def test_the_message_says_what_happened_and_its_steps_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    member = rng.random((16, 60)).argsort(0) < 8
    signals = (rng.standard_normal((16, 60)) + member).astype("f4")
    for name, last in (("one", 60), ("two", 59)):
        np.savez(
            tmp_path / f"{name}.npz",
            signals=signals[:, :last],
            membership=member[:, :last],
            patient=np.arange(last),
            labels=np.arange(last) % 2,
        )
    import_scores(read_npz(tmp_path / "one.npz"), tmp_path / "one", seed=1)
    found = import_scores(read_npz(tmp_path / "two.npz"), tmp_path / "two", seed=1).summary
    assert found["disclosure"]["earlier_reports"] == 1
    assert found["patients"]["rounded_to"] is None
    assert found["patients"]["raw"]["mean"] is None
    assert found["aggregate"]["lira"]["auc"] is None
    # Whoever left was of the class that has a record less now.
    assert [one["records"] for one in found["cohort"]["classes"]] == [None, None]
    assert (tmp_path / "two" / "report.html").read_text().count("withheld") >= 2
    assert "audit.ledger" in found["disclosure"]["note"]
    assert "their own" in (tmp_path / "two" / "report.html").read_text()
    settings = AnalysisSettings(ledger=tmp_path / "another")
    own = import_scores(read_npz(tmp_path / "two.npz"), tmp_path / "two", settings=settings, seed=1)
    assert own.summary["patients"]["raw"]["mean"] is not None
    assert own.summary["disclosure"]["note"] == ""
    assert [one["records"] for one in own.summary["cohort"]["classes"]] == [30, 29]
    for entry in (tmp_path / ".auscult-ledger").glob("000000*"):
        entry.unlink()
    again = import_scores(read_npz(tmp_path / "two.npz"), tmp_path / "two", seed=1)
    assert again.summary["patients"]["raw"]["mean"] is not None
    # A policy that names the ledger is kept by the run that is entered there.
    for folder, verdict in ((".auscult-ledger", "pass"), ("another", "fail")):
        content: dict[str, Any] = {"exposed": {"0.9": {"patients": 60}}}
        content["disclosure"] = {"ledger": folder}
        policy = parse_policy(content, "x", str(tmp_path / "policy.toml"))
        found = {one.key: one.verdict for one in judge_run(tmp_path / "two", policy).checks}
        assert found["disclosure.ledger"] == verdict
    with pytest.raises(ConfigError, match=r"policy\.toml: disclosure\.ledger"):
        parse_policy(content | {"disclosure": {"ledger": "no"}}, "x", str(tmp_path / "policy.toml"))


def test_a_damaged_entry_stops_the_report(tmp_path: Path) -> None:
    ids = np.arange(60)
    report(tmp_path, "a", ids, age=np.where(ids < 30, "younger", "older"))
    entry = next(tmp_path.glob("*.npz"))
    entry.write_bytes(entry.read_bytes()[:-40])
    with pytest.raises(StoreError, match="delete it if that report"):
        report(tmp_path, "b", ids, age=np.where(ids < 31, "younger", "older"))
    entry.unlink()
    report(tmp_path, "b", ids, age=np.where(ids < 31, "younger", "older"))


@pytest.mark.parametrize("said", [0.05, [0.05], "ab", ["x", "y"], None])
def test_an_entry_of_another_form_stops_the_report(tmp_path: Path, said: Any) -> None:  # noqa: ANN401
    """Factors once had a step only: such an entry ended in an internal error."""
    ids = np.arange(60)
    report(tmp_path, "a", ids, age=np.where(ids < 30, "younger", "older"))
    entry = next(tmp_path.glob("*.npz"))
    with np.load(entry) as arrays:
        held = dict(arrays)
    content = json.loads(held["content"].tobytes()) | {"effects": {"rare": said}}
    held["content"] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    np.savez(entry, **held | {"sums": np.zeros((60, 1), dtype=np.float32)})
    with pytest.raises(StoreError, match="delete it if that report"):
        report(tmp_path, "b", ids, age=np.where(ids < 31, "younger", "older"))


def test_an_entry_holds_no_figure_and_no_identifier(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    member = rng.random((16, 40)).argsort(0) < 8
    signals = (rng.standard_normal((16, 40)) + member).astype("f4")
    np.savez(
        tmp_path / "s.npz",
        signals=signals,
        membership=member,
        patient=np.array([f"MRN{i:05d}" for i in range(40)]),
    )
    result = import_scores(read_npz(tmp_path / "s.npz"), tmp_path / "run", seed=1)
    before = (result.path / "results" / "summary.json").read_bytes()
    folder = tmp_path / ".auscult-ledger"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with np.load(next(folder.glob("*.npz"))) as arrays:
        assert {array.dtype.kind for array in arrays.values()} <= {"S", "i", "u"}
        assert b"MRN" not in b"".join(array.tobytes() for array in arrays.values())
    import_scores(read_npz(tmp_path / "s.npz"), tmp_path / "run", seed=1)
    assert (result.path / "results" / "summary.json").read_bytes() == before


def test_random_reports_and_pairs_bound_nobody_closely(tmp_path: Path) -> None:
    """The campaign of ``benchmarks/disclosure.py``, in small."""
    rng = np.random.default_rng(6)
    for number in range(2):
        assert pair(rng, tmp_path / str(number), patients=2) >= CELL * (1 - 1e-3)
        least, follows = single(rng, patients=2)
        assert least >= CELL * (1 - 1e-3)
        assert not follows
