"""A blind baseline: can members be told from non-members without any model?

An attack on a released model compares patients who trained it with patients who did not. Where the
two come from different hospitals, years or devices, their records alone tell them apart, and an
attack that seems to succeed may only have recognised the hospital. The blind baseline measures
that: a classifier is trained to tell members from non-members by their *inputs*, with the patients
dealt to folds, and judged on patients they have not seen. If it is above chance, an attack's
success is no evidence that the model remembers anybody (Das, Zhang, Tramer 2024, arXiv 2406.16201).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.roc import exact_auc
from auscult.base.errors import AnalysisError
from auscult.base.notebooks import USUAL
from auscult.base.progress import Progress
from auscult.base.randomness import Stage, generator
from auscult.blind.features import embedded, features, one_hot, refuse_shared, resembling
from auscult.cohort.inputs import Inputs

FOLDS = 5
FEWEST_PATIENTS = 10
MOST_PATIENTS = 4000
STRENGTHS = (0.1, 1.0, 10.0)
PERMUTATIONS = 999
Z95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class BlindBaseline:
    """How well inputs alone tell members from non-members.

    Attributes
    ----------
    auc, low, high : float
        Area under the curve over patients with its 95% interval.
    p : float
        Share of permuted memberships that are told apart as well.
    members, others : int
        Patients of each side.
    records : int
    folds : int
    notes : tuple of str
    """

    auc: float
    low: float
    high: float
    p: float
    members: int
    others: int
    records: int
    folds: int
    notes: tuple[str, ...] = ()

    @property
    def above_chance(self) -> bool:
        """Whether the interval lies above one half."""
        return self.low > 0.5

    def verdict(self) -> str:
        """What it means for an attack on these patients."""
        figures = (
            f"Without any model, inputs alone tell {self.members:,} members from {self.others:,} "
            f"non-members with an AUC of {self.auc:.2f} ({self.low:.2f} to {self.high:.2f})"
        )
        if self.above_chance:
            return (
                f"{figures}: the two groups differ by more than membership, so an attack that "
                "separates them is not evidence that the model memorised them."
            )
        return (
            f"{figures}: no difference between the groups was found, which does not prove that "
            "there is none; an AUC up to the upper end may be confounding."
        )

    def summary(self) -> dict[str, Any]:
        """JSON-able; counts and aggregates only."""
        return {
            "auc": {"mean": self.auc, "low": self.low, "high": self.high},
            "p": self.p,
            "above_chance": self.above_chance,
            "members": self.members,
            "others": self.others,
            "records": self.records,
            "method": f"kernel ridge regression on inputs, {self.folds} folds of patients, AUC "
            "inside folds over patients, score interval (Newcombe 2006) widened by the spread of "
            f"{PERMUTATIONS} permutations of the membership",
            "verdict": self.verdict(),
            "notes": list(self.notes),
        }


def blind_baseline(
    inputs: Inputs | NDArray[Any],
    patient: NDArray[Any],
    member: NDArray[np.bool_],
    *,
    labels: NDArray[np.int64] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    max_patients: int = MOST_PATIENTS,
    records: NDArray[np.int64] | None = None,
    progress: Progress = USUAL,
) -> BlindBaseline:
    """Try to tell members from non-members by their inputs.

    Parameters
    ----------
    inputs : TableInputs, ArrayInputs or array of shape (records, ...)
        What the model reads.
    patient : array, shape (records,)
        Patient of each record.
    member : bool array, shape (records,)
        Whether the record's patient trained the model.
    labels : int64 array, shape (records,) or (records, labels), optional
        Labels, if the attacker knows them.
    folds : int
        Number of folds to which the patients of each side are assigned.
    seed : int
    max_patients : int
        Maximum for each side; a random subset is used beyond it, which reduces only the precision.
    records : int64 array, optional
        Which of the inputs are used instead of all, to leave out patients of unknown membership.
        The other arguments still refer to all records.
    progress : Progress
        Advanced once for what the classifier sees, and once per fold.

    Returns
    -------
    BlindBaseline

    Raises
    ------
    AnalysisError
        A patient or a record is on both sides, or a side has too few patients.
    """
    count, member = len(inputs), np.asarray(member)
    here = np.arange(count) if records is None else np.asarray(records)
    codes, side = _sides(np.asarray(patient), member, here, count, folds)
    notes = []
    drawn = _draw(side, max_patients, seed)
    if not drawn.all():
        notes.append(f"patients drawn at random, at most {max_patients:,} of each side")
    kept, whose = here[drawn[codes]], codes[drawn[codes]]
    progress.start("Blind baseline", 1 + folds)
    refuse_shared(inputs, member, here)
    seen, pixels = features(inputs, kept)
    notes += resembling(seen[:, :pixels], member[kept])
    if labels is not None:
        seen = np.column_stack([seen, one_hot(np.asarray(labels), count)[kept]])
    numbered = np.cumsum(drawn) - 1
    side = side[drawn]
    place = embedded(seen, numbered[whose], len(side), seed)
    progress.advance()
    fold = _deal(side, folds, seed)
    null_labels = _permuted(side, fold, folds, seed)
    scores, weights, null = np.zeros(len(side)), np.zeros(folds), np.zeros(PERMUTATIONS)
    for k in range(folds):
        test = fold == k
        hat = _hat(place[~test], place[test])
        scores[test] = hat @ side[~test]
        weights[k] = float(side[test].sum() * (~side[test]).sum())
        null += weights[k] * _aucs(hat @ null_labels[~test], null_labels[test])
        progress.advance()
    progress.finish()
    null /= weights.sum()
    auc, low, high = auc_inside_folds(scores, side, fold, spread=float(null.std()))
    return BlindBaseline(
        auc=auc,
        low=low,
        high=high,
        p=float((1 + (null >= auc).sum()) / (1 + PERMUTATIONS)),
        members=int(side.sum()),
        others=int((~side).sum()),
        records=len(kept),
        folds=folds,
        notes=tuple(notes),
    )


def auc_inside_folds(
    scores: NDArray[np.float64],
    member: NDArray[np.bool_],
    fold: NDArray[np.int64],
    spread: float | None = None,
) -> tuple[float, float, float]:
    """AUC inside each fold, averaged by pairs, with a 95% score interval.

    Scores of different folds come from different classifiers and are never compared. The interval
    holds every area that the estimate does not contradict (Newcombe 2006, method 5: the variance
    of Hanley and McNeil at the hypothetical area), so it does not collapse at an area of 1.

    Parameters
    ----------
    scores : float64 array, shape (patients,)
    member : bool array, shape (patients,)
    fold : int64 array, shape (patients,)
    spread : float, optional
        Standard deviation of the AUC under permuted membership. Classifiers of different folds
        share training patients, so their areas vary together: the variance is inflated by what
        this exceeds that of independent folds.
    """
    areas, sizes = [], []
    for k in np.unique(fold):
        inside, outside = scores[(fold == k) & member], scores[(fold == k) & ~member]
        areas.append(exact_auc(inside, outside))
        sizes.append((inside.size, outside.size))
    size = np.array(sizes, dtype=np.float64)
    weight = size.prod(axis=1) / size.prod(axis=1).sum()
    auc = float(weight @ np.array(areas))
    inflation = 1.0
    if spread is not None:
        independent = weight**2 @ ((size.sum(axis=1) + 1) / (12 * size.prod(axis=1)))
        inflation = max(1.0, spread**2 / float(independent))

    def contradicted(area: float) -> bool:
        variance = inflation * float(weight**2 @ _variance(area, size))
        return bool(abs(auc - area) > Z95 * variance**0.5)

    return auc, _edge(auc, 0.0, contradicted), _edge(auc, 1.0, contradicted)


def _variance(area: float, size: NDArray[np.float64]) -> NDArray[np.float64]:
    m, n = size.T
    half = (m + n) / 2 - 1
    return np.asarray(
        area
        * (1 - area)
        * (1 + half * (1 - area) / (2 - area) + half * area / (1 + area))
        / (m * n)
    )


def _edge(inside: float, outside: float, contradicted: Any) -> float:  # noqa: ANN401
    """Where the areas that are not contradicted end, by bisection."""
    if not contradicted(outside):
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if contradicted(middle) else (middle, outside)
    return (inside + outside) / 2


def _sides(
    patient: NDArray[Any],
    member: NDArray[np.bool_],
    here: NDArray[np.int64],
    records: int,
    folds: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Patient of each record that is looked at, numbered anew, and each patient's side."""
    if patient.shape != (records,) or member.shape != (records,) or member.dtype != np.bool_:
        raise AnalysisError(
            f"patient has shape {patient.shape}, member {member.shape} of {member.dtype}",
            where="blind baseline",
            expected=f"one value per record, ({records},), member of bool",
        )
    patient, member = patient[here], member[here]
    _, codes = np.unique(patient, return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    inside = np.bincount(codes, weights=member)
    count = np.bincount(codes)
    split = int(((inside > 0) & (inside < count)).sum())
    if split:
        raise AnalysisError(
            f"{split} patients are members and non-members at once",
            where="blind baseline",
            expected="all records of a patient on one side",
        )
    side = inside > 0
    fewest = max(FEWEST_PATIENTS, 2 * folds)
    for name, number in (("members", int(side.sum())), ("non-members", int((~side).sum()))):
        if number < fewest:
            raise AnalysisError(
                f"there are {number} {name}",
                where="blind baseline",
                expected=f"at least {fewest} patients on each side",
            )
    if folds < 2:
        raise AnalysisError(f"{folds} folds are too few", where="blind baseline", expected="2")
    return codes, side


def _draw(side: NDArray[np.bool_], most: int, seed: int) -> NDArray[np.bool_]:
    drawn = np.zeros(len(side), dtype=np.bool_)
    rng = generator(seed, Stage.BLIND_PATIENTS)
    for value in (True, False):
        there = np.flatnonzero(side == value)
        drawn[rng.permutation(there)[:most]] = True
    return drawn


def _deal(side: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each patient, both sides spread evenly."""
    fold = np.zeros(len(side), dtype=np.int64)
    rng = generator(seed, Stage.BLIND_FOLDS)
    for value in (True, False):
        there = rng.permutation(np.flatnonzero(side == value))
        fold[there] = np.arange(there.size) % folds
    return fold


def _hat(train: NDArray[np.float64], test: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge regression as a matrix from training labels to test scores, shape (test, train).

    The mean over three strengths of shrinkage, each weighing the same. Scores are linear in the
    labels, so a permutation of the labels costs one product and no training.
    """
    centre = train.mean(axis=0)
    left, size, right = np.linalg.svd(train - centre, full_matrices=False)
    power = size**2
    hat = np.zeros((len(test), len(train)))
    projected = (test - centre) @ right.T
    for strength in STRENGTHS:
        one = projected * (size / (power + strength * power.mean())) @ left.T
        hat += one / max(float(np.linalg.norm(one)), 1e-12)
    return hat


def _permuted(
    side: NDArray[np.bool_], fold: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.float64]:
    """Membership permuted between patients inside each fold, shape (patients, PERMUTATIONS)."""
    rng = generator(seed, Stage.BLIND_NULL)
    result = np.empty((len(side), PERMUTATIONS))
    for k in range(folds):
        here = np.flatnonzero(fold == k)
        order = rng.random((len(here), PERMUTATIONS)).argsort(axis=0)
        result[here] = side[here].astype(np.float64)[order]
    return result


def _aucs(scores: NDArray[np.float64], member: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUC of each column; ties fall as they are sorted, which a permutation does not mind."""
    ranks = scores.argsort(axis=0).argsort(axis=0) + 1.0
    inside = member.sum(axis=0)
    above = (ranks * member).sum(axis=0) - inside * (inside + 1) / 2
    return np.asarray(above / (inside * (len(scores) - inside)))
