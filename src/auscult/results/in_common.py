"""What the exposed have in common: the "in_common" object of the summary, and the exact findings.

The summary has what may be published beside the tables of groups: numbers of patients rounded like
theirs, differences and intervals in whole steps. The owner of the data sees the exact findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from auscult.disclosure import Rounding, rounded_count
from auscult.risk.associations import ERROR, METHOD, Association, Associations, associated
from auscult.risk.factors import Traits
from auscult.risk.published import around, coarse_p

RISK = (
    " Risk is the raw AUC of the joint attack on one half of each patient's models; whether models "
    "disagree with the label is taken from the other half. The classes of the label are held equal "
    "with the factors."
)


def in_common(
    found: Traits | None,
    roundings: Mapping[str, Rounding],
    rng: np.random.Generator,
    *,
    base: int,
    reason: str = "",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The findings as they may be published, and exactly.

    Parameters
    ----------
    found : Traits or None
        None where no factor could be looked at.
    roundings : mapping of str to Rounding
        Of the factors that may be published.
    rng : numpy.random.Generator
    base : int
        What numbers of patients are rounded to.
    reason : str
        Why there are no findings.

    Returns
    -------
    released, exact : dict
        Of which the second is a secret.
    """
    if found is None:
        none = {"factors": [], "withheld": 0, "not_estimable": [], "reason": reason}
        return none, dict(none)
    every = associated(found.risk, found.parts, rng)
    asked = every.factors[: found.asked]
    shown = [_shown(one, roundings[one.name], base) for one in asked if one.name in roundings]
    absent = found.absent | {one.name: one.reason for one in asked if one.reason}
    released = {
        "method": METHOD + RISK,
        "patients": rounded_count(every.patients, base),
        "of_all": every.patients >= found.patients,
        "factors": shown,
        "withheld": sum(not one.reason and one.name not in roundings for one in asked),
        "not_estimable": [{"name": name, "reason": why} for name, why in absent.items()],
        "reason": "",
    }
    return released, _exact(every, found)


def _shown(one: Association, rounding: Rounding, base: int) -> dict[str, Any]:
    difference, low, high = around(one.difference, one.difference, one.low, one.high, rounding.step)
    q = coarse_p(one.q)
    # What is claimed is seen from what is published: its interval leaves 0 out.
    claimed = q is not None and q < ERROR and low is not None and (low > 0 or high < 0)
    base = max(base, rounding.base)
    return {
        "name": one.name,
        "patients": rounded_count(one.patients, base),
        "counts_rounded_to": base,
        "difference": difference,
        "low": low,
        "high": high,
        "q": q,
        "claimed": claimed,
        "rounded_to": rounding.step,
    }


def _exact(every: Associations, found: Traits) -> dict[str, Any]:
    return {
        "method": METHOD + RISK,
        "patients": every.patients,
        "of": found.patients,
        "explained": every.explained,
        "factors": [asdict(one) for one in every.factors],
        "not_estimable": [{"name": name, "reason": why} for name, why in found.absent.items()],
        "reason": "",
    }
