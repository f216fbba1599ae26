"""Parts and weights of a model's members: what is held back, by patient, and what counts how much.

Patients that are held back are members all the same: the model is chosen on them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError
from auscult.base.randomness import Stage, generator
from auscult.cohort import TrainingData
from auscult.cohort.cohort import CLASS_TASKS

WEIGHTS = ("balanced", "patients")
SHARE = 0.2


def check_share(share: float | None, where: str = "recipe.validation") -> None:
    """Raise a ConfigError when no patients can be held back at this share."""
    if share is not None and not 0 < share < 1:
        raise ConfigError(
            f"{share:g} is not a valid share of the members' patients",
            where=where,
            expected="a number above 0 and below 1, for example 0.2",
        )


def check_weights(weights: str | None, data: TrainingData | None = None) -> None:
    """Raise a ConfigError when there are no such weights, or none for this data."""
    if weights is not None and weights not in WEIGHTS:
        raise ConfigError(
            f'there are no weights "{weights}"',
            where="recipe.weights",
            expected='"balanced" (equal weight for every class) or "patients" (for every patient)',
        )
    if data is not None and weights == "balanced" and data.task not in CLASS_TASKS:
        raise ConfigError(
            f'the outcome is "{data.task}", which has no classes to balance',
            where="recipe.weights",
            expected='"patients"',
        )
    if data is not None and weights == "balanced" and data.labels.ndim > 1:
        raise ConfigError(
            "several labels cannot be balanced by one weight per record",
            where="recipe.weights",
            expected='"patients"',
        )


def patients_of(data: TrainingData) -> NDArray[np.int64]:
    """Patient of each record, as a number without meaning."""
    if data.patient_of_record is None:
        raise RecipeError(
            "the data do not say which records belong to the same patient", where="recipe"
        )
    return data.patient_of_record


def hold_back(
    data: TrainingData, members: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split a model's members by patient: those to fit, and those to validate on.

    Patients are drawn from the model's seed, spread over the labels. Every class that the members
    have stays among those to fit.

    Parameters
    ----------
    data : TrainingData
    members : int64 array
        Rows of the records, ascending.
    share : float
        Of the members' patients.
    seed : int

    Returns
    -------
    fitted, held : int64 array
        Rows, ascending; together the members, and no patient in both.

    Raises
    ------
    RecipeError
        Nobody can be held back.
    """
    patients, place = np.unique(patients_of(data)[members], return_inverse=True)
    labels = data.labels[members]
    count = min(max(round(share * len(patients)), 1), len(patients) - 1)
    if count > 0:
        rng = generator(seed, Stage.VALIDATION)
        stratum = np.zeros(len(patients), dtype=np.float64)
        if data.task in (*CLASS_TASKS, "number"):
            np.maximum.at(stratum, place, labels if labels.ndim == 1 else labels.sum(axis=1))
        order = rng.permutation(len(patients))
        order = order[np.argsort(stratum[order], kind="stable")]
        picked = ((np.arange(count) + rng.random()) * len(patients) / count).astype(np.int64)
        held = np.zeros(len(patients), dtype=np.bool_)
        held[order[picked]] = True
        if labels.ndim == 1 and data.task in CLASS_TASKS:
            for gone in np.setdiff1d(labels, labels[~held[place]]):
                held[place[labels == gone]] = False
        if held.any():
            return members[~held[place]], members[held[place]]
    raise RecipeError(
        "no patient can be held back for validation",
        where="recipe.validation",
        expected="several patients of each class among a model's members",
    )


def weights_of(kind: str, data: TrainingData, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of each record, with a mean of 1.

    Parameters
    ----------
    kind : {"balanced", "patients"}
        "balanced": every class counts as much, as scikit-learn's. "patients": every patient.
    data : TrainingData
    rows : int64 array
    """
    units = patients_of(data)[rows] if kind == "patients" else data.labels[rows]
    _, place, count = np.unique(units, return_inverse=True, return_counts=True)
    return np.asarray(len(rows) / (len(count) * count[place]), dtype=np.float64)
