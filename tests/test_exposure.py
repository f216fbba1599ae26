"""Exposure: views of outputs, calibrated posteriors, the game counted directly, declared cells."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logit

from auscult import Audit, Cohort, Deployment, SklearnRecipe
from auscult.attacks.access import NAMES, access_signals, parse_access
from auscult.attacks.joint import auc_in_folds, joint_scores
from auscult.attacks.layout import Centring, Layout, lay_out
from auscult.attacks.log_odds import log_odds_of_truth
from auscult.base.errors import AuscultError, ConfigError
from auscult.cohort.design import Design
from auscult.exposure.calibration import calibrate, terms_of
from auscult.exposure.cell import Evidence, How, attack, evidence_of, null_of
from auscult.exposure.meaning import meaning
from auscult.exposure.table import Inquiry, cells
from auscult.results import Result
from auscult.risk.patients import patient_risk
from auscult.risk.prior import PLAIN
from auscult.risk.reliability import calibration_error
from auscult.store import Outputs
from tests.cohorts import visits, write_audit
from tests.consistency import disagreements
from tests.simulation import balanced, simulate
from tests.test_audit import auscult

SEED = 3


def how(references: int | str = "all", *, signed: bool = False) -> How:
    return How(references=references, signed=signed, seed=SEED)


# Access


def softmax_case(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return 3 * rng.normal(size=(4, 200, 3)), rng.integers(0, 3, 200)


def test_probabilities_of_all_classes_lose_nothing_even_when_sure() -> None:
    z, y = softmax_case()
    z[0] *= 12  # probabilities that round to 1
    seen = parse_access("probabilities").signal(z, y, "softmax")
    wanted = log_odds_of_truth(z, y, "softmax")
    inner = np.abs(wanted) < 80
    assert inner.mean() > 0.9
    assert (np.abs(wanted) > 40).any()
    np.testing.assert_allclose(seen[inner], wanted[inner], atol=2e-5, rtol=1e-5)
    assert (np.abs(seen[~inner]) > 79).all()
    z = z[1:]
    one = parse_access("probabilities").signal(z[..., :1], (y > 0).astype(np.int64), "sigmoid")
    wanted = log_odds_of_truth(z[..., :1], (y > 0).astype(np.int64), "sigmoid")
    np.testing.assert_allclose(one, wanted, atol=2e-5, rtol=1e-5)


def test_rounded_top_and_label_follow_from_what_is_shown() -> None:
    z, y = softmax_case()
    p = np.exp(log_softmax(z, axis=-1))
    mine = p[:, np.arange(200), y]
    rounded = np.clip(np.round(mine, 1), 0.05, 0.95)
    np.testing.assert_allclose(parse_access("rounded:1").signal(z, y, "softmax"), logit(rounded))
    right = p.argmax(axis=-1) == y
    np.testing.assert_array_equal(parse_access("label").signal(z, y, "softmax"), right)
    shown = np.where(right, p.max(axis=-1), (1 - p.max(axis=-1)) / 2)
    np.testing.assert_allclose(
        parse_access("top").signal(z, y, "softmax"), logit(shown), atol=1e-9, rtol=1e-9
    )
    # With two classes the top label's confidence says all.
    binary, z1 = (y > 0).astype(np.int64), z[..., :1]
    for name in ("top", "logits"):
        np.testing.assert_allclose(
            parse_access(name).signal(z1, binary, "sigmoid"),
            log_odds_of_truth(z1, binary, "sigmoid"),
            atol=1e-9,
        )


def test_several_labels_are_seen_through_every_access() -> None:
    rng = np.random.default_rng(1)
    z, y = 2 * rng.normal(size=(3, 80, 4)), rng.integers(0, 2, (80, 4))
    wanted = log_odds_of_truth(z, y, "multilabel")
    np.testing.assert_allclose(
        parse_access("probabilities").signal(z, y, "multilabel"), wanted, atol=1e-4
    )
    fine = parse_access("rounded:6").signal(z, y, "multilabel")
    np.testing.assert_allclose(fine, wanted, atol=1e-2)
    share = ((z > 0) == (y == 1)).mean(axis=-1)
    np.testing.assert_allclose(parse_access("label").signal(z, y, "multilabel"), share)
    top = parse_access("top").signal(z, y, "multilabel")
    at = z[0, 0].argmax()
    assert top[0, 0] == (z[0, 0, at] if y[0, at] else -z[0, 0, at])


def test_label_only_counts_the_queries_answered_with_the_truth() -> None:
    z, y = softmax_case()
    values = np.stack([z, z[:, ::-1], -z], axis=1)
    found = access_signals(Outputs.in_memory(values, "softmax"), y, parse_access("label"), [0, 2])
    right = [(v.argmax(axis=-1) == y) for v in (z, -z)]
    np.testing.assert_allclose(found, np.mean(right, axis=0))


@pytest.mark.parametrize("text", ["", "softmax", "rounded:0", "rounded:9", "rounded:x", "label:2"])
def test_what_is_no_access_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="probabilities"):
        parse_access(text)


# Calibration and the game


def simulated(patients: int = 500, models: int = 32, seed: int = 0) -> Layout:
    """One record each; AUCs from a coin flip to 0.98."""
    rng = np.random.default_rng(seed)
    return simulate(rng.uniform(0.5, 0.98, patients), models, rng).layout()


def test_logistic_regression_finds_the_ratio_of_two_normal_classes() -> None:
    rng = np.random.default_rng(2)
    member = rng.random(40_000) < 0.3  # the share of members must not matter
    d = rng.uniform(0, 3, member.size)
    z = rng.normal(size=member.size) + np.where(member, d, -d) / 2
    found = calibrate(terms_of(z, d), member)
    ratio = found.claimed(found.order(terms_of(z, d)))[0]
    inner = np.abs(z * d) < 3
    assert np.abs(ratio - z * d)[inner].mean() < 0.1


def test_calibration_error_is_what_it_says() -> None:
    posterior = np.array([0.05, 0.05, 0.95, 0.95])
    member = np.array([False, True, True, True])
    error, brier = calibration_error(posterior, member)
    assert error == pytest.approx((abs(0.1 - 1) + abs(1.9 - 2)) / 4)
    assert brier == pytest.approx((0.05**2 * 3 + 0.95**2) / 4)


def test_posteriors_are_calibrated_on_models_that_nobody_has_seen() -> None:
    # 48 shadow models and 60 fresh targets of the same patients; the attack is by hand.
    rng = np.random.default_rng(4)
    auc = rng.uniform(0.5, 0.98, 800)
    both = simulate(auc, 108, rng)
    shadow, fresh = slice(0, 48), slice(48, 108)
    member = balanced(auc.size, 48, rng)
    x = both.signals.copy()
    # Membership in shadows anew, so that everybody is IN exactly half of them.
    shift = (x[shadow] - both.level) * 0
    planted = np.sqrt(2) * np.array([_quantile(a) for a in auc]) * both.spread
    shift += (member.astype(float) - both.member[shadow]) * planted
    x[shadow] += shift
    layout = lay_out(x[shadow], member, both.patient)
    scores = joint_scores(layout)
    evidence = evidence_of(layout, scores, SEED)
    assert evidence.calibration()["error"] < 0.02
    # A fresh target is judged with three quarters of the shadows, as held-out ones are.
    used = scores.deal.weight > 0
    patient, fold, label, _ = np.nonzero(used)
    z = (scores.values * scores.unit[:, :, None, None])[used]
    calibration = calibrate(terms_of(z, scores.effect[patient, fold]), label == 1)
    posterior, truth = [], []
    for p in range(auc.size):
        known = np.ones(48, dtype=bool)
        known[scores.deal.model[p, 0][scores.deal.weight[p, 0] > 0]] = False
        inside = x[shadow][known & member[:, p], p]
        outside = x[shadow][known & ~member[:, p], p]
        pooled = ((inside.size - 1) * inside.var(ddof=1)
                  + (outside.size - 1) * outside.var(ddof=1)) / (known.sum() - 2)  # fmt: skip
        deviation = np.sqrt(pooled)
        z = (x[fresh, p] - (inside.mean() + outside.mean()) / 2) / deviation
        d = np.full(z.size, (inside.mean() - outside.mean()) / deviation)
        posterior.append(expit(calibration.claimed(calibration.order(terms_of(z, d)))[0]))
        truth.append(both.member[fresh, p])
    error, brier = calibration_error(np.concatenate(posterior), np.concatenate(truth))
    assert error < 0.02
    assert abs(brier - evidence.calibration()["brier"]) < 0.01


def _quantile(auc: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(auc))


def test_ppv_and_named_patients_match_the_game_counted_directly() -> None:
    layout = simulated(400, 48)
    found = attack(layout, how()).evidence
    rows = {row["prior"]: row for row in meaning(found, (0.02, 0.2), 0.1, 400)}
    rng = np.random.default_rng(9)
    points: dict[tuple[int, bool], NDArray[np.int64]] = {
        (p, inside): np.flatnonzero((found.patient == p) & (found.member == inside))
        for p in range(400)
        for inside in (False, True)
    }
    # Each half's threshold is the value that 1 in 1000 OUT scores of the other half exceed.
    bars = []
    for side in (0, 1):
        other = np.sort(found.order[0][~found.member & (found.half == 1 - side)])[::-1]
        rate = next(r for r in (0.001, 0.01, 0.1) if r * (~found.member).sum() >= 20)
        bars.append(other[int(rate * other.size)])
    for prior, row in rows.items():
        rounds = 200_000
        person = rng.integers(0, 400, rounds)
        member = rng.random(rounds) < prior
        drawn = np.array(
            [points[p, m][int(u * points[p, m].size)]
             for p, m, u in zip(person.tolist(), member.tolist(), rng.random(rounds), strict=True)]
        )  # fmt: skip
        accused = found.order[0][drawn] > np.array(bars)[found.half[drawn]]
        right = member[accused].mean()
        error = np.sqrt(right * (1 - right) / accused.sum())
        assert abs(row["ppv"]["estimate"] - right) < 3 * error, prior
        assert row["ppv"]["low"] <= row["ppv"]["estimate"] <= row["ppv"]["high"]
        # Named at 0.5: how many of 400 members, and how many others of the population with them.
        sure = found.ratio[drawn] + logit(prior) > logit(0.5)
        scale = 400 / prior / rounds
        for name, who in (("patients", sure & member), ("false", sure & ~member)):
            counted = who.sum() * scale
            error = max(np.sqrt(who.sum()), 1) * scale
            assert abs(row["named"]["0.5"][name]["estimate"] - counted) < 3 * error, (prior, name)
        moved = row["belief"]
        assert moved["from"] == pytest.approx(prior + (1 - prior) * 0.1)
        ppv = row["ppv"]["estimate"]
        assert moved["to"]["estimate"] == pytest.approx(ppv + (1 - ppv) * 0.1)
    assert meaning(found, (0.02,), None, 400)[0]["belief"] is None


@pytest.mark.slow
def test_intervals_cover_what_more_patients_show(monkeypatch: pytest.MonkeyPatch) -> None:
    # The truth: the same figures of ten times as many patients, at the same rate.
    monkeypatch.setattr("auscult.exposure.meaning.RATES", (0.01, 0.1))

    def figures(patients: int, seed: int) -> list[dict[str, float]]:
        found = attack(simulated(patients, 32, seed), how()).evidence
        (row,) = meaning(found, (0.2,), None, 1)
        return [row["ppv"], row["named"]["0.5"]["patients"]]

    truth = figures(6000, 99)
    inside = np.zeros(2)
    for seed in range(40):
        for place, (one, true) in enumerate(zip(figures(600, seed), truth, strict=True)):
            inside[place] += one["low"] <= true["estimate"] <= one["high"]
    # Two standard errors below 95% of 40; leaving out groups makes intervals of counts too wide.
    assert (inside >= 35).all(), inside


def test_nobody_named_has_an_interval_above_zero() -> None:
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(50), 40)
    member = np.tile(np.arange(40) % 2 == 0, 50)
    ratio = rng.normal(0, 0.1, patient.size)
    evidence = Evidence(
        order=np.tile(ratio, (21, 1)), ratios=np.tile(ratio, (21, 1)), member=member,
        patient=patient, group=patient % 20, half=np.tile(np.arange(40) // 20, 50),
    )  # fmt: skip
    row = meaning(evidence, (0.01,), None, 50)[0]
    named = row["named"]["0.99"]
    assert named["patients"]["estimate"] == named["false"]["estimate"] == 0
    # The exact Poisson bound of nothing counted among 1,000: 3.69 in 1,000.
    assert named["patients"]["high"] == pytest.approx(50 * 3.689 / 1000, rel=1e-3)
    assert named["false"]["high"] == pytest.approx(50 * 99 * 3.689 / 1000, rel=1e-3)


def test_too_few_points_resolve_no_rate() -> None:
    layout = simulated(20, 8)
    found = attack(layout, how()).evidence
    assert (~found.member).sum() * 0.1 < 20
    assert meaning(found, (0.1,), None, 20) == []


# The attack of a cell


def test_every_way_to_attack_has_a_null_of_one_half() -> None:
    rng = np.random.default_rng(7)
    count = rng.integers(1, 4, 700)
    layout = simulate(rng.uniform(0.5, 0.95, 700), 32, rng, records=count).layout()
    for each in (how(), how(signed=True), how(1), how(4), how(4, signed=True)):
        null = null_of(layout, each).auc_raw
        # Standard deviation of an AUC of 16 against 16 models under the null: 0.10.
        assert abs(np.nanmean(null) - 0.5) < 3.5 * 0.10 / np.sqrt(700), each
        assert np.nanmean(attack(layout, each).risk.auc_raw) > 0.6


def test_one_threshold_for_everybody_has_a_null_of_one_half_at_any_share() -> None:
    """0.490 where a patient's models of one half teach what is said of the other half."""
    patients, models, found = 100, 32, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        member = Design(models=models, patients=patients, seed=seed, share=0.9).membership()
        signals = rng.standard_normal((models, patients)).astype(np.float32)
        layout = lay_out(signals, member.reveal(), np.arange(patients), None)
        scores = joint_scores(layout, Centring(layout))
        found.append(evidence_of(layout, scores, seed).auc())
    # Of 100 cohorts, 0.019 each.
    assert abs(np.mean(found) - 0.5) < 0.006


def test_others_teach_what_they_would_alone_but_for_the_offset() -> None:
    rng = np.random.default_rng(9)
    group = np.arange(3000) % 20
    terms = terms_of(rng.normal(size=3000), rng.normal(size=3000))
    member = rng.random(3000) < expit(0.8 * terms[:, 3])
    whole = calibrate(terms, member, group)
    rows = whole.order(terms)
    for g in (0, 7, 19):
        mine = group == g
        moved = rows[1 + g, mine] - whole.of_others(terms, group)[mine]
        np.testing.assert_allclose(moved, whole.weights[1 + g, 0] - whole.weights[0, 0])
    assert np.abs(whole.of_others(terms, group) - rows[0]).max() > 1e-3


def test_the_joint_attack_of_a_cell_is_that_of_the_audit() -> None:
    layout = simulate(
        np.full(120, 0.8), 32, np.random.default_rng(4), records=np.arange(120) % 3 + 1
    ).layout()
    found, audited = attack(layout, how()).risk, patient_risk(layout, (0.9,))[0]
    np.testing.assert_array_equal(found.auc_raw, audited.auc_raw)
    np.testing.assert_allclose(found.posterior.mean, audited.posterior.mean, atol=1e-12)
    # Patients with several records are compared inside the folds of their scores.
    scores = joint_scores(layout, Centring(layout))
    several = layout.count > 1
    np.testing.assert_array_equal(
        found.auc_raw[several], auc_in_folds(scores.values, scores.deal.weight)[several]
    )


def test_a_signed_attack_finds_signals_that_membership_lowers() -> None:
    rng = np.random.default_rng(8)
    case = simulate(np.full(400, 0.9), 32, rng)
    turned = np.where(np.arange(400) % 2 == 0, 1.0, -1.0)
    layout = lay_out(case.signals * turned, case.member, case.patient)
    plain = np.nanmean(attack(layout, how()).risk.auc_raw)
    found = attack(layout, how(signed=True)).risk
    signed = np.nanmean(found.auc_raw)
    assert abs(plain - 0.5) < 0.03
    assert signed > 0.85
    # Signs were weighed with counts of the scores, not of the ratios: they are not believed.
    assert found.posterior.shapes == {PLAIN: 1.0}


def test_more_reference_models_tell_more() -> None:
    layout = simulated(600, 64, 5)
    found = [attack(layout, how(n)).evidence.auc() for n in (0, 1, 4, 16, "all")]
    assert all(after > before - 0.01 for before, after in itertools.pairwise(found))
    assert found[0] < found[2] < found[4]


# Declared deployments


DEPLOYED: dict[str, Any] = {
    "reveals": "was treated here",
    "population": "the region",
    "prior": (0.01, 0.1),
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prior": 0.0}, "prior"),
        ({"prior": 1.0}, "prior"),
        ({"prior": (0.2, 0.1)}, "prior"),
        ({"prevalence": 1.5}, "prevalence"),
        ({"access": "everything"}, "access"),
        ({"knowledge": "other records"}, "withhold"),
        ({"knowledge": "crop:0.5"}, "queries"),
        ({"references": 40}, "references"),
        ({"references": "many"}, "references"),
        ({"reveals": "  "}, "reveals"),
    ],
)
def test_deployments_that_cannot_be_are_refused(changed: dict[str, Any], said: str) -> None:
    deployment = Deployment(**DEPLOYED | changed)
    with pytest.raises(ConfigError, match=said):
        deployment.check((), 0.0, 16)


def test_table_holds_every_cell_once_and_declares_one() -> None:
    patient = np.array([0, 0, 0, 1, 1, 2])
    withheld = np.array([False, False, True, False, True, False])
    for references in ("all", 4, 3):
        asked = Inquiry(
            queries=("without:a", "augmented:4"),
            withheld=withheld,
            deployment=Deployment(**DEPLOYED | {"access": "rounded:3", "references": references}),
        )
        table = cells(asked, patient, SEED)
        keys = [(c.access, c.known.name, c.references) for c in table]
        assert len(keys) == len(set(keys))
        full = [c for c in table if c.references == "all"]
        assert len(full) == 20
        assert {c.known.name for c in full} == {
            "records", "one record", "other records", "without:a",
        }  # fmt: skip
        (declared,) = [c for c in table if c.declared]
        assert declared.references == references
        assert declared.access == parse_access("rounded:3")
    one = next(c.known for c in table if c.known.name == "one record")
    assert len(one.records) == 3
    assert not withheld[one.records].any()
    assert sorted(patient[one.records]) == [0, 1, 2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A small audit with everything declared."""
    cohort = Cohort.from_table(
        visits(150), patient="person", label="outcome", positive=["yes"], groups=["sex"]
    )
    audit = Audit(
        cohort,
        SklearnRecipe("k_neighbours", arguments={"n_neighbors": 3}),
        models=16,
        seed=3,
        queries=["without:a", "augmented:4"],
        withhold=0.3,
        deployment=Deployment(**DEPLOYED, prevalence=0.05),
    )
    result: Result = audit.run(tmp_path_factory.mktemp("exposure") / "run", workers=1)
    return result


def test_summary_holds_what_the_deployment_declares(finished: Result) -> None:
    summary = finished.summary
    assert summary["deployment"]["prior"] == [0.01, 0.1]
    assert disagreements(summary) == []
    assert [c["declared"] for c in summary["exposure"]].count(True) == 1
    seen = {(c["access"], c["knowledge"]) for c in summary["exposure"] if c["references"] == "all"}
    assert len(seen) == 20
    assert {c["access"] for c in summary["exposure"]} == set(NAMES)
    mine = next(c for c in summary["exposure"] if c["declared"])
    assert {row["prior"] for row in mine["by_prior"]} >= {0.01, 0.032, 0.1}
    # One label's confidence says all of two classes, and is the audit's own attack: the same
    # patients, the same mean. Who declares probabilities lets the queries be asked as well.
    top = next(c for c in summary["exposure"] if c["access"] == "top")
    assert top["auc"]["mean"] == pytest.approx(summary["patients"]["raw"]["mean"], abs=0.02)
    assert mine["further"]["signals"] == ["without:a", "augmented:4"]
    assert mine["auc"]["mean"] > top["auc"]["mean"] - 0.02
    assert mine["auc"]["null_mean"] == pytest.approx(0.5, abs=0.05)
    assert mine["queries"] == (6 if mine["further"]["used"] else 1)
    label = next(c for c in summary["exposure"] if c["access"] == "label")
    assert label["queries"] == 5
    assert summary["cohort"]["withheld"]["records"] == finished.records["withheld"].sum()
    others = next(c for c in summary["exposure"] if c["knowledge"] == "other records")
    assert others["patients"] == summary["cohort"]["withheld"]["patients"]


def test_no_identifier_and_no_withheld_record_in_the_open(finished: Result) -> None:
    for path in finished.path.rglob("*"):
        if path.is_file() and "secret" not in path.relative_to(finished.path).parts:
            assert b"Zxq" not in path.read_bytes(), path.name
    records = finished.records
    assert records["auc"].isna().eq(records["withheld"]).all()
    manifest = json.loads((finished.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["queries"] == ["records", "without:a", "augmented:4"]
    assert {"queries", "withhold"} <= set(manifest["fingerprint"])


def test_report_shows_the_table_and_the_picture(finished: Result) -> None:
    html = (finished.path / "report.html").read_text(encoding="utf-8")
    for text in ("was treated here", "table-exposure", "figure-exposure", "table-exposure-means"):
        assert text in html


def test_large_cohorts_are_looked_at_by_an_even_sample(
    finished: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auscult.exposure import exposure_of
    from auscult.store import RunStore

    monkeypatch.setattr("auscult.exposure.table.MOST_POINTS", 16 * 75)
    monkeypatch.setattr("auscult.exposure.table.NAMES", ("logits",))
    monkeypatch.setattr("auscult.exposure.table.REFERENCES", (1,))
    store = RunStore.open(finished.path)
    patient = np.unique(finished.records.sort_values("record")["patient"], return_inverse=True)[1]
    found = exposure_of(
        store.outputs(),
        np.zeros(store.records, dtype=np.int64),
        store.read_membership(),
        patient.astype(np.int64),
        None,
        Inquiry(),
        seed=SEED,
        smallest_cell=10,
    )
    assert {cell["patients"] for cell in found} == {75}
    assert "one of every 2" in found[0]["method"]


@pytest.mark.slow
def test_queries_withholding_and_deployment_leave_the_plain_audit_as_it_was(
    tmp_path: Path,
) -> None:
    cohort = Cohort.from_table(
        visits(60), patient="person", label="outcome", positive=["yes"], groups=["sex"]
    )

    def run(name: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        audit = Audit(cohort, SklearnRecipe("logistic_regression"), models=8, seed=1, **more)
        result: Result = audit.run(tmp_path / name, workers=1)
        return result.summary

    plain = run("plain")
    assert plain["exposure"] == []
    assert plain["deployment"] is None
    asked = run("asked", queries=["noise:0.3"], deployment=Deployment(**DEPLOYED))
    for part in ("patients", "aggregate", "disparities", "models"):
        assert asked[part] == plain[part], part
    fingerprint = json.loads((tmp_path / "plain/manifest.json").read_text())["fingerprint"]
    assert not {"queries", "withhold"} & set(fingerprint)
    with pytest.raises(AuscultError, match="queries"):
        run("plain", queries=["noise:0.3"])
    # A deployment shapes results only: the models are kept.
    assert run("plain", deployment=Deployment(**DEPLOYED))["exposure"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('[audit]\nqueries = ["crop:0.5"]', "requires images"),
        ('[audit]\nqueries = ["without:nothing"]', "not an input column"),
        ("[audit]\nwithhold = 1.0", "withhold"),
        ("[deployment]\nreveals = 'x'\npopulation = 'y'", "deployment.prior"),
        ("[deployment]\nreveals = 'x'\npopulation = 'y'\nprior = 2.0", "deployment.prior"),
        ("[deployment]\nreveals = 'x'\npopulation = 'y'\nprior = [0.1]", "deployment.prior"),
        ("[deployment]\nreveals='x'\npopulation='y'\nprior=0.1\nacces='label'", "access"),
        ("[deployment]\nreveals='x'\npopulation='y'\nprior=0.1\nknowledge='crop'", "crop"),
    ],
)
def test_files_that_cannot_be_end_with_one_message(lines: str, said: str, tmp_path: Path) -> None:
    path = write_audit(tmp_path)
    text = path.read_text(encoding="utf-8")
    if lines.startswith("[audit]"):
        text = text.replace("[audit]", lines)
    else:
        text += "\n" + lines
    path.write_text(text, encoding="utf-8")
    done = auscult("run", path, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_withholding_needs_patients_with_several_records(tmp_path: Path) -> None:
    rows = visits(60).drop_duplicates("person")
    cohort = Cohort.from_table(
        pd.DataFrame(rows), patient="person", label="outcome", positive=["yes"]
    )
    with pytest.raises(ConfigError, match="single record"):
        Audit(cohort, SklearnRecipe("logistic_regression"), models=8, withhold=0.2).check()


def test_check_says_what_queries_cost(tmp_path: Path) -> None:
    path = write_audit(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("[audit]", '[audit]\nqueries = ["noise:0.2", "augmented:3"]\nwithhold = 0.2'),
        encoding="utf-8",
    )
    done = auscult("check", path)
    assert done.returncode == 0, done.stderr
    assert "answers 5 times per record" in done.stdout
    assert "records are left out of all training" in done.stdout
    assert "Exposure" in done.stdout
