"""Any function of yours: ``train(inputs, labels, seed) -> predict``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError
from auscult.cohort import TrainingData
from auscult.cohort.inputs import Inputs, TableInputs
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.recipes.failures import explained
from auscult.recipes.identity import Identity, identify
from auscult.recipes.outputs import ZEROS, from_logits, from_probabilities, output_kind
from auscult.recipes.seeding import seeded, trained

Predict = Callable[[Any], Any]
Train = Callable[[Any, NDArray[np.int64], int], Predict]

OUTPUTS = ("probabilities", "logits")


class PythonRecipe(Recipe):
    """Train with a function of yours.

    Parameters
    ----------
    train : callable or str
        ``train(inputs, labels, seed)`` gets the inputs and labels of one model's members and
        returns ``predict``, which gets the inputs of all records. Inputs are a dataframe for
        tables, with the file's columns in its order and types, and an array for images and signals.
        A string is ``"module:function"``, looked up beside the configuration first.
    output : {"probabilities", "logits"}
        What ``predict`` returns: shape (records,) or (records, 2) for two classes, (records,
        classes) for more, (records, labels) for several labels.
    folder : path-like, optional
        Where to look for the module first.
    version : str, optional
        A version of the code, of yours: it vouches for what a digest of the code cannot see.
    files : sequence of path-like
        Files that the code reads; their content is part of the run's identity.
    """

    kind = "python"
    label = "a function of yours"

    def __init__(
        self,
        train: Train | str,
        *,
        output: str = "probabilities",
        folder: Path | str | None = None,
        version: str | None = None,
        files: Sequence[Path | str] = (),
    ) -> None:
        self.train = train
        self.output = output
        self.folder = None if folder is None else Path(folder)
        self.version = version
        self.files = files

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recipe.settings`; what the function does is part of it."""
        if self.output not in OUTPUTS:
            raise ConfigError(
                f'"{self.output}" is no kind of output',
                where="recipe.output",
                expected=" or ".join(OUTPUTS),
            )
        settings: dict[str, Any] = {"train": describe(self._function()), "output": self.output}
        settings["code"] = self._identity().digest
        return settings | ({} if self.version is None else {"version": self.version})

    def unseen(self) -> tuple[str, ...]:
        """See :meth:`Recipe.unseen`."""
        return () if self.version is not None else self._identity().unseen

    def _identity(self) -> Identity:
        return identify(self._function(), self.folder, [Path(file) for file in self.files])

    def supports(self, data: TrainingData) -> str | None:  # noqa: ARG002
        """None: what the function can do is its own business."""
        return None

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        """See :meth:`Recipe.train_block`."""
        function = self._function()
        everything = plain_inputs(data.inputs)
        asked = [everything, *(plain_inputs(view) for view in data.views())]
        blocks, zeros = [], 0
        for one in assignments:
            where = f"model {one.model}"

            def train(one: Assignment = one) -> Predict:
                return function(
                    rows_of(everything, one.members), data.labels[one.members].copy(), one.seed
                )

            answers = []
            with seeded(one.seed):
                with explained(one.model, "training"):
                    predict = trained(one.seed, train)
                if not callable(predict):
                    raise RecipeError(
                        f"the training function returned {type(predict).__name__}",
                        where=where,
                        expected="a function predict(inputs)",
                    )
                for inputs in asked:
                    with explained(one.model, "predicting"):
                        # A copy: what one model writes into its table, the next must not read.
                        given = inputs.copy() if isinstance(inputs, pd.DataFrame) else inputs
                        predicted = np.asarray(predict(given), dtype=np.float64)
                    if self.output == "logits":
                        values = from_logits(predicted, data, where)
                    else:
                        values, found = from_probabilities(predicted, data, where)
                        zeros += found
                    answers.append(values)
            blocks.append(np.stack(answers))
            advance(1.0)
        return BlockOutputs(
            values=np.stack(blocks).astype(np.float32),
            kind=output_kind(data),
            notes={ZEROS: zeros} if zeros else {},
            facts={"function": function_name(function)},
        )

    def _function(self) -> Train:
        if not isinstance(self.train, str):
            return self.train
        from auscult.recipes.resolve import resolve

        found = resolve(self.train, self.folder)
        if not callable(found):
            raise RecipeError(
                f'"{self.train}" is not a function',
                where="recipe.train",
                expected="train(inputs, labels, seed) -> predict",
            )
        return found  # type: ignore[no-any-return]


def plain_inputs(inputs: Inputs) -> pd.DataFrame | NDArray[Any]:
    """Inputs of all records: a dataframe for tables, an array (memory-mapped or not) otherwise."""
    if isinstance(inputs, TableInputs):
        return inputs.table()
    if np.array_equal(inputs.rows, np.arange(len(inputs.array))):
        return inputs.array
    return inputs.take(np.arange(len(inputs)))


def rows_of(
    inputs: pd.DataFrame | NDArray[Any], rows: NDArray[np.int64]
) -> pd.DataFrame | NDArray[Any]:
    """Copy of some rows."""
    if isinstance(inputs, pd.DataFrame):
        return inputs.iloc[rows].reset_index(drop=True)
    return np.asarray(inputs[rows])


def function_name(function: Callable[..., Any]) -> str:
    """Module and name of a function or class."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}:{name}"


def describe(function: Callable[..., Any]) -> dict[str, str]:
    """Name and SHA-256 of the source of a function's module, or of the function itself."""
    try:
        module = inspect.getmodule(function)
        source = inspect.getsource(
            function if module is None or module.__name__ == "__main__" else module
        )
    except (OSError, TypeError):
        source = ""
    name = function_name(function)
    return {"name": name, "source": hashlib.sha256(source.encode()).hexdigest() if source else ""}
