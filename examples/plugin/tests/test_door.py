from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from auscult_example.door import CsvDoor

from auscult import Cohort
from auscult.release import Release
from auscult.release.doors import ReleaseError
from auscult.testing import check_release


def make(answers: np.ndarray, folder: Path) -> CsvDoor:
    pd.DataFrame({"p": answers}).to_csv(folder / "answers.csv", index=False)
    return CsvDoor(path=str(folder / "answers.csv"))


def test_door_passes_the_check() -> None:
    check_release(make)


def test_answers_are_read_in_order(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(20), "patient": np.arange(20) // 2, "ill": np.arange(20) % 2})
    cohort = Cohort.from_table(table, patient="patient", label="ill")
    answers = np.linspace(0.05, 0.95, 20)
    path = tmp_path / "answers.csv"
    pd.DataFrame({"p": answers}).to_csv(path, index=False)
    door = CsvDoor(path=str(path))
    Release(door=door).check(cohort)
    np.testing.assert_allclose(door.answers(cohort.training_data()), answers)
    pd.DataFrame({"p": answers[1:]}).to_csv(path, index=False)
    with pytest.raises(ReleaseError, match="19 rows for 20 records"):
        door.check(cohort.training_data())
