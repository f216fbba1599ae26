"""Points with their intervals in a plane, each with a short mark beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from auscult.report.elements import Point, ScatterChart, Spot
from auscult.report.figures.canvas import Format, Sheet, Span, plane

_ANGLES = (-45, 45, 135, -135, -90, 90, 0, 180)
_RADII = (13.0, 21.0, 30.0, 40.0)


def scatter_chart(chart: ScatterChart, form: Format) -> Markup:
    """Draw the chart: whiskers first, then points, then marks where there is room for them."""
    sheet, x, y, top, bottom = plane(chart.x, chart.y, form, headroom=False)
    placed = [
        (spot, x.place(spot.x.value or 0.0), y.place(spot.y.value or 0.0)) for spot in chart.spots
    ]
    for spot, across, up in placed:
        _whisker(sheet, spot.x, x, up, f"whisker thin {spot.style}", upright=False)
        _whisker(sheet, spot.y, y, across, f"whisker thin {spot.style}", upright=True)
    for spot, across, up in reversed(placed):
        if not spot.y.bounds_only:  # the middle of an interval is no estimate
            sheet.marker(across, up, spot.style, spot.title)
    taken = [(across, up) for _, across, up in placed]
    for spot, across, up in placed:
        at = _free_place(across, up, taken, (x.start, x.end, top, bottom))
        if math.dist(at, (across, up)) > _RADII[0] + 1:
            sheet.path([(across, up), at], "lane")
        taken.append(at)
        sheet.text(at[0], at[1] + form.text * 0.35, spot.mark, "spot-label", "middle")
    return sheet.markup()


def without_dots(spots: tuple[Spot, ...]) -> str:
    """What a line without a dot means; empty where every point has one."""
    if any(spot.y.bounds_only for spot in spots):
        return "A line without a dot: only bounds of the number are known or shown. "
    return ""


def drawable(spot: Spot) -> bool:
    """Whether a point has a place in the plane."""
    return spot.x.value is not None and spot.y.value is not None


def _whisker(
    sheet: Sheet, point: Point, span: Span, other: float, style: str, *, upright: bool
) -> None:
    if point.low is None or point.high is None:
        return
    ends = [span.place(point.low), span.place(point.high)]
    sheet.path([(other, end) if upright else (end, other) for end in ends], style)


def _free_place(
    across: float,
    up: float,
    taken: Sequence[tuple[float, float]],
    bounds: tuple[float, float, float, float],
) -> tuple[float, float]:
    """The nearest place around a point that is far enough from points and marks."""
    left, right, top, bottom = bounds
    best, most = (across, up), -1.0
    for radius in _RADII:
        for angle in _ANGLES:
            turn = math.radians(angle)
            at = (across + radius * math.cos(turn), up + radius * math.sin(turn))
            if not (left + 4 <= at[0] <= right - 4 and top - 8 <= at[1] <= bottom - 6):
                continue
            room = min(
                (math.dist(at, other) for other in taken if other != (across, up)), default=99.0
            )
            if room >= 15.0:
                return at
            if room > most:
                best, most = at, room
    return best
