"""Blocks of outputs on disk: written once with a checksum, verified before they are read."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import StoreError
from auscult.base.files import sha256_of_file, write_json, write_whole
from auscult.base.opening import npy_array, parse_json, read_text
from auscult.base.parallel import let_go
from auscult.recipes.base import BlockOutputs, OutputKind

BLOCK_SCHEMA = "auscult.block/1"
PIECE_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True)
class BlockPlan:
    """A block: its number and the numbers of its models."""

    block: int
    models: tuple[int, ...]

    @property
    def name(self) -> str:
        """For example ``block-0007``."""
        return f"block-{self.block:04d}"


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredBlock:
    """A verified block.

    Attributes
    ----------
    plan : BlockPlan
    values : float32 array, shape (models, queries, records, columns)
        Memory-mapped.
    inside : float32 array, shape (models, queries, records, signals)
        What the weights say of each record, which lies behind the columns; memory-mapped.
    names : tuple of str
        Of these signals; empty where nobody asked for them.
    kind : {"softmax", "sigmoid", "multilabel", "signal"}
    notes, facts : mapping
        As the recipe returned them.
    """

    plan: BlockPlan
    values: NDArray[np.float32]
    kind: OutputKind
    notes: Mapping[str, int]
    facts: Mapping[str, Any]
    inside: NDArray[np.float32] | None = None
    names: tuple[str, ...] = ()


class Outputs:
    """What all models returned on all records.

    Parameters
    ----------
    blocks : sequence of StoredBlock
        Of one kind and shape; together they hold models 0 to n - 1, each once.
    """

    def __init__(self, blocks: Sequence[StoredBlock]) -> None:
        self._place = {
            model: (number, row)
            for number, block in enumerate(blocks)
            for row, model in enumerate(block.plan.models)
        }
        self._blocks = tuple(blocks)
        self.kind: OutputKind = blocks[0].kind
        self.models = len(self._place)
        #: Names of what the weights say of each record; see :meth:`read_inside`.
        self.inside = blocks[0].names
        _, self.queries, self.records, self.columns = blocks[0].values.shape

    @classmethod
    def in_memory(
        cls, values: NDArray[np.floating], kind: OutputKind, inside: tuple[str, ...] = ()
    ) -> Outputs:
        """Outputs that are already there, shape (models, queries, records, columns).

        Parameters
        ----------
        values : float array
        kind : {"softmax", "sigmoid", "multilabel", "signal"}
        inside : tuple of str
            Names of what the weights say of each record: the last of the columns.
        """
        plan = BlockPlan(block=0, models=tuple(range(values.shape[0])))
        whole = np.asarray(values, dtype=np.float32)
        columns = whole.shape[3] - len(inside)
        block = StoredBlock(
            plan=plan,
            values=whole[..., :columns],
            kind=kind,
            notes={},
            facts={},
            inside=whole[..., columns:],
            names=inside,
        )
        return cls([block])

    def and_one(self, values: NDArray[np.floating], inside: NDArray[np.floating]) -> Outputs:
        """The same with one more model, the last, whose answers to every query are these.

        Parameters
        ----------
        values : float array, shape (records, columns)
        inside : float array, shape (records, signals)
        """
        one = StoredBlock(
            plan=BlockPlan(block=len(self._blocks), models=(self.models,)),
            values=np.asarray(values, dtype=np.float32)[None, None],
            kind=self.kind,
            notes={},
            facts={},
            inside=np.asarray(inside, dtype=np.float32)[None, None],
            names=self.inside,
        )
        return Outputs([*self._blocks, one])

    @property
    def notes(self) -> dict[str, int]:
        """Counted events, summed over blocks."""
        total: dict[str, int] = {}
        for block in self._blocks:
            for what, count in block.notes.items():
                total[what] = total.get(what, 0) + int(count)
        return total

    @property
    def facts(self) -> dict[str, Any]:
        """Facts of the recipe; where blocks differ, the list of what they said."""
        merged: dict[str, list[Any]] = {}
        for block in self._blocks:
            for name, value in block.facts.items():
                said = merged.setdefault(name, [])
                if value not in said:
                    said.append(value)
        return {name: said[0] if len(said) == 1 else said for name, said in merged.items()}

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Outputs on records `start` to `stop` - 1, shape (models, queries, records, columns)."""
        stop = min(stop, self.records)
        shape = (self.models, self.queries, stop - start, self.columns)
        values = np.empty(shape, dtype=np.float32)
        for block in self._blocks:
            values[list(block.plan.models)] = block.values[:, :, start:stop]
            let_go(block.values)
        return values

    def read_inside(self, start: int, stop: int) -> NDArray[np.float32]:
        """What the weights say of records `start` to `stop` - 1, as :meth:`read`.

        Shape (models, queries, records, signals).
        """
        stop = min(stop, self.records)
        shape = (self.models, self.queries, stop - start, len(self.inside))
        values = np.empty(shape, dtype=np.float32)
        for block in self._blocks:
            if block.inside is not None:
                values[list(block.plan.models)] = block.inside[:, :, start:stop]
                let_go(block.inside)
        return values

    def model(self, number: int) -> NDArray[np.float32]:
        """Outputs of one model, shape (queries, records, columns)."""
        block, row = self._place[number]
        return np.array(self._blocks[block].values[row])

    def __repr__(self) -> str:
        return (
            f"Outputs({self.kind}, {self.models} models, {self.queries} queries, "
            f"{self.records} records, {self.columns} columns)"
        )


@dataclass(frozen=True, kw_only=True)
class WrittenBlock:
    """Values of a block that lie beside the others under a name of their own.

    Attributes
    ----------
    file : str
        Name inside the folder of outputs.
    description : dict
        What the block's ``.json`` will say.
    """

    file: str
    description: dict[str, Any]


def write_block_values(
    folder: Path, plan: BlockPlan, outputs: BlockOutputs, records: int
) -> WrittenBlock:
    """Write a block's values under a name that no other attempt at the block uses.

    The block does not exist before :func:`finish_block`.

    Parameters
    ----------
    folder : Path
        Of the outputs.
    plan : BlockPlan
    outputs : BlockOutputs
    records : int
        Records that every model answers.

    Raises
    ------
    StoreError
        The outputs do not fit the plan or hold NaN or infinity, or the disk is full.
    """
    values = np.ascontiguousarray(outputs.values)
    if (
        values.dtype != np.float32
        or values.ndim != 4
        or values.shape[0] != len(plan.models)
        or values.shape[2] != records
        or min(values.shape) < 1
    ):
        raise StoreError(
            f"the recipe returned {values.dtype} of shape {values.shape}",
            where=plan.name,
            expected=f"float32 of shape ({len(plan.models)}, queries, {records}, outputs)",
        )
    if not 0 <= len(outputs.inside) < values.shape[3]:
        raise StoreError(
            f"the recipe returned {values.shape[3]} columns and says that "
            f"{len(outputs.inside)} of them are no outputs",
            where=plan.name,
            expected="outputs, and what the weights say behind them",
        )
    if outputs.kind not in get_args(OutputKind):
        raise StoreError(f"the recipe returned outputs of kind {outputs.kind!r}", where=plan.name)
    finite = [bool(np.isfinite(one).all()) for one in values]
    if not all(finite):
        numbers = [model for model, fine in zip(plan.models, finite, strict=True) if not fine]
        raise StoreError(
            f"outputs that are not finite from model {', '.join(map(str, numbers))}",
            where=plan.name,
        )
    digest = hashlib.sha256()

    def write(handle: IO[bytes]) -> None:
        # np.save reports a full disk without its errno; plain writes keep it.
        writer = _Hashing(handle, digest)
        np.lib.format.write_array_header_1_0(
            writer, np.lib.format.header_data_from_array_1_0(values)
        )
        content = values.data.cast("B")
        for start in range(0, len(content), PIECE_BYTES):
            writer.write(content[start : start + PIECE_BYTES])

    file = f"{plan.name}.{uuid.uuid4().hex}.npy"
    write_whole(folder / file, write)
    return WrittenBlock(
        file=file,
        description={
            "schema": BLOCK_SCHEMA,
            "block": plan.block,
            "models": list(plan.models),
            "kind": outputs.kind,
            "shape": list(values.shape),
            "dtype": values.dtype.str,
            "sha256": digest.hexdigest(),
            "notes": dict(outputs.notes),
            "facts": dict(outputs.facts),
            "speed": dict(outputs.speed),
            **({"inside": list(outputs.inside)} if outputs.inside else {}),
        },
    )


def finish_block(folder: Path, plan: BlockPlan, written: WrittenBlock, run: str) -> None:
    """Make a block exist: ``block-0007.npy``, then the ``.json`` beside it.

    The description carries the identity of its run and a checksum over all that it says, the
    values' own checksum included.

    Parameters
    ----------
    folder : Path
        Of the outputs.
    plan : BlockPlan
    written : WrittenBlock
    run : str
        Identity of the run.

    Raises
    ------
    StoreError
        What was written is gone, or the folder cannot be written.
    """
    try:
        (folder / written.file).replace(folder / f"{plan.name}.npy")
    except OSError as error:
        raise StoreError(
            f"the file that a worker wrote is missing ({error.strerror or error})",
            where=plan.name,
            expected="a file system shared by all workers under the same path",
        ) from error
    description = {**written.description, "run": run}
    write_json(folder / f"{plan.name}.json", {**description, "seal": sealed(description)})


def sealed(description: Mapping[str, Any]) -> str:
    """SHA-256 over a description without its seal, whatever the order of its keys."""
    rest = {key: value for key, value in description.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_block(folder: Path, plan: BlockPlan, records: int, run: str) -> StoredBlock:
    """Verify a block's run, checksums, shape and dtype and map its values.

    Parameters
    ----------
    folder : Path
        Of the outputs.
    plan : BlockPlan
    records : int
        Records that every model answers.
    run : str
        Identity of the run.

    Raises
    ------
    StoreError
        The block is missing or damaged.
    """
    description, values = folder / f"{plan.name}.json", folder / f"{plan.name}.npy"
    if not description.exists():
        raise StoreError(
            "the block is not finished",
            where=plan.name,
            next_step="Run the same command again: it resumes",
        )
    try:
        text = read_text(description, plan.name, StoreError)
        said = parse_json(text, plan.name, StoreError, next_step=_again(plan))
        if said["schema"] != BLOCK_SCHEMA or tuple(said["models"]) != plan.models:
            raise _damaged(plan, "its description belongs to another block")
        if said.get("seal") != sealed(said):
            raise _damaged(plan, "its description was changed after it was written")
        if said["run"] != run:
            raise _damaged(plan, "it belongs to another run")
        if sha256_of_file(values) != said["sha256"]:
            raise _damaged(plan, "its checksum differs")
        mapped = npy_array(values, plan.name, StoreError)
        if (
            list(mapped.shape) != said["shape"]
            or mapped.dtype.str != said["dtype"]
            or mapped.dtype != np.float32
            or mapped.ndim != 4
            or mapped.shape[0] != len(plan.models)
            or mapped.shape[2] != records
            or said["kind"] not in get_args(OutputKind)
        ):
            raise _damaged(plan, "its shape or kind differs from its description")
        names = tuple(map(str, said.get("inside", ())))
        columns = mapped.shape[3] - len(names)
        if columns < 1:
            raise _damaged(plan, "its shape differs from its description")
        return StoredBlock(
            plan=plan,
            values=mapped[..., :columns] if names else mapped,
            kind=said["kind"],
            notes=dict(said["notes"]),
            facts=dict(said["facts"]),
            inside=mapped[..., columns:] if names else None,
            names=names,
        )
    except FileNotFoundError as error:
        raise _damaged(plan, "its values are missing") from error
    except StoreError:
        raise
    except Exception as error:  # whatever it holds
        raise _damaged(plan, "it cannot be read") from error


def read_outputs(blocks: Sequence[StoredBlock]) -> Outputs:
    """Put verified blocks together.

    Raises
    ------
    StoreError
        They differ in kind, queries, columns or what the weights say.
    """
    first = blocks[0]
    for block in blocks[1:]:
        shapes = block.values.shape[1:], first.values.shape[1:]
        if block.names != first.names:
            raise StoreError(
                f"the weights of {block.plan.name} tell {block.names or 'nothing'}, those of "
                f"{first.plan.name} {first.names or 'nothing'}",
                where="outputs",
                expected="the same from all models",
                next_step="Networks of one recipe must have the same last layer",
            )
        if block.kind != first.kind or shapes[0] != shapes[1]:
            raise StoreError(
                f"{block.plan.name} holds {block.kind} outputs of shape {block.values.shape[1:]}, "
                f"{first.plan.name} holds {first.kind} outputs of shape {first.values.shape[1:]}",
                where="outputs",
                expected="the same from all models",
                next_step="The recipe must return one kind of output; use another run directory",
            )
    return Outputs(blocks)


class _Hashing:
    def __init__(self, handle: IO[bytes], digest: Any) -> None:  # noqa: ANN401
        self._handle = handle
        self._digest = digest

    def write(self, piece: bytes | memoryview) -> int:
        self._digest.update(piece)
        return self._handle.write(piece)


def _damaged(plan: BlockPlan, how: str) -> StoreError:
    return StoreError(
        f"the block is damaged: {how}",
        where=f"outputs/{plan.name}",
        next_step=_again(plan),
    )


def _again(plan: BlockPlan) -> str:
    return f"Delete outputs/{plan.name}.* and run again: only this block is retrained"
