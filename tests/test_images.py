"""Folders of images to a cohort: every format, every photometric, hostile files, kills."""

from __future__ import annotations

import json
import os
import signal
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless

from auscult import Cohort
from auscult.base.errors import CohortError
from auscult.cohort.inputs import ArrayInputs
from auscult.readers import decoding
from auscult.readers.decoding import CRASHED, DAMAGED, OTHER_KIND, TOO_LARGE, NotDecodedError
from auscult.readers.dicom import NO_PIXELS, NO_SYNTAX
from auscult.readers.images import SEVERAL, ImageSettings, decode_images
from auscult.readers.paths import ABSENT, OUTSIDE, locate, scan
from auscult.readers.pixels import AXES, NOT_FINITE, TURNED
from tests.files import MARK, write_dicom

GREY = ImageSettings(size=(16, 16), colour="grey")


def one(path: Path, settings: ImageSettings = GREY) -> list[NDArray[Any]]:
    """Entries of one file, decoded here."""
    return list(settings.decode(path).arrays)


def reason(path: Path, settings: ImageSettings = GREY) -> str:
    with pytest.raises(NotDecodedError) as caught:
        decoding._safely(settings, path)
    return caught.value.reason


def gradient(dtype: Any = np.uint8, top: int = 255) -> NDArray[Any]:  # noqa: ANN401
    return (np.arange(256).reshape(16, 16) * (top / 255)).astype(dtype)


def noise(seed: int = 0, shape: tuple[int, ...] = (16, 16)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_lossless_bytes_come_back_unchanged(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noise()).save(path)
    np.testing.assert_array_equal(one(path)[0], noise())
    Image.fromarray(noise(shape=(16, 16, 3))).save(path)
    found = one(path, ImageSettings(size=(16, 16), colour="rgb"))[0]
    np.testing.assert_array_equal(found, noise(shape=(16, 16, 3)))
    assert one(path)[0].shape == (16, 16)
    assert GREY.decode(path).notes == ("colour images converted to grey",)


def test_palettes_alpha_and_orientation(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    grey = Image.fromarray(noise())
    for mode in ("P", "RGBA", "LA"):
        grey.convert(mode).save(path)
        np.testing.assert_allclose(one(path)[0], noise(), atol=1)
    held = grey.getexif()
    held[0x0112] = 6
    grey.save(path, exif=held)
    np.testing.assert_array_equal(one(path)[0], np.rot90(noise(), -1))
    assert GREY.decode(path).notes == (TURNED,)


def test_jpeg_is_close_and_not_square_images_keep_their_axes(tmp_path: Path) -> None:
    wide = np.zeros((40, 80), dtype=np.uint8)
    wide[:, 50:] = 255  # bright on the right: rows stay rows
    Image.fromarray(wide).save(tmp_path / "a.jpg", quality=95)
    found = one(tmp_path / "a.jpg")[0].astype(int)
    assert (found[:, 11:] > 240).all()
    assert (found[:, :9] < 15).all()
    square = one(tmp_path / "a.jpg", ImageSettings(size=(16, 16), colour="grey", fit="crop"))[0]
    assert square[:, 13].mean() > 120 > square[:, 3].mean()  # the middle 40 x 40 of it
    padded = one(tmp_path / "a.jpg", ImageSettings(size=(16, 16), colour="grey", fit="pad"))[0]
    assert padded[:4].max() == 0 == padded[12:].max()


def test_sixteen_bits_are_spread_and_windowed(tmp_path: Path) -> None:
    values = gradient(np.uint16, 4000)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = one(tmp_path / "a.png")[0].ravel()
    assert (found[0], found[-1]) == (0, 255)
    assert (np.diff(found.astype(int)) >= 0).all()
    windowed = ImageSettings(size=(16, 16), colour="grey", window=(2000.0, 1000.0))
    found = one(tmp_path / "a.png", windowed)[0].ravel()
    expected = np.round(255 * np.clip((values.ravel() - 1500.0) / 1000, 0, 1))
    assert np.abs(found - expected).max() <= 1


def test_pages_of_a_tiff_are_taken_as_said(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((16, 16), 50 * i, dtype=np.uint8)) for i in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert reason(tmp_path / "a.tif") == SEVERAL

    def taken(slices: Any, depth: int | None = None) -> list[Any]:  # noqa: ANN401
        settings = ImageSettings(size=(16, 16), colour="grey", slices=slices, depth=depth)
        return [entry[..., 0, 0].tolist() for entry in one(tmp_path / "a.tif", settings)]

    assert taken("each") == [0, 50, 100, 150, 200]
    assert taken("middle") == [100]
    assert taken(2) == [50, 150]
    assert taken(9) == [0, 50, 100, 150, 200]
    assert taken("volume", 5) == [[0, 50, 100, 150, 200]]
    assert taken("volume", 10) == [[0, 12, 38, 62, 88, 112, 138, 162, 188, 200]]


@pytest.mark.parametrize("compressed", [None, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_is_shown_as_a_viewer_shows_it(
    compressed: str | None, photometric: str, tmp_path: Path
) -> None:
    shown = noise(shape=(64, 64))
    stored = shown if photometric == "MONOCHROME2" else 255 - shown
    write_dicom(tmp_path / "a", stored, photometric=photometric, compressed=compressed)
    found = one(tmp_path / "a", ImageSettings(size=(64, 64), colour="grey"))[0]
    np.testing.assert_array_equal(found, shown)


def test_rescale_window_and_padding_of_dicom(tmp_path: Path) -> None:
    hounsfield = np.linspace(-1000, 1000, 256).reshape(16, 16)
    stored = (hounsfield + 1024).round().astype(np.uint16)
    more: dict[str, Any] = {
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "WindowCenter": 40,
        "WindowWidth": 400,
    }
    write_dicom(tmp_path / "a", stored, **more)
    expected = 255 * np.clip((stored.astype(float) - 1024 - (39.5 - 199.5)) / 399, 0, 1)
    assert np.abs(one(tmp_path / "a")[0] - expected).max() <= 1
    mine = ImageSettings(size=(16, 16), colour="grey", window=(-500.0, 1000.0))
    expected = 255 * np.clip((stored.astype(float) - 1024 + 1000) / 1000, 0, 1)
    assert np.abs(one(tmp_path / "a", mine)[0] - expected).max() <= 1
    # Several windows: the first. Padding is black, and does not stretch what is seen.
    stored[:4] = 63000
    stored[4:] = gradient(np.uint16, 1000)[4:]
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        write_dicom(tmp_path / "b", stored, photometric=photometric, PixelPaddingValue=63000)
        found = one(tmp_path / "b")[0]
        assert found[:4].max() == 0
        assert found[4:].max() == 255
    write_dicom(tmp_path / "c", stored, WindowCenter=[500, 1], WindowWidth=[1000, 2])
    assert 100 < one(tmp_path / "c")[0][12].mean() < 250
    write_dicom(tmp_path / "d", stored, WindowCenter=500, WindowWidth=400, VOILUTFunction="SIGMOID")
    sigmoid = 255 / (1 + np.exp(-4 * (stored[4:].astype(float) - 500) / 400))
    assert np.abs(one(tmp_path / "d")[0][4:] - sigmoid).max() <= 1


def test_colours_of_dicom(tmp_path: Path) -> None:
    from pydicom.pixels import convert_color_space

    rgb = ImageSettings(size=(16, 16), colour="rgb")
    colours = noise(1, (16, 16, 3))
    write_dicom(tmp_path / "rgb", colours, photometric="RGB")
    np.testing.assert_array_equal(one(tmp_path / "rgb", rgb)[0], colours)
    ybr = convert_color_space(colours, "RGB", "YBR_FULL")
    write_dicom(tmp_path / "ybr", ybr, photometric="YBR_FULL")
    assert np.abs(one(tmp_path / "ybr", rgb)[0].astype(int) - colours).max() <= 3
    table: dict[str, Any] = {}
    for place, name in enumerate(("Red", "Green", "Blue")):
        table[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        table[f"{name}PaletteColorLookupTableData"] = bytes(np.roll(np.arange(256), place).tolist())
    write_dicom(tmp_path / "palette", noise(), photometric="PALETTE COLOR", **table)
    found = one(tmp_path / "palette", rgb)[0]
    expected = np.stack([(noise().astype(int) - place) % 256 for place in range(3)], axis=-1)
    np.testing.assert_array_equal(found, expected)
    assert ImageSettings(size=(16, 16)).settle([tmp_path / "palette"]).colour == "rgb"


def test_compressed_colours_and_values_told_frame_by_frame(tmp_path: Path) -> None:
    """Ultrasound and photographs come as JPEG; CT of many frames scales each on its own."""
    import io

    from pydicom import dcmread
    from pydicom.dataset import Dataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    soft = np.stack(np.meshgrid(np.arange(64) * 4, np.arange(64) * 4), axis=-1)
    colours = np.concatenate([soft, 255 - soft[..., :1]], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", quality=95)
    write_dicom(tmp_path / "jpeg", colours, photometric="YBR_FULL_422")
    data = dcmread(tmp_path / "jpeg")
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.PixelData = encapsulate([stream.getvalue()])
    data.save_as(tmp_path / "jpeg")
    found = one(tmp_path / "jpeg", ImageSettings(size=(64, 64), colour="rgb"))[0]
    assert np.abs(found.astype(int) - colours).mean() < 4

    frames = np.stack([gradient(np.uint16, 1000)] * 2)
    groups = []
    for slope in (1, 2):
        scale, group = Dataset(), Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = slope, -1000
        group.PixelValueTransformationSequence = [scale]
        groups.append(group)
    window, shared = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 0.5, 2001
    shared.FrameVOILUTSequence = [window]
    write_dicom(
        tmp_path / "enhanced",
        frames,
        PerFrameFunctionalGroupsSequence=groups,
        SharedFunctionalGroupsSequence=[shared],
    )
    first, second = one(
        tmp_path / "enhanced", ImageSettings(size=(16, 16), colour="grey", slices="each")
    )
    assert (int(first[0, 0]), int(second[0, 0])) == (0, 0)
    assert (int(first[-1, -1]), int(second[-1, -1])) == (128, 255)


def test_frames_and_headers_of_dicom(tmp_path: Path) -> None:
    frames = np.stack([np.full((16, 16), 40 * i, dtype=np.uint8) for i in range(6)])
    more: dict[str, Any] = {"PatientAge": "018M", "PatientSex": "", "BurnedInAnnotation": "YES"}
    write_dicom(tmp_path / "a", frames, "p 1", **more)
    assert reason(tmp_path / "a") == SEVERAL
    settings = ImageSettings(
        size=(16, 16),
        colour="grey",
        slices="each",
        header=("PatientID", "PatientAge", "PatientSex", "Modality"),
    )
    found = settings.decode(tmp_path / "a")
    assert [int(entry[0, 0]) for entry in found.arrays] == [0, 40, 80, 120, 160, 200]
    assert found.header == {
        "PatientID": "p 1",
        "PatientAge": "1.5",
        "PatientSex": None,
        "Modality": None,
    }
    assert "burned" in found.notes[0]
    assert "p 1" not in repr(found)
    with pytest.raises(CohortError, match=r"not a DICOM keyword.*PatientID"):
        ImageSettings(size=(16, 16), header=("PatientId",)).check()


def test_nothing_of_a_header_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Values that break their own format are what pydicom quotes in warnings."""
    (tmp_path / "r").mkdir()
    for i in range(3):
        write_dicom(tmp_path / "r" / f"{i}", noise(i), f"{MARK} {i}", StudyDate="20200101")
        content = (tmp_path / "r" / f"{i}").read_bytes()
        broken = content.replace(b"20200101", f"{MARK}00101".encode())
        (tmp_path / "r" / f"{i}").write_bytes(broken if i else broken[: len(broken) - 100])
    settings = ImageSettings(size=(16, 16), header=("StudyDate", "PatientID"))
    found = decode_images(["0", "1", "2"], tmp_path / "r", settings, cache=tmp_path / "c")
    assert [(x.reason, x.records) for x in found.left_out] == [(DAMAGED, 1)]
    assert found.header["PatientID"] == [None, f"{MARK} 1", f"{MARK} 2"]
    said = capfd.readouterr()
    assert MARK not in said.out + said.err + caplog.text + repr(found)


def write_nifti(path: Path, data: NDArray[Any], affine: NDArray[Any] | None = None) -> None:
    import nibabel

    image = nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine)
    nibabel.save(image, path)


def test_nifti_slices_are_axial_whatever_the_storage(tmp_path: Path) -> None:
    data = np.zeros((16, 16, 6), dtype=np.float32)
    data[12:, :, :] = 1.0  # right
    data[:, 12:, 3:] += 2.0  # front, upper half
    write_nifti(tmp_path / "a.nii", data)
    settings = ImageSettings(size=(16, 16), colour="grey", slices="each")
    slices = one(tmp_path / "a.nii", settings)
    assert len(slices) == 6
    assert slices[5][0, 0] == 170  # front at the top
    assert slices[5][0, 15] == 255
    assert slices[0][0, 0] == 0
    assert slices[0][8, 15] == 85
    # The same head, stored from another corner and with axes in another order.
    flipped = np.moveaxis(data[::-1], 2, 0)
    affine = np.array([[0, -1, 0, 15], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "b.nii.gz", np.ascontiguousarray(flipped), affine)
    np.testing.assert_array_equal(one(tmp_path / "b.nii.gz", settings), slices)
    assert reason(tmp_path / "a.nii") == SEVERAL
    volume = ImageSettings(size=(8, 8), colour="grey", slices="volume", depth=4)
    assert one(tmp_path / "a.nii", volume)[0].shape == (4, 8, 8)


def test_nifti_that_is_no_volume(tmp_path: Path) -> None:
    settings = ImageSettings(size=(16, 16), colour="grey", slices="each")
    write_nifti(tmp_path / "a.nii", np.zeros((4, 4, 4, 7), dtype=np.float32))
    assert reason(tmp_path / "a.nii", settings) == AXES
    write_nifti(tmp_path / "b.nii", np.full((4, 4, 4), np.nan, dtype=np.float32))
    assert reason(tmp_path / "b.nii", settings) == NOT_FINITE
    write_nifti(tmp_path / "c.nii", np.zeros((4, 4, 4), dtype=np.float32))
    content = bytearray((tmp_path / "c.nii").read_bytes())
    content[42:48] = struct.pack("<3h", 32000, 32000, 32000)
    (tmp_path / "c.nii").write_bytes(content)
    assert reason(tmp_path / "c.nii", settings) == TOO_LARGE


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def bomb_png(path: Path, side: int = 50_000) -> None:
    """A few kilobytes that would be gigabytes of pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = zlib.compress(bytes(1 << 20), 9) * 4
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    )


def test_hostile_images_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    bomb_png(tmp_path / "bomb.png")
    assert reason(tmp_path / "bomb.png") == TOO_LARGE
    write_dicom(tmp_path / "huge", noise(), Rows=65535, Columns=65535)
    assert reason(tmp_path / "huge") == TOO_LARGE
    write_dicom(tmp_path / "frames", noise(), NumberOfFrames=10**9)
    assert reason(tmp_path / "frames") == TOO_LARGE
    write_dicom(tmp_path / "more", noise(), Rows=4000, Columns=4000)
    assert reason(tmp_path / "more") == DAMAGED
    write_dicom(tmp_path / "negative", noise(), NumberOfFrames=-1)
    assert reason(tmp_path / "negative") == DAMAGED
    # The header is modest, and the stream inside it announces 40,000 x 40,000 pixels.
    write_dicom(tmp_path / "stream", noise(shape=(64, 64)), compressed=JPEG2000Lossless)
    content = bytearray((tmp_path / "stream").read_bytes())
    place = content.index(b"\xff\x4f\xff\x51")
    content[place + 8 : place + 16] = struct.pack(">II", 40_000, 40_000)
    (tmp_path / "stream").write_bytes(content)
    assert reason(tmp_path / "stream") == DAMAGED
    write_dicom(tmp_path / "deflated", noise())
    (tmp_path / "deflated").write_bytes(
        (tmp_path / "deflated")
        .read_bytes()
        .replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0", 1)
    )
    assert reason(tmp_path / "deflated") in (NO_SYNTAX, DAMAGED)
    for name, text, expected in (
        ("a.png", b"", OTHER_KIND),
        ("b.dcm", b"no image", OTHER_KIND),
        ("c.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", OTHER_KIND),
        ("d.gif", b"GIF89a" + bytes(20), OTHER_KIND),
        ("e.nii.gz", b"\x1f\x8b" + bytes(20), DAMAGED),
        ("f", bytes(128) + b"DICM", DAMAGED),
    ):
        (tmp_path / name).write_bytes(text)
        assert reason(tmp_path / name) == expected, name
    from pydicom import dcmread

    write_dicom(tmp_path / "report", noise())
    data = dcmread(tmp_path / "report")
    del data.PixelData
    data.save_as(tmp_path / "report")
    assert reason(tmp_path / "report") == NO_PIXELS


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/passwd", "a/../../secret.png", "a\0b", "..\\secret.png", "C:\\x.png"],
)
def test_paths_that_climb_are_refused_and_not_quoted(name: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    Image.fromarray(noise()).save(tmp_path / "secret.png")
    with pytest.raises(CohortError, match="1 of 2 paths are absolute or lead out") as caught:
        locate(tmp_path / "root", ["b.png", name], "column file")
    assert "secret" not in str(caught.value)
    assert "passwd" not in str(caught.value)


def test_links_and_odd_files_and_odd_names(tmp_path: Path) -> None:
    root = tmp_path / "ro ot\"'"
    (root / "in").mkdir(parents=True)
    Image.fromarray(noise(5)).save(tmp_path / "outside.png")
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(noise(6)).save(tmp_path / "elsewhere" / "x.png")
    odd = ['a "quoted" one.png', "new\nline.png", "ünïcode 'x'.png", "$(touch y);.png", "-rf.png"]
    for i, name in enumerate(odd):
        Image.fromarray(noise(i)).save(root / "in" / name)
    (root / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "fine.png").symlink_to(root / "in" / odd[0])
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    if hasattr(os, "mkfifo"):  # Windows has none
        os.mkfifo(root / "pipe.png")
    (root / ".hidden.png").write_bytes(b"")
    names, others = scan(root, "cohort.images")
    assert sorted(names) == sorted(
        [*(f"in/{name}" for name in odd), "out.png", "fine.png", "pipe.png"]
    )
    assert others == 2
    asked: list[str | None] = [f"in/{name}" for name in odd]
    asked += ["fine.png", "out.png", "folder/x.png", "pipe.png", "none.png", None]
    found = decode_images(asked, root, GREY, cache=tmp_path / "cache", workers=1)
    assert found.source.tolist() == [0, 1, 2, 3, 4, 5]
    for i in range(5):
        np.testing.assert_array_equal(found.array[i], noise(i))
    np.testing.assert_array_equal(found.array[5], noise(0))
    assert {(x.reason, x.records) for x in found.left_out} == {
        (OUTSIDE, 2),
        ("not a regular file", 1),
        (ABSENT, 1),
        ("no path in the table", 1),
    }
    assert not (Path.cwd() / "y").exists()


def folder_of_pngs(root: Path, count: int) -> list[str]:
    root.mkdir(exist_ok=True)
    names = [f"{MARK}{i:04d}.png" for i in range(count)]
    for i, name in enumerate(names):
        Image.fromarray(noise(i)).save(root / name)
    return names


def test_the_cache_is_private_names_nobody_and_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = folder_of_pngs(tmp_path / "r", 5)
    (tmp_path / "r" / names[3]).write_bytes(b"broken")
    cache = tmp_path / "cache"
    monkeypatch.setenv("AUSCULT_CACHE", str(cache))
    one_time = decode_images(names, tmp_path / "r", GREY)
    assert [(x.reason, x.records) for x in one_time.left_out] == [(OTHER_KIND, 1)]
    (folder,) = cache.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert MARK.encode() not in path.read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == [
        "array.npy",
        "index.json",
        "lock",
        "plan.json",
    ]

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "_pool", never)
        again = decode_images(names, tmp_path / "r", GREY)
    np.testing.assert_array_equal(again.array, one_time.array)
    assert again.left_out == one_time.left_out
    # Another setting or a changed file is another array.
    decode_images(names, tmp_path / "r", ImageSettings(size=(8, 8), colour="grey"))
    Image.fromarray(noise(99)).save(tmp_path / "r" / names[3])
    mended = decode_images(names, tmp_path / "r", GREY)
    np.testing.assert_array_equal(mended.array[3], noise(99))
    assert len(list(cache.iterdir())) == 3
    (folder / "array.npy").write_bytes(b"damaged")
    (tmp_path / "r" / names[3]).write_bytes(b"broken")


class Dying(ImageSettings):
    """Kills its process at one file, as a decoder in C may."""

    def decode(self, path: Path) -> Any:  # noqa: ANN401
        if path.read_bytes() == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(path)


@pytest.mark.slow
def test_a_file_that_kills_its_decoder_is_left_out_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = folder_of_pngs(tmp_path / "r", 20)
    (tmp_path / "r" / names[7]).write_bytes(b"kill")
    (tmp_path / "r" / names[8]).write_bytes(b"kill")
    monkeypatch.setattr(decoding, "FILES_PER_PART", 5)
    found = decode_images(
        names, tmp_path / "r", Dying(size=(16, 16), colour="grey"), cache=tmp_path / "c", workers=2
    )
    assert found.source.tolist() == [i for i in range(20) if i not in (7, 8)]
    assert [(x.reason, x.records) for x in found.left_out] == [(CRASHED, 2)]
    for row, i in enumerate(found.source.tolist()):
        np.testing.assert_array_equal(found.array[row], noise(i))


KILLED = """
import sys, time
from pathlib import Path
from auscult.readers import decoding
from auscult.readers.images import ImageSettings, decode_images
decoding.FILES_PER_PART = 4
root = Path(sys.argv[1])
names = sorted(p.name for p in root.glob("*.png"))
class Progress:
    def start(self, label, total): self.done = 0
    def advance(self, steps=1.0):
        self.done += steps
        print(int(self.done), flush=True)
        time.sleep(0.3 if self.done else 0)
    def finish(self): pass
found = decode_images(names, root, ImageSettings(size=(16, 16), colour="grey"),
                      cache=sys.argv[2], workers=1, progress=Progress())
print("rows", len(found.array))
"""


@pytest.mark.slow
def test_decoding_goes_on_after_a_kill(tmp_path: Path) -> None:
    folder_of_pngs(tmp_path / "r", 40)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "r"), str(tmp_path / "c")]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stdout is not None
    while int(first.stdout.readline()) < 8:
        pass
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.read()  # ends with the last process of the group
    first.stdout.close()
    (folder,) = (tmp_path / "c").iterdir()
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("part-*.bin")}
    assert kept
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(second.stdout.split()[0]) >= 8
    assert second.stdout.endswith("rows 40\n")
    assert not list(folder.glob("part-*"))
    array = np.load(folder / "array.npy")
    for i in range(40):
        np.testing.assert_array_equal(array[i], noise(i))
    assert json.loads((folder / "index.json").read_text())["source"] == list(range(40))


def table_of(names: list[str], per_patient: int = 2) -> pd.DataFrame:
    patient = np.arange(len(names)) // per_patient
    return pd.DataFrame(
        {"id": [f"{MARK}{p}" for p in patient], "file": names, "y": np.arange(len(names)) % 2}
    )


def test_a_table_of_paths(tmp_path: Path) -> None:
    names = folder_of_pngs(tmp_path / "r", 12)
    table = table_of(names)
    table.loc[2, "y"] = None
    (tmp_path / "r" / names[5]).write_bytes(b"broken")
    how: dict[str, Any] = {"patient": "id", "label": "y", "cache": tmp_path / "c", "image_size": 16}
    cohort = Cohort.from_images(tmp_path / "r", table, path="file", **how)
    assert cohort.record_rows.tolist() == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    assert isinstance(cohort.inputs, ArrayInputs)
    for k, row in enumerate(cohort.record_rows.tolist()):
        np.testing.assert_array_equal(cohort.inputs.take(np.array([k]))[0], noise(row))
    assert {(x.reason, x.records) for x in cohort.left_out} == {
        ("label missing", 1),
        (OTHER_KIND, 1),
    }
    # A subset decodes the files of its patients alone.
    small = Cohort.from_images(tmp_path / "r", table, path="file", max_patients=3, **how)
    assert small.patients == 3
    assert isinstance(small.inputs, ArrayInputs)
    assert small.inputs.array.shape[0] < 8


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"path": None}, "which file a row describes"),
        ({"path": "fil"}, 'no column "fil"'),
        ({"image_size": 0}, "not a valid"),
        ({"image_size": (5, 5, 5)}, "not a valid"),
        ({"slices": "some"}, "which slices"),
        ({"slices": 0}, "which slices"),
        ({"slices": "volume"}, "number of slices"),
        ({"depth": 3}, "number of slices"),
        ({"window": (1.0, 0.0)}, "not a valid window"),
        ({"colour": "blue"}, "not known"),
        ({"fit": "tight"}, "not known"),
        ({"header": ["PatientID"]}, "no file names|missing"),
        ({"exclude": ["y"]}, "no inputs"),
        ({"workers": 0}, "too few"),
    ],
)
def test_refusals(how: dict[str, Any], words: str, tmp_path: Path) -> None:
    names = folder_of_pngs(tmp_path / "r", 4)
    told: dict[str, Any] = {
        "path": "file",
        "patient": "PatientID" if "header" in how else "id",
        "label": "y",
        "cache": tmp_path / "c",
        "image_size": 16,
    }
    with pytest.raises(CohortError, match=words) as caught:
        Cohort.from_images(tmp_path / "r", table_of(names), **(told | how))
    assert MARK not in str(caught.value)


def test_nothing_that_can_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    with pytest.raises(CohortError, match="holds no file of a supported kind"):
        scan(tmp_path / "r", "cohort.images")
    (tmp_path / "r" / f"{MARK}.png").write_bytes(b"broken")
    with pytest.raises(
        CohortError, match=r"none of the 1 files can be decoded.*1: a kind"
    ) as caught:
        decode_images([f"{MARK}.png"], tmp_path / "r", GREY, cache=tmp_path / "c")
    assert MARK not in str(caught.value)
    with pytest.raises(CohortError, match="no such folder"):
        decode_images(["a"], tmp_path / "none", GREY)


@pytest.mark.filterwarnings("ignore")  # of the libraries, which say so of damaged files
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "plain.dcm", "packed.dcm", "a.nii"])
def test_altered_bytes_give_entries_or_a_reason(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / name
    if name.endswith(".dcm"):
        write_dicom(path, noise(), compressed=RLELossless if name == "packed.dcm" else None)
    elif name.endswith(".nii"):
        write_nifti(path, noise(shape=(8, 8, 4)).astype(np.float32))
    else:
        Image.fromarray(noise()).save(path)
    whole = path.read_bytes()
    settings = ImageSettings(size=(8, 8), colour="grey", slices="each", header=("StudyDate",))
    outcomes = set()
    for _ in range(60):
        altered = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            altered[int(rng.integers(min(len(altered), 700)))] = int(rng.integers(256))
        path.write_bytes(altered)
        try:
            found = decoding._safely(settings, path)
        except NotDecodedError as error:
            outcomes.add(error.reason)
        else:
            outcomes.add("")
            assert all(entry.shape == (8, 8) for entry in found.arrays)
            assert all(entry.dtype == np.uint8 for entry in found.arrays)
    assert outcomes - {""}
