"""Probabilities of a model whose number of members is known add up to that number.

Some models are surer than others about everybody, more than centring takes away: of shadow models
of 400 of 1,000 patients, the mean posterior differed from its share by 0.036 (standard deviation).
Given how many trained a model, each patient's probability is the one that a common shift of all
log-odds gives where they add up. Whom it favours is decided by the answers, not by the list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

STEPS = 60
LARGEST_STEP = 2.0
CLOSE = 1e-9
ENOUGH = 1.0  # variance, in patients, from which a count has a usual deviation


def with_known_total(
    log_odds: NDArray[np.floating], members: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Shift each model's log-odds so that its posteriors add up to its number of members.

    Parameters
    ----------
    log_odds : float array, shape (patients, models)
        At a prior of one half; NaN where there is none.
    members : int array, shape (models,)
        Members among the patients who have one.

    Returns
    -------
    float64 array, shape (patients, models)
        At a prior of one half; a model of all or none of them stays as it is.
    """
    found = np.array(log_odds, dtype=np.float64)
    for model, many in enumerate(np.asarray(members).tolist()):
        column = found[:, model]
        own = column[np.isfinite(column)]
        if 0 < many < own.size:
            column += _shift(own + logit(many / own.size), many)
    return found


def _shift(log_odds: NDArray[np.float64], total: int) -> float:
    """What must be added so that the probabilities have this sum: Newton, in steps of at most 2."""
    shift = 0.0
    for _ in range(STEPS):
        p = expit(log_odds + shift)
        slope = max(float((p * (1 - p)).sum()), 1e-300)
        step = float(np.clip((total - p.sum()) / slope, -LARGEST_STEP, LARGEST_STEP))
        shift += step
        if abs(step) < CLOSE:
            break
    return shift


def variance_of_members(
    p: NDArray[np.float64], rest: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Variance of how many of some patients are members, given everybody's probability.

    Parameters
    ----------
    p : float64 array, shape (patients, ...)
        Of those who are counted; 0 where one is not.
    rest : float64 array, shape (patients, ...), or None
        Of all others, where the number of members among all is known: one more here is one fewer
        there.
    """
    own = (p * (1 - p)).sum(axis=0)
    if rest is None:
        return np.asarray(own)
    theirs = (rest * (1 - rest)).sum(axis=0)
    return np.asarray(own * theirs / np.maximum(own + theirs, 1e-300))


def overdispersion(
    log_odds: NDArray[np.floating], member: NDArray[np.bool_], bar: float, *, total: bool
) -> float:
    """How much farther the members among the named are from their expected number than by chance.

    Ratio of standard deviations, over shadow models in the place of the release, at least 1.

    Parameters
    ----------
    log_odds : float array, shape (patients, models)
        Of shadow models, at a prior of one half; NaN where there is none.
    member : bool array, shape (patients, models)
    bar : float
        Log-odds from which a patient is named.
    total : bool
        Whether each model's number of members is known.
    """
    known = np.isfinite(log_odds)
    named = np.where(known, log_odds, -np.inf) >= bar
    share = (known & member).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    with np.errstate(divide="ignore"):
        p = np.where(known, expit(np.where(known, log_odds, 0.0) + logit(share)), 0.0)
    rest = np.where(named, 0.0, p) if total else None
    p = np.where(named, p, 0.0)
    variance = variance_of_members(p, rest)
    off = p.sum(axis=0) - (named & member).sum(axis=0)
    enough = variance >= ENOUGH
    if not enough.any():
        return 1.0
    return max(1.0, float(np.sqrt((off[enough] ** 2 / variance[enough]).mean())))
