"""The run directory: write-once blocks, resume, integrity, secrets."""

from auscult.store.blocks import BlockPlan, Outputs
from auscult.store.run import RunStatus, RunStore, default_block_models, missing_blocks, plan_blocks

__all__ = [
    "BlockPlan",
    "Outputs",
    "RunStatus",
    "RunStore",
    "default_block_models",
    "missing_blocks",
    "plan_blocks",
]
