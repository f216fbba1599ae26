"""One image inside each npz file, as a decoder that the readers run in processes of their own."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auscult.readers.decoding import (
    DAMAGED,
    MOST_VALUES,
    OTHER_KIND,
    TOO_LARGE,
    Entries,
    NotDecodedError,
)

NO_ARRAY = "it has no array of the name that is read"
NO_IMAGE = "the array is not a grey image of values from 0 to 255"


@dataclass(frozen=True, kw_only=True)
class ArchiveSettings:
    """Which array of an npz, and its size as an entry.

    Attributes
    ----------
    key : str
        Other arrays of the file are not touched.
    size : (height, width)
    """

    key: str
    size: tuple[int, int]

    def settle(self, paths: Sequence[Path]) -> ArchiveSettings:  # noqa: ARG002
        """Nothing is left open."""
        return self

    def layout(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of an entry."""
        return self.size, "uint8"

    def decode(self, path: Path) -> Entries:
        """Read one file; its size is known before it is unpacked, and no pickle is read."""
        from PIL import Image

        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if f"{self.key}.npy" not in names:
                    raise NotDecodedError(NO_ARRAY)
                with archive.open(f"{self.key}.npy") as handle:
                    version = np.lib.format.read_magic(handle)
                    if version != (1, 0):
                        raise NotDecodedError(DAMAGED)
                    shape, fortran, dtype = np.lib.format.read_array_header_1_0(handle)
                    plain = dtype.kind in "uf" and not dtype.hasobject
                    if not plain or len(shape) != 2 or 0 in shape or fortran:
                        raise NotDecodedError(NO_IMAGE)
                    count = int(np.prod([int(n) for n in shape], dtype=object))
                    if count > MOST_VALUES:
                        raise NotDecodedError(TOO_LARGE)
                    content = handle.read(count * dtype.itemsize)
        except (zipfile.BadZipFile, NotImplementedError):
            raise NotDecodedError(OTHER_KIND) from None
        if len(content) != count * dtype.itemsize:
            raise NotDecodedError(DAMAGED)
        values = np.frombuffer(content, dtype=dtype).reshape(shape)
        if not (values >= 0).all() or not (values <= 255).all():  # NaN is neither
            raise NotDecodedError(NO_IMAGE)
        image: Any = Image.fromarray(np.round(values).astype(np.uint8))
        if image.size != self.size[::-1]:
            image = image.resize(self.size[::-1], Image.Resampling.BILINEAR)
        return Entries(arrays=[np.asarray(image)])
