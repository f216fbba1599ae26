"""What notebooks show: plots of the report's figures, objects as tables, progress by default."""

from __future__ import annotations

import html
import importlib
import re
import sys
import types
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from auscult import Audit, AuscultError, SklearnRecipe
from auscult.base import notebooks
from auscult.base.progress import SILENT
from auscult.report import elements as e
from auscult.report.view import page
from auscult.results.plots import Plots
from auscult.results.result import Result
from tests import report_summaries as summaries
from tests.consistency import figures_of
from tests.test_cohort import cohort as cohort_of_visits

KINDS = (
    *("survival", "records", "groups", "roc", "utility"),
    *("exposure", "protection", "sweep", "sizes"),
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    mpl.use("Agg")
    yield
    importlib.import_module("matplotlib.pyplot").close("all")


# Plots


def test_the_survival_curve_is_the_summarys() -> None:
    summary = summaries.rare_tail()
    ax = Plots(summary).survival()
    curve = summary["patients"]["survival"]
    (line,) = [one for one in ax.get_lines() if "headline" in str(one.get_label())]
    x, y = (np.asarray(one, dtype=float) for one in line.get_data())
    told = np.array(curve["joint"])
    np.testing.assert_allclose(x, curve["auc"])
    np.testing.assert_allclose(y[told > 0], told[told > 0])
    assert np.isnan(y[told <= 0]).all()
    (band,) = ax.collections
    corners = np.asarray(band.get_paths()[0].vertices)
    assert corners[:, 1].max() == pytest.approx(max(curve["high"]))


def test_every_figure_has_the_numbers_of_the_reports() -> None:
    summary = summaries.ALL["later parts"]()
    shown = figures_of(page(summary))
    of = {"groups": "groups-0", "protection": "frontier", "sweep": "capacity"}
    for kind in KINDS:
        ax = getattr(Plots(summary), kind)()
        plot = shown[of.get(kind, kind)].plot
        assert not isinstance(plot, e.DotField)
        drawn = {round(float(v), 9) for one in ax.get_lines() for v in np.ravel(one.get_xdata())}
        if isinstance(plot, e.IntervalChart):
            wanted = [p.value for row in plot.rows for p in row.points if not p.bounds_only]
        elif isinstance(plot, e.ScatterChart):
            wanted = [spot.x.value for spot in plot.spots]
        else:
            wanted = [x for one in plot.series for x in one.x]
        assert wanted
        assert {round(v, 9) for v in wanted if v is not None} <= drawn, kind
        assert ax.get_xlabel()
        ax.figure.canvas.draw()


def test_axes_are_taken_and_returned() -> None:
    pyplot = importlib.import_module("matplotlib.pyplot")
    _, axes = pyplot.subplots(1, 2)
    plots = Plots(summaries.rare_tail())
    assert plots.survival(ax=axes[0]) is axes[0]
    assert plots.groups("race", ax=axes[1]) is axes[1]
    labels = [text.get_text() for text in axes[1].get_yticklabels()]
    assert any(label.startswith("Caucasian\n(") for label in labels)


def test_names_are_text_and_never_formulas() -> None:
    summary = summaries.hostile()
    part = summary["disparities"][summaries.HOSTILE_ATTRIBUTE]
    template = next(iter(part["groups"].values()))
    part["groups"]["$\\frac{1}$ ${7*7}$"] = dict(template)
    ax = Plots(summary).groups(summaries.HOSTILE_ATTRIBUTE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # scripts that matplotlib's own font has not
        ax.figure.canvas.draw()
    told = "".join(text.get_text() for text in ax.get_yticklabels())
    assert "$\\frac{1}$" in told
    assert "\u202e" not in told
    Plots(summary).survival().figure.canvas.draw()


def test_what_is_withheld_is_not_drawn() -> None:
    summary = summaries.rare_tail()
    curve = summary["patients"]["survival"]
    curve["joint"] = [
        None if at > 0.85 else v for at, v in zip(curve["auc"], curve["joint"], strict=True)
    ]
    ax = Plots(summary).survival()
    (line,) = [one for one in ax.get_lines() if "headline" in str(one.get_label())]
    x, y = (np.asarray(one, dtype=float) for one in line.get_data())
    assert np.isnan(y[x > 0.85]).all()


def test_what_was_not_assessed_is_told() -> None:
    plots = Plots(summaries.imported())
    for kind in ("exposure", "protection", "sweep", "groups"):
        with pytest.raises(AuscultError, match=r"no figure of|no groups"):
            getattr(plots, kind)()
    with pytest.raises(AuscultError, match="Too few models") as error:
        Plots(summaries.nothing_estimable()).survival()
    assert "not estimable" in str(error.value)
    with pytest.raises(AuscultError, match='no attribute "rase"') as error:
        Plots(summaries.rare_tail()).groups("rase")
    assert 'mean "race"' in str(error.value)


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(AuscultError, match=r"auscult\[plot\]"):
        Plots(summaries.rare_tail()).survival()


def test_nothing_is_loaded_before_a_plot_is_asked_for() -> None:
    import subprocess

    code = "import sys; from auscult import Result; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Objects as tables


class Balanced(HTMLParser):
    """Every tag that is opened is closed, in order, and none runs anything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {
            "div",
            "strong",
            "p",
            "table",
            "tr",
            "th",
            "td",
            "details",
            "summary",
            "progress",
        }
        assert not any(name.startswith("on") for name, _ in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_cards_escape_everything() -> None:
    bad = '<script>alert(1)</script>"\u202e'
    text = notebooks.card(bad, [(bad, bad), ("empty", "")], [(bad, [(bad, bad)])], [bad])
    told = Balanced(text)
    assert told.words.count("<script>alert(1)</script>") == 7
    assert "\u202e" not in text
    assert "empty" not in text


def test_a_cohort_shows_counts_and_no_values() -> None:
    cohort = cohort_of_visits()
    told = Balanced(cohort._repr_html_()).words
    assert f"{cohort.records:,} records of {cohort.patients:,} patients" in told
    assert "NHS-" not in told
    assert not re.search("NHS-|Zxq", cohort._repr_html_())


def test_an_audit_shows_its_parameters() -> None:
    cohort = cohort_of_visits()
    audit = Audit(cohort, SklearnRecipe("logistic_regression"), models=16, seed=7)
    told = Balanced(audit._repr_html_()).words
    for wanted in ("models", "16", "seed", "7", "SklearnRecipe", "Cohort"):
        assert wanted in told
    assert "NHS-" not in told


def test_secrets_of_a_release_are_not_shown() -> None:
    from auscult import EndpointDoor, MemberList, Release

    door = EndpointDoor(
        url="https://user:hunter2@example.org/predict", headers_from={"Authorization": "MY_TOKEN"}
    )
    audit = Audit(
        cohort_of_visits(),
        SklearnRecipe("logistic_regression"),
        release=Release(door=door, members=MemberList(source=["NHS-7"])),
    )
    text = html.unescape(audit._repr_html_() + repr(audit))
    assert "hunter2" not in text
    assert "NHS-7" not in text


def test_a_result_shows_released_figures(tmp_path: Path) -> None:
    recipe = SklearnRecipe("logistic_regression")
    result = Audit(cohort_of_visits(), recipe, models=8).run(tmp_path / "run", workers=1)
    text = result._repr_html_()
    told = Balanced(text).words
    assert html.unescape(told).startswith(f"{result.headline}.")
    assert "NHS-" not in text
    assert str(tmp_path / "run" / "report.html") in told
    assert isinstance(result, Result)
    result.plot.survival()


# Progress


class Handle:
    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def update(self, one: str) -> None:
        self.shown.append(one)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A kernel as IPython has one; what it displays."""
    shown: list[str] = []

    class ZMQInteractiveShell: ...

    class Shell(ZMQInteractiveShell): ...

    def display(one: str, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(one)
        return Handle(shown)

    module, inner = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    module.get_ipython = Shell  # type: ignore[attr-defined]
    inner.HTML, inner.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    monkeypatch.setattr(notebooks, "SECONDS_BETWEEN_UPDATES", 0.0)
    return shown


def test_notebooks_show_progress_by_default(notebook: list[str], tmp_path: Path) -> None:
    audit = Audit(cohort_of_visits(), SklearnRecipe("logistic_regression"), models=8)
    audit.run(tmp_path / "run", workers=1)
    assert any("Models: 8 of 8" in one for one in notebook)
    assert any("Patients: " in one for one in notebook)
    for one in notebook:
        Balanced(one)
    count = len(notebook)
    audit.run(tmp_path / "run", workers=1, progress=SILENT)
    assert len(notebook) == count


def test_a_bar_tells_what_is_left(notebook: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    bar: Any = notebooks.USUAL
    bar.start("<b>Models</b>", 10)
    bar.advance(4)
    bar.advance(1)
    bar.finish()
    assert "&lt;b&gt;Models" in notebook[0]
    assert 'max="10" value="5"' in notebook[-2]
    assert " left" in notebook[-2]
    assert 'value="10"' in notebook[-1]
    assert " left" not in notebook[-1]


def test_every_cell_has_a_bar_of_its_own(
    notebook: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    shell = sys.modules["IPython"].get_ipython()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)

    class Counted(notebooks.NotebookBar):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(notebooks, "NotebookBar", Counted)
    shell.execution_count = 1
    notebooks.USUAL.start("Models", 3)
    notebooks.USUAL.start("Patients", 3)  # another stage of the same work, which then fails
    assert len(made) == 1
    shell.execution_count = 2
    notebooks.USUAL.start("Models", 3)
    notebooks.USUAL.finish()
    assert len(made) == 2


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert not notebooks.in_notebook()
    notebooks.USUAL.start("Models", 3)
    notebooks.USUAL.advance()
    notebooks.USUAL.finish()
    said = capsys.readouterr()
    assert said.out + said.err == ""
