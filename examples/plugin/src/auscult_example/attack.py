"""A record attack: the rank of the target's signal among models that did not train on the record.

Like the offline likelihood-ratio attack without its normal distribution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout
from auscult.attacks.record import PartScorer, RecordAttack


def _begin(layout: Layout) -> PartScorer:
    return _score


def _score(part: Layout) -> NDArray[np.float64]:
    """Scores of some records under every model, shape (records, models)."""
    dealt = part.deal()  # each patient's models in folds, class 0 OUT and class 1 IN
    scores = np.full((part.records, part.models), np.nan)
    for row in range(part.records):
        patient = part.patient[row]
        for fold in range(dealt.folds):
            # References are the OUT models of the other folds: no target is judged by itself.
            others = np.delete(np.arange(dealt.folds), fold)
            references = dealt.model[patient, others, 0][dealt.weight[patient, others, 0] > 0]
            targets = dealt.model[patient, fold][dealt.weight[patient, fold] > 0]
            outside = part.signals[row, references]
            mine = part.signals[row, targets]
            below = (outside < mine[:, None]).mean(axis=1)
            # Among equal ranks the larger distance from the mean decides.
            scores[row, targets] = below + 1e-3 * np.tanh(mine - outside.mean())
    return scores


RANK = RecordAttack(
    name="rank",
    label="Rank among OUT models",
    what="the share of models that did not train on the record and are less confident in it",
    begin=_begin,
)
