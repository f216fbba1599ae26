"""Is the release a model like the shadow models? If not, what they say of it does not hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout
from auscult.release.members import MEMBER, UNKNOWN

MOST_RECORDS = 20_000
FARTHEST = 4.0  # in standard deviations of the shadow models
FARTHEST_RATIO = 1.25  # of the residual's size to the largest of a shadow model
ABOUT = 0.1  # shares of members no further apart count as alike

METHOD = (
    "Level: mean signal over all records. Residual: root mean square of each record's signal less "
    "the shadow models' mean, in their standard deviations. Named: patients with a posterior of at "
    "least 0.9. Each compared with the same figure of every shadow model."
)
METHOD_OF_MEMBERS = (
    "Residual: root mean square of each record's signal less the mean of those shadow models that "
    "the patient is likewise a member of (or not), in their standard deviations. Level: mean of "
    "the same over all records. Named: patients with a posterior of at least 0.9. Each compared "
    "with the same figure of every shadow model."
)


def about_alike(share: float, shadow: float) -> bool:
    """Whether a share of the patients is about that on which every shadow model trains.

    Parameters
    ----------
    share : float
        Of the patients that trained the release.
    shadow : float
        Of those that trained a shadow model.
    """
    return bool(abs(share - shadow) <= ABOUT + 1e-9)


def likeness(
    layout: Layout,
    held_out: NDArray[np.float64],
    release: NDArray[np.float64],
    state: NDArray[np.int8],
) -> dict[str, Any]:
    """Compare the release with the shadow models; needs no members.

    Parameters
    ----------
    layout : Layout
        The release is its last model.
    held_out : float64 array, shape (patients, models)
        Calibrated log-odds of the shadow models.
    release : float64 array, shape (patients,)
    state : int8 array, shape (patients,)

    Returns
    -------
    dict
        "verdict", "reason", and "level", "residual", "named", each with the release's figure and
        the shadow models' low, mean and high.
    """
    known = (state == MEMBER).any() and not (state == UNKNOWN).any()
    rows = np.arange(0, layout.records, max(1, layout.records // MOST_RECORDS))
    signals = np.asarray(layout.signals[rows], dtype=np.float64)
    if known:
        whose = layout.patient[rows]
        inside = layout.member[whose]
        inside[:, -1] = state[whose] == MEMBER
        own_level, levels, size, sizes = _like_members(signals, inside)
    else:
        own_level, levels, size, sizes = _like_anybody(signals)
    bar = float(np.log(9))
    figures = {
        "level": (own_level, levels),
        "residual": (size, sizes),
        "named": (
            float((release >= bar).sum()),
            (held_out >= bar).sum(axis=0).astype(np.float64),
        ),
    }
    problems = []
    level, levels = figures["level"]
    deviation = max(float(levels.std(ddof=1)), 1e-9)
    if abs(level - levels.mean()) > FARTHEST * deviation:
        which = "surer" if level > levels.mean() else "less certain"
        problems.append(f"it is {which} of the truth, over all records, than any shadow model")
    size, sizes = figures["residual"]
    if size > FARTHEST_RATIO * sizes.max():
        problems.append("its answers differ from theirs by more than theirs from each other")
    elif size * FARTHEST_RATIO < sizes.min():
        problems.append(
            "its answers lie closer to the middle of theirs than any of theirs, as those of a "
            "model do that trained on more of the patients"
        )
    share = float((state == MEMBER).mean())
    shadow_share = float(layout.member[:, :-1].mean())
    if known and not about_alike(share, shadow_share):
        trained = "half" if round(shadow_share, 2) == 0.5 else f"{100 * shadow_share:.0f}%"
        problems.append(
            f"unlike them, it was not trained on {trained} of the patients (train the shadow "
            'models like it: audit.share = "as released")'
        )
    return {
        "verdict": not problems,
        "reason": "; ".join(problems),
        "method": METHOD_OF_MEMBERS if known else METHOD,
        **{
            name: {
                "release": value,
                "low": float(others.min()),
                "mean": float(others.mean()),
                "high": float(others.max()),
            }
            for name, (value, others) in figures.items()
        },
    }


Figures = tuple[float, NDArray[np.float64], float, NDArray[np.float64]]


def _like_anybody(signals: NDArray[np.float64]) -> Figures:
    """Level and residual of the release, and of every shadow model, whoever is a member."""
    shadow, own = signals[:, :-1], signals[:, -1]
    models = shadow.shape[1]
    mean, spread = shadow.mean(axis=1), shadow.std(axis=1, ddof=1)
    varying = spread > 0
    mean, spread, shadow, own = mean[varying], spread[varying], shadow[varying], own[varying]
    # A shadow model is part of its own mean: leaving it out stretches its residual by M / (M - 1).
    residual = (shadow - mean[:, None]) / spread[:, None] * models / (models - 1)
    return (
        float(own.mean()),
        shadow.mean(axis=0),
        float(np.sqrt((((own - mean) / spread) ** 2).mean())),
        np.sqrt((residual**2).mean(axis=0)),
    )


def _like_members(signals: NDArray[np.float64], inside: NDArray[np.bool_]) -> Figures:
    """The same, members compared with members and non-members with non-members.

    A model that trained on everybody is then not unlike the others for having no non-members.
    """
    models = signals.shape[1] - 1
    off = np.full(signals.shape, np.nan)
    squares = np.zeros(len(signals))
    for side in (True, False):
        here = inside == side
        among = here[:, :models]
        count = among.sum(axis=1)
        total = np.where(among, signals[:, :models], 0.0).sum(axis=1)
        mean = total / np.maximum(count, 1)
        apart = signals - mean[:, None]
        squares += np.where(among, apart[:, :models] ** 2, 0.0).sum(axis=1)
        # Of unit variance alike: a shadow model is part of its own mean, the release is not.
        with np.errstate(divide="ignore"):
            scale = np.sqrt(count / np.maximum(count - 1.0, 0.0))
        off = np.where(here & (count > 0)[:, None], apart * scale[:, None], off)
        last = here[:, -1] & (count > 0)
        off[last, -1] = apart[last, -1] * np.sqrt(count[last] / (count[last] + 1.0))
    spread = np.sqrt(squares / max(models - 2, 1))
    off = off[spread > 0] / spread[spread > 0][:, None]
    usable = np.isfinite(off)
    off = np.where(usable, off, 0.0)
    count = np.maximum(usable.sum(axis=0), 1)
    level = off.sum(axis=0) / count
    size = np.sqrt((off**2).sum(axis=0) / count)
    return float(level[-1]), level[:-1], float(size[-1]), size[:-1]
