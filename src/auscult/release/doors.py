"""Doors to the model that goes out: a file of its outputs, a function, and what doors share.

A door answers one question: what does the model say on every record of the cohort, in the cohort's
order? It hands back what it got; :mod:`auscult.release.shown` checks it.
"""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError, ConfigError, one_of
from auscult.base.opening import npy_array, npz_arrays, reading, refuse_special
from auscult.base.progress import SILENT, Progress
from auscult.cohort import TrainingData
from auscult.recipes.failures import explained
from auscult.recipes.fit import labels_given
from auscult.recipes.python import function_name, plain_inputs
from auscult.recipes.resolve import from_beside, resolve

_SKLEARN = (
    'from joblib import load; model = load("{name}"); predict = lambda inputs: '
    "model.predict_proba(inputs)"
)
_TORCH = (
    'import torch; from torch.jit import load; model = load("{name}"); predict = lambda inputs: '
    "model(torch.from_numpy(inputs)).detach().numpy()"
)
# Saved models, and the lines that ask each.
MODELS = {
    **dict.fromkeys((".joblib", ".pkl", ".pickle"), _SKLEARN),
    **dict.fromkeys((".pt", ".pth", ".ts"), _TORCH),
}
# Saved models that have a door of their own.
FORMATS = {
    ".skops": "skops",
    ".ubj": "xgboost",
    ".bst": "xgboost",
    ".cbm": "catboost",
    ".keras": "keras",
    ".h5": "keras",
    ".pt2": "torch-export",
    ".onnx": "onnx",
}


class ReleaseError(AuscultError):
    """The model that is to go out cannot be asked, or its answers cannot be read."""


class Door(ABC):
    """One way of asking the model.

    Attributes
    ----------
    kind : str
        Its name in configurations.
    label : str
        Its name for people.
    """

    kind: ClassVar[str]
    name: ClassVar[str] = ""
    label: ClassVar[str] = ""

    def __init_subclass__(cls, **more: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**more)
        if isinstance(kind := cls.__dict__.get("kind"), str):
            cls.name = kind  # what every part calls its key

    @abstractmethod
    def check(self, data: TrainingData) -> None:
        """Raise an AuscultError for what can be seen to be wrong without asking the model."""

    @abstractmethod
    def answers(
        self, data: TrainingData, cache: Path | None = None, progress: Progress = SILENT
    ) -> NDArray[np.float64]:
        """Ask for every record, in the cohort's order.

        Parameters
        ----------
        data : TrainingData
            Inputs as recipes see them; its labels are not shown to the model.
        cache : Path, optional
            Secret folder for answers, for doors that resume.
        progress : Progress

        Returns
        -------
        float64 array, shape (records,) or (records, outputs)

        Raises
        ------
        ReleaseError
            The model cannot be asked; what was answered before is kept by doors that resume.
        """

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What the summary may say of the door: no path, no credential."""

    def try_out(self, data: TrainingData) -> str:  # noqa: ARG002
        """Ask it one record of no patient where that leaves this machine, and say what came of it.

        Doors of this machine do so when they are checked, and say nothing.

        Raises
        ------
        AuscultError
            It cannot be asked, or its answer cannot be read.
        """
        return ""

    def plan(self, data: TrainingData) -> str:
        """What asking will do, one line for `auscult check`."""
        return f"{len(data.labels):,} records through its {self.label}"


def named_classes(said: NDArray[Any], classes: Sequence[str], where: str) -> NDArray[np.float64]:
    """Answers that are names of classes, as their numbers.

    Parameters
    ----------
    said : array, shape (records,)
        Names of classes.
    classes : sequence of str
        The cohort's, in their order.
    where : str
        The door, for messages.

    Raises
    ------
    ReleaseError
        They name others than the cohort's.
    """
    place = {name: i for i, name in enumerate(classes)}
    flat = said[:, 0] if said.ndim == 2 and said.shape[1] == 1 else said
    words = [str(value).strip() for value in flat.tolist()] if flat.ndim == 1 else []
    unknown = sum(word not in place for word in words)
    if flat.ndim != 1 or unknown:
        raise ReleaseError(
            f"{unknown} answers are text that does not name a class of the cohort"
            if flat.ndim == 1
            else f"it answers text of shape {said.shape}",
            where=where,
            expected="an array of numbers (probabilities or logits), or one of the cohort's labels "
            "for each record",
        )
    return np.array([place[word] for word in words], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class FileDoor(Door):
    """Outputs that were computed elsewhere.

    Attributes
    ----------
    path : Path
        ``.npy``, or ``.npz`` with one array (or `array`); row i answers record i of the cohort, or
        row i of the cohort's table when it has a row for each of the table's.
    array : str, optional
        Which array of an npz.
    rows : int64 array, optional
        Row of the source of each record, for files that have a row for each row of the source.
    """

    path: Path | str
    array: str | None = None
    rows: NDArray[np.int64] | None = None

    kind = "file"
    label = "file"

    def check(self, data: TrainingData) -> None:
        """See :meth:`Door.check`."""
        self.answers(data)

    def answers(
        self,
        data: TrainingData,
        cache: Path | None = None,  # noqa: ARG002
        progress: Progress = SILENT,  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """See :meth:`Door.answers`."""
        values = self._read()
        if values.dtype.kind == "U":
            values = named_classes(values, data.classes, self._where())
        if values.dtype.kind not in "fiub":
            raise ReleaseError(
                f"it holds {values.dtype}", where=self._where(), expected="an array of numbers"
            )
        whole = values.ndim > 0 and len(values) != len(data.labels) and self.rows is not None
        if whole and self.rows is not None and len(values) > int(self.rows.max(initial=0)):
            values = values[self.rows]
        return values.astype(np.float64)

    def about(self) -> dict[str, Any]:
        """See :meth:`Door.about`."""
        return {"door": "file", "what": Path(self.path).name}

    def _where(self) -> str:
        return f"release.path ({Path(self.path).name})"

    def _read(self) -> NDArray[Any]:
        path = Path(self.path)
        if path.suffix.lower() in MODELS:
            raise ReleaseError(
                "it is a saved model, not its outputs, and a file of Python objects runs code "
                "when it is opened: Auscult never opens such files",
                where=self._where(),
                expected=".npy or .npz of numbers",
                next_step='Load it in your own function and name it: door = "function", function '
                '= "release:predict", with release.py beside the configuration: '
                f"{MODELS[path.suffix.lower()].format(name=path.name)}",
            )
        if path.suffix.lower() in FORMATS:
            raise ReleaseError(
                "it is a saved model, not its outputs",
                where=self._where(),
                expected=".npy or .npz of numbers",
                next_step=f'Name the door to it: door = "{FORMATS[path.suffix.lower()]}"',
            )
        refuse_special(path, self._where(), ReleaseError)
        expected = ".npy or .npz of numbers; files of Python objects are refused"
        if not zipfile.is_zipfile(path):
            if self.array is not None:
                raise ConfigError("a npy holds one array", where="release.array")
            return np.asarray(npy_array(path, self._where(), ReleaseError, expected=expected))
        with reading(self._where(), ReleaseError, expected=expected), zipfile.ZipFile(path) as file:
            names = [one.removesuffix(".npy") for one in file.namelist()]
        if self.array is None and len(names) != 1:
            raise ConfigError(
                f"the file holds {len(names)} arrays",
                where=self._where(),
                expected="one",
                next_step="Say which one: array",
            )
        name = names[0] if self.array is None else self.array
        if name not in names:
            raise ConfigError(
                f'there is no array "{name}"',
                where="release.array",
                expected=one_of(name, names),
            )
        found = npz_arrays(path, self._where(), ReleaseError, names=[name], expected=expected)
        return found[name]


@dataclass(frozen=True, kw_only=True)
class FunctionDoor(Door):
    """Your own function.

    Attributes
    ----------
    function : callable or str
        ``predict(inputs)``, or "module:function", first looked up next to the configuration. It
        gets the inputs of all records, as a recipe's ``predict`` does: a dataframe for tables, an
        array for images and signals.
    folder : Path, optional
        Where to look for the module first.
    of_labels : bool
        Whether it is ``loss(inputs, labels)`` (or a score), whose value for a record depends on its
        true label.
    """

    function: Callable[..., Any] | str
    folder: Path | None = None
    of_labels: bool = False

    kind = "function"
    label = "function"

    def check(self, data: TrainingData) -> None:  # noqa: ARG002
        """See :meth:`Door.check`."""
        self._function()

    def answers(
        self,
        data: TrainingData,
        cache: Path | None = None,  # noqa: ARG002
        progress: Progress = SILENT,  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """See :meth:`Door.answers`."""
        function = self._function()
        with explained("release", "predicting"):
            given = [plain_inputs(data.inputs)]
            if self.of_labels:
                given.append(labels_given(data))
            said = np.asarray(function(*given))
            if said.dtype.kind not in "OUS":
                return said.astype(np.float64)
        return named_classes(said, data.classes, f"release.function ({self.about()['what']})")

    def about(self) -> dict[str, Any]:
        """See :meth:`Door.about`."""
        name = self.function if isinstance(self.function, str) else function_name(self.function)
        return {"door": "function", "what": name}

    def _function(self) -> Callable[..., Any]:
        if not isinstance(self.function, str):
            return self.function
        found = resolve(self.function, self.folder)
        if not callable(found):
            raise ReleaseError(
                f'"{self.function}" is not a function',
                where="release.function",
                expected="predict(inputs)",
            )
        return from_beside(found, self.folder)
