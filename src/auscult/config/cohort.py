"""``[cohort]``: which files, and how they become a cohort."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from auscult.cohort import Cohort
from auscult.config.part import Part
from auscult.errors import CohortError
from auscult.progress import SILENT, Progress

FILES = ("table", "images", "cache")
ARRAYS = (".npy", ".npz")
OF_ARRAYS = ("array", "channels")
OF_FOLDERS = (
    "path",
    "image_size",
    "colour",
    "slices",
    "depth",
    "window",
    "fit",
    "header",
    "cache",
)


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
    array: str | None = None
    channels: Literal["auto", "none", "first", "last"] | None = None
    path: str | None = None
    image_size: list[int] | None = None
    colour: Literal["auto", "grey", "rgb"] | None = None
    slices: Any = None
    depth: int | None = None
    window: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    fit: Literal["stretch", "crop", "pad"] | None = None
    header: list[str] | None = None
    cache: str | None = None
    join: list[JoinPart] | None = None
    patient: str
    label: str | list[str]
    positive: list[str] | None = None
    label_groups: dict[str, list[str]] | None = None
    label_bins: list[float] | None = None
    task: Literal["binary", "multiclass", "multilabel"] | None = None
    groups: list[str] = Field(default_factory=list)
    bins: dict[str, list[float]] | None = None
    exclude: list[str] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
    numeric: list[str] = Field(default_factory=list)
    categorical: list[str] = Field(default_factory=list)
    max_levels: Annotated[int, Field(ge=1)] | None = None
    min_level_patients: Annotated[int, Field(ge=1)] | None = None
    max_patients: Annotated[int, Field(ge=1)] | None = None

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
        is_array = self.images is not None and self.images.lower().endswith(ARRAYS)
        for key in OF_ARRAYS:
            if getattr(self, key) is not None and not is_array:
                raise ValueError(f"{key} goes with images in .npy or .npz, which are not given")
        for key in OF_FOLDERS:
            if getattr(self, key) is not None and (self.images is None or is_array):
                raise ValueError(f"{key} goes with a folder of images, which is not given")
        if self.table is None and (self.images is None or is_array):
            raise ValueError("table is missing")
        return self

    def read(self, folder: Path, seed: int, progress: Progress = SILENT) -> Cohort:
        """Read the cohort; paths are relative to the folder."""
        how = self.absolute(folder, self.given())
        how["seed"] = seed
        table, images = how.pop("table", None), how.pop("images", None)
        if images is None:
            return Cohort.from_table(table, **how)
        if str(images).lower().endswith(ARRAYS):
            return Cohort.from_arrays(images, table, key=how.pop("array", None), **how)
        if how.get("image_size") is None:
            raise CohortError(
                "the images of a folder need one size",
                where="cohort.image_size",
                expected="a number of pixels, or [height, width]: what your model is trained on",
            )
        return Cohort.from_images(images, table, progress=progress, **how)

    def absolute(self, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        """Keys of this table with every path absolute."""
        for key in FILES:
            if content.get(key) is not None:
                content[key] = str(folder / content[key])
        for join in content.get("join") or ():
            join["table"] = str(folder / join["table"])
        return content
