"""imbalanced-learn: a pipeline that resamples each model's members."""

from __future__ import annotations

from typing import Any

from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier


def make(depth: int | None, leaf: int) -> Any:  # noqa: ANN401
    """A tree on as many records of each class."""
    return make_pipeline(
        RandomOverSampler(), DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf)
    )
