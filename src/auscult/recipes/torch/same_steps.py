"""Optimizer steps of networks at other shares of members, and recipes that take as many.

An epoch has more steps where there are more members, so the same epochs are not the same training.
Epochs are whole: as many are taken as come nearest to the wanted number of steps.
"""

from __future__ import annotations

import copy

from auscult.cohort import TrainingData
from auscult.recipes.torch.recipe import TorchRecipe


def steps_of(recipe: TorchRecipe, data: TrainingData) -> int:
    """Optimizer steps of a whole training.

    Parameters
    ----------
    recipe : TorchRecipe
    data : TrainingData
        Whose share of members counts.
    """
    return recipe.epochs * _steps_per_epoch(recipe, data)


def with_steps(recipe: TorchRecipe, data: TrainingData, wanted: int) -> TorchRecipe:
    """The recipe with the number of epochs that comes nearest to so many steps.

    Parameters
    ----------
    recipe : TorchRecipe
    data : TrainingData
        Whose share of members counts.
    wanted : int
    """
    epochs = max(1, round(wanted / _steps_per_epoch(recipe, data)))
    if epochs == recipe.epochs:
        return recipe
    made = copy.copy(recipe)
    made.epochs = epochs
    made.warmup_epochs = recipe.warmup_epochs * epochs / recipe.epochs
    return made


def _steps_per_epoch(recipe: TorchRecipe, data: TrainingData) -> int:
    from auscult.recipes.torch.training import steps_per_epoch  # loads torch

    return steps_per_epoch(len(data.inputs), recipe.batch_size, data.share)
