"""Folders of recordings (WFDB, npz, npy) to one memory-mapped array of leads and samples."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.base.progress import SILENT, Progress
from auscult.readers.decoding import (
    DAMAGED,
    MOST_VALUES,
    OTHER_KIND,
    TOO_LARGE,
    DecodedFiles,
    Entries,
    NotDecodedError,
    decode_files,
)
from auscult.readers.paths import locate

ENDINGS = (".hea", "", ".npz", ".npy")  # tried in turn: WFDB records are named without theirs
NO_LEAD = "a lead is missing"
GAPS = "samples are missing"
NO_RATE = "the file does not give its sampling rate, and neither does cohort.rate"
UNKNOWN_LENGTH = "its header gives no length, and its format does not determine it"
LEADS_TWICE = "two of its leads have the same name"
TRANSPOSED = "it has more leads than samples: its array must be (samples, leads)"
NO_SAMPLES = "the file with its samples is missing or empty"
TOO_SHORT = "it ends before cohort.start"
LEADS_DIFFER = "it has a different number of leads, and does not name them"
# Volts as headers write them, in millivolt: recordings of one folder are not all in the same.
MILLIVOLTS = {"V": 1e3, "uV": 1e-3, "\u00b5V": 1e-3, "\u03bcV": 1e-3, "microV": 1e-3, "nV": 1e-6}
CONVERTED = "recordings in volts of another size were converted to millivolt"
PADDED = "recordings shorter than cohort.seconds, padded with zeros"
ELSEWHERE = "a WFDB header that names files outside its folder"
MARGIN_SECONDS = 1.0  # read around a window, so that the resampling filter sees no edge
FINEST = 1000
MOST_LEADS = 1024
# Bytes per sample of WFDB formats that do not compress.
SAMPLE_BYTES = {
    "8": Fraction(1),
    "16": Fraction(2),
    "24": Fraction(3),
    "32": Fraction(4),
    "61": Fraction(2),
    "80": Fraction(1),
    "160": Fraction(2),
    "212": Fraction(3, 2),
    "310": Fraction(4, 3),
    "311": Fraction(4, 3),
}


@dataclass(frozen=True, kw_only=True)
class SignalSettings:
    """How recordings become entries of one array, shape (leads, samples), 32-bit floats.

    Attributes
    ----------
    seconds : float
        Length of a window.
    rate : float, optional
        Samples per second, resampled where a file has another; the first file's where not said. A
        file that does not tell its own (an npy never does) has this one, where it was said.
    leads : tuple of str
        Names, in this order; those of the first file where not said. Case does not matter.
    start : float
        Seconds to pass over at the beginning.
    windows : "first" or "each"
        One window per recording, padded with zeros at the end where it is shorter; or all whole
        windows, one after the other.
    """

    seconds: float
    rate: float | None = None
    leads: tuple[str, ...] = ()
    start: float = 0.0
    windows: str = "first"
    count: int = 0  # of leads; known once settled
    rate_said: bool = False  # by the user and not by the first file; known once settled

    def check(self) -> None:
        """Raise a CohortError for settings that cannot be."""
        for key, value, low in (
            ("seconds", self.seconds, True),
            ("rate", self.rate, True),
            ("start", self.start, False),
        ):
            if value is not None and not (
                math.isfinite(value) and (value > 0 if low else value >= 0)
            ):
                raise CohortError(
                    f"{value} is not a valid value",
                    where=f"cohort.{key}",
                    expected="a number above 0" if low else "0 or more",
                )
        if self.rate is not None and not 1 <= self.rate * self.seconds <= MOST_VALUES:
            raise CohortError(
                f"a window has {self.rate * self.seconds:g} samples",
                where="cohort.seconds",
                expected="at least one, and not hundreds of millions",
            )
        if self.windows not in ("first", "each"):
            raise CohortError(
                f'"{self.windows}" is not known', where="cohort.windows", expected="first or each"
            )
        names = [name.lower() for name in self.leads]
        if len(set(names)) < len(names):
            raise CohortError("a lead is named twice", where="cohort.leads")

    def settle(self, paths: Sequence[Path]) -> SignalSettings:
        """Rate and leads of the first file that can be read."""
        settled = replace(self, count=len(self.leads), rate_said=self.rate is not None)
        for path in paths:
            try:
                facts = _facts(path)
            except Exception:  # noqa: S112 - it is decoded, and counted, later
                continue
            if settled.rate is None:
                settled = replace(settled, rate=facts.rate)
            if not settled.leads:
                settled = replace(settled, leads=facts.leads, count=facts.count)
            if settled.rate is not None:
                return settled
        return replace(settled, rate=settled.rate or 1.0, count=max(settled.count, 1))

    def samples(self) -> int:
        """Samples in a window."""
        return max(1, round(self.seconds * (self.rate or 1.0)))

    def layout(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of an entry."""
        return (self.count, self.samples()), "float32"

    def decode(self, path: Path) -> Entries:
        """Read one recording."""
        facts = _facts(path)
        if facts.rate is None and not (self.rate_said and self.rate):
            raise NotDecodedError(NO_RATE)
        own = float(facts.rate or self.rate or 0)
        rate = float(self.rate or own)
        chosen = self._places(facts)
        ratio = Fraction(rate / own).limit_denominator(FINEST)
        begin = self.start
        if begin * own >= facts.length:
            raise NotDecodedError(TOO_SHORT)
        whole = self.windows == "each"
        end = facts.length / own if whole else begin + self.seconds
        margin = 0.0 if ratio == 1 else MARGIN_SECONDS
        low = max(0, math.floor((begin - margin) * own))
        high = min(facts.length, math.ceil((end + margin) * own) + 1)
        if (high - low) * facts.count > MOST_VALUES:
            raise NotDecodedError(TOO_LARGE)
        values = facts.read(low, high, chosen)
        if not np.isfinite(values).all():
            raise NotDecodedError(GAPS)
        if ratio != 1:
            from scipy.signal import resample_poly

            values = resample_poly(
                values, ratio.numerator, ratio.denominator, axis=1, padtype="line"
            )
        first = round((begin - low / own) * rate)
        left = round((facts.length / own - begin) * rate)
        values = values[:, first : first + (left if whole else min(left, self.samples()))]
        found = self._windows(values.astype(np.float32))
        return replace(found, notes=(*found.notes, CONVERTED)) if facts.converted else found

    def _windows(self, values: NDArray[np.float32]) -> Entries:
        length = self.samples()
        if self.windows == "each":
            number = values.shape[1] // length
            if not number:
                raise NotDecodedError("it is shorter than one window")
            return Entries(arrays=[values[:, i * length : (i + 1) * length] for i in range(number)])
        if values.shape[1] >= length:
            return Entries(arrays=[values[:, :length]])
        padded = np.zeros((values.shape[0], length), dtype=np.float32)
        padded[:, : values.shape[1]] = values
        return Entries(arrays=[padded], notes=(PADDED,))

    def _places(self, facts: _Facts) -> list[int]:
        """Which of the file's leads to take, in which order."""
        if not self.leads:
            if facts.leads or facts.count != self.count:
                raise NotDecodedError(LEADS_DIFFER)
            return list(range(facts.count))
        if not facts.leads:
            raise NotDecodedError(LEADS_DIFFER)
        place = {name.lower(): i for i, name in enumerate(facts.leads)}
        missing = [name for name in self.leads if name.lower() not in place]
        if missing:
            raise NotDecodedError(NO_LEAD)
        return [place[name.lower()] for name in self.leads]


class _Facts:
    """What a recording says of itself before its samples are read."""

    rate: float | None
    leads: tuple[str, ...]
    count: int
    length: int
    converted = False  # whether a lead was in another unit than millivolt

    def read(self, low: int, high: int, leads: Sequence[int]) -> NDArray[np.float64]:
        """Samples of some leads, shape (leads, high - low), NaN where missing."""
        raise NotImplementedError


@contextmanager
def _wfdb() -> Iterator[Any]:
    """The library, without the warnings that it gets from others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        yield wfdb


class _Wfdb(_Facts):
    def __init__(self, path: Path) -> None:
        self._name = str(path.with_suffix(""))
        with _wfdb() as wfdb:
            header = self._checked(wfdb, path)
        self.rate = float(header.fs)
        named = [name for name in header.sig_name or () if name]
        self.count = int(header.n_sig)
        # Where not all leads are named, their places are what tells them apart.
        self.leads = tuple(map(str, named)) if len(named) == self.count else ()
        self._told = bool(header.sig_len)
        self.length = int(header.sig_len or 0) or self._length(path, header)
        if not (self.count and self.length and math.isfinite(self.rate) and self.rate > 0):
            raise NotDecodedError(DAMAGED)
        if self.count > MOST_LEADS:
            raise NotDecodedError(TOO_LARGE)
        if self.leads and len({name.lower() for name in self.leads}) < self.count:
            raise NotDecodedError(LEADS_TWICE)

    def _length(self, path: Path, header: Any) -> int:  # noqa: ANN401
        """Frames in the files of samples, where the header does not tell."""
        if hasattr(header, "seg_name"):
            raise NotDecodedError(UNKNOWN_LENGTH)
        frames: dict[str, Fraction] = {}
        for name in header.file_name or ():
            mine = [i for i, other in enumerate(header.file_name) if other == name]
            if any(header.fmt[i] not in SAMPLE_BYTES for i in mine):
                raise NotDecodedError(UNKNOWN_LENGTH)
            file = path.parent / name
            if not file.is_file() or not file.stat().st_size:
                raise NotDecodedError(NO_SAMPLES)
            size = file.stat().st_size - int(header.byte_offset[mine[0]] or 0)
            of_frame = sum(
                (header.samps_per_frame[i] or 1) * SAMPLE_BYTES[header.fmt[i]] for i in mine
            )
            frames[name] = Fraction(size) / of_frame
        lengths = {int(n) for n in frames.values()}
        if len(lengths) != 1:
            raise NotDecodedError(DAMAGED)
        return lengths.pop()

    def _checked(self, wfdb: Any, path: Path) -> Any:  # noqa: ANN401
        """The header, when no file that it names lies elsewhere."""
        header = wfdb.rdheader(self._name)
        several = hasattr(header, "seg_name")
        for name in (header.seg_name if several else header.file_name) or ():
            if name != "~":
                _refuse_elsewhere(path, name)
        if several:  # its segments have headers of their own, which name files again
            for name in header.seg_name:
                if name != "~":
                    segment = wfdb.rdheader(str(path.parent / name))
                    if hasattr(segment, "seg_name"):
                        raise NotDecodedError(OTHER_KIND)
                    for inner in segment.file_name or ():
                        _refuse_elsewhere(path, inner)
            header = wfdb.rdheader(self._name, rd_segments=True)
        return header

    def read(self, low: int, high: int, leads: Sequence[int]) -> NDArray[np.float64]:
        if not self._told and self.length * self.count > MOST_VALUES:
            raise NotDecodedError(TOO_LARGE)
        with _wfdb() as wfdb:  # which cuts only where the header tells the length
            cut = {"sampfrom": low, "sampto": high} if self._told else {}
            found = wfdb.rdrecord(self._name, channels=list(leads), **cut)
        if not self._told:
            found.p_signal = found.p_signal[low:high]
        volts = np.array([MILLIVOLTS.get(str(unit), 1.0) for unit in found.units or ()])
        if len(volts) == found.p_signal.shape[1] and (volts != 1).any():
            found.p_signal = found.p_signal * volts
            self.converted = True
        if not self.leads:  # all of them, in their order
            return np.asarray(found.p_signal, dtype=np.float64).T
        place = {name: i for i, name in enumerate(found.sig_name)}
        order = [place[self.leads[lead]] for lead in leads]
        return np.asarray(found.p_signal, dtype=np.float64)[:, order].T


class _Array(_Facts):
    """An npz of `signal` (samples, leads), `rate` and, where known, `leads`; or a plain npy."""

    def __init__(self, path: Path) -> None:
        from auscult.readers.arrays import open_small

        content = open_small(path, MOST_VALUES)
        if "signal" not in content or content["signal"].ndim not in (1, 2):
            raise NotDecodedError("it holds no array signal of shape (samples, leads)")
        signal = content["signal"]
        if signal.dtype.kind not in "iuf":
            raise NotDecodedError(OTHER_KIND)
        self._signal = signal[:, None] if signal.ndim == 1 else signal
        self.length, self.count = self._signal.shape
        if self.count > self.length:
            raise NotDecodedError(TRANSPOSED)
        self.rate = float(content["rate"]) if "rate" in content else None
        if self.rate is not None and not (math.isfinite(self.rate) and self.rate > 0):
            raise NotDecodedError(DAMAGED)
        self.leads = tuple(map(str, np.ravel(content["leads"]))) if "leads" in content else ()
        if not self.length or (self.leads and len(set(self.leads)) != self.count):
            raise NotDecodedError(DAMAGED)

    def read(self, low: int, high: int, leads: Sequence[int]) -> NDArray[np.float64]:
        return np.asarray(self._signal[low:high, list(leads)], dtype=np.float64).T


def _facts(path: Path) -> _Facts:
    ending = path.suffix.lower()
    if ending == ".hea":
        return _Wfdb(path)
    if ending in (".npz", ".npy"):
        return _Array(path)
    raise NotDecodedError(OTHER_KIND)


def _refuse_elsewhere(header: Path, name: str) -> None:
    """A header may name files beside it, and no others: not through a link either."""
    if Path(name).name != name or name in ("..", ".") or ":" in name or "\\" in name:
        raise NotDecodedError(ELSEWHERE)
    folder = os.path.realpath(header.parent)
    for ending in ("", ".hea", ".dat"):
        real = os.path.realpath(header.parent / (name + ending))
        if Path(real).exists() and os.path.dirname(real) != folder:  # noqa: PTH120
            raise NotDecodedError(ELSEWHERE)


def decode_signals(
    paths: Sequence[str | None],
    root: str | os.PathLike[str],
    settings: SignalSettings,
    *,
    where: str = "cohort.path",
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> DecodedFiles:
    """Decode recordings once, and take them from the cache after that.

    Parameters
    ----------
    paths : sequence of str or None
        Relative to the root: WFDB records (with or without ``.hea``), ``.npz`` or ``.npy``.
    root : path-like
        Nothing outside this folder is read.
    settings : SignalSettings
    where, cache, workers, progress
        As in :func:`auscult.readers.images.decode_images`.

    Returns
    -------
    DecodedFiles
        `array` (entries, leads, samples), 32-bit floats.
    """
    from importlib.util import find_spec

    if find_spec("wfdb") is None:
        raise CohortError(
            "wfdb is not installed",
            where="cohort.signals",
            next_step='Install it: pip install "auscult[ecg]" -c constraints.txt',
        )
    settings.check()
    return decode_files(
        locate(root, paths, where, ENDINGS),
        settings,
        where=where,
        cache=cache,
        workers=workers,
        progress=progress,
    )
