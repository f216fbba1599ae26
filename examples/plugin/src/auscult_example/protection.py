"""A protection: a random share of each patient's records, and at least one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.protection.changes import Choosing, Protection


@dataclass(frozen=True, kw_only=True)
class RecordShare(Protection):
    """Train on a share of each patient's records.

    Attributes
    ----------
    share : float
        Above 0 and below 1.
    """

    name = "record_share"
    label = "a share of each patient's records"

    share: float = 0.5

    def check(self, where: str) -> None:
        """A share lies between 0 and 1."""
        if not 0 < self.share < 1:
            raise ConfigError(
                f"{self.share:g} is not a valid share",
                where=f"{where}.options.share",
                expected="more than 0 and less than 1",
            )

    def words(self) -> str:
        """The share in percent."""
        return f"{100 * self.share:g}% of each patient's records"

    def records(self, asked: Choosing) -> NDArray[np.bool_]:
        """Drawn from the generator that is given, so that a resumed run draws the same."""
        draws = asked.rng.random(asked.patient_of_record.size)
        usable = np.ones(draws.size, dtype=bool) if asked.withheld is None else ~asked.withheld
        allowed = np.zeros(draws.size, dtype=bool)
        for patient in range(int(asked.patient_of_record.max()) + 1):
            mine = np.flatnonzero((asked.patient_of_record == patient) & usable)
            keep = max(1, round(self.share * mine.size))
            allowed[mine[np.argsort(draws[mine])[:keep]]] = True
        return allowed
