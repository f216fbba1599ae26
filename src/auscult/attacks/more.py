"""What else is seen of a record through an access, besides the log-odds of its truth.

Through logits and probabilities of several classes: minus the centred log-probability of each of
the other classes that models find most likely for the record. Of several labels: the log-odds of
the truth of each of those that models find hardest. With the weights: besides these, what the
recipe says that they tell (:attr:`auscult.recipes.base.BlockOutputs.inside`). Who holds the records
can also ask every declared query about them, and sees the log-odds of the truth of each. Which
classes or labels these are follows from the mean over all models and no membership.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.access import WHITE_BOX, Access
from auscult.attacks.further import More
from auscult.attacks.log_odds import RECORDS_AT_ONCE
from auscult.cohort.queries import parse_queries, places
from auscult.store import Outputs

MOST = 3  # other classes, or labels, that are looked at
VALUES_AT_ONCE = 1 << 22  # of all models, per piece
WHOLE = ("logits", "probabilities", WHITE_BOX)
ORDER = ("nearest", "second nearest", "third nearest")


def more_seen(
    outputs: Outputs,
    labels: NDArray[np.int64],
    access: Access,
    queries: tuple[int, ...],
    declared: Sequence[str] = (),
) -> More | None:
    """What else an access shows; None where the log-odds of the truth say all.

    Parameters
    ----------
    outputs : Outputs
    labels : int64 array, shape (records,) or (records, labels)
    access : Access
    queries : tuple of int
        Places of the answers that are looked at; their signals are averaged.
    declared : sequence of str
        Queries that can be asked besides.
    """
    asked = list(queries)
    names: list[str] = []
    if access.name in WHOLE and outputs.kind in ("softmax", "multilabel"):
        # Of two classes, and of one label, one number says all.
        others = outputs.columns - (outputs.kind == "softmax")
        what = "class" if outputs.kind == "softmax" else "label"
        names = [f"{one} {what}" for one in ORDER[:MOST]][: others if others > 1 else 0]
    classes = len(names)
    within = access.name == WHITE_BOX
    names += list(outputs.inside) if within else []
    further = _asked(declared) if access.name in WHOLE and outputs.kind != "signal" else {}
    names += further
    if not names:
        return None

    def read(start: int, stop: int) -> NDArray[np.float64]:
        parts = []
        if classes:
            shown = access.handed_out(outputs.read(start, stop)[:, asked], outputs.kind)
            parts.append(nearest(shown, labels[start:stop], outputs.kind, classes).mean(axis=1))
        if within:
            parts.append(outputs.read_inside(start, stop)[:, asked].mean(axis=1, dtype=np.float64))
        for places_of_views in further.values():
            values = outputs.read(start, stop)[:, places_of_views]
            signal = access.signal(values, labels[start:stop], outputs.kind)
            parts.append(signal.mean(axis=1)[:, :, None])
        return np.concatenate(parts, axis=2)

    width = outputs.models * outputs.queries * (outputs.columns + len(outputs.inside))
    return More(
        names=tuple(names),
        read=read,
        records=outputs.records,
        at_once=max(1, min(RECORDS_AT_ONCE, VALUES_AT_ONCE // width)),
    )


def _asked(declared: Sequence[str]) -> dict[str, list[int]]:
    """Places of the answers to each declared query, by its text."""
    where = places(declared)
    return {query.text: where[query.text] for query in parse_queries(declared)}


def nearest(
    shown: NDArray[np.float64], labels: NDArray[np.int64], kind: str, most: int
) -> NDArray[np.float64]:
    """What is said of the classes that come nearest to the truth, higher for a better fit.

    Of classes, minus their centred log-probabilities; of labels, the log-odds of their truth.

    Parameters
    ----------
    shown : float64 array, shape (models, queries, records, columns)
        Logits, log-probabilities or log-odds.
    labels : int64 array, shape (records,) or (records, labels)
    kind : {"softmax", "multilabel"}
    most : int
        How many, at most as many as there are.

    Returns
    -------
    float64 array, shape (models, queries, records, most)
    """
    if kind == "softmax":
        against = shown.mean(axis=-1, keepdims=True) - shown
        ranked = against.mean(axis=(0, 1))
        ranked[np.arange(len(labels)), labels] = np.inf
    else:
        against = np.where(labels == 1, shown, -shown)
        ranked = against.mean(axis=(0, 1))
    order = np.argsort(ranked, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(against, order[None, None], axis=-1)
