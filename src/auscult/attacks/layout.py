"""Signals laid out for analysis: record by record, patient by patient, models in folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.amounts import JUDGES, chosen_amounts
from auscult.attacks.dealing import Deal, classes, deal, rarer_of_a_wave, waves_of
from auscult.attacks.neighbours import AT_ONCE, NOT_LEARNED, Told, slopes, told_by_neighbours
from auscult.attacks.places import Places
from auscult.base.parallel import in_order, let_go, scratch

FOLDS = 4
FEWEST_PER_CLASS = 4
# Where most models are of one kind, fewer of the other do: 2 of them and 16 tell an AUC about as
# well as 4 and 4.
RAREST, MANY, UNEVEN = 2, 16, 0.25
BYTES_AT_ONCE = 1 << 26
PART_BYTES = 1 << 22  # of float64 signals: a part's arrays stay in the processor's cache
TIED = 0.5  # share of equal neighbours beyond which signals are taken for a few values


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
        A secret, as in :class:`auscult.cohort.design.Membership`.
    stratum : int64 array, shape (records,)
        Class of each record for centring; zeros when unknown.
    number : int64 array, shape (patients,)
        Each patient's number in the whole cohort: deals and centres follow it.
    used : bool array, shape (patients, models), optional
        Models to look at, per patient; all when absent.
    dealt : int, optional
        Number of folds; from the patients when absent.
    places : Places, optional
        Where the cohort's records lie among each other, in the cohort's order: rows find theirs by
        `order`.
    wave : int, optional
        Models of a wave, see :func:`waves_of`; all are one wave when absent.
    uneven : bool
        Whether patients are IN, or OUT of, fewer than a quarter of the models.
    """

    signals: NDArray[np.floating]
    order: NDArray[np.int64]
    patient: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    member: NDArray[np.bool_]
    stratum: NDArray[np.int64]
    number: NDArray[np.int64]
    used: NDArray[np.bool_] | None = None
    dealt: int | None = None
    places: Places | None = None
    wave: int | None = None
    uneven: bool = False

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
        """Four folds if 95% of the estimable patients fill each class twice over, otherwise two.

        Three where they fill it with three models, each of which is judged by the others then.
        """
        if self.dealt is not None:
            return self.dealt
        fewest = self._fewest()
        usable = fewest[self.estimable()]
        low = np.quantile(usable, 0.05) if usable.size else 0
        found = 2
        if low >= 2 * FOLDS:
            found = FOLDS
        elif FEWEST_PER_CLASS > low >= 3:
            found = 3
        rarer = rarer_of_a_wave(self.member, self.wave)
        if rarer is not None and self.wave is not None and rarer < found:
            # Whole waves are dealt: there must be one for each fold.
            found = max(2, rarer, min(found, self.models // self.wave))
        return found

    def deal(self) -> Deal:
        """Deal every patient's models to folds."""
        return deal(self.member, self.folds, self.used, number=self.number, wave=self.wave)

    def estimable(self) -> NDArray[np.bool_]:
        """Which patients are IN and OUT of enough models, shape (patients,)."""
        outside, inside = (mask.sum(axis=1) for mask in classes(self.member, self.used))
        fewest, most = np.minimum(outside, inside), np.maximum(outside, inside)
        if not self.uneven:
            return np.asarray(fewest >= FEWEST_PER_CLASS)
        return np.asarray((fewest >= FEWEST_PER_CLASS) | ((fewest >= RAREST) & (most >= MANY)))

    def typically_fewest(self) -> int:
        """Models of the rarer kind that 95% of the estimable patients have at least."""
        fewest = self._fewest()[self.estimable()]
        return int(np.quantile(fewest, 0.05)) if fewest.size else 0

    def at_most_of_the_rarer(self) -> int:
        """Models of the rarer kind that some patient has."""
        return int(self._fewest().max(initial=0))

    def _fewest(self) -> NDArray[np.int64]:
        outside, inside = (mask.sum(axis=1) for mask in classes(self.member, self.used))
        return np.asarray(np.minimum(outside, inside))

    def parts(self) -> Iterator[tuple[slice, slice, Layout]]:
        """Consecutive patients and their rows, in parts of a few megabytes; views, not copies.

        Yields
        ------
        patients, rows : slice
            Where the part lies in the whole.
        part : Layout
        """
        folds = self.folds
        most = max(1, PART_BYTES // (8 * self.models))
        last = self.first + self.count
        start = 0
        while start < self.patients:
            stop = int(np.searchsorted(last, self.first[start] + most, side="right"))
            stop = min(max(stop, start + 1), self.patients)
            here = slice(start, stop)
            rows = slice(int(self.first[start]), int(last[stop - 1]))
            part = replace(
                self,
                signals=self.signals[rows],
                order=self.order[rows],
                patient=self.patient[rows] - start,
                first=self.first[here] - rows.start,
                count=self.count[here],
                member=self.member[here],
                stratum=self.stratum[rows],
                number=self.number[here],
                used=None if self.used is None else self.used[here],
                dealt=folds,
            )
            yield here, rows, part
            start = stop

    def __repr__(self) -> str:
        return f"Layout({self.records} records, {self.patients} patients, {self.models} models)"


def lay_out(
    signals: NDArray[np.floating],
    member: NDArray[np.bool_],
    patient_of_record: NDArray[np.int64],
    stratum: NDArray[np.int64] | None = None,
    places: Places | None = None,
) -> Layout:
    """Sort signals by patient and turn them record by record.

    Parameters
    ----------
    signals : float array, shape (models, records)
    member : bool array, shape (models, patients)
    patient_of_record : int64 array, shape (records,)
    stratum : int64 array, shape (records,), optional
        Class of each record.
    places : Places, optional
        Of the same records.
    """
    models, records = signals.shape
    patients = member.shape[1]
    order = np.argsort(patient_of_record, kind="stable")
    count = np.bincount(patient_of_record, minlength=patients)
    turned = scratch((records, models), signals.dtype)
    rows = max(1, BYTES_AT_ONCE // (8 * models))
    sorted_already = bool((np.diff(order) == 1).all())

    def turn(start: int) -> None:
        piece = slice(start, min(start + rows, records))
        turned[piece] = signals[:, piece if sorted_already else order[piece]].T
        let_go(turned)
        let_go(signals)

    for _ in in_order(turn, range(0, records, rows)):
        pass
    turned_member = scratch((patients, models), bool)
    for start in range(0, patients, rows):
        turned_member[start : start + rows] = member[:, start : start + rows].T
        let_go(turned_member)
        let_go(member)
    strata = np.zeros(records, dtype=np.int64) if stratum is None else stratum
    return Layout(
        signals=turned,
        order=order,
        patient=patient_of_record[order],
        first=np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64),
        count=count.astype(np.int64),
        member=turned_member,
        stratum=strata[order],
        number=np.arange(patients),
        places=places,
        wave=waves_of(member),
        uneven=_uneven(member),
    )


def _uneven(member: NDArray[np.bool_]) -> bool:
    """Whether the median patient is IN, or OUT of, fewer than a quarter of the models."""
    inside = member.sum(axis=0)
    rarer = np.minimum(inside, len(member) - inside)
    return bool(rarer.size and np.median(rarer) < UNEVEN * len(member))


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
        Its patients are counted anew; `order` and `number` still name the cohort's.
    rows : int64 array
        Rows of the whole layout that the part's records were.
    """
    count = layout.count[patients]
    first = np.cumsum(count) - count
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
        number=layout.number[patients],
        used=None if layout.used is None else layout.used[patients],
        dealt=layout.folds,
        places=layout.places,
        wave=layout.wave,
        uneven=layout.uneven,
    )
    return part, rows


class Centring:
    """What each model gives to other patients' records: of the same class, and nearby.

    A model that is more confident all over raises everybody's signal; its per-class median over
    *other* patients takes that away and leaves what is the patient's own (METHOD 4). Patients are
    dealt to `groups` groups, and a group is centred on the median over the records of the other
    groups (at most `sample` of them, evenly spaced); a class with fewer than 20 such records is
    centred on the median over all classes. How much of the median's way from model to model is
    taken away is learned from records of the same scale: signals that hardly vary (a saturated
    model) would drown in it. Where more or less of it tells patients of other groups better, that
    is used; see :mod:`auscult.attacks.amounts`. Where the places of records are known, what records
    nearby say is taken away as well; see :mod:`auscult.attacks.neighbours`.

    Parameters
    ----------
    layout : Layout
        The whole cohort.
    sample, groups : int
    nearby : float32 array, shape (records of the cohort, models), optional
        What records nearby say, where it is known already: `nearby` of the centring of the same
        signals.
    learned : bool
        Whether the membership of other patients may choose anything; if not, records nearby are
        not used.

    Attributes
    ----------
    neighbours : Told
        What was taken away besides the medians, or why nothing was.
    nearby : float32 array, shape (records of the cohort, models), or None
        What was taken away besides the medians, by record of the cohort (`layout.order`).
    """

    def __init__(
        self,
        layout: Layout,
        *,
        sample: int = 4096,
        groups: int = 5,
        nearby: NDArray[np.float32] | None = None,
        learned: bool = True,
    ) -> None:
        self._groups = groups
        self._amount = np.ones(groups)
        group = layout.number[layout.patient] % groups
        self._strata = np.unique(layout.stratum)
        self._centres = np.empty((groups, self._strata.size, layout.models), dtype=np.float32)
        for g in range(groups):
            others = np.flatnonzero(group != g)
            overall = None
            for place, stratum in enumerate(self._strata):
                reference = others[layout.stratum[others] == stratum]
                if reference.size < 20:
                    if overall is None:
                        overall = _median(layout.signals, spaced(others, sample))
                    self._centres[g, place] = overall
                else:
                    self._centres[g, place] = _median(layout.signals, spaced(reference, sample))
        self._level = self._centres.mean(axis=2, keepdims=True)
        self._centres -= self._level
        self._slope = np.ones(int(layout.order.max(initial=-1)) + 1, dtype=np.float32)
        self._slope[layout.order] = self._slopes(layout)
        if learned:
            self._amount = self._amounts(layout)
        self.nearby: NDArray[np.float32] | None
        self.neighbours: Told
        if nearby is not None:
            self.nearby, self.neighbours = nearby, Told()
            return
        if not learned:
            self.nearby, self.neighbours = None, Told(reason=NOT_LEARNED)
            return
        self.nearby, self.neighbours = told_by_neighbours(
            layout, lambda rows: self._on_medians(layout, rows)
        )

    def apply(self, part: Layout) -> NDArray[np.float32]:
        """Signals of a part less what others say, float32, shape (records, models)."""
        found = self._on_medians(part, slice(None))
        if self.nearby is not None:
            found -= self.nearby[part.order]
            let_go(self.nearby)
        return found

    def _on_medians(self, part: Layout, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Signals of some rows less their medians."""
        where = self._where(part, rows)
        slope = (self._amount[where[0]] * self._slope[part.order[rows]])[:, None]
        centre = self._level[where] + slope * self._centres[where]
        return np.asarray(part.signals[rows] - centre, dtype=np.float32)

    def _where(
        self, part: Layout, rows: NDArray[np.int64] | slice
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of the rows' centres: group of patients, and class."""
        group = part.number[part.patient[rows]] % self._groups
        return group, np.searchsorted(self._strata, part.stratum[rows])

    def _amounts(self, layout: Layout) -> NDArray[np.float64]:
        """Multiples of the slopes, by group; see :mod:`auscult.attacks.amounts`."""
        sample, _ = take_patients(layout, spaced(np.flatnonzero(layout.estimable()), JUDGES))

        def at(part: Layout, amount: float) -> NDArray[np.float64]:
            where = self._where(part, slice(None))
            slope = np.float32(amount) * self._slope[part.order][:, None]
            return np.asarray(part.signals - slope * self._centres[where], dtype=np.float64)

        return chosen_amounts(sample, at, self._groups)

    def _slopes(self, layout: Layout) -> NDArray[np.float64]:
        """How far each row goes with its median from model to model."""
        power, along, spread = np.empty((3, layout.records))

        def measure(start: int) -> None:
            rows = np.arange(start, min(start + AT_ONCE, layout.records))
            x = layout.signals[rows].astype(np.float64)
            x -= x.mean(axis=1, keepdims=True)
            centre = self._centres[self._where(layout, rows)]
            power[rows] = np.einsum("nm,nm->n", centre, centre)
            along[rows] = np.einsum("nm,nm->n", centre, x)
            spread[rows] = x.std(axis=1)
            let_go(layout.signals)

        for _ in in_order(measure, range(0, layout.records, AT_ONCE)):
            pass
        return slopes(power, along, spread, layout.number[layout.patient] % self._groups)


class AsTheyCome(Centring):
    """No centring: for signals that are centred already, or that would be centred on members."""

    def __init__(self) -> None:
        self.nearby, self.neighbours = None, Told(reason="signals are not centred")

    def apply(self, part: Layout) -> NDArray[np.float32]:
        """Signals of a part as they are."""
        return np.asarray(part.signals, dtype=np.float32)


def centred(layout: Layout) -> NDArray[np.float32]:
    """Signals of a whole layout, centred; see :class:`Centring`."""
    return Centring(layout).apply(layout)


def _median(signals: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if rows.size == 0:
        return np.zeros(signals.shape[1])
    values = np.sort(signals[rows].astype(np.float64), axis=0)
    let_go(signals)
    n = len(values)
    if n > 3 and float(np.mean(values[1:] == values[:-1])) > TIED:
        # The median of a few values jumps between two of them from model to model, and would drown
        # what a patient's own signal says; the mean of the middle half moves smoothly.
        return np.asarray(values[n // 4 : n - n // 4].mean(axis=0))
    return np.asarray((values[(n - 1) // 2] + values[n // 2]) / 2)


def spaced(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of some rows, evenly spaced.

    Parameters
    ----------
    rows : int64 array
    most : int
    """
    if rows.size <= most:
        return rows
    return rows[np.linspace(0, rows.size - 1, most).astype(np.int64)]
