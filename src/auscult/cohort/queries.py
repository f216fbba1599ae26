"""What models are asked besides the very records: partial, distorted and augmented ones.

A query is a frozen description, written as in ``[audit] queries``: ``"without:insulin,weight"``,
``"crop:0.8"``, ``"noise:0.1"``, ``"jpeg:30"``, ``"downsample:2"``, ``"augmented:8"``. Applied to
inputs it gives one view of every record, or several ("augmented"), drawn from the audit's seed, the
query's own text and the record's place alone. Models answer queries when they are trained, so they
are declared before and belong to a run's identity: never change what a text means.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.randomness import Stage, generator
from auscult.cohort.inputs import ArrayInputs, Inputs, NamedInputs, TableInputs

PLAIN = "records"
"""Name of the query that every model answers first: the record as it is."""

KINDS = {
    "augmented": "augmented:8",
    "without": "without:COLUMN,OTHER",
    "crop": "crop:0.8",
    "noise": "noise:0.1",
    "jpeg": "jpeg:30",
    "downsample": "downsample:2",
}
MOST_VIEWS = 256
# How far augmented views of a table lie from the record, in deviations of each column, from the
# nearest to the farthest view; and the share of categories that are drawn anew in each.
NEAREST, FARTHEST = 0.05, 1.0
REDRAWN = 0.05
LARGEST_SHIFT = 0.1  # of an image's side, in augmented views
WHERE = "audit.queries"


@dataclass(frozen=True, kw_only=True)
class Query:
    """One way to ask about every record.

    Attributes
    ----------
    text : str
        As it is declared; its name everywhere.
    kind : str
        One of "augmented", "without", "crop", "noise", "jpeg", "downsample".
    amount : float
        Number of views, share kept, noise, quality or factor; 0 for "without".
    columns : tuple of str
        Of "without".
    """

    text: str
    kind: str
    amount: float = 0.0
    columns: tuple[str, ...] = ()

    @property
    def views(self) -> int:
        """Views of each record."""
        return int(self.amount) if self.kind == "augmented" else 1

    @property
    def label(self) -> str:
        """What an attacker with this query holds, in words."""
        if self.kind == "without":
            few = len(self.columns) <= 2
            named = " and ".join(self.columns) if few else f"{len(self.columns)} columns"
            return f"the records without {named}"
        words = {
            "augmented": f"the records and {self.views} augmented views of each",
            "crop": f"cropped records (the middle {100 * self.amount:g}% of each side)",
            "noise": f"records with noise ({100 * self.amount:g}%)",
            "jpeg": f"re-compressed records (JPEG quality {self.amount:g})",
            "downsample": f"records at 1/{self.amount:g} of the resolution",
        }
        return words[self.kind]

    def supports(self, inputs: Inputs) -> str | None:
        """Why the query cannot be applied to these inputs, or None."""
        if isinstance(inputs, NamedInputs):
            return f"it requires a single input, but there are {', '.join(inputs.parts)}"
        if isinstance(inputs, TableInputs):
            if self.kind not in ("augmented", "without", "noise"):
                return "it requires images or signals, but this is a table"
            known = [*inputs.numeric_names, *inputs.categorical_names]
            known += [name for name in _varying(inputs.own) if name not in known]
            strange = [name for name in self.columns if name not in known]
            if strange:
                shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
                return f'"{strange[0]}" is not an input column (there are {shown})'
            if self.kind == "without" and len(set(self.columns)) == len(known):
                return "it would leave no column"
            return None
        if self.kind == "without":
            return "it requires a table, but these are images or signals"
        if self.kind == "jpeg":
            return _no_jpeg(inputs)
        side = min(_sides(inputs))
        if self.kind == "downsample" and side < 2 * self.amount:
            return f"the records have a side of {side} only"
        return None

    def apply(self, inputs: Inputs, seed: int) -> Iterator[Inputs]:
        """Views of all records, one after the other; each has the inputs' own form.

        Parameters
        ----------
        inputs : TableInputs or ArrayInputs
        seed : int
            The audit's seed.
        """
        name = zlib.crc32(self.text.encode())
        for view in range(self.views):
            rng = generator(seed, Stage.QUERY, name, view)
            if isinstance(inputs, NamedInputs):
                raise TypeError("queries require a single input")
            if isinstance(inputs, TableInputs):
                yield self._table(inputs, view, rng)
            else:
                yield self._array(inputs, rng)

    def _table(self, inputs: TableInputs, view: int, rng: np.random.Generator) -> TableInputs:
        if self.kind == "without":
            return _without(inputs, self.columns)
        if self.kind == "noise":
            return _noisy_table(inputs, self.amount, 0.0, rng)
        step = view / max(self.views - 1, 1)
        return _noisy_table(inputs, NEAREST * (FARTHEST / NEAREST) ** step, REDRAWN, rng)

    def _array(self, inputs: ArrayInputs, rng: np.random.Generator) -> ArrayInputs:
        values = inputs.take(np.arange(len(inputs)))
        axes = _axes(inputs)
        if self.kind == "crop":
            for axis in axes:
                values = _cropped(values, axis, self.amount)
        elif self.kind == "downsample":
            values = _downsampled(values, axes, int(self.amount))
        elif self.kind == "noise":
            values = _noisy_array(values, self.amount, rng)
        elif self.kind == "jpeg":
            values = _recompressed(values, inputs.channels, int(self.amount))
        else:
            values = _moved(values, axes, rng)
        return ArrayInputs(array=values, rows=np.arange(len(values)), channels=inputs.channels)


def parse_query(text: str) -> Query:
    """Read a query from its text.

    Raises
    ------
    ConfigError
        No such query, or its amount cannot be.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS or not colon or not rest or text != text.strip():
        raise ConfigError(
            f'"{text}" is not a valid query',
            where=WHERE,
            expected="one of " + ", ".join(KINDS.values()),
        )
    if kind == "without":
        columns = tuple(name.strip() for name in rest.split(","))
        if not all(columns) or len(set(columns)) < len(columns):
            raise ConfigError(
                f'"{text}" names a column twice or an empty one',
                where=WHERE,
                expected=KINDS[kind],
            )
        return Query(text=text, kind=kind, columns=columns)
    try:
        amount = float(rest)
    except ValueError:
        amount = float("nan")
    allowed = {
        "augmented": (2, MOST_VIEWS, True),
        "crop": (0.1, 0.99, False),
        "noise": (0.001, 10, False),
        "jpeg": (1, 100, True),
        "downsample": (2, 64, True),
    }
    low, high, whole = allowed[kind]
    if not low <= amount <= high or (whole and amount != int(amount)):
        raise ConfigError(
            f'"{text}" cannot be asked',
            where=WHERE,
            expected=f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}, "
            f"for example {KINDS[kind]}",
        )
    return Query(text=text, kind=kind, amount=amount)


def parse_queries(texts: Sequence[str]) -> tuple[Query, ...]:
    """Read all queries of an audit; refuse one that stands twice."""
    queries = tuple(parse_query(text) for text in texts)
    seen: set[tuple[Any, ...]] = set()
    for query in queries:
        key = (query.kind, query.amount, tuple(sorted(query.columns)))
        if key in seen:
            raise ConfigError(f'"{query.text}" is listed twice', where=WHERE)
        seen.add(key)
    if sum(query.kind == "augmented" for query in queries) > 1:
        raise ConfigError('there is more than one "augmented"', where=WHERE, expected="one")
    return queries


def places(texts: Sequence[str]) -> dict[str, list[int]]:
    """Where each query's views stand among all that a model answers; the plain one comes first."""
    found, start = {PLAIN: [0]}, 1
    for query in parse_queries(texts):
        found[query.text] = list(range(start, start + query.views))
        start += query.views
    return found


# Tables


def _varying(own: pd.DataFrame | None) -> list[str]:
    """Columns of the user's own table that have more than one value, missing ones included."""
    if own is None:
        return []
    counts = own.nunique(dropna=False)
    return [str(name) for name in counts.index[counts > 1]]


def _is_number(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _unknown(column: pd.Series[Any]) -> pd.Series[Any]:
    """The column with nothing known of anybody, in its own type: see `_without`."""
    if column.isna().any():
        return column.mask(np.ones(len(column), dtype=bool))
    if _is_number(column):
        middle = column.median()
        usual = middle if column.dtype.kind == "f" else int(np.rint(middle))
    else:
        counts = column.value_counts()
        usual = min(counts.index[counts == counts.max()], key=str)
    return pd.Series([usual] * len(column), dtype=column.dtype)


def _without(inputs: TableInputs, columns: tuple[str, ...]) -> TableInputs:
    """Columns unknown: missing where the cohort knows missing values, else the usual value."""
    numeric, codes = inputs.numeric.copy(), inputs.codes.copy()
    for j, name in enumerate(inputs.numeric_names):
        if name in columns:
            missing = np.isnan(numeric[:, j])
            numeric[:, j] = np.nan if missing.any() else np.median(numeric[:, j])
    for j, name in enumerate(inputs.categorical_names):
        if name in columns:
            missing = codes[:, j] < 0
            codes[:, j] = -1 if missing.any() else int(np.bincount(codes[:, j]).argmax())
    own = inputs.own
    if own is not None:
        own = own.assign(**{name: _unknown(own[name]) for name in columns})
    return replace(inputs, numeric=numeric, codes=codes, own=own)


def _noisy_table(
    inputs: TableInputs, amount: float, redrawn: float, rng: np.random.Generator
) -> TableInputs:
    """Numbers moved by `amount` deviations of their column; some categories drawn anew.

    What is missing stays missing. The user's own table moves as the encoders' columns do; its whole
    numbers become floats.
    """
    spread = np.zeros(inputs.numeric.shape[1])
    for j in range(spread.size):
        known = inputs.numeric[~np.isnan(inputs.numeric[:, j]), j].astype(np.float64)
        spread[j] = known.std() if known.size else 0.0
    noise = rng.standard_normal(inputs.numeric.shape) * (amount * spread)
    numeric = (inputs.numeric + noise).astype(np.float32)
    codes = inputs.codes
    moves = dict(zip(inputs.numeric_names, noise.T, strict=True))
    swaps: dict[str, _Swap] = {}
    if redrawn > 0:
        drawn = rng.random(codes.shape) < redrawn
        whose = rng.integers(0, len(codes), codes.shape)
        other = np.take_along_axis(codes, whose, axis=0)
        codes = np.where(drawn & (codes >= 0) & (other >= 0), other, codes).astype(np.int32)
        swaps = dict(zip(inputs.categorical_names, zip(drawn.T, whose.T, strict=True), strict=True))
    own = inputs.own
    if own is not None:
        own = _noisy_own(own, amount, redrawn, moves, swaps, rng)
    return replace(inputs, numeric=numeric, codes=codes, own=own)


_Swap = tuple[NDArray[np.bool_], NDArray[np.int64]]


def _noisy_own(
    own: pd.DataFrame,
    amount: float,
    redrawn: float,
    moves: dict[str, NDArray[np.float64]],
    swaps: dict[str, _Swap],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The user's own table, moved by the draws of the encoders' columns where these have it."""
    size = len(own)
    columns: dict[str, pd.Series[Any]] = {}
    for name in map(str, own.columns):
        column = own[name]
        if _is_number(column) and name not in swaps:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            move = moves.get(name)
            if move is None:
                known = values[~np.isnan(values)]
                spread = known.std() if known.size else 0.0
                move = rng.standard_normal(size) * (amount * spread)
            kind = column.dtype if column.dtype.kind == "f" else np.float64
            columns[name] = pd.Series(values + move).astype(kind)
        elif redrawn > 0:
            drawn, whose = swaps.get(name) or (
                rng.random(size) < redrawn,
                rng.integers(0, size, size),
            )
            other = column.take(whose).reset_index(drop=True)
            columns[name] = column.mask(drawn & column.notna() & other.notna(), other)
        else:
            columns[name] = column
    return pd.DataFrame(columns)


# Images and signals: the records are the first axis


def _axes(inputs: ArrayInputs) -> tuple[int, ...]:
    """Axes of height and width, or of time, with the records' axis first."""
    every = tuple(range(1, inputs.array.ndim))
    if inputs.channels == "first":
        return every[1:]
    return every[:-1] if inputs.channels == "last" else every


def _sides(inputs: ArrayInputs) -> list[int]:
    return [inputs.array.shape[axis] for axis in _axes(inputs)]


def _like(values: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers in an array's own dtype; whole numbers are rounded and kept within their range."""
    if dtype == np.bool_:
        return np.asarray(values >= 0.5)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.asarray(np.clip(np.rint(values), limits.min, limits.max).astype(dtype))
    return values.astype(dtype)


def _cropped(values: NDArray[Any], axis: int, share: float) -> NDArray[Any]:
    """The middle of an axis, stretched to its length by linear interpolation."""
    length = values.shape[axis]
    kept = max(2.0, share * length)
    at = np.clip((np.arange(length) + 0.5) * kept / length + (length - kept) / 2 - 0.5, 0, None)
    low = np.minimum(at.astype(np.int64), length - 1)
    high = np.minimum(low + 1, length - 1)
    shape = [1] * values.ndim
    shape[axis] = length
    part = (at - low).reshape(shape).astype(np.float32)
    first, second = (np.take(values, rows, axis=axis).astype(np.float32) for rows in (low, high))
    return _like(first + part * (second - first), values.dtype)


def _downsampled(values: NDArray[Any], axes: tuple[int, ...], factor: int) -> NDArray[Any]:
    """Means of blocks, repeated to the old size; the last block of an axis may be shorter."""
    mean: NDArray[Any] = values.astype(np.float32)
    for axis in axes:
        length = values.shape[axis]
        starts = np.arange(0, length, factor)
        sizes = np.diff(np.append(starts, length))
        shape = [1] * values.ndim
        shape[axis] = len(starts)
        mean = np.add.reduceat(mean, starts, axis=axis) / sizes.reshape(shape).astype(np.float32)
        mean = np.repeat(mean, sizes, axis=axis)
    return _like(mean, values.dtype)


def _noisy_array(values: NDArray[Any], amount: float, rng: np.random.Generator) -> NDArray[Any]:
    """Normal noise of `amount` times the range of bytes, or the deviation of other numbers."""
    if values.dtype == np.bool_:
        return np.asarray(values ^ (rng.random(values.shape) < amount / 2))
    scale = 255.0 if values.dtype == np.uint8 else float(values.astype(np.float64).std())
    noise = rng.standard_normal(values.shape, dtype=np.float32) * np.float32(amount * scale)
    return _like(values.astype(np.float32) + noise, values.dtype)


def _moved(values: NDArray[Any], axes: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Each record moved by up to a tenth of each side, edges repeated; half of images mirrored."""
    moved = np.array(values)
    for axis in axes:
        length = values.shape[axis]
        most = max(1, int(LARGEST_SHIFT * length))
        shift = rng.integers(-most, most + 1, len(values))
        at = np.clip(np.arange(length)[None, :] - shift[:, None], 0, length - 1)
        shape = [len(values)] + [1] * (values.ndim - 1)
        shape[axis] = length
        moved = np.take_along_axis(moved, at.reshape(shape), axis=axis)
    if len(axes) == 2:
        mirrored = rng.random(len(values)) < 0.5
        moved[mirrored] = np.flip(moved[mirrored], axis=axes[1])
    return moved


def _no_jpeg(inputs: ArrayInputs) -> str | None:
    shape, channels = inputs.array.shape, inputs.channels
    depth = {"none": 1, "last": shape[-1], "first": shape[1]}[channels]
    if inputs.array.dtype != np.uint8 or len(_axes(inputs)) != 2 or depth not in (1, 3):
        return "JPEG requires images of bytes with one or three channels"
    try:
        import PIL  # noqa: F401
    except ImportError:
        return 'JPEG needs Pillow: pip install "auscult[imaging]" -c constraints.txt'
    return None


def _recompressed(values: NDArray[Any], channels: str, quality: int) -> NDArray[Any]:
    """Each image compressed as JPEG and read back."""
    from PIL import Image

    images = np.moveaxis(values, 1, -1) if channels == "first" else values
    result = np.empty_like(images)
    for place, image in enumerate(images):
        flat = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        content = io.BytesIO()
        Image.fromarray(flat).save(content, format="JPEG", quality=quality)
        content.seek(0)
        result[place] = np.asarray(Image.open(content)).reshape(image.shape)
    return np.ascontiguousarray(np.moveaxis(result, -1, 1)) if channels == "first" else result
