from pathlib import Path

import numpy as np
import pandas as pd
from auscult_example.reader import Mat
from scipy.io import savemat

from auscult import Cohort
from auscult.testing import check_reader


def test_the_reader_is_one() -> None:
    check_reader(Mat(), lambda path, array: savemat(path, {"scans": array}))


def test_a_cohort_is_read_through_it(tmp_path: Path) -> None:
    scans = np.random.default_rng(0).normal(size=(12, 8, 8))
    savemat(tmp_path / "scans.mat", {"scans": scans, "other": np.zeros((2, 2))})
    table = pd.DataFrame({"patient": np.arange(12) // 2, "ill": np.arange(12) % 2})
    cohort = Cohort.from_arrays(
        tmp_path / "scans.mat", table, key="scans", patient="patient", label="ill"
    )
    assert cohort.records == 12
