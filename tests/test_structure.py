"""The house: imports follow the flow of the data, and nothing on the right is known on the left."""

from __future__ import annotations

import ast
from pathlib import Path

import auscult

ROOMS = (
    "version",
    "lazily",
    "showing",
    "intervals",
    "errors",
    "evidence",
    "ahead",
    "parallel",
    "randomness",
    "files",
    "progress",
    "inputs",
    "queries",
    "cohort",
    "outcome",
    "readers",
    "datasets",
    "design",
    "recipes",
    "store",
    "store_blocks",
    "store_lock",
    "store_seal",
    "worker",
    "crews",
    "engine",
    "cost",
    "layout",
    "signals",
    "access",
    "attacks",
    "blind",
    "risk",
    "disclosure",
    "disparity",
    "utility",
    "exposure",
    "protection",
    "analysis",
    "release",
    "report",
    "results",
    "policy",
    "comparing",
    "audit",
    "score_meaning",
    "score_parts",
    "scores",
    "importing",
    "config",
    "display",
    "starting",
    "demo",
    "cli",
)
# Who may look at whom against that order, and why.
ALLOWED = {
    (
        "cohort",
        "readers",
    ),  # Cohort.from_table and the like: types only; the readers load when asked for
    ("recipes", "protection"),  # the accountant knows numbers only: private training asks for noise
    ("store", "store_blocks"),  # one room in three files
    ("store", "store_lock"),
    ("store", "store_seal"),
}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("auscult."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {n.name.split(".")[1] for n in node.names if n.name.startswith("auscult.")}
    return found


def test_imports_follow_the_flow() -> None:
    folder = Path(auscult.__file__).parent
    wrong, seen = [], set()
    for path in folder.rglob("*.py"):
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        seen.add(room)
        assert room in ROOMS, f"{room} has no place in the flow"
        wrong += [
            f"{room} imports {other}"
            for other in _imports(path)
            if other != room
            and ROOMS.index(other) > ROOMS.index(room)
            and (room, other) not in ALLOWED
        ]
    assert seen == set(ROOMS)
    assert not wrong


def test_pickle_is_never_read() -> None:
    folder = Path(auscult.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text, path.name
        assert "pickle.load(" not in text, path.name
        assert "torch.load(" not in text, path.name
        assert "joblib.load(" not in text, path.name
