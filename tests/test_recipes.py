"""Recipes of every kind keep the same promises; batched training is one-at-a-time training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from auscult.base.errors import AuscultError, ConfigError, RecipeError
from auscult.cohort import Task, TrainingData
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.recipes import PythonRecipe, SklearnRecipe, TorchRecipe
from auscult.recipes.base import Assignment, Recipe
from auscult.recipes.outputs import from_logits, from_probabilities, refuse_probabilities
from auscult.recipes.torch.chain import Rectified, chain_of, chain_outputs

Inputs = pd.DataFrame | NDArray[np.uint8]
Predict = Callable[[Inputs], NDArray[np.float64]]

RECORDS = 90
CLASSES: dict[str, tuple[str, ...]] = {
    "binary": ("no", "yes"),
    "multiclass": ("a", "b", "c"),
    "multilabel": ("x", "y"),
}
COLUMNS = {"binary": 1, "multiclass": 3, "multilabel": 2}
KINDS = {"binary": "sigmoid", "multiclass": "softmax", "multilabel": "multilabel"}


def labels_of(task: Task, score: NDArray[np.float64]) -> NDArray[np.int64]:
    if task == "binary":
        return (score > 0).astype(np.int64)
    if task == "multiclass":
        return np.digitize(score, [-0.5, 0.5]).astype(np.int64)
    return np.column_stack([score > 0, score < 0.3]).astype(np.int64)


def table(task: Task = "binary", seed: int = 0) -> TrainingData:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(RECORDS, 3)).astype(np.float32)
    score = numeric[:, 0] + 0.5 * rng.normal(size=RECORDS)
    numeric[rng.random(numeric.shape) < 0.1] = np.nan
    codes = rng.integers(-1, 3, (RECORDS, 2)).astype(np.int32)
    return TrainingData(
        inputs=TableInputs(
            numeric=numeric,
            numeric_names=("a", "b", "c"),
            codes=codes,
            categorical_names=("d", "e"),
            levels=(("p", "q", "r"), ("s", "t", "(rare)")),
        ),
        labels=labels_of(task, score),
        task=task,
        classes=CLASSES[task],
    )


def images(channels: str = "none", seed: int = 0) -> TrainingData:
    rng = np.random.default_rng(seed)
    shape = {"none": (16, 16), "last": (16, 16, 3), "first": (3, 16, 16)}[channels]
    array = rng.integers(0, 256, (RECORDS + 5, *shape), dtype=np.uint8)
    rows = np.arange(RECORDS) + 5
    return TrainingData(
        inputs=ArrayInputs(array=array, rows=rows, channels=channels),
        labels=rng.integers(0, 2, RECORDS),
        task="binary",
        classes=("no", "yes"),
    )


def assignments(count: int = 3, seed: int = 1) -> list[Assignment]:
    rng = np.random.default_rng(seed)
    return [
        Assignment(
            model=number,
            members=np.sort(rng.choice(RECORDS, 40 + 3 * number, replace=False)),
            seed=100 + number,
        )
        for number in range(count)
    ]


def nearest_mean(inputs: Inputs, labels: NDArray[np.int64], seed: int) -> Predict:
    def numbers(x: Inputs) -> NDArray[np.float64]:
        raw = (
            x[["a", "b", "c"]].to_numpy()
            if isinstance(x, pd.DataFrame)
            else x.reshape(len(x), -1) / 1e3
        )
        return np.nan_to_num(np.asarray(raw, dtype=np.float64))

    x = numbers(inputs)
    centres = [x[labels == c].mean(axis=0) for c in (0, 1)]

    def predict(everything: Inputs) -> NDArray[np.float64]:
        values = numbers(everything)
        far = [((values - centre) ** 2).mean(axis=1) for centre in centres]
        return np.asarray(1 / (1 + np.exp(far[1] - far[0])))

    return predict


RECIPES: dict[str, tuple[Recipe, TrainingData]] = {
    "logistic": (SklearnRecipe("logistic_regression"), table()),
    "forest": (SklearnRecipe(RandomForestClassifier(n_estimators=10)), table()),
    "forest of three classes": (
        SklearnRecipe(RandomForestClassifier(n_estimators=10)),
        table("multiclass"),
    ),
    "forest of two labels": (
        SklearnRecipe(RandomForestClassifier(n_estimators=10)),
        table("multilabel"),
    ),
    "boosting": (SklearnRecipe("gradient_boosting", arguments={"max_iter": 5}), table()),
    "margin": (SklearnRecipe(LinearSVC()), table()),
    "pipeline on images": (
        SklearnRecipe(make_pipeline(StandardScaler(), LogisticRegression())),
        images("last"),
    ),
    "function": (PythonRecipe(nearest_mean), table()),
    "function on images": (PythonRecipe(nearest_mean), images()),
    "mlp": (TorchRecipe("mlp", hidden=[8], epochs=2, batch_size=16), table()),
    "mlp of three classes": (TorchRecipe("mlp", hidden=[8], epochs=2), table("multiclass")),
    "mlp of two labels": (TorchRecipe("mlp", hidden=[8], epochs=2), table("multilabel")),
    "cnn": (TorchRecipe("cnn", width=4, epochs=1, batch_size=16), images()),
    "cnn, resized": (TorchRecipe("cnn", width=4, epochs=1, image_size=8), images("last")),
    "cnn, channels first": (TorchRecipe("cnn", width=4, epochs=1), images("first")),
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_keeps_the_contract(name: str) -> None:
    recipe, data = RECIPES[name]
    assert recipe.supports(data) is None
    import json

    assert json.loads(json.dumps(recipe.settings())) == recipe.settings()
    steps: list[float] = []
    jobs = assignments()
    outputs = recipe.train_block(data, jobs, steps.append)
    assert outputs.values.shape == (3, 1, RECORDS, COLUMNS[data.task])
    assert outputs.values.dtype == np.float32
    assert np.isfinite(outputs.values).all()
    assert outputs.kind == KINDS[data.task]
    assert sum(steps) == pytest.approx(3)
    again = recipe.train_block(data, jobs, lambda _: None)
    np.testing.assert_array_equal(outputs.values, again.values)
    # A model is its members and its seed, not its place in a block.
    alone = recipe.train_block(data, jobs[1:2], lambda _: None)
    np.testing.assert_allclose(alone.values[0], outputs.values[1], atol=2e-4)


@pytest.mark.parametrize("name", ["logistic", "mlp", "function"])
def test_members_matter_and_nothing_else_of_the_others(name: str) -> None:
    recipe, data = RECIPES[name]
    job = assignments(1)[0]
    outside = np.setdiff1d(np.arange(RECORDS), job.members)
    assert isinstance(data.inputs, TableInputs)
    numeric = data.inputs.numeric.copy()
    labels = data.labels.copy()
    labels[outside] = 1 - labels[outside]
    numeric[outside] = 1e3  # would move any scaling that looked at it
    changed = TrainingData(
        inputs=TableInputs(
            numeric=np.where(np.isnan(data.inputs.numeric), np.nan, numeric).astype(np.float32),
            numeric_names=data.inputs.numeric_names,
            codes=data.inputs.codes,
            categorical_names=data.inputs.categorical_names,
            levels=data.inputs.levels,
        ),
        labels=labels,
        task=data.task,
        classes=data.classes,
    )
    one = recipe.train_block(data, [job], lambda _: None).values[0, 0, job.members]
    other = recipe.train_block(changed, [job], lambda _: None).values[0, 0, job.members]
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_stacked_training_is_training_one_at_a_time(task: Task, optimizer: str) -> None:
    data = table(task)
    settings: dict[str, Any] = {
        "hidden": [9, 7],
        "epochs": 3,
        "batch_size": 16,
        "optimizer": optimizer,
        "dtype": "float64",
        "learning_rate": 0.01,
    }
    jobs = assignments()
    stacked, facts = TorchRecipe("mlp", **settings).train_exactly(data, jobs, lambda _: None)
    assert facts["trained"] == "stacked"
    loop, facts = TorchRecipe("mlp", stack="never", **settings).train_exactly(
        data, jobs, lambda _: None
    )
    assert facts["trained"] == "one after the other"
    np.testing.assert_allclose(stacked, loop, atol=1e-9, rtol=0)
    for place, job in enumerate(jobs):
        np.testing.assert_allclose(stacked[place], naive(data, job, settings), atol=1e-9, rtol=0)


def naive(data: TrainingData, job: Assignment, settings: dict[str, Any]) -> NDArray[np.float64]:
    """The same recipe by hand: plain numpy scaling, plain PyTorch, one model."""
    inputs = data.inputs
    assert isinstance(inputs, TableInputs)
    raw = inputs.numeric.astype(np.float64)
    own = raw[job.members]
    scaled = np.nan_to_num((raw - np.nanmean(own, axis=0)) / np.nanstd(own, axis=0))
    parts = [scaled, np.isnan(raw).astype(np.float64)]
    for j, names in enumerate(inputs.levels):
        parts.append((inputs.codes[:, j : j + 1] == np.arange(len(names))).astype(np.float64))
    x = torch.from_numpy(np.concatenate(parts, axis=1))
    y = torch.from_numpy(data.labels)
    columns = COLUMNS[data.task]
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        widths = [x.shape[1], *settings["hidden"]]
        layers: list[torch.nn.Module] = []
        for i in range(len(widths) - 1):
            layers += [torch.nn.Linear(widths[i], widths[i + 1]), torch.nn.ReLU()]
        net = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], columns)).double()
    optimizer: torch.optim.Optimizer
    if settings["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=0.01, momentum=0.9)
    elif settings["optimizer"] == "adam":
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=0.01)
    else:
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.01)
    rng = np.random.default_rng(job.seed)
    steps = int(np.ceil(RECORDS / 2 / settings["batch_size"]))
    for _ in range(settings["epochs"]):
        for rows in np.array_split(rng.permutation(job.members), steps):
            out = net(x[rows])
            if data.task == "multiclass":
                loss = torch.nn.functional.cross_entropy(out, y[rows])
            else:
                truth = y[rows].reshape(len(rows), -1).double()
                loss = torch.nn.functional.binary_cross_entropy_with_logits(out, truth)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        return np.asarray(net(x).numpy())


def test_a_stack_of_networks_with_convolutions_is_the_loop() -> None:
    data, jobs = images("last"), assignments()
    settings: dict[str, Any] = {"width": 4, "epochs": 2, "batch_size": 16, "dtype": "float64"}
    loop, facts = TorchRecipe("cnn", **settings).train_exactly(data, jobs, lambda _: None)
    assert "convolutions" in facts["not_stacked_because"]
    stacked, facts = TorchRecipe("cnn", stack="always", **settings).train_exactly(
        data, jobs, lambda _: None
    )
    assert facts["trained"] == "stacked"
    np.testing.assert_allclose(stacked, loop, atol=1e-9, rtol=0)


class BatchNorm(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(inputs)
        self.last = torch.nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(x))  # type: ignore[no-any-return]


class Branches(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.last = torch.nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x) if x.sum() > 0 else self.last(x) * 2  # type: ignore[no-any-return]


def small(inputs: int, outputs: int, units: int = 4) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, units), torch.nn.Tanh(), torch.nn.Linear(units, outputs)
    )


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (TorchRecipe(BatchNorm, epochs=1), "batch norm"),
        (TorchRecipe(Branches, epochs=1), "cannot stack"),
        (TorchRecipe("mlp", hidden=[4], dropout=0.5, epochs=1), "dropout"),
        (TorchRecipe(small, epochs=1), None),
        (TorchRecipe(small, epochs=1, factory_arguments={"units": 3}), None),
    ],
)
def test_any_module_trains_and_says_why_it_was_not_stacked(
    recipe: TorchRecipe, reason: str | None
) -> None:
    outputs = recipe.train_block(table(), assignments(), lambda _: None)
    if reason is None:
        assert outputs.facts["trained"] == "stacked"
    else:
        assert reason in outputs.facts["not_stacked_because"]
    again = recipe.train_block(table(), assignments(), lambda _: None)
    np.testing.assert_array_equal(outputs.values, again.values)


def test_a_stack_that_cannot_be_is_refused_when_demanded() -> None:
    with pytest.raises(RecipeError, match="batch norm"):
        TorchRecipe(BatchNorm, epochs=1, stack="always").train_block(
            table(), assignments(), lambda _: None
        )


def too_wide(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(inputs, 5 * outputs)


def too_narrow(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(inputs - 1, outputs)


def no_module(inputs: int, outputs: int) -> Any:  # noqa: ANN401
    return 7


def raising(inputs: int, outputs: int) -> torch.nn.Module:
    raise ValueError("no such layer")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (TorchRecipe(too_wide), r"\(2, 5\)"),
        (TorchRecipe(too_narrow), "first forward pass"),
        (TorchRecipe(no_module), "returned int"),
        (TorchRecipe(raising), "no such layer"),
        (TorchRecipe("mlp", learning_rate=1e30, epochs=3), "learning_rate"),
        (TorchRecipe("mlp", hidden=[4], device="cuda"), "GPU"),
        (SklearnRecipe("nothing"), "built-in estimator"),
        (SklearnRecipe(LogisticRegression), "not an estimator"),
        (PythonRecipe("nowhere:train"), "no module nowhere"),
        (PythonRecipe("auscult.cohort:nothing"), "nothing"),
    ],
)
def test_recipes_that_cannot_be_say_so(recipe: Recipe, words: str) -> None:
    if "GPU" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(AuscultError, match=words):
        recipe.train_block(table(), assignments(), lambda _: None)


@pytest.mark.parametrize(
    "recipe",
    [
        TorchRecipe("mlp", optimizer="lion"),
        TorchRecipe("mpl"),
        TorchRecipe("mlp", epochs=0),
        TorchRecipe("mlp", stack="maybe"),
        SklearnRecipe("mlp", preprocess="some"),
        SklearnRecipe(LogisticRegression(), arguments={"C": 2}),
        PythonRecipe(nearest_mean, output="scores"),
    ],
)
def test_settings_refuse_what_is_no_choice(recipe: Recipe) -> None:
    with pytest.raises(ConfigError):
        recipe.settings()


def test_recipes_say_which_inputs_they_read() -> None:
    assert "table" in str(TorchRecipe("mlp").supports(images()))
    assert "images" in str(TorchRecipe("cnn").supports(table()))
    assert "image_size" in str(TorchRecipe("mlp", image_size=8).supports(table()))
    assert "KMeans" in str(SklearnRecipe("sklearn.cluster:KMeans").supports(table()))


def test_a_changed_function_is_another_recipe(tmp_path: Path) -> None:
    import sys

    found = []
    for body in ("return 1", "return 2"):
        (tmp_path / "changing_for_test.py").write_text(f"def train(i, l, s):\n    {body}\n")
        sys.modules.pop("changing_for_test", None)
        import importlib
        import linecache

        importlib.invalidate_caches()
        linecache.clearcache()
        found.append(PythonRecipe("changing_for_test:train", folder=tmp_path).settings())
    assert found[0] != found[1]


def test_zeros_among_probabilities_are_replaced_and_counted() -> None:
    data = table()
    p = np.linspace(0.2, 0.8, RECORDS)
    p[:3] = [0.0, 1.0, 0.05]
    values, zeros = from_probabilities(p, data, "model 0")
    assert zeros == 2
    floor = 0.05 / 2
    assert values[0, 0] == pytest.approx(np.log(floor))
    assert values[1, 0] == pytest.approx(-np.log(floor))
    np.testing.assert_allclose(values[2:, 0], np.log(p[2:] / (1 - p[2:])))
    pair, _ = from_probabilities(np.column_stack([1 - p, p]), data, "model 0")
    np.testing.assert_allclose(pair, values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(RECORDS, 1.5), "not probabilities"),
        (np.full((RECORDS, 2), 0.4), "adding up to 1"),
        (np.full(RECORDS - 1, 0.5), "shape"),
        (np.full(RECORDS, np.nan), "not finite"),
    ],
)
def test_what_is_no_probability_is_refused(values: NDArray[np.float64], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        from_probabilities(values, table(), "model 0")


def test_two_logits_are_their_difference() -> None:
    z = np.random.default_rng(0).normal(size=(RECORDS, 2))
    np.testing.assert_allclose(from_logits(z, table(), "")[:, 0], z[:, 1] - z[:, 0])
    with pytest.raises(RecipeError, match="shape"):
        from_logits(z[:, :1].repeat(4, axis=1), table("multiclass"), "")


def test_probabilities_that_were_declared_to_be_logits_are_refused() -> None:
    """A saturated sigmoid read as log-odds hides who is exposed; log-odds pass as they are."""
    rng = np.random.default_rng(2)
    z = 4 * rng.normal(size=RECORDS)
    p = 1 / (1 + np.exp(-z))
    for said, declared in (("at both ends", p), ("adds up to 1", np.column_stack([1 - p, p]))):
        train: Any = lambda *_, declared=declared: lambda _: declared  # noqa: E731
        with pytest.raises(RecipeError, match=said):
            PythonRecipe(train, output="logits").train_block(
                table(), assignments(1), lambda _: None
            )
        cured = PythonRecipe(train).train_block(table(), assignments(1), lambda _: None)
        np.testing.assert_allclose(cured.values[0, 0, :, 0], z, rtol=1e-4)
    held = 0.3 + 0.1 * rng.normal(size=RECORDS)  # log-odds of a model that is held back
    for logits in (z, held, z.clip(0, None), np.column_stack([z, -z]), p - 0.5):
        refuse_probabilities(logits, table(), "")
    refuse_probabilities(np.column_stack([1 - held, held]), table("multilabel"), "")


def test_log_odds_come_from_the_decision_function_only_where_it_is_them() -> None:
    job = assignments(1)
    outputs = SklearnRecipe("logistic_regression").train_block(table(), job, lambda _: None)
    assert outputs.facts["outputs"] == "decision function (log-odds)"
    calibrated = SklearnRecipe("sklearn.svm:SVC", arguments={"kernel": "linear"})
    outputs = calibrated.train_block(table(), job, lambda _: None)
    assert outputs.facts["outputs"] == "decision function, taken as log-odds"


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)],
        [nn.Linear(6, 2)],
        [nn.Flatten(), nn.Linear(6, 5, bias=False), nn.Identity(), nn.Linear(5, 2)],
        [nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.ReLU(), nn.Linear(5, 2), nn.ReLU()],
    ],
)
def test_chains_by_hand_have_the_gradients_of_autograd(layers: list[nn.Module]) -> None:
    module = nn.Sequential(*layers).double()
    chain = chain_of(module)
    assert chain is not None
    assert Rectified.suits(chain)
    torch.manual_seed(3)
    values = {
        name: torch.randn(3, *value.shape, dtype=torch.float64).requires_grad_()
        for name, value in module.named_parameters()
    }
    x = torch.randn(3, 7, 2, 3) if isinstance(layers[0], nn.Flatten) else torch.randn(3, 7, 6)
    x, direction = x.double(), torch.randn(3, 7, 2, dtype=torch.float64)
    kept = x.clone()
    expected = chain_outputs(chain, values, x)
    gradients = torch.autograd.grad((expected * direction).sum(), list(values.values()))
    by_hand = Rectified(chain, values)
    for _ in range(2):  # gradients are overwritten, not added to
        torch.testing.assert_close(by_hand.forward(x), expected, rtol=0, atol=1e-12)
        by_hand.backward(direction)
    for value, gradient in zip(values.values(), gradients, strict=True):
        assert value.grad is not None
        torch.testing.assert_close(value.grad, gradient, rtol=0, atol=1e-12)
    assert torch.equal(x, kept)


def test_other_chains_are_left_to_autograd() -> None:
    assert not Rectified.suits(chain_of(nn.Sequential(nn.Linear(6, 4), nn.GELU())))
    assert not Rectified.suits(None)
