"""A learned last step: what else tells members, with one threshold for everybody.

The calibrated score of the joint attack is a function of one number and of how far a patient's own
models lie apart. Boosted trees over that score, its parts, the number of records, the class, what
the model gives the patient in plain figures, and what similar records of others say, learn where
the score says more or less than it claims. They are fitted on *other patients* under *other
models*, and used only if they put more members above a threshold among patients under those other
models on whom they were not fitted: where nothing is gained nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Centring, Layout
from auscult.attacks.roc import exact_auc
from auscult.base.parallel import in_order, let_go
from auscult.base.randomness import Stage, generator
from auscult.exposure.calibration import EFFECT, SCORE

if TYPE_CHECKING:
    from auscult.exposure.cell import Points

MOST_LEARNED = 50_000  # points that trees are fitted on
FEWEST_LEARNED = 2_000
FEWEST_PATIENTS = 40
ROUNDS, RATE, LEAVES, FEWEST_OF_A_LEAF, PULL = 40, 0.1, 8, 200, 5.0
JUDGED_AT = 0.01  # share of a model's non-members above the threshold that the gain is judged at
FEWEST_ABOVE = 1.0  # of them: where there are fewer, the gain of the AUC is judged
SURE = 2.0  # standard errors, over models, that the gain must exceed
STREAM = "last step"


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """What a model gives to each patient, mean over the records, shape (patients, models).

    Attributes
    ----------
    plain : float32 array
        Signals as they come.
    nearby : float32 array
        What records nearby say of them; zeros where that is not known.
    """

    plain: NDArray[np.float32]
    nearby: NDArray[np.float32]


def levels_of(layout: Layout, centring: Centring) -> Levels:
    """Mean signals of every patient under every model.

    Parameters
    ----------
    layout : Layout
    centring : Centring
    """
    shape = (layout.patients, layout.models)
    plain, nearby = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def measure(place: tuple[slice, slice, Layout]) -> None:
        here, _, part = place
        number = part.count[:, None]
        plain[here] = np.add.reduceat(part.signals.astype(np.float64), part.first) / number
        let_go(layout.signals)
        if centring.nearby is not None:
            said = centring.nearby[part.order].astype(np.float64)
            nearby[here] = np.add.reduceat(said, part.first) / number
            let_go(centring.nearby)

    for _ in in_order(measure, layout.parts()):
        pass
    return Levels(plain=plain, nearby=nearby)


def improved(
    layout: Layout,
    points: Points,
    orders: NDArray[np.float64],
    levels: Levels,
    seed: int,
) -> NDArray[np.float64]:
    """Orders of points, by trees for each half of the models where these tell members better.

    Parameters
    ----------
    layout : Layout
    points : Points
        Scores of its patients under its models.
    orders : float64 array, shape (2, points)
        Calibrated scores of all points: by what was learned for the judgement of each half of the
        models, on the other half. NaN where nothing could be learned.
    levels : Levels
    seed : int
        The audit's seed.

    Returns
    -------
    float64 array, shape (points,)
        Of each point, by what was learned for its half.
    """
    result = np.take_along_axis(orders, points.half[None], axis=0)[0]
    known = np.isfinite(orders).all(axis=0)
    if layout.patients < FEWEST_PATIENTS or known.sum() < FEWEST_LEARNED:
        return np.asarray(result)
    shuffled = generator(seed, Stage.EXPOSURE, STREAM).permutation(layout.patients)
    patients = (shuffled % 2)[points.patient]
    common = _features(layout, points, levels)
    found = np.full(orders.shape, np.nan)
    tasks = [(side, half) for side in (0, 1) for half in (0, 1)]

    def say(trees: Any, side: int, rows: NDArray[np.int64]) -> None:  # noqa: ANN401
        found[side, rows] = trees.decision_function(_with(common, orders[side], rows))

    def learn(task: tuple[int, int]) -> Any:  # noqa: ANN401
        side, half = task
        elsewhere = known & (points.half != side)
        learned = np.flatnonzero(elsewhere & (patients != half))
        learned = learned[:: max(1, -(-learned.size // MOST_LEARNED))]
        member = points.member[learned]
        if member.all() or not member.any():
            return None
        trees = _trees().fit(_with(common, orders[side], learned), member)
        say(trees, side, np.flatnonzero(elsewhere & (patients == half)))
        return trees

    # Fits at once would leave the caller's filters of warnings changed, or none at all.
    learned = dict(zip(tasks, in_order(learn, tasks, apart=True), strict=True))
    gains = [
        _gains(
            points,
            np.flatnonzero(np.isfinite(found[side]) & (points.half != side)),
            found[side],
            orders[side],
        )
        for side in (0, 1)
    ]

    # What is not used is not asked for.
    def use(task: tuple[int, int]) -> None:
        side, half = task
        rows = np.flatnonzero(known & (points.half == side) & (patients == half))
        say(learned[task], side, rows)
        result[rows] = found[side, rows]

    wanted = [one for one in tasks if gains[one[0]] and learned[one] is not None]
    for _ in in_order(use, wanted, apart=True):
        pass
    return np.asarray(result)


def _with(
    common: NDArray[np.float64], order: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Features of some points, the calibrated score last."""
    found = np.empty((rows.size, common.shape[1] + 1))
    found[:, :-1], found[:, -1] = common[rows], order[rows]
    return found


def _features(layout: Layout, points: Points, levels: Levels) -> NDArray[np.float64]:
    """What trees see besides the calibrated score, shape (points, 7)."""
    score, effect = points.terms[:, SCORE], points.terms[:, EFFECT]
    number = np.log(layout.count)
    truth = np.add.reduceat(layout.stratum.astype(np.float64), layout.first) / layout.count
    place = (points.patient, points.model)
    return np.column_stack(
        [
            score,
            effect,
            score * effect,
            number[points.patient],
            truth[points.patient],
            levels.plain[place],
            levels.nearby[place],
        ]
    )


def _trees() -> Any:  # noqa: ANN401
    # Here, because it takes longer to import than small analyses take.
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=FEWEST_OF_A_LEAF,
        l2_regularization=PULL,
        early_stopping=False,
        random_state=0,
    )


def _gains(
    points: Points, spared: NDArray[np.int64], after: NDArray[Any], before: NDArray[Any]
) -> bool:
    """Whether more members are found, surely, of patients and models that took no part."""
    gain = np.array([pair[0] - pair[1] for pair in _rates(points, spared, after, before)])
    if gain.size < 2:
        return False
    return bool(gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(gain.size))


def _rates(
    points: Points, spared: NDArray[np.int64], after: NDArray[Any], before: NDArray[Any]
) -> Iterator[tuple[float, float]]:
    """Share of members found in each model after and before, or AUC where others are too few."""
    ordered = spared[np.argsort(points.model[spared], kind="stable")]
    cuts = np.flatnonzero(np.diff(points.model[ordered])) + 1
    for mine in np.split(ordered, cuts):
        member = points.member[mine]
        if member.all() or not member.any():
            continue
        both = []
        for order in (after[mine], before[mine]):
            inside, outside = order[member], order[~member]
            if JUDGED_AT * outside.size < FEWEST_ABOVE:
                both.append(exact_auc(inside, outside))
            else:
                bar = np.quantile(outside, 1 - JUDGED_AT)
                both.append(float((inside > bar).mean()))
        yield both[0], both[1]
