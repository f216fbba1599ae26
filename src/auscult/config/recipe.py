"""``[recipe]``: how a model is trained, one table per kind of recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from auscult.base.errors import ConfigError
from auscult.config.part import Part
from auscult.recipes import PythonRecipe, SklearnRecipe, TorchRecipe
from auscult.recipes.base import Recipe
from auscult.recipes.kinds import OWN, RECIPES
from auscult.recipes.networks import KEYS, network
from auscult.recipes.privacy import DpSettings


class DpPart(Part):
    """``[recipe.dp]``: training with differential privacy."""

    unit: Literal["record", "patient"]
    epsilon: Annotated[float, Field(gt=0)] | Literal["inf"] | None = None
    noise: Annotated[float, Field(ge=0)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    clip: Annotated[float, Field(gt=0)] | Literal["inf"] | None = None


class TorchPart(Part):
    """``[recipe]`` with ``kind = "torch"``."""

    kind: Literal["torch"]
    model: str = "mlp"
    hidden: list[Annotated[int, Field(ge=1)]] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    optimizer: str | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    schedule: Literal["constant", "cosine"] | None = None
    warmup_epochs: Annotated[float, Field(ge=0)] | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] | None = None
    augment: list[str] | None = None
    scaling: Literal["members", "fixed"] | None = None
    weights: str | None = None
    backbone_trained_on_cohort: bool | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    image_size: Annotated[int, Field(ge=8)] | None = None
    stack: Literal["auto", "always", "never"] | None = None
    device: str | list[str] | None = None
    dtype: Literal["float32", "float64", "tf32", "bfloat16"] | None = None
    compile: bool | None = None
    arguments: dict[str, Any] | None = None
    output: str | Annotated[int, Field(ge=0)] | None = None
    version: str | None = None
    files: list[str] | None = None
    dp: DpPart | None = None

    @model_validator(mode="after")
    def _nothing_ignored(self) -> TorchPart:
        try:
            built_in = network(self.model)
        except ConfigError as error:
            raise ValueError(f"{error.what}: expected {error.expected}") from error
        options = built_in.options if built_in else {}
        for key, used, needs in (
            ("hidden", "hidden" in options, 'model = "mlp"'),
            (
                "width",
                "width" in options,
                "a model that has one (cnn, resnet-1d, vit, tabular-resnet)",
            ),
            ("dropout", "dropout" in options, "a built-in model"),
            (
                "arguments",
                not built_in or any(name not in KEYS for name in options),
                'model = "module:factory" or a built-in model with more settings',
            ),
            ("output", not built_in, 'model = "module:factory"'),
            ("momentum", self.optimizer == "sgd", 'optimizer = "sgd"'),
        ):
            if getattr(self, key) is not None and not used:
                raise ValueError(f"{key} requires {needs} and would be ignored")
        return self

    def recipe(self, folder: Path) -> Recipe:
        """The recipe; modules are looked up in `folder` first."""
        settings = self.given()
        del settings["kind"]
        if "arguments" in settings:
            settings["factory_arguments"] = settings.pop("arguments")
        if self.dp is not None:
            settings["dp"] = DpSettings.read(self.dp.given()).as_settings()
        if settings.get("weights") is not None:
            settings["weights"] = folder / settings["weights"]
        if settings.get("files") is not None:
            settings["files"] = [folder / file for file in settings["files"]]
        return TorchRecipe(folder=folder, **settings)


class SklearnPart(Part):
    """``[recipe]`` with ``kind = "sklearn"``."""

    kind: Literal["sklearn"]
    model: str = "gradient_boosting"
    preprocess: Literal["auto", "encode", "none"] = "auto"
    arguments: dict[str, Any] | None = None
    fit: dict[str, Any] | None = None
    weights: Literal["balanced", "patients"] | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] | None = None
    version: str | None = None
    files: list[str] = Field(default_factory=list)

    def recipe(self, folder: Path) -> Recipe:
        """The recipe; modules are looked up in `folder` first."""
        return SklearnRecipe(
            self.model,
            preprocess=self.preprocess,
            arguments=self.arguments,
            fit=self.fit,
            weights=self.weights,
            validation=self.validation,
            folder=folder,
            version=self.version,
            files=[folder / file for file in self.files],
        )


class PythonPart(Part):
    """``[recipe]`` with ``kind = "python"``."""

    kind: Literal["python"]
    train: str
    output: Literal["probabilities", "logits", "loss", "score"] = "probabilities"
    utility: str | None = None
    chance: Annotated[float, Field(allow_inf_nan=False)] | None = None
    version: str | None = None
    files: list[str] = Field(default_factory=list)
    validation: Annotated[float, Field(gt=0, lt=1)] | None = None
    weights: Literal["balanced", "patients"] | None = None
    device: str | list[str] | None = None

    def recipe(self, folder: Path) -> Recipe:
        """The recipe; modules are looked up in `folder` first."""
        return PythonRecipe(
            self.train,
            output=self.output,
            utility=self.utility,
            chance=self.chance,
            folder=folder,
            version=self.version,
            files=[folder / file for file in self.files],
            validation=self.validation,
            weights=self.weights,
            device=self.device,
        )


class AddedPart(Part):
    """``[recipe]`` of another package: its other keys are the keywords of the recipe's class."""

    model_config = ConfigDict(extra="allow", strict=True)

    kind: str

    def recipe(self, folder: Path) -> Recipe:
        """The recipe; relative paths are meant from `folder` where it asks for one."""
        made: Recipe = RECIPES.made(
            self.kind,
            dict(self.model_extra or {}),
            named="recipe.kind",
            where="recipe",
            folder=folder,
        )
        return made


ADDED = "of another package"  # a step of pydantic's path, and no key


def _which(value: Any) -> str | None:  # noqa: ANN401
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind in OWN:
        return str(kind)
    return ADDED if kind in RECIPES.names() else None


RecipePart = Annotated[
    Annotated[TorchPart, Tag("torch")]
    | Annotated[SklearnPart, Tag("sklearn")]
    | Annotated[PythonPart, Tag("python")]
    | Annotated[AddedPart, Tag(ADDED)],
    Discriminator(_which),
]
RECIPE_PARTS = (TorchPart, SklearnPart, PythonPart)
