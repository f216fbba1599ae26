"""Which augmentations there are and what is drawn for each record; nothing here touches a record.

A draw is a flip, a shift, an angle, a factor or noise per record, from a numpy generator that its
caller derives from identity. The module for tensors carries it out. Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, one_of

# In the order in which they are drawn and carried out, with their amounts. None: there is none.
AMOUNTS: dict[str, float | None] = {
    "flip": None,
    "flip-vertical": None,
    "shift": 0.1,
    "rotate": 15.0,
    "scale": 0.1,
    "noise": 0.05,
}
MOST = {"shift": 1.0, "rotate": 180.0, "scale": 5.0, "noise": 10.0}
IMAGES_ONLY = ("flip", "flip-vertical", "rotate")
USUAL = {"images": ("flip", "shift", "rotate"), "signals": ("shift", "scale", "noise")}


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One kind of augmentation.

    Attributes
    ----------
    name : str
    amount : float or None
        "shift": largest part of the length, "rotate": largest angle in degrees, "scale": largest
        change of the log amplitude, "noise": standard deviation in those of record and channel.
    """

    name: str
    amount: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """What happens to each record; None where nothing of the kind does.

    Attributes
    ----------
    flips : dict of int to bool array, shape (records,)
        By axis of the record's extent: 0 is up and down, 1 is left and right.
    shift : float array, shape (records, axes), or None
        As parts of the length, -1 to 1.
    angle : float array, shape (records,), or None
        Radians.
    factor : float array, shape (records,), or None
    noise : float array, shape (records, channels, ...), or None
        Times the standard deviation of record and channel.
    """

    flips: dict[int, NDArray[np.bool_]]
    shift: NDArray[np.float64] | None
    angle: NDArray[np.float64] | None
    factor: NDArray[np.float64] | None
    noise: NDArray[np.float64] | None


def parse(which: Sequence[str], where: str = "recipe.augment") -> tuple[Augmentation, ...]:
    """Names with or without amounts, such as "flip" or "rotate:10", in the order of use.

    Raises
    ------
    ConfigError
        An unknown name, one named twice, or an amount that cannot be.
    """
    found: dict[str, Augmentation] = {}
    for text in which:
        name, colon, number = text.partition(":")
        if name not in AMOUNTS:
            raise ConfigError(
                f'there is no augmentation "{name}"', where=where, expected=one_of(name, AMOUNTS)
            )
        if name in found:
            raise ConfigError(f'"{name}" is named twice', where=where)
        amount = AMOUNTS[name]
        if colon:
            amount = _amount(name, number, where)
        found[name] = Augmentation(name=name, amount=amount)
    return tuple(found[name] for name in AMOUNTS if name in found)


def unfit(which: Sequence[Augmentation], reads: str) -> str | None:
    """Why these cannot be used on inputs of this kind, or None.

    Parameters
    ----------
    which : sequence of Augmentation
    reads : {"table", "images", "signals", "volumes"}
    """
    if not which:
        return None
    if reads not in USUAL:
        return f"augment requires images or signals, but these are {reads}"
    wrong = [one.name for one in which if one.name in IMAGES_ONLY]
    if wrong and reads == "signals":
        return f'the augmentation "{wrong[0]}" is for images, but these are signals'
    return None


def draw(
    which: Sequence[Augmentation],
    records: int,
    shape: tuple[int, ...],
    generator: np.random.Generator,
) -> Draws:
    """What happens to each of so many records.

    Parameters
    ----------
    which : sequence of Augmentation
    records : int
    shape : tuple of int
        Of one record: (channels, length) or (channels, height, width).
    generator : numpy Generator
        Everything is drawn from it: the same generator, the same draws.
    """
    amounts = {one.name: one.amount or 0.0 for one in which}
    flips = {}
    if "flip" in amounts:
        flips[len(shape) - 2] = generator.random(records) < 0.5
    if "flip-vertical" in amounts:
        flips[0] = generator.random(records) < 0.5
    shift = angle = factor = noise = None
    if "shift" in amounts:
        shift = amounts["shift"] * generator.uniform(-1, 1, (records, len(shape) - 1))
    if "rotate" in amounts:
        angle = math.radians(amounts["rotate"]) * generator.uniform(-1, 1, records)
    if "scale" in amounts:
        factor = np.exp(amounts["scale"] * generator.uniform(-1, 1, records))
    if "noise" in amounts:
        noise = amounts["noise"] * generator.standard_normal((records, *shape))
    return Draws(flips=flips, shift=shift, angle=angle, factor=factor, noise=noise)


def together(parts: Sequence[Draws], records: int) -> Draws:
    """Draws for several models as one, each filled up to so many records that stay as they are."""
    first = parts[0]

    def joined(columns: Sequence[NDArray[np.generic] | None], fill: float) -> NDArray[np.float64]:
        return np.concatenate(
            [
                np.concatenate([c, np.full((records - len(c), *c.shape[1:]), fill, c.dtype)])
                for c in columns
                if c is not None
            ]
        ).astype(np.float64)

    return Draws(
        flips={
            axis: joined([part.flips[axis] for part in parts], 0).astype(np.bool_)
            for axis in first.flips
        },
        shift=None if first.shift is None else joined([p.shift for p in parts], 0.0),
        angle=None if first.angle is None else joined([p.angle for p in parts], 0.0),
        factor=None if first.factor is None else joined([p.factor for p in parts], 1.0),
        noise=None if first.noise is None else joined([p.noise for p in parts], 0.0),
    )


def _amount(name: str, number: str, where: str) -> float:
    most = MOST.get(name)
    if most is None:
        raise ConfigError(f'"{name}" has no amount', where=where, expected=f'"{name}"')
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not 0 < amount <= most:
        raise ConfigError(
            f'"{number}" is not a valid amount for "{name}"',
            where=where,
            expected=f'more than 0, at most {most:g}, such as "{name}:{AMOUNTS[name]:g}"',
        )
    return amount
