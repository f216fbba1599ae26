"""Runs that grow: models are added to those of a finished or a killed run.

Models come in waves, and which patients a wave trains on does not depend on how many waves there
are (:mod:`auscult.cohort.design`). So what a run has of the first waves is what a run of more
models would have trained, where it was trained in the same blocks. A short last wave is drawn
anew, with the models that it lacked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auscult.base.errors import StoreError
from auscult.store.blocks import BlockPlan

MODELS, BLOCKS = "models", "blocks"


def grows(
    path: Path, manifest: Mapping[str, Any], parts: Mapping[str, str], wave: int | None
) -> bool:
    """Whether a run is that of an audit but for the models that are to be added.

    Parameters
    ----------
    path : Path
        The run directory.
    manifest : mapping
        Of the run.
    parts : mapping of str to str
        The audit's fingerprint, by part.
    wave : int or None
        Models of a wave of the audit; None where runs of its kind do not grow.

    Raises
    ------
    StoreError
        The run has more models than the audit, or membership was drawn otherwise for it.
    """
    stored = manifest["fingerprint"]
    differing = {name for name in {*stored, *parts} if stored.get(name) != parts.get(name)}
    if wave is None or differing - {MODELS, BLOCKS}:
        return False
    there, wanted = models_of(manifest), int(parts[MODELS])
    if manifest.get("wave") != wave and max(there, wanted) > wave:
        raise StoreError(
            "the run was begun by a version of Auscult that drew otherwise who is a member of "
            "which model",
            where=str(path),
            next_step="Use another run directory. Reports and decisions of this run stay valid: "
            "`auscult report`, `compare` and `gate` read it as it is",
        )
    if MODELS not in differing:
        return False
    if wanted < there:
        raise StoreError(
            f"the run has {there} models and the audit {wanted}: models are added to a run, "
            "never taken away",
            where=str(path),
            expected=f"{there} models or more",
            next_step=f"Set audit.models = {there} to resume it, or use another run directory",
        )
    return True


def models_of(manifest: Mapping[str, Any]) -> int:
    """Number of models of a run."""
    return sum(len(block) for block in manifest["blocks"])


def stale_blocks(
    before: Sequence[BlockPlan], after: Sequence[BlockPlan], wave: int
) -> list[BlockPlan]:
    """Blocks of a run that are not those of the run with more models: they are trained again.

    Parameters
    ----------
    before, after : sequence of BlockPlan
        All blocks of the run as it is, and as it will be.
    wave : int
        Models of a wave.
    """
    models = sum(len(block.models) for block in before)
    whole = models - models % wave
    return [block for block in before if block not in after or max(block.models) >= whole]


def identity_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of what makes a run this run: its fingerprint, blocks and records.

    A run that can grow stays the same run: its models and blocks do not count.
    """
    fixed = {key: manifest[key] for key in ("fingerprint", "blocks", "records")}
    if "wave" in manifest:
        stored = manifest["fingerprint"]
        fixed = {
            "fingerprint": {k: v for k, v in stored.items() if k not in (MODELS, BLOCKS)},
            "records": manifest["records"],
            "wave": manifest["wave"],
        }
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def identity_of_block(manifest: Mapping[str, Any], block: BlockPlan) -> str:
    """The run's identity; of a block with models of a short wave, how many models there are too."""
    identity, wave = identity_of(manifest), manifest.get("wave")
    models = models_of(manifest)
    if wave is None or max(block.models) < models - models % wave:
        return identity
    return hashlib.sha256(f"{identity} of {models} models".encode()).hexdigest()
