"""Where a long training may leave its state, so that a killed run does not start it again.

Loads no torch. A worker says where; a recipe that trains long leaves its state there and takes it
up again. What lies there was made from members' records: it is a secret.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from auscult.recipes.base import Assignment

SUFFIX = ".state"
SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where states lie, and of which run.

    Attributes
    ----------
    folder : Path
        Private to the run.
    run : str
        Identity of the run: recipe, cohort, seed, versions.
    seconds : float
        Time between two states.
    """

    folder: Path
    run: str
    seconds: float = SECONDS

    def file(self, model: int) -> Path:
        """Of one model."""
        return self.folder / f"model-{model:06d}{SUFFIX}"

    def name(self, one: Assignment, about: str) -> str:
        """SHA-256 of all that a state of this model must agree with.

        Parameters
        ----------
        one : Assignment
        about : str
            What else the numbers depend on, such as the version of a library.
        """
        said = f"{self.run}\n{one.model}\n{one.seed}\n{about}\n".encode()
        return hashlib.sha256(said + one.members.astype("<i8").tobytes()).hexdigest()


# Set by a worker for the run that it trains for; None where nothing is kept.
place: Place | None = None


def drop(folder: Path, models: Iterable[int]) -> None:
    """Remove the states of models that are finished.

    Parameters
    ----------
    folder : Path
    models : iterable of int
    """
    for model in models:
        with contextlib.suppress(OSError):
            (folder / f"model-{model:06d}{SUFFIX}").unlink(missing_ok=True)


def sweep(folder: Path, unfinished: Iterable[int]) -> None:
    """Remove all states but those of models that are still to be trained; the folder if empty.

    Parameters
    ----------
    folder : Path
    unfinished : iterable of int
    """
    kept = {f"model-{model:06d}{SUFFIX}" for model in unfinished}
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if file.name not in kept:
                file.unlink(missing_ok=True)
        folder.rmdir()
