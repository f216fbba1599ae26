"""Attacks on the same stored outputs: who is told, in how many models, at what cost.

    python -m benchmarks.attacks [--state FOLDER] [--seconds S] [--models M] [--patients N]

Shared cohorts, found through AUSCULT_DATA, each under several recipes. Every attack gets the same
signals, is judged on models that it was not fitted on, and is run again where nothing leaks. An
attack of another package (`[project.entry-points."auscult.attacks"]`) is added with `--attack NAME`
and judged by the same rules. In a folder given as --state finished runs and cases are kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.alike import place_among_alike
from auscult.attacks.joint import auc_in_folds, tuned
from auscult.attacks.layout import Centring, Layout
from auscult.attacks.places import Places
from auscult.attacks.record import ATTACKS, GAMMA, PartScorer, RecordAttack, _gathered
from auscult.attacks.roc import aggregate_roc
from auscult.audit import Audit
from auscult.base.progress import SILENT
from auscult.config import LoadedConfiguration, parse
from auscult.exposure.one_model import ONE_MODEL_FPR, _people, comparable_scores
from auscult.risk.patients import count_patients, permuted
from auscult.risk.signs import study_auc
from benchmarks.real import COHORTS, data_folder, layout_of_audit
from benchmarks.results import record, table
from benchmarks.slices import in_slices
from benchmarks.variances import rates

COMMAND = "python -m benchmarks.attacks"
SEED = 7
JOINT, BEFORE, STUDY = "joint, neighbours as controls", "joint, centred only", "study's maximum"
PERMUTED, MOST_NULLS = 2000, 4
EXPOSED = 0.9

MIMIC = """
[cohort]
table = "mimic3_demo/ADMISSIONS.csv"
patient = "SUBJECT_ID"
label = "HOSPITAL_EXPIRE_FLAG"
groups = ["GENDER", "INSURANCE"]
exclude = ["ROW_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "EDREGTIME", "EDOUTTIME",
           "DISCHARGE_LOCATION", "HAS_CHARTEVENTS_DATA"]
join = [
    { table = "mimic3_demo/PATIENTS.csv", on = "SUBJECT_ID", columns = ["GENDER"] },
    { table = "mimic3_demo/ICUSTAYS.csv", on = "HADM_ID", sum = ["LOS"] },
    { table = "mimic3_demo/DIAGNOSES_ICD.csv", on = "HADM_ID", count = ["ICD9_CODE"] },
]
[recipe]
kind = "torch"
model = "mlp"
hidden = [64, 64]
epochs = 15
batch_size = 32
"""
BOOSTING = {"kind": "sklearn", "model": "gradient_boosting"}
CASES: tuple[tuple[str, str], ...] = (
    ("mimic3_demo", "mlp"),
    ("mimic3_demo", "gradient boosting"),
    ("hannover_covid_cxr_64", "cnn"),
    ("diabetes130", "mlp"),
    ("support2", "mlp"),
    ("parkinsons_telemonitoring", "mlp"),
    ("diabetes130", "gradient boosting"),
    ("support2", "gradient boosting"),
    ("parkinsons_telemonitoring", "gradient boosting"),
    ("lgg_mri_64 at 32 px, overfitted", "cnn"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """What an attack finds.

    Attributes
    ----------
    auc : float64 array, shape (patients,)
        Of every patient over models; NaN where not estimable.
    scores : float array, shape (patients, models), or None
        On one scale for all patients, higher for a member; None where it makes no such score.
    seconds : float
        Of the processor, from signals to scores.
    centring : Centring, optional
        Which is the same whoever is a member, and is used again where nothing leaks.
    """

    auc: NDArray[np.float64]
    scores: NDArray[np.floating] | None
    seconds: float
    centring: Centring | None = None


Attack = Callable[[Layout, Centring | None], Scored]


Combine = Callable[[NDArray[np.floating], Layout], NDArray[np.floating]]


def by_records(attack: RecordAttack, combine: Combine) -> Attack:
    """An attack on records, whose scores of a patient's records are combined."""

    def run(layout: Layout, _: Centring | None) -> Scored:
        begin = time.process_time()
        scores = attack.score(layout, SILENT)
        found = np.empty((layout.patients, layout.models))
        for model in range(layout.models):
            found[:, model] = combine(attack.of_target(scores, layout, model), layout)
        seconds = time.process_time() - begin
        over_models = found
        if attack.name.startswith("rmia"):
            over_models = np.empty_like(found)
            for model in range(layout.models):
                outside = ~layout.member[layout.patient, model]
                ratio = np.asarray(scores[model], dtype=np.float64)
                shares = of_other_patients(ratio, outside, layout.patient)
                over_models[:, model] = combine(shares, layout)
        return Scored(auc=auc_of(layout, over_models), scores=found, seconds=seconds)

    return run


def of_other_patients(
    ratio: NDArray[np.float64], outside: NDArray[np.bool_], patient: NDArray[np.int64]
) -> NDArray[np.float64]:
    """RMIA's shares of other patients' records only: for comparing one record under several models.

    A record that is OUT of a model is one of the population itself, and never dominates itself: it
    would look less like a member for that alone (with 20 patients, AUC 0.52 where nothing leaks).
    Under one model, where records are compared with each other, leaving it out would be what is
    unfair: non-members would get higher shares than members with the same ratio.
    """
    population, theirs = ratio[outside], patient[outside]
    if not population.size:
        return np.zeros(len(ratio))
    below = np.searchsorted(np.sort(population), ratio / GAMMA, side="left")
    # Of their own patient's records as well, by one search: patients in turn, records ascending.
    place = np.empty(population.size, dtype=np.int64)
    place[np.argsort(population, kind="stable")] = np.arange(population.size)
    key = np.sort(theirs * (population.size + 1) + place)
    start = patient * (population.size + 1)
    first, until = np.searchsorted(key, start), np.searchsorted(key, start + below)
    own = np.searchsorted(key, start + population.size) - first
    return np.asarray((below - (until - first)) / np.maximum(population.size - own, 1))


def total(column: NDArray[np.floating], layout: Layout) -> NDArray[np.floating]:
    """Sum over a patient's records: of log likelihood ratios."""
    return np.add.reduceat(column.astype(np.float64), layout.first)


def mean(column: NDArray[np.floating], layout: Layout) -> NDArray[np.floating]:
    """Mean over a patient's records."""
    return np.asarray(total(column, layout) / layout.count)


def largest(column: NDArray[np.floating], layout: Layout) -> NDArray[np.floating]:
    """Largest of a patient's records."""
    return np.asarray(np.maximum.reduceat(column, layout.first))


def auc_of(layout: Layout, scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """AUC of every patient: models are compared with those that had the same references."""
    dealt = layout.deal()
    flat = dealt.model.reshape(layout.patients, -1)
    values = np.take_along_axis(scores.astype(np.float64), flat, axis=1).reshape(dealt.model.shape)
    values[~layout.estimable()] = np.nan
    return auc_in_folds(values, dealt.weight)


def joint(*, neighbours: bool) -> Attack:
    """The joint attack, with or without other patients' records as controls."""

    def run(layout: Layout, centring: Centring | None) -> Scored:
        begin = time.process_time()
        if centring is None:
            centring = Centring(layout if neighbours else replace(layout, places=None))
        attack = tuned(layout, centring)
        scores = comparable_scores(layout, attack, centring, SEED)
        seconds = time.process_time() - begin
        parts = []
        for _, _, part in layout.parts():
            signals = centring.apply(part)
            parts.append(count_patients(part, signals, attack.score(part, signals))[0].auc)
        auc = np.concatenate(parts)
        return Scored(auc=auc, scores=scores, seconds=seconds, centring=centring)

    return run


def study_maximum(layout: Layout, _: Centring | None) -> Scored:
    """Of a patient's records the largest AUC, in the models by which it is chosen."""
    begin = time.process_time()
    auc = study_auc(layout, layout.signals)
    return Scored(
        auc=np.maximum.reduceat(auc, layout.first),
        scores=None,
        seconds=time.process_time() - begin,
    )


def attack_r(_: Layout) -> PartScorer:
    """Share of the OUT references that are less sure of the record (Ye et al. 2022, attack R)."""

    def score(part: Layout) -> NDArray[np.floating]:
        values, weight, model = _gathered(part)
        found = np.empty_like(values)
        for fold in range(part.folds):
            others = np.arange(part.folds) != fold
            reference = values[:, others, 0].reshape(part.records, 1, -1)
            counts = weight[:, others, 0].reshape(part.records, -1)
            x = values[:, fold].reshape(part.records, -1, 1)
            below = 0.5 * ((x > reference).astype(np.float32) + (x >= reference))
            share = np.einsum("rpq,rq->rp", below, counts) / counts.sum(axis=1, keepdims=True)
            found[:, fold] = share.reshape(found[:, fold].shape)
        result = np.full(part.signals.shape, np.nan, dtype=part.signals.dtype)
        row, at = np.nonzero(weight.reshape(part.records, -1))
        flat = (x.reshape(part.records, -1) for x in (model, found))
        places, shares = flat
        result[row, places[row, at]] = shares[row, at]
        return result

    return score


def quantile_regression(layout: Layout) -> PartScorer:
    """Where a record's signal lies among those of non-members like it, by one model alone."""
    if layout.places is None:
        raise SystemExit("quantile regression needs the inputs")
    alike = place_among_alike(layout, layout.places)
    found = np.empty((int(layout.order.max()) + 1, layout.models), dtype=np.float32)
    found[layout.order] = alike
    return lambda part: found[part.order]


def attacks(added: list[str]) -> dict[str, tuple[str, Attack]]:
    """Models that an attacker trains, and the attack; the joint ones last."""
    own = {attack.name: attack for attack in ATTACKS.built_in()}
    others = {
        "attack-R": RecordAttack(
            name="attack_r", label="Attack R", what="share of OUT references below", begin=attack_r
        ),
        "quantile regression": RecordAttack(
            name="quantile_regression",
            label="Quantile regression",
            what="place among non-members alike",
            begin=quantile_regression,
        ),
    }
    return {
        "population threshold": ("none", by_records(own["population"], mean)),
        "quantile regression": ("none", by_records(others["quantile regression"], mean)),
        STUDY: ("all", study_maximum),
        "LiRA, largest of the records": ("all", by_records(own["lira"], largest)),
        "LiRA, sum over records": ("all", by_records(own["lira"], total)),
        "LiRA offline, sum": ("OUT only", by_records(own["lira_offline"], total)),
        "RMIA, mean over records": ("all", by_records(own["rmia"], mean)),
        "RMIA offline, mean": ("OUT only", by_records(own["rmia_offline"], mean)),
        "attack-R, mean over records": ("OUT only", by_records(others["attack-R"], mean)),
        **{
            name: ("as it needs", by_records(ATTACKS.get(name, "--attack"), mean)) for name in added
        },
        BEFORE: ("all", joint(neighbours=False)),
        JOINT: ("all", joint(neighbours=True)),
    }


def audit_of(cohort: str, recipe: str, models: int, patients: int) -> Audit:
    """The audit of a case."""
    content = tomllib.loads(MIMIC if cohort == "mimic3_demo" else COHORTS[cohort])
    if recipe == "gradient boosting":
        content["recipe"] = dict(BOOSTING)
    if cohort in ("diabetes130", "support2"):
        content["cohort"]["max_patients"] = patients
    content["audit"] = {"models": models, "seed": SEED}
    return LoadedConfiguration(parse(content, cohort), data_folder()).audit()


def judged(layout: Layout, found: Scored) -> dict[str, Any]:
    """Mean AUC, share above 0.9, one-model rates, and what a paired difference needs."""
    known = np.isfinite(found.auc)
    said: dict[str, Any] = {
        "auc": float(np.mean(found.auc[known])),
        "above": float(np.mean(found.auc[known] > EXPOSED)),
        "tpr": [None] * len(ONE_MODEL_FPR),
        "by_model": None,
    }
    if found.scores is None:
        return said
    people = _people(layout, found.scores.astype(np.float32))
    roc = aggregate_roc(people, lambda m: people.signals[:, m], np.random.default_rng(SEED))
    said["tpr"] = [one and one[0] for one in (roc.tpr_at(fpr) for fpr in ONE_MODEL_FPR)]
    rows = []
    for model in range(layout.models):
        column, inside = people.signals[:, model], layout.member[:, model]
        kept = np.isfinite(column)
        rows.append(rates(column[kept & inside], column[kept & ~inside])[1:])
    said["by_model"] = np.array(rows)
    return said


def difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> list[float] | None:
    """Mean difference of pairs and its standard error."""
    both = (one - other)[np.isfinite(one) & np.isfinite(other)]
    if both.size < 2:
        return None
    return [float(both.mean()), float(both.std(ddof=1) / np.sqrt(both.size))]


def measured(number: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One case: every attack, and where nothing leaks."""
    cohort, recipe = CASES[number]
    audit = audit_of(cohort, recipe, given.models, given.patients)
    name = f"{cohort.split()[0]}-{recipe.replace(' ', '-')}-{given.patients}-{given.models}"
    layout = replace(
        layout_of_audit(audit, work / name, SILENT),
        places=Places.of(audit.cohort.inputs, audit.cohort.patient_of_record),
    )
    repeats = int(np.clip(-(-PERMUTED // layout.patients), 1, MOST_NULLS))
    nulls = [permuted(layout, np.random.default_rng([SEED, i])) for i in range(repeats)]
    found, rows = {}, {}
    for name, (means, attack) in attacks(given.attack).items():
        found[name] = attack(layout, None)
        said = judged(layout, found[name])
        chance = [(one, attack(one, found[name].centring)) for one in nulls]
        null = [judged(one, scored) for one, scored in chance]
        auc = np.concatenate([scored.auc[np.isfinite(scored.auc)] for _, scored in chance])
        rows[name] = said | {
            "means": means,
            "seconds": found[name].seconds,
            "null_auc": [float(auc.mean()), float(auc.std() / np.sqrt(auc.size))],
            "null_tpr": [
                None if t is None else float(np.mean([one["tpr"][i] for one in null]))
                for i, t in enumerate(said["tpr"])
            ],
        }
        print(cohort, recipe, name, rows[name] | {"by_model": None}, flush=True)
    best = rows[JOINT].pop("by_model")
    for name, row in rows.items():
        theirs = row.pop("by_model", None)
        row["gain"] = [
            None if name == STUDY else difference(found[JOINT].auc, found[name].auc),
            *(
                None if theirs is None else difference(best[:, i], theirs[:, i])
                for i in range(len(ONE_MODEL_FPR))
            ),
        ]
    centring = found[JOINT].centring or Centring(layout)
    told = centring.neighbours
    return {
        "cohort": cohort,
        "recipe": recipe,
        "records": layout.records,
        "patients": layout.patients,
        "neighbours": told.reason or f"{100 * told.removed:.0f}% of the variance",
        "attacks": rows,
    }


def percent(value: float | None) -> str:
    """A rate, or that the cohort is too small for it."""
    return "not resolved" if value is None else f"{100 * value:.2f}%"


def rows_of(case: dict[str, Any]) -> Iterator[list[str]]:
    """Rows of a case's table."""
    for name, row in case["attacks"].items():
        rates_ = [
            "" if name == STUDY else percent(t) + ("" if t is None else f" ({percent(n)})")
            for t, n in zip(row["tpr"], row["null_tpr"], strict=True)
        ]
        null, error = row["null_auc"]
        yield [
            name,
            row["means"],
            f"{row['auc']:.4f} ({null:.4f} ± {error:.4f})",
            f"{100 * row['above']:.1f}%",
            *rates_,
            f"{row['seconds']:.1f}",
        ]


def gained(pair: list[float] | None, unit: float = 1.0) -> str:
    """A difference with its standard error."""
    if pair is None:
        return ""
    digits = 4 if unit == 1 else 2
    return f"{unit * pair[0]:+.{digits}f} ± {unit * pair[1]:.{digits}f}"


def verdict(pair: list[float] | None) -> str:
    """Better or worse by more than two standard errors."""
    if pair is None or abs(pair[0]) <= 2 * pair[1]:
        return "no difference"
    return "better" if pair[0] > 0 else "worse"


def strongest(case: dict[str, Any]) -> str:
    """The best of the other attacks by mean AUC; the study's figure is biased and left out."""
    others: dict[str, float] = {
        k: v["auc"] for k, v in case["attacks"].items() if k not in (JOINT, BEFORE, STUDY)
    }
    return max(others, key=lambda name: others[name])


def written(cases: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """The section of RESULTS.md."""
    summary = []
    for case in cases:
        for rival in (BEFORE, strongest(case)):
            gain = case["attacks"][rival]["gain"]
            summary.append(
                [
                    f"{case['cohort']}, {case['recipe']}",
                    "" if rival != BEFORE else case["neighbours"],
                    rival,
                    gained(gain[0]),
                    *(gained(one, 100) for one in gain[1:]),
                    verdict(gain[0]),
                ]
            )
    text = (
        f"{given.models} models of each cohort and recipe; of diabetes130 and support2 "
        f"{given.patients:,} patients. Every attack gets the same signals (log-odds of the truth) "
        "and is judged on models it was not fitted on, except the study's maximum, whose figure "
        "is of the models by which the record is chosen: its null says by how much it is too "
        "high. AUC: of each patient over models, mean over patients (where each patient's "
        "membership is permuted over the models, ± standard error over patients). Above 0.9: share "
        "of patients, counted, not shrunken. TPR: in one model, one threshold for all patients, "
        "mean over models (null). Models: what the attacker trains besides. Seconds: of the "
        "processor, from signals to scores of all patients under all models. Quantile regression "
        "and attack R are written anew after the papers, the former in its Gaussian form.\n\n"
        f"What `{JOINT}` gains on the attack named, with standard errors over patients (AUC) and "
        "over models (percentage points of the TPR); better or worse: AUC, beyond two of them.\n\n"
        + table(
            ["cohort", "neighbours explain", "against", "AUC", "TPR at 1%", "TPR at 0.1%", ""],
            summary,
        )
    )
    for case in cases:
        text += (
            f"\n\n{case['cohort']}, {case['recipe']}: {case['patients']:,} patients, "
            f"{case['records']:,} records.\n\n"
        )
        text += table(
            ["attack", "models", "AUC (null)", "above 0.9", "TPR at 1%", "TPR at 0.1%", "seconds"],
            list(rows_of(case)),
        )
    left = [f"{c}, {r}" for c, r in CASES[len(cases) :]]
    if left:
        text += "\n\nNot measured here: " + "; ".join(left) + "."
    options = f"--models {given.models} --patients {given.patients} --cases {len(cases)}"
    record("attack-benchmark", "Which attack is strongest", f"{COMMAND} {options}", text)


def main() -> None:
    """Measure what the options say, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--patients", type=int, default=3000, help="of the large cohorts")
    parser.add_argument("--cases", type=int, default=len(CASES), help="only the first so many")
    parser.add_argument("--attack", action="append", default=[], help="one of another package")
    parser.add_argument("--state", type=Path, help="folder for runs and what was found")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        work = given.state or Path(passing)
        work.mkdir(parents=True, exist_ok=True)
        kept = work / f"attacks-{given.models}-{given.patients}.json" if given.state else None
        found = in_slices(
            kept, min(given.cases, len(CASES)), lambda n: measured(n, given, work), given.seconds
        )
    written([found[number] for number in sorted(found)], given)


if __name__ == "__main__":
    main()
