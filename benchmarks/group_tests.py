"""Simulated groups: false findings within a band of record counts, and the power to find.

Measured by ``python -m benchmarks.statistics``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.attacks.joint import auc_in_folds
from auscult.attacks.layout import Centring, Layout
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.risk.disparity import disparities
from auscult.risk.equal_counts import at_equal_counts
from auscult.risk.patients import patient_risk
from benchmarks.machine import spread_over_cores
from benchmarks.results import record, table
from tests.simulation import simulate

COMMAND = "python -m benchmarks.statistics"
# Counts within which groups differ in nothing but the number of records: band, patients, shift of
# a member's every record.
COUNTS = {
    "3-5": (range(3, 6), 500, 0.6),
    "6-10": (range(6, 11), 500, 0.4),
    "21-40": (range(21, 41), 500, 0.2),
    "1-100": (range(1, 101), 200, 0.2),
    "1-100, few": (range(1, 101), 60, 0.2),
}


def group_test(seed: int, disparity: float) -> tuple[bool, float]:
    """Is a disparity among 500 patients found, when record counts differ between the groups?"""
    rng = np.random.default_rng([seed, int(1000 * disparity)])
    group = rng.random(500) < 0.4
    records = np.where(group, rng.choice([1, 3, 6], 500), rng.choice([1, 1, 1, 2], 500))
    # Risk grows with the record count in both groups alike: no disparity at equal counts.
    base = 0.6 + 0.04 * np.minimum(records, 6) + rng.normal(0, 0.08, 500)
    auc = np.clip(base + disparity * group, 0.5, 0.99)
    layout = simulate(auc, 64, rng, records=records).layout()
    risk, _ = patient_risk(layout, (0.9,))
    labels = pd.DataFrame({"group": np.where(group, "B", "A")})
    row = disparities(labels, risk, layout, seed=seed)["group"]["groups"]["B"]
    return row["q"] < 0.05, float(records[group].mean() / records[~group].mean())


def groups(cohorts: int = 400) -> None:
    """Power against planted disparities, false alarms without one."""
    rows = []
    for disparity in (0.0, 0.01, 0.02, 0.03, 0.05):
        found = spread_over_cores(group_test, [(s, disparity) for s in range(cohorts)])
        rows.append([f"{disparity:.2f}", f"{100 * np.mean([f[0] for f in found]):.1f}%"])
        ratio = float(np.mean([f[1] for f in found]))
    text = (
        f"{cohorts} cohorts of 500 patients, 40% in group B, 64 models; B has {ratio:.1f} times "
        "the records of A, and risk grows with record count in both.\n\n"
        + table(["disparity in AUC", "found at q < 0.05"], rows)
    )
    record("groups", "Group disparities", f"{COMMAND} groups", text)


def equal_counts_cohort(band: str, seed: int) -> dict[str, Any]:
    """Two groups, one with more records; each record leaks the same in everybody."""
    counts, patients, shift = COUNTS[band]
    rng = np.random.default_rng([seed, len(counts), patients])
    group = rng.random(patients) < 0.4
    many = np.linspace(0.1, 1, len(counts)) ** 2
    if len(counts) > 50:  # as likely to have 3 to 4 as 30 to 40
        many = np.linspace(0.2, 1, len(counts)) / np.asarray(counts)
        few = np.linspace(1, 0.2, len(counts)) / np.asarray(counts)
    else:
        few = many[::-1]
    records = np.where(
        group,
        rng.choice(counts, patients, p=many / many.sum()),
        rng.choice(counts, patients, p=few / few.sum()),
    )
    auc = ndtr(shift * np.sqrt(records / 2))
    layout = simulate(auc, 32, rng, records=records).layout()
    raw = equal_weights_auc(layout)
    found = at_equal_counts(raw, group, layout.count, fewest=SMALLEST_CELL)
    return {
        "p": found.p,
        "difference": found.difference,
        "held": found.low is not None and found.high is not None and found.low <= 0 <= found.high,
        "any": float(raw[group].mean() - raw[~group].mean()),
        "compared": (found.patients + found.others) / patients,
    }


def equal_weights_auc(layout: Layout) -> NDArray[np.float64]:
    """AUC of every patient's mean centred signal: records are alike, so that this is best."""
    total = np.add.reduceat(Centring(layout).apply(layout).astype(np.float64), layout.first)
    dealt = layout.deal()
    flat = np.take_along_axis(total, dealt.model.reshape(layout.patients, -1), axis=1)
    return auc_in_folds(flat.reshape(dealt.model.shape), dealt.weight)


def counts(cohorts: int = 400) -> None:
    """Groups that differ in nothing but how many records their patients have."""
    rows = []
    for band, (_, patients, _) in COUNTS.items():
        found = spread_over_cores(equal_counts_cohort, [(band, s) for s in range(cohorts)])
        tested = [f for f in found if f["p"] is not None]
        rows.append(
            [
                band,
                patients,
                f"{np.mean([f['any'] for f in found]):+.3f}",
                f"{np.mean([f['difference'] for f in tested]):+.4f}",
                f"{100 * np.mean([f['p'] < 0.05 for f in tested]):.1f}%",
                f"{100 * np.mean([f['held'] for f in tested]):.1f}%",
                f"{100 * np.mean([f['compared'] for f in tested]):.0f}%",
                len(found) - len(tested),
            ]
        )
    text = (
        f"{cohorts} cohorts each, 40% in group B, 32 models; every record leaks the same, and B "
        "has more of them. The difference at equal counts is 0.\n\n"
        + table(
            [
                "records",
                "patients",
                "difference at any count",
                "at equal counts",
                "found at p < 0.05",
                "interval holds 0",
                "patients compared",
                "not comparable",
            ],
            rows,
        )
    )
    record("counts", "Groups with equally many records", f"{COMMAND} counts", text)
