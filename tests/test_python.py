"""The Python face: every name is there, loaded late, and seen by type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = ("auscult", "auscult.recipes")


@pytest.mark.parametrize("name", PACKAGES)
def test_lazy_names_are_those_that_type_checkers_see(name: str) -> None:
    package = import_module(name)
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    (checked,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == package._PLACES
    assert sorted(seen) == sorted(package.__all__)
    for one in package.__all__:
        assert getattr(package, one) is getattr(import_module(str(seen[one])), one)
        assert one in dir(package)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_that_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'Cohrt'"):
        import_module(name).Cohrt  # noqa: B018


def test_names_load_what_they_need_and_no_more() -> None:
    code = (
        "import sys, auscult\n"
        "heavy = {'torch', 'sklearn', 'pandas', 'scipy'}\n"
        "assert not heavy & set(sys.modules)\n"
        "dir(auscult), auscult.AuscultError, auscult.__version__\n"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_type_checker_sees_what_is_wrong(tmp_path: Path) -> None:
    wrong = {
        "auscult.Audit(1, 2, modles=3)": "modles",
        "auscult.Audit": None,
        "auscult.Cohort.from_table('a.csv', patient='p', lable='y')": "lable",
        "auscult.Cohort.from_table('a.csv', label='y')": "patient",
        "auscult.Cohort.from_events('meds', label='y', patient='p').records.rnu": "rnu",
        "auscult.Nothing": "Nothing",
        "auscult.Cohort.from_table('a.csv', patient='p', label='y', groups=['sex']).records": None,
    }
    lines = ["import auscult", *wrong]
    (tmp_path / "wrong.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    root = Path(__file__).parents[1]
    done = subprocess.run(  # with the project's own settings, so that its cache serves
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", tmp_path / "wrong.py"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    said: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        place, _, what = line.partition(": error: ")
        if what and "wrong.py:" in place:
            said.setdefault(int(place.rpartition(":")[2]), []).append(what)
    for number, word in enumerate(wrong.values(), 2):
        found = " ".join(said.get(number, []))
        assert (word in found) if word else not found, done.stdout + done.stderr
