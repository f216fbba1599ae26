"""Doors by kind: Auscult's own and those of other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auscult.base.plugins import Registry, construct, guarded
from auscult.release.doors import Door, FileDoor, FunctionDoor
from auscult.release.endpoint import EndpointDoor
from auscult.release.graph import OnnxDoor

RELEASES: Registry[Any] = Registry("release door", Door, of_classes=True)
for _door in (FileDoor, FunctionDoor, OnnxDoor, EndpointDoor):
    RELEASES.add(_door)


def added_door(kind: str, options: dict[str, Any], folder: Path) -> Door:
    """The door of another package, with its options.

    Parameters
    ----------
    kind : str
        Its name.
    options : dict
        Its arguments.
    folder : Path
        Of the configuration.

    Raises
    ------
    ConfigError
        There is none of that kind, or it has no such options.
    """
    found = RELEASES.get(kind, "release.door")
    with guarded("release door", kind, "being made", RELEASES.origin(kind)):
        made = construct(found, options, "release.options", folder)
    assert isinstance(made, Door)  # noqa: S101 - the registry saw to it
    return made
