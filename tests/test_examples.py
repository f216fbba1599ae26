"""The example of a published model: it runs, and says what it should."""

from __future__ import annotations

import importlib.util
import stat
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from auscult.cohort import Cohort

PATH = Path(__file__).resolve().parents[1] / "examples" / "public_model.py"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("public_model", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["public_model"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_public_model(
    example: ModuleType, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(example.RECIPE, "epochs", 2)
    monkeypatch.setattr(example, "HALVES", 2)
    found = example.load(shared_data)
    rows, answers, member = example.compare(found)
    apart, same = rows["another hospital"], rows["the same hospital"]
    assert apart["blind"][1] > 0.8  # the hospitals are told apart without any model
    assert "is not evidence" in apart["verdict"]
    assert same["blind"][1] < 0.5
    assert rows["the same hospital, all halves"]["halves"] == 2
    assert {same["members"], same["others"]} == {35, 36}
    # No patient is on both sides; those that are in both sets are not counted as elsewhere's.
    far = pd.read_csv(shared_data / "covid_chestxray_64" / "metadata.csv")
    copies = {f"cov-{one}" for one in far.loc[far["from_hannover"] == 1, "patient_id"]}
    assert not copies & set(found.patient)
    assert not set(found.patient[member]) & set(found.patient[found.hannover & ~member])

    example.write_audit(found, answers, member, tmp_path)
    listed = tmp_path / "members.csv"
    assert stat.S_IMODE(listed.stat().st_mode) == 0o600
    settings = tomllib.loads((tmp_path / "audit.toml").read_text())
    assert settings["release"]["members"] == "members.csv"
    how = settings["cohort"]
    cohort = Cohort.from_arrays(
        tmp_path / how["images"], tmp_path / how["table"], patient="patient", label="projection"
    )
    assert np.load(tmp_path / "answers.npy").shape == (cohort.records, 1)
    ids = set(cohort.patient_ids.reveal().tolist())
    assert set(pd.read_csv(listed)["patient"]) < ids
