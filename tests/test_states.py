"""Long trainings leave their state: what is taken up again ends with the same bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.base.errors import AuscultError
from auscult.config import load
from auscult.recipes import TorchRecipe, checkpoints
from auscult.recipes.base import Assignment
from auscult.recipes.torch import keeping
from auscult.recipes.torch.keeping import hidden, read_state, write_state
from auscult.store import RunStore
from auscult.training import dispatch
from tests.cohorts import write_audit
from tests.test_recipes import assignments, table

NAME = "ab" * 32


class Busy(nn.Sequential):
    """Everything that a state must hold: running statistics, dropout, weights."""

    def __init__(self, inputs: int, outputs: int) -> None:
        norm, dropout = nn.BatchNorm1d(4), nn.Dropout(0.3)
        super().__init__(nn.Linear(inputs, 4), norm, nn.ReLU(), dropout, nn.Linear(4, outputs))


class Counting(Busy):
    """Holds something that is neither parameter nor buffer."""

    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]


def recipe(**settings: Any) -> TorchRecipe:  # noqa: ANN401
    usual: dict[str, Any] = {"model": Busy, "epochs": 4, "batch_size": 16, "ema": 0.9}
    return TorchRecipe(**usual | settings)


def trained(
    recipe: TorchRecipe, job: Sequence[Assignment], stop: int | None = None
) -> tuple[NDArray[np.float64], list[float]]:
    """Outputs, and progress; stopped after so many calls of `advance`."""
    told: list[float] = []

    def advance(models: float) -> None:
        told.append(models)
        if len(told) == stop:
            raise KeyboardInterrupt

    return recipe.train_exactly(table(), job, advance)[0], told


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> checkpoints.Place:
    monkeypatch.setattr(keeping, "SHARE", 1e9)
    found = checkpoints.Place(folder=tmp_path / "states", run="this run", seconds=0.0)
    monkeypatch.setattr(checkpoints, "place", found)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "sgd", "schedule": "cosine", "dtype": "float64"},
        {"model": "mlp", "hidden": [4], "stack": "never", "ema": 0},
    ],
)
def test_a_training_that_is_taken_up_ends_with_the_same_bytes(
    place: checkpoints.Place, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setattr(checkpoints, "place", None)
    expected, told = trained(recipe(**settings), assignments(2))
    assert not place.folder.exists()
    monkeypatch.setattr(checkpoints, "place", place)
    # Within the second model: the first is finished and is not trained again either.
    with pytest.raises(KeyboardInterrupt):
        trained(recipe(**settings), assignments(2), stop=len(told) // 2 + 5)
    files = sorted(place.folder.iterdir())
    assert [file.name for file in files] == ["model-000000.state", "model-000001.state"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    again, told = trained(recipe(**settings), assignments(2))
    np.testing.assert_array_equal(again, expected)
    assert sum(told) == pytest.approx(2.0)
    assert len(told) < 12  # of 24 steps


def test_states_of_another_run_or_other_members_are_not_taken_up(
    place: checkpoints.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = assignments(1), assignments(1, seed=2)
    _, told = trained(recipe(), first)
    _, again = trained(recipe(), other)
    assert len(again) == len(told)
    trained(recipe(), first)
    elsewhere = checkpoints.Place(folder=place.folder, run="another run", seconds=0.0)
    monkeypatch.setattr(checkpoints, "place", elsewhere)
    _, again = trained(recipe(), first)
    assert len(again) == len(told)
    # The same run, and the file is there: nothing is left to do.
    _, again = trained(recipe(), first)
    assert again == [1.0]


@pytest.mark.parametrize("damage", ["short", "flipped", "empty", "code"])
def test_a_damaged_state_is_none(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "model.state"
    state = {"step": 3, "values": torch.arange(4.0)}
    write_state(file, NAME, state)
    found = read_state(file, NAME)
    assert found is not None
    assert found["step"] == 3
    assert torch.equal(found["values"], state["values"])  # type: ignore[arg-type]
    assert read_state(file, "cd" * 32) is None
    content = bytearray(file.read_bytes())
    if damage == "short":
        content = content[:-7]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "empty":
        content = bytearray()
    if damage == "code":
        write_state(file, NAME, {"step": Path("x")})  # pickled by name: not a number
    else:
        file.write_bytes(bytes(content))
    assert read_state(file, NAME) is None
    assert read_state(tmp_path / "none.state", NAME) is None


def test_a_module_that_counts_by_itself_leaves_no_state(place: checkpoints.Place) -> None:
    trained(recipe(model=Counting), assignments(1))
    assert not place.folder.exists()
    assert hidden(nn.Linear(2, 2)) == hidden(nn.Linear(2, 2))
    strange = nn.Linear(2, 2)
    vars(strange)["made"] = lambda: 1
    assert hidden(strange) is None


def test_where_no_state_can_be_written_training_goes_on(
    place: checkpoints.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.folder.write_text("a file is in the way")
    found, _ = trained(recipe(), assignments(1))
    monkeypatch.setattr(checkpoints, "place", None)
    np.testing.assert_array_equal(found, trained(recipe(), assignments(1))[0])


def test_states_of_finished_models_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    for model in range(3):
        (folder / f"model-{model:06d}.state").write_bytes(b"x")
    (folder / ".abc.part").write_bytes(b"x")
    checkpoints.sweep(folder, [1, 7])
    assert [file.name for file in folder.iterdir()] == ["model-000001.state"]
    checkpoints.drop(folder, [1])
    checkpoints.sweep(folder, [1])
    assert not folder.exists()
    checkpoints.sweep(folder, ())


NET = """
import os, signal
from pathlib import Path

import torch

class Net(torch.nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(torch.nn.BatchNorm1d(inputs), torch.nn.Linear(inputs, outputs))

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            with open("LOG", "a") as log:
                log.write("x")
            if os.path.exists("WHEN") and os.path.getsize("LOG") == 30:
                os.unlink("WHEN")
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_inside_a_model_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "STATE_SECONDS", 0.0)
    path = write_audit(tmp_path, models=8)
    log, kill = tmp_path / "log.log", tmp_path / "kill.log"
    code = NET.replace("LOG", str(log)).replace("WHEN", str(kill))
    (tmp_path / "net_for_states.py").write_text(code)
    settings = 'kind = "torch"\nmodel = "net_for_states:Net"\nepochs = 5\nbatch_size = 16\n'
    settings += 'version = "1"\n'
    text = re.sub(r'kind = "sklearn".*?max_iter = 200 }\n', settings, path.read_text(), flags=re.S)
    path.write_text(text)
    load(path).audit().run(tmp_path / "whole", workers=1)
    steps = log.stat().st_size
    log.unlink()
    kill.touch()
    run = tmp_path / "run"
    with pytest.raises(AuscultError, match="signal 9"):
        load(path).audit().run(run, workers=1)
    states = run / "secret" / "states"
    assert 1 <= len(list(states.glob("*.state"))) <= 2  # of the block
    assert states.stat().st_mode & 0o777 == 0o700
    load(path).audit().run(run, workers=1)
    assert (
        log.stat().st_size < steps + 10
    )  # ten steps of the second model were begun before the kill
    assert not states.exists()
    stores = [RunStore.open(where) for where in (run, tmp_path / "whole")]
    for block in stores[0].blocks:
        one, other = (store.block(block.block).values for store in stores)
        np.testing.assert_array_equal(one, other)
    assert (run / "results" / "summary.json").read_bytes() == (
        tmp_path / "whole" / "results" / "summary.json"
    ).read_bytes()
