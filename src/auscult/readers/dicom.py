"""One DICOM file to frames of pixels, and those values of its header that were asked for.

The file is read and nothing else: nothing is written, nothing of the header is logged or quoted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import CohortError, one_of
from auscult.readers.decoding import DAMAGED, MOST_VALUES, TOO_LARGE, NotDecodedError
from auscult.readers.pixels import NOT_FINITE, Frames, Values

DEFLATED = "1.2.840.10008.1.2.1.99"
NO_PIXELS = "a DICOM file without pixels"
NO_SYNTAX = "compressed in a way that is not supported"
BURNED_IN = "files that declare that names or dates may be burned into their pixels"
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
GREY = ("MONOCHROME1", "MONOCHROME2")


def check_keywords(names: Sequence[str]) -> None:
    """Raise a CohortError for the first name that is no keyword of DICOM."""
    from pydicom.datadict import DicomDictionary, tag_for_keyword

    for name in names:
        if tag_for_keyword(name) is None:
            keywords = [entry[4] for entry in DicomDictionary.values() if entry[4]]
            raise CohortError(
                f'"{name}" is not a DICOM keyword',
                where="cohort.header",
                expected=one_of(name, keywords, shown=0).replace("it has: , ... ", ""),
            )


def read_dicom(
    path: Path,
    header: Sequence[str],
    choose: Callable[[int], Sequence[int]],
    window: tuple[float, ...] | None,
) -> tuple[Frames, dict[str, str | None]]:
    """Pixels as they would be shown, and header values.

    Parameters
    ----------
    path : Path
    header : sequence of str
        Keywords.
    choose : callable
        Which frames to take, given how many there are.
    window : (centre, width), optional
        Instead of the file's own.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import UID

    meta = read_file_meta_info(path)
    syntax = UID(str(meta.TransferSyntaxUID))
    if syntax == DEFLATED:  # inflates as a whole before anything can be checked
        raise NotDecodedError(NO_SYNTAX)
    data = dcmread(path)
    values = {name: _value(data, name) for name in header}
    if "PixelData" not in data:
        raise NotDecodedError(NO_PIXELS)
    rows, columns, count = int(data.Rows), int(data.Columns), int(data.get("NumberOfFrames") or 1)
    samples = int(data.SamplesPerPixel)
    if min(rows, columns, count, samples) < 1 or samples not in (1, 3):
        raise NotDecodedError(DAMAGED)
    if rows * columns * count * samples > MOST_VALUES:
        raise NotDecodedError(TOO_LARGE)
    if syntax.is_compressed:
        _check_compressed(data, syntax, rows, columns, count)
    notes = []
    if str(data.get("BurnedInAnnotation") or "").upper() == "YES":
        notes.append(BURNED_IN)
    chosen = choose(count)
    photometric = str(data.PhotometricInterpretation)
    if photometric in GREY:
        return _grey(data, chosen, window, photometric == "MONOCHROME1", notes), values
    return _colours(data, chosen, photometric, notes), values


def _check_compressed(data: Any, syntax: Any, rows: int, columns: int, count: int) -> None:  # noqa: ANN401
    """Refuse what cannot be decoded, and streams whose own size is another than the header's."""
    from pydicom.encaps import generate_frames
    from pydicom.pixels import get_decoder

    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise NotDecodedError(NO_SYNTAX)
    for frame in generate_frames(data.PixelData, number_of_frames=count):
        size = _stream_size(frame)
        if size is not None and size != (rows, columns):
            raise NotDecodedError(DAMAGED)


def _stream_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream announces; None for others."""
    if stream[:4] == b"\xff\x4f\xff\x51":
        width, height, left, top = (
            int.from_bytes(stream[start : start + 4], "big") for start in (8, 12, 16, 20)
        )
        return height - top, width - left
    if stream[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(stream):
        if stream[place] != 0xFF:
            return None
        marker = stream[place + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return (
                int.from_bytes(stream[place + 5 : place + 7], "big"),
                int.from_bytes(stream[place + 7 : place + 9], "big"),
            )
        place += 1 if marker == 0xFF else 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def _grey(
    data: Any,  # noqa: ANN401
    chosen: Sequence[int],
    window: tuple[float, ...] | None,
    inverted: bool,
    notes: list[str],
) -> Frames:
    from pydicom.pixels import apply_modality_lut, pixel_array

    padding = data.get("PixelPaddingValue")
    frames, outside, plain = [], [], True
    for index in chosen:
        raw = np.asarray(pixel_array(data, index=index))
        outside.append(raw == int(padding) if padding is not None else np.zeros(raw.shape, bool))
        if "ModalityLUTSequence" in data:
            frames.append(np.asarray(apply_modality_lut(raw, data), dtype=np.float32))
            plain = False
            continue
        scale = _part_of(data, index, "PixelValueTransformationSequence", "RescaleSlope")
        slope = float(scale.get("RescaleSlope", 1) or 1)
        intercept = float(scale.get("RescaleIntercept", 0) or 0)
        plain &= (slope, intercept) == (1, 0)
        frames.append(np.float32(slope) * raw.astype(np.float32) + np.float32(intercept))
    values, low_high = np.stack(frames), None
    if window is None:
        values, low_high = _own_window(data, chosen[0], values)
        unsigned = int(data.PixelRepresentation) == 0
        if low_high is None and plain and unsigned and int(data.BitsStored) <= 8:
            low_high = (0.0, float(2 ** int(data.BitsStored) - 1))
    if not np.isfinite(values).all():
        raise NotDecodedError(NOT_FINITE)
    return Frames(
        values=Values(
            values,
            outside=np.stack(outside) if padding is not None else None,
            low_high=low_high,
            inverted=inverted,
        ),
        notes=notes,
    )


def _part_of(data: Any, index: int, sequence: str, name: str) -> Any:  # noqa: ANN401
    """Where a frame's values are told: the file, the frame's own group, or the shared one."""
    if name in data:
        return data
    for groups, place in (
        (data.get("PerFrameFunctionalGroupsSequence"), index),
        (data.get("SharedFunctionalGroupsSequence"), 0),
    ):
        if groups and place < len(groups) and groups[place].get(sequence):
            return groups[place].get(sequence)[0]
    return data


def _own_window(
    data: Any,  # noqa: ANN401
    index: int,
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[float, float] | None]:
    """The file's first window (PS3.3 C.11.2.1.2 and C.11.2.1.3), or its table of values."""
    from pydicom.pixels import apply_voi

    table = data.get("VOILUTSequence")
    if table:
        bits = int(table[0].LUTDescriptor[2])
        shown = apply_voi(np.round(values).astype(np.int64), data, index=0)
        return np.asarray(shown, dtype=np.float32), (0.0, float(2**bits - 1))
    told = _part_of(data, index, "FrameVOILUTSequence", "WindowCenter")
    centre, width = _first(told.get("WindowCenter")), _first(told.get("WindowWidth"))
    if centre is None or width is None:
        return values, None
    function = str(told.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID" and width > 0:
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (values - np.float32(centre)) / np.float32(width))), (0, 1)
    if function == "LINEAR_EXACT" and width > 0:
        return values, (centre - width / 2, centre + width / 2)
    if function == "LINEAR" and width >= 1:
        return values, (centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)
    return values, None


def _first(value: Any) -> float | None:  # noqa: ANN401
    if value is None or value == "":
        return None
    found = float(value if isinstance(value, str | float | int) else value[0])
    return found if np.isfinite(found) else None


def _colours(data: Any, chosen: Sequence[int], photometric: str, notes: list[str]) -> Frames:  # noqa: ANN401
    from pydicom.pixels import apply_color_lut, pixel_array

    frames = []
    for index in chosen:
        frame = np.asarray(pixel_array(data, index=index))  # YBR becomes RGB here
        bits = int(data.BitsStored)
        if photometric == "PALETTE COLOR":
            frame = np.asarray(apply_color_lut(frame, data))
            bits = 8 * frame.dtype.itemsize
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise NotDecodedError(DAMAGED)
        if bits > 8:
            frame = frame >> (bits - 8)
        frames.append(frame.astype(np.uint8))
    return Frames(bytes_=frames, notes=notes)


def _value(data: Any, name: str) -> str | None:  # noqa: ANN401
    """One value of the header as text; an age in years."""
    try:
        element = data[name] if name in data else None  # noqa: SIM401 - get gives values
        if element is None or element.value is None:
            return None
        value = element.value
        text = "\\".join(map(str, value)) if element.VM > 1 else str(value)
        text = text.strip()
        if element.VR == "AS" and text[-1:] in YEARS and text[:-1].isdigit():
            return f"{int(text[:-1]) * YEARS[text[-1]]:.4g}"
    except (ValueError, TypeError, AttributeError, NotImplementedError, KeyError):
        return None
    return text or None
