"""The site: README, the pages of ``docs`` and the API reference, built by Sphinx.

    sphinx-build -W --keep-going -c docs . build/site

The source is the repository itself, so that the links of the Markdown files, which also work where
the repository is browsed, work on the site as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auscult import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Auscult"
author = "the authors of Auscult"
release = __version__
html_title = f"Auscult {release}"
html_theme = "furo"
html_copy_source = False
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/tutorials/*.md",
    "benchmarks/RESULTS.md",
    "experiments/README.md",
    "examples/**.md",
]
# Anchors of headings as the hosts of repositories make them.
myst_heading_anchors = 4

autodoc_typehints = "none"  # numpydoc's sections say types, and shapes with them
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# A word of a type, "records" in "shape (models, records)", is taken for a reference.
suppress_warnings = ["ref.python"]

CONTENTS = {
    "Tutorials": ["tutorials/records", "tutorials/images", "tutorials/release"],
    "Data": ["cohort", "clinical", "datasets", "importing", "public-model"],
    "The audit": [
        "configuration",
        "recipes",
        "engines",
        "report",
        "view",
        "notebooks",
        "command-line",
        "method",
    ],
    "The decision": ["deployment", "release", "gate", "pipelines", "protection", "guarantees"],
    "What leaves": ["disclosure", "bundle", "threat-model"],
    "Reference": [
        "api",
        "summary",
        "decisions",
        "../benchmarks/RESULTS",
        "../experiments/README",
        "../SECURITY",
        "../examples/plugin/README",
        "../CONTRIBUTING",
        "../CHANGELOG",
    ],
}


def setup(app: Sphinx) -> None:
    """Give the README a table of contents, and the site a front door."""
    from pygments.lexers.data import JsonLexer

    app.add_lexer("jsonc", JsonLexer)
    app.connect("source-read", _with_contents)
    app.connect("build-finished", _with_front_door)


def _with_front_door(app: Sphinx, failed: Exception | None) -> None:
    """Whoever opens the folder itself is sent to the README."""
    if failed is None and app.builder.format == "html":
        to = f"{root_doc}.html"
        page = f'<meta http-equiv="refresh" content="0; url={to}"><a href="{to}">{project}</a>\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def _with_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """The README is read elsewhere too: its table of contents is not in the file."""
    if name != root_doc:
        return
    listed = {page for pages in CONTENTS.values() for page in pages}
    others = sorted(
        page.removeprefix("docs/")
        for page in app.env.found_docs
        if page.startswith("docs/") and page.removeprefix("docs/") not in listed
    )
    for caption, pages in {**CONTENTS, "More": others}.items():
        if not pages:
            continue
        paths = [
            page.removeprefix("../") if page.startswith("../") else f"docs/{page}" for page in pages
        ]
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        source[0] += "\n".join(paths) + "\n```\n"
