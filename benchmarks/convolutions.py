"""Gradients of convolutions against 64 bits, in processes that may die.

Run as ``python -m benchmarks.convolutions``. Every form (axes, kernel, stride, groups, memory
format) has a process of its own that goes through the channels with PyTorch as it is, and another
with what Auscult watches. A process that dies by a signal is a finding and goes on behind the
channels that ended it. Where glibc's checking allocator is at hand
(``GLIBC_TUNABLES=glibc.malloc.check=3 LD_PRELOAD=libc_malloc_debug.so.0``), a write just beyond
the end of a buffer ends the process too.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

TOLERANCE = 1e-4  # of the largest gradient; float32 sums of some thousand products
REPEATS = 3
RECORDS = 8
KERNELS = (1, 3, 5, 7)
STRIDES = (1, 2, 3)
CHANNELS = tuple(range(1, 41))
# Whether a write beyond a buffer shows depends on the size: 8 with stride 2, 9 with stride 3.
SIZES = {1: (24, 25), 2: (8, 9), 3: (6, 7)}


class Form(NamedTuple):
    """All that is fixed while the channels change."""

    axes: int
    kernel: int
    stride: int
    groups: int  # 0 for as many as there are channels
    channels_last: bool
    transposed: bool

    def __str__(self) -> str:
        groups = "depthwise" if self.groups == 0 else f"{self.groups} groups"
        return (
            f"{self.axes}-D{' transposed' if self.transposed else ''}, kernel {self.kernel}, "
            f"stride {self.stride}, {groups}, channels {'last' if self.channels_last else 'first'}"
        )


class Outcome(NamedTuple):
    """What happened with one form and one number of channels."""

    channels: int
    signal: int
    error: float


def forms(kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> Iterator[Form]:
    """Every form of the sweep."""
    for axes, kernel, stride, groups, last, transposed in itertools.product(
        (1, 2, 3), kernels, strides, (1, 2, 0), (False, True), (False, True)
    ):
        if not (transposed and groups != 1):
            yield Form(axes, kernel, stride, groups, last, transposed)


def swept(
    form: Form, channels: Sequence[int] = CHANNELS, *, guarded: bool, repeats: int = REPEATS
) -> list[Outcome]:
    """Outcomes of the numbers of channels that ended by a signal or wrongly.

    Forks: no other thread of this process may hold a lock.
    """
    found = []
    rest = list(channels)
    while rest:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            _in_child(form, rest, write, guarded, repeats)
        os.close(write)
        with os.fdopen(read) as pipe:
            lines = pipe.read().split()
        status = os.waitpid(child, 0)[1]
        errors = [float(line) for line in lines]
        for number, error in zip(rest, errors, strict=False):
            if not error <= TOLERANCE:
                found.append(Outcome(number, 0, error))
        if status:
            number = rest[min(len(errors), len(rest) - 1)]
            found.append(Outcome(number, status & 127, float("nan")))
        rest = rest[len(errors) + 1 :] if status else []
    return found


def _in_child(form: Form, channels: Sequence[int], write: int, guarded: bool, repeats: int) -> None:
    status = 1
    try:
        if os.environ.get("SWEEP_LOUD") is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # glibc's last words
        if guarded:
            from auscult.recipes.convolutions import guard_convolutions

            guard_convolutions()
        for number in channels:
            error = _error(form, number, repeats)
            os.write(write, f"{error}\n".encode())
        status = 0
    finally:
        os._exit(status)


def _error(form: Form, channels: int, repeats: int) -> float:
    """Largest deviation of a gradient from 64 bits, as a share of the largest gradient."""
    return max(_error_at(form, channels, size, repeats) for size in SIZES[form.axes])


def _error_at(form: Form, channels: int, size: int, repeats: int) -> float:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(channels)
    groups = form.groups or channels
    per_group = channels if form.groups else 1
    spatial = [form.kernel] * form.axes
    x = torch.randn(RECORDS, per_group * groups, *[size] * form.axes)
    outputs = 8 if form.transposed else 8 * groups
    shape = (x.shape[1], outputs) if form.transposed else (outputs, per_group)
    weight = torch.randn(*shape, *spatial)
    if form.channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
        weight = weight.movedim(1, -1).contiguous().movedim(-1, 1)
    kind = f"conv_transpose{form.axes}d" if form.transposed else f"conv{form.axes}d"
    call: Any = getattr(torch.nn.functional, kind)
    worst, slopes = 0.0, None
    for dtype in (torch.float64, *[torch.float32] * repeats):
        parts = [part.to(dtype).requires_grad_() for part in (x, weight)]
        y = call(*parts, stride=form.stride, groups=groups)
        if slopes is None:
            slopes = torch.randn_like(y)
        found = [one.double() for one in torch.autograd.grad(y, parts, slopes.to(dtype))]
        if dtype == torch.float64:
            right = found
            continue
        for a, b in zip(found, right, strict=True):
            worst = max(worst, float((a - b).abs().max() / b.abs().max()))
    return worst


def main() -> None:
    """Sweep all forms and print a table of what went wrong."""
    import torch

    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    kernels = tuple(map(int, sys.argv[1].split(","))) if len(sys.argv) > 1 else KERNELS
    total = {False: 0, True: 0}
    count = 0
    for form in forms(kernels):
        count += 1
        for guarded in (False, True):
            outcomes = swept(form, guarded=guarded)
            total[guarded] += len(outcomes)
            if outcomes:
                said = ", ".join(
                    f"{one.channels} ({signal.Signals(one.signal).name})"
                    if one.signal
                    else f"{one.channels} (off by {one.error:.0e})"
                    for one in outcomes
                )
                print(f"| {form} | {'watched' if guarded else 'as it is'} | {said} |", flush=True)
    print(
        f"{count} forms x {len(CHANNELS)} channels: {total[False]} as it is, {total[True]} watched"
    )


if __name__ == "__main__":
    main()
