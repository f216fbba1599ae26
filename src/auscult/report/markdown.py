"""A section of the report as Markdown, for documents that it is pasted into."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from auscult.report.elements import Block, Figure, Heading, Items, Paragraph, Section, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")
_ISOLATED = re.compile("\N{FIRST STRONG ISOLATE}(.*?)\N{POP DIRECTIONAL ISOLATE}")
_FIRST = re.compile(r"^(\s*)([-+]|\d+[.)])(?=\s)")


def markdown(title: str, section: Section) -> str:
    """A section as a document of its own: aggregates only, nothing that a renderer would run.

    Parameters
    ----------
    title : str
        Of the audit.
    section : Section
    """
    pieces = [f"# {escaped(section.heading)}", f"**{escaped(title)}**"]
    pieces += [_block(block) for block in section.blocks]
    return _joined(pieces)


def sections_of(sections: Sequence[Section], level: Callable[[Section], int]) -> str:
    """Several sections, to be pasted into a document that has other parts.

    Parameters
    ----------
    sections : sequence of Section
    level : callable
        How deep the heading of a section is.
    """
    pieces = []
    for section in sections:
        pieces.append(f"{'#' * level(section)} {escaped(section.heading)}")
        pieces += [_block(block) for block in section.blocks]
    return _joined(pieces)


def _joined(pieces: Iterable[str]) -> str:
    return "\n\n".join(piece for piece in pieces if piece) + "\n"


def escaped(text: str) -> str:
    """Text without meaning to a Markdown renderer; one line."""
    line = _ISOLATED.sub(_bare, " ".join(text.split()))
    return _FIRST.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", line))


def _bare(found: re.Match[str]) -> str:
    """A name without its marks of direction, unless it is written from right to left."""
    right_to_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in found[1])
    return found[0] if right_to_left else found[1]


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return escaped(block.text)
    if isinstance(block, Heading):
        return f"## {escaped(block.text)}"
    if isinstance(block, Items):
        lines = []
        for place, (name, text) in enumerate(block.items, 1):
            mark = f"{place}." if block.ordered else "-"
            bold = f"**{escaped(name)}** " if name else ""
            lines.append(f"{mark} {bold}{escaped(text)}")
        return "\n".join(lines)
    if isinstance(block, Figure):
        return "\n\n".join((escaped(block.sentence), _table(block.table)))
    return _table(block)


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(escaped(cell) for cell in cells) + " |"

    rule = (
        "| "
        + " | ".join(
            "---" if i in table.text_columns else "---:" for i in range(len(table.columns))
        )
        + " |"
    )
    lines = [row(table.columns), rule, *(row(cells) for cells in table.rows)]
    notes = "\n\n".join(escaped(note) for note in table.notes)
    body = f"*{escaped(table.caption)}*\n\n" + "\n".join(lines)
    return f"{body}\n\n{notes}" if notes else body
