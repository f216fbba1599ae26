"""Runs that grow: few models first, then more, and the same results as more at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult import Audit, Cohort, SklearnRecipe, TorchRecipe
from auscult.attacks.dealing import deal, waves_of
from auscult.attacks.joint import auc_in_folds, joint_scores
from auscult.attacks.layout import Centring, lay_out
from auscult.base.errors import StoreError
from auscult.cohort import TrainingData
from auscult.cohort.design import Design
from auscult.cohort.inputs import TableInputs
from auscult.protection.variants import Variant
from auscult.recipes.base import Assignment, BlockOutputs, Recipe
from auscult.release import Release
from auscult.release.doors import FileDoor
from auscult.release.members import MemberList
from auscult.risk.patients import permuted
from auscult.store import BlockPlan, RunStore, plan_blocks
from auscult.training import dispatch
from auscult.training.worker import Work
from tests.cohorts import visits

SEED = 3


class Killed(BaseException):
    """Stands for a process that was killed."""


class KilledAfter:
    """Progress that ends a run after so many models."""

    def __init__(self, steps: float) -> None:
        self.left = steps
        self.training = False

    def start(self, label: str, total: float) -> None:  # noqa: ARG002
        self.training = label == "Models"

    def advance(self, steps: float = 1.0) -> None:
        if self.training:
            self.left -= steps
            if self.left <= 0:
                raise Killed

    def finish(self) -> None:
        self.training = False


class Block:
    """A block that is trained when its result is fetched."""

    def __init__(self, crew: Here, job: tuple[Assignment, ...], heard: bool) -> None:
        self._crew, self._job, self._heard = crew, job, heard

    def done(self) -> bool:
        free, self._crew.free = self._crew.free, False
        return free

    def result(self) -> tuple[BlockOutputs, float]:
        work = self._crew.work
        outputs = work.recipe.train_block(work.data, self._job, lambda _: None)
        self._crew.trained += len(self._job) * self._heard
        return outputs, 0.0


class Here:
    """A crew that trains in this process, block by block: workers take seconds to start."""

    attempts = 1

    def __init__(self, work: Work) -> None:
        self.work = work
        self.trained = 0
        self.free = True

    def submit(self, block: BlockPlan, job: tuple[Assignment, ...], *, heard: bool = True) -> Block:  # noqa: ARG002
        return Block(self, job, heard)

    def since(self) -> float:
        self.free = True
        trained, self.trained = self.trained, 0
        return trained


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(dispatch, "hired", lambda work, *_: nullcontext(Here(work)))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)


@pytest.fixture(scope="module")
def people() -> Cohort:
    return Cohort.from_table(visits(), patient="person", label="outcome", groups=["sex"])


class Remembering(Recipe):
    """A line through one column, and for members a step towards their label."""

    kind = "remembering"
    label = "Remembers its members"
    independent = True

    def __init__(self, much: float = 3.0) -> None:
        self.much = much

    def settings(self) -> dict[str, Any]:
        return {"much": self.much}

    def supports(self, data: TrainingData) -> str | None:  # noqa: ARG002
        return None

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        assert isinstance(data.inputs, TableInputs)
        values = []
        for one in assignments:
            noise = np.random.default_rng(one.seed).normal(size=len(data.labels))
            towards = np.zeros(len(data.labels))
            towards[one.members] = self.much * (2 * data.labels[one.members] - 1)
            line = np.asarray(data.inputs.frame())[:, 0]
            values.append((line + towards + noise)[None, :, None])
            advance(1)
        return BlockOutputs(values=np.stack(values).astype(np.float32), kind="sigmoid")


@pytest.fixture(scope="module")
def release(people: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Release:
    rng = np.random.default_rng(4)
    answers = rng.dirichlet([1.0, 1.0], people.records)
    path = tmp_path_factory.mktemp("release") / "answers.npy"
    np.save(path, answers)
    ids = people.patient_ids.reveal()[:30].tolist()
    return Release(door=FileDoor(path=path), members=MemberList(source=ids))


def audit_of(people: Cohort, release: Release, models: int, **more: Any) -> Audit:  # noqa: ANN401
    return Audit(
        people,
        Remembering(),
        models=models,
        seed=SEED,
        protect=[Variant(name="weak", recipe=Remembering(1.0)), Variant(without_top=0.3)],
        release=release,
        **more,
    )


def results_of(run: Path) -> dict[str, bytes]:
    """Every file but those that hold times: descriptions of blocks, manifests and seals."""
    timed = {"manifest.json", "seal.json", "writer.lock", "writer.json"}
    found = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in timed and not path.match("outputs/block-*.json")
    }
    return {name: content for name, content in found.items() if "lock" not in name}


def times(run: Path) -> dict[str, int]:
    return {path.as_posix(): path.stat().st_mtime_ns for path in run.rglob("block-*.npy")}


@pytest.mark.usefixtures("here")
def test_sixteen_and_then_more_are_as_many_at_once(
    people: Cohort, release: Release, tmp_path: Path
) -> None:
    grown, whole = tmp_path / "a" / "run", tmp_path / "b" / "run"
    audit_of(people, release, 16).run(grown, workers=1)
    first = times(grown)
    for steps in (5, 11):
        with pytest.raises(Killed):
            audit_of(people, release, 32).run(grown, workers=1, progress=KilledAfter(16 + steps))
        assert not (grown / "seal.json").exists()
    audit_of(people, release, 32).run(grown, workers=1)
    audit_of(people, release, 32).run(whole, workers=1)
    expected, found = results_of(whole), results_of(grown)
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    kept = [name for name, at in times(grown).items() if first.get(name) == at]
    # The audit's own and the weak ones; who is most exposed with 32 models are others.
    assert len(kept) == 8 + 8
    assert json.loads(expected["results/summary.json"])["release"]["models"] == 32


@pytest.mark.slow
def test_a_run_with_queries_and_withheld_records_grows_with_any_number_of_workers(
    people: Cohort, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models that are added come from processes, as in a run; the others from this one."""

    from sklearn.tree import DecisionTreeClassifier

    def audit(models: int) -> Audit:
        made = audit_of(people, release, models, queries=("without:a",), withhold=0.3)
        made.recipe = SklearnRecipe(DecisionTreeClassifier(max_leaf_nodes=20))
        made.protect = (Variant(without_top=0.3),)
        return made

    grown, whole = tmp_path / "a" / "run", tmp_path / "b" / "run"
    with monkeypatch.context() as patch:
        in_this_process(patch)
        audit(16).run(grown, workers=1)
        audit(32).run(whole, workers=1)
    audit(32).run(grown, workers=2)
    assert results_of(whole) == results_of(grown)


@pytest.mark.usefixtures("here")
def test_models_are_not_taken_away(people: Cohort, tmp_path: Path) -> None:
    Audit(people, Remembering(), models=16, seed=SEED).run(tmp_path / "run", workers=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(StoreError, match="has 16 models and the audit 8") as caught:
        Audit(people, Remembering(), models=8, seed=SEED).run(tmp_path / "run", workers=1)
    assert "Set models = 16 to resume it" in str(caught.value)
    with pytest.raises(StoreError, match="models, seed"):
        Audit(people, Remembering(), models=24, seed=SEED + 1).run(tmp_path / "run", workers=1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


@pytest.mark.usefixtures("here")
def test_a_short_wave_is_drawn_and_trained_again(people: Cohort, tmp_path: Path) -> None:
    recipe = Remembering()
    grown, whole = tmp_path / "a" / "run", tmp_path / "b" / "run"
    Audit(people, recipe, models=20, seed=SEED).run(grown, workers=1)
    first = times(grown)
    Audit(people, recipe, models=24, seed=SEED).run(grown, workers=1)
    Audit(people, recipe, models=24, seed=SEED).run(whole, workers=1)
    assert results_of(whole) == results_of(grown)
    kept = [name for name, at in times(grown).items() if first.get(name) == at]
    assert len(kept) == 8


def test_a_block_of_a_short_wave_belongs_to_no_other_number_of_models(tmp_path: Path) -> None:
    def store(name: str, models: int) -> RunStore:
        return RunStore.create_or_resume(
            tmp_path / name,
            fingerprint={"models": str(models)},
            configuration=None,
            blocks=plan_blocks(models, 2),
            records=3,
            wave=8,
        )

    values = np.zeros((2, 1, 3, 1), dtype=np.float32)
    with store("ten", 10) as ten, store("more", 16) as more:
        assert ten.identity == more.identity
        for plan in ten.blocks:
            ten.write_block(plan, BlockOutputs(values=values, kind="signal"))
        (tmp_path / "more" / "outputs").mkdir()
        for number in (3, 4):
            for suffix in ("npy", "json"):
                name = f"outputs/block-{number:04d}.{suffix}"
                (tmp_path / "more" / name).write_bytes((tmp_path / "ten" / name).read_bytes())
        more.block(3)
        with pytest.raises(StoreError, match="belongs to another run"):
            more.block(4)


def test_everybody_is_in_half_of_every_wave_whatever_follows() -> None:
    few, many = (Design(models=m, patients=50, seed=1).membership().reveal() for m in (32, 64))
    np.testing.assert_array_equal(many[:32], few)
    assert (many.reshape(4, 16, 50).sum(axis=1) == 8).all()
    assert waves_of(many) == 16
    short = Design(models=40, patients=50, seed=1).membership().reveal()
    np.testing.assert_array_equal(short[:32], many[:32])
    assert (short[32:].sum(axis=0) == 4).all()
    assert waves_of(short) == 16
    assert (Design(models=16, patients=50, seed=2).membership().reveal() != many[:16]).any()


def test_membership_that_was_drawn_at_once_has_no_waves() -> None:
    rng = np.random.default_rng(0)
    assert waves_of(rng.random((64, 30)).argsort(axis=0) < 32) is None
    assert waves_of(rng.random((64, 30)) < 0.5) is None


def test_every_fold_holds_as_many_members_of_every_wave() -> None:
    """What is known of the other folds tells nothing of a fold's models."""
    member = Design(models=64, patients=40, seed=2).membership().reveal().T
    dealt = deal(member, 4, wave=16)
    for patient in range(40):
        for fold in range(4):
            for models in dealt.model[patient, fold]:
                np.testing.assert_array_equal(np.sort(models // 16), np.repeat(np.arange(4), 2))


def test_the_null_is_drawn_as_membership_was() -> None:
    member = Design(models=40, patients=40, seed=2).membership().reveal()
    signals = np.zeros((40, 40), dtype=np.float32)
    layout = permuted(lay_out(signals, member, np.arange(40)), np.random.default_rng(0))
    assert waves_of(layout.member.T.copy()) == 16
    assert (layout.member != member.T).mean() > 0.3


def _nobody_is_remembered(
    seed: int, patients: int = 200, records: int = 4
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Signals that other patients' membership moves, as linear models do, and the own never."""
    rng = np.random.default_rng(seed)
    member = Design(models=64, patients=patients, seed=seed).membership().reveal()
    of = np.repeat(np.arange(patients), records)
    pull = rng.normal(size=(of.size, patients))
    pull[np.arange(of.size), of] = 0
    return ((member - 0.5) @ pull.T).astype(np.float32), member, of


def test_nothing_is_found_where_a_wave_balances_its_models() -> None:
    """In one wave, models that lack a patient answer against those that have it: 0.511 unless
    waves are dealt apart."""
    layouts = [lay_out(*_nobody_is_remembered(seed)) for seed in range(4)]
    scores = [joint_scores(layout, Centring(layout)) for layout in layouts]
    found = [np.nanmean(auc_in_folds(one.values, one.deal.weight)) for one in scores]
    assert abs(np.mean(found) - 0.5) < 0.006


def test_a_run_without_waves_cannot_grow_but_can_be_read(tmp_path: Path) -> None:
    from auscult.store.manifest import MANIFEST

    def store(models: int, wave: int | None) -> RunStore:
        return RunStore.create_or_resume(
            tmp_path / "run",
            fingerprint={"models": str(models)},
            configuration=None,
            blocks=plan_blocks(models, 2),
            records=3,
            wave=wave,
        )

    with store(16, None):
        pass
    before = (tmp_path / "run" / MANIFEST).read_bytes()
    with store(16, 16):  # one wave was drawn as all models at once
        pass
    for models in (24, 64):
        with pytest.raises(StoreError, match="drew otherwise who is a member"):
            store(models, 16)
    assert (tmp_path / "run" / MANIFEST).read_bytes() == before
    assert RunStore.open(tmp_path / "run").status().models_total == 16


@pytest.mark.parametrize(
    ("recipe", "first"),
    [
        (Remembering(), [2] * 8 + [4] * 4 + [8] * 4),
        (TorchRecipe("mlp", hidden=[8]), [16] * 4),
        (TorchRecipe("mlp", hidden=[512, 512]), [2] * 8 + [4] * 4 + [8] * 4),
    ],
)
def test_the_blocks_of_few_models_are_the_first_of_many(
    people: Cohort, recipe: Recipe, first: list[int]
) -> None:
    data = people.training_data()
    plans = {
        models: plan_blocks(models, recipe.blocks(data, models)) for models in (16, 32, 64, 256)
    }
    assert [len(one.models) for one in plans[64]] == first
    for models, plan in plans.items():
        assert [m for one in plan for m in one.models] == list(range(models))
        assert plans[256][: len(plan)] == plan
