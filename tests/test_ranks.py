"""Ranks against those of scipy, and that nothing loads scipy's statistics for them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from auscult.base.ranks import ranks


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((5, 9), 1), ((5, 9), 0), ((3, 4, 6), 1)])
def test_ranks_are_those_of_scipy(shape: tuple[int, ...], axis: int, dtype: Any) -> None:  # noqa: ANN401
    rng = np.random.default_rng(1)
    for highest in (1, 3, 1000):  # all alike, many ties, few
        values = rng.integers(0, highest, shape).astype(dtype)
        np.testing.assert_array_equal(ranks(values, axis), rankdata(values, axis=axis))


def test_what_has_no_place_and_what_has_the_last() -> None:
    values = np.array([[1.0, np.inf, np.inf, -np.inf], [2.0, np.nan, 1.0, 0.0]])
    np.testing.assert_array_equal(ranks(values), [[2, 3.5, 3.5, 1], [np.nan] * 4])
    np.testing.assert_array_equal(ranks(values), rankdata(values, axis=1))
    for empty in (np.empty((0, 3)), np.empty((3, 0))):
        assert ranks(empty).shape == empty.shape


def test_commands_start_without_the_statistics_of_scipy() -> None:
    code = (
        "import sys, auscult.audit, auscult.results, auscult.report, auscult.release\n"
        "from auscult.cli import main\n"
        "assert 'numpy' in sys.modules\n"
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
