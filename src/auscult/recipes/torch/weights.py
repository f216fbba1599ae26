"""Weights from a safetensors file, or from a state dict that torch reads without running code.

A safetensors file is a header of names, types and places, then plain numbers. A state dict is a
pickle, and is only read with torch's `weights_only`, which makes tensors and refuses all else.
Imports torch: load it lazily.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auscult.base.errors import RecipeError, one_of
from auscult.base.opening import reading, refuse_special

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
SAFE = (2, 6)  # before, weights_only could be got round (CVE-2025-32434)
NESTED = ("state_dict", "model_state_dict")
LONGEST_HEADER = 100_000_000
MOST_AXES = 64
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
            f"PyTorch {torch.__version__} does not keep code in such a file from running",
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
            next_step="Where you trust it, write its numbers alone: "
            "torch.save(module.state_dict(), path)",
        ) from error
    for name in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise RecipeError(
            "it holds no state dict",
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
    where = f"{WHERE} = {path}"
    refuse_special(path, where, RecipeError)
    with reading(where, RecipeError):
        content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(LONGEST_HEADER, len(content) - 8):
        raise RecipeError("it is cut off or no safetensors file", where=where)
    try:
        header = json.loads(content[8 : 8 + size].decode())
        places = {name: _place(one) for name, one in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecipeError("its header is damaged", where=where) from error
    start, tensors = 8 + size, {}
    for name, (dtype, shape, first, last) in places.items():
        if len(shape) > MOST_AXES:
            raise RecipeError(f"a tensor has {len(shape)} axes", where=where)
        count = math.prod(shape)
        if not 0 <= first <= last <= len(content) - start or last - first != count * dtype.itemsize:
            raise RecipeError(f'the tensor "{name}" has no place in it', where=where)
        tensors[name] = (
            torch.frombuffer(content, dtype=dtype, count=count, offset=start + first).clone()
            if count
            else torch.empty(0, dtype=dtype)
        ).reshape(shape)
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


def _place(one: Mapping[str, Any]) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    shape, (first, last) = one["shape"], one["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, first, last)):
        raise ValueError("sizes are whole numbers")
    return TYPES[one["dtype"]], tuple(shape), first, last
