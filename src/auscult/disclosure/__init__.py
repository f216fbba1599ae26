"""Which tables may be published together, so that no patient follows from any combination."""

from auscult.disclosure.bounds import Published, least_uncertainty, rounding_step, supported
from auscult.disclosure.control import POOLED, Atoms, Row, Table, published, release_together
from auscult.disclosure.counts import round_counts, rounded_count

__all__ = [
    "POOLED",
    "Atoms",
    "Published",
    "Row",
    "Table",
    "least_uncertainty",
    "published",
    "release_together",
    "round_counts",
    "rounded_count",
    "rounding_step",
    "supported",
]
