"""What scores made elsewhere prove against what was said of them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from auscult.base.errors import CohortError
from auscult.cohort.design import Membership
from auscult.imported.declared import say
from auscult.recipes.evidence import (
    MOST_LOOKED_AT,
    MOST_MODELS_LOOKED_AT,
    SURE,
    better_order,
    direction,
    listed_order,
)

FEWEST_RECORDS = 50  # whose labels are compared with outputs
NO_FIT = "the outputs fit the labels no better than chance: are records in the same order in both?"
FIRST_SEEN = (
    "columns of membership were read as patients in the order in which they first occur in the "
    "array patient, which is not their sorted order"
)
SAME = 0.5  # a share of records; more with one signal everywhere are told


def check_direction(
    signals: NDArray[np.floating],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    where: str,
    *,
    declared: bool,
    said: str,
) -> list[str]:
    """Refuse signals that members have lower, unless their meaning was declared: then note it.

    Parameters
    ----------
    signals : float array, shape (models, records)
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    where : str
        Name of the file and the array, for messages.
    declared : bool
        Whether the meaning of the signals was declared.
    said : str
        How the meaning can be declared, for messages.
    """
    auc, distance = direction(signals, membership.reveal(), patient_of_record)
    if distance > -SURE:
        return []
    what = (
        f"members have the lower {said} nearly everywhere (mean AUC of the patients {auc:.2f}, "
        f"{-distance:.0f} standard errors below 0.5)"
    )
    if declared:
        return [f"{what}, as declared: the sign looks reversed, and so do the findings below"]
    raise CohortError(
        f"{what}: losses, or a membership that marks the records left out, or columns in another "
        "order",
        where=where,
        expected="higher for members",
        next_step=f"{say('signals', 'losses', 'cross-entropy', 'scores')}; where membership marks "
        "who was left out, save its opposite"
        if said in ("signals", "losses")
        else "Check the order of records, labels and columns; if membership marks who was left "
        "out, save its opposite; if all are right, declare what the outputs are "
        "(--outputs-are)",
    )


def check_order(
    values: NDArray[np.floating], labels: NDArray[np.int64], where: str, *, declared: bool
) -> list[str]:
    """Refuse columns that fit the labels clearly better in another order; note it if declared.

    Parameters
    ----------
    values : float array, shape (models, records, columns)
    labels : int64 array, shape (records,) or (records, columns)
    where : str
        Name of the file and the array, for messages.
    declared : bool
        Whether the order of the columns was declared.
    """
    found = better_order(values, labels)
    if found is None:
        return []
    what = (
        "the outputs fit the labels clearly better if the columns of classes 0, 1, 2, ... are "
        f"taken as {listed_order(found)}"
    )
    if declared:
        return [f"{what}; the declared order was kept"]
    raise CohortError(
        f'{what}: columns in another order than the labels (text sorts "10" before "2"), or '
        "records in another order than the labels",
        where=where,
        expected="column c for class c",
        next_step="Add an array classes: the label of each column, in the columns' order "
        "(scikit-learn: model.classes_)"
        if labels.ndim == 1
        else "Put the columns of labels into the order of the outputs",
    )


def check_models(values: NDArray[np.float32], membership: Membership, where: str) -> list[str]:
    """Refuse copies of models and patients whose membership never changes; tell of others.

    Parameters
    ----------
    values : float32 array, shape (models, queries, records, columns)
    membership : Membership
    where : str
        Name of the file, for messages.
    """
    rows = membership.reveal()
    seen: set[bytes] = set()
    copies = 0
    for row, member in zip(values, rows, strict=True):
        key = np.ascontiguousarray(row).tobytes() + member.tobytes()
        digest = hashlib.sha256(key).digest()
        copies += digest in seen
        seen.add(digest)
    if copies:
        raise CohortError(
            f"{copies} of {len(rows)} models are copies of others: the same outputs on all records "
            "and the same members",
            where=where,
            expected="models that were trained apart",
            next_step="Leave the copies out of all arrays",
        )
    notes: list[str] = []
    fixed = int((rows.all(axis=0) | ~rows.any(axis=0)).sum())
    if fixed == rows.shape[1]:
        raise CohortError(
            "every patient is a member of all models or of none",
            where=where,
            expected="models trained on different patients: each of them in some and out of others",
            next_step="Models that differ in seeds alone tell nothing of membership: train each "
            "on a random half of the patients",
        )
    if fixed > SAME * rows.shape[1]:
        notes.append(
            f"{fixed:,} of {rows.shape[1]:,} patients are members of all models or of none, and "
            "nothing can be said of them"
        )
    if (values == values.ravel()[0]).all():
        raise CohortError(
            "all values are the same",
            where=where,
            expected="what each model said of each record",
        )
    still = int((values == values[:1]).all(axis=(0, 1, 3)).sum())
    if still > SAME * values.shape[2]:
        notes.append(
            f"{still:,} of {values.shape[2]:,} records have the same value in every model: nothing "
            "can be said of them"
        )
    return notes


def check_patients_order(
    signals: NDArray[np.floating],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    given: NDArray[np.generic],
    where: str,
) -> list[str]:
    """Refuse columns of membership that fit the patients in sorted order, not as they occur.

    Parameters
    ----------
    signals : float array, shape (models, records)
    membership : Membership
        Of patients in the order in which they first occur.
    patient_of_record : int64 array, shape (records,)
    given : array, shape (records,)
        Patients as they were given.
    where : str
        Name of the file, for messages.
    """
    _, first = np.unique(given, return_index=True)
    codes = patient_of_record[first]
    numbered = np.arange(len(codes))
    if len(codes) != membership.reveal().shape[1] or (codes == numbered).all():
        return []
    order = np.empty_like(codes)
    order[codes] = numbered
    _, as_given = direction(signals, membership.reveal(), patient_of_record)
    _, sorted_ = direction(signals, membership.reveal()[:, order], patient_of_record)
    if sorted_ > SURE and sorted_ > as_given + SURE:
        raise CohortError(
            "membership fits when its columns are patients in sorted order, and not in the order "
            "in which they first occur in the array patient",
            where=where,
            expected="columns of patients as they first occur, or of records",
            next_step="Save membership per record: membership[:, numpy.unique(patient, "
            "return_inverse=True)[1]]",
        )
    return [] if as_given > SURE else [FIRST_SEEN]


def fit_of_labels(values: NDArray[np.floating], labels: NDArray[np.int64]) -> list[str]:
    """A note where outputs do not fit the labels at all.

    Parameters
    ----------
    values : float array, shape (models, records, columns)
        Logits or log-probabilities; one column is a log-odds.
    labels : int64 array, shape (records,)
    """
    if labels.ndim != 1 or len(labels) < FEWEST_RECORDS:
        return []
    step = max(1, len(labels) // MOST_LOOKED_AT)
    z = values[:: max(1, len(values) // MOST_MODELS_LOOKED_AT), ::step].astype(np.float64)
    if z.shape[2] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=2)
    y = labels[::step]
    p = softmax(z, axis=2).mean(axis=0)
    lift = (p - p.mean(axis=0))[np.arange(len(y)), y]
    error = max(float(lift.std(ddof=1)), 1e-12) / np.sqrt(lift.size)
    return [NO_FIT] if lift.mean() < 2 * error else []
