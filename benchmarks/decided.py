"""Runs that grow until a policy is decided: how often the verdict is wrong, and what it costs.

    python -m benchmarks.decided [--cohorts 200] [--patients 200] [--state DIR] [--seconds S]

The policy allows ten exposed patients (AUC above 0.9). In each simulated cohort a known number of
patients is truly exposed: 0 to 2 in the cohorts that are clearly safe, 36 to 44 in those that are
clearly unsafe, 8 to 12 near the limit. Patients' risks have one shape throughout, so that many lie
close to 0.9. Signals of one cohort in three are normal, in three have members that vary more than
others, and in three have heavy tails. A run looks after 16, 32, 64 and 128 models, as
`auscult run --until decided --at-most 128` does, and ends at the first verdict.

"Once" is the same judged once, at 128 models. With `--state`, a later call goes on.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from auscult.cohort.design import Design
from auscult.policy import ExposedLimit, Policy, judge
from auscult.policy.looks import next_look
from auscult.results.analysis import Evidence, analyse
from benchmarks.results import record, table
from benchmarks.slices import arguments, in_slices, kept

ALLOWED, MOST = 10, 128
KINDS = {"clearly safe": (0, 2), "clearly unsafe": (36, 44), "near the limit": (8, 12)}
NOISES = ("normal", "wider for members", "heavy tails")
POLICY = Policy(exposed=(ExposedLimit(auc="0.9", patients=ALLOWED),))
_WIDER, _DEGREES = 1.5, 4


def threshold(noise: str) -> float:
    """The shift of members at which the AUC is 0.9."""
    if noise == "normal":
        return float(ndtri(0.9) * np.sqrt(2))
    if noise == "wider for members":
        return float(ndtri(0.9) * np.sqrt(1 + _WIDER**2))
    rng = np.random.default_rng(0)
    draws = rng.standard_t(_DEGREES, (2, 4_000_000))
    return float(np.quantile(draws[0] - draws[1], 0.9))


THRESHOLDS = {noise: threshold(noise) for noise in NOISES}


def evidence(
    rng: np.random.Generator, patients: int, exposed: int, noise: str, seed: int
) -> Evidence:
    """Signals of 128 models on patients of whom so many are exposed."""
    membership = Design(models=MOST, patients=patients, seed=seed).membership()
    shift = np.sort(rng.gamma(1.2, 0.8, patients))[::-1]
    last = shift[exposed] if exposed == 0 else np.sqrt(shift[exposed - 1] * shift[exposed])
    shift *= THRESHOLDS[noise] / (last * (1.02 if exposed == 0 else 1.0))
    member = membership.reveal()
    if noise == "heavy tails":
        drawn = rng.standard_t(_DEGREES, member.shape)
    else:
        drawn = rng.standard_normal(member.shape)
    if noise == "wider for members":
        drawn = np.where(member, _WIDER * drawn, drawn)
    level = rng.standard_normal(patients)
    return Evidence(
        signals=(drawn + member * shift + level).astype(np.float32),
        membership=membership,
        patient_of_record=np.arange(patients),
        groups=pd.DataFrame({"sex": rng.choice(["f", "m"], patients)}),
    )


def first_models(whole: Evidence, models: int, patients: int, seed: int) -> Evidence:
    """The evidence of a run with so many models."""
    return Evidence(
        signals=whole.signals[:models],
        membership=Design(models=models, patients=patients, seed=seed).membership(),
        patient_of_record=whole.patient_of_record,
        groups=whole.groups,
    )


def judged(part: Evidence, models: int, seed: int, looks: list[int]) -> str:
    """The verdict on a run with so many models."""
    found = analyse(part, seed=seed).summary
    found["models"] = {"count": models, "learned": {"verdict": True}}
    return judge(POLICY, found, looks).verdict


def one_cohort(kind: str, number: int, patients: int) -> dict[str, Any]:
    """Grow one run, and judge it once with all models."""
    rng = np.random.default_rng([20, list(KINDS).index(kind), number])
    least, most = KINDS[kind]
    exposed, noise = int(rng.integers(least, most + 1)), NOISES[number % len(NOISES)]
    seed = int(rng.integers(1 << 31))
    whole = evidence(rng, patients, exposed, noise, seed)
    looks: list[int] = []
    verdict = "inconclusive"
    while verdict == "inconclusive" and (not looks or looks[-1] < MOST):
        looks.append(next_look(looks[-1] if looks else 0, MOST))
        part = first_models(whole, looks[-1], patients, seed)
        verdict = judged(part, looks[-1], seed, looks)
    once = judged(first_models(whole, MOST, patients, seed), MOST, seed, [])
    return {
        "exposed": exposed,
        "noise": noise,
        "models": looks[-1],
        "verdict": verdict,
        "once": once,
    }


def wrong(found: dict[str, Any], which: str) -> bool:
    """Whether a verdict passes what is above the limit, or fails what is not."""
    return bool(found[which] == ("pass" if found["exposed"] > ALLOWED else "fail"))


def row_of(kind: str, noise: str, found: list[dict[str, Any]]) -> tuple[str, ...]:
    """A row of the table."""
    if not found:
        return (kind, noise, *("-" for _ in range(6)))

    def share(values: list[bool]) -> str:
        return f"{np.mean(values):.1%}"

    return (
        kind,
        noise,
        str(len(found)),
        share([wrong(one, "verdict") for one in found]),
        share([one["verdict"] == "inconclusive" for one in found]),
        f"{np.mean([one['models'] for one in found]):.0f}",
        share([wrong(one, "once") for one in found]),
        share([one["once"] == "inconclusive" for one in found]),
    )


def main() -> int:
    """Run the simulation, or a slice of it."""
    options = arguments(cohorts=200, patients=200)
    rows, whole = [], True
    for kind in KINDS:
        found = in_slices(
            kept(options, kind.replace(" ", "-")),
            options.cohorts,
            lambda number, kind=kind: one_cohort(kind, number, options.patients),  # type: ignore[misc]
            options.seconds,
        )
        whole &= len(found) == options.cohorts
        rows.append(row_of(kind, "all", list(found.values())))
        for noise in NOISES:
            of_noise = [one for one in found.values() if one["noise"] == noise]
            rows.append(row_of(kind, noise, of_noise))
    columns = ("cohorts", "signals", "done", "wrong", "undecided", "models, mean")
    text = table((*columns, "once: wrong", "once: undecided"), rows)
    print(text)
    if whole:
        title = "Runs that grow until a policy is decided"
        command = f"python -m benchmarks.decided --cohorts {options.cohorts}"
        if options.patients != 200:
            command += f" --patients {options.patients}"
        record("decided", title, command, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
