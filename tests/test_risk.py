"""Effects, shrinkage, exposed counts, stability: analytic cases, coverage, null."""

from __future__ import annotations

import numpy as np
import pytest
from auscult.risk.effect import Effect, effect_in_folds, effect_of_ranks, effect_of_samples
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri

from auscult.layout import Layout
from auscult.risk.exposed import adjusted, benjamini_hochberg, count_interval, exposed
from auscult.risk.patients import patient_risk, permuted, record_risk
from auscult.risk.prior import LikelihoodTable, Measurement, Prior, Shape, weigh_shapes
from auscult.risk.shrinkage import Covariates, posterior, shrink
from auscult.risk.stability import (
    half_risks,
    models_needed,
    planning,
    planning_without_pilot,
    stability,
)
from tests.simulation import simulate

THRESHOLDS = (0.6, 0.7, 0.8, 0.9)


def no_covariates(n: int) -> Covariates:
    return Covariates(values=np.zeros((n, 1)), coupled=0, coupling=np.zeros(n))


def sampled_effects(d: np.ndarray, models: int, rng: np.random.Generator, folds: int = 4) -> Effect:
    """Effects of two unit Gaussians a distance d sqrt(2) apart, as the joint attack sees them."""
    places = models // 2 // folds
    values = rng.normal(size=(d.size, folds, 2, places))
    values[:, :, 1] += (d * np.sqrt(2))[:, None, None]
    return effect_in_folds(values, np.ones_like(values))


def test_effect_in_folds_equals_loops() -> None:
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(3, 4, 2, 5)), np.ones((3, 4, 2, 5))
    weight[0, 1, 0, 4] = weight[1, 3, 1, 3:] = 0
    fast = effect_in_folds(values, weight)
    for p in range(3):
        top = bottom = 0.0
        scatter, number = [0.0, 0.0], [0, 0]
        for f in range(4):
            parts = [values[p, f, c][weight[p, f, c] > 0] for c in (0, 1)]
            pairs = parts[0].size * parts[1].size / (parts[0].size + parts[1].size)
            top += pairs * (parts[1].mean() - parts[0].mean())
            bottom += pairs
            for c in (0, 1):
                scatter[c] += ((parts[c] - parts[c].mean()) ** 2).sum()
                number[c] += parts[c].size
        variance = [scatter[c] / (number[c] - 4) for c in (0, 1)]
        assert fast.d[p] == pytest.approx(top / bottom / np.sqrt(sum(variance)), abs=1e-12)


def test_delta_method_variance_is_the_formula() -> None:
    one = np.array([1.0])
    effect = effect_of_samples(
        difference=1.5 * one,
        variance_in=2.0 * one,
        variance_out=0.5 * one,
        models_in=30.0 * one,
        models_out=20.0 * one,
    )
    d = 1.5 / np.sqrt(2.5)
    expected = (2 / 30 + 0.5 / 20) / 2.5 + d**2 * (4 / 29 + 0.25 / 19) / (2 * 2.5**2)
    assert effect.variance[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("models", [32, 64, 200])
@pytest.mark.parametrize("auc", [0.5, 0.7, 0.9, 0.99])
def test_raw_interval_covers(models: int, auc: float) -> None:
    rng = np.random.default_rng(int(models + 1000 * auc))
    n = 4000
    effect = sampled_effects(np.full(n, ndtri(auc)), models, rng)
    low, high = effect.interval()
    assert 0.93 <= np.mean((low <= auc) & (auc <= high)) <= 0.97


def test_hanley_mcneil_is_not_what_is_used() -> None:
    # At AUC 0.99 and 200 models Hanley-McNeil says 0.0071 where the truth is 0.0042 (METHOD 5).
    rng = np.random.default_rng(1)
    effect = sampled_effects(np.full(4000, ndtri(0.99)), 200, rng)
    truth = ndtr(effect.d).std()
    low, high = effect.interval(0.6827)
    assert truth == pytest.approx(0.0042, abs=0.0004)
    assert np.median((high - low) / 2) == pytest.approx(truth, rel=0.1)


def test_log_likelihood_is_the_noncentral_t() -> None:
    # Equal variances, no folds: d sqrt(n / 1) follows a noncentral t exactly.
    n, nu = 16.0, 30.0
    effect = Effect(d=np.array([1.2]), a=np.array([1 / n]), b=np.array([1 / (2 * nu)]))
    points = np.linspace(0.5, 1.9, 9)
    exact = stats.nct.logpdf(1.2 * np.sqrt(n), nu, points * np.sqrt(n))
    ours = effect.log_likelihood(points[None, :])[0]
    np.testing.assert_allclose(ours - ours[4], exact - exact[4], atol=0.05)


def test_p_above_is_uniform_at_the_boundary() -> None:
    rng = np.random.default_rng(2)
    p = sampled_effects(np.full(4000, ndtri(0.8)), 64, rng).p_above(0.8)
    assert stats.kstest(p, "uniform").statistic < 0.03


def test_constant_scores_have_no_effect() -> None:
    effect = effect_in_folds(np.zeros((1, 4, 2, 4)), np.ones((1, 4, 2, 4)))
    assert effect.d[0] == 0
    values = np.zeros((1, 4, 2, 4))
    values[:, :, 1] = 1.0
    assert ndtr(effect_in_folds(values, np.ones_like(values)).d[0]) > 0.999


def right_answers(auc: np.ndarray, models: int, rng: np.random.Generator) -> np.ndarray:
    """Right and wrong labels, members right with probability AUC and others with 1 - AUC."""
    share = np.stack([1 - auc, auc], axis=1)[:, None, :, None]
    return (rng.random((auc.size, 4, 2, models // 8)) < share).astype(np.float64)


def test_effect_of_ranks_of_one_patient_by_hand() -> None:
    # Two folds of two IN and two OUT models; of the 8 pairs 4 are won, 3 are tied, 1 is lost.
    values = np.array([[[[0.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 2.0]]]])
    effect = effect_of_ranks(values, np.ones_like(values))
    auc = (4 + 3 / 2) / 8
    wanted = ndtri((4 * auc + 0.25) / 4.5)  # 4 models of each class, a quarter to either side
    b = 0.25 / 2
    assert effect.middle[0] == pytest.approx(wanted, abs=1e-12)
    assert effect.a[0] == pytest.approx(0.5 / 4 + 0.5 / 4)
    assert effect.b[0] == pytest.approx(b)
    sure = np.stack([np.zeros((1, 4, 8)), np.ones((1, 4, 8))], axis=2)
    effect = effect_of_ranks(sure, np.ones_like(sure))
    assert effect.middle[0] > 2
    assert np.isfinite(effect.variance[0])


@pytest.mark.parametrize("models", [16, 32, 64])
@pytest.mark.parametrize("auc", [0.5, 0.7, 0.9])
def test_interval_of_ranks_covers_where_scores_are_tied(models: int, auc: float) -> None:
    rng = np.random.default_rng(int(models + 1000 * auc))
    values = right_answers(np.full(3000, auc), models, rng)
    effect = effect_of_ranks(values, np.ones_like(values))
    low, high = effect.interval()
    assert np.mean((low <= auc) & (auc <= high)) >= 0.925
    assert np.mean(ndtr(effect.middle)) == pytest.approx(auc, abs=0.4 / models)


@pytest.mark.parametrize("models", [16, 32, 64])
@pytest.mark.parametrize("auc", [0.5, 0.7, 0.9])
def test_posterior_of_ranks_covers_where_scores_are_tied(models: int, auc: float) -> None:
    rng = np.random.default_rng(int(models + 1000 * auc) + 1)
    true = np.where(np.arange(1500) % 5, 0.5, auc)  # a fifth has the AUC, the others 0.5
    values = right_answers(true, models, rng)
    effect = effect_of_ranks(values, np.ones_like(values))
    found = shrink(effect, no_covariates(true.size), (0.95,))
    assert ((found.low <= true) & (true <= found.high)).mean() >= 0.93
    assert np.mean(found.mean - true) == pytest.approx(0, abs=0.015)
    assert found.tails[0.95].mean() < 0.02


def test_ranks_of_nothing_expose_nobody() -> None:
    rng = np.random.default_rng(3)
    values = right_answers(np.full(2000, 0.5), 32, rng)
    effect = effect_of_ranks(values, np.ones_like(values))
    assert np.mean(effect.p_above(0.5) < 0.05) < 0.06
    found = shrink(effect, no_covariates(2000), (0.7,))
    assert found.tails[0.7].sum() < 1
    assert found.mean == pytest.approx(0.5, abs=0.03)


def test_posterior_under_a_known_normal_prior_is_the_textbook_one() -> None:
    # With b tiny the likelihood is normal with variance a: a conjugate case.
    d, a, tau, centre = np.array([1.5, -0.3]), 0.04, 0.3, 0.8
    effect = Effect(d=d, a=np.full(2, a), b=np.full(2, 1e-9))
    grid = np.linspace(-3, 3, 2001)
    mass = np.exp(-0.5 * (grid / tau) ** 2)
    prior = Prior(grid=grid, mass=mass[None] / mass.sum(), cuts=np.empty(0), mean=centre, pull=0.0)
    found = posterior(effect, np.zeros(2), prior, (0.9,))
    precision = 1 / a + 1 / tau**2
    mean = (d / a + centre / tau**2) / precision
    np.testing.assert_allclose(found.mean, ndtr(mean / np.sqrt(1 + 1 / precision)), atol=1e-4)
    np.testing.assert_allclose(found.low, ndtr(mean - 1.96 / np.sqrt(precision)), atol=1e-3)
    np.testing.assert_allclose(
        found.tails[0.9], ndtr((mean - ndtri(0.9)) * np.sqrt(precision)), atol=1e-3
    )


@pytest.mark.parametrize("models", [32, 64, 200])
def test_shrunken_intervals_and_counts_cover(models: int) -> None:
    inside, counted, gain = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(7000 * models + seed)
        d = np.abs(rng.normal(0.7, 0.6, 800))
        effect = sampled_effects(d, models, rng)
        found = shrink(effect, no_covariates(800), THRESHOLDS)
        auc = ndtr(d)
        inside.append(np.mean((found.low <= auc) & (auc <= found.high)))
        counted += [found.tails[t].sum() / (auc > t).sum() for t in THRESHOLDS]
        gain.append(np.mean((found.mean - auc) ** 2) / np.mean((ndtr(effect.middle) - auc) ** 2))
    assert 0.93 <= np.mean(inside) <= 0.97
    assert np.mean(counted) == pytest.approx(1.0, abs=0.06)
    assert np.mean(gain) < 0.97


def test_covariates_sharpen_the_estimate() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=2000)
    d = 0.8 + 0.3 * x + 0.1 * rng.normal(size=2000)
    effect = sampled_effects(d, 32, rng)
    blind = shrink(effect, no_covariates(2000))
    seeing = shrink(effect, Covariates(values=x[:, None], coupled=0, coupling=np.zeros(2000)))
    error = [np.mean((p.mean - ndtr(d)) ** 2) for p in (blind, seeing)]
    assert error[1] < 0.5 * error[0]


def test_shares_above_agree_with_tails() -> None:
    rng = np.random.default_rng(4)
    effect = sampled_effects(rng.normal(0.8, 0.4, 500), 64, rng)
    centre = np.full(500, 0.8)
    table = LikelihoodTable(effect, centre, 0.0)
    prior = table.fit(Shape(strata=1, pull=0.0))
    tails = posterior(effect, centre, prior, THRESHOLDS).tails
    shares = table.shares_above(prior, ndtri(np.array(THRESHOLDS)))
    np.testing.assert_allclose(shares, [tails[t].mean() for t in THRESHOLDS], atol=1e-9)
    counted = posterior(effect, centre, prior, (), counted=THRESHOLDS)
    assert counted.tails == {}
    for t in THRESHOLDS:
        assert counted.above[t].mean == pytest.approx(tails[t].sum(), abs=1e-9)
        assert counted.above[t].variance == pytest.approx((tails[t] * (1 - tails[t])).sum())


def test_shape_is_shifted_or_picked_as_the_data_are() -> None:
    rng = np.random.default_rng(14)
    x = rng.uniform(-1, 1, 3000)
    shifted = 0.8 + 0.5 * x + rng.normal(0, 0.1, 3000)
    picked = np.where(rng.random(3000) < (1 + x) / 2, 1.6, 0.2) + rng.normal(0, 0.1, 3000)
    for truth, moves in ((shifted, True), (picked, False)):
        effect = sampled_effects(truth, 64, rng)
        centre = np.poly1d(np.polyfit(x, effect.middle, 1))(x)
        weights = weigh_shapes(effect, centre)
        assert sum(weights.values()) == pytest.approx(1)
        best = max(weights, key=lambda shape: weights[shape])
        assert (best.pull == 1.0) == moves
        assert moves or best.strata > 1 or best.weighed
    assert list(weigh_shapes(effect, np.ones(3000))) == [Shape(strata=1, pull=0.0)]


def test_a_measurement_weighs_the_prior_as_bayes_would() -> None:
    rng = np.random.default_rng(15)
    prior = Prior(
        grid=np.linspace(-1, 2, 7),
        mass=rng.dirichlet(np.ones(7), 1),
        cuts=np.empty(0),
        mean=0.1,
        pull=0.0,
        measurement=Measurement(intercept=0.3, slope=0.5, variance=0.04),
    )
    centre = np.array([0.0, 0.9])
    for c, row in zip(centre, prior.masses(centre), strict=True):
        each = [
            mass * stats.norm.pdf(c, 0.3 + 0.5 * (0.1 + distance), 0.2)
            for distance, mass in zip(prior.grid, prior.mass[0], strict=True)
        ]
        np.testing.assert_allclose(row, np.array(each) / np.sum(each), atol=1e-12)


def test_a_measurement_is_read_off_through_the_noise() -> None:
    rng = np.random.default_rng(16)
    d = np.where(rng.random(20_000) < 0.3, 1.4, 0.3) + rng.normal(0, 0.2, 20_000)
    centre = 0.2 + 0.4 * d + rng.normal(0, 0.3, 20_000)
    found = Measurement.of(sampled_effects(d, 32, rng), centre)
    assert found.slope == pytest.approx(0.4, abs=0.02)
    assert found.intercept == pytest.approx(0.2, abs=0.02)
    assert found.variance == pytest.approx(0.09, abs=0.005)
    nothing = Measurement.of(sampled_effects(np.zeros(20_000), 32, rng), centre)
    assert nothing.slope < 0.2


def test_two_kinds_of_patients_are_counted_without_bias() -> None:
    # The covariate tells which kind; taken for a shift it puts 3.3% too many above 0.7.
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        d = np.where(rng.random(1200) < 0.3, rng.normal(1.4, 0.5, 1200), rng.normal(0.3, 0.2, 1200))
        x = d + rng.normal(0, 1.0, 1200)
        covariates = Covariates(values=x[:, None], coupled=0, coupling=np.zeros(1200))
        found = shrink(sampled_effects(d, 64, rng), covariates, counted=(0.7, 0.9))
        ratios.append([found.above[t].mean / (ndtr(d) > t).sum() for t in (0.7, 0.9)])
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1.0, atol=0.025)


def test_benjamini_hochberg_equals_scipy() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    np.testing.assert_allclose(adjusted(p), stats.false_discovery_control(p), atol=1e-12)
    assert benjamini_hochberg(p, 0.05).sum() == (stats.false_discovery_control(p) <= 0.05).sum()


def test_exposed_counts_what_was_planted() -> None:
    rng = np.random.default_rng(9)
    auc = np.where(np.arange(600) < 90, 0.97, 0.6)
    risk, _ = patient_risk(simulate(auc, 128, rng).layout(), THRESHOLDS)
    found = {e.threshold: e for e in exposed(risk, THRESHOLDS, rng)}
    assert found[0.8].low <= 90 <= found[0.8].high
    assert 60 <= found[0.8].confirmed <= 95
    assert found[0.9].estimate == pytest.approx(90, abs=12)


@pytest.mark.parametrize(("mean", "variance"), [(40.0, 60.0), (150.0, 150.0), (400.0, 900.0)])
def test_counts_leave_two_and_a_half_percent_on_either_side(mean: float, variance: float) -> None:
    gamma = stats.gamma(mean**2 / variance, scale=variance / mean)
    low, high = count_interval(mean, variance, 10_000)
    # Bounds are whole patients; the upper one is a quantile of half a patient more.
    assert low == pytest.approx(gamma.ppf(0.025), abs=0.51)
    assert gamma.ppf(0.975) - 0.5 <= high <= gamma.ppf(0.975) + variance / mean + 0.5
    below, above = count_interval(10_000 - mean, variance, 10_000)
    assert (10_000 - above, 10_000 - below) == (low, high), "those who are not exposed are counted"


def test_nothing_is_confirmed_under_the_null() -> None:
    confirmed = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        records = rng.choice([1, 1, 1, 2, 5], 200)
        layout = simulate(np.full(200, 0.9), 32, rng, records=records).layout()
        risk, _ = patient_risk(permuted(layout, rng), THRESHOLDS)
        found = exposed(risk, THRESHOLDS, rng)
        confirmed.append(found[0].confirmed)
        assert found[3].estimate < 2
    assert sum(c == 0 for c in confirmed) >= 9


def test_record_auc_is_binormal_and_patient_maximum_is_over_records() -> None:
    rng = np.random.default_rng(6)
    layout = simulate(np.full(40, 0.8), 32, rng, records=np.full(40, 3)).layout()
    risk, _ = patient_risk(layout, THRESHOLDS)
    plain = record_risk(layout, layout.signals)
    row = 7
    inside = layout.member[layout.patient[row]]
    x = layout.signals[row]
    d = (x[inside].mean() - x[~inside].mean()) / np.sqrt(
        x[inside].var(ddof=1) + x[~inside].var(ddof=1)
    )
    assert plain.study_auc[row] == pytest.approx(ndtr(d), abs=1e-12)
    assert risk.study_max_auc[2] == pytest.approx(plain.study_auc[6:9].max(), abs=1e-12)


def half_aucs(
    layout: Layout, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
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
    for models in (32, 128):
        effect = sampled_effects(np.full(2000, ndtri(0.9)), models, rng)
        low, high = effect.interval()
        plan = {r["models"]: r["interval_width"] for r in planning_without_pilot(0.9, models)}
        assert plan[models] == pytest.approx(float(np.median(high - low)), rel=0.1)
