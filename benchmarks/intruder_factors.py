"""What an intruder reads from what the exposed have in common: differences and numbers of patients.

He knows who has each factor, and with which weight everybody's figure enters its difference: he
asks for the differences of as many cohorts as there are patients, in each of which one patient
alone is at risk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.cohort.inputs import TableInputs
from auscult.imported import importing
from auscult.results import analysis
from auscult.risk.factors import IMPLIED, Traits, traits


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """Factors of a report's patients as the intruder knows them.

    Attributes
    ----------
    people : int64 array
        The report's patients, among all.
    traits : Traits
    """

    people: NDArray[np.int64]
    traits: Traits

    def known(self, everybody: int) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]]:
        """Who has each factor, and everybody's weight in its difference."""
        found = {}
        people = self.people[self.traits.chosen]
        for part in self.traits.parts[: self.traits.asked]:
            if part.reason:
                continue
            has, weights = np.zeros(everybody, dtype=bool), np.zeros(everybody)
            has[people] = part.factor.has
            weights[people] = part.estimates(np.eye(people.size))[0]
            found[part.factor.name] = (has, weights)
        return found


@contextmanager
def looked_at(
    people: NDArray[np.int64], groups: pd.DataFrame, years: NDArray[np.int64]
) -> Iterator[list[Looked]]:
    """Reports that are made meanwhile know their patients' groups as inputs; what is looked at.

    Parameters
    ----------
    people : int64 array
        The report's patients, among all.
    groups : DataFrame
        Groups of all patients.
    years : int64 array
    """
    found: list[Looked] = []
    roster_of = importing._roster

    def roster(*given: Any) -> Any:  # noqa: ANN401
        made = roster_of(*given)
        whose = people[made.patient_of_record]
        levels = [pd.factorize(groups[name], sort=True) for name in groups.columns]
        inputs = TableInputs(
            numeric=years[whose][:, None].astype(np.float32),
            numeric_names=("years",),
            codes=np.stack([code[whose] for code, _ in levels], axis=1).astype(np.int32),
            categorical_names=tuple(str(name) for name in groups.columns),
            levels=tuple(tuple(map(str, names)) for _, names in levels),
        )
        return replace(made, inputs=inputs)

    def looking(*given: Any) -> Traits:  # noqa: ANN401
        made = traits(*given)
        found.append(Looked(people=people, traits=made))
        return made

    with patch.object(importing, "_roster", roster), patch.object(analysis, "traits", looking):
        yield found


def differences(run: Path, looked: Looked, everybody: int) -> list[tuple[NDArray[Any], float]]:
    """Every published difference, as rows of the programme over patients."""
    known = looked.known(everybody)
    rows = []
    for one in published(run):
        _, weights = known[one["name"]]
        largest = float(np.abs(weights).max())
        rows.append((weights / largest, one["rounded_to"] / 2 / largest))
    return rows


def numbers(
    run: Path, looked: Looked, everybody: int
) -> list[tuple[str, NDArray[np.bool_], int, int]]:
    """Who has each published factor, and between which numbers theirs lies."""
    found = []
    for name, (has, _) in looked.known(everybody).items():
        told = next((one for one in published(run) if one["name"] == name), None)
        if told is None:
            continue
        base = 1 if name in IMPLIED else told.get("counts_rounded_to", 1)
        number = int(has.sum()) if name in IMPLIED else told["patients"]
        found.append((name, has, number - base // 2, number + (base - 1) // 2))
    return found


def published(run: Path) -> list[dict[str, Any]]:
    """The factors of a summary."""
    summary = json.loads((run / "results" / "summary.json").read_text())
    return list(summary["in_common"]["factors"])
