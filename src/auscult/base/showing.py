"""What is shown of an object: its parameters, and of data no more than its size."""

from __future__ import annotations

import inspect
from typing import Any


def parameters(one: object) -> str:
    """Class and parameters other than their defaults, as scikit-learn shows estimators.

    Parameters
    ----------
    one : object
        Keeps each parameter of its constructor under the parameter's name.
    """
    shown = []
    for name, parameter in inspect.signature(type(one)).parameters.items():
        if not hasattr(one, name):
            continue
        value = getattr(one, name)
        if not _same(value, parameter.default):
            shown.append(f"{name}={_text(value)}")
    return f"{type(one).__name__}({', '.join(shown)})"


def _same(value: Any, default: Any) -> bool:  # noqa: ANN401
    try:
        return bool(value is default or value == default)
    except ValueError:  # an array has no truth
        return False


def _text(value: Any) -> str:  # noqa: ANN401
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)
