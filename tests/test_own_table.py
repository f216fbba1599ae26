"""The table that the user's own code gets: the file's columns, in its order, with its types."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from auscult import Cohort, CohortError, PythonRecipe, SklearnRecipe
from auscult.cohort.inputs import TableInputs
from auscult.cohort.queries import parse_query
from auscult.recipes.base import Assignment
from auscult.release.nobody import of_nobody
from auscult.release.payload import records_of

RECORDS = 120
BIG = 2**53 - 200


def visits() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    person = np.repeat(np.arange(RECORDS // 2), 2)
    some = rng.random(RECORDS) < 0.2
    return pd.DataFrame(
        {
            "ward": rng.choice(["north", "south"], RECORDS),
            "person": [f"Zxq{i:03d}" for i in person],
            "crp": rng.normal(5.0, 2.0, RECORDS).round(2),
            "smoker": rng.random(RECORDS) < 0.4,
            "order": BIG + rng.integers(0, 100, RECORDS),
            "site": ["one"] * RECORDS,
            "died": rng.integers(0, 2, RECORDS),
            "note": [f"seen by doctor {i % 90}" for i in range(RECORDS)],
            "age": rng.integers(20, 90, RECORDS),
            "stays": np.where(some, np.nan, rng.integers(0, 9, RECORDS)),
            "alive": pd.Series(rng.random(RECORDS) < 0.5, dtype=object).mask(some, None),
            "drug": pd.Series(rng.choice(["a", "b"], RECORDS)).mask(some),
        }
    )


def inputs_of(data: Any, **more: Any) -> TableInputs:  # noqa: ANN401
    inputs = Cohort.from_table(data, patient="person", label="died", **more).inputs
    assert isinstance(inputs, TableInputs)
    return inputs


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_it_is_what_pandas_reads_without_patient_and_label(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"visits{suffix}"
    if suffix == ".csv":
        visits().to_csv(path, index=False)
        outside = pd.read_csv(path)
    else:
        visits().to_parquet(path)
        outside = pd.read_parquet(path)
    expected = outside.drop(columns=["person", "died"])
    found = inputs_of(path).table()
    assert found.columns.tolist() == expected.columns.tolist()
    for name in expected:
        assert found[name].dtype == expected[name].dtype, name
        gone = expected[name].isna()
        assert (found[name].isna() == gone).all(), name
        assert found[name][~gone].tolist() == expected[name][~gone].tolist(), name
    assert found["smoker"].dtype == bool
    assert found["order"].dtype == np.int64


def test_codes_stay_text_where_the_source_or_the_user_says_so(tmp_path: Path) -> None:
    frame = visits().assign(code=[f"0{i % 7}" for i in range(RECORDS)])
    with pytest.raises(CohortError, match=r"codes, or numbers.*categorical"):
        inputs_of(frame)
    assert inputs_of(frame, categorical=["code"]).table()["code"].iloc[3] == "03"
    frame.to_csv(tmp_path / "v.csv", index=False)
    assert inputs_of(tmp_path / "v.csv", categorical=["code"]).table()["code"].iloc[3] == "03"
    assert inputs_of(tmp_path / "v.csv", numeric=["code"]).table()["code"].iloc[3] == 3


def test_declared_missing_values_are_missing() -> None:
    frame = visits().assign(age=np.where(np.arange(RECORDS) < 5, -9, visits()["age"]))
    found = inputs_of(frame, missing=["-9", "north"]).table()
    assert found["age"].isna().sum() == 5
    assert (found["ward"].isna() == (frame["ward"] == "north")).all()


def test_joined_columns_keep_their_sources_types(tmp_path: Path) -> None:
    frame = visits()
    other = pd.DataFrame({"person": frame["person"].unique(), "zip": "01234"})
    other.loc[:20, "zip"] = "00007"
    other.to_parquet(tmp_path / "o.parquet")
    how = {"table": tmp_path / "o.parquet", "on": "person"}
    assert inputs_of(frame, join=how).table()["zip"].iloc[0] == "00007"


def test_the_fingerprint_and_other_processes_know_it() -> None:
    one = inputs_of(visits())
    assert one.own is not None
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 - own bytes
    pd.testing.assert_frame_equal(again.table(), one.table())
    assert again.fingerprint() == one.fingerprint() == inputs_of(visits()).fingerprint()
    changes: dict[str, Any] = {
        "note": "other",
        "order": BIG + 100,
        "smoker": not one.own["smoker"].iloc[7],
    }
    for name, value in changes.items():
        own = one.table()
        own.loc[7, name] = value
        assert replace(one, own=own).fingerprint() != one.fingerprint(), name
    narrow = one.table().astype({"age": "int32"})
    assert replace(one, own=narrow).fingerprint() != one.fingerprint()
    given = one.table()
    given["age"] = 0
    assert one.fingerprint() == inputs_of(visits()).fingerprint()


def test_queries_act_on_it() -> None:
    inputs = inputs_of(visits())
    own = inputs.table()
    for name in ("age", "stays", "note", "smoker", "drug", "alive", "order"):
        query = parse_query(f"without:{name}")
        assert query.supports(inputs) is None
        (view,) = query.apply(inputs, 3)
        assert isinstance(view, TableInputs)
        found = view.table()
        assert len(found[name].drop_duplicates()) == 1, name
        assert found[name].isna().all() == own[name].isna().any(), name
        assert found[name].dtype == own[name].dtype, name
        pd.testing.assert_frame_equal(found.drop(columns=name), own.drop(columns=name))
    assert parse_query("without:site").supports(inputs) is not None
    (view,) = parse_query("noise:0.1").apply(inputs, 3)
    assert isinstance(view, TableInputs)
    moved, place = view.table(), inputs.numeric_names.index("crp")
    np.testing.assert_allclose(moved["crp"], view.numeric[:, place], rtol=1e-5)
    for name in ("note", "smoker", "drug", "ward", "alive"):
        pd.testing.assert_series_equal(moved[name], own[name])
    assert (moved["order"] != own["order"]).mean() > 0.5
    *_, view = parse_query("augmented:3").apply(inputs, 3)
    assert isinstance(view, TableInputs)
    found, place = view.table(), inputs.categorical_names.index("ward")
    levels = np.array(inputs.levels[place])
    assert found["ward"].tolist() == levels[view.codes[:, place]].tolist()
    assert 0 < (found["note"] != own["note"]).mean() < 0.2
    assert found["smoker"].dtype == bool
    assert (found["alive"].isna() == own["alive"].isna()).all()


def train(table: pd.DataFrame, labels: Any, seed: int) -> Any:  # noqa: ANN401
    assert table["smoker"].dtype == bool
    rate = labels[table["smoker"] == True].mean()  # noqa: E712 - as people write it

    def predict(every: pd.DataFrame) -> Any:  # noqa: ANN401
        found = np.where(every["smoker"] == True, rate, 0.5)  # noqa: E712
        every["smoker"] = False
        return found

    return predict


def block(recipe: Any, data: Any) -> Any:  # noqa: ANN401
    cohort = Cohort.from_table(data, patient="person", label="died")
    rng = np.random.default_rng(0)
    jobs = [
        Assignment(model=i, members=np.sort(rng.choice(RECORDS, 60, replace=False)), seed=i)
        for i in range(2)
    ]
    return recipe.train_block(cohort.training_data(), jobs, lambda _: None)


def test_functions_get_it_and_what_they_write_into_it_is_theirs(tmp_path: Path) -> None:
    visits().to_csv(tmp_path / "v.csv", index=False)
    values = block(PythonRecipe(train), tmp_path / "v.csv").values
    for model in values[:, 0, :, 0]:
        assert len(np.unique(model)) == 2


def pipeline(*parts: Any) -> SklearnRecipe:  # noqa: ANN401
    return SklearnRecipe(make_pipeline(ColumnTransformer([*parts]), LogisticRegression()))


@pytest.mark.filterwarnings("ignore:For backward compatibility")
def test_column_transformers_select_what_they_do_outside() -> None:
    chosen: dict[str, list[str]] = {}

    def spy(name: str, selector: Any) -> Any:  # noqa: ANN401
        def select(table: pd.DataFrame) -> list[str]:
            chosen[name] = selector(table)
            return chosen[name]

        return select

    words = OneHotEncoder(handle_unknown="ignore")
    found = block(
        pipeline(
            ("numbers", StandardScaler(), [1]),
            ("places", StandardScaler(), [3, 6]),
            ("text", words, spy("text", make_column_selector(dtype_include=[object, "string"]))),
            ("truth", "passthrough", spy("truth", make_column_selector(dtype_include=bool))),
        ),
        visits(),
    )
    assert {*chosen["text"]} == {"ward", "site", "note", "alive", "drug"}
    assert chosen["truth"] == ["smoker"]
    assert not any("ColumnTransformer" in note for note in found.notes)


def test_what_a_column_transformer_leaves_is_noted() -> None:
    none = make_column_selector(dtype_include="category")
    notes = block(
        pipeline(("n", StandardScaler(), ["crp", "age"]), ("words", OneHotEncoder(), none)),
        visits(),
    ).notes
    assert notes['the part "words" of the ColumnTransformer selects no column'] == 2
    assert notes["the ColumnTransformer takes none of the 4 text columns"] == 2
    assert notes["the ColumnTransformer takes none of the 2 boolean columns"] == 2
    assert not any("number" in note for note in notes)


def test_built_in_encoders_do_not_read_it() -> None:
    cohort = Cohort.from_table(visits(), patient="person", label="died")
    assert isinstance(cohort.inputs, TableInputs)
    bare = replace(cohort.training_data(), inputs=replace(cohort.inputs, own=None))
    job = [Assignment(model=0, members=np.arange(0, RECORDS, 2), seed=1)]
    recipe = SklearnRecipe("logistic_regression")
    own = recipe.train_block(cohort.training_data(), job, lambda _: None)
    alone = recipe.train_block(bare, job, lambda _: None)
    np.testing.assert_array_equal(own.values, alone.values)


def test_doors_of_a_release_send_it_and_nobody_has_no_ones_text() -> None:
    cohort = Cohort.from_table(visits(), patient="person", label="died")
    data, frame = cohort.training_data(), visits()
    first, second = json.loads(json.dumps(records_of(data, np.array([0, 1]), None)))
    assert first["smoker"] is bool(frame["smoker"][0])
    assert (second["order"], second["note"]) == (int(frame["order"][1]), "seen by doctor 1")
    nobody = of_nobody(cohort.inputs)
    assert isinstance(nobody, TableInputs)
    (row,) = nobody.table().to_dict("records")
    assert row["note"] in ("", "(rare)")
    assert row["smoker"] is False
    assert nobody.table()["order"].dtype == np.int64


def test_the_built_in_encoder_takes_each_column_for_what_it_is() -> None:
    from auscult.recipes.sklearn import table_encoder

    n = 40
    table = pd.DataFrame({"patient": np.arange(n), "ward": ["a", "b", None, "a"] * 10})
    table["age"] = np.where(np.arange(n) % 5 == 0, np.nan, np.arange(n) * 1.5)
    table["sex"] = ["f", "m"] * 20
    table["dose"] = np.arange(n) ** 2 / 7
    table["label"] = [0, 1, 1, 0] * 10
    inputs = Cohort.from_table(table, patient="patient", label="label").inputs
    assert isinstance(inputs, TableInputs)
    numbers = table[["age", "dose"]].astype(np.float32).astype(np.float64)
    filled = numbers.fillna(numbers.median()).to_numpy()
    gap = table["age"].isna().to_numpy(dtype=float)[:, None]
    plain = np.hstack([filled, gap])
    wanted = [(plain - plain.mean(axis=0)) / plain.std(axis=0)]
    wanted += [(table["ward"] == level).to_numpy(dtype=float)[:, None] for level in ("a", "b")]
    wanted += [(table["sex"] == level).to_numpy(dtype=float)[:, None] for level in ("f", "m")]
    found = table_encoder(inputs).fit_transform(inputs.frame())
    np.testing.assert_allclose(found, np.hstack(wanted), atol=1e-12)
