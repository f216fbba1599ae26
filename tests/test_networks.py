"""Networks by name and how they are trained: schedule, average, augmentation, frozen backbones."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError
from auscult.base.randomness import Stage, generator
from auscult.cohort import TrainingData
from auscult.cohort.inputs import ArrayInputs
from auscult.recipes import TorchRecipe
from auscult.recipes.base import Assignment
from auscult.recipes.networks import NAMES, kind_of, network
from auscult.recipes.torch.augmentation import AMOUNTS, USUAL, Augmentation, draw, parse, together
from auscult.recipes.torch.schedule import WeightAverage, learning_rate_at
from auscult.recipes.torch.transforms import augmented, carried_out
from auscult.recipes.torch.weights import load_into, read_safetensors
from auscult.report.account import limits_section
from auscult.report.elements import Items
from auscult.report.summary import Part
from auscult.store import RunStore
from tests.test_cli import run
from tests.test_recipes import assignments, images, table

Shape = tuple[int, ...]
RECORDS = len(table().labels)
SMALL_TRANSFORMER: dict[str, Any] = {
    "width": 12,
    "factory_arguments": {"depth": 2, "heads": 3, "mlp": 16, "patch": 8},
}
SMALL_TABULAR: dict[str, Any] = {"width": 8, "factory_arguments": {"blocks": 2}}
RECIPE: dict[str, Any] = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "dtype": "float64"}
STUDY: dict[str, Any] = {"schedule": "cosine", "warmup_epochs": 0.5, "ema": 0.9}


def signals(leads: int = 3, seed: int = 0, dtype: str = "float32") -> TrainingData:
    rng = np.random.default_rng(seed)
    array = rng.standard_normal((RECORDS, leads, 40)).astype(dtype)
    return TrainingData(
        inputs=ArrayInputs(array=array, rows=np.arange(RECORDS), channels="first"),
        labels=rng.integers(0, 2, RECORDS),
        task="binary",
        classes=("no", "yes"),
    )


def exactly(
    recipe: TorchRecipe, data: TrainingData, jobs: list[Assignment]
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    values, facts = recipe.train_exactly(data, jobs, lambda _: None)
    return values, facts


# Networks


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "parameters"),
    [
        # 36.5M (WRN-28-10), 8.9M (WRN-40-4) and 1.5M (WRN-28-2) in the published sizes; group norm
        # has as many parameters as batch norm.
        ("wrn-28-2", (3, 32, 32), 10, 1_467_610),
        ("wrn-40-4", (3, 32, 32), 10, 8_949_210),
        ("wrn-28-10", (3, 32, 32), 10, 36_479_194),
        # As everywhere for 224 pixels and 1,000 classes: 86,567,656 and 304,326,632.
        ("vit-b-16", (3, 224, 224), 1000, 86_567_656),
        ("vit-l-16", (3, 224, 224), 1000, 304_326_632),
        ("vit-b-16", (3, 64, 64), 1, 85_661_185),
        # By hand: leads and widths through kernels of 7, 5 and 3, norms of 2 per map.
        ("resnet-1d", (12, 1000), 5, 1_918_725),
        # 64 * 300 + 300, six times 2 * (300 * 300 + 300) + 600, 600, 301.
        ("tabular-resnet", 64, 1, 1_107_601),
    ],
)
def test_networks_have_the_sizes_of_their_papers(
    name: str, inputs: int | Shape, outputs: int, parameters: int
) -> None:
    found = network(name)
    assert found is not None
    with torch.device("meta"):
        module = found.make(inputs, outputs, found.arguments({}))
    assert sum(p.numel() for p in module.parameters()) == parameters


@pytest.mark.parametrize("name", ["wrn-28-2", "wrn-40-4", "wrn-28-10", "wrn-16-8", "vit-b-16"])
def test_large_networks_are_alone_in_memory(name: str) -> None:
    found = network(name)
    assert found is not None
    with torch.device("meta"):
        module = found.make((3, 64, 64), 1, found.arguments({}))
    large = sum(p.numel() for p in module.parameters()) > 2e7
    assert TorchRecipe(name).block_models(images("last"), 64) == (1 if large else 8)
    assert TorchRecipe("vit-b-16", width=48).block_models(images("last"), 64) == 8


@pytest.mark.parametrize("channels", [1, 2, 12])
@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("wrn-10-1", {}),
        ("cnn", {"width": 4}),
        ("vit-b-16", {"width": 12, "depth": 1, "heads": 3, "mlp": 8, "patch": 8}),
        ("resnet-1d", {"width": 6, "stride": 2}),
        ("resnet-1d", {"width": 6, "kernels": [5, 3], "dropout": 0.1}),
    ],
)
def test_networks_take_any_channels_and_outputs(
    name: str, given: dict[str, Any], outputs: int, channels: int
) -> None:
    found = network(name)
    assert found is not None
    shape = (channels, 24, 16) if found.reads == "images" else (channels, 50)
    module = found.make(shape, outputs, found.arguments(given))
    returned = module(torch.randn(3, *shape))
    assert returned.shape == (3, outputs)
    assert returned.std() > 0


def test_a_patch_is_seen_where_it_is() -> None:
    found = network("vit-b-16")
    assert found is not None
    given = found.arguments({"width": 12, "depth": 1, "heads": 3, "mlp": 8, "patch": 8})
    module = found.make((2, 16, 24), 1, given).double()
    x = torch.randn(1, 2, 16, 24, dtype=torch.float64)
    embedded = []
    module.embed.register_forward_hook(lambda _m, inputs, _o: embedded.append(inputs[0]))
    module(x)
    expected = [
        x[0, :, r : r + 8, c : c + 8].reshape(-1) for r in range(0, 16, 8) for c in range(0, 24, 8)
    ]
    torch.testing.assert_close(embedded[0][0], torch.stack(expected))


@pytest.mark.parametrize(
    ("recipe", "data", "words"),
    [
        (TorchRecipe("wrn-28-2"), table(), 'needs images, but this is a table: "mlp" or "tab'),
        (TorchRecipe("wrn-28-2"), signals(), 'needs images, but this is signals: "resnet-1d"'),
        (TorchRecipe("cnn"), signals(), "needs images, but this is signals"),
        (TorchRecipe("resnet-1d"), images("last"), "needs signals, but this is images"),
        (TorchRecipe("resnet-1d"), images(), 'channels = "first"'),
        (TorchRecipe("tabular-resnet"), images(), "needs a table, but this is images"),
        (TorchRecipe("vit-b-16", image_size=40), images(), "image_size = 48"),
        (TorchRecipe("mlp", augment=["shift"]), table(), "augment requires images"),
        (TorchRecipe("mlp", scaling="fixed"), table(), "scaling requires images"),
        (TorchRecipe("resnet-1d", augment=["flip"]), signals(), '"flip" is for images'),
    ],
)
def test_the_wrong_kind_of_data_is_refused(
    recipe: TorchRecipe, data: TrainingData, words: str
) -> None:
    assert words in str(recipe.supports(data))


def test_the_right_kind_of_data_is_taken() -> None:
    data = {"table": table(), "images": images("last"), "signals": signals()}
    for name in NAMES:
        found = network(name)
        assert found is not None
        assert kind_of(data[found.reads].inputs) == found.reads
        assert TorchRecipe(name).supports(data[found.reads]) is None


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (TorchRecipe("wrn-27-2"), "depth of 10, 16, 22"),
        (TorchRecipe("wrn-28-0"), "depth of 10, 16, 22"),
        (TorchRecipe("wrn-28"), "Did you mean"),
        (TorchRecipe("wrn-28-2", width=4), "no such setting"),
        (TorchRecipe("wrn-28-2", hidden=[4]), "no such setting"),
        (TorchRecipe("wrn-28-2", factory_arguments={"group": 4}), 'Did you mean "groups"'),
        (TorchRecipe("cnn", factory_arguments={"width": 4}), "has its own key"),
        (TorchRecipe("vit-b-16", width=100), "12 heads cannot share a width of 100"),
        (TorchRecipe("resnet-1d", factory_arguments={"kernels": [4]}), "odd"),
        (TorchRecipe("resnet-1d", factory_arguments={"kernels": []}), "odd"),
        (TorchRecipe("resnet-1d", factory_arguments={"kernels": "7"}), "not a list"),
        (TorchRecipe("resnet-1d", factory_arguments={"stride": 0}), "1 or more"),
        (TorchRecipe("tabular-resnet", factory_arguments={"blocks": True}), "1 or more"),
        (TorchRecipe("tabular-resnet", dropout=1.0), "not a valid share"),
        (TorchRecipe("cnn", width=0), "1 or more"),
        (TorchRecipe("mlp", schedule="linear"), "constant, cosine"),
        (TorchRecipe("mlp", ema=1.0), "not a valid decay"),
        (TorchRecipe("mlp", epochs=2, warmup_epochs=2), "fewer than recipe.epochs"),
        (TorchRecipe("mlp", scaling="none"), "members, fixed"),
        (TorchRecipe("mlp", dtype="float16"), "bfloat16"),
        (TorchRecipe("mlp", backbone_trained_on_cohort=True), "random weights"),
        (TorchRecipe("cnn", augment=["flop"]), 'Did you mean "flip"'),
        (TorchRecipe("cnn", augment=["flip", "flip"]), "named twice"),
        (TorchRecipe("cnn", augment=["flip:2"]), "has no amount"),
        (TorchRecipe("cnn", augment=["rotate:-4"]), "not a valid amount"),
        (TorchRecipe("cnn", augment=["shift:x"]), "not a valid amount"),
        (TorchRecipe("cnn", augment=["shift:nan"]), "not a valid amount"),
    ],
)
def test_settings_that_cannot_be_are_refused(recipe: TorchRecipe, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipe.settings()


def test_what_is_not_used_leaves_the_identity_of_older_runs_as_it_was() -> None:
    common = {
        "epochs": 15,
        "batch_size": 256,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "stack": "auto",
        "device": "auto",
        "dtype": "float32",
    }
    mlp = {"model": "mlp", "hidden": [128, 128], "dropout": 0.0}
    assert TorchRecipe("mlp").settings() == common | mlp
    assert TorchRecipe("cnn").settings() == common | {"model": "cnn", "width": 16, "dropout": 0.0}
    changed = TorchRecipe("wrn-28-2", augment=["rotate", "flip"], **STUDY).settings()
    assert json.loads(json.dumps(changed)) == changed
    assert changed == common | STUDY | {
        "model": "wrn-28-2",
        "dropout": 0.0,
        "groups": 8,
        "augment": {"flip": None, "rotate": 15.0},
    }


# Schedule and average


def test_the_learning_rate_rises_and_falls() -> None:
    def rates(schedule: str, warmup: int) -> list[float]:
        return [
            learning_rate_at(s, rounds=10, highest=2.0, schedule=schedule, warmup=warmup)
            for s in range(10)
        ]

    assert rates("constant", 0) == [2.0] * 10
    assert rates("constant", 4) == [0.5, 1.0, 1.5, *[2.0] * 7]
    cosine = rates("cosine", 2)
    assert cosine[:3] == [1.0, 2.0, 2.0]
    assert cosine[6] == pytest.approx(1.0)  # half way
    assert all(a > b for a, b in pairwise(cosine[2:]))
    assert cosine[9] == pytest.approx(1 + math.cos(7 * math.pi / 8))


def test_the_average_is_the_average() -> None:
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    average = WeightAverage([weights], 0.5)
    expected = np.array([1.0, -2.0])
    for step in range(1, 30):
        weights += 1.0
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * np.array([1.0 + step, -2.0 + step])
    average.put_in_place()
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-12)


# Augmentation


def naive_augmented(
    batch: NDArray[Any], which: tuple[Augmentation, ...], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Record by record, pixel by pixel, in the documented order of draws."""
    draws = draw(which, len(batch), batch.shape[1:], rng)
    result = np.empty(batch.shape, dtype=np.float64)
    for i, record in enumerate(batch.astype(np.float64)):
        one = record
        if draws.shift is not None:
            for axis in range(one.ndim - 1):
                length = one.shape[1 + axis]
                step = int(np.rint(draws.shift[i, axis] * length))
                places = [min(max(j - step, 0), length - 1) for j in range(length)]
                one = np.take(one, places, axis=1 + axis)
        for axis, flips in draws.flips.items():
            if flips[i]:
                one = np.flip(one, axis=1 + axis)
        if draws.angle is not None:
            one = _turned(one, float(draws.angle[i]))
        for channel in range(len(one)):
            mean, spread = one[channel].mean(), one[channel].std()
            factor = 1.0 if draws.factor is None else draws.factor[i]
            noise = 0.0 if draws.noise is None else draws.noise[i, channel]
            result[i, channel] = mean + (one[channel] - mean) * factor + noise * spread
    return result


def _turned(image: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    high, wide = image.shape[1:]
    result = np.empty_like(image)
    for y in range(high):
        for x in range(wide):
            right, down = x - (wide - 1) / 2, y - (high - 1) / 2
            across = math.cos(angle) * right - math.sin(angle) * down + (wide - 1) / 2
            along = math.sin(angle) * right + math.cos(angle) * down + (high - 1) / 2
            across, along = min(max(across, 0), wide - 1), min(max(along, 0), high - 1)
            left, top = int(across), int(along)
            u, v = across - left, along - top
            next_x, next_y = min(left + 1, wide - 1), min(top + 1, high - 1)
            upper = (1 - u) * image[:, top, left] + u * image[:, top, next_x]
            lower = (1 - u) * image[:, next_y, left] + u * image[:, next_y, next_x]
            result[:, y, x] = (1 - v) * upper + v * lower
    return result


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        *(([name], (2, 9, 14)) for name in AMOUNTS),
        (list(AMOUNTS), (2, 9, 14)),
        *(([name], (3, 31)) for name in USUAL["signals"]),
        (list(USUAL["signals"]), (3, 31)),
    ],
)
def test_augmentation_is_what_it_says(names: list[str], shape: Shape) -> None:
    batch = np.random.default_rng(3).standard_normal((5, *shape))
    got = augmented(torch.from_numpy(batch), np.random.default_rng(4), names)
    expected = naive_augmented(batch, parse(names), np.random.default_rng(4))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-9, rtol=0)
    assert not np.allclose(got.numpy(), batch)


def test_bytes_stay_bytes() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (6, 1, 12, 8), dtype=np.uint8)
    for names in (["flip", "shift"], list(AMOUNTS)):
        got = augmented(torch.from_numpy(batch), np.random.default_rng(1), names)
        assert got.dtype == torch.uint8
        expected = naive_augmented(batch, parse(names), np.random.default_rng(1))
        assert abs(got.numpy() - expected.clip(0, 255)).max() <= 0.51


def test_augmenting_and_scaling_change_places() -> None:
    batch = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 10, 12)))
    mean, scale = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.1, 3.0, 7.0])
    mean, scale = mean.double()[:, None, None], scale.double()[:, None, None]
    names = list(AMOUNTS)
    first = (augmented(batch, np.random.default_rng(2), names) - mean) * scale
    second = augmented((batch - mean) * scale, np.random.default_rng(2), names)
    torch.testing.assert_close(first, second, atol=1e-9, rtol=0)


def test_padding_stays_as_it_is() -> None:
    which = parse(list(AMOUNTS))
    shape = (2, 8, 8)
    parts = [draw(which, n, shape, np.random.default_rng(n)) for n in (3, 5)]
    batch = torch.from_numpy(np.random.default_rng(0).standard_normal((10, *shape)))
    both = carried_out(batch, together(parts, 5))
    torch.testing.assert_close(both[:3], carried_out(batch[:3], parts[0]))
    torch.testing.assert_close(both[5:], carried_out(batch[5:], parts[1]))
    torch.testing.assert_close(both[3:5], batch[3:5], atol=1e-12, rtol=0)


def test_draws_have_their_distribution() -> None:
    which = parse(list(AMOUNTS))
    draws = draw(which, 4000, (1, 2, 2), np.random.default_rng(0))
    assert draws.shift is not None
    assert draws.angle is not None
    assert draws.factor is not None
    assert draws.noise is not None
    assert abs(draws.flips[1].mean() - 0.5) < 0.03
    assert abs(draws.flips[0].mean() - 0.5) < 0.03
    assert abs(np.corrcoef(draws.flips[0], draws.flips[1])[0, 1]) < 0.05
    assert 0.099 < abs(draws.shift).max() <= 0.1
    assert abs(draws.shift.mean()) < 0.005
    assert 14.9 < np.degrees(abs(draws.angle)).max() <= 15
    assert 0.099 < abs(np.log(draws.factor)).max() <= 0.1
    assert draws.noise.std() == pytest.approx(0.05, rel=0.05)


# Training: stack, loop, plain PyTorch


def tiny(inputs: Shape, outputs: int) -> torch.nn.Module:
    conv = torch.nn.Conv2d if len(inputs) == 3 else torch.nn.Conv1d
    return torch.nn.Sequential(
        conv(inputs[0], 4, 3, stride=2),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(outputs),
    )


def built(inputs: Shape, outputs: int) -> torch.nn.Module:
    module = tiny(inputs, outputs)
    module(torch.zeros(1, *inputs))  # makes the lazy layer
    return module


def by_hand(data: TrainingData, job: Assignment, which: list[str]) -> NDArray[np.float64]:
    """Plain numpy and PyTorch: one model, one record at a time where it is augmented."""
    assert isinstance(data.inputs, ArrayInputs)
    raw = data.inputs.take(np.arange(RECORDS)).astype(np.float64)
    if data.inputs.array.dtype == np.uint8:
        raw /= 255
    if data.inputs.channels == "last":
        raw = np.moveaxis(raw, -1, 1)
    axes = (0, *range(2, raw.ndim))
    own = raw[job.members]
    x = (raw - own.mean(axis=axes, keepdims=True)) / own.std(axis=axes, keepdims=True)
    y = torch.from_numpy(data.labels).double()[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        net = built(x.shape[1:], 1).double()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.01)
    rng = np.random.default_rng(job.seed)
    steps = math.ceil(RECORDS / 2 / 16)
    rounds, warmup, step = 3 * steps, round(0.5 * steps), 0
    average = [p.detach().clone() for p in net.parameters()]
    for _ in range(3):
        for rows in np.array_split(rng.permutation(job.members), steps):
            draws = generator(job.seed, Stage.AUGMENTATION, step)
            batch = naive_augmented(x[rows], parse(which), draws)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                net(torch.from_numpy(batch)), y[rows]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            share = (step - warmup) / (rounds - warmup)
            rate = (step + 1) / warmup if step < warmup else (1 + math.cos(math.pi * share)) / 2
            optimizer.param_groups[0]["lr"] = 0.01 * rate
            optimizer.step()
            step += 1
            decay = min(0.9, (1 + step) / (10 + step))
            for old, new in zip(average, net.parameters(), strict=True):
                old.mul_(decay).add_(new.detach(), alpha=1 - decay)
    with torch.no_grad():
        for old, new in zip(average, net.parameters(), strict=True):
            new.copy_(old)
        return np.asarray(net(torch.from_numpy(x)).numpy())


@pytest.mark.parametrize("kind", ["images", "signals"])
def test_stack_loop_and_plain_pytorch_agree(kind: str) -> None:
    which = ["flip", "shift:0.2", "rotate"] if kind == "images" else ["shift", "scale", "noise"]
    data = images("last") if kind == "images" else signals()
    jobs = assignments()
    found = {}
    for stack in ("always", "never"):
        recipe = TorchRecipe(built, stack=stack, augment=which, **RECIPE, **STUDY)
        found[stack], facts = exactly(recipe, data, jobs)
        assert facts["trained"] == ("stacked" if stack == "always" else "one after the other")
    np.testing.assert_allclose(found["always"], found["never"], atol=1e-9, rtol=0)
    for place, job in enumerate(jobs):
        hand = by_hand(data, job, which)
        np.testing.assert_allclose(found["never"][place], hand, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("name", "given", "data", "augment"),
    [
        ("wrn-10-1", {}, images("last"), ["flip", "rotate"]),
        ("vit-b-16", SMALL_TRANSFORMER, images(), ["shift"]),
        ("resnet-1d", {"width": 4, "factory_arguments": {"stride": 2}}, signals(), ["noise"]),
        (
            "tabular-resnet",
            {"width": 8, "factory_arguments": {"blocks": 2}},
            table("multilabel"),
            [],
        ),
    ],
)
def test_every_network_by_name_is_the_same_in_a_stack(
    name: str, given: dict[str, Any], data: TrainingData, augment: list[str]
) -> None:
    jobs = assignments()
    settings = RECIPE | STUDY | given | {"augment": augment, "epochs": 2}
    stacked, facts = exactly(TorchRecipe(name, stack="always", **settings), data, jobs)
    assert facts["trained"] == "stacked"
    loop, _ = exactly(TorchRecipe(name, stack="never", **settings), data, jobs)
    np.testing.assert_allclose(stacked, loop, atol=1e-9, rtol=0)
    # A model is its members and its seed, not its place in a block.
    alone, _ = exactly(TorchRecipe(name, stack="always", **settings), data, jobs[2:])
    np.testing.assert_allclose(alone[0], stacked[2], atol=1e-9, rtol=0)
    # Every setting matters: nothing is read and ignored.
    changes: tuple[dict[str, Any], ...] = (
        {"schedule": "constant"},
        {"warmup_epochs": 0},
        {"ema": 0},
        {"augment": []},
    )
    for change in changes:
        if settings[next(iter(change))] == change[next(iter(change))]:
            continue
        other, _ = exactly(TorchRecipe(name, stack="never", **settings | change), data, jobs[:1])
        assert abs(other[0] - loop[0]).max() > 1e-6, change


def test_a_network_of_convolutions_says_why_it_is_trained_alone() -> None:
    outputs = TorchRecipe("wrn-10-1", epochs=1, batch_size=32).train_block(
        images(), assignments(), lambda _: None
    )
    assert "convolutions" in outputs.facts["not_stacked_because"]
    assert outputs.facts["parameters"] == 77_000 - 23


@pytest.mark.parametrize("stack", ["always", "never"])
def test_sixteen_bits_stay_near_thirty_two(stack: str) -> None:
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 16, "stack": stack}
    found = {}
    for dtype in ("bfloat16", "float32"):
        recipe = TorchRecipe("wrn-10-1", dtype=dtype, **settings)
        found[dtype], _ = exactly(recipe, images("last"), assignments(2))
    gap = abs(found["bfloat16"] - found["float32"]).max()
    assert 1e-6 < gap < 0.1 * found["float32"].std() + 0.1


# Frozen parts


class Backbone(torch.nn.Module):
    """A frozen part that looks the same in every model unless `drawn`, and counts its calls."""

    calls = 0

    def __init__(self, inputs: Shape, width: int, drawn: bool) -> None:
        super().__init__()
        with torch.random.fork_rng():
            if not drawn:
                torch.manual_seed(5)
            self.conv = torch.nn.Conv2d(inputs[0], width, 3, stride=2)
            self.norm = torch.nn.BatchNorm2d(width)
            self.norm.register_buffer("running_mean", torch.randn(width))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Backbone.calls += 1
        return self.dropout(self.norm(self.conv(x)).relu()).mean(dim=(2, 3))  # type: ignore[no-any-return]


class Pretrained(torch.nn.Module):
    def __init__(self, inputs: Shape, outputs: int, drawn: bool = False) -> None:
        super().__init__()
        self.backbone = Backbone(inputs, 6, drawn).requires_grad_(False)
        self.head = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]


class Unnamed(torch.nn.Module):
    """The same without parts that can be told apart."""

    def __init__(self, inputs: Shape, outputs: int, drawn: bool = False) -> None:
        super().__init__()
        self.whole = Pretrained(inputs, outputs, drawn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.whole(x)  # type: ignore[no-any-return]


def test_features_of_a_frozen_backbone_are_kept_and_change_nothing() -> None:
    data, jobs = images("last"), assignments()
    settings = RECIPE | STUDY | {"scaling": "fixed", "backbone_trained_on_cohort": False}
    Backbone.calls = 0
    recipe = TorchRecipe(Pretrained, **settings)
    kept, facts = exactly(recipe, data, jobs)
    assert facts["trained"] == "stacked"  # heads alone have no convolution
    assert facts["pretrained"] == {
        "trained_on_cohort": "no",
        "frozen_parameters": 3 * 6 * 9 + 6 + 12,
        "features": 6,
    }
    assert facts["parameters"] == 6 * 8 + 8 + 8 + 1
    once = Backbone.calls
    assert once <= 4
    again, other = exactly(recipe, data, jobs)  # the next block of the same process
    np.testing.assert_array_equal(kept, again)
    assert other == facts
    assert Backbone.calls <= once + 2  # only to see that the module is what it says
    for stack in ("always", "never"):
        whole, facts = exactly(TorchRecipe(Unnamed, stack=stack, **settings), data, jobs)
        assert "no parts named backbone" in facts["pretrained"]["features_not_kept_because"]
        np.testing.assert_allclose(whole, kept, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augment": ["flip"], "scaling": "fixed"}, "different in every epoch"),
        ({}, "scaled on each model's members"),
        ({"factory_arguments": {"drawn": True}, "scaling": "fixed"}, "differ from model to model"),
    ],
)
def test_features_that_vary_are_not_kept(changes: dict[str, Any], reason: str) -> None:
    data, jobs = images("last"), assignments()
    found = []
    for stack in ("always", "never"):
        recipe = TorchRecipe(Pretrained, stack=stack, **RECIPE | changes)
        outputs, facts = exactly(recipe, data, jobs)
        assert reason in facts["pretrained"]["features_not_kept_because"]
        assert facts["pretrained"]["trained_on_cohort"] == "not declared"
        found.append(outputs)
    np.testing.assert_allclose(found[0], found[1], atol=1e-9, rtol=0)


def test_frozen_parameters_stay_as_they_were() -> None:
    made: list[Pretrained] = []

    def factory(inputs: Shape, outputs: int) -> torch.nn.Module:
        made.append(Pretrained(inputs, outputs, drawn=True))
        return made[-1]

    for stack in ("always", "never"):
        made.clear()
        exactly(TorchRecipe(factory, stack=stack, **RECIPE), images("last"), assignments())
        for module, job in zip(made, assignments(), strict=True):
            with torch.random.fork_rng():
                torch.manual_seed(job.seed)
                fresh = Pretrained((3, 16, 16), 1, drawn=True)
            for name, value in fresh.backbone.double().state_dict().items():
                torch.testing.assert_close(module.backbone.state_dict()[name], value)


def test_a_network_without_anything_to_train_is_refused() -> None:
    def factory(inputs: Shape, outputs: int) -> torch.nn.Module:
        return Pretrained(inputs, outputs).requires_grad_(False)

    with pytest.raises(RecipeError, match="nothing is trained"):
        exactly(TorchRecipe(factory, epochs=1), images("last"), assignments())


# Weights


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor], pad: int = 0) -> Path:
    names = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, value in tensors.items():
        raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": names[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [len(content), len(content) + len(raw)],
        }
        content += raw
    text = json.dumps(header).encode() + b" " * pad
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


@pytest.mark.parametrize("pad", range(4))
def test_safetensors_come_back(tmp_path: Path, pad: int) -> None:
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(2, dtype=torch.float64),
        "c": torch.randn(5).bfloat16(),
        "d": torch.tensor(7),
        "e": torch.zeros(0, 3),
    }
    found = read_safetensors(write_safetensors(tmp_path / "w.safetensors", tensors, pad))
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_types_that_no_network_is_made_of_are_refused(tmp_path: Path) -> None:
    text = b'{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'
    (tmp_path / "w.safetensors").write_bytes(framed(text, bytes(8)))
    with pytest.raises(RecipeError, match='the tensor "a" holds float8_e4m3fn'):
        read_safetensors(tmp_path / "w.safetensors")


def framed(text: bytes, content: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        (10**15).to_bytes(8, "little") + b"{}",
        framed(b"[]"),
        framed(b'{"a":'),
        framed(b"\xff\xfe\xfd\xfc"),
        framed(b"[" * 100_000),
        framed(b'{"a":[1]}'),
        framed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        framed(b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', b"12345678"),
        framed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,8]}}', b"12345678"),
        framed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', b"12345678"),
        framed(b'{"a":{"dtype":"OBJ","shape":[2],"data_offsets":[0,8]}}', b"12345678"),
        framed(b'{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', b"12345678"),
        framed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}', b"12345678"),
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"damaged, truncated or not a safetensors file"):
        read_safetensors(path)


def test_weights_go_where_they_belong(tmp_path: Path) -> None:
    source = Pretrained((3, 16, 16), 1)
    torch.nn.init.constant_(source.backbone.conv.weight, 0.25)
    tensors = dict(source.backbone.state_dict()) | {"old.head": torch.zeros(3)}
    path = write_safetensors(tmp_path / "w.safetensors", tensors)
    module = Pretrained((3, 16, 16), 1)
    counts = load_into(module, read_safetensors(path))
    assert counts == {"loaded": 7, "unused": 1, "not in the file": 4}
    torch.testing.assert_close(module.backbone.conv.weight, source.backbone.conv.weight)
    with pytest.raises(RecipeError, match="none of its 1 tensors"):
        load_into(module, {"x": torch.zeros(1)})
    with pytest.raises(RecipeError, match=r"shape \(2,\).*shape \(6,\)"):
        load_into(module, {"conv.bias": torch.zeros(2)})
    with pytest.raises(RecipeError, match="not finite"):
        load_into(module, {"conv.bias": torch.full((6,), torch.nan)})


def test_weights_start_the_training_and_are_part_of_the_identity(tmp_path: Path) -> None:
    found = network("wrn-10-1")
    assert found is not None
    module = found.make((1, 16, 16), 1, found.arguments({}))
    path = write_safetensors(tmp_path / "w.safetensors", dict(module.state_dict()))
    settings: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 1e-12,
        "weights": path,
        "backbone_trained_on_cohort": True,
    }
    recipe = TorchRecipe("wrn-10-1", **settings)
    outputs, facts = exactly(recipe, images(), assignments(2))
    # Nothing is frozen and nothing was learned: both models are the file but for their scaling.
    assert abs(outputs[0] - outputs[1]).max() < 0.05
    assert facts["pretrained"]["trained_on_cohort"] == "yes"
    assert facts["pretrained"]["tensors"]["not in the file"] == 0
    before = recipe.settings()
    write_safetensors(path, {n: v + 1 for n, v in module.state_dict().items()})
    assert recipe.settings()["weights"] != before["weights"]
    assert str(tmp_path) not in str(before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "w.safetensors"}, "backbone_trained_on_cohort: it is missing"),
        ({"weights": "w.h5", "backbone_trained_on_cohort": False}, "format that is not supported"),
        ({"weights": "w.safetensors", "backbone_trained_on_cohort": False}, "cannot be read"),
    ],
)
def test_weights_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, RecipeError), match=words):
        TorchRecipe("wrn-10-1", **changes).settings()


@pytest.mark.slow
def test_the_large_transformer_takes_a_step() -> None:
    rng = np.random.default_rng(0)
    data = TrainingData(
        inputs=ArrayInputs(
            array=rng.integers(0, 256, (8, 64, 64), dtype=np.uint8),
            rows=np.arange(8),
            channels="none",
        ),
        labels=np.arange(8) % 2,
        task="binary",
        classes=("no", "yes"),
    )
    job = Assignment(model=0, members=np.arange(4), seed=1)
    outputs, facts = exactly(TorchRecipe("vit-b-16", epochs=1), data, [job])
    assert facts["parameters"] == 85_661_185 - 2 * 256 * 768
    assert np.isfinite(outputs).all()
    assert outputs.std() > 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("yes", ["is a member of that backbone in every model", "adds to"]),
        ("not declared", ["not declared whether they were trained on patients", "adds to"]),
        ("no", []),
        (None, []),
    ],
)
def test_limits_say_what_a_backbone_means(said: str | None, words: list[str]) -> None:
    pretrained = {} if said is None else {"pretrained": {"trained_on_cohort": said}}
    summary = Part({"models": {"count": 8}, "recipe": {"kind": "torch", "facts": pretrained}})
    (block,) = limits_section(summary).blocks
    assert isinstance(block, Items)
    texts = [text for _, text in block.items]
    assert len(texts) == 6 + bool(words)
    assert all(word in texts[-1] for word in words)


# Through the configuration


FILE = """
[cohort]
table = "t.csv"
images = "x.npy"
channels = "first"
patient = "patient"
label = "label"
[recipe]
kind = "torch"
{recipe}
[audit]
models = 8
"""
BACKBONE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv1d(inputs[0], 4, 3), torch.nn.ReLU(), torch.nn.Flatten()
        ).requires_grad_(False)
        self.head = torch.nn.Linear(4 * (inputs[1] - 2), outputs)

    def forward(self, x):
        return self.head(self.backbone(x))
"""


def folder_with(tmp_path: Path, recipe: str) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.standard_normal((80, 2, 30)).astype(np.float32))
    rows = [f"p{i // 2},{rng.integers(0, 2)}" for i in range(80)]
    (tmp_path / "t.csv").write_text("patient,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "audit.toml").write_text(FILE.format(recipe=recipe))
    return tmp_path / "audit.toml"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ('model = "wrn-28-2"', "needs images, but this is signals"),
        ('model = "wrn-28-3x"', "no built-in network"),
        ('model = "wrn-29-2"', "depth of 10"),
        ('model = "wrn-28-2"\nwidth = 4', "width requires"),
        ('model = "mlp"\narguments = { blocks = 2 }', "arguments requires"),
        ('model = "resnet-1d"\narguments = { blocks = 2 }', "no such setting"),
        ('model = "resnet-1d"\nschedule = "linear"', "constant"),
        ('model = "resnet-1d"\nema = 1.0', "less than 1"),
        ('model = "resnet-1d"\nwarmup_epochs = 15', "fewer than recipe.epochs"),
        ('model = "resnet-1d"\naugment = ["rotate"]', "is for images"),
        ('model = "resnet-1d"\naugment = ["spin"]', "no augmentation"),
        ('model = "resnet-1d"\nweights = "w.safetensors"', "backbone_trained_on_cohort"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recipe: str, words: str
) -> None:
    path = folder_with(tmp_path, recipe)
    before = sorted(tmp_path.iterdir())
    for command in ("check", "run"):
        code, _, error = run(monkeypatch, command, path)
        assert code == 2, error
        assert words in " ".join(error.split())
        assert "Traceback" not in error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_weights_from_elsewhere_are_told_in_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = """model = "net:Net"
epochs = 2
scaling = "fixed"
weights = "w.safetensors"
backbone_trained_on_cohort = true"""
    path = folder_with(tmp_path, recipe)
    (tmp_path / "net.py").write_text(BACKBONE)
    weights = {"0.weight": torch.randn(4, 2, 3), "0.bias": torch.zeros(4)}
    write_safetensors(tmp_path / "w.safetensors", weights)
    out = tmp_path / "run"
    code, _, error = run(monkeypatch, "run", path, "--out", out, "--workers", "1")
    assert code == 0, error
    summary = json.loads((out / "results" / "summary.json").read_text())
    facts = summary["recipe"]["facts"]
    assert facts["pretrained"] == {
        "trained_on_cohort": "yes",
        "frozen_parameters": 28,
        "features": 112,
        "tensors": {"loaded": 2, "unused": 0, "not in the file": 2},
    }
    assert facts["parameters"] == 113
    page = (out / "report.html").read_text()
    assert "A backbone trained on every patient" in page
    # The configuration in the run directory finds the weights from anywhere.
    resolved = (out / "audit.toml").read_text()
    assert str((tmp_path / "w.safetensors").resolve()) in resolved
    # Other weights are another recipe.
    weights["0.bias"] += 1
    write_safetensors(tmp_path / "w.safetensors", weights)
    code, _, error = run(monkeypatch, "run", path, "--out", out)
    assert code == 2
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_signal_audit_is_the_same_with_other_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = """model = "resnet-1d"
width = 4
arguments = { stride = 2 }
epochs = 2
batch_size = 16
schedule = "cosine"
warmup_epochs = 0.5
ema = 0.9
augment = ["shift", "noise"]"""
    path = folder_with(tmp_path, recipe)
    outputs = []
    for workers in ("1", "2"):
        out = tmp_path / f"run{workers}"
        code, _, error = run(monkeypatch, "run", path, "--out", out, "--workers", workers)
        assert code == 0, error
        store = RunStore.open(out)
        outputs.append(store.outputs().read(0, 80))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
