"""Models as their libraries save them: skops, TorchScript, torch.export, boosters, Keras."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import AuscultError, ConfigError
from auscult.base.opening import refuse_special
from auscult.base.progress import SILENT, Progress
from auscult.cohort import TrainingData
from auscult.cohort.inputs import Inputs
from auscult.recipes.failures import explained
from auscult.recipes.python import plain_inputs, rows_of
from auscult.release.doors import Door, ReleaseError
from auscult.release.frameworks import LOADERS, File, Predict
from auscult.release.graph import prepare_function
from auscult.release.nobody import of_nobody

Framework = Literal[
    "skops", "torchscript", "torch-export", "xgboost", "lightgbm", "catboost", "keras"
]
# What each needs: the module that is imported, and what to install.
NEEDS = {
    "skops": ("skops.io", "skops"),
    "torchscript": ("torch", "torch"),
    "torch-export": ("torch", "torch"),
    "xgboost": ("xgboost", "xgboost"),
    "lightgbm": ("lightgbm", "lightgbm"),
    "catboost": ("catboost", "catboost"),
    "keras": ("keras", "keras"),
}
SIDE_BY_SIDE = ("torchscript", "torch-export", "keras")  # they get one array of numbers


@dataclass(frozen=True, kw_only=True)
class SavedDoor(Door):
    """A model in the format of its library, which must be installed.

    Attributes
    ----------
    kind : {"skops", "torchscript", "torch-export", "xgboost", "lightgbm", "catboost", "keras"}
    path : Path
    inputs : sequence of str
        For torch and Keras on tables: the numeric columns that the model gets side by side, in the
        order in which it was trained on them. The others get columns by the names in their file.
    prepare : callable or str, optional
        "module:function" that turns the inputs of some records (a dataframe or an array) into what
        the model gets.
    folder : Path, optional
        Where to look for the module first.
    trusted : sequence of str
        Types that its file may contain in addition to those that skops trusts.
    batch : int
        Records at once.
    """

    kind: Framework  # type: ignore[misc]  # one class for several libraries
    path: Path | str
    inputs: Sequence[str] = ()
    prepare: Callable[[Any], Any] | str | None = None
    folder: Path | None = None
    trusted: Sequence[str] = ()
    batch: int = 256

    def check(self, data: TrainingData) -> None:
        """See :meth:`Door.check`. Queries one synthetic record."""
        predict = self._load(data)
        self._ask(predict, of_nobody(data.inputs), np.arange(1))

    def answers(
        self,
        data: TrainingData,
        cache: Path | None = None,  # noqa: ARG002
        progress: Progress = SILENT,
    ) -> NDArray[np.float64]:
        """See :meth:`Door.answers`."""
        predict, records = self._load(data), len(data.labels)
        found = []
        progress.start("Release", records)
        for start in range(0, records, self.batch):
            rows = np.arange(start, min(start + self.batch, records))
            found.append(self._ask(predict, data.inputs, rows))
            progress.advance(rows.size)
        progress.finish()
        return np.concatenate(found)

    def about(self) -> dict[str, Any]:
        """See :meth:`Door.about`."""
        return {"door": self.kind, "what": Path(self.path).name}

    def _where(self) -> str:
        return f"release.path ({Path(self.path).name})"

    def _load(self, data: TrainingData) -> Predict:
        if self.kind not in get_args(Framework):
            raise ConfigError(
                f'"{self.kind}" is not a model format',
                where="release.door",
                expected=", ".join(get_args(Framework)),
            )
        if self.trusted and self.kind != "skops":
            raise ConfigError("it requires skops and would be ignored", where="release.trusted")
        if self.inputs and (self.kind not in SIDE_BY_SIDE or self.prepare is not None):
            raise ConfigError(
                "the columns come from the file or from prepare, so inputs would be ignored",
                where="release.inputs",
            )
        refuse_special(Path(self.path), self._where(), ReleaseError)
        module, package = NEEDS[self.kind]
        try:
            importlib.import_module(module.split(".")[0])
            load = LOADERS[self.kind]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return load(
                    File(
                        path=Path(self.path),
                        classes=tuple(data.classes),
                        trusted=tuple(self.trusted),
                        where=self._where(),
                    )
                )
        except AuscultError:
            raise
        except ModuleNotFoundError as error:
            raise ConfigError(
                f'door = "{self.kind}" needs {error.name or package}, which is not installed',
                where="release",
                next_step=f"Install it: pip install {error.name or package}",
            ) from error
        except Exception:  # whatever it holds
            raise ReleaseError(
                f"{package} cannot read it: damaged, another version, or another kind of file",
                where=self._where(),
                expected=f"a model that {package} saved",
            ) from None

    def _ask(
        self, predict: Predict, inputs: Inputs, rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        part: Any = rows_of(plain_inputs(inputs), rows)
        if self.prepare is not None:
            with explained("release", "prepare"):
                part = prepare_function(self.prepare, self.folder)(part)
        elif self.kind in SIDE_BY_SIDE:
            part = self._side_by_side(part)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = np.asarray(predict(part))
        except AuscultError:
            raise
        except Exception:  # its message may quote the records
            raise ReleaseError(
                "the model cannot answer on the records as they are",
                where=self._where(),
                expected="the columns, types and shapes that it was trained on",
                next_step="Convert the records to that form: release.prepare",
            ) from None
        if values.dtype.kind not in "fiub" or values.ndim == 0 or len(values) != rows.size:
            raise ReleaseError(
                f"it returned {values.dtype} of shape {values.shape} for {rows.size} records",
                where=self._where(),
                expected="numbers, one row per record",
            )
        return values.astype(np.float64)

    def _side_by_side(self, part: Any) -> NDArray[np.float32]:  # noqa: ANN401
        """One array of 32-bit floats: images and signals as they are, columns in their order."""
        if not isinstance(part, pd.DataFrame):
            if self.inputs:
                raise ConfigError(
                    "there are no columns, so inputs would be ignored", where="release.inputs"
                )
            return np.asarray(part, dtype=np.float32)
        if not self.inputs:
            raise ConfigError(
                "the file does not say which columns the model gets, in which order",
                where="release.inputs",
                expected='a list of columns: inputs = ["age", "bmi"]',
                next_step="Name them, or use release.prepare",
            )
        missing = [name for name in self.inputs if name not in part.columns]
        text = [n for n in self.inputs if n in part and not pd.api.types.is_numeric_dtype(part[n])]
        if missing or text:
            name = (missing or text)[0]
            raise ConfigError(
                f'there is no column "{name}" among the inputs'
                if missing
                else f'the column "{name}" does not contain numbers',
                where="release.inputs",
                expected="numeric input columns",
                next_step="Encode others with release.prepare",
            )
        return part[list(self.inputs)].to_numpy(dtype=np.float32)
