"""Tables, images and signals to a cohort: rules, refusals, and real data."""

from __future__ import annotations

import gzip
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from auscult import Cohort
from auscult.base.errors import CohortError
from auscult.cohort.cohort import SEVERAL, UNKNOWN, group_of_patients
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.readers import Reading, cohorts
from auscult.readers.values import numbers, texts


def table(records: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.repeat([f"Zxq{i}" for i in range(records // 2)], 2),
            "x": rng.normal(size=records).round(3).astype(str),
            "kind": rng.choice(["a", "b"], records),
            "y": np.tile(["no", "yes"], records // 2),
        }
    )


def read(data: Any, **how: Any) -> Cohort:  # noqa: ANN401
    return Cohort.from_table(data, **({"patient": "id", "label": "y"} | how))


def inputs_of(cohort: Cohort) -> TableInputs:
    assert isinstance(cohort.inputs, TableInputs)
    return cohort.inputs


def test_every_form_of_a_table_gives_the_same_cohort(tmp_path: Path) -> None:
    # Numbers as numbers: text in a source with types stays text for the user's own code.
    frame = table().astype({"x": float})
    frame.to_csv(tmp_path / "t.csv", index=False)
    with gzip.open(tmp_path / "t.csv.gz", "wt", encoding="utf-8-sig") as handle:
        handle.write(frame.to_csv(index=False))
    frame.to_parquet(tmp_path / "t.parquet")
    forms: list[Any] = [tmp_path / name for name in ("t.csv", "t.csv.gz", "t.parquet")]
    forms += [frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)]
    assert len({read(form).fingerprint() for form in forms}) == 1
    assert read(forms[0]).source == "t.csv"


def test_numbers_and_categories_are_recognised_or_declared() -> None:
    frame = table()
    frame["padded"] = [f" {i}" for i in range(len(frame))]
    frame["code"] = np.tile(["1", "2"], len(frame) // 2)
    inputs = inputs_of(read(frame))
    assert inputs.numeric_names == ("x", "padded", "code")
    assert inputs.categorical_names == ("kind",)
    inputs = inputs_of(read(frame, categorical=["code"]))
    assert inputs.categorical_names == ("kind", "code")
    assert inputs.levels[1] == ("1", "2")


def test_missing_values_stay_missing() -> None:
    frame = table()
    frame.loc[3, "x"] = "?"
    frame.loc[4, "x"] = ""
    frame.loc[5, "kind"] = "NA"
    inputs = inputs_of(read(frame, missing=["?"]))
    assert np.flatnonzero(np.isnan(inputs.numeric[:, 0])).tolist() == [3, 4]
    assert np.flatnonzero(inputs.codes[:, 0] < 0).tolist() == [5]


def test_rare_levels_are_pooled_by_patients_and_counted() -> None:
    frame = table(80)
    # "often" is in many records of 5 patients only; "spread" in one record of 15 patients.
    frame["kind"] = ["often"] * 10 + ["spread", "common"] * 15 + ["common"] * 40
    cohort = read(frame)
    assert inputs_of(cohort).levels == (("common", "spread", "(rare)"),)
    assert 'kind: 3 values, the rarest pooled as "(rare)"' in cohort.notes
    assert not any("often" in note for note in cohort.notes)
    cohort = read(frame, max_levels=1)
    assert inputs_of(cohort).levels == (("common", "(rare)"),)
    assert inputs_of(read(frame, min_level_patients=1)).levels == (("common", "often", "spread"),)


def test_a_column_of_one_value_is_left_out_and_said() -> None:
    cohort = read(table().assign(same="z", none=""))
    assert inputs_of(cohort).categorical_names == ("kind",)
    assert any("same, none" in note for note in cohort.notes)


def test_groups_are_inputs_unless_excluded() -> None:
    frame = table()
    assert "kind" in inputs_of(read(frame, groups=["kind"])).categorical_names
    assert inputs_of(read(frame, groups=["kind"], exclude=["kind"])).categorical_names == ()


def test_patients_are_numbered_by_first_appearance() -> None:
    cohort = read(table().iloc[::-1])
    assert cohort.patient_of_record.tolist() == np.repeat(np.arange(30), 2).tolist()
    assert cohort.patient_ids.reveal()[0] == "Zxq29"
    assert "Zxq" not in repr(cohort.patient_ids)


def test_groups_of_patients_naive() -> None:
    rng = np.random.default_rng(1)
    owner = rng.integers(0, 20, 60)
    values = rng.choice(["", "a", "b"], 60, p=[0.5, 0.4, 0.1])
    found = group_of_patients(values.tolist(), owner, 20)
    for patient in range(20):
        mine = {v for v, o in zip(values, owner, strict=True) if o == patient and v}
        expected = UNKNOWN if not mine else SEVERAL if len(mine) > 1 else mine.pop()
        assert found[patient] == expected


def test_numeric_groups_need_bins_and_keep_order() -> None:
    frame = table().assign(age=np.repeat(np.arange(30) + 40, 2))
    with pytest.raises(CohortError, match=r"cohort.bins"):
        read(frame, groups=["age"])
    cohort = read(frame, groups=["age"], bins={"age": [45, 60]})
    counts = cohort.groups["age"].value_counts().to_dict()
    assert counts == {"< 45": 5, "45 to < 60": 15, ">= 60": 10}
    with pytest.raises(CohortError, match="not a group"):
        read(frame, bins={"age": [45]})
    with pytest.raises(CohortError, match="ascend"):
        read(frame, groups=["age"], bins={"age": [45, 45]})


def test_labels_of_every_kind() -> None:
    frame = table()
    assert read(frame).classes == ("no", "yes")
    assert read(frame, positive=["no"]).classes == ("yes", "no")
    frame["y"] = np.tile(["10", "9", "2"], 20)
    cohort = read(frame)
    assert cohort.task == "multiclass"
    assert cohort.classes == ("2", "9", "10")
    cohort = read(frame, positive=["9", "10"])
    assert (cohort.task, cohort.classes) == ("binary", ("2", "9 or 10"))
    assert cohort.labels[:3].tolist() == [1, 1, 0]
    cohort = read(frame, label_groups={"low": ["2", "9"]})
    assert set(cohort.classes) == {"low", "10"}
    cohort = read(frame, label_bins=[5])
    assert cohort.classes == ("< 5", ">= 5")
    assert cohort.labels[:3].tolist() == [1, 1, 0]
    frame["z"] = np.tile(["true", "False"], 30)
    frame["w"] = np.tile(["0", "1", "1"], 20)
    cohort = read(frame, label=["z", "w"])
    assert cohort.task == "multilabel"
    assert cohort.labels[:3].tolist() == [[1, 0], [0, 1], [1, 1]]


def test_missing_labels_are_left_out_and_counted() -> None:
    frame = table()
    frame.loc[[0, 1, 7], "y"] = ""
    cohort = read(frame)
    assert cohort.records == 57
    assert cohort.patients == 29
    assert [(one.reason, one.records) for one in cohort.left_out] == [("label missing", 3)]
    assert cohort.record_rows[:3].tolist() == [2, 3, 4]
    assert cohort.summary()["left_out"] == [{"reason": "label missing", "records": 3}]


def test_subsets_are_of_patients_seeded_and_counted() -> None:
    frame = table(200)
    one, same, other = (read(frame, max_patients=40, seed=s) for s in (1, 1, 2))
    assert one.patients == 40
    assert one.records == 80
    assert one.left_out[0].records == 120
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert (np.diff(one.record_rows) > 0).all()


@pytest.mark.parametrize(
    ("change", "how", "words"),
    [
        ({}, {"patient": "idd"}, 'no column "idd"'),
        ({}, {"exclude": ["q"]}, 'no column "q"'),
        ({}, {"label": []}, "no label"),
        ({}, {"positive": ["maybe"]}, "maybe"),
        ({}, {"label_groups": {"n": ["maybe"]}}, "maybe"),
        ({}, {"label_groups": {"n": ["no"], "m": ["no"]}}, "two groups"),
        ({}, {"numeric": ["kind"]}, "column kind"),
        ({}, {"numeric": ["x"], "categorical": ["x"]}, "both numeric and categorical"),
        ({}, {"label": ["y", "kind"]}, "neither 0 nor 1"),
        ({}, {"label_bins": [3]}, "not numbers"),
        ({}, {"exclude": ["x", "kind"]}, "no input column"),
        ({}, {"max_patients": 0}, "max_patients"),
        ({"y": "yes"}, {}, "same label"),
        ({"y": ""}, {}, "no record has a label"),
        ({"x": "1e39"}, {}, "infinite or beyond"),
        ({"id": "NA"}, {}, "have no patient"),
        ({"day": pd.Timestamp("2024-01-01")}, {}, "dates"),
    ],
)
def test_refusals(change: dict[str, Any], how: dict[str, Any], words: str) -> None:
    with pytest.raises(CohortError, match=words) as caught:
        read(table().assign(**change), **how)
    assert "Zxq" not in str(caught.value)


def test_regression_is_refused_with_cut_points() -> None:
    frame = table().assign(y=np.linspace(0, 1, 60))
    with pytest.raises(CohortError, match=r"regression.*label_bins = \["):
        read(frame)
    assert read(frame, label_bins=[0.3, 0.6]).task == "multiclass"


def test_identifiers_among_the_inputs_are_noticed() -> None:
    cohort = read(table().assign(visit=np.arange(60)))
    assert any("visit" in note and "identifier" in note for note in cohort.notes)


def test_texts_and_numbers_of_typed_columns() -> None:
    assert texts(pd.Series([1.0, None, 2.5])).tolist() == ["1", None, "2.5"]
    assert texts(pd.Series([True, False])).tolist() == ["True", "False"]
    assert texts(pd.Series(["a ", "", "?"]), ["?"]).tolist() == ["a", None, None]
    values, wrong = numbers(pd.Series(["1", " 2.5", "x", ""]))
    np.testing.assert_array_equal(values, [1, 2.5, np.nan, np.nan])
    assert wrong == 1


def images(path: Path, count: int = 60) -> np.ndarray[Any, Any]:
    array = np.random.default_rng(0).integers(0, 255, (count, 6, 6, 3), dtype=np.uint8)
    np.save(path / "i.npy", array)
    np.savez(path / "i.npz", images=array, other=array[:, :, :, 0])
    np.savez_compressed(path / "c.npz", images=array)
    return array


@pytest.mark.parametrize(
    ("name", "key", "mapped"),
    [("i.npy", None, True), ("i.npz", "images", True), ("c.npz", None, False)],
)
def test_images_are_mapped_where_the_file_allows(
    name: str, key: str | None, mapped: bool, tmp_path: Path
) -> None:
    import pickle

    array = images(tmp_path)
    cohort = Cohort.from_arrays(tmp_path / name, table(), key=key, patient="id", label="y")
    assert isinstance(cohort.inputs, ArrayInputs)
    assert isinstance(cohort.inputs.array, np.memmap) == mapped
    assert cohort.inputs.channels == "last"
    rows = np.array([3, 59])
    np.testing.assert_array_equal(cohort.inputs.take(rows), array[rows])
    travelled = pickle.loads(pickle.dumps(cohort.inputs))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(travelled.take(rows), array[rows])
    assert len(pickle.dumps(cohort.inputs)) < 3000 or not mapped


@pytest.mark.parametrize("form", ["fortran", "slice", "changed", "big endian"])
def test_unusual_arrays_reach_the_workers_unchanged(form: str, tmp_path: Path) -> None:
    import pickle

    values = np.random.default_rng(0).normal(size=(60, 5, 4)).astype(np.float32)
    path = tmp_path / "a.npy"
    given: Any = path
    if form == "fortran":
        np.save(path, np.asfortranarray(values))
    elif form == "slice":
        np.save(path, np.concatenate([values + 1, values]))
        given = np.load(path, mmap_mode="r")[60:]
    elif form == "changed":
        np.save(path, values + 1)
        given = np.load(path, mmap_mode="c")
        given[:] = values
    else:
        np.save(path, values.astype(">f4"))
    cohort = Cohort.from_arrays(given, table(), patient="id", label="y")
    travelled = pickle.loads(pickle.dumps(cohort.inputs))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(travelled.take(np.arange(60)), values)
    assert travelled.array.dtype.isnative
    assert travelled.fingerprint() == cohort.inputs.fingerprint()


def test_damaged_array_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (60, 6, 6), dtype=np.uint8)
    np.save(tmp_path / "short.npy", values)
    np.savez(tmp_path / "whole.npz", images=values)
    np.savez_compressed(tmp_path / "packed.npz", images=values)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("short.npy", "whole.npz", "packed.npz"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    np.savez_compressed(tmp_path / "bits.npz", images=values)
    damaged = bytearray((tmp_path / "bits.npz").read_bytes())
    damaged[200:400] = bytes(200)
    (tmp_path / "bits.npz").write_bytes(damaged)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(CohortError, match="cannot be read"):
            Cohort.from_arrays(path, table(), patient="id", label="y")
    with pytest.raises(CohortError, match="no such file"):
        Cohort.from_arrays(tmp_path / "none.npy", table(), patient="id", label="y")


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((60, 9, 9), "none"),
        ((60, 500), "none"),
        ((60, 9, 9, 3), "last"),
        ((60, 1, 9, 9), "first"),
    ],
)
def test_the_channel_axis_is_told_from_the_shape(shape: tuple[int, ...], channels: str) -> None:
    cohort = Cohort.from_arrays(np.zeros(shape), table(), patient="id", label="y")
    assert isinstance(cohort.inputs, ArrayInputs)
    assert cohort.inputs.channels == channels
    said = Cohort.from_arrays(
        np.zeros((60, 3, 9, 3)), table(), patient="id", label="y", channels="first"
    )
    assert isinstance(said.inputs, ArrayInputs)
    assert said.inputs.channels == "first"


def test_records_without_label_leave_their_images_out(tmp_path: Path) -> None:
    array, frame = images(tmp_path), table()
    frame.loc[:9, "y"] = ""
    cohort = Cohort.from_arrays(tmp_path / "i.npy", frame, patient="id", label="y")
    assert isinstance(cohort.inputs, ArrayInputs)
    np.testing.assert_array_equal(cohort.inputs.take(np.arange(2)), array[10:12])


@pytest.mark.parametrize(
    ("array", "how", "words"),
    [
        (np.zeros((59, 6, 6)), {}, "59 entries and the table 60 rows"),
        (np.zeros(60), {}, "shape"),
        (np.full((60, 6, 6), np.nan), {}, "60 records hold NaN"),
        (np.zeros((60, 9, 9, 9)), {}, "which axis"),
        (np.zeros((60, 6, 6), dtype=object), {}, "never read"),
        (np.zeros((60, 6, 6)), {"channels": "last"}, "no channels at that position"),
        (np.zeros((60, 6, 6)), {"channels": "middle"}, "not a position"),
        (np.zeros((60, 6, 6)), {"numeric": ["x"]}, "no inputs"),
        (np.zeros((60, 6, 6)), {"key": "a"}, "npz"),
        (np.zeros((60, 3, 6, 3)), {}, "which axis"),
        (np.zeros((60, 0, 6)), {}, "length 0"),
        (np.zeros((60, 6, 6), dtype=complex), {}, "complex"),
        (np.zeros((60, 6), dtype="U3"), {}, "plain numbers"),
        ([1, 2], {}, "list is not an array"),
        ("images.tif", {}, "not supported"),
    ],
)
def test_arrays_that_do_not_fit(array: Any, how: dict[str, Any], words: str) -> None:  # noqa: ANN401
    with pytest.raises(CohortError, match=words):
        Cohort.from_arrays(array, table(), patient="id", label="y", **how)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}] * 60, dtype=object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", objects)
    for name in ("o.npy", "o.npz"):
        with pytest.raises(CohortError, match="never read"):
            Cohort.from_arrays(tmp_path / name, table(), patient="id", label="y")
    images(tmp_path)
    with pytest.raises(CohortError, match="which array"):
        Cohort.from_arrays(tmp_path / "i.npz", table(), patient="id", label="y")


def test_diabetes(shared_data: Path) -> None:
    cohort = Cohort.from_table(
        shared_data / "diabetes130" / "diabetic_data.csv.gz",
        patient="patient_nbr",
        label="readmitted",
        positive=["<30", ">30"],
        groups=["race", "gender", "age"],
        exclude=["encounter_id"],
        missing=["?"],
        max_patients=6000,
        seed=7,
    )
    assert cohort.patients == 6000
    assert cohort.classes == ("NO", "<30 or >30")
    inputs = inputs_of(cohort)
    assert "num_medications" in inputs.numeric_names
    assert max(len(levels) for levels in inputs.levels) == 51
    assert UNKNOWN in set(cohort.groups["race"])
    assert SEVERAL in set(cohort.groups["age"])
    left = cohort.left_out[0].records
    assert cohort.records + left == 101_766


def test_support2_pads_its_numbers(shared_data: Path) -> None:
    cohort = Cohort.from_table(
        shared_data / "support2" / "support2.csv",
        patient="sno",
        label="hospdead",
        groups=["sex", "race", "age"],
        bins={"age": [50, 70]},
        exclude=["death"],
    )
    assert cohort.patients == cohort.records == 9105
    assert {"meanbp", "crea", "alb"} <= set(inputs_of(cohort).numeric_names)


def test_brain_slices(shared_data: Path) -> None:
    folder = shared_data / "lgg_mri_64"
    cohort = Cohort.from_arrays(
        folder / "images.npz",
        folder / "metadata.csv",
        key="images",
        patient="patient_id",
        label="tumour_present",
        groups=["sex_code", "site"],
    )
    assert (cohort.patients, cohort.records) == (110, 3929)
    # One patient has 88: what at least ten have is told.
    assert cohort.summary()["records_per_patient"]["max"] == 58


def test_parkinsons_is_a_regression(shared_data: Path) -> None:
    path = shared_data / "parkinsons_telemonitoring" / "parkinsons_updrs.csv"
    how: dict[str, Any] = {
        "patient": "subject#",
        "label": "motor_UPDRS",
        "exclude": ["total_UPDRS"],
    }
    with pytest.raises(CohortError, match="this is a regression"):
        Cohort.from_table(path, **how)
    assert Cohort.from_table(path, label_bins=[20], **how).patients == 42


DOORS = ("from_table", "from_arrays", "from_images", "from_signals", "from_events")


@pytest.mark.parametrize("door", DOORS)
def test_doors_show_every_keyword_with_its_type_and_default(door: str) -> None:
    shown = inspect.signature(getattr(Cohort, door)).parameters
    assert not [one for one in shown.values() if one.kind is one.VAR_KEYWORD]
    reading = inspect.signature(Reading).parameters
    assert set(reading) <= set(shown)
    for name in set(reading) - {"patient"}:
        assert shown[name].default == reading[name].default, name
    hints = get_type_hints(cohorts.Columns)
    meant = get_type_hints(Reading)
    assert set(hints) == set(meant)
    assert {n: h for n, h in hints.items() if n != "join"} == {
        n: h for n, h in meant.items() if n != "join"
    }
    assert getattr(Cohort, door).__doc__.startswith("Read ")


@pytest.mark.parametrize("door", DOORS)
def test_doors_refuse_keywords_by_their_own_name(door: str, tmp_path: Path) -> None:
    needed: dict[str, Any] = {"patient": "id", "label": "y"}
    needed |= {"from_images": {"image_size": 8}, "from_signals": {"seconds": 1}}.get(door, {})
    sources = (tmp_path, table()) if door != "from_table" else (table(),)
    read_it = getattr(Cohort, door)
    with pytest.raises(TypeError, match=rf"{door}.*'positiv'.*Did you mean 'positive'"):
        read_it(*sources, **needed, positiv=["y"])
    del needed["label"]
    with pytest.raises(TypeError, match=rf"{door}.* needs the keyword 'label'"):
        read_it(*sources, **needed)


def test_a_cohort_is_described_without_loading_a_reader() -> None:
    code = (
        "import sys; from auscult.cohort import Cohort\n"
        "assert not [m for m in sys.modules if m.startswith('auscult.readers')]\n"
        "Cohort.from_table\n"
        "assert 'auscult.readers.cohorts' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
