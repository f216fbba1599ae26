"""What a drawing is made on: a sheet that collects elements, axes that place values, their plane.

Texts are escaped by markupsafe; numbers are the only other thing written.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auscult.report.elements import Axis, Number
from auscult.report.words import shortened


@dataclass(frozen=True, kw_only=True)
class Format:
    """The sizes of a drawing, in its own units (pixels at full width)."""

    width: float
    height: float
    text: float
    label_column: float
    row: float
    dot_columns: int


WIDE = Format(width=860, height=400, text=13, label_column=250, row=26, dot_columns=48)
NARROW = Format(width=340, height=320, text=12, label_column=0, row=44, dot_columns=40)


class Sheet:
    """Collects the elements of one drawing."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[Markup] = []

    def add(self, template: str, *values: object) -> None:
        """Add an element: a literal of markup, and values that are escaped."""
        self._parts.append(Markup(template).format(*values))  # noqa: S704 - a literal; values are escaped

    def text(self, x: float, y: float, content: str, style: str, anchor: str = "start") -> None:
        """Add a text; an empty one is left out.

        Parameters
        ----------
        x, y : float
            In units of the drawing.
        content : str
        style : str
            Class of the style sheet.
        anchor : {"start", "middle", "end"}
        """
        if not content:
            return
        self.add(
            '<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>',
            _n(x), _n(y), style, anchor, content,
        )  # fmt: skip

    def path(
        self, points: Sequence[tuple[float, float]], style: str, *, close: bool = False
    ) -> None:
        """Add a line through points, or the area that they enclose.

        Parameters
        ----------
        points : sequence of (float, float)
            In units of the drawing.
        style : str
            Class of the style sheet.
        close : bool
            Whether it is an area.
        """
        if points:
            steps = " ".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self.add('<path d="M{}{}" class="{}"/>', steps, "Z" if close else "", style)

    def dots(self, points: Iterable[tuple[float, float]], style: str) -> None:
        """Add round dots, one per point."""
        steps = "".join(f"M{_n(x)} {_n(y)}h0" for x, y in points)
        if steps:
            self.add('<path d="{}" class="dots {}"/>', steps, style)

    def marker(self, x: float, y: float, style: str, title: str = "") -> None:
        """Add the marker of one value; its title shows where a pointer rests on it.

        Parameters
        ----------
        x, y : float
            In units of the drawing.
        style : str
            Class of the style sheet.
        title : str
        """
        named = Markup("<title>{}</title>").format(title) if title else ""
        if style in ("study", "alike"):
            size = 5.2
            shape = f"M{_n(x)} {_n(y - size)}l{size} {size}l-{size} {size}l-{size} -{size}Z"
            if style == "alike":
                shape = f"M{_n(x - 4)} {_n(y)}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"
        else:
            shape = f"M{_n(x - 5)} {_n(y)}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z"
        self.add('<path d="{}" class="point {}">{}</path>', shape, style, named)

    def markup(self, style: str = "plot") -> Markup:
        """The drawing as one element of the page."""
        return Markup(
            '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" aria-hidden="true" '
            'focusable="false">{}</svg>'
        ).format(
            style, _n(self.width), _n(self.height), _n(self.width), _n(self.height),
            Markup("").join(self._parts),
        )  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Maps an axis to pixels."""

    axis: Axis
    start: float
    end: float

    def place(self, value: float) -> float:
        """Pixel of a value; beyond the axis it is its end."""
        low, high = self.axis.low, self.axis.high
        if self.axis.scale == "log":
            value, low, high = (math.log10(max(v, 1e-300)) for v in (value, low, high))
        part = (value - low) / (high - low)
        return self.start + min(1.0, max(0.0, part)) * (self.end - self.start)


def plane(
    across: Axis, up: Axis, form: Format, *, headroom: bool
) -> tuple[Sheet, Span, Span, float, float]:
    """Two axes with grid, ticks and labels; also where the plane begins and ends.

    Parameters
    ----------
    across, up : Axis
    form : Format
    headroom : bool
        Whether there is room above for labels.
    """
    sheet = Sheet(form.width, form.height)
    left, right = 5.0 + max(breadth(t, form.text) for _, t in up.ticks), form.width - 14
    top = form.text * (3.6 if headroom else 2.2)
    bottom = form.height - form.text * 3.4
    x, y = Span(across, left + 8, right), Span(up, bottom, top)
    sheet.text(0, form.text, up.label, "axis-label")
    for value, text in up.ticks:
        at = y.place(value)
        sheet.path([(x.start, at), (x.end, at)], "grid")
        sheet.text(left, at + form.text * 0.35, text, "tick", "end")
    sheet.path([(x.start, bottom), (x.end, bottom)], "base")
    room = (x.end - x.start) / max(1, len(across.ticks) - 1)
    every = 1 + int(max(breadth(t, form.text) for _, t in across.ticks) * 1.25 / room)
    for place, (value, text) in enumerate(across.ticks):
        at = x.place(value)
        sheet.path([(at, bottom), (at, bottom + 5)], "base")
        if (len(across.ticks) - 1 - place) % every == 0:
            centre = min(at, form.width - breadth(text, form.text) / 2)
            sheet.text(centre, bottom + form.text * 1.6, text, "tick", "middle")
    wrapped_label(sheet, across.label, x.start, x.end, form)
    return sheet, x, y, top, bottom


def wrapped_label(sheet: Sheet, label: str, start: float, end: float, form: Format) -> None:
    """Add the label of the horizontal axis, shortened to the width of the drawing.

    Parameters
    ----------
    sheet : Sheet
    label : str
    start, end : float
        Where the axis begins and ends, in units of the drawing.
    form : Format
    """
    text, centre = label, (start + end) / 2
    if breadth(text, form.text) > form.width:
        text = shortened(text, int(form.width / (0.56 * form.text)))
        centre = form.width / 2
    half = breadth(text, form.text) / 2
    centre = min(max(centre, half), form.width - half)
    sheet.text(centre, sheet.height - form.text * 0.5, text, "axis-label", "middle")


def breadth(text: str, size: float) -> float:
    """About how wide a text is: wide East Asian characters count double, marks not at all."""
    units = 0.0
    for character in text:
        if unicodedata.combining(character):
            continue
        wide = unicodedata.east_asian_width(character) in ("W", "F")
        units += 1.0 if wide else 0.56
    return units * size


def _n(value: Number | float) -> str:
    return f"{value or 0.0:.1f}".removesuffix(".0")
