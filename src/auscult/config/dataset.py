"""``[cohort]`` with ``dataset``: a public dataset from the folder that its owner's download made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from auscult.cohort import Cohort
from auscult.config.part import Part


class DatasetPart(Part):
    """The keyword arguments of :func:`auscult.datasets.read_cohort`."""

    dataset: str
    root: str
    label: str | None = None
    image_size: Annotated[int, Field(ge=8)] | list[Annotated[int, Field(ge=8)]] | None = None
    max_patients: Annotated[int, Field(ge=1)] | None = None
    cache: str | None = None

    def read(self, folder: Path, seed: int) -> Cohort:
        """The cohort; paths are relative to `folder`."""
        from auscult.datasets import read_cohort
        from auscult.display import progress_for

        arguments = self.given()
        name, root = arguments.pop("dataset"), folder / arguments.pop("root")
        cache = arguments.pop("cache", None)
        return read_cohort(
            name,
            root,
            cache=None if cache is None else folder / cache,
            seed=seed,
            progress=progress_for(),
            **arguments,
        )
