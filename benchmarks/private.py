"""Private training: what it costs beside plain training, and what an attack leaves of its promise.

    python -m benchmarks.private [cost audits]

One core for the cost, two workers for the audits. The cohort is found through AUSCULT_DATA.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from auscult.recipes.privacy import DpSettings, guarantee
from benchmarks.real import audit_of
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.private"
MODELS = 16
EPOCHS = 3
ROUNDS = 5
AUDITED = 64
CLIP = 1.0


def cost(work: Path) -> None:
    """Time of training stacked models, with and without a guarantee, in turns."""
    del work
    import torch

    from auscult.recipes.torch.private import Privacy
    from auscult.recipes.torch.private import train_stacked as train_private
    from auscult.recipes.torch.recipe import TorchRecipe
    from auscult.recipes.torch.training import Plan, steps_per_epoch, train_stacked
    from auscult.training.dispatch import assignments

    torch.set_num_threads(1)
    audit = audit_of("diabetes130", AUDITED)
    data, records = audit.cohort.training_data(), audit.cohort.records
    membership = audit._design().membership()
    jobs = assignments(range(MODELS), membership, audit.cohort.patient_of_record, 7)
    recipe, here = audit.recipe, torch.device("cpu")
    if not isinstance(recipe, TorchRecipe):
        raise TypeError("the cohort's recipe is PyTorch's")
    encoded, maker = recipe._encoded(data.inputs, here), recipe._maker()
    encoded.fit([one.members for one in jobs])
    labels = torch.from_numpy(data.labels)
    plan = Plan(
        epochs=EPOCHS,
        steps=steps_per_epoch(records, recipe.batch_size),
        optimizer=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        loss="sigmoid",
    )
    trainers: dict[str, Callable[..., None]] = {"plain": train_stacked}
    for unit in ("record", "patient"):
        promised = guarantee(
            DpSettings.read({"unit": unit, "epsilon": 8.0, "clip": CLIP}),
            data,
            batch_size=recipe.batch_size,
            epochs=plan.epochs,
            steps=plan.steps,
        )
        privacy = Privacy.of(promised, data.patient_of_record, records)
        trainers[unit] = partial(train_private, privacy=privacy)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(ROUNDS):
        for name, train in trainers.items():
            modules = [maker.make(one, encoded.shape, 1, here, torch.float32) for one in jobs]
            start = time.process_time()
            train(modules, encoded, labels, jobs, plan, lambda _: None)
            times[name].append(1000 * (time.process_time() - start) / MODELS / EPOCHS)
    plain = float(np.median(times["plain"]))
    rows = [
        [
            {"plain": "plain", "record": "record level", "patient": "patient level"}[name],
            f"{np.median(found):.1f}",
            f"{min(found):.1f} to {max(found):.1f}",
            f"{np.median(found) / plain:.2f}",
        ]
        for name, found in times.items()
    ]
    width = encoded.shape[0]
    text = (
        f"diabetes130, 6,000 patients, {records:,} records, {MODELS} stacked MLPs "
        f"{width}-128-128-1, batches of 256, AdamW, seed 7, one thread; processor time of training "
        f"per epoch and model, median of {ROUNDS} rounds in turns.\n\n"
        + table(["training", "ms", "range", "times plain"], rows)
    )
    record("private-cost", "What private training costs", f"{COMMAND} cost", text)


def audits(work: Path) -> None:
    """Promise and finding at both units."""
    rows = []
    settings: list[tuple[str, dict[str, Any] | None]] = [("none", None)]
    settings += [
        (f"{unit}, {epsilon}", _dp(unit, epsilon))
        for unit in ("record", "patient")
        for epsilon in ("inf", 8.0, 1.0)
    ]
    for number, (name, dp) in enumerate(settings):
        changes: dict[str, Any] = {} if dp is None else {"dp": dp}
        audit = audit_of("diabetes130", AUDITED, **changes)
        result = audit.run(work / f"private-{number}", workers=2)
        rows.append(_row(name, result.summary, result.patients))
    text = (
        f"diabetes130, 6,000 patients, {AUDITED} models, MLP 128-128, 15 epochs of batches of 256, "
        f"AdamW at the recipe's own settings, clipping at {CLIP:g} (none for infinite epsilon), "
        "delta 1e-5, seed 7. Bound and AUC found (mean over patients, joint attack): for patients "
        "with one record, whom a guarantee at record level speaks of, then for everybody with the "
        "bound of their number of records averaged. Largest: the highest shrunken AUC. "
        "Lower bound of epsilon from the attack, over patients with one record at record level.\n\n"
        + table(
            [
                *("unit, epsilon asked", "noise", "epsilon", "bound, one record"),
                *("AUC, one record", "bound, all", "AUC, all", "largest AUC"),
                *("patients above 0.9", "epsilon at least", "utility (AUROC)", "defects"),
            ],
            rows,
        )
    )
    record("private-audits", "Promise and finding", f"{COMMAND} audits", text)


def _dp(unit: str, epsilon: float | str) -> dict[str, Any]:
    clip = {} if epsilon == "inf" else {"clip": CLIP}
    return {"unit": unit, "epsilon": epsilon, **clip}


def _row(name: str, summary: dict[str, Any], patients: Any) -> list[object]:  # noqa: ANN401
    found = summary.get("guarantee")
    utility, exposed = summary["models"]["utility"], summary["patients"]["exposed"]["0.9"]
    alone = summary["patients"]["by_records"][0]["raw_mean_auc"]
    auc = summary["patients"]["auc"]
    common: list[object] = [f"{patients['auc'].max():.3f}", f"{exposed['estimate']:.0f}"]
    worth = f"{utility['mean']:.3f} ({utility['low']:.3f} to {utility['high']:.3f})"
    everybody = f"{auc['mean']:.3f} ({auc['mean_low']:.3f} to {auc['mean_high']:.3f})"
    if found is None:
        return [name, "-", "-", "-", f"{alone:.3f}", "-", everybody, *common, "-", worth, "-"]
    bands = found["patients"]
    number = sum(row["patients"] for row in bands)
    bound = sum(row["patients"] * row["bound"] for row in bands) / number
    epsilon = found["dp"]["epsilon"]
    lower = found["empirical"]["epsilon"]
    return [
        name,
        f"{found['dp']['noise']:g}",
        epsilon if isinstance(epsilon, str) else f"{epsilon:.2f}",
        f"{bands[0]['bound']:.3f}",
        f"{alone:.3f}",
        f"{bound:.3f}",
        everybody,
        *common,
        "-" if lower is None else f"{lower:.2f}",
        worth,
        len(found["defects"]),
    ]


def main() -> None:
    """Run the measurements that are asked for; all of them by default."""
    parts: dict[str, Callable[[Path], None]] = {"cost": cost, "audits": audits}
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    for name in given.parts or parts:
        parts[name](given.work)


if __name__ == "__main__":
    main()
