"""Built-in networks by name. The names load nothing; each network's module imports torch.

What a network reads, which settings it has and where it is made is said here once, so that a
configuration can be checked without PyTorch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from auscult.base.errors import ConfigError, one_of
from auscult.cohort.inputs import ArrayInputs, Inputs

NAMES = (
    "mlp",
    "cnn",
    "wrn-28-2",
    "wrn-40-4",
    "vit-b-16",
    "vit-l-16",
    "resnet-1d",
    "tabular-resnet",
)
LARGE = 2e7
READS = {
    "table": "a table",
    "images": "images",
    "signals": "signals",
    "volumes": "volumes",
}
_WIDE = re.compile(r"wrn-(\d{1,3})-(\d{1,2})")
_HERE = "auscult.recipes.networks"
# Settings that have a key of their own; all others are entries of `arguments`.
KEYS = ("hidden", "width", "dropout")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A built-in network.

    Attributes
    ----------
    name : str
    reads : {"table", "images", "signals"}
    made_by : str
        "module:function".
    named : mapping
        Arguments that the name settles.
    options : mapping
        Arguments that may be set, with their defaults.
    """

    name: str
    reads: str
    made_by: str
    named: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any]

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options with the defaults filled in.

        Raises
        ------
        ConfigError
            An option that the network does not have, or a value of another kind.
        """
        for key, value in given.items():
            where = f"recipe.{key}" if key in KEYS else f"recipe.arguments.{key}"
            if key not in self.options:
                raise ConfigError(
                    f"{self.name} has no such setting",
                    where=where,
                    expected=one_of(key, self.options),
                )
            _check(value, self.options[key], key, where)
        arguments = {**self.options, **given}
        if "heads" in arguments and arguments["width"] % arguments["heads"]:
            raise ConfigError(
                f"{arguments['heads']} heads cannot share a width of {arguments['width']}",
                where="recipe.arguments.heads",
                expected="a divisor of recipe.width",
            )
        return arguments

    def make(self, inputs: Any, outputs: int, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """The module; imports torch.

        Parameters
        ----------
        inputs : object
            Shape of a record, or the encoded columns of a table.
        outputs : int
            Columns of the output.
        arguments : mapping
            Of the network.
        """
        place, _, function = self.made_by.partition(":")
        return getattr(import_module(place), function)(inputs, outputs, **self.named, **arguments)

    def large(self, arguments: Mapping[str, Any]) -> bool:
        """Whether eight of them at once would fill a machine: more than about 20M parameters."""
        about = 0.0
        if "widening" in self.named:
            # n blocks of two 3 x 3 convolutions with 16, 32 and 64 times `widening` channels
            about = (self.named["depth"] - 4) / 6 * 18 * 21 * (16 * self.named["widening"]) ** 2
        elif "heads" in arguments:
            width = arguments["width"]
            about = arguments["depth"] * width * (4 * width + 2 * arguments["mlp"])
        return about > LARGE

    def why_not(self, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> str | None:
        """Why it cannot read records of this shape, (channels, ...), or None."""
        patch = arguments.get("patch")
        if patch is not None and any(side % patch for side in shape[1:]):
            sides = " x ".join(str(side) for side in shape[1:])
            return (
                f"{self.name} divides images into patches of {patch} x {patch}, but these are "
                f"{sides}; image_size = {math.ceil(max(shape[1:]) / patch) * patch} resizes them"
            )
        return None


def network(name: str) -> Network | None:
    """The built-in network of that name, or None.

    Parameters
    ----------
    name : str
        One of `NAMES`, or "wrn-<depth>-<widening>" with a depth of 6 n + 4.
    """
    wide = _WIDE.fullmatch(name)
    if wide is not None:
        depth, widening = int(wide[1]), int(wide[2])
        if depth < 10 or depth % 6 != 4 or not widening:
            raise ConfigError(
                f'there is no network "{name}"',
                where="recipe.model",
                expected="wrn-<depth>-<widening> with a depth of 10, 16, 22, 28, 34, 40, ...",
            )
        return Network(
            name=name,
            reads="images",
            made_by=f"{_HERE}.wide:wide_resnet",
            named={"depth": depth, "widening": widening},
            options={"dropout": 0.0, "groups": 8},
        )
    return _FIXED.get(name)


def kind_of(inputs: Inputs) -> str:
    """What inputs are: "table", "signals", "images" or "volumes"."""
    if not isinstance(inputs, ArrayInputs):
        return "table"
    axes = inputs.array.ndim - 1 - (inputs.channels != "none")
    return {1: "signals", 2: "images"}.get(axes, "volumes")


def record_shape(inputs: ArrayInputs, image_size: int | None) -> tuple[int, ...]:
    """Shape of one record as a network gets it, channels first."""
    shape = inputs.array.shape[1:]
    if inputs.channels == "none":
        shape = (1, *shape)
    elif inputs.channels == "last":
        shape = (shape[-1], *shape[:-1])
    return shape if image_size is None else (shape[0], image_size, image_size)


def _check(value: object, default: object, key: str, where: str) -> None:
    if key == "dropout":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ConfigError(
                "it is not a valid share", where=where, expected="a number from 0 to below 1"
            )
    elif isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not all(type(v) is int and v > 0 for v in value):
            raise ConfigError(
                "it is not a list of whole numbers", where=where, expected=str(list(default))
            )
        if key == "kernels" and (not value or any(v % 2 == 0 for v in value)):
            raise ConfigError(
                "the filters of a block need odd lengths", where=where, expected=str(list(default))
            )
    elif not (type(value) is int and value >= 1):
        raise ConfigError("it is not a whole number", where=where, expected="1 or more")


def _transformer(name: str, width: int, depth: int, heads: int, mlp: int) -> Network:
    return Network(
        name=name,
        reads="images",
        made_by=f"{_HERE}.transformer:vision_transformer",
        options={
            "width": width,
            "depth": depth,
            "heads": heads,
            "mlp": mlp,
            "patch": 16,
            "dropout": 0.0,
        },
    )


_FIXED = {
    one.name: one
    for one in (
        Network(
            name="mlp",
            reads="table",
            made_by=f"{_HERE}.small:mlp",
            options={"hidden": (128, 128), "dropout": 0.0},
        ),
        Network(
            name="cnn",
            reads="images",
            made_by=f"{_HERE}.small:cnn",
            options={"width": 16, "dropout": 0.0},
        ),
        _transformer("vit-b-16", 768, 12, 12, 3072),
        _transformer("vit-l-16", 1024, 24, 16, 4096),
        Network(
            name="resnet-1d",
            reads="signals",
            made_by=f"{_HERE}.signals:resnet_1d",
            options={
                "width": 128,
                "kernels": (7, 5, 3),
                "stride": 1,
                "dropout": 0.0,
                "groups": 8,
            },
        ),
        Network(
            name="tabular-resnet",
            reads="table",
            made_by=f"{_HERE}.tables:tabular_resnet",
            options={"width": 300, "blocks": 6, "units": None, "dropout": 0.0},
        ),
    )
}
