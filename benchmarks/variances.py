"""LiRA's variances: pooled, each record's own, shrunk towards one value or towards a local trend.

    python -m benchmarks.variances --work FOLDER

Audits real cohorts with 128 models, found through AUSCULT_DATA, in the folder --work; finished runs
in it are used again. A smaller number of models is one of several sets that share no model.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from auscult.attacks.layout import Layout, take_patients
from auscult.attacks.record import (
    PartScorer,
    RecordAttack,
    References,
    VarianceRule,
    VarianceRules,
    _gathered,
    lira_offline,
    lira_online,
    references,
    shrunk_variances,
)
from auscult.attacks.roc import exact_auc
from auscult.attacks.variances import NO_SPREAD, learned, shrunk
from auscult.base.progress import SILENT
from auscult.risk.patients import permuted
from benchmarks.real import layout_of
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.variances"
COHORTS = ("diabetes130", "support2", "parkinsons_telemonitoring")
MOST = 128
MODELS = (16, 32, 64, 128)
FPR = (0.01, 0.001)
MEASURES = ("AUC", "TPR at 1%", "TPR at 0.1%")
ATTACKS: dict[str, Callable[[Layout, VarianceRules], PartScorer]] = {
    "online": lira_online,
    "offline": lira_offline,
}


def own(_: Layout) -> VarianceRule:
    """Every record's own variance."""
    return lambda ref, _: np.maximum(ref.variance, 1e-12)


def pooled(layout: Layout) -> VarianceRule:
    """One variance for all records: the mean of theirs."""
    ref = everything(layout)
    free = np.maximum(ref.number - 1, 0)
    one = (free * ref.variance).sum(axis=(0, 1)) / free.sum(axis=(0, 1))
    return lambda ref, _: np.broadcast_to(one, ref.variance.shape)


def local(layout: Layout) -> VarianceRule:
    """Shrunk towards a trend: log variance as a quadratic function of the OUT mean.

    The trend is learned from all patients at once, which can only favour it.
    """
    ref = everything(layout)
    level = ref.mean[..., 0]
    centre, scale = float(level.mean()), float(level.std())
    low, high = np.quantile((level - centre) / scale, [0.005, 0.995])

    def terms(ref: References) -> NDArray[np.float64]:
        z = np.clip((ref.mean[..., 0] - centre) / scale, low, high)
        return np.stack([np.ones_like(z), z, z * z], axis=-1)

    fits = []
    for label in (0, 1):
        variance, number = ref.variance[..., label].ravel(), ref.number[..., label].ravel()
        seen = variance > NO_SPREAD * variance.mean()
        free = number[seen] - 1
        logarithm = np.log(variance[seen]) - digamma(free / 2) + np.log(free / 2)
        trend, *_ = np.linalg.lstsq(terms(ref).reshape(-1, 3)[seen], logarithm, rcond=None)
        around = variance / np.exp(terms(ref).reshape(-1, 3) @ trend)
        fits.append((trend, learned(around, number)))

    def rule(ref: References, _: Layout) -> NDArray[np.float64]:
        found = np.empty_like(ref.variance)
        for label, (trend, prior) in enumerate(fits):
            scale = np.exp(terms(ref) @ trend)
            found[..., label] = scale * shrunk(
                ref.variance[..., label] / scale,
                ref.number[..., label],
                np.array(prior.value),
                np.array(prior.freedom),
            )
        return np.maximum(found, 1e-12)

    return rule


def everything(layout: Layout) -> References:
    """References of all patients who are estimable."""
    usable, _ = take_patients(layout, np.flatnonzero(layout.estimable()))
    parts = [references(*_gathered(part)[:2]) for _, _, part in usable.parts()]
    number, mean, variance = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("number", "mean", "variance")
    )
    return References(number=number, mean=mean, variance=variance)


RULES: dict[str, VarianceRules] = {
    "pooled": pooled,
    "own": own,
    "shrunk, one value": shrunk_variances,
    "shrunk, local": local,
}


def rates(members: NDArray[np.floating], others: NDArray[np.floating]) -> list[float]:
    """AUC and true positive rates; a curve passes through ties in a straight line."""
    edges = np.unique(others)[::-1]
    ordered = (np.sort(others), np.sort(members))
    fpr, tpr = (
        np.concatenate([[0.0], 1 - np.searchsorted(x, edges, side="left") / x.size, [1.0]])
        for x in ordered
    )
    # Members above every other person come without a false positive.
    tpr[0] = float(np.mean(members > edges[0]))
    found = [float(np.interp(f, fpr, tpr)) if f * others.size >= 1 else np.nan for f in FPR]
    return [exact_auc(members, others), *found]


def judged(layout: Layout, attack: str, rule: str) -> NDArray[np.float64]:
    """Measures under every target, shape (targets, measures)."""
    begin = partial(ATTACKS[attack], rule=RULES[rule])  # type: ignore[call-arg]
    scores = RecordAttack(name=attack, label=attack, what=attack, begin=begin).score(layout, SILENT)
    rows = []
    for model in range(layout.models):
        column, inside = scores[model], layout.member[layout.patient, model]
        kept = np.isfinite(column)
        rows.append(rates(column[kept & inside], column[kept & ~inside]))
    return np.array(rows)


def with_models(layout: Layout, models: NDArray[np.int64]) -> Layout:
    """The same cohort with some of the models."""
    return replace(layout, signals=layout.signals[:, models], member=layout.member[:, models])


def cell(found: NDArray[np.float64], null: NDArray[np.float64]) -> str:
    """Mean over targets, its standard error, the null."""
    if np.isnan(found).any():
        return "not resolved"
    error = found.std(ddof=1) / np.sqrt(found.size)
    return f"{found.mean():.4f} ± {error:.4f} ({null.mean():.4f})"


def variances(work: Path) -> None:
    """AUC and true positive rates of LiRA under each rule."""
    rows: list[list[list[str]]] = [[] for _ in MEASURES]
    won = {rule: np.zeros(len(MEASURES)) for rule in RULES}
    cases = 0
    for cohort in COHORTS:
        whole = layout_of(cohort, MOST, work)
        labels = permuted(whole, np.random.default_rng(11))
        for attack in ATTACKS:
            for models in MODELS:
                sets = np.arange(MOST).reshape(-1, models)
                found, null = (
                    {
                        rule: np.concatenate(
                            [judged(with_models(one, some), attack, rule) for some in sets]
                        )
                        for rule in RULES
                    }
                    for one in (whole, labels)
                )
                cases += 1
                for i, place in enumerate(rows):
                    cells = [cell(found[rule][:, i], null[rule][:, i]) for rule in RULES]
                    place.append([cohort, attack, str(models), *cells])
                for rule in RULES:
                    won[rule] += np.mean(found[rule] - found["shrunk, one value"], axis=0)
                print(cohort, attack, models, [place[-1][3:] for place in rows], flush=True)
    means = [[rule, *(f"{x / cases:+.4f}" for x in won[rule])] for rule in RULES]
    text = (
        "Mean over 128 targets ± its standard error over targets (the same with each patient's "
        "membership permuted over the models). 16, 32 and 64 models are 8, 4 and 2 sets that share "
        "no model, in which a patient is IN more or less often than OUT; every target is judged by "
        "the models of other folds, as in an audit. `pooled` is one variance for all records, "
        "`own` each record's own; the others are shrunk towards one value, as in an audit, or "
        "towards a trend over the OUT mean.\n\n"
        "Mean difference from one value over all rows below:\n\n"
        + table(["variances", *MEASURES], means)
        + "\n"
        + "".join(
            f"\n{measure}:\n\n{table(['cohort', 'LiRA', 'models', *RULES], place)}\n"
            for measure, place in zip(MEASURES, rows, strict=True)
        )
    )
    record("variances", "LiRA's variances", f"{COMMAND} --work FOLDER", text.rstrip("\n"))


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    chosen = parser.parse_args()
    if chosen.work is not None:
        variances(chosen.work)
        return
    with tempfile.TemporaryDirectory() as folder:
        variances(Path(folder))


if __name__ == "__main__":
    main()
