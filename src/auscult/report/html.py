"""Lay the page out as one HTML file that needs nothing but itself: no script, font or network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from auscult.base.files import write_bytes
from auscult.report.dossier import dossier_page
from auscult.report.elements import Page
from auscult.report.view import page


def render(summary: Mapping[str, Any]) -> str:
    """Write the report of a summary as one self-contained HTML document.

    A pure function: the same summary gives the same bytes, on any machine, at any time.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json`` (schema ``auscult.summary/1``).

    Returns
    -------
    str
        HTML with its style sheet and figures inside. A strict content security policy allows the
        one style sheet by its hash, and nothing else.

    Raises
    ------
    StoreError
        The summary is damaged or of another schema.
    """
    return render_page(page(summary))


def render_page(content: Page) -> str:
    """Lay a page out; see :func:`render`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from auscult.report.elements import kind_of
    from auscult.report.figures import canvas, drawing
    from auscult.report.words import NOT_ESTIMABLE

    style = _packaged("style.css")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["of_kind"] = lambda block, name: kind_of(block) == name
    template = environment.from_string(_packaged("template.html"))
    return template.render(
        page=content,
        style=Markup(style),  # noqa: S704 - our own file, not data
        policy=_policy(style),
        draw=drawing.draw,
        wide=canvas.WIDE,
        narrow=canvas.NARROW,
        swatch=drawing.swatch,
        not_estimable=NOT_ESTIMABLE,
    )


def write_report(summary: Mapping[str, Any], path: str | Path) -> None:
    """Write the report whole or not at all.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.
    path : str or Path
        The HTML file; its folder is made when missing.

    Raises
    ------
    StoreError
        The summary cannot be read, the disk is full or the folder cannot be written.
    """
    write_bytes(Path(path), render(summary).encode())


def write_dossier(
    summary: Mapping[str, Any], path: str | Path, record: Mapping[str, Any] | None = None
) -> None:
    """Write the dossier whole or not at all; see :mod:`auscult.report.dossier`.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.
    path : str or Path
        The HTML file; its folder is made when missing.
    record : mapping, optional
        The run's manifest, for versions, seed and fingerprints.

    Raises
    ------
    StoreError
        The summary cannot be read, the disk is full or the folder cannot be written.
    """
    write_bytes(Path(path), render_page(dossier_page(summary, record)).encode())


def _packaged(name: str) -> str:
    return resources.files("auscult.report").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
