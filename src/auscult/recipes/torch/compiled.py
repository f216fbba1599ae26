"""Functions of a training step that PyTorch's compiler has made into few kernels.

Compiled once per worker and shape, and kept on disk for later workers. Imports torch: load it
lazily; its compiler takes seconds to import and is loaded when first used.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

from auscult.base.errors import RecipeError
from auscult.recipes import asking

P = ParamSpec("P")
KEPT = "TORCHINDUCTOR_CACHE_DIR"
THREADS = "TORCHINDUCTOR_COMPILE_THREADS"
OPTIONS: dict[str, Any] = {
    # On a card, kernels that add in another order would be chosen by the time that they take.
    "deterministic": True,
    "fallback_random": True,
    # They would be read from the folder for everybody's temporary files.
    "cpp_cache_precompile_headers": False,
}
NO_COMPILER = (
    "InvalidCxxCompiler",
    "TritonMissing",
    "Failed to find C compiler",
    "No working C++ compiler",
    "Cannot find a working triton",
    "Python.h",
)

_made: tuple[str, Callable[..., Tensor]] | None = None


def compiled(function: Callable[P, Tensor], key: str, device: torch.device) -> Callable[P, Tensor]:
    """The function in compiled form; the last one is kept for the next model.

    Parameters
    ----------
    function : callable
    key : str
        All that the compiled form depends on: shapes, layers, settings. Another key forgets what
        was compiled, so that no limit on the number of forms is ever met, behind which the
        compiler would silently leave the function as it is.
    device : torch.device
    """
    global _made
    if _made is not None and _made[0] == key:
        return _made[1]
    _keep_on_disk()
    if device.type == "cpu":
        os.environ.setdefault(THREADS, "1")  # there is a worker on every core
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch._inductor import config

        torch.compiler.reset()
        made = torch.compile(
            function,
            fullgraph=True,
            dynamic=False,
            options={name: value for name, value in OPTIONS.items() if hasattr(config, name)},
        )
    first = True

    def run(*arguments: P.args, **named: P.kwargs) -> Tensor:
        nonlocal first
        if not first:
            return made(*arguments, **named)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler says of its own imports
            try:
                outputs = made(*arguments, **named)
            except torch._dynamo.exc.TorchDynamoException as error:
                raise _refusal(error) from error
        first = False
        return outputs

    _made = key, run
    return run


def forget() -> None:
    """Let the next call compile again."""
    global _made
    _made = None


def described(module: nn.Module, shape: tuple[int, ...], labels: Tensor) -> str:
    """What tells networks apart whose compiled forms differ.

    Parameters
    ----------
    module : Module
    shape : tuple of int
        Of a record.
    labels : Tensor, shape (records, ...)
    """
    sizes = [(name, tuple(p.shape), p.requires_grad) for name, p in module.named_parameters()]
    return f"{module} {sizes} {shape} {labels.dtype} {tuple(labels.shape[1:])} {labels.device}"


def _refusal(error: Exception) -> RecipeError:
    said = f"{type(error).__name__}: {error}"
    if any(word in said for word in NO_COMPILER):
        return RecipeError(
            "PyTorch's compiler needs a C++ compiler, and Triton on a GPU, and finds none here",
            where="recipe.compile",
            next_step="Install one (such as g++, with Python's headers), or leave compile out",
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return RecipeError(
        f"PyTorch cannot compile the network as a whole ({type(error).__name__}: "
        f"{' '.join(lines[:2])[:200]})",
        where="recipe.compile",
        next_step="Leave compile out: the network is then trained as it is",
    )


def _keep_on_disk() -> None:
    """Name a folder of the user's own for what is compiled: code is loaded from it later.

    PyTorch's own choice lies in the folder for everybody's temporary files.
    """
    named = os.environ.get(KEPT)
    if named and not _everybodys(Path(named)):
        return
    try:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        folder = Path(home) / "auscult" / "compiled"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _private(folder):
            raise PermissionError
    except (OSError, RuntimeError):
        folder = Path(tempfile.mkdtemp(prefix="auscult-", dir=asking.place))
    os.environ[KEPT] = str(folder)


def _everybodys(folder: Path) -> bool:
    """Whether it is PyTorch's own choice, which it writes into the environment."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")


def _private(folder: Path) -> bool:
    """Whether nobody else may write to it."""
    found = folder.stat()
    if not hasattr(os, "getuid"):
        return True
    return found.st_uid == os.getuid() and not found.st_mode & 0o022 and os.access(folder, os.W_OK)
