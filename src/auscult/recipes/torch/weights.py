"""Weights from a safetensors file: a header of names, types and places, then plain numbers.

No other format is read: the usual ones are pickles, which run code. Imports torch: load it lazily.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from auscult.base.errors import RecipeError, one_of

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
    try:
        tensors: dict[str, Tensor] = load(path.read_bytes())
    except OSError as error:
        raise RecipeError(f"it cannot be read ({type(error).__name__})", where=where) from error
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RecipeError(
            "it is damaged, cut off or no safetensors file",
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
                next_step="Leave tensors that are to be learned anew out of the file",
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise RecipeError(f'"{name}" holds numbers that are not finite', where=WHERE)
    module.load_state_dict(fitting, strict=False)
    return {
        "loaded": len(fitting),
        "unused": len(tensors) - len(fitting),
        "not in the file": len(own) - len(fitting),
    }
