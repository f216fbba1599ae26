"""How models are trained: scikit-learn, PyTorch, or any function of yours.

The names below are fetched when first used, so that importing this package loads no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auscult.base.lazily import lazily

if TYPE_CHECKING:
    from auscult.recipes.base import Recipe
    from auscult.recipes.python import PythonRecipe
    from auscult.recipes.sklearn import SklearnRecipe
    from auscult.recipes.torch.recipe import TorchRecipe

_PLACES = {
    "PythonRecipe": "auscult.recipes.python",
    "Recipe": "auscult.recipes.base",
    "SklearnRecipe": "auscult.recipes.sklearn",
    "TorchRecipe": "auscult.recipes.torch.recipe",
}

__all__ = [
    "PythonRecipe",
    "Recipe",
    "SklearnRecipe",
    "TorchRecipe",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _PLACES)
