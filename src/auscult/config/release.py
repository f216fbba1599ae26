"""``[release]``: the model that is to go out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pandas as pd
from pydantic import Field, field_validator, model_validator

from auscult.base.errors import ConfigError
from auscult.config.cohort import CohortPart
from auscult.config.dataset import DatasetPart
from auscult.config.part import Part
from auscult.readers.values import texts
from auscult.release import (
    Door,
    EndpointDoor,
    FileDoor,
    FunctionDoor,
    MemberColumn,
    MemberList,
    OnnxDoor,
    Release,
    SavedDoor,
)
from auscult.release.kinds_of_doors import RELEASES
from auscult.release.saved import Framework

_SIDE_BY_SIDE = ("torchscript", "torch-export", "keras")
_DOORS = {
    "file": {"path", "array"},
    "function": {"function"},
    "onnx": {"path", "inputs", "answer", "prepare", "batch"},
    **{door: {"path", "inputs", "prepare", "batch"} for door in _SIDE_BY_SIDE},
    **{door: {"path", "prepare", "batch"} for door in ("xgboost", "lightgbm", "catboost")},
    "skops": {"path", "prepare", "batch", "trusted"},
    "endpoint": {
        "url",
        "protocol",
        "inputs",
        "datatypes",
        "records",
        "body",
        "answers",
        "answer",
        "prepare",
        "headers_from",
        "batch",
        "requests_per_second",
        "timeout_seconds",
        "retries",
        "allow_plain_http",
        "certificates",
    },
}
_NEEDED = dict.fromkeys(_DOORS, "path") | {"function": "function", "endpoint": "url"}


class ReleasePart(Part):
    """``[release]``."""

    door: str
    output: Literal["probabilities", "logits", "loss", "score", "prediction"] = "probabilities"
    name: str | None = None
    version: str | None = None
    members: str | None = None
    members_column: str | None = None
    members_flag: str | None = None
    others: Literal["non-members", "unknown"] | None = None
    non_members: str | None = None
    weights: str | None = None

    path: str | None = None
    array: str | None = None
    function: str | None = None
    inputs: dict[str, str | list[str]] | list[str] | None = None
    trusted: list[str] | None = None
    answer: str | None = None
    prepare: str | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    url: str | None = None
    protocol: Literal["json", "kserve-v2", "mlflow", "tf-serving", "record"] | None = None
    datatypes: dict[str, str] | None = None
    records: str | None = None
    body: dict[str, Any] | None = None
    answers: str | None = None
    headers_from: dict[str, str] | None = None
    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    allow_plain_http: bool | None = None
    certificates: str | None = None
    options: dict[str, Any] | None = None

    @field_validator("door")
    @classmethod
    def _a_door(cls, value: str) -> str:
        known = dict.fromkeys((*_DOORS, *RELEASES.names()))
        if value not in known:
            *most, last = (f'"{name}"' for name in known)
            raise ValueError(f"input should be {', '.join(most)} or {last}")
        return value

    @model_validator(mode="after")
    def _nothing_ignored(self) -> ReleasePart:
        for key in sorted({key for keys in _DOORS.values() for key in keys}):
            if getattr(self, key) is not None and key not in _DOORS.get(self.door, ()):
                doors = [door for door, keys in _DOORS.items() if key in keys]
                named = " or ".join(f'"{door}"' for door in doors)
                raise ValueError(f"{key} requires door = {named} and would be ignored")
        if self.door in _DOORS and self.options is not None:
            raise ValueError("options requires a door of another package and would be ignored")
        if self.door in _DOORS and getattr(self, _NEEDED[self.door]) is None:
            raise ValueError(f'door = "{self.door}" needs {_NEEDED[self.door]}')
        if self.inputs is not None and isinstance(self.inputs, dict) != (
            self.door in ("onnx", "endpoint")
        ):
            raise ValueError(
                "inputs of a graph are a table: the columns that each of its inputs gets"
                if self.door in ("onnx", "endpoint")
                else "inputs is a list of columns"
            )
        if self.protocol == "record" and self.batch is not None:
            raise ValueError("each request carries one record, so batch would be ignored")
        if self.members is not None and self.members_flag is not None:
            raise ValueError("give members or members_flag, not both")
        for key in ("members_column", "others", "non_members"):
            if getattr(self, key) is not None and self.members is None:
                raise ValueError(f"{key} requires members, which is not given")
        return self

    def release(self, folder: Path, cohort: CohortPart | DatasetPart, rows: Any) -> Release:  # noqa: ANN401
        """The release; paths and modules are looked up in `folder`.

        Parameters
        ----------
        folder : Path
            Of ``audit.toml``.
        cohort : CohortPart or DatasetPart
        rows : array of int
            Row of the table that each record comes from.

        Raises
        ------
        ConfigError
            `members_flag` is given and the cohort's records are not the rows of a table.
        """
        table = None
        if isinstance(cohort, CohortPart) and cohort.kind() in ("table", "array"):
            table = folder / str(cohort.table)
        outside: tuple[str, ...] = ()
        if self.non_members is not None:
            outside = self._outside(folder, cohort)
        members: MemberList | MemberColumn | None = None
        if self.members is not None:
            members = MemberList(
                source=folder / self.members,
                column=self.members_column,
                others=self.others or "non-members",
            )
        elif self.members_flag is not None:
            if table is None:
                raise ConfigError(
                    "the cohort's records are not the rows of a table",
                    where="release.members_flag",
                    next_step="Name the members in a file: release.members",
                )
            members = MemberColumn(table=table, column=self.members_flag)
        return Release(
            door=self._door(folder, None if table is None else rows),
            output=self.output,
            members=members,
            non_members=outside,
            name=self.name or "",
            version=self.version or "",
            weights=None if self.weights is None else folder / self.weights,
        )

    def beside(self, folder: Path, cohort: CohortPart | DatasetPart) -> Path | None:
        """The table of patients from outside, which is read below the cohort's; None without one.

        Parameters
        ----------
        folder : Path
        cohort : CohortPart or DatasetPart

        Raises
        ------
        ConfigError
            The cohort is not read from a table.
        """
        if self.non_members is None:
            return None
        if not isinstance(cohort, CohortPart) or cohort.kind() != "table":
            raise ConfigError(
                "only a cohort that is a table can have non-members in a table of their own",
                where="release.non_members",
                next_step="Put their records among the cohort's own files; who is not on the list "
                "of members is a non-member",
            )
        return folder / self.non_members

    def _outside(self, folder: Path, cohort: CohortPart | DatasetPart) -> tuple[str, ...]:
        """Identifiers of the patients from outside, none of whom is in the cohort's own table."""
        path = self.beside(folder, cohort)
        if path is None or not isinstance(cohort, CohortPart):
            return ()
        frames = [cohort.read_frame(one) for one in (folder / str(cohort.table), path)]
        _refuse_other_labels(frames, cohort, path)
        own, theirs = (set(texts(one[cohort.patient]).tolist()) - {None} for one in frames)
        if both := len(own & theirs):
            raise ConfigError(
                f"{both} of its {len(theirs)} patients are in {cohort.table} as well",
                where=f"release.non_members ({path.name})",
                expected="patients from outside the cohort",
                next_step="Remove them: a patient is a member or not, with all records",
            )
        return tuple(sorted(theirs))

    def _door(self, folder: Path, rows: Any) -> Door:  # noqa: ANN401
        if self.door not in _DOORS:
            added: Door = RELEASES.made(
                self.door,
                self.options or {},
                named="release.door",
                where="release.options",
                folder=folder,
            )
            return added
        given = {
            key: getattr(self, key) for key in _DOORS[self.door] if getattr(self, key) is not None
        }
        if "path" in given:
            given["path"] = folder / given["path"]
        if self.door == "file":
            return FileDoor(rows=rows, **given)
        if self.door == "function":
            return FunctionDoor(folder=folder, **given)
        if self.door == "onnx":
            return OnnxDoor(folder=folder, **given)
        if self.door != "endpoint":
            return SavedDoor(kind=cast("Framework", self.door), folder=folder, **given)
        if "certificates" in given:
            given["certificates"] = folder / given["certificates"]
        if "answers" in given:
            given["answers_at"] = given.pop("answers")
        return EndpointDoor(folder=folder, version=self.version or "", **given)


def _refuse_other_labels(frames: list[pd.DataFrame], cohort: CohortPart, path: Path) -> None:
    """Labels that are written in another way would make another task, or other classes."""
    if cohort.outcome not in (None, "class") or cohort.label_bins:
        return
    declared = {*(cohort.positive or ()), *cohort.missing}
    declared |= {one for group in (cohort.label_groups or {}).values() for one in group}
    for label in cohort.labels():
        own, theirs = (set(texts(one[label]).tolist()) for one in frames)
        if new := len(theirs - own - declared - {None}):
            raise ConfigError(
                f'{new} of its values of "{label}" do not occur in {cohort.table}',
                where=f"release.non_members ({path.name})",
                expected="labels as they are written there",
                next_step="Write them alike, or declare them: cohort.positive, cohort.label_groups",
            )
