"""Which tables may be published together, so that no patient follows from any combination."""

from auscult.disclosure.bounds import Published, least_uncertainty, rounding_step, supported
from auscult.disclosure.control import Table, release_together

__all__ = [
    "Published",
    "Table",
    "least_uncertainty",
    "release_together",
    "rounding_step",
    "supported",
]
