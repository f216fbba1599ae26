"""Axes with round ticks, and the choice of points that a table shows of a long curve."""

from __future__ import annotations

import math

from auscult.report.elements import Axis, Number
from auscult.report.words import MINUS, NOT_ESTIMABLE, visible

_STEPS = (1.0, 2.0, 5.0)


def linear_axis(label: str, low: float, high: float, step: float) -> Axis:
    """Axis from `low` to `high`, both multiples of `step`.

    Parameters
    ----------
    label : str
    low, high : float
    step : float
        Between two ticks.
    """
    count = round((high - low) / step)
    values = [low + place * step for place in range(count + 1)]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return Axis(
        label=label, low=low, high=high, ticks=tuple((v, _number(v, places)) for v in values)
    )


def round_axis(label: str, low: float, high: float, *, ticks: int = 5) -> Axis:
    """Axis that holds `low` and `high` with about `ticks` round steps.

    Parameters
    ----------
    label : str
    low, high : float
    ticks : int
    """
    span = max(high - low, 1e-3)
    raw = span / ticks
    decade = 10.0 ** math.floor(math.log10(raw))
    step = next((s * decade for s in _STEPS if s * decade >= raw * (1 - 1e-9)), 10 * decade)
    first, last = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    if last - first < step / 2:
        last = first + step
    return linear_axis(label, first, last, step)


def share_axis(label: str, *, floor: float | None = None, high: float = 1.0) -> Axis:
    """Axis of shares: linear from 0, or logarithmic from the decade below `floor`.

    Parameters
    ----------
    label : str
    floor : float, optional
        Smallest share to show.
    high : float
    """
    if floor is None:
        linear = round_axis(label, 0.0, max(1e-4, min(1.0, high)))
        return Axis(
            label=label,
            low=0.0,
            high=linear.high,
            ticks=tuple((value, percent(value)) for value, _ in linear.ticks),
        )
    decades = math.ceil(-math.log10(floor) - 1e-9)
    return Axis(
        label=label,
        low=10.0**-decades,
        high=1.0,
        ticks=tuple((10.0**-k, percent(10.0**-k)) for k in range(decades, -1, -1)),
        scale="log",
    )


def percent(value: float) -> str:
    """A tick of a share axis: ``100%``, ``0.1%``."""
    return f"{100 * value:.10f}".rstrip("0").rstrip(".") + "%"


def rate(value: Number) -> str:
    """A rate to two figures, with as many places as it needs: ``0.001%``, ``1%``."""
    if value is None:
        return NOT_ESTIMABLE
    return percent(float(f"{value:.2g}"))


def false_positive_rate(name: str) -> str:
    """The key of a table of rates (``"0.01"``) as people read it: ``1%``; other text as it is."""
    try:
        return rate(float(name))
    except ValueError:
        return visible(name)


def thinned(count: int, most: int) -> tuple[int, ...]:
    """At most `most` places of `count`, evenly, with the first and the last among them."""
    if count <= most:
        return tuple(range(count))
    step = math.ceil((count - 1) / (most - 1))
    places = [count - 1 - k * step for k in range((count - 1) // step + 1)]
    return tuple(sorted({0, *places}))


def _number(value: float, places: int) -> str:
    text = f"{abs(value):.{places}f}"
    return MINUS + text if value < 0 and float(text) != 0 else text
