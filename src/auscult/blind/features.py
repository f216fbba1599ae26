"""What a blind classifier sees of records and patients, and records that are on both sides."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AnalysisError
from auscult.base.randomness import Stage, generator
from auscult.cohort.inputs import ArrayInputs, Inputs, NamedInputs, TableInputs, pooled

SIDE = 16  # pixels or samples per axis that the classifier sees
COMPONENTS = 64
WAVES = 512
WIDTH_FROM = 500
FEWEST_PIXELS = 64
ALIKE = 0.97  # correlation of coarse images above which two are probably one
AT_ONCE = 1024
MOST_COMPARED = 20_000  # records of each side
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)


def _rows(inputs: ArrayInputs | NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    return inputs.take(rows) if isinstance(inputs, ArrayInputs) else np.asarray(inputs[rows])


def features(
    inputs: Inputs | NDArray[Any], records: NDArray[np.int64]
) -> tuple[NDArray[np.float32], int]:
    """What the classifier sees: columns, or coarse pixels and how values are distributed.

    Parameters
    ----------
    inputs : TableInputs, ArrayInputs or array
    records : int64 array
        Which of them.

    Returns
    -------
    features : float32 array, shape (len(records), features)
    pixels : int
        How many of them are coarse pixels of an image; they come first.
    """
    if isinstance(inputs, NamedInputs):
        # Coarse pixels of the first image stand first, as they do alone.
        ordered = sorted(inputs.parts.values(), key=lambda one: isinstance(one, TableInputs))
        each = [features(one, records) for one in ordered]
        return np.column_stack([one for one, _ in each]), each[0][1]
    if isinstance(inputs, TableInputs):
        numeric, codes = inputs.numeric[records], inputs.codes[records]
        missing = np.isnan(numeric)
        usual = np.zeros(numeric.shape[1], dtype=np.float32)
        for j in range(numeric.shape[1]):
            told = numeric[~missing[:, j], j]
            usual[j] = np.median(told) if told.size else 0
        parts: list[NDArray[Any]] = [
            np.where(missing, usual, numeric),
            missing[:, missing.any(axis=0)],
        ]
        for j, levels in enumerate(inputs.levels):
            parts.append(codes[:, [j]] == np.arange(len(levels)))
        return np.column_stack(parts).astype(np.float32), 0
    pieces, pixels = [], 0
    channels = inputs.channels if isinstance(inputs, ArrayInputs) else "none"
    for start in range(0, len(records), AT_ONCE):
        piece = _rows(inputs, records[start : start + AT_ONCE]).astype(np.float32)
        if not np.isfinite(piece).all():
            raise AnalysisError("records hold NaN or infinity", where="blind baseline")
        if channels == "last":
            piece = np.moveaxis(piece, -1, 1)
        flat = piece.reshape(len(piece), -1)
        spread = np.quantile(flat, QUANTILES, axis=1).T
        steps = [
            np.abs(np.diff(piece, axis=axis)).reshape(len(piece), -1).mean(axis=1)
            for axis in range(1, piece.ndim)
            if piece.shape[axis] > 1
        ]
        moments = [flat.mean(axis=1), flat.std(axis=1), (flat == flat[:, :1]).mean(axis=1)]
        coarse = pooled(piece, SIDE)
        pixels = coarse.shape[1] if piece.ndim > 2 else 0
        pieces.append(np.column_stack([coarse, spread, *steps, *moments]))
    return np.concatenate(pieces).astype(np.float32), pixels


def _fields(labels: NDArray[Any], names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.column_stack([labels[name].astype(np.float64) for name in names])


def one_hot(labels: NDArray[Any], records: int) -> NDArray[np.float32]:
    """Labels as columns of 0 and 1."""
    if len(labels) != records:
        raise AnalysisError(
            f"there are {len(labels)} labels", where="blind baseline", expected=f"{records}"
        )
    if labels.dtype.kind not in "biu":  # numbers, or a time and an event: as they are, scaled
        names = labels.dtype.names
        columns = labels.reshape(len(labels), -1) if names is None else _fields(labels, names)
        spread = columns.std(axis=0)
        return np.asarray(
            (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1), dtype=np.float32
        )
    if labels.ndim == 1:
        return np.asarray(labels[:, None] == np.unique(labels), dtype=np.float32)
    return labels.astype(np.float32)


def resembling(pixels: NDArray[np.float32], member: NDArray[np.bool_]) -> list[str]:
    """A note on records that are nearly a record of the other side: a copy resized or compressed.

    Only images of enough coarse pixels are compared. Copies that were cropped are not found.
    """
    if pixels.shape[1] < FEWEST_PIXELS:
        return []
    coarse = pixels - pixels.mean(axis=1, keepdims=True)
    coarse /= np.maximum(np.linalg.norm(coarse, axis=1, keepdims=True), 1e-12)
    inside, outside = (coarse[side][:MOST_COMPARED] for side in (member, ~member))
    count = sum(
        int(((outside[start : start + AT_ONCE] @ inside.T).max(axis=1) > ALIKE).sum())
        for start in range(0, len(outside), AT_ONCE)
    )
    notes = []
    if count:
        notes.append(
            f"{count:,} records resemble a record of the other side almost exactly (correlation "
            f"above {ALIKE}): the same images may be on both sides"
        )
    if max(int(member.sum()), int((~member).sum())) > MOST_COMPARED:
        notes.append(f"copies were looked for among {MOST_COMPARED:,} records of each side")
    return notes


def refuse_shared(
    inputs: Inputs | NDArray[Any], member: NDArray[np.bool_], records: NDArray[np.int64]
) -> None:
    """Raise where the same record is on both sides: a copy under another name.

    Parameters
    ----------
    inputs : Inputs or array, shape (records, ...)
    member : bool array, shape (records,)
        Which records are on the members' side.
    records : int64 array, shape (chosen,)
        The records that are compared.
    """
    if isinstance(inputs, NamedInputs):
        for one in inputs.parts.values():
            refuse_shared(one, member, records)
        return
    if isinstance(inputs, TableInputs):
        return  # rows of few columns may be equal without being the same
    names: dict[bytes, bool] = {}
    shared = set()
    for record, inside in zip(records.tolist(), member[records].tolist(), strict=True):
        piece = _rows(inputs, np.array([record]))
        name = hashlib.sha256(np.ascontiguousarray(piece).data).digest()
        if names.setdefault(name, inside) != inside:
            shared.add(name)
    if shared:
        raise AnalysisError(
            f"{len(shared)} records are on both sides, byte by byte",
            where="blind baseline",
            expected="members and non-members without a record in common",
            next_step="Leave the copies, and their patients, out of one side",
        )


def embedded(
    features: NDArray[np.float32], patient: NDArray[np.int64], patients: int, seed: int
) -> NDArray[np.float64]:
    """A patient's place, shape (patients, components): means over records of two kernels' features.

    Principal components make a linear kernel, random Fourier features of them a Gaussian one
    (Rahimi and Recht 2007). Membership is not looked at.

    Parameters
    ----------
    features : float32 array, shape (records, columns)
    patient : int64 array, shape (records,)
        Each record's patient, from 0.
    patients : int
    seed : int
    """
    scale = features.std(axis=0)
    told = scale > 1e-6 * np.maximum(np.abs(features).max(axis=0), 1e-12)
    if not told.any():
        raise AnalysisError(
            "all records are alike", where="blind baseline", expected="inputs that differ"
        )
    scaled = (features[:, told] - features[:, told].mean(axis=0)) / scale[told]
    _, vectors = np.linalg.eigh(scaled.T.astype(np.float64) @ scaled)
    linear = scaled @ vectors[:, ::-1][:, :COMPONENTS]
    rng = generator(seed, Stage.BLIND_TRAINING)
    some = linear[rng.permutation(len(linear))[:WIDTH_FROM]]
    square = (some**2).sum(axis=1)
    distance = square[:, None] + square[None, :] - 2 * some @ some.T
    width = np.sqrt(max(float(np.median(distance[np.triu_indices(len(some), 1)])), 1e-12) / 2)
    waves = rng.normal(size=(linear.shape[1], WAVES)) / width
    phase = rng.uniform(0, 2 * np.pi, WAVES)
    straight, turned = np.zeros((patients, linear.shape[1])), np.zeros((patients, WAVES))
    for start in range(0, len(linear), AT_ONCE):
        piece, whose = linear[start : start + AT_ONCE], patient[start : start + AT_ONCE]
        np.add.at(straight, whose, piece)
        np.add.at(turned, whose, np.cos(piece @ waves + phase))
    count = np.maximum(np.bincount(patient, minlength=patients), 1)[:, None]
    parts = []
    for total in (straight, turned):
        mean = total / count
        parts.append(mean / max(float(np.sqrt((mean**2).sum(axis=1).mean())), 1e-12))
    return np.column_stack(parts)
