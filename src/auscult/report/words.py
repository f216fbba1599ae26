"""Numbers and names as people read them: one place, so that no two figures are rounded differently.

Nothing here knows what a figure means. ``None`` is a value: it becomes "not estimable".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from auscult.base.showing import cleaned

NOT_ESTIMABLE = "not estimable"
FEW = "few"
FEW_NOTE = "Few: of too few patients for their share to be shown."
MINUS = "\N{MINUS SIGN}"
_FIRST_ISOLATE, _END_ISOLATE = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
_TINY = 1e-9


class Fewer(float):
    """A count that is only said to be under a number: that number, for axes and comparisons."""

    @property
    def words(self) -> str:
        """For example ``fewer than 10``."""
        return f"fewer than {float(self):,.0f}"


def visible(text: object) -> str:
    r"""A name from the data as plain text: what could hide, reorder or break it is spelled out.

    See :func:`auscult.base.showing.cleaned`.
    """
    return cleaned(text) or "(empty)"


def quoted(text: object) -> str:
    """A name from the data inside a sentence: right-to-left text cannot reorder its neighbours."""
    return f"{_FIRST_ISOLATE}{visible(text)}{_END_ISOLATE}"


def plain(text: str) -> str:
    """A sentence without the marks that :func:`quoted` puts around names, for a terminal."""
    return text.replace(_FIRST_ISOLATE, "").replace(_END_ISOLATE, "")


def shortened(text: str, length: int) -> str:
    """At most `length` characters, the last an ellipsis where something was cut."""
    return text if len(text) <= length else text[: max(1, length - 1)].rstrip() + "…"


def whole(value: float | None) -> str:
    """A count with thousands separators: ``6,000``; ``fewer than 1`` between 0 and a half."""
    if value is None:
        return NOT_ESTIMABLE
    if isinstance(value, Fewer):
        return value.words
    if _TINY < value < 0.5:
        return "fewer than 1"
    return f"{math.floor(value + 0.5):,}"


def expected(value: float | None) -> str:
    """An expected count: whole from 10 on, one decimal below, ``<0.1`` where that would read 0."""
    if value is None:
        return NOT_ESTIMABLE
    if isinstance(value, Fewer):
        return value.words
    if value >= 9.95 or (abs(value - round(value)) < 0.05 and value >= 0.95):
        return f"{math.floor(value + 0.5):,}"
    if value <= _TINY:
        return "0"
    return "<0.1" if value < 0.05 else f"{value:.1f}"


def count_interval(low: float | None, high: float | None) -> str:
    """An interval of counts, rounded outwards so that it never looks tighter than it is."""
    if low is None or high is None:
        return NOT_ESTIMABLE
    return f"{math.floor(low + _TINY):,} to {math.ceil(high - _TINY):,}"


def decimal(value: float | None, places: int = 3) -> str:
    """A figure between 0 and 1, or any other, with a fixed number of decimals.

    A value that is below 1 (above 0) but would round to it says so: ``>0.999``, ``<0.001``.
    """
    if value is None:
        return NOT_ESTIMABLE
    step = 10.0**-places
    if 1 - step / 2 <= value < 1 - _TINY:
        return f">{1 - step:.{places}f}"
    if _TINY < value < step / 2:
        return f"<{step:.{places}f}"
    text = f"{abs(value):.{places}f}"
    return MINUS + text if value < 0 and float(text) != 0 else text


def signed(value: float | None, places: int = 3) -> str:
    """A difference with its sign: ``+0.013``, ``−0.010``, ``0.000``."""
    if value is None:
        return NOT_ESTIMABLE
    text = f"{abs(value):.{places}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+") + text


def share(value: float | None) -> str:
    """A share as a percentage of about two figures: ``74%``, ``3.1%``, ``0.28%``, ``<0.01%``."""
    if value is None:
        return NOT_ESTIMABLE
    percent = 100 * value
    if percent <= _TINY:
        return "0%"
    if percent >= 100 - _TINY:
        return "100%"
    if percent < 0.005:
        return "<0.01%"
    if percent > 99.5:
        return ">99%"
    places = 0 if percent >= 9.95 else 1 if percent >= 0.995 else 2
    return f"{percent:.{places}f}%"


def share_of_few(value: float | None) -> str:
    """A share of patients that is withheld where it is of too few, which :data:`FEW` says."""
    return FEW if value is None else share(value)


def at_least(value: float | None) -> str:
    """A lower bound of a share, rounded down: ``69%``; all of them is never sure."""
    if value is None:
        return NOT_ESTIMABLE
    return f"{min(math.floor(100 * value + _TINY), 99)}%"


def probability(value: float | None) -> str:
    """A p- or q-value: two decimals from 0.1 on, three below, ``<0.001`` at the end."""
    if value is None:
        return NOT_ESTIMABLE
    return "<0.001" if value < 0.001 else f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}"


def interval(low: float | None, high: float | None, places: int = 3) -> str:
    """``0.790 to 0.810``; the caller says of what.

    Parameters
    ----------
    low, high : float or None
    places : int
        Decimals.
    """
    if low is None or high is None:
        return NOT_ESTIMABLE
    return f"{decimal(low, places)} to {decimal(high, places)}"


def signed_interval(low: float | None, high: float | None, places: int = 3) -> str:
    """``−0.010 to +0.030``.

    Parameters
    ----------
    low, high : float or None
    places : int
        Decimals.
    """
    if low is None or high is None:
        return NOT_ESTIMABLE
    return f"{signed(low, places)} to {signed(high, places)}"


def with_interval(value: str, bounds: str) -> str:
    """``0.790 (0.780 to 0.800)``, or the bare value where the interval is not estimable."""
    return value if bounds == NOT_ESTIMABLE else f"{value} ({bounds})"


def share_interval(low: float | None, high: float | None) -> str:
    """``1.8% to 2.2%``."""
    if low is None or high is None:
        return NOT_ESTIMABLE
    return f"{share(low)} to {share(high)}"


def counted(number: float | None, one: str, several: str = "") -> str:
    """``1 patient``, ``6,000 patients``.

    Parameters
    ----------
    number : float or None
    one : str
        The noun of one.
    several : str
        The noun of several; `one` with an s when empty.
    """
    word = one if number is not None and abs(number - 1) < _TINY else several or f"{one}s"
    return f"{whole(number)} {word}"


def listed(items: Sequence[str], *, most: int = 6) -> str:
    """``a, b and c``; beyond `most`, ``a, b, c and 4 more``."""
    shown = list(items)
    if len(shown) > most:
        shown = [*shown[: most - 1], f"{len(shown) - most + 1} more"]
    if len(shown) <= 1:
        return "".join(shown)
    return ", ".join(shown[:-1]) + " and " + shown[-1]


def metric_name(metric: str) -> str:
    """``auroc`` as ``AUROC``, ``negative_mae`` as ``negative MAE``; other names as they are."""
    words = {"auroc": "AUROC", "mae": "MAE", "r2": "R2", "dice": "Dice"}
    return " ".join(words.get(word, word) for word in metric.split("_"))


def sentence(text: str) -> str:
    """Capital first letter and one full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:].rstrip(".") + "."
