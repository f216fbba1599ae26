"""Weights that were trained elsewhere, put into the recipe's network and looked into.

Imports torch: load it lazily.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import RecipeError
from auscult.cohort import TrainingData
from auscult.recipes.base import Assignment
from auscult.recipes.outputs import output_columns, output_kind
from auscult.recipes.torch.adapting import adapted
from auscult.recipes.torch.cards import exactly
from auscult.recipes.torch.convolutions import guard_convolutions
from auscult.recipes.torch.inside import inside
from auscult.recipes.torch.training import check_shape, predict
from auscult.recipes.torch.weights import load_into, read_weights

if TYPE_CHECKING:
    from auscult.recipes.torch.recipe import TorchRecipe


def look_into(
    recipe: TorchRecipe, data: TrainingData, weights: Path, members: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """See :meth:`auscult.recipes.base.Recipe.look_into`.

    Parameters
    ----------
    recipe : TorchRecipe
    data : TrainingData
    weights : Path
    members : int64 array or None
    """
    guard_convolutions()
    device, kind, columns = recipe._device(), output_kind(data), output_columns(data)
    records = len(data.inputs)
    if recipe.dp is not None or recipe.scaling == "fixed":
        members = np.arange(records)  # what scaling uses has no part in it, or is everybody
    if members is None:
        raise RecipeError(
            "inputs are scaled on a model's own members, and it is not known whom the release was "
            "trained on",
            where="release.weights",
            expected="a list of its members: release.members",
            next_step='Declare it, or train with scaling = "fixed" where inputs are arrays',
        )
    with exactly(device):
        encoded = recipe._encoded(data.inputs, device)
        encoded.fit([members])
        one = Assignment(model=0, members=members, seed=0)
        maker = recipe._maker()
        module = maker.make(one, encoded.shape, columns, device, recipe._number_format())
        said = load_into(module, read_weights(weights))
        if said["unused"] or said["not in the file"]:
            raise RecipeError(
                f"{said['unused']} of its tensors are not of the network, and "
                f"{said['not in the file']} of the network's are missing",
                where="release.weights",
                expected="all weights of the network that [recipe] describes, and no others",
            )
        found = adapted(
            [module], encoded, records, columns, kind, recipe.output, own=not maker.built_in
        )[0]
        check_shape(found, encoded, columns)
        answers = predict(found, 0, encoded, records).numpy()
        if not np.isfinite(answers).all():
            raise RecipeError("its answers are not finite", where="release.weights")
        values, names = inside(found, 0, encoded, data.labels, answers, kind)
    return answers, values, names
