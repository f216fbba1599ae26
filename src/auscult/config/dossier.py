"""``[dossier]``: what a person declares about the system for the document that is signed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from auscult.config.part import Part

Words = Annotated[str, Field(min_length=1, max_length=500)]


class DossierPart(Part):
    """``[dossier]``: who answers for the system, what it is for, who signs."""

    system: Words | None = None
    version: Words | None = None
    controller: Words | None = None
    owner: Words | None = None
    purpose: Words | None = None
    lawful_basis: Words | None = None
    contact: Words | None = None
    approver: Words | None = None
