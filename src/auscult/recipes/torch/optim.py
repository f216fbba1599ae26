"""Fused optimisers over lists of tensors: PyTorch's own kernels without its optimiser classes.

Making a `torch.optim` optimiser loads PyTorch's compiler, which takes a second in every worker
process and is not used. The kernels are the same, so are the numbers (a test compares them).
Imports torch: load it lazily.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class FusedOptimizer:
    """AdamW, Adam or SGD with momentum, one kernel for all parameters.

    Parameters
    ----------
    parameters : sequence of tensor
        Leaves with gradients; stacks of several models' parameters are welcome, as every rule here
        works element by element.
    kind : {"adamw", "adam", "sgd"}
    learning_rate, weight_decay, momentum : float
        `momentum` is of "sgd".
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        *,
        kind: str,
        learning_rate: float,
        weight_decay: float,
        momentum: float,
    ) -> None:
        self._parameters = list(parameters)
        self._kind = kind
        self.rate, self._decay, self._momentum = learning_rate, weight_decay, momentum
        moments = 2 if kind != "sgd" else int(momentum != 0)
        self._moments = [[torch.zeros_like(p) for p in self._parameters] for _ in range(moments)]
        self._steps = [
            torch.zeros((), dtype=torch.float32, device=p.device) for p in self._parameters
        ]
        self._first = True

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def state(self) -> dict[str, Any]:
        """What the next steps depend on, besides the parameters."""
        return {"moments": self._moments, "steps": self._steps, "first": self._first}

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is that of an optimiser of these parameters."""
        mine = [moment.shape for moments in self._moments for moment in moments]
        found = [moment.shape for moments in state["moments"] for moment in moments]
        return mine == found and len(self._steps) == len(state["steps"])

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that fits."""
        for own, others in zip(self._moments, state["moments"], strict=True):
            for moment, other in zip(own, others, strict=True):
                moment.copy_(other)
        for own_step, other in zip(self._steps, state["steps"], strict=True):
            own_step.copy_(other)
        self._first = bool(state["first"])

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient."""
        chosen = [i for i, p in enumerate(self._parameters) if p.grad is not None]
        parameters = [self._parameters[i] for i in chosen]
        gradients = [p.grad for p in parameters if p.grad is not None]
        moments = [[moment[i] for i in chosen] for moment in self._moments]
        if self._kind == "sgd":
            torch.ops.aten._fused_sgd_(
                parameters,
                gradients,
                moments[0] if moments else [],
                weight_decay=self._decay,
                momentum=self._momentum,
                lr=self.rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=self._first,
            )
        else:
            steps = [self._steps[i] for i in chosen]
            torch._foreach_add_(steps, 1.0)
            kernel = (
                torch.ops.aten._fused_adamw_
                if self._kind == "adamw"
                else torch.ops.aten._fused_adam_
            )
            kernel(
                parameters,
                gradients,
                moments[0],
                moments[1],
                [],
                steps,
                lr=self.rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=self._decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
        self._first = False
