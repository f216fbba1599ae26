"""From stored outputs to the summary, the tables and the report; runs side by side."""

from auscult.results.result import Result
from auscult.results.roster import Planted

__all__ = [
    "Planted",
    "Result",
]
