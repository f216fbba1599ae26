"""Whether the arguments of an audit are what they are called, before anything asks them."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from auscult.base.errors import ConfigError
from auscult.cohort import Cohort
from auscult.exposure import Deployment
from auscult.protection.variants import Variant
from auscult.recipes.base import Recipe
from auscult.release.declaration import Release

if TYPE_CHECKING:
    from auscult.audit.audit import Audit


COHORT = "Make one: Cohort.from_table(table, patient=..., label=...)"


def several(given: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """What was given as a tuple: one thing alone, a text too, as a tuple of it."""
    if isinstance(given, Iterable) and not isinstance(given, str):
        return tuple(given)
    return (given,)


def check_kinds(audit: Audit) -> None:
    """Raise a ConfigError for the first argument that is something else than its name says."""
    _require(audit.cohort, Cohort, "audit.cohort", "a Cohort", lambda _: COHORT)
    _require(
        audit.recipe, Recipe, "audit.recipe", "a recipe, for example SklearnRecipe", _recipe_of
    )
    for name in ("models", "seed", "smallest_cell", "count_base"):
        value = getattr(audit, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise ConfigError(
                f"{value!r} is not a whole number", where=f"audit.{name}", expected="a whole number"
            )
    if isinstance(audit.withhold, bool) or not isinstance(audit.withhold, numbers.Real):
        raise ConfigError(
            f"{audit.withhold!r} is not a number",
            where="audit.withhold",
            expected="a number from 0 to below 1, for example 0.2",
        )
    for name in ("protect", "sweep"):
        for one in getattr(audit, name):
            _require(one, Variant, f"audit.{name}", "a Variant, for example Variant(max_records=1)")
    if audit.deployment is not None:
        _require(audit.deployment, Deployment, "audit.deployment", "a Deployment")
    if audit.release is not None:
        _require(audit.release, Release, "audit.release", "a Release")


def _require(
    value: object,
    kind: type,
    where: str,
    expected: str,
    instead: Callable[[object], str] = lambda _: "",
) -> None:
    if not isinstance(value, kind):
        what = f"{type(value).__name__} is not {expected.split(',')[0]}"
        raise ConfigError(what, where=where, expected=expected, next_step=instead(value))


def _recipe_of(value: object) -> str:
    if isinstance(value, str):
        return 'Make one: SklearnRecipe("logistic_regression"), TorchRecipe("mlp")'
    if hasattr(value, "fit"):
        return "Make one of it: SklearnRecipe(estimator)"
    if hasattr(value, "parameters"):
        return "Make one of it: TorchRecipe(network)"
    return "Make one of a function: PythonRecipe(train)" if callable(value) else ""
