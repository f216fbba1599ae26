"""Counted AUCs and their noise: naive loops, unbiasedness, intervals under many processes."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri

from auscult.attacks.layout import Centring, lay_out
from auscult.risk import counting
from auscult.risk.counting import Counted, placements
from auscult.risk.estimate import GRID, KNOTS, Estimate, NoiseLaw, kernel_ratio, learned_law
from auscult.risk.signs import NormalScores, by_model, record_risk, signs_of, whole_places
from tests.signal_processes import PROCESSES, auc_of_t3, drawn
from tests.simulation import balanced

Floats = NDArray[np.float64]


def naive(values: Floats, weight: Floats) -> tuple[float, float, float, Floats]:
    """AUC, unbiased variance, unbiased ``A (1 - A)`` and influences of one patient, by loops."""
    folds, _, places = values.shape
    outcome = {}
    for fold, i, o in itertools.product(range(folds), range(places), range(places)):
        if weight[fold, 1, i] and weight[fold, 0, o]:
            inside, outside = values[fold, 1, i], values[fold, 0, o]
            outcome[fold, i, o] = 1.0 if inside > outside else 0.5 if inside == outside else 0.0
    n = len(outcome)
    auc = sum(outcome.values()) / n
    dependent, apart = 0.0, []
    for (a, x), (b, y) in itertools.product(outcome.items(), repeat=2):
        if a[0] == b[0] and (a[1] == b[1] or a[2] == b[2]):
            dependent += x * y
        else:
            apart.append(x * y)
    square = sum(apart) / len(apart)
    noise = (dependent - square * (n**2 - len(apart))) / n**2
    influence = np.zeros(values.shape)
    for fold, label, place in itertools.product(range(folds), range(2), range(places)):
        mine = [x for k, x in outcome.items() if k[0] == fold and k[2 - label] == place]
        every = [x for k, x in outcome.items() if k[0] == fold]
        number = weight[fold, label].sum()
        if weight[fold, label, place] and number > 1:
            pull = (np.mean(mine) - np.mean(every)) * len(every) / n
            influence[fold, label, place] = pull / (number - 1)
    return auc, noise, auc - square, influence


@pytest.mark.parametrize("few", [0, 32])
@pytest.mark.parametrize("digits", [0, 3])
@pytest.mark.parametrize("folds", [1, 2, 4])
def test_counts_equal_loops(
    few: int, digits: int, folds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Comparing every pair, and sorting, must tell the same; no digits make many ties.
    monkeypatch.setattr(counting, "FEW_PLACES", few)
    rng = np.random.default_rng([folds, digits])
    values = rng.normal(size=(4, folds, 2, 5))
    values[:, :, 1] += 0.7
    values = np.round(values, digits)
    weight = np.ones(values.shape)
    weight[0, 0, 0, 4] = weight[1, -1, 1, 3:] = 0  # places that are not used
    values[3] = np.abs(values[3]) * [[[-1], [1]]]  # all won, or tied
    found = placements(values, weight)
    for row in range(4):
        auc, noise, spread, influence = naive(values[row], weight[row])
        assert found.counted.auc[row] == pytest.approx(auc, abs=1e-12)
        assert found.counted.noise[row] == pytest.approx(noise, abs=1e-12)
        assert found.counted.spread[row] == pytest.approx(spread, abs=1e-12)
        np.testing.assert_allclose(found.influence[row], influence, atol=1e-12)
    np.testing.assert_allclose(found.influence.sum(axis=3), 0, atol=1e-12)


def test_what_lies_in_unused_places_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    values, weight = rng.normal(size=(3, 2, 2, 6)), np.ones((3, 2, 2, 6))
    weight[:, :, 0, 4:] = 0
    other = np.where(weight > 0, values, 99.0)
    one, two = placements(values, weight), placements(other, weight)
    for field in fields(Counted):
        np.testing.assert_array_equal(
            getattr(one.counted, field.name), getattr(two.counted, field.name)
        )
    np.testing.assert_array_equal(one.influence, two.influence)


def test_reach_and_pairs_by_hand() -> None:
    weight = np.ones((1, 1, 2, 6))
    weight[0, 0, 0, 4:] = 0  # 4 OUT, 6 IN
    found = placements(np.random.default_rng(0).normal(size=weight.shape), weight).counted
    assert found.pairs[0] == 24
    assert found.reach[0] == pytest.approx((1 / 4 + 1 / 6) / 2)
    two = np.repeat(weight, 2, axis=1)
    found = placements(np.random.default_rng(0).normal(size=two.shape), two).counted
    assert found.pairs[0] == 48
    assert found.reach[0] == pytest.approx((1 / 4 + 1 / 6) / 4)  # half of the variance


def values_of(kind: str, n: int, rng: np.random.Generator) -> Floats:
    """Two folds of 8 IN and 8 OUT scores; IN are twice as wide, or all are right or wrong."""
    if kind == "wide":
        values = rng.normal(size=(n, 2, 2, 8))
        values[:, :, 1] = 2 * values[:, :, 1] + 1.5
        return values
    share = np.array([0.3, 0.8])[:, None]
    return (rng.random((n, 2, 2, 8)) < share).astype(np.float64)


@pytest.mark.parametrize("kind", ["wide", "right or wrong"])
def test_noise_and_spread_are_unbiased(kind: str) -> None:
    values = values_of(kind, 40_000, np.random.default_rng(2))
    found = placements(values, np.ones(values.shape)).counted
    auc = float(ndtr(1.5 / np.sqrt(5))) if kind == "wide" else 0.75
    assert found.auc.mean() == pytest.approx(auc, abs=0.003)
    # The variance of a variance over 40,000 patients: about 0.7%.
    assert found.noise.mean() == pytest.approx(found.auc.var(), rel=0.03)
    assert found.spread.mean() == pytest.approx(auc * (1 - auc), abs=0.002)


def test_broken_rows_are_missing_and_pull_nothing() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, 2, 2, 4))
    values[1, 0, 0, 0] = np.nan
    found = placements(values, np.ones(values.shape))
    for field in fields(Counted):
        assert np.isnan(getattr(found.counted, field.name)).tolist() == [False, True, False]
    assert not found.influence[1].any()


def test_constant_and_separated_scores() -> None:
    values = np.zeros((2, 2, 2, 4))
    values[1, :, 1] = 1.0
    found = placements(values, np.ones(values.shape)).counted
    np.testing.assert_array_equal(found.auc, [0.5, 1.0])
    np.testing.assert_allclose(found.noise, 0, atol=1e-15)


def test_one_record_patients_compare_all_models() -> None:
    rng = np.random.default_rng(4)
    case = drawn("normal", 30, 24, rng)
    layout = case.layout()
    _, values = whole_places(layout, layout.signals, np.arange(30))
    assert values.shape == (30, 1, 2, 12)
    normal = NormalScores(layout, Centring(layout))
    found = record_risk(layout, layout.signals, normal).counted.auc
    for p in (0, 7, 29):
        x, inside = layout.signals[p].astype(np.float64), layout.member[p]
        u = stats.mannwhitneyu(x[inside], x[~inside]).statistic
        assert found[p] == pytest.approx(u / 144, abs=1e-12)


@pytest.mark.parametrize("kind", ["normal", "wide", "right or wrong"])
def test_coupling_is_the_covariance_of_the_errors(kind: str) -> None:
    # The same patient over and over: what varies is error, and the coupling must say how it goes
    # with the count's.
    rng = np.random.default_rng(5)
    member = balanced(20_000, 32, rng)
    if kind == "right or wrong":
        share = np.where(member, 0.85, 0.5)
        signals = (rng.random(member.shape) < share).astype(np.float64)
    else:
        noise = rng.standard_normal(member.shape)
        signals = np.where(member, (3.0 if kind == "wide" else 1.0) * noise + 1.2, noise)
    layout = lay_out(signals, member, np.arange(20_000))
    dealt, values = whole_places(layout, layout.signals, np.arange(20_000))
    found = placements(values, dealt.weight)
    signs = signs_of(layout, np.asarray(layout.signals), by_model(found, dealt, 32))
    for place in (0, 1):
        real = np.cov(signs.values[:, place], found.counted.auc)[0, 1]
        size = signs.values[:, place].std() * found.counted.auc.std()
        # 0.7% of the product of deviations is the error of a covariance; to first order only.
        assert signs.coupling[:, place].mean() == pytest.approx(real, abs=0.05 * size), place
    assert signs.coupling[:, 0].mean() < 0  # a high OUT level makes an AUC look small


def test_normal_scores_do_not_change_under_a_monotone_function() -> None:
    rng = np.random.default_rng(6)
    signals, member = rng.normal(size=(16, 500)), balanced(500, 16, rng)
    found = []
    for power in (1, 3):
        layout = lay_out(signals**power, member, np.arange(500))
        centring = Centring(layout)
        centring.apply = lambda part: part.signals  # type: ignore[method-assign]
        found.append(NormalScores(layout, centring).of(layout.signals))
    assert found[0].std() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(found[1], found[0], atol=0.15)
    np.testing.assert_array_equal(np.argsort(found[0][0]), np.argsort(found[1][0]))


# The truth of the processes


@pytest.mark.parametrize("kind", list(PROCESSES))
def test_processes_have_the_auc_they_say(kind: str) -> None:
    case = drawn(kind, 200, 400, np.random.default_rng(7))
    layout = case.layout()
    normal = NormalScores(layout, Centring(layout))
    found = record_risk(layout, layout.signals, normal).counted
    # 200 x 200 pairs: a deviation of at most 0.03 each.
    assert np.abs(found.auc - case.auc).max() < 0.15
    error = np.sqrt(np.mean(found.noise) / 200)
    assert np.mean(found.auc - case.auc) == pytest.approx(0, abs=4 * error)


def test_auc_of_t3_by_integration() -> None:
    x = np.linspace(-200, 200, 400_001)
    for shift in (0.0, 0.7, 3.0):
        exact = np.trapezoid(stats.t.pdf(x, 3) * stats.t.cdf(x + shift, 3), x)
        assert auc_of_t3(np.array(shift)) == pytest.approx(exact, abs=1e-5)


# What the noise is learned to be


def counted_of(kind: str, patients: int, models: int, seed: int) -> tuple[Counted, Floats]:
    case = drawn(kind, patients, models, np.random.default_rng(seed))
    layout = case.layout()
    normal = NormalScores(layout, Centring(layout))
    return record_risk(layout, layout.signals, normal).counted, case.auc


def test_learned_factor_is_that_of_the_process() -> None:
    at = np.array([0.6, 0.7, 0.85])
    # Of two equal normals, by the exact variance of a Mann-Whitney count.
    law = learned_law(counted_of("normal", 4000, 64, 1)[0])
    d = np.sqrt(2) * ndtri(at)
    third = stats.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]])
    both = np.array([third.cdf([x / np.sqrt(2)] * 2) for x in d])  # two pairs that share a model
    n = 32
    exact = (at * (1 - at) + 2 * (n - 1) * (both - at**2)) / n**2
    np.testing.assert_allclose(law.variance(at, 1 / n), exact, rtol=0.08)
    # Right or wrong: wins are differences of two shares.
    law = learned_law(counted_of("right or wrong, all 0.825", 4000, 64, 1)[0])
    exact = (0.95 * 0.05 + 0.3 * 0.7) / (4 * n)
    assert law.variance(np.array(0.825), 1 / n) == pytest.approx(exact, rel=0.05)


def test_kernel_ratio_without_data_is_that_of_normals() -> None:
    none = np.empty(0)
    np.testing.assert_allclose(kernel_ratio(none, none, none), 2 / 3)
    zeros = np.zeros(5)
    np.testing.assert_allclose(kernel_ratio(np.ones(5), zeros, zeros), 2 / 3)


def estimate_of(
    auc: Floats, reach: float = 1 / 32, pairs: float = 1024.0, factor: float = 2 / 3
) -> Estimate:
    law = NoiseLaw(factor=np.full(KNOTS.size, factor))
    full = np.ones(auc.size)
    return Estimate(auc=auc, reach=reach * full, pairs=pairs * full, law=law)


@pytest.mark.parametrize("factor", [0.3, 2 / 3, 1.2])
def test_likelihood_is_a_distribution_of_counts_with_the_laws_moments(factor: float) -> None:
    pairs = 256
    counts = np.arange(pairs + 1) / pairs
    estimate = estimate_of(counts, 1 / 16, pairs, factor)
    chance = np.exp(estimate.log_likelihood())  # (counts, points)
    auc = ndtr(GRID)
    inner = (auc > 0.05) & (auc < 0.95)
    # A wide binomial density between 0 and 1 is cut off at the ends, which draws its mean inwards.
    np.testing.assert_allclose(chance.sum(axis=0)[inner], 1, atol=0.03)
    mean = counts @ chance / chance.sum(axis=0)
    np.testing.assert_allclose(mean[inner], auc[inner], atol=0.015)
    variance = (counts**2 @ chance) / chance.sum(axis=0) - mean**2
    wanted = estimate.law.variance(auc, 1 / 16)
    np.testing.assert_allclose(variance[inner], wanted[inner], rtol=0.2)


def test_counts_of_one_and_of_nothing_have_finite_answers() -> None:
    estimate = estimate_of(np.array([0.0, 1.0, 0.5, np.nan]))
    assert estimate.usable.tolist() == [True, True, True, False]
    assert np.isfinite(estimate.d[:3]).all()
    assert np.isfinite(estimate.variance[:3]).all()
    low, high = estimate.interval()
    assert low[0] == 0
    assert high[1] == 1
    assert 0 < high[0] < 0.2
    assert 0.8 < low[1] < 1
    assert low[2] == pytest.approx(1 - high[2], abs=0.002)
    np.testing.assert_allclose(high[0], 1 - low[1], atol=0.02)
    assert np.isnan([low[3], high[3], estimate.p_above(0.9)[3]]).all()
    likelihood = estimate.log_likelihood()
    assert np.isfinite(likelihood[:3]).all()
    assert likelihood[1].argmax() == GRID.size - 1
    assert likelihood[0].argmax() == 0
    assert ndtr(GRID[likelihood[2].argmax()]) == pytest.approx(0.5, abs=0.02)


def test_rows_are_judged_each_by_its_own_reach() -> None:
    estimate = estimate_of(np.full(3, 0.8))
    mixed = Estimate(
        auc=estimate.auc,
        reach=np.array([1 / 8, 1 / 32, 1 / 128]),
        pairs=np.array([64.0, 1024.0, 16384.0]),
        law=estimate.law,
    )
    low, high = mixed.interval()
    width = high - low
    assert width[0] > 1.6 * width[1] > 2.5 * width[2]
    assert estimate.interval()[0][1] == pytest.approx(low[1], abs=0.002)
    assert mixed.take(np.array([1])).interval()[0][0] == pytest.approx(low[1], abs=1e-12)


COVERED = (
    "normal",
    "IN deviation x 3",
    "IN deviation x 0.3",
    "t with 3 degrees",
    "memorised or not",
    "right or wrong",
    "right or wrong, all 0.825",
    "nothing",
)


@pytest.mark.parametrize("kind", COVERED)
@pytest.mark.parametrize("models", [32, 64, 128])
def test_raw_interval_covers(kind: str, models: int) -> None:
    counted, auc = counted_of(kind, 2500, models, models)
    low, high = Estimate.of(counted).interval()
    assert 0.93 <= np.mean((low <= auc) & (auc <= high)) <= 0.97


@pytest.mark.parametrize("kind", ["normal", "right or wrong, all 0.825"])
def test_small_p_values_are_as_rare_as_they_say(kind: str) -> None:
    rng = np.random.default_rng(8)
    if kind == "normal":
        member = balanced(4000, 64, rng)
        signals = rng.standard_normal(member.shape) + member * (np.sqrt(2) * ndtri(0.825))
    else:
        case = drawn(kind, 4000, 64, rng)
        member, signals = case.member, case.signals
    layout = lay_out(signals, member, np.arange(4000))
    counted = record_risk(layout, layout.signals, NormalScores(layout, Centring(layout))).counted
    p = Estimate.of(counted).p_above(0.825)
    # The far tail of a beta distribution is too light: see auscult.risk.tails.
    assert np.mean(p <= 0.01) <= 0.022
    for rate in (0.05, 0.2, 0.5):
        # Three deviations of a share of 4,000. Right or wrong has few counts, so rarer is possible.
        error = 3 * np.sqrt(rate / 4000) + 0.1 * rate
        assert np.mean(p <= rate) <= rate + error
        assert kind != "normal" or np.mean(p <= rate) >= rate - 2 * error


def test_who_is_confirmed_must_exceed_what_chance_reached() -> None:
    plain = estimate_of(np.array([0.99, 0.95, 0.7]))
    reached = np.sort(np.r_[np.full(990, 0.8), np.full(10, 0.97)])
    drawn_again = Estimate(
        auc=plain.auc, reach=plain.reach, pairs=plain.pairs, law=plain.law, chance={0.9: reached}
    )
    p, with_chance = plain.p_above(0.9), drawn_again.p_above(0.9)
    assert with_chance[0] == pytest.approx(max(p[0], 1 / 1001))
    assert with_chance[1] == pytest.approx(max(p[1], 11 / 1001))
    assert with_chance[2] == pytest.approx(max(p[2], 1.0))
    # A bar between those that were drawn takes the nearest, moved.
    moved = drawn_again.p_above(0.89)
    assert moved[1] >= 11 / 1001
