"""Inputs as they come: each is read as what it means, or refused in words; none hangs."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from auscult.base.errors import AuscultError, CohortError
from auscult.cohort import Cohort
from auscult.cohort.inputs import TableInputs
from auscult.config.loading import load
from auscult.config.policy import load_policy
from auscult.imported.layouts import read_scores
from auscult.readers.arrays import read_array
from auscult.release import FileDoor, MemberList, Release
from auscult.store import RunStore

N = 60
LAB = np.round(np.random.default_rng(0).gamma(3.0, 5.0, N), 2) + 0.25
DIED = np.random.default_rng(1).integers(0, 2, N)
LONGEST_SECONDS = 30.0


def text(
    lab: list[str], delimiter: str = ",", end: str = "\n", head: str = "", tail: str = ""
) -> str:
    lines = [delimiter.join(("id", "died", "lab"))]
    lines += [delimiter.join((f"Zxq{i // 2}", str(DIED[i]), lab[i])) for i in range(N)]
    return head + end.join(lines) + end + tail


def plain() -> list[str]:
    return [f"{v:.2f}" for v in LAB]


def indexed(written: str) -> bytes:
    lines = written.splitlines()
    return "\n".join([f",{lines[0]}", *(f"{i},{one}" for i, one in enumerate(lines[1:]))]).encode()


def some(word: str, every: int = 9) -> list[str]:
    return [word if i % every == 0 else v for i, v in enumerate(plain())]


COMMAS = [v.replace(".", ",") for v in plain()]
THOUSANDS = [f"{1000 * v:,.2f}" for v in LAB]
PARTED = [one.replace(",", " ") for one in THOUSANDS]

# What a table holds: its file, and the numbers of `lab`, NaN where missing; a factor of LAB.
READ: dict[str, tuple[str, bytes, float, int]] = {
    "plain": ("a.csv", text(plain()).encode(), 1, 0),
    "quoted": ("a.csv", text([f'"{v}"' for v in plain()]).encode(), 1, 0),
    "CRLF": ("a.csv", text(plain(), end="\r\n").encode(), 1, 0),
    "a mark": ("a.csv", codecs.BOM_UTF8 + text(plain()).encode(), 1, 0),
    "UTF-16": ("a.csv", text(plain()).encode("utf-16"), 1, 0),
    "tabulators": ("a.tsv", text(plain(), "\t").encode(), 1, 0),
    "bars": ("a.csv", text(plain(), "|").encode(), 1, 0),
    "semicolons": ("a.csv", text(plain(), ";").encode(), 1, 0),
    "decimal commas": ("a.csv", text(COMMAS, ";").encode(), 1, 0),
    "Excel's separator": ("a.csv", text(COMMAS, ";", head="sep=;\n").encode(), 1, 0),
    "thousands": ("a.csv", text([f'"{v}"' for v in THOUSANDS]).encode(), 1000, 0),
    "parted thousands": ("a.csv", text(PARTED).encode(), 1000, 0),
    "packed": ("a.csv.gz", gzip.compress(text(plain()).encode()), 1, 0),
    "empty cells": ("a.csv", text(some("")).encode(), 1, 7),
    "NA": ("a.csv", text(some("NA")).encode(), 1, 7),
    "#N/A": ("a.csv", text(some("#N/A")).encode(), 1, 7),
    "nan": ("a.csv", text(some("nan")).encode(), 1, 7),
    "NULL": ("a.csv", text(some("NULL")).encode(), 1, 7),
    "one stray cell": ("a.csv", text(some("clotted", 100)).encode(), 1, 1),
    "exponents": ("a.csv", text([f"{v:.6e}" for v in LAB]).encode(), 1, 0),
    "spaces around": ("a.csv", text([f" {v} " for v in plain()]).encode(), 1, 0),
    "blank lines": ("a.csv", text(plain(), tail="\n\n").encode(), 1, 0),
    "lines of old Macs": ("a.csv", text(plain(), end="\r").encode(), 1, 0),
    "a saved index": ("a.csv", indexed(text(plain())), 1, 0),
    "titles above": ("a.csv", text(plain(), head="Ward 3\n\n").encode(), 1, 0),
}


def some_of(values: Any, word: object, every: int = 5) -> list[Any]:  # noqa: ANN401
    return [word if i % every == 0 else v for i, v in enumerate(list(values))]


def other(**columns: Any) -> bytes:  # noqa: ANN401
    frame = pd.DataFrame({"id": np.arange(N) // 2, "died": DIED, "lab": LAB} | columns)
    return frame.to_csv(index=False).encode()


QUERIED = ["?" if i % 9 == 0 else d for i, d in enumerate(DIED)]
DATES = [f"2020-01-{1 + i % 28:02d}" for i in range(N)]
# What is refused: its file, and a word of the reason.
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("a.csv", b"", "empty"),
    "blank": ("a.csv", b"\n\n\n", "empty"),
    "a header alone": ("a.csv", b"id,died,lab\n", "no rows"),
    "another name": ("a.csv", other().replace(b"id,", b"pid,", 1), 'no column "id"'),
    "two of a name": ("a.csv", other().replace(b"lab", b"died", 1), "two columns"),
    "Latin-1": ("a.csv", text(some("groß")).encode("latin-1"), "UTF-8"),
    "ragged": ("a.csv", other() + b"1,2,3,4,5\n", "number of fields"),
    "no patient": ("a.csv", text(plain()).replace("Zxq3,", ",").encode(), "no patient"),
    "one class": ("a.csv", other(died=1), "the same label"),
    "many strays": ("a.csv", text(some("clotted", 4)).encode(), "are not numbers"),
    "units in cells": ("a.csv", text([f"{v} mg" for v in plain()]).encode(), "unit"),
    "dates": ("a.csv", other(when=DATES), "dates"),
    "infinite": ("a.csv", text(some("inf")).encode(), "infinite"),
    "beyond floats": ("a.csv", text(some("1e300")).encode(), "infinite"),
    "no input": ("a.csv", b"id,died\n" + b"1,0\n2,1\n" * 20, "no input"),
    "a spreadsheet": ("a.xlsx", b"PK", "read_excel"),
    "SAS": ("a.sas7bdat", b"", "read_sas"),
    "no Parquet": ("a.parquet", b"PAR1 nothing", "cannot be read"),
    "no gzip": ("a.csv.gz", b"nothing", "be read"),
    "half a gzip": ("a.csv.gz", gzip.compress(other())[:60], "be read"),
    "pixels": ("a.csv", bytes(range(256)) * 20, "UTF-8"),
    "a doubtful label": ("a.csv", other(died=QUERIED), "missing label"),
    "a label of 9 beside 0 and 1": ("a.csv", other(died=some_of(DIED, 9)), "missing_in"),
    "a label of -1 beside 0 and 1": ("a.csv", other(died=some_of(DIED, -1)), "missing_in"),
    "labels in two spellings": (
        "a.csv",
        other(died=["Yes" if i % 3 == 0 else "yes" if i % 3 == 1 else "no" for i in range(N)]),
        "label_groups",
    ),
    "labels with and without .0": (
        "a.csv",
        other(died=[f"{d}.0" if i % 2 else f"{d}" for i, d in enumerate(DIED)]),
        "label_groups",
    ),
    "patients of nobody": ("a.csv", other(id=some_of(np.arange(N) // 2, "unknown")), "nobody"),
    "a total below": ("a.csv", other() + b"Total,31,900\n", "nobody"),
    "patients of a spreadsheet": (
        "a.csv",
        other(id=[f"{1.2 + 1e-5 * (i // 4):.5f}E+11" for i in range(N)]),
        "rounded numbers",
    ),
    "patients with and without .0": (
        "a.csv",
        other(id=[f"{i // 4}.0" if i % 2 else f"{i // 4}" for i in range(N)]),
        '".0"',
    ),
    "dates without signs": (
        "a.csv",
        other(when=[20200101 + 100 * (i % 12) + i % 28 for i in range(N)]),
        'dates = "days"',
    ),
    "days of a spreadsheet": (
        "a.csv",
        other(visit_date=[43831 + 3 * i for i in range(N)]),
        "days of a spreadsheet",
    ),
    "seconds since 1970": (
        "a.csv",
        other(timestamp=[1_600_000_000 + 86_400 * i for i in range(N)]),
        "seconds",
    ),
    "codes with zeros before": (
        "a.csv",
        other(zip=[f"{501 + i % 40:05d}" for i in range(N)]),
        "codes, or numbers",
    ),
    "a currency": ("a.csv", other(cost=[f"${3.5 * i:.2f}" for i in range(N)]), "currency"),
    "two numbers in a cell": (
        "a.csv",
        other(bp=[f"{100 + i}/{60 + i}" for i in range(N)]),
        "120/80",
    ),
    "per cent": ("a.csv", other(ef=[f"{20 + i / 3:.1f}%" for i in range(N)]), "unit"),
    "points of three digits between semicolons": (
        "a.csv",
        text([f"{1.234 + 0.017 * i:.3f}" for i in range(N)], ";").encode(),
        "decimal =",
    ),
    "commas of three digits": (
        "a.csv",
        text([f"{1234 + i:,}" for i in range(N)], ";").encode(),
        "decimal =",
    ),
    "days or months": (
        "a.csv",
        other(when=[f"{1 + i % 12:02d}/{1 + i % 11:02d}/2020" for i in range(N)]),
        "dates",
    ),
    "a column without a name": ("a.csv", other().replace(b"lab", b"", 1), "name"),
    "a gzip called CSV": ("a.csv", gzip.compress(other()), "ends with .gz"),
    "a workbook called CSV": ("a.csv", b"PK\x03\x04" + bytes(40), "spreadsheet"),
    "two encodings": (
        "a.csv",
        other() + "Zxq1,1,é\n".encode() + "Zxq1,1,é\n".encode("latin-1"),
        "different encodings",
    ),
}


def array(values: Any, name: str = "") -> bytes:  # noqa: ANN401
    content = io.BytesIO()
    np.savez(content, **{name: values}) if name else np.save(content, values)
    return content.getvalue()


INSIDE = np.random.default_rng(0).random((8, 20)).argsort(axis=0) < 4


def scores(**arrays: Any) -> bytes:  # noqa: ANN401
    signals = np.random.default_rng(3).normal(size=(8, 20)) + INSIDE
    content = io.BytesIO()
    made = {"signals": signals, "membership": INSIDE, "patient": np.arange(20)} | arrays
    np.savez(content, **{name: value for name, value in made.items() if value is not None})
    return content.getvalue()


def images(path: Path) -> object:
    return read_array(path, None)


def answers(path: Path) -> object:
    return FileDoor(path=path)._read()


def members(path: Path) -> object:
    frame = pd.DataFrame({"id": np.arange(N) // 2, "died": DIED, "lab": LAB})
    return MemberList(source=path).roll(Cohort.from_table(frame, patient="id", label="died"))


UNIT = np.random.default_rng(2).random((8, 20))
DEEP = b"[" * 10_000
# Doors other than tables: what they get, and a word of the refusal.
DOORS: dict[str, tuple[str, bytes, Callable[[Path], object], str]] = {
    "scores of nothing": ("s.npz", b"", read_scores, "cannot be read"),
    "scores without membership": ("s.npz", scores(membership=None), read_scores, "membership"),
    "scores within 0 and 1": ("s.npz", scores(signals=UNIT), read_scores, "signals-are"),
    "scores of NaN": ("s.npz", scores(signals=np.full((8, 20), np.nan)), read_scores, "NaN"),
    "reversed scores": ("s.npz", scores(signals=-9.0 * INSIDE), read_scores, "lower"),
    "few models": (
        "s.npz",
        scores(signals=np.full((3, 20), 2.0), membership=INSIDE[:3]),
        read_scores,
        "3 models",
    ),
    "lists of members": (
        "s.npz",
        scores(membership=np.arange(32).reshape(8, 4)),
        read_scores,
        "matrix",
    ),
    "huge labels": ("s.npz", scores(labels=np.full(20, 2**40)), read_scores, "class indices"),
    "labels of 1e300": ("s.npz", scores(labels=np.full(20, 1e300)), read_scores, "class indices"),
    "no labels at all": ("s.npz", scores(labels=np.empty(0)), read_scores, "labels"),
    "images of one axis": ("i.npy", array(np.ones(5)), images, "shape"),
    "images of text": ("i.npy", array(np.array([["a"]])), images, "holds"),
    "images of no number": ("i.npy", array(np.empty((0, 4, 4))), images, "length 0"),
    "half a npy": ("i.npy", array(np.ones((9, 9)))[:-40], images, "cannot be read"),
    "answers of objects": (
        "a.npy",
        array(np.array([{}, 1], dtype=object)),
        answers,
        "cannot be read",
    ),
    "answers in a pickle": ("a.pkl", b"\x80\x04N.", answers, "never opens such files"),
    "members of nobody": ("m.txt", b"Zxq1\nZxq2\n", members, "none of its 2"),
    "members in Latin-1": ("m.txt", "ä\n".encode("latin-1"), members, "UTF-8"),
    "no TOML": ("a.toml", b"a = ", load, "not TOML"),
    "an empty configuration": ("a.toml", b"", load, "missing"),
    "a configuration of bytes": ("a.toml", b"\xff\xfe\x00", load, "UTF-8"),
    "an unknown key": ("a.toml", b"[cohort]\npatiant = 1\n", load, "patient"),
    "a policy of nothing": ("p.toml", b"x = 1\n", load_policy, "x"),
    "a deep policy": ("p.toml", b"a = " + DEEP, load_policy, "nested"),
}


def cohort(path: Path, **how: Any) -> Cohort:  # noqa: ANN401
    return Cohort.from_table(path, **({"patient": "id", "label": "died"} | how))


# What is read and told: its file, and words of a note.
TOLD: dict[str, tuple[bytes, str]] = {
    "spellings of a patient": (
        other(id=[("p" if i % 2 else "P") + f"{i // 4}" for i in range(N)]),
        "capitals, spaces or leading zeros",
    ),
    "zeros before some patients": (
        other(id=[f"{i // 4:03d}" if i % 2 else f"{i // 4}" for i in range(N)]),
        "leading zeros",
    ),
    "999 among numbers": (other(lab=some_of(20 + np.arange(N) % 40, 999)), "code for missing"),
    "-1 among numbers": (other(lab=some_of(20 + np.arange(N) % 40, -1)), "code for missing"),
    "spellings of a category": (
        other(ward=[("East", "east", "west")[i % 3] for i in range(N)]),
        "several spellings",
    ),
    "a number of each record": (other(visit=1000 + np.arange(N)), "identifier"),
    "a text of each record": (other(visit=[f"V{i:04d}" for i in range(N)]), "pooled"),
    "whole numbers above 2**53": (other(acc=2**53 + np.arange(N)), "32-bit floats"),
    "the label once more": (other(outcome2=DIED), "predicts the label by itself"),
    "files put one below the other": (
        other() + other().replace(b"0,", b"1,", 0),
        "repeat the header",
    ),
    "a date of death": (other(death_days=np.where(DIED, 3.0, np.nan)), "predicts the label"),
}


def in_words(error: AuscultError) -> None:
    """No class of an exception, no patient, no fault of the program's."""
    said = str(error)
    assert not re.search(
        r"\((\w*Error|Fail|BadZipFile|Arrow\w+)\)|ArrowInvalid|internal error", said
    )
    assert "Zxq" not in said


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str, tmp_path: Path) -> None:
    file, content, factor, missing = READ[name]
    (tmp_path / file).write_bytes(content)
    found = cohort(tmp_path / file)
    assert isinstance(found.inputs, TableInputs)
    assert found.inputs.numeric_names == ("lab",)
    lab = found.inputs.numeric[:, 0]
    assert int(np.isnan(lab).sum()) == missing
    there = ~np.isnan(lab)
    np.testing.assert_allclose(lab[there], factor * LAB[there], rtol=1e-4)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    file, content, word = REFUSED[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(AuscultError, match=re.escape(word)) as raised:
        cohort(tmp_path / file)
    in_words(raised.value)


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(name: str, tmp_path: Path) -> None:
    content, word = TOLD[name]
    (tmp_path / "a.csv").write_bytes(content)
    assert any(word in note for note in cohort(tmp_path / "a.csv").notes)


def test_floats_that_lost_digits_are_no_patients() -> None:
    frame = pd.DataFrame({"id": 2.0**60 + np.arange(N) // 2, "died": DIED, "lab": LAB})
    with pytest.raises(CohortError, match="last digits are lost"):
        Cohort.from_table(frame, patient="id", label="died")
    whole = Cohort.from_table(
        frame.assign(id=2**60 + np.arange(N) // 2), patient="id", label="died"
    )
    assert whole.patients == N // 2


# Advice, and what it leads to: what was refused, what is then said, and the classes or columns.
ADVICE: dict[str, tuple[bytes, dict[str, Any], Any]] = {
    "a code of one label": (other(died=some_of(DIED, 9)), {"missing_in": {"died": ["9"]}}, 2),
    "a class of its own": (other(died=some_of(DIED, 9)), {"label_groups": {"9": ["9"]}}, 3),
    "one spelling": (
        other(died=["Yes" if i % 3 == 0 else "yes" if i % 3 == 1 else "no" for i in range(N)]),
        {"label_groups": {"yes": ["Yes", "yes"]}},
        2,
    ),
    "spellings that are classes": (
        other(died=["Yes" if i % 3 == 0 else "yes" if i % 3 == 1 else "no" for i in range(N)]),
        {"label_groups": {"Yes": ["Yes"], "yes": ["yes"]}},
        3,
    ),
    "codes": (other(zip=[f"{501 + i % 40:05d}" for i in range(N)]), {"categorical": ["zip"]}, 2),
    "numbers": (other(zip=[f"{501 + i % 40:05d}" for i in range(N)]), {"numeric": ["zip"]}, 2),
    "moments": (other(visit_date=43831 + np.arange(N)), {"exclude": ["visit_date"]}, 2),
    "measured": (other(visit_date=43831 + np.arange(N)), {"numeric": ["visit_date"]}, 2),
    "days": (
        other(when=[20200101 + 100 * (i % 12) + i % 28 for i in range(N)]),
        {"dates": "days"},
        2,
    ),
    "one-hot": (other(a=DIED, b=1 - DIED), {"label": ["a", "b"], "task": "multiclass"}, 2),
    "both may hold": (other(a=DIED, b=1 - DIED), {"label": ["a", "b"], "task": "multilabel"}, 2),
    "a code among numbers": (
        other(lab=some_of(20 + np.arange(N) % 40, 999)),
        {"missing_in": {"lab": ["999"]}},
        2,
    ),
    "unknown dates": (
        other(when=some_of(DATES, "9999-12-31")),
        {"dates": "days", "missing": ["9999-12-31"]},
        2,
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice_about_tables_is_followed_to_its_end(name: str, tmp_path: Path) -> None:
    content, how, classes = ADVICE[name]
    (tmp_path / "a.csv").write_bytes(content)
    key = {key: value for key, value in how.items() if key in ("label", "dates")}
    if name != "a code among numbers":
        with pytest.raises(CohortError):
            cohort(tmp_path / "a.csv", **({} if "label" not in key else {"label": how["label"]}))
    found = cohort(tmp_path / "a.csv", **how)
    assert len(found.classes) == classes
    assert not any("code for missing" in note for note in found.notes)


def test_advice_that_does_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(other())
    with pytest.raises(CohortError, match="no record has such a value"):
        cohort(tmp_path / "a.csv", missing_in={"lab": ["999"]})


def test_keys_and_members_in_another_spelling(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [f"{i // 2:03d}" for i in range(N)], "died": DIED, "lab": LAB})
    second = pd.DataFrame({"id": [str(i) for i in range(N // 2)], "age": np.arange(N // 2) + 0.5})
    with pytest.raises(CohortError, match="leading zeros"):
        Cohort.from_table(frame, patient="id", label="died", join={"table": second, "on": "id"})
    whole = Cohort.from_table(frame, patient="id", label="died")
    some = ["000", "1", "2"]
    with pytest.raises(CohortError, match=r"2 of its identifiers .* leading zeros"):
        MemberList(source=some).roll(whole)
    assert MemberList(source=[f"{int(one):03d}" for one in some]).roll(whole).unmatched == 0


@pytest.mark.parametrize("name", DOORS)
def test_what_other_doors_refuse(name: str, tmp_path: Path) -> None:
    file, content, door, word = DOORS[name]
    (tmp_path / file).write_bytes(content)
    begin = time.process_time()
    with pytest.raises(AuscultError, match=re.escape(word)) as raised:
        door(tmp_path / file)
    in_words(raised.value)
    assert time.process_time() - begin < LONGEST_SECONDS


@pytest.mark.parametrize("manifest", [b"", b"{}", DEEP, json.dumps({"schema": 1}).encode()])
def test_folders_that_are_no_run(manifest: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(AuscultError) as raised:
        RunStore.open(tmp_path)
    in_words(raised.value)


LOGITS = np.random.default_rng(7).normal(size=(16, 40, 3))
OWNERS = np.arange(40) // 2
HALF = np.random.default_rng(8).random((16, 20)).argsort(axis=0) < 8
TRUE = np.random.default_rng(9).integers(0, 3, 40)
LOGITS[:, np.arange(40), TRUE] += 1.0 + 3.0 * HALF[:, OWNERS]
LOG_P = LOGITS - np.log(np.exp(LOGITS).sum(axis=2, keepdims=True))
SEVERAL = np.random.default_rng(10).integers(0, 2, (40, 3))
OF_SEVERAL = LOGITS + 3.0 * SEVERAL
SHUFFLED = np.random.default_rng(11).permutation(20)[OWNERS]
IN_ORDER = np.empty_like(HALF)
IN_ORDER[:, SHUFFLED[::2]] = HALF


def outputs(**arrays: Any) -> dict[str, Any]:  # noqa: ANN401
    made = {"logits": LOGITS, "membership": HALF, "patient": OWNERS, "labels": TRUE} | arrays
    return {name: value for name, value in made.items() if value is not None}


def signals(values: Any, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return outputs(logits=None, signals=values, **more)


OF_TRUE = LOG_P[:, np.arange(40), TRUE]
SIGMOID = 1 / (1 + np.exp(-OF_SEVERAL))
# Scores that mean something else than their shape says, and a word of the refusal.
MEANT: dict[str, tuple[dict[str, Any], str]] = {
    "logarithms to base 10": (outputs(logits=LOG_P / np.log(10)), "base 10"),
    "logarithms to base 2": (outputs(logits=LOG_P / np.log(2)), "base 2"),
    "logits called log-probabilities": (
        outputs(logits=LOGITS - 20, outputs_are=np.array("log-probabilities")),
        "do not add up to 1",
    ),
    "per cent": (outputs(logits=100 * np.exp(LOG_P)), "adds up to 100"),
    "logits called probabilities": (
        outputs(logits=None, probabilities=LOGITS),
        "not probabilities",
    ),
    "one sigmoid called logits": (
        outputs(logits=SIGMOID[:, :, :1], labels=SEVERAL[:, 0]),
        "--outputs-are",
    ),
    "sigmoids called logits": (outputs(logits=SIGMOID, labels=SEVERAL), "--outputs-are"),
    "logarithms of sigmoids": (outputs(logits=np.log(SIGMOID), labels=SEVERAL), "--outputs-are"),
    "losses called signals": (signals(-OF_TRUE), "--signals-are losses"),
    "probabilities called signals": (signals(np.exp(OF_TRUE)), "--signals-are probabilities"),
    "right or wrong called signals": (
        signals((LOGITS.argmax(axis=2) == TRUE).astype(float)),
        "--signals-are",
    ),
    "negatives of losses called losses": (
        outputs(logits=None, losses=OF_TRUE),
        "members have the lower",
    ),
    "who was left out": (outputs(membership=~HALF), "members have the lower"),
    "columns in another order": (outputs(logits=LOGITS[:, :, [2, 0, 1]]), "another order"),
    "labels in another order": (
        outputs(logits=OF_SEVERAL, labels=SEVERAL[:, [2, 0, 1]]),
        "another order",
    ),
    "one-hot or several": (outputs(labels=np.eye(3, dtype=int)[TRUE]), "--labels-are one-hot"),
    "labels that are probabilities": (outputs(labels=np.exp(LOG_P[0])), "not 0 and 1"),
    "labels from 1": (outputs(labels=TRUE + 1), "save labels - 1"),
    "labels of -1": (outputs(labels=np.where(OWNERS == 0, -1, TRUE)), "out of all arrays"),
    "labels of text": (outputs(labels=TRUE.astype(str)), "model.classes_"),
    "labels of one class": (outputs(labels=np.zeros(40, int)), "all records have the label"),
    "patients in sorted order": (
        outputs(patient=SHUFFLED, membership=IN_ORDER),
        "membership per record",
    ),
    "models twice": (
        outputs(logits=np.tile(LOGITS, (2, 1, 1)), membership=np.tile(HALF, (2, 1))),
        "copies of others",
    ),
    "the same members always": (
        outputs(membership=np.tile(HALF[:1], (16, 1))),
        "a member of all models or of none",
    ),
    "one value everywhere": (signals(np.full((16, 40), 3.0)), "all values are the same"),
    "patients that lost digits": (outputs(patient=2.0**60 + OWNERS), "last digits are lost"),
    "members as -1 and 1": (outputs(membership=np.where(HALF, 1, -1)), "membership > 0"),
    "records before models": (outputs(logits=LOGITS.transpose(1, 0, 2)), "labels for"),
}


@pytest.mark.parametrize("name", MEANT)
def test_scores_that_mean_something_else(name: str, tmp_path: Path) -> None:
    arrays, word = MEANT[name]
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(AuscultError, match=re.escape(word)) as raised:
        read_scores(tmp_path / "s.npz")
    in_words(raised.value)


MENDED: dict[str, dict[str, Any]] = {
    "logarithms to base 10": outputs(logits=LOG_P / np.log(10) * 2.30258509299),
    "patients in sorted order": outputs(
        patient=SHUFFLED, membership=IN_ORDER[:, np.unique(SHUFFLED, return_inverse=True)[1]]
    ),
    "labels from 1": outputs(labels=TRUE),
    "members as -1 and 1": outputs(membership=np.where(HALF, 1, -1) > 0),
    "models twice": outputs(),
    "who was left out": outputs(membership=HALF),
    "labels of text": outputs(labels=TRUE.astype(str), classes=np.array(["0", "1", "2"])),
}


@pytest.mark.parametrize("name", MENDED)
def test_advice_about_scores_is_followed_to_its_end(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **MENDED[name])
    np.savez(tmp_path / "plain.npz", **outputs())
    found, plain_ = read_scores(tmp_path / "s.npz"), read_scores(tmp_path / "plain.npz")
    np.testing.assert_array_equal(found.membership.reveal(), plain_.membership.reveal())
    difference = found.values.astype(np.float64) - plain_.values
    spread = difference - difference.mean(axis=3, keepdims=True)  # a softmax forgets it
    np.testing.assert_allclose(spread, 0, atol=1e-4)


def test_scores_that_are_told(tmp_path: Path) -> None:
    owner = np.array([f"p{i}" for i in OWNERS]).astype("S4")
    age = np.where(OWNERS == 3, np.nan, 20.0 + np.arange(40))
    np.savez(tmp_path / "s.npz", **signals(OF_TRUE - 1.0, patient=owner, age=age))
    found = read_scores(tmp_path / "s.npz")
    assert any("cross-entropy" in note for note in found.notes)
    assert any("39 different numbers" in note or "bin it first" in note for note in found.notes)
    assert "p0" in found.patient_ids.reveal().tolist()
    assert "nan" not in found.groups["age"].tolist()
    mixed = np.random.default_rng(5).permutation(60) % 3
    many = np.random.default_rng(6).normal(size=(16, 60, 3))
    half = np.random.default_rng(7).random((16, 60)).argsort(axis=0) < 8
    np.savez(tmp_path / "s.npz", logits=many, membership=half, patient=np.arange(60), labels=mixed)
    assert any("no better than chance" in note for note in read_scores(tmp_path / "s.npz").notes)


STAGE = np.random.default_rng(12).integers(0, 3, N)
OF_STAGE = np.random.default_rng(13).normal(size=(N, 3)) + 3.0 * np.eye(3)[STAGE]
P_STAGE = np.exp(OF_STAGE) / np.exp(OF_STAGE).sum(axis=1, keepdims=True)
P_DIED = 1 / (1 + np.exp(-(np.random.default_rng(14).normal(size=N) + 4.0 * DIED - 2.0)))
# Answers of a release to three stages or two outcomes, what they are said to be, and the refusal.
ANSWERED: dict[str, tuple[str, Any, str, str]] = {
    "the other class": ("died", 1 - P_DIED, "probabilities", "Answer 1 - p"),
    "probabilities called logits": ("died", P_DIED, "logits", 'output = "probabilities"'),
    "rows of probabilities called logits": ("stage", P_STAGE, "logits", 'output = "probabilities"'),
    "logits called probabilities": ("stage", OF_STAGE, "probabilities", "probabilit"),
    "columns in another order": ("stage", P_STAGE[:, [2, 0, 1]], "probabilities", '"0", "1", "2"'),
    "per cent": ("stage", 100 * P_STAGE, "probabilities", "probabilit"),
    "another number of records": ("died", P_DIED[:-1], "probabilities", "59"),
    "another number of classes": ("stage", P_STAGE[:, :2], "probabilities", "3"),
    "missing answers": ("died", np.where(DIED, np.nan, P_DIED), "probabilities", "not finite"),
    "names of other classes": (
        "died",
        np.array(["ill"] * N),
        "probabilities",
        "does not name a class",
    ),
}


def clinic() -> Cohort:
    frame = pd.DataFrame({"id": np.arange(N) // 2, "died": DIED, "stage": STAGE, "lab": LAB})
    return Cohort.from_table(frame, patient="id", label="died", exclude=["stage"])


@pytest.mark.parametrize("name", ANSWERED)
def test_answers_that_mean_something_else(name: str, tmp_path: Path) -> None:
    label, answer, output, word = ANSWERED[name]
    frame = pd.DataFrame({"id": np.arange(N) // 2, "died": DIED, "stage": STAGE, "lab": LAB})
    other_ = "stage" if label == "died" else "died"
    patients = Cohort.from_table(frame, patient="id", label=label, exclude=[other_])
    np.save(tmp_path / "a.npy", answer)
    release = Release(door=FileDoor(path=tmp_path / "a.npy"), output=output)  # type: ignore[arg-type]
    with pytest.raises(AuscultError, match=re.escape(word)) as raised:
        release.check(patients)
    in_words(raised.value)


def test_advice_about_answers_is_followed_to_its_end(tmp_path: Path) -> None:
    for answer, output in (
        (P_DIED, "probabilities"),
        (np.column_stack([1 - P_DIED, P_DIED]), "probabilities"),
        (np.log(P_DIED / (1 - P_DIED)), "logits"),
        (np.where(P_DIED > 0.5, "1", "0"), "probabilities"),
    ):
        np.save(tmp_path / "a.npy", answer)
        Release(door=FileDoor(path=tmp_path / "a.npy"), output=output).check(clinic())  # type: ignore[arg-type]
