"""Summaries that the report must show: the usual, the extreme, the empty, the hostile."""

from __future__ import annotations

import copy
from typing import Any

from tests.report_simulation import Summary, simulated


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


def memorised() -> Summary:
    """Models that have learned nothing that generalises, and give most patients away."""
    summary, unlearned = scary(), nothing_learned()["models"]
    summary["models"]["learned"] = unlearned["learned"]
    summary["models"]["utility"] |= {
        key: unlearned["utility"][key] for key in ("mean", "low", "high")
    }
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


def everyone() -> Summary:
    """Every patient is exposed at every threshold."""
    summary = simulated(patients=400, effect=1.45, tail=0.1)
    for row in summary["patients"]["exposed"].values():
        row |= {"estimate": 400.0, "low": 399.6, "high": 400, "confirmed": 400, "raw": 400}
        row |= {"study": 400, "null": 0.0, "raw_null": 0, "study_null": 1}
    return summary


def demonstration() -> Summary:
    """A simulated clinic, whose planted patients are known."""
    summary = simulated(patients=900)
    summary["planted"] = {
        "what": "patients with values that nobody shares",
        "threshold": 0.9,
        "planted": {"patients": 12, "found": 9, "mean_auc": 0.93},
        "others": {"patients": 888, "found": 4, "mean_auc": 0.61},
    }
    return summary


def _figure(estimate: float, reach: float, **more: Any) -> Summary:  # noqa: ANN401
    return {"estimate": estimate, "low": estimate - reach, "high": estimate + reach, **more}


def protection(base: Summary, name: str, exposed: float, removed: float, cost: float) -> Summary:
    """An entry of a protection that leaves so many of 21 patients exposed."""
    before = base["patients"]["auc"]["mean"]
    utility = base["models"]["utility"]["mean"]
    return {
        "name": name,
        "kind": "recipe",
        "change": {"recipe": {"weight_decay": 1.0}},
        "patients": 6000,
        "models": 64,
        "exposed": {"0.9": _figure(exposed, 2.0, null=0.0)},
        "exposed_before": {"0.9": _figure(21.0, 6.0)},
        "exposed_change": _figure(exposed - 21.0, 4.0),
        "removed": _figure(removed, 0.08),
        "removed_at_least": removed - 0.1,
        "mean_auc_before": _figure(before, 0.004, n=6000),
        "mean_auc": _figure(before - 0.02, 0.01, n=6000),
        "mean_auc_change": _figure(-0.02, 0.004, n=6000),
        "worst_group": {
            "attribute": "race",
            "group": "Asian",
            "patients": 44,
            "change": _figure(-0.05, 0.03),
            "method": "chosen on one half",
        },
        "utility": _figure(utility - cost, 0.004, n=64),
        "utility_change": _figure(-cost, 0.002, n=64, method="paired by model"),
        "utility_lost_at_most": cost + 0.003,
        "worst_group_utility_change": {
            "attribute": "race",
            "group": "Asian",
            **_figure(-cost - 0.02, 0.01),
        },
        "method": "the same membership",
        "parameters": 43009,
        "notes": [],
        "recommended": False,
    }


def protections(base: Summary) -> list[Summary]:
    """Several protections: good, dear, useless, harmful, one that was not tried, one of layers."""
    found = [
        protection(base, "weight decay 1", 4.0, 0.8, 0.001),
        protection(base, "DP-SGD", 2.0, 0.9, 0.05),
        protection(base, "nothing much", 21.0, 0.0, 0.0),
        protection(base, "<b>harm</b>", 30.0, -0.4, 0.02),
    ]
    found[0]["recommended"] = True
    found.append({"name": "without patients above 0.9", "reason": "too few", "recommended": False})
    layered = protection(base, "without the 5% most exposed", 6.0, 0.7, 0.0)
    side = {
        "patients": 300,
        "before": {"0.9": _figure(15.0, 5.0)},
        "after": {"0.9": _figure(6.0, 2.0)},
        "change": _figure(2.0, 1.0),
        "mean_auc_before": _figure(0.8, 0.01),
        "mean_auc": _figure(0.5, 0.01),
    }
    stayed = _figure(before := base["patients"]["auc"]["mean"] - 0.06, 0.01, n=5700)
    layered |= {
        "mean_auc_before": stayed,
        "mean_auc": _figure(before - 0.02, 0.01, n=5700),
        "mean_auc_change": _figure(-0.02, 0.004, n=5700),
    }
    layered["layers"] = {"removed": side, "remaining": side | {"patients": 5700}, "method": "m"}
    return [*found, layered]


def sizes(base: Summary) -> list[Summary]:
    """Three sizes of a model, the middle one the audited."""
    found = []
    for width, parameters, exposed in ((4, 3_000, 5.0), (8, 12_000, 21.0), (16, 46_000, 60.0)):
        point = protection(base, f"width {width}", exposed, 0.1, 0.0)
        found.append(point | {"parameters": parameters, "base": width == 8})
    return found


def with_later_parts() -> Summary:
    """Stability, planning, deployment, protection and decision, which later stages fill."""
    summary = rare_tail()
    summary["patients"]["stability"] = {
        "rank_agreement": {"estimate": 0.62, "low": 0.58, "high": 0.66},
        "top_1_percent_overlap": {"estimate": 0.55, "by_chance": 0.01, "patients": 60},
        "n_patients": 6000,
        "method": "two halves of the models, 20 random splits",
    }
    summary["patients"]["planning"] = [
        {"models": 64, "interval_width": 0.1},
        {"models": 128, "interval_width": 0.07},
    ]
    summary["deployment"] = {
        "reveals": HOSTILE_ATTRIBUTE + " was treated for HIV at this clinic",
        "population": "adults of the region",
        "prior": [0.001, 0.1],
        "prevalence": 0.004,
        "access": "probabilities",
        "knowledge": "records",
        "references": "all",
    }
    summary["exposure"] = exposures()
    summary["protection"] = protections(summary)
    summary["sweep"] = {"keys": ["width"], "points": sizes(summary)}
    summary["sizes"] = trained_on_more()
    summary["decision"] = {"verdict": "inconclusive", "reasons": ["too few models"]}
    return summary


def trained_on_more() -> Summary:
    """Three shares of the patients and what is expected of everybody."""

    def row(value: float) -> dict[str, float]:
        return {"estimate": value, "low": round(0.6 * value), "high": round(1.6 * value)}

    def auc(value: float) -> dict[str, float]:
        return {"estimate": value, "low": value - 0.01, "high": value + 0.01}

    points = [
        {
            "share": share, "trained_on": {"patients": round(6000 * share), "of": 6000},
            "models": models, "own": share == 0.5, "few_models": "",
            "exposed": {"0.9": row(exposed) | {"null": 0.0}},
            "mean_auc": auc(0.52 + 0.02 * place) | {"null": 0.5, "n": 6000},
            "mean_auc_change": auc(0.02 * place) if place else None,
            "utility": auc(0.61 + 0.01 * place) | {"metric": "auroc", "n": models},
        }
        for place, (share, models, exposed) in enumerate(
            ((0.5, 64, 17.2), (0.7, 64, 26.1), (0.9, 68, 33.7))
        )
    ]  # fmt: skip
    return {
        "held": "epochs", "points": points, "doubt": "", "method": "A line.",
        "whole": {
            "trained_on": {"patients": 6000, "of": 6000},
            "exposed": {"0.9": row(37.4) | {"widened": 1.3}},
            "mean_auc": auc(0.57), "utility": auc(0.63),
        },
        "left_out": {"share": 0.9, "exposed": {"0.9": row(31.0) | {"held": True}}},
    }  # fmt: skip


def exposures() -> list[Summary]:
    """Two accesses, two knowledges, one of them not estimable, and fewer reference models."""

    def part(value: float) -> dict[str, float]:
        return {"estimate": value, "low": 0.9 * value, "high": min(1.1 * value, 6000.0)}

    def cell(access: str, knowledge: str, references: int | str, strength: float) -> Summary:
        return {
            "access": access, "access_label": access, "knowledge": knowledge,
            "knowledge_label": f"the {knowledge}", "references": references, "queries": 1,
            "declared": (access, knowledge, references) == ("probabilities", "records", "all"),
            "patients": 6000,
            "auc": {"mean": strength, "low": strength - 0.01, "high": strength + 0.01,
                    "null_mean": 0.5},
            "exposed": {"0.9": {"estimate": 17, "low": 11, "high": 25, "null": 0}},
            "over_all": {"auc": strength}, "calibration": {"error": 0.001, "brier": 0.2, "n": 9},
            "by_prior": [
                {"prior": prior, "fpr": 0.001, "tpr": part(0.1 * strength),
                 "ppv": part(0.9 * prior / (prior + 0.05)),
                 "named": {q: {"patients": part(12), "false": part(3)}
                           for q in ("0.5", "0.9", "0.99")},
                 "belief": {"from": 0.004 + prior, "to": part(0.9 * prior / (prior + 0.05))}}
                for prior in (0.001, 0.01, 0.1, 0.5)
            ],
            "method": "joint attack",
        }  # fmt: skip

    broken = cell("label", "crop:0.8", "all", 0.5) | {
        "patients": 4, "by_prior": [], "exposed": {}, "reason": "only 4 patients",
        "auc": {"mean": None, "low": None, "high": None, "null_mean": None},
    }  # fmt: skip
    return [
        cell("probabilities", "records", "all", 0.7),
        cell("label", "records", "all", 0.6),
        cell("probabilities", "crop:0.8", "all", 0.6),
        broken,
        cell("probabilities", "records", 0, 0.55),
        cell("probabilities", "records", 4, 0.6),
    ]


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
    "everyone": everyone,
    "demonstration": demonstration,
    "later parts": with_later_parts,
}
