"""What messages say of a header that may be a record: no patient's value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from auscult.base.errors import AuscultError, CohortError
from auscult.cohort import Cohort
from auscult.imported import long
from auscult.readers.header import columns_listed, like_a_record
from auscult.release.members import MemberList

VALUES = ("Zxq17", "64.5", "31.12.1959", "Zxqm")
BELOW = "\n".join(f"Zxq{n};6{n % 10}.5;0{n % 9 + 1}.12.1959;Zxqm" for n in range(30, 60))


def cohort(path: Path, **how: Any) -> Cohort:  # noqa: ANN401
    return Cohort.from_table(path, patient="patient", label="died", **how)


def by_commas(path: Path) -> Cohort:
    path.write_text(path.read_text().replace(".5;", ",5;"))
    return cohort(path, delimiter=",")


def twice(path: Path) -> Cohort:
    path.write_text(path.read_text().replace(";31.12.1959;Zxqm", ";64.5;64.5"))
    return cohort(path)


def scores(path: Path) -> object:
    path.write_text(path.read_text().replace("Zxq17;", "signal;"))
    return long.read_long(path)


def parquet(path: Path) -> Cohort:
    frame = pd.read_csv(path, sep=";", header=None, dtype=str)
    other = path.with_suffix(".parquet")
    frame.set_axis([str(one) for one in frame.iloc[0]], axis=1).to_parquet(other)
    return cohort(other)


def somebody() -> Cohort:
    frame = pd.DataFrame({"patient": range(30), "x": range(30), "y": [0, 1] * 15})
    return Cohort.from_table(frame, patient="patient", label="y")


def members(path: Path) -> object:
    return MemberList(source=path, column="patient").roll(somebody())


@pytest.mark.parametrize("read", [cohort, by_commas, twice, parquet, scores, members])
def test_a_file_without_a_header_shows_no_value(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(";".join(VALUES) + "\n" + BELOW + "\n")
    with pytest.raises(AuscultError) as raised:
        read(path)
    said = str(raised.value)
    assert not any(value in said for value in (*VALUES, "64", "1959", "Zxq"))
    assert "no header line" in said


@pytest.mark.parametrize("header", ["patient\n", ""])
def test_a_list_of_members_without_a_header_does_not_lose_the_first(
    header: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"patient": [f"Zxq{n}" for n in range(30)], "y": [0, 1] * 15})
    found = Cohort.from_table(frame.assign(x=range(30)), patient="patient", label="y")
    path = tmp_path / "members.csv"
    path.write_text(header + "\n".join(f"Zxq{n}" for n in range(20)) + "\n")
    listed = MemberList(source=path)
    if header:
        assert (listed.roll(found).reveal() == 1).sum() == 20
        return
    with pytest.raises(AuscultError, match="first line") as raised:
        listed.roll(found)
    assert "Zxq" not in str(raised.value)


def test_names_of_columns_are_listed_and_the_meant_one_is_named() -> None:
    names = ["patient", "BMI 2", "o2_sat", "12-Kanal-EKG", "x1"]
    assert not like_a_record(names)
    assert columns_listed("patiant", names).endswith('Did you mean "patient"?')
    for name in ("17", "0,5", "1e3", "2024-05-31", "5.6.24", "a;b", "a\tb"):
        assert like_a_record([*names, name])
    with pytest.raises(CohortError, match='Did you mean "patient"'):
        Cohort.from_table(pd.DataFrame({"patient": [1], "y": [0]}), patient="patiant", label="y")
