"""The gate: bounds against limits, four exits, and a decision that stands in the run."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from auscult import AuscultError
from auscult.cli.gate import reasons
from auscult.config.policy import load_policy, parse_policy
from auscult.policy import Policy, judge
from auscult.policy.limits import Limit
from auscult.report import officer_markdown, render
from auscult.results.result import read_summary_file
from auscult.store import RunStore
from tests import report_summaries as summaries
from tests.consistency import disagreements
from tests.released import table
from tests.test_cli import run as command

IDENTIFIER = "Zxq"

AUDIT = """
[cohort]
table = "visits.csv"
patient = "person"
label = "outcome"
groups = ["sex"]
exclude = ["sex"]

[recipe]
kind = "sklearn"
model = "mlp"
arguments = {{ hidden_layer_sizes = [32], solver = "lbfgs", max_iter = 60 }}

[audit]
models = {models}
seed = 3
"""


def policy(text: str) -> Policy:
    return parse_policy(tomllib.loads(text), text, "policy.toml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with finished runs of 32 and of 16 models of a recipe that memorises."""
    folder = tmp_path_factory.mktemp("gate")
    table(120).to_csv(folder / "visits.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        for models in (16, 32):
            path = folder / f"audit{models}.toml"
            path.write_text(AUDIT.format(models=models), encoding="utf-8")
            code, _, said = command(
                patch, "run", path, "--out", folder / f"run{models}", "--workers", "1"
            )
            assert code == 0, said
    return folder


def gate(
    folder: Path, text: str, patch: pytest.MonkeyPatch, run: str = "run32", *more: str
) -> tuple[int, str, str]:
    (folder / "policy.toml").write_text(text, encoding="utf-8")
    return command(patch, "gate", folder / run, "--policy", folder / "policy.toml", *more)


PASSES = '[exposed."0.9"]\nshare = 1.0\n'
FAILS = '[exposed."0.6"]\npatients = 0\n'


def test_exit_0_pass(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown, said = gate(finished, PASSES, monkeypatch)
    assert code == 0, shown + said
    assert "PASS" in shown


def test_exit_1_fail(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown, _ = gate(finished, FAILS, monkeypatch)
    assert code == 1, shown
    assert "FAIL" in shown
    assert "fail: Patients with an AUC above 0.6:" in shown
    assert "beyond the limit of 0" in shown


def test_exit_3_inconclusive(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = read_summary_file(finished / "run32")["patients"]["exposed"]["0.7"]
    assert row["low"] < row["high"]
    between = f'[exposed."0.7"]\npatients = {(row["low"] + row["high"]) / 2:.3f}\n'
    code, shown, _ = gate(finished, between, monkeypatch)
    assert code == 3, shown
    assert "more models or patients narrow it" in shown
    for text, words in (
        ("[deployment]\nppv = 0.9\n", "no deployment is declared"),
        ('[release.named]\n"0.9" = 5\n', "the run has no release"),
        ('[groups]\ndifference = 0.5\nattributes = ["race"]\n', 'no attribute "race"'),
        (PASSES + "[evidence]\ninterval_width = 0.001\n", "interval is"),
    ):
        code, shown, _ = gate(finished, text, monkeypatch)
        assert code == 3, text + shown
        assert words in shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[exposed."0.9"]\npatient = 3\n', ["exposed.0.9.patient", "no such key", "patients"]),
        ("[evidences]\nmodels = 64\n", ["evidences", "no such key", "evidence"]),
        (PASSES + "[evidence]\nmodel = 64\n", ["evidence.model", "no such key"]),
        ('[exposed."0.85"]\npatients = 3\n', ["exposed.0.85", "0.9"]),
        ('[exposed."0.9"]\npatients = 3\nshare = 0.1\n', ["one of the two"]),
        ('[exposed."0.9"]\npatients = -3\n', ["exposed.0.9.patients"]),
        ("smallest_cell = 5\n", ["sets no limit"]),
        ("[groups]\n", ["groups", "sets no limit"]),
        (PASSES + "[evidence]\nmodels = 8\n", ["evidence.models", "16"]),
        ("[exposed\n", ["not TOML"]),
    ],
)
def test_exit_2_a_policy_that_cannot_be(
    text: str, words: list[str], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished / "run32" / "results" / "summary.json").read_bytes()
    code, shown, said = gate(finished, text, monkeypatch)
    assert code == 2, shown
    for word in words:
        assert word in said
    assert "Traceback" not in said
    assert (finished / "run32" / "results" / "summary.json").read_bytes() == before


def test_exit_2_without_a_finished_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.toml").write_text(PASSES)
    for where, words in ((tmp_path, "not a run directory"), (tmp_path / "x", "no such directory")):
        code, _, said = command(monkeypatch, "gate", where, "--policy", tmp_path / "policy.toml")
        assert code == 2
        assert words in said
    code, _, said = command(
        monkeypatch, "gate", finished / "run32", "--policy", tmp_path / "absent.toml"
    )
    assert code == 2
    assert "no such file" in said


def test_too_few_models_never_pass(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown, _ = gate(finished, PASSES, monkeypatch, "run16")
    assert code == 3
    assert "16 shadow models are too few: the policy asks for 32" in shown
    asked = PASSES + "[evidence]\nmodels = 64\n"
    assert gate(finished, asked, monkeypatch)[0] == 3
    # What is broken for sure stays broken, however thin the rest of the evidence.
    assert gate(finished, FAILS + "[evidence]\nmodels = 64\n", monkeypatch)[0] == 1


def test_the_gate_waits_for_a_writer(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunStore.take_up(finished / "run32"):
        code, _, said = gate(finished, PASSES, monkeypatch)
    assert code == 2
    assert "is writing to this run" in said


def test_the_decision_stands_in_the_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = 'title = "Board <b>of</b> data"\n' + FAILS
    out = ["--json", str(tmp_path / "d.json"), "--junit", str(tmp_path / "d.xml")]
    assert gate(finished, text, monkeypatch, "run32", *out)[0] == 1
    path = finished / "run32"
    decision = read_summary_file(path)["decision"]
    assert decision["verdict"] == "fail"
    assert disagreements(read_summary_file(path)) == []
    assert decision["policy"] == text
    prints = decision["fingerprints"]
    assert set(prints) == {"data", "recipe", "models", "code", "policy"}
    assert prints["data"] == RunStore.open(path).manifest()["fingerprint"]["cohort"]
    assert len(prints["policy"]) == 64
    written = json.loads((tmp_path / "d.json").read_text())
    assert written.pop("schema") == "auscult.decision/1"
    assert written == decision
    suite = ElementTree.fromstring((tmp_path / "d.xml").read_bytes())[0]  # noqa: S314 - our own
    assert suite.get("failures") == "1"
    assert suite.get("tests") == str(len(decision["checks"]))
    assert len(suite.findall(".//failure")) == 1
    report = (path / "report.html").read_text(encoding="utf-8")
    assert "The decision: fail" in report
    assert "<b>of</b>" not in report
    assert "policy.toml" in report
    assert "Fail: at least one limit" in (path / "results" / "officer.md").read_text("utf-8")
    for file in (tmp_path / "d.json", tmp_path / "d.xml", path / "results" / "officer.md"):
        assert IDENTIFIER not in file.read_text(encoding="utf-8")
    assert stat.S_IMODE((path / "results" / "officer.md").stat().st_mode) == 0o644
    # Judged again, the same; and the same bytes.
    before = (path / "results" / "summary.json").read_bytes()
    assert gate(finished, text, monkeypatch)[0] == 1
    assert (path / "results" / "summary.json").read_bytes() == before
    # A new analysis has no decision: the old one was about other figures.
    code, _, said = command(
        monkeypatch, "run", finished / "audit32.toml", "--out", path, "--workers", "1"
    )
    assert code == 0, said
    assert read_summary_file(path)["decision"] == {}


def limit(low: float | None, high: float | None, most: float, **more: Any) -> str:  # noqa: ANN401
    figure = {"estimate": low, "low": low, "high": high}
    return Limit(key="k", what="What", most=most, figure=figure, **more).judged().verdict


def test_bounds_decide() -> None:
    assert limit(0, 5, 5) == "pass"
    assert limit(5, 6, 5) == "inconclusive"
    assert limit(5.1, 6, 5) == "fail"
    assert limit(5.1, 6, 5, null=5.5) == "inconclusive"
    assert limit(None, None, 5) == "inconclusive"
    assert limit(0, 1, 5, open_because="it is not like them") == "inconclusive"
    assert limit(9, 10, 5, unbroken_because="q = 0.4") == "inconclusive"


def test_the_verdict_of_every_order_of_bounds() -> None:
    """Against a naive oracle: pass only above, fail only below."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        low, high = np.sort(rng.integers(0, 10, 2))
        most = int(rng.integers(0, 10))
        expected = "pass" if high <= most else "fail" if low > most else "inconclusive"
        assert limit(float(low), float(high), most) == expected


def simulated() -> dict[str, Any]:
    summary = json.loads(json.dumps(summaries.rare_tail()))
    assert isinstance(summary, dict)
    return summary


def verdict(text: str, summary: dict[str, Any]) -> str:
    return judge(policy(text), summary).verdict


def cell(ppv_low: float, ppv_high: float) -> dict[str, Any]:
    bounds = {"estimate": (ppv_low + ppv_high) / 2, "low": ppv_low, "high": ppv_high}
    count = {"patients": {"estimate": 5, "low": 3, "high": 8}}
    rows = [
        {
            "prior": 0.1,
            "ppv": bounds,
            "named": {"0.9": count},
            "belief": {"from": 0.1, "to": bounds},
        }
    ]
    return {"declared": True, "access": "label", "by_prior": rows}


def test_the_declared_deployment_is_judged() -> None:
    summary = simulated()
    summary["exposure"] = [cell(0.9, 0.95) | {"declared": False}, cell(0.3, 0.4)]
    for text, expected in (
        ("ppv = 0.5", "pass"),
        ("ppv = 0.35", "inconclusive"),
        ("ppv = 0.2", "fail"),
        ("belief = 0.2", "fail"),
        ('named = { "0.9" = 8 }', "pass"),
        ('named = { "0.9" = 2 }', "fail"),
        ('named = { "0.99" = 8 }', "inconclusive"),
    ):
        assert verdict(f"[deployment]\n{text}\n", summary) == expected, text
    summary["exposure"][1] = {"declared": True, "by_prior": [], "reason": "too few models"}
    assert "too few models" in judge(policy("[deployment]\nppv = 0.5\n"), summary).missing[0]


def test_priors_that_were_not_declared_decide_nothing() -> None:
    summary = simulated()
    own, beyond = cell(0.3, 0.4), cell(0.9, 0.95)
    beyond["by_prior"][0]["prior"] = 0.5
    summary["exposure"] = [own | {"by_prior": own["by_prior"] + beyond["by_prior"]}]
    summary["deployment"] = {"prior": [0.01, 0.1]}
    assert verdict("[deployment]\nppv = 0.5\n", summary) == "pass"
    assert "35% (30% to 40%)" in officer_markdown(summary)
    assert "95%)" not in officer_markdown(summary)
    summary["deployment"] = {"prior": [0.01, 0.6]}
    assert verdict("[deployment]\nppv = 0.5\n", summary) == "fail"
    assert "90% to 95%" in officer_markdown(summary)


def test_evidence_is_asked_for() -> None:
    summary = simulated()
    text = '[exposed."0.9"]\nshare = 1.0\n'
    assert verdict(text, summary) == "pass"
    summary["models"]["learned"] = {"verdict": False, "reason": ""}
    assert verdict(text, summary) == "inconclusive"
    assert verdict(text + "[evidence]\nlearned = false\n", summary) == "pass"
    summary = simulated()
    summary["patients"]["raw"]["null_mean"] = 0.56
    assert verdict(text, summary) == "inconclusive"
    summary = simulated()
    summary["patients"]["exposed"]["0.9"] |= {"low": 0, "high": 3, "null": 7}
    few = '[exposed."0.9"]\npatients = 5\n'
    assert verdict(few, summary) == "inconclusive"  # chance alone goes beyond the limit
    assert verdict("smallest_cell = 20\n" + text, simulated()) == "fail"
    summary = simulated()
    summary["patients"]["estimable"] = summary["patients"]["count"] - 1
    assert verdict(text, summary) == "inconclusive"


def test_a_limit_of_nobody_can_be_kept_and_what_is_broken_is_not_called_unknown() -> None:
    limit = '[exposed."0.9"]\npatients = 0\n'
    summary = summaries.rare_tail()
    row = summary["patients"]["exposed"]["0.9"]
    row |= {"estimate": 0.01, "low": 0.0, "high": 0.0, "null": 0.3}
    kept = judge(policy(limit), summary)
    assert kept.verdict == "pass", kept.missing
    row |= {"estimate": 20.0, "low": 9.0, "high": 40.0, "null": 3.0}
    broken = judge(policy(limit), summary)
    assert broken.verdict == "fail"
    assert not broken.missing, "it is broken beyond chance: chance leaves nothing open"
    row |= {"low": 2.0}
    unknown = judge(policy(limit), summary)
    assert unknown.verdict == "inconclusive"
    assert any("chance alone exceeds" in one for one in unknown.missing)


def test_groups_shares_of_few_models_are_open() -> None:
    summary = summaries.rare_tail()
    for part in summary["disparities"].values():
        for group in part["groups"].values():
            group |= {"exposed_0.9": 0.3, "exposed_0.9_low": 0.2, "exposed_0.9_high": 0.4}
    limit = "[groups]\nexposed_share = 0.1\n"
    assert judge(policy(limit), summary).verdict == "fail"
    summary["patients"]["few_models"] = "with about 8 IN and OUT models only bounds"
    assert judge(policy(limit), summary).verdict == "inconclusive"


def test_a_broken_promise_of_privacy_fails() -> None:
    summary = simulated()
    summary["guarantee"] = {"defects": []}
    text = '[exposed."0.9"]\nshare = 1.0\n'
    assert verdict(text, summary) == "pass"
    summary["guarantee"]["defects"] = ["an attack lies above its bound."]
    assert verdict(text, summary) == "fail"


def test_groups_are_judged_with_their_false_discoveries() -> None:
    summary = simulated()
    attribute = next(iter(summary["disparities"]))
    row = {"patients": 50, "difference": 0.2, "difference_low": 0.15, "difference_high": 0.25}
    row |= {"exposed_0.9": 0.3, "exposed_0.9_low": 0.2, "exposed_0.9_high": 0.4}
    summary["disparities"] = {attribute: {"groups": {"A": row | {"q": 0.001}}}}
    assert verdict("[groups]\ndifference = 0.1\n", summary) == "fail"
    assert verdict("[groups]\ndifference = 0.3\n", summary) == "pass"
    assert verdict("[groups]\nexposed_share = 0.1\n", summary) == "fail"
    assert verdict("[groups]\ndifference = 0.1\nmin_patients = 60\n", summary) == "inconclusive"
    summary["disparities"][attribute]["groups"]["A"]["q"] = 0.4
    assert verdict("[groups]\ndifference = 0.1\n", summary) == "inconclusive"


def released(ece: float, like: bool) -> dict[str, Any]:
    count = {"estimate": 40, "low": 30, "high": 50, "of": 200}
    rate = {"estimate": 0.2, "low": 0.15, "high": 0.25, "n": 200}
    return {
        "calibration": {"ece": {"estimate": ece, "low": ece * 0.9, "high": ece * 1.1}},
        "likeness": {"verdict": like, "reason": "it is surer"},
        "named": [{"posterior": 0.9, "prior": 0.5, "true": count}],
        "at_fpr": [{"rate": 0.01, "patients": 44, "tpr": rate}],
    }


def test_the_release_is_judged_only_where_its_posteriors_hold() -> None:
    summary = simulated()
    named, rate = '[release.named]\n"0.9" = {}\n', '[release.tpr]\n"0.01" = {}\n'
    summary["release"] = released(0.01, like=True)
    assert verdict(named.format(50), summary) == "pass"
    assert verdict(named.format(20), summary) == "fail"
    assert verdict(rate.format(0.3), summary) == "pass"
    assert verdict(rate.format(0.1), summary) == "fail"
    for doubtful in (released(0.08, like=True), released(0.01, like=False)):
        summary["release"] = doubtful
        assert verdict(named.format(50), summary) == "inconclusive"
        assert verdict(named.format(20), summary) == "inconclusive"


def test_the_officers_page_reads_well_whatever_is_there() -> None:
    for make in summaries.ALL.values():
        summary = make()
        page = officer_markdown(summary)
        for words in ("# For the privacy officer", "cannot certify", "When to test again"):
            assert words in page
        assert "None" not in page
        assert "<script" not in page.replace("\\<script", "")
        assert "For the privacy officer" in render(summary)


def test_policies_are_read_from_files(tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="no such file"):
        load_policy(tmp_path / "absent.toml")
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(AuscultError, match="UTF-8"):
        load_policy(tmp_path / "policy.toml")


def test_many_open_limits_of_groups_do_not_hide_what_is_broken() -> None:
    summary = simulated()
    row = {"patients": 50, "exposed_0.9": 0.2, "exposed_0.9_low": 0.05, "exposed_0.9_high": 0.4}
    summary["disparities"] = {"ward": {"groups": {f"w{place}": row for place in range(30)}}}
    summary["exposure"] = [cell(0.3, 0.4)]
    decision = judge(policy("[groups]\nexposed_share = 0.1\n[deployment]\nppv = 0.2\n"), summary)
    assert sum(one.key.startswith("groups.") for one in decision.checks) == 30
    lines = list(reasons(decision))
    assert lines[0].startswith("fail: Probability")
    assert sum("Share of ward" in line for line in lines) == 5
    assert lines[-1] == "inconclusive: 25 more limits of groups; see the report"
    summary["decision"] = decision.as_dict()
    page = render(summary)
    assert "18 more are counted in the table below" in page
    assert "30 groups of ward" in page


def test_withheld_records_of_too_few_patients_are_told_without_their_number() -> None:
    summary = simulated()
    summary["cohort"]["withheld"] = {"share": 0.2, "records": 40, "patients": 31}
    assert "40 records of 31 patients were kept out" in officer_markdown(summary)
    summary["cohort"]["withheld"]["patients"] = None
    assert " 40 records were kept out" in officer_markdown(summary)
