"""Ranks of rows: against scipy's, and without loading it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from auscult.base.ranks import average_ranks

DRAWN = np.random.default_rng(31)


@pytest.mark.parametrize(
    "values",
    [
        DRAWN.normal(size=(40, 33)),
        DRAWN.integers(0, 4, (50, 21)).astype(np.float64),
        DRAWN.integers(0, 4, (50, 21)).astype(np.float32),
        np.where(DRAWN.random((30, 12)) < 0.3, np.inf, DRAWN.normal(size=(30, 12))),
        np.where(DRAWN.random((30, 12)) < 0.1, np.nan, DRAWN.integers(0, 3, (30, 12))),
        np.zeros((3, 5)),
        np.ones((4, 1)),
        np.empty((0, 6)),
        np.empty((6, 0)),
        DRAWN.integers(0, 3, 15).astype(np.float64),
        np.asfortranarray(DRAWN.integers(0, 3, (7, 15)).astype(np.float64)),
    ],
)
def test_equal_values_share_their_mean_rank(values: np.ndarray) -> None:
    np.testing.assert_array_equal(average_ranks(values), stats.rankdata(values, axis=-1))


def test_an_audit_is_read_and_configured_without_statistics_of_scipy() -> None:
    # Loading them takes as long as all of pandas.
    script = (
        "import sys, auscult.audit, auscult.config, auscult.readers.leakage, auscult.release\n"
        "import auscult.results.writing, auscult.report, auscult.recipes.evidence\n"
        "print('scipy.stats' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
