"""What the exposed have in common: properties of patients, set against their risk.

Risk is counted on one half of each patient's models, and whether models that never saw a patient
disagree with the label is taken from the other half: no factor is made from the models that it is
held against. Large cohorts are represented by an even sample of their patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.base.randomness import Stage, generator
from auscult.cohort.inputs import TableInputs
from auscult.risk.associations import Associations, Factor, associations
from auscult.viewer.contents import Contents
from auscult.viewer.holding import Holding
from auscult.viewer.peculiar import Reference

MOST_PATIENTS = 4000
MOST_RECORDS = 8  # of one patient
MOST_CLASSES = 4
TOP = 0.9


def shared_traits(reference: Reference) -> Associations:
    """Factors of an even sample of patients, and what goes with their risk."""
    holding, contents = reference.holding, reference.contents
    n = holding.patients
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_PATIENTS)).astype(np.int64))
    records = [
        kept[:MOST_RECORDS] for kept in (_attacked(holding, int(patient)) for patient in chosen)
    ]
    rng = generator(0, Stage.SPLIT_HALF, "shared traits")
    risk, outside = _halves(holding, chosen, records, rng)
    counts = np.diff(holding.first)[chosen].astype(np.float64)
    factors = [
        Factor(
            name="more records than most",
            has=counts > np.quantile(counts, TOP),
            scores=np.log(counts)[:, None],
        ),
        Factor(
            name="models that never saw them disagree with the label (top tenth)",
            has=outside <= np.nanquantile(outside, 1 - TOP),
            scores=np.nan_to_num(outside, nan=float(np.nanmedian(outside)))[:, None],
        ),
        *_far(reference, chosen),
        *_values(contents, records),
        *_classes(holding, records),
    ]
    return associations(risk, factors, rng)


def _attacked(holding: Holding, patient: int) -> NDArray[np.int64]:
    records = holding.records_of(patient)
    if holding.withheld is None:
        return records
    kept = records[~holding.withheld[records]]
    return kept if kept.size else records


def _halves(
    holding: Holding,
    chosen: NDArray[np.int64],
    records: list[NDArray[np.int64]],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUC from one half of a patient's models; mean signal of OUT models of the other half.

    The signal is the mean over records, less what each model gives to the sampled patients of the
    same class on average.
    """
    signals = np.stack([holding.signals(one).mean(axis=1) for one in records])
    stratum = np.zeros(len(chosen), dtype=np.int64)
    if holding.classes is not None and holding.classes.ndim == 1:
        stratum = holding.classes[[one[0] for one in records]]
    centred = np.empty_like(signals)
    for one in np.unique(stratum):
        here = stratum == one
        centred[here] = signals[here] - np.median(signals[here], axis=0)
    risk = np.full(len(chosen), np.nan)
    outside = np.full(len(chosen), np.nan)
    for place, patient in enumerate(chosen.tolist()):
        member = holding.member[:, patient]
        inside, out = (
            rng.permutation(np.flatnonzero(member)),
            rng.permutation(np.flatnonzero(~member)),
        )
        first, second = out[: out.size // 2], out[out.size // 2 :]
        if first.size:
            outside[place] = signals[place, first].mean()
        with_them = centred[place, inside[inside.size // 2 :]][:, None]
        without = centred[place, second][None, :]
        if with_them.size and without.size:
            above = (with_them > without).mean() + 0.5 * (with_them == without).mean()
            risk[place] = above
    return risk, outside


def _far(reference: Reference, chosen: NDArray[np.int64]) -> list[Factor]:
    remote = reference.remoteness
    if remote is None:
        return []
    far = np.array([remote.of(int(one)) for one in chosen])
    name = "far from all others (top tenth)"
    return [Factor(name=name, has=far > np.quantile(far, TOP), scores=far[:, None])]


def _values(contents: Contents, records: list[NDArray[np.int64]]) -> list[Factor]:
    """Whether a patient has an extreme number, and a level that hardly any record has."""
    extreme = np.ones(len(records))
    rare = np.ones(len(records))
    sizes = [one.size for one in records]
    every, starts = np.concatenate(records), np.concatenate([[0], np.cumsum(sizes)[:-1]])
    numbers = levels = False
    for inputs in contents.parts().values():
        if not isinstance(inputs, TableInputs):
            continue
        for column in inputs.numeric.T:
            told = np.sort(column[:: max(1, len(column) // 20_000)])
            told = told[np.isfinite(told)]
            values = column[every]
            if not told.size:
                continue
            numbers = True
            up = 1 - np.searchsorted(told, values, "left") / told.size
            down = np.searchsorted(told, values, "right") / told.size
            out = np.where(np.isfinite(values), np.minimum(up, down), 1.0)
            extreme = np.minimum(extreme, np.minimum.reduceat(out, starts))
        for codes in inputs.codes.T:
            levels = True
            share = np.bincount(codes[codes >= 0]) / len(codes)
            out = np.where(codes[every] >= 0, share[np.maximum(codes[every], 0)], 1.0)
            rare = np.minimum(rare, np.minimum.reduceat(out, starts))
    found = []
    for there, score, name in (
        (numbers, extreme, "an extreme number (top tenth)"),
        (levels, rare, "a rare level (top tenth)"),
    ):
        if there:
            scores = np.log(np.maximum(score, 1e-6))[:, None]
            has = score <= np.quantile(score, 1 - TOP)
            found.append(Factor(name=name, has=has, scores=scores))
    return found


def _classes(holding: Holding, records: list[NDArray[np.int64]]) -> list[Factor]:
    """One factor per class, but for the commonest."""
    if holding.classes is None or holding.classes.ndim != 1:
        return []
    mine = holding.classes[[one[0] for one in records]]
    values, counts = np.unique(mine, return_counts=True)
    order = values[np.argsort(-counts, kind="stable")]
    names = [str(one["name"]) for one in holding.summary["cohort"].get("classes") or ()]
    return [
        Factor(
            name=f"first label is {names[value] if value < len(names) else value}",
            has=mine == value,
            scores=(mine == value).astype(np.float64)[:, None],
        )
        for value in order[1 : 1 + MOST_CLASSES].tolist()
    ]
