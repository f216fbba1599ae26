"""Models as their libraries save them: the door's answers are the library's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult import AuscultError, Cohort, ConfigError
from auscult.cohort import TrainingData
from auscult.config.release import ReleasePart
from auscult.release import FileDoor, SavedDoor
from auscult.release.saved import NEEDS

N = 60
NUMBERS = ["bmi", "age"]  # not in the table's order


def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    age = rng.integers(20, 90, N).astype(float)
    return pd.DataFrame(
        {
            "id": [f"Zxq{i // 2}" for i in range(N)],
            "age": age,
            "bmi": rng.normal(25, 4, N).round(1),
            "sex": np.where(rng.random(N) < 0.5, "f", "m"),
            "died": np.where(age + 20 * rng.normal(size=N) > 55, "yes", "no"),
        }
    )


TABLE = table()
LABELS = (TABLE["died"] == "yes").astype(int)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return Cohort.from_table(TABLE, patient="id", label="died").training_data()


def library(name: str) -> ModuleType:
    found: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed")
    return found


def same(door: SavedDoor, data: TrainingData, expected: NDArray[Any]) -> None:
    door.check(data)
    np.testing.assert_allclose(door.answers(data), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(autouse=True)
def _theirs() -> Any:  # noqa: ANN401 - what libraries warn of while they train is not ours
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def network() -> Any:  # noqa: ANN401
    torch = library("torch")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def torchscript(path: Path) -> NDArray[Any]:
    torch = library("torch")
    model = network()
    torch.jit.script(model).save(str(path))
    values = torch.tensor(TABLE[NUMBERS].to_numpy(dtype=np.float32))
    return np.asarray(model(values).detach().numpy())


def torch_export(path: Path) -> NDArray[Any]:
    torch = library("torch")
    model = network()
    values = torch.tensor(TABLE[NUMBERS].to_numpy(dtype=np.float32))
    batch = torch.export.Dim("batch")
    torch.export.save(
        torch.export.export(model, (values[:4],), dynamic_shapes=({0: batch},)), str(path)
    )
    return np.asarray(model(values).detach().numpy())


@pytest.mark.parametrize(
    ("kind", "save", "suffix"),
    [("torchscript", torchscript, "pt"), ("torch-export", torch_export, "pt2")],
)
def test_torch(kind: Any, save: Any, suffix: str, data: TrainingData, tmp_path: Path) -> None:  # noqa: ANN401
    path = tmp_path / f"model.{suffix}"
    expected = save(path)
    same(SavedDoor(kind=kind, path=path, inputs=NUMBERS, batch=7), data, expected)
    with pytest.raises(ConfigError, match='inputs = \\["age", "bmi"\\]'):
        SavedDoor(kind=kind, path=path).check(data)
    with pytest.raises(ConfigError, match='"sex" does not contain numbers'):
        SavedDoor(kind=kind, path=path, inputs=["age", "sex"]).check(data)
    with pytest.raises(ConfigError, match='no column "weight"'):
        SavedDoor(kind=kind, path=path, inputs=["weight"]).check(data)
    with pytest.raises(AuscultError, match=r"release\.prepare"):
        SavedDoor(kind=kind, path=path, inputs=["age"]).check(data)

    def prepare(rows: pd.DataFrame) -> NDArray[np.float32]:
        return rows[NUMBERS].to_numpy(dtype=np.float32)

    same(SavedDoor(kind=kind, path=path, prepare=prepare), data, expected)


def test_keras(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "tensorflow" not in {*__import__("sys").modules}:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = library("keras")
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    model.save(tmp_path / "m.keras")
    expected = model.predict(TABLE[NUMBERS].to_numpy(dtype=np.float32), verbose=0)
    same(SavedDoor(kind="keras", path=tmp_path / "m.keras", inputs=NUMBERS), data, expected)
    unsafe = keras.Sequential([keras.layers.Input((2,)), keras.layers.Lambda(lambda x: x[:, :1])])
    unsafe.save(tmp_path / "u.keras")
    with pytest.raises(AuscultError, match="keras cannot read it"):
        SavedDoor(kind="keras", path=tmp_path / "u.keras", inputs=NUMBERS).check(data)
    (tmp_path / "m.h5").write_bytes(b"")
    with pytest.raises(AuscultError, match=r"model\.save"):
        SavedDoor(kind="keras", path=tmp_path / "m.h5", inputs=NUMBERS).check(data)


def test_skops(data: TrainingData, tmp_path: Path) -> None:
    io = library("skops.io")
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

    parts = make_column_transformer((OneHotEncoder(), ["sex"]), ("passthrough", NUMBERS))
    # Trained on labels whose sorted order is not the cohort's.
    names = np.where(LABELS == 1, "yes", "no")
    model = make_pipeline(parts, LogisticRegression()).fit(TABLE[["bmi", "sex", "age"]], names)
    io.dump(model, tmp_path / "m.skops")
    expected = model.predict_proba(TABLE[["bmi", "sex", "age"]])
    order = [list(model.classes_).index(name) for name in data.classes]
    same(SavedDoor(kind="skops", path=tmp_path / "m.skops"), data, expected[:, order])
    odd = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression())
    odd.fit(TABLE[NUMBERS], LABELS)
    io.dump(odd, tmp_path / "odd.skops")
    door = SavedDoor(kind="skops", path=tmp_path / "odd.skops")
    unknown = io.get_untrusted_types(file=tmp_path / "odd.skops")
    if unknown:
        with pytest.raises(AuscultError, match=r"release\.trusted"):
            door.check(data)
        door = SavedDoor(kind="skops", path=door.path, trusted=unknown)
    same(door, data, odd.predict_proba(TABLE[NUMBERS]))
    nameless = LogisticRegression().fit(TABLE[NUMBERS].to_numpy(), LABELS)
    io.dump(nameless, tmp_path / "n.skops")
    with pytest.raises(AuscultError, match="does not name the columns"):
        SavedDoor(kind="skops", path=tmp_path / "n.skops").check(data)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost(suffix: str, data: TrainingData, tmp_path: Path) -> None:
    xgboost = library("xgboost")
    path = tmp_path / f"m.{suffix}"
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=2).fit(TABLE[NUMBERS], LABELS)
    model.save_model(path)
    same(SavedDoor(kind="xgboost", path=path), data, model.predict_proba(TABLE[NUMBERS])[:, 1])
    other = xgboost.XGBRegressor(n_estimators=2).fit(TABLE[NUMBERS], LABELS)
    other.save_model(path)
    with pytest.raises(AuscultError, match="not a classifier"):
        SavedDoor(kind="xgboost", path=path).check(data)
    nameless = xgboost.XGBClassifier(n_estimators=2).fit(TABLE[NUMBERS].to_numpy(), LABELS)
    nameless.save_model(path)
    with pytest.raises(AuscultError, match="does not name the columns"):
        SavedDoor(kind="xgboost", path=path).check(data)


def test_lightgbm(data: TrainingData, tmp_path: Path) -> None:
    lightgbm = library("lightgbm")
    rows = TABLE[["bmi", "sex", "age"]].astype({"sex": "category"})
    model = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1)
    model.fit(rows, LABELS)
    model.booster_.save_model(tmp_path / "m.txt")
    expected = model.predict_proba(rows)[:, 1]
    same(SavedDoor(kind="lightgbm", path=tmp_path / "m.txt", batch=7), data, expected)


def test_catboost(data: TrainingData, tmp_path: Path) -> None:
    catboost = library("catboost")
    model = catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False)
    model.fit(TABLE[["bmi", "sex", "age"]], TABLE["died"], cat_features=["sex"])
    model.save_model(str(tmp_path / "m.cbm"))
    expected = model.predict_proba(TABLE[["bmi", "sex", "age"]])
    order = [list(model.classes_).index(name) for name in data.classes]
    same(SavedDoor(kind="catboost", path=tmp_path / "m.cbm"), data, expected[:, order])


@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_what_is_no_model_of_the_library(kind: Any, data: TrainingData, tmp_path: Path) -> None:  # noqa: ANN401
    path = tmp_path / ("m.keras" if kind == "keras" else "m.bin")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(AuscultError, match=r"cannot read it|not installed"):
        SavedDoor(kind=kind, path=path, inputs=()).check(data)
    with pytest.raises(AuscultError, match="no such file"):
        SavedDoor(kind=kind, path=tmp_path / "absent").check(data)


def test_the_configuration_s_keys_go_with_their_doors() -> None:
    part = ReleasePart.model_validate({"door": "torchscript", "path": "m.pt", "inputs": ["a"]})
    door = part._door(Path("/x"), None)
    assert isinstance(door, SavedDoor)
    assert door.path == Path("/x/m.pt")
    for wrong in (
        {"door": "xgboost", "path": "m", "inputs": ["a"]},
        {"door": "keras", "path": "m", "inputs": {"a": "b"}},
        {"door": "onnx", "path": "m", "inputs": ["a"]},
        {"door": "lightgbm", "path": "m", "trusted": ["a"]},
        {"door": "skops"},
    ):
        with pytest.raises(ValueError, match=r"requires|inputs|needs path"):
            ReleasePart.model_validate(wrong)


def test_a_file_of_outputs_names_the_door_of_a_model(data: TrainingData, tmp_path: Path) -> None:
    for suffix, door in ((".ubj", "xgboost"), (".keras", "keras"), (".pt2", "torch-export")):
        (tmp_path / f"m{suffix}").write_bytes(b"")
        with pytest.raises(AuscultError, match=f'door = "{door}"'):
            FileDoor(path=tmp_path / f"m{suffix}").check(data)
