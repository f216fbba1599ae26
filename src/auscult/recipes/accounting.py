"""What differentially private training promises, from the mechanism that it ran.

The mechanism is the Poisson-sampled Gaussian: each step takes every unit (a record or a patient)
with probability `rate`, clips its gradient to `clip` and adds normal noise of deviation ``noise *
clip`` to the sum. Its privacy loss distribution over all steps (dp-accounting) gives epsilon, and
the whole trade-off between an attacker's two errors, which says far more than one epsilon.

The neighbouring relation is add/remove: the model with the unit against the model without it. That
is the membership game itself. Each model is a mechanism of its own: the guarantee is about somebody
who sees one model. Somebody who sees all models of an audit sees as many releases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from auscult.base.errors import ConfigError, RecipeError

ACCOUNTANT = "PLD"
RELATION = "add/remove"
LEAST_NOISE = 0.1
MOST_EPSILON = 300.0  # beyond, its exponential is no number
MOST_NOISE = 1e4
NOISE_DIGITS = 4
GRID = 4001
REPORTED_FPR = 1e-3


def epsilon_for(noise: float, *, rate: float, steps: int, delta: float, records: int = 1) -> float:
    """Epsilon of a training run at `delta`.

    Parameters
    ----------
    noise : float
        Noise multiplier: the deviation of the noise in units of the clipping norm. 0 is no
        protection.
    rate : float
        Probability with which a step takes a unit.
    steps : int
        Of the whole training.
    delta : float
    records : int
        Units that enter and leave together; see :func:`for_patient`.
    """
    if noise == 0:
        return math.inf
    found = _distribution(noise, rate, steps, records, fine=records == 1)
    return float(found.get_epsilon_for_delta(delta))


def noise_for(epsilon: float, *, rate: float, steps: int, delta: float) -> float:
    """Least noise multiplier whose epsilon is no more than asked for, rounded up to 4 digits.

    Parameters
    ----------
    epsilon : float
    rate : float
        Probability with which a unit is taken into a step.
    steps : int
    delta : float

    Raises
    ------
    ConfigError
        No noise multiplier gives it.
    """
    if math.isinf(epsilon):
        return 0.0

    from scipy.optimize import brentq

    def excess(log_noise: float) -> float:
        found = _distribution(math.exp(log_noise), rate, steps, 1, fine=False)
        return float(found.get_epsilon_for_delta(delta)) - epsilon

    low = high = 0.0
    if excess(0.0) > 0:
        while excess(high) > 0:
            low, high = high, high + 1.0
            if high > math.log(MOST_NOISE):
                raise ConfigError(
                    f"no noise multiplier up to {MOST_NOISE:g} gives epsilon {epsilon:g}",
                    where="recipe.dp.epsilon",
                    expected="a larger epsilon, or fewer epochs",
                )
    else:
        while excess(low) <= 0:
            low, high = low - 0.5, low
            if low < math.log(LEAST_NOISE):
                raise ConfigError(
                    f"epsilon {epsilon:g} needs a noise multiplier under {LEAST_NOISE:g}, which "
                    "protects nobody",
                    where="recipe.dp.epsilon",
                    expected='a smaller epsilon, or "inf" for none',
                )
    noise = _rounded_up(math.exp(brentq(excess, low, high, xtol=1e-5)))
    while epsilon_for(noise, rate=rate, steps=steps, delta=delta) > epsilon:
        noise = _rounded_up(noise * (1 + 10.0**-NOISE_DIGITS))
    return noise


def _rounded_up(value: float) -> float:
    scale = 10.0 ** (NOISE_DIGITS - 1 - math.floor(math.log10(value)))
    return math.ceil(value * scale) / scale


def trade_off(dp: Mapping[str, Any], alphas: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Least false negative rate of any attack with these false positive rates.

    ``f(alpha) = sup over eps >= 0 of max(0, 1 - delta(eps) - e^eps alpha, e^-eps (1 - delta(eps) -
    alpha))`` (Dong, Roth & Su 2022; Kulynych et al. 2024), where delta(eps) is the larger of the
    two directions of the relation, adding and removing: it holds for an attack that looks for
    members and for one that looks for non-members. A supremum of lines: convex as it is.

    Parameters
    ----------
    dp : mapping
        `noise`, `rate` and `steps` of the mechanism; `records` where several units go together.
    alphas : float array

    Returns
    -------
    float64 array, shape of `alphas`
        0 where nothing is promised.
    """
    alpha = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if float(dp["noise"]) == 0:
        return np.zeros_like(alpha)
    epsilon, delta = _profile(*_mechanism(dp))
    least = np.zeros_like(alpha)
    for start in range(0, alpha.size, 256):
        a = alpha[start : start + 256, None]
        lines = np.maximum(
            1 - delta - np.exp(np.minimum(epsilon, 700.0)) * a, np.exp(-epsilon) * (1 - delta - a)
        )
        least[start : start + 256] = np.maximum(lines.max(axis=1), 0.0)
    return least


def tpr_bound(dp: Mapping[str, Any], fpr: float) -> float:
    """Largest true positive rate of any attack at a false positive rate."""
    return 1.0 - float(trade_off(dp, fpr)[0])


def auc_bound(dp: Mapping[str, Any]) -> float:
    """Largest AUC of any attack: the area over the trade-off curve.

    The curve falls, so the right end of each step of a grid is its least value there: their sum is
    never too high, and too low by less than 2e-4.
    """
    if float(dp["noise"]) == 0:
        return 1.0
    grid = np.unique(np.concatenate([np.geomspace(1e-9, 1.0, 500), np.linspace(0.0, 1.0, GRID)]))
    return 1.0 - float((trade_off(dp, grid)[1:] * np.diff(grid)).sum())


def ppv_bound(dp: Mapping[str, Any], prior: float, fpr: float = REPORTED_FPR) -> float:
    """Largest share of true members among those whom an attack names at a false positive rate.

    At vanishing false positive rates a delta above 0 promises nothing, so the rate is part of the
    question.

    Parameters
    ----------
    dp : mapping
    prior : float
        Share of members in the population.
    fpr : float
    """
    named = prior * tpr_bound(dp, fpr)
    return named / (named + (1 - prior) * fpr)


def for_patient(dp: Mapping[str, Any], records: int) -> dict[str, Any]:
    """What a record-level guarantee says of a patient who owns several records.

    All records of the patient enter or leave together. Each is sampled on its own, so a step holds
    a binomial number of them, each adding at most `clip`: the pair that dominates is a mixture of
    Gaussians, shifted by 0, 1, ..., `records` with binomial weights, against the one without shift
    (Ganesh 2024, tight group-level guarantees). Far tighter than ``records * epsilon``.

    Parameters
    ----------
    dp : mapping
        A guarantee at record level, or at patient level, which is returned as it is.
    records : int

    Returns
    -------
    dict
        The guarantee with `unit` "patient", `records`, and the epsilon at the same delta.
    """
    if dp["unit"] == "patient":
        return dict(dp) | {"records": 1}
    found = dict(dp) | {"unit": "patient", "records": records, "translated": True}
    epsilon = epsilon_for(
        float(dp["noise"]),
        rate=float(dp["rate"]),
        steps=int(dp["steps"]),
        delta=float(dp["delta"]),
        records=records,
    )
    return found | {"epsilon": "inf" if math.isinf(epsilon) else epsilon}


def delta_of_pair(dp: Mapping[str, Any], epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Delta at each epsilon of two models of which one has the unit and the other has not.

    Exchanging the two is one removal and one addition: their composition.
    """
    found = _distribution(*_mechanism(dp), fine=False)
    both = found._pmf_remove.compose(found._pmf_add)
    return np.asarray(both.get_delta_for_epsilon(epsilons), dtype=np.float64)


def _mechanism(dp: Mapping[str, Any]) -> tuple[float, float, int, int]:
    return float(dp["noise"]), float(dp["rate"]), int(dp["steps"]), int(dp.get("records", 1))


@lru_cache(maxsize=32)
def _profile(
    noise: float, rate: float, steps: int, records: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epsilons from 0 on, and the larger delta of both directions at each."""
    found = _distribution(noise, rate, steps, records, fine=False)
    largest = max(float(found.get_epsilon_for_delta(1e-15)), 1e-3)
    if math.isinf(largest):
        largest = max(float(found.get_epsilon_for_delta(1e-9)), 1e-3)
    epsilon = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 400)]) * min(largest, MOST_EPSILON)
    return epsilon, np.asarray(found.get_delta_for_epsilon(epsilon), dtype=np.float64)


@lru_cache(maxsize=64)
def _distribution(noise: float, rate: float, steps: int, records: int, *, fine: bool) -> Any:  # noqa: ANN401
    """Privacy loss distribution of all steps; pessimistic, so every bound from it holds."""
    try:
        from dp_accounting.pld import privacy_loss_distribution as pld
    except ImportError as error:
        raise RecipeError(
            "dp-accounting is not installed",
            where="recipe.dp",
            next_step='Install it: pip install "auscult[dp]" -c constraints.txt',
        ) from error
    # Losses grow as the noise falls; so may the steps in which they are counted.
    interval = (1e-4 if fine else 1e-3) * max(1.0, (0.6 / noise) ** 2)
    if records == 1:
        one = pld.from_gaussian_mechanism(
            noise, sampling_prob=rate, value_discretization_interval=interval
        )
    else:
        weights = _binomial(records, rate)
        one = pld.from_mixture_gaussian_mechanism(
            noise,
            list(range(len(weights))),
            list(weights),
            value_discretization_interval=max(interval, 1e-3 * records),
        )
    return one if steps == 1 else one.self_compose(steps)


def _binomial(number: int, rate: float) -> NDArray[np.float64]:
    """Weights of 0 to `number` sampled records; what is rarer than 1e-15 counts as the last."""
    if rate >= 1:
        return np.concatenate([np.zeros(number), [1.0]])
    k = np.arange(number + 1)
    log = gammaln(number + 1) - gammaln(k + 1) - gammaln(number - k + 1)
    weights = np.exp(log + k * math.log(rate) + (number - k) * math.log1p(-rate))
    weights = weights / weights.sum()
    kept: NDArray[np.float64] = weights
    return kept
