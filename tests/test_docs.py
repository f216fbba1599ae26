"""The documentation: links lead somewhere, the site builds, parameters are described."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

import auscult

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[be]*/*.md"))
    if path.is_file()
)
FENCE = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def links(path: Path) -> Iterator[str]:
    text = re.sub(r"`[^`\n]*`(?!\])", "", prose(path))
    for match in LINK.finditer(text):
        yield match[1]
        yield from (inner[1] for inner in LINK.finditer(match[0][1:]))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Anchors of a page's headings, as hosts of repositories make them, and its own."""
    if path.suffix != ".md":
        return frozenset()
    found: dict[str, int] = {}
    names = set(re.findall(r"<a (?:name|id)=\"([^\"]+)\"", prose(path)))
    for heading in re.findall(r"^#{1,6} +(.*?)(?: +#+)?$", prose(path), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-")
        names.add(slug if slug not in found else f"{slug}-{found[slug]}")
        found[slug] = found.get(slug, 0) + 1
    return frozenset(names)


def broken(path: Path) -> list[str]:
    found = []
    for link in links(path):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (path.parent / place).resolve() if place else path
        there = target.exists() and target.is_relative_to(path.parent.parent.resolve())
        if not there or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def test_every_link_and_anchor_leads_somewhere() -> None:
    assert len(PAGES) > 20
    assert {str(path): broken(path) for path in PAGES if broken(path)} == {}


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# A `b`, c\n\n# Twice\n\n# Twice\n", encoding="utf-8")
    page = tmp_path / "a.md"
    page.write_text(
        "# Here\n[a](b.md) [b](b.md#a-b-c) [c](b.md#twice-1) [d](#here) [e](https://x.org/y#z)\n"
        "[`f`](no.md) [g](b.md#no) [h](#no) ![i](no.png) [![j](no2.png)](b.md)\n"
        "`[k](code.md)`\n```\n[l](block.md)\n```\n",
        encoding="utf-8",
    )
    assert broken(page) == ["no.md", "b.md#no", "#no", "no.png", "no2.png"]


def test_the_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto(?:class|function):: auscult\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(auscult.__all__)


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(links(ROOT / "README.md"))
    missing = {path.name for path in PAGES if path.parent.name == "docs"} - {
        Path(link).name for link in linked
    }
    assert missing == set()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason='the site needs the extra "docs"')
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs"]
    done = subprocess.run(
        [*command, ".", tmp_path / "site"], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "site" / "docs" / "api.html").read_text(encoding="utf-8")
    for name in auscult.__all__:
        assert f'id="auscult.{name}"' in reference
    assert "README.html" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


# Parameters. Public is a function, or a method of a class, whose name and whose class's name begin
# with no underscore, in any module of the package. Commands are left out, since their docstring is
# the help that the command line shows, and so are methods that a base class describes.

COMMANDS = re.compile(r"@app\.command|@\w+\.command")


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """Public functions and methods: name, node, and whether it is a method."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for one in node.body:
                if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"):
                    yield f"{node.name}.{one.name}", one, True


def arguments(node: ast.FunctionDef, method: bool) -> list[str]:
    given = node.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names = names[1:] if method and names[:1] in (["self"], ["cls"]) else names
    names += [f"*{given.vararg.arg}"] if given.vararg else []
    return names + ([f"**{given.kwarg.arg}"] if given.kwarg else [])


def described(doc: str) -> set[str] | None:
    """Names in the Parameters section; None without one."""
    found = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", doc, re.M | re.S)
    if found is None:
        return None
    heads = re.findall(r"^(\S[^\n]*)$", found[1], re.MULTILINE)
    return {name.strip() for head in heads for name in head.partition(" : ")[0].split(",")}


def undescribed(source: str, inherited: frozenset[str] = frozenset()) -> list[str]:
    """Public functions of three or more arguments without a word on each of them."""
    found = []
    for name, node, method in functions(ast.parse(source)):
        names = arguments(node, method)
        marks = " ".join("@" + ast.unparse(one) for one in node.decorator_list)
        if len(names) < 3 or COMMANDS.search(marks) or "overload" in marks:
            continue
        said = described(ast.get_docstring(node) or "")
        if said is None and method and node.name in inherited:
            continue
        if said is None or not {one.lstrip("*") for one in names} <= {
            one.lstrip("*") for one in said
        }:
            found.append(name)
    return found


def test_functions_of_three_arguments_describe_them() -> None:
    sources = {
        path: path.read_text(encoding="utf-8")
        for path in Path(auscult.__file__).parent.rglob("*.py")
    }
    # Doors and recipes: the abstract class says what the arguments are.
    abstract = frozenset(
        node.name
        for source in sources.values()
        for _, node, method in functions(ast.parse(source))
        if method
        and any("abstractmethod" in ast.unparse(one) for one in node.decorator_list)
        and described(ast.get_docstring(node) or "")
    )
    lacking = {str(path): undescribed(text, abstract) for path, text in sources.items()}
    assert {path: names for path, names in lacking.items() if names} == {}


def test_lacking_parameters_are_found() -> None:
    source = '''
def fine(a, b, *c):
    """Do.

    Parameters
    ----------
    a, b : int
    *c
        More.
    """

def short(a, b): ...

def bare(a, b, c):
    """Do."""

def partly(a, b, *, c):
    """Do.

    Parameters
    ----------
    a, b : int

    Raises
    ------
    c : ValueError
    """

class Thing:
    def method(self, a, b, c): ...

    def own(self, a, b, c): ...

class _Hidden:
    def method(self, a, b, c): ...
'''
    assert undescribed(source) == ["bare", "partly", "Thing.method", "Thing.own"]
    assert undescribed(source, frozenset({"own"})) == ["bare", "partly", "Thing.method"]
