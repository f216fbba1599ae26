"""The report in a real browser: seen, read, printed, and used without a mouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auscult.report import headline, write_report
from tests import report_summaries as summaries

pytestmark = pytest.mark.browser

SHOWN = {"rare tail", "hostile", "nothing estimable", "demonstration", "later parts"}
every_page = pytest.mark.parametrize("name", sorted(SHOWN))

# Least contrast that WCAG 2.2 asks for: 4.5 for text (3 for large), 3 for the marks of a figure.
CONTRAST = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
    return (bright + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0.99) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  const judge = (element, colour, least) => {
    if (!element.getClientRects().length || colour === "none") return;
    const found = ratio(colour, ground(element));
    if (found < least) poor.push(`${element.tagName}.${element.getAttribute("class")} ${found}`);
  };
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (element.matches("svg text")) judge(element, style.fill, 4.5);
    else if (own && !element.closest(".skip, .unseen")) {
      judge(element, style.color, parseFloat(style.fontSize) >= 24 ? 3 : 4.5);
    }
    if (element.matches(".line, .whisker, .mark, .dots.level-4")) judge(element, style.stroke, 3);
  }
  return [...new Set(poor)];
}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ein Ordner mit Leerzeichen")
    paths = {name: folder / f"{name}.html" for name in SHOWN}
    for name, path in paths.items():
        write_report(summaries.ALL[name](), path)
    return paths


@pytest.fixture
def show(chromium: Any, files: dict[str, Path]) -> Iterator[Any]:  # noqa: ANN401
    """Open a report; fail when it says anything to the console or asks for anything."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def opened(name: str, *, width: int = 1100, **options: Any) -> Any:  # noqa: ANN401
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        address = files[name].as_uri()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        asked[:] = [url for url in asked if url != address and not url.startswith("data:")]
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said
    assert not asked


@every_page
def test_answer_figures_and_tables_are_visible(name: str, show: Any) -> None:  # noqa: ANN401
    page = show(name)
    title = page.locator("h1")
    assert title.is_visible()
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert " ".join(title.inner_text().split()) == headline(summaries.ALL[name]())
    for figure in page.locator("figure").all():
        drawing = figure.locator("[role=img]:visible").first.bounding_box()
        assert drawing["width"] > 300
        assert drawing["height"] > 25
    folded = page.locator("details")
    assert folded.count() >= page.locator("figure").count()
    folded.evaluate_all("all => all.forEach(one => one.open = true)")
    tables = page.locator("table").all()
    assert len(tables) >= 5
    for table in tables:
        assert table.is_visible()
        assert table.locator("caption").is_visible()


def test_every_figure_of_a_usual_audit_is_there(show: Any) -> None:  # noqa: ANN401
    page = show("rare tail")
    figures = page.locator("figure").evaluate_all("all => all.map(one => one.id)")
    groups = [f"figure-groups-{k}" for k in range(3)]
    expected = ["figure-dots", "figure-survival", "figure-records", *groups]
    assert figures == [*expected, "figure-roc", "figure-utility"]


# Tables that are wider than their place, and cells that do not lie within the page.
UNFIT = """
() => [
  ...[...document.querySelectorAll(".fit")].filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => `${one.querySelector("table").id} is too wide: ${one.scrollWidth}`),
  ...[...document.querySelectorAll("td, th[scope=row]")].filter((one) => {
    const box = one.getBoundingClientRect();
    return !box.width || !box.height || box.left < 0 || box.right > innerWidth + 1;
  }).map((one) => `${one.closest("table").id}: ${one.textContent.trim()} is not seen`),
]
"""
PAPER = 672  # A4 within its margins, in CSS pixels


@every_page
@pytest.mark.parametrize("width", [320, 400, 800, 1280])
def test_tables_fit_the_page_and_no_column_is_hidden(name: str, width: int, show: Any) -> None:  # noqa: ANN401
    page = show(name, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(UNFIT) == []


@every_page
def test_tables_fit_on_paper(name: str, show: Any) -> None:  # noqa: ANN401
    page = show(name, width=PAPER)
    page.emulate_media(media="print")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
    assert page.evaluate(UNFIT) == []


def test_drawings_for_telephones_keep_their_letters_large(show: Any) -> None:  # noqa: ANN401
    page = show("rare tail", width=400)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.locator(".wide:visible").count() == 0
    sizes = page.locator(".narrow:visible svg text").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(sizes) > 11
    outside = page.locator(".narrow:visible svg text").evaluate_all(
        "all => all.filter(one => { const box = one.getBoundingClientRect();"
        " return box.left < -1 || box.right > innerWidth + 1; }).map(one => one.textContent)"
    )
    assert outside == []


@every_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out(name: str, scheme: str, show: Any) -> None:  # noqa: ANN401
    page = show(name, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate(CONTRAST) == []
    paper = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert (paper == "rgb(18, 22, 27)") is (scheme == "dark")


@every_page
def test_prints_on_paper(name: str, show: Any, tmp_path: Path) -> None:  # noqa: ANN401
    page = show(name, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    paper = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert paper == "rgb(255, 255, 255)", "dark mode stays on the screen"
    assert not page.locator("nav").is_visible()
    for table in page.locator("details table").all():
        assert table.is_visible(), "what is folded on the screen is unfolded on paper"
    target = tmp_path / "report.pdf"
    page.pdf(path=target, prefer_css_page_size=True)
    content = target.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") > 2


@every_page
def test_screen_readers_are_told_everything(name: str, show: Any) -> None:  # noqa: ANN401
    page = show(name)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.locator("html").get_attribute("lang") == "en"
    for drawing in page.locator("[role=img]:visible").all():
        assert len(drawing.get_attribute("aria-label")) > 20
    assert page.locator("main").count() == 1
    assert page.locator("header, nav, main, footer").count() == 4
    headings = page.locator("h1, h2, h3").evaluate_all("all => all.map(one => +one.tagName[1])")
    assert headings[0] == 1
    assert headings.count(1) == 1
    tables = page.locator("table").evaluate_all(
        "all => all.every(one => one.caption && one.querySelector('th[scope=col]')"
        " && [...one.tBodies[0].rows].every(row => row.querySelector('th[scope=row]')))"
    )
    assert tables


def _soon(page: Any, condition: str) -> bool:  # noqa: ANN401
    """Whether a condition holds within two seconds; the page's policy forbids its own polling."""
    for _ in range(40):
        if page.evaluate(condition):
            return True
        page.wait_for_timeout(50)
    return False


def test_keyboard_reaches_the_answer_the_contents_and_tables(show: Any) -> None:  # noqa: ANN401
    page = show("rare tail", width=400)
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the answer"
    assert _soon(page, "document.activeElement.getBoundingClientRect().top >= 0")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "More about this answer"
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("href") == "#officer"
    page.evaluate("document.querySelectorAll('details.part').forEach(one => one.open = true)")
    details = page.locator("#figure-dots + details summary")
    details.focus()
    page.keyboard.press("Enter")
    assert page.locator("#table-dots-data").is_visible()


def test_the_first_screen_is_one_and_links_unfold_what_they_lead_to(show: Any) -> None:  # noqa: ANN401
    page = show("later parts", width=1280)
    for shown in ("h1", ".facts", ".next"):
        box = page.locator(shown).bounding_box()
        assert box["y"] + box["height"] <= 900, shown
    assert page.locator(".facts > div").count() == 3
    assert not page.locator("#table-thresholds").is_visible(), "evidence is folded"
    page.locator("nav a[href='#exposed']").click()
    assert _soon(page, "document.querySelector('#table-thresholds').checkVisibility()")


def test_hostile_names_do_nothing(show: Any) -> None:  # noqa: ANN401
    page = show("hostile")
    assert page.locator("script, img, iframe").count() == 0
    assert summaries.HOSTILE_ATTRIBUTE in page.locator("#groups h3").first.text_content()
