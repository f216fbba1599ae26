"""The state of a training under way: left now and then, taken up by a later process.

The state holds everything that the rest of the training depends on, so that a training that was
taken up ends with the bytes of one that was not interrupted. Imports torch: load it lazily.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import time
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from auscult.base.errors import StoreError
from auscult.base.files import write_whole
from auscult.recipes import checkpoints
from auscult.recipes.base import Assignment
from auscult.recipes.torch.training import Course

# At most this part of the time is spent on writing states.
SHARE = 0.05
OWN = ("_parameters", "_buffers", "_modules")


class Kept:
    """States of one model's training.

    Parameters
    ----------
    place : Place
    one : Assignment
    module : Module
        In training mode, on its device.
    course : Course
        Over its parameters.
    """

    def __init__(
        self, place: checkpoints.Place, one: Assignment, module: nn.Module, course: Course
    ) -> None:
        self._module, self._course = module, course
        self._device = next(module.parameters()).device
        self._cuda = self._device.type == "cuda"
        card = torch.cuda.get_device_name(self._device) if self._cuda else "cpu"
        sizes = [(n, tuple(t.shape), str(t.dtype)) for n, t in self._tensors().items()]
        self._name = place.name(one, f"{torch.__version__} {card} {sizes}")
        self._file = place.file(one.model)
        self._every = self._wait = place.seconds
        self._last = time.monotonic()
        self._hidden = hidden(module)

    @torch.no_grad()
    def begun(self) -> int:
        """Steps that are done: those of a state that was left, which is now the module's, or 0."""
        state = self._read()
        if state is None:
            return 0
        for name, tensor in self._tensors().items():
            tensor.copy_(state["tensors"][name])
        self._course.restore(state["course"])
        torch.set_rng_state(state["drawn"])
        if self._cuda:
            torch.cuda.set_rng_state(state["drawn on the card"], self._device)
        return int(state["step"])

    def after(self, step: int, *, last: bool) -> None:
        """Leave the state after a step, counted from 0, if it is time.

        Parameters
        ----------
        step : int
        last : bool
            Whether the training ends here. Other models of the block may follow, for which this
            one is not to be trained again.
        """
        passed = time.monotonic() - self._last
        if passed < (self._every / 10 if last else self._wait):
            return
        if self._hidden is None or hidden(self._module) != self._hidden:
            return  # the module holds something that a state would not bring back
        start = time.monotonic()
        state = {
            "step": step + 1,
            "tensors": {name: tensor.detach() for name, tensor in self._tensors().items()},
            "course": self._course.state(),
            "drawn": torch.get_rng_state(),
        }
        if self._cuda:
            state["drawn on the card"] = torch.cuda.get_rng_state(self._device)
        try:
            write_state(self._file, self._name, state)
        except StoreError:  # the training is worth more than a state; the block will say it
            self._hidden = None
        self._last = time.monotonic()
        self._wait = max(self._every, (self._last - start) / SHARE)

    def _tensors(self) -> dict[str, Tensor]:
        return dict(self._module.named_parameters()) | dict(self._module.named_buffers())

    def _read(self) -> dict[str, Any] | None:
        """A state that fits; one that is damaged, or another training's, is none."""
        state = read_state(self._file, self._name)
        if state is None:
            return None
        try:
            mine = {name: tensor.shape for name, tensor in self._tensors().items()}
            found = {name: tensor.shape for name, tensor in state["tensors"].items()}
            fits = mine == found and self._course.fits(state["course"])
        except (KeyError, TypeError, AttributeError):
            fits = False
        return state if fits else None


def write_state(file: Path, name: str, state: dict[str, Any]) -> None:
    """Write a state whole or not at all, for its owner's eyes only.

    Parameters
    ----------
    file : Path
    name : str
        SHA-256, in hexadecimal digits, of what the state belongs to.
    state : dict
    """

    def write(handle: IO[bytes]) -> None:
        handle.write(bytes(32))
        hashing = _Hashing(handle, bytes.fromhex(name))
        torch.save(state, hashing)  # type: ignore[arg-type]
        handle.seek(0)
        handle.write(hashing.digest())

    write_whole(file, write, secret=True)


def read_state(file: Path, name: str) -> dict[str, Any] | None:
    """The state that a file holds, None where it is missing, damaged or belongs elsewhere.

    Parameters
    ----------
    file : Path
    name : str
        As for :func:`write_state`.
    """
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest = hashlib.sha256(bytes.fromhex(name))
    digest.update(memoryview(content)[32:])
    if len(content) <= 32 or digest.digest() != content[:32]:
        return None
    try:
        whole = io.BytesIO(content[32:])
        state = torch.load(whole, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) else None


def hidden(module: nn.Module) -> bytes | None:
    """What a module holds besides parameters and buffers, as bytes; None where nobody can tell.

    A module that counts its steps in an attribute of its own would not be brought back by its
    parameters: where this changes while it trains, no state is left.

    Parameters
    ----------
    module : Module
    """
    try:
        return pickle.dumps(
            [
                {name: value for name, value in vars(part).items() if name not in OWN}
                for part in module.modules()
            ]
        )
    except Exception:  # whatever a module holds
        return None


class _Hashing:
    """Writes on, and takes in what is written."""

    def __init__(self, handle: IO[bytes], name: bytes) -> None:
        self._handle, self._digest = handle, hashlib.sha256(name)

    def write(self, piece: bytes | memoryview) -> int:
        self._digest.update(piece)
        return self._handle.write(piece)

    def flush(self) -> None:
        self._handle.flush()

    def digest(self) -> bytes:
        return self._digest.digest()
