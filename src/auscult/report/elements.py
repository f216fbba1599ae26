"""What a page of the report is made of: plain, frozen, and able to hold aggregates only.

The sections build these from the summary, :mod:`auscult.report.figures.drawing` draws the plots,
and the template lays everything out. No block has a place for a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Number = float | None
Scale = Literal["linear", "log"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis; `ticks` are values with the text that stands beside them."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Scale = "linear"


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line, with a band where `low` and `high` are given; `style` names colour and dash."""

    name: str
    style: str
    x: tuple[float, ...]
    y: tuple[Number, ...]
    low: tuple[Number, ...] = ()
    high: tuple[Number, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A reference line across a plot, with its label."""

    at: float
    label: str
    style: str = "mark"


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines over two axes."""

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value with its interval; with `bounds_only` the value is a place in a picture alone."""

    value: Number
    low: Number = None
    high: Number = None
    style: str = "main"
    title: str = ""
    bounds_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of an interval chart."""

    label: str
    note: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class IntervalChart:
    """Dots with their intervals, one row per group."""

    axis: Axis
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A field of dots: how many of each style, in order."""

    title: str
    dots: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class DotField:
    """One dot per patient (or per so many), side by side."""

    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A point in a plane, with a short mark that the legend or table explains."""

    mark: str
    x: Point
    y: Point
    style: str = "first"
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class ScatterChart:
    """Points with their intervals over two axes."""

    x: Axis
    y: Axis
    spots: tuple[Spot, ...]


Plot = LineChart | IntervalChart | DotField | ScatterChart


@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of a legend."""

    name: str
    style: str
    shape: Literal["line", "dot", "point"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the first cell of each row is the row's header."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    text_columns: frozenset[int] = frozenset({0})
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot, the sentence that explains it, its n, interval and method, and its numbers."""

    key: str
    name: str
    plot: Plot
    legend: tuple[Key, ...]
    sentence: str
    small_print: str
    table: Table
    table_open: bool = False


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Running text; `style` is empty, "note" or "absent" (something could not be estimated)."""

    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list of points; each a short name and its text (the name may be empty)."""

    items: tuple[tuple[str, str], ...]
    ordered: bool = False


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading within a section."""

    text: str


Block = Paragraph | Items | Table | Figure | Heading


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with its own heading and place in the contents."""

    key: str
    heading: str
    short: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The answer in one sentence, in the three pieces that are set differently."""

    lead: str
    rest: str
    aside: str
    tone: Literal["exposed", "calm", "open"]

    @property
    def sentence(self) -> str:
        """The whole sentence."""
        return " ".join(piece for piece in (self.lead, self.rest, self.aside) if piece)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A number of the strip under the headline."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report."""

    title: str
    kicker: str
    headline: Headline
    verdict: tuple[str, ...]
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    colophon: str
    decision: str = ""
    to_do: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    signed: bool = False  # a document for paper: nothing folded, no contents


def kind_of(block: Block | Plot) -> str:
    """Name of a block's kind, for the template."""
    return type(block).__name__.lower()
