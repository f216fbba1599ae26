"""Strided 1 x 1 convolutions: exact gradients, and never the call that corrupts the heap."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.func import grad, vmap  # noqa: E402

from auscult.recipes.torch import convolutions  # noqa: E402
from tests.cohorts import write_audit  # noqa: E402

Call = tuple[tuple[int, ...], tuple[int, ...], bool]


@pytest.fixture
def weight_gradients(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Call]]:
    """Kernel, stride and whether it is transposed, of every weight gradient that is computed."""
    seen: list[Call] = []
    convolutions._library = None  # gives PyTorch's own kernel back
    own = convolutions._kernel()

    def recording(*arguments: Any) -> Any:  # noqa: ANN401
        _, _, _, weight, _, stride, _, _, transposed, _, _, wanted = arguments
        if wanted[1]:
            seen.append((tuple(weight.shape[2:]), tuple(stride), transposed))
        return own(*arguments)

    monkeypatch.setattr(convolutions, "_kernel", lambda: recording)
    convolutions.guard_convolutions()
    yield seen
    convolutions._library = None


def gradients(
    axes: int, groups: int, stride: int, padding: int, size: int, *, last: bool
) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Any:  # noqa: ANN401
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x = drawn(3, *[size] * axes, 3 * groups).movedim(-1, 1)
    x = (x if last else x.contiguous()).requires_grad_()
    weight = drawn(4 * groups, 3, *[1] * axes).requires_grad_()
    bias = drawn(4 * groups).requires_grad_()
    call = getattr(torch.nn.functional, f"conv{axes}d")
    y = call(x, weight, bias, stride=stride, padding=padding, groups=groups)
    found: tuple[Any, ...] = torch.autograd.grad((y * drawn(*y.shape)).sum(), (x, weight, bias))
    return found


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("last", [False, True])
def test_gradients_are_those_of_pytorch(
    axes: int, stride: int, last: bool, weight_gradients: list[Call]
) -> None:
    forms = [(groups, padding, size) for groups in (1, 2) for padding in (0, 1) for size in (5, 6)]
    ours = [gradients(axes, g, stride, p, n, last=last) for g, p, n in forms]
    assert weight_gradients == [((1,) * axes, (1,) * axes, False)] * len(forms)
    convolutions._library = None
    theirs = [gradients(axes, g, stride, p, n, last=last) for g, p, n in forms]
    assert len(weight_gradients) == len(forms), "this time nobody watched"
    for a, b in zip(ours, theirs, strict=True):
        for one, other in zip(a, b, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_every_way_in_is_watched(weight_gradients: list[Call]) -> None:
    functional = torch.nn.functional

    def backward(y: Any) -> None:  # noqa: ANN401
        y.square().sum().backward()

    last = torch.channels_last
    x = torch.randn(4, 3, 8, 8)
    module = torch.nn.Conv2d(3, 5, 1, stride=2)
    backward(module.to(memory_format=last)(x))
    backward(torch.jit.trace(torch.nn.Conv2d(3, 5, 1, stride=2), x)(x.to(memory_format=last)))
    weight = torch.randn(5, 3, 1, 1, requires_grad=True)
    backward(functional.conv2d(x.to(memory_format=last), weight, stride=(1, 3)))
    backward(functional.conv2d(x.permute(0, 1, 3, 2), weight, stride=2, padding="valid"))
    backward(functional.conv2d(x[0].movedim(0, -1).contiguous().movedim(-1, 0), weight, stride=2))
    with torch.autocast("cpu", torch.bfloat16):
        backward(functional.conv2d(x.to(memory_format=last), weight, stride=2))

    def loss(weight: Any, x: Any) -> Any:  # noqa: ANN401
        return functional.conv2d(x[None], weight, stride=2).square().sum()

    vmap(grad(loss), in_dims=(None, 0))(weight.detach(), x)  # one gradient per record
    stacked = torch.stack([weight.detach()] * 4)
    vmap(grad(loss))(stacked, x)  # several models: groups
    (slope,) = torch.autograd.grad(
        functional.conv2d(x, weight, stride=2).square().sum(), weight, create_graph=True
    )
    backward(slope)
    assert len(weight_gradients) >= 10
    assert all(max(kernel) > 1 or max(stride) == 1 for kernel, stride, _ in weight_gradients)


def test_without_get_kernel_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.library, "get_kernel", raising=False)
    convolutions._library = None
    right = gradients(2, 1, 2, 0, 6, last=True)
    convolutions.guard_convolutions()
    for one, other in zip(gradients(2, 1, 2, 0, 6, last=True), right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    convolutions._library = None


SHORT_SWEEP = """
import sys
from benchmarks.convolutions import Form, swept
assert "torch" not in sys.modules  # its import is awaited, in processes of their own
for axes, stride in ((1, 2), (2, 2), (2, 3), (3, 2)):
    form = Form(axes, 1, stride, 1, True, False)
    found = swept(form, (1, 2, 3, 5, 7, 8, 12), guarded=True, repeats=20)
    assert not found, (str(form), found)
"""


@pytest.mark.slow
def test_a_short_sweep_ends_well() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_SWEEP],
        cwd=Path(__file__).parents[1],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


LOOP = """
import sys
from importlib import import_module
from pathlib import Path

def train(inputs, labels, seed):
    imported = "torch" in sys.modules
    {statement}

    last = torch.channels_last
    module = torch.nn.Conv2d(3, 2, 1, stride=2).to(memory_format=last)
    with torch.profiler.profile() as profile:
        for _ in range(3):
            x = torch.randn(4, 3, 8, 8).to(memory_format=last)
            module(x).square().sum().backward()
    names = [event.name for event in profile.events()]
    ours = names.count("aten::convolution_backward"), names.count("aten::slice")
    with Path({log!r}).open("a") as log:
        log.write(f"{{imported}} {{ours[0]}} {{ours[1] > 0}}\\n")
    return lambda new: [[0.5, 0.5]] * len(new)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "before"), [("import torch", True), ("torch = import_module('torch')", False)]
)
def test_a_loop_of_ones_own_is_watched_in_a_worker(
    tmp_path: Path, statement: str, before: bool
) -> None:
    log = tmp_path / "log"
    (tmp_path / "loop_for_tests.py").write_text(LOOP.format(log=str(log), statement=statement))
    path = write_audit(tmp_path, models=8)
    recipe = 'kind = "python"\ntrain = "loop_for_tests:train"\n'
    text = re.sub(
        r'kind = "sklearn".*?max_iter = 200 }\n', recipe, path.read_text(), flags=re.DOTALL
    )
    path.write_text(text)
    command = ["run", path, "--out", tmp_path / "run", "--workers", 1]
    done = subprocess.run(
        [sys.executable, "-m", "auscult", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, *others = log.read_text().splitlines()
    assert first == f"{before} 3 True", "pixels are picked, whenever torch was loaded"
    # Seven more models; the first once more, where PyTorch was loaded before it could be seeded,
    # and once more in the end, to see that it is the same.
    assert len(others) == (8 if before else 9)
    assert {line.split(maxsplit=1)[1] for line in others} == {"3 True"}
