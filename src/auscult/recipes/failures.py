"""What a failing training function says to its user: which model, what was raised, its last lines.

Kept short on purpose: the message of a foreign exception is shown, because without it nobody can
mend the code, but a recipe never receives an identifier, so none can be in it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auscult.base.errors import AuscultError, RecipeError

LINES = 3
OWN_FOLDER = Path(__file__).parent
LONGEST = 300


@contextmanager
def explained(model: int | str, doing: str) -> Iterator[None]:
    """Turn whatever is raised inside into a RecipeError that names the model.

    Parameters
    ----------
    model : int or str
        Number of the model, or what it is.
    doing : str
        For example "training".
    """
    try:
        yield
    except (AuscultError, MemoryError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        theirs = [frame for frame in frames if Path(frame.filename).parent != OWN_FOLDER]
        frames = (theirs or frames)[-LINES:]
        place = "; ".join(
            f"{Path(frame.filename).name} line {frame.lineno} in {frame.name}: "
            f"{(frame.line or '').strip()}"
            for frame in frames
        )
        said = " ".join(str(error).split())[:LONGEST]
        raise RecipeError(
            f"{doing} raised {type(error).__name__}: {said}",
            where=model if isinstance(model, str) else f"model {model}",
            next_step=f"Last lines: {place}",
        ) from error
