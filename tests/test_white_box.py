"""What weights and all logits say of a record: gradients by hand, weighing, storing, telling."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import nn

from auscult import (
    Audit,
    Cohort,
    Deployment,
    FileDoor,
    MemberList,
    Release,
    SklearnRecipe,
    TorchRecipe,
)
from auscult.attacks.access import parse_access
from auscult.attacks.further import FEW, NO_GAIN, More, with_further
from auscult.attacks.layout import AsTheyCome, Layout, lay_out
from auscult.attacks.more import more_seen, nearest
from auscult.base.errors import AnalysisError, AuscultError, ConfigError, RecipeError, StoreError
from auscult.base.randomness import Stage, generator
from auscult.cohort.design import Membership
from auscult.exposure.cell import How, attack, null_of
from auscult.exposure.table import Inquiry, exposure_of
from auscult.recipes.base import Assignment, BlockOutputs
from auscult.recipes.torch.adapting import Adapted
from auscult.recipes.torch.backbone import EncodedFeatures
from auscult.recipes.torch.inside import FEATURES, GRADIENT, LAST_LAYER, inside, residual
from auscult.recipes.torch.training import predict, record_losses
from auscult.release.doors import ReleaseError
from auscult.report.html import render
from auscult.results import Result
from auscult.risk.patients import patient_risk, permuted
from auscult.store import Outputs, RunStore, plan_blocks
from tests.cohorts import visits
from tests.consistency import disagreements
from tests.simulation import balanced
from tests.test_recipes import BatchNorm, Branches, assignments, images, table

SEED = 3
ALL = How(references="all", signed=False, seed=SEED)
DEPLOYED: dict[str, Any] = {"reveals": "was treated here", "population": "us", "prior": 0.1}


# Gradients


def labels_for(kind: str, records: int, columns: int, seed: int = 0) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    if kind == "softmax":
        return rng.integers(0, columns, records)
    return rng.integers(0, 2, records if kind == "sigmoid" else (records, columns))


@pytest.mark.parametrize(("kind", "columns"), [("sigmoid", 1), ("softmax", 4), ("multilabel", 3)])
def test_residuals_are_the_derivative_of_the_loss(kind: str, columns: int) -> None:
    rng = np.random.default_rng(1)
    answers, labels = 3 * rng.normal(size=(20, columns)), labels_for(kind, 20, columns)
    z = torch.tensor(answers, requires_grad=True)
    loss = record_losses(z, torch.from_numpy(labels), kind).sum()
    slope = torch.autograd.grad(loss, z)[0].numpy()
    direction, logarithm = residual(answers, labels, kind)
    np.testing.assert_allclose(direction * np.exp(logarithm)[:, None], slope, atol=1e-12)
    # A record that the network is sure of keeps its place, where its gradient rounds to nothing.
    sure = np.where(np.arange(columns) == 0, 90.0, -90.0)[None]
    truth = (
        np.zeros(1, dtype=np.int64) if kind == "softmax" else np.array([[1] + [0] * (columns - 1)])
    )
    truth = truth[:, 0] if kind == "sigmoid" else truth
    surer = residual(2 * sure, truth, kind)[1]
    assert np.isfinite(surer).all()
    assert surer[0] < residual(sure, truth, kind)[1][0] < -80


class Curved(nn.Module):
    """Its last layer is not linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.second(torch.relu(self.first(x)))) * 3


class Named(nn.Module):
    """A chain that is no Sequential, with normalisation that rests and a part that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.norm, self.first, self.last = nn.BatchNorm1d(4), nn.Linear(4, 5), nn.Linear(5, 3)
        self.drop = nn.Dropout(0.5)
        self.norm.running_mean = torch.tensor([0.1, -0.3, 0.2, 0.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(self.norm(self.frozen(x))))
        return self.last(self.drop(hidden))  # type: ignore[no-any-return]


MODULES: dict[str, tuple[Callable[[], nn.Module], str, bool]] = {
    "chain": (lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), "softmax", True),
    "chain, labels": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3, bias=False)),
        "multilabel",
        True,
    ),
    "one": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), "sigmoid", True),
    "two logits": (
        lambda: Adapted(nn.Sequential(nn.Linear(4, 2)), None, difference=True),
        "sigmoid",
        True,
    ),
    "module": (Named, "softmax", True),
    "curved": (Curved, "softmax", False),
}


@pytest.mark.parametrize("name", MODULES)
def test_norms_are_those_of_gradients_record_by_record(name: str) -> None:
    make, kind, linear = MODULES[name]
    torch.manual_seed(0)
    module = make().double()
    x = torch.randn(37, 4, dtype=torch.float64)
    encoded = EncodedFeatures(x)
    answers = predict(module, 0, encoded, 37).numpy()
    labels = labels_for(kind, 37, answers.shape[1])
    found, names = inside(module, 0, encoded, labels, answers, kind)
    assert names == ((GRADIENT, LAST_LAYER, FEATURES) if linear else (GRADIENT,))

    seen: list[torch.Tensor] = []
    last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    last.register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    trained = [p for p in module.parameters() if p.requires_grad]
    for row in range(37):
        loss = record_losses(
            module(x[row : row + 1]), torch.from_numpy(labels[row : row + 1]), kind
        )
        gradient = torch.autograd.grad(loss.sum(), trained)
        norm = float(torch.cat([one.flatten() for one in gradient]).norm())
        assert found[row, 0] == pytest.approx(-np.log(norm), abs=1e-9)
        if linear:
            mine = [
                g
                for p, g in zip(trained, gradient, strict=True)
                if any(p is q for q in last.parameters())
            ]
            norm = float(torch.cat([one.flatten() for one in mine]).norm())
            twice = np.log(np.sqrt(2)) if name == "two logits" else 0.0  # a constant
            assert found[row, 1] == pytest.approx(-np.log(norm) + twice, abs=1e-9)
            assert found[row, 2] == pytest.approx(np.log(float(seen[-1].norm())), abs=1e-9)


def test_looking_into_models_changes_none_of_their_answers() -> None:
    for recipe, data in (
        (TorchRecipe("mlp", hidden=[6], epochs=2), table("multiclass")),
        (TorchRecipe("cnn", width=2, epochs=1), images()),
    ):
        jobs = assignments(2)
        plain = recipe.train_block(data, jobs, lambda _: None)
        looked = recipe.train_block(replace(data, white_box=True), jobs, lambda _: None)
        assert plain.inside == ()
        assert "white_box" not in plain.facts
        assert looked.inside == (GRADIENT, LAST_LAYER, FEATURES)
        np.testing.assert_array_equal(looked.values[..., :-3], plain.values)
        assert np.ptp(looked.values[..., -3:], axis=2).min() > 0


class Drawing(nn.Module):
    """Dropout that does not rest when the network predicts."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(nn.functional.dropout(x, 0.5, training=True))  # type: ignore[no-any-return]


class Mixing(nn.Module):
    """Statistics of the batch, also when it predicts."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x - x.mean(dim=0, keepdim=True))  # type: ignore[no-any-return]


@pytest.mark.parametrize("factory", [Drawing, Mixing, Branches])
def test_networks_whose_gradients_would_be_of_something_else_are_refused(factory: Any) -> None:  # noqa: ANN401
    recipe = TorchRecipe(factory, epochs=1, stack="never")
    data = table()
    recipe.train_block(data, assignments(1), lambda _: None)
    with pytest.raises(RecipeError, match="white_box"):
        recipe.train_block(replace(data, white_box=True), assignments(1), lambda _: None)


def test_running_statistics_are_looked_at_as_they_predict() -> None:
    recipe = TorchRecipe(BatchNorm, epochs=1)
    found = recipe.train_block(replace(table(), white_box=True), assignments(1), lambda _: None)
    assert found.inside == (GRADIENT, LAST_LAYER, FEATURES)


# Storing


def test_what_weights_say_is_stored_behind_the_outputs_and_sealed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 2, 5, 4)).astype(np.float32)
    how: dict[str, Any] = {"fingerprint": {}, "configuration": None, "blocks": plan_blocks(4, 2)}
    with RunStore.create_or_resume(tmp_path / "run", records=5, **how) as store:
        for plan in store.blocks:
            block = BlockOutputs(values=values + plan.block, kind="softmax", inside=("gradient",))
            store.write_block(plan, block)
        outputs = store.outputs()
        assert (outputs.columns, outputs.inside) == (3, ("gradient",))
        np.testing.assert_array_equal(outputs.read(1, 4)[:2], values[:, :, 1:4, :3])
        np.testing.assert_array_equal(outputs.read_inside(1, 4)[2:], values[:, :, 1:4, 3:] + 1)
        assert outputs.model(3).shape == (2, 5, 3)
    description = tmp_path / "run/outputs/block-0001.json"
    said = json.loads(description.read_text())
    del said["inside"]
    description.write_text(json.dumps(said))
    with pytest.raises(StoreError, match="changed after it was written"):
        RunStore.open(tmp_path / "run").outputs()


def test_blocks_that_tell_different_things_are_no_run(tmp_path: Path) -> None:
    values = np.zeros((2, 1, 5, 4), dtype=np.float32)
    how: dict[str, Any] = {"fingerprint": {}, "configuration": None, "blocks": plan_blocks(4, 2)}
    with RunStore.create_or_resume(tmp_path / "run", records=5, **how) as store:
        first, second = store.blocks
        with pytest.raises(StoreError, match="no outputs"):
            store.write_block(
                first, BlockOutputs(values=values, kind="softmax", inside=tuple("abcd"))
            )
        store.write_block(first, BlockOutputs(values=values, kind="softmax", inside=("a",)))
        store.write_block(second, BlockOutputs(values=values, kind="softmax", inside=("b",)))
        with pytest.raises(StoreError, match="last layer"):
            store.outputs()


# All logits


def test_the_nearest_classes_are_those_that_models_find_most_likely() -> None:
    rng = np.random.default_rng(2)
    z, y = 2 * rng.normal(size=(5, 1, 40, 6)), rng.integers(0, 6, 40)
    found = nearest(z, y, "softmax", 3)
    for record in range(40):
        log_p = log_softmax(z[:, 0, record], axis=-1)
        others = sorted(
            (c for c in range(6) if c != y[record]),
            key=lambda c: -z[:, 0, record, c].mean() + z[:, 0, record].mean(),
        )
        for place, c in enumerate(others[:3]):
            wanted = log_p.mean(axis=-1) - log_p[:, c]
            np.testing.assert_allclose(found[:, 0, record, place], wanted)
    labels = rng.integers(0, 2, (40, 6))
    hardest = nearest(z, labels, "multilabel", 2)
    signed = np.where(labels == 1, z, -z)
    np.testing.assert_allclose(
        hardest[..., 0].mean(axis=(0, 1)), signed.mean(axis=(0, 1)).min(axis=-1)
    )


def test_only_accesses_that_show_it_tell_more() -> None:
    rng = np.random.default_rng(3)
    outputs = Outputs.in_memory(rng.normal(size=(4, 1, 50, 5)), "softmax")
    labels = rng.integers(0, 5, 50)
    through = {
        name: more_seen(outputs, labels, parse_access(name), (0,))
        for name in ("logits", "probabilities", "rounded", "top", "label")
    }
    assert through["rounded"] is through["top"] is through["label"] is None
    logits, probabilities = through["logits"], through["probabilities"]
    assert logits is not None
    assert probabilities is not None
    assert logits.names == ("nearest class", "second nearest class", "third nearest class")
    np.testing.assert_allclose(logits.read(10, 20), probabilities.read(10, 20), atol=1e-5)
    binary = Outputs.in_memory(rng.normal(size=(4, 1, 50, 1)), "sigmoid")
    assert more_seen(binary, labels, parse_access("logits"), (0,)) is None
    two = Outputs.in_memory(rng.normal(size=(4, 1, 50, 2)), "softmax")
    assert more_seen(two, labels % 2, parse_access("logits"), (0,)) is None
    assert more_seen(outputs, labels, parse_access("white-box"), (0,)) is not None


# Weighing


def planted(
    seed: int, effects: tuple[float, ...], patients: int = 300, models: int = 16
) -> tuple[Layout, More]:
    """One record each; a margin of the first effect, further signals of the others, and noise
    that the last of them shares with the margin."""
    rng = np.random.default_rng(seed)
    member = balanced(patients, models, rng)
    shared = rng.normal(size=(models, patients))
    values = rng.normal(size=(len(effects), models, patients))
    values += np.array(effects)[:, None, None] * member
    values[0] += shared
    values[-1] += shared
    further = np.moveaxis(values[1:], 0, 2)
    more = More(
        names=tuple(f"signal {j}" for j in range(1, len(effects))),
        read=lambda start, stop: further[:, start:stop],
        records=patients,
        at_once=70,
    )
    return lay_out(values[0].astype(np.float32), member, np.arange(patients)), more


def first_of(more: More, signals: int) -> More:
    """The first further signals alone, without the one that shares its noise with the margin."""
    return replace(
        more, names=more.names[:signals], read=lambda a, b: more.read(a, b)[:, :, :signals]
    )


def mean_auc(layout: Layout) -> float:
    return float(np.nanmean(patient_risk(layout, (0.9,))[0].auc_raw))


def test_signals_that_help_are_weighed_in_and_others_change_nothing() -> None:
    layout, more = planted(0, (0.6, 0.6, 0.0))
    found, told = with_further(layout, more)
    assert told.used
    assert told.summary()["signals"] == ["signal 1", "signal 2"]
    # d' of the margin alone .6 / sqrt 2; with both .6 and .6 and most of the shared noise gone.
    assert mean_auc(found) > mean_auc(layout) + 0.08
    layout, more = planted(1, (0.6, 0.0, 0.0, 0.0))
    more = first_of(more, 2)
    found, told = with_further(layout, more)
    assert not told.used
    assert told.reason == NO_GAIN
    assert found is layout


def test_useless_signals_cost_no_power() -> None:
    lost = []
    for seed in range(6):
        layout, more = planted(10 + seed, (0.6, 0.0, 0.0, 0.0, 0.0), patients=150)
        found, _ = with_further(layout, first_of(more, 3))
        lost.append(mean_auc(found) - mean_auc(layout))
    assert np.mean(lost) > -0.002


def test_weighing_leaves_a_null_a_null() -> None:
    means = []
    for seed in range(8):
        layout, more = planted(30 + seed, (0.0, 0.0, 0.0), patients=200)
        means.append(mean_auc(with_further(layout, more)[0]))
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    assert abs(np.mean(means) - 0.5) < max(0.004, 3 * error)
    # Where signals do tell, membership that is dealt anew is told by none of them.
    layout, more = planted(0, (0.6, 0.6, 0.0))
    again = permuted(layout, generator(SEED, Stage.NULL))
    assert mean_auc(with_further(again, more)[0]) == pytest.approx(0.5, abs=0.015)
    found, told = with_further(layout, more)
    assert told.used
    ready = AsTheyCome()
    assert float(np.nanmean(null_of(found, ALL, ready).auc_raw)) == pytest.approx(0.5, abs=0.015)
    assert attack(found, ALL, ready).evidence.calibration()["error"] < 0.03


def test_nobodys_membership_weighs_their_own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    # How much centring takes away is learned of others too, and is not what is looked at here.
    monkeypatch.setattr(
        "auscult.attacks.layout.chosen_amounts", lambda _, __, groups: np.ones(groups)
    )
    layout, more = planted(4, (0.6, 0.6, 0.0))
    found, told = with_further(layout, more)
    assert told.used
    changed = layout.member.copy()
    changed[7] = ~changed[7]
    other, _ = with_further(replace(layout, member=changed), more)
    np.testing.assert_array_equal(other.signals[7], found.signals[7])
    assert (other.signals != found.signals).any()


def test_a_few_patients_are_told_by_the_margin_alone() -> None:
    layout, more = planted(5, (0.6, 0.6, 0.0), patients=40)
    found, told = with_further(layout, more)
    assert found is layout
    assert told.reason == FEW


def test_signals_that_never_vary_get_no_weight() -> None:
    layout, more = planted(6, (0.6, 0.6, 0.0))
    still = replace(
        more,
        names=(*more.names, "still"),
        read=lambda a, b: np.concatenate([more.read(a, b), np.ones((16, b - a, 1))], axis=2),
    )
    found, told = with_further(layout, still)
    assert told.used
    np.testing.assert_allclose(found.signals, with_further(layout, more)[0].signals, atol=1e-5)


# The audit


def cohort(patients: int = 70) -> Cohort:
    return Cohort.from_table(
        visits(patients), patient="person", label="outcome", positive=["yes"], groups=["sex"]
    )


def audited(**more: Any) -> Audit:  # noqa: ANN401
    recipe = TorchRecipe("mlp", hidden=[8], epochs=3, batch_size=32)
    return Audit(cohort(), recipe, models=8, seed=1, **more)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Result:
    audit = audited(white_box=True, deployment=Deployment(**DEPLOYED, access="white-box"))
    result: Result = audit.run(tmp_path_factory.mktemp("white") / "run", workers=1)
    return result


def test_both_accesses_are_told_beside_each_other(looked: Result) -> None:
    summary = looked.summary
    assert disagreements(summary) == []
    cells = {
        c["access"]: c
        for c in summary["exposure"]
        if (c["knowledge"], c["references"]) == ("records", "all")
    }
    white = cells["white-box"]
    assert white["declared"]
    assert white["further"]["signals"] == [GRADIENT, LAST_LAYER, FEATURES]
    assert white["beyond"]["auc"]["mean"] == cells["logits"]["auc"]["mean"]
    assert white["beyond"]["patients"] == white["patients"]
    assert "further" not in cells["logits"]  # of two classes one number says all
    assert summary["recipe"]["facts"]["white_box"]["signals"] == white["further"]["signals"]
    few = [c for c in summary["exposure"] if c["references"] == 4]
    assert few[0]["access"] == "white-box"
    assert not few[0]["further"]["used"]
    html = render(summary)
    assert "Who has the weights" in html
    assert "Beside the log-odds of the truth" in html
    gained = json.loads(json.dumps(summary))
    for cell in gained["exposure"]:
        if "beyond" in cell:
            cell["further"] |= {"used": True, "reason": ""}
    assert "reaches a mean AUC of" in render(gained)


@pytest.mark.slow
def test_the_plain_audit_is_as_it_was_and_a_run_resumes(looked: Result, tmp_path: Path) -> None:
    plain = audited().run(tmp_path / "run", workers=1).summary
    for part in ("patients", "aggregate", "disparities", "models"):
        assert looked.summary[part] == plain[part], part
    assert plain["exposure"] == []
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert "white box" not in manifest["fingerprint"]
    assert "inside" not in json.loads((tmp_path / "run/outputs/block-0000.json").read_text())
    with pytest.raises(AuscultError, match="white box"):
        audited(white_box=True).run(tmp_path / "run", workers=1)
    audit = audited(white_box=True, deployment=Deployment(**DEPLOYED, access="white-box"))
    before = (looked.path / "results/summary.json").read_bytes()
    for file in (looked.path / "outputs").glob("block-0000.*"):
        file.unlink()
    audit.run(looked.path, workers=1)
    assert (looked.path / "results/summary.json").read_bytes() == before


def test_what_cannot_be_looked_into_says_what_to_do() -> None:
    sklearn = Audit(cohort(), SklearnRecipe("logistic_regression"), models=8, white_box=True)
    with pytest.raises(ConfigError, match="gradients") as refused:
        sklearn.check()
    assert "Leave it out" in str(refused.value)
    declared = audited(deployment=Deployment(**DEPLOYED, access="white-box"))
    with pytest.raises(ConfigError, match="white_box = true"):
        declared.check()
    silent = Outputs.in_memory(np.zeros((8, 1, 5, 1)), "sigmoid")
    member = Membership(np.ones((8, 5), dtype=bool))
    with pytest.raises(AnalysisError, match="nothing of their weights"):
        exposure_of(
            *(silent, np.zeros(5, dtype=np.int64), member, np.arange(5), None),
            Inquiry(white_box=True),
            seed=0,
            smallest_cell=10,
        )


# The release


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Audit]:
    """An audit of a release whose weights lie in a file, and a second file with other weights."""
    folder = tmp_path_factory.mktemp("release")
    people = cohort()
    recipe = TorchRecipe("mlp", hidden=[8], epochs=20, batch_size=32, learning_rate=5e-3)
    half = np.random.default_rng(5).random(people.patients) < 0.5
    rows = np.flatnonzero(half[people.patient_of_record])
    seen: list[nn.Module] = []

    def keep(module: nn.Module, *more: Any) -> torch.Tensor:  # noqa: ANN401
        seen.append(module)
        return predict(module, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auscult.recipes.torch.block.predict", keep)
        jobs = [Assignment(model=0, members=rows, seed=seed) for seed in (11, 12)]
        values = recipe.train_block(people.training_data(), jobs, lambda _: None).values
    np.save(folder / "answers.npy", values[0, 0])
    for name, module in zip(("weights.pt", "other.pt"), seen, strict=True):
        torch.save(module.state_dict(), folder / name)
    members = people.patient_ids.reveal()[half].tolist()

    def make(weights: str = "weights.pt", *, known: bool = True, **more: Any) -> Audit:  # noqa: ANN401
        release = Release(
            door=FileDoor(path=folder / "answers.npy"),
            output="logits",
            members=MemberList(source=members) if known else None,
            weights=folder / weights,
        )
        how: dict[str, Any] = {"models": 16, "seed": 1, "white_box": True, "release": release}
        return Audit(people, recipe, **(how | more))

    return make


def test_a_release_is_judged_with_its_weights_too(
    released: Callable[..., Audit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auscult.exposure.table.NAMES", ("logits",))
    result = released().run(tmp_path / "run", workers=1)
    release = result.summary["release"]
    white = release["white_box"]
    assert white["assessed"]
    assert white["further"]["signals"] == [GRADIENT, LAST_LAYER, FEATURES]
    # Margins of weights and answers are the same; where nothing is weighed in, so is the AUC.
    near = 1e-3 if not white["further"]["used"] else 0.2
    assert white["auc"]["estimate"] == pytest.approx(release["auc"]["estimate"], abs=near)
    assert set(white["auc"]) == {"estimate", "low", "high"}
    assert "Somebody who has the weights of this release" in render(result.summary)
    assert disagreements(result.summary) == []


def test_weights_have_to_prove_that_they_are_those_of_the_release(
    released: Callable[..., Audit],
) -> None:
    def ask(audit: Audit) -> None:
        assert audit.release is not None
        audit.release.ask(audit.cohort, recipe=audit.recipe)

    ask(released())
    with pytest.raises(ReleaseError, match="answer otherwise"):
        ask(released("other.pt"))
    with pytest.raises(ReleaseError, match="not known whom"):
        ask(released(known=False))
    with pytest.raises(ConfigError, match="white_box = true"):
        released(white_box=False).check()
    with pytest.raises(ConfigError, match="no such file"):
        released("missing.pt").check()
    audit = released()
    sklearn = Audit(audit.cohort, SklearnRecipe("mlp"), models=16, release=audit.release)
    with pytest.raises(ConfigError, match="cannot be looked into"):
        sklearn.check()
