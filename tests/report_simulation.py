"""A summary computed from simulated patients, in the format of summary.json.

The numbers are simulated, not measured: each patient gets a true effect, noisy estimates of its AUC
and a null, and every part of the summary is counted from those, so that the parts agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from auscult.risk.published import mirrored

Summary = dict[str, Any]
THRESHOLDS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
ATTACKS = {
    "lira": ("LiRA (online)", 1.0),
    "lira_offline": ("LiRA (offline)", 0.7),
    "rmia": ("RMIA (online)", 0.92),
    "rmia_offline": ("RMIA (offline)", 0.75),
    "population": ("Population threshold", 0.5),
}


def simulated(
    *,
    patients: int = 6000,
    models: int = 64,
    effect: float = 0.12,
    tail: float = 0.004,
    tail_effect: float = 2.2,
    seed: int = 7,
    groups: dict[str, Sequence[str]] | None = None,
) -> Summary:
    """A whole summary: most patients near `effect`, a share `tail` of them near `tail_effect`."""
    random = np.random.default_rng(seed)
    records = 1 + random.geometric(0.72, patients).clip(1, 28) - 1
    d = random.normal(effect, 0.08, patients).clip(0) * np.sqrt(records)
    rare = random.random(patients) < tail
    d[rare] = random.normal(tail_effect, 0.35, int(rare.sum()))
    noise = 0.22 * np.sqrt(32 / models)
    raw = norm.cdf(d + random.normal(0, noise, patients))
    joint = norm.cdf(d + random.normal(0, noise / 2, patients))
    null = norm.cdf(random.normal(0, noise, patients))
    study = norm.cdf(
        d * 0.9 + np.abs(random.normal(0, noise, patients)) * np.sqrt(np.log1p(records))
    )
    attributes = groups or {
        "race": ["Caucasian", "AfricanAmerican", "Hispanic", "Asian", "Other", "Unknown"],
        "gender": ["Female", "Male"],
        "age": [f"[{10 * k}-{10 * k + 10})" for k in range(2, 10)],
    }
    return {
        "schema": "auscult.summary/1",
        "auscult": "0.1.0",
        "title": "diabetic_data.csv.gz",
        "cohort": _cohort(records, list(attributes)),
        "recipe": {
            "kind": "torch",
            "model": "mlp",
            "settings": {"hidden": [128, 128], "epochs": 15, "learning_rate": 0.001},
            "facts": {"parameters": 55000, "stacked": 8},
            "notes": [{"what": "probabilities of exactly 0 or 1", "count": 12}],
        },
        "models": {
            "count": models,
            "in_per_patient": {"min": models // 2, "max": models // 2},
            "utility": {
                "metric": "auroc",
                "mean": 0.624,
                "low": 0.617,
                "high": 0.631,
                "n": models,
                "method": "each model on its own held-out patients; t interval over models",
                "members": {"mean": 0.978, "low": 0.974, "high": 0.982},
                "chance": 0.5,
            },
            "learned": {
                "verdict": True,
                "reason": "held-out AUROC 0.624 (95% interval 0.617 to 0.631) lies above 0.5",
            },
        },
        "aggregate": {
            name: _attack(label, float(np.mean(d)) * strength, models)
            for name, (label, strength) in ATTACKS.items()
        },
        "patients": _patients(joint, raw, null, study, records),
        "disparities": {
            name: _attribute(random, list(values), joint) for name, values in attributes.items()
        },
        "in_common": _in_common(len(records)),
        "exposure": [],
        "protection": [],
        "decision": {},
    }


def _in_common(patients: int) -> Summary:
    """One factor goes with a higher risk, one with a lower, one with none."""
    factors = {
        "a rare level (top tenth)": (0.04, 0.02, 0.06, 0.004),
        "far from all others (top tenth)": (-0.03, -0.05, -0.01, 0.012),
        "an extreme number (top tenth)": (0.0, -0.02, 0.02, 1.0),
    }
    return {
        "method": "Residuals of risk and factor, fitted on other patients.",
        "patients": min(patients, 4000),
        "of_all": patients <= 4000,
        "factors": [
            {
                "name": name,
                "patients": 10 * round(min(patients, 4000) / 100),
                "counts_rounded_to": 5,
                "difference": difference,
                "low": low,
                "high": high,
                "q": q,
                "claimed": q < 0.05,
                "rounded_to": 0.01,
            }
            for name, (difference, low, high, q) in factors.items()
        ],
        "withheld": 1,
        "not_estimable": [
            {
                "name": "more records than most (top tenth)",
                "reason": "all patients are alike in it",
            }
        ],
        "reason": "",
    }


def _cohort(records: NDArray[np.int64], groups: list[str]) -> Summary:
    return {
        "source": "diabetic_data.csv.gz",
        "records": int(records.sum()),
        "patients": len(records),
        "task": "binary",
        "classes": [
            {"name": "NO", "records": int(records.sum() * 0.54)},
            {"name": "<30, >30", "records": int(records.sum() - int(records.sum() * 0.54))},
        ],
        "records_per_patient": {
            "median": float(np.median(records)),
            "max": int(records.max()),
            "bands": [
                {"records": name, "patients": int(inside.sum())} for name, inside in _bands(records)
            ],
        },
        "groups": groups,
        "left_out": [{"reason": "label missing", "records": 3}],
        "notes": ['diag_1: 716 values, the 650 rarest pooled as "(rare)"'],
    }


def _bands(records: NDArray[np.int64]) -> list[tuple[str, NDArray[np.bool_]]]:
    return [
        ("1", records == 1),
        ("2", records == 2),
        ("3-5", (records >= 3) & (records <= 5)),
        ("6+", records >= 6),
    ]


def _attack(label: str, effect: float, models: int) -> Summary:
    fpr = np.logspace(-5, 0, 61)
    tpr = norm.cdf(norm.ppf(fpr) + 1.41 * effect) * 0.995 + 0.005 * fpr**0.1
    auc = float(norm.cdf(effect))
    return {
        "label": label,
        "auc": auc,
        "low": auc - 0.006,
        "high": auc + 0.006,
        "targets": models,
        "out_records_per_target": 4200,
        "method": "mean over targets; bootstrap over models and patients",
        "tpr_at_fpr": {"0.0001": None}
        | {str(at): float(np.interp(at, fpr, tpr)) for at in (0.001, 0.01, 0.1)},
        "tpr_at_fpr_interval": {"0.0001": None}
        | {
            str(at): [float(np.interp(at, fpr, tpr) * part) for part in (0.9, 1.1)]
            for at in (0.001, 0.01, 0.1)
        },
        "roc": {
            "fpr": fpr.tolist(),
            "tpr": tpr.tolist(),
            "low": (tpr * 0.85).tolist(),
            "high": (tpr * 1.15).clip(max=1).tolist(),
        },
    }


def _patients(
    joint: NDArray[np.float64],
    raw: NDArray[np.float64],
    null: NDArray[np.float64],
    study: NDArray[np.float64],
    records: NDArray[np.int64],
) -> Summary:
    count = len(joint)
    grid = np.round(np.linspace(0.5, 1.0, 51), 2)

    def above(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((values[None, :] > grid[:, None]).mean(axis=1))

    curve = above(joint)
    spread = 1.96 * np.sqrt(curve * (1 - curve) / count) + 2e-4
    exposed = {}
    for at in THRESHOLDS:
        found = int((joint > at).sum())
        width = 1.96 * np.sqrt(found) + 0.5
        exposed[str(at)] = {
            "estimate": found,
            "low": max(0, int(found - width)),
            "high": min(count, int(found + width)),
            "confirmed": int(found * 0.7),
            "null": int((null > at + 0.15).sum()),
            "raw": int((raw > at).sum()),
            "raw_null": int((null > at).sum()),
            "study": int((study > at).sum()),
            "study_null": int((null > at - 0.1).sum()),
        }
    return {
        "attack": "joint",
        "count": count,
        "estimable": count,
        "not_estimable": [],
        "method": "joint attack, cross-fitted in 4 folds; interval by bootstrap over models",
        "auc": {
            "mean": float(joint.mean()),
            "mean_low": float(joint.mean()) - 0.004,
            "mean_high": float(joint.mean()) + 0.004,
            "median": float(np.median(joint)),
            "q99": float(np.quantile(joint, 0.99)),
        },
        "weights": {"1": ["equal"], "2": [30.0]},
        "raw": _quantiles(raw) | {"null_mean": float(null.mean())},
        "study": _quantiles(study) | {"null_mean": 0.55},
        "tpr_at_fpr": {
            "0.01": {
                "mean": None,
                "low": None,
                "high": None,
                "n": 0,
                "extrapolated": False,
                "reason": "counting it needs about 400 models",
                "method": "counted on held-out models",
            },
            "0.1": _low_error(0.21, "counted on held-out models") | {"extrapolated": False},
        },
        "exposed": exposed,
        "survival": {
            "auc": grid.tolist(),
            "joint": curve.tolist(),
            "low": (curve - spread).clip(0).tolist(),
            "high": (curve + spread).clip(max=1).tolist(),
            "null": above(0.5 + (null - 0.5) * 0.7).tolist(),
            "raw": above(raw).tolist(),
            "study": above(study).tolist(),
        },
        "by_records": [
            {
                "records": name,
                "patients": int(inside.sum()),
                "mean_auc": _mean(joint[inside]),
                "raw_mean_auc": _mean(raw[inside]),
                "null_mean_auc": _mean(null[inside]),
                "exposed_0.9": _mean(joint[inside] > 0.9),
                "raw_exposed_0.9": _mean(raw[inside] > 0.9),
                "study_exposed_0.9": _mean(study[inside] > 0.9),
                "study_null_mean": 0.55,
            }
            for name, inside in _bands(records)
        ],
    }


def _quantiles(values: NDArray[Any]) -> Summary:
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "q99": float(np.quantile(values, 0.99)),
    }


def _low_error(mean: float, method: str) -> Summary:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "n": 6000, "method": method}


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def _attribute(
    random: np.random.Generator, names: list[str], joint: NDArray[np.float64]
) -> Summary:
    weights = random.dirichlet(np.linspace(6, 0.8, len(names)))
    member = random.choice(len(names), size=len(joint), p=weights)
    shown, suppressed = {}, 0
    for place, name in enumerate(names):
        inside = member == place
        if inside.sum() < 10:
            suppressed += 1
            continue
        values = joint[inside] + (0.035 if place == 1 and len(names) > 2 else 0.0)
        error = 1.96 * values.std() / np.sqrt(len(values))
        rest = joint[~inside] if (~inside).any() else joint
        difference = float(values.mean() - rest.mean())
        p = float(2 * norm.sf(abs(difference) / (error / 1.96 + 1e-9)))
        alone = len(names) == 1
        shown[name] = {
            "patients": int(inside.sum()),
            "mean_auc": float(values.mean()),
            "low": float(values.mean() - error),
            "high": float(values.mean() + error),
            "exposed_0.9": float((values > 0.9).mean()),
            "difference": None if alone else difference,
            "exposed_0.9_low": 0.0,
            "exposed_0.9_high": min(1.0, float((values > 0.9).mean()) + 0.01),
            "difference_same_records": None if alone else difference,
            "difference_low": None if alone else difference - error,
            "difference_high": None if alone else difference + error,
            "others": int((~inside).sum()),
            "patients_compared": None if alone else int(inside.sum()),
            "others_compared": None if alone else int((~inside).sum()),
            "difference_any_records": None if alone else 2 * difference,
            "difference_any_records_low": None if alone else 2 * difference - error,
            "difference_any_records_high": None if alone else 2 * difference + error,
            "p": None if alone else p,
            "q": None if alone else min(1.0, p * 2),
            "utility": {"metric": "auroc", "mean": 0.62, "low": 0.59, "high": 0.65},
        }
    if len(shown) == len(names) == 2:
        mirrored(shown)
    return {
        "method": "bootstrap over patients; difference by regression within each record count",
        "n_patients": len(joint),
        "groups": shown,
        "suppressed": {"groups": suppressed, "smallest_cell": 10},
        "spread": {"estimate": 0.041, "null_mean": 0.012, "p": 0.003},
        "composition": {
            "top_share": 0.01,
            "patients": 60,
            "groups": {
                name: {"residual": 1.2 - 0.3 * k, "residual_same_records": 0.5}
                for k, name in enumerate(shown)
            },
            "chi_squared": 10.2,
            "p": 0.04,
        },
    }
