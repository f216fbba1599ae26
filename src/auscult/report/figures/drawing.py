"""Plots as static SVG: drawn twice, for wide pages and for telephones, coloured by the style sheet.

No mark carries a colour: classes do, so that dark mode and paper recolour figures and text alike.
No figure needs a script. Texts are escaped by markupsafe; numbers are the only other thing written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from auscult.report.elements import (
    DotField,
    IntervalChart,
    Key,
    LineChart,
    Mark,
    Panel,
    Plot,
    Point,
    Row,
    ScatterChart,
    Series,
)
from auscult.report.figures.canvas import Format, Sheet, Span, breadth, plane, wrapped_label
from auscult.report.figures.scatter import scatter_chart
from auscult.report.words import NOT_ESTIMABLE, shortened

ROWS_PER_DRAWING = 24
"""Longer interval charts are drawn in pieces, so that none is taller than a sheet of paper."""

_DOT_PITCH = 8.5
_SECOND_POINT = 12.0


def draw(plot: Plot, form: Format) -> tuple[Markup, ...]:
    """The plot's drawings (more than one for a long interval chart), without a name.

    The page gives each its accessible name; see the template.
    """
    if isinstance(plot, LineChart):
        return (_line_chart(plot, form),)
    if isinstance(plot, DotField):
        return (_dot_field(plot, form),)
    if isinstance(plot, ScatterChart):
        return (scatter_chart(plot, form),)
    pieces = max(1, math.ceil(len(plot.rows) / ROWS_PER_DRAWING))
    size = math.ceil(len(plot.rows) / pieces)
    return tuple(
        _interval_chart(plot, plot.rows[start : start + size], form)
        for start in range(0, len(plot.rows), max(1, size))
    )


def swatch(key: Key) -> Markup:
    """The sample of a legend's entry."""
    sheet = Sheet(28 if key.shape == "line" else 14, 14)
    if key.shape == "line":
        sheet.path([(1, 7), (27, 7)], f"line {key.style}")
    elif key.shape == "dot":
        sheet.dots([(7, 7)], key.style)
    else:
        sheet.marker(7, 7, key.style)
    return sheet.markup("swatch")


def _line_chart(chart: LineChart, form: Format) -> Markup:
    sheet, x, y, top, bottom = plane(chart.x, chart.y, form, headroom=bool(chart.marks))
    for mark in chart.marks:
        _mark(sheet, mark, x.place(mark.at), top, bottom, form)
    for series in reversed(chart.series):
        _series(sheet, series, x, y)
    return sheet.markup()


def _series(sheet: Sheet, series: Series, x: Span, y: Span) -> None:
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


def _runs(series: Series, x: Span, y: Span) -> list[list[tuple[float, float]]]:
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


def _mark(sheet: Sheet, mark: Mark, at: float, top: float, bottom: float, form: Format) -> None:
    sheet.path([(at, top - 3), (at, bottom)], mark.style)
    half = breadth(mark.label, form.text) / 2
    centre = min(max(at, half), form.width - half)
    sheet.text(centre, top - form.text * 0.9, mark.label, "mark-label", "middle")


def _interval_chart(chart: IntervalChart, rows: Sequence[Row], form: Format) -> Markup:
    stacked = form.label_column == 0
    notes = any(row.note for row in rows)
    top = form.text * (2.4 if chart.marks else 1.0)
    row_height = form.row + _SECOND_POINT * (max(len(row.points) for row in chart.rows) - 1)
    bottom = top + row_height * len(rows) + 4
    sheet = Sheet(form.width, bottom + form.text * 3.6)
    labels = min(form.label_column, 20 + max(breadth(row.label, form.text) for row in chart.rows))
    note_room = form.text * 8.0 if notes and not stacked else 0.0
    start = 10.0 if stacked else labels + note_room
    x = Span(chart.axis, start, form.width - 18)
    for value, text in chart.axis.ticks:
        at = x.place(value)
        sheet.path([(at, top), (at, bottom)], "grid")
        half = breadth(text, form.text) / 2
        centre = min(max(at, half), form.width - half)
        sheet.text(centre, bottom + form.text * 1.4, text, "tick", "middle")
    sheet.path([(x.start, bottom), (x.end, bottom)], "base")
    wrapped_label(sheet, chart.axis.label, x.start, x.end, form)
    for mark in chart.marks:
        _mark(sheet, mark, x.place(mark.at), top, bottom, form)
    for place, row in enumerate(rows):
        _interval_row(sheet, row, top + row_height * place, row_height, x, form, labels)
    return sheet.markup()


def _interval_row(
    sheet: Sheet, row: Row, top: float, height: float, x: Span, form: Format, labels: float
) -> None:
    stacked = form.label_column == 0
    heading = form.text * 1.6 if stacked else 0.0
    middle = top + heading + (height - heading) * 0.5
    baseline = top + form.text * 1.25 if stacked else middle + form.text * 0.35
    if stacked:
        note = breadth(row.note, form.text) + 12 if row.note else 0.0
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


def _interval_point(sheet: Sheet, point: Point, y: float, x: Span) -> None:
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
    sheet = Sheet(form.width, height)
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


def _fitted(text: str, room: float, size: float) -> str:
    if breadth(text, size) <= room:
        return text
    length = len(text)
    while length > 1 and breadth(text[:length], size) > room - size * 0.6:
        length -= 1
    return shortened(text, length + 1) if length < len(text) else text
