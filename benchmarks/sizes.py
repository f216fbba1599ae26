"""A curve to the whole cohort: does its interval hold a larger size that it has not seen?

    python -m benchmarks.sizes laws WORK [cohorts]
    python -m benchmarks.sizes real WORK
    python -m benchmarks.sizes steps WORK

Simulated cohorts whose patients' effects change with the number of patients by laws for which the
extrapolation was not made; and diabetes130, a perceptron of fixed epochs.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.attacks.places import Places
from auscult.audit.subjects import subject_of
from auscult.base.files import write_json
from auscult.base.progress import SILENT
from auscult.cli.display import progress_for
from auscult.cohort.design import Design
from auscult.config.loading import LoadedConfiguration, parse
from auscult.protection.assessment import Subject, assess
from auscult.sizes.curve import Point, assessed, counted, exposed_at
from auscult.sizes.shares import FEWEST_SIZES, Size, sizes_of
from auscult.store import RunStore
from benchmarks.machine import spread_over_cores
from benchmarks.real import COHORTS, data_folder
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.sizes"
PATIENTS, MODELS = 400, 64
SHARES = (0.3, 0.5, 0.7, 0.9)
THRESHOLD = 0.9
TRIED = (((0.3, 0.5, 0.7), 0.9), ((0.5, 0.7), 0.9), ((0.3, 0.5, 0.7), 1.0), ((0.5, 0.7, 0.9), 1.0))

Floats = NDArray[np.float64]


def _own_powers(effect: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Effects change by a power of the number of patients, each patient's by its own."""
    return np.asarray(effect * share ** rng.normal(0, 0.6, effect.size))


def _forgotten(effect: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Each patient is memorised until there are more patients than a number of its own."""
    limit = np.exp(rng.normal(-0.3, 0.8, effect.size))
    return np.where(share < limit, np.maximum(effect, 2.1), 0.4 * effect)


# By what all effects are multiplied at a share of the cohort's patients.
FACTORS: dict[str, Callable[[float], float]] = {
    "no change": lambda _: 1.0,
    "effects fall as 1 / sqrt(n)": lambda share: share**-0.5,
    "effects grow as sqrt(n)": lambda share: share**0.5,
    "grow, then fall (peak at 0.6)": lambda share: 1.25 - 0.9 * float(np.log(share / 0.6)) ** 2,
    "fall, then grow (least at 0.6)": lambda share: 0.8 + 0.7 * float(np.log(share / 0.6)) ** 2,
    "saturate": lambda share: 1 - float(np.exp(-3 * share)),
    "level, then a late fall": lambda share: 1.2 - 0.8 * max(share - 0.6, 0.0),
}
BY_PATIENT: dict[str, Callable[[Floats, float, np.random.Generator], Floats]] = {
    "a power of each patient's own": _own_powers,
    "memorised up to a number of their own": _forgotten,
}
LAWS = (*FACTORS, *BY_PATIENT)


def effects(law: str, seed: int) -> Callable[[float], Floats]:
    """A cohort's true effects at every share of it."""
    rng = np.random.default_rng([seed, *law.encode()])
    level = rng.uniform(0.2, 0.9)
    base = np.where(
        rng.random(PATIENTS) < 0.3,
        rng.normal(level + 0.9, 0.5, PATIENTS),
        rng.normal(level - 0.2, 0.3, PATIENTS),
    )
    base = np.maximum(base, 0.0)
    own = int(rng.integers(2**31))

    def at(share: float) -> Floats:
        if law in FACTORS:
            return np.maximum(base * FACTORS[law](share), 0.0)
        return np.maximum(BY_PATIENT[law](base, share, np.random.default_rng(own)), 0.0)

    return at


def point(size: Size, effect: Floats, seed: int) -> Point:
    """Normal signals of a size's models, attacked and assessed as an audit's are."""
    rng = np.random.default_rng([seed, round(100 * size.share)])
    membership = size.design.membership()
    member = membership.reveal()
    signals = rng.normal(size=member.shape) + member * effect * np.sqrt(2)
    subject = Subject(
        membership=membership,
        patient_of_record=np.arange(PATIENTS),
        groups=pd.DataFrame(index=range(PATIENTS)),
        labels=np.zeros(PATIENTS, dtype=np.int64),
        stratum=np.zeros(PATIENTS, dtype=np.int64),
        seed=seed,
        smallest_cell=10,
        share=size.share,
    )
    return Point(size=size, risk=assess(signals.astype(np.float32), subject), utility=None)


def cohort(law: str, seed: int) -> list[dict[str, Any]]:
    """One simulated cohort: what every set of sizes says of a larger one, and the truth."""
    at = effects(law, seed)
    design = Design(models=MODELS, patients=PATIENTS, seed=seed)
    points = {s.share: point(s, at(s.share), seed) for s in sizes_of(SHARES, design)}
    found = []
    for shares, target in TRIED:
        used = [points[share] for share in shares]
        said = counted(exposed_at(used, THRESHOLD, target * PATIENTS), used)
        true = int((ndtr(at(target)) > THRESHOLD).sum())
        before = int((ndtr(at(shares[-1])) > THRESHOLD).sum())
        found.append(
            said | {"true": true, "before": before, "held": said["low"] <= true <= said["high"]}
        )
    return found


def cohorts_of(law: str, work: Path, cohorts: int) -> list[list[dict[str, Any]]]:
    """All cohorts of a law; finished ones are kept in `work`."""
    kept = work / f"sizes-{law.replace('/', 'by').replace(' ', '-')}-{cohorts}.json"
    if not kept.exists():
        write_json(kept, spread_over_cores(cohort, [(law, seed) for seed in range(cohorts)]))
    found: list[list[dict[str, Any]]] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def laws(work: Path, cohorts: int = 50) -> None:
    """Coverage of a larger size, law by law."""
    rows = []
    every = []
    for law in LAWS:
        found = cohorts_of(law, work, cohorts)
        every += found
        rows.append([law, *_cells(found)])
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    rows.append(["all", *_cells(every)])
    names = [f"{', '.join(f'{s:g}' for s in shares)} to {target:g}" for shares, target in TRIED]
    text = (
        f"{cohorts} cohorts per law of {PATIENTS} patients with normal signals, {MODELS} models "
        "per size (more where a patient would be OUT of too few). In how many of them the 95% "
        "interval of the number of patients above 0.9, carried on from the smaller sizes, holds "
        "the true number at the larger one; in brackets the median half-width of the interval and "
        "the median of what truly changes from the largest size that was seen, in percent of all "
        "patients.\n\n" + table(["effects of patients", *names], rows)
    )
    record("sizes-laws", "A larger size that was not seen", f"{COMMAND} laws WORK", text)


def _cells(found: list[list[dict[str, Any]]]) -> list[str]:
    cells = []
    for place in range(len(TRIED)):
        mine = [one[place] for one in found]
        held = np.mean([one["held"] for one in mine])
        half = np.median([one["high"] - one["low"] for one in mine]) / 2 / PATIENTS
        moved = np.median([abs(one["true"] - one["before"]) for one in mine]) / PATIENTS
        cells.append(f"{100 * held:.0f}% ({100 * half:.1f}, {100 * moved:.1f})")
    return cells


def real(work: Path, models: int = 64, patients: int = 1500) -> None:
    """diabetes130: every set of sizes against the models that were trained on more patients."""
    text, whole = _real(work, models, patients, "with 15 epochs at every size", {})
    record(
        "sizes-real",
        "A larger size of a real cohort",
        f"{COMMAND} real WORK",
        f"{text}\n\nOf models trained on all {patients:,}, {whole} are expected.",
    )


def steps(work: Path, models: int = 64, patients: int = 1500) -> None:
    """The same where every size takes about the steps of the audit's models."""
    how = "with about the steps at every size that 15 epochs take at a share of 0.5"
    text, whole = _real(work, models, patients, how, {"sizes_steps": "same"})
    record(
        "sizes-steps",
        "A larger size of a real cohort, in as many steps",
        f"{COMMAND} steps WORK",
        f"{text}\n\nOf models trained on all {patients:,} in as many steps, {whole} are expected.",
    )


def _real(
    work: Path, models: int, patients: int, how: str, more: dict[str, str]
) -> tuple[str, str]:
    content = tomllib.loads(COHORTS["diabetes130"])
    content["cohort"]["max_patients"] = patients
    content["audit"] = {"models": models, "seed": 7, "sizes": list(SHARES)} | more
    audit = LoadedConfiguration(parse(content, "sizes"), data_folder()).audit()
    run = work / f"sizes-{patients}-{models}"
    result = audit.run(run, workers=1, progress=progress_for())
    store = RunStore.open(run)
    places = Places.of(audit.cohort.inputs, audit.cohort.patient_of_record)
    subject = subject_of(audit, store.read_membership(), places)
    points = [assessed(store, size, subject, SILENT) for size in audit.size_plans()]
    rows = []
    for one in points:
        found = one.risk.exposed[THRESHOLD]
        rows.append(
            [
                f"{one.size.share:g}",
                str(one.size.models),
                f"{found.estimate:.0f} ({found.low:.0f} to {found.high:.0f})",
                *_predictions(points, one),
            ]
        )
    text = (
        f"{patients:,} patients, the perceptron of the README {how}, {models} models per size, "
        f"{points[-1].size.models} at {points[-1].size.share:g}. Patients above 0.9 as counted "
        "with models of each size, and as carried on from smaller sizes.\n\n"
        + table(["share", "models", "counted", "from the two before", "from all before"], rows)
    )
    row = result.summary["sizes"]["whole"]["exposed"][str(THRESHOLD)]
    return text, f"{row['estimate']:.0f} ({row['low']:.0f} to {row['high']:.0f})"


def _predictions(points: list[Point], target: Point) -> list[str]:
    """What two sizes, and all that are smaller, say of another one."""
    place = points.index(target)
    cells = []
    for used in (points[max(place - 2, 0) : place], points[:place]):
        if len(used) < FEWEST_SIZES:
            cells.append("")
            continue
        number = target.size.share * target.size.design.patients
        said = counted(exposed_at(used, THRESHOLD, number), used)
        cells.append(f"{said['estimate']:.0f} ({said['low']:.0f} to {said['high']:.0f})")
    return cells


if __name__ == "__main__":
    kind, folder, *more = sys.argv[1:]
    if kind == "laws":
        laws(Path(folder), *map(int, more))
    elif kind == "real":
        real(Path(folder), *map(int, more))
    else:
        steps(Path(folder), *map(int, more))
