"""How fast and how large: whole audits against a sequential loop, the analysis by itself.

    python -m benchmarks.speed [audits sacro images peak analysis cost disk]

Whole processes on the first two cores that may be used, one after the other; times are wall-clock,
start of Python included. Real cohorts are found through AUSCULT_DATA.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.real import audit_of, write_configuration
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.speed"
CORES = 2


def on_two_cores(command: list[str], **settings: str) -> tuple[float, float, str]:
    """Seconds, peak memory of the largest process in MB, and standard output."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.perf_counter()
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | settings,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return seconds, max(peak, before) / 1024, done.stdout


def sgemm_peak() -> float:
    """Sum over both cores of the GFLOP/s of one-thread float32 products of 1024 x 1024."""
    code = (
        "import torch, time; torch.set_num_threads(1)\n"
        "a = torch.randn(1024, 1024); b = a.T.clone()\n"
        "for _ in range(20): a @ b\n"
        "t = time.perf_counter()\n"
        "for _ in range(60): a @ b\n"
        "print(60 * 2 * 1024**3 / (time.perf_counter() - t) / 1e9)"
    )
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    running = [
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for core in cores
    ]
    return sum(float(process.communicate()[0]) for process in running)


def training_flops(models: int, hidden: int, batch: int) -> tuple[float, int]:
    """Floating point operations of training and predicting, and the number of parameters."""
    audit = audit_of("diabetes130", models, hidden=[hidden, hidden], batch_size=batch)
    import torch

    from auscult.recipes.torch_data import EncodedTable

    inputs = audit.cohort.training_data().inputs
    columns = EncodedTable(inputs, torch.float32, torch.device("cpu")).shape[0]  # type: ignore[arg-type]
    weights = columns * hidden + hidden * hidden + hidden
    records = audit.cohort.records
    # Two per weight and record forward, four backward; the first layer needs no gradient of inputs.
    step = 6 * weights - 2 * columns * hidden
    return models * (15 * step * records / 2 + 2 * weights * records), weights


def audits(work: Path) -> None:
    """Whole audits against the sequential loop, and against the arithmetic."""
    peak = sgemm_peak()
    rows = []
    for models, hidden, batch in ((64, 128, 256), (256, 128, 256), (64, 32, 64)):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            path, run = Path(folder) / "audit.toml", Path(folder) / "run"
            network = {"hidden": [hidden, hidden], "batch_size": batch}
            write_configuration(path, "diabetes130", models, **network)
            ours, memory, _ = on_two_cores(
                [sys.executable, "-m", "auscult", "run", str(path), "--out", str(run)]
            )
            timings = json.loads((run / "manifest.json").read_text())["timings"]
        loop, _, said = on_two_cores(
            [
                *(sys.executable, "-m", "benchmarks.sequential", "diabetes130"),
                *(str(models), str(hidden), str(batch)),
            ]
        )
        parts = json.loads(said)
        limit = training_flops(models, hidden, batch)[0] / (peak * 1e9)
        rows.append(
            [
                models,
                f"{hidden}, {hidden}",
                batch,
                f"{ours:.1f} s",
                f"{timings['training_seconds']:.1f} + {timings['analysis_seconds']:.1f}",
                f"{memory:.0f} MB",
                f"{loop:.1f} s",
                f"{parts['training']:.1f} + {parts['attack']:.1f}",
                f"{loop / ours:.2f}",
                f"{limit:.2f} s",
                f"{ours / limit:.1f}",
            ]
        )
    text = (
        "diabetes130, 6,000 patients, 8,694 records, 15 epochs, two cores. Auscult: whole process "
        "with the joint attack, five attacks on records, null, shrinkage, groups and report. Loop: "
        "DataLoader, one model after another, PyTorch's own two threads, LiRA by scipy per record "
        "and nothing else. The limit is the time that the training's operations take "
        f"at the measured sgemm peak of {peak:.0f} GFLOP/s (two processes, one thread each).\n\n"
        + table(
            [
                *("models", "hidden", "batch", "Auscult", "training + analysis", "peak memory"),
                *("loop", "training + LiRA", "loop / Auscult", "limit", "Auscult / limit"),
            ],
            rows,
        )
    )
    record("audits", "Whole audits", f"{COMMAND} audits", text)


def sacro(work: Path) -> None:
    """Whole audit against SACRO-ML's LiRA with as many shadow models of the same network."""
    python = os.environ.get("SACRO_PYTHON")
    if python is None:
        raise SystemExit(
            "SACRO_PYTHON names no interpreter: make an environment with sacroml and torch"
        )
    import torch

    from auscult.recipes.torch_data import EncodedTable

    rows = []
    for models, hidden, batch in ((64, 128, 256),):
        audit = audit_of("diabetes130", models, hidden=[hidden, hidden], batch_size=batch)
        data = audit.cohort.training_data()
        member = audit._design().membership().reveal()[0][audit.cohort.patient_of_record]
        encoded = EncodedTable(data.inputs, torch.float32, torch.device("cpu"))  # type: ignore[arg-type]
        encoded.fit([np.flatnonzero(member)])
        inputs = encoded.batch([0], torch.arange(len(member))[None])[0].numpy()
        with tempfile.TemporaryDirectory(dir=work) as folder:
            arrays = Path(folder) / "arrays.npz"
            np.savez(arrays, inputs=inputs, labels=data.labels, member=member)
            theirs, their_memory, said = on_two_cores(
                [
                    python,
                    "-m",
                    "benchmarks.sacro",
                    str(arrays),
                    str(models),
                    str(hidden),
                    str(batch),
                ]
            )
            path, run = Path(folder) / "audit.toml", Path(folder) / "run"
            network = {"hidden": [hidden, hidden], "batch_size": batch}
            write_configuration(path, "diabetes130", models, **network)
            ours, memory, _ = on_two_cores(
                [sys.executable, "-m", "auscult", "run", str(path), "--out", str(run)]
            )
        parts = json.loads(said.strip().splitlines()[-1])
        rows.append(
            [
                models,
                f"{hidden}, {hidden}",
                batch,
                f"{ours:.1f} s",
                f"{memory:.0f} MB",
                f"{theirs:.1f} s",
                f"{their_memory:.0f} MB",
                f"{parts['attack']:.1f} s",
                f"{theirs / ours:.2f}",
            ]
        )
    text = (
        "diabetes130 as above. SACRO-ML: LiRA (online) on one target with as many shadow models, "
        "PyTorch's own threads, records prepared beforehand, no report; Auscult: all of the audit, "
        "every model a target. Whole processes; SACRO-ML's includes its imports.\n\n"
        + table(
            [
                *("models", "hidden", "batch", "Auscult", "peak memory"),
                *("SACRO-ML", "peak memory", "of which attack", "SACRO-ML / Auscult"),
            ],
            rows,
        )
    )
    record("sacro", "Against SACRO-ML", f"SACRO_PYTHON=... {COMMAND} sacro", text)


def images(work: Path) -> None:
    """Models per minute on brain slices, against the same network trained model by model."""
    models, epochs = 8, 3
    audit = audit_of("lgg_mri_64", models, epochs=epochs)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        path, run = Path(folder) / "audit.toml", Path(folder) / "run"
        write_configuration(path, "lgg_mri_64", models, epochs=epochs)
        on_two_cores([sys.executable, "-m", "auscult", "run", str(path), "--out", str(run)])
        ours = json.loads((run / "manifest.json").read_text())["timings"]["training_seconds"]
    command = [sys.executable, "-m", "benchmarks.sequential", "--images", "lgg_mri_64"]
    loop = json.loads(on_two_cores([*command, str(models), str(epochs)])[2])["training"]
    text = (
        f"lgg_mri_64, {audit.cohort.records:,} slices of 64 x 64 in three channels, `cnn`, "
        f"{epochs} epochs, batches of 64, {models} models, two cores. Loop: the same network, "
        "DataLoader, PyTorch's own two threads, model after model.\n\n"
        + table(
            ["", "training", "models per minute"],
            [
                ["Auscult", f"{ours:.0f} s", f"{60 * models / ours:.1f}"],
                ["loop", f"{loop:.0f} s", f"{60 * models / loop:.1f}"],
                ["loop / Auscult", f"{loop / ours:.2f}", ""],
            ],
        )
    )
    record("images", "Training on images", f"{COMMAND} images", text)


def peak(_: Path) -> None:
    """Share of the sgemm peak reached while training."""
    import torch

    from auscult.engine import assignments

    most = sgemm_peak() / CORES
    torch.set_num_threads(1)
    rows = []
    for hidden, batch in ((128, 256), (32, 64)):
        audit = audit_of("diabetes130", 8, hidden=[hidden, hidden], batch_size=batch)
        data, design = audit.cohort.training_data(), audit._design()
        job = assignments(range(8), design.membership(), audit.cohort.patient_of_record, 7)
        audit.recipe.train_block(data, job, lambda _: None)
        start = time.perf_counter()
        outputs = audit.recipe.train_block(data, job, lambda _: None)
        seconds = time.perf_counter() - start
        rate = training_flops(8, hidden, batch)[0] / seconds / 1e9
        rows.append(
            [
                f"{hidden}, {hidden}",
                batch,
                f"{seconds / 8:.3f} s",
                f"{rate:.0f} GFLOP/s",
                f"{100 * rate / most:.0f}%",
                dict(outputs.speed)["models_at_once"],
            ]
        )
    text = (
        f"One worker, one thread; sgemm peak {most:.0f} GFLOP/s per core. Models at once: as many "
        "of a block of 8 as the cache holds.\n\n"
        + table(["hidden", "batch", "per model", "rate", "share of peak", "at once"], rows)
    )
    record("peak", "Share of the peak while training", f"{COMMAND} peak", text)


def simulated_evidence(records: int, models: int) -> Any:  # noqa: ANN401
    """Evidence of simulated patients with two records each."""
    from auscult.analysis import Evidence
    from auscult.design import Design
    from auscult.parallel import let_go, scratch

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
    return Evidence(
        signals=signals,
        membership=membership,
        patient_of_record=patient,
        groups=pd.DataFrame(
            {"sex": rng.choice(["f", "m"], patients), "age": rng.choice(list("abcdef"), patients)}
        ),
        stratum=rng.integers(0, 2, records),
    )


def measure_analysis(records: int, models: int) -> None:
    """Analyse simulated signals in this process; prints times and peak memory as JSON."""
    from auscult.analysis import analyse
    from auscult.attacks.record import RECORD_ATTACKS
    from auscult.attacks.roc import roc_of_attack
    from auscult.layout import lay_out
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
    said["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
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


def bandwidth() -> float:
    """Bytes per second that two threads read and write while copying half a gigabyte each."""
    from concurrent.futures import ThreadPoolExecutor

    source = [np.ones(1 << 26) for _ in range(CORES)]
    target = [np.empty_like(one) for one in source]

    def copy(place: int) -> None:
        for _ in range(4):
            np.copyto(target[place], source[place])

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(copy, range(CORES)))
        start = time.perf_counter()
        list(pool.map(copy, range(CORES)))
    return 4 * 2 * sum(one.nbytes for one in source) / (time.perf_counter() - start)


def naive_slice() -> str:
    """LiRA and RMIA as loops on a slice, against the same slice here."""
    from scipy.stats import norm

    from auscult.attacks.record import RECORD_ATTACKS
    from auscult.layout import lay_out
    from auscult.progress import SILENT

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
    from auscult.analysis import AnalysisSettings
    from auscult.cohort import PatientIds, records_per_patient
    from auscult.parallel import let_go
    from auscult.recipes.base import BlockOutputs
    from auscult.results import Roster, write_results
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
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


def memory_of(process: int) -> int:
    """Bytes held by a process and all that descend from it, shared pages counted once."""
    total, waiting = 0, [str(process)]
    while waiting:
        one = Path("/proc", waiting.pop())
        with contextlib.suppress(OSError):
            for thread in (one / "task").iterdir():
                waiting += (thread / "children").read_text().split()
            text = (one / "smaps_rollup").read_text()
            total += sum(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:"))
    return 1024 * total


def told(configuration: Path) -> None:
    """Print what `check` says of a configuration on two workers, as JSON."""
    from auscult.ahead import warm_up_for
    from auscult.config import load
    from auscult.cost import expected

    warm_up_for(configuration)
    audit = load(configuration).audit()
    said = expected(
        audit.trial(),
        models=audit.models,
        records=audit.cohort.records,
        patients=audit.cohort.patients,
        workers=CORES,
    )
    print(json.dumps(asdict(said)))


def cost(work: Path) -> None:
    """What `check` says against what `run` takes: time, memory, disk."""
    rows = []
    for name, models in (("diabetes130", 64), ("diabetes130", 256), ("support2", 64)):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            path, run = Path(folder) / "audit.toml", Path(folder) / "run"
            write_configuration(path, name, models)
            command = [sys.executable, "-m", "benchmarks.speed", "--told", str(path)]
            said = json.loads(on_two_cores(command)[2])
            start, memory = time.perf_counter(), 0
            audit = subprocess.Popen(
                [*(sys.executable, "-m", "auscult", "run", str(path)), "--out", str(run)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while audit.poll() is None:
                memory = max(memory, memory_of(audit.pid))
                time.sleep(0.1)
            took = time.perf_counter() - start
            size = sum(f.stat().st_size for f in run.rglob("*") if f.is_file())
        rows.append([name, models])
        for expectation, found, unit, scale in (
            (said["training_seconds"] + said["analysis_seconds"], took, "s", 1.0),
            (said["memory_bytes"], memory, "MB", 1e-6),
            (said["disk_bytes"], size, "MB", 1e-6),
        ):
            rows[-1].append(
                f"{scale * expectation:.3g} / {scale * found:.3g} {unit} "
                f"({100 * (expectation / found - 1):+.0f}%)"
            )
    text = (
        "Two workers. The prediction trains one block. Predicted / found; memory of all processes "
        "together at its peak, shared pages counted once.\n\n"
    ) + table(["cohort", "models", "time", "memory", "disk"], rows)
    record("cost", "Cost told beforehand", f"{COMMAND} cost", text)


def main() -> None:
    """Run the measurements that are asked for; all of them by default."""
    parts: dict[str, Callable[[Path], None]] = {
        "audits": audits,
        "sacro": sacro,
        "images": images,
        "peak": peak,
        "analysis": analysis,
        "cost": cost,
        "disk": disk,
    }
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--disk", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure_analysis(*given.measure)
        return
    if given.told:
        told(given.told)
        return
    if given.disk:
        measure_disk(given.disk[0], given.disk[1], given.work)
        return
    for name in given.parts or [n for n in parts if n != "sacro" or "SACRO_PYTHON" in os.environ]:
        parts[name](given.work)


if __name__ == "__main__":
    main()
