"""What is claimed of shadow models and of the release: log-odds of membership, made to hold.

The worth of a ratio is learned from shadow models that play the release, each scored by an attack
on models of other folds; the release is scored by an attack on all of them, which tells more. Where
patients are OUT of 3 models and a player is judged by 2, much more: posteriors learned from players
then say too little of the release, and more of those whom they name are members than is expected.

How much more shows without any member: the release is scored as players are, too, fold by fold.
What was learned holds of these scores, and they are the scores by all models with noise on top. So
the log-odds by all models are stretched until their posteriors go along with those of the folds as
far as posteriors that hold must: where the folds say the same, the mean of what all models say is
what the folds say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from auscult.release.calibrator import fit_calibrator, held_out_log_odds
from auscult.release.ratios import Ratios
from auscult.release.totals import with_known_total

MOST = 4.0  # times that log-odds are stretched
PATIENTS = 20_000  # of whom the stretch is learned
CLOSE = 1e-6
SOMETHING = 1e-12  # variance of posteriors below which folds say the same of everybody


@dataclass(frozen=True, kw_only=True, eq=False)
class Claims:
    """Log-odds at a prior of one half; NaN where there are none.

    Attributes
    ----------
    shadow : float64 array, shape (patients, models)
        Of shadow models in the place of the release.
    releases : float64 array, shape (patients, releases)
        Of the releases.
    plain : float64 array, shape (patients, releases)
        The same, not stretched.
    like_shadow : float64 array, shape (patients, releases)
        Of the releases where they are scored as shadow models are: what can be set beside these.
    stretch : float64 array, shape (releases,)
        By how much more a release's log-odds vary than they would by what was learned from players.
    """

    shadow: NDArray[np.float64]
    releases: NDArray[np.float64]
    plain: NDArray[np.float64]
    like_shadow: NDArray[np.float64]
    stretch: NDArray[np.float64]

    @property
    def release(self) -> NDArray[np.float64]:
        """Of the first release, shape (patients,)."""
        return self.releases[:, 0]


def claims_of(
    found: Ratios,
    member: NDArray[np.bool_],
    share: float,
    inside: NDArray[np.bool_] | None = None,
) -> Claims:
    """Turn ratios into log-odds.

    Parameters
    ----------
    found : Ratios
    member : bool array, shape (patients, models)
        Of the shadow models.
    share : float
        Of the patients that trained a release, between 0 and 1; of those that trained a shadow
        model where this is not known.
    inside : bool array, shape (patients, releases), optional
        Who trained the releases, where their number is known: log-odds then go with it.
    """
    held = held_out_log_odds(found.shadow, member, found.fold)
    known = np.isfinite(held)
    calibrator = fit_calibrator(found.shadow[known], member[known])
    plain, folds = calibrator(found.releases), calibrator(found.like_shadow)
    weight = np.array([(known & (found.fold == fold)).sum() for fold in range(len(folds))])
    if inside is not None:
        held = with_known_total(held, (known & member).sum(axis=0))
        folds = np.stack([_with_total(one, inside) for one in folds])
    prior = float(logit(share))
    stretch = np.ones(plain.shape[1])
    for one in range(plain.shape[1]):
        stretch[one] = _stretch(
            plain[:, one],
            folds[:, :, one],
            weight / max(1, weight.sum()),
            prior,
            None if inside is None else inside[:, one],
        )
    releases = stretch * plain
    if inside is not None:
        releases, plain = _with_total(releases, inside), _with_total(plain, inside)
    mean = np.einsum("f,fpr->pr", weight / max(1, weight.sum()), expit(folds))
    with np.errstate(divide="ignore"):
        like_shadow = logit(np.where(np.isfinite(plain), mean, np.nan))
    return Claims(
        shadow=held, releases=releases, plain=plain, like_shadow=like_shadow, stretch=stretch
    )


def _with_total(log_odds: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    return with_known_total(log_odds, (inside & np.isfinite(log_odds)).sum(axis=0))


def _stretch(
    plain: NDArray[np.float64],
    folds: NDArray[np.float64],
    weight: NDArray[np.float64],
    prior: float,
    inside: NDArray[np.bool_] | None,
) -> float:
    """How far one release's log-odds have to be stretched; at least 1, at most :data:`MOST`.

    With m the posterior by all models and q that of a fold, members come as often as q where folds
    say q, and as m where all models say m, so that the mean of (m - q) g(q) is zero for any g: here
    q less its mean.
    """
    usable = np.flatnonzero(np.isfinite(plain) & np.isfinite(folds).all(axis=0))
    usable = usable[:: max(1, -(-usable.size // PATIENTS))]
    x, some = plain[usable], None if inside is None else inside[usable, None]
    q = expit(folds[:, usable] + prior)
    away = weight[:, None] * (q - q.mean(axis=1, keepdims=True))
    if usable.size < 2 or (away * q).sum() <= SOMETHING * usable.size:
        return 1.0

    def gap(times: float) -> float:
        log_odds = times * x
        if some is not None:
            log_odds = _with_total(log_odds[:, None], some)[:, 0]
        return float((away * (expit(log_odds + prior) - q)).sum())

    if gap(1.0) >= 0:
        return 1.0
    if gap(MOST) <= 0:
        return MOST
    return float(brentq(gap, 1.0, MOST, xtol=CLOSE))
