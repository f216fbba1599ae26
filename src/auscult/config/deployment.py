"""``[deployment]``: where the model is to be used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from auscult.config.part import Part
from auscult.exposure import Deployment

Share = Annotated[float, Field(gt=0, lt=1)]


class DeploymentPart(Part):
    """``[deployment]``: what membership reveals, to whom, and who could attack with what."""

    reveals: str
    population: str
    prior: Share | Annotated[list[Share], Field(min_length=2, max_length=2)]
    prevalence: Annotated[float, Field(ge=0, lt=1)] | None = None
    access: str | None = None
    knowledge: str | None = None
    references: Annotated[int, Field(ge=0)] | Literal["all"] | None = None

    def deployment(self) -> Deployment:
        """The deployment."""
        given = self.given()
        if isinstance(given["prior"], list):
            given["prior"] = (given["prior"][0], given["prior"][1])
        return Deployment(**given)
