"""What somebody who has the weights sees of a record besides the network's answer.

Of every record, higher for a better fit:

- "gradient": minus the logarithm of the norm of the gradient of its loss by all trained weights;
- "last layer": the same of the last layer alone, whose gradient is the outer product of what is
  wrong with the answer and the features below it;
- "features": the logarithm of the length of those features.

The loss is the cross-entropy by which networks of this kind are trained. With outputs ``z``,
``r = dloss/dz`` and ``J = dz/dweights`` the gradient is ``J'r``. ``|r|`` follows from log-odds in
64 bits and only the direction of ``r`` goes through the network, so that a record of which the
network is almost sure, whose gradient would round to nothing, keeps its place in the order.

Networks are looked into as they predict (no dropout, running statistics as they are), and what does
not give the answers that are stored is refused. Imports torch: load it lazily.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from auscult.base.errors import AuscultError, RecipeError
from auscult.recipes.torch.chain import chain_of
from auscult.recipes.torch.clipping import GRADIENT_BYTES, chain_slopes, squared_by_record
from auscult.recipes.torch.encoding import Encoded
from auscult.recipes.torch.training import PREDICT_AT_ONCE, shaped

GRADIENT, LAST_LAYER, FEATURES = "gradient", "last layer", "features"
LEAST = 1e-30  # of a norm: a network of dead units alone has a gradient of exactly 0
TOLERANCE = 1e-3  # of answers, relative to the largest: sums are made in another order here
PROBED = 64  # records by which the last layer is found
NEXT_STEP = "Leave audit.white_box out"

Norms = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def inside(
    module: nn.Module,
    place: int,
    encoded: Encoded,
    labels: NDArray[np.integer],
    answers: NDArray[np.float64],
    kind: str,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """What the weights of one network say of every record.

    Parameters
    ----------
    module : Module
    place : int
        Of the model in its block.
    encoded : Encoded
    labels : int array, shape (records,) or (records, labels)
    answers : float64 array, shape (records, columns)
        What the network answered.
    kind : {"sigmoid", "softmax", "multilabel"}

    Returns
    -------
    values : float64 array, shape (records, signals)
    names : tuple of str
        Of the signals; the gradient alone where the last layer is not linear.

    Raises
    ------
    RecipeError
        No gradient can be taken, or the network answers otherwise when it is.
    """
    module.eval()
    direction, logarithm = residual(answers, labels, kind)
    device = next(module.parameters()).device
    found = last_linear(module, place, encoded, len(answers))
    norms = _norms(module)
    columns = [np.empty(len(answers)) for _ in range(1 if found is None else 3)]
    at_once = min(PREDICT_AT_ONCE, _records_at_once(module))
    for start in range(0, len(answers), at_once):
        piece = slice(start, min(start + at_once, len(answers)))
        rows = torch.arange(piece.start, piece.stop, device=device)
        x = encoded.batch([place], rows[None])[0]
        towards = torch.from_numpy(direction[piece]).to(device, next(module.parameters()).dtype)
        squared, outputs = _taken(norms, x, towards)
        _refuse_other(outputs, answers[piece])
        columns[0][piece] = -logarithm[piece] - _log_norm(squared)
        if found is not None:
            length, bias = found(x)
            columns[1][piece] = -logarithm[piece] - 0.5 * np.log(length + bias)
            columns[2][piece] = 0.5 * np.log(np.maximum(length, LEAST))
    names = (GRADIENT,) if found is None else (GRADIENT, LAST_LAYER, FEATURES)
    return np.stack(columns, axis=1), names


def described(names: tuple[str, ...]) -> dict[str, Any]:
    """What was looked at, and why not at more; a fact of the recipe.

    Parameters
    ----------
    names : tuple of str
        From :func:`inside`.
    """
    whole = LAST_LAYER in names
    return {"signals": list(names), "reason": "" if whole else "the last layer is not linear"}


def residual(
    answers: NDArray[np.float64], labels: NDArray[np.integer], kind: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Derivative of each record's loss by the answer: its direction and the logarithm of its norm.

    Parameters
    ----------
    answers : float64 array, shape (records, columns)
    labels : int array, shape (records,) or (records, labels)
    kind : {"sigmoid", "softmax", "multilabel"}

    Returns
    -------
    direction : float64 array, shape (records, columns)
        Of length 1.
    logarithm : float64 array, shape (records,)
    """
    if kind == "softmax":
        rows = np.arange(len(answers))
        sign = np.ones_like(answers)
        sign[rows, labels] = -1.0
        below = answers.copy()
        below[rows, labels] = -np.inf
        log = answers - logsumexp(answers, axis=1, keepdims=True)
        log[rows, labels] = logsumexp(below, axis=1) - logsumexp(answers, axis=1)
    else:
        truth = labels[:, None] if kind == "sigmoid" else labels
        sign = np.where(truth == 1, -1.0, 1.0)
        # Several labels share the loss: it is their mean.
        log = -np.logaddexp(0.0, -sign * answers) - math.log(answers.shape[1])
    norm = 0.5 * logsumexp(2 * log, axis=1)
    return sign * np.exp(log - norm[:, None]), np.asarray(norm)


def last_linear(
    module: nn.Module, place: int, encoded: Encoded, records: int
) -> Callable[[Tensor], tuple[NDArray[np.float64], float]] | None:
    """Squared length of the features below a linear last layer; None where there is no such layer.

    The layer is found by what it does: its output is the network's, or the difference of its two
    logits is.

    Parameters
    ----------
    module : Module
    place : int
    encoded : Encoded
    records : int
    """
    device = next(module.parameters()).device
    rows = torch.arange(min(PROBED, records), device=device)
    last = None
    for name, part in module.named_modules():
        if type(part) is nn.Linear and _is_last(
            module, part, encoded.batch([place], rows[None])[0]
        ):
            last = name
    if last is None:
        return None
    layer = module.get_submodule(last)
    # Two logits of two classes have opposite derivatives, and so twice the squared gradient: a
    # constant, which no comparison of models sees.
    bias = float(layer.bias is not None)

    @torch.no_grad()
    def lengths(x: Tensor) -> tuple[NDArray[np.float64], float]:
        seen, _ = _seen(module, layer, x)
        squared = (seen[-1][0].double() ** 2).sum(dim=1)
        return squared.cpu().numpy() if bias else squared.clamp(min=LEAST).cpu().numpy(), bias

    return lengths


def _seen(
    module: nn.Module, part: nn.Module, x: Tensor
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Inputs and outputs of a part each time that it is passed, and the output of the whole."""
    found: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...], returned: Tensor) -> None:
        found.append((given[0].detach().clone(), returned.detach().clone()))

    handle = part.register_forward_hook(keep)
    try:
        return found, shaped(module(x))
    finally:
        handle.remove()


@torch.no_grad()
def _is_last(module: nn.Module, part: nn.Module, x: Tensor) -> bool:
    seen, whole = _seen(module, part, x)
    if len(seen) != 1 or seen[0][0].ndim != 2 or len(seen[0][0]) != len(whole):
        return False
    mine = seen[0][1]
    if mine.shape == whole.shape:
        return torch.equal(mine, whole)
    both = whole.shape[1] == 1 and mine.shape[1] == 2
    return both and torch.equal(mine[:, 1:] - mine[:, :1], whole)


def _norms(module: nn.Module) -> Norms:
    """Squared norm of the gradient of ``towards @ outputs``, by record, and the outputs."""
    layers = chain_of(module)
    if layers is not None:
        values = {name: p.detach()[None] for name, p in module.named_parameters()}

        def of_chain(x: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
            pairs, outputs = chain_slopes(
                layers, values, x[None], lambda z: (z.flatten(0, 1) * towards).sum()
            )
            return squared_by_record(pairs)[0], outputs[0]

        return of_chain
    free = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    fixed = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    fixed |= dict(module.named_buffers())

    def along(p: dict[str, Tensor], x: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
        outputs = shaped(functional_call(module, {**p, **fixed}, (x[None],)))[0]
        return (outputs * towards).sum(), outputs

    each = vmap(grad(along, has_aux=True), in_dims=(None, 0, 0))

    def of_any(x: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
        gradients, outputs = each(free, x, towards)
        squared = [(one.flatten(1) ** 2).sum(dim=1) for one in gradients.values()]
        return torch.stack(squared).sum(dim=0), outputs

    return of_any


def _taken(norms: Norms, x: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
    try:
        return norms(x, towards)
    except AuscultError:
        raise
    except Exception as error:  # whatever a module does that torch.func cannot follow
        raise RecipeError(
            "no gradient can be taken of single records: the network does what torch.func cannot "
            f"follow ({type(error).__name__})",
            where="audit.white_box",
            expected="a module without random numbers, in-place changes of its buffers or "
            "statistics over the batch when it predicts",
            next_step=NEXT_STEP,
        ) from error


def _refuse_other(outputs: Tensor, answers: NDArray[np.float64]) -> None:
    found = outputs.detach().double().cpu().numpy()
    scale = max(1.0, float(np.abs(answers).max()))
    if not np.isfinite(found).all() or float(np.abs(found - answers).max()) > TOLERANCE * scale:
        raise RecipeError(
            "the network answers otherwise when records are looked at one by one: it mixes the "
            "records of a batch, or draws random numbers when it predicts",
            where="audit.white_box",
            expected="answers that depend on the record and the weights alone",
            next_step=NEXT_STEP,
        )


def _log_norm(squared: Tensor) -> NDArray[np.float64]:
    whole = squared.detach().double().cpu().numpy()
    return np.asarray(0.5 * np.log(np.maximum(whole, LEAST)))


def _records_at_once(module: nn.Module) -> int:
    """Records whose gradients are in memory together."""
    if chain_of(module) is not None:
        return PREDICT_AT_ONCE
    size = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    return max(1, GRADIENT_BYTES // max(1, size))
