"""Parts by name: Auscult's own, those of the example package, and packages that are broken."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult.attacks.layout import Layout
from auscult.attacks.record import ATTACKS, RECORD_ATTACKS, RecordAttack, lira_online
from auscult.audit import Audit
from auscult.base import plugins
from auscult.base.errors import AuscultError, ConfigError
from auscult.base.plugins import PluginError
from auscult.cohort import Cohort
from auscult.recipes import SklearnRecipe
from auscult.testing import CheckError, check_attack

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "plugin"


def make_known(folder: Path, project: dict[str, Any]) -> None:
    """Write what an installer writes of a package, so that its entry points are found."""
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a package of one module: its entry points by group, and its text."""
    before = set(sys.modules)

    def install(group: str, entries: dict[str, str], text: str = "", name: str = "other") -> None:
        folder = tmp_path / "site" / name
        folder.mkdir(parents=True)
        (folder / f"{name}_module.py").write_text(text)
        make_known(folder, {"name": name, "version": "1.2", "entry-points": {group: entries}})
        monkeypatch.syspath_prepend(str(folder))
        plugins.forget()

    yield install
    for added in set(sys.modules) - before:
        if added.endswith("_module"):
            del sys.modules[added]
    plugins.forget()


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example package, as if it were installed."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    make_known(site, project)
    paths = [str(site), str(EXAMPLE / "src")]
    sys.path[:0] = paths
    plugins.forget()
    yield
    sys.path[:] = [path for path in sys.path if path not in paths]
    plugins.forget()


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "path", sorted((EXAMPLE / "tests").glob("test_*.py")), ids=lambda p: p.stem
)
def test_the_example_passes_its_own_tests(path: Path, example: None, tmp_path: Path) -> None:
    tests = [one for name, one in vars(module_of(path)).items() if name.startswith("test_")]
    assert tests
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        folder.mkdir()
        test(**({"tmp_path": folder} if "tmp_path" in inspect.signature(test).parameters else {}))


def test_the_example_has_one_file_and_one_test_for_each_of_its_parts(example: None) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    modules = [
        value.partition(":")[0].partition(".")[2]
        for entries in project["entry-points"].values()
        for value in entries.values()
    ]
    assert sorted(modules) == sorted(set(modules))
    assert set(project["entry-points"]) <= set(plugins.GROUPS.values())
    for module in modules:
        assert (EXAMPLE / "src" / "auscult_example" / f"{module}.py").is_file()
        assert (EXAMPLE / "tests" / f"test_{module}.py").is_file()


# Attacks


@pytest.mark.parametrize("attack", RECORD_ATTACKS, ids=lambda attack: attack.name)
def test_our_attacks_pass_the_check(attack: RecordAttack) -> None:
    check_attack(attack)


def attack(
    score: Callable[[Layout], NDArray[Any]],
    begin: Callable[[Layout], Callable[[Layout], NDArray[Any]]] | None = None,
    finish: Callable[..., NDArray[Any]] | None = None,
) -> RecordAttack:
    return RecordAttack(
        name="broken",
        label="Broken",
        what="a test",
        begin=begin or (lambda _: score),
        finish=finish,
    )


def own_references(part: Layout) -> NDArray[Any]:
    """The target is among its own references."""
    member = part.member[part.patient]
    inside = np.where(member, part.signals, 0).sum(axis=1) / member.sum(axis=1)
    outside = np.where(~member, part.signals, 0).sum(axis=1) / (~member).sum(axis=1)
    x = part.signals
    return (x - outside[:, None]) ** 2 - (x - inside[:, None]) ** 2


def in_place(part: Layout) -> NDArray[Any]:
    part.signals[:] += 1
    return part.signals.copy()


def first_lacks(part: Layout) -> NDArray[Any]:
    scores = part.signals.copy()
    scores[0] = np.nan
    return scores


_RANDOM = np.random.default_rng(0)
BROKEN_ATTACKS = {
    "sign is flipped": attack(in_place, lambda whole: lambda part: -lira_online(whole)(part)),
    "membership in the models": attack(own_references),
    "where nothing leaks": attack(lambda part: part.signals + 0.4 * part.member[part.patient]),
    "NaN": attack(first_lacks),
    "scored together": attack(lambda part: part.signals - part.signals.mean(axis=0)),
    "order of records": attack(
        in_place, lambda whole: lambda part: part.signals - whole.signals[0]
    ),
    "every time": attack(lambda part: part.signals + _RANDOM.normal(size=part.signals.shape)),
    "finds nothing": attack(lambda part: np.zeros_like(part.signals)),
    "changes the signals": attack(in_place),
    "expected: a float array": attack(lambda part: part.signals.T),
    "ZeroDivisionError": attack(lambda part: part.signals * (1 // 0)),
    "its sign": attack(lambda part: part.signals.copy(), finish=lambda scores, _: -scores),
}


@pytest.mark.parametrize("what", BROKEN_ATTACKS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_broken_attacks_fail_the_check(what: str) -> None:
    with pytest.raises(CheckError) as caught:
        check_attack(BROKEN_ATTACKS[what])
    assert what.lower() in str(caught.value).lower()


@pytest.mark.parametrize("lacking", ["name", "label", "what"])
def test_an_attack_without_words_cannot_be_made(lacking: str) -> None:
    words = {"name": "mine", "label": "Mine", "what": "a test"} | {lacking: " "}
    with pytest.raises(PluginError, match=lacking):
        RecordAttack(**words, begin=lira_online)
    del words[lacking]
    with pytest.raises(TypeError, match=lacking):
        RecordAttack(**words, begin=lira_online)


def test_no_name_is_given_twice() -> None:
    with pytest.raises(PluginError, match="already"):
        ATTACKS.add(RECORD_ATTACKS[0])


_RECORD_ATTACK = (
    "from auscult.attacks.record import RecordAttack\n"
    "A = RecordAttack(name='{name}', label='{label}', what='y', begin=len)"
)
BROKEN_PACKAGES = {
    "no module": ("x = nowhere_at_all:ATTACK", "", "cannot be loaded (ModuleNotFoundError"),
    "no name": ("x = other_module:ATTACK", "", "cannot be loaded (AttributeError"),
    "raises": ("x = other_module:ATTACK", "1 / 0", "cannot be loaded (ZeroDivisionError"),
    "ends": ("x = other_module:A", "import sys; sys.exit(3)", "cannot be loaded (SystemExit"),
    "syntax": ("x = other_module:A", "def (", "cannot be loaded (SyntaxError"),
    "another type": ("x = other_module:A", "A = 3", "expected: an instance of auscult.attacks"),
    "another name": (
        "x = other_module:A",
        _RECORD_ATTACK.format(name="y", label="Y"),
        'calls itself "y"',
    ),
    "no words": (
        "x = other_module:A",
        _RECORD_ATTACK.format(name="x", label=""),
        "it has no label",
    ),
}


@pytest.mark.parametrize("case", BROKEN_PACKAGES)
def test_a_broken_package_gives_one_message(case: str, installed: Callable[..., None]) -> None:
    entry, text, said = BROKEN_PACKAGES[case]
    name, _, value = entry.partition(" = ")
    installed("auscult.attacks", {name: value}, text)
    with pytest.raises(PluginError) as caught:
        ATTACKS.get("x", "audit.attacks")
    message = str(caught.value)
    assert "other 1.2" in message
    assert said.lower() in message.lower()
    assert message.startswith("audit.attacks: ")
    assert "\n" not in message
    assert ATTACKS.get("lira", "audit.attacks").name == "lira"  # and nobody else is harmed


def test_no_package_may_take_a_name_of_ours_or_of_another_package(
    installed: Callable[..., None],
) -> None:
    installed("auscult.attacks", {"lira": "other_module:A"})
    with pytest.raises(PluginError, match=r"Auscult itself and by other 1\.2"):
        ATTACKS.get("lira", "audit.attacks")
    installed("auscult.attacks", {"mine": "a:A"}, name="first")
    installed("auscult.attacks", {"mine": "b:B"}, name="second")
    with pytest.raises(PluginError, match=r"second 1\.2 and by first 1\.2"):
        ATTACKS.get("mine", "audit.attacks")
    with pytest.raises(ConfigError, match=r"it has: lira, .*mine"):
        ATTACKS.get("nobody", "audit.attacks")


# An audit with all of it


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(120, 4))
    table = pd.DataFrame(x, columns=[*"abcd"])
    table["label"] = np.where(x[:, 0] + rng.normal(size=120) > 0, "ill", "well")
    table["patient"] = np.arange(120) // 2
    return Cohort.from_table(table, patient="patient", label="label")


def audit_of(cohort: Cohort, **more: Any) -> Audit:  # noqa: ANN401
    return Audit(cohort, SklearnRecipe("logistic_regression"), models=8, seed=1, **more)


def test_an_audit_with_the_example(cohort: Cohort, example: None, tmp_path: Path) -> None:
    plain = audit_of(cohort).run(tmp_path / "run", workers=1).summary
    added = audit_of(cohort, attacks=["rank"]).run(tmp_path / "run", workers=1)
    summary = added.summary
    rank = summary["aggregate"].pop("rank")
    assert rank["auc"] == pytest.approx(summary["aggregate"]["lira_offline"]["auc"], abs=0.1)
    entry = {"kind": "attack", "name": "rank", "distribution": "auscult-example"}
    assert summary.pop("plugins") == [entry | {"version": "0.1.0"}]
    assert summary == plain  # nothing else moves
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["plugins"] == [entry | {"version": "0.1.0"}]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Rank among OUT models" in page
    assert "are less confident in it" in page


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["lira"], '"lira" is always run'),
        (["rank", "rank"], "named twice"),
        (["rnk"], 'Did you mean "rank"'),
    ],
)
def test_attacks_that_cannot_be_added(
    names: list[str], said: str, cohort: Cohort, example: None
) -> None:
    with pytest.raises(AuscultError, match=said):
        audit_of(cohort, attacks=names).check()
