"""Other patients' records as controls: what a model gives to everybody who resembles a patient.

A model that is kinder than others to some corner of the input space is so to members and others
alike. What it gives a record is therefore predicted from what it gives *other patients'* records
nearby, and only what is left can be the patient's own: kernel ridge regression of the centred
signals on the records' inputs, the same for all models (kriging; Rasmussen & Williams 2006,
chapter 2). It is one linear system with a column for each model, so a model costs hardly more than
the product of a matrix and a vector. Landmarks stand for all records (Nystrom; "projected process",
ibid. section 8.3), which keeps time and memory linear in records.

Nobody's membership is looked at where a patient's signals are predicted: patients are dealt to five
groups by the content of their records, and a group is predicted from the others. With how strong a
ridge, on which scale, and whether at all is chosen by the membership of patients of *another* group
than the one it is used on. Where membership says nothing of the signals it says nothing of what is
left, and a null stays a null.

How much of the prediction is taken away depends on a record's own scale: where its signals hardly
vary (a saturated model) while its neighbours' do, less of it. What leaves the least variance is too
much, though: whoever is a member changes what the model gives to those nearby, so the prediction
holds something of the patient's own, and a model that memorises a record follows its neighbours
less. A multiple of it is chosen along with the ridge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

from auscult.attacks.kernel import Kernel
from auscult.base.parallel import in_order, let_go, scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    from auscult.attacks.layout import Layout
    from auscult.attacks.places import Places

GROUPS = 5
JUDGED = (0, 1)  # groups by whose membership is chosen how the others are predicted
FEWEST_PATIENTS, FEWEST_RECORDS = 40, 100
MOST_LANDMARKS, FEWEST_LANDMARKS = 1500, 512
PRODUCTS = 1e11  # records times squared landmarks: what bounds the time
AT_ONCE = 1024  # records whose likeness to the landmarks is in memory
RIDGES = (0.05, 0.2, 0.6, 2.0)  # variance that neighbours do not share, in units of what they do
AMOUNTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # of what leaves the least variance
NUGGET = 1e-3  # of the landmarks among each other; keeps the system solvable
MOST_KEPT = 1 << 26  # bytes of weights that were solved for
JUDGES = 2048  # records by whose membership the ridge is chosen
SURE = 2.0  # standard errors that the gain must exceed
STEP, MOST_STEPS = 0.25, 40  # of the logarithm of a row's scale
UNKNOWN_ROWS = 2.0
LARGEST_SLOPE = 3.0

NO_INPUTS = "the inputs of the records are not at hand"
FEW = f"fewer than {FEWEST_PATIENTS} patients or {FEWEST_RECORDS} records"
ALIKE = "the inputs of all records are alike"
NOT_LEARNED = "nothing is learned of other patients' membership"
NO_GAIN = "on other patients it told members no better than centring alone"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was done, for the summary.

    Attributes
    ----------
    reason : str
        Why nothing is taken away; empty where something is.
    landmarks : int
    removed : float
        Share of the variance over models that neighbours explain, averaged over records.
    """

    reason: str = ""
    landmarks: int = 0
    removed: float = 0.0

    def summary(self) -> dict[str, Any]:
        """The "neighbours" object of the summary's patients.

        Landmarks are left out: in a small cohort their number is that of the records.
        """
        return {
            "used": not self.reason,
            "reason": self.reason,
            "variance_removed": self.removed,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class _System:
    """What does not depend on signals.

    Attributes
    ----------
    group : int64 array, shape (rows,)
    rows : list of int64 arrays
        Rows of each group.
    landmarks : int64 array
        Rows that stand for all.
    width : float
        Squared distance at which the kernel falls by e.
    among : float64 array, shape (landmarks, landmarks)
        Kernel of the landmarks, with the nugget.
    products : list of float64 array
        Sum over a group's rows of the products of their kernels.
    """

    group: NDArray[np.int64]
    rows: list[NDArray[np.int64]]
    landmarks: NDArray[np.int64]
    width: float
    among: NDArray[np.float64]
    products: list[NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """How a group's signals are predicted: the ridge, and whether records count by their scale.

    And how much of the prediction is taken away, in units of what leaves the least variance.
    """

    ridge: float
    own_scale: bool
    amount: float


def told_by_neighbours(
    layout: Layout, centred: Callable[[NDArray[np.int64]], NDArray[np.floating]]
) -> tuple[NDArray[np.float32] | None, Told]:
    """What other patients' records say of each record's signals.

    Parameters
    ----------
    layout : Layout
        The whole cohort, with the places of its records.
    centred : callable
        Centred signals of some rows of the layout, shape (rows, models).

    Returns
    -------
    float32 array, shape (records of the cohort, models), or None
        To be subtracted from the centred signals; mean zero over models. By record of the cohort
        (`layout.order`), not by row.
    Told
    """
    places = layout.places
    if places is None:
        return None, Told(reason=NO_INPUTS)
    if layout.patients < FEWEST_PATIENTS or layout.records < FEWEST_RECORDS:
        return None, Told(reason=FEW)
    # One item: linear algebra keeps to one thread, and its sums to one order.
    return next(in_order(lambda _: _told(layout, places, centred), (0,)))


def _told(
    layout: Layout,
    places: Places,
    centred: Callable[[NDArray[np.int64]], NDArray[np.floating]],
) -> tuple[NDArray[np.float32] | None, Told]:
    name = (layout.order, layout.patient, layout.stratum)
    system: _System | None = places.once(name, lambda: _system(layout, places))
    if system is None:
        return None, Told(reason=ALIKE)
    kernel = Kernel(layout, places, system.landmarks)
    kernel.width = system.width
    signals = _Signals(layout, centred)
    solved = _Solved(system, _sums(system, kernel, signals))
    choices = _choices(layout, system, kernel, signals, solved)
    if not any(choices):
        return None, Told(reason=NO_GAIN, landmarks=len(system.landmarks))
    told: NDArray[np.float32] = scratch((len(places), layout.models), np.float32)
    told[:] = 0
    power, along = (np.zeros(layout.records) for _ in range(2))

    def predict(place: tuple[NDArray[np.int64], _Choice, NDArray[np.float64]]) -> None:
        rows, choice, weights = place
        found = signals.unscaled(kernel(rows) @ weights, rows, own_scale=choice.own_scale)
        x = signals(rows)
        power[rows] = (found**2).sum(axis=1)
        along[rows] = (found * x).sum(axis=1)
        told[layout.order[rows]] = found
        let_go(told)
        let_go(layout.signals)
        let_go(places.points)

    def work() -> Iterator[tuple[NDArray[np.int64], _Choice, NDArray[np.float64]]]:
        for group, choice in enumerate(choices):
            if choice is not None:
                weights = solved(group, choice.ridge)[choice.own_scale]
                for rows in _pieces(system.rows[group]):
                    yield rows, choice, weights

    for _ in in_order(predict, work()):
        pass
    amount = np.array([0.0 if choice is None else choice.amount for choice in choices])
    slope = amount[system.group] * slopes(power, along, signals.spread, system.group)
    for start in range(0, layout.records, AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, layout.records))
        told[layout.order[rows]] *= slope[rows, None]
    let_go(told)
    total = np.maximum(layout.models * signals.spread**2, 1e-300)
    removed = (2 * slope * along - slope**2 * power) / total
    usable = signals.spread > 0
    share = float(np.mean(removed[usable])) if usable.any() else 0.0
    return told, Told(landmarks=len(system.landmarks), removed=share)


class _Signals:
    """Centred signals of rows less their mean over models, and each row's spread."""

    def __init__(
        self, layout: Layout, centred: Callable[[NDArray[np.int64]], NDArray[np.floating]]
    ) -> None:
        self._centred = centred
        self.models = layout.models
        self.spread = np.empty(layout.records)

        def measure(rows: NDArray[np.int64]) -> None:
            self.spread[rows] = self(rows).std(axis=1)
            let_go(layout.signals)

        for _ in in_order(measure, _pieces(np.arange(layout.records))):
            pass
        varies = self.spread > 0
        self._usual = float(np.median(self.spread[varies])) if varies.any() else 1.0

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        found = self._centred(rows).astype(np.float64)
        return np.asarray(found - found.mean(axis=1, keepdims=True))

    def _unit(self, rows: NDArray[np.int64], own_scale: bool) -> NDArray[np.float64]:
        """What a row's signals are divided by, shape (rows, 1)."""
        if not own_scale:
            return np.full((len(rows), 1), self._usual)
        spread = self.spread[rows][:, None]
        return np.where(spread > 1e-6 * self._usual, spread, np.inf)

    def scaled(self, rows: NDArray[np.int64], own_scale: bool) -> NDArray[np.float64]:
        """Signals in the units in which rows are alike."""
        return self(rows) / self._unit(rows, own_scale)

    def unscaled(
        self, predicted: NDArray[np.float64], rows: NDArray[np.int64], *, own_scale: bool
    ) -> NDArray[np.float64]:
        """A prediction in the row's own units, mean zero over models."""
        unit = self._unit(rows, own_scale)
        found = predicted * np.where(np.isfinite(unit), unit, 0.0)
        return np.asarray(found - found.mean(axis=1, keepdims=True))


def _pieces(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def _system(layout: Layout, places: Places) -> _System | None:
    """Groups, landmarks and products of kernels; None where inputs do not differ."""
    key = places.key[layout.order]
    # By the content of their records: a patient's group does not depend on the order of patients.
    of_patient = np.zeros(layout.patients, dtype=np.uint64)
    np.add.at(of_patient, layout.patient, key)
    group = (((of_patient >> np.uint64(33)) % np.uint64(GROUPS)).astype(np.int64))[layout.patient]
    rows = [np.flatnonzero(group == g) for g in range(GROUPS)]
    if min(map(len, rows)) == 0:
        return None
    most = int(np.clip(np.sqrt(PRODUCTS / layout.records), FEWEST_LANDMARKS, MOST_LANDMARKS))
    _, first = np.unique(key, return_index=True)  # ascending by key: a random order of contents
    landmarks = np.asarray(first[:most], dtype=np.int64)
    kernel = Kernel(layout, places, landmarks)
    between = kernel.distance(landmarks)
    different = layout.patient[landmarks][:, None] != layout.patient[landmarks][None, :]
    width = 2 * float(np.median(between[different])) if different.any() else 0.0
    if width <= 0:
        return None
    kernel.width = width
    among = kernel(landmarks)
    among[np.diag_indices(len(landmarks))] += NUGGET

    def product(piece: NDArray[np.int64]) -> NDArray[np.float64]:
        found = kernel(piece)
        let_go(places.points)
        return np.asarray(found.T @ found)

    products = []
    for mine in rows:
        total = np.zeros_like(among)
        for one in in_order(product, _pieces(mine)):
            total += one
        products.append(total)
    return _System(
        group=group, rows=rows, landmarks=landmarks, width=width, among=among, products=products
    )


def _sums(system: _System, kernel: Kernel, signals: _Signals) -> list[NDArray[np.float64]]:
    """Of each group: sum over its rows of kernels times signals, shape (landmarks, 2 models).

    Signals in one unit for all rows, then in each row's own.
    """

    def product(piece: NDArray[np.int64]) -> NDArray[np.float64]:
        x = np.concatenate([signals.scaled(piece, own_scale=own) for own in (False, True)], axis=1)
        return np.asarray(kernel(piece).T @ x)

    found = []
    for mine in system.rows:
        total = np.zeros((len(system.landmarks), 2 * signals.models))
        for one in in_order(product, _pieces(mine)):
            total += one
        found.append(total)
    return found


class _Solved:
    """Weights of the landmarks from the rows of the groups other than one.

    Two groups are solved with every ridge to choose from, and with one of these again to predict:
    what was found is kept while it is small.
    """

    def __init__(self, system: _System, sums: list[NDArray[np.float64]]) -> None:
        self._system, self._sums = system, sums
        self._kept: dict[tuple[int, float], NDArray[np.float64]] = {}

    def __call__(self, group: int, ridge: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For signals in one unit, and in each row's own, shapes (landmarks, models)."""
        found = self._kept.pop((group, ridge), None)
        if found is None:
            others = [g for g in range(GROUPS) if g != group]
            left = ridge * self._system.among
            for g in others:
                left += self._system.products[g]
            right = np.sum([self._sums[g] for g in others], axis=0)
            factor = cho_factor(left, overwrite_a=True, check_finite=False)
            found = np.asarray(cho_solve(factor, right, overwrite_b=True))
            if group in JUDGED and (len(self._kept) + 1) * found.nbytes <= MOST_KEPT:
                self._kept[group, ridge] = found
        half = found.shape[1] // 2
        return found[:, :half], found[:, half:]


def _choices(
    layout: Layout,
    system: _System,
    kernel: Kernel,
    signals: _Signals,
    solved: _Solved,
) -> list[_Choice | None]:
    """How each group is predicted, by the membership of patients of another group."""
    judged = list(
        in_order(lambda group: _judged(layout, system, kernel, signals, solved, group), JUDGED)
    )
    if None in judged:  # what only one of two groups of patients confirms is left out
        return [None] * GROUPS
    return [judged[1] if group == 0 else judged[0] for group in range(GROUPS)]


def _judged(
    layout: Layout,
    system: _System,
    kernel: Kernel,
    signals: _Signals,
    solved: _Solved,
    group: int,
) -> _Choice | None:
    """The choice that tells this group's members best; None where none is surely better."""
    mine = system.rows[group]
    key = layout.places.key[layout.order[mine]] if layout.places is not None else mine
    rows = np.sort(mine[np.argsort(key, kind="stable")[:JUDGES]])
    x, near = signals(rows), kernel(rows)
    member = layout.member[layout.patient[rows]]
    used = None if layout.used is None else layout.used[layout.patient[rows]]
    sides = _sides(member, used)
    before = _told_apart(x, sides)
    best, most = None, 0.0
    for ridge in RIDGES:
        both = solved(group, ridge)
        for own_scale, weights in ((False, both[0]), (True, both[1])):
            found = signals.unscaled(near @ weights, rows, own_scale=own_scale)
            power, along = (found**2).sum(axis=1), (found * x).sum(axis=1)
            found *= slopes(power, along, signals.spread[rows])[:, None]
            for amount in AMOUNTS:
                gain = _told_apart(x - amount * found, sides) - before
                gain = gain[np.isfinite(gain)]
                if not gain.size:
                    continue
                sure = float(gain.mean()) > SURE * float(gain.std()) / np.sqrt(gain.size)
                if sure and gain.mean() > most:
                    best = _Choice(ridge=ridge, own_scale=own_scale, amount=amount)
                    most = float(gain.mean())
    return best


def _sides(
    member: NDArray[np.bool_], used: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Models that each row is OUT of, then those it is IN, as 1 and 0."""
    sides = (~member, member) if used is None else (~member & used, member & used)
    return sides[0].astype(np.float64), sides[1].astype(np.float64)


def _told_apart(
    x: NDArray[np.float64], sides: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Binormal AUC of each row, shape (rows,); NaN where a class has fewer than two models."""
    number = np.stack([side.sum(axis=1) for side in sides])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.stack([(x * side).sum(axis=1) for side in sides]) / number
        squared = x**2
        square = np.stack([(squared * side).sum(axis=1) for side in sides])
        within = ((square - number * mean**2) / (number - 1)).sum(axis=0)
        d = np.where(within > 0, (mean[1] - mean[0]) / np.sqrt(np.maximum(within, 1e-300)), 0.0)
    return np.where((number >= 2).all(axis=0), ndtr(d), np.nan)


def slopes(
    power: NDArray[np.float64],
    along: NDArray[np.float64],
    spread: NDArray[np.float64],
    group: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """How much of a prediction to take from each row: least squares over rows of like scale.

    Parameters
    ----------
    power, along : float64 array, shape (rows,)
        Sum over models of the squared prediction, and of prediction times signal.
    spread : float64 array, shape (rows,)
        Standard deviation of the signals over models.
    group : int64 array, shape (rows,), optional
        From 0; a row's slope is that of the rows of the other groups.
    """
    usable = np.flatnonzero((power > 0) & (spread > 0))
    slope = np.zeros(len(power))
    if not usable.size:
        return slope
    # Rows whose signals vary little beside what is predicted for them, and those of which little is
    # predicted, are each their own kind: what they have in common is the ratio of the two.
    ratio = 0.5 * np.log(spread[usable] ** 2 / power[usable])
    step = np.clip((ratio - np.median(ratio)) / STEP, -MOST_STEPS, MOST_STEPS)
    place = np.rint(step).astype(np.int64) + MOST_STEPS
    mine = np.zeros(usable.size, dtype=np.int64) if group is None else group[usable]
    groups = int(mine.max()) + 1
    weight = 1 / spread[usable] ** 2
    sums = np.zeros((3, groups, 2 * MOST_STEPS + 1))
    for total, values in zip(sums, (along[usable], power[usable], None), strict=True):
        np.add.at(total, (mine, place), 1.0 if values is None else weight * values)
    if group is not None:
        sums = sums.sum(axis=1, keepdims=True) - sums
    away = np.arange(2 * MOST_STEPS + 1)
    sums = sums @ np.exp(-0.5 * (away[:, None] - away) ** 2)
    top, bottom, number = sums
    # A few rows alone say little: as if there were some more of which nothing is known.
    found = top / np.maximum(bottom * (1 + UNKNOWN_ROWS / np.maximum(number, 1e-12)), 1e-300)
    slope[usable] = np.clip(found, 0.0, LARGEST_SLOPE)[mine, place]
    return slope
