"""Whether training a model again gives the same numbers, and what that says of what differs.

Every model has a seed, and every generator that libraries share is set from it. What is still
random draws from elsewhere: a generator without a seed, the clock, an order that differs from
process to process, or something that one model leaves for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CARRIED = (
    "something is carried from one model to the next, for example a generator or a cache of the "
    "module, or a warm start"
)
PROCESS = (
    "it depends on the process that trains, for example on the order of a set of objects, the "
    "process's number or the order of files in a folder"
)
UNSEEDED = (
    "it draws random numbers that no seed controls, for example from a generator made without a "
    "seed, the clock, or several threads"
)
ANY = (
    "it draws random numbers that no seed controls, carries something from one model to the next, "
    "or depends on the process or machine that trains"
)
NEXT_STEP = (
    "Create every generator inside the function from the seed that it is given, or use the global "
    "generators of numpy, Python or torch, which are seeded for each model"
)
TOGETHER = "its models are trained together, and none was trained again"


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """How models that were trained twice compare. Counts and sizes only.

    Attributes
    ----------
    models : int
        That were trained twice.
    answers : int
        Numbers that were compared, bit by bit.
    different : int
        Of these.
    largest : float or None
        Largest difference, on the scale of the outputs (log-odds, log-probabilities or a signal);
        None where even the number of answers differs.
    cause : str
        What is likely behind a difference; empty without one.
    drawn : tuple of str
        Calls in the training code that draw or read what may differ.
    """

    models: int
    answers: int
    different: int
    largest: float | None
    cause: str = ""
    drawn: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """For the manifest and the summary."""
        return {
            "models": self.models,
            "answers": self.answers,
            "different": self.different,
            "largest": self.largest,
            "cause": self.cause,
            "drawn": list(self.drawn),
        }

    @property
    def words(self) -> str:
        """What differs, by how much, why probably, and what to do; empty where nothing does."""
        if not self.different:
            return ""
        drawn = f" (its code calls {', '.join(self.drawn)})" if self.drawn else ""
        size = "" if self.largest is None else f", by up to {self.largest:.3g}"
        return (
            f"trained again from the same seed: {self.different:,} of {self.answers:,} answers "
            f"differ{size}. Probably {self.cause}{drawn}. {NEXT_STEP}"
        )


def compared(
    first: NDArray[np.float32],
    again: NDArray[np.float32],
    cause: str = ANY,
    drawn: Sequence[str] = (),
) -> Repeat:
    """Compare the outputs of the same models, bit by bit.

    Parameters
    ----------
    first, again : float32 array, shape (models, queries, records, outputs)
    cause : str
        Likely cause, where they differ.
    drawn : sequence of str
    """
    if first.shape != again.shape:
        return Repeat(
            models=len(first),
            answers=first.size,
            different=max(first.size, again.size),
            largest=None,
            cause=cause,
            drawn=tuple(drawn),
        )
    differ = np.ascontiguousarray(first).view(np.uint32) != np.ascontiguousarray(again).view(
        np.uint32
    )
    count = int(differ.sum())
    largest = float(np.abs(first.astype(np.float64) - again)[differ].max()) if count else 0.0
    return Repeat(
        models=len(first),
        answers=first.size,
        different=count,
        largest=largest,
        cause=cause if count else "",
        drawn=tuple(drawn) if count else (),
    )


def likely_cause(*, second_differs: bool | None, elsewhere_differs: bool) -> str:
    """What is behind differences, from where they are.

    Parameters
    ----------
    second_differs : bool or None
        Between the first and the second time in one process; None where there was no second time.
    elsewhere_differs : bool
        Between the first time in one process and in another.
    """
    if second_differs is None:
        return ANY
    if second_differs and elsewhere_differs:
        return UNSEEDED
    return CARRIED if second_differs else PROCESS
