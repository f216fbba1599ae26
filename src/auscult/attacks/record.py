"""Attacks on single records, every model a target and the models of the other folds its references.

All scores: higher means more likely a member (law 3). The references of a target, for a record, are
the models outside the target's fold of that record's patient, so no target is judged by itself
(law 5) and one pass scores every record under every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, expit, polygamma

from auscult.layout import BYTES_AT_ONCE, Layout
from auscult.progress import Progress

PER_RECORD_VARIANCE_MODELS = 32
GAMMA = 2.0

Scores = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """What the reference models of each target say of each record; class 0 is OUT, class 1 IN.

    Attributes
    ----------
    number, mean, variance : float64 array, shape (records, folds, 2)
        Over the models *outside* the fold.
    """

    number: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordAttack:
    """An attack on records.

    Attributes
    ----------
    name : str
        Key in the summary.
    label : str
        Name for people.
    needs_in : bool
        Whether the attacker trains models with the record inside.
    score : callable
        From a layout to scores, shape (records, models); NaN for patients who are not estimable.
    """

    name: str
    label: str
    needs_in: bool
    score: Callable[[Layout, Progress], Scores]

    def supports(self, models: int) -> str | None:
        """Why this many models cannot carry the attack, or None."""
        least = 8 if self.needs_in else 4
        return None if models >= least else f"{self.label} needs at least {least} models"


def references(values: NDArray[np.float64], weight: NDArray[np.float64]) -> References:
    """Leave-one-fold-out count, mean and variance per class.

    Parameters
    ----------
    values : float64 array, shape (records, folds, 2, places)
    weight : float64 array, shape (records, folds, 2, places)
    """
    shift = values.mean(axis=(1, 2, 3), keepdims=True)
    x = (values - shift) * weight
    count, total, square = weight.sum(axis=3), x.sum(axis=3), (x * x).sum(axis=3)
    number = count.sum(axis=1, keepdims=True) - count
    mean = (total.sum(axis=1, keepdims=True) - total) / np.maximum(number, 1)
    spare = square.sum(axis=1, keepdims=True) - square - number * mean**2
    return References(
        number=number,
        mean=mean + shift[:, :, :, 0],
        variance=np.maximum(spare, 0.0) / np.maximum(number - 1, 1),
    )


def _lira_online(layout: Layout, progress: Progress) -> Scores:
    """Gaussian log-likelihood ratio of IN against OUT, per record (Carlini et al. 2022, eq. 4)."""
    variance_of = _variance_rule(layout)

    def score(x: NDArray[np.float64], ref: References) -> NDArray[np.float64]:
        variance = variance_of(ref)[..., None]
        distance = (x[:, :, None] - ref.mean[..., None]) ** 2 / variance
        log_density = -0.5 * (distance + np.log(variance))
        return np.asarray(log_density[:, :, 1] - log_density[:, :, 0])

    return _by_fold(layout, score, progress)


def _lira_offline(layout: Layout, progress: Progress) -> Scores:
    """How far above the OUT models the signal lies, in their deviations (Carlini et al. 2022)."""
    variance_of = _variance_rule(layout)

    def score(x: NDArray[np.float64], ref: References) -> NDArray[np.float64]:
        return np.asarray((x - ref.mean[:, :, :1]) / np.sqrt(variance_of(ref)[:, :, :1]))

    return _by_fold(layout, score, progress)


def _population(layout: Layout, progress: Progress) -> Scores:
    """The signal itself, no references: what an attacker does who trains nothing."""
    progress.advance(layout.records)
    scores = layout.signals.copy()
    scores[~layout.estimable()[layout.patient]] = np.nan
    return scores


def _rmia_online(layout: Layout, progress: Progress) -> Scores:
    return _rmia(layout, progress, online=True)


def _rmia_offline(layout: Layout, progress: Progress) -> Scores:
    return _rmia(layout, progress, online=False)


RECORD_ATTACKS = (
    RecordAttack(name="lira", label="LiRA (online)", needs_in=True, score=_lira_online),
    RecordAttack(name="lira_offline", label="LiRA (offline)", needs_in=False, score=_lira_offline),
    RecordAttack(name="rmia", label="RMIA (online)", needs_in=True, score=_rmia_online),
    RecordAttack(name="rmia_offline", label="RMIA (offline)", needs_in=False, score=_rmia_offline),
    RecordAttack(
        name="population", label="Population threshold", needs_in=False, score=_population
    ),
)


def rmia_scores(
    ratio: NDArray[np.float64], population: NDArray[np.float64], gamma: float = GAMMA
) -> NDArray[np.float64]:
    """Exact share of the population that each record dominates (Zarifzadeh et al. 2024, eq. 2).

    A record x dominates z when ``(p(x|t) / p(x)) / (p(z|t) / p(z)) > gamma``. The ratio of z does
    not depend on x: one sort and one binary search per record replace the n x m matrix.

    Parameters
    ----------
    ratio : float64 array, shape (records,)
        ``p(x | target) / p(x)``.
    population : float64 array, shape (m,)
        The same of the population records, all OUT of the target.
    gamma : float
        At least 1.

    Returns
    -------
    float64 array, shape (records,)
    """
    ordered = np.sort(population)
    return np.searchsorted(ordered, ratio / gamma, side="left") / ordered.size


def _rmia(layout: Layout, progress: Progress, *, online: bool) -> Scores:
    """RMIA under every target; the ratios p(x|t)/p(x) first, then one sort per target.

    Online, p(x) is the mean over IN and OUT references. Offline, only OUT references count and the
    IN mean is inferred as ``a p_out + (1 - a)`` (Zarifzadeh et al. 2024, eq. 10); `a` is fitted for
    each target by least squares on what the *other* models say, never on the target's labels.
    """
    means = np.empty((layout.records, layout.folds, 2))
    for rows, values, weight, _ in _gathered(layout):
        means[rows] = references(expit(values), weight).mean
        progress.advance(len(rows) / 3)
    fold = _fold_of_model(layout)
    usable = layout.estimable()[layout.patient]

    def at_targets(rows: NDArray[np.int64], label: int) -> NDArray[np.float64]:
        return np.take_along_axis(means[rows, :, label], fold[layout.patient[rows]], axis=1)

    a = np.ones(layout.models)
    if not online:
        product, square = np.zeros(layout.models), np.zeros(layout.models)
        for rows in _pieces(layout):
            kept = rows[usable[rows]]
            lacking = 1 - at_targets(kept, 0)
            product += ((1 - at_targets(kept, 1)) * lacking).sum(axis=0)
            square += (lacking**2).sum(axis=0)
        a = np.clip(product / np.maximum(square, 1e-300), 0.0, 1.0)

    ratio = np.full(layout.signals.shape, np.nan, dtype=layout.signals.dtype)
    for rows in _pieces(layout):
        out = at_targets(rows, 0)
        inside = at_targets(rows, 1) if online else a * out + (1 - a)
        marginal = np.maximum((inside + out) / 2, np.finfo(np.float64).tiny)
        ratio[rows] = expit(layout.signals[rows].astype(np.float64)) / marginal
        progress.advance(len(rows) / 3)
    member = layout.member
    for model in range(layout.models):
        column = ratio[usable, model].astype(np.float64)
        out_records = ~member[layout.patient[usable], model]
        ratio[usable, model] = rmia_scores(column, column[out_records])
        progress.advance(layout.records / 3 / layout.models)
    ratio[~usable] = np.nan
    return ratio


def _variance_rule(layout: Layout) -> Callable[[References], NDArray[np.float64]]:
    """Per-record variances with many references; with few, shrunk towards a local mean.

    Log variance is regressed on the OUT mean (quadratic) and the prior's degrees of freedom come
    from what the sampling of the log variance does not explain (Smyth 2004, section 6.2, with a
    trend).
    """
    if layout.models >= PER_RECORD_VARIANCE_MODELS:
        return lambda ref: _positive(ref.variance)

    step = max(1, layout.records // 20_000)
    sample = np.arange(0, layout.records, step)
    sample = sample[layout.estimable()[layout.patient[sample]]]
    parts = [(values, weight) for _, values, weight, _ in _gathered(layout, sample)]
    ref = references(np.concatenate([v for v, _ in parts]), np.concatenate([w for _, w in parts]))
    trends, freedoms = [], []
    for label in (0, 1):
        free = np.maximum(ref.number[..., label] - 1, 1).ravel()
        variance = _positive(ref.variance)[..., label].ravel()
        level = ref.mean[..., 0].ravel()
        log_variance = np.log(variance) - digamma(free / 2) + np.log(free / 2)
        scale = (float(level.mean()), float(level.std()) or 1.0)
        terms = _quadratic((level - scale[0]) / scale[1])
        coefficients, *_ = np.linalg.lstsq(terms, log_variance, rcond=None)
        left = np.var(log_variance - terms @ coefficients) - polygamma(1, free / 2).mean()
        freedoms.append(2 * _inverse_trigamma(float(left)) if left > 1e-6 else 1e6)
        trends.append((coefficients, scale))

    def shrink(ref: References) -> NDArray[np.float64]:
        shrunk = np.empty_like(ref.variance)
        for label, ((coefficients, scale), prior) in enumerate(zip(trends, freedoms, strict=True)):
            level = np.clip((ref.mean[..., 0] - scale[0]) / scale[1], -4, 4)
            local = np.exp(_quadratic(level) @ coefficients)
            free = np.maximum(ref.number[..., label] - 1, 1)
            own = ref.variance[..., label]
            shrunk[..., label] = (prior * local + free * own) / (prior + free)
        return _positive(shrunk)

    return shrink


def _positive(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(variance, 1e-12)


def _quadratic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, x * x], axis=-1)


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x


def _by_fold(
    layout: Layout,
    score: Callable[[NDArray[np.float64], References], NDArray[np.float64]],
    progress: Progress,
) -> Scores:
    """Score the models of each fold against the references outside it.

    `score` receives values (records, folds, places of both classes) and the references of each
    fold.
    """
    result = np.full(layout.signals.shape, np.nan, dtype=layout.signals.dtype)
    for rows, values, weight, model in _gathered(layout):
        x = values.reshape(*values.shape[:2], -1)
        scored = score(x, references(values, weight)).reshape(len(rows), -1)
        used = weight.reshape(len(rows), -1) > 0
        row = np.repeat(rows, used.sum(axis=1))
        result[row, model.reshape(len(rows), -1)[used]] = scored[used]
        progress.advance(len(rows))
    result[~layout.estimable()[layout.patient]] = np.nan
    return result


def _fold_of_model(layout: Layout) -> NDArray[np.int64]:
    """Fold of every model for every patient, shape (patients, models)."""
    dealt = layout.deal()
    fold = np.zeros(layout.member.shape, dtype=np.int64)
    numbers = np.broadcast_to(np.arange(dealt.folds)[None, :, None, None], dealt.model.shape)
    used = dealt.weight > 0
    patient = np.broadcast_to(np.arange(layout.patients)[:, None, None, None], dealt.model.shape)
    fold[patient[used], dealt.model[used]] = numbers[used]
    return fold


def _pieces(layout: Layout) -> list[NDArray[np.int64]]:
    step = max(1, BYTES_AT_ONCE // (64 * layout.models))
    return [
        np.arange(start, min(start + step, layout.records))
        for start in range(0, layout.records, step)
    ]


def _gathered(
    layout: Layout, sample: NDArray[np.int64] | None = None
) -> Iterator[
    tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
]:
    """Rows, values, weights and model numbers, piece by piece; see :class:`auscult.layout.Deal`."""
    dealt = layout.deal()
    chosen = np.arange(layout.records) if sample is None else sample
    step = max(1, BYTES_AT_ONCE // (64 * layout.models))
    for start in range(0, len(chosen), step):
        rows = chosen[start : start + step]
        part = dealt.take(layout.patient[rows])
        flat = part.model.reshape(len(rows), -1)
        values = np.take_along_axis(layout.signals[rows], flat, axis=1).astype(np.float64)
        yield rows, values.reshape(part.model.shape), part.weight, part.model
