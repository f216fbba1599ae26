"""The ONNX door: a graph with named inputs, run by onnxruntime."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, one_of
from auscult.base.progress import SILENT, Progress
from auscult.cohort import TrainingData
from auscult.cohort.inputs import ArrayInputs, Inputs, NamedInputs, TableInputs
from auscult.readers.values import texts
from auscult.recipes.failures import explained
from auscult.recipes.python import plain_inputs, rows_of
from auscult.recipes.resolve import from_beside, resolve
from auscult.release.doors import Door, ReleaseError
from auscult.release.nobody import of_nobody

NUMBERS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
TEXT = "tensor(string)"
MOST_SECONDS, SECONDS_PER_RECORD = 25.0, 5.0

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
        mapping of input names to arrays, where the graph needs something else.
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
    label = "ONNX graph"

    def check(self, data: TrainingData) -> None:
        """See :meth:`Door.check`."""
        session = self._session()
        name = self._answer(session)
        self._records_at_once(session)
        if self.prepare is not None:
            self._prepare()
        inputs = of_nobody(data.inputs)
        feed = self._feed(session, inputs) if self.prepare is None else None
        self._ask(session, name, feed, inputs, np.arange(1), data.classes)

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
        feed = self._feed(session, data.inputs) if self.prepare is None else None
        found = []
        at_once = self._records_at_once(session) or self.batch
        progress.start("Release", records)
        for start in range(0, records, at_once):
            rows = np.arange(start, min(start + at_once, records))
            found.append(self._ask(session, name, feed, data.inputs, rows, data.classes))
            progress.advance(rows.size)
        progress.finish()
        return np.concatenate(found)

    def _ask(
        self,
        session: Any,  # noqa: ANN401
        name: str,
        feed: Mapping[str, Callable[[NDArray[np.int64]], NDArray[Any]]] | None,
        inputs: Inputs,
        rows: NDArray[np.int64],
        classes: Sequence[str],
    ) -> NDArray[np.float64]:
        """The graph's answers for some records."""
        fixed = self._records_at_once(session)
        # A graph of a fixed number of records gets the last one again and again.
        asked = rows if fixed is None else rows[np.minimum(np.arange(fixed), rows.size - 1)]
        if feed is None:
            with explained("release", "prepare"):
                given = dict(self._prepare()(rows_of(plain_inputs(inputs), asked)))
            self._check_names(session, given)
        else:
            given = {key: self._typed(session, key, part(asked)) for key, part in feed.items()}
        try:
            values = _run(session, name, given, asked.size, self._where())
        except ReleaseError:
            raise
        except Exception as error:
            raise ReleaseError(
                "the graph cannot run on the records",
                where=self._where(),
                expected=f"inputs {_shapes(session)}",
                next_step="The records were given as "
                + ", ".join(f"{key} {list(np.shape(v))[1:]}" for key, v in given.items())
                + " for each record: convert them to that form with release.prepare",
            ) from error
        if isinstance(values, list) and values and isinstance(values[0], Mapping):
            values = _of_zipmap(values, classes, self._where())
        return self._checked(values, asked.size)[: rows.size]

    def _records_at_once(self, session: Any) -> int | None:  # noqa: ANN401
        """How many records the graph takes, where it was exported for one number only."""
        fixed = {
            one.shape[0]
            for one in session.get_inputs()
            if one.shape and isinstance(one.shape[0], int) and one.shape[0] > 0
        }
        if len(fixed) > 1:
            raise ReleaseError(
                f"its inputs were exported for {' and '.join(map(str, sorted(fixed)))} records",
                where=self._where(),
                expected="one number of records",
                next_step="Export it with a dynamic batch",
            )
        return fixed.pop() if fixed else None

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
            raise self._unreadable(str(error)) from None

    def _unreadable(self, said: str) -> ReleaseError:
        """Why onnxruntime refuses the file, in words that name the cause."""
        outside = re.search(r'does not exist: "?([^"]+?)"?\s*$', said.strip())
        if "xternal data" in said or ".data" in said:
            name = Path(outside.group(1)).name if outside else f"{Path(self.path).name}.data"
            return ReleaseError(
                f'the file with its weights is missing next to it, or is incomplete: "{name}"',
                where=self._where(),
                expected="the model and the external data that its export wrote, in one folder",
                next_step=f"Copy {name} there too",
            )
        if "opset" in said.lower() or "ir version" in said.lower() or "ir_version" in said.lower():
            return ReleaseError(
                "it was written for a newer version of ONNX than the installed onnxruntime reads",
                where=self._where(),
                next_step="Update onnxruntime, or export it with a lower opset",
            )
        if "not a registered function" in said or "Failed to find kernel" in said:
            return ReleaseError(
                "it uses operators that onnxruntime does not have",
                where=self._where(),
                expected="standard ONNX operators",
                next_step='Query the model through your own function: door = "function"',
            )
        return ReleaseError(
            "it cannot be read as ONNX: another kind of file, or an incomplete one",
            where=self._where(),
            expected="an ONNX graph",
        )

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
            floating = [n for n, kind in outputs.items() if kind.startswith("seq(map(")]
        if not floating:
            raise ReleaseError(
                "the graph has no output of floating-point numbers",
                where=self._where(),
                expected="probabilities or logits as a tensor or a map of classes",
            )
        return str(floating[0])

    def _feed(
        self,
        session: Any,  # noqa: ANN401
        inputs: Inputs,
    ) -> dict[str, Callable[[NDArray[np.int64]], NDArray[Any]]]:
        """For each input of the graph, what hands out its rows."""
        wanted = [one.name for one in session.get_inputs()]
        if isinstance(inputs, NamedInputs):
            raise ConfigError(
                f"the cohort has several inputs ({', '.join(inputs.parts)})",
                where="release.prepare",
                expected='"module:function", which makes the graph\'s inputs from a dictionary',
            )
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
                    f'the input "{name}" needs {kind}, but its column holds categories',
                    where=self._where(),
                    expected=TEXT,
                    next_step="Encode it: release.prepare",
                )
            return values
        if kind not in NUMBERS:
            raise ReleaseError(
                f'the input "{name}" needs {kind}, but gets numbers', where=self._where()
            )
        target = np.dtype(NUMBERS[kind])
        if target.kind in "iu" and not np.array_equal(values, np.trunc(values)):
            raise ReleaseError(
                f'the input "{name}" needs whole numbers, but its column has others or '
                "missing values",
                where=self._where(),
                next_step="Convert them: release.prepare",
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


def _run(session: Any, name: str, given: Feed, records: int, where: str) -> Any:  # noqa: ANN401
    """What the graph answers, if it ends: a graph may hold a loop without an end."""
    import onnxruntime

    most = MOST_SECONDS + SECONDS_PER_RECORD * (records - 1)
    options = onnxruntime.RunOptions()
    late = threading.Event()

    def stop() -> None:
        late.set()
        options.terminate = True

    timer = threading.Timer(most, stop)
    timer.daemon = True
    timer.start()
    try:
        return session.run([name], given, options)[0]
    except Exception:
        if late.is_set():
            raise ReleaseError(
                f"the graph had not answered {records} records after {most:.0f} seconds",
                where=where,
                expected="a graph without an endless loop",
                next_step="Ask for fewer records at once: release.batch",
            ) from None
        raise
    finally:
        timer.cancel()


def _shapes(session: Any) -> str:  # noqa: ANN401
    return ", ".join(f"{one.name} {list(one.shape or [])[1:]}" for one in session.get_inputs())


def _of_zipmap(
    rows: Sequence[Mapping[Any, float]], classes: Sequence[str], where: str
) -> NDArray[np.float64]:
    """Maps of class to probability as columns in the cohort's order of classes."""
    keys = list(rows[0])
    named = {str(key): key for key in keys}
    if set(named) == set(classes):
        order = [named[name] for name in classes]
    elif set(keys) == set(range(len(classes))):
        order = list(range(len(classes)))
    else:
        raise ReleaseError(
            f"the graph answers {len(keys)} classes that are not named as the cohort's "
            f"{len(classes)}",
            where=where,
            expected="the cohort's classes, or 0, 1, 2, ...",
            next_step="Name them alike with cohort.label_groups, or export without ZipMap",
        )
    return np.array([[row[key] for key in order] for row in rows], dtype=np.float64)


def prepare_function(
    prepare: Callable[[Any], Any] | str | None, folder: Path | None
) -> Callable[[Any], Any]:
    """The function that a door's `prepare` names."""
    found = resolve(prepare, folder) if isinstance(prepare, str) else prepare
    if not callable(found):
        raise ReleaseError(
            f'"{prepare}" is not a function', where="release.prepare", expected="prepare(inputs)"
        )
    return from_beside(found, folder)


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
        if inputs.own is None or any(inputs.own[one].dtype.kind not in "iuf" for one in names):
            return lambda rows: inputs.numeric[np.ix_(rows, places)]
        own = inputs.own[names]
        return lambda rows: own.iloc[rows].to_numpy()
    if len(names) > 1:
        raise ConfigError(
            f'the graph\'s input "{name}" mixes categories with other columns',
            where="release.inputs",
            expected="numeric columns side by side, or one column of categories",
        )
    place = inputs.categorical_names.index(names[0])
    if inputs.own is not None:
        words = np.array([one or "" for one in texts(inputs.own[names[0]])], dtype=object)
        return lambda rows: words[rows][:, None]
    levels = np.array([*inputs.levels[place], ""], dtype=object)  # code -1, missing: ""
    return lambda rows: levels[inputs.codes[rows, place]][:, None]
