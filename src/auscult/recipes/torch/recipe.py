"""PyTorch recipes: built-in networks or any factory of an `nn.Module`; torch loads when used."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError
from auscult.cohort import TrainingData
from auscult.cohort.cohort import CLASS_TASKS
from auscult.cohort.inputs import ArrayInputs, Inputs, NamedInputs, TableInputs
from auscult.recipes.base import MANY, Assignment, BlockOutputs, Recipe
from auscult.recipes.devices import Device, cards_of, in_worker, kind_of_device
from auscult.recipes.networks import kind_of
from auscult.recipes.outputs import output_columns, output_kind
from auscult.recipes.privacy import DpSettings, Guarantee, guarantee, unkept
from auscult.recipes.python import several
from auscult.recipes.resolve import beside
from auscult.recipes.torch.augmentation import parse, unfit
from auscult.recipes.torch.maker import Maker
from auscult.recipes.torch.settings import check, used

if TYPE_CHECKING:
    import torch
    from torch import nn

    from auscult.recipes.torch.backbone import Features
    from auscult.recipes.torch.encoding import Encoded

SMALL_BLOCKS = (16, 16, 16, 16, 32)  # models of the first blocks; then as many as in the last
SMALL_STEP = 2e7  # floating point operations of a model's step below which overhead rules


class TorchRecipe(Recipe):
    """Train networks with PyTorch, the models of a block in one batched step where possible.

    Parameters
    ----------
    model : str or callable
        A built-in network: "mlp" and "tabular-resnet" read tables, "cnn", "wrn-28-2", "wrn-40-4"
        (any "wrn-<depth>-<widening>"), "vit-b-16" and "vit-l-16" images, "resnet-1d" signals. Or
        "module:factory", or a factory ``factory(inputs, outputs, **factory_arguments)`` that
        returns an `nn.Module`. `inputs` is the number of features of a table, and the shape of one
        record otherwise: (channels, height, width) or (channels, length). `outputs` is 1 for two
        classes. The module returns logits, shape (records, outputs); two logits for two classes are
        accepted. Or a module: each model trains a copy, reinitialised by its parts'
        `reset_parameters`.
    hidden : sequence of int, optional
        Hidden layers of "mlp".
    width : int, optional
        Of a built-in network that has one.
    dropout : float, optional
        Of a built-in network.
    epochs, batch_size : int
    optimizer : {"adamw", "adam", "sgd"}
    learning_rate, weight_decay : float
    momentum : float
        Of "sgd".
    label_smoothing : float
        Share of each target that is spread evenly over its classes, 0 to below 1.
    schedule : {"constant", "cosine"}
        Of the learning rate.
    warmup_epochs : float
        Epochs over which the learning rate rises to its height.
    ema : float
        Decay of the moving average of the weights, which then predicts; 0 for the last weights.
    augment : sequence of str
        Of "flip", "flip-vertical", "shift", "rotate", "scale", "noise", each with its amount
        behind a colon where it is not the usual one.
    scaling : {"members", "fixed"}
        Images and signals are scaled on each model's own members, or passed as they are, bytes as 0
        to 1, as pretrained networks expect them.
    weights : path-like, optional
        A safetensors file, or a state dict (".pt"), with weights to start from.
    backbone_trained_on_cohort : bool, optional
        Whether pretrained weights saw this cohort's patients. Required with `weights`. If given for
        a module, every model starts from its weights.
    image_size : int, optional
        Resize images to this height and width.
    stack : {"auto", "always", "never"}
        Train the models of a block in one batched step. "auto" does so where it can and helps.
    device : {"auto", "cpu", "cuda"} or sequence of str
        "auto" and "cuda" use all cards that PyTorch sees, with one worker each; a list such as
        ["cuda:0", "cuda:1"] names those to use. Which card it was does not change the results.
    dtype : {"float32", "float64", "tf32", "bfloat16"}
        "bfloat16" multiplies in 16 bits while it trains; weights and predictions keep 32. "tf32"
        does so in 19 bits, on NVIDIA's cards only.
    compile : bool
        Pass the training step of models that are trained one after the other through PyTorch's
        compiler: half the time for large networks on a GPU, once half a minute to compile.
    factory_arguments : mapping, optional
        Of a factory, or further settings of a built-in network.
    output : str or int, optional
        Entry that holds the logits, of a module that returns a dictionary or tuple.
    folder : path-like, optional
        Where to look for the module first.
    version : str, optional
        Your own version of a factory's code: it vouches for what a digest cannot cover.
    files : sequence of path-like
        Files that a factory reads; their content is part of the run's identity.
    dp : mapping, optional
        Train with differential privacy (DP-SGD): `unit` ("record" or "patient"), `epsilon` (or
        `noise`), `delta` (1e-5), `clip`. An infinite epsilon, or noise 0, samples and clips in the
        same way and guarantees nothing.

    Notes
    -----
    Tables: numbers are scaled on each model's own members, missing ones become 0 beside an
    indicator; categories are one-hot. Images and signals: each channel is scaled on the members.
    Parameters that do not require a gradient stay as the factory made them. With `dp` the scaling
    uses the whole cohort: statistics of the members would reveal something about them.
    """

    kind = "torch"
    label = "PyTorch"

    def __init__(
        self,
        model: str | Callable[..., nn.Module] = "mlp",
        *,
        hidden: Sequence[int] | None = None,
        width: int | None = None,
        dropout: float | None = None,
        epochs: int = 15,
        batch_size: int = 256,
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.9,
        label_smoothing: float = 0.0,
        schedule: str = "constant",
        warmup_epochs: float = 0,
        ema: float = 0,
        augment: Sequence[str] = (),
        scaling: str = "members",
        weights: Path | str | None = None,
        backbone_trained_on_cohort: bool | None = None,
        image_size: int | None = None,
        stack: str = "auto",
        device: Device = "auto",
        dtype: str = "float32",
        compile: bool = False,  # noqa: A002 - the recipe's key
        factory_arguments: Mapping[str, Any] | None = None,
        output: str | int | None = None,
        folder: Path | str | None = None,
        version: str | None = None,
        files: Sequence[Path | str] = (),
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
        self.label_smoothing = label_smoothing
        self.schedule = schedule
        self.warmup_epochs = warmup_epochs
        self.ema = ema
        self.augment = augment
        self.scaling = scaling
        self.weights = None if weights is None else Path(weights)
        self.backbone_trained_on_cohort = backbone_trained_on_cohort
        self.image_size = image_size
        self.stack = stack
        self.device = device
        self.dtype = dtype
        self.compile = compile
        self.factory_arguments = factory_arguments
        self.output = output
        self.folder = None if folder is None else Path(folder)
        self.version = version
        self.files = files
        self.dp = dp
        self._kept: tuple[TableInputs | ArrayInputs, Encoded] | None = None
        self._features: Features | None = None

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recipe.settings`; a factory's source is part of it."""
        check(self.__dict__)
        settings: dict[str, Any] = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
        }
        settings |= self._maker().settings()
        if self.backbone_trained_on_cohort is not None and self._maker().starts_random:
            raise ConfigError(
                "a built-in network starts from random weights",
                where="recipe.backbone_trained_on_cohort",
                expected="weights, or a factory",
            )
        if self.optimizer == "sgd":
            settings["momentum"] = self.momentum
        if self.image_size is not None:
            settings["image_size"] = self.image_size
        settings |= used(self.__dict__)
        if self.output is not None:
            settings["output"] = self.output
        if self.augment:
            settings["augment"] = {one.name: one.amount for one in parse(self.augment)}
        if self.dp is not None and self.label_smoothing:
            raise ConfigError(
                "private training does not smooth labels: it would be ignored",
                where="recipe.label_smoothing",
            )
        if self.dp is not None:
            settings["dp"] = DpSettings.read(self.dp).as_settings()
        # Device, number format and stacking change the last digits: they are part of the identity.
        return settings | {
            "stack": self.stack,
            "device": kind_of_device(self.device),
            "dtype": self.dtype,
        }

    def unseen(self) -> tuple[str, ...]:
        """See :meth:`Recipe.unseen`."""
        return self._maker().unseen()

    def supports(self, data: TrainingData) -> str | None:
        """See :meth:`Recipe.supports`."""
        if isinstance(data.inputs, TableInputs):
            if self.image_size is not None:
                return "image_size requires images, but this is a table"
            if self.scaling != "members":
                return "scaling requires images or signals, but this is a table"
        if isinstance(data.inputs, NamedInputs):
            return several(data.inputs)
        if data.task not in CLASS_TASKS:
            return (
                f'the outcome is "{data.task}", but these networks predict classes: train with '
                'your own function, kind = "python" and output = "loss"'
            )
        reads = kind_of(data.inputs)
        no = self._maker().why_not(data.inputs, self.image_size)
        if no is None and self.dp is not None:
            no = unkept(self.dp, data, self.dtype)
            self._guarantee(data)
        if no is not None:
            return no
        return unfit(parse(self.augment), reads)

    def why_closed(self, data: TrainingData) -> str | None:
        """See :meth:`Recipe.why_closed`."""
        return super().why_closed(data) if data.task not in CLASS_TASKS else None

    def look_into(
        self, data: TrainingData, weights: Path, members: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
        """See :meth:`Recipe.look_into`.

        Parameters
        ----------
        data : TrainingData
        weights : Path
            A safetensors file, or a state dict.
        members : int64 array or None
        """
        _torch()
        from auscult.recipes.torch.handed_in import look_into

        return look_into(self, data, weights, members)

    def block_models(self, data: TrainingData, models: int) -> int:
        """See :meth:`Recipe.block_models`; small stacked networks come in blocks of up to 32.

        Large ones come alone, because all networks of a block are in memory at once.

        Measured on diabetes130: with two layers of 32 and batches of 64, a model costs 0.137 s
        among 8, 0.095 s among 16 and 0.080 s among 32; with 128 and 256, company of 8 is enough.
        """
        usual = super().block_models(data, models)
        if self._maker().large:
            return 1
        if self.model != "mlp" or self.dropout or self.stack == "never":
            return usual
        inputs = data.inputs
        if not isinstance(inputs, TableInputs):
            return usual
        columns = inputs.numeric.shape[1] + sum(map(len, inputs.levels))
        sizes = [columns, *self._maker().settings()["hidden"], output_columns(data)]
        weights = sum(a * b for a, b in itertools.pairwise(sizes))
        if 6 * weights * self.batch_size > SMALL_STEP:
            return usual
        return max(usual, min(SMALL_BLOCKS[-1], models // 4))

    def blocks(self, data: TrainingData, models: int) -> list[int]:
        """See :meth:`Recipe.blocks`; those of small stacked networks are larger from the start."""
        if self.block_models(data, MANY) == SMALL_BLOCKS[-1]:
            return list(SMALL_BLOCKS)
        return super().blocks(data, models)

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        """See :meth:`Recipe.train_block`."""
        speed: dict[str, Any] = {}
        further: list[NDArray[np.float64]] = []
        with beside(self.folder):
            values, facts = self.train_exactly(data, assignments, advance, speed, further)
        return BlockOutputs(
            values=np.stack([values, *further], axis=1).astype(np.float32),
            kind=output_kind(data),
            facts=facts,
            speed=speed,
            inside=tuple(facts.get("white_box", {}).get("signals", ())),
        )

    def train_exactly(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
        speed: dict[str, Any] | None = None,
        further: list[NDArray[np.float64]] | None = None,
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Outputs in 64 bits, shape (models, records, columns), and facts.

        Where the data asks for it, what the weights say stands behind the outputs.

        Fills in `speed`, and `further` with outputs of the same shape, one per view that the data's
        queries ask for.

        Parameters
        ----------
        data : TrainingData
        assignments : sequence of Assignment
            One per model.
        advance : callable
            Told of each finished part of a model.
        speed : dict, optional
        further : list of float64 array, optional
        """
        _torch()  # says what to install where it is missing
        from auscult.recipes.torch.block import train_networks

        return train_networks(self, data, assignments, advance, speed, further)

    def _guarantee(self, data: TrainingData) -> Guarantee:
        from auscult.recipes.torch.training import steps_per_epoch

        return guarantee(
            DpSettings.read(self.dp or {}),
            data,
            batch_size=self.batch_size,
            epochs=self.epochs,
            steps=steps_per_epoch(len(data.inputs), self.batch_size, data.share),
        )

    def _encoded(self, inputs: Inputs, device: torch.device) -> Encoded:
        """Inputs on the device, kept from block to block of the same cohort."""
        from auscult.recipes.torch.encoding import encode

        if isinstance(inputs, NamedInputs):
            raise RecipeError(several(inputs), where="recipe")
        if self._kept is None or self._kept[0] is not inputs:
            dtype = self._number_format()
            self._kept = (inputs, encode(inputs, dtype, device, self.image_size, self.scaling))
            self._features = None
        return self._kept[1]

    def _features_vary(self) -> str | None:
        """Why a frozen backbone would not make the same features in every model and epoch."""
        if self.augment:
            return "augmented records are different in every epoch"
        if self.scaling != "fixed":
            return 'records are scaled on each model\'s members (scaling = "fixed" does not)'
        return None

    def _number_format(self) -> torch.dtype:
        """Of weights and inputs."""
        torch = _torch()
        return torch.float64 if self.dtype == "float64" else torch.float32  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        """What was kept stays in the process that made it."""
        return self.__dict__ | {"_kept": None, "_features": None}

    def _maker(self) -> Maker:
        given = {"hidden": self.hidden, "width": self.width, "dropout": self.dropout}
        return Maker(
            model=self.model,
            given={key: value for key, value in given.items() if value is not None},
            arguments=self.factory_arguments or {},
            weights=self.weights,
            folder=self.folder,
            keeps=self.backbone_trained_on_cohort is not None,
            version=self.version,
            files=[Path(file) for file in self.files],
        )

    def cards(self) -> tuple[str, ...]:
        """See :meth:`Recipe.cards`."""
        return cards_of(self.device)

    def _device(self) -> torch.device:
        torch = _torch()
        name = kind_of_device(self.device)
        if name == "cuda" and not torch.cuda.is_available():
            raise RecipeError(
                "PyTorch finds no GPU here", where="recipe.device", expected='"cpu" or "auto"'
            )
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if self.dtype == "tf32" and name == "cpu":
            raise RecipeError(
                "TF32 is a number format of NVIDIA's cards, and PyTorch finds none here",
                where="recipe.dtype",
                expected='"float32"',
            )
        if name == "cuda" and not isinstance(self.device, str) and not in_worker():
            name = self.device[0]
        return torch.device(name)  # type: ignore[no-any-return]


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
