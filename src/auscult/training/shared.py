"""What training code leaves in the current folder, which all workers of this machine share.

A loop that keeps its best state in a file of a fixed name reads it again at the end. Where two
models are trained side by side, one of them then reads the other's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

# What people and shells write there while something runs.
OTHERS = (".ipynb", ".log", ".out", ".err", ".tmp", ".swp", "~")


class Watched:
    """Entries of the current folder, as they were when this was made.

    Parameters
    ----------
    apart : sequence of Path
        What is written on purpose, such as the run.
    """

    def __init__(self, apart: Sequence[Path]) -> None:
        self.apart = [path.resolve() for path in apart]
        self.before = self._entries()

    def changed(self) -> tuple[str, ...]:
        """Names of the entries that appeared or changed since, sorted; hidden ones are not seen."""
        now = self._entries()
        return tuple(sorted(name for name in now if now[name] != self.before.get(name)))

    def _entries(self) -> dict[str, tuple[int, int, int]]:
        streams = {_file(number) for number in (0, 1, 2)}
        found = {}
        try:
            here = Path.cwd()
            for entry in os.scandir(here):
                path = here / entry.name
                if entry.name.startswith((".", "__pycache__")) or entry.name.endswith(OTHERS):
                    continue
                if any(path == one or path in one.parents for one in self.apart):
                    continue
                state = entry.stat(follow_symlinks=False)
                if (state.st_dev, state.st_ino) not in streams:
                    found[entry.name] = (state.st_ino, state.st_size, state.st_mtime_ns)
        except OSError:  # a folder that is gone, or an entry that goes while it is looked at
            return found
        return found


def _file(number: int) -> tuple[int, int]:
    """Device and number of an open file, such as the one that output is redirected to."""
    try:
        state = os.fstat(number)
    except OSError:
        return 0, 0
    return state.st_dev, state.st_ino


def sharing_words(names: Sequence[str]) -> str:
    """What is told before a run; empty without names."""
    if not names:
        return ""
    shown = ", ".join(repr(name)[1:-1] for name in names[:3])
    return (
        f"the training code writes into the current folder ({shown}{', ...' * (len(names) > 3)}). "
        "Models that are trained side by side share it, and one that reads its file again may read "
        "another model's. Let the function ask for `scratch`, a folder for each model, and write "
        "there; or train with one worker"
    )
