"""Release: what is to go out, through which door it is asked, and who truly trained it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort, TrainingData
from auscult.cohort.inputs import Inputs
from auscult.release.doors import Door, FileDoor
from auscult.release.members import MemberColumn, MemberList, Roll
from auscult.release.shown import Output, View, shown

LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What the release answered on every record, and who trained it. A secret.

    Attributes
    ----------
    values : float64 array, shape (records, outputs)
        Log-odds or logits, in the form of the shadow models' outputs.
    view : View
        How finely the release shows them.
    roll : Roll
    about : dict
        What the summary may say.
    inputs : TableInputs or ArrayInputs, optional
        What it was asked about, to see whether members can be told from others without it.
    """

    values: NDArray[np.float64] = field(repr=False)
    view: View
    roll: Roll
    about: dict[str, Any]
    inputs: Inputs | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Release:
    """The model that is to go out.

    It is asked about the cohort's records after the shadow models were trained and changes nothing
    about them: a finished run is only analysed anew.

    Attributes
    ----------
    door : Door
        FileDoor, FunctionDoor, OnnxDoor or EndpointDoor.
    output : {"probabilities", "logits"}
    members : MemberList or MemberColumn, optional
        Who truly trained it. Without it nobody can be counted as rightly or falsely named.
    name, version : str
        For the report.
    """

    door: Door
    output: Output = "probabilities"
    members: MemberList | MemberColumn | None = None
    name: str = ""
    version: str = ""

    def check(self, cohort: Cohort) -> None:
        """Say what can be seen to be wrong without asking the model.

        Raises
        ------
        AuscultError
        """
        for key, text in (("name", self.name), ("version", self.version)):
            if len(text) > LONGEST_NAME:
                raise ConfigError(
                    f"it has {len(text):,} characters",
                    where=f"release.{key}",
                    expected=f"at most {LONGEST_NAME}",
                )
        if self.output not in ("probabilities", "logits"):
            raise ConfigError(
                f'"{self.output}" is no kind of output',
                where="release.output",
                expected='"probabilities" or "logits"',
            )
        data = cohort.training_data()
        self.door.check(data)
        if isinstance(self.door, FileDoor):  # its answers are there: no need to train first
            shown(self.door.answers(data), self.output, data)
        self._roll(cohort)

    def ask(self, cohort: Cohort, cache: Path | None = None, progress: Progress = SILENT) -> Asked:
        """Ask the model about every record.

        Parameters
        ----------
        cohort : Cohort
        cache : Path, optional
            Secret folder of answers.
        progress : Progress
        """
        data = cohort.training_data()
        answers = self.door.answers(data, cache, progress)
        values, view, zeros = shown(answers, self.output, data)
        return Asked(
            values=values,
            view=view,
            roll=self._roll(cohort),
            about={
                "name": self.name,
                "version": self.version,
                **self.door.about(),
                "output": self.output,
                "decimals": view.decimals,
                "labels_only": view.labels,
                "zeros_replaced": zeros,
            },
            inputs=cohort.inputs,
        )

    def try_out(self, data: TrainingData) -> str:
        """Ask one record of no patient; for `auscult check`, unless it is offline."""
        return self.door.try_out(data)

    def plan(self, data: TrainingData) -> str:
        """What asking will do, for `auscult check`."""
        return self.door.plan(data)

    def _roll(self, cohort: Cohort) -> Roll:
        return Roll.unknown(cohort.patients) if self.members is None else self.members.roll(cohort)
