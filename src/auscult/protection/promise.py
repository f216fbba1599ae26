"""What was promised beside what was found, unit by unit; an attack above its bound is a defect.

A finding is compared with a promise about the same unit only. Membership is drawn per patient, so
all records of a patient enter a model together: a guarantee at record level speaks of patients
with one record as it stands, and of others by its translation to so many records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from auscult.attacks.layout import Layout
from auscult.base.intervals import NORMAL_95
from auscult.cohort.cohort import record_bands
from auscult.disclosure import rounded_count
from auscult.protection.empirical import empirical_epsilon
from auscult.recipes.accounting import (
    auc_bound,
    for_patient,
    ppv_bound,
    tpr_bound,
    trade_off,
)
from auscult.risk.patients import PatientRisk
from auscult.risk.released import ReleasedTable

REPORTED_FPR = (0.001, 0.01, 0.1)
REPORTED_PRIORS = (0.01, 0.1, 0.5)
CURVE = tuple(float(x) for x in np.geomspace(1e-4, 1.0, 61))
DEFECT_ERROR = 1e-3
DRAWN_AGAIN = 0.001
WITHHELD = "withheld: with the other tables, it would say too much about a few patients"
METHOD = (
    "Bounds from the trade-off curve of the mechanism's privacy loss distribution, at the unit of "
    "the finding. A mean AUC above its bound by more than its sampling error at "
    f"{DEFECT_ERROR:g}, one patient's by as much after Bonferroni correction, or more right "
    "guesses than the guarantee allows, is a defect of the software and not a property of the "
    "cohort."
)


def promise(
    layout: Layout,
    risk: PatientRisk,
    dp: Mapping[str, Any],
    *,
    seed: int,
    smallest_cell: int,
    bands: ReleasedTable | None = None,
) -> dict[str, Any]:
    """The "guarantee" object of the summary.

    Parameters
    ----------
    layout : Layout
    risk : PatientRisk
    dp : mapping
        facts["dp"] of the recipe.
    seed : int
        The audit's seed.
    smallest_cell : int
        Bands of record count with fewer patients are pooled.
    bands : ReleasedTable, optional
        How the bands' numbers and means are published; when None as they are.
    """
    translated: dict[int, dict[str, Any]] = {}
    bounds: dict[int, float] = {}
    rows = []
    above = 0
    usable = np.isfinite(risk.auc_raw)
    for number, (name, band) in enumerate(record_bands(layout.count, smallest_cell)):
        here = band & usable
        if not here.any():
            continue
        most = _most_records(name, int(layout.count[band].max()))
        if most not in translated:
            translated[most] = for_patient(dp, most)
            bounds[most] = auc_bound(translated[most])
        above += _above(risk, here, bounds[most], int(usable.sum()))
        rows.append(
            {
                "records": name,
                "most_records": most,
                "patients": int(here.sum()),
                "epsilon": translated[most]["epsilon"],
                "bound": bounds[most],
                **_mean(risk.auc_raw[here]),
                "band": number,
            }
        )
    found: dict[str, Any] = {
        "dp": dict(dp),
        "method": METHOD,
        "auc_bound": auc_bound(dp),
        "tpr_bound": {str(fpr): tpr_bound(dp, fpr) for fpr in REPORTED_FPR},
        "ppv_bound": {
            str(prior): {str(fpr): ppv_bound(dp, prior, fpr) for fpr in REPORTED_FPR}
            for prior in REPORTED_PRIORS
        },
        "trade_off": {
            "fpr": list(CURVE),
            "tpr": (1 - trade_off(dp, np.array(CURVE))).tolist(),
        },
        "patients": rows,
        "above_bound": above,
        "empirical": empirical_epsilon(layout, dp, seed=seed),
    }
    found["defects"] = _defects(found, smallest_cell)
    found["patients"] = [_released(row, bands) for row in rows]
    return found


def _most_records(name: str, most: int) -> int:
    """How many records a band's patients have at most: its end, or the next power of two.

    The largest number of all is one patient's; a bound for more records holds for fewer.
    """
    end = name.rsplit("-", 1)[-1]
    return int(end) if end.isdigit() else 1 << (most - 1).bit_length()


def _released(row: dict[str, Any], bands: ReleasedTable | None) -> dict[str, Any]:
    """A row as the table of record counts has its band."""
    place = row.pop("band")
    if bands is None:
        return row
    step = bands.steps.get(str(place), np.inf)
    row["patients"] = rounded_count(row["patients"], bands.base)
    if not np.isfinite(step):
        return row | dict.fromkeys(("auc", "low", "high")) | {"reason": WITHHELD}
    exact = row["auc"]
    row["auc"] = float(f"{round(exact / step) * step:.9g}")
    for end, side in (("low", -1), ("high", 1)):
        if row[end] is not None:
            off = float(np.ceil(abs(row[end] - exact) / step - 1e-9)) * step
            row[end] = float(f"{row['auc'] + side * off:.9g}")
    return row


def exceeds_bound(part: Mapping[str, Any], dp: Mapping[str, Any]) -> str | None:
    """Whether an attack's AUC is above the largest that the guarantee allows, in words.

    Parameters
    ----------
    part : mapping
        With `auc`, a number beside `low` and `high`, or an object with `mean` and `low` (or
        `mean_low`); for example summary["patients"], an attack of summary["aggregate"], or a cell
        of summary["exposure"]. It must be about the guarantee's unit, or `dp` translated to it;
        a part with `by_records` is compared with the mean of its patients' own bounds.
    dp : mapping
        The guarantee.

    Returns
    -------
    str or None
        The defect, or None where the finding is within its bound or not estimable.
    """
    auc = part.get("auc")
    inner = auc if isinstance(auc, Mapping) else part
    mean = inner.get("mean") if isinstance(auc, Mapping) else auc
    low = inner.get("mean_low", inner.get("low"))
    if mean is None or low is None:
        return None
    bound = _mean_bound(part, dp)
    # The 95% interval, widened to the error at which a defect is called one.
    wide = -float(ndtri(DEFECT_ERROR)) / NORMAL_95
    if float(mean) - wide * (float(mean) - float(low)) <= bound:
        return None
    unit = _unit(dp)
    return (
        f"DEFECT: the attack reaches an AUC of {float(mean):.2f} where the guarantee ({unit} "
        f"level, epsilon {_shown(dp['epsilon'])}) allows {bound:.3f}. The training does not "
        "satisfy its guarantee: do not rely on it"
    )


def _mean_bound(part: Mapping[str, Any], dp: Mapping[str, Any]) -> float:
    """Bound for a mean over patients with different numbers of records."""
    bands = part.get("by_records")
    if dp["unit"] == "patient" or not bands:
        return auc_bound(dp)
    total = patients = 0.0
    for row in bands:
        most = str(row["records"]).rsplit("-", 1)[-1]
        # A band without an upper end has no limit that could be known here.
        bound = auc_bound(for_patient(dp, int(most))) if most.isdigit() else 1.0
        total += row["patients"] * bound
        patients += row["patients"]
    return total / patients


def _unit(dp: Mapping[str, Any]) -> str:
    records = int(dp.get("records", 1))
    return str(dp["unit"]) if records == 1 else f"{records}-record patient"


def _defects(found: Mapping[str, Any], smallest_cell: int) -> list[str]:
    """Everything that contradicts the promise, in words."""
    dp = found["dp"]
    said = []
    for row in found["patients"]:
        one = exceeds_bound(row, for_patient(dp, row["most_records"]))
        if one is not None:
            said.append(f"{one} (patients with {row['records']} records)")
    if found["above_bound"]:
        above = found["above_bound"]
        number = above if above >= smallest_cell else f"fewer than {smallest_cell}"
        said.append(
            f"DEFECT: {number} patients have an AUC above the largest that the "
            "guarantee allows for their number of records"
        )
    empirical = found["empirical"]
    if empirical.get("defect"):
        said.append(
            f"DEFECT: {empirical['right']} of {empirical['guesses']} guesses are right, which has "
            f"probability {empirical['p']:.1g} at most if epsilon {_shown(dp['epsilon'])} holds "
            f"(epsilon is at least {empirical['epsilon']:.2f})"
        )
    return said


def _mean(auc: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean with its 95% interval over patients; one patient has none."""
    mean = float(auc.mean())
    if auc.size < 2:
        return {"auc": mean, "low": None, "high": None}
    error = NORMAL_95 * float(auc.std(ddof=1)) / float(np.sqrt(auc.size))
    return {"auc": mean, "low": mean - error, "high": mean + error}


def _above(risk: PatientRisk, here: NDArray[np.bool_], bound: float, patients: int) -> int:
    """Patients whose own AUC is above the bound, with an error shared by all of them."""
    if bound >= 1 - 1e-9:
        return 0
    # Models drawn again resolve no error this small; they must not explain the count either.
    alone = replace(risk.estimate, chance={}).p_above(bound)[here] < DEFECT_ERROR / patients
    return int((alone & (risk.estimate.p_above(bound)[here] <= DRAWN_AGAIN)).sum())


def _shown(epsilon: object) -> str:
    return f"{epsilon:.3g}" if isinstance(epsilon, float | int) else str(epsilon)
