"""``[cohort]`` with ``dataset``: a public dataset from the folder of its owner's download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort
from auscult.config.cohort import CohortPart
from auscult.config.part import Part

FILES, DATASET = "of files", "of a dataset"  # steps of pydantic's path, and no keys


class DatasetPart(Part):
    """The keyword arguments of :func:`auscult.datasets.read_cohort`."""

    dataset: str
    root: str
    label: str | None = None
    image_size: (
        Annotated[list[Annotated[int, Field(ge=8)]], Field(min_length=2, max_length=2)] | None
    ) = None
    max_patients: Annotated[int, Field(ge=1)] | None = None
    cache: str | None = None

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        return [value, value] if isinstance(value, int) else value

    def read(self, folder: Path, seed: int, progress: Progress = SILENT) -> Cohort:
        """Read the cohort; paths are relative to the folder.

        Parameters
        ----------
        folder : Path
            Of ``audit.toml``.
        seed : int
            The audit's; it draws the subset of patients.
        progress : Progress
        """
        from auscult.datasets import read_cohort

        how = self.absolute(folder, self.given())
        return read_cohort(how.pop("dataset"), how.pop("root"), seed=seed, progress=progress, **how)

    def absolute(self, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        """Keys of this table with every path absolute."""
        for key in ("root", "cache"):
            if content.get(key) is not None:
                content[key] = str(folder / content[key])
        return content


def _which(value: Any) -> str:  # noqa: ANN401
    named = isinstance(value, DatasetPart) or (isinstance(value, dict) and "dataset" in value)
    return DATASET if named else FILES


AnyCohortPart = Annotated[
    Annotated[CohortPart, Tag(FILES)] | Annotated[DatasetPart, Tag(DATASET)],
    Discriminator(_which),
]
