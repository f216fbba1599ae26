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
from auscult.recipes.torch.mixing import mixing
from auscult.recipes.torch.training import Plan, train_stacked

if TYPE_CHECKING:
    from auscult.recipes.torch.encoding import Encoded

STACK_BYTES = 8 << 20
BYTES_PER_WEIGHT = 16  # weight, gradient and two moments in 32 bits


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
    if plan.compiled:
        _refuse_padding(modules[0], encoded, len(labels))
    if stack == "never" or plan.compiled:
        said = "stack = never" if stack == "never" else "compile = true"
        reason: str | None = f"as configured ({said})"
    else:
        reason = why_not_stacked(modules[0], encoded, labels.device, len(labels))
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
                train_alone(modules[place], place, encoded, labels, one, plan, advance)
        return reason
    with explained(assignments[0].model, "training"):
        together = speed["models_at_once"] = models_at_once(modules)
        for start in range(0, len(modules), together):
            group = slice(start, start + together)
            train_stacked(
                modules[group],
                encoded,
                labels,
                assignments[group],
                plan,
                advance,
                first_place=start,
            )
    return None


def models_at_once(modules: Sequence[nn.Module]) -> int:
    """How many models to train in one step: as many as the cache holds, a power of two.

    Small networks gain much from company, wide ones lose by leaving the cache. The number must
    follow from the networks alone: products of larger stacks round differently, so a choice by
    measured time gave other last digits on a busy machine, and a resumed run other results.
    """
    weights = sum(p.numel() for p in modules[0].parameters())
    if next(modules[0].parameters()).device.type != "cpu":
        return len(modules)
    room = max(1, STACK_BYTES // (BYTES_PER_WEIGHT * weights))
    return int(min(len(modules), 1 << (room.bit_length() - 1)))


def why_not_stacked(
    module: nn.Module, encoded: Encoded, device: torch.device, records: int
) -> str | None:
    """Why models of this kind are trained one after the other, or None when they can be stacked.

    Parameters
    ----------
    module : Module
    encoded : Encoded
    device : torch.device
    records : int
    """
    train_mode(module)
    for part in module.modules():
        if not part.training:
            continue
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
            return "dropout draws its own random numbers for each model"
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.track_running_stats:
            return "batch norm keeps running statistics, which cannot be stacked"
    if device.type == "cpu" and any(
        isinstance(part, nn.modules.conv._ConvNd) for part in module.modules()
    ):
        return "convolutions are faster one model at a time on a CPU"
    reason = _vmap_failure(module, encoded)
    if reason is None and chain_of(module) is None:
        mixer = mixing(module, encoded, records)
        if mixer is not None:
            return f"{mixer} mixes the records of a batch, and stacked batches are filled up"
    return reason


def _refuse_padding(module: nn.Module, encoded: Encoded, records: int) -> None:
    """Raise a RecipeError where records of weight 0 would have a part in what others get."""
    with explained("the network", "trying it on three records"):
        mixer = mixing(module, encoded, records)
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
