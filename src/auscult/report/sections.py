"""Sections of the report by name: what each is called, and the function that writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import get_args

from auscult.base.errors import ConfigError
from auscult.base.plugins import PluginError, Registry, check_words, guarded
from auscult.report.elements import Block, Paragraph, Section
from auscult.report.summary import Part

KEY = "audit.sections"


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A section of the report.

    Attributes
    ----------
    name, label : str
        Its key, and its name for people.
    write : callable
        From the summary to a :class:`auscult.report.elements.Section`, or None where the summary
        has nothing of it. It sees aggregates only, and gives the same section for the same summary.
    """

    name: str
    label: str
    write: Callable[[Part], Section | None]

    def __post_init__(self) -> None:
        where = f"report section {self.name!r}"
        check_words(self, where)
        if not callable(self.write):
            raise PluginError("write is not a function", where=where)


SECTIONS: Registry[ReportSection] = Registry("report section", ReportSection)
SECTIONS.when_needed(lambda: import_module("auscult.report.view"))  # which adds Auscult's own


def check_sections(names: tuple[str, ...]) -> None:
    """Raise a ConfigError or PluginError where a section cannot be added."""
    own = [one.name for one in SECTIONS.built_in()]
    for name in names:
        SECTIONS.get(name, KEY)
        if name in own:
            raise ConfigError(f'"{name}" is in every report', where=KEY, next_step="Leave it out")
        if names.count(name) > 1:
            raise ConfigError(f'"{name}" is named twice', where=KEY)


def added_sections(summary: Part) -> tuple[Section, ...]:
    """Sections of other packages that the summary asks for.

    One that cannot be written here says so in its place: the rest of the report is not lost.
    """
    found = []
    for name in summary.texts("sections"):
        try:
            section = written(SECTIONS.get(name, "report"), summary)
        except ConfigError as error:
            section = Section(
                key="",
                heading=name,
                short=name,
                blocks=(Paragraph(text=f"This section could not be written: {error}"),),
            )
        if section is not None:
            found.append(replace(section, key=f"added-{name}"))
    return tuple(found)


def written(kind: ReportSection, summary: Part) -> Section | None:
    """A section, checked to be one.

    Raises
    ------
    PluginError
        It failed, or is something else.
    """
    origin = SECTIONS.origin(kind.name)
    with guarded("report section", kind.name, "writing", origin):
        section = kind.write(summary)
    if section is None:
        return None
    if not isinstance(section, Section) or not all(
        isinstance(block, get_args(Block)) for block in section.blocks
    ):
        raise PluginError(
            f"it returned {type(section).__name__}",
            where=f'report section "{kind.name}"',
            expected="a Section of paragraphs, items, tables, figures and headings, or None",
        )
    return section
