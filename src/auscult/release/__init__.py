"""The model that is to go out: asked through a door, judged by the shadow models."""

from auscult.release.declaration import Release
from auscult.release.doors import Door, FileDoor, FunctionDoor
from auscult.release.endpoint import EndpointDoor
from auscult.release.graph import OnnxDoor
from auscult.release.members import MemberColumn, MemberList
from auscult.release.saved import SavedDoor

__all__ = [
    "Door",
    "EndpointDoor",
    "FileDoor",
    "FunctionDoor",
    "MemberColumn",
    "MemberList",
    "OnnxDoor",
    "Release",
    "SavedDoor",
]
