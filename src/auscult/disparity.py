"""Risk by group: who carries more of it, how sure that is, and what may be shown.

Group means are of the raw, unshrunk AUC: it is noisy for one patient and unbiased for many, while a
shrunken one leans towards everybody else and would hide part of a disparity. Groups with fewer
patients than the smallest cell are not shown, nor is anything from which they could be worked out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, chdtrc, stdtr

from auscult.cohort import SMALLEST_CELL, record_bands
from auscult.disclosure import Table, release_together, supported
from auscult.layout import Layout
from auscult.parallel import in_order
from auscult.progress import SILENT, Progress
from auscult.randomness import Stage, generator
from auscult.risk.exposed import adjusted
from auscult.risk.patients import PatientRisk

REPLICATES = 2000
PERMUTATIONS = 500
MOST_RESAMPLED = 1000
TOP_SHARE = 0.01
JOIN = " & "
POOL = "(other groups)"

METHOD = (
    "Mean raw AUC of the joint attack; 95% interval by studentised bootstrap over patients; "
    "difference to everybody else likewise; p by permuting labels between patients of the same "
    "record count; q after Benjamini and Hochberg over all groups shown."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Values:
    """Per-patient values of the estimable patients."""

    auc: NDArray[np.float64]
    tail: NDArray[np.float64]
    stratum: NDArray[np.int64]


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

    Returns
    -------
    dict
        The "disparities" object of the summary.
    """
    usable = np.isfinite(risk.auc_raw)
    values = _Values(
        auc=risk.auc_raw[usable],
        tail=risk.posterior.tails[0.9][usable],
        stratum=record_strata(layout.count)[usable],
    )
    tables = released_tables(
        groups, usable, layout.count, smallest_cell=smallest_cell, intersections=intersections
    )
    result: dict[str, Any] = {}
    tests: list[tuple[str, str, float]] = []

    def compare(place: int) -> dict[str, Any]:
        name = list(tables)[place]
        rng = generator(seed, Stage.BOOTSTRAP_PATIENTS, place)
        pooled, shown, number_pooled = tables[name]
        suppressed = {"groups": number_pooled, "smallest_cell": smallest_cell}
        return _attribute(pooled, shown, values, rng) | {"suppressed": suppressed}

    for name, entry in zip(tables, in_order(compare, range(len(tables))), strict=True):
        for group, row in entry["groups"].items():
            tests.append((name, group, row["p"]))
            if utility and group in utility.get(name, {}):
                row["utility"] = utility[name][group]
        if composition and name in composition:
            entry["composition"] = composition[name]
        result[name] = entry
        progress.advance()
    finite = [i for i, (_, _, p) in enumerate(tests) if p is not None]
    if finite:
        q = adjusted(np.array([tests[i][2] for i in finite]))
        for place, i in enumerate(finite):
            name, group, _ = tests[i]
            result[name]["groups"][group]["q"] = float(q[place])
    return result


def released_tables(
    groups: pd.DataFrame,
    usable: NDArray[np.bool_],
    count: NDArray[np.int64],
    *,
    smallest_cell: int = SMALLEST_CELL,
    intersections: tuple[tuple[str, str], ...] = (),
) -> dict[str, tuple[NDArray[Any], list[str], int]]:
    """Groups of every attribute and intersection as they may be published together.

    The bands of record counts are published as they are, so the other tables are checked with them.

    Parameters
    ----------
    groups : DataFrame, shape (patients, attributes)
    usable : bool array, shape (patients,)
        The patients whom the tables are over.
    count : int64 array, shape (patients,)
        Records of each patient.
    smallest_cell : int
    intersections : tuple of pairs of str

    Returns
    -------
    dict
        Per table what :func:`pool_small_cells` returns, over the usable patients.
    """
    bands = np.zeros(count.size, dtype=np.int64)
    for number, (_, inside) in enumerate(record_bands(count, smallest_cell)):
        bands[inside] = number
    fixed = Table(labels=bands[usable].astype(str), fixed=True, rounded=False)
    found = {
        str(name): Table(labels=groups[name].astype(str).to_numpy()[usable].astype(str))
        for name in groups.columns
    }
    release_together([*found.values(), fixed], smallest_cell)
    for first, second in intersections:
        one, other = found[first], found[second]
        pairs = list(zip(one.labels, other.labels, strict=True))
        crossed = np.array([f"{a}{JOIN}{b}" for a, b in pairs], dtype=str)
        # What is pooled in an attribute is pooled where it is crossed; a crossed group costs less
        # meaning than a group of an attribute.
        hidden = {f"{a}{JOIN}{b}" for a, b in set(pairs) if a in one.hidden or b in other.hidden}
        found[f"{first}{JOIN}{second}"] = Table(labels=crossed, hidden=hidden, weight=0.5)
    if intersections:
        release_together([*found.values(), fixed], smallest_cell)
    return {name: _named(table, smallest_cell) for name, table in found.items()}


def _named(table: Table, smallest: int) -> tuple[NDArray[Any], list[str], int]:
    """Labels with the pool's name, groups shown and how many groups are pooled."""
    ranked = sorted(table.names, key=lambda name: (-table.sizes[name], name))
    shown = [name for name in ranked if name not in table.hidden and table.sizes[name] >= smallest]
    if not table.hidden:
        return table.labels, shown, 0
    joined = [name for name in ranked if name in table.hidden and table.sizes[name] >= smallest]
    pool = f"{joined[0]} and smaller groups" if len(joined) == 1 else POOL
    labels = np.where(np.isin(table.labels, list(table.hidden)), pool, table.labels.astype(object))
    held = sum(table.sizes[name] for name in table.hidden)
    return labels, [*shown, pool] if held >= smallest else shown, len(table.hidden)


def record_strata(count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stratum of each patient by record count: 1, 2, 3-5, 6-10, 11-20, ... (bounds double)."""
    bounds = [1, 2, 5]
    while bounds[-1] < count.max(initial=1):
        bounds.append(bounds[-1] * 2)
    return np.searchsorted(bounds, count, side="left")


def top_composition(
    groups: pd.DataFrame,
    halves: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    smallest_cell: int = SMALLEST_CELL,
) -> dict[str, dict[str, Any]]:
    """Who is among the most exposed 1%, chosen on one half of the models and counted on the other.

    At least three smallest cells of patients make the top, and residuals are rounded to a half, so
    that no small cell of it can be counted back.

    Patients are ranked by their risk on one half; a patient counts where both halves, each blind to
    the other, place it in the top share, so that luck on one half does not make anybody exposed.

    Parameters
    ----------
    groups : DataFrame, shape (patients, attributes)
    halves : pair of float64 arrays, shape (patients,)
        Raw AUC on either half of the models; NaN where not estimable.
    smallest_cell : int

    Returns
    -------
    dict
        Per attribute: Pearson residuals of the groups shown, chi-squared and its p. ``chi_squared``
        is None where an expected count is under 1.
    """
    usable = np.isfinite(halves[0]) & np.isfinite(halves[1])
    first, second = halves[0][usable], halves[1][usable]
    wanted = max(3 * smallest_cell, int(np.ceil(TOP_SHARE * usable.sum())))
    if 4 * wanted > usable.sum():
        return {}
    chosen = np.argsort(-first, kind="stable")[: 2 * wanted]
    top = np.zeros(first.size, dtype=bool)
    top[chosen[np.argsort(-second[chosen], kind="stable")[:wanted]]] = True
    result = {}
    for name in groups.columns:
        labels = groups[name].astype(str).to_numpy()[usable]
        labels, shown, _ = pool_small_cells(labels, smallest_cell)
        rows, statistic = {}, 0.0
        sparse = len(shown) < 2
        for group in shown:
            inside = labels == group
            expected = top.sum() * inside.mean()
            residual = float((top[inside].sum() - expected) / np.sqrt(expected))
            rows[group] = {"residual": round(2 * residual) / 2}
            statistic += residual**2
            sparse |= expected < 1
        freedom = max(len(shown) - 1, 1)
        result[str(name)] = {
            "top_share": float(top.mean()),
            "patients": int(top.sum()),
            "groups": rows,
            "chi_squared": None if sparse else round(statistic, 1),
            "p": None if sparse else float(chdtrc(freedom, statistic)),
            "reason": "too few expected patients in a group" if sparse else "",
        }
    return result


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
    pool = f"{joined[0]} and smaller groups" if len(joined) == 1 else POOL
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
    labels: NDArray[Any], shown: list[str], values: _Values, rng: np.random.Generator
) -> dict[str, Any]:
    """Compare the shown groups of one attribute."""
    rows: dict[str, dict[str, Any]] = {}
    for group in shown:
        inside = labels == group
        rows[group] = _rounded(_group(inside, values, rng))
    return {
        "method": METHOD,
        "n_patients": int(labels.size),
        "groups": rows,
        "spread": _spread(labels, shown, values, rng),
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Figures to what the group's number of patients supports; p and counts stay."""
    kept = ("patients", "p", "q", "reason")
    return {
        key: value if key in kept else supported(value, row["patients"])
        for key, value in row.items()
    }


def _group(inside: NDArray[np.bool_], values: _Values, rng: np.random.Generator) -> dict[str, Any]:
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
        "p": None,
        "q": None,
    }
    rest = values.auc[~inside]
    if rest.size < 2:
        return row | {"reason": "nobody else to compare with"}
    low, high = _difference_interval(mine, rest, rng)
    row["difference"] = float(mine.mean() - rest.mean())
    row["difference_low"], row["difference_high"] = low, high
    row["difference_same_records"], row["p"] = _stratified(inside, values)
    if row["p"] is None:
        row["reason"] = "nobody else has as many records"
    return row


def _stratified(inside: NDArray[np.bool_], values: _Values) -> tuple[float | None, float | None]:
    """Mean excess over patients of equal record count, and its permutation p.

    Exact mean and variance of the group's sum when labels are permuted within strata; the
    permutation distribution is taken as Student's, a little wider than normal where patients are
    few.
    """
    excess = variance = freedom = 0.0
    for stratum in np.unique(values.stratum[inside]):
        here = values.stratum == stratum
        n, m = int(here.sum()), int((here & inside).sum())
        x = values.auc[here]
        excess += float(values.auc[here & inside].sum()) - m * float(x.mean())
        if n > 1:
            variance += m * (n - m) / n * float(x.var(ddof=1))
            freedom += n - 1
    if variance <= 0:
        return None, None
    return excess / int(inside.sum()), float(2 * stdtr(freedom, -abs(excess) / np.sqrt(variance)))


def _spread(
    labels: NDArray[Any], shown: list[str], values: _Values, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Largest less smallest group mean against the same under permuted labels.

    With many small groups some always lie far apart: the null mean says how far (METHOD 6).
    """
    if len(shown) < 2:
        return None
    kept = np.isin(labels.astype(str), shown)
    codes = pd.Categorical(labels[kept].astype(str), categories=shown).codes.astype(np.int64)
    auc, stratum = values.auc[kept], values.stratum[kept]
    sizes = np.bincount(codes)
    order = np.argsort(stratum, kind="stable")
    codes, auc, stratum = codes[order], auc[order], stratum[order]
    auc = auc - (np.bincount(stratum, auc) / np.maximum(np.bincount(stratum), 1))[stratum]
    bounds = np.flatnonzero(np.diff(stratum)) + 1

    def width(x: NDArray[np.float64]) -> float:
        return float(np.ptp(np.bincount(codes, x, minlength=len(shown)) / sizes))

    estimate = width(auc)
    repeats = int(np.clip(2e7 / auc.size, 100, PERMUTATIONS))
    null = np.empty(repeats)
    for r in range(repeats):
        null[r] = width(np.concatenate([rng.permutation(part) for part in np.split(auc, bounds)]))
    return {
        "estimate": supported(estimate, int(sizes.min())),
        "null_mean": float(null.mean()),
        "p": float((1 + (null >= estimate).sum()) / (1 + repeats)),
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


def crossings(names: list[str], most: int = 3) -> tuple[tuple[str, str], ...]:
    """Pairs of attributes to cross when none are asked for: the first few."""
    return tuple(combinations(names, 2))[:most]
