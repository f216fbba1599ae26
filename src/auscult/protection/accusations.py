"""What an accusation is worth in the declared deployment, without a protection and with it.

Priors are the deployment's. Everything else is as in the comparison of exposed patients: the
attacker holds the patient's records, has as many models as the audit, and sees what the variant
hands out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from auscult.attacks.layout import take_patients
from auscult.exposure.cell import evidence_of
from auscult.exposure.meaning import meaning
from auscult.exposure.table import MOST_POINTS
from auscult.protection.assessment import Assessment

METHOD = (
    "Share of accusations that are right (PPV) at the prior and the smallest false positive rate "
    "that the models resolve; scores calibrated on one half of the models and counted on the "
    "other; 95% intervals by leaving out groups of patients, each on its own."
)
FEW = "too few models and patients to resolve a false positive rate of 10%"


def accusations(
    before: Assessment, after: Assessment, priors: tuple[float, ...], seed: int
) -> list[dict[str, Any]] | None:
    """The "ppv" of an entry: one row per declared prior, or None where none is declared.

    Parameters
    ----------
    before, after : Assessment
        Without and with the protection.
    priors : tuple of float
    seed : int
        The audit's seed.
    """
    if not priors:
        return None
    sides = [_by_prior(side, priors, seed) for side in (before, after)]
    rows: list[dict[str, Any]] = []
    for prior in priors:
        was, now = (side.get(prior) for side in sides)
        row: dict[str, Any] = {"prior": prior, "method": METHOD}
        if was is None or now is None:
            nothing = dict.fromkeys(("estimate", "low", "high"))
            rows.append(row | {"fpr": None, **nothing, "before": nothing, "reason": FEW})
            continue
        rows.append(row | {"fpr": now["fpr"], **now["ppv"], "before": was["ppv"]})
        if now["ppv"]["estimate"] is None:
            rows[-1]["reason"] = "nobody would be accused"
    return rows


def _by_prior(
    side: Assessment, priors: tuple[float, ...], seed: int
) -> dict[float, dict[str, Any]]:
    """Rows of the game by prior; empty where nothing is resolved."""
    layout, risk = side.layout, side.risk
    every = -(-layout.patients * layout.models // MOST_POINTS)
    if every > 1:
        chosen = np.flatnonzero(np.arange(layout.patients) % every == 0)
        layout = take_patients(layout, chosen)[0]
    scores = risk.attack.score(layout, risk.centring.apply(layout))
    evidence = evidence_of(layout, scores, seed)
    people = int(np.isfinite(risk.auc_raw).sum())
    return {row["prior"]: row for row in meaning(evidence, priors, None, people)}
