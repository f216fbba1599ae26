"""Auscult: which patients does a medical AI model give away?

Importing this package loads neither torch nor scikit-learn: the names below are fetched
when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from auscult.version import __version__ as __version__

_EXPORTS = {
    "Access": "auscult.access",
    "Audit": "auscult.audit",
    "AuscultError": "auscult.errors",
    "Cohort": "auscult.cohort",
    "Deployment": "auscult.exposure",
    "PythonRecipe": "auscult.recipes",
    "SklearnRecipe": "auscult.recipes",
    "TorchRecipe": "auscult.recipes",
    "Variant": "auscult.protection.variants",
}

__all__ = [
    "Access",
    "Audit",
    "AuscultError",
    "Cohort",
    "Deployment",
    "PythonRecipe",
    "SklearnRecipe",
    "TorchRecipe",
    "Variant",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _EXPORTS:
        raise AttributeError(f"module 'auscult' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
