"""What is asked of patients when it is told what the exposed have in common.

Each is a yes or no: more records than most, a label that models which never saw the patient
disagree with, records far from all others, an extreme number, a rare level. The classes of the
label are held equal with them. None of it looks at who was trained on what, but for the
disagreement: that is taken from one half of a patient's models, and the risk from the other.

Large cohorts are represented by an even sample of their patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout
from auscult.attacks.places import Places
from auscult.attacks.remoteness import Crowd
from auscult.cohort.inputs import Inputs, NamedInputs, TableInputs
from auscult.disclosure import Effects
from auscult.risk.associations import Factor, Partialled, partialled
from auscult.risk.stability import Halves

MOST_PATIENTS = 4000
MOST_RECORDS = 8  # of one patient
MOST_CLASSES = 4
CROWD = 2000  # records among whom distances are measured
SAMPLE = 20_000  # records that a column's values are ranked among
TOP = 0.9
MANY = "more records than most (top tenth)"
DISAGREE = "models that never saw them disagree with the label (top tenth)"
FAR = "far from all others (top tenth)"
EXTREME = "an extreme number (top tenth)"
RARE = "a rare level (top tenth)"
IMPLIED = (DISAGREE, FAR)  # of which hardly two patients are equal: a tenth have it
NO_INPUTS = "the inputs of the records are not at hand"
NO_TABLE = "the records have no such column"
ALIKE = "all patients are alike in it"


@dataclass(frozen=True, kw_only=True, eq=False)
class Traits:
    """Factors of a sample of patients, and their risk.

    Attributes
    ----------
    chosen : int64 array, shape (patients of the sample,)
        Their numbers in the cohort.
    risk : float64 array, shape (patients of the sample,)
        Raw AUC on one half of each patient's models.
    parts : list of Partialled
        The factors asked for, then the classes that are held equal with them.
    asked : int
        How many of them are asked for.
    absent : dict of str to str
        Why others are not.
    patients : int
        Of the cohort.
    """

    chosen: NDArray[np.int64] = field(repr=False)
    risk: NDArray[np.float64] = field(repr=False)
    parts: list[Partialled] = field(repr=False)
    asked: int
    absent: dict[str, str]
    patients: int

    def effects(self) -> Effects:
        """The differences that can be estimated, of all patients of the cohort."""
        parts = [part for part in self.parts[: self.asked] if not part.reason]
        has = np.zeros((self.patients, len(parts)), dtype=bool)
        weights = np.zeros((self.patients, len(parts)), dtype=np.float32)
        for place, part in enumerate(parts):
            has[self.chosen, place] = part.factor.has
            weights[self.chosen, place] = part.weights()
        inside = np.zeros(self.patients, dtype=bool)
        inside[self.chosen] = True
        names = tuple(part.factor.name for part in parts)
        implied = tuple(name in IMPLIED for name in names)
        return Effects(names=names, has=has, inside=inside, weights=weights, implied=implied)


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What is known of records besides their signals.

    Attributes
    ----------
    inputs : Inputs or None
    rows : int64 array, shape (records,), or None
        Row of each record in the inputs; None where they are the same.
    places : Places or None
    classes : tuple of str
        Names of the classes that records are of; empty where they are of none.
    """

    inputs: Inputs | None = field(repr=False, default=None)
    rows: NDArray[np.int64] | None = field(repr=False, default=None)
    places: Places | None = field(repr=False, default=None)
    classes: tuple[str, ...] = ()


def traits(
    layout: Layout,
    halves: Halves,
    known: Known,
    usable: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Traits:
    """Factors of an even sample of the patients.

    Parameters
    ----------
    layout : Layout
    halves : Halves
        The disagreement is taken from the first half of each patient's models, risk from the other.
    known : Known
    usable : bool array, shape (patients,)
        Whom tables are about.
    rng : numpy.random.Generator
        It deals patients to folds.
    """
    everybody = np.flatnonzero(usable & np.isfinite(halves.aucs[1]))
    places = np.linspace(0, everybody.size - 1, min(everybody.size, MOST_PATIENTS))
    chosen = everybody[np.unique(places.astype(np.int64))]
    rows = [
        layout.first[one] + np.arange(min(int(layout.count[one]), MOST_RECORDS)) for one in chosen
    ]
    count = layout.count[chosen].astype(np.float64)
    scores = {MANY: np.log(count), DISAGREE: -_outside(layout, halves, chosen, rows)}
    absent = {}
    records = [layout.order[one] for one in rows]
    if known.places is None:
        absent[FAR] = NO_INPUTS
    else:
        scores[FAR] = Crowd(known.places, CROWD).distances(records, chosen)
    if known.inputs is None:
        absent |= {EXTREME: NO_INPUTS, RARE: NO_INPUTS}
    else:
        held = records if known.rows is None else [known.rows[one] for one in records]
        for name, found in zip((EXTREME, RARE), _values(known.inputs, held), strict=True):
            if found is None:
                absent[name] = NO_TABLE
            else:
                scores[name] = -np.log(np.maximum(found, 1e-6))
    factors = []
    for name, score in scores.items():
        high = score > np.quantile(score, TOP) if score.size else np.zeros(0, dtype=bool)
        if not high.any():  # the top tenth are alike: who reaches them
            high = score >= np.quantile(score, TOP) if score.size else high
        if high.all():
            absent[name] = ALIKE
        else:
            factors.append(Factor(name=name, has=high, scores=score[:, None]))
    stratum = layout.stratum[layout.first[chosen]]
    held_equal = _classes(stratum, known.classes)
    return Traits(
        chosen=chosen,
        risk=halves.aucs[1][chosen],
        parts=partialled([*factors, *held_equal], rng),
        asked=len(factors),
        absent=absent,
        patients=layout.patients,
    )


def _outside(
    layout: Layout,
    halves: Halves,
    chosen: NDArray[np.int64],
    rows: Sequence[NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Mean signal of the first half's models that never saw the patient."""
    found = np.empty(len(rows))
    for place, (patient, mine) in enumerate(zip(chosen.tolist(), rows, strict=True)):
        out = halves.first[patient] & ~layout.member[patient]
        found[place] = layout.signals[mine].mean(axis=0, dtype=np.float64)[out].mean()
    return found


def _values(
    inputs: Inputs, records: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """How rare each patient's most extreme number, and rarest level, is among records."""
    extreme, rare = np.ones(len(records)), np.ones(len(records))
    sizes = [one.size for one in records]
    every, starts = np.concatenate(records), np.concatenate([[0], np.cumsum(sizes)[:-1]])
    numbers = levels = False
    for part in inputs.parts.values() if isinstance(inputs, NamedInputs) else (inputs,):
        if not isinstance(part, TableInputs):
            continue
        for column in part.numeric.T:
            told = np.sort(column[:: max(1, len(column) // SAMPLE)])
            told = told[np.isfinite(told)]
            if not told.size:
                continue
            numbers = True
            values = column[every]
            up = 1 - np.searchsorted(told, values, "left") / told.size
            down = np.searchsorted(told, values, "right") / told.size
            out = np.where(np.isfinite(values), np.minimum(up, down), 1.0)
            extreme = np.minimum(extreme, np.minimum.reduceat(out, starts))
        for codes in part.codes.T:
            if not (codes >= 0).any():
                continue
            levels = True
            share = np.bincount(codes[codes >= 0]) / len(codes)
            out = np.where(codes[every] >= 0, share[np.maximum(codes[every], 0)], 1.0)
            rare = np.minimum(rare, np.minimum.reduceat(out, starts))
    return extreme if numbers else None, rare if levels else None


def _classes(stratum: NDArray[np.int64], names: Sequence[str]) -> list[Factor]:
    """One factor per class of the first record, but for the commonest."""
    if not names:
        return []
    values, counts = np.unique(stratum, return_counts=True)
    order = values[np.argsort(-counts, kind="stable")]
    return [
        Factor(
            name=f"first label is {names[value] if value < len(names) else value}",
            has=stratum == value,
            scores=(stratum == value).astype(np.float64)[:, None],
        )
        for value in order[1 : 1 + MOST_CLASSES].tolist()
    ]
