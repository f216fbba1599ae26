"""A recipe: nearest class mean, with a scale that makes distances log-odds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.cohort import TrainingData
from auscult.cohort.inputs import TableInputs
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.recipes.python import plain_inputs


class Centroids(Recipe):
    """Classes by the nearest mean.

    Parameters
    ----------
    scale : float
        Logits are squared distances times minus the scale.
    """

    kind = "centroids"
    label = "Nearest class mean"

    def __init__(self, scale: float = 1.0) -> None:
        if not 0 < scale < float("inf"):
            raise ConfigError(
                f"{scale:g} is not a valid scale", where="recipe.scale", expected="more than 0"
            )
        self.scale = scale

    def settings(self) -> dict[str, Any]:
        """What changes results; the code's identity is added by Auscult."""
        return {"scale": self.scale}

    def supports(self, data: TrainingData) -> str | None:
        """Tables of numbers, images and signals, one class for each record."""
        if data.task == "multilabel":
            return "it knows one class for each record"
        if isinstance(data.inputs, TableInputs) and data.inputs.categorical_names:
            return "it reads columns of numbers only"
        return "it answers no further queries" if data.queries else None

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        """One mean per class and model, over the model's members."""
        inputs = np.asarray(plain_inputs(data.inputs), dtype=np.float64)
        x = np.nan_to_num(inputs.reshape(len(data.labels), -1))
        values = []
        for assignment in assignments:
            logits = np.stack(
                [
                    self._logit(x, assignment.members[data.labels[assignment.members] == label])
                    for label in range(len(data.classes))
                ],
                axis=1,
            )
            # Two classes are handed over as one log-odds.
            values.append(logits[:, 1:] - logits[:, :1] if data.task == "binary" else logits)
            advance(1.0)
        return BlockOutputs(
            values=np.stack(values)[:, None].astype(np.float32),
            kind="sigmoid" if data.task == "binary" else "softmax",
        )

    def _logit(self, x: NDArray[np.float64], members: NDArray[np.int64]) -> NDArray[np.float64]:
        if not members.size:  # a model without a member of this class
            return np.full(len(x), -self.scale * float(np.square(x).sum(axis=1).max()))
        return np.asarray(-self.scale * np.square(x - x[members].mean(axis=0)).sum(axis=1))
