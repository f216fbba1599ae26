"""What a training function of the user's own costs inside an audit, against the plain loop.

    python -m benchmarks.own_code [mlp xgboost]

The same function is called by the audit, in two workers, and by two plain processes that deal the
models among them, one thread each. The loop only trains and predicts; reading, imports and
analysis are in neither time, the start of the workers and the model that is trained again are in
the audit's. XGBoost is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import CORES, on_two_cores
from benchmarks.real import COHORTS
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.own_code"
MODELS = 64
WAYS = ("mlp", "xgboost")
CODE = """
import numpy as np


def encoded(table):
    numbers = table.select_dtypes("number").fillna(0.0)
    few = [n for n in table.select_dtypes(exclude="number") if table[n].nunique() < 30]
    return numbers, few


def mlp(inputs, labels, seed):
    import pandas as pd
    import torch
    from torch import nn

    numbers, few = encoded(inputs)
    levels = {name: sorted(inputs[name].dropna().unique()) for name in few}
    mean, scale = numbers.mean(), numbers.std() + 1e-6

    def arrays(table):
        parts = [((table[numbers.columns].fillna(0.0) - mean) / scale).to_numpy("float32")]
        for name in few:
            codes = pd.Categorical(table[name], categories=levels[name]).codes
            parts.append(np.eye(len(levels[name]) + 1, dtype="float32")[codes])
        return torch.from_numpy(np.concatenate(parts, axis=1))

    x, y = arrays(inputs), torch.from_numpy(labels).float()
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1)
    )
    step = torch.optim.AdamW(net.parameters(), lr=1e-3)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in range(15):
        for rows in torch.randperm(len(x)).split(64):
            step.zero_grad()
            loss_of(net(x[rows])[:, 0], y[rows]).backward()
            step.step()

    def predict(table):
        with torch.no_grad():
            return net(arrays(table))[:, 0].double().numpy()

    return predict


def xgboost(inputs, labels, seed):
    import xgboost

    def arrays(table):
        numbers, few = encoded(table)
        return numbers.to_numpy("float32")

    model = xgboost.XGBClassifier(n_estimators=300, max_depth=6, n_jobs=1, random_state=seed)
    model.fit(arrays(inputs), labels)
    return lambda table: model.predict_proba(arrays(table))[:, 1]
"""


def configuration(folder: Path, way: str, models: int) -> Path:
    """The audit, and the function beside it."""
    (folder / "own.py").write_text(CODE, encoding="utf-8")
    data = Path(os.environ["AUSCULT_DATA"]).resolve()
    cohort = (
        COHORTS["diabetes130"].split("[recipe]")[0].replace("diabetes130/", f"{data}/diabetes130/")
    )
    output = "logits" if way == "mlp" else "probabilities"
    recipe = f'[recipe]\nkind = "python"\ntrain = "own:{way}"\noutput = "{output}"\n'
    path = folder / "audit.toml"
    text = f"{cohort.replace('max_patients = 6000', 'max_patients = 3000')}{recipe}"
    path.write_text(f"{text}[audit]\nmodels = {models}\nseed = 7\n", encoding="utf-8")
    return path


def loop(path: Path, way: str, part: int) -> None:
    """Train every second model here and print seconds, of the clock and of the processor."""
    from auscult.config import load
    from auscult.recipes.resolve import resolve

    audit = load(path).audit()
    data = audit.cohort.training_data()
    member = audit._design().membership().reveal()[:, audit.cohort.patient_of_record]
    frame = data.inputs.table()  # type: ignore[union-attr]
    train = resolve(f"own:{way}", path.parent)
    rows = np.flatnonzero(member[part])
    train(frame.iloc[rows[:64]].reset_index(drop=True), data.labels[rows[:64]], 0)  # imports
    start, processor = time.perf_counter(), time.process_time()
    for model in range(part, len(member), CORES):
        rows = np.flatnonzero(member[model])
        predict = train(frame.iloc[rows].reset_index(drop=True), data.labels[rows], model)
        np.asarray(predict(frame))
    seconds = [time.perf_counter() - start, time.process_time() - processor]
    print(json.dumps(seconds))


def measure(way: str, models: int, work: Path) -> list[object]:
    """One row: the audit against the loop."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        path, run = configuration(folder, way, models), folder / "run"
        command = [sys.executable, "-m", "benchmarks.own_code", "--loop", str(path), way]
        running = [
            subprocess.Popen(
                [*command, str(part)],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            for part in range(CORES)
        ]
        plain = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
        on_two_cores([sys.executable, "-m", "auscult", "run", str(path), "--out", str(run)])
        manifest = json.loads((run / "manifest.json").read_text())
        blocks = [json.loads(file.read_text()) for file in (run / "outputs").glob("*.json")]
        same = manifest["repeated"]["different"] == 0
    theirs, their_processor = max(one[0] for one in plain), sum(one[1] for one in plain)
    ours = manifest["timings"]["training_seconds"]
    our_processor = sum(block["speed"]["cpu_seconds"] for block in blocks)
    return [
        way,
        f"{their_processor / models:.3f} s",
        f"{our_processor / models:.3f} s",
        f"{our_processor / their_processor:.2f}",
        f"{theirs:.1f} s",
        f"{ours:.1f} s",
        f"{ours / theirs:.2f}",
        "yes" if same else "no",
    ]


def main() -> None:
    """Measure what is asked for, all of it by default."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], default=[])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--models", type=int, default=MODELS, help="fewer are not recorded")
    parser.add_argument("--loop", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        loop(Path(given.loop[0]), given.loop[1], int(given.loop[2]))
        return
    there = [way for way in WAYS if way == "mlp" or importlib.util.find_spec("xgboost")]
    rows = [measure(way, given.models, given.work) for way in given.ways or there]
    load = os.getloadavg()[0]
    text = (
        f"diabetes130, 3,000 patients, {given.models} models, two cores, one thread each; load of "
        f"the machine at the end {load:.1f}. MLP: two layers of 128, 15 epochs, batches of 64, a "
        "loop written by hand; XGBoost: 300 trees of depth 6. Processor time per model is that of "
        "training and predicting; time of the clock is that of all models on both cores, with the "
        "start of the workers and one model that is trained again. Clocks compare only where "
        "nothing else runs.\n\n"
        + table(
            [
                *("function", "processor per model, loop", "in the audit", "audit / loop"),
                *("clock, loop", "audit's training", "audit / loop", "same again"),
            ],
            rows,
        )
    )
    if given.models != MODELS:
        print(text)
        return
    record("own-code", "Training code of the user's own", COMMAND, text)


if __name__ == "__main__":
    main()
