"""The learning rate of each step, and the average of the weights. Imports torch: load it lazily."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def learning_rate_at(
    step: int, *, rounds: int, highest: float, schedule: str, warmup: int
) -> float:
    """Learning rate of a step.

    It rises in a straight line over the first `warmup` steps, then stays, or falls to 0 as half a
    cosine does (Loshchilov and Hutter 2017).

    Parameters
    ----------
    step : int
        From 0.
    rounds : int
        Steps of the whole training.
    highest : float
    schedule : {"constant", "cosine"}
    warmup : int
        Less than `rounds`.
    """
    if step < warmup:
        return highest * (step + 1) / warmup
    if schedule == "constant":
        return highest
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (rounds - warmup)))


class WeightAverage:
    """Exponential moving average of weights, tensor by tensor; stacks are their parts.

    The decay grows with the steps, min(decay, (1 + step) / (10 + step)), so that the average does
    not hold on to the initial weights in a short training.

    Parameters
    ----------
    tensors : sequence of tensor
        They are watched, not changed.
    decay : float
    """

    def __init__(self, tensors: Sequence[Tensor], decay: float) -> None:
        self._tensors = [tensor.detach() for tensor in tensors]
        self._averages = [tensor.clone() for tensor in self._tensors]
        self._decay = decay
        self._step = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self._step += 1
        decay = min(self._decay, (1 + self._step) / (10 + self._step))
        for average, tensor in zip(self._averages, self._tensors, strict=True):
            average.lerp_(tensor, 1 - decay)

    def state(self) -> dict[str, Any]:
        """What the next averages depend on, besides the weights."""
        return {"averages": self._averages, "step": self._step}

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is that of an average of these weights."""
        return [a.shape for a in self._averages] == [a.shape for a in state["averages"]]

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that fits."""
        for average, other in zip(self._averages, state["averages"], strict=True):
            average.copy_(other)
        self._step = int(state["step"])

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Write the averages over the weights."""
        for average, tensor in zip(self._averages, self._tensors, strict=True):
            tensor.copy_(average)
