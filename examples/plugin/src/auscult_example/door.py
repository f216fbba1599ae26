"""A door to the model that goes out: a CSV file with a column of probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.progress import SILENT, Progress
from auscult.cohort import TrainingData
from auscult.release.doors import Door, ReleaseError


@dataclass(frozen=True, kw_only=True)
class CsvDoor(Door):
    """Answers that were written to a CSV file, row i for record i of the cohort.

    Attributes
    ----------
    path : str
    column : str, optional
        Needed where there are several.
    folder : Path
        Of the configuration, which Auscult gives: relative paths start there.
    """

    path: str
    column: str | None = None
    folder: Path = Path()

    kind = "csv"
    label = "CSV file"

    def check(self, data: TrainingData) -> None:
        """Everything can be seen before models are trained."""
        self.answers(data)

    def answers(
        self,
        data: TrainingData,
        cache: Path | None = None,  # noqa: ARG002 - a file needs no cache
        progress: Progress = SILENT,  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """One probability per record; its number is checked by the caller."""
        where = f"release.options.path ({Path(self.path).name})"
        try:
            table = pd.read_csv(self.folder / self.path)
        except (OSError, ValueError) as error:
            raise ReleaseError("it cannot be read", where=where, expected="a CSV file") from error
        column = self.column or (table.columns[0] if table.shape[1] == 1 else None)
        if column not in table or table[column].dtype.kind not in "fi":
            raise ReleaseError(
                "the column of probabilities is missing", where=where, expected="numbers"
            )
        if len(table) != len(data.labels):
            raise ReleaseError(
                f"it has {len(table)} rows for {len(data.labels)} records", where=where
            )
        return table[column].to_numpy(np.float64)

    def about(self) -> dict[str, Any]:
        """The file's name, not its path."""
        return {"door": self.kind, "what": Path(self.path).name}
