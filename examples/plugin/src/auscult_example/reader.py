"""An array reader: MATLAB files (up to version 7.2) through scipy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from auscult.base.errors import CohortError, one_of
from auscult.readers.arrays import ArrayReader


class Mat(ArrayReader):
    """``.mat``: first axis the records; `key` says which variable, where there are several."""

    name = "mat"
    label = "MATLAB file"

    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        """The variable that is asked for, or the only one."""
        names = [name for name, _, _ in whosmat(path)]
        if key is None and len(names) == 1:
            key = names[0]
        if key not in names:
            raise CohortError(
                "which variable is meant?" if key is None else f'there is no variable "{key}"',
                where=path.name,
                expected=one_of(key or "", names),
                next_step='Say array = "..." under [cohort]',
            )
        return np.asarray(loadmat(path, variable_names=[key])[key])
