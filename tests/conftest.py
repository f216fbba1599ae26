"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than the processors that this process may use: many tests wait for processes.

    Left alone, psutil counts those of the whole machine.
    """
    from auscult.base.parallel import cores

    return cores() + 1


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> Iterator[None]:
    """Fork workers from a server that has loaded what they need, as a command does.

    Each crew would otherwise load it again, for two seconds. What a test puts into the environment
    does not reach them: for that, and for workers that start by themselves, tests run a script.
    """
    from auscult.training import engines, warm

    def server() -> Any:  # noqa: ANN401
        warm.warm_up("sklearn", warm.IMPORTS["python"])  # once; not before the first audit
        return warm.server()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "server", server)
        yield


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright; skipped where one of them is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on the path: install Debian's package chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real cohorts; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("AUSCULT_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real cohorts here: set AUSCULT_DATA to their folder")
    return folder
