"""Private training: gradients are clipped as a loop would, noise is what is promised."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.base.errors import ConfigError, RecipeError
from auscult.cohort import TrainingData
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.recipes import TorchRecipe
from auscult.recipes.base import Assignment
from auscult.recipes.torch import chain as chain
from auscult.recipes.torch import clipping as clipping
from auscult.recipes.torch import private as private
from auscult.recipes.torch.training import record_losses

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
            array=rng.integers(0, 256, (60, 16, 16), dtype=np.uint8),
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
@pytest.mark.parametrize("pairs", [0, 2])
def test_clipped_sums_are_those_of_a_loop_over_units(
    unit: str, clip: float, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipping, "PAIRS_PER_RECORD", pairs)  # none: all products of two records
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
    layers = chain.chain_of(modules[0])
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


@pytest.mark.parametrize(
    ("stack", "more"),
    [("auto", {}), ("never", {}), ("auto", {"schedule": "cosine", "ema": 0.9})],
)
def test_no_noise_and_no_clip_is_plain_training(
    stack: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from auscult.recipes.torch import training as plain

    data, jobs = table(), assignments()
    how: dict[str, Any] = {
        "hidden": [8, 8],
        "epochs": 3,
        "batch_size": 10,
        "dtype": "float64",
        **more,
    }
    # The same batches, of the expected size each, and the same scaling.
    rng = np.random.default_rng(3)
    rows = {
        one.model: [rng.choice(one.members, 10, replace=False) for _ in range(18)] for one in jobs
    }
    monkeypatch.setattr(plain, "batches", lambda one, _: iter(rows[one.model]))
    monkeypatch.setattr(private.Privacy, "batches", lambda _, one, __: iter(rows[one.model]))
    from auscult.recipes.torch.encoding import EncodedTable

    fit = EncodedTable.fit
    monkeypatch.setattr(
        EncodedTable, "fit", lambda self, members: fit(self, [np.arange(RECORDS)] * len(members))
    )
    wanted = values_of(TorchRecipe("mlp", **how), data, jobs)
    for unit in ("record", "patient"):
        dp = {"unit": unit, "epsilon": "inf"}
        ours = values_of(TorchRecipe("mlp", **how, dp=dp, stack=stack), data, jobs)
        np.testing.assert_allclose(ours, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_opacus_gives_the_same_clipped_noisy_gradients() -> None:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module = chains(1)[0].float()
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.normal(size=(16, 5)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 3, 16))
    wrapped = GradSampleModule(chains(1)[0].float(), loss_reduction="sum")
    opacus = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=0.1),
        noise_multiplier=1.3,
        max_grad_norm=0.7,
        expected_batch_size=12,
        loss_reduction="mean",
        generator=torch.Generator().manual_seed(11),
    )
    record_losses(wrapped(x), y, "softmax").sum().backward()  # type: ignore[no-untyped-call]
    opacus.pre_step()
    settings = private.Privacy(
        noise=1.3, clip=0.7, rate=0.3, expected=12.0, unit_of_record=np.arange(16), single=True
    )
    layers = chain.chain_of(module)
    assert layers is not None
    values = {name: p.detach()[None] for name, p in module.named_parameters()}
    sums = clipping.chain_gradient(
        layers,
        values,
        list(values),
        "softmax",
        clipping.Clipping(norm=0.7, single=True),
        x[None],
        y[None],
        torch.ones(1, 16),
        torch.arange(16)[None],
    )
    settings.add_noise([total[0] for total in sums], torch.Generator().manual_seed(11))
    for ours, theirs in zip(sums, wrapped.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(ours[0] / 12, theirs.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_the_number_of_models_at_once_changes_nothing(unit: str) -> None:
    recipe = TorchRecipe(
        "mlp",
        hidden=[8],
        epochs=3,
        batch_size=12,
        dtype="float64",
        dp={"unit": unit, "noise": 0.8, "clip": 1.0},
    )
    data, jobs = table(), assignments(4)
    together = values_of(recipe, data, jobs)
    apart = np.concatenate([values_of(recipe, data, [one]) for one in jobs])
    np.testing.assert_allclose(together, apart, rtol=1e-9, atol=1e-10)
    assert np.abs(together[0] - together[1]).max() > 0.1


class Wrapped(nn.Module):
    """The built-in network as a module that nobody can look into."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x)
        return found


def wrapped(inputs: int, outputs: int) -> nn.Module:
    return Wrapped(inputs, outputs)


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_a_module_of_any_kind_is_trained_like_a_chain(unit: str) -> None:
    how: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 12,
        "dtype": "float64",
        "dp": {"unit": unit, "noise": 0.8, "clip": 0.5},
    }
    data, jobs = table(), assignments(2)
    chain, facts = TorchRecipe("mlp", hidden=[8], **how).train_exactly(data, jobs, advance)
    other, told = TorchRecipe(wrapped, **how).train_exactly(data, jobs, advance)
    np.testing.assert_allclose(chain, other, rtol=1e-8, atol=1e-10)
    assert facts["trained"] == "stacked"
    assert "chains of linear layers" in told["not_stacked_because"]
    assert facts["dp"] == told["dp"]


def test_convolutions_are_trained_at_both_levels() -> None:
    data, jobs = images(), assignments(2, 60)
    for unit in ("record", "patient"):
        recipe = TorchRecipe(
            "cnn", width=2, epochs=1, batch_size=10, dp={"unit": unit, "noise": 0.5, "clip": 1.0}
        )
        assert recipe.supports(data) is None
        assert np.isfinite(values_of(recipe, data, jobs)).all()


def test_pieces_hold_whole_units() -> None:
    units = np.repeat(np.arange(6), [3, 1, 9, 2, 2, 1])
    pieces = list(clipping._whole_units(units, 4))
    assert [(p.start, p.stop) for p in pieces] == [(0, 4), (4, 13), (13, 17), (17, 18)]
    assert list(clipping._whole_units(units[:0], 4)) == []


def test_sampling_takes_whole_patients_at_the_promised_rate() -> None:
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.arange(200) % 40)
    settings = private.Privacy(
        noise=1.0, clip=1.0, rate=0.25, expected=25.0, unit_of_record=owner, single=False
    )
    members = np.flatnonzero(owner < 20)
    one = Assignment(model=0, members=members, seed=7)
    taken = np.zeros(20)
    batches = list(settings.batches(one, 2000))
    for rows in batches:
        inside = np.isin(owner[members], owner[rows])
        assert set(rows) == set(members[inside])
        assert (np.diff(owner[rows]) >= 0).all()
        taken[np.unique(owner[rows])] += 1
    np.testing.assert_allclose(taken / 2000, 0.25, atol=0.04)
    assert np.array_equal(batches[5], list(settings.batches(one, 6))[5])


def test_no_member_sets_the_scaling_or_the_number_of_steps() -> None:
    data = table()
    recipe = TorchRecipe(
        "mlp",
        hidden=[],
        epochs=1,
        batch_size=200,
        dp={"unit": "record", "noise": 1e4, "clip": 1e-9},
    )
    small, large = (Assignment(model=0, members=np.arange(size), seed=1) for size in (3, RECORDS))
    # All but untrained, so outputs differ by the scaling only.
    first, facts = recipe.train_exactly(data, [small], advance)
    second, other = recipe.train_exactly(data, [large], advance)
    np.testing.assert_allclose(first, second, atol=1e-2)
    assert facts["dp"] == other["dp"]


@pytest.mark.parametrize(
    ("dp", "words"),
    [
        ({}, "unit is missing"),
        ({"unit": "person", "epsilon": 1.0, "clip": 1.0}, "not a valid unit"),
        ({"unit": "record"}, "one of epsilon and noise"),
        ({"unit": "record", "epsilon": 1.0, "noise": 1.0}, "one of epsilon and noise"),
        ({"unit": "record", "epsilon": 1.0}, "not clipped"),
        ({"unit": "record", "epsilon": -1.0, "clip": 1.0}, "not a valid value"),
        ({"unit": "record", "epsilon": "many", "clip": 1.0}, "not a valid value"),
        ({"unit": "record", "epsilon": True, "clip": 1.0}, "not a valid value"),
        ({"unit": "record", "epsilon": math.nan, "clip": 1.0}, "not a valid value"),
        ({"unit": "record", "epsilon": 1.0, "clip": 0.0}, "not a valid value"),
        ({"unit": "record", "epsilon": 1.0, "clip": 1.0, "delta": 2.0}, "not a valid delta"),
        ({"unit": "record", "epsilon": 1.0, "clip": 1.0, "sigma": 2.0}, "no key"),
        ({"unit": "record", "noise": 0.01, "clip": 1.0}, "protects nobody"),
        ({"unit": "record", "epsilon": 1e6, "clip": 1.0}, "protects nobody"),
        ({"unit": "record", "epsilon": 1e-7, "clip": 1.0}, "no noise multiplier"),
        ({"unit": "record", "epsilon": 1.0, "clip": 1.0, "delta": 0.1}, "revealing somebody"),
    ],
)
def test_settings_that_do_not_fit_are_refused(dp: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TorchRecipe("mlp", epochs=1, batch_size=10, dp=dp).supports(table())


def test_patient_level_needs_to_know_whose_records_are() -> None:
    data = table()
    nobody = TrainingData(
        inputs=data.inputs, labels=data.labels, task=data.task, classes=data.classes
    )
    recipe = TorchRecipe(dp={"unit": "patient", "epsilon": 4.0, "clip": 1.0})
    assert "needs the patient of each record" in str(recipe.supports(nobody))
    assert TorchRecipe(dp={"unit": "record", "epsilon": "inf"}).supports(nobody) is None
    short = TorchRecipe(dtype="bfloat16", dp={"unit": "record", "epsilon": 4.0, "clip": 1.0})
    assert "16 bits" in str(short.supports(data))


def normed(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))


class Comparing(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(dim=0))


def comparing(inputs: int, outputs: int) -> nn.Module:
    return Comparing(inputs, outputs)


@pytest.mark.parametrize("factory", [normed, comparing])
def test_modules_that_mix_records_are_refused(
    factory: Callable[[int, int], nn.Module],
) -> None:
    recipe = TorchRecipe(factory, epochs=1, dp={"unit": "record", "noise": 1.0, "clip": 1.0})
    with pytest.raises(RecipeError, match="no record has a gradient of its own"):
        recipe.train_block(table(), assignments(), advance)


def test_what_cannot_be_stacked_says_so() -> None:
    dp = {"unit": "record", "noise": 1.0, "clip": 1.0}
    recipe = TorchRecipe(wrapped, epochs=1, stack="always", dp=dp)
    with pytest.raises(RecipeError, match="cannot be stacked"):
        recipe.train_block(table(), assignments(), advance)
    dropping = TorchRecipe("mlp", hidden=[8], dropout=0.2, epochs=1, dp=dp)
    facts = dropping.train_exactly(table(), assignments(), advance)[1]
    assert "dropout" in facts["not_stacked_because"]


def test_the_guarantee_is_part_of_the_identity() -> None:
    plain = TorchRecipe("mlp").settings()
    private_one = TorchRecipe("mlp", dp={"unit": "record", "epsilon": 2, "clip": 1.0}).settings()
    assert "dp" not in plain
    assert private_one["dp"] == {"unit": "record", "epsilon": 2.0, "delta": 1e-5, "clip": 1.0}
    assert TorchRecipe("mlp", dp={"unit": "patient", "epsilon": math.inf}).settings()["dp"] == {
        "unit": "patient",
        "epsilon": "inf",
        "delta": 1e-5,
        "clip": "inf",
    }
