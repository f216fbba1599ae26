"""Weight gradients of strided 1 x 1 convolutions that never reach the kernel that is broken.

On processors with AVX2 and without AVX-512, oneDNN writes beyond the end of its buffers when it
computes the weight gradient of a 1 x 1 convolution with a stride above 1, 2 to 7 input channels
and the channels last in memory (seen in PyTorch 2.13 and 2.14). The process then dies by a signal,
or goes on with wrong numbers.

A network's memory format is not ours alone to choose: a user's module may set it, an array with the
channels last becomes a view that has it, and functional calls belong to no module. So the call
itself is watched, at the operator through which all CPU convolutions go backward. A strided 1 x 1
convolution is a convolution with stride 1 of every s-th pixel; wherever the weight gradient is
wanted, all gradients are computed as that one's, and that of the input is spread. This is exact,
reads 1 / s^2 of the input, and is done in every memory format, on every processor, so that the
numbers do not depend on whether somebody thought of a case.

Loads no torch: where none is imported yet, its import is awaited.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from torch import Tensor

    Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]

OPERATOR = "aten::convolution_backward"

_library: Any = None


def guard_convolutions() -> None:
    """Watch this process's convolutions on a CPU from now on, or from the import of torch on.

    Holds until the process ends, for training code of every kind: built-in networks, modules and
    loops of users, estimators that use torch underneath. Processes that a training function starts
    by itself are not watched, unless they are forked from this one.
    """
    if _library is not None:
        return
    if "torch" in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds torch as the other finders do, and registers what watches once it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((one for one in found if one is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:  # noqa: ANN401
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    global _library

    import torch

    original = _kernel()

    def backward(
        keys: Any,  # noqa: ANN401
        gradient: Tensor,
        x: Tensor,
        weight: Tensor,
        bias_sizes: Sequence[int] | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: int,
        wanted: Sequence[bool],
    ) -> Gradients:
        def plain(x: Tensor, stride: Sequence[int], padding: Sequence[int], *wanted: bool) -> Any:  # noqa: ANN401
            form = (stride, padding, dilation, transposed, output_padding, groups)
            return original(keys, gradient, x, weight, bias_sizes, *form, wanted)

        axes = weight.shape[2:]
        strided = not transposed and max(axes, default=0) == 1 and max(stride) > 1
        if not (strided and wanted[1]):
            return plain(x, stride, padding, *wanted)  # type: ignore[no-any-return]
        whole = x.detach()
        pads = _each(padding, axes)
        if any(pads):
            around = [side for pad in pads[::-1] for side in (pad, pad)]
            whole = torch.constant_pad_nd(whole, around)
        steps = (slice(None), slice(None), *(slice(None, None, s) for s in _each(stride, axes)))
        ones, zeros = [1] * len(axes), [0] * len(axes)
        inputs, weights, bias = plain(whole[steps], ones, zeros, *wanted)
        if wanted[0]:
            spread = torch.zeros_like(whole)  # pixels between have no part in the output
            spread[steps] = inputs
            for axis, pad in enumerate(pads, start=2):
                spread = spread.narrow(axis, pad, x.shape[axis])
            inputs = spread
        return inputs, weights, bias

    _library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    _library.impl(OPERATOR.partition("::")[2], backward, "CPU", with_keyset=True)


def _each(values: Sequence[int], axes: Sequence[int]) -> list[int]:
    """One value per axis, where one may stand for all."""
    return list(values) if len(values) == len(axes) else [values[0]] * len(axes)


def _kernel() -> Callable[..., Any]:
    """PyTorch's own kernel of the operator."""
    import torch

    if hasattr(torch.library, "get_kernel"):
        found = torch.library.get_kernel(OPERATOR, "CPU")
        called: Callable[..., Any] = found.call_boxed
        return called
    # Before there was get_kernel: the kernel that all devices without one of their own share.
    operator: Any = torch.ops.aten.convolution_backward.default
    shared = torch._C.DispatchKey.CompositeExplicitAutograd

    def call(_: Any, *arguments: Any) -> Any:  # noqa: ANN401
        return operator._op_dk(shared, *arguments)

    return call
