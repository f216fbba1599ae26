"""Folders of images to one memory-mapped array: PNG, JPEG, TIFF, DICOM, NIfTI."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from auscult.base.errors import CohortError
from auscult.base.progress import SILENT, Progress
from auscult.readers.decoding import (
    DecodedFiles,
    Entries,
    NotDecodedError,
    decode_files,
)
from auscult.readers.paths import locate

Colour = Literal["auto", "grey", "rgb"]
Fit = Literal["stretch", "crop", "pad"]
SEVERAL = "it has several frames or slices, but cohort.slices does not say which to use"
LARGEST_SIDE = 4096
MOST_DEPTH = 1024


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How image files become entries of one array of bytes.

    Attributes
    ----------
    size : (height, width)
        Resized to this, antialiased.
    colour : {"auto", "grey", "rgb"}
        "auto": colour where one of the first files (32, evenly spaced) has colours.
    slices : "each", "middle", "volume" or int, optional
        Of files of several frames, pages or slices: all, the middle one, all as one volume, or so
        many evenly spaced ones. A file that has several is left out where this is not said.
    depth : int, optional
        Slices of a volume, with slices = "volume".
    window : (centre, width), optional
        Values of more than 8 bits to bytes: this, or else a DICOM file's own first window, or else
        the percentiles 0.5 and 99.5 of what is taken from the file.
    fit : {"stretch", "crop", "pad"}
        To another aspect: stretch, cut the longer side, or pad the shorter one with black.
    header : tuple of str
        Keywords whose values are taken from DICOM headers.
    """

    size: tuple[int, ...]
    colour: Colour = "auto"
    slices: str | int | None = None
    depth: int | None = None
    window: tuple[float, ...] | None = None
    fit: Fit = "stretch"
    header: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise a CohortError for settings that cannot be."""
        if len(self.size) != 2 or not all(1 <= side <= LARGEST_SIDE for side in self.size):
            raise CohortError(
                "not a valid image size",
                where="cohort.image_size",
                expected=f"a number, or [height, width], from 1 to {LARGEST_SIDE}",
            )
        for key, value, known in (
            ("colour", self.colour, ("auto", "grey", "rgb")),
            ("fit", self.fit, ("stretch", "crop", "pad")),
        ):
            if value not in known:
                raise CohortError(
                    f'"{value}" is not known', where=f"cohort.{key}", expected=", ".join(known)
                )
        number = isinstance(self.slices, int) and not isinstance(self.slices, bool)
        if self.slices not in (None, "each", "middle", "volume") and not (
            number and int(self.slices or 0) >= 1
        ):
            raise CohortError(
                "it does not say which slices",
                where="cohort.slices",
                expected='"each", "middle", "volume" or a number of slices, 1 or more',
            )
        if (self.depth is not None) != (self.slices == "volume"):
            raise CohortError(
                "a volume needs a number of slices, and only a volume may have one",
                where="cohort.depth",
                expected='depth = 32 or another number together with slices = "volume"',
            )
        if self.depth is not None and not 1 <= self.depth <= MOST_DEPTH:
            raise CohortError(
                f"{self.depth} slices",
                where="cohort.depth",
                expected=f"1 to {MOST_DEPTH}",
            )
        if self.window is not None and (len(self.window) != 2 or self.window[1] <= 0):
            raise CohortError(
                "not a valid window",
                where="cohort.window",
                expected="[centre, width], width above 0",
            )
        if self.header:
            from auscult.readers.dicom import check_keywords

            check_keywords(self.header)

    def settle(self, paths: Sequence[Path]) -> ImageSettings:
        """Colour where one of the files has colours."""
        if self.colour != "auto":
            return self
        for path in paths:
            try:
                if _has_colours(path):
                    return replace(self, colour="rgb")
            except Exception:  # noqa: S112 - it is decoded, and counted, later
                continue
        return replace(self, colour="grey")

    def layout(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of an entry."""
        shape = tuple(self.size)
        if self.depth is not None:
            shape = (self.depth, *shape)
        return (shape if self.colour == "grey" else (*shape, 3)), "uint8"

    def channels(self) -> str:
        """Where the channel axis of the array is."""
        return "none" if self.colour == "grey" else "last"

    def decode(self, path: Path) -> Entries:
        """Read one file."""
        from auscult.readers.pixels import entries, in_depth, nifti_frames, raster_frames

        header: dict[str, str | None] = {}
        kind = _kind(path)
        if kind == "dicom":
            from auscult.readers.dicom import read_dicom

            frames, header = read_dicom(path, self.header, self._choose, self.window)
        elif kind == "nifti":
            frames = nifti_frames(path, self._choose)
        else:
            frames = raster_frames(path, self._choose)
        arrays = entries(
            frames,
            size=(self.size[0], self.size[1]),
            grey=self.colour == "grey",
            window=self.window,
            fit=self.fit,
        )
        if self.depth is not None:
            arrays = [in_depth(arrays, self.depth)]
        return Entries(arrays=arrays, header=header, notes=tuple(dict.fromkeys(frames.notes)))

    def _choose(self, count: int) -> list[int]:
        """Which of a file's frames to take."""
        if count > 1 and self.slices is None:
            raise NotDecodedError(SEVERAL)
        if count == 1 or self.slices in ("each", "volume"):
            return list(range(count))
        if self.slices == "middle":
            return [count // 2]
        wanted = min(int(self.slices or 1), count)
        return [int(place) for place in (np.arange(wanted) + 0.5) * count / wanted]


def decode_images(
    paths: Sequence[str | None],
    root: str | os.PathLike[str],
    settings: ImageSettings,
    *,
    where: str = "cohort.path",
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> DecodedFiles:
    """Decode image files once, and take them from the cache after that.

    Parameters
    ----------
    paths : sequence of str or None
        Relative to the root.
    root : path-like
        Nothing outside this folder is read.
    settings : ImageSettings
    where : str
        The key or column that the paths are from, for messages.
    cache, workers, progress
        See :func:`auscult.readers.decoding.decode_files`.

    Returns
    -------
    DecodedFiles
        `array` (entries, height, width) or (entries, height, width, 3), bytes; `source`: which of
        the paths each entry is from; `left_out`: files without an entry, by reason.

    Raises
    ------
    CohortError
        A path leads out of the root, or no file can be decoded.
    """
    _need_libraries()
    settings.check()
    return decode_files(
        locate(root, paths, where),
        settings,
        where=where,
        cache=cache,
        workers=workers,
        progress=progress,
    )


def _need_libraries() -> None:
    from importlib.util import find_spec

    for module, name in (("PIL", "Pillow"), ("pydicom", "pydicom"), ("nibabel", "nibabel")):
        if find_spec(module) is None:
            raise CohortError(
                f"{name} is not installed",
                where="cohort.images",
                next_step='Install it: pip install "auscult[imaging]" -c constraints.txt',
            )


def _kind(path: Path) -> str:
    """What a file is by its first bytes; its name does not matter but for packed NIfTI."""
    with path.open("rb") as handle:
        head = handle.read(352)
    if head[128:132] == b"DICM":
        return "dicom"
    packed = head[:2] == b"\x1f\x8b" and path.name.lower().endswith(".nii.gz")
    if packed or head[344:347] in (b"n+1", b"n+2") or head[4:7] == b"n+2":
        return "nifti"
    return "raster"


def _has_colours(path: Path) -> bool:
    kind = _kind(path)
    if kind == "dicom":
        from pydicom import dcmread

        data = dcmread(path, stop_before_pixels=True, specific_tags=["PhotometricInterpretation"])
        return not str(data.PhotometricInterpretation).startswith("MONOCHROME")
    if kind == "nifti":
        return False
    from PIL import Image

    from auscult.readers.pixels import RASTERS

    with Image.open(path, formats=RASTERS) as image:
        return image.mode not in ("1", "L", "LA", "La") and not image.mode.startswith(("I", "F"))
