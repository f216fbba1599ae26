"""Shrinkage, exposed counts, stability: analytic cases, coverage under many processes, null."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri

from auscult.attacks.layout import Layout, lay_out
from auscult.risk.counting import placements
from auscult.risk.estimate import GRID, Estimate
from auscult.risk.exposed import (
    Exposed,
    adjusted,
    benjamini_hochberg,
    count_interval,
    exposed,
    prior_errors,
)
from auscult.risk.measurement import Measurement
from auscult.risk.patients import PatientRisk, patient_risk, permuted
from auscult.risk.prior import (
    MEASURED,
    PLAIN,
    ROUGH_ITERATIONS,
    Cells,
    Likelihoods,
    Prior,
    Shape,
    weigh_shapes,
)
from auscult.risk.shrinkage import Covariates, posterior, shrink, sign_of, worth_of_signs
from auscult.risk.signs import study_auc
from auscult.risk.stability import (
    half_risks,
    models_needed,
    planning,
    planning_without_pilot,
    stability,
)
from tests.signal_processes import drawn
from tests.simulation import balanced, simulate

Floats = NDArray[np.float64]
THRESHOLDS = (0.6, 0.7, 0.8, 0.9)
PLAIN_ONLY = {PLAIN: 1.0}


def no_covariates(n: int) -> Covariates:
    return Covariates(values=np.zeros((n, 1)), coupling=np.zeros((n, 1)))


def only(values: Floats) -> Covariates:
    """One covariate whose errors have nothing to do with the counts'."""
    return Covariates(values=values[:, None], coupling=np.zeros((values.size, 1)))


def counted_aucs(d: Floats, models: int, rng: np.random.Generator) -> Estimate:
    """Counts of two unit normals a distance d sqrt(2) apart, whose AUC is Phi(d)."""
    values = rng.normal(size=(d.size, 1, 2, models // 2))
    values[:, :, 1] += (d * np.sqrt(2))[:, None, None]
    return Estimate.of(placements(values, np.ones_like(values)).counted)


# The posterior


def test_posterior_under_a_known_normal_prior_is_the_textbook_one() -> None:
    d, a, tau, centre = np.array([1.5, -0.3]), 0.04, 0.3, 0.8
    likelihood = np.exp(-0.5 * (GRID - d[:, None]) ** 2 / a)
    mass = np.exp(-0.5 * ((GRID - centre) / tau) ** 2)
    found = Cells.of(likelihood, np.zeros(2), [(1.0, Prior(mass=mass / mass.sum()))])
    precision = 1 / a + 1 / tau**2
    mean, error = (d / a + centre / tau**2) / precision, 1 / np.sqrt(precision)
    np.testing.assert_allclose(found.mean_auc(), ndtr(mean / np.sqrt(1 + error**2)), atol=1e-3)
    for level in (0.025, 0.5, 0.9):
        np.testing.assert_allclose(found.quantile(level), mean + error * ndtri(level), atol=4e-3)
    for bar in (0.7, 0.9):
        above = found.above(float(ndtri(bar)))
        np.testing.assert_allclose(above, ndtr((mean - ndtri(bar)) / error), atol=2e-3)


@pytest.mark.parametrize("models", [32, 64, 200])
def test_shrunken_intervals_and_counts_cover(models: int) -> None:
    inside, counted, gain = [], [], []
    for seed in range(6):
        rng = np.random.default_rng(7000 * models + seed)
        d = np.abs(rng.normal(0.7, 0.6, 800))
        estimate = counted_aucs(d, models, rng)
        found = shrink(estimate, no_covariates(800), THRESHOLDS, shapes=PLAIN_ONLY)
        auc = ndtr(d)
        inside.append(np.mean((found.low <= auc) & (auc <= found.high)))
        counted += [found.tails[t].sum() / (auc > t).sum() for t in THRESHOLDS]
        gain.append(np.mean((found.mean - auc) ** 2) / np.mean((estimate.auc - auc) ** 2))
    assert 0.93 <= np.mean(inside) <= 0.97
    assert np.mean(counted) == pytest.approx(1.0, abs=0.06)
    assert np.mean(gain) < 0.97


def test_shares_above_agree_with_tails() -> None:
    rng = np.random.default_rng(4)
    estimate = counted_aucs(rng.normal(0.8, 0.4, 500), 64, rng)
    table = Likelihoods(estimate, np.zeros(500))
    priors = [(1.0, table.fit(PLAIN))]
    tails = posterior(estimate, np.zeros(500), priors, THRESHOLDS).tails
    shares = table.shares_above(priors, ndtri(np.array(THRESHOLDS)))
    np.testing.assert_allclose(shares, [tails[t].mean() for t in THRESHOLDS], atol=1e-9)
    counted = posterior(estimate, np.zeros(500), priors, (), counted=THRESHOLDS)
    assert counted.tails == {}
    for t in THRESHOLDS:
        assert counted.above[t].mean == pytest.approx(tails[t].sum(), abs=1e-9)
        assert counted.above[t].variance == pytest.approx((tails[t] * (1 - tails[t])).sum())


def test_missing_rows_change_nothing_for_the_others() -> None:
    rng = np.random.default_rng(5)
    estimate = counted_aucs(rng.normal(0.8, 0.4, 300), 32, rng)
    covariates = only(rng.normal(size=300))
    gone = np.arange(300) % 7 == 3
    holes = replace(
        estimate,
        auc=np.where(gone, np.nan, estimate.auc),
        reach=np.where(gone, np.nan, estimate.reach),
        pairs=np.where(gone, np.nan, estimate.pairs),
    )
    shapes = {PLAIN: 0.4, MEASURED: 0.6}
    found = shrink(holes, covariates, THRESHOLDS, shapes=shapes)
    alone = shrink(estimate.take(~gone), covariates.take(~gone), THRESHOLDS, shapes=shapes)
    for one in (found.mean, found.low, found.high, found.tails[0.8]):
        np.testing.assert_array_equal(np.isnan(one), gone)
    np.testing.assert_allclose(found.mean[~gone], alone.mean, atol=1e-12)
    np.testing.assert_allclose(found.tails[0.8][~gone], alone.tails[0.8], atol=1e-12)
    assert found.above[0.9].mean == pytest.approx(alone.above[0.9].mean)


# The prior


def test_a_narrowed_prior_keeps_its_mean_and_loses_its_width() -> None:
    mass = np.exp(-0.5 * ((GRID - 0.7) / 0.4) ** 2) + 0.3 * np.exp(-0.5 * ((GRID - 1.6) / 0.1) ** 2)
    prior = Prior(mass=mass / mass.sum())
    middle = prior.mass @ GRID
    width = np.sqrt(prior.mass @ (GRID - middle) ** 2)
    for share in (0.0, 0.2, 0.8, 1.0):
        narrow = prior.narrowed(share)
        assert narrow.mass.sum() == pytest.approx(1)
        assert narrow.mass @ GRID == pytest.approx(middle, abs=1e-9)
        found = np.sqrt(narrow.mass @ (GRID - middle) ** 2)
        # Mass is split between two neighbouring points of the grid.
        assert found == pytest.approx(share * width, abs=0.016)


def test_narrower_priors_are_plausible_where_patients_are_alike_and_only_there() -> None:
    rng = np.random.default_rng(6)
    bars = ndtri(np.array([0.7, 0.9]))
    found = {}
    for kind, d in (("alike", np.full(300, ndtri(0.85))), ("apart", rng.normal(0.8, 0.6, 300))):
        table = Likelihoods(counted_aucs(d, 32, rng), np.zeros(300))
        found[kind] = table.plausible_shares([(1.0, table.fit(PLAIN))], bars)
    assert len(found["alike"]) > len(found["apart"])
    # Under the narrowest of them everybody lies between the bars, which is the truth.
    np.testing.assert_allclose(found["alike"][0], [1.0, 0.0], atol=0.01)


def test_a_measurement_weighs_the_prior_as_bayes_would() -> None:
    rng = np.random.default_rng(15)
    mass = rng.dirichlet(np.ones(GRID.size))
    mean, deviation = 0.3 + 0.5 * GRID, np.linspace(0.6, 1.2, GRID.size)
    prior = Prior(mass=mass, measurement=Measurement(mean=mean, deviation=deviation))
    sign = np.array([0.0, 0.9])
    for one, row in zip(sign, prior.masses(sign), strict=True):
        each = mass * stats.norm.pdf(one, mean, deviation)
        np.testing.assert_allclose(row, each / each.sum(), atol=1e-12)


def test_a_measurement_is_read_off_through_the_noise() -> None:
    rng = np.random.default_rng(16)
    d = np.where(rng.random(10_000) < 0.3, 1.4, 0.3) + rng.normal(0, 0.2, 10_000)
    sign = -0.5 + 0.8 * d + rng.normal(0, 0.5, 10_000)
    prior = Likelihoods(counted_aucs(d, 32, rng), sign).fit(MEASURED)
    assert prior.measurement is not None
    at = np.array([0.2, 0.4, 1.3, 1.5])
    np.testing.assert_allclose(
        np.interp(at, GRID, prior.measurement.mean), -0.5 + 0.8 * at, atol=0.1
    )
    np.testing.assert_allclose(np.interp(at, GRID, prior.measurement.deviation), 0.5, atol=0.08)


@pytest.mark.parametrize("shape", [PLAIN, MEASURED])
def test_who_is_drawn_again_counts_again(shape: Shape) -> None:
    """A prior of resampled patients is that of a table which holds each as often as drawn."""
    rng = np.random.default_rng(17)
    d = rng.normal(0.6, 0.5, 300)
    sign = 0.5 * d + rng.normal(0, 0.3, 300)
    table = Likelihoods(counted_aucs(d, 32, rng), sign)
    rows = np.sort(rng.integers(0, 300, 300))
    longer = copy(table)
    longer.sign, longer._evidence = sign[rows], table._evidence[rows]
    found, naive = table.fit(shape, rows), longer.fit(shape)
    np.testing.assert_allclose(found.mass, naive.mass, rtol=1e-8, atol=1e-12)
    assert np.abs(found.mass - table.fit(shape).mass).max() > 1e-4
    if found.measurement is not None:
        assert naive.measurement is not None
        np.testing.assert_allclose(found.measurement.mean, naive.measurement.mean, rtol=1e-8)


def test_nobodys_sign_rules_out_what_was_counted() -> None:
    measurement = Measurement(mean=GRID, deviation=np.full(GRID.size, 0.1))
    likelihood = measurement.likelihood(np.array([50.0]))
    assert (likelihood > 0).all()
    assert np.log(likelihood.max() / likelihood.min()) <= 12 + 1e-9


# What signs are worth


def test_covariates_sharpen_the_estimate() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=2000)
    d = 0.8 + 0.3 * x + 0.1 * rng.normal(size=2000)
    halves = [(counted_aucs(d, 16, rng), only(x)) for _ in range(2)]
    shapes = worth_of_signs(halves)
    assert shapes.get(MEASURED, 0.0) > 0.99
    estimate = counted_aucs(d, 32, rng)
    blind = shrink(estimate, no_covariates(2000), shapes=PLAIN_ONLY)
    seeing = shrink(estimate, only(x), shapes=shapes)
    error = [np.mean((p.mean - ndtr(d)) ** 2) for p in (blind, seeing)]
    assert error[1] < 0.6 * error[0]


def test_covariates_that_say_nothing_are_not_believed() -> None:
    rng = np.random.default_rng(4)
    d = rng.normal(0.8, 0.4, 800)
    halves = [(counted_aucs(d, 32, rng), only(rng.normal(size=800))) for _ in range(2)]
    assert worth_of_signs(halves)[PLAIN] > 0.8
    assert worth_of_signs([(e, only(np.ones(800))) for e, _ in halves]) == PLAIN_ONLY
    assert weigh_shapes([]) == PLAIN_ONLY
    few = [(e.take(slice(0, 59)), only(d[:59])) for e, _ in halves]
    assert worth_of_signs(few) == PLAIN_ONLY


def test_what_a_sign_shares_with_the_error_is_taken_away() -> None:
    # A sign that is nothing but the count's own error, and one that is error and truth.
    rng = np.random.default_rng(5)
    d = rng.normal(0.8, 0.4, 3000)
    estimate = counted_aucs(d, 32, rng)
    error = estimate.auc - ndtr(d)
    truth = ndtr(d) + rng.normal(0, 0.05, 3000)
    for own, wanted in ((error, 0.0), (error + 2 * truth, 0.6)):
        naive = sign_of(estimate, only(own))
        coupled = Covariates(values=own[:, None], coupling=estimate.noise[:, None])
        found = sign_of(estimate, coupled)
        # Of what is left of the error when the truth is known.
        shared = [np.corrcoef(s - _line(s, d), error)[0, 1] for s in (naive, found)]
        assert shared[0] > 0.3
        assert abs(shared[1]) < 0.12
        assert np.corrcoef(found, d)[0, 1] > wanted - 0.1


def _line(y: Floats, x: Floats) -> Floats:
    return np.asarray(np.poly1d(np.polyfit(x, y, 3))(x))


def test_two_kinds_of_patients_are_counted_without_bias() -> None:
    # The covariate tells which kind; taken for a shift it puts 3.3% too many above 0.7.
    ratios = []
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        d = np.where(rng.random(1200) < 0.3, rng.normal(1.4, 0.5, 1200), rng.normal(0.3, 0.2, 1200))
        covariates = only(d + rng.normal(0, 1.0, 1200))
        estimate = counted_aucs(d, 64, rng)
        found = shrink(estimate, covariates, counted=(0.7, 0.9), shapes={MEASURED: 1.0})
        ratios.append([found.above[t].mean / (ndtr(d) > t).sum() for t in (0.7, 0.9)])
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1.0, atol=0.03)


def audited(kind: str, models: int, seed: int, patients: int = 400) -> tuple[PatientRisk, Floats]:
    case = drawn(kind, patients, models, np.random.default_rng([seed, models]))
    return patient_risk(case.layout(), THRESHOLDS)[0], case.auc


@pytest.mark.parametrize(
    "kind", ["right or wrong, all 0.825", "memorised or not, all 0.85", "normal, all 0.85"]
)
def test_signs_get_no_weight_where_patients_are_alike(kind: str) -> None:
    # Level and spread go with the counts only because they come from the same models.
    risk, _ = audited(kind, 64, 1)
    sign = sign_of(risk.estimate, risk.covariates)
    assert abs(np.corrcoef(sign, risk.auc_raw)[0, 1]) < 0.2
    assert risk.posterior.shapes[PLAIN] > 0.7


def test_signs_get_weight_where_hard_records_are_remembered() -> None:
    rng = np.random.default_rng(2)
    member = balanced(800, 32, rng)
    level = rng.normal(0, 1.5, 800)
    shift = np.exp(-0.6 * level) / 2
    signals = level + rng.normal(size=member.shape) + member * shift
    auc = ndtr(shift / np.sqrt(2))
    risk, _ = patient_risk(lay_out(signals, member, np.arange(800)), THRESHOLDS)
    assert risk.posterior.shapes.get(MEASURED, 0.0) > 0.95
    blind = shrink(risk.estimate, no_covariates(800), shapes=PLAIN_ONLY)
    error = [np.mean((mean - auc) ** 2) for mean in (blind.mean, risk.posterior.mean)]
    assert error[1] < 0.8 * error[0]
    inside = (risk.posterior.low <= auc) & (auc <= risk.posterior.high)
    assert inside.mean() > 0.92


# Whatever the signals are like


@pytest.mark.parametrize(
    "kind",
    [
        "normal",
        "IN deviation x 3",
        "IN deviation x 0.3",
        "t with 3 degrees",
        "skewed",
        "memorised or not",
        "right or wrong",
        "shared factor",
    ],
)
def test_posterior_and_counts_hold_under_every_process(kind: str) -> None:
    inside, found, true, variance = [], np.zeros(3), np.zeros(3), np.zeros(3)
    for seed in range(2):
        risk, auc = audited(kind, 64, seed)
        inside.append((risk.posterior.low <= auc) & (auc <= risk.posterior.high))
        found += [risk.posterior.above[t].mean for t in THRESHOLDS[:3]]
        variance += [risk.posterior.above[t].variance for t in THRESHOLDS[:3]]
        true += [(auc > t).sum() for t in THRESHOLDS[:3]]
    # 800 patients: 0.77% of standard error at 95%, more where errors are shared.
    assert 0.91 <= np.mean(inside) <= 0.98
    # The coins of the patients, and half as much again for the learned prior; or a tenth.
    allowed = np.maximum(2.5 * 1.5 * np.sqrt(variance), 0.1 * true)
    assert (np.abs(found - true) <= allowed).all()


@pytest.mark.parametrize(
    "kind",
    [
        "right or wrong, all 0.825",
        "memorised or not, all 0.85",
        "skewed, all 0.85",
        "normal, all 0.85",
        "nothing",
    ],
)
def test_nobody_is_called_exposed_where_nobody_is(kind: str) -> None:
    above = []
    for seed in range(3):
        risk, auc = audited(kind, 64, seed)
        above.append(risk.posterior.above[0.9].mean)
        assert np.mean(risk.posterior.mean) == pytest.approx(auc[0], abs=0.012)
    assert np.mean(above) <= 0.02 * 400


CHANGES: dict[str, Callable[[Floats], Floats]] = {
    "exp": np.exp,
    "cube root": np.cbrt,
    "minus exp of minus": lambda x: -np.exp(-x),
    "ranks": lambda x: stats.rankdata(x).reshape(x.shape),
}


def test_a_monotone_function_of_the_signals_changes_no_auc() -> None:
    rng = np.random.default_rng(21)
    case = drawn("normal", 500, 64, rng)

    def audit(change: Callable[[Floats], Floats]) -> tuple[PatientRisk, list[Exposed]]:
        layout = lay_out(change(case.signals), case.member, case.patient)
        risk, _ = patient_risk(layout, THRESHOLDS)
        return risk, exposed(risk, THRESHOLDS, np.random.default_rng(0))

    risk, plain = audit(lambda x: x)
    for name, change in CHANGES.items():
        changed_risk, changed = audit(change)
        # Only the centring by each model's median is not a function of the signal alone.
        assert np.abs(changed_risk.auc_raw - risk.auc_raw).mean() < 0.01, name
        assert np.abs(changed_risk.posterior.mean - risk.posterior.mean).mean() < 0.015, name
        for one, other in zip(plain, changed, strict=True):
            half = (one.high - one.low) / 2
            assert abs(one.estimate - other.estimate) <= half, (name, one.threshold)


# Few patients, few models, odd ones


@pytest.mark.parametrize("patients", [1, 2, 5, 59, 60])
def test_few_patients_have_finite_answers(patients: int) -> None:
    rng = np.random.default_rng(patients)
    layout = simulate(np.full(patients, 0.9), 32, rng).layout()
    risk, _ = patient_risk(layout, THRESHOLDS)
    post = risk.posterior
    assert ((post.low >= 0) & (post.low <= post.mean) & (post.mean <= post.high)).all()
    assert (post.high <= 1).all()
    for one in exposed(risk, THRESHOLDS, rng):
        assert 0 <= one.low <= one.estimate <= one.high <= patients
        assert one.confirmed <= patients


@pytest.mark.parametrize(("value", "auc"), [("won", 1.0), ("lost", 0.0), ("constant", 0.5)])
def test_all_counts_alike(value: str, auc: float) -> None:
    rng = np.random.default_rng(0)
    # A quarter are members, so that no model's median is one of them.
    member = np.argsort(np.argsort(rng.random((16, 80)), axis=0), axis=0) < 4
    signals = {"won": 10.0 * member, "lost": -10.0 * member, "constant": 0.0 * member}[value]
    layout = lay_out(signals, member, np.arange(80))
    risk, _ = patient_risk(layout, THRESHOLDS)
    found = {e.threshold: e for e in exposed(risk, THRESHOLDS, rng)}
    np.testing.assert_array_equal(risk.auc_raw, auc)
    assert np.isfinite(risk.posterior.mean).all()
    if value == "won":
        assert (risk.posterior.mean > 0.9).all()
        assert found[0.9].estimate > 60
        assert found[0.6].confirmed == 80
    else:
        assert (risk.posterior.mean < 0.6).all()
        assert found[0.7].estimate < 3
        assert found[0.6].confirmed == 0


def test_patients_who_are_in_few_or_many_models() -> None:
    rng = np.random.default_rng(9)
    number = rng.integers(4, 61, 600)  # IN models of 64
    member = rng.random((64, 600)).argsort(axis=0).argsort(axis=0) < number
    auc = rng.choice([0.6, 0.95], 600)
    signals = rng.normal(size=(64, 600)) + member * ndtri(auc) * np.sqrt(2)
    risk, _ = patient_risk(lay_out(signals, member, np.arange(600)), THRESHOLDS)
    low, high = risk.estimate.interval()
    width = high - low
    few = np.minimum(number, 64 - number) < 8
    assert np.median(width[few]) > 1.3 * np.median(width[~few])
    assert np.mean((low <= auc) & (auc <= high)) > 0.92
    inside = (risk.posterior.low <= auc) & (auc <= risk.posterior.high)
    assert inside[few].mean() > 0.9
    assert risk.posterior.above[0.8].mean == pytest.approx((auc > 0.8).sum(), rel=0.08)


def test_models_in_use_are_all_that_count() -> None:
    rng = np.random.default_rng(10)
    case = simulate(rng.uniform(0.5, 0.95, 200), 64, rng)
    layout = case.layout()
    used = np.zeros((200, 64), dtype=bool)
    used[:, :40] = True
    broken = layout.signals.copy()
    broken[:, 40:] = 1e6 * rng.normal(size=(200, 24))
    some = [
        patient_risk(replace(layout, signals=s, used=used), THRESHOLDS)[0]
        for s in (layout.signals, broken)
    ]
    fewer = layout.member[:, :40].sum(axis=1)
    wanted = np.where(fewer * (40 - fewer) > 0, fewer * (40 - fewer), np.nan)
    usable = some[0].estimate.usable
    np.testing.assert_array_equal(some[0].estimate.pairs[usable], wanted[usable])
    np.testing.assert_allclose(some[0].auc_raw, some[1].auc_raw, atol=0.12)


# Exposed and confirmed


def test_benjamini_hochberg_equals_scipy() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    np.testing.assert_allclose(adjusted(p), stats.false_discovery_control(p), atol=1e-12)
    assert benjamini_hochberg(p, 0.05).sum() == (stats.false_discovery_control(p) <= 0.05).sum()


def test_interval_of_a_count_is_gammas() -> None:
    low, high = count_interval(100.0, 90.0, 1000)
    exact = stats.gamma(100**2 / 90, scale=0.9)
    assert low == pytest.approx(exact.ppf(0.025), abs=1)
    assert high == pytest.approx(exact.ppf(0.975), abs=1)
    # Those who are not exposed are counted where they are fewer.
    assert count_interval(900.0, 90.0, 1000) == (1000 - high, 1000 - low)
    assert count_interval(0.0, 0.0, 10) == (0.0, 0.0)


def test_exposed_counts_what_was_planted() -> None:
    rng = np.random.default_rng(9)
    auc = np.where(np.arange(600) < 90, 0.97, 0.6)
    risk, _ = patient_risk(simulate(auc, 128, rng).layout(), THRESHOLDS)
    found = {e.threshold: e for e in exposed(risk, THRESHOLDS, rng)}
    assert found[0.8].low <= 90 <= found[0.8].high
    assert 60 <= found[0.8].confirmed <= 95
    assert found[0.9].estimate == pytest.approx(90, abs=12)


def test_learning_the_prior_from_everybody_again_makes_no_error() -> None:
    rng = np.random.default_rng(11)
    table = Likelihoods(counted_aucs(rng.normal(0.8, 0.5, 300), 32, rng), np.zeros(300))
    everybody = np.arange(300)
    resampled = np.sort(rng.integers(0, 300, 300))
    learned = [(1.0, table.fit(PLAIN, iterations=ROUGH_ITERATIONS))]
    found = prior_errors(table, learned, THRESHOLDS, [(PLAIN, everybody), (PLAIN, resampled)])
    np.testing.assert_allclose(found[0], 0, atol=1e-12)
    assert np.abs(found[1]).max() > 1e-4


def test_nothing_is_confirmed_under_the_null() -> None:
    confirmed = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        records = rng.choice([1, 1, 1, 2, 5], 200)
        layout = simulate(np.full(200, 0.9), 32, rng, records=records).layout()
        risk, _ = patient_risk(permuted(layout, rng), THRESHOLDS)
        found = exposed(risk, THRESHOLDS, rng)
        confirmed.append(found[0].confirmed)
        assert found[3].estimate < 4
    assert sum(c == 0 for c in confirmed) >= 5


@pytest.mark.parametrize(
    "kind",
    [
        "right or wrong, all 0.825",
        pytest.param("memorised or not, all 0.85", marks=pytest.mark.slow),
        pytest.param("right or wrong", marks=pytest.mark.slow),
    ],
)
def test_nobody_is_confirmed_wrongly(kind: str) -> None:
    # 16 members that are all right and 16 others that are all wrong are no rarity; a beta tail
    # confirmed somebody above 0.9 in half of such cohorts.
    wrong = 0
    for seed in range(6):
        risk, auc = audited(kind, 32, seed)
        p = risk.estimate.p_above(0.9)
        wrong += int(benjamini_hochberg(p, 0.05).sum()) > (auc > 0.9).sum()
    assert wrong <= 1  # two of six happen once in 30 where 5% are wrong


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "IN deviation x 3", "right or wrong", "skewed"])
def test_exposed_intervals_cover(kind: str) -> None:
    held = []
    for seed in range(12):
        risk, auc = audited(kind, 64, 50 + seed)
        for one in exposed(risk, THRESHOLDS, np.random.default_rng(seed)):
            true = (auc > one.threshold).sum()
            if true >= 5:
                held.append(one.low <= true <= one.high)
    # Four thresholds of one cohort err together: 12 cohorts have a standard error of 5%.
    assert np.mean(held) >= 0.84


def test_above_what_counts_can_tell_from_one_the_interval_starts_at_those_confirmed() -> None:
    # With 32 models three times as many were said to be above 0.99 as there were.
    for seed in range(3):
        rng = np.random.default_rng([seed, 99])
        many = rng.random(400) < 0.3
        auc = ndtr(np.where(many, rng.normal(1.4, 0.5, 400), rng.normal(0.3, 0.2, 400)).clip(0, 3))
        risk, _ = patient_risk(simulate(auc, 32, rng).layout(), (0.95, 0.99))
        below, near = exposed(risk, (0.95, 0.99), rng)
        assert near.low == near.confirmed
        assert near.low <= (auc > 0.99).sum() <= near.high
        assert below.low > below.confirmed


# Beside the audit


def test_record_auc_is_binormal_and_patient_maximum_is_over_records() -> None:
    rng = np.random.default_rng(6)
    layout = simulate(np.full(40, 0.8), 32, rng, records=np.full(40, 3)).layout()
    risk, _ = patient_risk(layout, THRESHOLDS)
    plain = study_auc(layout, layout.signals)
    row = 7
    inside = layout.member[layout.patient[row]]
    x = layout.signals[row].astype(np.float64)
    d = (x[inside].mean() - x[~inside].mean()) / np.sqrt(
        x[inside].var(ddof=1) + x[~inside].var(ddof=1)
    )
    assert plain[row] == pytest.approx(ndtr(d), abs=1e-12)
    assert risk.study_max_auc[2] == pytest.approx(plain[6:9].max(), abs=1e-12)


def half_aucs(layout: Layout, rng: np.random.Generator) -> tuple[Floats, Floats] | None:
    found = half_risks(layout, rng)
    return None if found is None else found.aucs


def test_halves_agree_when_risks_differ_and_not_under_the_null() -> None:
    rng = np.random.default_rng(11)
    auc = rng.uniform(0.5, 0.99, 300)
    real = stability(half_aucs(simulate(auc, 64, rng).layout(), rng), rng)
    null = stability(half_aucs(simulate(np.full(300, 0.5), 64, rng).layout(), rng), rng)
    assert real["rank_agreement"]["low"] > 0.5
    assert null["rank_agreement"]["low"] < 0 < null["rank_agreement"]["high"]
    assert real["top_1_percent_overlap"]["by_chance"] == pytest.approx(3 / 300)


def test_rank_agreement_is_spearmans() -> None:
    rng = np.random.default_rng(3)
    first = rng.integers(0, 8, 60) / 8
    second = first + rng.integers(0, 5, 60) / 5
    found = stability((first, second), rng)["rank_agreement"]["estimate"]
    assert found == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_too_few_models_for_halves_is_said() -> None:
    rng = np.random.default_rng(0)
    found = stability(half_aucs(simulate(np.full(30, 0.7), 8, rng).layout(), rng), rng)
    assert found["rank_agreement"] is None
    assert "fewer than 16 models" in found["reason"]


def test_plan_predicts_the_width_that_more_models_give() -> None:
    rng = np.random.default_rng(12)
    auc = ndtr(rng.normal(0.8, 0.3, 800))
    pilot, _ = patient_risk(simulate(auc, 32, rng).layout(), THRESHOLDS)
    larger, _ = patient_risk(simulate(auc, 128, rng).layout(), THRESHOLDS)
    plan = planning(pilot, 32)
    predicted = {row["models"]: row["interval_width"] for row in plan}[128]
    real = np.median(larger.posterior.high - larger.posterior.low)
    assert predicted == pytest.approx(real, rel=0.25)
    assert models_needed(plan, predicted) == 128
    assert models_needed(plan, 1e-6) is None


def test_plan_without_a_pilot_is_the_width_that_is_seen() -> None:
    rng = np.random.default_rng(13)
    for auc, models in ((0.9, 32), (0.9, 128), (0.7, 32), (0.5, 64)):
        low, high = counted_aucs(np.full(2000, ndtri(auc)), models, rng).interval()
        plan = {r["models"]: r["interval_width"] for r in planning_without_pilot(auc, models)}
        assert plan[models] == pytest.approx(float(np.median(high - low)), rel=0.1)


@pytest.mark.parametrize(("mean", "variance"), [(40.0, 60.0), (150.0, 150.0), (400.0, 900.0)])
def test_counts_leave_two_and_a_half_percent_on_either_side(mean: float, variance: float) -> None:
    gamma = stats.gamma(mean**2 / variance, scale=variance / mean)
    low, high = count_interval(mean, variance, 10_000)
    # Bounds are whole patients; the upper one is a quantile of half a patient more.
    assert low == pytest.approx(gamma.ppf(0.025), abs=0.51)
    assert gamma.ppf(0.975) - 0.5 <= high <= gamma.ppf(0.975) + variance / mean + 0.5
    below, above = count_interval(10_000 - mean, variance, 10_000)
    assert (10_000 - above, 10_000 - below) == (low, high), "those who are not exposed are counted"
