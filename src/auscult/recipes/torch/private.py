"""DP-SGD for K models at once: who is sampled, what is added, and the loop around them.

Each step takes every unit with the same probability, whoever is a member, clips its gradient (see
``clipping``), adds noise to the sum and divides by the expected batch, never by what was sampled.
Sampling and noise come from generators of each model's own, so K changes no result.
Imports torch: load it lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import stack_module_state

from auscult.base.errors import RecipeError
from auscult.base.randomness import Stage, generator, integer_seed
from auscult.recipes.base import Assignment
from auscult.recipes.failures import explained
from auscult.recipes.privacy import Guarantee
from auscult.recipes.torch.backbone import train_mode
from auscult.recipes.torch.cards import drawing
from auscult.recipes.torch.chain import chain_of
from auscult.recipes.torch.clipping import (
    Clipping,
    Gradient,
    chain_gradient,
    general_gradient,
)
from auscult.recipes.torch.encoding import Encoded
from auscult.recipes.torch.grouping import models_at_once
from auscult.recipes.torch.mixing import mixing
from auscult.recipes.torch.training import Course, Plan, padded
from auscult.recipes.torch.transforms import augmented_step


@dataclass(frozen=True, kw_only=True, eq=False)
class Privacy:
    """What private training does, the same for every model.

    Attributes
    ----------
    noise, clip, rate, expected : float
        See :class:`auscult.recipes.privacy.Guarantee`.
    unit_of_record : int64 array, shape (records,)
        The unit that each record belongs to: itself, or its patient.
    single : bool
        Every unit has one record.
    """

    noise: float
    clip: float
    rate: float
    expected: float
    unit_of_record: NDArray[np.int64]
    single: bool

    @classmethod
    def of(
        cls, promised: Guarantee, patient_of_record: NDArray[np.int64] | None, records: int
    ) -> Privacy:
        """From what was promised.

        Parameters
        ----------
        promised : Guarantee
        patient_of_record : int64 array, shape (records,), or None
            None where the unit is the record.
        records : int
        """
        owner = np.arange(records)
        if promised.settings.unit == "patient":
            if patient_of_record is None:
                raise RecipeError("the patient of each record is not known", where="recipe.dp.unit")
            owner = patient_of_record
        return cls(
            noise=promised.noise,
            clip=promised.settings.clip,
            rate=promised.rate,
            expected=promised.expected,
            unit_of_record=owner,
            single=bool(np.unique(owner).size == records),
        )

    def batches(self, assignment: Assignment, rounds: int) -> Iterator[NDArray[np.int64]]:
        """Rows of each step of one model, the records of a unit side by side."""
        members = assignment.members
        owner = self.unit_of_record[members]
        order = np.argsort(owner, kind="stable")
        members, owner = members[order], owner[order]
        sizes = np.unique(owner, return_counts=True)[1]
        rng = generator(assignment.seed, Stage.PRIVATE_SAMPLING)
        for _ in range(rounds):
            yield members[np.repeat(rng.random(sizes.size) < self.rate, sizes)]

    def noise_source(self, assignment: Assignment, device: torch.device) -> torch.Generator:
        """Where one model's noise comes from."""
        source = torch.Generator(device)
        source.manual_seed(integer_seed(assignment.seed, Stage.PRIVATE_NOISE))
        return source

    def add_noise(self, sums: Sequence[Tensor], source: torch.Generator) -> None:
        """Add one model's noise to its sums of clipped gradients, in place."""
        if self.noise == 0:
            return
        for total in sums:
            total += torch.normal(
                0.0,
                self.noise * self.clip,
                total.shape,
                generator=source,
                dtype=total.dtype,
                device=total.device,
            )


def train_privately(
    modules: Sequence[nn.Module],
    encoded: Encoded,
    labels: Tensor,
    assignments: Sequence[Assignment],
    plan: Plan,
    advance: Callable[[float], None],
    *,
    privacy: Privacy,
    stack: str,
    speed: dict[str, Any],
) -> str | None:
    """Train all modules in place; returns why they were not stacked, if they were not.

    Parameters
    ----------
    modules : sequence of Module
    encoded : Encoded
    labels : Tensor, shape (records, ...)
    assignments : sequence of Assignment
        One per module.
    plan : Plan
    advance : callable
        Told of each finished part of a model.
    privacy : Privacy
    stack : {"auto", "always", "never"}
    speed : dict
        Filled in with how many were trained at once.

    Raises
    ------
    RecipeError
        The module mixes records, so no record has a gradient of its own.
    """
    first = assignments[0].model
    with explained(first, "the first forward pass"):
        refuse_mixing(modules[0], encoded, len(labels))
    layers = chain_of(modules[0])
    reason = None if layers is not None else "only chains of linear layers are trained together"
    if stack == "never":
        reason = "as configured (stack = never)"
    elif layers is not None and any(
        isinstance(part, nn.Dropout) and part.p > 0 for _, part in layers
    ):
        reason = "dropout draws its own random numbers for each model"
    if reason is not None and stack == "always":
        raise RecipeError(
            f"the module cannot be stacked: {reason}",
            where="recipe.stack",
            next_step='Use stack = "auto"',
        )
    at_once = 1
    if reason is None:
        with explained(first, "training"):
            at_once = speed["models_at_once"] = models_at_once(
                modules, encoded, -(-len(labels) // (2 * plan.steps))
            )
    for start in range(0, len(modules), at_once):
        group = slice(start, start + at_once)
        one = assignments[start]
        with explained(one.model, "training"), drawing(one.seed, labels.device):
            train_stacked(
                modules[group],
                encoded,
                labels,
                assignments[group],
                plan,
                advance,
                privacy=privacy,
                first_place=start,
            )
    return reason


def train_stacked(
    modules: Sequence[nn.Module],
    encoded: Encoded,
    labels: Tensor,
    assignments: Sequence[Assignment],
    plan: Plan,
    advance: Callable[[float], None],
    *,
    privacy: Privacy,
    first_place: int = 0,
) -> None:
    """Train modules in place, as :func:`auscult.recipes.torch.training.train_stacked` does.

    Parameters
    ----------
    modules, encoded, labels, assignments, plan, advance, privacy
        As for :func:`train_privately`.
    first_place : int
        Place of the first module in its block.
    """
    for module in modules:
        train_mode(module)
    names = [name for name, p in modules[0].named_parameters() if p.requires_grad]
    stacked, buffers = stack_module_state(list(modules))
    leaves = [stacked[name].detach() for name in names]
    for leaf in leaves:
        leaf.requires_grad_()
    course = Course(plan, leaves, advance, models=len(modules))
    values = {name: value.detach() for name, value in stacked.items()}
    values |= {name: leaf.detach() for name, leaf in zip(names, leaves, strict=True)}
    gradient: Gradient
    clipping = Clipping(norm=privacy.clip, single=privacy.single)
    layers = chain_of(modules[0])
    if layers is not None:
        gradient = partial(chain_gradient, layers, values, names, plan.loss, clipping)
    else:
        gradient = partial(
            general_gradient, modules[0], values, buffers, names, plan.loss, clipping
        )
    device, dtype = labels.device, leaves[0].dtype
    owner = torch.from_numpy(privacy.unit_of_record).to(device)
    sources = [privacy.noise_source(one, device) for one in assignments]
    places = list(range(first_place, first_place + len(modules)))
    rounds = plan.epochs * plan.steps
    sampled = zip(*(privacy.batches(a, rounds) for a in assignments), strict=True)
    for step, rows in enumerate(sampled):
        index, weights = padded(rows)
        picked = torch.from_numpy(index).to(device)
        used = torch.from_numpy(weights).to(device, dtype)
        x = augmented_step(encoded.batch(places, picked), rows, assignments, step, plan.augment)
        sums = gradient(x, labels[picked], used, owner[picked])
        for place, source in enumerate(sources):
            privacy.add_noise([total[place] for total in sums], source)
        for leaf, total in zip(leaves, sums, strict=True):
            leaf.grad = total.div_(privacy.expected)
        course.update(step)
    course.finish()
    with torch.no_grad():
        for place, module in enumerate(modules):
            named = dict(module.named_parameters())
            for name, leaf in zip(names, leaves, strict=True):
                named[name].copy_(leaf[place])


def refuse_mixing(module: nn.Module, encoded: Encoded, records: int) -> None:
    """Raise a RecipeError when what a module says of one record depends on the others.

    Parameters
    ----------
    module : Module
    encoded : Encoded
    records : int
    """
    mixer = mixing(module, encoded, records)
    if mixer is not None:
        raise RecipeError(
            f"{mixer} mixes the records of a batch, so no record has a gradient of its own",
            where="recipe.dp",
            next_step="Use group norm or layer norm in the network",
        )
