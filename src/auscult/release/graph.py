"""The ONNX door: a graph with named inputs, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.cohort import TrainingData
from auscult.errors import ConfigError, one_of
from auscult.inputs import ArrayInputs, TableInputs
from auscult.progress import SILENT, Progress
from auscult.recipes.failures import explained
from auscult.recipes.python import plain_inputs, rows_of
from auscult.recipes.resolve import resolve
from auscult.release.doors import Door, ReleaseError

NUMBERS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
TEXT = "tensor(string)"

Feed = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class OnnxDoor(Door):
    """An ONNX file.

    Attributes
    ----------
    path : Path
    inputs : mapping of str to str or sequence of str, optional
        For tables: which column, or which numeric columns side by side, each input of the graph
        gets. By default every input gets the column of its name. For images and signals the graph
        has one input, which gets the array as it is, cast to the input's type.
    answer : str, optional
        Which output of the graph; its first floating-point output by default.
    prepare : callable or str, optional
        "module:function" that turns the inputs of some records (a dataframe or an array) into a
        mapping of input names to arrays, where the graph wants something else.
    folder : Path, optional
        Where to look for the module first.
    batch : int
        Records at once.
    """

    path: Path | str
    inputs: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    answer: str | None = None
    prepare: Callable[[Any], Mapping[str, Any]] | str | None = None
    folder: Path | None = None
    batch: int = 256

    kind = "onnx"

    def check(self, data: TrainingData) -> None:
        """See :meth:`Door.check`."""
        session = self._session()
        self._answer(session)
        if self.prepare is None:
            self._feed(session, data)
        else:
            self._prepare()

    def answers(
        self,
        data: TrainingData,
        cache: Path | None = None,  # noqa: ARG002
        progress: Progress = SILENT,
    ) -> NDArray[np.float64]:
        """See :meth:`Door.answers`."""
        session = self._session()
        name = self._answer(session)
        records = len(data.labels)
        feed = self._feed(session, data) if self.prepare is None else None
        everything = plain_inputs(data.inputs)
        found = []
        progress.start("Release", records)
        for start in range(0, records, self.batch):
            rows = np.arange(start, min(start + self.batch, records))
            if feed is None:
                with explained("release", "prepare"):
                    given = dict(self._prepare()(rows_of(everything, rows)))
                self._check_names(session, given)
            else:
                given = {key: self._typed(session, key, part(rows)) for key, part in feed.items()}
            try:
                values = session.run([name], given)[0]
            except Exception as error:
                said = " ".join(str(error).split())[:200]
                raise ReleaseError(
                    f"the graph cannot run on the records: {said}", where=self._where()
                ) from error
            found.append(self._checked(values, rows.size))
            progress.advance(rows.size)
        progress.finish()
        return np.concatenate(found)

    def about(self) -> dict[str, Any]:
        """See :meth:`Door.about`."""
        return {"door": "onnx", "what": Path(self.path).name}

    def _where(self) -> str:
        return f"release.path ({Path(self.path).name})"

    def _session(self) -> Any:  # noqa: ANN401
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ConfigError(
                "an ONNX file needs onnxruntime, which is not installed",
                where="release",
                next_step='Install it: pip install ".[onnx]"',
            ) from error
        if not Path(self.path).is_file():
            raise ReleaseError("there is no such file", where=self._where())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        try:
            return onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ReleaseError(
                f"it cannot be read as ONNX ({type(error).__name__})", where=self._where()
            ) from error

    def _answer(self, session: Any) -> str:  # noqa: ANN401
        outputs = {one.name: one.type for one in session.get_outputs()}
        if self.answer is not None:
            if self.answer not in outputs:
                raise ConfigError(
                    f'the graph has no output "{self.answer}"',
                    where="release.answer",
                    expected=one_of(self.answer, outputs),
                )
            return self.answer
        floating = [n for n, kind in outputs.items() if kind in list(NUMBERS)[:3]]
        if not floating:
            raise ReleaseError(
                "the graph has no output of floating-point numbers",
                where=self._where(),
                expected="probabilities or logits as a tensor (skl2onnx: zipmap=False)",
            )
        return str(floating[0])

    def _feed(
        self,
        session: Any,  # noqa: ANN401
        data: TrainingData,
    ) -> dict[str, Callable[[NDArray[np.int64]], NDArray[Any]]]:
        """For each input of the graph, what hands out its rows."""
        wanted = [one.name for one in session.get_inputs()]
        inputs = data.inputs
        if isinstance(inputs, ArrayInputs):
            if self.inputs:
                raise ConfigError(
                    "there are no columns, so inputs would be ignored", where="release.inputs"
                )
            if len(wanted) != 1:
                raise ReleaseError(
                    f"the graph has {len(wanted)} inputs", where=self._where(), expected="one"
                )
            return {wanted[0]: inputs.take}
        for name in self.inputs:
            if name not in wanted:
                raise ConfigError(
                    f'the graph has no input "{name}"',
                    where="release.inputs",
                    expected=one_of(name, wanted),
                )
        return {name: _columns(inputs, self.inputs.get(name, name), name) for name in wanted}

    def _typed(
        self,
        session: Any,  # noqa: ANN401
        name: str,
        values: NDArray[Any],
    ) -> NDArray[Any]:
        kind = next(one.type for one in session.get_inputs() if one.name == name)
        if values.dtype.kind in "OU":
            if kind != TEXT:
                raise ReleaseError(
                    f'the input "{name}" wants {kind} and its column holds categories',
                    where=self._where(),
                    expected=TEXT,
                    next_step="Encode it: release.prepare",
                )
            return values
        if kind not in NUMBERS:
            raise ReleaseError(
                f'the input "{name}" wants {kind} and gets numbers', where=self._where()
            )
        target = np.dtype(NUMBERS[kind])
        if target.kind in "iu" and not np.array_equal(values, np.trunc(values)):
            raise ReleaseError(
                f'the input "{name}" wants whole numbers and its column has others or gaps',
                where=self._where(),
                next_step="Turn them: release.prepare",
            )
        return values.astype(target)

    def _check_names(self, session: Any, given: Mapping[str, Any]) -> None:  # noqa: ANN401
        wanted = {one.name for one in session.get_inputs()}
        if set(given) != wanted:
            raise ReleaseError(
                f"prepare returned {', '.join(sorted(map(str, given))) or 'nothing'}",
                where="release.prepare",
                expected=", ".join(sorted(wanted)),
            )

    def _checked(self, values: Any, records: int) -> NDArray[np.float64]:  # noqa: ANN401
        array = np.asarray(values)
        if array.ndim == 0 or array.dtype.kind not in "fiu" or len(array) != records:
            raise ReleaseError(
                f"the graph returned {array.dtype} of shape {array.shape} for {records} records",
                where=self._where(),
                expected="numbers, one row per record",
            )
        return array.astype(np.float64)

    def _prepare(self) -> Callable[[Any], Mapping[str, Any]]:
        return prepare_function(self.prepare, self.folder)


def prepare_function(
    prepare: Callable[[Any], Any] | str | None, folder: Path | None
) -> Callable[[Any], Any]:
    """The function that a door's `prepare` names."""
    found = resolve(prepare, folder) if isinstance(prepare, str) else prepare
    if not callable(found):
        raise ReleaseError(
            f'"{prepare}" is not a function', where="release.prepare", expected="prepare(inputs)"
        )
    return found


def _columns(
    inputs: TableInputs, columns: str | Sequence[str], name: str
) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    names = [columns] if isinstance(columns, str) else list(columns)
    known = inputs.numeric_names + inputs.categorical_names
    for one in names:
        if one not in known:
            raise ConfigError(
                f'the graph\'s input "{name}" has no column "{one}"',
                where="release.inputs",
                expected=one_of(one, known),
                next_step="Say which columns it gets, or use release.prepare",
            )
    if all(one in inputs.numeric_names for one in names):
        places = np.array([inputs.numeric_names.index(one) for one in names])
        return lambda rows: inputs.numeric[np.ix_(rows, places)]
    if len(names) > 1:
        raise ConfigError(
            f'the graph\'s input "{name}" mixes categories with other columns',
            where="release.inputs",
            expected="numeric columns side by side, or one column of categories",
        )
    place = inputs.categorical_names.index(names[0])
    levels = np.array([*inputs.levels[place], ""], dtype=object)  # code -1, missing: ""
    return lambda rows: levels[inputs.codes[rows, place]][:, None]
