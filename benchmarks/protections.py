"""Coverage of paired differences between two recipes, and their null, in simulation.

    python -m benchmarks.protections [replicates]

Every patient has a true AUC under either recipe; the change in the number above 0.9, the share
removed and the change of the mean AUC are compared with the intervals that an entry shows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.cohort.design import Membership
from auscult.protection.assessment import Subject, assess
from auscult.protection.paired import exposed_counts, mean_difference, shared_noise

PATIENTS = 800


@dataclass(frozen=True)
class Scenario:
    """Two recipes.

    Attributes
    ----------
    name : str
    models : int
    factor : float
        True effects under the second recipe, as a share of those under the first.
    scatter : float
        Standard deviation of what the second recipe adds to an effect of its own.
    noise : float
        Correlation of the two recipes' noise.
    """

    name: str
    models: int
    factor: float
    scatter: float
    noise: float


SCENARIOS = (
    Scenario("same recipe, another seed", 64, 1.0, 0.0, 0.0),
    Scenario("same recipe, shared noise", 64, 1.0, 0.0, 0.7),
    Scenario("weaker by a fifth", 64, 0.8, 0.1, 0.3),
    Scenario("weaker by half", 32, 0.5, 0.2, 0.3),
)


def simulated(
    scenario: Scenario, rng: np.random.Generator
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], Subject]:
    """Signals under both recipes, true AUCs under both, and whom they are about."""
    count = 1 + rng.poisson(0.6, PATIENTS)
    patient = np.repeat(np.arange(PATIENTS), count)
    ranks = rng.random((PATIENTS, scenario.models)).argsort(axis=1).argsort(axis=1)
    member = np.ascontiguousarray((ranks < scenario.models // 2).T)
    first = np.maximum(rng.normal(0.6, 0.55, PATIENTS), 0.0)
    second = np.maximum(scenario.factor * first + rng.normal(0, scenario.scatter, PATIENTS), 0.0)
    if scenario.scatter == 0:
        second = scenario.factor * first
    shared = rng.normal(size=(scenario.models, patient.size))
    signals = []
    for effect in (first, second):
        own = rng.normal(size=shared.shape)
        noise = np.sqrt(scenario.noise) * shared + np.sqrt(1 - scenario.noise) * own
        shift = (effect * np.sqrt(2 / count))[patient]
        signals.append(noise + member[:, patient] * shift)
    subject = Subject(
        membership=Membership(member),
        patient_of_record=patient,
        groups=pd.DataFrame(index=range(PATIENTS)),
        labels=np.zeros(patient.size, dtype=np.int64),
        stratum=np.zeros(patient.size, dtype=np.int64),
        seed=int(rng.integers(1 << 30)),
        smallest_cell=10,
    )
    return signals, [ndtr(first), ndtr(second)], subject


def covered(scenario: Scenario, rng: np.random.Generator) -> dict[str, tuple[bool, float, float]]:
    """Whether each interval holds the truth, its width, and the error of the estimate."""
    signals, auc, subject = simulated(scenario, rng)
    before, after = (assess(one, subject) for one in signals)
    noise = shared_noise(before, after)
    counts = exposed_counts(before, after, noise=noise.correlation, seed=subject.seed)[0.9]
    true = [float((one > 0.9).sum()) for one in auc]
    found = {}
    if counts.change is not None:
        found["change"] = (counts.change, true[1] - true[0])
    if counts.removed is not None:
        found["removed"] = (counts.removed, 1 - true[1] / true[0])
    mean = mean_difference(before.risk.auc_raw, after.risk.auc_raw)
    if mean is not None:
        found["mean AUC"] = (mean[0], float((auc[1] - auc[0]).mean()))
    return {
        name: (one.low <= truth <= one.high, one.high - one.low, one.estimate - truth)
        for name, (one, truth) in found.items()
    }


def main() -> None:
    """Measure coverage, width and error of every scenario."""
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    rows = []
    for number, scenario in enumerate(SCENARIOS):
        rng = np.random.default_rng([20261125, number])
        runs = [covered(scenario, rng) for _ in range(replicates)]
        for name in runs[0]:
            values = [run[name] for run in runs if name in run]
            row = [
                scenario.name,
                scenario.models,
                name,
                f"{100 * np.mean([v[0] for v in values]):.0f}%",
                float(np.mean([v[1] for v in values])),
                f"{np.mean([v[2] for v in values]):+.3f} ({np.std([v[2] for v in values]):.3f})",
            ]
            rows.append(row)
            sys.stdout.write(" | ".join(map(str, row)) + "\n")
            sys.stdout.flush()
    if __package__:
        from benchmarks.results import record, table

        text = (
            f"{replicates} cohorts of {PATIENTS} patients per scenario, most with 1 or 2 records: "
            "change of the number above 0.9, share of them removed, change of the mean AUC.\n\n"
        )
        columns = ("recipe", "models", "figure", "covered", "width", "mean error (its spread)")
        command = "python -m benchmarks.protections"
        record("protections", "Paired differences", command, text + table(columns, rows))


if __name__ == "__main__":
    main()
