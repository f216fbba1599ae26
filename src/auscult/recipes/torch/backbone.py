"""Frozen backbones: their features are computed once, and only what follows them is trained.

A module says that it has one by two parts, `backbone` and `head`, with `head(backbone(x))` as its
output and no trainable parameter in the backbone. Imports torch: load it lazily.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.base.errors import RecipeError
from auscult.recipes.base import Assignment
from auscult.recipes.torch.encoding import Encoded

RECORDS_AT_ONCE = 256
TOLERANCE = 1e-5


class EncodedFeatures(Encoded):
    """What a frozen backbone makes of every record; the same for all models.

    Parameters
    ----------
    values : tensor, shape (records, ...)
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self.shape = tuple(values.shape[1:])

    def fit(self, members: Sequence[NDArray[np.int64]]) -> None:
        """Nothing: features are handed over as the backbone made them."""

    def batch(self, models: Sequence[int], rows: Tensor) -> Tensor:  # noqa: ARG002
        """See :meth:`Encoded.batch`."""
        return self._values[rows]


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Features of a cohort and what they came from.

    Attributes
    ----------
    encoded : EncodedFeatures
    digest : str
        Of the backbone's weights.
    """

    encoded: EncodedFeatures
    digest: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Modules to train and what they read.

    Attributes
    ----------
    modules : list of Module
        Whole networks, or the heads of those with a frozen backbone.
    encoded : Encoded
    features : Features or None
        Worth keeping for the next block.
    facts : dict
        Empty where nothing is frozen.
    """

    modules: list[nn.Module]
    encoded: Encoded
    features: Features | None
    facts: dict[str, Any]


def prepared(
    make: Callable[[Assignment], nn.Module],
    assignments: Sequence[Assignment],
    encoded: Encoded,
    records: int,
    *,
    obstacle: str | None,
    kept: Features | None,
    known: bool = True,
) -> Prepared:
    """Make the networks of a block; where a frozen backbone allows it, only their heads.

    Parameters
    ----------
    make : callable
        A network with the initial weights of a model's own seed.
    assignments : sequence of Assignment
    encoded : Encoded
        Fitted to the members of the block's models.
    records : int
    obstacle : str or None
        Why the features of a frozen backbone would not be the same in every model and epoch.
    kept : Features or None
        Of the block before.
    known : bool
        Whether it is known, or was declared, where first weights come from.
    """
    facts: dict[str, Any]
    first = make(assignments[0])
    still = sum(p.numel() for p in first.parameters() if not p.requires_grad)
    if not still:
        modules = [first, *(make(one) for one in assignments[1:])]
        # Another seed tells weights that are drawn from those that come from elsewhere.
        same = 0 if known else _same(first, make(_reseeded(assignments[0])))
        facts = {"same_parameters": same} if same else {}
        return Prepared(modules=modules, encoded=encoded, features=None, facts=facts)
    if not any(p.requires_grad for p in first.parameters()):
        raise RecipeError(
            "every parameter of the network is frozen, so nothing is trained",
            where="recipe.model",
            expected="a part with requires_grad = True, such as a head",
        )
    facts = {"frozen_parameters": still}
    reason = why_not_cached(first, encoded) or obstacle
    if reason is None and kept is None:
        # Another seed tells a backbone that was loaded from one that is drawn for each model.
        other = make(_reseeded(assignments[0]))
        if digest(_part(other, "backbone")) != digest(_part(first, "backbone")):
            reason = "the frozen parameters differ from model to model"
    if reason is not None:
        modules = [first, *(make(one) for one in assignments[1:])]
        facts["features_not_kept_because"] = reason
        return Prepared(modules=modules, encoded=encoded, features=None, facts=facts)
    features = kept
    if features is None:
        features = features_of(_part(first, "backbone"), encoded, records)
    heads = []
    for place, one in enumerate(assignments):
        module = make(one) if place else first
        if digest(_part(module, "backbone")) != features.digest:
            raise RecipeError(
                "the frozen backbone differs from that of the models before",
                where=f"model {one.model}",
                expected="the same weights from every call of the factory",
            )
        heads.append(_part(module, "head"))
    facts["features"] = int(np.prod(features.encoded.shape))
    return Prepared(modules=heads, encoded=features.encoded, features=features, facts=facts)


def _reseeded(one: Assignment) -> Assignment:
    return replace(one, seed=one.seed ^ 1)


def _same(first: nn.Module, other: nn.Module) -> int:
    """Number of parameters that two seeds give alike, those that all start from one value aside."""
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    return sum(
        a.numel() for a, b in pairs if torch.equal(a, b) and not bool((a == a.reshape(-1)[0]).all())
    )


def frozen(module: nn.Module) -> bool:
    """Whether a module has parameters and trains none of them."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def train_mode(module: nn.Module) -> None:
    """Training mode, but not for frozen parts: dropout and running statistics rest there."""
    module.train()
    for part in module.modules():
        if frozen(part):
            part.eval()


def digest(module: nn.Module) -> str:
    """SHA-256 of names and values of a module's parameters and buffers."""
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


@torch.no_grad()
def why_not_cached(module: nn.Module, encoded: Encoded) -> str | None:
    """Why features of a module with frozen parameters cannot be kept, or None where they can."""
    backbone, head = getattr(module, "backbone", None), getattr(module, "head", None)
    if not isinstance(backbone, nn.Module) or not isinstance(head, nn.Module):
        return "the module has no parts named backbone and head"
    if not frozen(backbone):
        return "parameters of the backbone are trained"
    parts = [*backbone.parameters(), *head.parameters()]
    if {id(p) for p in module.parameters()} != {id(p) for p in parts}:
        return "the module has parameters outside of backbone and head"
    module.eval()
    device = parts[0].device
    x = encoded.batch([0], torch.zeros((1, 2), dtype=torch.int64, device=device))[0]
    whole, parted = module(x), head(backbone(x))
    if whole.shape != parted.shape or not torch.allclose(
        whole, parted, rtol=TOLERANCE, atol=TOLERANCE
    ):
        return "the module's output is not head(backbone(x))"
    return None


@torch.no_grad()
def features_of(backbone: nn.Module, encoded: Encoded, records: int) -> Features:
    """Features of all records.

    Parameters
    ----------
    backbone : Module
    encoded : Encoded
    records : int
    """
    backbone.eval()
    device = next(backbone.parameters()).device
    pieces = []
    for start in range(0, records, RECORDS_AT_ONCE):
        rows = torch.arange(start, min(start + RECORDS_AT_ONCE, records), device=device)
        pieces.append(backbone(encoded.batch([0], rows[None])[0]))
    return Features(encoded=EncodedFeatures(torch.cat(pieces)), digest=digest(backbone))


def _part(module: nn.Module, name: str) -> nn.Module:
    part: nn.Module = getattr(module, name)
    return part
