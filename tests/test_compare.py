"""Protections, sweeps and comparisons from the command line, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cohorts import write_audit
from tests.consistency import comparison_disagreements
from tests.test_cli import edit, run

Monkey = pytest.MonkeyPatch


def added(folder: Path, text: str, models: int = 8) -> Path:
    path = write_audit(folder, models=models)
    path.write_text(path.read_text(encoding="utf-8") + "\n" + text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[protect]]", "protect.0: it changes nothing"),
        ('[[protect]]\nname = "x"', "changes nothing"),
        ("[[protect]]\nrecipe = {}", "changes nothing"),
        ("[[protect]]\nrecipe.epochs = 3", "protect.0.recipe.epochs"),
        ("[[protect]]\nrecipe.argument = { C = 1.0 }", 'Did you mean "arguments"'),
        ("[[protect]]\nrecipe.arguments = { max_iter = 200 }", "audit's own"),
        ("[[protect]]\nrecipe.arguments = { nonsense = 200 }", "cannot be made"),
        ("[[protect]]\ncohort.max_record = 1", 'Did you mean "max_records"'),
        ("[[protect]]\ncohort.max_records = 0", "protect.0.cohort.max_records"),
        ('[[protect]]\ncohort.deduplicate = "nearly"', "protect.0.cohort.deduplicate"),
        ("[[protect]]\ncohort.without_top = 0.3", "too few to choose"),
        ("[[protect]]\ncohort.without_exposed = 0.4", "without_exposed"),
        ("[[protect]]\naccess.digits = 12", "1 to 7"),
        ("[[protect]]\naccess.label_only = false", "label_only"),
        ("[[protect]]\naccess.digits = 1\naccess.label_only = true", "ignored"),
        ("[[protect]]\naccess.bits = 1", "protect.0.access.bits"),
        ("[[protect]]\naccess.digits = 1\n[[protect]]\naccess.digits = 1", "is listed twice"),
        ("[protect]\naccess.digits = 1", "protect"),
        ("[sweep]", "sweep.recipe"),
        ("[sweep]\nrecipe.model = 3", "sweep.recipe.model"),
        ('[sweep]\nrecipe.model = ["random_forest"]', "at least two"),
        ('[sweep]\nrecipe.model = ["gradient_boosting", "no_such"]', "no built-in estimator"),
        ('[sweep]\nrecipe.model = ["a", "b"]\nrecipe.preprocess = ["auto"]', "length"),
        ("[sweep]\nrecipe.width = [4, 8]", "sweep.recipe.width"),
        ("[sweep]\nrecipe.width = [4, 8]\nmodels = [8, 16]", "sweep.models"),
    ],
)
def test_what_cannot_be_tried_gets_one_message(
    text: str, message: str, tmp_path: Path, monkeypatch: Monkey
) -> None:
    path = added(tmp_path, text)
    code, out, error = run(monkeypatch, "run", path, "--out", tmp_path / "run")
    assert code == 2
    assert out == ""
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert "Traceback" not in error
    assert "Zxq" not in error
    assert not (tmp_path / "run").exists()


def test_check_counts_the_variants(tmp_path: Path, monkeypatch: Monkey) -> None:
    text = "[[protect]]\nrecipe.arguments = { C = 0.01 }\n[[protect]]\naccess.digits = 1"
    code, out, error = run(monkeypatch, "check", added(tmp_path, text), "--workers", "1")
    assert code == 0, error
    assert "Variant  C 0.01: a model takes" in out
    assert "Variant  1 digit: no models of its own" in out
    assert "Together about" in out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs: one, weaker, more models, other records."""
    folder = tmp_path_factory.mktemp("runs")
    changes: dict[str, Any] = {
        "one": None,
        "weaker": ("max_iter = 200", "max_iter = 200, C = 0.0001"),
        "more": ("models = 8", "models = 12"),
        "other": ("seed = 3", "seed = 3\nsmallest_cell = 10"),
    }
    found = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, change in changes.items():
            own = folder / f"of {name}"
            own.mkdir()
            path = write_audit(own, models=8, patients=50 if name == "other" else 60)
            if change is not None:
                edit(path, *change)
            found[name] = folder / name
            code, _, error = run(monkeypatch, "run", path, "--out", found[name], "--workers", "1")
            assert code == 0, error
    return found


def test_runs_are_compared_in_pairs_where_members_are_the_same(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: Monkey
) -> None:
    target = tmp_path / "comparison.html"
    code, out, error = run(
        monkeypatch, "compare", runs["one"], runs["weaker"], runs["more"], "--html", target
    )
    assert code == 0, error
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["one", "weaker", "more"]
    assert lines[2].endswith("yes")
    assert lines[3].endswith("another draw of members")
    html = target.read_text(encoding="utf-8")
    assert "3 runs" in html
    assert 'id="figure-frontier"' in html
    assert "Zxq" not in html + out + error


def test_comparing_is_the_same_as_protecting(runs: dict[str, Path], tmp_path: Path) -> None:
    from auscult.config import load
    from auscult.results.comparing import compare

    text = "[[protect]]\nrecipe.arguments = { C = 0.0001 }"
    result = load(added(tmp_path, text)).audit().run(tmp_path / "run", workers=1)
    (inside,) = result.summary["protection"]
    assert comparison_disagreements(compare([runs["one"], runs["weaker"], runs["more"]])) == []
    (beside,) = compare([runs["one"], runs["weaker"]]).entries
    for key in ("exposed", "exposed_change", "removed", "mean_auc_change", "utility_change"):
        assert json.loads(json.dumps(inside[key])) == json.loads(json.dumps(beside[key])), key
    assert inside["worst_group"] == beside["worst_group"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one"], "one run cannot be compared"),
        (["one", "one"], "is listed twice"),
        (["one", "other"], "different cohort"),
        (["one", "nowhere"], "no such directory"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    names: list[str], message: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: Monkey
) -> None:
    paths = [runs.get(name, tmp_path / name) for name in names]
    code, out, error = run(monkeypatch, "compare", *paths, "--html", tmp_path / "x.html")
    assert code == 2
    assert out == ""
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "x.html").exists()


def test_a_run_without_its_cohort_says_how_to_mend_it(
    runs: dict[str, Path], monkeypatch: Monkey
) -> None:
    place = runs["more"] / "secret" / "cohort.npz"
    content = place.read_bytes()
    place.write_bytes(b"not an archive")
    code, _, error = run(monkeypatch, "compare", runs["one"], runs["more"])
    place.write_bytes(content)
    assert code == 2
    assert "nothing is trained" in error
