"""What should not be: small cells by subtraction, outputs over inputs, numbers without an end."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult import Audit, AuscultError, Cohort, SklearnRecipe
from auscult.config.loading import parse
from auscult.config.policy import parse_policy
from auscult.config.toml import read_toml
from auscult.exposure import Deployment
from auscult.protection.paired import Moments, counts_from
from auscult.protection.variants import Variant
from auscult.release import EndpointDoor, FileDoor, MemberList, Release
from auscult.release.declaration import Asked
from auscult.release.members import Roll
from auscult.release.named import _rates, sides_of
from auscult.release.shown import View
from auscult.risk.pooling import pool_small_cells
from tests.test_cli import run as command

CELL = 10


def people(single: int, several: int) -> Cohort:
    """Patients with one record, and with three."""
    rng = np.random.default_rng(0)
    rows = [
        {"person": f"Zxq{i}", "a": rng.normal(), "b": rng.normal()}
        for i in range(single + several)
        for _ in range(1 if i < single else 3)
    ]
    frame = pd.DataFrame(rows)
    frame["outcome"] = np.where(frame["a"] + rng.normal(size=len(frame)) > 0, "yes", "no")
    return Cohort.from_table(frame, patient="person", label="outcome", positive=["yes"])


def sides(members: int, others: int, unknown: int) -> dict[str, Any]:
    state = np.array([1] * members + [0] * others + [-1] * unknown, dtype=np.int8)
    release = np.linspace(-2, 2, state.size)
    shadow: NDArray[np.float64] = np.tile(release, (16, 1)).T
    asked = Asked(values=release, view=View(kind="sigmoid"), roll=Roll(state), about={})
    inside = np.tile([True, False], 8)[None, :].repeat(state.size, axis=0)
    return _rates(sides_of(asked, shadow, inside, release, CELL), release > 0)


@pytest.mark.parametrize(
    ("members", "others", "unknown", "shown"),
    [
        (50, 50, 0, {"true", "false"}),
        (50, 50, 20, {"true", "false"}),
        (95, 5, 0, set()),  # 100 less 95 would tell of the five
        (5, 95, 0, set()),
        (50, 45, 5, {"true"}),  # so would 100 less 50 less 45
        (50, 5, 45, {"true"}),
        (90, 5, 5, {"true"}),
        (93, 3, 4, set()),
        (100, 0, 0, {"true"}),
        (60, 0, 40, {"true"}),
    ],
)
def test_no_small_side_of_a_release_can_be_worked_out(
    members: int, others: int, unknown: int, shown: set[str]
) -> None:
    found = sides(members, others, unknown)
    assert {key for key in ("true", "false") if found[key]["estimate"] is not None} == shown
    for key in ("true", "false"):
        assert (found[key]["estimate"] is None) == ("reason" in found[key])


@pytest.mark.parametrize(
    "single",
    [4, pytest.param(0, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.slow)],
)
def test_patients_without_other_records_are_no_small_cell(single: int, tmp_path: Path) -> None:
    audit = Audit(
        people(single, 40),
        SklearnRecipe("logistic_regression"),
        models=16,
        withhold=0.3,
        deployment=Deployment(reveals="x", population="y", prior=0.1),
    )
    summary = audit.run(tmp_path / "run", workers=1).summary
    others = [cell for cell in summary["exposure"] if cell["knowledge"] == "other records"]
    assert others
    told = single != 4
    assert (summary["cohort"]["withheld"]["patients"] is not None) is told
    assert all((cell["auc"]["mean"] is not None) is told for cell in others)
    assert all("compared" not in cell and cell["patients"] == 0 for cell in others if not told)
    assert told or "fewer than 10 patients have no such records" in others[0]["reason"]


@pytest.mark.slow
def test_a_release_is_judged_by_records_that_shadow_models_trained_on(tmp_path: Path) -> None:
    cohort = people(0, 40)
    audit = Audit(cohort, SklearnRecipe("logistic_regression"), models=16, withhold=0.4)
    withheld = audit._withheld()
    assert withheld is not None
    rng = np.random.default_rng(1)
    answers = rng.uniform(0.2, 0.8, size=cohort.records)
    found = []
    for name in ("one.npy", "other.npy"):
        np.save(tmp_path / name, answers)
        audit.release = Release(door=FileDoor(path=tmp_path / name))
        release = audit.run(tmp_path / "run", workers=1).summary["release"]
        found.append({key: value for key, value in release.items() if key != "what"})
        answers[withheld] = rng.uniform(0.0001, 0.9999, size=int(withheld.sum()))
    assert found[0] == found[1]


def test_answers_of_a_file_are_looked_at_before_training(tmp_path: Path) -> None:
    cohort = people(30, 10)
    for values in (np.full(5, 0.5), np.full(cohort.records, np.nan), np.full(cohort.records, 1.5)):
        np.save(tmp_path / "answers.npy", values)
        audit = Audit(
            cohort,
            SklearnRecipe("logistic_regression"),
            models=16,
            release=Release(door=FileDoor(path=tmp_path / "answers.npy")),
        )
        with pytest.raises(AuscultError, match="predictions"):
            audit.check()
        with pytest.raises(AuscultError, match="predictions"):
            audit.run(tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_byte_order_mark_makes_nobody_a_stranger(tmp_path: Path) -> None:
    cohort = people(30, 0)
    ids = cohort.patient_ids.reveal()[:12]
    (tmp_path / "members.txt").write_text("\n".join(ids), encoding="utf-8-sig")
    roll = MemberList(source=tmp_path / "members.txt").roll(cohort)
    assert roll.unmatched == 0
    assert (roll.reveal() == 1).sum() == 12


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"url": "https://localhost:99999/x"}, "release.url"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds"),
        ({"requests_per_second": float("inf")}, "requests_per_second"),
        ({"requests_per_second": 1e-300}, "requests_per_second"),
    ],
)
def test_endpoints_that_cannot_be(changed: dict[str, Any], where: str) -> None:
    door = EndpointDoor(**{"url": "https://localhost/x", **changed})
    with pytest.raises(AuscultError, match=where):
        door.check(people(30, 0).training_data())


@pytest.mark.parametrize(
    "text",
    [
        '[exposed."0.9"]\npatients = inf',
        '[exposed."0.9"]\npatients = "1"',
        '[exposed."0.9"]\npatients = true',
        '[exposed."0.9"]\nshare = true',
        '[deployment]\nnamed = { "0.9" = inf }',
        f'title = "{"a" * 10_000}"\n[exposed."0.9"]\npatients = 1',
    ],
)
def test_limits_are_finite_numbers(text: str) -> None:
    with pytest.raises(AuscultError) as raised:
        parse_policy(tomllib.loads(text), text, "policy.toml")
    assert len(str(raised.value)) < 300
    assert "constrained" not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[0, 0.5]", "deployment.prior: input should be greater than 0."),
        ("[0.1]", "deployment.prior: list should have at least 2 items"),
        ("0", "deployment.prior: input should be greater than 0."),
        ('"x"', "deployment.prior: input should be a valid number."),
        ('0.1\nreferences = "x"', "deployment.references: input should be a valid integer, or"),
        ('0.1\n[audit]\nshare = "half"', "audit.share: input should be a valid number, or input"),
        ("0.1\n[audit]\nfloat = 1", "audit.float: there is no such key"),
    ],
)
def test_a_key_of_several_forms_gets_one_message(written: str, said: str) -> None:
    text = (
        '[cohort]\ntable="t.csv"\npatient="p"\nlabel="y"\n[recipe]\nkind="sklearn"\n'
        f'[deployment]\nreveals="a"\npopulation="b"\nprior={written}\n'
    )
    with pytest.raises(AuscultError) as raised:
        parse(tomllib.loads(text), "audit.toml")
    assert said in str(raised.value)
    assert "more after it" not in str(raised.value)


def test_a_file_from_notepad_is_toml(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read_toml(path, expected="")[1] == {"a": 1}


@pytest.mark.parametrize("prior", [1e-320, 1e-11, 1 - 1e-12, (1e-300, 0.5)])
def test_priors_without_end_are_refused(prior: Any) -> None:  # noqa: ANN401
    deployment = Deployment(reveals="x", population="y", prior=prior)
    with pytest.raises(AuscultError, match="not a valid share of members"):
        deployment.check((), 0.0, 16)


def test_names_have_an_end() -> None:
    with pytest.raises(AuscultError, match="characters"):
        Variant(name="a" * 10_000, max_records=1).check("protect[0]")
    release = Release(door=FileDoor(path="none.npy"), name="a" * 10_000)
    with pytest.raises(AuscultError, match="characters"):
        release.check(people(30, 0))


def test_the_gate_writes_over_nothing_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "results").mkdir(parents=True)
    summary = run / "results" / "summary.json"
    summary.write_text(json.dumps({"schema": "auscult.summary/1"}), encoding="utf-8")
    policy = tmp_path / "policy.toml"
    policy.write_text('[exposed."0.9"]\npatients = 1\n', encoding="utf-8")
    before = summary.read_bytes(), policy.read_bytes()
    same = tmp_path / "decision"
    for more in (
        ("--json", summary),
        ("--junit", run / "report.html"),
        ("--json", run / "secret" / "x.json"),
        ("--json", policy),
        ("--json", tmp_path),
        ("--json", same, "--junit", same),
    ):
        code, _, said = command(monkeypatch, "gate", run, "--policy", policy, *more)
        assert code == 2, said
        assert "--j" in said
    code, _, said = command(monkeypatch, "compare", run, tmp_path, "--html", summary)
    assert code == 2
    assert "--html" in said
    code, _, said = command(monkeypatch, "report", run, "--out", summary)
    assert code == 2
    assert "--out" in said
    assert (summary.read_bytes(), policy.read_bytes()) == before
    assert not same.exists()


def small_cells_that_follow(
    counts: NDArray[np.int64], shown: set[tuple[int, int]], rows: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Small cells that the shown cells and the sums of rows and columns determine."""
    cells = [(i, j) for i, j in np.ndindex(*counts.shape) if counts[i, j]]
    place = {cell: k for k, cell in enumerate(cells)}
    told = [np.ones(len(cells))]
    told += [np.array([rows[c[0]] == r for c in cells], dtype=float) for r in np.unique(rows)]
    told += [np.array([c[1] == j for c in cells], dtype=float) for j in range(counts.shape[1])]
    told += [np.eye(len(cells))[place[cell]] for cell in shown]
    table = np.array(told)
    rank = np.linalg.matrix_rank(table)
    return [
        cell
        for cell in cells
        if counts[cell] < CELL
        and np.linalg.matrix_rank(np.vstack([table, np.eye(len(cells))[place[cell]]])) == rank
    ]


def test_margins_do_not_tell_of_small_crossed_groups() -> None:
    rng = np.random.default_rng(0)
    leaked_without = 0
    for _ in range(60):
        counts = rng.choice([0, 2, 5, 9, 12, 30, 60], size=(3, 4))
        counts[:, 0] += CELL
        counts[0] += CELL
        labels = np.array(
            [(f"a{i}", f"b{j}") for i, j in np.ndindex(3, 4) for _ in range(counts[i, j])]
        )
        crossed = np.array([f"{a} & {b}" for a, b in labels], dtype=object)
        margins = [pool_small_cells(labels[:, k], CELL)[0] for k in (0, 1)]
        if any(len(np.unique(one)) < size for one, size in zip(margins, (3, 4), strict=True)):
            continue
        for given in ((), margins):
            pooled, names, number = pool_small_cells(crossed, CELL, given)
            sizes = {name: int((pooled == name).sum()) for name in names}
            assert all(size >= CELL for size in sizes.values())
            shown = {(int(n[1]), int(n[6])) for n in names if n in set(crossed) and len(n) == 7}
            found = small_cells_that_follow(counts, shown, np.arange(3))
            if given:
                assert not found, (counts, names)
                assert number + len(shown) == (counts > 0).sum()
            else:
                leaked_without += bool(found)
    assert leaked_without > 5


def test_where_nobody_may_be_exposed_nothing_surely_changed() -> None:
    few = Moments(before=0.4, after=1e-6, variance_before=0.3, variance_after=1e-6, covariance=0.0)
    change = counts_from(few, 400, seed=1).change
    assert change is not None
    assert change.low < change.estimate < 0
    assert change.high == 0
    many = replace(few, before=40.0, variance_before=30.0)
    more = counts_from(many, 400, seed=1).change
    assert more is not None
    assert more.high < -20
