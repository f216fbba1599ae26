"""A lower bound for epsilon from what an attack achieved on the audit's own models.

The game: take two models of which one holds the patient and the other does not, and tell which.
Membership is balanced, so the answer is a fair coin, whatever is known of everybody else and of the
patient's other pairs. A mechanism that is (eps, delta)-private for one model is (2 eps, (1 + e^eps)
delta)-private for the exchange of the two: no guess is right with odds above ``e^(2 eps)`` to 1, up
to delta.

Patients share their models, so their guesses are not independent and a binomial over pooled
true and false positive rates would be too sure of itself. The number of right guesses is bounded
all the same: each coin is fair given all the coins before it, so whatever the models have in common
the number of right guesses among r is stochastically no larger than a binomial, plus a term for
delta (Steinke, Nasr & Jagielski 2023, Theorem 5.2, with pairs of models in place of examples).
That is exact for any number of patients and models.

Nothing is learned from the coins that are guessed: half of each patient's pairs are revealed and
tell how far the patient's signals move; the other half are guessed. Thresholds on the certainty of
a guess are few and fixed in advance, and all of them share the error (Bonferroni). The bound is
the largest epsilon that Clopper and Pearson's test still rejects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, betaincinv, gammaln

from auscult.attacks.layout import Centring, Layout, take_patients
from auscult.base.randomness import Stage, generator
from auscult.recipes.accounting import delta_of_pair

LEVEL = 0.95
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FEWEST_PAIRS = 4
WORST = 20
LARGEST = 40.0
PAIR_EPSILONS = tuple(float(e) for e in np.geomspace(0.05, 30.0, 48))
METHOD = (
    "Pairs of models, one with the patient and one without; half of the pairs show how far the "
    "patient's signals move, the others are guessed, the most certain first. The number of right "
    "guesses is at most binomial, whatever the models share (Steinke, Nasr & Jagielski 2023); "
    "Clopper-Pearson, corrected for {thresholds} thresholds."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Guesses:
    """Which pairs were guessed right, the surest first.

    Attributes
    ----------
    right : float64 array, shape (guesses,)
        1 right, 0 wrong, 0.5 where the signals do not differ.
    patient : int64 array, shape (guesses,)
        Row of the patient in the layout.
    coins : int
        Pairs that could have been guessed.
    """

    right: NDArray[np.float64]
    patient: NDArray[np.int64]
    coins: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """A patient's signals in pairs of models, shape (patients, pairs, 2): without and with it."""

    shown: NDArray[np.float64]
    guessed: NDArray[np.float64]


def empirical_epsilon(layout: Layout, dp: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Lower bound for epsilon, beside what the accountant promised.

    Parameters
    ----------
    layout : Layout
        Signals of all models on all records, and membership.
    dp : mapping
        The guarantee: facts["dp"] of the run. Its unit must be the patient for the comparison to
        be of the same unit; for a guarantee at record level, patients with one record are taken.
    seed : int
        The audit's seed: it pairs the models.

    Returns
    -------
    dict
        `epsilon` (lower bound at the guarantee's delta), `epsilon_if_gaussian` (the same if the
        trade-off has a Gaussian's shape, which uses all that is known of it), `promised`, `p`
        (of the promise being kept, from its own trade-off), `defect` (whether it is rejected),
        `guesses`, `right`, `patients`, `pairs`, `method`, `worst` (per patient). Or `reason`.
    """
    unit = str(dp["unit"])
    alone = layout.count == 1
    chosen = np.flatnonzero(alone) if unit == "record" else np.arange(layout.patients)
    pairs = int(layout.member[chosen].sum(axis=1).min(initial=layout.models))
    pairs = min(pairs, layout.models - int(layout.member[chosen].sum(axis=1).max(initial=0)))
    base = {"unit": unit, "delta": float(dp["delta"]), "promised": dp["epsilon"], "level": LEVEL}
    if chosen.size == 0 or pairs < FEWEST_PAIRS:
        what = "no patient has a single record" if chosen.size == 0 else f"{pairs} pairs of models"
        return base | {"epsilon": None, "reason": f"not estimable: {what}"}
    both = _pairs(layout.member[chosen], pairs, generator(seed, Stage.EMPIRICAL_PAIRS))
    found = _paired(_scores(layout, chosen, both), both)
    guesses = _guess(found)
    delta = float(dp["delta"])
    result = base | {
        "patients": int(chosen.size),
        "pairs": int(guesses.coins),
        "method": METHOD.format(thresholds=len(SHARES)),
        **_pooled(guesses, delta),
        "worst": _worst(found, delta),
    }
    p = promise_kept(guesses, dp)
    return result | {"p": p, "defect": p < 1 - LEVEL}


def _pairs(member: NDArray[np.bool_], pairs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random pairs of a model without the patient and one with it, shape (patients, pairs, 2)."""
    keys = rng.random(member.shape)
    outside = np.argsort(np.where(member, 2.0, keys), axis=1)[:, :pairs]
    inside = np.argsort(np.where(member, keys, 2.0), axis=1)[:, :pairs]
    return np.stack([outside, inside], axis=2)


def _scores(
    layout: Layout, patients: NDArray[np.int64], pairs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean centred signal of each patient in each model.

    How records nearby are used is chosen by the membership in shown pairs only, so that nothing
    here depends on a coin that is to be guessed.
    """
    used = np.ones(layout.member.shape, dtype=bool)
    guessed = pairs[:, pairs.shape[1] // 2 :].reshape(len(pairs), -1)
    used[patients[:, None], guessed] = False
    part, _ = take_patients(layout, patients)
    signals = Centring(replace(layout, used=used)).apply(part).astype(np.float64)
    return np.asarray(np.add.reduceat(signals, part.first) / part.count[:, None])


def _paired(scores: NDArray[np.float64], pairs: NDArray[np.int64]) -> _Pairs:
    """Scores of the pairs; the first half are shown."""
    rows = np.arange(len(pairs))[:, None, None]
    both, half = scores[rows, pairs], pairs.shape[1] // 2
    return _Pairs(shown=both[:, :half], guessed=both[:, half:])


def _guess(found: _Pairs) -> Guesses:
    """Guess every pair, surest first: by the log-likelihood ratio that the shown pairs suggest.

    With differences normal around +-m with variance v, it is ``2 m x / v``. The mean is shrunk by
    what its own error makes of it over all patients; its sign stays, for a model may well give a
    member less.
    """
    shown, guessed = (pair[:, :, 1] - pair[:, :, 0] for pair in (found.shown, found.guessed))
    number = shown.shape[1]
    mean = shown.mean(axis=1)
    variance = (shown**2).mean(axis=1) - mean**2
    # A few pairs tell a variance badly: half of it is everybody's.
    variance = (number * variance + number * np.median(variance)) / (2 * number)
    variance = np.maximum(variance, 1e-12 * max(float(np.median(shown**2)), 1e-300))
    effect = mean / np.sqrt(variance)
    spread = max(float((effect**2).mean()) - 1 / number, 1e-6)
    shrunk = effect * spread / (spread + 1 / number)
    sure = 2 * shrunk[:, None] * guessed / np.sqrt(variance)[:, None]
    patient = np.broadcast_to(np.arange(len(sure))[:, None], sure.shape)
    flat, owner = sure.ravel(), patient.ravel()
    order = np.argsort(-np.abs(flat), kind="stable")
    right = np.where(flat > 0, 1.0, np.where(flat < 0, 0.0, 0.5))
    return Guesses(right=right[order], patient=owner[order], coins=int(flat.size))


def _pooled(guesses: Guesses, delta: float) -> dict[str, Any]:
    """The bound over all patients, from the best of the thresholds."""
    level = (1 - LEVEL) / len(SHARES)
    best: dict[str, Any] = {"epsilon": 0.0, "epsilon_if_gaussian": 0.0, "guesses": 0, "right": 0}
    gaussian = 0.0
    for number, right in _counts(guesses):

        def p_private(epsilon: float, number: int = number, right: int = right) -> float:
            pair = (1 + math.exp(min(epsilon, 300.0))) * delta
            return p_of_guesses(number, right, guesses.coins, 2 * epsilon, min(pair, 1.0))

        def p_gaussian(mu: float, number: int = number, right: int = right) -> float:
            grid = np.asarray(PAIR_EPSILONS)
            allowed = gaussian_delta(math.sqrt(2) * mu, grid)
            return _least(number, right, guesses.coins, grid, allowed)

        epsilon = largest_rejected(p_private, level, best["epsilon"])
        if epsilon > best["epsilon"]:
            best |= {"epsilon": epsilon, "guesses": number, "right": right}
        gaussian = largest_rejected(p_gaussian, level, gaussian)
    best["epsilon_if_gaussian"] = gaussian_epsilon(gaussian, delta)
    return best


def _counts(guesses: Guesses) -> list[tuple[int, int]]:
    """Guesses and right ones at each threshold; undecided ones count as wrong, which is safe."""
    numbers = sorted({max(1, round(share * guesses.coins)) for share in SHARES})
    right = np.cumsum(guesses.right == 1.0)
    return [(n, int(right[n - 1])) for n in numbers]


def promise_kept(guesses: Guesses, dp: Mapping[str, Any]) -> float:
    """p-value of the guarantee: how likely so many right guesses are if it holds.

    Every epsilon has its delta on the promised trade-off of a pair, and every one of them bounds
    the same probability: the least bound is valid without correction.
    """
    if float(dp["noise"]) == 0:
        return 1.0
    grid = np.asarray(PAIR_EPSILONS)
    allowed = delta_of_pair(dp, grid)
    least = min(_least(n, r, guesses.coins, grid, allowed) for n, r in _counts(guesses))
    return min(1.0, least * len(SHARES))


def _least(
    number: int,
    right: int,
    coins: int,
    epsilons: NDArray[np.float64],
    deltas: NDArray[np.float64],
) -> float:
    return min(
        p_of_guesses(number, right, coins, float(e), float(d))
        for e, d in zip(epsilons, deltas, strict=True)
    )


def p_of_guesses(number: int, right: int, coins: int, epsilon: float, delta: float) -> float:
    """Probability of at least so many right guesses under (epsilon, delta)-privacy, from above.

    Steinke, Nasr & Jagielski 2023, Theorem 5.2: ``P[B >= v] + 2 m delta max_i P[v > B >= v - i] /
    i`` with B binomial over the guesses with success ``1 / (1 + e^-epsilon)``.

    Parameters
    ----------
    number, right : int
        Guesses, and right ones among them.
    coins : int
        Fair coins that could have been guessed.
    epsilon, delta : float
    """
    if right <= 0:
        return 1.0
    chance = 1 / (1 + math.exp(-epsilon))
    tail = float(bdtrc(right - 1, number, chance))
    if delta == 0 or tail >= 1:
        return min(tail, 1.0)
    # Beyond some deviations the sum is 1 and its share per step only falls.
    deviation = math.sqrt(number * chance * (1 - chance))
    steps = min(right, int(abs(right - number * chance) + 10 * deviation) + 50)
    k = np.arange(right - 1, right - 1 - steps, -1)
    log_wrong = -epsilon - math.log1p(math.exp(-epsilon))
    log = gammaln(number + 1) - gammaln(k + 1) - gammaln(number - k + 1)
    log += (number - k) * log_wrong - k * math.log1p(math.exp(-epsilon))
    share = float((np.cumsum(np.exp(log)) / np.arange(1, steps + 1)).max())
    if steps < right:
        share = max(share, 1 / (steps + 1))
    return min(1.0, tail + 2 * coins * delta * share)


def largest_rejected(p: Callable[[float], float], level: float, above: float = 0.0) -> float:
    """Largest value up to which the p-value stays under the level; `above` if it never does.

    Parameters
    ----------
    p : callable
        The p-value at a value; it rises with the value.
    level : float
        Error of the test.
    above : float
        Where the search begins.
    """
    if p(above) > level:
        return above
    low, high = above, max(0.25, 2 * above)
    while p(high) <= level:
        low, high = high, 2 * high
        if high > LARGEST:
            return low
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if p(middle) <= level else (low, middle)
    return low


def gaussian_delta(mu: float, epsilon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Delta of mu-Gaussian privacy at each epsilon (Dong, Roth & Su 2022, Corollary 2.13)."""
    from scipy.special import log_ndtr, ndtr

    if mu == 0:
        return np.zeros_like(epsilon)
    first = ndtr(-epsilon / mu + mu / 2)
    second = np.exp(epsilon + log_ndtr(-epsilon / mu - mu / 2))
    return np.asarray(np.maximum(first - second, 0.0))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon of mu-Gaussian privacy at a delta."""
    if float(gaussian_delta(mu, np.zeros(1))[0]) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while float(gaussian_delta(mu, np.array([high]))[0]) > delta:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        above = float(gaussian_delta(mu, np.array([middle]))[0]) > delta
        low, high = (middle, high) if above else (low, middle)
    return low


def _worst(found: _Pairs, delta: float) -> dict[str, Any]:
    """The patients whom the shown pairs make look worst, each by itself on the other pairs.

    For one patient the models are independent: true and false positives at a threshold, the middle
    of the shown means, are binomial. Both limits share the error with the other patients.
    """
    effect = (found.shown[:, :, 1] - found.shown[:, :, 0]).mean(axis=1)
    effect /= np.maximum(found.shown.std(axis=1).mean(axis=1), 1e-300)
    worst = np.argsort(-np.abs(effect), kind="stable")[:WORST]
    sign = np.where(effect[worst] < 0, -1.0, 1.0)[:, None, None]
    shown, guessed = found.shown[worst] * sign, found.guessed[worst] * sign
    middle = shown.mean(axis=(1, 2))[:, None]
    number = guessed.shape[1]
    level = (1 - LEVEL) / (2 * len(worst))
    hits = (guessed[:, :, 1] > middle).sum(axis=1)
    alarms = (guessed[:, :, 0] > middle).sum(axis=1)
    hit_low = clopper_pearson_low(hits, number, level)
    alarm_high = 1 - clopper_pearson_low(number - alarms, number, level)
    found_epsilon = np.maximum(
        _log_ratio(hit_low - delta, alarm_high), _log_ratio(1 - alarm_high - delta, 1 - hit_low)
    )
    best = float(clopper_pearson_low(np.array([number]), number, level)[0])
    return {
        "patients": len(worst),
        "models": 2 * number,
        "epsilon": max(float(found_epsilon.max()), 0.0),
        "most_possible": max(float(_log_ratio(np.array(best - delta), np.array(1 - best))), 0.0),
        "method": "true and false positives of one patient at a time, Clopper-Pearson, corrected "
        f"for the {len(worst)} patients who looked worst on other models",
    }


def _log_ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(top, 1e-300)) - np.log(np.maximum(bottom, 1e-300)))


def clopper_pearson_low(right: NDArray[np.int64], number: int, level: float) -> NDArray[np.float64]:
    """One-sided lower limit of a share at the given error.

    Parameters
    ----------
    right : int64 array
        Successes.
    number : int
        Trials.
    level : float
        Error, for example 0.05.
    """
    safe = np.maximum(right, 1)
    return np.where(right > 0, betaincinv(safe, number - safe + 1, level), 0.0)
