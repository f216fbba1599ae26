"""What code names and imports, read from its bytecode or its text; nothing is run."""

from __future__ import annotations

import ast
import dis
import importlib.util
import sys
import types
from collections.abc import Mapping
from importlib.machinery import PathFinder
from typing import Any


def names_in(code: types.CodeType, *, constants: bool = True) -> frozenset[str]:
    """Names that code uses: globals, attributes, and words that may be asked for by getattr."""
    names = set(code.co_names)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names |= names_in(part, constants=constants)
        elif constants and isinstance(part, str) and part.isidentifier():
            names.add(part)
    return frozenset(names)


def globals_in(code: types.CodeType) -> frozenset[str]:
    """Names that code looks up in its module or among Python's own, not attributes."""
    names = {
        str(step.argval)
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names |= globals_in(part)
    return frozenset(names)


def imports_of(code: types.CodeType, scope: Mapping[str, Any]) -> list[str]:
    """Modules that code imports when it runs."""
    found: list[str] = []
    steps = list(dis.get_instructions(code))
    origin = ""
    for place, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level = next(
                (s.argval for s in reversed(steps[:place]) if isinstance(s.argval, int)), 0
            )
            origin = str(step.argval)
            if level:
                origin = _absolute("." * level + origin, str(scope.get("__package__") or ""))
            found.append(origin)
        elif step.opname == "IMPORT_FROM" and origin:
            found.append(f"{origin}.{step.argval}")
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            found += imports_of(part, scope)
    return [name for name in found if name]


def imports_in(text: bytes, package: str) -> list[str]:
    """Modules that a source imports anywhere, names that may be modules included."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute("." * node.level + (node.module or ""), package)
            found += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    parents = [n.rsplit(".", k)[0] for n in found for k in range(n.count("."), 0, -1)]
    return [name for name in dict.fromkeys([*parents, *found]) if name]


def _absolute(name: str, package: str) -> str:
    if not name.startswith("."):
        return name
    try:
        return importlib.util.resolve_name(name, package)
    except (ImportError, ValueError):
        return ""


def find(name: str, path: list[str]) -> str | None:
    """File of a module, without importing anything."""
    if name in sys.builtin_module_names:
        return None
    where: Any = path
    spec = None
    for part in name.split("."):
        spec = PathFinder.find_spec(part, where)
        if spec is None:
            return None
        where = spec.submodule_search_locations
        if where is None:
            break
    return spec.origin if spec is not None and spec.name == name.rsplit(".", 1)[-1] else None
