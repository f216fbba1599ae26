"""What a model returned, as one number per record: the logit of the probability of the truth.

Computed from logits in float64, never through a clipped probability (METHOD 2, after Carlini et al.
2022, section IV-C): a record that the model is almost sure of keeps its place in the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AnalysisError
from auscult.base.parallel import let_go, scratch
from auscult.recipes.base import OutputKind
from auscult.store import Outputs

RECORDS_AT_ONCE = 65_536


def log_odds_of_truth(
    values: NDArray[np.floating], labels: NDArray[np.integer], kind: OutputKind
) -> NDArray[np.float64]:
    """Log-odds that the model gives to the truth.

    Parameters
    ----------
    values : float array, shape (..., records, outputs)
        "softmax": logits or log-probabilities, one column per class. "sigmoid": one log-odds of the
        positive class. "multilabel": one log-odds per label. "signal": one ready signal.
    labels : int array, shape (records,), or (records, labels) for "multilabel"
        Not read for "signal".
    kind : {"softmax", "sigmoid", "multilabel", "signal"}

    Returns
    -------
    float64 array, shape (..., records)
        Softmax: ``z_y - logsumexp(z_j, j != y)``. Sigmoid: ``z`` or ``-z``. Multi-label: log-odds
        of the product over labels of the probability of each label's truth.

    Raises
    ------
    AnalysisError
        Unknown kind, or shapes that do not fit each other.
    """
    if kind not in get_args(OutputKind):
        raise AnalysisError(
            f'"{kind}" is not a kind of output', expected=", ".join(get_args(OutputKind))
        )
    z = np.asarray(values, dtype=np.float64)
    records = z.shape[-2]
    if kind != "signal" and labels.shape[0] != records:
        raise AnalysisError(
            f"there are {labels.shape[0]} labels for {records} records", where="signals"
        )
    if kind == "softmax":
        truth = z[..., np.arange(records), labels]
        others = z.copy()
        others[..., np.arange(records), labels] = -np.inf
        return np.asarray(truth - _log_sum_exp(others))
    if kind == "sigmoid":
        return np.asarray(np.where(labels == 1, z[..., 0], -z[..., 0]))
    if kind == "multilabel":
        log_p = -np.logaddexp(0.0, -np.where(labels == 1, z, -z)).sum(axis=-1)
        return np.asarray(log_p - log1mexp(log_p))
    return np.asarray(z[..., 0])


def log1mexp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 - exp(x)) for x < 0 without loss (Mächler 2012, equation 7); -inf at 0.

    A probability that rounds to 1 (x = 0) would give an infinite signal; it is placed at the
    smallest distance from 1 that a double can hold.
    """
    x = np.minimum(x, -np.finfo(np.float64).tiny)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(x > -np.log(2.0), np.log(-np.expm1(x)), np.log1p(-np.exp(x))))


def signals_from_outputs(
    outputs: Outputs, labels: NDArray[np.int64], queries: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Signals of all stored models on all records, averaged over queries.

    Parameters
    ----------
    outputs : Outputs
        The store's outputs; read in pieces of records.
    labels : int64 array, shape (records,) or (records, labels)
    queries : sequence of int, optional
        Which of them; all when absent.

    Returns
    -------
    float32 array, shape (models, records)
        In a nameless temporary file when it is large.
    """
    signals: NDArray[np.float32] = scratch((outputs.models, outputs.records), np.float32)
    for start in range(0, outputs.records, RECORDS_AT_ONCE):
        stop = min(start + RECORDS_AT_ONCE, outputs.records)
        values = outputs.read(start, stop)
        values = values if queries is None else values[:, list(queries)]
        piece = log_odds_of_truth(values, labels[start:stop], outputs.kind)
        signals[:, start:stop] = piece.mean(axis=1)
        let_go(signals)
    return signals


def _log_sum_exp(z: NDArray[np.float64]) -> NDArray[np.float64]:
    peak = z.max(axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(z - peak).sum(axis=-1)) + peak[..., 0])
