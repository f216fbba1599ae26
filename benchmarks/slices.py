"""Long campaigns in slices: each case by its number, and what was found kept in a file.

A case is made of its number alone, so a campaign that is stopped goes on where it was, and gives
the same as one that was not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_slices(
    state: Path | None, cases: int, work: Callable[[int], Any], seconds: float
) -> dict[int, Any]:
    """Work on cases 0 to `cases` - 1 that are not yet in the state, as long as time is left.

    Parameters
    ----------
    state : Path or None
        A JSON file, written after every case; None keeps nothing.
    cases : int
    work : callable
        Number of a case to what was found, as JSON has it.
    seconds : float
        No case is begun afterwards.
    """
    found: dict[int, Any] = {}
    if state is not None and state.exists():
        found = {int(name): one for name, one in json.loads(state.read_text()).items()}
    end = time.monotonic() + seconds
    for number in range(cases):
        if number in found:
            continue
        if time.monotonic() > end:
            break
        found[number] = work(number)
        if state is not None:
            state.write_text(json.dumps(found))
    return {number: one for number, one in found.items() if number < cases}


def arguments(**numbers: int) -> argparse.Namespace:
    """Options of a campaign: numbers by name, `--state`, `--seconds`."""
    parser = argparse.ArgumentParser()
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--state", type=Path, help="folder for what was found: to go on later")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    return parser.parse_args()


def kept(options: argparse.Namespace, name: str) -> Path | None:
    """File of one campaign in the folder of the state."""
    if options.state is None:
        return None
    folder: Path = options.state
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"
