"""Auscult: which patients does a medical AI model give away?

Importing this package loads neither torch nor scikit-learn: the names below are fetched
when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auscult.lazily import lazily
from auscult.version import __version__ as __version__

if TYPE_CHECKING:
    from auscult.access import Access
    from auscult.audit import Audit
    from auscult.blind import blind_baseline
    from auscult.cohort import Cohort
    from auscult.comparing import compare
    from auscult.crews import Engine
    from auscult.errors import (
        AnalysisError,
        AuscultError,
        CohortError,
        ConfigError,
        RecipeError,
        StoreError,
    )
    from auscult.exposure import Deployment
    from auscult.importing import import_scores
    from auscult.policy import Policy, judge, judge_run
    from auscult.protection.variants import Variant
    from auscult.recipes import PythonRecipe, Recipe, SklearnRecipe, TorchRecipe
    from auscult.release import (
        EndpointDoor,
        FileDoor,
        FunctionDoor,
        MemberColumn,
        MemberList,
        OnnxDoor,
        Release,
    )
    from auscult.results import Result
    from auscult.scores import read_model_folders, read_npz

_PLACES = {
    "Access": "auscult.access",
    "AnalysisError": "auscult.errors",
    "Audit": "auscult.audit",
    "AuscultError": "auscult.errors",
    "Cohort": "auscult.cohort",
    "CohortError": "auscult.errors",
    "ConfigError": "auscult.errors",
    "Deployment": "auscult.exposure",
    "EndpointDoor": "auscult.release",
    "Engine": "auscult.crews",
    "FileDoor": "auscult.release",
    "FunctionDoor": "auscult.release",
    "MemberColumn": "auscult.release",
    "MemberList": "auscult.release",
    "OnnxDoor": "auscult.release",
    "Policy": "auscult.policy",
    "PythonRecipe": "auscult.recipes",
    "Recipe": "auscult.recipes",
    "RecipeError": "auscult.errors",
    "Release": "auscult.release",
    "Result": "auscult.results",
    "SklearnRecipe": "auscult.recipes",
    "StoreError": "auscult.errors",
    "TorchRecipe": "auscult.recipes",
    "Variant": "auscult.protection.variants",
    "blind_baseline": "auscult.blind",
    "compare": "auscult.comparing",
    "import_scores": "auscult.importing",
    "judge": "auscult.policy",
    "judge_run": "auscult.policy",
    "read_model_folders": "auscult.scores",
    "read_npz": "auscult.scores",
}

__all__ = [
    "Access",
    "AnalysisError",
    "Audit",
    "AuscultError",
    "Cohort",
    "CohortError",
    "ConfigError",
    "Deployment",
    "EndpointDoor",
    "Engine",
    "FileDoor",
    "FunctionDoor",
    "MemberColumn",
    "MemberList",
    "OnnxDoor",
    "Policy",
    "PythonRecipe",
    "Recipe",
    "RecipeError",
    "Release",
    "Result",
    "SklearnRecipe",
    "StoreError",
    "TorchRecipe",
    "Variant",
    "blind_baseline",
    "compare",
    "import_scores",
    "judge",
    "judge_run",
    "read_model_folders",
    "read_npz",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _PLACES)
