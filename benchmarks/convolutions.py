"""Gradients of convolutions against 64 bits, in processes that may die, and what watching costs.

    python -m benchmarks.convolutions [sweep cost] [--full]

Sweep: every form (axes, kernel, stride, groups, memory format) has a process of its own that goes
through the channels with PyTorch as it is, and another with what Auscult watches. A process that
dies by a signal is a finding and goes on behind the channels that ended it. Where glibc's checking
allocator is at hand (``GLIBC_TUNABLES=glibc.malloc.check=3 LD_PRELOAD=libc_malloc_debug.so.0``), a
write just beyond the end of a buffer ends the process too. Without ``--full``, only the forms that
are known to be at risk go through all channels.

Cost: one core; the cohort is found through AUSCULT_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.results import record, table

if TYPE_CHECKING:
    from torch import nn

COMMAND = "python -m benchmarks.convolutions"
TOLERANCE = 1e-4  # of the largest gradient; float32 sums of some thousand products
REPEATS = 3
RECORDS = 8
KERNELS = (1, 3, 5, 7)
STRIDES = (1, 2, 3)
CHANNELS = tuple(range(1, 41))
FEW = (3, 5, 12)  # of forms that are not known to be at risk, unless --full
# Whether a write beyond a buffer shows depends on the size: 8 with stride 2, 9 with stride 3.
SIZES = {1: (24, 25), 2: (8, 9), 3: (6, 7)}
ROUNDS = 3
MODELS = 2
PATIENTS = 30


class Form(NamedTuple):
    """All that is fixed while the channels change."""

    axes: int
    kernel: int
    stride: int
    groups: int  # 0 for as many as there are channels
    channels_last: bool
    transposed: bool

    def at_risk(self) -> bool:
        """Whether it is of the kind that is known to corrupt the heap on some processors."""
        usual = self.axes == 2 and self.groups == 1 and not self.transposed
        return usual and self.kernel == 1 and self.stride > 1 and self.channels_last

    def in_short(self) -> bool:
        """Whether it is tried without ``--full``."""
        small = self.kernel in (1, 3) or (self.axes == 2 and self.channels_last)
        return self.at_risk() or (self.stride == 2 and small)

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
            from auscult.recipes.torch.convolutions import guard_convolutions

            guard_convolutions()
        for number in channels:
            error = _error(form, number, repeats)
            os.write(write, f"{error}\n".encode())
        status = 0
    finally:
        os._exit(status)


def _error(form: Form, channels: int, repeats: int) -> float:
    """Largest deviation of a gradient from 64 bits, as a share of the largest gradient."""
    sizes = {max(size, form.kernel) for size in SIZES[form.axes]}
    return max(_error_at(form, channels, size, repeats) for size in sorted(sizes))


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


def _said(outcomes: Sequence[Outcome]) -> str:
    """Channels and what happened with them."""
    parts = []
    for one in outcomes:
        if one.signal:
            what = signal.Signals(one.signal).name
        else:
            what = f"off by {one.error:.0e}" if one.error == one.error else "failed"
        parts.append(f"{one.channels} ({what})")
    return ", ".join(parts) or "none"


def sweep(*, full: bool) -> None:
    """Which forms die or are wrong, with PyTorch as it is and watched."""
    import torch

    rows: list[list[object]] = []
    tried = [0, 0]
    total = {False: 0, True: 0}
    for form in forms():
        if not (full or form.in_short()):
            continue
        channels = CHANNELS if full or form.at_risk() else FEW
        repeats = REPEATS if full or form.at_risk() else 1
        found = {on: swept(form, channels, guarded=on, repeats=repeats) for on in (False, True)}
        tried = [tried[0] + 1, tried[1] + len(channels)]
        for guarded, outcomes in found.items():
            total[guarded] += len(outcomes)
        if any(found.values()) or form.at_risk():
            rows.append([str(form), _said(found[False]), _said(found[True])])
            print(*rows[-1], sep=" | ", flush=True)
    rows.append([f"all {tried[0]} forms, {tried[1]:,} shapes", total[False], total[True]])
    grid = (
        f"Kernels {', '.join(map(str, KERNELS))}, strides {', '.join(map(str, STRIDES))}, 1-D, 2-D "
        f"and 3-D, channels first and last, 1 group, 2 groups, depthwise, transposed; "
        f"{CHANNELS[0]} to {CHANNELS[-1]} input channels per group."
        if full
        else f"Two-dimensional 1 x 1 convolutions with strides 2 and 3, channels last: "
        f"{CHANNELS[0]} to {CHANNELS[-1]} input channels. {', '.join(map(str, FEW))} per group: "
        "stride 2, kernels 1 and 3 in 1-D, 2-D and 3-D, channels first and last, 1 group, 2 "
        "groups, depthwise, transposed; kernels 5 and 7 in 2-D with the channels last. "
        f"`{COMMAND} sweep --full` tries all channels with kernels "
        f"{', '.join(map(str, KERNELS))} and strides {', '.join(map(str, STRIDES))}."
    )
    text = (
        f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}. Gradients of "
        "input and weight in 32 bits, wrong where they deviate by more than "
        f"{TOLERANCE:g} of the largest. {grid} Listed: forms in which something happened and those "
        "known to be at risk, with the input channels that ended the process or gave wrong "
        "numbers. A heap that one number of channels corrupts may end the process at a later one "
        "only.\n\n" + table(["form", "PyTorch as it is", "watched"], rows)
    )
    command = f"{COMMAND} sweep{' --full' if full else ''}"
    record("convolutions", "Gradients of convolutions", command, text)


def plain(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Four convolutions of 3 x 3, for which watching changes nothing but the call.

    Parameters
    ----------
    shape : (channels, height, width)
    outputs : int
    """
    from torch import nn

    layers: list[nn.Module] = []
    width = shape[0]
    for wider, stride in ((16, 2), (16, 1), (32, 2), (64, 2)):
        layers += [nn.Conv2d(width, wider, 3, stride=stride, padding=1), nn.ReLU()]
        width = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))


def cost(*, full: bool) -> None:
    """Processor time of the same training, watched and not, in turns."""
    del full
    import numpy as np
    import torch

    from auscult.config import LoadedConfiguration, parse
    from auscult.recipes.torch import convolutions
    from auscult.training.dispatch import assignments
    from benchmarks.real import COHORTS, data_folder

    torch.set_num_threads(1)
    rows: list[list[object]] = []
    networks = {
        "`cnn`, two strided 1 x 1 convolutions": "cnn",
        "3 x 3 convolutions only": "benchmarks.convolutions:plain",
    }
    for name, model in networks.items():
        content = tomllib.loads(COHORTS["lgg_mri_64"])
        content["cohort"]["max_patients"] = PATIENTS
        content["recipe"] |= {"model": model, "epochs": 1}
        content["audit"] = {"models": 8, "seed": 7}
        audit = LoadedConfiguration(parse(content, model), data_folder()).audit()
        data, design = audit.cohort.training_data(), audit._design()
        patients = audit.cohort.patient_of_record
        jobs = assignments(range(MODELS), design.membership(), patients, 7)
        times: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(ROUNDS + 1):
            for watched in (False, True) if turn % 2 else (True, False):
                # What stands for the registration keeps the recipe from registering.
                convolutions._library = None if watched else "nobody watches"
                start = time.process_time()
                audit.recipe.train_block(data, jobs, lambda _: None)
                if turn:  # the first one warms up
                    times[watched].append(time.process_time() - start)
            print(name, turn, {key: found[-1:] for key, found in times.items()}, flush=True)
        convolutions._library = None
        ratios = [b / a for a, b in zip(times[False], times[True], strict=True)]
        rows.append(
            [
                name,
                *(f"{np.median(times[w]) / MODELS:.2f} s" for w in (False, True)),
                f"{np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
            ]
        )
    text = (
        f"{PATIENTS} patients of lgg_mri_64, {audit.cohort.records:,} slices of 64 x 64 in three "
        f"channels, {MODELS} models of width 16 trained for one epoch in batches of 64 "
        "and evaluated on all slices, one thread; processor time per model, median of "
        f"{ROUNDS} rounds in turns.\n\n"
        + table(["network", "not watched", "watched", "watched / not (range)"], rows)
    )
    record("convolutions-cost", "What watching convolutions costs", f"{COMMAND} cost", text)


def main() -> None:
    """Run the measurements that are asked for; all of them by default."""
    parts: dict[str, Callable[..., None]] = {"sweep": sweep, "cost": cost}
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--full", action="store_true", help="all channels for all forms")
    given = parser.parse_args()
    for name in given.parts or parts:
        parts[name](full=given.full)


if __name__ == "__main__":
    main()
