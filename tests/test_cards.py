"""Training on cards: number formats, the compiler, and what stands in for cards without any."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auscult.base.errors import AuscultError, ConfigError, RecipeError
from auscult.base.parallel import cores
from auscult.cohort import TrainingData
from auscult.cohort.inputs import ArrayInputs
from auscult.config import load
from auscult.recipes import PythonRecipe, TorchRecipe, devices
from auscult.recipes.base import Assignment
from auscult.recipes.networks.small import cnn
from auscult.recipes.networks.wide import wide_resnet
from auscult.recipes.torch import alone, compiled, together
from auscult.recipes.torch.cards import exactly
from auscult.recipes.torch.encoding import EncodedArray
from auscult.recipes.torch.grouping import Extent, OutOfMemory, in_groups
from auscult.recipes.torch.training import Plan, train_stacked
from auscult.store import BlockPlan, RunStore
from auscult.training.engines import Engine, hired, slurm_parameters
from auscult.training.worker import Work
from benchmarks import gpu
from tests.cohorts import write_audit
from tests.test_recipes import assignments, images, table

Found = tuple[Any, dict[str, Any]]


def outputs(recipe: TorchRecipe, data: TrainingData, job: list[Assignment]) -> Found:
    return recipe.train_exactly(data, job, lambda _: None)


class Neighbours(nn.Module):
    """Takes the mean of the batch away, as batch norm does, in code of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x - x.mean(dim=0))  # type: ignore[no-any-return]


def forgetful(inputs: int, outputs: int) -> nn.Module:
    norm = nn.BatchNorm1d(inputs, track_running_stats=False)
    return nn.Sequential(norm, nn.Linear(inputs, outputs))


def test_a_card_computes_the_same_every_time_and_in_the_format_that_was_asked_for() -> None:
    def state() -> tuple[bool, ...]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
        )

    before, card = state(), torch.device("cuda")
    with exactly(torch.device("cpu")):
        assert state() == before
    with exactly(card):
        assert state() == (True, True, False, False, False)
        with exactly(card, tf32=True):
            assert state() == (True, True, False, True, True)
        assert state() == (True, True, False, False, False)
    assert state() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"compile": True, "stack": "always"}, "stack"),
        ({"compile": True, "dp": {"unit": "record", "epsilon": 1.0}}, "dp"),
        ({"dtype": "tf32", "device": "cpu"}, "TF32"),
    ],
)
def test_settings_that_cannot_be_combined(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TorchRecipe("mlp", **settings).settings()


def test_compile_is_part_of_the_identity_only_where_it_is_used() -> None:
    assert "compile" not in TorchRecipe("mlp").settings()
    assert TorchRecipe("mlp", compile=True).settings()["compile"] is True


def test_tf32_without_a_card_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(RecipeError, match="NVIDIA"):
        outputs(TorchRecipe("mlp", dtype="tf32"), table(), assignments(1))


@pytest.mark.parametrize("factory", [forgetful, Neighbours])
def test_networks_that_mix_records_never_see_records_that_fill_a_batch(
    factory: Callable[..., nn.Module],
) -> None:
    data, job = table(), assignments(2)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 16, "dtype": "float64"}
    free, facts = outputs(TorchRecipe(factory, **settings), data, job)
    assert "mixes" in facts["not_stacked_because"]
    apart = [outputs(TorchRecipe(factory, stack="never", **settings), data, [one]) for one in job]
    np.testing.assert_allclose(free, np.concatenate([one for one, _ in apart]), atol=1e-12)
    with pytest.raises(RecipeError, match="leave compile out"):
        outputs(TorchRecipe(factory, compile=True, **settings), data, job)


@pytest.mark.parametrize("augment", [(), ("flip", "shift")])
def test_batches_that_are_filled_up_train_as_the_others_do(
    monkeypatch: pytest.MonkeyPatch, augment: tuple[str, ...]
) -> None:
    seen: list[tuple[int, float]] = []

    def plainly(function: Any, key: str, device: torch.device) -> Any:  # noqa: ANN401
        def run(module: nn.Module, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
            seen.append((len(x), float(weights.sum())))
            result: Tensor = function(module, x, y, weights)
            return result

        return run

    monkeypatch.setattr(alone, "compiled", plainly)
    data, job = images(), assignments(2)
    settings: dict[str, Any] = {"width": 4, "epochs": 2, "batch_size": 16, "dtype": "float64"}
    settings["augment"] = augment
    filled, facts = outputs(TorchRecipe("cnn", compile=True, **settings), data, job)
    assert facts["not_stacked_because"] == "as configured (compile = true)"
    assert facts["compiled"] is True
    assert {size for size, _ in seen} == {14, 15}  # one size per model
    assert {used for _, used in seen} == {13, 14, 15}
    plain, facts = outputs(TorchRecipe("cnn", stack="never", **settings), data, job)
    assert "compiled" not in facts
    np.testing.assert_allclose(filled, plain, atol=1e-9)


def test_models_of_an_audit_share_a_size_of_batches() -> None:
    plan = Plan(
        epochs=1,
        steps=33,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.0,
        momentum=0.0,
        loss="sigmoid",
    )

    def size(members: int) -> int:
        one = Assignment(model=0, members=np.arange(members), seed=1)
        return alone.padded_size(one, plan)

    assert {size(members) for members in range(7960, 8449, 8)} == {256}
    for members in (1, 2, 33, 34, 500, 8449, 20_000):
        longest = -(-members // 33)
        assert longest <= size(members) <= longest * 1.13


def test_what_the_compiler_says_is_put_into_words() -> None:
    missing = compiled._refusal(RuntimeError("InvalidCxxCompiler: No working C++ compiler found"))
    assert "needs a C++ compiler" in missing.what
    assert "g++" in (missing.next_step or "")
    other = compiled._refusal(RuntimeError("call to print"))
    assert "as a whole" in other.what


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nothing that was compiled before, in memory or on disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(compiled.KEPT, raising=False)
    compiled.forget()
    yield tmp_path / "cache" / "auscult" / "compiled"
    compiled.forget()


@pytest.mark.slow
def test_a_compiled_training_is_the_training(no_cache: Path) -> None:
    try:
        from torch._inductor import config, cpp_builder

        cpp_builder.get_cpp_compiler()
    except Exception as error:  # whatever a machine without one says
        pytest.skip(f"no C++ compiler is found here ({type(error).__name__})")
    # Whether the processor has what it says it has takes the compiler as long as all the rest.
    with config.patch({"cpp.vec_isa_ok": True}):
        data, job = table(), assignments(1)
        settings: dict[str, Any] = {
            "hidden": [4],
            "epochs": 2,
            "batch_size": 16,
            "dtype": "float64",
        }
        recipe = TorchRecipe("mlp", compile=True, **settings)
        first, facts = outputs(recipe, data, job)
        assert facts["compiled"] is True
        assert facts["trained"] == "one after the other"
        plain, _ = outputs(TorchRecipe("mlp", stack="never", **settings), data, job)
        np.testing.assert_allclose(first, plain, atol=1e-9)
        compiled.forget()  # the same bytes from what is kept on disk
        again, _ = outputs(recipe, data, job)
        np.testing.assert_array_equal(first, again)
    assert no_cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_the_benchmark_of_a_card_runs_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--small", "--without-compiler"])
    said = capsys.readouterr().out
    for words in ("a model of 2 epochs", "in another process", "GPU against CPU", "at once"):
        assert words in said
    assert "failed" not in said
    assert "differ |" not in said


def test_a_part_that_would_begin_too_late_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["model", "--seconds", "1"])
    assert "left out" in capsys.readouterr().out


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(AuscultError, match="dtype"):
        TorchRecipe("mlp", dtype="float16").settings()


def test_a_list_of_cards_is_not_part_of_the_identity() -> None:
    plain = TorchRecipe("mlp", device="cuda").settings()
    assert TorchRecipe("mlp", device=["cuda:0", "cuda:1"]).settings() == plain
    assert TorchRecipe("mlp", device=["cuda:3"]).settings() == plain
    assert TorchRecipe("mlp", device=["cpu", "cpu"]).settings()["device"] == "cpu"

    def train(inputs: Any, labels: Any, seed: int, device: str) -> Any: ...  # noqa: ANN401

    settings = PythonRecipe(train, device=["cuda:1"]).settings()
    assert settings["device"] == "cuda"
    assert PythonRecipe(train, device=["cuda:1"]).cards() == ("cuda:1",)


@pytest.mark.parametrize("device", ["gpu", "cuda:1", [], ["cpu", "cuda:0"], ["cuda"], ["auto"]])
def test_devices_that_cannot_be(device: Any) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match=r"recipe\.device"):
        TorchRecipe("mlp", device=device).settings()


def test_cards_are_as_many_as_are_seen_and_give_as_many_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "DRIVERS", ("/",))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices.cards_of("auto") == devices.cards_of("cuda") == ("cuda:0", "cuda:1", "cuda:2")
    assert devices.cards_of("cpu") == ()
    assert Engine().hands(TorchRecipe("mlp")) == 3
    assert Engine(workers=5).hands(TorchRecipe("mlp")) == 5
    assert Engine().hands(TorchRecipe("mlp", device=["cuda:1"])) == 1
    assert Engine().hands(TorchRecipe("mlp", device="cpu")) == cores()
    monkeypatch.setattr(devices, "DRIVERS", ())
    monkeypatch.setattr("auscult.recipes.devices.shutil.which", lambda _: None)
    assert devices.visible_cards() == 0


CLAIM = """
import os, sys
from pathlib import Path
from auscult.recipes.devices import claim
print(claim(Path(sys.argv[1]), sys.argv[2].split()), os.environ.get("CUDA_VISIBLE_DEVICES"))
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_worker_has_a_card_until_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.VISIBLE, "4, 7")
    started: list[subprocess.Popen[str]] = []

    def worker(cards: str = "cuda:0 cuda:1") -> str:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CLAIM, str(tmp_path), cards],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert started[-1].stdout is not None
        return started[-1].stdout.readline().strip()

    try:
        assert [worker(), worker()] == ["cuda:0 4", "cuda:1 7"]
        started[0].kill()
        started[0].wait()
        assert worker() == "cuda:0 4"
        assert worker() == "cuda:0 4"  # more workers than cards share them
        assert worker("cpu cpu") == "cpu 4, 7"
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_two_cards_give_what_one_gives(tmp_path: Path) -> None:
    path = write_audit(tmp_path, models=8)
    text = path.read_text()
    values = {}
    for name, device, workers in (("one", '"cpu"', 1), ("two", '["cpu", "cpu"]', None)):
        recipe = f'kind = "torch"\nhidden = [4]\nepochs = 1\ndevice = {device}\n'
        path.write_text(
            re.sub(r'kind = "sklearn".*?max_iter = 200 }\n', recipe, text, flags=re.DOTALL)
        )
        load(path).audit().run(tmp_path / name, workers=workers)
        values[name] = RunStore.open(tmp_path / name).outputs().read(0, 10_000)
    np.testing.assert_array_equal(values["one"], values["two"])
    first, second = (RunStore.open(tmp_path / name).identity for name in values)
    assert first == second


def encoded_of(side: int) -> EncodedArray:
    array = np.zeros((4, side, side), dtype=np.uint8)
    found = EncodedArray(
        ArrayInputs(array=array, rows=np.arange(4), channels="none"),
        torch.float32,
        torch.device("cpu"),
        None,
    )
    found.fit([np.arange(4)])
    return found


def test_what_a_network_takes_decides_how_many_are_trained_at_once() -> None:
    wide, small = wide_resnet((1, 64, 64), 1, depth=28, widening=2), cnn((1, 32, 32), 1, 16, 0.0)
    large = Extent.of(wide, encoded_of(64))
    assert large.weights == sum(p.numel() for p in wide.parameters())
    # By hand: the stem, nine convolutions per stage and the shortcuts of three.
    stage = [32 * 64**2, 64 * 32**2, 128 * 16**2]
    assert large.convolved == 16 * 64**2 + sum(9 * n for n in stage)
    assert large.activations > large.convolved
    assert large.wide(256)
    assert not large.wide(16)
    little = Extent.of(small, encoded_of(32))
    assert not little.wide(256)
    assert wide.training
    memory = 80 << 30
    assert little.room(64, memory) >= 32
    assert little.room(64, memory) > little.room(256, memory) > little.room(256, memory, 8)
    assert large.room(256, 1 << 20) == 1


def test_groups_are_halved_where_memory_runs_out() -> None:
    tried: list[tuple[int, int]] = []
    told: list[float] = []

    def train(group: slice, tell: Callable[[float], None]) -> None:
        tried.append((group.start, group.stop))
        tell(0.5)
        if group.stop - group.start > 3:
            raise OutOfMemory("no more")
        tell(group.stop - group.start - 0.5)

    assert in_groups(11, 8, train, told.append) == (2, 8)
    assert tried == [(0, 8), (0, 4), (0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 11)]
    assert sum(told) == pytest.approx(11.0)

    def never(group: slice, tell: Callable[[float], None]) -> None:
        raise OutOfMemory("no more")

    with pytest.raises(RecipeError, match="does not hold one model"):
        in_groups(2, 2, never, told.append)


def test_a_group_for_which_memory_ran_out_is_trained_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = train_stacked

    def short(modules: Any, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        if len(modules) > 1:
            raise OutOfMemory("no more")
        whole(modules, *arguments, **named)

    recipe = TorchRecipe("mlp", hidden=[4], epochs=2, dtype="float64")
    expected, facts = outputs(recipe, table(), assignments(3))
    assert "memory_ran_out_at" not in facts
    monkeypatch.setattr(together, "train_stacked", short)
    found, facts = outputs(recipe, table(), assignments(3))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert facts["memory_ran_out_at"] == 3


@pytest.mark.parametrize(
    ("recipe", "needed"),
    [
        (TorchRecipe("mlp", device="cuda"), True),
        (TorchRecipe("mlp", device=["cuda:1", "cuda:2"]), True),
        (TorchRecipe("mlp", device=["cpu", "cpu"]), False),
        (TorchRecipe("mlp"), False),
        (PythonRecipe("module:train", device="cuda"), True),
        (PythonRecipe("module:train"), False),
    ],
)
def test_batch_systems_are_asked_for_a_card_where_one_is_needed(
    recipe: TorchRecipe | PythonRecipe, needed: bool
) -> None:
    assert devices.needs_card(recipe) is needed
    told = slurm_parameters({"mem_gb": "16", "slurm_partition": "gpu"}, card=needed)
    assert told.get("gpus_per_node") == (1 if needed else None)
    assert told["mem_gb"] == 16
    for own in ("slurm_gres", "slurm_gpus_per_task", "gpus_per_node"):
        told = slurm_parameters({own: "2"}, card=needed)
        assert told[own] == 2
        assert own == "gpus_per_node" or "gpus_per_node" not in told


def test_slurm_and_dask_hear_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit, distributed = pytest.importorskip("submitit"), pytest.importorskip("distributed")
    work = Work(data=table(), recipe=TorchRecipe("mlp", device="cuda"))
    told: dict[str, Any] = {}

    class Executor:
        def __init__(self, **_: Any) -> None: ...  # noqa: ANN401

        def update_parameters(self, **parameters: Any) -> None:  # noqa: ANN401
            told.update(parameters)

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    (tmp_path / "outputs").mkdir()
    with hired(work, Engine(kind="slurm"), 1, tmp_path / "outputs", 90):
        assert told["gpus_per_node"] == 1

    offered: dict[str, Any] = {"GPU": 1.0}
    given: list[Any] = []

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None: ...  # noqa: ANN401

        def scheduler_info(self) -> dict[str, Any]:
            return {"workers": {"a": {"resources": {}}, "b": {"resources": offered}}}

        def scatter(self, payload: bytes, **_: Any) -> bytes:  # noqa: ANN401
            return payload

        def submit(self, *_: Any, resources: Any, **__: Any) -> None:  # noqa: ANN401
            given.append(resources)

        def close(self) -> None: ...

    monkeypatch.setattr(distributed, "Client", Client)
    engine, plan = Engine(kind="dask", scheduler="tcp://x:1"), BlockPlan(block=0, models=(0,))
    for wanted in ({"GPU": 1}, None):
        with hired(work, engine, 1, tmp_path / "outputs", 90) as crew:
            crew.submit(plan, tuple(assignments(1)))
        assert given[-1] == wanted
        offered = {}
