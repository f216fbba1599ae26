"""Files written whole or not at all, and secrets that only their owner can read.

A file is written to a temporary name beside its target, flushed to the disk and renamed over it, so
a reader never sees half a file (law 8). Files under ``secret/`` get mode 0600 before a byte is in
them (law 7).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from auscult.base.errors import StoreError

SECRET_MODE = 0o600
PUBLIC_MODE = 0o644


def write_whole(path: Path, write: Callable[[IO[bytes]], None], *, secret: bool = False) -> None:
    """Write a file by `write(handle)` so that it exists whole or not at all.

    Parameters
    ----------
    path : Path
        Target; its folder is made when missing (mode 0700 for a secret).
    write : callable
        Receives the open binary handle.
    secret : bool
        Mode 0600 instead of 0644.

    Raises
    ------
    StoreError
        The disk is full or the folder cannot be written. Nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if secret else 0o755)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as handle:
            if hasattr(os, "fchmod"):  # Windows has permissions of another kind; see the README
                os.fchmod(handle.fileno(), SECRET_MODE if secret else PUBLIC_MODE)
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - Path.replace is the same call
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Write bytes whole or not at all; see :func:`write_whole`.

    Parameters
    ----------
    path : Path
    content : bytes
    secret : bool
        Mode 0600 instead of 0644.
    """

    def write(handle: IO[bytes]) -> None:
        handle.write(content)

    write_whole(path, write, secret=secret)


def write_json(path: Path, value: Any, *, secret: bool = False) -> None:  # noqa: ANN401
    """Write strict JSON (no NaN, no infinity), sorted only by insertion, whole or not at all.

    Parameters
    ----------
    path : Path
    value : object
        Of dicts, lists, texts, finite numbers, booleans and None.
    secret : bool
        Mode 0600 instead of 0644.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(), secret=secret)


def toml_text(value: Mapping[str, Any]) -> str:
    """TOML of a mapping; entries that are None are left out, since TOML has no such value."""
    import tomli_w

    return tomli_w.dumps(_without_none(value))


def quoted_key(name: str) -> str:
    """A name as a key of TOML."""
    if name and name.isascii() and name.replace("_", "").replace("-", "").isalnum():
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _without_none(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(k): _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return ["" if v is None else _without_none(v) for v in value]
    return value


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders, and renames without this
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse to sync a folder; the rename stands
        pass
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return StoreError(
            "the disk is full; what was finished before is kept",
            where=str(path),
            next_step="Free some space or move the run to another disk, then run the same "
            "command again: it resumes",
        )
    return StoreError(
        f"cannot be written ({error.strerror or error})",
        where=str(path),
        next_step="Check that the folder exists and that you may write to it",
    )
