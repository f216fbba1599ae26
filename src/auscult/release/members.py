"""Who truly trained the model that goes out, as far as it is known: a secret, shown as nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import CohortError, ConfigError
from auscult.base.opening import read_text
from auscult.cohort import Cohort
from auscult.cohort.inputs import Inputs, NamedInputs, TableInputs
from auscult.readers.doubts import folded
from auscult.readers.tables import read_table, require_columns
from auscult.readers.values import texts, written

MEMBER, OUTSIDER, UNKNOWN = 1, 0, -1
YES = {"1", "yes", "true", "y", "member", "in"}
NO = {"0", "no", "false", "n", "non-member", "out"}

Others = Literal["non-members", "unknown"]


class Roll:
    """Each patient's state: member, non-member or unknown. A secret.

    Parameters
    ----------
    state : int8 array, shape (patients,)
        1 member, 0 non-member, -1 unknown.
    unmatched : int
        Identifiers of the list that no patient of the cohort has.
    outside : bool array, shape (patients,), optional
        Non-members who are known to come from elsewhere.
    """

    def __init__(
        self,
        state: NDArray[np.int8],
        unmatched: int = 0,
        outside: NDArray[np.bool_] | None = None,
    ) -> None:
        self._state = state
        self.unmatched = unmatched
        self._outside = np.zeros(state.shape, dtype=np.bool_) if outside is None else outside

    @classmethod
    def unknown(cls, patients: int) -> Roll:
        """Nothing is known of anybody."""
        return cls(np.full(patients, UNKNOWN, dtype=np.int8))

    def reveal(self) -> NDArray[np.int8]:
        """States, shape (patients,). Write them under ``secret/`` only."""
        return self._state

    def reveal_outside(self) -> NDArray[np.bool_]:
        """Who comes from elsewhere, shape (patients,). A secret as the states are."""
        return self._outside

    def with_outside(self, ids: NDArray[np.str_], outside: Sequence[str]) -> Roll:
        """The same, some patients being non-members from elsewhere.

        Parameters
        ----------
        ids : str array, shape (patients,)
        outside : sequence of str
            Their identifiers.

        Raises
        ------
        CohortError
            None of them is in the cohort, or one is a member.
        """
        where = "release.non_members"
        theirs = np.isin(ids, sorted(outside))
        if not theirs.any():
            raise CohortError(
                f"none of its {len(outside)} patients is in the cohort that was read",
                where=where,
                expected="patients with a label, read below the cohort's own table",
            )
        if both := int((theirs & (self._state == MEMBER)).sum()):
            raise CohortError(
                f"{both} of its patients are on the list of members",
                where=where,
                expected="patients who did not train it",
            )
        state = np.where(theirs, OUTSIDER, self._state).astype(np.int8)
        if not (state[~theirs] == MEMBER).any():
            raise CohortError(
                "no other patient is known to be a member",
                where=where,
                expected="a list of members beside it",
            )
        return Roll(state, self.unmatched, theirs)

    def __repr__(self) -> str:
        return f"Roll({self._state.shape[0]} patients, values secret)"


@dataclass(frozen=True, kw_only=True, eq=False)
class MemberList:
    """A list of the members.

    Attributes
    ----------
    source : path-like or sequence of str
        Patient identifiers as in the cohort, or a file with them: ``.csv``, ``.csv.gz``,
        ``.parquet`` (one column, or `column`), or any other name: text, one per line.
    column : str, optional
        Column of the file that holds them.
    others : {"non-members", "unknown"}
        What the cohort's other patients are.
    """

    source: Path | str | Sequence[str] = field(repr=False)
    column: str | None = None
    others: Others = "non-members"

    def roll(self, cohort: Cohort) -> Roll:
        """Find the members among the cohort's patients.

        Raises
        ------
        AuscultError
            The list cannot be read, is empty, or names no patient of the cohort.
        """
        if self.others not in ("non-members", "unknown"):
            raise ConfigError(
                f'"{self.others}" says nothing about the others',
                where="release.others",
                expected='"non-members" or "unknown"',
            )
        listed, header = self._identifiers()
        ids = cohort.patient_ids.reveal()
        if header in ids:
            # As a header it would be read past, and a member be taken for somebody else.
            raise CohortError(
                "its first line is a patient of the cohort, not the name of a column",
                where=self._where(),
                expected="a header line above the identifiers",
                next_step="Add one, or call the file .txt: that is one identifier per line",
            )
        found = np.isin(ids, sorted(listed))
        rest = {folded(str(one)) for one in ids[~found].tolist()}
        near = sum(folded(one) in rest for one in listed - set(ids[found].tolist()))
        if near:
            raise CohortError(
                f"{near} of its identifiers are of a patient of the cohort but for capitals, "
                "spaces or leading zeros",
                where=self._where(),
                expected="identifiers as in the column cohort.patient",
                next_step="Write them as there; spreadsheets drop leading zeros",
            )
        if not found.any():
            raise CohortError(
                f"none of its {len(listed)} identifiers belongs to a patient of the cohort",
                where=self._where(),
                expected="identifiers as in the column cohort.patient",
            )
        state = np.full(len(ids), UNKNOWN if self.others == "unknown" else OUTSIDER, dtype=np.int8)
        state[found] = MEMBER
        return Roll(state, unmatched=len(listed) - int(found.sum()))

    def _where(self) -> str:
        if isinstance(self.source, str | Path):
            return f"release.members ({Path(self.source).name})"
        return "release.members"

    def _identifiers(self) -> tuple[set[str], str | None]:
        """What is listed, and of a table the name of its column."""
        header = None
        if not isinstance(self.source, str | Path):
            listed = {written(one) for one in self.source}
        elif str(self.source).endswith((".csv", ".csv.gz", ".parquet")):
            listed, header = self._from_table(Path(self.source))
        else:
            listed = self._from_text(Path(self.source))
        listed.discard("")
        if not listed:
            raise CohortError("it names nobody", where=self._where())
        return listed, header

    def _from_table(self, path: Path) -> tuple[set[str], str]:
        frame = read_table(path)
        if self.column is not None:
            require_columns(frame, [("release.members_column", self.column)], path.name)
        elif frame.shape[1] != 1:
            raise ConfigError(
                f"the file has {frame.shape[1]} columns",
                where=self._where(),
                expected="one column of identifiers",
                next_step="Say which one: members_column",
            )
        name = frame.columns[0] if self.column is None else self.column
        return {one for one in texts(frame[name]).tolist() if one is not None}, str(name)

    def _from_text(self, path: Path) -> set[str]:
        if self.column is not None:
            raise ConfigError(
                "a text file has no columns", where="release.members_column", expected="a table"
            )
        text = read_text(path, self._where(), CohortError).removeprefix("\ufeff")
        return {line.strip() for line in text.splitlines()}


@dataclass(frozen=True, kw_only=True, eq=False)
class MemberColumn:
    """A column of the cohort's table that says yes, no, or nothing.

    Attributes
    ----------
    table : path-like or dataframe
        The table that the cohort was read from.
    column : str
        Yes: 1, yes, true, member, in. No: 0, no, false, non-member, out. Missing: unknown.
    """

    table: object = field(repr=False)
    column: str

    def roll(self, cohort: Cohort) -> Roll:
        """Read each patient's state.

        Raises
        ------
        AuscultError
            The column is missing, is an input, has other values, or a patient's records disagree.
        """
        inputs: Inputs = cohort.inputs
        names: tuple[str, ...] = ()
        if isinstance(inputs, NamedInputs):
            inputs = inputs.parts.get("table", inputs)
        if isinstance(inputs, TableInputs):
            names = inputs.numeric_names + inputs.categorical_names
            own = inputs.own
            if own is not None and self.column in own and own[self.column].nunique(False) > 1:
                names = (*names, self.column)
        if self.column in names:
            raise ConfigError(
                f'the models would read "{self.column}", which says who is a member',
                where="release.members_flag",
                next_step=f'Put it into cohort.exclude: ["{self.column}"]',
            )
        frame = read_table(self.table)
        require_columns(frame, [("release.members_flag", self.column)], "table")
        values = texts(frame[self.column].iloc[cohort.record_rows]).tolist()
        states = [self._state(value) for value in values]
        patients = cohort.patients
        low, high = np.full(patients, 2), np.full(patients, -2)
        np.minimum.at(low, cohort.patient_of_record, states)
        np.maximum.at(high, cohort.patient_of_record, states)
        differing = int((low != high).sum())
        if differing:
            raise CohortError(
                f"the records of {differing} patients disagree",
                where=f"column {self.column}",
                expected="one value for all records of a patient: the patient is the unit",
            )
        if not (low >= 0).any():
            raise CohortError("it is empty for every patient", where=f"column {self.column}")
        return Roll(low.astype(np.int8))

    def _state(self, value: str | None) -> int:
        if value is None:
            return UNKNOWN
        if value.lower() in YES:
            return MEMBER
        if value.lower() in NO:
            return OUTSIDER
        raise CohortError(
            "it holds values that are neither yes nor no",
            where=f"column {self.column}",
            expected="1, yes, true, member, in; 0, no, false, non-member, out; or nothing",
        )
