"""What the settings of a PyTorch recipe may be, told before anything is trained. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.base.errors import ConfigError
from auscult.recipes.devices import check_device, kind_of_device

OPTIMIZERS = ("adamw", "adam", "sgd")
CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": ("constant", "cosine"),
    "scaling": ("members", "fixed"),
    "stack": ("auto", "always", "never"),
    "dtype": ("float32", "float64", "tf32", "bfloat16"),
}
# Left out of a run's identity where they are not used, so that older runs keep theirs.
UNUSED: Mapping[str, Any] = {
    "label_smoothing": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0,
    "ema": 0,
    "scaling": "members",
    "backbone_trained_on_cohort": None,
    "compile": False,
}


def check(settings: Mapping[str, Any]) -> None:
    """Look at a recipe's attributes.

    Raises
    ------
    ConfigError
        Names the first that cannot be.
    """
    for name, choices in CHOICES.items():
        if settings[name] not in choices:
            raise ConfigError(
                f'"{settings[name]}" is not a valid choice',
                where=f"recipe.{name}",
                expected=", ".join(choices),
            )
    check_device(settings["device"])
    for name in ("epochs", "batch_size"):
        if settings[name] < 1:
            raise ConfigError("it is too small", where=f"recipe.{name}", expected="1 or more")
    if not 0 <= settings["ema"] < 1:
        raise ConfigError(
            f"{settings['ema']} is not a valid decay",
            where="recipe.ema",
            expected="0, or 0.999 or the like",
        )
    if not 0 <= settings["label_smoothing"] < 1:
        raise ConfigError(
            f"{settings['label_smoothing']:g} is not a valid share",
            where="recipe.label_smoothing",
            expected="0 or more, below 1",
        )
    if not 0 <= settings["warmup_epochs"] < settings["epochs"]:
        raise ConfigError(
            f"{settings['warmup_epochs']} is not valid",
            where="recipe.warmup_epochs",
            expected="0 or more, fewer than recipe.epochs",
        )
    if settings["weights"] is not None and settings["backbone_trained_on_cohort"] is None:
        raise ConfigError(
            "it is missing, but weights are given",
            where="recipe.backbone_trained_on_cohort",
            expected="true where these weights saw patients of this cohort, else false",
        )
    if settings["compile"]:
        for name, refused in (
            ("stack", settings["stack"] == "always"),
            ("dp", settings["dp"] is not None),
        ):
            if refused:
                said = 'stack = "always"' if name == "stack" else "dp"
                raise ConfigError(
                    f"what is compiled is trained one model at a time, and openly: it cannot be "
                    f"combined with {said}",
                    where="recipe.compile",
                    next_step=f"Leave compile or {name} out",
                )
    if settings["dtype"] == "tf32" and kind_of_device(settings["device"]) == "cpu":
        raise ConfigError(
            "TF32 is a number format of NVIDIA's cards",
            where="recipe.dtype",
            expected='"float32", or device = "cuda"',
        )


def used(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of `UNUSED` that are used."""
    return {name: settings[name] for name in UNUSED if settings[name] != UNUSED[name]}
