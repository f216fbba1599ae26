"""Where the time of training on images goes, and what its convolutions alone would take.

    python -m benchmarks.image_limit

One core trains one model as an audit does (`cnn`, batches of 64), first as it is, then under
PyTorch's profiler. Then the same convolutions of every step, forward and backward, alone: inputs
and weights lie ready, in whichever of two layouts is quicker. Nothing that PyTorch's convolutions
compute can be quicker than that. The cohort is found through AUSCULT_DATA.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from auscult.recipes.base import Assignment
from benchmarks.real import audit_of
from benchmarks.results import record, table

if TYPE_CHECKING:
    from auscult.audit import Audit

COMMAND = "python -m benchmarks.image_limit"
COHORT, EPOCHS, BATCH, REPEATS = "lgg_mri_64", 2, 64, 20
# How the profiler's operations are told; the first that fits.
PARTS = {
    "convolutions, forward": ("mkldnn_convolution", "thnn_conv"),
    "convolutions, backward": ("convolution_backward",),
    "normalisation": ("batch_norm", "group_norm"),
    "pooling": ("pool",),
    "copies and layouts": ("copy_", "contiguous", "clone", "index", "to_mkldnn", "reorder", "cat"),
    "matrix products": ("addmm", "aten::mm", "bmm"),
    "optimiser": ("optimizer", "_foreach", "addcmul", "addcdiv", "lerp", "sqrt", "adamw"),
    "activations and sums": (
        "threshold",
        "relu",
        "clamp",
        "add",
        "sum",
        "div",
        "pow",
        "mul",
        "sub",
    ),
}


def train(audit: Audit, member: Any) -> float:  # noqa: ANN401
    """Seconds that one model takes, as a block of an audit."""
    data = audit.cohort.training_data()
    one = Assignment(model=0, members=np.flatnonzero(member[0]), seed=7)
    begin = time.process_time()
    audit.recipe.train_block(data, [one], lambda _: None)
    return time.process_time() - begin


def shares(audit: Audit, member: Any) -> dict[str, float]:  # noqa: ANN401
    """Share of the profiler's own CPU time of each part."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        train(audit, member)
    found: dict[str, float] = defaultdict(float)
    for event in seen.key_averages():
        name = event.key.lower()
        part = next((p for p, words in PARTS.items() if any(w in name for w in words)), "rest")
        found[part] += event.self_cpu_time_total
    whole = sum(found.values())
    return {part: value / whole for part, value in found.items()}


def shapes(network: nn.Module, x: torch.Tensor) -> list[tuple[nn.Conv2d, torch.Size]]:
    """The network's convolutions, and the shape that each is given."""
    found: list[tuple[nn.Conv2d, torch.Size]] = []
    hooks = [
        m.register_forward_hook(lambda m, given, _: found.append((m, given[0].shape)))
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return found


def bare(
    convolutions: list[tuple[nn.Conv2d, torch.Size]], form: torch.memory_format
) -> tuple[float, float, float]:
    """Seconds of all convolutions of a step, forward and backward, and their products."""
    forward = backward = products = 0.0
    for number, (layer, shape) in enumerate(convolutions):
        x = torch.randn(shape).contiguous(memory_format=form)
        w = layer.weight.detach().contiguous(memory_format=form)
        given: Any = (layer.stride, layer.padding, layer.dilation)
        ahead: Any = torch.conv2d  # its overloads do not take what may be a word
        y = ahead(x, w, None, *given, layer.groups)
        away = torch.randn_like(y)
        wanted = [number > 0, True, False]  # nobody asks for the images' gradient

        def back(
            away: torch.Tensor = away,
            x: torch.Tensor = x,
            w: torch.Tensor = w,
            given: Any = given,  # noqa: ANN401
            groups: int = layer.groups,
            wanted: list[bool] = wanted,
        ) -> None:
            torch.ops.aten.convolution_backward(
                away, x, w, None, *given, False, [0, 0], groups, wanted
            )

        forward += quickest(
            lambda ahead=ahead, x=x, w=w, given=given, g=layer.groups: ahead(x, w, None, *given, g)
        )
        backward += quickest(back)
        one = 2.0 * y.numel() * w[0].numel()
        products += one * (1 + sum(wanted))
    return forward, backward, products


def quickest(work: Any) -> float:  # noqa: ANN401
    """Seconds of one call: the median of some, after two that are not counted."""
    taken = []
    for i in range(REPEATS + 2):
        begin = time.process_time()
        work()
        if i > 1:
            taken.append(time.process_time() - begin)
    return float(np.median(taken))


def peak() -> float:
    """Operations a second of a matrix product of 1,024 rows."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024.0**3 / quickest(lambda: a @ b)


def main() -> None:
    """Measure and write the section."""
    from auscult.recipes.networks.small import cnn
    from auscult.recipes.torch.encoding import encode

    torch.set_num_threads(1)
    audit = audit_of(COHORT, 8, epochs=EPOCHS)
    cohort = audit.cohort
    member = audit._design().membership().reveal()[:, cohort.patient_of_record]
    train(audit, member)
    taken = min(train(audit, member) for _ in range(3))
    encoded = encode(cohort.inputs, torch.float32, torch.device("cpu"), None)  # type: ignore[arg-type]
    encoded.fit([np.flatnonzero(member[0])])
    x = encoded.batch([0], torch.arange(BATCH)[None])[0]
    layers = shapes(cnn(tuple(x.shape[1:]), 1, 16, 0.0), x)
    inside, everybody = int(member[0].sum()), cohort.records
    steps = EPOCHS * -(-inside // BATCH)
    answers = everybody / BATCH
    forms = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    found = {name: bare(layers, form) for name, form in forms.items()}
    seconds = {n: steps * (f + b) + answers * f for n, (f, b, _) in found.items()}
    name = min(seconds, key=lambda n: seconds[n])
    forward, backward, products = found[name]
    rate = products / (forward + backward)
    top = peak()
    parts = shares(audit, member)
    text = (
        f"{COHORT}, {everybody:,} slices of 64 x 64 in three channels, `cnn`, {EPOCHS} epochs, "
        f"batches of {BATCH}, one model on one core, PyTorch {torch.__version__}.\n\n"
        + table(
            ["", "seconds", "share"],
            [
                ["one model, as an audit trains it", f"{taken:.2f}", "100%"],
                *(
                    [f"its convolutions alone, {n}", f"{s:.2f}", f"{s / taken:.0%}"]
                    for n, s in seconds.items()
                ),
            ],
        )
        + f"\n\nConvolutions alone, {name}, reach {rate / 1e9:.0f} billion operations a second: "
        f"{rate / top:.0%} of what a matrix product of 1,024 rows reaches on the same core "
        f"({top / 1e9:.0f}). Were all else free, training would be {taken / seconds[name]:.2f} "
        "times as fast.\n\nOf the profiler's time:\n\n"
        + table(
            ["part", "share"],
            [[p, f"{s:.0%}"] for p, s in sorted(parts.items(), key=lambda one: -one[1])],
        )
    )
    record("image-limit", "What training on images is bounded by", COMMAND, text)


if __name__ == "__main__":
    main()
