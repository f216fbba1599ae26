"""What a training function gets beside inputs, labels and seed: what it asks for by name."""

from __future__ import annotations

import difflib
import functools
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError
from auscult.base.leftovers import temporary_folder
from auscult.cohort import TrainingData
from auscult.recipes.base import Assignment
from auscult.recipes.splitting import (
    SHARE,
    check_share,
    check_weights,
    hold_back,
    patients_of,
    weights_of,
)

ASKED: dict[str, str] = {
    "groups": "patient of each record",
    "classes": "names of the classes",
    "weights": "weight of each record",
    "validation": "inputs and labels of the patients held back",
    "device": '"cpu" or "cuda"',
    "scratch": "a folder that is removed afterwards",
}
GIVEN = ("inputs", "labels", "seed")
DEVICES = ("auto", "cpu", "cuda")

# Where scratch folders are made; a worker names a folder that its hirer removes whatever happens.
place: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a function asks for.

    Attributes
    ----------
    names : frozenset of str
        Of those in `ASKED`.
    first : tuple of str
        Names of the parameters for inputs, labels and seed, where these are not the first three;
        empty where they are, and are given by position.
    complete : bool
        Whether it takes inputs, labels and a seed at all.
    """

    names: frozenset[str]
    first: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recipe says about what is asked for.

    Attributes
    ----------
    validation : float or None
        Share of the members' patients that is held back, 0.2 by default.
    weights : {"balanced", "patients"} or None
        "balanced" by default.
    device : {"auto", "cpu", "cuda"} or None
        "auto" by default: "cuda" where PyTorch finds one.
    """

    validation: float | None = None
    weights: str | None = None
    device: str | None = None

    def settings(self, asking: Asking) -> dict[str, Any]:
        """Those that change results, for the run's identity; none for who asks for nothing.

        Raises
        ------
        ConfigError
            One cannot be, or would be ignored.
        """
        check_share(self.validation)
        check_weights(self.weights)
        if self.device is not None and self.device not in DEVICES:
            raise ConfigError(
                f'there is no device "{self.device}"',
                where="recipe.device",
                expected=", ".join(DEVICES),
            )
        given = {
            "validation": (self.validation, SHARE),
            "weights": (self.weights, "balanced"),
            "device": (self.device, "auto"),
        }
        for name, (value, _) in given.items():
            if value is not None and name not in asking.names:
                raise ConfigError(
                    f"the training function does not ask for {name}, so it would be ignored",
                    where=f"recipe.{name}",
                    next_step=f'Ask for it: give the function an argument "{name}"',
                )
        return {
            name: default if value is None else value
            for name, (value, default) in given.items()
            if name in asking.names
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Supplies:
    """What one call gets.

    Attributes
    ----------
    rows : int64 array
        Records to fit.
    named : mapping
        Arguments by name.
    """

    rows: NDArray[np.int64]
    named: Mapping[str, Any] = field(repr=False)


def read_signature(function: Callable[..., Any], where: str = "recipe.train") -> Asking:
    """What a training function asks for.

    Raises
    ------
    RecipeError
        It needs an argument that nobody can give, or one that is nearly called like one that can.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # compiled: it gets the three
        return Asking(names=frozenset())
    bound = _bound(function)
    first: list[str] = []
    names: set[str] = set()
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) or one.name in bound:
            continue
        if one.name in ASKED and one.kind is not one.POSITIONAL_ONLY:
            names.add(one.name)
        elif len(first) < len(GIVEN) and (one.name in GIVEN or one.kind is not one.KEYWORD_ONLY):
            first.append(one.name)
        elif one.default is one.empty or (one.default is None and _near(one.name)):
            near = _near(one.name)
            raise RecipeError(
                f'the training function asks for "{one.name}", which is not available',
                where=where,
                expected="inputs, labels, seed and any of "
                + ", ".join(f"{name} ({what})" for name, what in ASKED.items()),
                next_step=f'Did you mean "{near}"?' if near else "",
            )
    leading = [one for one in parameters if one.name not in bound][: len(GIVEN)]
    by_position = not any(one.name in names or one.kind is one.KEYWORD_ONLY for one in leading)
    several = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    complete = len(first) == len(GIVEN) or several
    if by_position or not complete:
        return Asking(names=frozenset(names), complete=complete)
    ordered = GIVEN if set(first) == set(GIVEN) else tuple(first)
    return Asking(names=frozenset(names), first=ordered)


@contextmanager
def supplied(
    asking: Asking, options: Mapping[str, Any], data: TrainingData, one: Assignment
) -> Iterator[Supplies]:
    """What one model's training gets; a scratch folder lives until the model has predicted.

    Parameters
    ----------
    asking : Asking
    options : mapping
        As `Options.settings` returns them.
    data : TrainingData
    one : Assignment
    """
    rows = one.members
    named: dict[str, Any] = {}
    if "validation" in asking.names:
        rows, held = hold_back(data, one.members, options["validation"], one.seed)
        named["validation"] = held
    if "groups" in asking.names:
        named["groups"] = patients_of(data)[rows]
    if "classes" in asking.names:
        named["classes"] = data.classes
    if "weights" in asking.names:
        check_weights(options["weights"], data)
        named["weights"] = weights_of(options["weights"], data, rows)
    if "device" in asking.names:
        named["device"] = _device(options["device"])
    if "scratch" not in asking.names:
        yield Supplies(rows=rows, named=named)
        return
    with temporary_folder() if place is None else nullcontext(place) as within:
        folder = tempfile.mkdtemp(prefix="auscult-", dir=within)
        try:
            yield Supplies(rows=rows, named=named | {"scratch": Path(folder)})
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _device(wanted: str) -> str:
    try:
        import torch
    except ImportError:
        there = False
    else:
        there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise RecipeError(
            "no CUDA device is found by PyTorch",
            where="recipe.device",
            expected='"cpu" or "auto"',
        )
    return "cuda" if there and wanted != "cpu" else "cpu"


def _bound(function: Any) -> frozenset[str]:  # noqa: ANN401
    """Arguments that a partial has given already."""
    names: set[str] = set()
    while isinstance(function, functools.partial):
        names |= set(function.keywords)
        function = function.func
    return frozenset(names)


def _near(name: str) -> str:
    found = difflib.get_close_matches(name, ASKED, n=1, cutoff=0.8)
    return found[0] if found else ""
