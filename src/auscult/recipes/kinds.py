"""Recipes by kind: Auscult's own and those of other packages, and the identity of the latter."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from auscult.base.plugins import Registry
from auscult.recipes.base import Recipe
from auscult.recipes.identity import identify

RECIPES: Registry[Any] = Registry("recipe", Recipe, of_classes=True)
OWN = {
    "torch": "auscult.recipes.torch.recipe:TorchRecipe",
    "sklearn": "auscult.recipes.sklearn:SklearnRecipe",
    "python": "auscult.recipes.python:PythonRecipe",
}


def _load() -> None:
    for place in OWN.values():
        module, _, name = place.partition(":")
        RECIPES.add(getattr(import_module(module), name))


RECIPES.when_needed(_load)


def identity_of(recipe: Recipe) -> dict[str, Any]:
    """What makes a recipe's models: its settings and, of a class that is not Auscult's, its code.

    Outputs that older code trained must not be taken for those of changed code.
    """
    said = {"kind": recipe.kind, "settings": recipe.settings()}
    kind = type(recipe)
    if kind.__module__.partition(".")[0] != "auscult":
        said["code"] = identify(kind).digest
    return said
