"""Training again: the same bytes, or a word about what differs, by how much and why."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auscult import Audit, Cohort
from auscult.base.progress import SILENT
from auscult.cli.describing import repeat_lines
from auscult.recipes import PythonRecipe, SklearnRecipe, TorchRecipe
from auscult.recipes.base import Assignment, BlockOutputs
from auscult.report import opening
from auscult.store import BlockPlan, RunStore
from auscult.store.blocks import write_block_values
from auscult.training import dispatch
from auscult.training.engines import LostWorkerError
from auscult.training.repeat import (
    ANY,
    CARRIED,
    PROCESS,
    UNSEEDED,
    Repeat,
    compared,
    likely_cause,
)
from auscult.training.shared import Watched, sharing_words
from tests.cohorts import visits


def training(kind: str) -> Any:  # noqa: ANN401
    counted = [0]

    def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
        counted[0] += 1
        if kind == "clock":
            share = np.random.default_rng().random()
        elif kind == "carried":
            share = counted[0] / 100
        else:  # the order of a set of texts is another one in every process
            share = [*{"a", "b", "c", "d", "e", "f"}].index("a") / 10 + seed % 97 / 1000 + 0.1
        return lambda asked: np.full(len(asked), share)

    return train


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return Cohort.from_table(visits(), patient="person", label="outcome")


def test_bits_are_compared() -> None:
    first = np.zeros((2, 1, 5, 1), dtype=np.float32)
    same = compared(first, first.copy())
    assert (same.models, same.answers, same.different, same.words) == (2, 10, 0, "")
    again = first.copy()
    again[1, 0, 3, 0] = 1e-30
    found = compared(first, again, drawn=["default_rng in train"])
    assert found.different == 1
    assert found.largest == pytest.approx(1e-30)
    assert "1 of 10 answers" in found.words
    assert "default_rng in train" in found.words
    assert compared(first, -first).different == 10  # minus zero is another number
    assert compared(first, first[:, :, :4]).largest is None


def test_where_it_differs_says_why() -> None:
    assert likely_cause(second_differs=True, elsewhere_differs=True) == UNSEEDED
    assert likely_cause(second_differs=True, elsewhere_differs=False) == CARRIED
    assert likely_cause(second_differs=False, elsewhere_differs=True) == PROCESS
    assert likely_cause(second_differs=None, elsewhere_differs=True) == ANY


@pytest.mark.parametrize(
    ("kind", "cause"), [("set", ""), ("clock", UNSEEDED), ("carried", CARRIED)]
)
def test_check_trains_again(cohort: Cohort, kind: str, cause: str) -> None:
    audit = Audit(cohort, PythonRecipe(training(kind)), models=8)
    assert audit.check() is None
    trial = audit.check(train=True)
    assert trial is not None
    assert trial.repeat is not None
    assert trial.repeat.cause == cause
    assert (trial.repeat.different == 0) == (kind == "set")
    (line,) = repeat_lines(trial.repeat)
    assert line.startswith("Repeat " if kind == "set" else "Warning ")
    if kind == "clock":
        assert "default_rng in training.<locals>.train" in line


@pytest.mark.parametrize("workers", [1, 2])
def test_files_that_models_share_are_told(
    cohort: Cohort, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that keeps its best state in the current folder reads another model's."""

    def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
        np.save("best.npy", labels.mean())

        def predict(asked: Any) -> Any:  # noqa: ANN401
            while True:  # another model may be writing it
                try:
                    return np.full(len(asked), np.load("best.npy"))
                except (EOFError, ValueError):
                    time.sleep(0.01)

        return predict

    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.log").write_text("", encoding="utf-8")
    audit = Audit(cohort, PythonRecipe(train, version="1"), models=8)
    result = audit.run(tmp_path / "runs" / "first", workers=workers)
    assert result.summary["recipe"]["written"] == {"entries": 1, "workers": workers}
    told = [said for said in result.opening if "current folder" in said]
    assert len(told) == workers - 1
    assert all("scratch" in said for said in told)


def test_what_is_not_training_s_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.csv").write_text("", encoding="utf-8")
    watched = Watched([tmp_path / "runs" / "first"])
    (tmp_path / "runs" / "first").mkdir(parents=True)
    for name in ("notebook.ipynb", "train.log", ".hidden"):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert watched.changed() == ()
    (tmp_path / "old.csv").write_text("x", encoding="utf-8")
    (tmp_path / "checkpoints").mkdir()
    assert watched.changed() == ("checkpoints", "old.csv")
    assert "scratch" in sharing_words(watched.changed())
    assert sharing_words(()) == ""


def test_check_tells_of_files_that_models_share(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(inputs: Any, labels: Any, seed: int, scratch: Path) -> Any:  # noqa: ANN401
        (scratch / "mine").write_text("", encoding="utf-8")
        Path("everybody's").write_text("", encoding="utf-8")
        return lambda asked: np.full(len(asked), labels.mean())

    monkeypatch.chdir(tmp_path)
    trial = Audit(cohort, PythonRecipe(train), models=8).trial()
    assert trial.written == ("everybody's",)


def test_a_run_says_that_it_cannot_be_reproduced(cohort: Cohort, tmp_path: Path) -> None:
    audit = Audit(cohort, PythonRecipe(training("carried"), version="1"), models=8)
    result = audit.run(tmp_path / "run", workers=1)
    repeated = result.summary["recipe"]["repeated"]
    assert repeated["models"] == 1
    assert repeated["different"] == repeated["answers"] == 121
    assert any("cannot be reproduced" in said for said in result.opening)
    assert "cannot be reproduced" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    before = result.summary
    assert audit.run(tmp_path / "run").summary == before  # nothing is trained once more
    # What is the same says so, in fewer words.
    summary = dict(before)
    summary["recipe"] = before["recipe"] | {
        "repeated": Repeat(models=1, answers=121, different=0, largest=0.0).summary()
    }
    assert not any("reproduced" in said for said in opening(summary))


class Losing:
    """A crew whose workers die; each says by which model it was asked for."""

    def __init__(self, deaths: int) -> None:
        self.attempts = 3
        self.deaths = deaths
        self.asked: list[tuple[int, ...]] = []

    def since(self) -> float:
        return 0.0

    def submit(self, block: BlockPlan, job: Any, *, heard: bool = True) -> Losing:  # noqa: ANN401
        assert not heard
        assert len(job) == 1
        self.asked.append(block.models)
        return self

    def done(self) -> bool:
        return True

    def result(self) -> Any:  # noqa: ANN401
        if len(self.asked) <= self.deaths:
            raise LostWorkerError
        return "outputs"


@pytest.mark.parametrize(("deaths", "asked"), [(0, 1), (1, 2), (5, 3)])
def test_a_worker_that_is_lost_does_not_end_the_comparison(
    deaths: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.0)
    crew = Losing(deaths)
    store: Any = SimpleNamespace(blocks=(BlockPlan(block=0, models=(0, 1)),))
    job = (Assignment(model=0, members=np.arange(3), seed=1),)
    found: Any = dispatch._collect(crew, [], job, store, SILENT)
    assert crew.asked == [(0,)] * asked
    assert isinstance(found, LostWorkerError) if deaths == 5 else found == "outputs"


def test_what_a_worker_elsewhere_wrote_is_compared_and_goes(tmp_path: Path) -> None:
    plan = BlockPlan(block=0, models=(0, 1))
    values = np.random.default_rng(0).normal(size=(2, 1, 6, 1)).astype(np.float32)
    recipe = PythonRecipe(training("clock"))
    with RunStore.create_or_resume(
        tmp_path / "run", fingerprint={}, configuration=None, blocks=[plan], records=6
    ) as store:
        store.write_block(plan, BlockOutputs(values=values, kind="sigmoid"))
        folder = store.path / "outputs"
        before = sorted(folder.iterdir())
        for shift, different in ((0, 0), (1, 6)):
            again = BlockOutputs(values=values[:1] + np.float32(shift), kind="sigmoid")
            one = BlockPlan(block=0, models=(0,))
            written = write_block_values(folder, one, again, 6)
            found = dispatch._repeated(written, store, recipe)
            assert (found["answers"], found["different"]) == (6, different)
            assert sorted(folder.iterdir()) == before
        assert found["drawn"] == ["default_rng in training.<locals>.train"]
        lost = dispatch._repeated(LostWorkerError(), store, recipe)
        assert (lost["models"], "LostWorkerError" in lost["reason"]) == (0, True)


def test_who_can_be_trained_alone() -> None:
    assert PythonRecipe.independent
    assert SklearnRecipe.independent
    assert not TorchRecipe.independent  # its models take each step together
