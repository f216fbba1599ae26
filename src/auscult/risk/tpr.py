"""The TPR of each patient at a fixed false positive rate, with bars that no score sets for itself.

A bar put at a score of n OUT models lets fewer of those pass than of fresh ones: of these the k-th
largest lets ``k / (n + 1)`` pass in expectation, whatever the distribution of scores (conformal
prediction, Vovk et al. 2005). So an IN model passes by its rank: with r of the n OUT scores above
it, by ``clip(f (n + 1) - r, 0, 1)``, which is f on average wherever IN and OUT scores are alike,
for every n. A fraction stands for a coin; a tie with OUT scores counts as the mean over the places
it might take.

Such a bar is as uncertain as n scores make it, and because a ROC is concave it finds fewer members
than one at the true rate: 53% for 59% with 20 OUT models and normal scores [simulated]. That bias
falls as 1 / n and is removed by Richardson's extrapolation (the generalised jackknife of Schucany,
Gray & Owen 1971): what bars from all n find, and as much again as they find more than bars from
half of them, over all halves. Both are f where nothing leaks, and so is their combination.

All scores that are compared must come from one rule that saw the membership of none of their
models. Pooled over four folds with weights of their own, scores are dependent through the labels
that the folds' weights share, and a null of 40 models gave 10.9% at 10% [simulated]. So records
weigh the same, which needs no labels and all models are compared; weights are learned, on one half
of the models for the other, only where half of the models resolve the rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from auscult.attacks.joint import (
    DEFAULT_STRENGTH,
    FEWEST_EFFECT,
    _batches,
    _equal_effect,
    _gather,
    _moments,
    _train,
    _weights,
)
from auscult.attacks.layout import Layout

METHOD = (
    "counted: IN models above a threshold that this share of new OUT models exceeds on average "
    "(conformal, extrapolated over the number of OUT models); records have equal weights, or "
    "weights learned on one half of the models for the other where a half resolves the rate"
)
FEWEST_PASSING = 2  # OUT models that are to pass a bar; a rate that fewer would pass is not counted


def tpr_of_patients(
    part: Layout, signals: NDArray[np.floating], rates: tuple[float, ...]
) -> NDArray[np.float64]:
    """Share of each patient's IN models that pass a bar which a given share of OUT models passes.

    Parameters
    ----------
    part : Layout
    signals : float array, shape (records, models)
        Usually centred, in the part's order of rows.
    rates : tuple of float
        Shares of fresh OUT models that pass.

    Returns
    -------
    float64 array, shape (rates, patients)
        NaN where a patient is not estimable or OUT of fewer than 2 / rate models. Right on average;
        a single value may lie a little outside 0 and 1, as an extrapolated one may.
    """
    used = np.ones_like(part.member) if part.used is None else part.used
    outside, inside = ~part.member & used, part.member & used
    number = outside.sum(axis=1)
    result = np.full((len(rates), part.patients), np.nan)
    estimable = part.estimable()
    counted = [estimable & (number >= FEWEST_PASSING / rate - 1e-9) for rate in rates]
    if not np.any(counted):
        return result
    mean = np.add.reduceat(signals.astype(np.float64), part.first) / part.count[:, None]
    for row, found in zip(result, share_passing(mean, outside, inside, rates), strict=True):
        row[:] = found
    # A half holds at least half of the OUT models, less the odd ones that two folds may lack.
    halves = [
        np.flatnonzero(here & (part.count > 1) & (number - 2 >= 2 * FEWEST_PASSING / rate))
        for here, rate in zip(counted, rates, strict=True)
    ]
    largest = max(halves, key=len)
    for patients in _batches(part, largest) if largest.size else []:
        found = _by_learned_weights(part, signals, patients, rates)
        for place, chosen in enumerate(halves):
            here = np.isin(patients, chosen)
            result[place, patients[here]] = found[place, here]
    for row, here in zip(result, counted, strict=True):
        row[~here] = np.nan
    return result


def share_passing(
    scores: NDArray[np.float64],
    outside: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    rates: tuple[float, ...],
) -> NDArray[np.float64]:
    """Share of each row's inside scores that pass, shape (rates, rows); NaN without any.

    Parameters
    ----------
    scores : float64 array, shape (rows, places)
        Made by one rule for each row.
    outside, inside : bool array, shape (rows, places)
        Scores that set the bar, and those that are counted.
    rates : tuple of float
    """
    above, equal = _ranks(np.where(outside | inside, scores, -np.inf), outside)
    number, members = outside.sum(axis=1), inside.sum(axis=1)
    result = np.full((len(rates), len(scores)), np.nan)
    for size in np.unique(number[(number > 0) & (members > 0)]):
        here = np.flatnonzero((number == size) & (members > 0))
        first, last = above[here], above[here] + equal[here]
        for place, rate in enumerate(rates):
            total = np.concatenate([[0.0], np.cumsum(passing(int(size), rate))])
            passed = (total[last + 1] - total[first]) / (last - first + 1)
            result[place, here] = (passed * inside[here]).sum(axis=1) / members[here]
    return result


def _by_learned_weights(
    part: Layout,
    signals: NDArray[np.floating],
    patients: NDArray[np.int64],
    rates: tuple[float, ...],
) -> NDArray[np.float64]:
    """As :func:`share_passing`, with weights of the records from the other half of the models.

    How strongly weights are pulled towards equal ones is not chosen on the models counted here.
    """
    dealt = part.deal()
    x, weight = _gather(part, signals, dealt, patients)
    moments = _moments(x, weight)
    n, folds = len(patients), np.arange(dealt.folds)
    label = np.broadcast_to(np.array([0, 1])[:, None], x.shape[1:3] + x.shape[4:])
    total, members = np.zeros((len(rates), n)), np.zeros(n)
    for held_out in np.array_split(folds, 2):
        training = _train(moments, [int(f) for f in folds if f not in held_out])
        effect = np.maximum(_equal_effect(training), FEWEST_EFFECT)
        weights = _weights(training, [DEFAULT_STRENGTH], effect)[0]
        scores = np.einsum("pk,pfckm->pfcm", weights, x[:, held_out]).reshape(n, -1)
        used = weight[:, held_out, :, 0].reshape(n, -1) > 0
        inside = used & (label[held_out].reshape(-1) == 1)
        number = inside.sum(axis=1)
        total += share_passing(scores, used & ~inside, inside, rates) * number
        members += number
    return total / np.maximum(members, 1)


def passing(n: int, rate: float) -> NDArray[np.float64]:
    """How far a score passes that r of n OUT scores exceed, for each r, shape (n + 1,).

    Parameters
    ----------
    n : int
        OUT scores.
    rate : float
        The mean over r: what passes where IN and OUT scores are alike.
    """
    # Where a half resolves no bar, fewer scores are left out, or none: all scores that no OUT score
    # exceeds must pass under both.
    half = max(n // 2, int(np.ceil(1 / rate - 1e-9)) - 1)
    if half >= n:
        return _by_rank(n, rate)
    # Bias a / n: whole - half's = a (1 / n - 1 / half), so the true value is whole + gain * that.
    gain = (1 / n) / (1 / half - 1 / n)
    # A half has h of the r scores above with hypergeometric probability.
    r, h = np.arange(n + 1)[:, None], np.arange(half + 1)[None, :]
    possible = (h <= r) & (half - h <= n - r)
    log = _log_choose(r, h) + _log_choose(n - r, half - h) - _log_choose(n, half)
    of_half = np.where(possible, np.exp(log), 0.0) @ _by_rank(half, rate)
    whole = _by_rank(n, rate)
    return np.asarray(whole + gain * (whole - of_half))


def _by_rank(n: int, rate: float) -> NDArray[np.float64]:
    return np.clip(rate * (n + 1) - np.arange(n + 1), 0.0, 1.0)


def _log_choose(n: NDArray[np.int64] | int, k: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Log of the binomial coefficient; of no meaning where it is 0."""
    left = np.maximum(np.asarray(n) - k, 0)
    return np.asarray(gammaln(np.asarray(n) + 1.0) - gammaln(np.asarray(k) + 1.0)) - np.asarray(
        gammaln(left + 1.0)
    )


def _ranks(
    scores: NDArray[np.float64], outside: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of OUT scores above each score of a patient, and equal to it.

    Parameters
    ----------
    scores : float64 array, shape (patients, places)
    outside : bool array, shape (patients, places)
    """
    order = np.argsort(-scores, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    passed = np.cumsum(np.take_along_axis(outside, order, axis=1), axis=1, dtype=np.int64)
    new = np.ones(ordered.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    end = np.ones_like(new)
    end[:, :-1] = new[:, 1:]
    # OUT scores before the run of equal ones, and up to its end.
    before = np.maximum.accumulate(
        np.where(new, np.pad(passed, ((0, 0), (1, 0)))[:, :-1], 0), axis=1
    )
    most = int(passed.max(initial=0)) + 1
    upto = np.minimum.accumulate(np.where(end, passed, most)[:, ::-1], axis=1)[:, ::-1]
    above, equal = np.empty_like(passed), np.empty_like(passed)
    np.put_along_axis(above, order, before, axis=1)
    np.put_along_axis(equal, order, upto - before, axis=1)
    return above, equal
