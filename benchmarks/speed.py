"""How fast and how large: whole audits against a sequential loop, the analysis by itself.

    python -m benchmarks.speed [audits sacro images peak analysis cost disk]

Whole processes on the first two cores that may be used, one after the other; times are wall-clock,
start of Python included. Real cohorts are found through AUSCULT_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.machine import CORES, memory_of, on_two_cores, sgemm_peak
from benchmarks.real import audit_of, write_configuration
from benchmarks.results import record, table
from benchmarks.scale import (
    analysis,
    disk,
    measure_analysis,
    measure_disk,
    measure_neighbours,
    neighbours,
)

COMMAND = "python -m benchmarks.speed"


def training_flops(models: int, hidden: int, batch: int) -> tuple[float, int]:
    """Floating point operations of training and predicting, and the number of parameters."""
    audit = audit_of("diabetes130", models, hidden=[hidden, hidden], batch_size=batch)
    import torch

    from auscult.recipes.torch.encoding import EncodedTable

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

    from auscult.recipes.torch.encoding import EncodedTable

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

    from auscult.training.dispatch import assignments

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


def told(configuration: Path) -> None:
    """Print what `check` says of a configuration on two workers, as JSON."""
    from auscult.config import load
    from auscult.training.cost import expected
    from auscult.training.warm import warm_up_for

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
        "neighbours": neighbours,
        "cost": cost,
        "disk": disk,
    }
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--neighbours", nargs=3, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--disk", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure_analysis(*given.measure)
        return
    if given.neighbours:
        measure_neighbours(*given.neighbours[:2], used=bool(given.neighbours[2]))
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
