"""Parts of an estimator that stay as they are in every model, because a copy keeps what they know.

Whoever such a part was fitted on is a member of every model, so that nothing would show of it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

# Fit arguments that name a model to go on from (XGBoost, LightGBM, CatBoost).
CONTINUED = ("xgb_model", "init_model")
CURE = (
    "Whoever it learned from is a member of every model, and nothing of that would be seen. "
    '{cure}; or, if it never saw these patients, load it in a training function (kind = "python")'
)


def already_fitted(estimator: Any, arguments: Mapping[str, Any]) -> str | None:  # noqa: ANN401
    """Why an estimator would bring what it knows into every model; None where it would not.

    Parameters
    ----------
    estimator : estimator
    arguments : mapping
        Keyword arguments of its `fit`.
    """
    for name in CONTINUED:
        if arguments.get(name) is not None:
            return f"fit.{name} goes on from a model that is trained already. " + CURE.format(
                cure="Leave it out"
            )
    for name, part in _parts(estimator):
        where = f"{type(estimator).__name__}{f' ({name})' if name else ''}"
        kind = type(part)
        if kind.__name__ == "FrozenEstimator" and kind.__module__.startswith("sklearn."):
            return f"{where} holds a FrozenEstimator, which no training changes. " + CURE.format(
                cure="Hand over what it holds, not fitted"
            )
        if isinstance(part, types.MethodType) and _is_fitted(part.__self__):
            owner = type(part.__self__).__name__
            return f"{where} calls a {owner} that is fitted already. " + CURE.format(
                cure=f"Put the {owner} itself in its place, not fitted"
            )
        if _is_network(part):
            return (
                f"{where} holds a network that is made already: every model would start from the "
                "same weights. "
            ) + CURE.format(cure=f"Hand over its class, {kind.__name__}, and its arguments")
    return None


def _parts(estimator: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """An estimator and its parameters, those of its parts included."""
    yield "", estimator
    if hasattr(estimator, "get_params"):
        yield from sorted(estimator.get_params(deep=True).items(), key=lambda pair: pair[0])


def _is_fitted(owner: Any) -> bool:  # noqa: ANN401
    """Whether an object has a `fit` that was called: scikit-learn's mark is a last underscore."""
    return hasattr(owner, "fit") and any(
        name.endswith("_") and not name.endswith("__") for name in getattr(owner, "__dict__", {})
    )


def _is_network(part: Any) -> bool:  # noqa: ANN401
    """Whether it is a module of PyTorch with weights, not a class of one, nor a loss."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(part, torch.nn.Module) and _has_weights(part)


def _has_weights(module: Any) -> bool:  # noqa: ANN401
    return next(module.parameters(), None) is not None
