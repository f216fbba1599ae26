"""axe-core on report, dossier and viewer: three widths, light and dark, everything unfolded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from auscult import Audit, SklearnRecipe
from auscult.report import write_dossier, write_report
from tests import report_summaries as summaries
from tests.test_viewer import images, other, run  # noqa: F401 - fixtures among them

pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDTHS = (400, 800, 1280)
SCHEMES = ("light", "dark")
DOCUMENTS = {"report": write_report, "dossier": write_dossier}
OPEN = "document.querySelectorAll('details').forEach(one => one.open = true)"
RUN = "axe.run({resultTypes: ['violations', 'incomplete']})"


@pytest.fixture(scope="module")
def axe() -> str:
    """The library as the package holds it: nothing is fetched."""
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def looks(number: int, *, every: bool) -> list[tuple[int, str]]:
    """Widths and schemes to look at; not `every` one: each width once, both schemes in turn.

    Colours do not depend on the width, nor what fits on the scheme.
    """
    if every:
        return [(width, scheme) for width in WIDTHS for scheme in SCHEMES]
    return [(width, SCHEMES[(number + place) % 2]) for place, width in enumerate(WIDTHS)]


def found(page: Any, axe: str) -> tuple[list[str], list[str]]:  # noqa: ANN401
    """What is wrong on a page, and what axe leaves to a person outside of drawings."""
    page.evaluate(OPEN)
    page.evaluate(axe)
    told = page.evaluate(RUN)
    assert len(told["passes"]) > 10, "the rules were run"

    def shown(rule: dict[str, Any]) -> list[str]:
        return [f"{rule['id']}: {node['html'][:200]}" for node in rule["nodes"]]

    wrong = [one for rule in told["violations"] for one in shown(rule)]
    # Colours within drawings are measured by tests/test_browser.py: axe cannot see their ground.
    open_ = [
        one
        for rule in told["incomplete"]
        for one in shown(rule)
        if not (rule["id"] == "color-contrast" and ": <text" in one)
    ]
    return wrong, open_


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("report", "later parts"),
        ("report", "hostile"),
        ("report", "demonstration"),
        ("dossier", "later parts"),
        ("dossier", "hostile"),
        ("dossier", "nothing estimable"),
    ],
)
def test_axe_finds_nothing(
    document: str,
    name: str,
    chromium: Any,  # noqa: ANN401
    axe: str,
    tmp_path: Path,
) -> None:
    target = tmp_path / f"{document}.html"
    DOCUMENTS[document](summaries.ALL[name](), target)
    seen = set()
    for width, scheme in looks(len(name), every=name == "demonstration"):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        page = context.new_page()
        page.goto(target.as_uri())
        assert found(page, axe) == ([], []), (width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert len(seen) == 2, "light and dark differ"


COMMAND = "from auscult.cli import main; main()"
FROM_PYTHON = """
import sys
from auscult.viewer import serve
from tests.test_viewer import images
serve(sys.argv[1], cohort=images())
"""


def served(code: str, *given: str | Path) -> Iterator[str]:
    """The viewer in a process of its own; the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, given)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    yield process.stdout.readline().rpartition(" ")[2].strip()
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def beside(run: Path, other: Path) -> Iterator[str]:  # noqa: F811
    """A viewer of hostile patients, beside another run."""
    yield from served(COMMAND, "view", run, "--against", other)


@pytest.fixture(scope="module")
def with_pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A viewer of patients who have images."""
    path = tmp_path_factory.mktemp("pictures") / "run"
    Audit(images(), SklearnRecipe(), models=8).run(path, workers=1)
    yield from served(FROM_PYTHON, path)


PAGES = {
    "list": "",
    "filtered": "?identifier=zxq001&shown=all&sort=auc_low",
    "nobody": "?identifier=nobody",
    "patient": "patient/12",
    "every value": "patient/12?every=1",
    "groups": "groups",
    "in common": "common",
    "two runs": "comparison",
    "message": "nowhere",
}


@pytest.mark.parametrize("viewer", ["beside", "with_pictures"])
def test_axe_finds_nothing_in_the_viewer(
    viewer: str,
    request: pytest.FixtureRequest,
    chromium: Any,  # noqa: ANN401
    axe: str,
) -> None:
    address = request.getfixturevalue(viewer)
    seen, wrong = set(), {}
    # What differs where there are pictures: the list's pages and a patient's.
    pages = PAGES if viewer == "beside" else {name: PAGES[name] for name in ("list", "patient")}
    for width in WIDTHS:
        for scheme in SCHEMES:
            context = chromium.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            page = context.new_page()
            page.goto(address)
            base = page.url
            for number, (name, path) in enumerate(pages.items()):
                if (width, scheme) not in looks(number, every=name == "list"):
                    continue
                page.goto(base + path)
                page.wait_for_load_state()
                told = found(page, axe)
                if told != ([], []):
                    wrong[name, width, scheme] = told
                assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            context.close()
    assert not wrong
    assert len(seen) == 2, "light and dark differ"


def test_what_is_wrong_would_be_found(chromium: Any, axe: str, tmp_path: Path) -> None:  # noqa: ANN401
    target = tmp_path / "report.html"
    write_report(summaries.rare_tail(), target)
    text = target.read_text(encoding="utf-8")
    faults = (
        '<details><summary>x</summary><img src="data:,"><p style="color:#999">pale</p></details>'
    )
    assert "</main>" in text
    target.write_text(text.replace("</main>", faults + "</main>"), encoding="utf-8")
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(target.as_uri())
    wrong, _ = found(page, axe)
    context.close()
    assert any(one.startswith("image-alt") for one in wrong), wrong
    assert any(one.startswith("color-contrast") for one in wrong), wrong
