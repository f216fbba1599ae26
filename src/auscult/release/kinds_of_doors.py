"""Doors by kind: Auscult's own and those of other packages."""

from __future__ import annotations

from typing import Any

from auscult.base.plugins import Registry
from auscult.release.doors import Door, FileDoor, FunctionDoor
from auscult.release.endpoint import EndpointDoor
from auscult.release.graph import OnnxDoor

RELEASES: Registry[Any] = Registry("release door", Door, of_classes=True)
for _door in (FileDoor, FunctionDoor, OnnxDoor, EndpointDoor):
    RELEASES.add(_door)
