"""Outputs and signals made elsewhere: on which scale they are, declared, proved or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from auscult.attacks.log_odds import log1mexp
from auscult.base.errors import CohortError
from auscult.imported.declared import Declared, OutputsAre, say
from auscult.recipes.base import OutputKind
from auscult.recipes.evidence import (
    MOST_LOOKED_AT,
    ROUNDED,
    one_in_each_row,
    total_of_rows,
    within_unit,
)

BELOW_ZERO = (
    "all signals are 0 or less: where they are logarithms of the probability of the true class, "
    "their negatives declared as cross-entropy (--signals-are cross-entropy) usually find more"
)
SLIGHT = 1e-4  # beyond 0 and 1: rounding
BASES = {"10": np.log(10.0), "2": np.log(2.0)}


def read_outputs(
    values: NDArray[Any], labels: NDArray[np.int64], where: str, are: OutputsAre
) -> tuple[NDArray[np.float32], OutputKind, list[str]]:
    """Outputs (models, records, columns) as logits, what kind they are, and what to note.

    Parameters
    ----------
    values : array, shape (models, records, columns)
    labels : int64 array, shape (records,) or (records, columns)
    where : str
        Name of the file and the array, for messages.
    are : {"probabilities", "log-probabilities", "logits"} or None
        What the outputs were declared to be.
    """
    columns = values.shape[2]
    kind: OutputKind = (
        "multilabel" if labels.ndim == 2 else "sigmoid" if columns == 1 else "softmax"
    )
    if are == "logits":
        return values.astype(np.float32), kind, []
    if are == "log-probabilities":
        if values.max() > SLIGHT:
            raise CohortError("log-probabilities above 0", where=where, expected="0 or less")
        if kind == "softmax":
            _refuse_other_logarithms(values, where, declared=True)
            return values.astype(np.float32), kind, []
        logs = np.asarray(values, dtype=np.float64)
        zeros = int((logs >= 0).sum())
        if zeros:
            below = logs[logs < 0]
            logs = np.minimum(logs, float(below.max()) / 2 if below.size else -1e-7)
        return (logs - log1mexp(logs)).astype(np.float32), kind, _repaired(zeros, logs.size)
    if values.min() < -SLIGHT or values.max() > 1 + SLIGHT:
        raise CohortError(
            "numbers that are not probabilities",
            where=where,
            expected="numbers from 0 to 1",
            next_step="Divide percentages by 100; declare logits with --outputs-are logits",
        )
    if kind == "softmax" and total_of_rows(np.maximum(values, 0)) is None:
        raise CohortError(
            "probabilities of a record do not add up to 1",
            where=where,
            expected="classes that exclude each other",
            next_step="For one sigmoid per label, give labels of 0 and 1 (records, labels)",
        )
    p = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    if kind == "softmax":
        logs, zeros = _logs(p)
        return logs.astype(np.float32), kind, _repaired(zeros, p.size)
    above, zeros = _logs(p)
    below, more = _logs(1 - p)
    return (above - below).astype(np.float32), kind, _repaired(zeros + more, p.size)


def _logs(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Logarithms; zeros become half of the smallest positive value of the same model."""
    zero = p <= 0
    if not zero.any():
        return np.log(p), 0
    floor = np.where(zero, np.inf, p).reshape(len(p), -1).min(axis=1) / 2
    floor = np.where(np.isfinite(floor), floor, 0.5).reshape(-1, *([1] * (p.ndim - 1)))
    return np.log(np.where(zero, floor, p)), int(zero.sum())


def _repaired(count: int, of: int) -> list[str]:
    if not count:
        return []
    return [
        (
            f"{count:,} of {of:,} probabilities are exactly 0 or 1, where logits would be more "
            "informative"
        )
    ]


def meaning_of_outputs(
    values: NDArray[np.floating], labels: NDArray[Any], where: str, declared: Declared, said: str
) -> tuple[OutputsAre, list[str]]:
    """Whether outputs are logits, probabilities or log-probabilities, and what to note.

    Parameters
    ----------
    values : float array, shape (models, records, columns)
    labels : array
        As they were given.
    where : str
    declared : Declared
        Its word is final.
    said : str
        Name of the array, which speaks where nothing is declared.
    """
    if declared.outputs is not None:
        return declared.outputs, []
    if said == "probabilities":
        return "probabilities", []
    total = total_of_rows(values)
    if total is not None and abs(total - 1) < ROUNDED:
        note = f"{said}: each row adds up to 1, so they were read as probabilities"
        return "probabilities", [note]
    if total is not None:
        raise CohortError(
            f"no number is negative and each row adds up to {total:.6g}: these are not logits",
            where=where,
            expected="logits, or probabilities that add up to 1",
            next_step=f"Divide them by {total:.6g}, or declare --outputs-are logits",
        )
    if within_unit(values):
        raise CohortError(
            f"all {said} lie from 0 to 1: they may be probabilities",
            where=where,
            expected="a declaration",
            next_step=say("outputs", "probabilities", "logits"),
        )
    alone = values.shape[2] == 1 or (labels.ndim == 2 and not one_in_each_row(_whole(labels)))
    if alone and values.max() <= 0:
        raise CohortError(
            f"all {said} are 0 or less: they may be logarithms of probabilities",
            where=where,
            expected="a declaration",
            next_step=say("outputs", "log-probabilities", "logits"),
        )
    if not alone:
        _refuse_other_logarithms(values, where, declared=False)
    return "logits", []


def _refuse_other_logarithms(values: NDArray[Any], where: str, *, declared: bool) -> None:
    """Raise where rows are logarithms of probabilities to another base, or of no probabilities."""
    rows = values.reshape(-1, values.shape[-1])
    rows = np.asarray(rows[:: max(1, len(rows) // MOST_LOOKED_AT)], dtype=np.float64)
    if not declared and rows.max() > SLIGHT:
        return
    if np.abs(logsumexp(rows, axis=1)).max() < ROUNDED:
        return
    for base, factor in BASES.items():
        if np.abs(logsumexp(factor * rows, axis=1)).max() < ROUNDED * factor:
            raise CohortError(
                f"they are logarithms of probabilities to base {base}",
                where=where,
                expected="natural logarithms",
                next_step=f"Multiply them by {factor:.12g}",
            )
    if declared:
        raise CohortError(
            "probabilities of a record, taken from their logarithms, do not add up to 1",
            where=where,
            expected="natural logarithms of the probabilities of classes",
            next_step="Logits are declared with --outputs-are logits",
        )


def _whole(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.dtype.kind in "biuf" and np.isin(labels, (0, 1)).all():
        return labels.astype(np.int64)
    return np.zeros(labels.shape, dtype=np.int64)


def read_signals(
    values: NDArray[np.float32], where: str, declared: Declared, said: str
) -> tuple[NDArray[np.float32], list[str]]:
    """Signals of which the higher ones speak for membership, and what to note.

    Parameters
    ----------
    values : float32 array, shape (models, records)
    where : str
        Name of the file and the array, for messages.
    declared : Declared
    said : str
        How the meaning can be declared, for messages.
    """
    are = declared.signals or ("losses" if said == "losses" else None)
    if are == "losses":
        return -values, []
    if are == "cross-entropy":
        if values.min() < 0:
            raise CohortError(
                "cross-entropies below 0", where=where, expected="0 or more, natural logarithms"
            )
        logs = -values.astype(np.float64)
        exact = logs >= 0
        if exact.any():
            rest = logs[~exact]
            logs = np.where(exact, float(rest.max()) / 2 if rest.size else -1e-7, logs)
        found = (logs - log1mexp(logs)).astype(np.float32)
        return found, _repaired(int(exact.sum()), values.size)
    if are == "probabilities":
        if not within_unit(values):
            raise CohortError("signals outside 0 to 1", where=where, expected="probabilities")
        p = values.astype(np.float64)
        above, zeros = _logs(p)
        below, more = _logs(1 - p)
        return (above - below).astype(np.float32), _repaired(int(zeros + more), p.size)
    if are is None and within_unit(values):
        raise CohortError(
            f"all {said} lie from 0 to 1: probabilities of the true class (which become log-odds), "
            "losses, or scores",
            where=where,
            expected="a declaration, since the findings differ",
            next_step=say("signals", "probabilities", "losses", "scores"),
        )
    if are is None and values.max() <= 0:
        return values, [BELOW_ZERO]
    return values, []
