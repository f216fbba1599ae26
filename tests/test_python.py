"""The Python face: every name is there, loaded late, and seen by type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

import auscult
import auscult.recipes
from auscult import Audit, Cohort
from auscult.base.naming import arguments_of, arguments_of_a_file
from auscult.config.loading import load
from tests.cohorts import visits, write_audit

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
        "auscult.Audit(1, 2, modles=3).rnu()": "rnu",
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


# Errors name what the caller wrote


def small_table() -> pd.DataFrame:
    return visits(40)


def test_errors_name_arguments_when_python_called(tmp_path: Path) -> None:
    cohort = Cohort.from_table(small_table(), patient="person", label="outcome")
    recipe = auscult.SklearnRecipe("logistic_regression")
    wrong: dict[str, Callable[[], object]] = {
        "Audit(models=3): 3 models": lambda: Audit(cohort, recipe, models=3).check(),
        "Audit(seed=-1): ": lambda: Audit(cohort, recipe, models=8, seed=-1).run(tmp_path / "run"),
        "Audit(withhold=2): ": lambda: Audit(cohort, recipe, models=8, withhold=2).trial(),
        "Audit(queries=...): ": lambda: Audit(
            cohort, recipe, models=8, queries=["without:none"]
        ).check(),
        "Cohort.from_table(label=...)": lambda: Cohort.from_table(
            small_table(), patient="person", label="person"
        ),
        "SklearnRecipe(estimator=...): ": lambda: Audit(
            cohort, auscult.SklearnRecipe("regression"), models=8
        ).check(),
        "Deployment(prior=...): ": lambda: Audit(
            cohort,
            recipe,
            models=8,
            deployment=auscult.Deployment(reveals="a", population="b", prior=(0.5, 0.1)),
        ).check(),
    }
    for words, call in wrong.items():
        with pytest.raises(auscult.AuscultError) as told:
            call()
        assert words in str(told.value), words
        assert "audit." not in told.value.where
    assert not (tmp_path / "run").exists()


def test_errors_name_keys_when_a_file_was_read(tmp_path: Path) -> None:
    path = write_audit(tmp_path)
    text = path.read_text(encoding="utf-8")
    for old, new, words in (
        ("models = 8", "models = 7", "audit.models: 7 models"),
        ('model = "logistic_regression"', 'model = "regression"', "recipe.model"),
        ('label = "outcome"', 'label = "person"', "cohort.label"),
    ):
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(auscult.AuscultError) as told:
            load(path).audit().check()
        assert told.value.where.startswith(words.partition(":")[0]), told.value.where
        assert words in str(told.value)


def test_what_is_no_argument_is_told_as_it_is() -> None:
    class Owner:
        def __init__(self, one: int) -> None:
            self.one = one

    for where, told in {
        "audit.one": "Owner(one=7)",
        "block-0003, audit.one": "block-0003, Owner(one=7)",
        "audit.one.below": "Owner(one=7): below",
        'audit.one = "x"': "Owner(one=7)",
        "audit.two": "audit.two",
        "other.one": "other.one",
        "column one": "column one",
        "": "",
    }.items():
        with pytest.raises(auscult.StoreError) as seen, arguments_of({"audit": Owner(7)}):
            raise auscult.StoreError("it is wrong", where=where)
        assert seen.value.where == told
        with (
            pytest.raises(auscult.StoreError) as kept,
            arguments_of_a_file(),
            arguments_of({"audit": Owner(7)}),
        ):
            raise auscult.StoreError("it is wrong", where=where)
        assert kept.value.where == where
    with pytest.raises(auscult.StoreError) as seen, arguments_of({"audit": Owner(7)}):
        raise auscult.StoreError(
            "it is", expected="audit.one, no audit.toml", next_step="audit.two"
        )
    assert str(seen.value) == "it is. Expected: one, no audit.toml. audit.two."
