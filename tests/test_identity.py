"""Every way in which training code changes without a change of the text of its module."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from auscult import Audit, Cohort
from auscult.base.errors import RecipeError, StoreError
from auscult.recipes import PythonRecipe, SklearnRecipe, TorchRecipe
from auscult.recipes.identity import identify
from auscult.recipes.resolve import resolve


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = set(sys.modules)
    yield tmp_path
    _forget(before)


def _forget(before: set[str]) -> None:
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and "site-packages" not in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
    importlib.invalidate_caches()


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


def of(folder: Path, name: str = "train") -> str:
    before = set(sys.modules)
    sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
    try:
        found = resolve(f"mine:{name}", folder)
        return identify(found, folder).digest
    finally:
        sys.dont_write_bytecode = kept
        _forget(before)


MODULES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "a constant of an imported module": (
        {"mine": "import other\ndef train(): return other.DEPTH", "other": "DEPTH = 1"},
        {"other": "DEPTH = 2"},
    ),
    "imported by name": (
        {"mine": "from other import f\ndef train(): return f()", "other": "def f(): return 1"},
        {"other": "def f(): return 2"},
    ),
    "imports of imports": (
        {
            "mine": "import other\ndef train(): return other.f()",
            "other": "import deep\ndef f(): return deep.D",
            "deep": "D = 1",
        },
        {"deep": "D = 2"},
    ),
    "imported when it runs": (
        {"mine": "def train():\n    import other\n    return other.D", "other": "D = 1"},
        {"other": "D = 2"},
    ),
    "imported from when it runs": (
        {"mine": "def train():\n    from other import D\n    return D", "other": "D = 1"},
        {"other": "D = 2"},
    ),
    "a star import": (
        {"mine": "from other import *\ndef train(): return D", "other": "D = 1"},
        {"other": "D = 2"},
    ),
    "a base class": (
        {
            "mine": "import other\nclass train(other.Base): pass",
            "other": "class Base:\n    def fit(self): return 1",
        },
        {"other": "class Base:\n    def fit(self): return 2"},
    ),
    "a decorator": (
        {
            "mine": "from other import d\n@d\ndef train(): return 1",
            "other": "def d(f):\n    return lambda: f() + 1",
        },
        {"other": "def d(f):\n    return lambda: f() + 2"},
    ),
    "a package's own file": (
        {
            "mine": "import other\nfrom other.part import f\ndef train(): return f()",
            "other__in____init__": "SCALE = 1",
            "other__in__part": "from . import SCALE\ndef f(): return SCALE",
        },
        {"other__in____init__": "SCALE = 2"},
    ),
    "data read at import": (
        {
            "mine": "from pathlib import Path\n"
            "S = (Path(__file__).parent / 'other.py').read_text()\ndef train(): return S",
            "other": "1",
        },
        {"other": "2"},
    ),
}


@pytest.mark.parametrize("way", MODULES)
def test_a_change_in_another_file_is_seen(folder: Path, way: str) -> None:
    first, second = MODULES[way]
    write(folder, **first)
    digests = [of(folder), of(folder)]
    write(folder, **second)
    digests.append(of(folder))
    assert digests[0] == digests[1] != digests[2]


class Holder:
    def __init__(self, depth: int) -> None:
        self.depth = depth

    def train(self) -> int:
        return self.depth

    def __call__(self) -> int:
        return self.depth


class Slotted:
    __slots__ = ("depth",)

    def __init__(self, depth: int) -> None:
        self.depth = depth


def closure(depth: Any) -> Callable[[], Any]:  # noqa: ANN401
    return lambda: depth


def default(depth: int) -> Callable[[], int]:
    def train(d: int = depth, *, e: int = depth) -> int:
        return d + e

    return train


def attribute(depth: int) -> Callable[[], int]:
    def train() -> int:
        return train.depth  # type: ignore[attr-defined,no-any-return]

    train.depth = depth  # type: ignore[attr-defined]
    return train


def local_class(depth: int) -> type:
    class Local:
        held = depth

        @property
        def size(self) -> int:
            return depth

    return Local


def code_of(depth: int) -> Callable[[], int]:
    return (lambda: 1) if depth == 1 else (lambda: 2)


def partial(depth: int) -> Any:  # noqa: ANN401
    import functools

    return functools.partial(closure, depth)


def cached(depth: int) -> Any:  # noqa: ANN401
    import functools

    return functools.lru_cache(closure(depth))


def transformer(depth: int) -> Any:  # noqa: ANN401
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    def scaled(inputs: Any) -> Any:  # noqa: ANN401
        return inputs * depth

    return make_pipeline(FunctionTransformer(scaled), LogisticRegression())


def network(depth: int) -> Any:  # noqa: ANN401
    import torch

    module = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(module.weight, depth)
    torch.nn.init.zeros_(module.bias)
    return closure(module)


VALUES: dict[str, Callable[[int], Any]] = {
    "closure": closure,
    "closure over a container": lambda d: closure({"a": [d, {d}]}),
    "closure over an array": lambda d: closure(np.arange(3) + d),
    "closure over a dataframe": lambda d: closure(pd.DataFrame({"x": [d], "y": ["a"]})),
    "closure over an object": lambda d: closure(Holder(d)),
    "closure over slots": lambda d: closure(Slotted(d)),
    "closure over a generator of numbers": lambda d: closure(np.random.default_rng(d)),
    "closure of a closure": lambda d: closure(closure(d)),
    "defaults": default,
    "attribute of a function": attribute,
    "class made inside": local_class,
    "other code": code_of,
    "partial": partial,
    "cached function": cached,
    "bound method": lambda d: Holder(d).train,
    "callable object": Holder,
    "function inside a transformer": transformer,
    "weights in a closure": network,
}


@pytest.mark.parametrize("way", VALUES)
def test_a_change_of_a_value_is_seen(way: str) -> None:
    make = VALUES[way]
    first, again, other = (identify(make(depth)) for depth in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert not first.unseen


DEPTH = 1


def reads_global() -> int:
    return DEPTH


def test_a_global_that_is_replaced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    first = identify(reads_global).digest
    monkeypatch.setitem(globals(), "DEPTH", 2)
    assert identify(reads_global).digest != first


def test_a_method_that_is_replaced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    own, foreign = identify(Holder(1)).digest, identify(LogisticRegression()).digest
    monkeypatch.setattr(Holder, "train", lambda self: 2 * self.depth)
    monkeypatch.setattr(LogisticRegression, "fit", lambda self, *_: self)
    assert identify(Holder(1)).digest != own
    assert identify(LogisticRegression()).digest != foreign


def test_an_unloaded_module_is_not_imported(folder: Path) -> None:
    write(folder, mine="def train():\n    import other", other="raise SystemExit")
    before = set(sys.modules)
    identify(resolve("mine:train", folder), folder)
    assert "other" not in set(sys.modules) - before


def test_the_digest_is_the_same_in_every_process(folder: Path) -> None:
    write(
        folder,
        mine="""
        import functools, numpy as np, torch, other
        from sklearn.base import BaseEstimator
        NAMES = {"sex", "age", "unit"}
        class Own(BaseEstimator):
            def fit(self, x, y): return self
        def train(x, y, seed, *, how=frozenset({"a", "b"})):
            return NAMES, other.f, torch.nn.Linear(2, 1), Own()
        """,
        other="import re\nP = re.compile('x')\ndef f(): return P, object()",
    )
    program = (
        "from auscult.recipes.identity import identify; from auscult.recipes.resolve import "
        "resolve; from pathlib import Path; f = Path(__import__('sys').argv[1]); "
        "print(identify(resolve('mine:train', f), f))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert b"unseen=()" in said.pop()


def reads_table() -> Any:  # noqa: ANN401
    return pd.read_csv("somewhere.csv")


def reads_environment() -> Any:  # noqa: ANN401
    return os.environ["DEPTH"]


def runs_text() -> Any:  # noqa: ANN401
    return eval("1")  # noqa: S307


def imports_by_text(name: str) -> Any:  # noqa: ANN401
    return importlib.import_module(name)


def iter_once() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (reads_table, "read_csv"),
        (reads_environment, "environ"),
        (runs_text, "eval"),
        (imports_by_text, "import_module"),
        (closure(iter_once()), "generator"),
    ],
)
def test_what_cannot_be_seen_is_named(code: Callable[..., Any], word: str) -> None:
    assert word in " ".join(identify(code).unseen)


def test_declared_files_are_part_of_the_identity(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("1")
    first = identify(reads_table, None, [file])
    file.write_text("2")
    assert identify(reads_table, None, [file]).digest != first.digest
    assert not first.unseen
    with pytest.raises(RecipeError, match="cannot be read"):
        identify(reads_table, None, [tmp_path / "none.csv"])


def test_every_recipe_tells() -> None:
    def factory(inputs: int, outputs: int) -> Any:  # noqa: ANN401
        import torch

        torch.load("weights.pt")
        return torch.nn.Linear(inputs, outputs)

    for recipe in (PythonRecipe(cast("Any", reads_table)), TorchRecipe(factory)):
        assert recipe.unseen()
        assert recipe.settings()["code"]
    for recipe in (
        PythonRecipe(cast("Any", reads_table), version="3"),
        TorchRecipe(factory, version="3"),
    ):
        assert not recipe.unseen()
        assert recipe.settings()["version"] == "3"
    assert not SklearnRecipe().unseen()
    assert not TorchRecipe().unseen()


def test_an_old_answer_is_never_taken_silently(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"p": np.arange(60), "x": rng.normal(size=60), "y": [0, 1] * 30})
    cohort = Cohort.from_table(table, patient="p", label="y")
    file = tmp_path / "share.txt"
    file.write_text("0.5")

    def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
        share = float(file.read_text())
        return lambda asked: np.full(len(asked), share)

    def audit(recipe: PythonRecipe) -> Audit:
        return Audit(cohort, recipe, models=16, seed=1)

    out = tmp_path / "run"
    audit(PythonRecipe(train)).run(out, workers=1)
    with pytest.raises(StoreError, match="--trust-code") as refused:
        audit(PythonRecipe(train)).run(out, workers=1)
    assert "read_text" in str(refused.value)
    audit(PythonRecipe(train)).run(out, workers=1, trust_code=True)
    with pytest.raises(StoreError, match="recipe differ"):
        audit(PythonRecipe(train, files=[file])).run(out, workers=1)
    seen = tmp_path / "seen"
    audit(PythonRecipe(train, files=[file])).run(seen, workers=1)
    audit(PythonRecipe(train, files=[file])).run(seen, workers=1)
    file.write_text("0.6")
    with pytest.raises(StoreError, match="recipe differ"):
        audit(PythonRecipe(train, files=[file])).run(seen, workers=1)


def test_what_a_package_is_told_by_the_environment_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keras computes with another library where a variable says so."""
    keras = types.ModuleType("keras")
    keras.__file__ = str(Path(np.__file__).parents[1] / "keras" / "__init__.py")
    monkeypatch.setitem(sys.modules, "keras", keras)

    def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
        import keras

        return keras

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    found = [identify(train).digest]
    for backend in ("jax", "torch", "torch"):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        found.append(identify(train).digest)
    assert len(set(found)) == 3
    assert found[2] == found[3]
