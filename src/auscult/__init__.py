"""Auscult: which patients does a medical AI model give away?

Importing this package loads neither torch nor scikit-learn: the names below are fetched
when they are first used.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from auscult.base.lazily import lazily
from auscult.base.version import __version__ as __version__

if TYPE_CHECKING:
    from auscult.attacks.access import Access
    from auscult.audit import Audit
    from auscult.audit.growing import Grown, Until
    from auscult.base.errors import (
        AnalysisError,
        AuscultError,
        CohortError,
        ConfigError,
        RecipeError,
        StoreError,
    )
    from auscult.blind import blind_baseline
    from auscult.cohort import Cohort
    from auscult.exposure import Deployment
    from auscult.imported.importing import import_scores
    from auscult.imported.scores import read_model_folders, read_npz
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
        SavedDoor,
    )
    from auscult.results import Result
    from auscult.results.comparing import compare
    from auscult.results.tracking import log_to_mlflow
    from auscult.training.engines import Engine

_PLACES = {
    "Access": "auscult.attacks.access",
    "AnalysisError": "auscult.base.errors",
    "Audit": "auscult.audit",
    "AuscultError": "auscult.base.errors",
    "Cohort": "auscult.cohort",
    "CohortError": "auscult.base.errors",
    "ConfigError": "auscult.base.errors",
    "Deployment": "auscult.exposure",
    "EndpointDoor": "auscult.release",
    "Engine": "auscult.training.engines",
    "FileDoor": "auscult.release",
    "FunctionDoor": "auscult.release",
    "Grown": "auscult.audit.growing",
    "MemberColumn": "auscult.release",
    "MemberList": "auscult.release",
    "OnnxDoor": "auscult.release",
    "Policy": "auscult.policy",
    "PythonRecipe": "auscult.recipes",
    "Recipe": "auscult.recipes",
    "RecipeError": "auscult.base.errors",
    "Release": "auscult.release",
    "SavedDoor": "auscult.release",
    "Result": "auscult.results",
    "SklearnRecipe": "auscult.recipes",
    "StoreError": "auscult.base.errors",
    "TorchRecipe": "auscult.recipes",
    "Until": "auscult.audit.growing",
    "Variant": "auscult.protection.variants",
    "blind_baseline": "auscult.blind",
    "compare": "auscult.results.comparing",
    "import_scores": "auscult.imported.importing",
    "judge": "auscult.policy",
    "judge_run": "auscult.policy",
    "log_to_mlflow": "auscult.results.tracking",
    "read_model_folders": "auscult.imported.scores",
    "read_npz": "auscult.imported.scores",
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
    "Grown",
    "MemberColumn",
    "MemberList",
    "OnnxDoor",
    "Policy",
    "PythonRecipe",
    "Recipe",
    "RecipeError",
    "Release",
    "Result",
    "SavedDoor",
    "SklearnRecipe",
    "StoreError",
    "TorchRecipe",
    "Until",
    "Variant",
    "blind_baseline",
    "compare",
    "import_scores",
    "judge",
    "judge_run",
    "log_to_mlflow",
    "read_model_folders",
    "read_npz",
]

# Silent unless the program that uses the library asks for its log.
logging.getLogger(__name__).addHandler(logging.NullHandler())

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _PLACES)
