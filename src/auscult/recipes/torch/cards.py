"""How a card computes: the same bytes every time, and 32 bits where 32 are asked for.

Everything here does nothing on a CPU. Imports torch: load it lazily.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# cuBLAS promises the same bytes only with buffers of a fixed size; read when it is first used.
WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def exactly(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Deterministic kernels, none chosen by time, products in 32 bits; as before afterwards.

    Parameters
    ----------
    device : torch.device
        Nothing is changed for a CPU.
    tf32 : bool
        Let products round their factors to TF32 (10 bits behind the point), as tensor cores do.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(*WORKSPACE)
    before = _flags()
    # Operations that have no deterministic form warn instead of ending the training.
    algorithms = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    memory: Any = torch.utils.deterministic
    fill, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, False  # costs time
    torch.use_deterministic_algorithms(True, warn_only=True)
    _set({"deterministic": True, "benchmark": False, "convolutions": tf32, "products": tf32})
    try:
        yield
    finally:
        _set(before)
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        memory.fill_uninitialized_memory = fill


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's generators set from a seed, and put back afterwards.

    Parameters
    ----------
    seed : int
    device : torch.device
        Its generator is looked after beside the CPU's; other cards' generators are left alone.
    """
    cards = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(seed)
        yield


def _flags() -> dict[str, bool]:
    backends: Any = torch.backends
    found = {
        "deterministic": backends.cudnn.deterministic,
        "benchmark": backends.cudnn.benchmark,
    }
    try:
        found["convolutions"] = backends.cudnn.allow_tf32
        found["products"] = backends.cuda.matmul.allow_tf32
    except RuntimeError:  # the user's code set them by newer names, and is left the last word
        pass
    return found


def _set(flags: dict[str, bool]) -> None:
    backends: Any = torch.backends
    backends.cudnn.deterministic = flags["deterministic"]
    backends.cudnn.benchmark = flags["benchmark"]
    if "convolutions" in flags:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions prefer other names for the same
            backends.cudnn.allow_tf32 = flags["convolutions"]
            backends.cuda.matmul.allow_tf32 = flags["products"]
