"""Chains of linear layers and element-wise functions, K of them at once without `vmap`.

Most networks for tables are such chains. Their stacks are a few batched products, so the general
way (`functional_call` under `vmap`) would cost more than the arithmetic of small ones. Chains of
linear layers and rectifiers are differentiated by hand as well: products go straight into the
gradients, which autograd would transpose and copy. Imports torch: load it lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

ELEMENT_WISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Identity,
    nn.Dropout,
)

Layers = Sequence[tuple[str, nn.Module]]


def chain_of(module: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """Named parts of a chain of linear layers and element-wise functions; None for others."""
    if not isinstance(module, nn.Sequential) or not all(
        p.requires_grad for p in module.parameters()
    ):
        return None
    parts = [
        (name, part)
        for name, part in module.named_modules(remove_duplicate=False)
        if not isinstance(part, nn.Sequential)
    ]
    linear = [part for _, part in parts if type(part) is nn.Linear]
    owned = sum(p.numel() for part in linear for p in part.parameters())
    whole = len({id(part) for part in linear}) == len(linear) and bool(linear)
    whole &= owned == sum(p.numel() for p in module.parameters())
    flat = [type(part) is nn.Flatten and part.start_dim == 1 for _, part in parts]
    known = all(
        type(part) is nn.Linear or isinstance(part, ELEMENT_WISE) or flattens
        for (_, part), flattens in zip(parts, flat, strict=True)
    )
    return parts if whole and known else None


def chain_outputs(
    layers: Layers,
    values: Mapping[str, Tensor],
    x: Tensor,
    seen: Callable[[str, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Outputs of stacked chains, shape (models, records, columns).

    Parameters
    ----------
    layers : sequence of (str, Module)
        From :func:`chain_of`.
    values : mapping of str to tensor, shape (models, ...)
        Parameters.
    x : tensor, shape (models, records, ...)
    seen : callable, optional
        Called with the name, the input and the output of each linear layer.
    """
    for place, (name, part) in enumerate(layers):
        if isinstance(part, nn.Linear):
            given, weight = x, values[f"{name}.weight"].mT
            bias = values.get(f"{name}.bias")
            x = x @ weight if bias is None else torch.baddbmm(bias[:, None], x, weight)
            if seen is not None:
                seen(name, given, x)
        elif isinstance(part, nn.Flatten):
            x = x.flatten(2)
        elif type(part) is nn.ReLU and seen is None and place and _is_linear(layers[place - 1]):
            x = x.relu_()  # the product before it is nobody else's
        else:
            x = part(x.clone() if getattr(part, "inplace", False) else x)
    return x


def _is_linear(layer: tuple[str, nn.Module]) -> bool:
    return isinstance(layer[1], nn.Linear)


class Rectified:
    """Stacked chains of linear layers and rectifiers, differentiated by hand.

    Parameters
    ----------
    layers : sequence of (str, Module)
        From :func:`chain_of`.
    values : mapping of str to tensor, shape (models, ...)
        Parameters, leaves; their gradients are made here and filled by :meth:`backward`.
    """

    @staticmethod
    def suits(layers: Layers | None) -> bool:
        """Whether every layer is one of these."""
        return layers is not None and all(
            type(part) in (nn.Linear, nn.ReLU, nn.Identity, nn.Flatten) for _, part in layers
        )

    def __init__(self, layers: Layers, values: Mapping[str, Tensor]) -> None:
        self._layers = [(name, part) for name, part in layers if type(part) is not nn.Identity]
        self._values = values
        self._tape: list[tuple[str | None, Tensor]] = []
        for value in values.values():
            value.grad = torch.zeros_like(value)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs, shape (models, records, columns), from inputs (models, records, ...)."""
        self._tape = []
        for name, part in self._layers:
            if isinstance(part, nn.Linear):
                self._tape.append((name, x))
                weight = self._values[f"{name}.weight"].mT
                bias = self._values.get(f"{name}.bias")
                x = torch.bmm(x, weight) if bias is None else bias[:, None].baddbmm(x, weight)
            elif isinstance(part, nn.Flatten):
                x = x.flatten(2)
            else:
                x = x.relu_() if self._tape else x.relu()
                self._tape.append((None, x))
        return x

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """Fill the parameters' gradients, from the gradient of what `forward` returned."""
        linear = [place for place, (name, _) in enumerate(self._tape) if name is not None]
        for place in reversed(range(linear[0], len(self._tape))):
            name, seen = self._tape[place]
            if name is None:
                # A rectifier: `seen` is what it returned.
                gradient = torch.ops.aten.threshold_backward(gradient, seen, 0)
                continue
            weight, bias = self._values[f"{name}.weight"], self._values.get(f"{name}.bias")
            torch.bmm(gradient.mT, seen, out=weight.grad)
            if bias is not None:
                torch.sum(gradient, dim=1, out=bias.grad)
            if place > linear[0]:
                gradient = torch.bmm(gradient, weight)
