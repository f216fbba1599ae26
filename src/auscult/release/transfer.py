"""How far probabilities learned from shadow models hold for this release, measured on itself.

Shadow models are members of the same recipe, but the release may have trained on another share of
the patients than any of them can: on everybody, above all. Its known members are then compared with
the same patients in the shadow models that they are members of, and so are its known non-members:
are they given the same posteriors? Every shadow model is compared with the others in the same way,
which says how far models lie apart anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, stdtrit

from auscult.release.members import MEMBER, OUTSIDER

NEAR = 0.025  # half a step between the shares that shadow models can have
METHOD = (
    "Posteriors at a prior of one half. Difference: of each patient's posterior under the release, "
    "which is scored as the shadow models are (from three folds of models), less the mean of those "
    "under the shadow models that the patient is likewise a member of (or not), averaged over "
    "patients; 95% interval from how far shadow models differ from each other. Error: half of the "
    "sum of both differences, as if all of them were wrong; a side that is not known is taken to "
    "be off by as much as the other."
)


def other_share(share: float | None, shadow: float) -> bool:
    """Whether the release trained on another share than the nearest one that an audit can have.

    Parameters
    ----------
    share : float or None
        Of the patients that trained the release, where it is known.
    shadow : float
        Of those that trained a shadow model.
    """
    return share is not None and abs(share - shadow) > NEAR + 1e-9


def transfer(
    held_out: NDArray[np.float64],
    member: NDArray[np.bool_],
    release: NDArray[np.float64],
    state: NDArray[np.int8],
    *,
    reasons: dict[int, str],
) -> dict[str, Any]:
    """Compare the posteriors of the release with those of shadow models, side by side.

    Parameters
    ----------
    held_out : float64 array, shape (patients, models)
        Log-odds of the shadow models at a prior of one half; NaN where there is none.
    member : bool array, shape (patients, models)
    release : float64 array, shape (patients,)
        Of the release, scored as shadow models are.
    state : int8 array, shape (patients,)
    reasons : dict
        Side to the reason why it is not told; empty where it is.

    Returns
    -------
    dict
        "members" and "non_members", each with the posterior of the release and of shadow models and
        their "difference", or a "reason"; "error" with its interval; "method".
    """
    sides: dict[int, dict[str, Any]] = {}
    for side in (MEMBER, OUTSIDER):
        if reasons[side]:
            sides[side] = _nothing(reasons[side])
            continue
        sides[side] = _side(held_out, member == (side == MEMBER), release, state == side)
    return {
        "members": sides[MEMBER],
        "non_members": sides[OUTSIDER],
        "error": _error([one["difference"] for one in sides.values()]),
        "method": METHOD,
    }


def _nothing(reason: str) -> dict[str, Any]:
    none = {"estimate": None, "low": None, "high": None, "reason": reason}
    return {"posterior": None, "shadow": None, "difference": none, "reason": reason}


def _side(
    held_out: NDArray[np.float64],
    alike: NDArray[np.bool_],
    release: NDArray[np.float64],
    whose: NDArray[np.bool_],
) -> dict[str, Any]:
    """One side; patients whom two shadow models at least have on the same one."""
    known = alike & np.isfinite(held_out)
    p = np.where(known, expit(np.nan_to_num(held_out)), 0.0)
    count = known.sum(axis=1)
    usable = count >= 2
    mean = p.sum(axis=1) / np.maximum(count, 1)
    mine = usable & whose & np.isfinite(release)
    own = expit(release[mine])
    # A model is part of its own mean: without it, it lies n / (n - 1) times as far from that of the
    # others, whose mean is of n - 1 models instead of n. Scaled as far as the release lies.
    scale = np.sqrt((count + 1) / np.maximum(count - 1, 1))
    off = np.where(known & usable[:, None], (p - mean[:, None]) * scale[:, None], 0.0)
    pairs = (known & usable[:, None]).sum(axis=0)
    shifts = off.sum(axis=0)[pairs > 0] / pairs[pairs > 0]
    if not mine.any() or shifts.size < 2:
        return _nothing("too few shadow models have these patients on the same side")
    estimate = float((own - mean[mine]).mean())
    half = float(stdtrit(shifts.size - 1, 0.975) * np.sqrt((shifts**2).mean()))
    return {
        "posterior": float(own.mean()),
        "shadow": float(mean[mine].mean()),
        "difference": {
            "estimate": estimate,
            "low": estimate - half,
            "high": estimate + half,
        },
    }


def _error(differences: list[dict[str, Any]]) -> dict[str, Any]:
    """Calibration error at a prior of one half that the differences make, at most."""
    known = [one for one in differences if one["estimate"] is not None]
    if not known:
        return {"estimate": None, "low": None, "high": None, "reason": differences[0]["reason"]}
    ends = [(one["low"], one["high"]) for one in known]
    return {
        "estimate": float(np.mean([abs(one["estimate"]) for one in known])),
        "low": float(np.mean([max(0.0, low, -high) for low, high in ends])),
        "high": float(np.mean([max(high, -low) for low, high in ends])),
    }
