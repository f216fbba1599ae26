"""Private training: gradients are clipped as a loop would, noise is what is promised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.cohort import TrainingData
from auscult.inputs import ArrayInputs, TableInputs
from auscult.recipes import TorchRecipe
from auscult.recipes import torch_clipping as clipping
from auscult.recipes import torch_private as private
from auscult.recipes.base import Assignment
from auscult.recipes.torch_training import record_losses

RECORDS = 120


def table(seed: int = 0) -> TrainingData:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(RECORDS, 4)).astype(np.float32)
    numeric[rng.random(numeric.shape) < 0.1] = np.nan
    return TrainingData(
        inputs=TableInputs(
            numeric=numeric,
            numeric_names=("a", "b", "c", "d"),
            codes=rng.integers(-1, 3, (RECORDS, 1)).astype(np.int32),
            categorical_names=("e",),
            levels=(("p", "q", "r"),),
        ),
        labels=(np.nan_to_num(numeric[:, 0]) + rng.normal(size=RECORDS) > 0).astype(np.int64),
        task="binary",
        classes=("no", "yes"),
        patient_of_record=np.sort(rng.integers(0, 50, RECORDS)),
    )


def images(seed: int = 0) -> TrainingData:
    rng = np.random.default_rng(seed)
    return TrainingData(
        inputs=ArrayInputs(
            array=rng.integers(0, 256, (60, 8, 8), dtype=np.uint8),
            rows=np.arange(60),
            channels="none",
        ),
        labels=rng.integers(0, 2, 60),
        task="binary",
        classes=("no", "yes"),
        patient_of_record=np.repeat(np.arange(20), 3),
    )


def assignments(count: int = 3, records: int = RECORDS) -> list[Assignment]:
    rng = np.random.default_rng(1)
    return [
        Assignment(
            model=number,
            members=np.sort(rng.choice(records, records // 2 + number, replace=False)),
            seed=100 + number,
        )
        for number in range(count)
    ]


def advance(_: float) -> None:
    pass


def values_of(
    recipe: TorchRecipe, data: TrainingData, jobs: list[Assignment]
) -> NDArray[np.float64]:
    values: NDArray[np.float64] = recipe.train_exactly(data, jobs, advance)[0]
    return values


def chains(count: int) -> list[nn.Sequential]:
    torch.manual_seed(0)
    return [
        nn.Sequential(
            nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)
        ).double()
        for _ in range(count)
    ]


def by_loop(module: nn.Module, x: Tensor, y: Tensor, owner: Tensor, clip: float) -> list[Tensor]:
    """Naive oracle: one backward pass per unit, clipped by hand."""
    total = [torch.zeros_like(p) for p in module.parameters()]
    for unit in set(owner.tolist()):
        module.zero_grad()
        rows = owner == unit
        record_losses(module(x[rows]), y[rows], "softmax").sum().backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in module.parameters()]
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads if g is not None))
        for t, g in zip(total, grads, strict=True):
            assert g is not None
            t += g * min(1.0, clip / norm)
    return total


@pytest.mark.parametrize("unit", ["record", "patient"])
@pytest.mark.parametrize("clip", [0.3, 2.0, math.inf])
def test_clipped_sums_are_those_of_a_loop_over_units(unit: str, clip: float) -> None:
    modules = chains(3)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(3, 20, 5)))
    y = torch.from_numpy(rng.integers(0, 3, (3, 20)))
    owner = torch.from_numpy(np.repeat(np.arange(5), 4) if unit == "patient" else np.arange(20))
    owners = owner.expand(3, 20)
    used = torch.ones(3, 20, dtype=torch.float64)
    used[1, 16:] = 0  # padding of the second model
    settings = clipping.Clipping(norm=clip, single=unit == "record")
    stacked = {
        name: torch.stack([dict(m.named_parameters())[name].detach() for m in modules])
        for name, _ in modules[0].named_parameters()
    }
    names = list(stacked)
    layers = clipping.chain_of(modules[0])
    assert layers is not None
    together = clipping.chain_gradient(
        layers, stacked, names, "softmax", settings, x, y, used, owners
    )
    for k, module in enumerate(modules):
        rows = used[k] > 0
        expected = by_loop(module, x[k, rows], y[k, rows], owner[rows], clip)
        general = clipping.general_gradient(
            module,
            {n: v[k : k + 1] for n, v in stacked.items()},
            {},
            names,
            "softmax",
            settings,
            x[k : k + 1],
            y[k : k + 1],
            used[k : k + 1],
            owners[k : k + 1],
        )
        for ours, alone, wanted in zip(together, general, expected, strict=True):
            torch.testing.assert_close(ours[k], wanted, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(alone[0], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stack", ["auto", "never"])
def test_no_noise_and_no_clip_is_plain_training(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auscult.recipes import torch_training as plain

    data, jobs = table(), assignments()
    how: dict[str, Any] = {"hidden": [8, 8], "epochs": 3, "batch_size": 10, "dtype": "float64"}
    # The same batches, of the expected size each, and the same scaling.
    rng = np.random.default_rng(3)
    rows = {
        one.model: [rng.choice(one.members, 10, replace=False) for _ in range(18)] for one in jobs
    }
    monkeypatch.setattr(plain, "batches", lambda one, _: iter(rows[one.model]))
    monkeypatch.setattr(private.Privacy, "batches", lambda _, one, __: iter(rows[one.model]))
    from auscult.recipes.torch_data import EncodedTable

    fit = EncodedTable.fit
    monkeypatch.setattr(
        EncodedTable, "fit", lambda self, members: fit(self, [np.arange(RECORDS)] * len(members))
    )
    wanted = values_of(TorchRecipe("mlp", **how), data, jobs)
    for unit in ("record", "patient"):
        dp = {"unit": unit, "epsilon": "inf"}
        ours = values_of(TorchRecipe("mlp", **how, dp=dp, stack=stack), data, jobs)
        np.testing.assert_allclose(ours, wanted, rtol=1e-7, atol=1e-9)
