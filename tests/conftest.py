"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real cohorts; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("AUSCULT_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real cohorts here: set AUSCULT_DATA to their folder")
    return folder
