"""Cards: which a recipe may use, and which one a worker has for itself.

A worker claims a card by a lock in its crew's folder, before anything touches a card, and then sees
no other: the variable by which CUDA knows its cards names one, so that every library in the worker,
and every process that it starts, calls that card "cuda". The system lets a lock go when its process
ends, so the card of a worker that died is free again. Which card it was is part of no result.

Loads no torch, unless there is a card to count.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.base.errors import ConfigError
from auscult.base.leftovers import take

if TYPE_CHECKING:
    from auscult.recipes.base import Recipe

DEVICES = ("auto", "cpu", "cuda")
VISIBLE = "CUDA_VISIBLE_DEVICES"
MOST_SLOTS = 4096
DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")

Device = str | Sequence[str]

# The lock of this process's card; the process holds it until it ends.
_claimed: Any = None
_worker = False


def check_device(device: Device | None) -> None:
    """Raise a ConfigError when it is neither a name nor a list of cards of one kind.

    Parameters
    ----------
    device : str or sequence of str or None
    """
    if device is None or (isinstance(device, str) and device in DEVICES):
        return
    names = [device] if isinstance(device, str) else list(device)
    cuda = all(isinstance(name, str) and re.fullmatch(r"cuda:\d+", name) for name in names)
    if isinstance(device, str) or not names or not (cuda or all(name == "cpu" for name in names)):
        raise ConfigError(
            f"{device!r} is not a valid choice",
            where="recipe.device",
            expected=f'{", ".join(DEVICES)}, or a list of cards such as ["cuda:0", "cuda:1"]',
        )


def kind_of_device(device: Device) -> str:
    """What a device comes to whichever cards it names: "auto", "cpu" or "cuda"."""
    return device if isinstance(device, str) else device[0].partition(":")[0]


def cards_of(device: Device) -> tuple[str, ...]:
    """Cards that training may use side by side, one worker each; none where cores count.

    Parameters
    ----------
    device : str or sequence of str
    """
    if not isinstance(device, str):
        return tuple(device)
    return () if device == "cpu" else tuple(f"cuda:{number}" for number in range(visible_cards()))


def needs_card(recipe: Recipe) -> bool:
    """Whether a recipe cannot be trained without a card: its device is "cuda" or a list of cards.

    Parameters
    ----------
    recipe : Recipe
    """
    device: Device | None = getattr(recipe, "device", None)
    return bool(device) and kind_of_device(device or "auto") == "cuda"


def visible_cards() -> int:
    """Number of cards that PyTorch sees; where no driver is installed, PyTorch is not loaded."""
    drivers = any(Path(path).exists() for path in DRIVERS)
    if not drivers and shutil.which("nvidia-smi") is None:
        return 0
    try:
        import torch
    except ImportError:
        return 0
    return int(torch.cuda.device_count())


def claim(folder: Path, cards: Sequence[str]) -> str | None:
    """Take a card for this process until it ends; None where there is none to take.

    More workers than cards share them evenly.

    Parameters
    ----------
    folder : Path
        Of the crew; its workers claim nowhere else.
    cards : sequence of str
        Such as "cuda:0"; "cpu" stands in for a card.
    """
    global _claimed

    if not cards:
        return None
    slot = 0
    try:
        while slot < MOST_SLOTS and (lock := take(folder / f"card-{slot:04d}.lock")) is None:
            slot += 1
        _claimed = lock
    except (OSError, NotImplementedError):  # nobody can lock here
        slot = os.getpid()
    card = cards[slot % len(cards)]
    kind, _, number = card.partition(":")
    if kind == "cuda":
        named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
        os.environ[VISIBLE] = named[int(number)] if int(number) < len(named) else number
    return card


def be_a_worker() -> None:
    """From now on the card of this process is "cuda", whoever gave it."""
    global _worker
    _worker = True


def in_worker() -> bool:
    """Whether a crew, a batch system or a cluster decides which card this process has."""
    return _worker
