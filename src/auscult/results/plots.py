"""The report's figures on matplotlib, for notebooks and papers: the same numbers, the same words.

What is drawn is what the report draws: the figures that its sections make of the summary, which
holds released figures only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError, one_of
from auscult.report import elements as e
from auscult.report.sections import SECTIONS
from auscult.report.summary import read_summary
from auscult.report.words import plain, quoted, shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which readers with any colour vision tell apart, and dashes besides.
_STYLES: dict[str, tuple[str, Any]] = {
    "main": ("#d55e00", "-"),
    "joint": ("#d55e00", "-"),
    "null": ("#666666", (0, (4, 3))),
    "chance": ("#666666", (0, (4, 3))),
    "raw": ("#009e73", (0, (1, 2))),
    "study": ("#8a5a00", (0, (6, 2, 1, 2))),
    "first": ("#0072b2", "-"),
    "second": ("#d55e00", (0, (5, 2))),
    "third": ("#009e73", (0, (1, 2))),
    "fourth": ("#8a5a00", (0, (6, 2, 1, 2))),
    "fifth": ("#aa4499", (0, (3, 2))),
    "sixth": ("#aa4499", (0, (8, 2))),
    "best": ("#009e73", "-"),
    "differs": ("#d55e00", "-"),
    "alike": ("#0072b2", "-"),
}
_OTHER = ("#0072b2", "-")
LONGEST = 60  # characters of a name
_HOLLOW = frozenset({"alike", "null", "chance"})


class Plots:
    """Figures of a finished run, each drawn on matplotlib's axes and returned.

    Every method takes ``ax``, axes to draw on (new ones by default), and returns them. Needs
    matplotlib: ``pip install "auscult[plot]"``.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``: released figures.

    Examples
    --------
    >>> result.plot.survival()  # doctest: +SKIP
    >>> result.plot.groups("sex", ax=axes[1])  # doctest: +SKIP
    """

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self._summary = summary

    def survival(self, *, ax: Axes | None = None) -> Axes:
        """Share of patients above every AUC, with its band, beside chance."""
        return self._drawn("survival", "survival", ax)

    def records(self, *, ax: Axes | None = None) -> Axes:
        """Risk by number of records per patient."""
        return self._drawn("records", "records", ax)

    def groups(self, attribute: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Mean AUC of each group of an attribute, with its interval.

        Parameters
        ----------
        attribute : str, optional
            The first that was compared by default.
        ax : Axes, optional

        Raises
        ------
        AuscultError
            Groups were not compared by it.
        """
        names = [str(name) for name in self._summary.get("disparities") or {}]
        if not names:
            raise AuscultError("no groups were compared", where="plot.groups")
        if attribute is None:
            attribute = names[0]
        elif attribute not in names:
            raise AuscultError(
                f'there is no attribute "{attribute}"',
                where="plot.groups",
                expected=one_of(attribute, names),
            )
        wanted = f"by {quoted(visible(attribute))}"
        return self._drawn("groups", "groups-", ax, wanted, f"groups by {visible(attribute)}")

    def roc(self, *, ax: Axes | None = None) -> Axes:
        """ROC curves of the attacks over all records, on logarithmic axes."""
        return self._drawn("aggregate", "roc", ax)

    def utility(self, *, ax: Axes | None = None) -> Axes:
        """How well the models predict, on members and on other patients."""
        return self._drawn("utility", "utility", ax)

    def exposure(self, *, ax: Axes | None = None) -> Axes:
        """How often an accusation is right, by prior, for each kind of attacker."""
        return self._drawn("exposure", "exposure", ax)

    def protection(self, *, ax: Axes | None = None) -> Axes:
        """Protections in the plane of utility and exposed patients."""
        return self._drawn("protection", "frontier", ax)

    def sweep(self, *, ax: Axes | None = None) -> Axes:
        """Exposed patients against the size of the model."""
        return self._drawn("sweep", "capacity", ax)

    def sizes(self, *, ax: Axes | None = None) -> Axes:
        """Exposed patients against the number of patients that models trained on."""
        return self._drawn("sizes", "sizes", ax)

    def _drawn(
        self, section: str, key: str, ax: Axes | None, named: str = "", what: str = ""
    ) -> Axes:
        figure = self._figure(section, key, named, what or section)
        pyplot = _pyplot()
        if ax is None:
            rows = len(figure.plot.rows) if isinstance(figure.plot, e.IntervalChart) else 8
            ax = pyplot.subplots(figsize=(7.2, max(2.2, 1.4 + 0.38 * rows)), layout="constrained")[
                1
            ]
        draw(figure, ax)
        return ax

    def _figure(self, section: str, key: str, named: str, what: str) -> e.Figure:
        written = SECTIONS.get(section, "plot").write(read_summary(self._summary))
        blocks = () if written is None else written.blocks
        figures = [one for one in blocks if isinstance(one, e.Figure) and one.key.startswith(key)]
        for one in figures:
            if one.name.endswith(named):
                return one
        absent = [
            one.text for one in blocks if isinstance(one, e.Paragraph) and one.style == "absent"
        ]
        raise AuscultError(
            f"this run has no figure of {what}",
            where=f"plot.{section}",
            next_step=plain(absent[0]) if absent else "Its report says what was assessed",
        )

    def __repr__(self) -> str:
        names = [name for name in vars(type(self)) if not name.startswith("_")]
        return f"Plots({', '.join(names)})"


def draw(figure: e.Figure, ax: Axes) -> None:
    """Draw one of the report's figures.

    Parameters
    ----------
    figure : Figure
    ax : Axes
    """
    plot = figure.plot
    if isinstance(plot, e.LineChart):
        _lines(plot, ax)
    elif isinstance(plot, e.IntervalChart):
        _intervals(plot, ax)
    elif isinstance(plot, e.ScatterChart):
        _spots(plot, ax)
    else:
        raise TypeError(f"a {type(plot).__name__} is drawn in the report only")
    if not isinstance(plot, e.LineChart):
        _legend(plot, figure.legend, ax)
    ax.spines[["top", "right"]].set_visible(False)


def _lines(plot: e.LineChart, ax: Axes) -> None:
    _axis(ax, "x", plot.x)
    _axis(ax, "y", plot.y)
    for one in plot.series:
        colour, dash = _STYLES.get(one.style, _OTHER)
        x = np.asarray(one.x)
        if one.low and one.high:
            low, high = (_numbers(ends, "linear") for ends in (one.low, one.high))
            if plot.y.scale == "log":  # which has no 0: the band goes down to the axis
                low, high = (np.maximum(ends, plot.y.low) for ends in (low, high))
            ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
        ax.plot(
            x, _numbers(one.y, plot.y.scale), color=colour, linestyle=dash, label=_words(one.name)
        )
    _marks(plot.marks, ax)
    for text in ax.legend(frameon=False, fontsize="small").get_texts():
        text.set_parse_math(False)


def _intervals(plot: e.IntervalChart, ax: Axes) -> None:
    places = np.arange(len(plot.rows))
    for place, row in zip(places, plot.rows, strict=True):
        height = 0.5 / max(len(row.points), 1)
        for number, point in enumerate(row.points):
            at = place + height * (number - (len(row.points) - 1) / 2)
            _point(ax, point, y=at)
    _axis(ax, "x", plot.axis)
    ax.set_yticks(places)
    labels = [
        f"{_words(row.label)}\n({row.note})" if row.note else _words(row.label) for row in plot.rows
    ]
    for text, label in zip(ax.set_yticklabels(labels), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
    ax.set_ylim(len(plot.rows) - 0.5, -0.5)
    _marks(plot.marks, ax)


def _spots(plot: e.ScatterChart, ax: Axes) -> None:
    _axis(ax, "x", plot.x)
    _axis(ax, "y", plot.y)
    for spot in plot.spots:
        x, y = spot.x.value, spot.y.value
        if x is None or y is None:
            continue
        colour, _ = _STYLES.get(spot.style, _OTHER)
        across, up = _reach(spot.x), _reach(spot.y)
        ax.errorbar(x, y, xerr=across, yerr=up, color=colour, fmt="o", ms=5, lw=1)
        text = ax.annotate(
            _words(spot.mark), (x, y), xytext=(5, 5), textcoords="offset points", color=colour
        )
        text.set_parse_math(False)


def _point(ax: Axes, point: e.Point, *, y: float) -> None:
    if point.value is None:
        return
    colour, _ = _STYLES.get(point.style, _OTHER)
    ax.errorbar(
        point.value,
        y,
        xerr=_reach(point),
        color=colour,
        fmt="none" if point.bounds_only else "o",
        mfc="none" if point.style in _HOLLOW else colour,
        ms=5,
        lw=1.2,
        capsize=2.5,
    )


def _reach(point: e.Point) -> NDArray[np.float64] | None:
    """How far the interval goes below and above the value, shape (2, 1)."""
    if point.value is None or point.low is None or point.high is None:
        return None
    reach = [[point.value - point.low], [point.high - point.value]]
    return np.maximum(np.asarray(reach, dtype=np.float64), 0.0)


def _axis(ax: Axes, which: str, axis: e.Axis) -> None:
    """Limits, ticks and label; words are set as they are, never read as formulas."""
    along = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)(axis.scale)
    (ax.set_xlim if which == "x" else ax.set_ylim)(axis.low, axis.high)
    along.set_ticks([value for value, _ in axis.ticks], [text for _, text in axis.ticks])
    along.set_ticks([], minor=True)
    along.set_label_text(_words(axis.label, 90), parse_math=False)


def _marks(marks: tuple[e.Mark, ...], ax: Axes) -> None:
    for mark in marks:
        ax.axvline(mark.at, color="#444444", lw=1, linestyle=(0, (2, 2)))
        text = ax.annotate(
            _words(mark.label),
            (mark.at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize="small",
        )
        text.set_parse_math(False)


def _legend(plot: e.Plot, keys: tuple[e.Key, ...], ax: Axes) -> None:
    """Above the axes, where it covers nothing; of points in a plane each by its name."""
    lines = importlib.import_module("matplotlib.lines")
    if isinstance(plot, e.ScatterChart):
        keys = tuple(
            e.Key(name=f"{s.mark}: {s.title}" if s.title else s.mark, style=s.style, shape="point")
            for s in plot.spots
        )
    handles = []
    for key in keys:
        colour, dash = _STYLES.get(key.style, _OTHER)
        face = "none" if key.style in _HOLLOW else colour
        handles.append(
            lines.Line2D([], [], color=colour, linestyle=dash, label=_words(key.name))
            if key.shape == "line"
            else lines.Line2D(
                [], [], color=colour, marker="o", mfc=face, lw=0, label=_words(key.name)
            )
        )
    if handles:
        made = ax.legend(
            handles=handles,
            frameon=False,
            fontsize="small",
            loc="lower left",
            bbox_to_anchor=(0, 1.06),
            ncols=2 if all(len(key.name) <= LONGEST // 2 for key in keys) else 1,
        )
        for text in made.get_texts():
            text.set_parse_math(False)


def _numbers(values: tuple[e.Number, ...], scale: e.Scale) -> NDArray[np.float64]:
    """A curve with gaps where nothing is told, or where a logarithmic scale has no place for it."""
    found = np.array([np.nan if one is None else float(one) for one in values], dtype=np.float64)
    return np.where(found > 0, found, np.nan) if scale == "log" else found


def _words(text: str, most: int = LONGEST) -> str:
    """A text from the summary as it may stand in a picture."""
    return shortened(visible(plain(text)), most) if text else text


def _pyplot() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise AuscultError(
            "plots need matplotlib",
            where="result.plot",
            next_step='Install it: pip install "auscult[plot]" -c constraints.txt',
        ) from None
