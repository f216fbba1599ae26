"""The weights of a release: what somebody who has them sees of each record.

They are put into the recipe's network and have to prove themselves: what they answer must be what
the release answers through its door. Other weights, or inputs that were prepared in another way,
would give figures about another model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError
from auscult.cohort import TrainingData
from auscult.recipes.base import Recipe
from auscult.release.doors import ReleaseError
from auscult.release.shown import View

CLOSE = 0.01  # of an answer in log-odds, or of its size
ALIKE = 0.99  # share of the records: a rounded answer may fall to the other side


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """What the weights of the release say of every record. A secret.

    Attributes
    ----------
    values : float64 array, shape (records, outputs)
        Its answers in full.
    inside : float64 array, shape (records, signals)
    names : tuple of str
        Of these signals.
    """

    values: NDArray[np.float64] = field(repr=False)
    inside: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...]


def check_weights(recipe: Recipe | None, data: TrainingData, path: Path) -> None:
    """Raise where weights of a release cannot be looked into.

    Parameters
    ----------
    recipe : Recipe or None
    data : TrainingData
    path : Path
    """
    closed = "the recipe is not known" if recipe is None else recipe.why_closed(data)
    if closed is not None:
        raise ConfigError(
            f"the weights cannot be looked into: {closed}",
            where="release.weights",
            expected='a recipe of kind = "torch"',
            next_step="Leave them out: the release is then audited by its answers",
        )
    if not Path(path).is_file():
        raise ConfigError(
            "there is no such file",
            where=f"release.weights ({Path(path).name})",
            expected="a .safetensors file, or a state dict (.pt)",
        )


def opened(
    recipe: Recipe,
    data: TrainingData,
    path: Path,
    members: NDArray[np.int64] | None,
    asked: NDArray[np.float64],
    view: View,
) -> Opened:
    """Look into the weights, and compare what they answer with what the release answered.

    Parameters
    ----------
    recipe : Recipe
    data : TrainingData
    path : Path
    members : int64 array or None
        Rows of the records that trained the release, where they are known.
    asked : float64 array, shape (records, outputs)
        Its answers.
    view : View
        How finely they are shown.

    Raises
    ------
    ReleaseError
        The weights are not those of the model that was asked.
    """
    try:
        values, inside, names = recipe.look_into(data, path, members)
    except RecipeError as error:
        raise ReleaseError(
            error.what,
            where=f"release.weights ({Path(path).name})",
            expected=error.expected,
            next_step=error.next_step,
        ) from None
    off = np.abs(view.through(values) - asked) > CLOSE * np.maximum(1.0, np.abs(asked))
    unlike = float(off.any(axis=1).mean())
    if unlike > 1 - ALIKE:
        raise ReleaseError(
            f"the weights answer otherwise than the release does, on {100 * unlike:.0f}% of the "
            "records",
            where=f"release.weights ({Path(path).name})",
            expected="weights of the very model that is asked, in the network of [recipe] and with "
            "its preprocessing",
            next_step="Check the file, release.members (inputs are scaled on the members) and the "
            "recipe, or leave the weights out",
        )
    return Opened(values=values, inside=inside, names=names)
