"""What patients' records hold, where the cohort of a run can be read again; else why not.

The cohort is taken for the run's only where its fingerprint is the one that the run was made with.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.places import Places
from auscult.base.errors import AuscultError
from auscult.base.opening import cause_of
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort
from auscult.cohort.inputs import ArrayInputs, NamedInputs, TableInputs
from auscult.config import load
from auscult.demo import simulated_audit, wisconsin_audit
from auscult.viewer.holding import Holding

SAMPLE = 20_000  # records that a column's values are ranked among
UNUSUAL = 0.01
NOT_ASKED = "the cohort was not to be read"
ANOTHER = (
    "the data were changed since the run: what is read now is not the cohort that the run was made "
    "with"
)
FROM_PYTHON = (
    "the run was not started from a configuration file; pass the cohort: "
    "auscult.viewer.serve(run, cohort=cohort)"
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value of one record; `unusual` where fewer than 1% of records have one as far out."""

    text: str
    rarity: float
    unusual: bool
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A column of the table: its name, what is usual in it, and the records' values."""

    name: str
    usual: str
    cells: tuple[Cell, ...]

    @property
    def rarity(self) -> float:
        """Of its rarest cell."""
        return min((cell.rarity for cell in self.cells), default=1.0)


class Contents:
    """The cohort, or why there is none.

    Parameters
    ----------
    cohort : Cohort or None
    reason : str
        Why it is None.
    """

    def __init__(self, cohort: Cohort | None, reason: str = "") -> None:
        self.cohort = cohort
        self.reason = reason
        self._places: Places | None = None
        self._sorted: dict[tuple[str, int], NDArray[np.float32]] = {}
        self._counts: dict[tuple[str, int], NDArray[np.int64]] = {}

    def __repr__(self) -> str:
        return f"Contents({self.reason or self.cohort!r})"

    @classmethod
    def of(
        cls,
        holding: Holding,
        cohort: Cohort | None = None,
        *,
        read: bool = True,
        progress: Progress = SILENT,
    ) -> Contents:
        """Read the cohort of a run again, and make sure that it is the same.

        Parameters
        ----------
        holding : Holding
        cohort : Cohort, optional
            When given, nothing is read.
        read : bool
        progress : Progress
        """
        if not read and cohort is None:
            return cls(None, NOT_ASKED)
        wanted = holding.manifest["fingerprint"].get("cohort")
        try:
            found = cohort or _read(holding, progress)
        except AuscultError as error:
            return cls(None, str(error))
        except Exception as error:  # whatever it holds; a reader's message may quote a value
            return cls(None, f"the cohort cannot be read ({cause_of(error)})")
        if found is None:
            return cls(None, FROM_PYTHON)
        if found.fingerprint() != wanted:
            return cls(None, ANOTHER)
        return cls(found)

    @property
    def places(self) -> Places | None:
        """Where the records lie among each other; made when it is first asked for."""
        if self._places is None and self.cohort is not None:
            self._places = Places.of(self.cohort.inputs, self.cohort.patient_of_record)
        return self._places

    def parts(self) -> dict[str, TableInputs | ArrayInputs]:
        """Inputs by name; the name of an only one is empty."""
        if self.cohort is None:
            return {}
        inputs = self.cohort.inputs
        return dict(inputs.parts) if isinstance(inputs, NamedInputs) else {"": inputs}

    def table(self, records: NDArray[np.int64]) -> list[Line]:
        """Values of some records, one line per column, in the cohort's order of columns."""
        lines = []
        for part, inputs in self.parts().items():
            if not isinstance(inputs, TableInputs):
                continue
            for j, name in enumerate(inputs.numeric_names):
                lines.append(self._number(part, inputs, j, _named(part, name), records))
            for j, name in enumerate(inputs.categorical_names):
                lines.append(self._level(part, inputs, j, _named(part, name), records))
        return lines

    def _number(
        self, part: str, inputs: TableInputs, j: int, name: str, records: NDArray[np.int64]
    ) -> Line:
        if (part, j) not in self._sorted:
            rows = np.unique(np.linspace(0, len(inputs) - 1, SAMPLE).astype(np.int64))
            column = inputs.numeric[rows, j]
            self._sorted[part, j] = np.sort(column[np.isfinite(column)])
        usual = self._sorted[part, j]
        said = "nothing but missing values"
        if usual.size:
            low, middle, high = (float(v) for v in np.quantile(usual, [0.05, 0.5, 0.95]))
            said = f"{middle:.5g} ({low:.5g} to {high:.5g})"
        cells = []
        for value in inputs.numeric[records, j].tolist():
            if not np.isfinite(value) or not usual.size:
                cells.append(Cell(text="missing", rarity=1.0, unusual=False))
                continue
            value32 = np.float32(value)
            up = 1 - float(np.searchsorted(usual, value32, "left")) / usual.size
            down = float(np.searchsorted(usual, value32, "right")) / usual.size
            rarity = min(up, down)
            above = up <= down
            told = f"{'higher' if above else 'lower'} than {_nearly(1 - rarity)} of records"
            text = f"{value:.6g}"
            cells.append(Cell(text=text, rarity=rarity, unusual=rarity < UNUSUAL, told=told))
        return Line(name=name, usual=said, cells=tuple(cells))

    def _level(
        self, part: str, inputs: TableInputs, j: int, name: str, records: NDArray[np.int64]
    ) -> Line:
        key = (part, -1 - j)
        levels = inputs.levels[j]
        if key not in self._counts:
            codes = inputs.codes[:, j]
            self._counts[key] = np.bincount(codes[codes >= 0], minlength=len(levels))
        counts, total = self._counts[key], len(inputs)
        often = int(counts.argmax()) if counts.size else 0
        usual = f"{levels[often]} ({_nearly(counts[often] / total)})" if counts.size else ""
        cells = []
        for code in inputs.codes[records, j].tolist():
            if code < 0:
                cells.append(Cell(text="missing", rarity=1.0, unusual=False))
                continue
            share = float(counts[code]) / total
            told = f"{counts[code]:,} of {total:,} records have it"
            cells.append(Cell(text=levels[code], rarity=share, unusual=share < UNUSUAL, told=told))
        return Line(name=name, usual=usual, cells=tuple(cells))

    def arrays(self) -> dict[str, ArrayInputs]:
        """Images and recordings by the name of their part."""
        return {k: v for k, v in self.parts().items() if isinstance(v, ArrayInputs)}

    def alike(self, one: int, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which records hold exactly what one holds."""
        same = np.ones(len(others), dtype=bool)
        rows = np.concatenate([[one], others])
        for inputs in self.parts().values():
            if isinstance(inputs, TableInputs):
                numbers, codes = inputs.numeric[rows], inputs.codes[rows]
                equal = (numbers[1:] == numbers[0]) | (np.isnan(numbers[1:]) & np.isnan(numbers[0]))
                same &= equal.all(axis=1) & (codes[1:] == codes[0]).all(axis=1)
            else:
                values = inputs.take(rows).reshape(len(rows), -1)
                equal = values[1:] == values[0]
                if values.dtype.kind == "f":
                    equal |= np.isnan(values[1:]) & np.isnan(values[0])
                same &= equal.all(axis=1)
        return same


def slices(inputs: ArrayInputs) -> int:
    """How many pictures a record has: 1, the slices of a volume, or 0 for a recording."""
    dimensions = inputs.array.ndim - 1 - (inputs.channels != "none")
    if dimensions < 2:
        return 0
    return 1 if dimensions == 2 else int(_plain(inputs, inputs.array.shape[1:])[0])


def _plain(inputs: ArrayInputs, shape: tuple[int, ...]) -> tuple[int, ...]:
    if inputs.channels == "none":
        return shape
    return shape[1:] if inputs.channels == "first" else shape[:-1]


def recording(inputs: ArrayInputs, record: int) -> NDArray[np.float32]:
    """A record as lines, shape (channels, samples)."""
    values: NDArray[np.float32] = inputs.take(np.array([record]))[0].astype(np.float32)
    if inputs.channels == "none":
        return values.reshape(1, -1)
    return values if inputs.channels == "first" else np.ascontiguousarray(values.T)


def picture(inputs: ArrayInputs, record: int, place: int) -> bytes:
    """A record's image, or one slice of its volume, as PNG; brightness is stretched.

    Parameters
    ----------
    inputs : ArrayInputs
    record : int
    place : int
        Slice along the first axis in space.
    """
    from PIL import Image

    values = inputs.take(np.array([record]))[0]
    if inputs.channels == "first":
        values = np.moveaxis(values, 0, -1)
    if inputs.channels == "none":
        values = values[..., None]
    if values.ndim == 4:
        values = values[min(max(place, 0), values.shape[0] - 1)]
    shown: NDArray[Any] = values[..., :3] if values.shape[-1] in (3, 4) else values[..., :1]
    if shown.dtype != np.uint8:
        number = np.nan_to_num(shown.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = np.quantile(number, [0.005, 0.995])
        stretched = (number - low) / max(float(high - low), 1e-12)
        shown = np.asarray(np.clip(stretched, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(shown[..., 0] if shown.shape[-1] == 1 else shown)
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _read(holding: Holding, progress: Progress) -> Cohort | None:
    source = str(holding.summary["cohort"].get("source", ""))
    # The demonstrations are made again; whether it is the run's cohort is proved by the caller.
    if source == "Simulated clinic":
        return simulated_audit()[0].cohort
    if source == "Breast cancer Wisconsin (diagnostic)":
        return wisconsin_audit().cohort
    path = holding.path / "audit.toml"
    if not path.exists():
        return None
    try:
        loaded = load(path)
    except AuscultError:  # written by a run that was started from Python
        return None
    return loaded.cohort(progress)


def _named(part: str, name: str) -> str:
    return f"{part}: {name}" if part else name


def _nearly(share: float) -> str:
    return f"{100 * share:.1f}%".replace(".0%", "%") if share < 0.9995 else "all but a few"
