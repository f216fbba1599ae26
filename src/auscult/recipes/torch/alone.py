"""Training one network by itself, through PyTorch's compiler where that is wanted.

Imports torch: load it lazily.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.recipes import checkpoints
from auscult.recipes.base import Assignment
from auscult.recipes.torch.backbone import train_mode
from auscult.recipes.torch.compiled import compiled, described
from auscult.recipes.torch.encoding import Encoded
from auscult.recipes.torch.keeping import Kept
from auscult.recipes.torch.training import (
    Course,
    Plan,
    batches,
    channels_last,
    loss_of,
    shaped,
)
from auscult.recipes.torch.transforms import augmented_step

Loss = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


def train_alone(
    module: nn.Module,
    place: int,
    encoded: Encoded,
    labels: Tensor,
    assignment: Assignment,
    plan: Plan,
    advance: Callable[[float], None],
) -> None:
    """Train one module by itself, in place, with the steps of a stack's models.

    Parameters
    ----------
    module : Module
    place : int
        Of the model in its block.
    encoded : Encoded
    labels : Tensor, shape (records, ...)
    assignment : Assignment
    plan : Plan
    advance : callable
        Told of each finished part of the model.
    """
    # Measured on a CPU: convolutions take 20% less time with the channels last in memory.
    # Volumes have no such form: weights of three-dimensional convolutions stay as they are.
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    train_mode(module)
    parameters = [p for p in module.parameters() if p.requires_grad]
    running = [b for b in module.buffers() if b.is_floating_point()]
    course = Course(plan, parameters, advance, running=running)
    size = padded_size(assignment, plan) if plan.compiled else None
    loss_in = _loss_in(plan, labels.device)
    if size is not None:
        kind = (plan.loss, plan.label_smoothing, plan.bfloat16)
        key = f"{size} {kind} {described(module, encoded.shape, labels)}"
        loss_in = compiled(loss_in, key, labels.device)
    place_of_states, begun, rounds = checkpoints.place, 0, plan.epochs * plan.steps
    kept = None
    if place_of_states is not None:
        kept = Kept(place_of_states, assignment, module, course)
        begun = kept.begun()
        if begun:
            course.skip(begun)
    for step, rows in enumerate(batches(assignment, plan)):
        if step < begun:
            continue
        index, used = one_batch(rows, size)
        picked = torch.from_numpy(index).to(labels.device)
        course.optimizer.zero_grad()
        x = encoded.batch([place], picked[None])
        x = channels_last(augmented_step(x, [rows], [assignment], step, plan.augment)[0])
        weights = torch.from_numpy(used).to(x.device, x.dtype)
        torch.autograd.backward(loss_in(module, x, labels[picked], weights))
        course.update(step)
        if kept is not None:
            kept.after(step, last=step + 1 == rounds)
    course.finish()


def padded_size(assignment: Assignment, plan: Plan) -> int:
    """Records in every batch of one model, the last ones of which weigh nothing.

    A compiled function is made for one size, and another size is compiled again. So the size does
    not follow the model's number of members closely: it goes up in steps of a tenth or so, and
    nearly all models of an audit share it. It follows from the model's own members alone.

    Parameters
    ----------
    assignment : Assignment
    plan : Plan
    """
    longest = max(1, -(-len(assignment.members) // plan.steps))
    step = 1 << max(0, (longest - 1).bit_length() - 4)
    return -(-longest // step) * step


def one_batch(
    rows: NDArray[np.int64], size: int | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and their weights, filled up with the first row at weight 0 where a size is given."""
    if size is None:
        return rows, np.ones(len(rows), dtype=np.float32)
    index = np.full(size, rows[0] if len(rows) else 0, dtype=np.int64)
    weights = np.zeros(size, dtype=np.float32)
    index[: len(rows)], weights[: len(rows)] = rows, 1.0
    return index, weights


def _loss_in(plan: Plan, device: torch.device) -> Loss:
    """The loss of a module on one batch; what is compiled, where something is."""
    kind, smoothing, bfloat16, where = (
        plan.loss,
        plan.label_smoothing,
        plan.bfloat16,
        device.type,
    )

    def loss(module: nn.Module, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(where, torch.bfloat16, enabled=bfloat16):
            outputs = shaped(module(x))
            return loss_of(outputs.to(x.dtype), y, weights, kind, smoothing)

    return loss
