"""Tests that can fail: small changes to the code (mutants), and whether a test notices each.

    pip install cosmic-ray coverage
    python -m benchmarks.mutants [AREA ...] [--mutants 30] [--work FOLDER] [--seed N] [--again]

Of each area so many mutants are drawn from all that cosmic-ray makes of its modules, by a hash of
the changed line, so that a change elsewhere draws no others. Three kinds are left out, because any
test that enters the line notices them or nothing can: changes that do not compile, bitwise
operators in place of others (a TypeError on floats and paths), and identity in place of a
comparison. Annotations are left out, because nothing runs them. The area's test files first run
under coverage, which tells what tests enter which line; a mutant is then judged by those tests,
the quickest first. Everything happens in a copy of the sources under --work. What was judged is
kept there, and a campaign that was stopped goes on; --again judges those that survived by the
tests as they are now. ``benchmarks/equivalent.toml`` names the mutants that change nothing that
could be seen, and why; they are counted apart.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import contextlib
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.results import record, table

COMMAND = "python -m benchmarks.mutants"
ROOT = Path(__file__).resolve().parents[1]
SEED = 20260624
SECONDS = 20.0  # of the tests that judge one mutant, as they take without it
LONGEST = 10.0  # a test or a fixture that takes longer judges nothing
PATIENCE = 5.0  # times what its tests take without it: a mutant that takes longer is noticed
LEFT_OUT = ("_BitAnd", "_BitOr", "_BitXor", "_LShift", "_RShift", "_Is", "_IsNot")
KEPT = ("core/ReplaceComparisonOperator_Is_IsNot", "core/ReplaceComparisonOperator_IsNot_Is")
WARM = (
    *("numpy", "scipy.optimize", "scipy.stats", "pandas", "pyarrow.parquet", "torch", "rich"),
    *("sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline", "sklearn.neighbors"),
    *("hypothesis", "pydantic", "typer", "jinja2", "loky", "cloudpickle", "narwhals"),
)
AREAS: dict[str, tuple[list[str], list[str]]] = {
    "attacks": (["src/auscult/attacks"], ["attack_parts", "attacks", "layout", "signals"]),
    "risk": (
        ["src/auscult/risk"],
        [
            *("risk_parts", "equal_counts", "counting", "risk", "tpr", "one_model", "outcome"),
            *("disclosure", "ledger"),
        ],
    ),
    "disparity": (
        ["src/auscult/risk/disparity.py", "src/auscult/risk/equal_counts.py"],
        ["equal_counts", "disparity"],
    ),
    "store": (["src/auscult/store"], ["store", "seal"]),
    "policy": (["src/auscult/policy"], ["policy", "nested"]),
    "suppression": (
        ["src/auscult/disclosure"],
        ["withheld", "disclosure", "nested", "ledger"],
    ),
}
VERDICTS = ("killed", "survived", "not covered", "equivalent")
OWN_AREA = ("disparity.py", "equal_counts.py")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: operator and occurrence, as cosmic-ray names them."""

    module: str
    operator: str
    occurrence: int
    line: int
    text: str
    nth: int

    @property
    def name(self) -> str:
        """What it is called in the files; the same wherever its line moves to."""
        return f"{self.module} {self.operator} {self.nth} {self.text}"

    def place(self, seed: int) -> str:
        """Its place in the order of a draw."""
        return hashlib.sha256(f"{seed} {self.name}".encode()).hexdigest()

    def changed(self, tree: Path) -> str | None:
        """The module with the change, or None where that would not compile."""
        from cosmic_ray.mutating import mutate_code
        from cosmic_ray.plugins import get_operator

        source = (tree / self.module).read_text(encoding="utf-8")
        operator = get_operator(self.operator)()
        text: str | None = mutate_code(source, operator, self.occurrence)
        try:
            compile(text or "", self.module, "exec")
        except SyntaxError:
            return None
        return text


def annotated(path: Path) -> list[tuple[int, int, int, int]]:
    """First and last line and column of every annotation of a module."""
    places = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in ("annotation", "returns"):
            one = getattr(node, name, None)
            if isinstance(one, ast.expr):
                places.append(
                    (one.lineno, one.col_offset, one.end_lineno or 0, one.end_col_offset or 0)
                )
    return places


def modules_of(area: str, tree: Path) -> list[Path]:
    """The modules of an area."""
    found: list[Path] = []
    for name in AREAS[area][0]:
        path = tree / name
        found += [path] if path.is_file() else sorted(path.glob("*.py"))
    return [one for one in found if area != "risk" or one.name not in OWN_AREA]


def mutants_of(area: str, tree: Path) -> list[Mutant]:
    """All mutants of an area's modules."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names

    found = []
    for path in modules_of(area, tree):
        nodes = list(ast_nodes(get_ast_from_path(path)))
        words, lines = annotated(path), path.read_text(encoding="utf-8").splitlines()
        seen: Counter[tuple[str, str]] = Counter()
        for name in sorted(operator_names()):
            operator = get_operator(name)
            if operator.arguments() or (name.endswith(LEFT_OUT) and name not in KEPT):
                continue
            positions = [place for node in nodes for place in operator().mutation_positions(node)]
            for occurrence, (start, end) in enumerate(positions):
                line = lines[start[0] - 1]
                # Annotations, and the mark of keywords in a signature, are no operators.
                marks = line[start[1] :].startswith("*,")
                if marks or any(w[:2] <= tuple(start) and tuple(end) <= w[2:] for w in words):
                    continue
                text = line.strip()
                found.append(
                    Mutant(
                        module=str(path.relative_to(tree)),
                        operator=name,
                        occurrence=occurrence,
                        line=start[0],
                        text=text,
                        nth=seen[name, text],
                    )
                )
                seen[name, text] += 1
    return found


def drawn(area: str, tree: Path, mutants: int, seed: int) -> tuple[list[Mutant], int]:
    """So many mutants that compile, and of how many they were drawn."""
    every = mutants_of(area, tree)
    chosen: list[Mutant] = []
    for one in sorted(every, key=lambda one: one.place(seed)):
        if len(chosen) == mutants:
            break
        if one.changed(tree) is not None:
            chosen.append(one)
    return chosen, len(every)


def copied(work: Path) -> Path:
    """A copy of the sources and tests as they are now, compiled."""
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    ignore = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=ignore)
    compileall.compile_dir(tree / "src", quiet=1)
    return tree


class Entered:
    """A plugin of pytest: which test enters which line, and how long each takes.

    Parameters
    ----------
    modules : list of str
        Paths of what is measured.
    """

    def __init__(self, modules: list[str]) -> None:
        from coverage import Coverage

        self.coverage = Coverage(data_file=None, config_file=False, include=modules)
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Measure one test with the fixtures that it makes."""
        self.coverage.switch_context(item.nodeid)
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.seconds[item.nodeid] = time.monotonic() - start
        self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what does not pass."""
        if not report.passed:
            self.failed.add(report.nodeid)

    def found(self, tree: Path) -> dict[str, Any]:
        """Seconds of each test that passed, and of each module the tests that enter a line."""
        data = self.coverage.get_data()
        lines: dict[str, dict[str, list[str]]] = {}
        for path in data.measured_files():
            of_lines = {
                str(line): [one for one in tests if one and one not in self.failed]
                for line, tests in data.contexts_by_lineno(path).items()
            }
            lines[str(Path(path).relative_to(tree))] = of_lines
        seconds = {k: round(v, 3) for k, v in self.seconds.items() if k not in self.failed}
        return {"lines": lines, "seconds": seconds, "failed": sorted(self.failed)}


def forked(tree: Path, run: Any, timeout: float) -> int:  # noqa: ANN401
    """Exit code of a function in a process of its own that finds the copy; 1 where it is late."""
    process = os.fork()
    if process == 0:
        code = 3
        try:
            os.setsid()
            said = os.open(tree.parent / "said.txt", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for number in (0, 1, 2):
                os.dup2(said, number)
            for name in [x for x in sys.modules if x.split(".")[0] in {"auscult", "benchmarks"}]:
                del sys.modules[name]
            paths = [str(tree / "src"), str(tree)]
            sys.path[:] = [*paths, *sys.path]
            os.environ["PYTHONPATH"] = os.pathsep.join(paths)
            os.chdir(tree)
            code = int(run())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return 1


OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "-m", "not slow and not browser"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what was imported beforehand
)


@dataclass(frozen=True, kw_only=True)
class Covered:
    """Of each module, which tests enter a line; how long each takes."""

    tree: Path
    lines: dict[str, dict[str, set[str]]]
    seconds: dict[str, float]

    def _entering(self, module: str, first: int, last: int) -> set[str]:
        of_lines = self.lines.get(module, {})
        return set().union(*(of_lines.get(str(line), set()) for line in range(first, last + 1)))

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that judge a mutant, the quickest first."""
        found = self._entering(mutant.module, mutant.line, mutant.line)
        if not found:
            found = self._of_statement(mutant)
        return sorted(found, key=lambda test: (self.seconds[test], test))

    def _of_statement(self, mutant: Mutant) -> set[str]:
        """Of a line without code of its own: the tests of its statement, or of what it names."""
        text = (self.tree / mutant.module).read_text(encoding="utf-8")
        around = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.stmt) and node.lineno <= mutant.line <= (node.end_lineno or 0)
        ]
        if not around:  # a decorator
            return self._entering(mutant.module, 1, text.count("\n") + 1)
        inner = min(around, key=lambda node: (node.end_lineno or 0) - node.lineno)
        if isinstance(inner, ast.FunctionDef):  # a default
            return self._entering(mutant.module, inner.body[0].lineno, inner.end_lineno or 0)
        if hasattr(inner, "body"):
            return self._entering(mutant.module, inner.lineno, inner.body[0].lineno - 1)
        found = self._entering(mutant.module, inner.lineno, inner.end_lineno or 0)
        if found:
            return found
        names = {x.id for x in ast.walk(inner) if isinstance(x, ast.Name)}
        for number, line in enumerate(text.splitlines(), 1):
            if any(name in line for name in names):
                found |= self._entering(mutant.module, number, number)
        return found or self._entering(mutant.module, 1, text.count("\n") + 1)


def covering(area: str, tree: Path, work: Path) -> Covered:
    """Run an area's quick tests under coverage, a file at a time; kept while the files are."""
    modules = [str(path) for path in modules_of(area, tree)]
    whole = hashlib.sha256(b"".join(Path(path).read_bytes() for path in modules)).digest()
    lines: dict[str, dict[str, set[str]]] = {}
    seconds: dict[str, float] = {}
    for name in AREAS[area][1]:
        file = tree / "tests" / f"test_{name}.py"
        if not file.exists():
            continue
        mark = hashlib.sha256(whole + file.read_bytes()).hexdigest()[:16]
        kept = work / f"lines-{area}-{name}-{mark}.json"
        if not kept.exists():

            def run(file: Path = file, kept: Path = kept) -> int:
                plugin = Entered(modules)
                signal.signal(signal.SIGALRM, _late)
                plugin.coverage.start()
                code = pytest.main([*OPTIONS, f"tests/{file.name}"], plugins=[plugin])
                plugin.coverage.stop()
                kept.write_text(json.dumps(plugin.found(tree)))
                return int(code)

            start = time.monotonic()
            forked(tree, run, 900)
            spent = time.monotonic() - start
            failed = json.loads(kept.read_text())["failed"]
            print(f"{area}: {file.name} ({spent:.0f} s), aside: {failed}", file=sys.stderr)
        found = json.loads(kept.read_text())
        seconds |= found["seconds"]
        for module, of_lines in found["lines"].items():
            for line, tests in of_lines.items():
                lines.setdefault(module, {}).setdefault(line, set()).update(tests)
    return Covered(tree=tree, lines=lines, seconds=seconds)


def _late(*_: object) -> None:
    raise TimeoutError("too long to judge a mutant")


def judge(mutant: Mutant, tree: Path, covered: Covered) -> str:
    """Killed, survived or not covered."""
    tests: list[str] = []
    total = 0.0
    for test in covered.tests(mutant):
        total += covered.seconds[test]
        if tests and total > SECONDS:
            break
        tests.append(test)
    if not tests:
        return "not covered"
    path = tree / mutant.module
    source, times = path.read_bytes(), path.stat()
    path.write_text(mutant.changed(tree) or "", encoding="utf-8")
    try:
        limit = PATIENCE * (min(total, SECONDS) + 10)
        code = forked(tree, lambda: pytest.main([*OPTIONS, "-x", *tests]), limit)
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return "survived" if code == 0 else "killed"


def equivalents() -> dict[str, str]:
    """Why a mutant changes nothing that could be seen, by its name."""
    path = ROOT / "benchmarks" / "equivalent.toml"
    if not path.exists():
        return {}
    return {one["mutant"]: one["why"] for one in tomllib.loads(path.read_text())["equivalent"]}


def _rates(counts: Sequence[int]) -> list[str]:
    """Share of the killed at first and at last, of those that are not equivalent."""
    drawn, first, killed, *_, equivalent = counts
    return [f"{100 * one / (drawn - equivalent):.0f}%" for one in (first, killed)]


def main() -> None:
    """Draw, judge and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("areas", nargs="*", choices=[*AREAS, []], default=[])
    parser.add_argument("--mutants", type=int, default=30, help="of each area")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="judge again what survived")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "auscult-work")
    given = parser.parse_args()
    work = given.work.resolve() / "mutants"
    work.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in WARM:  # once, in place of once a mutant
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    tree = copied(work)
    kept = work / f"judged-{given.seed}.json"
    # What was found of each mutant, every time that it was judged.
    judged: dict[str, list[str]] = json.loads(kept.read_text()) if kept.exists() else {}
    same = equivalents()
    rows, totals = [], np.zeros(6, dtype=np.int64)
    for area in given.areas or AREAS:
        covered = covering(area, tree, work)
        chosen, possible = drawn(area, tree, given.mutants, given.seed)
        found = []
        for mutant in chosen:
            key = f"{area} {mutant.name}"
            told = judged.setdefault(key, [])
            if not told or (given.again and told[-1] not in ("killed", "equivalent")):
                start = time.monotonic()
                told.append("equivalent" if mutant.name in same else judge(mutant, tree, covered))
                kept.write_text(json.dumps(judged, indent=1))
                spent = time.monotonic() - start
                print(f"{told[-1]:12s} {key} ({spent:.0f} s)", file=sys.stderr, flush=True)
            found.append(told)
        first, last = Counter(told[0] for told in found), Counter(told[-1] for told in found)
        counts = [len(found), first["killed"], *(last[one] for one in VERDICTS)]
        totals += counts
        rows.append([area, f"{possible:,}", *counts, *_rates(counts)])
        print(rows[-1], file=sys.stderr, flush=True)
    rows.append(["all", "", *totals.tolist(), *_rates(totals.tolist())])
    text = (
        "Mutants drawn from all that cosmic-ray makes of the modules of each area, judged by the "
        f"quick tests that enter the changed line, of which at most {SECONDS:.0f} seconds run. "
        "Tests of more than 10 seconds, and what tests enter only in other processes, do not "
        'count here. "At first" is before the tests that were written against the survivors. The '
        "rate is of those that are not equivalent; `benchmarks/equivalent.toml` names these.\n\n"
        + table(
            [
                *("area", "possible", "drawn", "killed at first", *VERDICTS),
                *("rate at first", "rate"),
            ],
            rows,
        )
    )
    if given.areas or given.seed != SEED:
        print(text)
    else:
        record("mutants", "Mutants", COMMAND, text)


if __name__ == "__main__":
    main()
