"""Augmentation of images and signals: flips, shifts, rotations, changes of amplitude, noise.

What leaves the frame is lost, what enters it repeats the edge, and amplitude and noise are relative
to each record's own channel. So augmenting and scaling a channel may change places, bytes included
(up to their rounding). Imports torch: load it lazily.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.base.randomness import Stage
from auscult.base.randomness import generator as generator_of
from auscult.recipes.base import Assignment
from auscult.recipes.torch.augmentation import Augmentation, Draws, draw, parse, together


def augmented(
    batch: Tensor, generator: np.random.Generator, which: Sequence[str | Augmentation]
) -> Tensor:
    """An augmented copy of each record.

    Parameters
    ----------
    batch : tensor, shape (records, channels, length) or (records, channels, height, width)
        Floats, or bytes, which stay bytes.
    generator : numpy Generator
        Its state decides everything.
    which : sequence of str or Augmentation
        Such as "flip", "shift:0.1", "rotate:15".

    Returns
    -------
    tensor of the batch's shape and type
    """
    kinds = parse([one if isinstance(one, str) else _text(one) for one in which], "augment")
    return carried_out(batch, draw(kinds, len(batch), tuple(batch.shape[1:]), generator))


def carried_out(batch: Tensor, draws: Draws) -> Tensor:
    """Do to each record what was drawn for it; see :func:`augmented`."""
    values = _moved(batch, draws)
    if draws.angle is None and draws.factor is None and draws.noise is None:
        return values
    whole = not values.is_floating_point()
    if whole:
        values = values.float()
    if draws.angle is not None:
        values = _turned(values, _like(draws.angle, values))
    if draws.factor is not None or draws.noise is not None:
        axes = tuple(range(2, values.ndim))
        mean = values.mean(dim=axes, keepdim=True)
        away = values - mean
        spread = away.square().mean(dim=axes, keepdim=True).sqrt()
        if draws.factor is not None:
            away = away * _like(draws.factor, values).reshape(-1, *(1,) * (values.ndim - 1))
        if draws.noise is not None:
            away = away + _like(draws.noise, values) * spread
        values = mean + away
    if whole:
        values = values.round().clamp(0, 255)
    return values.to(batch.dtype)


def augmented_step(
    batch: Tensor,
    rows: Sequence[NDArray[np.int64]],
    assignments: Sequence[Assignment],
    step: int,
    which: Sequence[Augmentation],
) -> Tensor:
    """The records of one step, each model's augmented by draws of its own seed and this step.

    Parameters
    ----------
    batch : tensor, shape (models, records, ...)
        Scaled records.
    rows : sequence of int64 array
        Those of each model; the rest of its records is padding and stays as it is.
    assignments : sequence of Assignment
    step : int
    which : sequence of Augmentation
    """
    if not which:
        return batch
    shape = tuple(batch.shape[2:])
    draws = [
        draw(which, len(own), shape, generator_of(one.seed, Stage.AUGMENTATION, step))
        for own, one in zip(rows, assignments, strict=True)
    ]
    changed = carried_out(batch.flatten(0, 1), together(draws, batch.shape[1]))
    return changed.reshape(batch.shape)


def _moved(batch: Tensor, draws: Draws) -> Tensor:
    """Flips and shifts by whole pixels: one gather per axis, nothing is interpolated."""
    for axis in range(batch.ndim - 2):
        flip = draws.flips.get(axis)
        if flip is None and draws.shift is None:
            continue
        length = batch.shape[2 + axis]
        places = torch.arange(length, device=batch.device).repeat(len(batch), 1)
        if flip is not None:
            turned = torch.from_numpy(flip).to(batch.device)[:, None]
            places = torch.where(turned, length - 1 - places, places)
        if draws.shift is not None:
            steps = np.rint(draws.shift[:, axis] * length).astype(np.int64)
            places = places - torch.from_numpy(steps).to(batch.device)[:, None]
            places = places.clamp(0, length - 1)
        around = [len(batch), 1, *(1,) * (batch.ndim - 2)]
        around[2 + axis] = length
        batch = torch.take_along_dim(batch, places.reshape(around), dim=2 + axis)
    return batch


def _turned(images: Tensor, angles: Tensor) -> Tensor:
    """Images turned about their centre, between pixels by the four nearest ones."""
    height, width = images.shape[2:]
    cosine, sine, zero = torch.cos(angles), torch.sin(angles), torch.zeros_like(angles)
    rows = torch.stack(
        [cosine, -sine * height / width, zero, sine * width / height, cosine, zero], dim=1
    ).reshape(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(rows, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _like(values: NDArray[np.float64], other: Tensor) -> Tensor:
    return torch.from_numpy(values).to(other.device, other.dtype)


def _text(one: Augmentation) -> str:
    return one.name if one.amount is None else f"{one.name}:{one.amount!r}"
