"""Release: what is to go out, through which door it is asked, and who truly trained it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort, TrainingData
from auscult.cohort.inputs import Inputs
from auscult.recipes.base import Recipe
from auscult.recipes.fit import FITS
from auscult.release.doors import Door, FileDoor, FunctionDoor
from auscult.release.looked_into import Opened, check_weights, opened
from auscult.release.members import MEMBER, UNKNOWN, MemberColumn, MemberList, Roll
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
    opened : Opened, optional
        What its weights say, where they were handed in.
    """

    values: NDArray[np.float64] = field(repr=False)
    view: View
    roll: Roll
    about: dict[str, Any]
    inputs: Inputs | None = field(default=None, repr=False)
    opened: Opened | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Release:
    """The model to be released.

    It is queried with the cohort's records after the shadow models were trained and does not affect
    them: of a finished run, only the analysis is repeated.

    Attributes
    ----------
    door : Door
        FileDoor, FunctionDoor, OnnxDoor or EndpointDoor.
    output : {"probabilities", "logits", "loss", "score", "prediction"}
        "loss" and "score" are one number per record, of a recipe that gives these; "prediction" is
        for an outcome that is a number, and requires a regressor as recipe.
    members : MemberList or MemberColumn, optional
        The patients that it was trained on. Without it, nobody can be counted as correctly or
        falsely named.
    non_members : sequence of str
        Identifiers of patients of the cohort who come from elsewhere (a test set, another site) and
        surely did not train it. Shadow models train on them as on everybody.
    name, version : str
        For the report.
    weights : path-like, optional
        Its weights for the recipe's network, where they are handed out as well: a safetensors file
        or a state dict. They must give the door's answers. Needs ``white_box`` and a TorchRecipe.
    """

    door: Door
    output: Output = "probabilities"
    members: MemberList | MemberColumn | None = None
    non_members: Sequence[str] = field(default=(), repr=False)
    name: str = ""
    version: str = ""
    weights: Path | str | None = None

    def check(self, cohort: Cohort, recipe: Recipe | None = None) -> None:
        """Raise an error for whatever is wrong and can be detected without querying the model.

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
        data = cohort.training_data()
        usual = ("probabilities", "logits")
        allowed = usual if recipe is None else recipe.releases(data)
        if self.output not in (get_args(Output) if recipe is None else allowed):
            raise ConfigError(
                f'"{self.output}" is not a kind of output'
                + ("" if allowed == usual else " of what the shadow models give"),
                where="release.output",
                expected=" or ".join(f'"{one}"' for one in allowed),
                next_step=""
                if allowed == usual
                else "The release is judged by the same number of each record",
            )
        self.door.check(data)
        if isinstance(self.door, FileDoor):  # its answers are there: no need to train first
            shown(self.door.answers(data), self.output, data)
        self._roll(cohort)
        if self.weights is not None:
            check_weights(recipe, data, Path(self.weights))

    def ask(
        self,
        cohort: Cohort,
        cache: Path | None = None,
        progress: Progress = SILENT,
        recipe: Recipe | None = None,
    ) -> Asked:
        """Ask the model about every record.

        Parameters
        ----------
        cohort : Cohort
        cache : Path, optional
            Secret folder of answers.
        progress : Progress
        recipe : Recipe, optional
            Of the network that its weights belong to.
        """
        data = cohort.training_data()
        door = self.door
        if isinstance(door, FunctionDoor):
            door = replace(door, of_labels=self.output in FITS)
        answers = door.answers(data, cache, progress)
        values, view, zeros = shown(answers, self.output, data)
        roll = self._roll(cohort)
        weights = None
        if self.weights is not None and recipe is not None:
            member = roll.reveal() == MEMBER
            rows = np.flatnonzero(member[cohort.patient_of_record]) if member.any() else None
            weights = opened(recipe, data, Path(self.weights), rows, values, view)
        return Asked(
            values=values,
            view=view,
            roll=roll,
            opened=weights,
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

    def share_of_members(self, cohort: Cohort) -> float | None:
        """Share of the cohort's patients that trained it, or None where that is not known."""
        state = self._roll(cohort).reveal()
        if (state == UNKNOWN).any() or not (state == MEMBER).any():
            return None
        return float((state == MEMBER).mean())

    def try_out(self, data: TrainingData) -> str:
        """Query one synthetic record; for `auscult check`, unless it is offline."""
        return self.door.try_out(data)

    def plan(self, data: TrainingData) -> str:
        """What querying will do, for `auscult check`."""
        return self.door.plan(data)

    def _roll(self, cohort: Cohort) -> Roll:
        roll = Roll.unknown(cohort.patients) if self.members is None else self.members.roll(cohort)
        if not self.non_members:
            return roll
        return roll.with_outside(cohort.patient_ids.reveal(), self.non_members)
