"""``[cohort]``: which files, and how they become a cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, field_validator, model_validator

from auscult.base.errors import CohortError
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort
from auscult.config.part import Part
from auscult.readers.arrays import is_array_file
from auscult.readers.tables import read_table, require_columns

FILES = ("table", "images", "signals", "events", "cache")
# Which keys go with which kind of input: any other key of these lists would be ignored.
OF_ARRAYS = ("array", "channels", "nan")
OF_IMAGES = ("image_size", "colour", "slices", "depth", "window", "fit", "header")
OF_SIGNALS = ("seconds", "rate", "leads", "start", "windows")
OF_FOLDERS = ("path", "cache")
OF_EVENTS = ("admission", "discharge", "hours", "within_hours", "time", "max_codes")
KINDS = {
    "array": (OF_ARRAYS, "images or signals in .npy or .npz"),
    "images": ((*OF_IMAGES, *OF_FOLDERS), "a folder of images"),
    "signals": ((*OF_SIGNALS, *OF_FOLDERS), "a folder of signals"),
    "events": (OF_EVENTS, "events"),
    "table": ((), "a table"),
}
NEEDED = {
    "images": ("image_size", "a number of pixels, or [height, width]: what your model sees"),
    "signals": ("seconds", "the length of what your model sees"),
}


class JoinPart(Part):
    """``[[cohort.join]]``: a second table beside the first."""

    table: str
    on: str
    to: str | None = None
    columns: list[str] | None = None
    count: list[str] = Field(default_factory=list)
    mean: list[str] = Field(default_factory=list)
    min: list[str] = Field(default_factory=list)
    max: list[str] = Field(default_factory=list)
    sum: list[str] = Field(default_factory=list)
    last: list[str] = Field(default_factory=list)


class CohortPart(Part):
    """``[cohort]``: the keyword arguments of Cohort.from_table and its like, and the files."""

    table: str | None = None
    images: str | None = None
    signals: str | None = None
    events: str | None = None
    array: str | list[str] | None = None
    channels: Literal["auto", "none", "first", "last"] | None = None
    nan: Annotated[float, Field(allow_inf_nan=False)] | None = None
    path: str | None = None
    image_size: list[int] | None = None
    colour: Literal["auto", "grey", "rgb"] | None = None
    slices: Any = None
    depth: int | None = None
    window: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    fit: Literal["stretch", "crop", "pad"] | None = None
    header: list[str] | None = None
    seconds: float | None = None
    rate: float | None = None
    leads: list[str] | None = None
    start: float | None = None
    windows: Literal["first", "each"] | None = None
    admission: str | None = None
    discharge: str | None = None
    hours: float | None = None
    within_hours: float | None = None
    time: str | None = None
    max_codes: Annotated[int, Field(ge=1)] | None = None
    cache: str | None = None
    join: list[JoinPart] | None = None
    patient: str
    label: str | list[str] | None = None
    outcome: Literal["class", "number", "time and event", "none"] | None = None
    positive: list[str] | None = None
    label_groups: dict[str, list[str]] | None = None
    label_bins: list[float] | None = None
    task: Literal["binary", "multiclass", "multilabel"] | None = None
    groups: list[str] = Field(default_factory=list)
    bins: dict[str, list[float]] | None = None
    exclude: list[str] = Field(default_factory=list)
    inputs: list[str] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
    missing_in: dict[str, list[str]] | None = None
    numeric: list[str] = Field(default_factory=list)
    categorical: list[str] = Field(default_factory=list)
    max_levels: Annotated[int, Field(ge=1)] | None = None
    min_level_patients: Annotated[int, Field(ge=1)] | None = None
    max_patients: Annotated[int, Field(ge=1)] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    decimal: Literal[",", "."] | None = None
    dates: Literal["days", "exclude"] | None = None

    @field_validator("join", mode="before")
    @classmethod
    def _one_join(cls, value: object) -> object:
        return [value] if isinstance(value, Mapping) else value

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        return [value, value] if isinstance(value, int) else value

    @field_validator("slices")
    @classmethod
    def _which_slices(cls, value: object) -> object:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError('input should be "each", "middle", "volume" or a number')
        return value

    @model_validator(mode="after")
    def _keys_that_go_together(self) -> CohortPart:
        given = [key for key in ("images", "signals", "events") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} cannot be combined: only one is the model's input"
            )
        kind = self.kind()
        own, _ = KINDS[kind]
        for keys, name in KINDS.values():
            for key in keys:
                if getattr(self, key) is not None and key not in own:
                    raise ValueError(f"{key} requires {name}, which is not given")
        if self.label is None and self.outcome != "none":
            raise ValueError(
                'label is missing (for a model that predicts none, set outcome = "none")'
            )
        if self.table is None and kind in ("table", "array"):
            raise ValueError("table is missing")
        return self

    def kind(self) -> str:
        """What the inputs are: "table", "array", "images", "signals" or "events"."""
        for key in ("images", "signals"):
            value = getattr(self, key)
            if value is not None:
                return "array" if is_array_file(value) else key
        return "table" if self.events is None else "events"

    def read(
        self, folder: Path, seed: int, progress: Progress = SILENT, beside: Path | None = None
    ) -> Cohort:
        """Read the cohort; paths are relative to the folder.

        Parameters
        ----------
        folder : Path
            Of ``audit.toml``.
        seed : int
            The audit's; it draws the subset of patients.
        progress : Progress
        beside : Path, optional
            Of a table: another one that is read below it.
        """
        how = self.absolute(folder, self.given())
        how["seed"] = seed
        kind = self.kind()
        table = how.pop("table", None)
        if kind == "table":
            return Cohort.from_table(table if beside is None else (table, beside), **how)
        files = next(how.pop(key) for key in ("images", "signals", "events") if key in how)
        if kind == "array":
            return Cohort.from_arrays(files, table, key=how.pop("array", None), **how)
        if kind in NEEDED and how.get(NEEDED[kind][0]) is None:
            key, expected = NEEDED[kind]
            raise CohortError("is missing", where=f"cohort.{key}", expected=expected)
        readers: dict[str, Callable[..., Cohort]] = {
            "images": Cohort.from_images,
            "signals": Cohort.from_signals,
            "events": Cohort.from_events,
        }
        return readers[kind](files, table, progress=progress, **how)

    def labels(self) -> tuple[str, ...]:
        """Columns of what the model predicts."""
        label = self.label or ()
        return (label,) if isinstance(label, str) else tuple(label)

    def read_frame(self, path: Path) -> pd.DataFrame:
        """Patients and labels of a table that is written in the way that the cohort's is.

        Parameters
        ----------
        path : Path
        """
        frame = read_table(
            path,
            [self.patient, *self.labels()],
            delimiter=self.delimiter,
            decimal=self.decimal,
            missing=self.missing,
        )
        wanted = [("cohort.patient", self.patient)]
        wanted += [("cohort.label", name) for name in self.labels()]
        require_columns(frame, wanted, path.name)
        return frame

    def absolute(self, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        """Keys of this table with every path absolute."""
        for key in FILES:
            if content.get(key) is not None:
                content[key] = str(folder / content[key])
        for join in content.get("join") or ():
            join["table"] = str(folder / join["table"])
        return content
