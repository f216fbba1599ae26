"""Open training of a block: which of its networks are trained together, and which one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from auscult.base.errors import RecipeError
from auscult.recipes.base import Assignment
from auscult.recipes.failures import explained
from auscult.recipes.torch.alone import train_alone
from auscult.recipes.torch.backbone import train_mode
from auscult.recipes.torch.cards import drawing
from auscult.recipes.torch.chain import chain_of
from auscult.recipes.torch.grouping import (
    Extent,
    OutOfMemory,
    in_groups,
    models_at_once,
    no_room,
)
from auscult.recipes.torch.mixing import mixing
from auscult.recipes.torch.training import Plan, train_stacked

if TYPE_CHECKING:
    from auscult.recipes.torch.encoding import Encoded

RAN_OUT = "memory_ran_out_at"


def train_openly(
    modules: Sequence[nn.Module],
    encoded: Encoded,
    labels: torch.Tensor,
    assignments: Sequence[Assignment],
    plan: Plan,
    advance: Callable[[float], None],
    *,
    stack: str,
    speed: dict[str, Any],
) -> str | None:
    """Train in place; returns why the models were not stacked, if they were not.

    Parameters
    ----------
    modules : sequence of Module
    encoded : Encoded
    labels : Tensor
    assignments : sequence of Assignment
        One per module.
    plan : Plan
    advance : function of a number of models
    stack : {"auto", "always", "never"}
    speed : dict
        Filled in with how many were trained at once.

    Raises
    ------
    RecipeError
        They must be stacked and cannot be, or training failed.
    """
    batch = -(-len(labels) // (2 * plan.steps))
    if plan.compiled:
        _refuse_padding(modules[0], encoded, len(labels))
    if stack == "never" or plan.compiled:
        said = "stack = never" if stack == "never" else "compile = true"
        reason: str | None = f"as configured ({said})"
    else:
        reason = why_not_stacked(modules[0], encoded, labels.device, len(labels), batch)
    if reason is not None and stack == "always":
        reason = None if "faster" in reason else reason
        if reason is not None:
            raise RecipeError(
                f"the module cannot be stacked: {reason}",
                where="recipe.stack",
                next_step='Use stack = "auto"',
            )
    if reason is not None:
        for place, one in enumerate(assignments):
            with explained(one.model, "training"), drawing(one.seed, labels.device):
                try:
                    train_alone(modules[place], place, encoded, labels, one, plan, advance)
                except OutOfMemory as error:
                    raise no_room() from error
        return reason
    with explained(assignments[0].model, "training"):

        def train(group: slice, tell: Callable[[float], None]) -> None:
            train_stacked(
                modules[group],
                encoded,
                labels,
                assignments[group],
                plan,
                tell,
                first_place=group.start,
            )

        at_once, ran_out = in_groups(
            len(modules), models_at_once(modules, encoded, batch), train, advance
        )
    speed["models_at_once"] = at_once
    if ran_out is not None:
        speed[RAN_OUT] = ran_out
    return None


def why_not_stacked(
    module: nn.Module, encoded: Encoded, device: torch.device, records: int, batch: int
) -> str | None:
    """Why models of this kind are trained one after the other, or None when they can be stacked.

    Parameters
    ----------
    module : Module
    encoded : Encoded
    device : torch.device
    records : int
    batch : int
        Records of a step.
    """
    train_mode(module)
    for part in module.modules():
        if not part.training:
            continue
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
            return "dropout draws its own random numbers for each model"
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.track_running_stats:
            return "batch norm keeps running statistics, which cannot be stacked"
    if any(isinstance(part, nn.modules.conv._ConvNd) for part in module.modules()):
        if device.type == "cpu":
            return "convolutions are faster one model at a time on a CPU"
        # Measured on an H100: stacks of wide residual networks take as long as one by one, or twice
        # as long, and several processes on one card gain nothing either.
        if Extent.of(module, encoded).wide(batch):
            return "convolutions as wide as these are not faster in company"
    reason = _vmap_failure(module, encoded)
    if reason is None and chain_of(module) is None:
        mixer = _mixer(module, encoded, records)
        if mixer is not None:
            return f"{mixer} mixes the records of a batch, and stacked batches are filled up"
    return reason


def _mixer(module: nn.Module, encoded: Encoded, records: int) -> str | None:
    with explained("the network", "trying it on three records"):
        return mixing(module, encoded, records)


def _refuse_padding(module: nn.Module, encoded: Encoded, records: int) -> None:
    """Raise a RecipeError where records of weight 0 would have a part in what others get."""
    mixer = _mixer(module, encoded, records)
    if mixer is not None:
        raise RecipeError(
            f"{mixer} mixes the records of a batch, and compiled batches are filled up with "
            "records of weight 0, which would have a part in it",
            where="recipe.compile",
            next_step="Use group norm or layer norm in the network, or leave compile out",
        )


def _vmap_failure(module: nn.Module, encoded: Encoded) -> str | None:
    """Try two stacked copies on two records."""
    parameters, buffers = stack_module_state([module, module])
    rows = torch.zeros((2, 2), dtype=torch.int64, device=next(module.parameters()).device)
    try:
        with torch.no_grad():
            vmap(lambda p, b, x: functional_call(module, (p, b), (x,)))(
                parameters, buffers, encoded.batch([0, 0], rows)
            )
    except Exception as error:  # whatever a module does that vmap cannot follow
        return f"torch.func cannot stack this module ({type(error).__name__})"
    return None
