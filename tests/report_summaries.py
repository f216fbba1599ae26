"""Summaries for the report's tests, computed from simulated patients in the format of summary.json.

The numbers are simulated, not measured: each patient gets a true effect, noisy estimates of its AUC
and a null, and every part of the summary is counted from those, so that the parts agree.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

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
                "metric": "AUROC",
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
        "exposure": [],
        "protection": [],
        "decision": {},
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
        "method": "mean over targets; bootstrap over models and patients",
        "tpr_at_fpr": {str(at): float(np.interp(at, fpr, tpr)) for at in (0.001, 0.01, 0.1)},
        "tpr_at_fpr_interval": {
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
        "raw": {"mean": float(raw.mean()), "null_mean": float(null.mean())},
        "study": {"mean": float(study.mean())},
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
            }
            for name, inside in _bands(records)
        ],
    }


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
            "difference_low": None if alone else difference - error,
            "difference_high": None if alone else difference + error,
            "p": None if alone else p,
            "q": None if alone else min(1.0, p * 2),
            "utility": {"metric": "AUROC", "mean": 0.62, "low": 0.59, "high": 0.65},
        }
    return {
        "method": "bootstrap over patients; labels permuted within strata of record count",
        "n_patients": len(joint),
        "groups": shown,
        "suppressed": {"groups": suppressed, "smallest_cell": 10},
        "spread": {"estimate": 0.041, "null_mean": 0.012, "p": 0.003},
        "composition": {
            "top_share": 0.01,
            "groups": {name: {"residual": 1.2 - 0.3 * k} for k, name in enumerate(shown)},
            "chi_squared": 10.2,
            "p": 0.04,
        },
    }


def scary() -> Summary:
    """An overfitted model: most patients are given away."""
    return simulated(effect=1.45, tail=0.1, tail_effect=2.6)


def rare_tail() -> Summary:
    """The typical danger: the average is harmless, a few patients are not."""
    return simulated()


def harmless() -> Summary:
    """Nobody is exposed at any threshold."""
    summary = simulated(effect=0.0, tail=0.0)
    for at, row in summary["patients"]["exposed"].items():
        row |= {"estimate": 0, "low": 0, "high": 1 if float(at) < 0.8 else 0, "confirmed": 0}
        row |= {"null": 0, "raw": 0, "raw_null": 0, "study": 3 if at == "0.6" else 0}
    curve = summary["patients"]["survival"]
    curve["joint"] = [
        value if at < 0.58 else 0.0 for at, value in zip(curve["auc"], curve["null"], strict=True)
    ]
    curve["low"], curve["high"] = curve["joint"], [min(1, v + 0.002) for v in curve["joint"]]
    for band in summary["patients"]["by_records"]:
        band |= {"exposed_0.9": 0.0, "raw_exposed_0.9": 0.0, "study_exposed_0.9": 0.0}
    for part in summary["disparities"].values():
        for group in part["groups"].values():
            group |= {"q": 0.8, "exposed_0.9": 0.0}
    return summary


def nothing_learned() -> Summary:
    """Models at the majority rate: no evidence in either direction."""
    summary = harmless()
    summary["models"]["learned"] = {
        "verdict": False,
        "reason": "held-out AUROC 0.501 (95% interval 0.494 to 0.508) holds 0.5",
    }
    summary["models"]["utility"] |= {"mean": 0.501, "low": 0.494, "high": 0.508}
    summary["models"]["utility"]["members"] = {"mean": 0.503, "low": 0.497, "high": 0.509}
    return summary


def nothing_estimable() -> Summary:
    """Every figure is null, with one reason beside it."""
    summary: Summary = nulled(rare_tail())
    summary["patients"]["reason"] = "too few models in which a patient is a member"
    summary["patients"]["count"], summary["patients"]["estimable"] = 6000, 0
    return summary


def nulled(part: Any) -> Any:  # noqa: ANN401
    """A copy in which every number is null and every list of numbers empty."""
    if isinstance(part, dict):
        return {key: nulled(value) for key, value in part.items()}
    if isinstance(part, list):
        numeric = all(isinstance(value, int | float) for value in part)
        return [] if numeric else [nulled(value) for value in part]
    return None if isinstance(part, int | float) else part


def imported() -> Summary:
    """Signals from elsewhere: no recipe, no utility, no task."""
    summary = rare_tail()
    summary["recipe"] = None
    summary["models"]["utility"] = None
    summary["models"]["learned"] = {"verdict": None, "reason": "only signals were imported"}
    summary["cohort"] |= {"task": "unknown", "classes": [], "notes": [], "left_out": []}
    summary["title"] = summary["cohort"]["source"] = "scores.npz"
    summary["disparities"] = {}
    return summary


def single_group() -> Summary:
    """One attribute with one group; an empty band of record counts."""
    summary = simulated(patients=400, groups={"site": ["Hannover"]})
    summary["patients"]["by_records"][-1] = {
        "records": "6+", "patients": 0, "mean_auc": None, "raw_mean_auc": None,
        "null_mean_auc": None, "exposed_0.9": None, "raw_exposed_0.9": None,
        "study_exposed_0.9": None,
    }  # fmt: skip
    return summary


def multilabel() -> Summary:
    """Many labels that overlap, few patients with many records."""
    summary = simulated(patients=110, models=32, tail=0.3)
    summary["cohort"]["task"] = "multilabel"
    summary["cohort"]["classes"] = [
        {"name": f"finding {k}", "records": 300 - 20 * k} for k in range(14)
    ]
    summary["cohort"]["records"] = 300
    return summary


HOSTILE_ATTRIBUTE = "<script>alert(1)</script>"
HOSTILE_GROUPS = (
    '=HYPERLINK("http://x")',
    "</script></style></title><img src=x onerror=alert(2)>",
    "+1-2",
    "-cmd|' /C calc'!A0",
    "@SUM(1;2)",
    "\tcell",
    "\rcell",
    "{{ 7*7 }} {% raw %} ${7*7}",
    "\"quoted\" 'and' `ticked` & &amp; \\",
    "قسم الأورام في مستشفى الجامعة",
    "מחלקה 7 (ב)",
    "override \u202e dedrevo",
    "lone \ud800 surrogate",
    "line\nbreak, comma",
    "東京大学医学部附属病院放射線科診断部門第三外来診療棟西館",
    "a-very-long-name-without-any-space-" * 8,
    "a very long name with spaces that goes on and on " * 6,
    "]]>\u2028\u2029 --> <!--",
)


def hostile() -> Summary:
    """Names that try to be code, formulas or layout; sixty groups; every text poisoned."""
    summary = simulated(
        groups={
            HOSTILE_ATTRIBUTE: HOSTILE_GROUPS,
            "ward": [f"ward {k:02d}" for k in range(60)],
        }
    )
    rows = summary["disparities"]
    for part in rows.values():
        template = next(iter(part["groups"].values()))
        names = HOSTILE_GROUPS if part is rows[HOSTILE_ATTRIBUTE] else None
        for place, name in enumerate(names or [f"ward {k:02d}" for k in range(60)]):
            group = part["groups"].setdefault(
                name, copy.deepcopy(template) | {"patients": 10 + place}
            )
            group["q"] = 0.01 if place % 7 == 0 else 0.6
        part["composition"]["groups"] = {name: {"residual": 0.5} for name in part["groups"]}
    summary["title"] = HOSTILE_ATTRIBUTE + " " + HOSTILE_GROUPS[0]
    summary["cohort"]["notes"] = [f"{name}: pooled" for name in HOSTILE_GROUPS]
    summary["cohort"]["left_out"] = [{"reason": HOSTILE_GROUPS[1], "records": 4}]
    summary["cohort"]["classes"] = [{"name": name, "records": 9} for name in HOSTILE_GROUPS]
    summary["recipe"]["settings"][HOSTILE_ATTRIBUTE] = HOSTILE_GROUPS[1]
    summary["recipe"]["settings"]["nested"] = {"list": [HOSTILE_ATTRIBUTE, None, True, 1e-3]}
    return summary


def with_later_parts() -> Summary:
    """Stability, planning, deployment, protection and decision, which later stages fill."""
    summary = rare_tail()
    summary["patients"]["stability"] = {
        "rank_agreement": {"estimate": 0.62, "low": 0.58, "high": 0.66},
        "top_1_percent_overlap": {"estimate": 0.55, "by_chance": 0.01},
        "method": "two halves of the models, 20 random splits",
    }
    summary["patients"]["planning"] = [
        {"models": 64, "interval_width": 0.1},
        {"models": 128, "interval_width": 0.07},
    ]
    summary["exposure"] = [{"access": "probabilities", "prior": 0.01, "ppv": 0.67}]
    summary["protection"] = [{"name": "DP-SGD", "epsilon": 8.0, "exposed": {"0.9": 0}}]
    summary["decision"] = {"verdict": "inconclusive", "reasons": ["too few models"]}
    return summary


ALL = {
    "scary": scary,
    "rare tail": rare_tail,
    "harmless": harmless,
    "nothing learned": nothing_learned,
    "nothing estimable": nothing_estimable,
    "imported": imported,
    "single group": single_group,
    "multilabel": multilabel,
    "hostile": hostile,
    "later parts": with_later_parts,
}
