"""Cohort inputs as tensors: what all models share once, what each model fits on its members apart.

Imports torch: load it lazily.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.base.errors import RecipeError
from auscult.cohort.inputs import ArrayInputs, Inputs, TableInputs

RECORDS_AT_ONCE = 512


class Encoded(ABC):
    """Inputs that hand out batches for several models at once.

    Attributes
    ----------
    shape : tuple of int
        Of one record as the network sees it.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def fit(self, members: Sequence[NDArray[np.int64]]) -> None:
        """Fit one scaling per model on its own members."""

    @abstractmethod
    def batch(self, models: Sequence[int], rows: Tensor) -> Tensor:
        """Scaled records, shape (models, records, *shape).

        Parameters
        ----------
        models : sequence of int
            Places of the models in the block.
        rows : int64 tensor, shape (models, records)
        """

    def like(self, inputs: Inputs) -> Encoded:
        """Other inputs of the same form, scaled as these were fitted."""
        raise TypeError(f"{type(self).__name__} of {len(inputs)} records has no like")


class EncodedTable(Encoded):
    """Numeric columns scaled per model, missing as 0 with an indicator; categories one-hot.

    Parameters
    ----------
    inputs : TableInputs
    dtype : torch.dtype
    device : torch.device
    some : bool array, shape (numeric columns,), optional
        Columns that get an indicator: those where something is missing, by default.
    """

    def __init__(
        self,
        inputs: TableInputs,
        dtype: torch.dtype,
        device: torch.device,
        some: NDArray[np.bool_] | None = None,
    ) -> None:
        missing = np.isnan(inputs.numeric)
        some = np.asarray(missing.any(axis=0)) if some is None else some
        self._some = some
        # One matrix, so that a batch is one gather; the numbers come first and are scaled there.
        parts: list[NDArray[np.float32]] = [
            np.nan_to_num(inputs.numeric).astype(np.float32),
            missing[:, some].astype(np.float32),
        ]
        for j, names in enumerate(inputs.levels):
            # All zero where missing: the level "missing" needs no column of its own.
            one_hot = np.zeros((len(inputs), len(names)), dtype=np.float32)
            present = np.flatnonzero(inputs.codes[:, j] >= 0)
            one_hot[present, inputs.codes[present, j]] = 1.0
            parts.append(one_hot)
        self._matrix = torch.from_numpy(np.concatenate(parts, axis=1)).to(device, dtype)
        self._numeric = torch.from_numpy(inputs.numeric).to(device, dtype)
        self._missing = torch.from_numpy(missing).to(device) if some.any() else None
        self._mean = self._scale = self._numeric.new_zeros((0, 0))
        self.shape = (self._matrix.shape[1],)

    def fit(self, members: Sequence[NDArray[np.int64]]) -> None:
        """See :meth:`Encoded.fit`."""
        means, scales = [], []
        for rows in members:
            own = self._numeric[torch.from_numpy(rows).to(self._numeric.device)].double()
            mean = torch.nan_to_num(torch.nanmean(own, dim=0))
            variance = torch.nan_to_num(torch.nanmean((own - mean) ** 2, dim=0))
            means.append(mean)
            scales.append(torch.where(variance > 0, variance.rsqrt(), 0.0))
        self._mean = torch.stack(means).to(self._numeric.dtype)
        self._scale = torch.stack(scales).to(self._numeric.dtype)

    def batch(self, models: Sequence[int], rows: Tensor) -> Tensor:
        """See :meth:`Encoded.batch`."""
        chosen, columns = list(models), self._numeric.shape[1]
        flat = rows.reshape(-1)
        values = self._matrix.index_select(0, flat).reshape(*rows.shape, -1)
        numeric = values[:, :, :columns]
        numeric.sub_(self._mean[chosen][:, None]).mul_(self._scale[chosen][:, None])
        if self._missing is not None:
            missing = self._missing.index_select(0, flat).reshape(*rows.shape, -1)
            numeric.masked_fill_(missing, 0.0)
        return values

    def like(self, inputs: Inputs) -> Encoded:
        """See :meth:`Encoded.like`."""
        if not isinstance(inputs, TableInputs):
            raise TypeError("a table is like a table")
        other = EncodedTable(inputs, self._matrix.dtype, self._matrix.device, self._some)
        other._mean, other._scale = self._mean, self._scale
        return other


class EncodedArray(Encoded):
    """Images or signals, scaled per model and channel; bytes become 0 to 1 first.

    Parameters
    ----------
    inputs : ArrayInputs
    dtype : torch.dtype
    device : torch.device
    image_size : int, optional
        Resize images to this height and width.
    scaling : {"members", "fixed"}
        "fixed" leaves the values as they are; bytes become 0 to 1 all the same.
    """

    def __init__(
        self,
        inputs: ArrayInputs,
        dtype: torch.dtype,
        device: torch.device,
        image_size: int | None,
        scaling: str = "members",
    ) -> None:
        self._dtype, self._image_size = dtype, image_size
        self._scaling = scaling
        pieces = [
            _prepared(
                inputs.take(np.arange(start, min(start + RECORDS_AT_ONCE, len(inputs)))),
                inputs.channels,
                image_size,
            )
            for start in range(0, len(inputs), RECORDS_AT_ONCE)
        ]
        self._values = torch.cat(pieces).to(device)
        self._unit = 255.0 if self._values.dtype == torch.uint8 else 1.0
        self._mean = self._scale = torch.zeros((0, 0), dtype=dtype, device=device)
        self.shape = tuple(self._values.shape[1:])

    def fit(self, members: Sequence[NDArray[np.int64]]) -> None:
        """See :meth:`Encoded.fit`."""
        if self._scaling == "fixed":
            self._scale = self._mean.new_ones((len(members), self.shape[0]))
            self._mean = torch.zeros_like(self._scale)
            return
        ones, twos = self._moments
        means, scales = [], []
        for rows in members:
            index = torch.from_numpy(rows).to(ones.device)
            mean = ones[index].mean(dim=0)
            variance = twos[index].mean(dim=0) - mean**2
            means.append(mean)
            scales.append(torch.where(variance > 1e-12, variance.clamp(min=1e-12).rsqrt(), 0.0))
        self._mean = torch.stack(means).to(self._dtype)
        self._scale = torch.stack(scales).to(self._dtype)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and mean square of every record's channels: a model's are means over members."""
        axes = tuple(range(2, self._values.ndim))
        first, second = [], []
        for start in range(0, len(self._values), RECORDS_AT_ONCE):
            piece = self._values[start : start + RECORDS_AT_ONCE].to(torch.float64, copy=True)
            piece.div_(self._unit)
            first.append(piece.mean(dim=axes))
            second.append(piece.square_().mean(dim=axes))
        return torch.cat(first), torch.cat(second)

    def batch(self, models: Sequence[int], rows: Tensor) -> Tensor:
        """See :meth:`Encoded.batch`."""
        chosen = list(models)
        ones = (1,) * (self._values.ndim - 2)
        mean = self._mean[chosen].reshape(len(chosen), 1, -1, *ones)
        scale = self._scale[chosen].reshape(len(chosen), 1, -1, *ones)
        values = self._values[rows].to(self._dtype)
        if self._unit != 1.0:
            values = values.div_(self._unit)
        return values.sub_(mean).mul_(scale)

    def like(self, inputs: Inputs) -> Encoded:
        """See :meth:`Encoded.like`."""
        if not isinstance(inputs, ArrayInputs):
            raise TypeError("an array is like an array")
        other = EncodedArray(inputs, self._dtype, self._values.device, self._image_size)
        other._mean, other._scale = self._mean, self._scale
        return other


def encode(
    inputs: TableInputs | ArrayInputs,
    dtype: torch.dtype,
    device: torch.device,
    image_size: int | None,
    scaling: str = "members",
) -> Encoded:
    """Put inputs on the device, in the form that they have.

    Parameters
    ----------
    inputs : TableInputs or ArrayInputs
    dtype : torch.dtype
    device : torch.device
    image_size : int or None
        Side in pixels that images are brought to; None leaves them.
    scaling : {"members", "fixed"}
        As of :class:`auscult.TorchRecipe`.
    """
    if isinstance(inputs, TableInputs):
        return EncodedTable(inputs, dtype, device)
    return EncodedArray(inputs, dtype, device, image_size, scaling)


def _prepared(values: NDArray[Any], channels: str, image_size: int | None) -> Tensor:
    """Channels first; bytes stay bytes unless resized."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype != np.uint8:
        values = values.astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if channels == "none":
        tensor = tensor[:, None]
    elif channels == "last":
        tensor = tensor.movedim(-1, 1)
    if image_size is None:
        return tensor.contiguous()
    if tensor.ndim != 4:
        raise RecipeError(
            "image_size resizes images, but these are signals", where="recipe.image_size"
        )
    resized = torch.nn.functional.interpolate(
        tensor.float(), size=(image_size, image_size), mode="bilinear", antialias=True
    )
    if tensor.dtype == torch.uint8:
        return resized.round().clamp(0, 255).to(torch.uint8)
    return resized
