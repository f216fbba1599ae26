"""MEDS events and joined tables to features: naive oracles, time windows, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from auscult import Cohort
from auscult.base.errors import CohortError
from auscult.cohort.inputs import TableInputs
from auscult.readers.joining import Join, join_table
from tests.files import MARK, write_meds

START = np.datetime64("2150-01-01T00:00:00", "m")
Event = tuple[int, str | None, str, float | None]


def at(hours: float) -> str:
    return str(START + np.timedelta64(round(hours * 60), "m"))


def made_up(subjects: int = 60, seed: int = 0) -> list[Event]:
    """Two admissions of each subject, 100 hours apart, three to five days long."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for number in range(subjects):
        subject = 1000 + number
        events.append((subject, None, f"GENDER//{'FM'[number % 2]}", None))
        events.append((subject, "2100-01-01", "MEDS_BIRTH", None))
        for stay in range(2):
            begin, length = 400.0 * stay, float(rng.uniform(72, 120))
            events.append((subject, at(begin), "ADMISSION//ER", None))
            events.append((subject, at(begin + length), "DISCHARGE", None))
            for _ in range(6):
                code = str(rng.choice(["LAB//Na", "LAB//K", f"RARE//{number}"]))
                value = None if code.startswith("RARE") else float(np.float32(rng.normal()))
                events.append((subject, at(begin + rng.uniform(0, 60)), code, value))
            if rng.random() < 0.4:
                events.append((subject, at(begin + rng.uniform(20, 110)), "DEATH", None))
    return events


def cohort_of(folder: Path, **how: Any) -> Cohort:  # noqa: ANN401
    given: dict[str, Any] = {
        "admission": "ADMISSION",
        "discharge": "DISCHARGE",
        "hours": 24,
        "label": "DEATH",
    }
    return Cohort.from_events(folder, **(given | how))


def columns(cohort: Cohort) -> pd.DataFrame:
    assert isinstance(cohort.inputs, TableInputs)
    return cohort.inputs.frame()


def test_features_of_admissions_naive(tmp_path: Path) -> None:
    events = made_up()
    write_meds(tmp_path, events)
    cohort = cohort_of(tmp_path, groups=["GENDER"], bins={})
    frame = columns(cohort)
    ids = cohort.patient_ids.reveal()
    row = early = 0
    for number in range(60):
        mine = sorted(
            (e for e in events if e[0] == 1000 + number and e[1] is not None),
            key=lambda e: str(e[1]),
        )
        for stay in range(2):
            begin, end = at(400.0 * stay), at(400.0 * stay + 24)
            later = [e for e in mine if begin <= str(e[1]) < at(400.0 * stay + 130)]
            (left,) = [str(e[1]) for e in later if e[2] == "DISCHARGE"]
            deaths = [str(e[1]) for e in later if e[2] == "DEATH" and str(e[1]) <= left]
            inside = [e for e in later if str(e[1]) <= end]
            if any(death <= end for death in deaths):
                early += 1
                continue
            assert ids[cohort.patient_of_record[row]] == str(1000 + number)
            assert cohort.labels[row] == len(deaths)
            sodium = [e[3] for e in inside if e[2] == "LAB//Na"]
            got = frame.iloc[row]
            assert got["LAB//Na count"] == len(sodium)
            if sodium:
                assert got["LAB//Na last"] == pytest.approx(sodium[-1], abs=1e-6)
                assert got["LAB//Na mean"] == pytest.approx(np.mean(sodium), abs=1e-6)  # type: ignore[arg-type]
            else:
                assert np.isnan(got["LAB//Na last"])
                assert np.isnan(got["LAB//Na mean"])
            assert got["(rare) count"] == sum(e[2].startswith("RARE") for e in inside)
            assert got["GENDER"] == "FM"[number % 2]
            row += 1
    assert row == cohort.records
    assert [(x.reason, x.records) for x in cohort.left_out] == [
        ("admission whose outcome came before its window ended", early)
    ]
    assert not any("RARE//" in str(name) for name in frame.columns)
    assert any("counted as" in note for note in cohort.notes)
    assert set(cohort.groups["GENDER"]) == {"F", "M"}


def test_no_later_event_becomes_a_feature(tmp_path: Path) -> None:
    events = made_up()
    write_meds(tmp_path / "a", events)
    noise: list[Event] = [
        (e[0], at(400.0 * stay + 24.5), "LAB//Na", 99.0)
        for e in events
        if e[2] == "MEDS_BIRTH"
        for stay in range(2)
    ]
    write_meds(tmp_path / "b", events + noise)
    one, other = cohort_of(tmp_path / "a"), cohort_of(tmp_path / "b")
    pd.testing.assert_frame_equal(columns(one), columns(other))


def test_nothing_timeless_and_no_births(tmp_path: Path) -> None:
    timed = [e for e in made_up() if e[1] is not None and e[2] != "MEDS_BIRTH"]
    write_meds(tmp_path / "a", timed)
    assert {"GENDER", "age"}.isdisjoint(columns(cohort_of(tmp_path / "a")).columns)
    # A timeless code without a value, and a subject of whom two are told.
    write_meds(
        tmp_path / "b",
        [*timed, (1000, None, "GENDER//F", None), (1000, None, "GENDER//M", None)]
        + [(1000 + i, None, "CONSENT", None) for i in range(1, 40)],
    )
    cohort = cohort_of(tmp_path / "b", groups=["GENDER", "CONSENT"])
    assert set(cohort.groups["GENDER"]) <= {"several values", "unknown"}
    assert set(cohort.groups["CONSENT"]) == {"1", "unknown"}


def test_horizons_and_short_admissions(tmp_path: Path) -> None:
    write_meds(tmp_path, made_up())
    soon, ever = cohort_of(tmp_path, within_hours=20), cohort_of(tmp_path)
    assert 0 < soon.labels.sum() < ever.labels.sum()
    with pytest.raises(CohortError, match="fewer hours"):
        cohort_of(tmp_path, hours=130)
    some = cohort_of(tmp_path, hours=90)
    assert some.left_out[0].reason == "admission that ends within 90 hours"
    assert some.records + sum(x.records for x in some.left_out) == 120


def test_a_table_of_labels(tmp_path: Path) -> None:
    events = made_up()
    write_meds(tmp_path / "meds", events)
    labels = pd.DataFrame(
        {
            "subject_id": np.repeat(np.arange(1000, 1060), 2),
            "prediction_time": np.tile([at(30), at(430)], 60),
            "boolean_value": np.arange(120) % 3 == 0,
        }
    )
    how: dict[str, Any] = {"time": "prediction_time", "label": "boolean_value"}
    labels.to_parquet(tmp_path / "labels.parquet")
    cohort = Cohort.from_events(tmp_path / "meds", tmp_path / "labels.parquet", **how)
    assert cohort.records == 120
    count = columns(cohort)["LAB//Na count"]
    for row in range(120):
        subject, until = 1000 + row // 2, at(30) if row % 2 == 0 else at(430)
        expected = sum(e[0] == subject and e[2] == "LAB//Na" and str(e[1]) <= until for e in events)
        assert count[row] == expected
    recent = columns(Cohort.from_events(tmp_path / "meds", labels, hours=40, **how))[
        "LAB//Na count"
    ]
    assert (recent[0::2] == count[0::2]).all()  # the whole first stay up to then
    assert (recent[1::2] <= count[1::2]).all()
    assert (recent[1::2] < count[1::2]).any()
    stamped = labels.assign(prediction_time=pd.to_datetime(labels["prediction_time"]))
    same = Cohort.from_events(tmp_path / "meds", stamped, **how)
    assert same.fingerprint() == cohort.fingerprint()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"admission": None}, "admission"),
        ({"hours": None}, "hours"),
        ({"hours": -1}, "more than 0"),
        ({"time": "x"}, "time"),
        ({"admission": "VISIT"}, "VISIT"),
        ({"label": "CURED"}, "CURED"),
        ({"label": ["DEATH", "CURED"]}, "need a table"),
        ({"max_codes": 0}, "max_codes"),
    ],
)
def test_settings_that_do_not_go_together(how: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_meds(tmp_path, made_up(20))
    with pytest.raises(CohortError, match=words):
        cohort_of(tmp_path, **how)


def test_damaged_events(tmp_path: Path) -> None:
    write_meds(tmp_path, made_up(20))
    table = parquet.read_table(tmp_path / "data" / "train" / "0.parquet")
    bad: list[tuple[Any, str]] = [
        (table.drop_columns(["time"]), "no column time"),
        (table.set_column(0, "subject_id", pa.array(["x"] * len(table))), "whole number"),
        (table.set_column(1, "time", pa.array(["x"] * len(table))), "timestamp"),
        (table.set_column(2, "code", pa.nulls(len(table), pa.string())), "no code"),
    ]
    for content, words in bad:
        parquet.write_table(content, tmp_path / "data" / "train" / "0.parquet")
        with pytest.raises(CohortError, match=words):
            cohort_of(tmp_path)
    (tmp_path / "data" / "train" / "0.parquet").write_bytes(b"PAR1 " + bytes(50))
    with pytest.raises(CohortError, match="cannot be read") as caught:
        cohort_of(tmp_path)
    assert caught.value.__cause__ is None
    (tmp_path / "data" / "train" / "0.parquet").unlink()
    (tmp_path / "data" / "train" / "0.parquet").symlink_to("/etc/hostname")
    with pytest.raises(CohortError, match="leads outside"):
        cohort_of(tmp_path)


def records() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "visit": np.arange(40),
            "person": [f"{MARK}{i // 2}" for i in range(40)],
            "x": np.arange(40) / 7,
            "y": np.arange(40) % 2,
        }
    )


def test_a_join_keeps_rows_and_counts_what_does_not_match() -> None:
    people = pd.DataFrame(
        {"pid": [f"{MARK}{i}" for i in range(3, 30)], "sex": ["f", "m", "f"] * 9, "id": range(27)}
    )
    cohort = Cohort.from_table(
        records(),
        patient="person",
        label="y",
        groups=["sex"],
        exclude=["visit"],
        join={
            "table": people.sample(frac=1, random_state=0),
            "on": "person",
            "to": "pid",
            "columns": ["sex"],
        },
    )
    assert cohort.records == 40
    assert cohort.groups["sex"].tolist() == ["unknown"] * 3 + [
        ["f", "m", "f"][i % 3] for i in range(17)
    ]
    assert cohort.notes[0] == (
        "the joined table: joined on person; 6 of 40 rows have no match in it, 10 of its 27 rows "
        "match none"
    )


def test_many_rows_of_a_key_are_counted_and_summarised_naive() -> None:
    rng = np.random.default_rng(0)
    visit = rng.integers(0, 45, 300)
    codes = rng.choice(["a", "b", "c", "d"], 300, p=[0.5, 0.3, 0.15, 0.05])
    dose = np.where(rng.random(300) < 0.2, np.nan, rng.normal(size=300).round(3))
    other = pd.DataFrame({"visit": visit, "code": codes, "dose": dose})
    how = Join(table=other, on="visit", count=["code"], mean=["dose"], last=["dose"], max=["dose"])
    joined, notes = join_table(records(), how, patient="person", min_level_patients=14)
    assert len(joined) == 40
    holders = {
        code: len({i // 2 for i in visit[(codes == code) & (visit < 40)]}) for code in "abcd"
    }
    kept = {code for code in "abcd" if holders[code] >= 14}
    assert 0 < len(kept) < 4
    for row in range(40):
        mine = other[other["visit"] == row]
        for code in kept:
            assert joined.loc[row, f"code = {code}"] == (mine["code"] == code).sum()
        assert joined.loc[row, "code = (rare)"] == (~mine["code"].isin(kept)).sum()
        values = mine["dose"].dropna()
        for name, expected in (
            ("mean", values.mean()),
            ("max", values.max()),
            ("last", values.iloc[-1] if len(values) else np.nan),
        ):
            found: Any = joined.loc[row, f"dose {name}"]
            np.testing.assert_allclose(found, float(expected))
    assert f"{int((visit >= 40).sum())} of its 300 rows match none" in notes[0]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"on": "persn"}, 'no column "persn"'),
        ({"to": "pidd"}, 'no column "pidd"'),
        ({"columns": ["sexx"]}, 'no column "sexx"'),
        ({"columns": ["x"]}, 'both tables have a column "x"'),
        ({"on": "visit"}, "no row of the table has a match"),
        ({"count": ["sex"], "columns": ["sex"]}, "Join the table twice"),
        ({"mean": ["sex"]}, "not numbers"),
        ({"median": ["x"]}, "keywords of a join"),
    ],
)
def test_joins_that_cannot_be(how: dict[str, Any], words: str) -> None:
    people = pd.DataFrame(
        {"pid": [f"{MARK}{i}" for i in range(20)], "sex": ["f", "m"] * 10, "x": range(20)}
    )
    given = {"table": people, "on": "person", "to": "pid"} | how
    with pytest.raises(CohortError, match=words) as caught:
        Cohort.from_table(records(), patient="person", label="y", join=given)
    assert MARK not in str(caught.value)
    twice = pd.concat([people, people.head(3)])
    with pytest.raises(CohortError, match="6 rows share their key"):
        join_table(records(), Join(table=twice, on="person", to="pid"), patient="person")
