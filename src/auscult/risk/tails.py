"""How often chance alone lifts a counted AUC far: asked of the cohort's own scores.

A beta distribution with the right variance is right in the middle. In its far tail it is not where
scores take few values: 16 members that are all right and 16 others that are all wrong are no rarity
at an AUC of 0.9. Whoever is confirmed must be confirmed against that. So models are drawn again,
with replacement, for the patients whose counted AUC lies nearest to a bar; what they reach by
chance is what a confirmed patient has to exceed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.joint import JointAttack
from auscult.attacks.layout import Centring, Layout, take_patients
from auscult.risk.signs import whole_places

BARS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
PATIENTS, DRAWS = 48, 256  # of each bar
NEAR = 0.05
SEED = 20260624  # of the drawing; part of the method


def chance_near(
    layout: Layout, attack: JointAttack, centring: Centring, auc: NDArray[np.float64]
) -> dict[float, NDArray[np.float64]]:
    """Counted AUCs that patients near each bar reach when their models are drawn again.

    Parameters
    ----------
    layout : Layout
        The whole cohort.
    attack : JointAttack
    centring : Centring
    auc : float64 array, shape (patients,)
        Counted AUCs; NaN where not estimable.

    Returns
    -------
    dict of float to float64 array
        For each bar, AUCs in ascending order.
    """
    usable = np.flatnonzero(np.isfinite(auc))
    found = {}
    for bar in BARS:
        # Its own stream: other bars change nothing of it.
        rng = np.random.default_rng([SEED, round(10_000 * bar)])
        near = usable[np.argsort(np.abs(auc[usable] - bar), kind="stable")[:PATIENTS]]
        part, _ = take_patients(layout, near)
        signals = centring.apply(part)
        reached = []
        single = part.count == 1
        if single.any():
            mine = np.flatnonzero(single)
            dealt, values = whole_places(part, signals, mine)
            reached.append(_drawn_again(values, dealt.weight, auc[near[mine]], bar, rng))
        if not single.all():
            several, rows = take_patients(part, np.flatnonzero(~single))
            scores = attack.score(several, signals[rows])
            weight = scores.deal.weight
            reached.append(_drawn_again(scores.values, weight, auc[near[~single]], bar, rng))
        found[bar] = np.sort(np.concatenate(reached))
    return found


def _drawn_again(
    values: NDArray[np.float64],
    weight: NDArray[np.float64],
    auc: NDArray[np.float64],
    bar: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Counted AUCs of redrawn models, moved to the bar where no patient lies near it."""
    patients, folds, _, places = values.shape
    number = weight.sum(axis=3)  # used places come first
    pairs = number.prod(axis=2).sum(axis=1)
    reached = np.empty((patients, DRAWS))
    cell = np.arange(DRAWS * folds * 2)[:, None] * places
    for patient, (mine, used) in enumerate(zip(values, number, strict=True)):
        place = (rng.random((DRAWS, folds, 2, places)) * used[:, :, None]).astype(np.int64)
        kept = np.broadcast_to(weight[patient], place.shape).ravel()
        drawn = np.bincount((place.reshape(-1, places) + cell).ravel(), kept, cell.size * places)
        times = drawn.reshape(place.shape).transpose(2, 1, 0, 3)  # (2, folds, draws, places)
        # How often each model was drawn decides how often each pair counts; none is compared twice.
        inside, outside = mine[:, 1, :, None], mine[:, 0, None, :]
        wins = 0.5 * ((inside > outside).astype(np.float64) + (inside >= outside))
        reached[patient] = ((times[1] @ wins) * times[0]).sum(axis=(0, 2)) / pairs[patient]
    away = np.where(np.abs(auc - bar) > NEAR, bar - auc, 0.0)
    return np.asarray(np.clip(reached + away[:, None], 0.0, 1.0)).ravel()
