"""The study's experiments: each file is a configuration that this version understands."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from auscult.config import load
from auscult.config.dataset import DatasetPart
from auscult.config.loading import Configuration
from auscult.datasets import dataset
from tests.dataset_folders import WRITERS

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
FILES = sorted(FOLDER.glob("*.toml"))
BASELINES = (
    "chexpert", "embed", "fairvision", "fitzpatrick17k", "mimic-cxr-jpg", "mimic-iv-ed", "ptb-xl",
)  # fmt: skip


def content(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_all_experiments_of_the_study_are_there() -> None:
    names = {path.stem for path in FILES}
    assert set(BASELINES) <= names
    assert sum(name.startswith("scaling-") for name in names) == 4
    assert sum(name.startswith("dp-") for name in names) == 2
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.toml`" in listed for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_configuration(path: Path) -> None:
    absent = sorted(set(content(path)) - set(Configuration.model_fields))
    if absent:
        pytest.skip(f"this version has no [{absent[0]}]")
    loaded = load(path)
    cohort = loaded.content.cohort
    assert isinstance(cohort, DatasetPart)
    chosen = dataset(cohort.dataset)
    if chosen.labels and cohort.label is not None:
        assert cohort.label in chosen.labels
    settings = loaded.content.recipe.recipe(path.parent).settings()
    assert settings["model"] == content(path)["recipe"]["model"]
    assert loaded.content.audit.models == 200


def test_sizes_share_everything_but_the_size() -> None:
    for path in FILES:
        found = content(path)
        if "sweep" in found:
            ((key, values),) = found["sweep"]["recipe"].items()
            assert found["recipe"][key] in values or key == "dp"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("experiments")
    for name in BASELINES:
        (place / name).mkdir()
        WRITERS[name](place / name)
    return {name: place / name for name in BASELINES}


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recipe_fits_the_dataset(
    path: Path, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that `auscult check` validates before it trains."""
    pytest.importorskip("torch")
    monkeypatch.setenv("AUSCULT_CACHE", str(made["ptb-xl"].parent / "cache"))
    told = content(path)
    root = f'root = "{told["cohort"]["root"]}"'
    text = path.read_text(encoding="utf-8")
    assert root in text
    if set(told) - set(Configuration.model_fields):
        pytest.skip("this version has no [sweep]")
    audit = tmp_path / "audit.toml"
    audit.write_text(text.replace(root, f'root = "{made[told["cohort"]["dataset"]]}"'))
    load(audit).audit().check()
