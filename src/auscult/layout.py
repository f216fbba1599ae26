"""Signals laid out for analysis: record by record, patient by patient, models in folds.

Everything that is estimated on some models is evaluated on others (law 5). Each patient's IN models
and OUT models are dealt in turn to `folds` folds, so every fold holds as many IN and OUT models of
the patient as can be, and an estimate for one fold is made from the other folds. Folds are the
patient's own: membership is drawn per patient, so what one patient's folds share is independent of
another's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 4
FEWEST_PER_CLASS = 4
BYTES_AT_ONCE = 1 << 26
DEALING = 20260610  # seed of the order in which models are dealt to folds; part of the format


@dataclass(frozen=True, kw_only=True, eq=False)
class Deal:
    """Which models lie where, for some patients: fold by class by place.

    Attributes
    ----------
    model : int64 array, shape (patients, folds, 2, places)
        Model number; class 0 is OUT, class 1 is IN. Unused places repeat a model and weigh nothing.
    weight : float64 array, same shape
        1 where the place is used, 0 where it is padding.
    """

    model: NDArray[np.int64]
    weight: NDArray[np.float64]

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.model.shape[1])

    def take(self, patients: NDArray[np.int64] | slice) -> Deal:
        """Deal of some of the patients."""
        return Deal(model=self.model[patients], weight=self.weight[patients])


def deal(member: NDArray[np.bool_], folds: int, used: NDArray[np.bool_] | None = None) -> Deal:
    """Deal each patient's IN and OUT models to folds, in an order drawn for each patient.

    Dealt in the order of their numbers, which models of a fold are IN would depend on which are in
    the other folds, and a few odd models would bias the null of all patients alike (by 0.004 on
    brain slices with 32 models). In a random order every labelling of a fold is equally likely
    given the others. The order depends on the row alone: the same layout is dealt the same way.

    Parameters
    ----------
    member : bool array, shape (patients, models)
    folds : int
    used : bool array, shape (patients, models), optional
        Models to deal; all of them when absent.

    Returns
    -------
    Deal
        The j-th IN model of a patient, in the order drawn, lies in fold j mod folds.
    """
    patients = member.shape[0]
    masks = _classes(member, used)
    most = max(1, *(int(mask.sum(axis=1).max(initial=0)) for mask in masks))
    places = -(-most // folds)
    model = np.zeros((patients, folds, 2, places), dtype=np.int64)
    weight = np.zeros((patients, folds, 2, places))
    order = np.random.default_rng(DEALING).random(member.shape, dtype=np.float32).argsort(axis=1)
    for label, mask in enumerate(masks):
        shuffled = np.take_along_axis(mask, order, axis=1)
        row, position = np.nonzero(shuffled)
        place = (shuffled.cumsum(axis=1) - 1)[row, position]
        column = order[row, position]
        model[row, place % folds, label, place // folds] = column
        weight[row, place % folds, label, place // folds] = 1.0
    return Deal(model=model, weight=weight)


def _classes(
    member: NDArray[np.bool_], used: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """OUT and IN masks over the models in use."""
    return (~member, member) if used is None else (~member & used, member & used)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Signals sorted by patient, with the membership that goes with them.

    Attributes
    ----------
    signals : float array, shape (records, models)
        Sorted by patient; records of one patient in the cohort's order.
    order : int64 array, shape (records,)
        Record of the cohort in each row.
    patient : int64 array, shape (records,)
        Patient of each row.
    first, count : int64 array, shape (patients,)
        A patient's records are rows first to first + count - 1.
    member : bool array, shape (patients, models)
        A secret, as in :class:`auscult.design.Membership`.
    stratum : int64 array, shape (records,)
        Class of each record for centring; zeros when unknown.
    used : bool array, shape (patients, models), optional
        Models to look at, per patient; all when absent.
    """

    signals: NDArray[np.floating]
    order: NDArray[np.int64]
    patient: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    member: NDArray[np.bool_]
    stratum: NDArray[np.int64]
    used: NDArray[np.bool_] | None = None

    @property
    def records(self) -> int:
        """Number of records."""
        return int(self.signals.shape[0])

    @property
    def models(self) -> int:
        """Number of models."""
        return int(self.signals.shape[1])

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self.count.shape[0])

    @property
    def folds(self) -> int:
        """Four folds if 95% of the estimable patients fill each class twice over, otherwise two."""
        fewest = self._fewest()
        usable = fewest[fewest >= FEWEST_PER_CLASS]
        return FOLDS if usable.size and np.quantile(usable, 0.05) >= 2 * FOLDS else 2

    def deal(self) -> Deal:
        """Deal every patient's models to folds."""
        return deal(self.member, self.folds, self.used)

    def estimable(self) -> NDArray[np.bool_]:
        """Which patients are IN and OUT of enough models, shape (patients,)."""
        return self._fewest() >= FEWEST_PER_CLASS

    def _fewest(self) -> NDArray[np.int64]:
        outside, inside = (mask.sum(axis=1) for mask in _classes(self.member, self.used))
        return np.asarray(np.minimum(outside, inside))

    def __repr__(self) -> str:
        return f"Layout({self.records} records, {self.patients} patients, {self.models} models)"


def lay_out(
    signals: NDArray[np.floating],
    member: NDArray[np.bool_],
    patient_of_record: NDArray[np.int64],
    stratum: NDArray[np.int64] | None = None,
) -> Layout:
    """Sort signals by patient and turn them record by record.

    Parameters
    ----------
    signals : float array, shape (models, records)
    member : bool array, shape (models, patients)
    patient_of_record : int64 array, shape (records,)
    stratum : int64 array, shape (records,), optional
        Class of each record.
    """
    models, records = signals.shape
    patients = member.shape[1]
    order = np.argsort(patient_of_record, kind="stable")
    count = np.bincount(patient_of_record, minlength=patients)
    turned = np.empty((records, models), dtype=signals.dtype)
    rows = max(1, BYTES_AT_ONCE // (8 * models))
    for start in range(0, records, rows):
        piece = order[start : start + rows]
        turned[start : start + rows] = signals[:, piece].T
    strata = np.zeros(records, dtype=np.int64) if stratum is None else stratum
    return Layout(
        signals=turned,
        order=order,
        patient=patient_of_record[order],
        first=np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64),
        count=count.astype(np.int64),
        member=np.ascontiguousarray(member.T),
        stratum=strata[order],
    )


def take_patients(layout: Layout, patients: NDArray[np.int64]) -> tuple[Layout, NDArray[np.int64]]:
    """Part of a layout, for signals that were prepared on the whole of it.

    Parameters
    ----------
    layout : Layout
    patients : int64 array
        A patient may be taken several times, and counts as several then.

    Returns
    -------
    part : Layout
        Its patients are numbered anew; `order` still names the cohort's records.
    rows : int64 array
        Rows of the whole layout that the part's records were.
    """
    count = layout.count[patients]
    first = np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64)
    within = np.arange(int(count.sum())) - np.repeat(first, count)
    rows = np.repeat(layout.first[patients], count) + within
    part = Layout(
        signals=layout.signals[rows],
        order=layout.order[rows],
        patient=np.repeat(np.arange(len(patients)), count),
        first=first,
        count=count,
        member=layout.member[patients],
        stratum=layout.stratum[rows],
        used=None if layout.used is None else layout.used[patients],
    )
    return part, rows


def centred(layout: Layout, *, sample: int = 4096, groups: int = 5) -> NDArray[np.float32]:
    """Signals less what the model gives to other patients' records of the same class.

    A model that is more confident all over raises everybody's signal; its per-class median over
    *other* patients takes that away and leaves what is the patient's own (METHOD 4). Patients are
    dealt to `groups` groups, and a group is centred on the median over the records of the other
    groups (at most `sample` of them, evenly spaced); a class with fewer than 20 such records is
    centred on the median over all classes.

    Returns
    -------
    float32 array, shape (records, models)
    """
    result = np.empty(layout.signals.shape, dtype=np.float32)
    group = layout.patient % groups
    for g in range(groups):
        others = np.flatnonzero(group != g)
        overall = None
        for stratum in np.unique(layout.stratum[group == g]):
            rows = np.flatnonzero((group == g) & (layout.stratum == stratum))
            reference = others[layout.stratum[others] == stratum]
            if reference.size < 20:
                if overall is None:
                    overall = _median(layout.signals, _spaced(others, sample))
                centre = overall
            else:
                centre = _median(layout.signals, _spaced(reference, sample))
            for start in range(0, rows.size, 8192):
                piece = rows[start : start + 8192]
                result[piece] = layout.signals[piece] - centre
    return result


def _median(signals: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if rows.size == 0:
        return np.zeros(signals.shape[1])
    return np.asarray(np.median(signals[rows].astype(np.float64), axis=0))


def _spaced(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    if rows.size <= most:
        return rows
    return rows[np.linspace(0, rows.size - 1, most).astype(np.int64)]
