from pathlib import Path

import numpy as np
import pandas as pd
from auscult_example.dataset import VISITS

from auscult.testing import check_dataset


def test_the_dataset_is_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "person": np.arange(40) // 2,
            "age": rng.integers(20, 90, 40),
            "pressure": rng.normal(120, 15, 40).round(1),
            "sex": np.where(np.arange(40) // 2 % 2 == 0, "F", "M"),
            "readmitted": np.where(rng.random(40) < 0.5, "yes", "no"),
        }
    )
    table.loc[3, "readmitted"] = None
    table.to_csv(tmp_path / "visits.csv", index=False)
    check_dataset(VISITS, tmp_path)
