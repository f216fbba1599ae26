"""One patient's signals over the models: a dot per model, IN and OUT below each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from auscult.report.figures.axes import round_axis
from auscult.report.figures.canvas import NARROW, WIDE, Format, Sheet, Span, wrapped_label

MOST_HIGH = 9  # dots above each other before they overlap
DOT = 6.4
CURVES = 4  # leads or channels of a recording that are drawn
STEPS = 600


def strips(
    parts: Sequence[tuple[str, str, NDArray[np.float64]]], label: str
) -> tuple[Markup, Markup]:
    """Draw values as stacked dots, one strip per part, for wide pages and for telephones.

    Parameters
    ----------
    parts : sequence of (name, style, float64 array)
        Finite values; styles are classes of the style sheet.
    label : str
        Of the axis.
    """
    return _strips(parts, label, WIDE), _strips(parts, label, NARROW)


def _strips(
    parts: Sequence[tuple[str, str, NDArray[np.float64]]], label: str, form: Format
) -> Markup:
    every = np.concatenate([values for _, _, values in parts])
    axis = round_axis(label, float(every.min()), float(every.max()), ticks=form.dot_columns // 8)
    x = Span(axis, 10, form.width - 18)
    columns = int((x.end - x.start) / DOT)
    heights = []
    for _, _, values in parts:
        places = _columns(values, x, columns)
        heights.append(int(min(MOST_HIGH, np.bincount(places, minlength=1).max(initial=1))))
    head = form.text * 1.7
    tall = sum(heights) * DOT + len(parts) * (head + DOT)
    sheet = Sheet(form.width, tall + form.text * 3.6)
    for value, _ in axis.ticks:
        sheet.path([(x.place(value), 0), (x.place(value), tall)], "grid")
    top = 0.0
    for (name, style, values), high in zip(parts, heights, strict=True):
        sheet.text(x.start, top + form.text, name, "panel-title")
        base = top + head + high * DOT
        places = _columns(values, x, columns)
        level = _levels(places)
        above = np.minimum(level, MOST_HIGH - 1)
        sheet.dots(
            [
                (x.start + (place + 0.5) * DOT, base - (up + 0.5) * DOT)
                for place, up in zip(places.tolist(), above.tolist(), strict=True)
            ],
            style,
        )
        sheet.path([(x.start, base), (x.end, base)], "lane")
        middle = x.place(float(np.mean(values)))
        sheet.path([(middle, base - high * DOT - 2), (middle, base + 3)], "mark")
        top = base + DOT
    for value, text in axis.ticks:
        at = min(max(x.place(value), 8), form.width - 8 - 3 * len(text))
        sheet.text(at, tall + form.text * 1.4, text, "tick", "middle")
    wrapped_label(sheet, label, x.start, x.end, form)
    return sheet.markup()


def _columns(values: NDArray[np.float64], x: Span, columns: int) -> NDArray[np.int64]:
    at = np.array([x.place(float(value)) for value in values])
    found = ((at - x.start) / DOT).astype(np.int64)
    return np.clip(found, 0, columns - 1)


def _levels(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many earlier dots share each dot's column."""
    order = np.argsort(places, kind="stable")
    sorted_places = places[order]
    starts = np.r_[True, sorted_places[1:] != sorted_places[:-1]]
    within = np.arange(len(places)) - np.maximum.accumulate(
        np.where(starts, np.arange(len(places)), 0)
    )
    found = np.empty_like(within)
    found[order] = within
    return found


def bar(low: float, value: float, high: float) -> Markup:
    """An AUC with its interval as a small picture, from 0.4 to 1.

    Parameters
    ----------
    low, value, high : float
    """
    sheet = Sheet(120, 14)
    at = [6 + 108 * (min(max(one, 0.4), 1.0) - 0.4) / 0.6 for one in (low, value, high, 0.5)]
    sheet.path([(6, 7), (114, 7)], "lane")
    sheet.path([(at[3], 2), (at[3], 12)], "base")
    sheet.path([(at[0], 7), (at[2], 7)], "whisker main" if value > 0.9 else "whisker")
    sheet.marker(at[1], 7, "main" if value > 0.9 else "")
    return sheet.markup("swatch bar")


def curves(values: NDArray[np.float32]) -> Markup:
    """A recording as lines below each other, shape (channels, samples); at most four channels."""
    shown = values[:CURVES]
    height = 70.0
    sheet = Sheet(560, height * len(shown))
    for place, line in enumerate(shown):
        steps = np.unique(np.linspace(0, line.size - 1, min(line.size, STEPS)).astype(np.int64))
        told = np.isfinite(line[steps])
        if not told.any():
            continue
        low, high = float(line[steps][told].min()), float(line[steps][told].max())
        scale = (height - 12) / max(high - low, 1e-12)
        middle = height * (place + 1) - 6
        points = [
            (560 * float(step) / max(line.size - 1, 1), middle - (float(line[step]) - low) * scale)
            for step in steps[told]
        ]
        sheet.path(points, "line thin")
    return sheet.markup()
