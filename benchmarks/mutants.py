"""Tests that can fail: small changes to the code (mutants), and whether a test notices each.

    pip install cosmic-ray coverage
    python -m benchmarks.mutants [--mutants 40] [--work FOLDER]

Of each area so many mutants are drawn at random from all that cosmic-ray makes of its modules
(annotations aside, which nothing runs). First the area's quick tests run once under coverage, which
tells what tests enter which line; a mutant is then judged by the tests that enter its line, the
quickest first. Everything happens in a copy of the sources under --work; what was judged is kept
there, and a campaign that was stopped goes on.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # of what pytest wrote

import numpy as np

from benchmarks.results import record, table

COMMAND = "python -m benchmarks.mutants"
ROOT = Path(__file__).resolve().parents[1]
SEED = 20260624
SECONDS = 60.0  # of the tests that judge one mutant, as they take without it
PATIENCE = 5.0  # times that: a mutant that takes longer is noticed
AREAS: dict[str, tuple[list[str], list[str]]] = {
    "attacks": (
        ["src/auscult/attacks"],
        ["test_attacks", "test_layout", "test_counting", "test_tpr", "test_one_model"],
    ),
    "risk": (
        ["src/auscult/risk"],
        [
            "test_risk",
            "test_counting",
            "test_outcome",
            "test_tpr",
            "test_one_model",
            "test_released",
        ],
    ),
    "disparity": (
        ["src/auscult/risk/disparity.py", "src/auscult/risk/equal_counts.py"],
        ["test_disparity", "test_outcome"],
    ),
    "store": (["src/auscult/store"], ["test_seal", "test_bundle", "test_hostile", "test_audit"]),
    "policy": (["src/auscult/policy"], ["test_gate"]),
    "suppression": (
        ["src/auscult/disclosure"],
        ["test_disclosure", "test_ledger", "test_released", "test_disparity"],
    ),
}
OWN_AREA = ("disparity.py", "equal_counts.py")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: operator and occurrence, as cosmic-ray names them."""

    module: str
    operator: str
    occurrence: int
    line: int

    @property
    def name(self) -> str:
        """What it is called in the file of results."""
        return f"{self.module}:{self.line} {self.operator} {self.occurrence}"


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


def mutants_of(area: str, tree: Path) -> list[Mutant]:
    """All mutants of an area's modules."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names

    modules: list[Path] = []
    for name in AREAS[area][0]:
        path = tree / name
        modules += [path] if path.is_file() else sorted(path.glob("*.py"))
    found = []
    for path in modules:
        if area == "risk" and path.name in OWN_AREA:
            continue
        nodes = list(ast_nodes(get_ast_from_path(path)))
        words = annotated(path)
        for name in sorted(operator_names()):
            operator = get_operator(name)
            if operator.arguments():
                continue
            positions = [place for node in nodes for place in operator().mutation_positions(node)]
            for occurrence, (start, end) in enumerate(positions):
                inside = any(w[:2] <= tuple(start) and tuple(end) <= w[2:] for w in words)
                if not inside:
                    found.append(
                        Mutant(
                            module=str(path.relative_to(tree)),
                            operator=name,
                            occurrence=occurrence,
                            line=start[0],
                        )
                    )
    return found


def copied(work: Path) -> Path:
    """A copy of the sources and tests, made once."""
    tree = work / "tree"
    if not tree.exists():
        ignore = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "*.egg-info")
        shutil.copytree(ROOT, tree, ignore=ignore)
    return tree


def environment(tree: Path) -> dict[str, str]:
    """Where tests find the copy instead of what is installed."""
    return os.environ | {
        "PYTHONPATH": f"{tree / 'src'}:{tree}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }


def pytest(tree: Path, *arguments: str, timeout: float | None = None) -> int:
    """Exit code of pytest in the copy; 1 where it takes too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment(tree), capture_output=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode


@dataclass(frozen=True, kw_only=True)
class Covered:
    """Of each module, which tests enter a line, the quickest first; how long each takes."""

    lines: dict[str, dict[str, list[str]]]
    seconds: dict[str, float]

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that judge a mutant."""
        return self.lines.get(mutant.module, {}).get(str(mutant.line), [])


def covering(area: str, tree: Path, work: Path) -> Covered:
    """Run an area's quick tests under coverage, once."""
    kept = work / f"lines-{area}.json"
    if not kept.exists():
        data, times = work / f"coverage-{area}", work / f"times-{area}.xml"
        (work / "coveragerc").write_text(
            f"[run]\ndynamic_context = test_function\ndata_file = {data}\nsource = {tree / 'src'}\n"
        )
        files = [f"tests/{name}.py" for name in AREAS[area][1]]
        command = ["-m", "coverage", "run", f"--rcfile={work / 'coveragerc'}", "-m", "pytest"]
        options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", f"--junitxml={times}"]
        done = subprocess.run(
            [sys.executable, *command, *options, *files], cwd=tree, env=environment(tree)
        )
        if done.returncode:
            raise SystemExit(f"the tests of {area} fail without any mutant")
        kept.write_text(json.dumps(_read(data, times, tree)))
    return Covered(**json.loads(kept.read_text()))


def _read(data: Path, times: Path, tree: Path) -> dict[str, Any]:
    """Read coverage and durations; a test's context is its function, whatever its parameters."""
    from coverage.numbits import numbits_to_nums

    seconds: dict[str, float] = {}
    for case in ElementTree.parse(times).iter("testcase"):  # noqa: S314
        test = f"{case.get('classname')}.{str(case.get('name')).partition('[')[0]}"
        seconds[test] = seconds.get(test, 0.0) + float(case.get("time") or 0.0)
    found: dict[str, dict[str, set[str]]] = {}
    with sqlite3.connect(data) as base:
        rows = base.execute(
            "select file.path, context.context, numbits from line_bits "
            "join file on file.id = file_id join context on context.id = context_id"
        )
        for path, context, bits in rows:
            if not context:
                continue
            module = str(Path(path).relative_to(tree))
            name = context if context.startswith("tests.") else f"tests.{context}"
            for line in numbits_to_nums(bits):
                found.setdefault(module, {}).setdefault(str(line), set()).add(name)
    lines = {
        module: {
            line: sorted(tests, key=lambda t: (seconds.get(t, 0.0), t))
            for line, tests in of_lines.items()
        }
        for module, of_lines in found.items()
    }
    return {"lines": lines, "seconds": seconds}


def judge(mutant: Mutant, tree: Path, covered: Covered) -> str:
    """Killed, survived or not covered."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    tests: list[str] = []
    total = 0.0
    for test in covered.tests(mutant):
        total += covered.seconds.get(test, 0.0)
        if tests and total > SECONDS:
            break
        module, _, function = test.rpartition(".")
        tests.append(f"{module.replace('.', '/')}.py::{function}")
    if not tests:
        return "not covered"
    path = tree / mutant.module
    with use_mutation(path, get_operator(mutant.operator)(), mutant.occurrence):
        code = pytest(tree, "-x", *tests, timeout=PATIENCE * (min(total, SECONDS) + 20))
    return "survived" if code == 0 else "killed"


def main() -> None:
    """Draw, judge and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("areas", nargs="*", choices=[*AREAS, []], default=[])
    parser.add_argument("--mutants", type=int, default=40, help="of each area")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "auscult-work")
    given = parser.parse_args()
    work = given.work / "mutants"
    work.mkdir(parents=True, exist_ok=True)
    tree = copied(work)
    kept = work / "judged.json"
    judged: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    rows = []
    for area in given.areas or AREAS:
        covered = covering(area, tree, work)
        every = mutants_of(area, tree)
        chosen = np.random.default_rng(SEED).permutation(len(every))[: given.mutants]
        found = []
        for number in chosen:
            mutant = every[number]
            name = f"{area} {mutant.name}"
            if name not in judged:
                start = time.monotonic()
                judged[name] = judge(mutant, tree, covered)
                kept.write_text(json.dumps(judged, indent=1))
                spent = time.monotonic() - start
                print(f"{judged[name]:12s} {name} ({spent:.0f} s)", file=sys.stderr, flush=True)
            found.append(judged[name])
        killed = found.count("killed")
        rows.append(
            [
                area,
                f"{len(every):,}",
                len(found),
                killed,
                found.count("survived"),
                found.count("not covered"),
                f"{100 * killed / len(found):.0f}%",
            ]
        )
        print(rows[-1], file=sys.stderr, flush=True)
    text = (
        "Mutants drawn at random from all that cosmic-ray makes of the modules of each area "
        "(annotations aside), judged by the quick tests that enter the changed line, of which "
        f"at most {SECONDS:.0f} seconds run. Some that survive change nothing that can be seen: "
        "sizes of batches, bounds that are never reached. Tests that start processes do not "
        "count here.\n\n"
        + table(
            ["area", "possible", "drawn", "killed", "survived", "not covered", "kill rate"], rows
        )
    )
    if not given.areas:
        record("mutants", "Mutants", COMMAND, text)


if __name__ == "__main__":
    main()
