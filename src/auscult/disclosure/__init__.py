"""Which tables may be published together, so that no patient follows from any combination."""

from auscult.disclosure.bounds import Published, least_uncertainty, rounding_step, supported
from auscult.disclosure.control import POOLED, Atoms, Row, Table, published, release_together
from auscult.disclosure.counts import round_counts, rounded_count
from auscult.disclosure.figures import FEWER, is_small, released

__all__ = [
    "FEWER",
    "POOLED",
    "Atoms",
    "Published",
    "Row",
    "Table",
    "is_small",
    "least_uncertainty",
    "published",
    "release_together",
    "released",
    "round_counts",
    "rounded_count",
    "rounding_step",
    "supported",
]
