"""Scores of models that the joint attack was not fitted on: a model that goes out, a held-out one.

The joint attack scores each of its models by weights from the other folds. A model that is not
among them is scored by weights from all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.joint import (
    JointAttack,
    _bands,
    _batches,
    _gather,
    _moments,
    _train,
    _weights,
    _within,
)
from auscult.attacks.layout import Layout


def unseen_scores(
    attack: JointAttack, part: Layout, signals: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Score every patient of a part under every model by weights from the models in use.

    Parameters
    ----------
    attack : JointAttack
        Tuned on the models in use.
    part : Layout
        Its `used` says which models weights are learned from; honest scores are those of the rest.
    signals : float array, shape (records, models)
        In the part's order of rows, of all models.

    Returns
    -------
    float64 array, shape (patients, models)
        Distance from the middle between the IN mean and the OUT mean, in standard deviations
        within classes; higher for a member. NaN where a patient is not estimable.
    """
    scores = np.full(part.member.shape, np.nan)
    dealt, estimable = part.deal(), part.estimable()
    everything = list(range(dealt.folds))
    for name, in_band in _bands(part):
        for patients in _batches(part, np.flatnonzero(estimable & in_band)):
            x, weight = _gather(part, signals, dealt, patients)
            moments = _moments(x, weight)
            training = _train(moments, everything)
            strength = sorted(attack.strengths[name])[len(attack.strengths[name]) // 2]
            (weights,) = _weights(training, [strength], float(np.mean(attack.effects[name])))
            within = np.einsum("pk,pkl,pl->p", weights, _within(moments), weights)
            spread = np.sqrt(np.maximum(within, 0.0))
            unit = weights / np.where(spread > 0, spread, 1.0)[:, None]
            # `_gather` took the mean over the dealt models away; the middle is in those terms.
            k = int(part.count[patients[0]])
            rows = part.first[patients][:, None] + np.arange(k)
            own = signals[rows].astype(np.float64)
            flat = dealt.model[patients].reshape(len(patients), 1, -1)
            shift = np.take_along_axis(own, flat, axis=2).mean(axis=2)
            middle = np.einsum("pk,pk->p", unit, training.middle + shift)
            scores[patients] = np.einsum("pk,pkm->pm", unit, own) - middle[:, None]
    return scores
