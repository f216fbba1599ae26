"""Which tables may be published together, so that no patient follows from any combination."""

from auscult.disclosure.bounds import (
    Published,
    least_uncertainty,
    rounding_step,
    step_of_at_least,
    supported,
)
from auscult.disclosure.control import (
    ABSENT,
    POOLED,
    Atoms,
    Row,
    Table,
    published,
    release_together,
)
from auscult.disclosure.counts import BASE, round_counts, rounded_count
from auscult.disclosure.effects import Effects, Rounding, release_effects
from auscult.disclosure.figures import released
from auscult.disclosure.ledger import (
    Entry,
    Reports,
    as_before,
    fixed_sums,
    fixed_tables,
    ledger_name,
    raw_digest,
)
from auscult.disclosure.margins import ends
from auscult.disclosure.nested import FEWER, ROUNDED, is_small, outward
from auscult.disclosure.strangers import other_people

__all__ = [
    "ABSENT",
    "BASE",
    "FEWER",
    "POOLED",
    "ROUNDED",
    "Atoms",
    "Effects",
    "Entry",
    "Published",
    "Reports",
    "Rounding",
    "Row",
    "Table",
    "as_before",
    "ends",
    "fixed_sums",
    "fixed_tables",
    "is_small",
    "least_uncertainty",
    "ledger_name",
    "other_people",
    "outward",
    "published",
    "raw_digest",
    "release_effects",
    "release_together",
    "released",
    "round_counts",
    "rounded_count",
    "rounding_step",
    "step_of_at_least",
    "supported",
]
