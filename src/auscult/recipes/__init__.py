"""How models are trained: scikit-learn, PyTorch, or any function of yours.

The names below are fetched when first used, so that importing this package loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "PythonRecipe": "auscult.recipes.python",
    "SklearnRecipe": "auscult.recipes.sklearn",
    "TorchRecipe": "auscult.recipes.torch_recipe",
}

__all__ = ["PythonRecipe", "SklearnRecipe", "TorchRecipe"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _EXPORTS:
        raise AttributeError(f"module 'auscult.recipes' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
