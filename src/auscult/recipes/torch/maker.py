"""Networks of a PyTorch recipe, built in or of a factory; torch loads when one is made."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.base.errors import ConfigError, RecipeError, one_of
from auscult.cohort.inputs import ArrayInputs, Inputs
from auscult.recipes.base import Assignment
from auscult.recipes.failures import explained
from auscult.recipes.identity import Identity, identify
from auscult.recipes.networks import (
    KEYS,
    NAMES,
    READS,
    Network,
    kind_of,
    network,
    record_shape,
)
from auscult.recipes.python import describe
from auscult.recipes.resolve import resolve

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


STATE_DICTS = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(kw_only=True, eq=False)
class Maker:
    """Makes a network for each model.

    Attributes
    ----------
    model : str or callable
        Name of a built-in network, "module:factory", or a factory.
    given : mapping
        Settings of a built-in network that have a key of their own.
    arguments : mapping
        Its other settings, or those of a factory.
    weights : Path or None
        File of weights to start from.
    folder : Path or None
        Where to look for the module first.
    keeps : bool
        Whether a module that was handed over keeps its weights, rather than being drawn anew.
    version : str or None
        A version of a factory's code.
    files : sequence of Path
        Files that a factory reads.
    loaded : dict or None
        Tensors of the file that were used and that were not, once a network was made.
    """

    model: str | Callable[..., nn.Module]
    given: Mapping[str, Any]
    arguments: Mapping[str, Any]
    weights: Path | None
    folder: Path | None
    keeps: bool = False
    version: str | None = None
    files: Sequence[Path] = ()
    loaded: dict[str, int] | None = None
    _tensors: dict[str, Tensor] | None = field(default=None, repr=False)

    @property
    def starts_random(self) -> bool:
        """Whether nothing about its first weights comes from elsewhere."""
        return self._built_in() is not None and self.weights is None

    @property
    def built_in(self) -> bool:
        """Whether the network is one of Auscult's own."""
        return self._built_in() is not None

    @property
    def large(self) -> bool:
        """Whether the network is a built-in one that had better be alone in memory."""
        built_in = self._built_in()
        return built_in is not None and built_in.large(self._options(built_in))

    def settings(self) -> dict[str, Any]:
        """What makes the network, as part of a run's identity; a factory's source included."""
        built_in = self._built_in()
        settings: dict[str, Any] = {"model": self.model if built_in else self._described()}
        if built_in:
            arguments = self._options(built_in)
            settings |= {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
        else:
            settings["code"] = self._identity().digest
            if self.arguments:
                settings["factory_arguments"] = dict(self.arguments)
            if self.version is not None:
                settings["version"] = self.version
        if built_in and (self.version is not None or self.files):
            raise ConfigError(
                "a built-in network has none of your code: it would be ignored",
                where="recipe.version" if self.version is not None else "recipe.files",
            )
        if self.weights is not None:
            settings["weights"] = _digest_of(self.weights)
        return settings

    def unseen(self) -> tuple[str, ...]:
        """What may change a factory's behaviour and is not in the settings."""
        if self._built_in() is not None or self.version is not None:
            return ()
        return self._identity().unseen

    def _identity(self) -> Identity:
        instance = self._instance()
        if instance is None:
            return identify(self._factory(), self.folder, self.files)
        # Of a module, what it is made of: its first weights are drawn anew, or told apart.
        parts = dict.fromkeys(type(part) for part in instance.modules())
        return identify(tuple(parts), self.folder, self.files)

    def _described(self) -> dict[str, str]:
        instance = self._instance()
        if instance is None:
            return describe(self._factory())
        kind = type(instance)
        described = {"name": f"{kind.__module__}:{kind.__qualname__}", "module": repr(instance)}
        if self.keeps:
            digest = hashlib.sha256()
            for name, value in instance.state_dict().items():
                digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
            described["weights"] = digest.hexdigest()
        return described

    def _instance(self) -> nn.Module | None:
        """The module, where one was handed over in place of a factory."""
        if self._built_in() is not None:
            return None
        found: Any = self._factory()
        import torch

        if not isinstance(found, torch.nn.Module):
            return None
        if self.arguments:
            raise ConfigError(
                "arguments require a factory, but the model is a finished module",
                where="recipe.arguments",
            )
        return found

    def why_not(self, inputs: Inputs, image_size: int | None) -> str | None:
        """Why the network cannot read these inputs, or None."""
        built_in, reads = self._built_in(), kind_of(inputs)
        if built_in is None:
            return None
        if built_in.reads != reads:
            others = [n for n in NAMES if (found := network(n)) and found.reads == reads]
            hint = " or ".join(f'"{name}"' for name in others) or "no built-in network"
            hint += f" reads {READS[reads]}"
            if (built_in.reads, reads) == ("signals", "images"):
                hint += '; signals of several leads need channels = "first" in [cohort]'
            return (
                f'the built-in "{built_in.name}" needs {READS[built_in.reads]}, but this is '
                f"{READS[reads]}: {hint}"
            )
        if isinstance(inputs, ArrayInputs):
            return built_in.why_not(record_shape(inputs, image_size), self._options(built_in))
        return None

    def make(
        self,
        assignment: Assignment,
        shape: tuple[int, ...],
        columns: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> nn.Module:
        """A network with the initial weights of the model's own seed.

        Parameters
        ----------
        assignment : Assignment
        shape : tuple of int
            Of a record.
        columns : int
            Of the output.
        device : torch.device
        dtype : torch.dtype
        """
        import torch

        from auscult.recipes.torch.adapting import fresh, refuse_own_training
        from auscult.recipes.torch.cards import drawing

        inputs: Any = shape[0] if len(shape) == 1 else shape
        with explained(assignment.model, "making the network"), drawing(assignment.seed, device):
            built_in = self._built_in()
            if built_in is not None:
                module = built_in.make(inputs, columns, self._options(built_in))
            elif (instance := self._instance()) is not None:
                module = copy.deepcopy(instance) if self.keeps else fresh(instance)
            else:
                module = self._factory()(inputs, columns, **dict(self.arguments))
        if not isinstance(module, torch.nn.Module) or not list(module.parameters()):
            raise RecipeError(
                f"the factory returned {type(module).__name__}",
                where="recipe.model",
                expected="an nn.Module with parameters",
            )
        refuse_own_training(module)
        if self.weights is not None:
            from auscult.recipes.torch.weights import load_into, read_weights

            if self._tensors is None:
                self._tensors = read_weights(self.weights)
            self.loaded = load_into(module, self._tensors)
        ready: nn.Module = module.to(device=device, dtype=dtype)
        return ready

    def _built_in(self) -> Network | None:
        return network(self.model) if isinstance(self.model, str) else None

    def _options(self, built_in: Network) -> dict[str, Any]:
        for key in KEYS:
            if key in self.arguments:
                raise ConfigError(
                    f"{key} has its own key",
                    where=f"recipe.arguments.{key}",
                    expected=f"recipe.{key}",
                )
        return built_in.arguments({**self.given, **self.arguments})

    def _factory(self) -> Callable[..., nn.Module]:
        if not isinstance(self.model, str):
            return self.model
        if ":" not in self.model:
            raise ConfigError(
                f'there is no built-in network "{self.model}"',
                where="recipe.model",
                expected=f'a built-in name or "module:factory"; {one_of(self.model, NAMES)}',
            )
        found = resolve(self.model, self.folder)
        if not callable(found):
            raise RecipeError(
                f"{self.model} is not a factory",
                where="recipe.model",
                expected="factory(inputs, outputs) -> nn.Module",
            )
        return found  # type: ignore[no-any-return]


def _digest_of(path: Path) -> str:
    """SHA-256 of a file of weights."""
    if path.suffix not in (".safetensors", *STATE_DICTS):
        raise RecipeError(
            f'"{path.name}" has a format that is not supported',
            where="recipe.weights",
            expected="a .safetensors file, which holds numbers and no code, or a state dict "
            f"({', '.join(STATE_DICTS)})",
            next_step='Or load it in a factory of your own: model = "module:factory"',
        )
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise RecipeError(
            f"it cannot be read ({type(error).__name__})", where=f"recipe.weights = {path}"
        ) from error
