"""Training without the most exposed patients, and auditing everybody again.

Who leaves is chosen on one half of each patient's models. What was true before is told by the other
half, and what is true afterwards by the twins of that half, which were trained without those who
left. The twins of the choosing half must not tell: they share seeds and most members with the
models that chose, and with them the luck by which a patient was chosen. Those who left can no
longer be members; whether others take their place is what the comparison shows (the onion effect,
Carlini et al. 2022).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout, take_patients
from auscult.base.randomness import Stage, generator
from auscult.protection.accusations import accusations
from auscult.protection.assessment import Subject, assess_layout
from auscult.protection.frontier import (
    METHOD,
    Side,
    change_of,
    counted,
    mean_auc,
    utilities,
)
from auscult.protection.paired import (
    Counts,
    Estimate,
    Moments,
    counts_from,
    exposed_alone,
    exposed_counts,
    mean_difference,
    moments,
    shared_noise,
)
from auscult.risk.patients import patient_risk
from auscult.risk.stability import both_halves
from auscult.risk.utility import UtilityPerModel

HALVES = (
    "Who is left out is chosen on one half of each patient's models. The figures before and after "
    "come from the models of the other half and their twins that were trained without these "
    "patients, with priors learned separately for the two kinds of patients."
)


def chosen_on_half(
    signals: NDArray[np.floating],
    subject: Subject,
    *,
    threshold: float | None,
    share: float | None,
) -> NDArray[np.bool_]:
    """Patients to leave out, by one half of each patient's models.

    Parameters
    ----------
    signals : float array, shape (models, records)
    subject : Subject
    threshold : float or None
        Leave out whose estimated AUC exceeds it.
    share : float or None
        Leave out that share, the most exposed.

    Returns
    -------
    bool array, shape (patients,)
    """
    layout = subject.lay_out(signals)
    risk, _ = patient_risk(
        replace(layout, used=_choosing(layout, subject.seed)), (), confirming=False
    )
    auc = np.nan_to_num(risk.posterior.mean, nan=-1.0)
    if threshold is not None:
        return np.asarray(auc > threshold)
    count = int(np.ceil((share or 0.0) * auc.size))
    chosen = np.zeros(auc.size, dtype=bool)
    chosen[np.argsort(-auc, kind="stable")[:count]] = True
    return chosen


def _choosing(layout: Layout, seed: int) -> NDArray[np.bool_]:
    """The half of each patient's models that chooses, shape (patients, models)."""
    first, _ = both_halves(layout, int(generator(seed, Stage.PROTECTION, 2).integers(1 << 60)))
    return first


def layers(
    name: str,
    kind: str,
    change: dict[str, Any],
    *,
    base: Side,
    signals: NDArray[np.floating],
    removed: NDArray[np.bool_],
    utility: UtilityPerModel | None,
    facts: dict[str, Any],
    subject: Subject,
    compared: int,
    notes: list[str],
) -> dict[str, Any]:
    """The entry of a variant that trains without some patients.

    Parameters
    ----------
    name, kind : str
    change : dict
    base : Side
        The unprotected audit.
    signals : float array, shape (models, records)
        Of models that never saw the removed patients.
    removed : bool array, shape (patients,)
    utility : UtilityPerModel or None
    facts : dict
    subject : Subject
    compared : int
    notes : list of str
    """
    whole = base.risk.layout
    telling = ~_choosing(whole, subject.seed)
    anew = subject.lay_out(signals)
    parts = {}
    for key, patients in (("removed", removed), ("remaining", ~removed)):
        chosen = np.flatnonzero(patients)
        parts[key] = tuple(
            assess_layout(take_patients(replace(layout, used=telling), chosen)[0], subject.seed)
            for layout in (whole, anew)
        )
    stay, gone = parts["remaining"], parts["removed"]
    noise = shared_noise(*stay).correlation
    counts = exposed_counts(stay[0], stay[1], noise=noise, seed=subject.seed, compared=compared)
    gone_before = exposed_alone(gone[0])
    everybody = {
        t: _of_everybody(
            counts_from(
                _with_those_who_left(one, alone), removed.size, seed=subject.seed, compared=compared
            ),
            counts[t],
            gone_before[t],
            stay[0].few or stay[1].few or gone[0].few,
        )
        for (t, one), alone in zip(
            moments(stay[0], stay[1], noise).items(),
            moments(gone[0], gone[0], 0.0).values(),
            strict=True,
        )
    }
    auc = mean_difference(stay[0].risk.auc_raw, stay[1].risk.auc_raw)
    return {
        "name": name,
        "kind": kind,
        "change": change,
        "patients": int(removed.size),
        "models": int(signals.shape[0]),
        **counted(everybody, stay[1]),
        "ppv": accusations(stay[0], stay[1], subject.priors, subject.seed),
        "mean_auc_before": mean_auc(stay[0]),
        "mean_auc": mean_auc(stay[1]),
        "mean_auc_change": None if auc is None else auc[0].as_dict() | {"n": auc[1]},
        "worst_group": None,
        **utilities(base.utility, utility, compared),
        "layers": {
            "removed": {
                "patients": int(removed.sum()),
                "before": {str(t): one.as_dict() for t, one in gone_before.items()},
                "after": {"0.9": 0},
                "mean_auc_before": mean_auc(gone[0]),
                "mean_auc": mean_auc(gone[1]),
                "reason": "they are never members; a mean AUC of 0.5 means that nothing "
                "distinguishes models that would have included them from the others",
            },
            "remaining": {
                "patients": int((~removed).sum()),
                "before": {str(t): one.before.as_dict() for t, one in counts.items()},
                "after": {str(t): one.after.as_dict() for t, one in counts.items()},
                "change": change_of(counts[0.9]),
                "mean_auc_before": mean_auc(stay[0]),
                "mean_auc": mean_auc(stay[1]),
            },
            "method": HALVES,
        },
        "dp": facts.get("dp"),
        "parameters": facts.get("parameters"),
        "method": f"{METHOD} {HALVES}",
        "notes": [
            *notes,
            "the worst group is not compared: the patients left out have no risk to average",
        ],
        "recommended": False,
    }


def _of_everybody(together: Counts, stay: Counts, gone: Estimate, few: str) -> Counts:
    """Counts of all patients; bounds of the two kinds where models are too few for more."""
    if not few:
        return replace(together, after=stay.after)
    before = Estimate(
        estimate=stay.before.estimate + gone.estimate,
        low=stay.before.low + gone.low,
        high=stay.before.high + gone.high,
    )
    return Counts(
        before=before,
        after=stay.after,
        change=None,
        removed=None,
        removed_at_least=None,
        reason=few,
    )


def _with_those_who_left(stay: Moments, gone: Moments) -> Moments:
    """All patients: those who left are counted before only."""
    return replace(
        stay,
        before=stay.before + gone.before,
        variance_before=stay.variance_before + gone.variance_before,
    )
