"""What scores made elsewhere are declared to mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from auscult.base.errors import CohortError

SignalsAre = Literal["scores", "losses", "cross-entropy", "probabilities"]
OutputsAre = Literal["logits", "probabilities", "log-probabilities"]
LabelsAre = Literal["classes", "one-hot", "multi-label", "multi-hot"]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the arrays mean, where their values leave two readings.

    Attributes
    ----------
    signals : {"scores", "losses", "cross-entropy", "probabilities"}, optional
        Scores are higher for members. Losses are lower for members: their negative is the score.
        A cross-entropy (natural logarithm) is the loss of the probability of the true class, and
        probabilities are that probability: both become log-odds.
    outputs : {"logits", "probabilities", "log-probabilities"}, optional
    labels : {"classes", "one-hot", "multi-label", "multi-hot"}, optional
        Rows of 0 and 1 with one 1 in each may be classes or a multi-label task. Multi-hot: several
        labels may hold at once and the outputs are one softmax over all of them.
    no_finding : int, optional
        Column that rows of labels without any 1 belong to.
    classes : tuple of str, optional
        Label that each column of the outputs stands for, in the columns' order.
    groups : tuple of str, optional
        Arrays that are groups of patients; every array of one value per record where not said.
    """

    signals: SignalsAre | None = None
    outputs: OutputsAre | None = None
    labels: LabelsAre | None = None
    classes: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    no_finding: int | None = None

    def __post_init__(self) -> None:
        """Refuse words that are not known."""
        for name, words in (
            ("signals", get_args(SignalsAre)),
            ("outputs", get_args(OutputsAre)),
            ("labels", get_args(LabelsAre)),
        ):
            value = getattr(self, name)
            if value is not None and value not in words:
                raise CohortError(
                    f'"{value}" is not a valid meaning of {name}',
                    where=f"{name}_are",
                    expected=", ".join(words),
                )


def say(name: str, *words: str) -> str:
    """How to declare a meaning: the option, or the array in the npz."""
    options = " or ".join(f"--{name}-are {word}" for word in words)
    return f'Declare it: {options} (or {name}_are = "..." as an array of the npz)'
