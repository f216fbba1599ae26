"""The run directory: write-once blocks, resume, integrity, and the secrets beside them.

A block exists or it does not: its ``.json`` is written after its ``.npy`` and is what makes it
exist. A finished block is never written again (law 8); one writer at a time holds the directory's
lock; reading needs no lock.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from auscult.base.errors import StoreError
from auscult.base.files import write_bytes, write_json
from auscult.base.opening import npz_arrays
from auscult.base.parallel import let_go, scratch
from auscult.base.version import __version__
from auscult.cohort.design import Membership
from auscult.recipes.base import BlockOutputs
from auscult.store.blocks import (
    BlockPlan,
    Outputs,
    StoredBlock,
    WrittenBlock,
    finish_block,
    read_block,
    read_outputs,
    write_block_values,
)
from auscult.store.growth import grows, identity_of, identity_of_block, stale_blocks
from auscult.store.lock import WriterLock, lock_holder, take_lock
from auscult.store.manifest import (
    MANIFEST,
    MANIFEST_SCHEMA,
    check_fingerprint,
    check_folder,
    read_manifest,
    versions,
)
from auscult.store.seal import SEAL, SUMMARY, write_seal

__all__ = [
    "BlockPlan",
    "Outputs",
    "RunStatus",
    "RunStore",
    "default_block_models",
    "missing_blocks",
    "plan_blocks",
]


def plan_blocks(models: int, block_models: int | Sequence[int]) -> tuple[BlockPlan, ...]:
    """Deal the models to blocks, in order; the last may be short.

    Parameters
    ----------
    models : int
    block_models : int or sequence of int
        Models of every block, or of the first ones; the last number holds for all that follow.
    """
    sizes = [block_models] if isinstance(block_models, int) else list(block_models)
    found: list[BlockPlan] = []
    start = 0
    while start < models:
        stop = min(start + sizes[min(len(found), len(sizes) - 1)], models)
        found.append(BlockPlan(block=len(found), models=tuple(range(start, stop))))
        start = stop
    return tuple(found)


def default_block_models(models: int) -> int:
    """Models per block: an eighth of the models, at most 8, whatever the number of workers."""
    return max(1, min(8, models // 8))


def _blocks_of(manifest: Mapping[str, Any]) -> tuple[BlockPlan, ...]:
    return tuple(
        BlockPlan(block=number, models=tuple(models))
        for number, models in enumerate(manifest["blocks"])
    )


def missing_blocks(plan: Sequence[BlockPlan], store: RunStore) -> tuple[BlockPlan, ...]:
    """Blocks of the plan that the store does not hold yet, in the plan's order."""
    return tuple(block for block in plan if not store.has_block(block.block))


@dataclass(frozen=True, kw_only=True)
class _Growth:
    """What happens to a run with the first write, when models are added to it."""

    stale: list[BlockPlan]
    configuration: str | None
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How far a run is. Nothing secret.

    Attributes
    ----------
    blocks_done, blocks_total, models_done, models_total : int
    writer : str or None
        "process 123 on host" while a process writes to the run.
    results, report : bool
        Whether ``results/summary.json`` and ``report.html`` exist.
    """

    blocks_done: int
    blocks_total: int
    models_done: int
    models_total: int
    writer: str | None
    results: bool
    report: bool


class RunStore:
    """A run directory. Use :meth:`create_or_resume` to write and :meth:`open` to read.

    Parameters
    ----------
    path : Path
    manifest : mapping
        Content of ``manifest.json``.
    lock : WriterLock, optional
        The lock of the directory; None when the store is read-only.
    """

    def __init__(
        self, path: Path, manifest: Mapping[str, Any], lock: WriterLock | None = None
    ) -> None:
        self.path = path
        self._manifest = dict(manifest)
        self._lock = lock
        self._growth: _Growth | None = None

    @classmethod
    def create_or_resume(
        cls,
        path: str | os.PathLike[str],
        *,
        fingerprint: Mapping[str, str],
        configuration: str | None,
        blocks: Sequence[BlockPlan],
        records: int,
        wave: int | None = None,
    ) -> RunStore:
        """Make a run directory, or take up the one that is there, and lock it for writing.

        A run of fewer models of the same audit grows, with the first write: what was trained is
        kept.

        Parameters
        ----------
        path : path-like
        fingerprint : mapping of str to str
            Named parts, for example "cohort", "recipe", "audit". The version of Auscult and the
            plan of the blocks are added.
        configuration : str or None
            Text of ``audit.toml``.
        blocks : sequence of BlockPlan
        records : int
            Records that every model answers.
        wave : int, optional
            Models of a wave, see :mod:`auscult.store.growth`, for runs that can grow.

        Raises
        ------
        StoreError
            The directory is something else, holds a run of another configuration or of more
            models, or another process writes to it. Nothing was changed.
        """
        path = Path(path)
        parts = {
            **fingerprint,
            "code version": __version__,
            "blocks": ",".join(str(len(block.models)) for block in blocks) + f"x{records}",
        }
        check_folder(path)
        existing = read_manifest(path) if (path / MANIFEST).exists() else None
        if existing is not None and not grows(path, existing, parts, wave):
            check_fingerprint(path, existing, parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the run directory cannot be made ({error.strerror})", where=str(path)
            ) from error
        lock = take_lock(path)
        try:
            # Read again: another process may have made or finished the run before we got the lock.
            existing = read_manifest(path) if (path / MANIFEST).exists() else None
            growing = existing is not None and grows(path, existing, parts, wave)
            if existing is None:
                existing = {
                    "schema": MANIFEST_SCHEMA,
                    "fingerprint": parts,
                    "blocks": [list(block.models) for block in blocks],
                    "records": records,
                    **({} if wave is None else {"wave": wave}),
                    "versions": versions(),
                }
                write_json(path / MANIFEST, existing)
            if not growing:
                check_fingerprint(path, existing, parts)
            store = cls(path, existing, lock)
            store._note_versions()
            store._clean()
            if growing and wave is not None:
                store._plan_growth(parts, blocks, wave, configuration)
            elif configuration is not None:
                write_bytes(path / "audit.toml", configuration.encode())
        except BaseException:
            lock.close()
            raise
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunStore:
        """Open a run directory to read.

        Raises
        ------
        StoreError
            It is not a run directory.
        """
        path = Path(path)
        if not (path / MANIFEST).is_file():
            raise StoreError(
                "this is not a run directory" if path.exists() else "there is no such directory",
                where=str(path),
                expected=f"a directory made by `auscult run`, with a {MANIFEST} in it",
            )
        return cls(path, read_manifest(path))

    @classmethod
    def take_up(cls, path: str | os.PathLike[str]) -> RunStore:
        """Open a run directory that is there and lock it for writing, whatever it is a run of.

        Raises
        ------
        StoreError
            It is not a run directory, or another process writes to it.
        """
        store = cls.open(path)
        return cls(store.path, store._manifest, take_lock(store.path))

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._lock is not None and (self.path / SUMMARY).is_file():
                write_seal(self.path, self.identity)
        finally:
            self.close()

    def __repr__(self) -> str:
        return f"RunStore({str(self.path)!r})"

    # Blocks

    @property
    def blocks(self) -> tuple[BlockPlan, ...]:
        """Plan of all blocks."""
        return _blocks_of(self._manifest)

    @property
    def records(self) -> int:
        """Records that every model answers."""
        return int(self._manifest["records"])

    @property
    def identity(self) -> str:
        """SHA-256 of what makes the run this run; see :func:`auscult.store.growth.identity_of`."""
        return identity_of(self._manifest)

    def has_block(self, block: int) -> bool:
        """Whether the block is finished."""
        stale = () if self._growth is None else self._growth.stale
        if any(one.block == block for one in stale):
            return False
        return self._block_file(block, ".json").exists()

    # Growth

    @property
    def growing(self) -> bool:
        """Whether models are to be added and nothing was written since."""
        return self._growth is not None

    def begin_anew(self, *secrets: str) -> None:
        """Keep none of the models that are there when the run grows.

        Parameters
        ----------
        *secrets : str
            Files under ``secret/`` that go with them.

        Raises
        ------
        StoreError
            The run does not grow: a finished block is never written again.
        """
        if self._growth is None:
            raise StoreError("its models are those that are wanted", where=str(self.path))
        every = list(_blocks_of(read_manifest(self.path)))
        self._growth = replace(self._growth, stale=every, secrets=secrets)

    def _plan_growth(
        self,
        parts: Mapping[str, str],
        blocks: Sequence[BlockPlan],
        wave: int,
        configuration: str | None,
    ) -> None:
        stale = stale_blocks(self.blocks, blocks, wave)
        self._manifest = {
            **self._manifest,
            "fingerprint": dict(parts),
            "blocks": [list(block.models) for block in blocks],
        }
        self._growth = _Growth(stale=stale, configuration=configuration)

    def _grow(self) -> None:
        """Become the run of more models. What a kill leaves grows with the next start."""
        growth, self._growth = self._growth, None
        if growth is None:
            return
        (self.path / SEAL).unlink(missing_ok=True)
        for plan in growth.stale:
            self._block_file(plan.block, ".json").unlink(missing_ok=True)
            self._block_file(plan.block, ".npy").unlink(missing_ok=True)
        for name in growth.secrets:
            self.secret_path(name).unlink(missing_ok=True)
        write_json(self.path / MANIFEST, self._manifest)
        if growth.configuration is not None:
            write_bytes(self.path / "audit.toml", growth.configuration.encode())

    def write_block(self, plan: BlockPlan, outputs: BlockOutputs) -> None:
        """Write a block once and for all.

        Raises
        ------
        StoreError
            The block exists, its outputs have the wrong shape or are not finite, or the disk is
            full; what was finished before is kept.
        """
        self._check_writable()
        if self.has_block(plan.block):
            raise StoreError("the block is finished and cannot be written again", where=plan.name)
        folder = self.path / "outputs"
        written = write_block_values(folder, plan, outputs, self.records)
        finish_block(folder, plan, written, identity_of_block(self._manifest, plan))

    def adopt_block(self, plan: BlockPlan, written: WrittenBlock) -> None:
        """Take a block that a worker wrote into the folder of outputs.

        A block that exists already stays as it is, and the other attempt at it goes.

        Raises
        ------
        StoreError
            What the worker wrote is not there.
        """
        self._check_writable()
        folder = self.path / "outputs"
        if self.has_block(plan.block):
            (folder / written.file).unlink(missing_ok=True)
            return
        finish_block(folder, plan, written, identity_of_block(self._manifest, plan))

    def block(self, number: int) -> StoredBlock:
        """Verify one block and open its values; see :meth:`outputs`."""
        return self._read(self.blocks[number])

    def outputs(self) -> Outputs:
        """Verify every block and open their values through memory maps.

        Raises
        ------
        StoreError
            A block is missing or damaged; says which and how to make it again.
        """
        return read_outputs([self._read(plan) for plan in self.blocks])

    def _read(self, plan: BlockPlan) -> StoredBlock:
        identity = identity_of_block(self._manifest, plan)
        return read_block(self.path / "outputs", plan, self.records, identity)

    # Secrets

    def secret_path(self, name: str) -> Path:
        """Path of a secret file; makes ``secret/`` with mode 0700. Write it with mode 0600."""
        folder = self.path / "secret"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & 0o077 and self._lock is not None:
            folder.chmod(0o700)
        return folder / name

    def write_membership(self, membership: Membership) -> None:
        """Write who is IN which model, mode 0600; the same matrix again is no change.

        To a run that has grown, models are added.

        Raises
        ------
        StoreError
            The run holds another matrix.
        """
        self._check_writable()
        path = self.secret_path("membership.npz")
        if path.exists():
            stored, wanted = self.read_membership().reveal(), membership.reveal()
            if np.array_equal(stored, wanted):
                return
            wave = self._manifest.get("wave")
            whole = 0 if wave is None else len(stored) - len(stored) % wave
            added = wave is not None and len(stored) < len(wanted)
            if not (added and np.array_equal(stored[:whole], wanted[:whole])):
                raise StoreError(
                    "the run contains a membership that differs from this audit's",
                    where=str(path),
                    next_step="Use another run directory",
                )
        content = io.BytesIO()
        np.savez_compressed(content, membership=membership.reveal())
        write_bytes(path, content.getvalue(), secret=True)

    def read_membership(self) -> Membership:
        """Who is IN which model.

        Raises
        ------
        StoreError
            The file is missing or damaged.
        """
        path = self.path / "secret" / "membership.npz"
        if not path.exists():
            raise StoreError("the run has no membership", where=str(path))
        again = "Delete it and run again: it is drawn again from the seed"
        found = npz_arrays(path, str(path), StoreError, names=["membership"], next_step=again)
        if "membership" not in found:
            raise StoreError("the file is damaged", where=str(path), next_step=again)
        stored = found["membership"]
        if stored.ndim != 2 or stored.dtype != np.bool_:
            raise StoreError(
                f"it holds {stored.dtype} of shape {stored.shape}",
                where=str(path),
                expected="bool of shape (models, patients)",
            )
        matrix = scratch(stored.shape, np.bool_)
        matrix[:] = stored
        let_go(matrix)
        return Membership(matrix)

    # Manifest and status

    def manifest(self) -> dict[str, Any]:
        """Versions, fingerprints, timings, what was left out. Nothing secret."""
        return dict(self._manifest)

    def update_manifest(self, **parts: Any) -> None:  # noqa: ANN401
        """Replace parts of the manifest; those that make the run's identity cannot be replaced."""
        self._check_writable()
        fixed = {"schema", "fingerprint", "blocks", "records", "versions"} & set(parts)
        if fixed:
            raise StoreError(f"{', '.join(sorted(fixed))} cannot be replaced", where=MANIFEST)
        updated = {**self._manifest, **parts}
        write_json(self.path / MANIFEST, updated)
        self._manifest = updated

    def status(self) -> RunStatus:
        """How far the run is, and whether a process writes to it now."""
        plan = self.blocks
        done = [block for block in plan if self.has_block(block.block)]
        return RunStatus(
            blocks_done=len(done),
            blocks_total=len(plan),
            models_done=sum(len(block.models) for block in done),
            models_total=sum(len(block.models) for block in plan),
            writer=lock_holder(self.path),
            results=(self.path / "results" / "summary.json").is_file(),
            report=(self.path / "report.html").is_file(),
        )

    def _block_file(self, block: int, suffix: str) -> Path:
        return self.path / "outputs" / f"block-{block:04d}{suffix}"

    def _check_writable(self) -> None:
        if self._lock is None:
            raise StoreError("the run was opened read-only", where=str(self.path))
        self._grow()

    def _note_versions(self) -> None:
        """Another version of a library may change the last digits: say so beside the first ones."""
        now = versions()
        resumed = list(self._manifest.get("resumed_with", []))
        if now != self._manifest["versions"] and now not in resumed:
            self.update_manifest(resumed_with=[*resumed, now])

    def _clean(self) -> None:
        """Remove what an interrupted writer left: temporary files and values without their json."""
        for stale in self.path.rglob(".*.part"):
            stale.unlink(missing_ok=True)
        for values in (self.path / "outputs").glob("block-*.npy"):
            if not values.with_suffix(".json").exists():
                values.unlink()
