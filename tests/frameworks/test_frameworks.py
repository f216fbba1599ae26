"""From files to a report with each library: the overfitted model exposes, the tied one does not."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from auscult.base.errors import AuscultError
from auscult.base.files import toml_text
from auscult.config import load
from auscult.recipes import SklearnRecipe, TorchRecipe
from auscult.recipes.base import Assignment, Recipe
from auscult.results import Result
from auscult.results.result import EXACT

FOLDER = Path(__file__).parent
PATIENTS = 120
REQUIRED = "AUSCULT_FRAMEWORKS"  # set where every library must be there

# One row per way: the library, whether it memorises, and the recipe.
ROWS: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "rows.toml").read_text(encoding="utf-8"))

AUDIT = """
[audit]
models = {models}
seed = 5

"""
# What `data` names: how a cohort is read, all of it written by `write`.
VISITS = """
[cohort]
table = "visits.csv"
patient = "patient"
groups = ["sex"]
"""
DATA = {
    "visits": VISITS + 'label = "outcome"\nexclude = ["note", "days", "died"]\n',
    "notes": VISITS + 'label = "outcome"\nexclude = ["days", "died", "x0", "x1", "x2", "x3"]\n',
    "survival": VISITS
    + 'label = ["days", "died"]\noutcome = "time and event"\nexclude = ["note", "outcome"]\n',
    "images": VISITS + 'label = "outcome"\nimages = "images.npz"\narray = "images"\n',
    "masks": VISITS + 'outcome = "none"\nimages = "images.npz"\narray = ["images", "masks"]\n',
}
SIDE = 16
WORDS = 40


def write(folder: Path, recipe: dict[str, Any], data: str = "visits", models: int = 32) -> Path:
    """Files and an audit of them; what is to be told follows from an input and from noise."""
    rng = np.random.default_rng(8)
    patient = np.repeat(np.arange(PATIENTS), 2)
    x = rng.normal(size=(patient.size, 4))
    outcome = x[:, 0] + 1.5 * rng.normal(size=patient.size) > 0.4
    table = pd.DataFrame({"patient": [f"p{i:03d}" for i in patient]})
    table["sex"] = np.where(rng.random(PATIENTS) < 0.5, "f", "m")[patient]
    for j in range(4):
        table[f"x{j}"] = x[:, j]
    table["outcome"] = np.where(outcome, "ill", "well")
    words = rng.integers(0, WORDS, (patient.size, 6))
    words[:, 0] = np.where(outcome & (rng.random(patient.size) < 0.3), 0, words[:, 0])
    table["note"] = [" ".join(f"w{word}" for word in row) for row in words]
    table["days"] = rng.exponential(np.exp(-x[:, 0])).round(3) + 0.001
    table["died"] = rng.integers(0, 4, patient.size) > 0
    table.to_csv(folder / "visits.csv", index=False)
    pixels = rng.integers(0, 150, (patient.size, SIDE, SIDE), dtype=np.uint8)
    pixels[:, :4, :4] += (40 * outcome).astype(np.uint8)[:, None, None]
    masks = rng.random(pixels.shape) < np.where(pixels > 100, 0.8, 0.2)
    np.savez(folder / "images.npz", images=pixels, masks=masks)
    for glue in FOLDER.glob("glue_*.py"):
        shutil.copy(glue, folder)
    path = folder / "audit.toml"
    path.write_text(
        DATA[data] + AUDIT.format(models=models) + toml_text({"recipe": recipe}), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("row", ROWS)
def test_audit(
    row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, memorises, recipe = (ROWS[row][key] for key in ("needs", "memorises", "recipe"))
    if REQUIRED not in os.environ:
        pytest.importorskip(library, reason=f"needs {library}: see .ci/frameworks")
    for name, value in ROWS[row].get("environment", {}).items():
        monkeypatch.setenv(name, value)
    here = set(Path.cwd().iterdir())
    known = {name: ROWS[row][name] for name in ("data", "models") if name in ROWS[row]}
    path = write(tmp_path, recipe, **known)
    result: Result = load(path).audit().run(tmp_path / "run", workers=2)
    patients = result.summary["patients"]
    # As found: of released counts, those under ten are withheld.
    exact = json.loads((tmp_path / "run" / "secret" / EXACT).read_text(encoding="utf-8"))
    at = exact["patients"]["exposed"]["0.9"]
    with capsys.disabled():
        print(
            f"\n{row}: mean AUC {patients['auc']['mean']:.3f}, {at['estimate']:.1f} of "
            f"{PATIENTS} exposed ({at['low']:.0f} to {at['high']:.0f}, by chance "
            f"{at['null']:.1f}), null {patients['raw']['null_mean']:.3f}"
        )
    repeated = result.summary["recipe"]["repeated"]
    if recipe["kind"] == "torch":
        assert repeated["models"] == 0
        assert repeated["reason"]
    else:
        assert repeated["different"] == 0, result.opening
    assert result.summary["models"]["learned"]["verdict"] is not False  # of Dice it is not known
    assert abs(patients["raw"]["null_mean"] - 0.5) < 0.035  # 3 standard errors
    assert (tmp_path / "run" / "report.html").exists()
    assert set(Path.cwd().iterdir()) == here  # no catboost_info
    if memorises:
        assert at["low"] > PATIENTS / 20 > at["null"]
    else:
        assert at["low"] == 0
        assert at["estimate"] < 1


def objects() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Objects of Python for some of the rows above."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    try:
        from xgboost import XGBClassifier

        found["xgboost, tied and stopped"] = (
            XGBClassifier(
                n_estimators=40,
                max_depth=1,
                learning_rate=0.02,
                reg_lambda=200,
                early_stopping_rounds=5,
            ),
            {"validation": 0.2, "fit": {"verbose": False}},
        )
    except ImportError:
        pass
    try:
        import lightgbm

        found["lightgbm, tied and stopped"] = (
            lightgbm.LGBMClassifier(
                n_estimators=40,
                num_leaves=2,
                learning_rate=0.02,
                reg_lambda=200,
                class_weight="balanced",
                verbose=-1,
            ),
            {
                "validation": 0.2,
                "fit": {"callbacks": [lightgbm.early_stopping(5, verbose=False)]},
            },
        )
    except ImportError:
        pass
    try:
        from catboost import CatBoostClassifier

        found["catboost, scikit-learn's way"] = (
            CatBoostClassifier(
                iterations=80, depth=8, learning_rate=0.5, l2_leaf_reg=0.01, verbose=False
            ),
            {"weights": "patients"},
        )
    except ImportError:
        pass
    return found


@pytest.mark.parametrize("row", [row for row in ROWS if row in objects()])
def test_python_and_toml_are_the_same(row: str, tmp_path: Path) -> None:
    estimator, options = objects()[row]
    audit = load(write(tmp_path, ROWS[row]["recipe"])).audit()
    data = audit.cohort.training_data()
    rows = np.flatnonzero(np.arange(len(data.labels)) // 2 % 2 == 0)
    jobs = [Assignment(model=m, members=rows, seed=m) for m in (1, 2)]

    def values(recipe: Recipe) -> Any:  # noqa: ANN401
        assert recipe.supports(data) is None
        return recipe.train_block(data, jobs, lambda _: None).values

    own = values(SklearnRecipe(estimator, **options))
    np.testing.assert_array_equal(own, values(audit.recipe))


def test_lightning_s_own_training_is_not_ignored(tmp_path: Path) -> None:
    """Its module in a recipe that trains by itself is another model than its own Trainer's."""
    if REQUIRED not in os.environ:
        pytest.importorskip("lightning", reason="needs lightning: see .ci/frameworks")
    from tests.frameworks.glue_lightning import Visits

    audit = load(write(tmp_path, ROWS["lightning"]["recipe"])).audit()
    data = audit.cohort.training_data()
    one = Assignment(model=0, members=np.arange(0, len(data.labels), 2), seed=1)
    recipe = TorchRecipe(lambda inputs, _: Visits(inputs, 0.01, 0.0), epochs=1)
    with pytest.raises(AuscultError, match="call its training in a function"):
        recipe.train_block(data, [one], lambda _: None)
