"""From log-likelihood ratios to probabilities that mean what they say, and the proof of it.

The map is the observed share of members among shadow models that played the release: monotone,
fitted on pairs of a patient and a model, and evaluated on the models of the other folds. It never
claims more than was counted: beyond its last block it is flat. The attack is one number here, so
nothing has to order the pairs first, as the regression of a deployment's cells does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from auscult.risk.reliability import BINS, bin_of, monotone_log_odds

PAIRS_PER_BLOCK = 100
MOST_BLOCKS = 400
REPLICATES = 200
MOST_UNITS = 2000

METHOD = (
    "Each shadow model in turn takes the place of the release, scored by an attack fitted on the "
    "models of other folds; ratio to probability by monotone regression, fitted on three folds of "
    "models and evaluated on the fourth. Expected calibration error over ten bins of equal width; "
    "95% intervals by bootstrap over patients."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibrator:
    """Monotone map from ratios to log-odds at a prior of one half.

    Attributes
    ----------
    ratio, log_odds : float64 array, shape (blocks,)
    """

    ratio: NDArray[np.float64]
    log_odds: NDArray[np.float64]

    def __call__(self, ratios: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-odds of membership at a prior of one half; NaN stays NaN."""
        x = np.asarray(ratios, dtype=np.float64)
        found = np.interp(x, self.ratio, self.log_odds)
        return np.asarray(np.where(np.isnan(x), np.nan, found))


def fit_calibrator(ratios: NDArray[np.floating], member: NDArray[np.bool_]) -> Calibrator:
    """Fit on pairs.

    Parameters
    ----------
    ratios : float array, shape (pairs,)
    member : bool array, shape (pairs,)
    """
    order = np.argsort(ratios, kind="stable")
    x, y = ratios[order].astype(np.float64), member[order].astype(np.float64)
    blocks = int(np.clip(x.size // PAIRS_PER_BLOCK, 1, MOST_BLOCKS))
    edges = np.linspace(0, x.size, blocks + 1).astype(np.int64)[:-1]
    # Equal ratios belong together: a block starts where a value starts.
    edges = np.unique(np.searchsorted(x, x[edges], side="left"))
    count = np.diff(np.append(edges, x.size)).astype(np.float64)
    total, inside = np.add.reduceat(x, edges), np.add.reduceat(y, edges)
    ratio, log_odds = monotone_log_odds(inside, count, total)
    return Calibrator(ratio=ratio, log_odds=log_odds - _odds_of(member))


def _odds_of(member: NDArray[np.bool_]) -> float:
    """Log-odds of the share of members among pairs: what was known before any was looked at."""
    share = float(member.mean()) if member.size else 0.5
    return 0.0 if share in (0.0, 0.5, 1.0) else float(logit(share))


def held_out_log_odds(
    ratios: NDArray[np.floating], member: NDArray[np.bool_], fold: NDArray[np.int8]
) -> NDArray[np.float64]:
    """Calibrated log-odds of every pair, by a map fitted on the other folds, shape of `ratios`.

    Parameters
    ----------
    ratios : float array, shape (patients, models)
        NaN where there is none.
    member : bool array, shape (patients, models)
    fold : int8 array, shape (patients, models)
        Fold of each pair.
    """
    found = np.full(ratios.shape, np.nan)
    known = np.isfinite(ratios)
    for number in np.unique(fold):
        here = known & (fold == number)
        rest = known & (fold != number)
        if here.any() and rest.any():
            found[here] = fit_calibrator(ratios[rest], member[rest])(ratios[here])
    return found


def reliability(
    log_odds: NDArray[np.float64], member: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, Any]:
    """Reliability curve, Brier score and expected calibration error of pairs.

    At the share of members among the pairs as the prior, which is one half by default.

    Parameters
    ----------
    log_odds : float64 array, shape (patients, models)
        NaN where a patient is not estimable.
    member : bool array, shape (patients, models)
    rng : Generator

    Returns
    -------
    dict
        "pairs", "brier", "ece" (estimate, low, high; "null" is what counting noise alone would
        give), "bins" and "method".
    """
    known = np.isfinite(log_odds)
    prior = _odds_of(member[known])
    p = expit(log_odds + prior)
    # The same error and score as of a deployment's cells, from a table of patients by bins, so that
    # a bootstrap over patients is one product.
    bins = bin_of(np.nan_to_num(p))
    patients = p.shape[0]
    units = min(patients, MOST_UNITS)
    key = (np.arange(patients) % units)[:, None] * BINS + bins
    table = np.zeros((units, BINS, 5))
    q = np.where(known, p, 0.0)
    y = member & known
    for place, values in enumerate((known, q, y, np.where(known, (q - y) ** 2, 0.0), q * (1 - q))):
        weights = np.asarray(values, dtype=np.float64).ravel()
        table[:, :, place] = np.bincount(
            key.ravel(), weights=weights, minlength=units * BINS
        ).reshape(units, BINS)
    draws = rng.multinomial(units, np.full(units, 1 / units), REPLICATES).astype(np.float64)
    again = np.tensordot(draws, table, axes=(1, 0))
    whole = table.sum(axis=0)
    number, brier, ece = _figures(whole[None])
    _, briers, eces = _figures(again)
    observed = again[:, :, 2] / np.maximum(again[:, :, 0], 1)
    rows = []
    for b in range(BINS):
        n = whole[b, 0]
        row: dict[str, Any] = {"from": b / BINS, "to": (b + 1) / BINS, "pairs": int(n)}
        if n:
            low, high = np.quantile(observed[:, b], [0.025, 0.975])
            row |= {
                "posterior": float(whole[b, 1] / n),
                "observed": float(whole[b, 2] / n),
                "low": float(low),
                "high": float(high),
            }
        rows.append(row)
    noise = np.sqrt(2 / np.pi * whole[:, 4]).sum() / max(float(number[0]), 1.0)
    return {
        "pairs": int(number[0]),
        "brier": _interval(float(brier[0]), briers)
        | {"uninformed": 0.25 if prior == 0.0 else float(expit(prior) * expit(-prior))},
        "ece": _interval(float(ece[0]), eces) | {"null": float(noise)},
        "bins": rows,
        "method": METHOD,
    }


def _figures(
    table: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pairs, Brier score and calibration error of replicates, from (replicates, bins, 5)."""
    number = np.maximum(table[:, :, 0].sum(axis=1), 1)
    brier = table[:, :, 3].sum(axis=1) / number
    ece = np.abs(table[:, :, 1] - table[:, :, 2]).sum(axis=1) / number
    return number, brier, ece


def _interval(estimate: float, draws: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "estimate": estimate,
        "low": min(float(low), estimate),
        "high": max(float(high), estimate),
    }
