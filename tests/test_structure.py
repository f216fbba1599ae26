"""The house: imports follow the flow of the data, and nothing on the right is known on the left."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

import auscult

ROOMS = (
    "base",
    "cohort",
    "readers",
    "datasets",
    "recipes",
    "store",
    "training",
    "attacks",
    "blind",
    "disclosure",
    "risk",
    "exposure",
    "protection",
    "sizes",
    "release",
    "report",
    "results",
    "policy",
    "imported",
    "audit",
    "config",
    "demo",
    "viewer",
    "testing",
    "cli",
)
# Who may look at whom against that order, for types only, and why.
TYPES_ONLY = {
    ("cohort", "readers"),  # Cohort.from_table and the like: their signatures are the readers'
}
# Rooms that have a module for each of other rooms: a part of audit.toml, a command, a section of
# the report, a network for each kind of input, a check for each kind of part. Elsewhere no two
# modules share a name.
MIRRORS = ("config", "cli", "report", "recipes.networks", "testing")

Kind = Literal["import", "call", "type"]


class Arrow(NamedTuple):
    """One import: when the module is loaded, when a function is called, or for types only."""

    importer: str
    imported: str
    kind: Kind


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name without the package's; a folder's is its door."""
    folder = Path(auscult.__file__).parent
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: path for name, path in found.items() if name not in ("", "__main__")}


@cache
def arrows() -> tuple[Arrow, ...]:
    return tuple(
        Arrow(name, imported, kind)
        for name, path in modules().items()
        for imported, kind in _imports(ast.parse(path.read_text(encoding="utf-8")), "import")
        if imported != name
    )


def _imports(node: ast.AST, kind: Kind) -> Iterator[tuple[str, Kind]]:
    for child in ast.iter_child_nodes(node):
        inner = kind
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = "call" if kind == "import" else kind
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for one in child.body:
                yield from _imports(ast.Module([one], []), "type")
            for one in child.orelse:
                yield from _imports(ast.Module([one], []), kind)
            continue
        if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("auscult"):
            for alias in child.names:
                full = f"{child.module}.{alias.name}".removeprefix("auscult.")
                module = (child.module or "").removeprefix("auscult").removeprefix(".")
                yield full if full in modules() else module, inner
        elif isinstance(child, ast.Import):
            for alias in child.names:
                if alias.name.startswith("auscult."):
                    yield alias.name.removeprefix("auscult."), inner
        yield from _imports(child, inner)


def room(module: str) -> str:
    return module.partition(".")[0]


def circle(pairs: set[tuple[str, str]]) -> list[str]:
    """The first circle that is found; empty without one."""
    graph = defaultdict(set)
    for importer, imported in pairs:
        graph[importer].add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_module_has_a_room() -> None:
    assert {room(name) for name in modules()} == set(ROOMS)


def test_every_import_is_found() -> None:
    assert len(arrows()) > 500
    assert {one.kind for one in arrows()} == {"import", "call", "type"}
    unknown = {one.imported for one in arrows()} - set(modules())
    assert not unknown, "imports of modules that are not there"


def test_imports_follow_the_flow() -> None:
    wrong = {
        f"{one.importer} imports {one.imported}"
        for one in arrows()
        if ROOMS.index(room(one.imported)) > ROOMS.index(room(one.importer))
        and not (one.kind == "type" and (room(one.importer), room(one.imported)) in TYPES_ONLY)
    }
    assert not wrong


def test_no_room_is_in_a_circle() -> None:
    pairs = {(room(a), room(b)) for a, b, kind in arrows() if kind != "type"}
    assert not circle({(a, b) for a, b in pairs if a != b})


def test_no_module_is_in_a_circle_when_it_is_loaded() -> None:
    assert not circle({(a, b) for a, b, kind in arrows() if kind == "import"})


def test_a_circle_would_be_found() -> None:
    assert circle({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")})
    assert not circle({("a", "b"), ("b", "c"), ("a", "c")})


def test_no_two_modules_share_a_name_without_a_reason() -> None:
    named = defaultdict(list)
    for name, path in modules().items():
        if path.name != "__init__.py" and not name.startswith(tuple(f"{m}." for m in MIRRORS)):
            named[path.stem].append(name)
    assert not {stem: names for stem, names in named.items() if len(names) > 1}


def test_no_room_shows_a_name_that_is_also_one_of_its_modules() -> None:
    """`from room import name` would depend on what was imported before."""
    for name, path in modules().items():
        if path.name != "__init__.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module != f"auscult.{name}":
                shown = {f"{name}.{alias.asname or alias.name}" for alias in node.names}
                assert shown.isdisjoint(set(modules()) - {"cli.main"})  # of the script `auscult`


@pytest.mark.parametrize("kind", ["import", "call", "type"])
def test_kinds_of_imports_are_told_apart(kind: Kind) -> None:
    text = {
        "import": "from auscult.base import errors",
        "call": "def f():\n    from auscult.base import errors",
        "type": "if TYPE_CHECKING:\n    from auscult.base import errors",
    }[kind]
    assert list(_imports(ast.parse(text), "import")) == [("base.errors", kind)]


def test_pickle_is_never_read() -> None:
    folder = Path(auscult.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text, path.name
        assert "pickle.load(" not in text, path.name
        assert re.search(r"torch\.load\((?![^)\n]*weights_only=True)", text) is None, path.name
        assert "joblib.load(" not in text, path.name
