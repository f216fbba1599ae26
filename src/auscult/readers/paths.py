"""Which files of a folder may be read: never one outside it, whatever a table or a link says.

File names may hold patient identifiers. They are never quoted in a message: files are counted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath

from auscult.base.errors import CohortError

OUTSIDE = "a link that leads outside the folder"
ABSENT = "no such file"
UNNAMED = "no path in the table"
NO_FILE = "not a regular file"
SHOWN = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz")


@dataclass(frozen=True, kw_only=True, eq=False)
class Located:
    """Files to read.

    Attributes
    ----------
    root : Path
        Resolved.
    names : tuple of str
        Relative to the root; secret, as they may hold identifiers.
    paths : tuple of Path or None
        Resolved, inside the root; None where the file is not to be read.
    reasons : tuple of str
        Why not; empty where it is.
    sizes, times : tuple of int
        Bytes and time of the last change in nanoseconds; 0 where it is not to be read.
    """

    root: Path
    names: tuple[str, ...] = field(repr=False)
    paths: tuple[Path | None, ...] = field(repr=False)
    reasons: tuple[str, ...]
    sizes: tuple[int, ...]
    times: tuple[int, ...]


def folder_of(root: str | os.PathLike[str], where: str) -> Path:
    """The folder, resolved.

    Raises
    ------
    CohortError
        It is no folder.
    """
    path = Path(root)
    if not path.is_dir():
        raise CohortError(
            "there is no such folder" if not path.exists() else "it is not a folder",
            where=f"{where} = {path}",
            next_step="Check the path",
        )
    return path.resolve()


def locate(
    root: str | os.PathLike[str],
    names: Sequence[str | None],
    where: str,
    suffixes: Sequence[str] = ("",),
) -> Located:
    """Find files by their names in a table.

    Parameters
    ----------
    root : path-like
        The folder that the names are relative to.
    names : sequence of str or None
    where : str
        The key or column that the names are from, for messages.
    suffixes : sequence of str
        Endings to try in turn: WFDB records are named without theirs.

    Raises
    ------
    CohortError
        A name is absolute or climbs out of the folder: a table that does so is mistaken or
        hostile, and nothing is read.
    """
    folder = folder_of(root, where)
    climbing = sum(name is not None and _climbs(name) for name in names)
    if climbing:
        raise CohortError(
            f"{climbing} of {len(names)} paths are absolute or lead outside the folder",
            where=where,
            expected='paths relative to the folder, without ".."',
            next_step="Correct the column, or name the folder that holds all files",
        )
    inside = f"{folder}{os.sep}" if str(folder) != os.sep else os.sep
    found = [_find(folder, inside, name, suffixes) for name in names]
    return Located(
        root=folder,
        names=tuple(name or "" for name in names),
        paths=tuple(one[0] for one in found),
        reasons=tuple(one[1] for one in found),
        sizes=tuple(one[2] for one in found),
        times=tuple(one[3] for one in found),
    )


def scan(
    root: str | os.PathLike[str], where: str, suffixes: Sequence[str] = SHOWN
) -> tuple[list[str], int]:
    """Names of the files of a folder and the folders below it, and how many are of other kinds.

    Files without an ending of their own (as archives of scanners write them) count when they begin
    as DICOM does. Hidden files and links to folders are passed over, and counted as others.

    Parameters
    ----------
    root : path-like
    where : str
        The key of the configuration, for messages.
    suffixes : sequence of str
        Endings of the files that are wanted.
    """
    folder = folder_of(root, where)
    names, others = [], 0
    for place, folders, files in os.walk(folder):
        hidden = [name for name in folders if name.startswith(".")]
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        others += len(hidden) + len(linked)
        folders[:] = sorted(set(folders) - set(hidden) - set(linked))
        for name in sorted(files):
            path = Path(place) / name
            kept = name.lower().endswith(tuple(suffixes))
            if not kept and suffixes is SHOWN and path.suffix[1:].strip("0123456789") == "":
                kept = _begins_as_dicom(path)
            if kept and not name.startswith("."):
                names.append(path.relative_to(folder).as_posix())
            else:
                others += 1
    if not names:
        raise CohortError(
            "the folder holds no file of a supported kind",
            where=f"{where} = {folder}",
            expected=", ".join(suffixes),
        )
    return names, others


def inside_of(root: Path, name: str) -> bool:
    """Is it the name of a file in the (resolved) folder?"""
    return not _climbs(name) and _find(root, f"{root}{os.sep}", name, ("",))[0] is not None


def _climbs(name: str) -> bool:
    windows = PureWindowsPath(name)
    return (
        "\0" in name
        or PurePath(name).is_absolute()
        or bool(windows.drive)
        or ".." in PurePath(name).parts
        or (os.sep != "\\" and ".." in windows.parts)
    )


def _find(
    folder: Path, inside: str, name: str | None, suffixes: Sequence[str]
) -> tuple[Path | None, str, int, int]:
    if name is None:
        return None, UNNAMED, 0, 0
    reason = ABSENT
    for suffix in suffixes:
        real = os.path.realpath(folder / (name + suffix))
        if not real.startswith(inside):
            return None, OUTSIDE, 0, 0
        try:
            facts = os.stat(real)  # noqa: PTH116 - the text is at hand
        except OSError:
            continue
        if stat.S_ISREG(facts.st_mode):
            size, changed = facts.st_size, facts.st_mtime_ns
            if real.endswith(".hea"):  # the samples lie beside the header
                with suppress(OSError):
                    beside = os.stat(f"{real[:-4]}.dat")  # noqa: PTH116
                    size, changed = size + beside.st_size, max(changed, beside.st_mtime_ns)
            return Path(real), "", size, changed
        reason = NO_FILE
    return None, reason, 0, 0


def _begins_as_dicom(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError:
        return False
