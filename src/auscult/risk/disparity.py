"""Risk by group: who carries more of it, how sure that is, and what may be shown.

Group means are of the raw, unshrunk AUC: it is noisy for one patient and unbiased for many, while a
shrunken one leans towards everybody else and would hide part of a disparity. Groups with fewer
patients than the smallest cell are not shown, nor is anything from which they could be worked out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.layout import Layout
from auscult.base.parallel import in_order
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, generator
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.disclosure import supported
from auscult.risk.equal_counts import at_equal_counts, without_count
from auscult.risk.exposed import adjusted
from auscult.risk.group_intervals import difference_interval, mean_interval, share_interval
from auscult.risk.patients import PatientRisk
from auscult.risk.published import (
    coarse_p,
    mirrored,
    published_mean,
    rounded_row,
    utility_to_step,
)
from auscult.risk.released import ReleasedTable, released_tables

PERMUTATIONS = 500

NOT_TOLD = "withheld: with the numbers of patients, it would tell how many are in small groups"
METHOD = (
    "Mean raw AUC of the joint attack; 95% interval by studentised bootstrap over patients. "
    "Difference, interval and p: against all other patients with equally many records, by "
    "regression on the group within each record count; where few patients have a count, among "
    "similar counts with the effect of the count removed. q after Benjamini and Hochberg over all "
    "groups shown."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Values:
    """Per-patient values of the estimable patients, and their mean as it is published."""

    auc: NDArray[np.float64]
    tail: NDArray[np.float64]
    count: NDArray[np.int64]
    overall: float | None
    overall_step: float


def disparities(
    groups: pd.DataFrame,
    risk: PatientRisk,
    layout: Layout,
    *,
    seed: int,
    smallest_cell: int = SMALLEST_CELL,
    intersections: tuple[tuple[str, str], ...] = (),
    utility: dict[str, dict[str, dict[str, Any]]] | None = None,
    composition: dict[str, dict[str, Any]] | None = None,
    progress: Progress = SILENT,
    tables: dict[str, ReleasedTable] | None = None,
    step: float = 0.0,
) -> dict[str, Any]:
    """Compare the groups of every attribute, and of intersections of two.

    Parameters
    ----------
    groups : DataFrame, shape (patients, attributes)
        In the cohort's order of patients.
    risk : PatientRisk
        With the tail probability at 0.9.
    layout : Layout
    seed : int
        The audit's seed.
    smallest_cell : int
        Groups with fewer estimable patients are suppressed.
    intersections : tuple of pairs of str
        Attributes to cross.
    utility : dict, optional
        Utility per attribute and group, put beside the risk.
    composition : dict, optional
        Composition of the top 1% per attribute, from
        :func:`auscult.risk.composition.top_composition`.
    progress : Progress
        Advanced by one per attribute and pair.
    tables : dict, optional
        The tables as they may be published, where :func:`release_groups` found them before.
    step : float
        To what the mean over everybody is rounded; 0 where it stays as it is, infinite where it is
        withheld.

    Returns
    -------
    dict
        The "disparities" object of the summary.
    """
    usable = np.isfinite(risk.auc_raw)
    values = _Values(
        auc=risk.auc_raw[usable],
        tail=risk.posterior.tails[0.9][usable],
        count=layout.count[usable],
        overall=published_mean(float(risk.auc_raw[usable].mean()), step),
        overall_step=step,
    )
    if tables is None:
        tables = released_tables(
            groups, usable, layout.count, smallest_cell=smallest_cell, intersections=intersections
        )
    released = tables
    result: dict[str, Any] = {}
    tests: list[tuple[str, str, float]] = []

    def compare(name: str) -> dict[str, Any]:
        table = released[name]

        def stream(what: str) -> np.random.Generator:
            return generator(seed, Stage.BOOTSTRAP_PATIENTS, name, what)

        suppressed: dict[str, Any] = {
            "groups": table.pooled if table.told else None,
            "smallest_cell": smallest_cell,
        }
        if not table.told:
            suppressed["reason"] = NOT_TOLD
        if table.base > 1:
            suppressed["counts_rounded_to"] = table.base
        return _attribute(table, values, stream, smallest_cell) | {"suppressed": suppressed}

    for name, entry in zip(released, in_order(compare, released), strict=True):
        for group, row in entry["groups"].items():
            tests.append((name, group, row["p"]))
            # A pool of another table's making would be other patients under the same name.
            if utility and group in utility.get(name, {}) and released[name].alone(group):
                row["utility"] = utility_to_step(utility[name][group], released[name].steps[group])
        if composition and name in composition:
            entry["composition"] = _shown_alone(composition[name], released[name])
        result[name] = entry
        progress.advance()
    finite = [i for i, (_, _, p) in enumerate(tests) if p is not None]
    if finite:
        q = adjusted(np.array([tests[i][2] for i in finite]))
        for place, i in enumerate(finite):
            name, group, _ = tests[i]
            result[name]["groups"][group]["q"] = float(q[place])
    return result


def _shown_alone(composition: dict[str, Any], table: ReleasedTable) -> dict[str, Any]:
    """Residuals of the groups that the table shows on their own."""
    rows = {name: row for name, row in composition["groups"].items() if table.alone(name)}
    return composition | {"groups": rows}


def _attribute(
    table: ReleasedTable,
    values: _Values,
    stream: Callable[[str], np.random.Generator],
    smallest_cell: int,
) -> dict[str, Any]:
    """Compare the shown groups of one attribute; each has its stream by its name."""
    rows: dict[str, dict[str, Any]] = {}
    for group in table.shown:
        inside = table.labels == group
        row = _group(inside, values, stream(f"group {group}"), smallest_cell)
        rows[group] = rounded_row(
            row,
            table.steps[group],
            table.base,
            patients=values.auc.size,
            overall=values.overall,
            overall_step=values.overall_step,
        )
    if len(rows) == 2 and np.isin(table.labels, list(rows)).all():
        mirrored(rows)
    return {
        "method": METHOD,
        "n_patients": int(table.labels.size),
        "groups": rows,
        "spread": _spread(table, values, stream("spread")),
    }


def _group(
    inside: NDArray[np.bool_], values: _Values, rng: np.random.Generator, smallest_cell: int
) -> dict[str, Any]:
    mine = values.auc[inside]
    low, high = mean_interval(mine, rng)
    tail_low, tail_high = share_interval(values.tail[inside])
    row: dict[str, Any] = {
        "patients": int(inside.sum()),
        "mean_auc": float(mine.mean()),
        "low": low,
        "high": high,
        "exposed_0.9": float(values.tail[inside].mean()),
        "exposed_0.9_low": tail_low,
        "exposed_0.9_high": tail_high,
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "difference_same_records": None,
        "p": None,
        "q": None,
        "others": int(inside.size - inside.sum()),
        "patients_compared": None,
        "others_compared": None,
        "difference_any_records": None,
        "difference_any_records_low": None,
        "difference_any_records_high": None,
    }
    rest = values.auc[~inside]
    if rest.size < 2:
        return row | {"reason": "nobody else to compare with"}
    if rest.size < smallest_cell:
        return row | {"reason": f"fewer than {smallest_cell} others to compare with"}
    low, high = difference_interval(mine, rest, rng)
    row["difference_any_records"] = float(mine.mean() - rest.mean())
    row["difference_any_records_low"], row["difference_any_records_high"] = low, high
    found = at_equal_counts(values.auc, inside, values.count, fewest=smallest_cell)
    row["difference"] = row["difference_same_records"] = found.difference
    row["difference_low"], row["difference_high"] = found.low, found.high
    row["p"] = coarse_p(found.p)
    if found.difference is None:
        row["reason"] = found.reason
        return row
    row["patients_compared"] = _but_few(found.patients, mine.size, smallest_cell)
    row["others_compared"] = _but_few(found.others, rest.size, smallest_cell)
    return row


def _but_few(number: int, of: int, smallest_cell: int) -> int | None:
    """How many were compared; None for all but a few, whose number would be a small cell."""
    return None if 0 < of - number < smallest_cell else number


def _spread(
    table: ReleasedTable, values: _Values, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Largest less smallest group mean against the same under permuted labels.

    With many small groups some always lie far apart: the null mean says how far (METHOD 6).
    """
    labels = table.labels
    shown = [group for group in table.shown if np.isfinite(table.steps[group])]
    if len(shown) < 2:
        return None
    kept = np.isin(labels.astype(str), shown)
    codes = pd.Categorical(labels[kept].astype(str), categories=shown).codes.astype(np.int64)
    sizes = np.bincount(codes)
    auc, stratum = without_count(values.auc[kept], values.count[kept])
    order = np.argsort(stratum, kind="stable")
    codes, auc, stratum = codes[order], auc[order], stratum[order]
    shuffled = auc.copy()
    parts = np.split(shuffled, np.flatnonzero(np.diff(stratum)) + 1)  # views

    def width(x: NDArray[np.float64]) -> float:
        return float(np.ptp(np.bincount(codes, x, minlength=len(shown)) / sizes))

    estimate = width(auc)
    repeats = int(np.clip(2e7 / auc.size, 100, PERMUTATIONS))
    null = np.empty(repeats)
    for r in range(repeats):
        shuffled[:] = auc
        for part in parts:
            rng.shuffle(part)
        null[r] = width(shuffled)
    coarsest = max(table.steps[group] for group in shown)
    return {
        "estimate": supported(estimate, int(sizes.min()), coarsest),
        "null_mean": supported(float(null.mean()), int(sizes.min()), coarsest),
        "p": coarse_p(float((1 + (null >= estimate).sum()) / (1 + repeats))),
        "permutations": repeats,
    }


def crossings(
    names: list[str], most: int = 3, *, label: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Pairs of attributes to cross when none are asked for: the first few, then the label's.

    Parameters
    ----------
    names : list of str
        Attributes, in the order of the cohort.
    most : int
        How many of the first are crossed.
    label : str, optional
        The attribute that is made of the label.
    """
    others = [name for name in names if name != label]
    pairs = tuple(combinations(others, 2))[:most]
    return pairs if label is None else (*pairs, *((label, name) for name in others[:most]))
