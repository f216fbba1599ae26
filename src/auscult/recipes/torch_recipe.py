"""PyTorch recipes: built-in networks or any factory of an `nn.Module`; torch loads when used."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auscult.cohort import TrainingData
from auscult.errors import ConfigError, RecipeError, one_of
from auscult.inputs import ArrayInputs, TableInputs
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.recipes.failures import explained
from auscult.recipes.outputs import output_columns, output_kind
from auscult.recipes.privacy import DpSettings, Guarantee, guarantee
from auscult.recipes.python import describe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from auscult.recipes.torch_data import Encoded
    from auscult.recipes.torch_training import Plan

OPTIMIZERS = ("adamw", "adam", "sgd")
BUILT_IN = ("mlp", "cnn")
SMALL_STEP = 2e7  # floating point operations of a model's step below which overhead rules
CHOICES = {
    "optimizer": OPTIMIZERS,
    "stack": ("auto", "always", "never"),
    "device": ("auto", "cpu", "cuda"),
    "dtype": ("float32", "float64"),
}


class TorchRecipe(Recipe):
    """Train networks with PyTorch, the models of a block in one batched step where possible.

    Parameters
    ----------
    model : str or callable
        "mlp" (tables), "cnn" (images), "module:factory", or a factory
        ``factory(inputs, outputs, **factory_arguments)`` that returns an `nn.Module`. `inputs` is
        the number of features of a table, and the shape of one record otherwise: (channels,
        height, width) or (channels, length). `outputs` is 1 for two classes. The module returns
        logits, shape (records, outputs).
    hidden : sequence of int
        Hidden layers of "mlp".
    width : int
        Channels of the first block of "cnn".
    dropout : float
        Of "mlp" and "cnn".
    epochs, batch_size : int
    optimizer : {"adamw", "adam", "sgd"}
    learning_rate, weight_decay : float
    momentum : float
        Of "sgd".
    image_size : int, optional
        Resize images to this height and width.
    stack : {"auto", "always", "never"}
        Train the models of a block in one batched step. "auto" does so where it can and helps.
    device : {"auto", "cpu", "cuda"}
    dtype : {"float32", "float64"}
    factory_arguments : mapping, optional
    folder : path-like, optional
        Where to look for the module first.
    dp : mapping, optional
        Train with differential privacy (DP-SGD): `unit` ("record" or "patient"), `epsilon` (or
        `noise`), `delta` (1e-5), `clip`. An infinite epsilon, or noise 0, samples and clips alike
        and promises nothing.

    Notes
    -----
    Tables: numbers are scaled on each model's own members, missing ones become 0 beside an
    indicator; categories are one-hot. Images: each channel is scaled on the members. With `dp` the
    scaling is the whole cohort's: statistics of the members would tell about them.
    """

    kind = "torch"

    def __init__(
        self,
        model: str | Callable[..., nn.Module] = "mlp",
        *,
        hidden: Sequence[int] = (128, 128),
        width: int = 16,
        dropout: float = 0.0,
        epochs: int = 15,
        batch_size: int = 256,
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.9,
        image_size: int | None = None,
        stack: str = "auto",
        device: str = "auto",
        dtype: str = "float32",
        factory_arguments: Mapping[str, Any] | None = None,
        folder: Path | str | None = None,
        dp: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.hidden = hidden
        self.width = width
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.image_size = image_size
        self.stack = stack
        self.device = device
        self.dtype = dtype
        self.factory_arguments = factory_arguments
        self.folder = None if folder is None else Path(folder)
        self.dp = dp
        self._kept: tuple[TableInputs | ArrayInputs, Encoded] | None = None
        self._measured: tuple[int, int, dict[str, float]] | None = None

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recipe.settings`; a factory's source is part of it."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f'"{getattr(self, name)}" is no choice',
                    where=f"recipe.{name}",
                    expected=", ".join(choices),
                )
        for name in ("epochs", "batch_size", "width"):
            if getattr(self, name) < 1:
                raise ConfigError("it is too small", where=f"recipe.{name}", expected="1 or more")
        settings: dict[str, Any] = {
            "model": self.model if self.model in BUILT_IN else describe(self._factory()),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
        }
        if self.model == "mlp":
            settings |= {"hidden": list(self.hidden), "dropout": self.dropout}
        elif self.model == "cnn":
            settings |= {"width": self.width, "dropout": self.dropout}
        elif self.factory_arguments:
            settings["factory_arguments"] = dict(self.factory_arguments)
        if self.optimizer == "sgd":
            settings["momentum"] = self.momentum
        if self.image_size is not None:
            settings["image_size"] = self.image_size
        if self.dp is not None:
            settings["dp"] = DpSettings.read(self.dp).as_settings()
        # Device, number format and stacking change the last digits: they are part of the identity.
        return settings | {"stack": self.stack, "device": self.device, "dtype": self.dtype}

    def supports(self, data: TrainingData) -> str | None:
        """See :meth:`Recipe.supports`."""
        table = isinstance(data.inputs, TableInputs)
        if self.model == "mlp" and not table:
            return 'the built-in "mlp" needs a table; "cnn" reads images'
        if self.model == "cnn" and (
            not isinstance(data.inputs, ArrayInputs) or data.inputs.array.ndim < 3
        ):
            return 'the built-in "cnn" needs images; "mlp" reads tables'
        if self.image_size is not None and table:
            return "image_size goes with images, and this is a table"
        if self.dp is not None:
            if DpSettings.read(self.dp).unit == "patient" and data.patient_of_record is None:
                return "private training at patient level needs to know whose each record is"
            self._guarantee(data)
        return None

    def block_models(self, data: TrainingData, models: int) -> int:
        """See :meth:`Recipe.block_models`; small stacked networks come in blocks of up to 32.

        Measured on diabetes130: with two layers of 32 and batches of 64, a model costs 0.137 s
        among 8, 0.095 s among 16 and 0.080 s among 32; with 128 and 256, company of 8 is enough.
        """
        usual = super().block_models(data, models)
        if self.model != "mlp" or self.dropout > 0 or self.stack == "never":
            return usual
        inputs = data.inputs
        if not isinstance(inputs, TableInputs):
            return usual
        columns = inputs.numeric.shape[1] + sum(map(len, inputs.levels))
        sizes = [columns, *self.hidden, output_columns(data)]
        weights = sum(a * b for a, b in itertools.pairwise(sizes))
        if 6 * weights * self.batch_size > SMALL_STEP:
            return usual
        return max(usual, min(32, models // 4))

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        """See :meth:`Recipe.train_block`."""
        speed: dict[str, Any] = {}
        values, facts = self.train_exactly(data, assignments, advance, speed)
        return BlockOutputs(
            values=values.astype(np.float32)[:, None],
            kind=output_kind(data),
            facts=facts,
            speed=speed,
        )

    def train_exactly(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
        speed: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Outputs in 64 bits, shape (models, records, columns), and facts; fills in `speed`."""
        torch = _torch()
        from auscult.recipes.torch_training import (
            Plan,
            check_shape,
            predictions,
            steps_per_epoch,
            train_alone,
            train_stacked,
            why_not_stacked,
        )

        speed = {} if speed is None else speed
        device = self._device()
        kind, columns, records = output_kind(data), output_columns(data), len(data.inputs)
        encoded = self._encoded(data.inputs, device)
        everybody = np.arange(records)
        encoded.fit([one.members if self.dp is None else everybody for one in assignments])
        labels = torch.from_numpy(data.labels).to(device)
        plan = Plan(
            epochs=self.epochs,
            steps=steps_per_epoch(records, self.batch_size),
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            loss=kind,
        )
        modules = [self._module(one, encoded, columns, device) for one in assignments]
        first = assignments[0].model
        with explained(first, "the first forward pass"):
            check_shape(modules[0], encoded, columns)
        if self.dp is not None:
            return self._train_privately(
                modules, encoded, labels, data, assignments, plan, advance, speed
            )
        reason = (
            "as configured (stack = never)"
            if self.stack == "never"
            else why_not_stacked(modules[0], encoded, device)
        )
        if reason is not None and self.stack == "always":
            reason = None if "faster" in reason else reason
            if reason is not None:
                raise RecipeError(
                    f"the module cannot be stacked: {reason}",
                    where="recipe.stack",
                    next_step='Use stack = "auto"',
                )
        if reason is None:
            with explained(first, "training"):
                together = self._together(modules, encoded, labels, assignments, plan, speed)
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
        else:
            for place, one in enumerate(assignments):
                with explained(one.model, "training"), torch.random.fork_rng():
                    torch.manual_seed(one.seed)
                    train_alone(modules[place], place, encoded, labels, one, plan, advance)
        return predictions(modules, encoded, assignments, records), _facts(modules[0], reason)

    def _train_privately(
        self,
        modules: Sequence[nn.Module],
        encoded: Encoded,
        labels: torch.Tensor,
        data: TrainingData,
        assignments: Sequence[Assignment],
        plan: Plan,
        advance: Callable[[float], None],
        speed: dict[str, Any],
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Train with differential privacy; returns as :meth:`train_exactly` does."""
        from auscult.recipes.torch_private import Privacy, train_privately
        from auscult.recipes.torch_training import predictions

        promised = self._guarantee(data)
        privacy = Privacy.of(promised, data.patient_of_record, len(data.inputs))

        def together(train: Callable[..., None]) -> int:
            return self._together(modules, encoded, labels, assignments, plan, speed, train)

        reason = train_privately(
            modules,
            encoded,
            labels,
            assignments,
            plan,
            advance,
            privacy=privacy,
            stack=self.stack,
            together=together,
        )
        facts = _facts(modules[0], reason) | {"dp": promised.facts()}
        return predictions(modules, encoded, assignments, len(data.inputs)), facts

    def _guarantee(self, data: TrainingData) -> Guarantee:
        from auscult.recipes.torch_training import steps_per_epoch

        return guarantee(
            DpSettings.read(self.dp or {}),
            data,
            batch_size=self.batch_size,
            epochs=self.epochs,
            steps=steps_per_epoch(len(data.inputs), self.batch_size),
        )

    def _encoded(self, inputs: TableInputs | ArrayInputs, device: torch.device) -> Encoded:
        """Inputs on the device, kept from block to block of the same cohort."""
        from auscult.recipes.torch_data import encode

        if self._kept is None or self._kept[0] is not inputs:
            dtype = getattr(_torch(), self.dtype)
            self._kept = (inputs, encode(inputs, dtype, device, self.image_size))
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """What was measured and kept stays in the process that made it."""
        return self.__dict__ | {"_kept": None, "_measured": None}

    def _together(
        self,
        modules: Sequence[nn.Module],
        encoded: Encoded,
        labels: torch.Tensor,
        assignments: Sequence[Assignment],
        plan: Plan,
        speed: dict[str, Any],
        train: Callable[..., None] | None = None,
    ) -> int:
        """Models at once in this process: measured for its first block, kept for the others."""
        from auscult.recipes.torch_training import best_together

        if self._measured is None or self._measured[0] != len(modules):
            best, milliseconds = best_together(modules, encoded, labels, assignments, plan, train)
            self._measured = (len(modules), best, milliseconds)
        _, best, milliseconds = self._measured
        speed["models_at_once"] = best
        speed["milliseconds_per_model_and_step"] = milliseconds
        return best

    def _module(
        self, assignment: Assignment, encoded: Encoded, columns: int, device: torch.device
    ) -> nn.Module:
        """A network with the initial weights of the model's own seed."""
        torch = _torch()
        from auscult.recipes import networks

        shape = encoded.shape
        inputs: Any = shape[0] if len(shape) == 1 else shape
        with explained(assignment.model, "making the network"), torch.random.fork_rng():
            torch.manual_seed(assignment.seed)
            if self.model == "mlp":
                module = networks.mlp(inputs, columns, self.hidden, self.dropout)
            elif self.model == "cnn":
                module = networks.cnn(inputs, columns, self.width, self.dropout)
            else:
                module = self._factory()(inputs, columns, **dict(self.factory_arguments or {}))
        if not isinstance(module, torch.nn.Module) or not list(module.parameters()):
            raise RecipeError(
                f"the factory returned {type(module).__name__}",
                where="recipe.model",
                expected="an nn.Module with parameters",
            )
        ready: nn.Module = module.to(device=device, dtype=getattr(torch, self.dtype))
        return ready

    def _factory(self) -> Callable[..., nn.Module]:
        if not isinstance(self.model, str):
            return self.model
        if ":" not in self.model:
            raise ConfigError(
                f'there is no built-in network "{self.model}"',
                where="recipe.model",
                expected=f'a built-in name or "module:factory"; {one_of(self.model, BUILT_IN)}',
            )
        from auscult.recipes.resolve import resolve

        found = resolve(self.model, self.folder)
        if not callable(found):
            raise RecipeError(
                f"{self.model} is no factory",
                where="recipe.model",
                expected="factory(inputs, outputs) -> nn.Module",
            )
        return found  # type: ignore[no-any-return]

    def _device(self) -> torch.device:
        torch = _torch()
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RecipeError(
                "PyTorch finds no GPU here", where="recipe.device", expected='"cpu" or "auto"'
            )
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(name)  # type: ignore[no-any-return]


def _facts(module: nn.Module, not_stacked: str | None) -> dict[str, Any]:
    """What the manifest and the report say of a block's training."""
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "trained": "stacked" if not_stacked is None else "one after the other",
        "device": next(module.parameters()).device.type,
    }
    return facts if not_stacked is None else facts | {"not_stacked_because": not_stacked}


def _torch() -> Any:  # noqa: ANN401
    try:
        import torch
    except ImportError as error:
        raise RecipeError(
            "PyTorch is not installed",
            where='recipe.kind = "torch"',
            next_step='Install it: pip install "auscult[torch]" -c constraints.txt',
        ) from error
    return torch
