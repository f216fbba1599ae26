"""Modules as people write them: tuples and dictionaries, two logits for two classes, sigmoids.

What a module returns is read as logits. What is something else is proved from its outputs and
refused with the cure, because the wrong loss would train another model without a word. Imports
torch: load it lazily.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from auscult.base.errors import RecipeError, one_of
from auscult.recipes.torch.encoding import Encoded

PROBED = 64  # records
STRETCHED = (30.0, -30.0)  # what a bounded output does not follow
TOTAL = 1e-3  # how far from 1 the probabilities of a record may add up
WHERE = "recipe.model"
OWN_TRAINING = ("lightning", "pytorch_lightning", "composer", "keras")


class Adapted(nn.Module):
    """A module whose entry of a tuple or dictionary is taken, and whose two logits become one.

    Parameters
    ----------
    module : Module
    entry : str or int, optional
        Of a dictionary or tuple.
    difference : bool
        Whether two logits of two classes become one log-odds, the second less the first.
    """

    def __init__(self, module: nn.Module, entry: str | int | None, *, difference: bool) -> None:
        super().__init__()
        self.module = module
        self.entry = entry
        self.difference = difference

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (records, columns)."""
        outputs = taken(self.module(x), self.entry)
        return outputs[:, 1:] - outputs[:, :1] if self.difference else outputs


def taken(returned: Any, entry: str | int | None) -> Tensor:  # noqa: ANN401
    """The tensor of what a module returned.

    Raises
    ------
    RecipeError
        It is no tensor and no entry is named, or there is no such entry.
    """
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, Mapping):
        names: list[Any] = [str(name) for name in returned]
    elif isinstance(returned, Sequence) and not isinstance(returned, str):
        names = list(range(len(returned)))
    else:
        raise RecipeError(
            f"the module returned {type(returned).__name__}",
            where=WHERE,
            expected="a tensor of logits, or a tuple or dictionary that holds one",
        )
    if entry not in names:
        first = f'"{names[0]}"' if names and isinstance(names[0], str) else "0"
        raise RecipeError(
            f"the module returned {type(returned).__name__}"
            + ("" if entry is None else f', which has no "{entry}"'),
            where=WHERE,
            expected="a tensor, or the name of the entry that holds the logits: "
            + one_of(str(entry), map(str, names)),
            next_step=f"Name it: output = {first}, for example",
        )
    found = returned[entry]
    if not isinstance(found, Tensor):
        raise RecipeError(
            f"the entry {entry!r} of what the module returned is {type(found).__name__}",
            where="recipe.output",
            expected="the entry that is a tensor of logits",
        )
    return found


def refuse_own_training(module: nn.Module) -> None:
    """Raise where a module brings its own training, which would be ignored."""
    module = getattr(module, "_orig_mod", module)  # behind torch.compile
    for one in type(module).__mro__:
        name = one.__module__.partition(".")[0]
        # A Keras model that was not compiled is as plain as its layers are.
        if name in OWN_TRAINING and (name != "keras" or getattr(module, "compiled", False)):
            raise RecipeError(
                f"{type(module).__name__} is a {one.__name__} of {name}: it has its own training "
                "step and optimiser, which this recipe would ignore",
                where=WHERE,
                expected="a plain nn.Module, trained by this recipe",
                next_step='To audit it as it is, call its training in a function: kind = "python", '
                "train = ... (docs/recipes.md has the lines)",
            )


def adapted(
    modules: Sequence[nn.Module],
    encoded: Encoded,
    records: int,
    columns: int,
    kind: str,
    entry: str | int | None,
    *,
    own: bool,
) -> list[nn.Module]:
    """Modules that return logits of the task's shape, one tensor.

    Parameters
    ----------
    modules : sequence of Module
        Of one kind; the first is looked at.
    encoded : Encoded
    records : int
    columns : int
        Of the task: 1 for two classes.
    kind : {"sigmoid", "softmax", "multilabel"}
    entry : str or int, optional
        Of what the modules return.
    own : bool
        Whether they are of the user's making: their outputs are then looked at.

    Raises
    ------
    RecipeError
        They return no such thing, or probabilities.
    """
    device = next(modules[0].parameters()).device
    rows = torch.arange(min(records, PROBED), device=device)[None]
    x = encoded.batch([0], rows)[0]
    if len(x) < 2:
        x = torch.cat([x, x])
    was = modules[0].training
    modules[0].eval()
    with torch.no_grad():
        returned = modules[0](x)
        learning = returned
        if own:
            with _learning(modules[0]):
                learning = modules[0](x)
        if isinstance(returned, Tensor) and isinstance(learning, Tensor) and entry is not None:
            raise RecipeError(
                "the module returns one tensor, so the named entry would be ignored",
                where="recipe.output",
                next_step="Leave output out",
            )
        outputs = taken(returned, entry)
        taken(learning, entry)
        if own:
            _refuse_probabilities(modules[0], x, outputs, entry, kind)
            with _learning(modules[0]):
                _refuse_probabilities(modules[0], x, taken(learning, entry), entry, kind)
    modules[0].train(was)
    difference = kind == "sigmoid" and columns == 1 and outputs.shape[1:] == (2,)
    if isinstance(returned, Tensor) and isinstance(learning, Tensor) and not difference:
        return list(modules)
    return [Adapted(module, entry, difference=difference) for module in modules]


@contextmanager
def _learning(module: nn.Module) -> Iterator[None]:
    """The mode of training, to look at: running statistics and generators are put back."""
    kept = [(part, part.training, dict(part._buffers)) for part in module.modules()]
    values = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with torch.random.fork_rng():
            module.train()
            yield
    finally:
        for buffer, value in values:
            buffer.copy_(value)
        for part, was, buffers in kept:
            part.training = was
            part._buffers.update(buffers)


def _refuse_probabilities(
    module: nn.Module, x: Tensor, outputs: Tensor, entry: str | int | None, kind: str
) -> None:
    """Raise where outputs are no logits: of one sign, or within 0 to 1, whatever the weights are.

    Logits of a fresh network may well be so, but not when the last weights are made thirty times as
    large, with either sign. Where this changes nothing, it proves nothing but of probabilities.
    """

    def bounded(values: Tensor) -> bool:
        return bool(((values >= 0) & (values <= 1)).all())

    def total(values: Tensor) -> bool:
        return values.ndim == 2 and bool(((values.sum(dim=1) - 1).abs() < TOTAL).all())

    def logarithms(values: Tensor) -> bool:
        return bool((values <= 0).all()) and not total(values.exp())

    if not (bool((outputs >= 0).all()) or logarithms(outputs)):
        return
    seen = [outputs]
    for factor in STRETCHED:
        with _stretched(module, x, factor):
            seen.append(taken(module(x), entry))
    if all(bounded(values) for values in seen):
        softmax = outputs.ndim == 2 and outputs.shape[1] > 1 and all(total(v) for v in seen)
        name = "softmax" if softmax and kind != "multilabel" else "sigmoid"
        returns, ends = "probabilities", f"a {name} or the like"
    elif all(torch.equal(values, outputs) for values in seen[1:]):
        return
    elif all(bool((values >= 0).all()) for values in seen):
        name = "last function"
        returns, ends = "numbers that are never negative", "a ReLU, percentages or the like"
    elif all(logarithms(values) for values in seen):
        name = "logarithm and the sigmoid"
        returns, ends = "numbers that are never positive", "logsigmoid or the like"
    else:
        return
    raise RecipeError(
        f"the module returns {returns} (it ends in {ends}), but the loss is computed from logits: "
        "a different model would be trained",
        where=WHERE,
        expected="logits: the numbers before the last function",
        next_step=f"Remove the {name} from the module; for training and AUCs nothing else "
        'changes. Or train with your own function: kind = "python", output = '
        '"probabilities"',
    )


@contextmanager
def _stretched(module: nn.Module, x: Tensor, factor: float) -> Iterator[None]:
    """Make the weights of the last part that has any larger, and put them back."""
    last: list[nn.Module] = [module]
    handles = [
        part.register_forward_hook(lambda one, _x, _y: last.append(one))
        for part in module.modules()
        if list(part.parameters(recurse=False))
    ]
    try:
        module(x)
    finally:
        for handle in handles:
            handle.remove()
    kept = [(p, p.detach().clone()) for p in last[-1].parameters()]
    try:
        for p, _ in kept:
            p.mul_(factor)
        yield
    finally:
        for p, value in kept:
            p.copy_(value)


def fresh(instance: nn.Module) -> nn.Module:
    """A copy of a module with new first weights, drawn from torch's generator.

    Raises
    ------
    RecipeError
        Some of its weights are drawn by nothing that can be called again.
    """
    module = copy.deepcopy(instance)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    same = [
        name
        for name, value in module.named_parameters()
        if value.numel() > 1
        and torch.equal(value, before[name])
        and not bool((value == value.reshape(-1)[0]).all())
    ]
    if same:
        raise RecipeError(
            f'the weights "{same[0]}" of the module cannot be reinitialised: every model would '
            f"start with the same ({len(same)} of {len(before)} tensors)",
            where=WHERE,
            expected="parts with reset_parameters, as torch's layers have",
            next_step="Pass a factory, which creates a new module for each model: lambda inputs, "
            f"outputs: {type(instance).__name__}(...). To keep the weights, declare:  "
            "backbone_trained_on_cohort = true or false",
        )
    return module
