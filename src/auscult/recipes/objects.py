"""What an object carries, and whether it comes from an installed package."""

from __future__ import annotations

import copyreg
import functools
import sys
import types
from typing import Any

from auscult.recipes.libraries import is_library, is_library_module

# Of a class: names that every class has, and that change nothing of what it does.
NOT_BEHAVIOUR = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__"),
        *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
        *("__parameters__", "__orig_bases__"),
    }
)


def state_of(it: Any) -> Any:  # noqa: ANN401
    """What pickle would carry of an object, with attributes in an order of their own."""
    kind = type(it)
    own = getattr(kind, "__getstate__", None)
    if own is not None and own is not getattr(object, "__getstate__", None):
        given = it.__getstate__()
        return sorted(given.items()) if _is_plain_mapping(given) else given
    state: dict[str, Any] = dict(getattr(it, "__dict__", {}))
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(it, name):
                state[name] = getattr(it, name)
    if state or not is_library_class(kind):
        return sorted(state.items(), key=lambda pair: str(pair[0]))
    registered = copyreg.dispatch_table.get(kind)
    reduced = registered(it) if registered is not None else it.__reduce_ex__(2)
    return reduced if isinstance(reduced, str) else reduced[1:3]


def _is_plain_mapping(state: Any) -> bool:  # noqa: ANN401
    return type(state) is dict and all(isinstance(key, str) for key in state)


def is_tensor(it: Any) -> bool:  # noqa: ANN401
    """Whether an object is one of PyTorch's tensors; PyTorch is not loaded for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(it, torch.Tensor)


def is_foreign(it: Any) -> bool:  # noqa: ANN401
    """Whether something found in a package was put there by code outside packages."""
    if isinstance(it, (staticmethod, classmethod)):
        it = it.__func__
    if isinstance(it, property):
        return any(is_foreign(part) for part in (it.fget, it.fset) if part is not None)
    if isinstance(it, types.FunctionType):
        return not is_library(it.__code__.co_filename, sys.modules.get(it.__module__ or ""))
    if isinstance(it, type):
        return not is_library_class(it)
    return isinstance(it, functools.partial)


def is_library_class(it: type) -> bool:
    """Whether a class was defined in an installed package."""
    module = sys.modules.get(it.__module__)
    return module is not None and is_library_module(module)
