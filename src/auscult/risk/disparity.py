"""Risk by group: who carries more of it, how sure that is, and what may be shown.

Group means are of the raw, unshrunk AUC: it is noisy for one patient and unbiased for many, while a
shrunken one leans towards everybody else and would hide part of a disparity. Groups with fewer
patients than the smallest cell are not shown, nor is anything from which they could be worked out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, chdtrc

from auscult.attacks.layout import Layout
from auscult.base.parallel import in_order
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, generator
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.disclosure import (
    BASE,
    outward,
    rounded_count,
    step_of_at_least,
    supported,
)
from auscult.risk.equal_counts import at_equal_counts, strata, without_count
from auscult.risk.exposed import adjusted
from auscult.risk.patients import PatientRisk
from auscult.risk.released import AND_SMALLER, POOL, ReleasedTable, released_tables

REPLICATES = 2000
PERMUTATIONS = 500
MOST_RESAMPLED = 1000
TOP_SHARE = 0.01
COARSE_FROM = 0.05
WITHHELD = "the mean of all patients is withheld, and would follow"
_SAME = 1e-9

METHOD = (
    "Mean raw AUC of the joint attack; 95% interval by studentised bootstrap over patients. "
    "Difference, interval and p: to everybody else with equally many records, by regression on the "
    "group within each record count; where few patients have a count, among close counts with its "
    "effect taken out. q after Benjamini and Hochberg over all groups shown."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Values:
    """Per-patient values of the estimable patients, and their mean as it is published."""

    auc: NDArray[np.float64]
    tail: NDArray[np.float64]
    count: NDArray[np.int64]
    overall: float | None


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
        Composition of the top 1% per attribute, from :func:`top_composition`.
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
        overall=_published(float(risk.auc_raw[usable].mean()), step),
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

        suppressed = {"groups": table.pooled, "smallest_cell": smallest_cell}
        if table.base > 1:
            suppressed["counts_rounded_to"] = table.base
        return _attribute(table, values, stream, smallest_cell) | {"suppressed": suppressed}

    for name, entry in zip(released, in_order(compare, released), strict=True):
        for group, row in entry["groups"].items():
            tests.append((name, group, row["p"]))
            # A pool of another table's making would be other patients under the same name.
            if utility and group in utility.get(name, {}) and released[name].alone(group):
                row["utility"] = _to_step(utility[name][group], released[name].steps[group])
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


def _published(mean: float, step: float) -> float | None:
    """The mean over everybody, as a reader has it."""
    if not np.isfinite(step):
        return None
    return mean if step == 0 else float(f"{round(mean / step) * step:.9g}")


def _to_step(utility: dict[str, Any], step: float) -> dict[str, Any]:
    """A group's utility, no finer than its risk: groups can be subtracted by either."""
    low, high = outward(utility.get("low"), utility.get("high"), step)
    mean = utility.get("mean")
    mean = None if mean is None else float(f"{round(mean / step) * step:.9g}")
    return utility | {"mean": mean, "low": low, "high": high}


def _shown_alone(composition: dict[str, Any], table: ReleasedTable) -> dict[str, Any]:
    """Residuals of the groups that the table shows on their own."""
    rows = {name: row for name, row in composition["groups"].items() if table.alone(name)}
    return composition | {"groups": rows}


def top_composition(
    groups: pd.DataFrame,
    halves: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    smallest_cell: int = SMALLEST_CELL,
    count: NDArray[np.int64] | None = None,
) -> dict[str, dict[str, Any]]:
    """Who is among the most exposed 1%, chosen on one half of the models and counted on the other.

    At least three smallest cells of patients make the top. Residuals come from numbers rounded to
    5, as near to what is expected as the rounding allows, and are rounded to a half, so that no
    small cell of the top can be counted back.

    Patients are ranked by their risk on one half; a patient counts where both halves, each blind to
    the other, place it in the top share, so that luck on one half does not make anybody exposed.

    Parameters
    ----------
    groups : DataFrame, shape (patients, attributes)
    halves : pair of float64 arrays, shape (patients,)
        Raw AUC on either half of the models; NaN where not estimable.
    smallest_cell : int
    count : int64 array, shape (patients,), optional
        Records; without them nothing is said of equal record counts.

    Returns
    -------
    dict
        Per attribute: Pearson residuals of the groups shown, chi-squared and its p, as the study
        has them. ``chi_squared`` is None where an expected count is under 1. More records place a
        patient in the top more often: "residual_same_records" is against what the group's patients
        of each record count would be there, each drawn from all of that count (Mantel-Haenszel);
        None where under 1 is expected.
    """
    usable = np.isfinite(halves[0]) & np.isfinite(halves[1])
    first, second = halves[0][usable], halves[1][usable]
    wanted = max(3 * smallest_cell, int(np.ceil(TOP_SHARE * usable.sum())))
    if 4 * wanted > usable.sum():
        return {}
    chosen = np.argsort(-first, kind="stable")[: 2 * wanted]
    top = np.zeros(first.size, dtype=bool)
    top[chosen[np.argsort(-second[chosen], kind="stable")[:wanted]]] = True
    stratum = None if count is None else strata(count[usable])[0]
    result = {}
    for name in groups.columns:
        labels = groups[name].astype(str).to_numpy()[usable]
        labels, shown, _ = pool_small_cells(labels, smallest_cell)
        rows, statistic = {}, 0.0
        sparse = len(shown) < 2
        base = min(BASE, smallest_cell)
        for group in shown:
            inside = labels == group
            expected = float(top.sum() * inside.mean())
            # Each number of patients in the top would have a residual of its own. So it is said
            # from the rounded one, as near to what is expected as the rounding allows.
            found = rounded_count(int(top[inside].sum()), base)
            residual = (_nearest(found, base, expected) - expected) / np.sqrt(expected)
            rows[group] = {
                "residual": round(2 * float(residual)) / 2,
                "residual_same_records": None
                if stratum is None
                else _residual_in_strata(inside, top, (found, base), stratum),
            }
            statistic += float(residual) ** 2
            sparse |= expected < 1
        freedom = max(len(shown) - 1, 1)
        result[str(name)] = {
            "top_share": float(top.mean()),
            "patients": int(top.sum()),
            "groups": rows,
            "chi_squared": None if sparse else round(float(statistic), 1),
            "p": None if sparse else coarse_p(float(chdtrc(freedom, statistic))),
            "reason": "too few expected patients in a group" if sparse else "",
        }
    return result


def _nearest(rounded: int, base: int, expected: float) -> float:
    """The number nearest to what is expected that is rounded so."""
    return float(np.clip(expected, rounded - base // 2, rounded + base // 2))


def _residual_in_strata(
    inside: NDArray[np.bool_],
    top: NDArray[np.bool_],
    found: tuple[int, int],
    stratum: NDArray[np.int64],
) -> float | None:
    """Excess of a group in the top over its share of each stratum, in standard deviations."""
    n = np.bincount(stratum).astype(np.float64)
    mine, above = (np.bincount(stratum, which) for which in (inside, top))
    expected = float((mine * above / n).sum())
    several = np.maximum(n - 1, 1)
    variance = float((mine * (n - mine) * above * (n - above) / (n**2 * several)).sum())
    if expected < 1 or variance < 1:
        return None
    residual = (_nearest(*found, expected) - expected) / np.sqrt(variance)
    return round(2 * float(residual)) / 2


def pool_small_cells(
    labels: NDArray[Any], smallest: int, margins: Sequence[NDArray[Any]] = ()
) -> tuple[NDArray[Any], list[str], int]:
    """Pool groups too small to be shown, so that nothing about one of them can be worked out.

    Groups under `smallest` patients are pooled into "(other groups)". If that is a single group, or
    all of them together are still too few, the smallest of the others joins them: otherwise the
    pool's size would follow from the total (complementary suppression). A pool that one such group
    dominates is named after it: "Male and smaller groups".

    Parameters
    ----------
    labels : array of str, shape (patients,)
    smallest : int
    margins : sequence of arrays of str, shape (patients,)
        Of crossed attributes, the groups of each as they are shown: what is left of one of them
        beside the crossed groups shown is no small cell either.

    Returns
    -------
    labels : array of str
        With pooled groups renamed.
    shown : list of str
        Groups to show, largest first, the pool last.
    pooled : int
        How many groups the pool holds.
    """
    text = labels.astype(str)
    names, sizes = np.unique(text, return_counts=True)
    order = np.lexsort((names, -sizes))
    ranked = [(str(names[i]), int(sizes[i])) for i in order]
    hidden = [name for name, size in ranked if size < smallest]
    shown = [name for name, size in ranked if size >= smallest]
    held = sum(size for _, size in ranked if size < smallest)
    sizes_of = dict(ranked)
    while hidden and shown and (len(hidden) < 2 or held < smallest):
        held += sizes_of[shown[-1]]
        hidden.append(shown.pop())
    lines = [sorted(sizes_of), *(line for margin in margins for line in _lines(text, margin))]
    while shown and (line := _telling(lines, sizes_of, set(hidden), smallest)):
        near = {name for other in lines if set(other) & set(line) for name in other}
        for those in (set(line), near, set(shown)):
            if inside := [name for name in shown if name in those]:
                break
        shown.remove(inside[-1])
        hidden.append(inside[-1])
        held += sizes_of[inside[-1]]
    if not hidden:
        return text, shown, 0
    joined = [name for name in hidden if sizes_of[name] >= smallest]
    pool = f"{joined[0]}{AND_SMALLER}" if len(joined) == 1 else POOL
    pooled = np.where(np.isin(text, hidden), pool, text.astype(object))
    return pooled, [*shown, pool] if held >= smallest else shown, len(hidden)


def _lines(cells: NDArray[Any], margin: NDArray[Any]) -> list[list[str]]:
    """The crossed groups of each group of one attribute."""
    groups = margin.astype(str)
    return [sorted(set(cells[groups == group].tolist())) for group in np.unique(groups)]


def _telling(
    lines: list[list[str]], sizes: dict[str, int], hidden: set[str], smallest: int
) -> list[str] | None:
    """A line whose total gives away a small cell among what it hides, or None.

    What is the only one hidden of a line is known from its total, and then helps with the others.
    """
    unknown, found = set(hidden), True
    while found:
        found = False
        for line in lines:
            left = [name for name in line if name in unknown]
            if left and sum(sizes[name] for name in left) < smallest:
                return line
            if len(left) == 1:
                unknown.remove(left[0])
                found = True
    return None


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
        rows[group] = _rounded(row, values, table.steps[group], table.base)
    return {
        "method": METHOD,
        "n_patients": int(table.labels.size),
        "groups": rows,
        "spread": _spread(table, values, stream("spread")),
    }


_COUNTED = ("patients", "others", "patients_compared", "others_compared")


def _rounded(row: dict[str, Any], values: _Values, step: float, base: int) -> dict[str, Any]:
    """A group's row as it is published: counts to a base, figures to a step, or withheld.

    Two roundings of one figure tell more of it than one. So what follows from a published figure is
    computed from it, and an interval is given by how far its ends lie off.
    """
    counts = {key: None if row[key] is None else rounded_count(row[key], base) for key in _COUNTED}
    if not np.isfinite(step):
        reason = "withheld: with the other tables, it would say too much about a few patients"
        return dict.fromkeys(row) | counts | {"reason": reason}
    n = row["patients"]
    made = dict(row)
    made["mean_auc"], made["low"], made["high"] = _around(
        supported(row["mean_auc"], n, step), row["mean_auc"], row["low"], row["high"], step
    )
    made |= _share_of(row["exposed_0.9"], n, step)
    exact = row["difference_any_records"]
    if exact is not None:
        # The difference says nothing about the group's mean that its own rounded mean does not.
        told = None
        if values.overall is not None:
            told = values.auc.size * (made["mean_auc"] - values.overall) / row["others"]
        any_records = "difference_any_records"
        if row["difference"] is not None and abs(row["difference"] - exact) < _SAME:
            made["difference"], made["difference_low"], made["difference_high"] = _around(
                told, exact, row["difference_low"], row["difference_high"], step
            )
        else:
            apart = _apart(row, step)
            made["difference"], made["difference_low"], made["difference_high"] = _around(
                supported(row["difference"], n, apart),
                row["difference"],
                row["difference_low"],
                row["difference_high"],
                apart,
            )
        made["difference_same_records"] = made["difference"]
        made[any_records], made[f"{any_records}_low"], made[f"{any_records}_high"] = _around(
            told, exact, row[f"{any_records}_low"], row[f"{any_records}_high"], step
        )
        if told is None:
            made["reason"] = made.get("reason") or WITHHELD
    return made | counts | {"rounded_to": float(f"{step:.9g}")}


def _apart(row: dict[str, Any], step: float) -> float:
    """Step of a difference at equal record counts that is not the one at any counts.

    Who has nobody to be compared with is in the group's mean and not in the difference. Set against
    each other they would tell that patient's figure; with these steps, to within its whole range.
    """
    if row["difference"] is None:
        return step
    n = min(row["patients"], row["others"])
    sides = (row["patients_compared"], row["patients"]), (row["others_compared"], row["others"])
    compared = min(of if number is None else number for number, of in sides)
    lacking = max(1 - n * step / 2, 0.0)
    return max(step, step_of_at_least(2 * lacking / max(compared, 1)))


def _around(
    published: float | None,
    exact: float | None,
    low: float | None,
    high: float | None,
    step: float,
) -> tuple[Any, Any, Any]:
    """A figure and its interval: the ends as far off as they were, in whole steps."""
    if published is None or exact is None:
        return None, None, None
    published = float(f"{round(published / step) * step:.9g}")
    if low is None or high is None:
        return published, low, high
    ends = (
        published + side * step * float(np.ceil(abs(end - exact) / step - _SAME))
        for end, side in ((low, -1), (high, 1))
    )
    return (published, *(float(f"{end:.9g}") for end in ends))


def _share_of(share: float, n: int, step: float) -> dict[str, float]:
    """A share above 0.9 as it is published, with the interval of what is published."""
    published = float(f"{min(max(round(share / step) * step, 0.0), 1.0):.9g}")
    low, high = outward(*share_interval(np.full(n, published)), step)
    return {
        "exposed_0.9": published,
        "exposed_0.9_low": max(low, 0.0),
        "exposed_0.9_high": min(high, 1.0),
    }


def coarse_p(p: float | None) -> float | None:
    """A p-value as it is published: never smaller than it was, coarse where it is large.

    With the interval, a p-value gives the estimate; one close to 1 gives it exactly.

    Parameters
    ----------
    p : float or None
    """
    if p is None or not np.isfinite(p):
        return p
    coarse = 1.0
    for end in (1.0, 0.5, 0.2, 0.1, 0.05):
        if p > end:
            break
        coarse = end
    if p > COARSE_FROM:
        return coarse
    if p <= 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(p)) - 1)
    return float(f"{np.ceil(p / unit - _SAME) * unit:.9g}")


def _group(
    inside: NDArray[np.bool_], values: _Values, rng: np.random.Generator, smallest_cell: int
) -> dict[str, Any]:
    mine = values.auc[inside]
    low, high = _mean_interval(mine, rng)
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
    low, high = _difference_interval(mine, rest, rng)
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
    bounds = np.flatnonzero(np.diff(stratum)) + 1

    def width(x: NDArray[np.float64]) -> float:
        return float(np.ptp(np.bincount(codes, x, minlength=len(shown)) / sizes))

    estimate = width(auc)
    repeats = int(np.clip(2e7 / auc.size, 100, PERMUTATIONS))
    null = np.empty(repeats)
    for r in range(repeats):
        null[r] = width(np.concatenate([rng.permutation(part) for part in np.split(auc, bounds)]))
    coarsest = max(table.steps[group] for group in shown)
    return {
        "estimate": supported(estimate, int(sizes.min()), coarsest),
        "null_mean": supported(float(null.mean()), int(sizes.min()), coarsest),
        "p": coarse_p(float((1 + (null >= estimate).sum()) / (1 + repeats))),
        "permutations": repeats,
    }


def _mean_interval(x: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """Studentised bootstrap interval of a mean."""
    mean, error = float(x.mean()), float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else np.nan
    if not error > 0:
        return mean, mean
    means, errors = _resampled(x, rng)
    t = np.quantile((means - mean) / errors, [0.975, 0.025])
    return float(mean - t[0] * error), float(mean - t[1] * error)


def _difference_interval(
    x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, float]:
    """Studentised bootstrap interval of a difference of means."""
    difference = float(x.mean() - y.mean())
    error = float(np.sqrt(x.var(ddof=1) / x.size + y.var(ddof=1) / y.size))
    if not error > 0:
        return difference, difference
    (mx, ex), (my, ey) = _resampled(x, rng), _resampled(y, rng)
    t = np.quantile((mx - my - difference) / np.sqrt(ex**2 + ey**2), [0.975, 0.025])
    return float(difference - t[0] * error), float(difference - t[1] * error)


def _resampled(
    x: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard errors of bootstrap samples of patients.

    The mean of many patients is normal whatever their distribution: it is drawn as such.
    """
    if x.size > MOST_RESAMPLED:
        error = float(x.std(ddof=1) / np.sqrt(x.size))
        return rng.normal(x.mean(), error, REPLICATES), np.full(REPLICATES, error)
    sample = x[rng.integers(0, x.size, (REPLICATES, x.size))]
    mean, variance = sample.mean(axis=1), sample.var(axis=1)
    floor = 1e-4 * x.var()
    return mean, np.sqrt(np.maximum(variance, floor) / max(x.size - 1, 1))


def share_interval(tail: NDArray[np.float64]) -> tuple[float, float]:
    """Jeffreys interval of the share of patients above a threshold.

    Parameters
    ----------
    tail : float64 array, shape (patients,)
        Each patient's probability to lie above it; their sum is the number above. A bootstrap of
        few patients, most of them at 0, would be degenerate.
    """
    above, n = float(tail.sum()), tail.size
    low, high = (betaincinv(above + 0.5, n - above + 0.5, q) for q in (0.025, 0.975))
    share = above / n
    return min(float(low), share), max(float(high), share)


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
