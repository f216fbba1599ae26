"""Sums of clipped gradients, for K models at once: their norms without the gradients.

A chain of linear layers and element-wise functions needs no gradient per record. With a layer's
input `a` and the derivative `d` of the record's loss by its output, the gradient of the weights is
``d a'``, so its squared norm is ``|d|^2 (|a|^2 + 1)``, the bias included (Goodfellow 2015). The
records of a patient add up before they are clipped, and the squared norm of a sum is the sum over
pairs: ``(a1'a2 + 1) (d1'd2)``. One forward and one backward pass over K stacked models give all
`a` and `d`; scaled by the clipping factors, ``d'a`` is the sum of clipped gradients. Any other
module gets a gradient per record from `vmap(grad)`, one model at a time. Imports torch: load it
lazily.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from auscult.recipes.torch.chain import chain_outputs
from auscult.recipes.torch.training import record_losses, shaped

GRADIENT_BYTES = 1 << 27
PAIRS_PER_RECORD = 2

Gradient = Callable[[Tensor, Tensor, Tensor, Tensor], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """How much of a unit's gradient is let through.

    Attributes
    ----------
    norm : float
        Largest norm of a unit's gradient; infinite for no clipping.
    single : bool
        Every unit has one record.
    """

    norm: float
    single: bool

    def factors(self, squared: Tensor) -> Tensor:
        """What scales gradients of these squared norms to the clipping norm at most."""
        if math.isinf(self.norm):
            return torch.ones_like(squared)
        return self.norm / squared.clamp(min=0).sqrt().clamp(min=self.norm)


def chain_gradient(
    layers: Sequence[tuple[str, nn.Module]],
    values: dict[str, Tensor],
    names: Sequence[str],
    loss: str,
    clipping: Clipping,
    x: Tensor,
    y: Tensor,
    used: Tensor,
    owner: Tensor,
) -> list[Tensor]:
    """Sums of clipped gradients of stacked chains, one tensor of shape (models, ...) per name.

    Parameters
    ----------
    layers : sequence of (str, Module)
        From :func:`chain_of`.
    values : dict of str to tensor, shape (models, ...)
    names : sequence of str
        Parameters whose gradients are wanted.
    loss : str
    clipping : Clipping
    x, y : tensor, shape (models, records, ...)
    used : tensor, shape (models, records)
        1 for records of the batch, 0 for padding.
    owner : int64 tensor, shape (models, records)
    """
    models, records = used.shape

    def total(outputs: Tensor) -> Tensor:
        each = record_losses(
            outputs.reshape(models * records, -1),
            y.reshape(models * records, *y.shape[2:]),
            loss,
        )
        return (each * used.reshape(-1)).sum()

    pairs, _ = chain_slopes(layers, values, x, total)
    if math.isinf(clipping.norm):
        scaled = [d for _, d, _ in pairs]
    else:
        single = clipping.single
        squared = squared_by_record(pairs) if single else _by_unit(pairs, used, owner)
        factor = clipping.factors(squared)[:, :, None]
        scaled = [d * factor for _, d, _ in pairs]
    found: dict[str, Tensor] = {}
    linear = [name for name, part in layers if isinstance(part, nn.Linear)]
    for name, (a, _, _), d in zip(linear, pairs, scaled, strict=True):
        found[f"{name}.weight"] = d.mT @ a
        found[f"{name}.bias"] = d.sum(dim=1)
    return [found[name] for name in names]


def chain_slopes(
    layers: Sequence[tuple[str, nn.Module]],
    values: Mapping[str, Tensor],
    x: Tensor,
    total: Callable[[Tensor], Tensor],
) -> tuple[list[tuple[Tensor, Tensor, bool]], Tensor]:
    """Of each linear layer: its input, the derivative by its output, and whether it has a bias.

    Parameters
    ----------
    layers : sequence of (str, Module)
        From :func:`chain_of`.
    values : mapping of str to tensor, shape (models, ...)
    x : tensor, shape (models, records, ...)
    total : callable
        What is differentiated, from the outputs, shape (models, records, columns).

    Returns
    -------
    pairs : list of (tensor, tensor, bool)
    outputs : tensor, shape (models, records, columns)
    """
    inputs: list[tuple[str, Tensor]] = []
    outputs: list[Tensor] = []

    def keep(name: str, a: Tensor, z: Tensor) -> None:
        if not outputs:
            z.requires_grad_()
        inputs.append((name, a.detach()))
        outputs.append(z)

    last = chain_outputs(layers, values, x, keep)
    slopes = torch.autograd.grad(total(last), outputs)
    pairs = [(a, d, f"{name}.bias" in values) for (name, a), d in zip(inputs, slopes, strict=True)]
    return pairs, last


def squared_by_record(layers: Sequence[tuple[Tensor, Tensor, bool]]) -> Tensor:
    """Squared norms of the gradients of single records, shape (models, records).

    Parameters
    ----------
    layers : sequence of (tensor, tensor, bool)
        From :func:`chain_slopes`.
    """
    return torch.stack(
        [
            (torch.linalg.vector_norm(a, dim=2) ** 2 + float(bias))
            * torch.linalg.vector_norm(d, dim=2) ** 2
            for a, d, bias in layers
        ]
    ).sum(dim=0)


def _by_unit(layers: Sequence[tuple[Tensor, Tensor, bool]], used: Tensor, owner: Tensor) -> Tensor:
    """Squared norms of the units' summed gradients, at each of their records."""
    pairs = _pairs(used, owner)
    return (
        _from_all(layers, used, owner) if pairs is None else _from_pairs(layers, used, owner, pairs)
    )


def _pairs(used: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Model, first and second record of each pair of records of one unit; None if there are many.

    The records of a unit lie side by side.
    """
    models, records = used.shape
    model, first, apart = [], [], []
    real = used > 0
    for distance in range(1, records):
        together = (owner[:, distance:] == owner[:, :-distance]) & real[:, distance:]
        k, i = together.nonzero(as_tuple=True)
        if not len(k):
            break
        model.append(k)
        first.append(i)
        apart.append(i + distance)
        if sum(map(len, model)) > PAIRS_PER_RECORD * models * records:
            return None
    if not model:
        nothing = torch.zeros(0, dtype=torch.int64, device=used.device)
        return nothing, nothing, nothing
    return torch.cat(model), torch.cat(first), torch.cat(apart)


def _from_pairs(
    layers: Sequence[tuple[Tensor, Tensor, bool]],
    used: Tensor,
    owner: Tensor,
    pairs: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Every record by itself, and twice each pair: few patients have several records in a batch."""
    model, first, second = pairs
    alone = squared_by_record(layers)
    crossed = alone.new_zeros(len(model))
    for a, d, bias in layers:
        crossed += ((a[model, first] * a[model, second]).sum(dim=1) + float(bias)) * (
            d[model, first] * d[model, second]
        ).sum(dim=1)
    # Units numbered by their place in each model's batch.
    changes = torch.zeros_like(owner)
    changes[:, 1:] = (owner[:, 1:] != owner[:, :-1]).to(owner.dtype)
    unit = changes.cumsum(dim=1)
    total = torch.zeros_like(alone)
    total.scatter_add_(1, unit, alone * used)
    total.index_put_((model, unit[model, first]), 2 * crossed, accumulate=True)
    return total.gather(1, unit)


def _from_all(layers: Sequence[tuple[Tensor, Tensor, bool]], used: Tensor, owner: Tensor) -> Tensor:
    """All products of two records of a batch, those of different units crossed out."""
    together = (owner[:, :, None] == owner[:, None, :]) & (used[:, :, None] * used[:, None] > 0)
    same = together.to(used.dtype)
    products = torch.zeros_like(same)
    for a, d, bias in layers:
        products += (a @ a.mT + float(bias)) * (d @ d.mT)
    return (same @ (products * same).sum(dim=2, keepdim=True))[:, :, 0]


def general_gradient(
    module: nn.Module,
    values: dict[str, Tensor],
    buffers: dict[str, Tensor],
    names: Sequence[str],
    loss: str,
    clipping: Clipping,
    x: Tensor,
    y: Tensor,
    used: Tensor,
    owner: Tensor,
) -> list[Tensor]:
    """As :func:`chain_gradient` for one model of any kind, by a gradient per record.

    Parameters
    ----------
    module : Module
    values, buffers : dict of str to Tensor, shape (1, ...)
        Parameters and buffers of the one model.
    names : sequence of str
        Parameters that are trained.
    loss : {"sigmoid", "softmax", "multilabel"}
    clipping : Clipping
    x : Tensor, shape (1, slots, ...)
        Records of the step.
    y : Tensor, shape (1, slots, ...)
        Their labels.
    used : Tensor, shape (1, slots)
        1 where a slot holds a record, else 0.
    owner : Tensor of int, shape (1, slots)
        The unit of each record.
    """
    fixed = {name: value[0] for name, value in values.items() if name not in names}
    fixed |= {name: value[0] for name, value in buffers.items()}
    free = {name: values[name][0] for name in names}

    def one(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = shaped(functional_call(module, {**p, **fixed}, (x[None],)))
        return record_losses(outputs, y[None], loss)[0]

    each = vmap(grad(one), in_dims=(None, 0, 0), randomness="different")
    rows = int(used[0].sum())
    x, y = x[0, :rows], y[0, :rows]
    units = torch.unique_consecutive(owner[0, :rows], return_inverse=True)[1]
    total = torch.zeros(sum(p.numel() for p in free.values()), dtype=used.dtype, device=x.device)
    most = max(1, GRADIENT_BYTES // (total.element_size() * total.numel()))
    for piece in _whole_units(units.cpu().numpy(), most):
        found = each(free, x[piece], y[piece])
        flat = torch.cat([found[name].flatten(1) for name in names], dim=1)
        if not clipping.single:
            here = units[piece] - units[piece][0]
            sums = flat.new_zeros((int(here[-1]) + 1, flat.shape[1]))
            flat = sums.index_add_(0, here, flat)
        total += clipping.factors((flat**2).sum(dim=1)) @ flat
    sizes = [free[name].numel() for name in names]
    return [
        part.reshape(1, *free[name].shape)
        for name, part in zip(names, torch.split(total, sizes), strict=True)
    ]


def _whole_units(units: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Pieces of at most so many records that split no unit, unless one unit has more."""
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    ends = np.append(starts[1:], units.size)
    begin = 0
    while begin < units.size:
        fitting = ends[(ends > begin) & (ends <= begin + most)]
        end = int(fitting[-1]) if fitting.size else int(ends[ends > begin][0])
        yield slice(begin, end)
        begin = end
