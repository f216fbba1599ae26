"""``[cohort]``: which files, and how they become a cohort."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from auscult.config.dataset import DatasetPart
from auscult.config.part import Part


class CohortPart(Part):
    """``[cohort]``: the keyword arguments of Cohort.from_table and from_arrays, and the files."""

    table: str
    images: str | None = None
    array: str | None = None
    channels: Literal["auto", "none", "first", "last"] | None = None
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

    @model_validator(mode="after")
    def _images_only(self) -> CohortPart:
        for key in ("array", "channels"):
            if getattr(self, key) is not None and self.images is None:
                raise ValueError(f"{key} goes with images, which is not given")
        return self


FILES, DATASET = "of files", "of a dataset"  # steps of pydantic's path, and no keys


def _which(value: Any) -> str:  # noqa: ANN401
    named = isinstance(value, DatasetPart) or (isinstance(value, dict) and "dataset" in value)
    return DATASET if named else FILES


AnyCohortPart = Annotated[
    Annotated[CohortPart, Tag(FILES)] | Annotated[DatasetPart, Tag(DATASET)],
    Discriminator(_which),
]
