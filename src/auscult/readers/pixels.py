"""Frames of pixels to entries of one size: windows, resizing, slices. And raster images, NIfTI."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.readers.decoding import DAMAGED, MOST_VALUES, OTHER_KIND, TOO_LARGE, NotDecodedError

RASTERS = ("PNG", "JPEG", "TIFF")
LOW_HIGH = (0.5, 99.5)  # percentiles that become 0 and 255 where no window is known
NOT_FINITE = "it holds NaN or infinity"
AXES = "a NIfTI file whose data are not a volume with three axes"
MOST_FRAMES = 10_000
TURNED_GREY = "colour images converted to grey"
ORIENTATION = 0x0112  # of EXIF: how a camera was held
TURNED = "images turned as their EXIF orientation says (as viewers do)"
NO_ALPHA = "images whose transparency was ignored"


@dataclass(eq=False)
class Values:
    """Grey values that are not yet bytes.

    Attributes
    ----------
    values : float32 array, shape (frames, height, width)
    outside : bool array of that shape, optional
        Padding: shown black, and not counted where a window is chosen.
    low_high : pair of float, optional
        Values that become 0 and 255.
    inverted : bool
        High values are dark.
    """

    values: NDArray[np.float32]
    outside: NDArray[np.bool_] | None = None
    low_high: tuple[float, float] | None = None
    inverted: bool = False


@dataclass(kw_only=True, eq=False)
class Frames:
    """What a file shows: grey values, or frames of bytes (height, width) or (height, width, 3)."""

    values: Values | None = None
    bytes_: Sequence[NDArray[np.uint8]] = ()
    notes: list[str] = field(default_factory=list)


def raster_frames(path: Path, choose: Callable[[int], Sequence[int]]) -> Frames:
    """Frames of a PNG, JPEG or TIFF file: nothing is decoded before its size is known."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    # The limit below is ours and is checked for every frame; Pillow's own only warns at first.
    Image.MAX_IMAGE_PIXELS = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=RASTERS)
        except UnidentifiedImageError:
            raise NotDecodedError(OTHER_KIND) from None
        with image:
            refuse_large(*image.size)
            # A JPEG of several pictures holds previews, not pages.
            count = getattr(image, "n_frames", 1) if image.format in ("PNG", "TIFF") else 1
            if count > MOST_FRAMES:
                raise NotDecodedError(TOO_LARGE)
            chosen = choose(count)
            frames, values, notes, total = [], [], [], 0
            for index in chosen:
                if count > 1:
                    image.seek(index)
                total += refuse_large(*image.size)
                refuse_large(total, 1)
                shown: Image.Image = image
                # Pillow turns TIFF files by itself.
                if image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) not in (0, 1):
                    shown = ImageOps.exif_transpose(image)
                    notes.append(TURNED)
                mode = image.mode
                if mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info:
                    notes.append(NO_ALPHA)
                if mode.startswith(("I", "F")):
                    values.append(np.asarray(shown, dtype=np.float32))
                else:
                    grey = mode in ("1", "L", "LA", "La")
                    frames.append(np.asarray(shown.convert("L" if grey else "RGB")))
    if values and frames:
        raise NotDecodedError(DAMAGED)
    notes = list(dict.fromkeys(notes))
    if not values:
        return Frames(bytes_=frames, notes=notes)
    if len({frame.shape for frame in values}) > 1:
        raise NotDecodedError(DAMAGED)
    return Frames(values=Values(_finite(np.stack(values))), notes=notes)


def nifti_frames(path: Path, choose: Callable[[int], Sequence[int]]) -> Frames:
    """Axial slices of a NIfTI volume, from the feet up, front at the top, patient's left left."""
    import nibabel
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    image: Any = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise NotDecodedError(OTHER_KIND)
    shape = image.shape
    refuse_large(int(np.prod([int(n) for n in shape], dtype=object)), 1)
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or 0 in shape:
        raise NotDecodedError(AXES)
    if image.get_data_dtype().kind not in "iuf":
        raise NotDecodedError(AXES)
    data = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:3])
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(("R", "A", "S")))
    data = apply_orientation(data, turn)
    slices = [data[:, ::-1, index].T for index in choose(data.shape[2])]
    return Frames(values=Values(_finite(np.stack(slices))))


def refuse_large(width: int, height: int) -> int:
    """The number of pixels; raise where they are too many to be decoded."""
    if width * height > MOST_VALUES:
        raise NotDecodedError(TOO_LARGE)
    return width * height


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise NotDecodedError(NOT_FINITE)
    return values


def entries(
    frames: Frames,
    *,
    size: tuple[int, int],
    grey: bool,
    window: tuple[float, ...] | None,
    fit: str,
) -> list[NDArray[np.uint8]]:
    """Frames as bytes of one size, (height, width) or (height, width, 3).

    Parameters
    ----------
    frames : Frames
        A note is added where colours turn grey.
    size : (height, width)
    grey : bool
    window : (centre, width), optional
    fit : {"stretch", "crop", "pad"}
    """
    if frames.values is not None:
        greys = _from_values(frames.values, size, window, fit)
        return greys if grey else [np.repeat(one[:, :, None], 3, axis=2) for one in greys]
    from PIL import Image

    found = []
    for pixels in frames.bytes_:
        image: Any = Image.fromarray(pixels)
        if grey and pixels.ndim == 3:
            image = image.convert("L")
            frames.notes.append(TURNED_GREY)
        elif not grey and pixels.ndim == 2:
            image = image.convert("RGB")
        found.append(np.asarray(_resized(image, size, fit)))
    return found


def in_depth(slices: Sequence[NDArray[np.uint8]], depth: int) -> NDArray[np.uint8]:
    """Slices as one volume of `depth` of them, interpolated between neighbours."""
    stack = np.stack(slices)
    if len(stack) == depth:
        return stack
    # Centres of the new slices in the old ones' numbering, as resizing an image places them.
    place = (np.arange(depth) + 0.5) * len(stack) / depth - 0.5
    place = np.clip(place, 0, len(stack) - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, len(stack) - 1)
    share = (place - below).astype(np.float32).reshape(-1, *(1,) * (stack.ndim - 1))
    mixed = stack[below] * (1 - share) + stack[above] * share
    return np.round(mixed).astype(np.uint8)


def _from_values(
    found: Values, size: tuple[int, int], window: tuple[float, ...] | None, fit: str
) -> list[NDArray[np.uint8]]:
    from PIL import Image

    values, low_high = found.values, found.low_high
    if window is not None:
        low_high = (window[0] - window[1] / 2, window[0] + window[1] / 2)
    if low_high is None:
        seen = values if found.outside is None else values[~found.outside]
        low_high = tuple(np.percentile(seen, LOW_HIGH)) if seen.size else (0.0, 1.0)
        if low_high[0] >= low_high[1]:
            low_high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    low, high = low_high
    result = []
    for place, frame in enumerate(values):
        scaled = (frame - low) / max(high - low, 1e-12)
        scaled = np.clip(scaled, 0, 1)
        if found.inverted:
            scaled = 1 - scaled
        if found.outside is not None:
            scaled[found.outside[place]] = 0
        image = _resized(Image.fromarray((255 * scaled).astype(np.float32)), size, fit)
        result.append(np.clip(np.round(np.asarray(image)), 0, 255).astype(np.uint8))
    return result


def _resized(image: Any, size: tuple[int, int], fit: str) -> Any:  # noqa: ANN401
    from PIL import Image, ImageOps

    wanted = (size[1], size[0])
    if image.size == wanted:
        return image
    smooth = Image.Resampling.BILINEAR  # antialiased where it makes smaller
    if fit == "crop":
        return ImageOps.fit(image, wanted, smooth)
    if fit == "pad":
        return ImageOps.pad(image, wanted, smooth)
    return image.resize(wanted, smooth)
