"""What every recipe promises: train a block of models, return what they say on every record.

A recipe is a description (settings that make the run's fingerprint) plus `train_block`. It sees
inputs, labels and the rows of each model's members, never an identifier, a group or an attack.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import RecipeError
from auscult.base.showing import parameters
from auscult.cohort import TrainingData
from auscult.cohort.cohort import CLASS_TASKS
from auscult.recipes.metrics import Metric

MANY = 1 << 20  # models, for the size of a block that does not depend on their number
SMALLEST_BLOCK = 2
MOST_INSIDE = 3  # signals of the weights per answer, as the built-in recipes give them

OutputKind = Literal["softmax", "sigmoid", "multilabel", "signal"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Assignment:
    """One model to train.

    Attributes
    ----------
    model : int
        Its number in the audit.
    members : int64 array
        Rows of the records it trains on, ascending.
    seed : int
        31-bit seed that derives from the audit's seed and the model's number only.
    """

    model: int
    members: NDArray[np.int64] = field(repr=False)  # a secret
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockOutputs:
    """What the models of a block returned.

    Attributes
    ----------
    values : float32 array, shape (models, queries, records, outputs)
        Logits or log-probabilities ("softmax": one column per class), one log-odds ("sigmoid" and
        each column of "multilabel"), or a ready signal, higher for a better fit ("signal": the
        first column; what utility is measured on follows).
    kind : {"softmax", "sigmoid", "multilabel", "signal"}
    notes : mapping of str to int
        Counted events worth telling, for example exact zeros among the probabilities.
    facts : mapping
        Facts for the manifest and report, equal for all blocks: number of trainable parameters,
        whether models were stacked, why not.
    speed : mapping
        What was measured and chosen on this machine; changes no result and may differ by block.
    inside : tuple of str
        Names of what the weights say of each record, where that was asked for: the last columns of
        `values`, behind the outputs; each higher for a better fit as a rule.
    """

    values: NDArray[np.float32]
    kind: OutputKind
    notes: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] = field(default_factory=dict)
    inside: tuple[str, ...] = ()


class Recipe(ABC):
    """How a model is trained, from preprocessing to last epoch. This is what is audited.

    Attributes
    ----------
    kind : str
        Its name in configurations.
    label : str
        Its name for people; required for recipes that other packages add.
    """

    kind: str
    # Whether a model's outputs are the same to the last bit whatever else is in its block. Only
    # then can one model be trained again to see whether anything but its seed decides about it.
    independent: bool = False
    name: ClassVar[str] = ""
    label: ClassVar[str] = ""

    def __init_subclass__(cls, **more: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**more)
        if isinstance(kind := cls.__dict__.get("kind"), str):
            cls.name = kind  # what every part calls its key

    def __repr__(self) -> str:
        return parameters(self)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON-serialisable settings that affect results; part of the run's fingerprint."""

    def unseen(self) -> tuple[str, ...]:
        """What may change the training code's behaviour and is not in the settings' digest.

        Empty where everything is known, or where the user vouches for it by a version.
        """
        return ()

    def draws(self) -> tuple[str, ...]:
        """Calls in the training code that draw without a seed or read what differs by process.

        Reported where training again gives different numbers; most of them are harmless.
        """
        return ()

    def scores(self, data: TrainingData) -> bool:
        """Whether its models give one number per record instead of predictions of classes."""
        return data.task not in CLASS_TASKS

    def releases(self, data: TrainingData) -> tuple[str, ...]:
        """Outputs of a release that can be compared with the outputs of its models."""
        return ("prediction",) if self.scores(data) else ("probabilities", "logits")

    def why_closed(self, data: TrainingData) -> str | None:  # noqa: ARG002
        """Why it cannot tell what the weights of its models say of a record; None where it can.

        Where it can, :meth:`train_block` returns that behind the outputs if the data asks for it
        (`TrainingData.white_box`), and names it in `BlockOutputs.inside`.
        """
        return f'a recipe of kind "{self.kind}" gives no gradients of its models'

    def look_into(
        self,
        data: TrainingData,
        weights: Path,  # noqa: ARG002
        members: NDArray[np.int64] | None,  # noqa: ARG002
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
        """Answers of weights that were trained elsewhere, what they say of each record, and names.

        Parameters
        ----------
        data : TrainingData
        weights : Path
        members : int64 array or None
            Rows of the records that they were trained on, where they are known.

        Returns
        -------
        answers : float64 array, shape (records, outputs)
        inside : float64 array, shape (records, signals)
        names : tuple of str

        Raises
        ------
        RecipeError
            They are not weights of this recipe's network, or it has none.
        """
        raise RecipeError(str(self.why_closed(data)), where="release.weights")

    def metric(self) -> Metric | None:
        """How utility is measured where outputs are ready signals; None where it is not."""
        return None

    @abstractmethod
    def supports(self, data: TrainingData) -> str | None:
        """Why this recipe cannot be used on this data, or None. Trains nothing."""

    def block_models(self, data: TrainingData, models: int) -> int:  # noqa: ARG002
        """Most models trained and written together in an audit of `models` models.

        An eighth of the models, at most 8, unless training more models together is cheaper.
        """
        return max(1, min(8, models // 8))

    def cards(self) -> tuple[str, ...]:
        """Cards, such as "cuda:0", that models may be trained on, one worker each.

        Empty where a worker has a core of the processor to itself instead.
        """
        return ()

    def blocks(self, data: TrainingData, models: int) -> list[int]:
        """Models of each block; part of the run's identity.

        The first blocks of many models are those of few, so that a run can grow: blocks of 2 for
        the first 16 models, then twice as many each time that the models have doubled, up to what
        :meth:`block_models` says of many models.

        Parameters
        ----------
        data : TrainingData
        models : int
            Of the audit.
        """
        most = self.block_models(data, MANY)
        found, start = [], 0
        while start < models:
            size = max(SMALLEST_BLOCK, 1 << max(start.bit_length() - 3, 0))
            found.append(min(size, most, models - start))
            start += found[-1]
        return found

    @abstractmethod
    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        """Train the models of one block and return their outputs on every record.

        Parameters
        ----------
        data : TrainingData
        assignments : sequence of Assignment
        advance : callable
            Call with the number of models' worth of work done (fractions welcome, sum =
            ``len(assignments)``).

        Raises
        ------
        RecipeError
            Training failed; says which model and the last lines of the failure.
        """
