"""How fast folders of files are decoded, and in how much memory.

    python -m benchmarks.reading [--files 20000]

The files are made first: smooth noise, which is packed as radiographs are. Memory is what all
processes hold together (proportional set size, sampled ten times a second).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.base.parallel import cores
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.reading"
SIDE = 128
DIFFERENT = 200  # images made; the others are these, moved sideways
SIZE = 64
CODE = """
import json, sys, time
from pathlib import Path
from auscult.readers.images import ImageSettings, decode_images
from auscult.readers.paths import scan
begin = time.perf_counter()
names, _ = scan(sys.argv[1], "images")
found = decode_images(names, sys.argv[1], ImageSettings(size=(64, 64)), cache=sys.argv[2])
print(json.dumps({"seconds": time.perf_counter() - begin, "rows": len(found.array)}))
"""


def smooth(rng: np.random.Generator) -> NDArray[np.uint16]:
    """An image of 12 bits whose neighbours resemble each other."""
    coarse = rng.normal(size=(9, 9)).repeat(16, axis=0).repeat(16, axis=1)[:SIDE, :SIDE]
    blurred = (
        coarse
        + np.roll(coarse, 5, 0)
        + np.roll(coarse, 7, 1)
        + 0.02 * rng.normal(size=(SIDE, SIDE))
    )
    scaled = (blurred - blurred.min()) / np.ptp(blurred)
    pixels: NDArray[np.uint16] = (4095 * scaled).astype(np.uint16)
    return pixels


def write_pngs(folder: Path, count: int) -> None:
    """8-bit files in folders of a thousand."""
    from PIL import Image

    rng = np.random.default_rng(0)
    some = [(smooth(rng) >> 4).astype(np.uint8) for _ in range(DIFFERENT)]
    for i in range(count):
        place = folder / f"{i // 1000:03d}"
        place.mkdir(exist_ok=True, parents=True)
        shifted = np.roll(some[i % DIFFERENT], i // DIFFERENT, axis=1)
        Image.fromarray(shifted).save(place / f"{i:06d}.png")


def write_dicoms(folder: Path, count: int) -> None:
    """12 bits in 16, every other one JPEG 2000."""
    from pydicom.uid import JPEG2000Lossless

    from tests.files import write_dicom

    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for i in range(count):
        write_dicom(
            folder / f"{i:06d}.dcm",
            smooth(rng),
            f"patient {i // 3}",
            compressed=JPEG2000Lossless if i % 2 else None,
        )


def processes(root: int) -> list[int]:
    """A process and all below it."""
    found = [root]
    for one in found:
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in path.read_text(encoding="ascii").split()]
            except OSError:
                continue
    return found


def held(root: int) -> float:
    """Megabytes that a process and those below it hold together."""
    total = 0
    for one in processes(root):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += sum(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:"))
    return total / 1024


def measure(folder: Path, cache: Path) -> tuple[float, int, float]:
    """Seconds, rows and peak megabytes of one decoding."""
    command = [sys.executable, "-c", CODE, str(folder), str(cache)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while child.poll() is None:
        peak = max(peak, held(child.pid))
        time.sleep(0.1)
    out, _ = child.communicate()
    if child.returncode:
        raise SystemExit("decoding failed")
    told = json.loads(out)
    return told["seconds"], told["rows"], peak


def main() -> None:
    """Make files, decode them, and write the section of RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("--files", type=int, default=20_000)
    given = parser.parse_args()
    load, rows = os.getloadavg()[0], []  # Linux and macOS; memory is read from Linux's /proc
    kinds: dict[str, tuple[Callable[[Path, int], None], tuple[int, ...]]] = {
        "PNG, 8 bits": (write_pngs, (given.files // 4, given.files)),
        "DICOM, 12 bits, half of them JPEG 2000": (write_dicoms, (given.files // 10,)),
    }
    with tempfile.TemporaryDirectory() as work:
        for kind, (write, counts) in kinds.items():
            for count in counts:
                folder, cache = Path(work) / f"{write.__name__}-{count}", Path(work) / "cache"
                write(folder, count)
                seconds, found, peak = measure(folder, cache)
                again, _, _ = measure(folder, cache)
                if found != count:
                    raise SystemExit(f"{found} of {count} files were decoded")
                rows.append(
                    (
                        kind,
                        f"{count:,}",
                        f"{seconds:.1f}",
                        f"{count / seconds:,.0f}",
                        f"{peak:.0f}",
                        f"{again:.2f}",
                    )
                )
    text = (
        f"Files of {SIDE} x {SIDE} pixels to {SIZE} x {SIZE} bytes, {cores()} "
        "processes that decode and one that waits; start of the processes included. Other work "
        f"kept the machine at a load of {load:.1f} as this began.\n\n"
    ) + table(
        ("files", "number", "seconds", "per second", "memory of all, MB", "again, from the cache"),
        rows,
    )
    record("reading", "Decoding folders of images", COMMAND, text)


if __name__ == "__main__":
    main()
