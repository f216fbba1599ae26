"""How many models take a step together: what the cache holds, or what a card's memory holds.

The number must follow from the networks and the type of the card alone, never from time: products
of larger stacks round differently, so a choice by measured time gave other last digits on a busy
machine, and a resumed run other results. Imports torch: load it lazily.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auscult.base.errors import RecipeError
from auscult.recipes.torch.encoding import Encoded

STACK_BYTES = 8 << 20
BYTES_PER_WEIGHT = 16  # weight, gradient and two moments in 32 bits
# On a card: also the average of the weights and the stack that is made of them; what a network
# keeps of its activations, their gradients, and copies in another format.
CARD_PER_WEIGHT, CARD_PER_ACTIVATION = 24, 16
CARD_SHARE = 0.5  # of its memory
# Numbers that convolutions return in a step, from which on they fill a card by themselves.
WIDE = 1 << 27


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How large a step of one model is.

    Attributes
    ----------
    weights : int
    activations : int
        Numbers that all layers return for one record.
    convolved : int
        Those that convolutions return.
    """

    weights: int
    activations: int
    convolved: int

    @classmethod
    @torch.no_grad()
    def of(cls, module: nn.Module, encoded: Encoded) -> Extent:
        """Count what the layers of a module return for one record.

        Parameters
        ----------
        module : Module
        encoded : Encoded
        """
        counts = {"all": 0, "convolved": 0}

        def count(part: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor):
                counts["all"] += output.numel()
                if isinstance(part, nn.modules.conv._ConvNd):
                    counts["convolved"] += output.numel()

        hooks = [
            part.register_forward_hook(count)
            for part in module.modules()
            if not any(True for _ in part.children())
        ]
        was = module.training
        try:
            module.eval()
            device = next(module.parameters()).device
            module(encoded.batch([0], torch.zeros((1, 2), dtype=torch.int64, device=device))[0])
        finally:
            module.train(was)
            for hook in hooks:
                hook.remove()
        return cls(
            weights=sum(p.numel() for p in module.parameters()),
            activations=counts["all"] // 2,
            convolved=counts["convolved"] // 2,
        )

    def wide(self, batch: int) -> bool:
        """Whether convolutions of one model keep a card busy in batches of this size."""
        return self.convolved * batch >= WIDE

    def room(self, batch: int, memory: int, number_bytes: int = 4) -> int:
        """How many models a card's memory holds, carefully reckoned; at least 1.

        Parameters
        ----------
        batch : int
            Records of a step.
        memory : int
            Bytes of the card.
        number_bytes : int
            Of a weight.
        """
        each = CARD_PER_WEIGHT * self.weights + CARD_PER_ACTIVATION * self.activations * batch
        return max(1, int(CARD_SHARE * memory) // max(1, each * number_bytes // 4))


def models_at_once(modules: Sequence[nn.Module], encoded: Encoded, batch: int) -> int:
    """How many models to train in one step, a power of two, or all.

    Small networks gain much from company; on a CPU, wide ones lose by leaving the cache.

    Parameters
    ----------
    modules : sequence of Module
    encoded : Encoded
    batch : int
        Records of a step.
    """
    first = next(modules[0].parameters())
    if first.device.type == "cpu":
        weights = sum(p.numel() for p in modules[0].parameters())
        room = max(1, STACK_BYTES // (BYTES_PER_WEIGHT * weights))
    else:
        memory = torch.cuda.get_device_properties(first.device).total_memory
        room = Extent.of(modules[0], encoded).room(batch, memory, first.element_size())
        if room >= len(modules):
            return len(modules)
    return int(min(len(modules), 1 << (room.bit_length() - 1)))


def in_groups(
    models: int,
    at_once: int,
    train: Callable[[slice, Callable[[float], None]], None],
    advance: Callable[[float], None],
) -> tuple[int, int | None]:
    """Train models in groups; where a card's memory runs out, go on with groups half as large.

    Parameters
    ----------
    models, at_once : int
    train : callable
        Trains the models of a slice, telling how far it is; leaves them as they were if it fails.
    advance : callable

    Returns
    -------
    at_once : int
        At the end.
    ran_out : int or None
        Size of the first group for which memory ran out.

    Raises
    ------
    RecipeError
        It is not enough for one model.
    """
    start, ran_out = 0, None
    while start < models:
        told = 0.0

        def tell(done: float) -> None:
            nonlocal told
            told += done
            advance(done)

        group = slice(start, min(start + at_once, models))
        try:
            train(group, tell)
        except OutOfMemory:
            short = True
        else:
            short = False
        if not short:
            start += at_once
            continue
        # Here, not above: what was raised holds on to the memory.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = min(at_once, models - start)
        if size == 1:
            raise no_room()
        advance(-told)
        ran_out = ran_out or size
        at_once = 1 << ((size - 1).bit_length() - 1)
    return at_once, ran_out


def no_room() -> RecipeError:
    """The card's memory does not hold one model."""
    return RecipeError(
        "the card's memory does not hold one model and a batch",
        where="recipe.batch_size",
        next_step="Use a smaller batch_size or image_size, or a card with more memory",
    )


OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
