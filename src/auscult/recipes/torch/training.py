"""Training K models at once, or one after the other: the same steps, the same numbers.

Every model takes the same number of steps per epoch, whatever its number of members: its own
permutation is split into so many batches of nearly equal size. Shorter batches are padded with
records of weight 0, so that K models make one batched step: `vmap` over stacked parameters for the
losses, one backward pass for their sum, one optimiser over the stacks. Optimisers that work element
by element (Adam, AdamW, SGD) treat a stack as its parts. Imports torch: load it lazily.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from auscult.base.errors import RecipeError
from auscult.recipes.base import Assignment
from auscult.recipes.torch.augmentation import Augmentation
from auscult.recipes.torch.backbone import train_mode
from auscult.recipes.torch.chain import Rectified, chain_of, chain_outputs
from auscult.recipes.torch.encoding import Encoded
from auscult.recipes.torch.optim import FusedOptimizer
from auscult.recipes.torch.schedule import WeightAverage, learning_rate_at
from auscult.recipes.torch.transforms import augmented_step

PREDICT_AT_ONCE = 512
# Measured on a CPU: wide networks take 3 ms per small image in batches of 64, 5 in batches of 512.
PREDICT_NUMBERS = 2**18


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How models are optimised.

    Attributes
    ----------
    epochs, steps : int
        Steps are per epoch.
    optimizer : str
    learning_rate, weight_decay, momentum : float
    loss : {"sigmoid", "softmax", "multilabel"}
    label_smoothing : float
        Share of each target that is spread evenly over its classes.
    schedule : {"constant", "cosine"}
    warmup : int
        Steps over which the learning rate rises.
    ema : float
        Decay of the average of the weights that predicts; 0 for the last weights.
    augment : tuple of Augmentation
    bfloat16 : bool
        Multiply in 16 bits; weights and their updates keep 32.
    compiled : bool
        Models that are trained alone go through PyTorch's compiler.
    """

    epochs: int
    steps: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float
    loss: str
    label_smoothing: float = 0.0
    schedule: str = "constant"
    warmup: int = 0
    ema: float = 0.0
    augment: tuple[Augmentation, ...] = ()
    bfloat16: bool = False
    compiled: bool = False

    def make_optimizer(self, parameters: Sequence[Tensor]) -> FusedOptimizer:
        """Optimiser over parameters or stacks of them, fused into one kernel."""
        return FusedOptimizer(
            parameters,
            kind=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
        )

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return learning_rate_at(
            step,
            rounds=self.epochs * self.steps,
            highest=self.learning_rate,
            schedule=self.schedule,
            warmup=self.warmup,
        )

    def average(self, tensors: Sequence[Tensor]) -> WeightAverage | None:
        """Average of these weights, to be updated after every step; None where none is wanted."""
        return WeightAverage(tensors, self.ema) if self.ema else None

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Where the forward pass runs."""
        return torch.autocast(device.type, torch.bfloat16) if self.bfloat16 else nullcontext()


class Course:
    """What follows the gradients of every step: update, average of the weights, progress.

    Parameters
    ----------
    plan : Plan
    parameters : sequence of tensor
        Leaves, or stacks of several models' leaves.
    advance : function of a number of models
    models : int
        How many are trained.
    running : sequence of tensor
        Statistics that belong to the weights and are averaged with them.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: Sequence[Tensor],
        advance: Callable[[float], None],
        *,
        models: int = 1,
        running: Sequence[Tensor] = (),
    ) -> None:
        self.optimizer = plan.make_optimizer(parameters)
        self._plan, self._advance, self._models = plan, advance, models
        self._average = plan.average([*parameters, *running])
        self._rounds = plan.epochs * plan.steps
        self._every = max(1, self._rounds // 50)

    def update(self, step: int) -> None:
        """Move the parameters along their gradients in a step, counted from 0."""
        self.optimizer.rate = self._plan.rate(step)
        self.optimizer.step()
        if self._average is not None:
            self._average.update()
        done = step + 1
        if done % self._every == 0:
            self._advance(self._models * self._every / self._rounds)
        elif done == self._rounds:
            self._advance(self._models * (self._rounds % self._every) / self._rounds)

    def state(self) -> dict[str, Any]:
        """What the next steps depend on, besides the parameters."""
        average = None if self._average is None else self._average.state()
        return {"optimizer": self.optimizer.state(), "average": average}

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is that of a course over these parameters."""
        average = state["average"]
        alike = average is None if self._average is None else self._average.fits(average)
        return alike and self.optimizer.fits(state["optimizer"])

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that fits."""
        self.optimizer.restore(state["optimizer"])
        if self._average is not None:
            self._average.restore(state["average"])

    def skip(self, steps: int) -> None:
        """Tell of steps that were done before."""
        whole = steps if steps == self._rounds else steps - steps % self._every
        self._advance(self._models * whole / self._rounds)

    def finish(self) -> None:
        """Put the averages in the place of the weights, where there are any."""
        if self._average is not None:
            self._average.put_in_place()


def steps_per_epoch(records: int, batch_size: int, share: float = 0.5) -> int:
    """Steps of every model: that share of the records are members, on average.

    Parameters
    ----------
    records : int
        Of the cohort.
    batch_size : int
    share : float
        Of the patients that a model trains on.
    """
    return max(1, math.ceil(round(records * share / batch_size, 9)))


def loss_of(
    outputs: Tensor, labels: Tensor, weights: Tensor, kind: str, smoothing: float = 0.0
) -> Tensor:
    """Weighted mean loss of one model's batch.

    Parameters
    ----------
    outputs : tensor, shape (records, columns)
    labels : tensor, shape (records,) or (records, labels)
    weights : tensor, shape (records,)
    kind : {"sigmoid", "softmax", "multilabel"}
    smoothing : float
        Share of each target that is spread evenly over its classes (Szegedy et al. 2016).
    """
    return (record_losses(outputs, labels, kind, smoothing) * weights).sum() / weights.sum()


def record_losses(outputs: Tensor, labels: Tensor, kind: str, smoothing: float = 0.0) -> Tensor:
    """Loss of each record, shape (records,).

    Parameters
    ----------
    outputs : Tensor, shape (records, columns)
    labels : Tensor, shape (records,) or (records, columns)
    kind : {"sigmoid", "softmax", "multilabel"}
    smoothing : float
    """
    if kind == "softmax":
        return nn.functional.cross_entropy(
            outputs, labels, reduction="none", label_smoothing=smoothing
        )
    truth = (labels[:, None] if kind == "sigmoid" else labels).to(outputs.dtype)
    if smoothing:
        truth = truth * (1 - smoothing) + smoothing / 2
    each = nn.functional.binary_cross_entropy_with_logits(outputs, truth, reduction="none")
    return each.mean(dim=1)


def chain_losses(outputs: Tensor, labels: Tensor, weights: Tensor, plan: Plan) -> Tensor:
    """As :func:`loss_of` of each of K models, shape (models,), from (models, records, columns).

    Parameters
    ----------
    outputs : Tensor, shape (models, records, columns)
    labels : Tensor, shape (models, records, ...)
    weights : Tensor, shape (models, records)
    plan : Plan
    """
    each = record_losses(
        outputs.to(weights.dtype).flatten(0, 1),
        labels.flatten(0, 1),
        plan.loss,
        plan.label_smoothing,
    )
    return (each.reshape(weights.shape) * weights).sum(dim=1) / weights.sum(dim=1)


def batches(assignment: Assignment, plan: Plan) -> Iterator[NDArray[np.int64]]:
    """Rows of each step of one model, epoch after epoch."""
    rng = np.random.default_rng(assignment.seed)
    for _ in range(plan.epochs):
        yield from np.array_split(rng.permutation(assignment.members), plan.steps)


def train_stacked(
    modules: Sequence[nn.Module],
    encoded: Encoded,
    labels: Tensor,
    assignments: Sequence[Assignment],
    plan: Plan,
    advance: Callable[[float], None],
    *,
    first_place: int = 0,
) -> None:
    """Train all modules in one batched step at a time; they are changed in place.

    Parameters
    ----------
    modules : sequence of Module
    encoded : Encoded
        Fitted to the members of the block's models.
    labels : tensor, shape (records,) or (records, labels)
    assignments : sequence of Assignment
        One per module.
    plan : Plan
    advance : callable
    first_place : int
        Place of the first module in the block.
    """
    for module in modules:
        train_mode(module)
    leaves, held, shared = _parameters(modules)
    # Not torch's stack_module_state: it refuses modules of a class that a factory defines inside.
    own = [dict(module.named_buffers()) for module in modules]
    buffers = {name: torch.stack([one[name] for one in own]) for name in own[0]}
    course = Course(plan, list(leaves.values()), advance, models=len(modules))
    base = modules[0]
    device, dtype = labels.device, next(iter(leaves.values())).dtype

    layers = chain_of(base)
    rectified = None
    if layers is not None and Rectified.suits(layers) and not plan.bfloat16:
        rectified = Rectified(layers, leaves)

    def one(
        p: dict[str, Tensor],
        f: dict[str, Tensor],
        b: dict[str, Tensor],
        x: Tensor,
        y: Tensor,
        w: Tensor,
    ) -> Tensor:
        outputs = shaped(functional_call(base, (p, f, b), (x,)))
        return loss_of(outputs.to(w.dtype), y, w, plan.loss, plan.label_smoothing)

    losses_of = vmap(one, in_dims=(0, None if shared else 0, 0, 0, 0, 0))
    places = list(range(first_place, first_place + len(modules)))
    for step, rows in enumerate(zip(*(batches(a, plan) for a in assignments), strict=True)):
        index, weights = padded(rows)
        picked = torch.from_numpy(index).to(device)
        x = augmented_step(encoded.batch(places, picked), rows, assignments, step, plan.augment)
        y, w = labels[picked], torch.from_numpy(weights).to(device, dtype)
        if rectified is not None:
            outputs = rectified.forward(x).requires_grad_()
            losses = chain_losses(outputs, y, w, plan)
            rectified.backward(torch.autograd.grad(losses.sum(), outputs)[0])
        else:
            course.optimizer.zero_grad()
            with plan.precision(device):
                if layers is None:
                    losses = losses_of(leaves, held, buffers, x, y, w)
                else:
                    losses = chain_losses(chain_outputs(layers, leaves, x), y, w, plan)
            torch.autograd.backward(losses.sum())
        course.update(step)
    course.finish()
    with torch.no_grad():
        for place, module in enumerate(modules):
            for name, value in module.named_parameters():
                if name in leaves:
                    value.copy_(leaves[name][place])


def _parameters(
    modules: Sequence[nn.Module],
) -> tuple[dict[str, Tensor], dict[str, Tensor], bool]:
    """Stacks of trained parameters, frozen parameters, and whether these are the same for all."""
    each = [dict(module.named_parameters()) for module in modules]
    leaves, frozen = {}, []
    for name, value in each[0].items():
        if value.requires_grad:
            leaves[name] = torch.stack([own[name].detach() for own in each]).requires_grad_()
        else:
            frozen.append(name)
    shared = all(torch.equal(own[name], each[0][name]) for own in each[1:] for name in frozen)
    if shared:
        return leaves, {name: each[0][name] for name in frozen}, True
    return leaves, {name: torch.stack([own[name] for own in each]) for name in frozen}, False


@torch.inference_mode()
def predict(module: nn.Module, place: int, encoded: Encoded, records: int) -> Tensor:
    """Outputs of one model on all records, float64, shape (records, columns).

    Parameters
    ----------
    module : Module
    place : int
        Of the model in its block.
    encoded : Encoded
    records : int
    """
    module.eval()
    device = next(module.parameters()).device
    outputs = []
    at_once = PREDICT_AT_ONCE
    if device.type == "cpu":
        at_once = max(64, min(at_once, PREDICT_NUMBERS // math.prod(encoded.shape)))
    for start in range(0, records, at_once):
        rows = torch.arange(start, min(start + at_once, records), device=device)
        x = channels_last(encoded.batch([place], rows[None])[0])
        outputs.append(shaped(module(x)).double().cpu())
    return torch.cat(outputs)


def check_shape(module: nn.Module, encoded: Encoded, columns: int) -> None:
    """Raise a RecipeError when the module does not return one row of `columns` per record.

    Parameters
    ----------
    module : Module
    encoded : Encoded
    columns : int
    """
    device = next(module.parameters()).device
    rows = torch.zeros((1, 2), dtype=torch.int64, device=device)
    x = encoded.batch([0], rows)[0]
    with torch.no_grad():
        module.eval()
        returned = module(x)
    if not isinstance(returned, Tensor):
        raise RecipeError(
            f"the module returned {type(returned).__name__}",
            where="recipe.model",
            expected=f"a tensor of shape (records, {columns})",
        )
    fits = returned.shape == (2, columns) or (columns == 1 and returned.shape == (2,))
    if not fits:
        raise RecipeError(
            f"for 2 records the module returned a tensor of shape {tuple(returned.shape)}",
            where="recipe.model",
            expected=f"shape (2, {columns})",
            next_step="Its last layer needs as many outputs as the factory's second argument says",
        )


def channels_last(x: Tensor) -> Tensor:
    """Images with their channels last in memory; anything else as it is."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def shaped(outputs: Tensor) -> Tensor:
    """Outputs with a column axis, also where a module leaves it out."""
    return outputs[:, None] if outputs.ndim == 1 else outputs


def padded(
    rows: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of all models as one array, padded with record 0 of weight 0."""
    longest = max(1, *(len(one) for one in rows))
    index = np.zeros((len(rows), longest), dtype=np.int64)
    weights = np.zeros((len(rows), longest), dtype=np.float32)
    for k, one in enumerate(rows):
        index[k, : len(one)] = one
        weights[k, : len(one)] = 1.0
    return index, weights
