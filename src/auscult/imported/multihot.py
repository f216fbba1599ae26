"""One softmax over labels of which several may hold: what it says of a record's true labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from auscult.base.errors import CohortError


def softmax_of_several(
    logits: NDArray[np.floating], labels: NDArray[np.int64], where: str
) -> tuple[NDArray[np.float32], list[str]]:
    """Log-odds that one softmax gives to a record's true labels together.

    It is the logit of the sum of the true labels' probabilities, as the study's code scores
    multi-hot labels (Knolle et al. 2026), computed without loss: the difference of two sums of
    exponentials, so that a probability that rounds to 1 stays finite.

    Parameters
    ----------
    logits : float array, shape (models, records, labels)
    labels : int64 array, shape (records, labels)
        0 and 1, at least one 1 in each row.
    where : str

    Returns
    -------
    signals : float32 array, shape (models, records)
        0, in every model, where all labels are true: their probabilities add up to 1 whatever the
        model says.
    notes : list of str

    Raises
    ------
    CohortError
        There is one label only.
    """
    if logits.shape[2] < 2:
        raise CohortError(
            "one column of outputs is not a softmax", where=where, expected="one column per label"
        )
    true = labels.astype(bool)
    whole = true.all(axis=1)
    found = np.empty(logits.shape[:2], dtype=np.float32)
    for model, z in enumerate(logits):
        exact = z.astype(np.float64)
        inside = logsumexp(np.where(true, exact, -np.inf), axis=1)
        outside = logsumexp(np.where(true, -np.inf, exact), axis=1)
        found[model] = np.where(whole, 0.0, inside - np.where(whole, inside, outside))
    count = int(whole.sum())
    return found, (
        [f"{count:,} records have every label: one softmax says nothing about them"]
        if count
        else []
    )
