"""The analysis by itself, by number of records: in memory, and from blocks on disk."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auscult.base.parallel import peak_memory
from benchmarks.machine import bandwidth, on_two_cores
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.speed"


COLUMNS = 64  # inputs of a simulated record
WAVES = 8  # directions of the input space along which models differ
AT_ONCE = 1 << 16


def simulated_evidence(records: int, models: int, *, inputs: bool = False) -> Any:  # noqa: ANN401
    """Evidence of simulated patients with two records each.

    With `inputs`, records lie in a space of 64 columns, and every model is kinder than others to
    some corners of it, by as much as its signals vary otherwise.
    """
    from auscult.attacks.places import Places
    from auscult.base.parallel import let_go, scratch
    from auscult.cohort.design import Design
    from auscult.results.analysis import Evidence

    patients = records // 2
    rng = np.random.default_rng(0)
    membership = Design(models=models, patients=patients, seed=1).membership()
    member = membership.reveal()
    patient = np.repeat(np.arange(patients), 2)
    shift = rng.uniform(0, 1.5, patients).astype(np.float32)
    level = rng.normal(size=records).astype(np.float32)
    signals = scratch((models, records), np.float32)
    for model in range(models):
        signals[model] = rng.standard_normal(records, dtype=np.float32) + level
        signals[model] += np.where(member[model], shift, 0)[patient]
        let_go(signals)
        let_go(member)
    groups = pd.DataFrame(
        {"sex": rng.choice(["f", "m"], patients), "age": rng.choice(list("abcdef"), patients)}
    )
    stratum = rng.integers(0, 2, records)
    places = None
    if inputs:
        points = scratch((records, COLUMNS), np.float32)
        turned = rng.standard_normal((COLUMNS, WAVES), dtype=np.float32) / np.sqrt(COLUMNS)
        kindness = rng.standard_normal((models, WAVES), dtype=np.float32) / np.sqrt(WAVES / 2)
        sign = 2 * stratum.astype(np.float32) - 1  # kinder to one class, harder on the other
        for start in range(0, records, AT_ONCE):
            here = slice(start, min(start + AT_ONCE, records))
            points[here] = rng.standard_normal((here.stop - start, COLUMNS), dtype=np.float32)
            signals[:, here] += kindness @ (sign[here, None] * np.sin(points[here] @ turned)).T
            let_go(points)
            let_go(signals)
        places = Places(points, patient)
    return Evidence(
        signals=signals,
        membership=membership,
        patient_of_record=patient,
        groups=groups,
        stratum=stratum,
        places=places,
    )


def measure_analysis(records: int, models: int) -> None:
    """Analyse simulated signals in this process; prints times and peak memory as JSON."""
    from auscult.attacks.layout import lay_out
    from auscult.attacks.record import RECORD_ATTACKS
    from auscult.attacks.roc import roc_of_attack
    from auscult.results.analysis import analyse
    from auscult.risk.patients import patient_risk

    evidence = simulated_evidence(records, models)
    said: dict[str, float] = {}
    if records <= 1_000_000:
        start = time.perf_counter()
        layout = lay_out(evidence.signals, evidence.membership.reveal(), evidence.patient_of_record)
        said["layout"] = time.perf_counter() - start
        for attack in RECORD_ATTACKS:
            if attack.name in ("lira", "rmia"):
                start = time.perf_counter()
                roc_of_attack(attack, layout, np.random.default_rng(0))
                said[attack.name] = time.perf_counter() - start
        start = time.perf_counter()
        patient_risk(layout, (0.9,))
        said["joint"] = time.perf_counter() - start
        del layout
    start = time.perf_counter()
    analyse(evidence, seed=1)
    said["all"] = time.perf_counter() - start
    said["peak_mb"] = (peak_memory() or 0) / (1 << 20)
    print(json.dumps(said))


def analysis(_: Path) -> None:
    """Time and memory of the analysis by number of records."""
    rows = []
    for records in (100_000, 400_000):
        command = [sys.executable, "-m", "benchmarks.speed", "--measure", str(records), "200"]
        said = json.loads(on_two_cores(command, OMP_NUM_THREADS="1")[2])
        rows.append(
            [
                f"{records:,}",
                *(f"{said[name]:.1f} s" for name in ("layout", "lira", "rmia", "joint", "all")),
                f"{said['peak_mb']:.0f} MB",
            ]
        )
    moved = 3 * 4 * 400_000 * 200  # signals read, scores written and read, in 32 bits
    speed, most = moved / said["lira"], bandwidth()
    text = (
        "Simulated signals, 200 models, two records per patient, every model a target. LiRA and "
        "RMIA with ROC and its bootstrap; joint attack with shrinkage; `all` adds the other "
        "attacks, the null, exposed counts, stability and groups.\n\n"
        + table(["records", "layout", "LiRA", "RMIA", "joint", "all", "peak memory"], rows)
        + "\n\n"
        + naive_slice()
        + f" LiRA on 400,000 records moves at least {moved / 1e9:.1f} GB, "
        f"{100 * speed / most:.1f}% of what two cores copy in that time ({most / 1e9:.1f} GB/s): "
        "sorting and counting for the ROC of every target bounds it, not memory."
    )
    record("analysis", "Analysis", f"{COMMAND} analysis", text)


def measure_neighbours(records: int, models: int, *, used: bool) -> None:
    """Analyse simulated signals with or without the inputs; prints time and memory as JSON."""
    from dataclasses import replace

    from auscult.results.analysis import analyse

    evidence = simulated_evidence(records, models, inputs=True)
    before = (peak_memory() or 0) / (1 << 20)
    start = time.perf_counter()
    found = analyse(evidence if used else replace(evidence, places=None), seed=1)
    said = {"all": time.perf_counter() - start, "peak_mb": (peak_memory() or 0) / (1 << 20)}
    told = found.summary["patients"]["neighbours"]
    if told["used"] != used:
        raise SystemExit(f"neighbours were to be used: {used}; {told}")
    print(json.dumps(said | {"before_mb": before, "removed": told["variance_removed"]}))


def neighbours(_: Path) -> None:
    """What other patients' records as controls cost, by number of records."""
    rows = []
    for records in (100_000, 1_000_000):
        said = {}
        for used in (False, True):
            command = [sys.executable, "-m", "benchmarks.speed", "--neighbours"]
            command += [str(records), "64", str(int(used))]
            said[used] = json.loads(on_two_cores(command, OMP_NUM_THREADS="1")[2])
        rows.append(
            [
                f"{records:,}",
                *(f"{said[used]['all']:.1f} s" for used in (False, True)),
                f"{said[True]['all'] / said[False]['all']:.2f}",
                *(f"{said[used]['peak_mb']:.0f} MB" for used in (False, True)),
                f"{100 * said[True]['removed']:.0f}%",
            ]
        )
    text = (
        f"Simulated signals, 64 models, two records per patient, {COLUMNS} columns of input; the "
        "whole analysis, null included, without the inputs and with them. Variance: of the centred "
        "signals over models, as far as records nearby explain it.\n\n"
        + table(
            ["records", "without", "with", "times", "peak without", "peak with", "variance"], rows
        )
    )
    record("neighbours", "Cost of neighbours as controls", f"{COMMAND} neighbours", text)


def naive_slice() -> str:
    """LiRA and RMIA as loops on a slice, against the same slice here."""
    from scipy.stats import norm

    from auscult.attacks.layout import lay_out
    from auscult.attacks.record import RECORD_ATTACKS
    from auscult.base.progress import SILENT

    evidence = simulated_evidence(2000, 200)
    layout = lay_out(evidence.signals, evidence.membership.reveal(), evidence.patient_of_record)
    attacks = {attack.name: attack for attack in RECORD_ATTACKS}
    inside = layout.member[layout.patient]
    start = time.perf_counter()
    for row in range(layout.records):
        x = layout.signals[row].astype(float)
        for target in range(0, 200, 10):
            others = np.arange(200) != target
            a, b = x[others & inside[row]], x[others & ~inside[row]]
            norm.logpdf(x[target], a.mean(), a.std()) - norm.logpdf(x[target], b.mean(), b.std())
    slow = (time.perf_counter() - start) * 10
    start = time.perf_counter()
    attacks["lira"].score(layout, SILENT)
    fast = time.perf_counter() - start
    return (
        f"LiRA on 2,000 records and 200 targets: {slow:.0f} s by loops over records and targets "
        f"(every tenth target measured), {fast:.2f} s here: {slow / fast:.0f} times faster."
    )


def measure_disk(records: int, models: int, work: Path) -> None:
    """Write simulated blocks to a run directory, then make its results; prints times and memory."""
    from auscult.base.parallel import let_go
    from auscult.cohort import PatientIds
    from auscult.cohort.cohort import records_per_patient
    from auscult.recipes.base import BlockOutputs
    from auscult.results.analysis import AnalysisSettings
    from auscult.results.roster import Roster
    from auscult.results.writing import write_results
    from auscult.store import RunStore, plan_blocks

    evidence = simulated_evidence(records, models)
    patients = evidence.membership.patients
    ids = np.char.mod("%d", np.arange(patients))
    with RunStore.create_or_resume(
        work / "run",
        fingerprint={"benchmark": str(records)},
        configuration=None,
        blocks=plan_blocks(models, 8),
        records=records,
    ) as store:
        store.write_membership(evidence.membership)
        for block in store.blocks:
            values = np.asarray(evidence.signals[list(block.models)])[:, None, :, None]
            let_go(evidence.signals)
            store.write_block(block, BlockOutputs(values=values, kind="signal"))
        groups, patient = evidence.groups, evidence.patient_of_record
        del evidence, values
        start = time.perf_counter()
        roster = Roster(
            title="simulated",
            cohort={
                "source": "simulated",
                "records": records,
                "patients": patients,
                "task": "unknown",
                "classes": [],
                "records_per_patient": records_per_patient(patient),
                "groups": list(groups.columns),
                "left_out": [],
                "notes": [],
            },
            recipe=None,
            patient_of_record=patient,
            patient_ids=PatientIds(ids),
            record_rows=np.arange(records),
            groups=groups,
        )
        write_results(store, roster, seed=1, settings=AnalysisSettings())
    peak = (peak_memory() or 0) / (1 << 20)
    print(json.dumps({"all": time.perf_counter() - start, "peak_mb": peak}))


def disk(work: Path) -> None:
    """Ten million records: blocks on disk to results, memory bounded, time linear in records."""
    rows, seconds = [], []
    sizes = (1_000_000, 2_500_000, 10_000_000)
    for records in sizes:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            command = [sys.executable, "-m", "benchmarks.speed", "--disk", str(records), "64"]
            said = json.loads(
                on_two_cores([*command, "--work", folder], OMP_NUM_THREADS="1", TMPDIR=folder)[2]
            )
        seconds.append(said["all"])
        rows.append([f"{records:,}", f"{said['all']:.0f} s", f"{said['peak_mb']:.0f} MB"])
    slope, offset = np.polyfit(sizes, seconds, 1)
    text = (
        "Simulated signals, 64 models, two records per patient, as blocks of a run directory: "
        "verified, analysed and reported. Arrays beyond 256 MB lie in temporary files.\n\n"
        + table(["records", "blocks to report", "peak memory"], rows)
        + f"\n\nFit: {offset:.0f} s + {1e6 * slope:.1f} s per million records; it misses the "
        "times by "
        + ", ".join(
            f"{100 * (offset + slope * size) / took - 100:+.0f}%"
            for size, took in zip(sizes, seconds, strict=True)
        )
        + "."
    )
    record("disk", "Ten million records", f"{COMMAND} disk", text)
