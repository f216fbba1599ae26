"""How fast tables are read: wide ones, as genomics has them, and one of hospital encounters.

    python -m benchmarks.tables [--diabetes diabetic_data.csv.gz]

Times are of the processor, the least of three, each in this process once everything is loaded.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auscult import Cohort
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.tables"
ROWS = 200
WIDE = (1_000, 4_000, 20_000)
TRIES = 3


def write_wide(path: Path, columns: int) -> None:
    """Numbers of four digits, a label and two records of each patient."""
    rng = np.random.default_rng(columns)
    frame = pd.DataFrame(
        rng.normal(size=(ROWS, columns)).round(4), columns=[f"g{i}" for i in range(columns)]
    )
    frame.insert(0, "died", rng.integers(0, 2, ROWS))
    frame.insert(0, "patient", [f"p{i // 2}" for i in range(ROWS)])
    frame.to_csv(path, index=False)


def least(what: Callable[[], Any]) -> float:
    """Seconds of the processor, the least of some tries."""
    found = []
    for _ in range(TRIES):
        begin = time.process_time()
        what()
        found.append(time.process_time() - begin)
    return min(found)


def main() -> None:
    """Read, and write the section of RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("--diabetes", type=Path, help="encounters of the diabetes data")
    given = parser.parse_args()
    load, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as work:
        for columns in (10, *WIDE):  # the first loads what is needed
            path = Path(work) / f"{columns}.csv"
            write_wide(path, columns)
            theirs = least(lambda path=path: pd.read_csv(path))  # type: ignore[misc]
            ours = least(
                lambda path=path: Cohort.from_table(path, patient="patient", label="died")  # type: ignore[misc]
            )
            if columns in WIDE:
                rows.append(
                    (
                        f"{ROWS} x {columns:,}",
                        f"{theirs:.2f}",
                        f"{ours:.2f}",
                        f"{ours / theirs:.1f}",
                    )
                )
    if given.diabetes is not None:
        theirs = least(lambda: pd.read_csv(given.diabetes, low_memory=False))
        ours = least(
            lambda: Cohort.from_table(
                given.diabetes,
                patient="patient_nbr",
                label="readmitted",
                groups=["race", "gender", "age"],
                missing=["?"],
                exclude=["encounter_id"],
            )
        )
        rows.append(
            ("diabetes, 101,766 x 50", f"{theirs:.2f}", f"{ours:.2f}", f"{ours / theirs:.1f}")
        )
    text = (
        "Seconds of the processor from a CSV file to a cohort (types told, columns checked for "
        "dates, codes and leakage, patients and labels read), beside what pandas.read_csv takes to "
        f"read the same file as a frame. Other work kept the machine at a load of {load:.1f}.\n\n"
    ) + table(("table", "pandas.read_csv", "cohort", "ratio"), rows)
    record("tables", "Reading tables", COMMAND, text)


if __name__ == "__main__":
    main()
