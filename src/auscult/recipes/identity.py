"""What training code does, as one digest: code and all that it refers to, not only its text.

The walk follows what cloudpickle would carry: code, constants, defaults, closures, the globals that
are named, attributes and base classes. Code outside installed packages is followed to its sources,
modules that it imports included; installed packages count by their version. What cannot be seen
(files, the environment, code made from text) is listed, so that no old answer is taken silently.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import random
import sys
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import RecipeError
from auscult.recipes.imports import find, globals_in, imports_in, imports_of, names_in
from auscult.recipes.libraries import is_library, is_library_module, version_of
from auscult.recipes.objects import NOT_BEHAVIOUR, is_foreign, is_library_class, is_tensor, state_of

READERS = frozenset(
    {
        *("open", "read_csv", "read_parquet", "read_excel", "read_json", "read_table", "load"),
        *("read_feather", "read_pickle", "loadtxt", "genfromtxt", "fromfile", "memmap"),
        *("read_text", "read_bytes", "imread", "load_model", "load_file", "from_pretrained"),
    }
)
BY_TEXT = frozenset({"exec", "eval", "compile", "__import__", "globals"})
OUTSIDE = frozenset({"subprocess", "ctypes", "socket", "requests", "urllib.request", "sqlite3"})
DRAWS = frozenset(
    {
        *("default_rng", "RandomState", "SystemRandom", "urandom", "token_bytes", "token_hex"),
        *("uuid1", "uuid4", "time", "time_ns", "monotonic", "perf_counter", "now", "today"),
        *("getpid", "listdir", "scandir", "iterdir", "glob", "rglob", "walk", "id", "Thread"),
        *("ThreadPoolExecutor", "as_completed", "imap_unordered"),
    }
)
# Variables by which a package is told to compute otherwise.
SWITCHES = {
    "jax": ("JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_DTYPE_BITS"),
    "keras": ("KERAS_BACKEND",),
}
PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis), type(NotImplemented))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identity of training code.

    Attributes
    ----------
    digest : str
        SHA-256 of the code and what it refers to.
    unseen : tuple of str
        What may change the code's behaviour and is not in the digest.
    draws : tuple of str
        Calls that draw without a seed, or read the clock, the process or a folder's order, each
        with the function that makes it. Not part of the digest.
    """

    digest: str
    unseen: tuple[str, ...]
    draws: tuple[str, ...] = ()


def identify(what: Any, folder: Path | None = None, files: Sequence[Path] = ()) -> Identity:  # noqa: ANN401
    """Identity of a function, class or object.

    Parameters
    ----------
    what : object
    folder : Path, optional
        Where modules are looked up first.
    files : sequence of Path
        Files that the code reads: their content is part of the identity.

    Raises
    ------
    RecipeError
        A declared file cannot be read.
    """
    walk = _Walk(folder, reads=bool(files))
    walk.value(what, frozenset())
    for path in files:
        try:
            with path.open("rb") as handle:
                walk.token("file", path.name, hashlib.file_digest(handle, "sha256").hexdigest())
        except OSError as error:
            raise RecipeError(
                f"a declared file cannot be read ({type(error).__name__})",
                where=f"recipe.files = {path}",
                expected="a file beside the configuration",
            ) from error
    walk.token("python", *map(str, sys.version_info[:2]))
    for package in sorted(walk.packages):
        walk.token("package", package, version_of(package))
        for name in SWITCHES.get(package, ()):
            if os.environ.get(name):
                walk.token("environment", name, os.environ[name])
    return Identity(
        digest=walk.digest.hexdigest(),
        unseen=tuple(sorted(walk.unseen)),
        draws=tuple(sorted(walk.draws)),
    )


class _Walk:
    """One walk over an object and all that it refers to; `names` are those that the code uses."""

    def __init__(self, folder: Path | None, *, reads: bool) -> None:
        self.path = [*([] if folder is None else [str(folder.resolve())]), *sys.path]
        self.reads = reads
        self.digest = hashlib.sha256()
        self.packages: set[str] = set()
        self.unseen: set[str] = set()
        self.draws: set[str] = set()
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []  # an address is an identity as long as its object lives
        self._sources: set[str] = set()
        self._read_attributes: set[tuple[str, str]] = set()

    def token(self, *parts: str | bytes) -> None:
        for part in parts:
            raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
            self.digest.update(len(raw).to_bytes(8, "little") + raw)

    def value(self, it: Any, names: frozenset[str]) -> None:  # noqa: ANN401
        if type(it) in PLAIN:
            self.token(type(it).__name__, it if isinstance(it, bytes) else repr(it))
        elif isinstance(it, types.ModuleType):
            self.module(it, names)
        elif isinstance(it, types.CodeType):
            self.code(it)
        elif type(it) in (tuple, slice):
            parts = (it.start, it.stop, it.step) if isinstance(it, slice) else it
            self.token(type(it).__name__, str(len(parts)))
            for part in parts:
                self.value(part, names)
        elif isinstance(it, (np.ndarray, np.generic)):
            self.array(np.asarray(it), names)
        elif isinstance(it, PurePath):
            self.token("path", str(it))
        elif id(it) in self._known:
            self.token("again", str(self._known[id(it)]))
        else:
            self._known[id(it)] = len(self._known)
            self._kept.append(it)
            self._further(it, names)

    def _further(self, it: Any, names: frozenset[str]) -> None:  # noqa: ANN401
        if isinstance(it, types.FunctionType):
            self.function(it)
        elif isinstance(it, type):
            self.type(it)
        elif type(it) in (list, dict, types.MappingProxyType):
            parts = it if isinstance(it, list) else [part for pair in it.items() for part in pair]
            self.token(type(it).__name__, str(len(parts)))
            for part in parts:
                self.value(part, names)
        elif type(it) in (set, frozenset):
            self.unordered(it, names)
        elif isinstance(it, functools.partial):
            self.token("partial")
            for part in (it.func, it.args, it.keywords, it.__dict__):
                self.value(part, names)
        elif isinstance(it, types.MethodType):
            self.token("method")
            self.value(it.__func__, names)
            self.value(it.__self__, names)
        elif isinstance(it, property):
            self.token("property")
            for part in (it.fget, it.fset, it.fdel):
                self.value(part, names)
        elif isinstance(it, (staticmethod, classmethod)):
            self.token(type(it).__name__)
            self.value(it.__func__, names)
        elif isinstance(it, Enum):
            self.type(type(it))
            self.token(it.name)
        elif isinstance(it, types.CellType):
            self.cell(it, names)
        elif isinstance(it, logging.Logger):
            self.token("logger")
        elif isinstance(it, (pd.DataFrame, pd.Series, pd.Index)):
            self.token(type(it).__name__)
            self.array(np.asarray(pd.util.hash_pandas_object(it)), names)
            self.token(repr(it.dtypes) if isinstance(it, pd.DataFrame) else str(it.dtype))
            self.token(repr(list(it.columns)) if isinstance(it, pd.DataFrame) else str(it.name))
        elif isinstance(it, random.Random):
            self.token("random", repr(it.getstate()))
        elif isinstance(it, (np.random.Generator, np.random.RandomState)):
            state: Any = (
                it.bit_generator.state if isinstance(it, np.random.Generator) else it.get_state()
            )
            self.token(type(it).__name__)
            self.value(state, names)
        elif is_tensor(it):
            raw = it.detach().cpu().contiguous().flatten()
            self.token("tensor", str(it.dtype), repr(tuple(it.shape)))
            self.token(bytes(raw.untyped_storage())[: raw.numel() * raw.element_size()])
        else:
            self.object(it, names)

    def array(self, it: NDArray[Any], names: frozenset[str]) -> None:
        self.token("array", it.dtype.str, repr(it.dtype.descr), repr(it.shape))
        if it.dtype.hasobject:
            for part in it.ravel().tolist():
                self.value(part, names)
        else:
            self.token(np.ascontiguousarray(it).tobytes())

    def unordered(self, them: Iterable[Any], names: frozenset[str]) -> None:
        """The order of a set differs from process to process: its members' digests are sorted."""
        digests = []
        for part in them:
            walk = _Walk(None, reads=self.reads)
            walk.path = self.path
            walk.value(part, names)
            self.packages |= walk.packages
            self.unseen |= walk.unseen
            self.draws |= walk.draws
            digests.append(walk.digest.hexdigest())
        self.token("set", *sorted(digests))

    def cell(self, it: types.CellType, names: frozenset[str]) -> None:
        try:
            content = it.cell_contents
        except ValueError:
            self.token("empty cell")
        else:
            self.value(content, names)

    def function(self, it: types.FunctionType) -> None:
        """A function: its code, and what its names mean where it was defined."""
        names = names_in(it.__code__)
        self.token("function", it.__qualname__)
        home = sys.modules.get(it.__module__ or "")
        if is_library(it.__code__.co_filename, home):
            self.library(it.__module__)
        else:
            self.code(it.__code__)
            self._look_for_unseen(it)
            for name in sorted(names & it.__globals__.keys()):
                self.token("global", name)
                self.value(it.__globals__[name], names)
            for module in imports_of(it.__code__, it.__globals__):
                self.import_(module, names)
            if home is not None and home.__name__ != "__main__" and home.__dict__ is it.__globals__:
                self.module(home, names)
            self.value(it.__defaults__, names)
            self.value(it.__kwdefaults__, names)
        for cell in it.__closure__ or ():
            self.cell(cell, names)
        for name, part in sorted(it.__dict__.items()):
            self.token("attribute", name)
            self.value(part, names)

    def code(self, it: types.CodeType) -> None:
        self.token("code", it.co_code, repr((it.co_flags, it.co_argcount, it.co_kwonlyargcount)))
        self.token(repr((it.co_names, it.co_varnames, it.co_freevars, it.co_cellvars)))
        for part in it.co_consts:
            self.value(part, frozenset())

    def type(self, it: type) -> None:
        """A class: its bases and all that is defined in it, also what was put there later."""
        self.token("class", it.__module__, it.__qualname__)
        known = is_library_class(it)
        if known:
            self.library(it.__module__)
        else:
            home = sys.modules.get(it.__module__)
            if home is not None and home.__name__ != "__main__":
                self.module(home, frozenset())
            self.value(type(it), frozenset())
        for base in it.__bases__:
            if base is not object:
                self.value(base, frozenset())
        for name, part in sorted(vars(it).items()):
            if name in NOT_BEHAVIOUR or isinstance(
                part, (types.GetSetDescriptorType, types.MemberDescriptorType)
            ):
                continue
            if known and not is_foreign(part):
                continue
            self.token("attribute", name)
            self.value(part, frozenset())

    def module(self, it: types.ModuleType, names: frozenset[str]) -> None:
        """A module: its sources, and the present value of the attributes that code names."""
        self.token("module", it.__name__)
        if it.__name__ in OUTSIDE:
            self.unseen.add(f"what {it.__name__} reaches")
        known = is_library_module(it)
        if known:
            self.library(it.__name__)
        else:
            self.source(it.__name__, getattr(it, "__file__", None))
        content = vars(it)
        for name in sorted(names & content.keys()):
            if name.startswith("__") or (it.__name__, name) in self._read_attributes:
                continue
            self._read_attributes.add((it.__name__, name))
            part = content[name]
            if known and not (is_foreign(part) or type(part) in PLAIN):
                continue
            self.token("attribute", name)
            self.value(part, names)

    def import_(self, name: str, names: frozenset[str]) -> None:
        """A module that code imports when it runs, whether it is loaded by now or not."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = sys.modules.get(".".join(parts[:end]))
            if module is not None:
                self.module(module, names)
            elif not self.source(".".join(parts[:end]), None):
                return

    def source(self, name: str, file: str | None) -> bool:
        """Text of a module outside installed packages, and of those that it imports."""
        if name in self._sources:
            return True
        file = file or find(name, self.path)
        if file is None or is_library(file, None):
            if file is not None:
                self.library(name)
            return False
        self._sources.add(name)
        try:
            text = Path(file).read_bytes()
        except OSError:
            self.unseen.add(f"the source of module {name}")
            return True
        self.token("source", name, text)
        if file.endswith(".py"):
            package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
            for imported in imports_in(text, package):
                module = sys.modules.get(imported)
                if module is not None and is_library_module(module):
                    self.library(imported)
                elif module is not None and getattr(module, "__file__", None):
                    self.source(imported, module.__file__)
                else:
                    self.source(imported, None)
        return True

    def object(self, it: Any, names: frozenset[str]) -> None:  # noqa: ANN401
        """Any other object: its class and its state."""
        kind = type(it)
        if isinstance(it, (types.BuiltinFunctionType, types.WrapperDescriptorType, np.ufunc)):
            self.token("builtin", str(getattr(it, "__module__", "")), it.__name__)
            owner = getattr(it, "__self__", None)
            if owner is not None and not isinstance(owner, types.ModuleType):
                self.value(owner, names)
            return
        wrapped = it.__dict__.get("__wrapped__") if hasattr(it, "__dict__") else None
        if wrapped is not None:
            self.value(wrapped, names)
        self.value(kind, frozenset())
        if kind.__module__ == "_thread":
            return
        try:
            state = state_of(it)
        except Exception:
            self.unseen.add(f"the state of an object of type {kind.__qualname__}")
            return
        self.value(state, names)
        if isinstance(it, dict):
            self.value([*dict.items(it)], names)
        elif isinstance(it, (list, tuple)):
            self.value([*it], names)
        elif isinstance(it, (set, frozenset)):
            self.unordered(it, names)
        elif isinstance(it, PLAIN):
            self.token(repr(it))

    def library(self, module: str | None) -> None:
        self.packages.add((module or "").partition(".")[0])

    def _look_for_unseen(self, it: types.FunctionType) -> None:
        used, scope = names_in(it.__code__, constants=False), it.__globals__
        self.draws |= {f"{name} in {it.__qualname__}" for name in used & DRAWS}
        if not self.reads:
            for name in sorted(used & READERS):
                if not is_foreign(scope.get(name)):
                    self.unseen.add(f"a file that {it.__qualname__} reads ({name})")
        through = {name for name in globals_in(it.__code__) & BY_TEXT if name not in scope}
        for name in sorted(through | (used & {"import_module", "environ", "getenv"})):
            self.unseen.add(f"what {it.__qualname__} takes through {name}")
