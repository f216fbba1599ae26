"""Which tables may be published together, so that no patient follows from any combination."""

from auscult.disclosure.bounds import Published, least_uncertainty, rounding_step, supported
from auscult.disclosure.control import (
    ABSENT,
    POOLED,
    Atoms,
    Row,
    Table,
    published,
    release_together,
)
from auscult.disclosure.counts import round_counts, rounded_count
from auscult.disclosure.figures import FEWER, is_small, released
from auscult.disclosure.ledger import Entry, Reports, as_before, fixed_tables, raw_digest

__all__ = [
    "ABSENT",
    "FEWER",
    "POOLED",
    "Atoms",
    "Entry",
    "Published",
    "Reports",
    "Row",
    "Table",
    "as_before",
    "fixed_tables",
    "is_small",
    "least_uncertainty",
    "published",
    "raw_digest",
    "release_together",
    "released",
    "round_counts",
    "rounded_count",
    "rounding_step",
    "supported",
]
