"""Plots as static SVG: drawn twice, for wide pages and for telephones, coloured by the style sheet.

No mark carries a colour: classes do, so that dark mode and paper recolour figures and text alike.
No figure needs a script. Texts are escaped by markupsafe; numbers are the only other thing written.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auscult.report.blocks import (
    Axis,
    DotField,
    IntervalChart,
    Key,
    LineChart,
    Mark,
    Number,
    Panel,
    Plot,
    Point,
    Row,
    ScatterChart,
    Series,
)
from auscult.report.words import NOT_ESTIMABLE, shortened

ROWS_PER_DRAWING = 24
"""Longer interval charts are drawn in pieces, so that none is taller than a sheet of paper."""

_DOT_PITCH = 8.5
_SECOND_POINT = 12.0


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


def draw(plot: Plot, form: Format) -> tuple[Markup, ...]:
    """The plot's drawings (more than one for a long interval chart), without a name.

    The page gives each its accessible name; see the template.
    """
    if isinstance(plot, LineChart):
        return (_line_chart(plot, form),)
    if isinstance(plot, DotField):
        return (_dot_field(plot, form),)
    if isinstance(plot, ScatterChart):
        from auscult.report.scatter import scatter_chart

        return (scatter_chart(plot, form),)
    pieces = max(1, math.ceil(len(plot.rows) / ROWS_PER_DRAWING))
    size = math.ceil(len(plot.rows) / pieces)
    return tuple(
        _interval_chart(plot, plot.rows[start : start + size], form)
        for start in range(0, len(plot.rows), max(1, size))
    )


def swatch(key: Key) -> Markup:
    """The sample of a legend's entry."""
    sheet = _Sheet(28 if key.shape == "line" else 14, 14)
    if key.shape == "line":
        sheet.path([(1, 7), (27, 7)], f"line {key.style}")
    elif key.shape == "dot":
        sheet.dots([(7, 7)], key.style)
    else:
        sheet.marker(7, 7, key.style)
    return sheet.markup("swatch")


class _Sheet:
    """Collects the elements of one drawing."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[Markup] = []

    def add(self, template: str, *values: object) -> None:
        self._parts.append(Markup(template).format(*values))  # noqa: S704 - a literal; values are escaped

    def text(self, x: float, y: float, content: str, style: str, anchor: str = "start") -> None:
        if not content:
            return
        self.add(
            '<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>',
            _n(x), _n(y), style, anchor, content,
        )  # fmt: skip

    def path(
        self, points: Sequence[tuple[float, float]], style: str, *, close: bool = False
    ) -> None:
        if points:
            steps = " ".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self.add('<path d="M{}{}" class="{}"/>', steps, "Z" if close else "", style)

    def dots(self, points: Iterable[tuple[float, float]], style: str) -> None:
        steps = "".join(f"M{_n(x)} {_n(y)}h0" for x, y in points)
        if steps:
            self.add('<path d="{}" class="dots {}"/>', steps, style)

    def marker(self, x: float, y: float, style: str, title: str = "") -> None:
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
        return Markup(
            '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" aria-hidden="true" '
            'focusable="false">{}</svg>'
        ).format(
            style, _n(self.width), _n(self.height), _n(self.width), _n(self.height),
            Markup("").join(self._parts),
        )  # fmt: skip


@dataclass(frozen=True)
class _Span:
    """Maps an axis to pixels."""

    axis: Axis
    start: float
    end: float

    def place(self, value: float) -> float:
        low, high = self.axis.low, self.axis.high
        if self.axis.scale == "log":
            value, low, high = (math.log10(max(v, 1e-300)) for v in (value, low, high))
        part = (value - low) / (high - low)
        return self.start + min(1.0, max(0.0, part)) * (self.end - self.start)


def _line_chart(chart: LineChart, form: Format) -> Markup:
    sheet, x, y, top, bottom = plane(chart.x, chart.y, form, headroom=bool(chart.marks))
    for mark in chart.marks:
        _mark(sheet, mark, x.place(mark.at), top, bottom, form)
    for series in reversed(chart.series):
        _series(sheet, series, x, y)
    return sheet.markup()


def plane(
    across: Axis, up: Axis, form: Format, *, headroom: bool
) -> tuple[_Sheet, _Span, _Span, float, float]:
    """Two axes with grid, ticks and labels; also where the plane begins and ends."""
    sheet = _Sheet(form.width, form.height)
    left, right = 5.0 + max(_breadth(t, form.text) for _, t in up.ticks), form.width - 14
    top = form.text * (3.6 if headroom else 2.2)
    bottom = form.height - form.text * 3.4
    x, y = _Span(across, left + 8, right), _Span(up, bottom, top)
    sheet.text(0, form.text, up.label, "axis-label")
    for value, text in up.ticks:
        at = y.place(value)
        sheet.path([(x.start, at), (x.end, at)], "grid")
        sheet.text(left, at + form.text * 0.35, text, "tick", "end")
    sheet.path([(x.start, bottom), (x.end, bottom)], "base")
    room = (x.end - x.start) / max(1, len(across.ticks) - 1)
    every = 1 + int(max(_breadth(t, form.text) for _, t in across.ticks) * 1.25 / room)
    for place, (value, text) in enumerate(across.ticks):
        at = x.place(value)
        sheet.path([(at, bottom), (at, bottom + 5)], "base")
        if (len(across.ticks) - 1 - place) % every == 0:
            centre = min(at, form.width - _breadth(text, form.text) / 2)
            sheet.text(centre, bottom + form.text * 1.6, text, "tick", "middle")
    _wrapped_label(sheet, across.label, x.start, x.end, form)
    return sheet, x, y, top, bottom


def _series(sheet: _Sheet, series: Series, x: _Span, y: _Span) -> None:
    if series.low and series.high:
        pairs = [
            (at, low, high)
            for at, low, high in zip(series.x, series.low, series.high, strict=True)
            if low is not None and high is not None and (x.axis.scale == "linear" or at > 0)
        ]
        upper = [(x.place(at), y.place(high)) for at, _, high in pairs]
        lower = [(x.place(at), y.place(low)) for at, low, _ in reversed(pairs)]
        sheet.path([*upper, *lower], f"band {series.style}", close=True)
    for run in _runs(series, x, y):
        sheet.path(run, f"line {series.style}")


def _runs(series: Series, x: _Span, y: _Span) -> list[list[tuple[float, float]]]:
    """Unbroken pieces of a line: it stops where a value is absent or sinks under a log axis."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in zip(series.x, series.y, strict=True):
        outside = x.axis.scale == "log" and at < x.axis.low * (1 - 1e-9)
        if value is None or outside:
            runs.append([])
            continue
        sunk = y.axis.scale == "log" and value < y.axis.low
        if sunk and not runs[-1]:
            continue
        runs[-1].append((x.place(at), y.place(value)))
        if sunk:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _wrapped_label(sheet: _Sheet, label: str, start: float, end: float, form: Format) -> None:
    text, centre = label, (start + end) / 2
    if _breadth(text, form.text) > form.width:
        text = shortened(text, int(form.width / (0.56 * form.text)))
        centre = form.width / 2
    half = _breadth(text, form.text) / 2
    centre = min(max(centre, half), form.width - half)
    sheet.text(centre, sheet.height - form.text * 0.5, text, "axis-label", "middle")


def _mark(sheet: _Sheet, mark: Mark, at: float, top: float, bottom: float, form: Format) -> None:
    sheet.path([(at, top - 3), (at, bottom)], mark.style)
    half = _breadth(mark.label, form.text) / 2
    centre = min(max(at, half), form.width - half)
    sheet.text(centre, top - form.text * 0.9, mark.label, "mark-label", "middle")


def _interval_chart(chart: IntervalChart, rows: Sequence[Row], form: Format) -> Markup:
    stacked = form.label_column == 0
    notes = any(row.note for row in rows)
    top = form.text * (2.4 if chart.marks else 1.0)
    row_height = form.row + _SECOND_POINT * (max(len(row.points) for row in chart.rows) - 1)
    bottom = top + row_height * len(rows) + 4
    sheet = _Sheet(form.width, bottom + form.text * 3.6)
    labels = min(form.label_column, 20 + max(_breadth(row.label, form.text) for row in chart.rows))
    note_room = form.text * 8.0 if notes and not stacked else 0.0
    start = 10.0 if stacked else labels + note_room
    x = _Span(chart.axis, start, form.width - 18)
    for value, text in chart.axis.ticks:
        at = x.place(value)
        sheet.path([(at, top), (at, bottom)], "grid")
        half = _breadth(text, form.text) / 2
        centre = min(max(at, half), form.width - half)
        sheet.text(centre, bottom + form.text * 1.4, text, "tick", "middle")
    sheet.path([(x.start, bottom), (x.end, bottom)], "base")
    _wrapped_label(sheet, chart.axis.label, x.start, x.end, form)
    for mark in chart.marks:
        _mark(sheet, mark, x.place(mark.at), top, bottom, form)
    for place, row in enumerate(rows):
        _interval_row(sheet, row, top + row_height * place, row_height, x, form, labels)
    return sheet.markup()


def _interval_row(
    sheet: _Sheet, row: Row, top: float, height: float, x: _Span, form: Format, labels: float
) -> None:
    stacked = form.label_column == 0
    heading = form.text * 1.6 if stacked else 0.0
    middle = top + heading + (height - heading) * 0.5
    baseline = top + form.text * 1.25 if stacked else middle + form.text * 0.35
    if stacked:
        note = _breadth(row.note, form.text) + 12 if row.note else 0.0
        sheet.text(0, baseline, _fitted(row.label, form.width - note, form.text), "row-label")
        sheet.text(form.width, baseline, row.note, "row-note", "end")
    else:
        sheet.text(0, baseline, _fitted(row.label, labels - 12, form.text), "row-label")
        sheet.text(x.start - 22, baseline, row.note, "row-note", "end")
    sheet.path([(x.start, middle), (x.end, middle)], "lane")
    for place, point in enumerate(row.points):  # several in a row stand below each other
        lift = (place - (len(row.points) - 1) / 2) * _SECOND_POINT
        _interval_point(sheet, point, middle + lift, x)
    if all(point.value is None for point in row.points):
        sheet.text(x.start + 4, middle + form.text * 0.35, NOT_ESTIMABLE, "row-note")


def _interval_point(sheet: _Sheet, point: Point, y: float, x: _Span) -> None:
    if point.value is None:
        return
    if point.low is not None and point.high is not None:
        sheet.path([(x.place(point.low), y), (x.place(point.high), y)], f"whisker {point.style}")
    sheet.marker(x.place(point.value), y, point.style, point.title)


def _dot_field(field: DotField, form: Format) -> Markup:
    columns = form.dot_columns
    width = columns * _DOT_PITCH
    lines = max(1, math.ceil(max(_dots_in(panel) for panel in field.panels) / columns))
    head, gap = form.text * 2.0, form.text * 1.4
    tall = head + lines * _DOT_PITCH
    side_by_side = form.width >= 2 * width
    height = tall if side_by_side else len(field.panels) * (tall + gap) - gap
    sheet = _Sheet(form.width, height)
    for place, panel in enumerate(field.panels):
        left = place * (form.width - width) if side_by_side else (form.width - width) / 2
        top = 0.0 if side_by_side else place * (tall + gap)
        sheet.text(left, top + form.text, panel.title, "panel-title")
        used = 0
        for style, count in panel.dots:
            sheet.dots(
                [
                    (
                        left + (k % columns + 0.5) * _DOT_PITCH,
                        top + head + (k // columns + 0.5) * _DOT_PITCH,
                    )
                    for k in range(used, used + count)
                ],
                style,
            )
            used += count
    return sheet.markup()


def _dots_in(panel: Panel) -> int:
    return sum(count for _, count in panel.dots)


def _breadth(text: str, size: float) -> float:
    """About how wide a text is: wide East Asian characters count double, marks not at all."""
    units = 0.0
    for character in text:
        if unicodedata.combining(character):
            continue
        wide = unicodedata.east_asian_width(character) in ("W", "F")
        units += 1.0 if wide else 0.56
    return units * size


def _fitted(text: str, room: float, size: float) -> str:
    if _breadth(text, size) <= room:
        return text
    length = len(text)
    while length > 1 and _breadth(text[:length], size) > room - size * 0.6:
        length -= 1
    return shortened(text, length + 1) if length < len(text) else text


def _n(value: Number | float) -> str:
    return f"{value or 0.0:.1f}".removesuffix(".0")
