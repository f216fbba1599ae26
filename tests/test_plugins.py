"""Parts by name: Auscult's own, those of the example package, and packages that are broken."""

# ruff: noqa: ARG002, ARG005 - parts that are broken ignore what they are given

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from auscult.attacks.access import NAMES, added_access, parse_access
from auscult.attacks.layout import Layout
from auscult.attacks.record import ATTACKS, RECORD_ATTACKS, RecordAttack, lira_online
from auscult.attacks.views import ACCESSES, Label, Logits, Probabilities, Rounded, Top, View
from auscult.audit import Audit
from auscult.base import plugins
from auscult.base.errors import AuscultError, ConfigError
from auscult.base.plugins import PluginError
from auscult.base.progress import SILENT, Progress
from auscult.cli.plugins import plugins as list_parts
from auscult.cohort import Cohort, TrainingData
from auscult.cohort.inputs import TableInputs
from auscult.config.loading import load
from auscult.datasets import Dataset, Source, dataset
from auscult.exposure import Deployment, Inquiry, cells
from auscult.protection.changes import (
    PROTECTIONS,
    Choosing,
    NoDuplicates,
    Protection,
    RecordCap,
    WithoutExposed,
    WithoutTop,
)
from auscult.protection.variants import Variant
from auscult.readers.arrays import READERS, ArrayReader
from auscult.recipes import PythonRecipe, SklearnRecipe, TorchRecipe
from auscult.recipes.base import Assignment, BlockOutputs, OutputKind, Recipe
from auscult.recipes.kinds import identity_of
from auscult.release.doors import Door, FileDoor, FunctionDoor
from auscult.report import render
from auscult.report.sections import SECTIONS, ReportSection, written
from auscult.report.summary import read_summary
from auscult.results.analysis import _aggregate
from auscult.testing import (
    CheckError,
    check_access,
    check_attack,
    check_dataset,
    check_protection,
    check_reader,
    check_recipe,
    check_release,
    check_section,
)
from auscult.testing.simulated import Signals
from tests.dataset_folders import diabetes, mimic_iv_ed

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


@pytest.mark.parametrize("kind", ["src/auscult_example", "tests"])
def test_the_guide_shows_the_example_in_full(kind: str) -> None:
    guide = (EXAMPLE.parents[1] / "docs" / "extending.md").read_text()
    files = [*(EXAMPLE / kind).glob("[!_]*.py"), EXAMPLE / "pyproject.toml"]
    assert len(files) == 9
    for file in files:
        assert file.read_text() in guide, f"{file.name}: docs/extending.md shows another version"


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
    return np.asarray((x - outside[:, None]) ** 2 - (x - inside[:, None]) ** 2)


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
    words: dict[str, Any] = {"name": "mine", "label": "Mine", "what": "a test"} | {lacking: " "}
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
        'is named "y"',
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


def nearest(inputs: Any, labels: Any, seed: int) -> Callable[[Any], NDArray[Any]]:  # noqa: ANN401
    """A training function: the middle between the means of the first column."""
    x = np.asarray(inputs)[:, 0].astype(float)
    middle = (x[labels == 1].mean() + x[labels == 0].mean()) / 2
    return lambda asked: 1 / (1 + np.exp(-4 * (np.asarray(asked)[:, 0].astype(float) - middle)))


# Accesses


OUR_VIEWS = (
    Logits(),
    Probabilities(),
    Probabilities(temperature=3.0),
    Rounded(),
    Rounded(digits=3, temperature=2.0),
    Top(),
    Label(),
)


@pytest.mark.parametrize("view", OUR_VIEWS, ids=str)
def test_our_accesses_pass_the_check(view: View) -> None:
    check_access(view)


def test_every_access_of_ours_is_checked() -> None:
    assert {type(view) for view in OUR_VIEWS} == set(ACCESSES.built_in())


class Steps(View):
    name = "steps-of-a-test"
    label = "steps"

    def shown(self, z: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        return np.clip(np.round(z), -5, 5)


class Forgotten(Steps):
    """Of two classes it hides nothing: a branch was forgotten."""

    name = "forgotten"

    def shown(self, z: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        return z if kind == "sigmoid" else super().shown(z, kind)


class Together(Steps):
    name = "together"

    def shown(self, z: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        return np.asarray(np.clip(np.round(z - z.mean()), -5, 5))


class Infinite(Steps):
    name = "infinite"

    def shown(self, z: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        return np.where(z > 3, np.inf, np.round(z))


class Backwards(Steps):
    name = "backwards"

    def read(
        self, shown: NDArray[np.float64], labels: NDArray[np.integer], kind: OutputKind
    ) -> NDArray[np.float64]:
        return -super().read(shown, labels, kind)


class Shorter(Steps):
    name = "shorter"

    def shown(self, z: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        return z[..., :1] + 1


class Drawn(Steps):
    name = "drawn"

    def shown(self, z: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        return z + _RANDOM.normal(size=z.shape)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (Forgotten, "for sigmoid outputs it hands out plain probabilities"),
        (Together, "depends on the others"),
        (Infinite, "NaN or infinity"),
        (Backwards, "lower for members"),
        (Shorter, "it shows"),
        (Drawn, "differently every time"),
    ],
)
def test_broken_accesses_fail_the_check(view: type[View], said: str) -> None:
    check_access(Steps())
    with pytest.raises(CheckError, match=said):
        check_access(view())


def test_a_class_without_its_words_or_its_action_cannot_be_one() -> None:
    with pytest.raises(PluginError, match="it has no label"):
        type("Silent", (View,), {"name": "silent"})
    idle = type("Idle", (View,), {"name": "idle", "label": "Idle"})
    with pytest.raises(PluginError, match="it does not define shown"):
        ACCESSES.add(idle)
    with pytest.raises(TypeError, match="shown"):
        idle()


def test_an_access_with_options(example: None) -> None:
    access = parse_access("steps:0.5")
    assert access.label == "steps of the log-odds, 0.5 wide"
    assert access == added_access("steps", {"width": 0.5}, "protect.access")
    assert access.handed_out(np.array([[1.3]]), "sigmoid").tolist() == [[1.5]]
    for options, said in (
        ({"widht": 1.0}, 'Did you mean "width"'),
        ({"width": "wide"}, "valid number"),
    ):
        with pytest.raises(ConfigError, match=said):
            added_access("steps", options, "protect.access")
    for text in ("steps:x", "steps:0"):
        with pytest.raises(ConfigError, match=r"deployment\.access"):
            parse_access(text)


# Readers and datasets


def test_our_readers_pass_the_check() -> None:
    check_reader("npy", lambda path, array: np.save(path, array))
    check_reader("npz", lambda path, array: np.savez(path, array))
    assert [reader.name for reader in READERS.built_in()] == ["npy", "npz"]


class Turned(ArrayReader):
    name = "npy"
    label = "npy file, last axis first"

    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        return np.asarray(np.load(path).T)


class Reversed(Turned):
    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        return np.asarray(np.load(path)[::-1])


class Keyless(Turned):
    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        return np.asarray(np.load(path))


class Squeezed(Turned):
    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        return np.asarray(np.load(path).squeeze())


class Halved(Turned):
    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        return np.asarray(np.load(path).astype(np.float16))


class Lenient(Turned):
    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        try:
            return np.asarray(np.load(path))
        except (ValueError, EOFError):
            return np.zeros((1, 1))


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (Turned, "it returns 5 records of 7"),
        (Reversed, "not in the file's order"),
        (Keyless, "ignores which array"),
        (Squeezed, "records of 1|shape"),
        (Halved, "not those of the file"),
        (Lenient, "without an error"),
    ],
)
def test_broken_readers_fail_the_check(reader: type[ArrayReader], said: str) -> None:
    with pytest.raises(CheckError, match=said):
        check_reader(reader(), lambda path, array: np.save(path, array))


@pytest.mark.parametrize(
    ("name", "make"), [("mimic-iv-ed", mimic_iv_ed), ("diabetes130", diabetes)]
)
def test_our_datasets_pass_the_check(
    name: str, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    check_dataset(name, make(tmp_path))


# Doors to a release


def test_our_doors_pass_the_check() -> None:
    def file(answers: np.ndarray, folder: Path) -> FileDoor:
        np.save(folder / "answers.npy", answers)
        return FileDoor(path=folder / "answers.npy")

    check_release(file)
    check_release(
        lambda answers, folder: FunctionDoor(
            function=lambda table: answers[table["x"].to_numpy(int) % len(answers)][: len(answers)]
        )
    )


class Answers(Door):
    kind = "answers-for-tests"
    label = "answers in memory"

    def __init__(self, said: np.ndarray, folder: Path) -> None:
        self.said, self.folder = said, folder

    def check(self, data: TrainingData) -> None:
        pass

    def answers(
        self, data: TrainingData, cache: Path | None = None, progress: Progress = SILENT
    ) -> np.ndarray:
        return self.said

    def about(self) -> dict[str, Any]:
        return {"door": self.kind}


class Sorted(Answers):
    def answers(self, data: TrainingData, *given: object, **more: object) -> np.ndarray:
        return np.sort(self.said)


class OfLabels(Answers):
    def answers(self, data: TrainingData, *given: object, **more: object) -> np.ndarray:
        return self.said + 1e-9 * data.labels


class FillsUp(Answers):
    def answers(self, data: TrainingData, *given: object, **more: object) -> np.ndarray:
        return np.resize(self.said, len(data.labels))


class TellsTheFolder(Answers):
    def about(self) -> dict[str, Any]:
        return {"door": self.kind, "what": str(self.folder / "answers.npy")}


class Rounds(Answers):
    def answers(self, data: TrainingData, *given: object, **more: object) -> np.ndarray:
        return self.said.round(1)


class Fails(Answers):
    def answers(self, data: TrainingData, *given: object, **more: object) -> np.ndarray:
        if len(self.said) < len(data.labels):
            raise IndexError
        return self.said


@pytest.mark.parametrize(
    ("door", "said"),
    [
        (Sorted, "not in the order of the records"),
        (OfLabels, "depend on the labels"),
        (FillsUp, "made one up"),
        (TellsTheFolder, "a folder of this machine"),
        (Rounds, "not those of the model"),
        (Fails, "raised IndexError"),
    ],
)
def test_broken_doors_fail_the_check(door: type[Answers], said: str) -> None:
    check_release(Answers)
    with pytest.raises(AssertionError, match=said):
        check_release(door)


def test_parts_are_listed_with_what_is_wrong_with_them(
    installed: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as none_installed:
        none_installed.setattr(plugins, "_all_entries", lambda: ())
        list_parts()
    assert "No installed package adds a part" in capsys.readouterr().out
    installed("auscult.attacks", {"gone": "no_such_module:Attack"})
    list_parts(as_json=True)
    rows = json.loads(capsys.readouterr().out)
    (row,) = (row for row in rows if row["name"] == "gone")
    list_parts(everything=True)
    whole = capsys.readouterr().out
    assert row["package"] == "other 1.2"
    assert "cannot be loaded" in row["error"]
    assert 'attack "gone" (other 1.2): cannot be used' in whole
    assert 'release door "file" (auscult): file' in whole


def _with_source(change: Callable[[Source], Source]) -> Dataset:
    known = dataset("diabetes130")
    return replace(known, read=lambda root: change(known.read(root)))


def _shorter(source: Source) -> Source:
    return replace(source, table=source.table[1:], rows=source.rows[1:])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_shorter, "what is dropped must be counted"),
        (lambda source: replace(source, rows=source.rows[1:]), "rows are named"),
        (lambda source: replace(source, rows=source.rows * 0), "is listed twice"),
        (
            lambda source: replace(source, reading={**source.reading, "groups": []}),
            "it says that its groups are",
        ),
        (
            lambda source: replace(source, reading={**source.reading, "patient": "nobody"}),
            "no patient column",
        ),
    ],
)
def test_broken_datasets_fail_the_check(
    change: Callable[[Source], Source], said: str, tmp_path: Path
) -> None:
    folder = diabetes(tmp_path)
    with pytest.raises(CheckError, match=said):
        check_dataset(_with_source(change), folder)


# Protections


@pytest.mark.parametrize(
    "protection",
    [
        RecordCap(most=1),
        RecordCap(most=3),
        NoDuplicates(tolerance=0.0),
        WithoutExposed(bound=0.8),
        WithoutTop(bound=0.2),
    ],
    ids=str,
)
def test_our_protections_pass_the_check(protection: Protection) -> None:
    check_protection(protection)


def choice(records: Callable[[Choosing], Any]) -> Protection:
    class Broken(Protection):
        name = "broken"
        label = "Broken"

        def records(self, asked: Choosing) -> Any:  # noqa: ANN401
            return records(asked)

    return Broken()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (lambda asked: np.arange(5), "expected: a bool array"),
        (lambda asked: np.ones(asked.patient_of_record.size, bool), "leaves nothing out"),
        (lambda asked: asked.patient_of_record > 3, "4 of 30 patients no record"),
        (lambda asked: _RANDOM.random(asked.patient_of_record.size) < 0.5, "every time"),
        (
            lambda asked: asked.subject.membership.reveal()[0][asked.patient_of_record],
            "depends on the membership",
        ),
        (lambda asked: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_broken_protections_fail_the_check(records: Callable[[Choosing], Any], said: str) -> None:
    with pytest.raises(CheckError, match=f"(?i){said}"):
        check_protection(choice(records))


# Recipes and doors to a release


@pytest.mark.parametrize(
    "recipe",
    [
        SklearnRecipe("logistic_regression"),
        SklearnRecipe("random_forest", arguments={"n_estimators": 10}),
        PythonRecipe(nearest, version="1"),
    ],
    ids=lambda recipe: recipe.kind,
)
def test_our_recipes_pass_the_check(recipe: Recipe) -> None:
    check_recipe(recipe)


@pytest.mark.filterwarnings("default")
def test_our_networks_pass_the_check() -> None:
    check_recipe(TorchRecipe("mlp", epochs=8, hidden=[8], batch_size=16, learning_rate=0.02))


def table_of(data: TrainingData) -> pd.DataFrame:
    assert isinstance(data.inputs, TableInputs)
    return data.inputs.frame()


class Nearest(Recipe):
    kind = "nearest"
    label = "Nearest mean"

    def settings(self) -> dict[str, Any]:
        return {}

    def supports(self, data: TrainingData) -> str | None:
        return None

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        values = []
        for assignment in assignments:
            values.append(self.one(data, assignment))
            advance(1)
        return BlockOutputs(values=np.stack(values).astype(np.float32), kind="sigmoid")

    def one(self, data: TrainingData, assignment: Assignment) -> NDArray[Any]:
        """Outputs of one model, shape (1, records, 1)."""
        x = np.asarray(table_of(data))[:, 0]
        mine = x[assignment.members]
        ill = data.labels[assignment.members] == 1
        return np.asarray(4 * (x - (mine[ill].mean() + mine[~ill].mean()) / 2)[None, :, None])


class Negated(Nearest):
    def one(self, data: TrainingData, assignment: Assignment) -> NDArray[Any]:
        return -super().one(data, assignment)


class Unseeded(Nearest):
    def one(self, data: TrainingData, assignment: Assignment) -> NDArray[Any]:
        return super().one(data, assignment) + _RANDOM.normal()


class Memberless(Nearest):
    def one(self, data: TrainingData, assignment: Assignment) -> NDArray[Any]:
        return np.asarray(table_of(data))[None, :, :1]


class Members(Nearest):
    def one(self, data: TrainingData, assignment: Assignment) -> NDArray[Any]:
        return super().one(data, assignment)[:, assignment.members]


class Spoiling(Nearest):
    def one(self, data: TrainingData, assignment: Assignment) -> NDArray[Any]:
        data.labels[:3] = 1
        return super().one(data, assignment)


class Wordless(Nearest):
    label = ""


class Following(Nearest):
    """A model starts from the one before it."""

    def train_block(
        self,
        data: TrainingData,
        assignments: Sequence[Assignment],
        advance: Callable[[float], None],
    ) -> BlockOutputs:
        found = super().train_block(data, assignments, advance)
        return replace(found, values=np.cumsum(found.values, axis=0))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Negated, "the outputs' sign"),
        (Unseeded, "different models every time"),
        (Memberless, "give the same answers"),
        (Members, "its outputs have shape"),
        (Spoiling, "it changes the data"),
        (Wordless, "it has no label"),
        (Following, "trained with it"),
    ],
)
def test_broken_recipes_fail_the_check(recipe: type[Recipe], said: str) -> None:
    check_recipe(Nearest())
    with pytest.raises(CheckError, match=said):
        check_recipe(recipe())


def test_changed_code_of_a_recipe_is_another_run() -> None:
    assert "code" not in identity_of(SklearnRecipe())
    own, other = identity_of(Nearest()), identity_of(Negated())
    assert (own["kind"], own["settings"]) == (other["kind"], other["settings"])
    assert own["code"] != other["code"]


CONFIGURATION = """
[cohort]
table = "visits.csv"
images = "scans.mat"
patient = "patient"
label = "ill"
[recipe]
kind = "centroids"
scale = 2.0
[audit]
models = 8
attacks = ["rank"]
sections = ["ranking"]
[[protect]]
access = {{ name = "steps", options = {{ width = 2.0 }} }}
[[protect]]
cohort = {{ name = "record_share", options = {{ share = 0.5 }} }}
[release]
door = "csv"
{0}
"""


def write_all(folder: Path, options: str = 'options = { path = "answers.csv" }') -> Path:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"patient": np.arange(40) // 2, "ill": np.arange(40) % 2})
    table.to_csv(folder / "visits.csv", index=False)
    savemat(folder / "scans.mat", {"scans": rng.normal(size=(40, 8, 8))})
    path = folder / "audit.toml"
    path.write_text(CONFIGURATION.format(options))
    pd.DataFrame({"p": rng.random(40)}).to_csv(folder / "answers.csv", index=False)
    return path


def test_a_configuration_of_parts_of_the_example(example: None, tmp_path: Path) -> None:
    loaded = load(write_all(tmp_path))
    audit = loaded.audit()
    audit.check()
    assert audit.cohort.notes[-1] == "MATLAB file read by auscult-example 0.1.0"
    assert repr(audit.recipe) == "Centroids(scale=2.0)"
    assert [plan.name for plan in audit.plans()] == [
        "steps of the log-odds, 2 wide",
        "50% of each patient's records",
    ]
    assert audit.release is not None
    assert audit.release.door.about() == {"door": "csv", "what": "answers.csv"}
    assert 'kind = "centroids"' in loaded.resolved()
    again = tmp_path / "again.toml"
    again.write_text(loaded.resolved())
    load(again).audit().check()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("scale = 2.0", "scael = 2.0", 'recipe.scael: there is no such option.*"scale"'),
        ("scale = 2.0", 'scale = "x"', "recipe.scale: input should be a valid number"),
        ('"centroids"', '"centroid"', 'expected: "torch", "sklearn", "python" or "centroids"'),
        ('"rank"]', '"rnak"]', 'audit.attacks: there is no attack "rnak".*"rank"'),
        ('"ranking"]', '"decision"]', '"decision" is in every report'),
        ("width = 2.0", "width = 0.0", r"protect\[0\].*not a valid width"),
        ("width = 2.0", "height = 2.0", r"protect\[0\].*options.height.*no such option"),
        ("share = 0.5", "share = 1.5", r"protect\[1\].*not a valid share"),
        ('"record_share"', '"max_records"', "write it as a separate key"),
        ('"steps"', '"label"', "is auscult's own"),
        ("scans.mat", "scans.h5", "cohort.image_size: is missing"),  # so it is no array
        ('"csv"', '"cvs"', 'release.door: input should be .* or "csv"'),
        ("options = { path", "options = { pth", "no such option"),
        ('options = { path = "', 'url = "http://x"\noptions = { path = "', "url requires"),
    ],
)
def test_what_is_wrong_with_a_part_is_said_where_it_stands(
    old: str, new: str, said: str, example: None, tmp_path: Path
) -> None:
    path = write_all(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(AuscultError, match=f"(?i){said}"):
        load(path).audit().check()


# Sections


@pytest.mark.parametrize("section", SECTIONS.built_in(), ids=lambda section: section.name)
def test_our_sections_are_functions_of_the_summary(section: ReportSection) -> None:
    summary = {"schema": "auscult.summary/1"}
    assert written(section, read_summary(summary)) == written(section, read_summary(summary))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda summary: summary.content()["cohort"]["records"], "KeyError|it returned int"),
        (lambda summary: "<b>text</b>", "it returned str"),
        (lambda summary: None, "writes nothing"),
    ],
)
def test_broken_sections_fail_the_check(write: Callable[[Any], Any], said: str) -> None:
    section = ReportSection(name="broken", label="Broken", write=write)
    with pytest.raises(CheckError, match=said):
        check_section(section, {"schema": "auscult.summary/1", "cohort": {"records": 3}})


def test_a_section_whose_package_is_gone_says_so_in_its_place() -> None:
    html = render({"schema": "auscult.summary/1", "sections": ["ranking-of-nobody"]})
    assert "This section could not be written" in html


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


FAILING = """
from auscult.attacks.record import RecordAttack

def score(part):
    raise ValueError("patient 17 is a member")

A = RecordAttack(name="x", label="X", what="x", begin=lambda whole: score)
"""


def test_an_attack_that_fails_gives_one_message(installed: Callable[..., None]) -> None:
    installed("auscult.attacks", {"x": "other_module:A"}, FAILING)
    with pytest.raises(PluginError) as caught:
        _aggregate(Signals(1.0, seed=1).layout(), 0, ["x"], SILENT)
    assert str(caught.value) == (
        'attack "x" of other 1.2: it raised ValueError while scoring (other_module.py line 5). '
        "Report it to the authors of other."
    )


def test_attacks_that_are_added_move_no_other(example: None) -> None:
    layout = Signals(1.0, seed=1).layout()
    added = _aggregate(layout, 0, ["rank"], SILENT)
    rank = added.pop("rank")
    assert added == _aggregate(layout, 0, [], SILENT)
    assert rank["auc"] == pytest.approx(added["lira_offline"]["auc"], abs=0.05)
    assert rank["what"].startswith("the share of models")
    assert not any("what" in one for one in added.values())


def test_a_deployment_is_looked_at_through_an_access_that_is_added(example: None) -> None:
    deployment = Deployment(reveals="x", population="y", prior=0.1, access="steps:2")
    table = cells(Inquiry(deployment=deployment, queries=(), withheld=None), np.arange(5) // 2, 0)
    mine = [cell for cell in table if cell.declared]
    assert [cell.access.label for cell in mine] == ["steps of the log-odds, 2 wide"]
    assert {cell.access.name for cell in table} == {*NAMES, "steps"}


def test_an_audit_with_the_example(cohort: Cohort, example: None, tmp_path: Path) -> None:
    protect = [Variant(choice=PROTECTIONS.get("record_share", "protect")())]
    audit = audit_of(cohort, attacks=["rank"], sections=["ranking"], protect=protect)
    summary = audit.run(tmp_path / "run", workers=1).summary
    assert summary["sections"] == ["ranking"]
    assert [one["name"] for one in summary["protection"]] == ["50% of each patient's records"]
    assert [(one["kind"], one["name"]) for one in summary["plugins"]] == [
        ("attack", "rank"),
        ("report section", "ranking"),
        ("protection", "record_share"),
    ]
    owners = {(one["distribution"], one["version"]) for one in summary["plugins"]}
    assert owners == {("auscult-example", "0.1.0")}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["plugins"] == summary["plugins"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Attacks, best first" in page
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
