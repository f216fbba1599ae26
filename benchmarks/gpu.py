"""Training on a card: seconds per model, models at once, against the CPU, the same bytes again.

    python -m benchmarks.gpu [model bytes cpu together graphs] [--small] [--seconds 240]

Simulated images and tables, no data from elsewhere. Each part is printed and recorded as it ends; a
part that would begin too late is left out, and says so. `--small` tries all of it in seconds, on a
CPU too, and records nothing. `graphs` is only done when it is named.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.parallel import cores
from auscult.base.randomness import Stage, integer_seed
from auscult.cohort import TrainingData
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.recipes import TorchRecipe
from auscult.recipes.base import Assignment
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.gpu"
STEP_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained.

    Attributes
    ----------
    network : str
    images, patients, side, epochs, few : int
        Of the image model; `few` epochs where the whole training is told from them.
    rows, many : int
        Of the table; models at once, at most.
    batch : int
    """

    network: str
    images: int
    patients: int
    side: int
    epochs: int
    few: int
    rows: int
    many: int
    batch: int


FULL = Size(
    network="wrn-28-2",
    images=16_500,
    patients=5_000,
    side=64,
    epochs=30,
    few=3,
    rows=8_694,
    many=32,
    batch=STEP_BATCH,
)
SMALL = Size(
    network="wrn-10-1",
    images=60,
    patients=20,
    side=8,
    epochs=2,
    few=1,
    rows=80,
    many=2,
    batch=16,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--small", action="store_true", help="try it in seconds; record nothing")
    parser.add_argument("--seconds", type=float, default=240.0, help="of all parts together")
    parser.add_argument("--without-compiler", action="store_true")
    parser.add_argument("--digest", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    size = SMALL if given.small else FULL
    if given.digest is not None:
        print(digest(_outputs(size, eval_recipe(size, given.digest))))
        return
    parts: dict[str, tuple[float, Callable[[Size, bool], str], str]] = {
        "model": (75, model, "One large model on a GPU"),
        "bytes": (60, twice, "The same bytes on a GPU"),
        "cpu": (30, against_the_cpu, "GPU against CPU"),
        "together": (45, together, "Models at once on a GPU"),
        "graphs": (90, graphs, "Other forms of a compiled step"),
    }
    end = time.perf_counter() + given.seconds
    for name in given.parts or [name for name in parts if name != "graphs"]:
        needed, part, title = parts[name]
        left = end - time.perf_counter()
        if left < needed and not given.small:
            print(f"{name}: left out, {left:.0f} s are left of {given.seconds:.0f}", flush=True)
            continue
        start = time.perf_counter()
        text = f"{card()}.\n\n{part(size, not given.without_compiler)}"
        if given.small:
            print(text, flush=True)
        else:
            record(f"gpu-{name}", title, f"{COMMAND} {name}", text)
        print(f"({name}: {time.perf_counter() - start:.0f} s)", flush=True)


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


def card() -> str:
    """The card and the versions that its results depend on."""
    import torch

    if not torch.cuda.is_available():
        return f"No GPU here: a CPU stands in for it (PyTorch {torch.__version__})"
    return (
        f"{torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}, "
        f"CUDA {torch.version.cuda}, "
        f"cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    )


def images(records: int, patients: int, side: int) -> TrainingData:
    """Grey images of patients: noise of their own, a bright disk where the label is 1."""
    rng = np.random.default_rng(0)
    patient = np.sort(rng.integers(0, patients, records))
    sick = rng.integers(0, 2, patients)
    place = rng.uniform(0.3, 0.7, (patients, 2)) * side
    grid = np.arange(side)
    values = rng.normal(110.0, 40.0, (records, side, side)).astype(np.float32)
    y, x = (place[patient, axis][:, None] for axis in (0, 1))
    far = (grid - y)[:, :, None] ** 2 + (grid - x)[:, None, :] ** 2
    values += 25.0 * sick[patient][:, None, None] * (far < (side / 5) ** 2)
    return TrainingData(
        inputs=ArrayInputs(
            array=values.clip(0, 255).astype(np.uint8), rows=np.arange(records), channels="none"
        ),
        labels=sick[patient],
        task="binary",
        classes=("no", "yes"),
        patient_of_record=patient,
    )


def measurements(records: int) -> TrainingData:
    """A table of forty numbers, of which four say something about the label."""
    rng = np.random.default_rng(1)
    numeric = rng.normal(size=(records, 40)).astype(np.float32)
    score = numeric[:, :4].sum(axis=1) + 2 * rng.normal(size=records)
    return TrainingData(
        inputs=TableInputs(
            numeric=numeric,
            numeric_names=tuple(f"n{i}" for i in range(40)),
            codes=np.zeros((records, 0), dtype=np.int32),
            categorical_names=(),
            levels=(),
        ),
        labels=(score > 0).astype(np.int64),
        task="binary",
        classes=("no", "yes"),
        patient_of_record=np.arange(records),
    )


def jobs(data: TrainingData, models: int) -> list[Assignment]:
    """Models that train on half of the patients each."""
    patient = data.patient_of_record
    if patient is None:
        raise TypeError("simulated records have patients")
    found = []
    for number in range(models):
        chosen = np.random.default_rng([7, number]).random(patient.max() + 1) < 0.5
        found.append(
            Assignment(
                model=number,
                members=np.flatnonzero(chosen[patient]),
                seed=integer_seed(7, Stage.TRAINING, number),
            )
        )
    return found


def trained(
    recipe: TorchRecipe, data: TrainingData, job: Sequence[Assignment]
) -> tuple[float, float, NDArray[np.float64], dict[str, Any]]:
    """Seconds of the whole block, of its training alone, outputs in 64 bits, facts and speed."""
    import torch

    begun = time.perf_counter()
    marks = [begun]

    def advance(_: float) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a card works behind the process that feeds it
        marks.append(time.perf_counter())

    speed: dict[str, Any] = {}
    values, facts = recipe.train_exactly(data, job, advance, speed)
    return time.perf_counter() - begun, marks[-1] - begun, values[:, :, 0], {**facts, **speed}


def auroc(data: TrainingData, job: Assignment, outputs: NDArray[np.float64]) -> tuple[float, float]:
    """On members and on the others."""
    from sklearn.metrics import roc_auc_score

    member = np.zeros(len(outputs), dtype=bool)
    member[job.members] = True
    return tuple(  # type: ignore[return-value]
        float(roc_auc_score(data.labels[which], outputs[which])) for which in (member, ~member)
    )


def model(size: Size, compiler: bool) -> str:
    """Seconds per model of a wide residual network, in several number formats."""
    import torch

    data = images(size.images, size.patients, size.side)
    job = jobs(data, 2)
    cuda = torch.cuda.is_available()
    whole: dict[str, Any] = {"dtype": "bfloat16", "compile": True}
    formats: list[tuple[str, dict[str, Any], int]] = []
    if compiler:
        formats += [
            ("bfloat16, compiled (first)", whole, size.few),
            ("bfloat16, compiled", whole, size.epochs),
        ]
    formats += [("bfloat16", {"dtype": "bfloat16"}, size.few), ("float32", {}, size.few)]
    if cuda:
        formats.append(("tf32", {"dtype": "tf32"}, size.few))
    rows = []
    for place, (name, settings, epochs) in enumerate(formats):
        chosen = job[:1] if place == 0 else job[1:2]
        recipe = TorchRecipe(
            size.network, epochs=epochs, batch_size=size.batch, stack="never", **settings
        )
        _reset_memory()
        seconds, training, outputs, _ = trained(recipe, data, chosen)
        inside, outside = auroc(data, chosen[0], outputs[0])
        rest = seconds - training
        scaled = f"{training * size.epochs / epochs + rest:.1f} s"
        if epochs != size.epochs:  # the compiler's time does not grow with the epochs
            scaled = "" if "first" in name else f"{scaled} (scaled)"
        rows.append(
            [
                *(name, epochs, f"{seconds:.1f} s", f"{rest:.1f} s"),
                scaled,
                *(f"{inside:.3f}", f"{outside:.3f}", _memory()),
            ]
        )
        print(" | ".join(map(str, rows[-1])), flush=True)
    steps = -(-size.images // 2 // size.batch)
    return (
        f"{size.network}, {size.images:,} simulated images of {size.side} x {size.side} in one "
        f"channel, {size.patients:,} patients of whom half train each model, batches of "
        f"{size.batch}, {steps} steps per epoch, AdamW; through `TorchRecipe`, from the data in "
        "memory to the outputs on all records. The first compiled model contains the compiler's "
        f"time, once per machine. Where fewer than {size.epochs} epochs were trained, the time of "
        f"training alone is scaled to {size.epochs}.\n\n"
        + table(
            [
                *("number format", "epochs", "whole", "of which not training"),
                *(f"a model of {size.epochs} epochs", "AUROC of members", "of others", "memory"),
            ],
            rows,
        )
    )


def together(size: Size, compiler: bool) -> str:
    """Models at once against one by one: a table, small images, a large network."""
    del compiler
    small = images(size.images // 4, size.patients // 4, min(size.side, 32))
    large = images(size.images // 2, size.patients // 2, size.side)
    cases: list[tuple[str, TrainingData, dict[str, Any], list[int]]] = [
        (
            "mlp, 128 and 128, 40 columns",
            measurements(size.rows),
            {"model": "mlp", "hidden": [128, 128], "epochs": 5 * size.few},
            [1, 8, size.many],
        ),
        (
            f"cnn, {min(size.side, 32)} px",
            small,
            {"model": "cnn", "epochs": size.few},
            [1, 8, size.many],
        ),
    ]
    cases.append(
        (
            f"{size.network}, {size.side} px, bfloat16",
            large,
            {"model": size.network, "epochs": 1, "dtype": "bfloat16"},
            [1, 2, 4],
        )
    )
    rows = []
    for name, data, settings, counts in cases:
        alone = 0.0
        for count in sorted({min(count, size.many) for count in counts}):
            recipe = TorchRecipe(
                batch_size=size.batch, stack="never" if count == 1 else "always", **settings
            )
            trained(recipe, data, jobs(data, min(count, 2)))  # kernels are loaded
            _reset_memory()
            job = jobs(data, count)
            _, training, _, facts = trained(recipe, data, job)
            each = training / count
            alone = each if count == 1 else alone
            rows.append(
                [
                    *(name, count, facts.get("models_at_once", 1)),
                    *(f"{each:.3f} s", f"{alone / each:.1f}", _memory()),
                ]
            )
            print(" | ".join(map(str, rows[-1])), flush=True)
    return (
        f"Batches of {size.batch}; time of training alone, the second time. A table of "
        f"{size.rows:,} records for {5 * size.few} epochs, {size.images // 4:,} images for "
        f"{size.few}, {size.images // 2:,} for one.\n\n"
        + table(["network", "models", "at once", "per model", "times as fast", "memory"], rows)
    )


def against_the_cpu(size: Size, compiler: bool) -> str:
    """Largest difference of outputs between a GPU and the CPU of the same machine."""
    import torch

    pictures = images(max(40, size.images // 40), max(20, size.patients // 40), min(size.side, 32))
    cases: list[tuple[str, TrainingData, dict[str, Any]]] = [
        ("mlp", measurements(size.rows // 4), {"model": "mlp", "epochs": size.few}),
        ("cnn", pictures, {"model": "cnn", "epochs": size.few}),
        ("wrn-16-1", pictures, {"model": "wrn-16-1", "epochs": size.few}),
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(min(8, cores()))
    rows = []
    try:
        for name, data, settings in cases:
            job = jobs(data, 2)
            base = {"batch_size": min(64, size.batch), "augment": [], **settings}
            exact = trained(TorchRecipe(device="cpu", dtype="float64", **base), data, job)[2]
            for dtype in ("float64", "float32"):
                here = trained(TorchRecipe(device="cpu", dtype=dtype, **base), data, job)[2]
                there = trained(TorchRecipe(dtype=dtype, **base), data, job)[2]
                found = [np.abs(there - here).max(), np.abs(here - exact).max()]
                rows.append([name, dtype, "as it is", *(f"{x:.1e}" for x in found)])
                print(" | ".join(map(str, rows[-1])), flush=True)
            if compiler and name == "cnn":
                there = trained(TorchRecipe(compile=True, **base), data, job)[2]
                found = [np.abs(there - here).max(), np.abs(here - exact).max()]
                rows.append([name, "float32", "compiled", *(f"{x:.1e}" for x in found)])
                print(" | ".join(map(str, rows[-1])), flush=True)
    finally:
        torch.set_num_threads(threads)
    return (
        f"Two models of each network, {size.few} epochs, batches of {min(64, size.batch)}; largest "
        "difference of a logit over all records, GPU against CPU; for scale, 32 against 64 bits on "
        "the CPU.\n\n"
        + table(
            ["network", "number format", "step", "GPU against CPU", "CPU against its float64"], rows
        )
    )


def twice(size: Size, compiler: bool) -> str:
    """Whether a training gives the same bytes again: in this process, in another, compiled anew."""
    names = ["mlp", "cnn", "float32", "bfloat16"] + (["compiled"] if compiler else [])
    rows = []
    for name in names:
        first = digest(_outputs(size, eval_recipe(size, name)))
        again = digest(_outputs(size, eval_recipe(size, name)))
        row = [name, _same(first, again)]
        if name in ("bfloat16", "compiled"):
            row.append(_same(first, _elsewhere(size, name)))
        else:
            row.append("")
        if name == "compiled":
            with tempfile.TemporaryDirectory() as empty:
                row.append(_same(first, _elsewhere(size, name, empty)))
        else:
            row.append("")
        rows.append(row)
        print(" | ".join(map(str, row)), flush=True)
    return (
        f"Outputs of two models: `mlp` and `cnn` as they are by default, {size.network} for one "
        "epoch in float32, in bfloat16, and in bfloat16 compiled. SHA-256 over all outputs.\n\n"
        + table(
            ["training", "again", "in another process", "in another process, compiled anew"], rows
        )
    )


def graphs(size: Size, compiler: bool) -> str:
    """A compiled step with other options than those of `compile = true`."""
    from auscult.recipes.torch import compiled

    del compiler
    data = images(size.images, size.patients, size.side)
    job = jobs(data, 2)
    rows = []
    variants: dict[str, dict[str, Any]] = {
        "as it is": {},
        "kernels chosen by time": {"deterministic": False},
        "CUDA graph": {"triton.cudagraphs": True},
    }
    for name, options in variants.items():
        kept = dict(compiled.OPTIONS)
        compiled.OPTIONS.update(options)
        compiled.forget()
        try:
            recipe = TorchRecipe(
                size.network,
                epochs=size.few,
                batch_size=size.batch,
                dtype="bfloat16",
                compile=True,
            )
            first = trained(recipe, data, job[:1])
            again = trained(recipe, data, job[:1])
            rows.append(
                [
                    *(name, f"{first[1]:.1f} s", f"{again[1]:.2f} s"),
                    _same(digest(first[2]), digest(again[2])),
                ]
            )
        finally:
            compiled.OPTIONS.clear()
            compiled.OPTIONS.update(kept)
            compiled.forget()
        print(" | ".join(map(str, rows[-1])), flush=True)
    return table(["step", f"first {size.few} epochs", "again", "the same bytes"], rows)


def eval_recipe(size: Size, name: str) -> TorchRecipe:
    """A recipe by its name in the table of bytes."""
    short = {"epochs": 1, "batch_size": size.batch}
    if name in ("mlp", "cnn"):
        return TorchRecipe(name, **short)  # type: ignore[arg-type]
    dtype = "float32" if name == "float32" else "bfloat16"
    return TorchRecipe(
        size.network,
        stack="never",
        dtype=dtype,
        compile=name == "compiled",
        **short,  # type: ignore[arg-type]
    )


def _outputs(size: Size, recipe: TorchRecipe) -> NDArray[np.float64]:
    if recipe.model == "mlp":
        data = measurements(size.rows)
    else:
        data = images(size.images // 3, size.patients // 3, size.side)
    return trained(recipe, data, jobs(data, 2))[2]


def digest(outputs: NDArray[np.float64]) -> str:
    """SHA-256 of outputs."""
    return hashlib.sha256(np.ascontiguousarray(outputs).tobytes()).hexdigest()


def _elsewhere(size: Size, name: str, kept: str | None = None) -> str:
    """Digest of the same outputs from a process of its own; `kept` holds what it compiles."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--digest", name]
    if size is SMALL:
        command.append("--small")
    settings = {} if kept is None else {"TORCHINDUCTOR_CACHE_DIR": kept}
    environment = os.environ | settings
    if kept is not None:
        environment.pop("TRITON_CACHE_DIR", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=150)
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    return done.stdout.split()[-1]


def _same(first: str, again: str) -> str:
    return "same" if first == again else ("differ" if len(again) == 64 else again)


def _reset_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _memory() -> str:
    import torch

    if not torch.cuda.is_available():
        return ""
    return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


if __name__ == "__main__":
    main()
