"""Weights from a safetensors file, or from a state dict that torch reads without running code.

A safetensors file is a header of names, types and places, then plain numbers. A state dict is a
pickle, and is only read with torch's `weights_only`, which makes tensors and refuses all else.
Imports torch: load it lazily.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from auscult.base.errors import RecipeError, one_of
from auscult.base.opening import reading, refuse_special

SAFE = (2, 6)  # before, weights_only could be got round (CVE-2025-32434)
NESTED = ("state_dict", "model_state_dict")
# What networks are made of; other types have no arithmetic, or none that can be checked.
TYPES = frozenset(
    (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
)
BACKBONE = "backbone."
WHERE = "recipe.weights"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or of a state dict.

    Raises
    ------
    RecipeError
        It is missing or damaged, or holds what it must not.
    """
    return read_safetensors(path) if path.suffix == ".safetensors" else read_state_dict(path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a file that ``torch.save(module.state_dict(), path)`` wrote.

    A checkpoint that holds it under "state_dict" or "model_state_dict" is read too.

    Raises
    ------
    RecipeError
        As :func:`read_weights`; or torch is too old to read it safely.
    """
    where = f"{WHERE} = {path}"
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < SAFE:
        raise RecipeError(
            f"PyTorch {torch.__version__} does not prevent code in such a file from running",
            where=where,
            expected=f"PyTorch {'.'.join(map(str, SAFE))} or later, or a .safetensors file",
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError(f"it cannot be read ({type(error).__name__})", where=where) from error
    except Exception as error:  # torch raises many kinds
        raise RecipeError(
            "it is damaged, or holds more than tensors, which is not read: opening it would run "
            "code",
            where=where,
            expected="a state dict",
            next_step="If you trust it, save only its numbers:  torch.save(module.state_dict(), "
            "path)",
        ) from error
    for name in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise RecipeError(
            "it does not contain a state dict",
            where=where,
            expected="names and tensors, as torch.save(module.state_dict(), path) writes them",
        )
    return dict(content)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises
    ------
    RecipeError
        It is missing, damaged or holds what it must not.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    where = f"{WHERE} = {path}"
    refuse_special(path, where, RecipeError)
    with reading(where, RecipeError):
        content = path.read_bytes()
    try:
        tensors: dict[str, Tensor] = load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RecipeError(
            "it is damaged, truncated or not a safetensors file",
            where=where,
            next_step="Write it with safetensors.torch.save_file, or copy it again",
        ) from error
    for name, value in tensors.items():
        if value.dtype not in TYPES:
            raise RecipeError(
                f'the tensor "{name}" holds {str(value.dtype).removeprefix("torch.")}',
                where=where,
                expected="floating-point numbers of 16 to 64 bits, whole numbers or booleans",
            )
    return tensors


def load_into(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Put weights in place by name, of the module or of its backbone.

    Returns
    -------
    dict of str to int
        How many tensors were "loaded", are "unused" in the file, and were "not in the file".

    Raises
    ------
    RecipeError
        None of the names fits, or one has another shape or is not finite.
    """
    own = module.state_dict()
    prefix = "" if any(name in own for name in tensors) else BACKBONE
    fitting = {prefix + name: value for name, value in tensors.items() if prefix + name in own}
    if not fitting:
        raise RecipeError(
            f"none of its {len(tensors)} tensors belongs to the network",
            where=WHERE,
            expected=one_of(next(iter(tensors), ""), own),
        )
    for name, value in fitting.items():
        if value.shape != own[name].shape:
            raise RecipeError(
                f'"{name}" has shape {tuple(value.shape)}',
                where=WHERE,
                expected=f"shape {tuple(own[name].shape)}, as in the network",
                next_step="Leave tensors that are to be trained from scratch out of the file",
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise RecipeError(f'"{name}" holds numbers that are not finite', where=WHERE)
    module.load_state_dict(fitting, strict=False)
    return {
        "loaded": len(fitting),
        "unused": len(tensors) - len(fitting),
        "not in the file": len(own) - len(fitting),
    }
