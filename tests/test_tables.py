"""Tables as hospitals write them: what is read, what is told, and what is asked."""

from __future__ import annotations

import contextlib
import datetime
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from auscult.base.errors import CohortError
from auscult.cli.starting import starting_configuration
from auscult.cohort import Cohort
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.config.cohort import CohortPart
from auscult.readers.arrow import has
from auscult.readers.quantities import parse
from auscult.readers.tables import read_table, told
from auscult.readers.values import plain_numbers, texts

N = 60


def visits(**columns: Any) -> pd.DataFrame:  # noqa: ANN401
    rng = np.random.default_rng(1)
    base: dict[str, Any] = {
        "id": [f"p{i // 2}" for i in range(N)],
        "died": rng.integers(0, 2, N).astype(str),
        "age": rng.integers(20, 90, N).astype(str),
    }
    return pd.DataFrame(base | columns)


def cohort(data: Any, **how: Any) -> Cohort:  # noqa: ANN401
    return Cohort.from_table(data, patient="id", label="died", **how)


def numeric(found: Cohort, name: str) -> np.ndarray[Any, Any]:
    inputs = found.inputs
    assert isinstance(inputs, TableInputs)
    return inputs.numeric[:, inputs.numeric_names.index(name)]


CRP = np.round(np.random.default_rng(2).gamma(2.0, 9.0, N), 1) + 0.1
CELLS = 1000 + 37 * np.arange(N)

# How a column of numbers is written, and the numbers.
WRITTEN: dict[str, tuple[list[str], np.ndarray[Any, Any]]] = {
    "decimal commas": ([f"{v:.1f}".replace(".", ",") for v in CRP], CRP),
    "some with three decimals": (
        [f"{v:.3f}".replace(".", ",") if i % 2 else f"{v:.1f}" .replace(".", ",") for i, v in
         enumerate(CRP)],
        CRP,
    ),
    "points between thousands": (
        [f"{v:,.1f}".replace(",", "_").replace(".", ",").replace("_", ".") for v in 99 * CRP],
        np.round(99 * CRP, 1),
    ),
    "commas between thousands": ([f"{v:,.1f}" for v in 99 * CRP], np.round(99 * CRP, 1)),
    "millions": ([f"{1000 * v:,}" for v in CELLS], 1000 * CELLS),
    "apostrophes": ([f"{v:,}".replace(",", "'") for v in CELLS], CELLS),
    "narrow spaces": ([f"{v:,}".replace(",", "\u202f") for v in CELLS], CELLS),
    "points alone, in millions": ([f"{1000 * v:,}".replace(",", ".") for v in CELLS], 1000 * CELLS),
    "limits": (["<0,6" if i < 9 else f"{v:.1f}".replace(".", ",") for i, v in enumerate(CRP)],
               np.where(np.arange(N) < 9, 0.6, CRP)),
    "limits with points": ([">150" if i < 3 else f"{v:.1f}" for i, v in enumerate(CRP)],
                           np.where(np.arange(N) < 3, 150, CRP)),
    "Excel's errors": (["#DIV/0!" if i < 3 else f"{v:.1f}" for i, v in enumerate(CRP)],
                       np.where(np.arange(N) < 3, np.nan, CRP)),
    "a stray cell": (["haemolysed" if i == 3 else f"{v:.1f}" for i, v in enumerate(CRP)],
                     np.where(np.arange(N) == 3, np.nan, CRP)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("door", ["csv", "semicolons", "frame", "parquet"])
def test_numbers_are_what_they_say(name: str, door: str, tmp_path: Path) -> None:
    texts, values = WRITTEN[name]
    frame = visits(crp=texts)
    data: Any = frame
    if door in ("csv", "semicolons"):
        data = tmp_path / "visits.csv"
        frame.to_csv(data, index=False, sep="," if door == "csv" else ";")
    elif door == "parquet":
        data = tmp_path / "visits.parquet"
        frame.to_parquet(data)
    np.testing.assert_allclose(numeric(cohort(data), "crp"), values, rtol=1e-5)


def test_what_was_read_is_told() -> None:
    notes = cohort(visits(crp=WRITTEN["decimal commas"][0], hb=WRITTEN["a stray cell"][0])).notes
    assert any("crp: commas were read as decimal signs" in note for note in notes)
    assert any("hb: 1 of its 60 values are not numbers" in note for note in notes)
    notes = cohort(visits(crp=WRITTEN["limits"][0])).notes
    assert any("crp: 9 values are limits" in note for note in notes)


THREE = [f"{v:,}" for v in CELLS]


def test_commas_before_three_digits_are_asked_about() -> None:
    with pytest.raises(CohortError, match='decimal = ","'):
        cohort(visits(cells=THREE))
    np.testing.assert_allclose(numeric(cohort(visits(cells=THREE), decimal="."), "cells"), CELLS)
    small = numeric(cohort(visits(cells=THREE), decimal=","), "cells")
    np.testing.assert_allclose(small, CELLS / 1000, rtol=1e-6)
    # Another column of the table tells.
    told_by = cohort(visits(cells=THREE, crp=WRITTEN["decimal commas"][0]))
    np.testing.assert_allclose(numeric(told_by, "cells"), CELLS / 1000, rtol=1e-6)
    told_by = cohort(visits(cells=THREE, crp=WRITTEN["millions"][0]))
    np.testing.assert_allclose(numeric(told_by, "cells"), CELLS)


def test_points_before_three_digits_beside_decimal_commas() -> None:
    dotted = [text.replace(",", ".") for text in THREE]
    found = cohort(visits(cells=dotted, crp=WRITTEN["decimal commas"][0]))
    np.testing.assert_allclose(numeric(found, "cells"), CELLS)
    both = visits(cells=dotted, crp=WRITTEN["decimal commas"][0], hb=[f"{v:.1f}" for v in CRP])
    with pytest.raises(CohortError, match="may be a little more than one"):
        cohort(both)


def test_lists_codes_and_few_limits_stay_categories() -> None:
    rng = np.random.default_rng(3)
    found = cohort(
        visits(
            lists=rng.choice(["1,2", "1,3,4", "2"], N),
            glucose=rng.choice([">200", ">300", "Norm"], N),
            codes=rng.choice(["1", "2", "A"], N),
        ),
        min_level_patients=1,
    )
    assert isinstance(found.inputs, TableInputs)
    assert set(found.inputs.categorical_names) == {"lists", "glucose", "codes"}


def test_numbers_that_are_no_numbers_are_a_decision() -> None:
    words = [("bad", "worse", "worst")[i % 3] if i < 9 else str(v) for i, v in enumerate(CRP)]
    with pytest.raises(CohortError, match=r"9 of its 60 values .*categorical"):
        cohort(visits(crp=words))
    found = numeric(cohort(visits(crp=words), missing=["bad", "worse", "worst"]), "crp")
    assert np.isnan(found).sum() == 9
    cohort(visits(crp=words), categorical=["crp"])
    cohort(visits(crp=words), exclude=["crp"])
    with pytest.raises(CohortError, match="followed by a unit"):
        cohort(visits(crp=[f"{v} mg/l" for v in CRP]))


def test_icd_codes_are_categories() -> None:
    codes = [f"V{50 + i}" if i < 6 else str(200 + i) for i in range(N)]
    found = cohort(visits(icd=codes), min_level_patients=1)
    assert isinstance(found.inputs, TableInputs)
    assert found.inputs.categorical_names == ("icd",)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_encodings_and_delimiters(encoding: str, mark: str, tmp_path: Path) -> None:
    frame = visits(größe=[f"{v:.1f}".replace(".", ",") for v in CRP])
    path = tmp_path / "visits.csv"
    path.write_bytes(frame.to_csv(index=False, sep=mark).encode(encoding))
    np.testing.assert_allclose(numeric(cohort(path), "größe"), CRP, rtol=1e-6)


def test_another_encoding_is_named_with_a_way_on(tmp_path: Path) -> None:
    path = tmp_path / "visits.csv"
    path.write_bytes(visits(größe="ä").to_csv(index=False).encode("cp1252"))
    with pytest.raises(CohortError, match="iconv"):
        read_table(path)
    path.write_text(path.read_bytes().decode("windows-1252"), encoding="utf-8")
    read_table(path)


def test_titles_before_and_units_below_the_header(tmp_path: Path) -> None:
    frame = visits(crp=CRP, hb=CRP)
    lines = frame.to_csv(index=False, sep=";").splitlines()
    path = tmp_path / "visits.csv"
    path.write_text(
        "\n".join(["Export of 2024-05-01", "", lines[0], ";;;mg/l;g/dl", *lines[1:]]),
        encoding="utf-8",
    )
    found = read_table(path)
    assert len(found) == N
    assert any("1 lines before the header" in note for note in told(found))
    assert any("line of units" in note for note in told(found))
    path.write_text("\n".join(["sep=;", *lines]), encoding="utf-8")
    assert len(read_table(path)) == N


def test_missing_words_in_the_first_record_are_no_units(tmp_path: Path) -> None:
    frame = visits(crp=CRP.astype(str), hb=CRP.astype(str))
    frame.loc[0, ["crp", "hb"]] = "NA"
    frame.to_csv(tmp_path / "visits.csv", index=False)
    assert len(read_table(tmp_path / "visits.csv")) == N


def test_a_stray_delimiter_is_refused(tmp_path: Path) -> None:
    lines = visits().to_csv(index=False).splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*lines[:5], "a,b,c,d,e", *lines[5:]]), "utf-8")
    with pytest.raises(CohortError, match="number of fields: 1 of them"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("\n".join(f"{line}," for line in lines), "utf-8")
    with pytest.raises(CohortError, match="last column has no name"):
        read_table(tmp_path / "b.csv")


STARTS = [datetime.date(2020, 1, 20) + datetime.timedelta(days=7 * i) for i in range(N)]
DATES = ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d%b%Y"]


@pytest.mark.parametrize("form", DATES)
def test_dates_are_asked_about_at_every_door(form: str, tmp_path: Path) -> None:
    moments = [datetime.datetime.combine(day, datetime.time()) for day in STARTS]
    days = (np.arange(N) % 2) * 7.0  # two records of each patient, a week apart
    frame = visits(admitted=[moment.strftime(form) for moment in moments])
    frame.to_csv(tmp_path / "visits.csv", index=False)
    frame["admitted"] = moments
    frame.to_parquet(tmp_path / "visits.parquet")
    for data in (tmp_path / "visits.csv", tmp_path / "visits.parquet", frame):
        with pytest.raises(CohortError, match='dates = "days"') as caught:
            cohort(data)
        assert "the column holds dates" in str(caught.value)
        np.testing.assert_allclose(numeric(cohort(data, dates="days"), "admitted"), days)
        inputs = cohort(data, dates="exclude").inputs
        assert isinstance(inputs, TableInputs)
        assert "admitted" not in inputs.numeric_names


def test_days_and_months_that_cannot_be_told_apart() -> None:
    frame = visits(admitted=[f"0{1 + i % 9}/0{1 + i % 7}/2020" for i in range(N)])
    with pytest.raises(CohortError, match="day and month"):
        cohort(frame, dates="days")


def test_an_index_that_was_saved_is_a_column(tmp_path: Path) -> None:
    frame = visits().set_index("id")
    frame.to_parquet(tmp_path / "visits.parquet")
    assert cohort(tmp_path / "visits.parquet").patients == N // 2
    assert cohort(frame).patients == N // 2
    two = visits(visit=range(N)).set_index(["id", "visit"])
    two.to_parquet(tmp_path / "two.parquet")
    assert cohort(tmp_path / "two.parquet").patients == N // 2
    visits().iloc[::-1].to_parquet(tmp_path / "numbered.parquet")
    assert "__index_level_0__" not in read_table(tmp_path / "numbered.parquet").columns


def test_a_folder_of_part_files(tmp_path: Path) -> None:
    frame = visits()
    parts = tmp_path / "visits"
    parts.mkdir()
    frame.iloc[:20].to_parquet(parts / "part-0.parquet")
    frame.iloc[20:].to_parquet(parts / "part-1.parquet")
    (parts / "_SUCCESS").touch()
    assert cohort(parts).records == N
    frame.rename(columns={"age": "Age"}).to_parquet(parts / "part-2.parquet")
    with pytest.raises(CohortError, match=r"differ from those of part-0"):
        cohort(parts)
    (parts / "part-2.parquet").unlink()
    (parts / "note.docx").touch()
    with pytest.raises(CohortError, match="2 of the 3 entries"):
        cohort(parts)


@pytest.mark.parametrize("word", ["#N/A", "<NA>", "n/a", "NaT", "#REF!", "-nan"])
def test_missing_words_of_pandas_and_excel(word: str) -> None:
    frame = visits()
    frame.loc[:2, "died"] = word
    found = cohort(frame)
    assert found.task == "binary"
    assert found.left_out[0].records == 3


@pytest.mark.parametrize("word", ["?", "unknown", ".", "-", "k.A.", "-9", "Missing"])
def test_a_label_that_may_be_missing_is_asked_about(word: str) -> None:
    frame = visits()
    frame.loc[:2, "died"] = word
    with pytest.raises(CohortError, match="a missing label, or a class"):
        cohort(frame)
    assert cohort(frame, missing=[word]).task == "binary"
    assert cohort(frame, label_groups={word: [word]}).task == "multiclass"


@pytest.mark.parametrize("name", ["a.xlsx", "a.sas7bdat", "a.sav", "a.dta"])
def test_other_files_are_named_with_the_line_that_converts_them(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(CohortError, match=r"Convert it in Python: pandas\.read_.*to_parquet"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_whatever_a_file_holds_is_an_error_that_is_ours(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for size in (0, 1, 3, 50, 5000):
        for values in (256, 128, 2):
            path = tmp_path / f"x{suffix}"
            path.write_bytes(bytes(rng.integers(0, values, size, dtype=np.uint8)))
            with contextlib.suppress(CohortError):
                read_table(path)


def test_nan_of_an_array_is_what_was_said() -> None:
    films = np.random.default_rng(5).random((N, 4, 4)).astype(np.float32)
    films[:7, 0, 0] = np.nan
    table = visits()[["id", "died"]]
    with pytest.raises(CohortError, match=r"7 records hold NaN.*nan = 0\.0"):
        Cohort.from_arrays(films, table, patient="id", label="died")
    found = Cohort.from_arrays(films, table, patient="id", label="died", nan=-1.0)
    assert isinstance(found.inputs, ArrayInputs)
    assert (found.inputs.take(np.arange(7))[:, 0, 0] == -1).all()
    assert np.isnan(films[0, 0, 0])
    assert any("NaN in 7 entries" in note for note in found.notes)
    films[0, 1, 1] = np.inf
    with pytest.raises(CohortError, match="1 records hold NaN or infinity"):
        Cohort.from_arrays(films, table, patient="id", label="died", nan=-1.0)


def test_a_column_that_tells_the_label_is_told_and_proposed_for_exclusion(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    size = 400
    died = rng.integers(0, 2, size)
    frame = pd.DataFrame(
        {
            "id": [f"p{i // 2}" for i in range(size)],
            "died": died,
            "age": rng.normal(60, 9, size).round(1),
            "risk": (died + rng.normal(0, 1, size)).round(2),  # a good input, and no leak
            "cost": (died * 1000 + rng.normal(0, 9, size)).round(1),
            "death_day": np.where(died == 1, rng.integers(1, 99, size).astype(float), np.nan),
            "destination": np.where(died == 1, "mortuary", rng.choice(["home", "ward"], size)),
            "admitted": [f"2020-01-{1 + i % 28:02d}" for i in range(size)],
        }
    )
    frame.to_csv(tmp_path / "visits.csv", index=False)
    notes = cohort(tmp_path / "visits.csv", dates="exclude").notes
    told_of = {note.split(":")[0] for note in notes if "predicts the label by itself" in note}
    assert told_of == {"cost", "death_day", "destination"}
    text = starting_configuration(str(tmp_path / "visits.csv"), "id", "died", [], None)
    part = tomllib.loads(text)["cohort"]
    assert set(part["exclude"]) == told_of
    assert part["dates"] == "exclude"
    CohortPart(**part).read(tmp_path, 1)


def test_what_init_writes_is_read(tmp_path: Path) -> None:
    frame = visits(
        admitted=[f"{day:%d.%m.%Y}" for day in STARTS],
        crp=[("bad", "worse", "worst")[i % 3] if i < 9 else str(v) for i, v in enumerate(CRP)],
    )
    frame.loc[:2, "died"] = "?"
    frame.to_csv(tmp_path / "visits.csv", index=False)
    text = starting_configuration(str(tmp_path / "visits.csv"), "id", "died", [], None)
    found = CohortPart(**tomllib.loads(text)["cohort"]).read(tmp_path, 1)
    assert found.task == "binary"
    np.savez(
        tmp_path / "films.npz", ids=np.arange(N), films=np.zeros((N, 4, 4)) + CRP[:, None, None]
    )
    text = starting_configuration(
        str(tmp_path / "visits.csv"), "id", "died", [], str(tmp_path / "films.npz")
    )
    assert tomllib.loads(text)["cohort"]["array"] == "films"
    CohortPart(**tomllib.loads(text)["cohort"]).read(tmp_path, 1)


def test_init_tells_dates_codes_regressions_and_questions(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    size = 300
    score = rng.normal(size=size)
    frame = visits().loc[np.arange(size) % N].reset_index(drop=True)
    frame = frame.assign(
        id=[f"p{i // 2}" for i in range(size)],
        died=(score > 0).astype(int),
        admitted=[f"{day:%Y-%m-%d %H:%M}" for day in pd.date_range("2020-01-01", periods=size)],
        ward_id=rng.integers(1, 9, size),
        costs=rng.gamma(2, 900, size).round(2),
        severity=(score + rng.normal(size=size)).round(3),
        visit_time=1_600_000_000 + 86_400 * np.arange(size),
        weight=rng.normal(70, 9, size).round(1),
    )
    frame.to_csv(tmp_path / "v.csv", index=False)
    text = starting_configuration(str(tmp_path / "v.csv"), "id", "died", [], None)
    part = tomllib.loads(text)["cohort"]
    assert "admitted" not in part["exclude"]
    assert part["dates"] == "exclude"
    assert part["categorical"] == ["ward_id"]
    assert {"costs", "visit_time"} <= set(part["exclude"])
    assert "#   severity? It tells much of the label" in text
    CohortPart(**part).read(tmp_path, 1)
    text = starting_configuration(str(tmp_path / "v.csv"), "id", "weight", [], None)
    written = tomllib.loads(text)
    assert written["cohort"]["outcome"] == "number"
    assert written["recipe"]["model"] == "gradient_boosting_regressor"
    assert CohortPart(**written["cohort"]).read(tmp_path, 1).task == "number"


def test_patterns_are_found_among_few_and_many_different_values() -> None:
    few, many = ["1", "2"] * 900, [str(value) for value in range(1800)]
    for values in (few, many, []):
        column = pd.Series(values, dtype=pd.StringDtype("pyarrow"))
        assert has(column, r"\d,\d") is False
        more = pd.Series([*values, None, "1,2"], dtype=pd.StringDtype("pyarrow"))
        assert has(more, r"\d,\d") is True
    assert has(pd.Series(["1,2"], dtype=object), r"\d,\d") is None


PLAIN = [
    *(["1", "2.5", " 3 ", "-4e5", "", "NA"], ["1", "x"], ["007", "8"], ["inf", "1"], ["nan", "1"]),
    *(["-9", "1"], ["-9.0", "1"], ["1,2", "3"], ["1e400", "2"], ["12345678901234567890", "1"]),
    *(["True", "1"], ["1_0", "2"], ["0x10", "2"], ["<5", "1"], ["", ""], ["+5", "5"], ["1.", ".5"]),
]


@pytest.mark.parametrize("missing", [(), ("-9",), ("x",)])
def test_numbers_read_in_one_pass_are_the_same(missing: tuple[str, ...]) -> None:
    for values in PLAIN:
        column = pd.Series(values, dtype="str")
        quick = plain_numbers(column, missing)
        place, found = pd.factorize(np.asarray(texts(column, missing), dtype=object))
        slow = np.append(parse(found.tolist())[0], np.nan)[place]
        if quick is not None:
            np.testing.assert_array_equal(quick, slow)
            assert not (np.isnan(slow) & (place >= 0)).any()
            slow_too = plain_numbers(pd.Series(["1"] * 100 + values, dtype="str"), missing)
            assert slow_too is not None  # what comes after the first hundred is read no differently
            np.testing.assert_array_equal(slow_too[100:], quick)
        assert plain_numbers(pd.Series([*values, "word"], dtype="str"), missing) is None
        assert plain_numbers(pd.Series(["1"] * 100 + ["word"], dtype="str"), missing) is None
    coded = plain_numbers(pd.Series(["-9", "1"], dtype="str"), ["-9"])
    np.testing.assert_array_equal(coded, [np.nan, 1.0])
    assert plain_numbers(pd.Series(["1", "2"], dtype="str")) is not None
