"""From stored outputs to the summary, the tables and the report; runs side by side."""

from auscult.results.result import Planted, Result

__all__ = [
    "Planted",
    "Result",
]
