"""The parts of risk, each against a loop, a textbook or a case worked by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from auscult.attacks.layout import Layout
from auscult.cohort.design import Membership
from auscult.recipes.metrics import Metric
from auscult.risk import prior as prior_module
from auscult.risk.composition import top_composition
from auscult.risk.counting import Counted, placements
from auscult.risk.equal_counts import strata
from auscult.risk.estimate import GRID, KNOTS, Estimate, NoiseLaw, kernel_ratio, learned_law
from auscult.risk.exposed import (
    _too_near_one,
    adjusted,
    benjamini_hochberg,
    count_interval,
    sample_for_replicates,
)
from auscult.risk.measurement import Measurement
from auscult.risk.patients import chosen_for_views, covariates_of, permuted
from auscult.risk.prior import PLAIN, Cells, Likelihoods, Prior, _part_above, spaced
from auscult.risk.published import (
    WITHHELD,
    coarse_p,
    mirrored,
    published_mean,
    rounded_row,
    utility_to_step,
)
from auscult.risk.reliability import bin_of, calibration_error, monotone_log_odds
from auscult.risk.signs import Signs, signs_of, study_auc
from auscult.risk.stability import (
    NORMAL_LAW,
    _effect_half_width,
    both_halves,
    models_needed,
    planning_without_pilot,
    stability,
)
from auscult.risk.tpr import passing, share_passing
from auscult.risk.utility import AUROC, MACRO_AUROC, model_utility, utility_per_model
from auscult.store import Outputs
from tests.simulation import simulate

CELL = 10


def layout(patients: int = 30, models: int = 16, seed: int = 0, **more: Any) -> Layout:  # noqa: ANN401
    rng = np.random.default_rng(seed)
    return simulate(np.full(patients, 0.7), models, rng, **more).layout()


# Published rows


def exact_row(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    row = {
        "patients": 42,
        "others": 358,
        "patients_compared": 38,
        "others_compared": None,
        "mean_auc": 0.6613,
        "low": 0.6311,
        "high": 0.6989,
        "exposed_0.9": 0.1234,
        "exposed_0.9_low": 0.0,
        "exposed_0.9_high": 1.0,
        "difference": 0.0431,
        "difference_low": 0.0102,
        "difference_high": 0.0777,
        "difference_any_records": 0.0512,
        "difference_any_records_low": 0.0201,
        "difference_any_records_high": 0.0823,
        "difference_same_records": 0.0431,
        "p": 0.012,
        "q": 0.05,
    }
    return row | more


def test_a_row_is_rounded_and_what_follows_from_it_is_computed() -> None:
    made = rounded_row(exact_row(), 0.02, 5, patients=400, overall=0.62)
    assert [made[k] for k in ("patients", "others", "patients_compared")] == [40, 360, 40]
    assert made["others_compared"] is None
    assert made["rounded_to"] == 0.02
    assert made["mean_auc"] == 0.66
    assert (made["low"], made["high"]) == (0.62, 0.7)  # 0.0302 below and 0.0376 above: two steps
    assert made["exposed_0.9"] == 0.12
    low, high = (stats.beta.ppf(q, 0.12 * 42 + 0.5, 0.88 * 42 + 0.5) for q in (0.025, 0.975))
    assert made["exposed_0.9_low"] == pytest.approx(0.02 * np.floor(low / 0.02))
    assert made["exposed_0.9_high"] == pytest.approx(0.02 * np.ceil(high / 0.02))
    # 400 x (0.66 - 0.62) / 358 = 0.0447, to the step; the ends 0.0311 off: two steps.
    assert made["difference_any_records"] == 0.04
    assert made["difference_any_records_low"] == 0.0
    assert made["difference_any_records_high"] == 0.08
    # 38 of 42 were compared: what is lacking of a whole patient, 1 - 42 x 0.02 / 2 = 0.58, needs
    # a step of at least 2 x 0.58 / 38 = 0.03.
    assert made["difference"] == made["difference_same_records"] == 0.05
    assert (made["difference_low"], made["difference_high"]) == (0.0, 0.1)
    assert (made["p"], made["q"]) == (0.012, 0.05)
    few = rounded_row(exact_row(patients=358, others=42), 0.02, 5, patients=400, overall=0.62)
    assert few["difference"] == 0.05
    enough = rounded_row(exact_row(patients=100), 0.02, 1, patients=400, overall=0.62)
    assert enough["difference"] == 0.04  # a whole patient's range is rounded away already


def test_a_difference_that_is_the_plain_one_follows_from_the_mean() -> None:
    row = exact_row(difference=0.0512)
    made = rounded_row(row, 0.02, 1, patients=400, overall=0.62)
    assert made["difference"] == made["difference_any_records"] == 0.04
    assert made["difference_low"] == pytest.approx(0.04 - 0.06)  # 0.041 below: three steps
    assert made["difference_high"] == pytest.approx(0.04 + 0.04)
    gone = rounded_row(row, 0.02, 1, patients=400, overall=None)
    assert gone["difference"] is None
    assert gone["difference_any_records"] is None
    assert gone["reason"] == WITHHELD
    other = rounded_row(exact_row(), 0.02, 1, patients=400, overall=None)
    assert other["difference"] == 0.05
    assert other["difference_any_records"] is None
    none = rounded_row(
        exact_row(difference=None, difference_low=None, difference_high=None, reason="alone"),
        *(0.02, 1),
        patients=400,
        overall=None,
    )
    assert (none["difference"], none["reason"]) == (None, "alone")
    alone = rounded_row(exact_row(difference_any_records=None), 0.02, 1, patients=42, overall=0.6)
    assert alone["difference"] == 0.0431  # nobody to compare with: as it stands


@pytest.mark.parametrize("others", [40, 120, 390])
def test_the_interval_of_a_difference_holds_what_rounding_the_mean_moves(others: int) -> None:
    """The more patients a group has, the further its difference moves with its mean."""
    rng = np.random.default_rng(2)
    total, held = 900, []
    for _ in range(200):
        mine, theirs = rng.uniform(0.5, 0.9, 2)
        overall = ((total - others) * mine + others * theirs) / total
        ends = {"low": mine - 0.01, "high": mine + 0.01}
        gap = {"": mine - theirs, "_low": mine - theirs - 0.004, "_high": mine - theirs + 0.004}
        gaps = {f"difference{k}{end}": v for k in ("", "_any_records") for end, v in gap.items()}
        row = exact_row(patients=total - others, others=others, mean_auc=mine, **ends, **gaps)
        made = rounded_row(
            row,
            0.005,
            1,
            patients=total,
            overall=published_mean(overall, 0.005),
            overall_step=0.005,
        )
        low, high = (made[f"difference_any_records_{end}"] for end in ("low", "high"))
        held.append(low <= mine - theirs <= high)
        assert (low, high) == (made["difference_low"], made["difference_high"])
    assert all(held)


def test_two_groups_that_are_everybody_have_opposite_differences() -> None:
    def row(patients: int, step: float, gap: float, wide: float = 0.05) -> dict[str, Any]:
        made = {"patients": patients, "rounded_to": step}
        for key in ("difference", "difference_any_records"):
            made |= {key: gap, f"{key}_low": gap - wide, f"{key}_high": gap + wide}
        return made

    many, few = row(862, 0.005, -0.205), row(38, 0.02, 0.16)
    mirrored({"no": many, "yes": few})
    assert few == row(38, 0.02, 0.16) | {"difference_same_records": 0.16}
    for key in ("difference", "difference_any_records"):
        found = [many[f"{key}{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx([-0.16, -0.21, -0.11])
    # A comparison at equal record counts has steps of its own: the coarser one is copied.
    many, few = row(862, 0.005, -0.1, wide=0.2), row(38, 0.02, 0.12)
    few["difference"] = 0.15
    mirrored({"no": many, "yes": few})
    assert (few["difference"], few["difference_high"]) == pytest.approx((0.1, 0.3))
    assert many["difference_any_records"] == -0.12
    # Nothing is made known that was withheld.
    many, few = row(862, 0.005, -0.1), row(38, 0.02, 0.12)
    many |= {"difference_any_records": None}
    mirrored({"no": many, "yes": few})
    assert many["difference_any_records"] is None
    assert many["difference"] == -0.12


def test_a_row_that_is_withheld_has_numbers_of_patients_only() -> None:
    made = rounded_row(exact_row(), np.inf, 5, patients=400, overall=0.62)
    told = {k: v for k, v in made.items() if v is not None}
    assert told.pop("reason").startswith("withheld: together with the other tables")
    assert told == {"patients": 40, "others": 360, "patients_compared": 40}


def test_shares_stay_within_zero_and_one() -> None:
    for share, low, high in ((0.0, 0.0, 0.1), (1.0, 0.9, 1.0)):
        made = rounded_row(exact_row(**{"exposed_0.9": share}), 0.02, 1, patients=400, overall=0.6)
        assert made["exposed_0.9"] == share
        assert low <= made["exposed_0.9_low"] <= share <= made["exposed_0.9_high"] <= high


def test_means_and_utility_are_to_a_step() -> None:
    assert published_mean(0.61234, 0.0) == 0.61234
    assert published_mean(0.61234, 0.02) == 0.62
    assert published_mean(0.61234, np.inf) is None
    made = utility_to_step({"mean": 0.713, "low": 0.688, "high": None, "n": 3}, 0.02)
    assert made == {"mean": 0.72, "low": 0.68, "high": None, "n": 3}
    assert utility_to_step({"mean": None}, 0.02)["mean"] is None


def test_p_values_are_never_smaller_than_they_were() -> None:
    for p, coarse in ((1.0, 1.0), (0.51, 1.0), (0.5, 0.5), (0.2, 0.2), (0.1, 0.1), (0.051, 0.1)):
        assert coarse_p(p) == coarse
    for p, coarse in (
        (0.05, 0.05),
        (0.0501, 0.1),
        (0.0123, 0.013),
        (0.01, 0.01),
        (3.21e-7, 3.3e-7),
    ):
        assert coarse_p(p) == pytest.approx(coarse, rel=1e-12)
    assert coarse_p(0.0) == 0.0
    nothing = coarse_p(float("nan"))
    assert nothing is not None
    assert np.isnan(nothing)


# Who is in the top


def test_residuals_of_the_top_are_pearsons_and_mantel_haenszels() -> None:
    rng = np.random.default_rng(0)
    n = 1000
    first, second = rng.permutation(n) / n, rng.permutation(n) / n
    first[:5] = np.nan
    group = np.where(rng.random(n) < np.where(first > 0.9, 0.7, 0.3), "a", "b")
    count = rng.integers(1, 4, n)
    found = top_composition(pd.DataFrame({"g": group}), (first, second), count=count)["g"]
    usable = np.isfinite(first)
    assert found["patients"] == 30  # three smallest cells are more than 1%
    assert found["top_share"] == pytest.approx(30 / 995)
    chosen = sorted(np.flatnonzero(usable), key=lambda i: -first[i])[:60]
    top = np.zeros(n, dtype=bool)
    top[sorted(chosen, key=lambda i: -second[i])[:30]] = True
    statistic = 0.0
    for name in "ab":
        inside = (group == name) & usable
        expected = 30 * inside.sum() / 995
        rounded = 5 * np.floor((top & inside).sum() / 5 + 0.5)
        nearest = min(max(expected, rounded - 2), rounded + 2)
        residual = (nearest - expected) / np.sqrt(expected)
        statistic += residual**2
        assert found["groups"][name]["residual"] == round(2 * residual) / 2
        mean, variance = 0.0, 0.0
        for one in np.unique(strata(count)[0]):
            here = usable & (strata(count)[0] == one)
            mine, above, of = (inside & here).sum(), (top & here).sum(), here.sum()
            law = stats.hypergeom(of, mine, above)
            mean, variance = mean + law.mean(), variance + law.var()
        nearest = min(max(mean, rounded - 2), rounded + 2)
        expected_residual = round(2 * (nearest - mean) / np.sqrt(variance)) / 2
        assert found["groups"][name]["residual_same_records"] == expected_residual
    assert abs(found["groups"]["a"]["residual"]) >= 1
    assert found["chi_squared"] == round(statistic, 1)
    assert found["p"] == coarse_p(float(stats.chi2.sf(statistic, 1)))
    assert found["reason"] == ""


def test_a_top_of_too_few_or_of_one_group_says_nothing() -> None:
    rng = np.random.default_rng(1)
    for n, said in ((119, False), (120, True)):
        auc = rng.random(n)
        found = top_composition(pd.DataFrame({"g": np.arange(n) % 2}), (auc, auc))
        assert bool(found) == said
    auc = rng.random(400)
    one = top_composition(pd.DataFrame({"g": ["x"] * 400}), (auc, auc))["g"]
    assert (one["chi_squared"], one["p"]) == (None, None)
    assert one["groups"]["x"]["residual_same_records"] is None
    assert one["reason"] == "too few expected patients in a group"
    large = top_composition(pd.DataFrame({"g": np.arange(9000) % 2}), (rng.random(9000),) * 2)["g"]
    assert large["patients"] == 90  # one in a hundred
    assert (large["chi_squared"], large["reason"]) != (None, "")
    rare = np.where(np.arange(400) < 12, "r", "b")
    sparse = top_composition(pd.DataFrame({"g": rare}), (auc, auc))["g"]
    assert sparse["chi_squared"] is None  # 30 x 12 / 400 = 0.9 are expected
    assert sparse["groups"]["r"]["residual_same_records"] is None


# Counting and its noise


def test_a_count_of_pairs_and_its_variance_by_loops() -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 5, (3, 1, 2, 40)).astype(float)  # many ties, many places: by sorting
    weight = np.ones_like(values)
    weight[:, :, 0, 35:] = 0
    weight[0, :, 1, 30:] = 0
    found = placements(values, weight).counted
    again = placements(values[..., :32], weight[..., :32]).counted  # by comparing
    for i in range(3):
        for counted, most in ((found, 40), (again, 32)):
            inside = values[i, 0, 1, :most][weight[i, 0, 1, :most] > 0]
            outside = values[i, 0, 0, :most][weight[i, 0, 0, :most] > 0]
            won = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
            assert counted.auc[i] == pytest.approx(won.mean())
            assert counted.pairs[i] == won.size
            assert counted.reach[i] == pytest.approx((1 / inside.size + 1 / outside.size) / 2)
            n1, n0 = won.shape
            square = (
                won.sum() ** 2 - (won.sum(0) ** 2).sum() - (won.sum(1) ** 2).sum() + (won**2).sum()
            ) / (n1 * n0 * (n1 - 1) * (n0 - 1))
            assert counted.spread[i] == pytest.approx(won.mean() - square)
            q1 = ((won.sum(1) ** 2).sum() - (won**2).sum()) / (n1 * n0 * (n0 - 1))
            q0 = ((won.sum(0) ** 2).sum() - (won**2).sum()) / (n1 * n0 * (n1 - 1))
            var = (won**2).mean() - square + (n0 - 1) * (q1 - square) + (n1 - 1) * (q0 - square)
            assert counted.noise[i] == pytest.approx(var / (n1 * n0))


def counted(auc: np.ndarray, models: int = 64) -> Counted:
    n = np.ones(auc.size)
    return Counted(
        auc=auc,
        noise=auc * (1 - auc) / models,
        spread=auc * (1 - auc),
        reach=2 * n / models,
        pairs=n * (models / 2) ** 2,
    )


def test_the_law_of_noise_is_a_factor_at_knots() -> None:
    law = NoiseLaw(factor=np.linspace(0.5, 1.2, KNOTS.size))
    auc = np.array([0.3, 0.65, 1.0, 0.1])
    factor = [0.5, 0.85, 1.2, 0.5]
    np.testing.assert_allclose(law.variance(auc, 0.1), factor * (0.1 * auc * (1 - auc)), atol=1e-15)
    learned = learned_law(counted(np.random.default_rng(3).uniform(0.4, 0.95, 500)))
    np.testing.assert_allclose(learned.factor, 0.5, rtol=1e-12)  # auc (1 - auc) / 64 over 2 / 64
    bottom = np.ones(4)
    near = kernel_ratio(np.full(4, 0.5), 3 * bottom, bottom)
    np.testing.assert_allclose(near, 3.0)
    split = kernel_ratio(np.array([0.4, 0.9]), np.array([1.0, 3.0]), np.ones(2))
    assert 1.0 < split[np.argmin(np.abs(KNOTS - 0.4))] < 2.0 < split[-5] < 3.0
    np.testing.assert_allclose(kernel_ratio(np.ones(3), np.zeros(3), np.zeros(3)), 2 / 3)
    kernel = np.exp(-0.5 * ((np.array([0.4, 0.9])[:, None] - KNOTS) / 0.06) ** 2)
    naive = (20 * 2.0 + [1.0, 3.0] @ kernel) / (20 + kernel.sum(axis=0))
    np.testing.assert_allclose(split, naive)


def test_an_estimate_on_the_scale_of_d() -> None:
    auc = np.array([0.0, 0.5, 0.9, 1.0])
    law = NoiseLaw(factor=np.full(KNOTS.size, 2 / 3))
    found = Estimate.of(counted(auc), law)
    inner = (auc * 1024 + 0.5) / 1025
    np.testing.assert_allclose(found.inner, inner)
    np.testing.assert_allclose(found.d, stats.norm.ppf(inner))
    noise = 2 / 3 * 2 / 64 * inner * (1 - inner)
    np.testing.assert_allclose(found.noise, noise)
    density = stats.norm.pdf(stats.norm.ppf(inner))
    np.testing.assert_allclose(found.variance, noise / density**2)
    assert found.take(np.array([2])).auc.tolist() == [0.9]
    low, high = found.interval()
    assert low[0] == 0.0
    assert high[3] == 1.0
    assert ((low <= auc) & (auc <= high)).all()
    narrow = found.interval(0.5)
    assert ((narrow[1] - narrow[0])[1:3] < (high - low)[1:3]).all()
    for bar in (0.4, 0.5, 0.8):
        above, below = found.p_above(bar), found.p_below(bar)
        assert (np.diff(above) <= 0).all()
        assert (np.diff(below) >= 0).all()
        assert ((above + below)[1:3] >= 1 - 1e-6).all()  # both hold the count itself
    # Beta of the law's mean and variance, from half a pair below the count.
    size = 1 / (2 / 3 * 2 / 64) - 1
    expected = stats.beta.sf(0.9 - 0.5 / 1024, 0.85 * size, 0.15 * size)
    assert found.p_above(0.85)[2] == pytest.approx(expected, rel=0.02)
    expected = stats.beta.cdf(0.5 + 0.5 / 1024, 0.6 * size, 0.4 * size)
    assert found.p_below(0.6)[1] == pytest.approx(expected, rel=0.02)
    # Half of its cell counts to either side of an interval's end.
    ends = [x[1] for x in (low, high)]
    for end, tail in zip(ends, (stats.beta.sf, stats.beta.cdf), strict=True):
        variance = 2 / 3 * 2 / 64 * end * (1 - end)
        size = end * (1 - end) / variance - 1
        assert tail(0.5, end * size, (1 - end) * size) == pytest.approx(0.025, rel=0.02)


def test_who_is_confirmed_exceeds_what_was_drawn_again() -> None:
    law = NoiseLaw(factor=np.full(KNOTS.size, 2 / 3))
    found = Estimate.of(counted(np.array([0.95, 0.97, np.nan])), law)
    reached = np.sort(np.concatenate([np.full(90, 0.8), np.full(9, 0.96)]))
    chance = Estimate(
        auc=found.auc, reach=found.reach, pairs=found.pairs, law=law, chance={0.8: reached}
    )
    assert chance.p_above(0.8)[0] == pytest.approx(10 / 100)
    assert chance.p_above(0.8)[1] == pytest.approx(1 / 100)
    assert np.isnan(chance.p_above(0.8)[2])
    # At another bar, what was drawn moves with it: 0.94 of 0.79 is 0.95 of 0.8.
    assert chance.p_above(0.79)[0] == pytest.approx(10 / 100)
    assert chance.p_above(0.76)[0] == pytest.approx(1 / 100)


# Exposed


def test_counts_have_gamma_intervals() -> None:
    low, high = count_interval(20.0, 16.0, 1000)
    assert low == np.round(stats.gamma.ppf(0.025, 25, scale=0.8))
    assert high == np.round(stats.gamma.ppf(0.975, 25 + 0.5 * 20 / 21, scale=0.8))
    assert count_interval(980.0, 16.0, 1000) == (1000 - high, 1000 - low)
    assert count_interval(0.0, 0.0, 1000) == (0.0, 0.0)
    assert count_interval(3.4, 0.0, 1000) == (3.0, 4.0)
    low, high = count_interval(500.0, 1e6, 1000)
    assert 0.0 <= low < 500.0
    assert high == 1000.0
    assert count_interval(1000.0, 0.0, 1000) == (1000.0, 1000.0)


def test_false_discovery_rates_by_a_loop() -> None:
    p = np.array([0.01, 0.2, 0.02, 0.9, 0.04])
    ordered = sorted(p)
    naive = [min(min(5 * ordered[j] / (j + 1) for j in range(i, 5)), 1.0) for i in range(5)]
    np.testing.assert_allclose(adjusted(p), [naive[ordered.index(one)] for one in p])
    assert benjamini_hochberg(p, 0.05).tolist() == [True, False, True, False, False]
    assert benjamini_hochberg(np.array([0.05]), 0.05).tolist() == [True]


def test_above_what_threshold_counts_tell_nothing() -> None:
    # sqrt(t (1 - t) / n) > 2 (1 - t), so t > 4 n (1 - t).
    for models in (8, 32, 100):
        bar = 4 * models / (1 + 4 * models)
        assert not _too_near_one(bar - 1e-6, models)
        assert _too_near_one(bar + 1e-6, models)


def test_patients_are_taken_evenly() -> None:
    kept = np.arange(100, 3100)
    assert np.array_equal(sample_for_replicates(kept), kept)
    more = sample_for_replicates(np.arange(7000))
    assert (more.size, more[0], more[-1]) == (3000, 0, 6999)
    assert set(np.diff(more)) <= {2, 3}
    found = Estimate.of(counted(np.linspace(0.4, 0.9, 11)))
    some, sign = spaced(found, np.arange(11.0), 5)
    assert sign.tolist() == [0, 2, 5, 7, 10]
    assert np.array_equal(some.auc, found.auc[[0, 2, 5, 7, 10]])
    assert spaced(found, np.arange(11.0), 11)[0] is found


# The prior


def test_a_posterior_on_the_grid_is_read_as_a_histogram() -> None:
    step = GRID[1] - GRID[0]
    mass = np.zeros((2, GRID.size))
    mass[0, 100], mass[0, 101], mass[1, 120] = 0.25, 0.75, 1.0
    cells = Cells(mass=mass)
    np.testing.assert_allclose(cells.mean_auc(), mass @ stats.norm.cdf(GRID))
    edge = GRID[100] + step / 2
    np.testing.assert_allclose(cells.above(edge), [0.75, 1.0], atol=1e-9)
    np.testing.assert_allclose(cells.above(GRID[100]), [0.875, 1.0], atol=1e-9)
    np.testing.assert_allclose(cells.above(GRID[101] + 0.3 * step), [0.75 * 0.2, 1.0], atol=1e-9)
    np.testing.assert_allclose(cells.above(GRID[120]), [0.0, 0.5], atol=1e-9)
    np.testing.assert_allclose(cells.above(GRID[-1] + 5), 0.0, atol=1e-9)
    np.testing.assert_allclose(cells.above(GRID[0] - 5), 1.0, atol=1e-9)
    expected = [GRID[100] + step * (0.1 / 0.25 - 0.5), GRID[120] + step * (0.1 - 0.5)]
    np.testing.assert_allclose(cells.quantile(0.1), expected)
    expected = [GRID[101] + step * (0.25 / 0.75 - 0.5), GRID[120]]
    np.testing.assert_allclose(cells.quantile(0.5), expected)
    assert _part_above(GRID[0] - 5) == (0, 1.0)
    assert _part_above(GRID[-1] + 5) == (GRID.size - 1, 0.0)


def test_a_mixture_of_priors_is_weighed_by_bayes() -> None:
    rng = np.random.default_rng(4)
    likelihood = rng.random((5, GRID.size))
    first, second = (x / x.sum() for x in rng.random((2, GRID.size)))
    cells = Cells.of(likelihood, np.zeros(5), [(0.3, Prior(mass=first)), (0.7, Prior(mass=second))])
    parts = [likelihood * mass for mass in (first, second)]
    naive = sum(
        w * part / part.sum(axis=1, keepdims=True)
        for w, part in zip((0.3, 0.7), parts, strict=True)
    )
    np.testing.assert_allclose(cells.mass, naive)
    sign = rng.standard_normal(5)
    read = Measurement(mean=np.linspace(-1, 1, GRID.size), deviation=np.full(GRID.size, 0.5))
    np.testing.assert_allclose(
        read.likelihood(sign),
        np.maximum(
            np.exp(-0.5 * ((sign[:, None] - read.mean) / 0.5) ** 2) / 0.5, np.exp(-12.0) / 0.5
        ),
    )
    masses = Prior(mass=first, measurement=read).masses(sign)
    naive_masses = first * read.likelihood(sign)
    np.testing.assert_allclose(masses, naive_masses / naive_masses.sum(axis=1, keepdims=True))
    half = read.at(GRID[::2], GRID)
    np.testing.assert_allclose(half.mean, read.mean[::2])
    np.testing.assert_allclose(half.deviation, 0.5)


def test_em_climbs_to_the_likeliest_mixture() -> None:
    rng = np.random.default_rng(5)
    evidence = rng.random((40, 3)) ** 3
    weight, pseudo = np.full(3, 1 / 3), np.array([0.5, 0.25, 0.25])
    times = rng.integers(1, 4, 40).astype(np.float64)
    naive = weight.copy()
    for _ in range(7):
        member = evidence * naive
        member *= (times / member.sum(axis=1))[:, None]
        naive = (member.sum(axis=0) + pseudo) / (times.sum() + 1)
    np.testing.assert_allclose(prior_module._mixture(evidence, times, weight, pseudo, 7), naive)
    nobody = np.empty((0, 3))
    assert prior_module._mixture(nobody, np.empty(0), weight, pseudo, 7) is weight


def test_a_prior_of_equal_patients_lies_where_they_are() -> None:
    estimate = Estimate.of(counted(np.full(300, 0.8), models=256))
    table = Likelihoods(estimate, np.zeros(300))
    prior = table.fit(PLAIN)
    assert prior.mass.sum() == pytest.approx(1.0)
    assert prior.mass @ GRID == pytest.approx(stats.norm.ppf(0.8), abs=0.03)
    spread = np.sqrt(prior.mass @ (GRID - prior.mass @ GRID) ** 2)
    assert spread < 0.15
    shares = table.shares_above([(1.0, prior)], np.array(stats.norm.ppf([0.5, 0.95])))
    assert shares[0] > 0.999
    assert shares[1] < 0.001
    inside = (table.likelihood * prior.mass).sum(axis=1)
    evidence = table.log_evidence(prior, np.arange(3))
    log = estimate.log_likelihood()[:3]
    np.testing.assert_allclose(evidence, np.log(inside[:3]) + log.max(axis=1))


def test_a_measurement_is_learned_as_a_cubic() -> None:
    rng = np.random.default_rng(6)
    points = np.linspace(-1, 2, 25)
    place = rng.integers(0, 25, 4000)
    truth = 0.5 * points - 0.1 * points**2
    sign = truth[place] + 0.3 * rng.standard_normal(4000)
    found = Measurement.learned(points, np.eye(25)[place], sign)
    np.testing.assert_allclose(found.mean, truth, atol=0.06)
    np.testing.assert_allclose(found.deviation, 0.3, atol=0.03)
    few = rng.random((30, 25))
    few /= few.sum(axis=1, keepdims=True)
    told = Measurement.learned(points, few, sign[:30])
    weight = few.sum(axis=0)
    middle = weight @ points / 30
    u = (points - middle) / np.sqrt(weight @ (points - middle) ** 2 / 30)
    power = u[:, None] ** np.arange(4)
    gram = power.T @ (power * weight[:, None]) + np.diag([0.0, 1.0, 4.0, 9.0])
    mean = power @ np.linalg.solve(gram, power.T @ (sign[:30] @ few))
    np.testing.assert_allclose(told.mean, mean)
    around = (few * (sign[:30, None] - mean) ** 2).sum(axis=0)
    near = np.exp(-0.5 * ((u[:, None] - u) / 0.75) ** 2)
    variance = (near @ around + 10 * around.sum() / 30) / (near @ weight + 10)
    np.testing.assert_allclose(told.deviation, np.sqrt(variance))
    certain = Measurement.learned(points, np.eye(25)[place], truth[place])
    assert certain.deviation.min() == pytest.approx(0.1)  # never surer than this


# Stability and plans


def test_agreement_is_spearmans_with_its_interval() -> None:
    rng = np.random.default_rng(7)
    first = rng.random(300)
    second = first + 0.5 * rng.random(300)
    first[:3], second[5] = np.nan, np.nan
    found = stability((first, second), rng)
    usable = np.isfinite(first) & np.isfinite(second)
    r = float(stats.spearmanr(first[usable], second[usable]).statistic)
    assert found["rank_agreement"]["estimate"] == pytest.approx(r)
    error = np.sqrt((1 + r**2 / 2) / (296 - 3))
    assert found["rank_agreement"]["low"] == pytest.approx(
        np.tanh(np.arctanh(r) - 1.96 * error), abs=1e-4
    )
    assert found["rank_agreement"]["high"] == pytest.approx(
        np.tanh(np.arctanh(r) + 1.96 * error), abs=1e-4
    )
    assert found["n_patients"] == 296
    tops = [set(np.argsort(-x[usable])[:3]) for x in (first, second)]
    assert found["top_1_percent_overlap"] == {
        "estimate": len(tops[0] & tops[1]) / 3,
        "by_chance": 3 / 296,
        "patients": 3,
    }
    same = stability((first, first), rng)
    assert same["rank_agreement"]["estimate"] == pytest.approx(1.0)
    assert same["rank_agreement"]["low"] > 0.99
    assert same["top_1_percent_overlap"]["estimate"] == 1.0
    turned = stability((first, -first), rng)
    assert turned["rank_agreement"]["estimate"] == pytest.approx(-1.0)
    assert turned["rank_agreement"]["high"] < -0.99
    flat = stability((np.full(50, 0.5), rng.random(50)), rng)
    assert flat["rank_agreement"]["estimate"] == 0.0
    assert flat["rank_agreement"]["high"] == pytest.approx(np.tanh(1.96 / np.sqrt(47)), abs=1e-4)
    assert stability(None, rng)["rank_agreement"] is None


def test_halves_have_half_of_the_models_of_each_class() -> None:
    part = layout(20, 18, seed=8)
    first, second = both_halves(part, 3)
    assert np.array_equal(first, ~second)
    for half in (first, second):
        for label in (part.member, ~part.member):
            assert (np.abs((half & label).sum(axis=1) - label.sum(axis=1) / 2) <= 0.5).all()
    assert (first != both_halves(part, 4)[0]).any()


def test_plans_follow_from_the_noise_of_two_normals() -> None:
    plan = planning_without_pilot(0.8, 40)
    assert [row["models"] for row in plan] == [16, 32, 40, 64, 128, 256, 512]
    d = float(stats.norm.ppf(0.8))
    rng = np.random.default_rng(9)
    inside, outside = rng.standard_normal((2, 4000, 20))
    inside += d * np.sqrt(2)
    wins = (inside[:, :, None] > outside[:, None, :]).mean(axis=(1, 2))
    assert NORMAL_LAW.variance(np.array(0.8), 1 / 20) == pytest.approx(wins.var(), rel=0.06)
    (at,) = [row["interval_width"] for row in plan if row["models"] == 40]
    reach = 1.959964 * wins.std() / stats.norm.pdf(d)
    expected = stats.norm.cdf(d + reach) - stats.norm.cdf(d - reach)
    assert at == pytest.approx(expected, rel=0.04)
    assert models_needed(plan, at) == 40
    assert models_needed(plan, at - 1e-9) == 64
    assert models_needed(plan, 0.0) is None
    half = _effect_half_width(0.3, 0.2)
    assert stats.norm.cdf(0.3 + half) - stats.norm.cdf(0.3 - half) == pytest.approx(0.2)


# True positive rates


def test_ranks_pass_at_the_rate_on_average() -> None:
    for n, rate in ((40, 0.1), (64, 0.05), (101, 0.1), (30, 0.05), (9, 0.1)):
        passed = passing(n, rate)
        assert passed.shape == (n + 1,)
        assert passed.mean() == pytest.approx(rate, abs=1e-9)
        assert passed[0] == pytest.approx(1.0)
        assert passed[int(n * 2 * rate) + 3 :] == pytest.approx(0.0, abs=0.01)
    # Too few for a half: rate (n + 1) of the ranks pass.
    np.testing.assert_allclose(passing(9, 0.1), [1, *[0] * 9], atol=1e-12)
    np.testing.assert_allclose(passing(6, 0.15), [1, 0.05, *[0] * 5], atol=1e-12)


def test_shares_that_pass_are_those_of_the_ranks() -> None:
    rng = np.random.default_rng(10)
    scores = rng.integers(0, 12, (3, 60)).astype(float)
    outside = np.arange(60) < np.array([[40], [40], [0]])
    inside = (np.arange(60) >= 45) & np.array([[True], [True], [True]])
    found = share_passing(scores, outside, inside, (0.1, 0.05))
    for row in range(2):
        for place, rate in enumerate((0.1, 0.05)):
            passed, told = passing(40, rate), []
            for x in scores[row, 45:]:
                above = int((scores[row, :40] > x).sum())
                equal = int((scores[row, :40] == x).sum())
                told.append(passed[above : above + equal + 1].mean())
            assert found[place, row] == pytest.approx(np.mean(told))
    assert np.isnan(found[:, 2]).all()


# Reliability


def test_log_odds_never_fall_and_are_counts() -> None:
    inside, total = np.array([1.0, 4.0, 2.0, 0.0, 9.0]), np.array([10.0, 10.0, 10.0, 0.0, 10.0])
    score, odds = monotone_log_odds(inside, total, np.array([1.0, 2.0, 3.0, 0.0, 4.0]))
    np.testing.assert_allclose(score, [0.1, 5 / 20, 0.4])
    np.testing.assert_allclose(odds, np.log([1.5 / 9.5, 6.5 / 14.5, 9.5 / 1.5]))
    alike = monotone_log_odds(np.array([3.0, 3.0]), np.array([6.0, 6.0]), np.array([1.0, 5.0]))
    np.testing.assert_allclose(alike[0], [0.5])
    np.testing.assert_allclose(alike[1], [0.0])
    # A block may claim no less than the one below it, whatever half a point does to few.
    _, odds = monotone_log_odds(np.array([90.0, 1.0]), np.array([100.0, 1.0]), np.array([1.0, 5.0]))
    assert odds[0] == pytest.approx(np.log(90.5 / 10.5))
    assert odds[1] == odds[0]


def test_calibration_is_counted_in_ten_bins() -> None:
    assert bin_of(np.array([0.0, 0.0999, 0.1, 0.95, 1.0])).tolist() == [0, 0, 1, 9, 9]
    posterior = np.array([0.05, 0.05, 0.55, 0.95])
    member = np.array([False, True, True, True])
    error, brier = calibration_error(posterior, member)
    assert error == pytest.approx((abs(0.1 - 1) + 0.45 + 0.05) / 4)
    assert brier == pytest.approx(((posterior - member) ** 2).mean())


# Signs and covariates


def test_signs_are_level_and_spread_of_the_models_that_never_saw_a_record() -> None:
    part = layout(6, 14, seed=11)
    rng = np.random.default_rng(12)
    scores = rng.standard_normal((part.records, 14))
    influence = rng.standard_normal((part.patients, 14))
    scores[2] = 1.0
    found = signs_of(part, scores, influence)
    for row in range(part.records):
        outside = ~part.member[part.patient[row]]
        x, pull = scores[row, outside], influence[part.patient[row], outside]
        away, n = x - x.mean(), outside.sum()
        assert found.values[row, 0] == pytest.approx(x.mean())
        assert found.values[row, 1] == pytest.approx(np.log(max((away**2).sum(), 1e-12) / n))
        assert found.coupling[row, 0] == pytest.approx((away * pull).sum() / n)
        width = 0.0 if row == 2 else (away**2 * pull).sum() / (away**2).sum()
        assert found.coupling[row, 1] == pytest.approx(width)


def test_the_studys_figure_is_binormal() -> None:
    part = layout(4, 12, seed=13)
    signals = np.random.default_rng(14).standard_normal((part.records, 12))
    signals[1] = 2.0
    signals[2] = np.where(part.member[part.patient[2]], 1.0, 0.0)
    found = study_auc(part, signals)
    for row in (0, 3):
        inside = part.member[part.patient[row]]
        x, y = signals[row, inside], signals[row, ~inside]
        d = (x.mean() - y.mean()) / np.sqrt(x.var(ddof=1) + y.var(ddof=1))
        assert found[row] == pytest.approx(stats.norm.cdf(d))
    assert (found[1], found[2]) == (0.5, 1.0)


def test_covariates_are_signs_record_count_and_classes() -> None:
    part = layout(9, 12, seed=15, records=np.array([1, 2, 3] * 3))
    n = part.patients
    signs = Signs(
        values=np.arange(2.0 * n).reshape(n, 2), coupling=np.arange(2.0 * n).reshape(n, 2) + 100
    )
    found = covariates_of(part, signs)
    assert np.array_equal(found.values[:, :2], signs.values)
    np.testing.assert_allclose(found.values[:, 2], np.log(part.count))
    assert np.array_equal(found.coupling[:, :2], signs.coupling)
    assert not found.coupling[:, 2:].any()
    assert found.values.shape[1] == 3 + np.unique(part.stratum).size - 1


def test_shuffled_membership_has_as_many_models_of_each_patient() -> None:
    part = layout(40, 20, seed=16)
    found = permuted(part, np.random.default_rng(0))
    assert np.array_equal(found.member.sum(axis=1), part.member.sum(axis=1))
    assert (found.member != part.member).any(axis=1).mean() > 0.9
    used = np.random.default_rng(1).random(part.member.shape) < 0.6
    half = dataclasses.replace(part, used=used)
    found = permuted(half, np.random.default_rng(0))
    for where in (used, ~used):
        assert np.array_equal((found.member & where).sum(axis=1), (part.member & where).sum(axis=1))
    assert (found.member != part.member).any(axis=1).mean() > 0.9
    chosen = chosen_for_views(part)
    assert chosen.sum() == part.estimable().sum()


# Utility


def outputs(kind: Any, columns: int, models: int = 3, records: int = 40) -> Outputs:  # noqa: ANN401
    rng = np.random.default_rng(17)
    return Outputs.in_memory(rng.standard_normal((models, 2, records, columns)), kind)


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    won = scores[truth][:, None] - scores[~truth]
    return float(((won > 0) + 0.5 * (won == 0)).mean())


@pytest.mark.parametrize("kind", ["sigmoid", "two", "softmax", "multilabel"])
def test_utility_is_measured_on_patients_that_a_model_never_saw(kind: str) -> None:
    rng = np.random.default_rng(18)
    columns = {"sigmoid": 1, "two": 2, "softmax": 3, "multilabel": 2}[kind]
    given = outputs("softmax" if kind == "two" else kind, columns)
    patient = np.repeat(np.arange(20), 2)
    member = rng.random((3, 20)) < 0.5
    labels = rng.integers(0, 3 if kind == "softmax" else 2, 40)
    if kind == "multilabel":
        labels = rng.integers(0, 2, (40, 2))
        labels[:, 1] = np.arange(40) < 3  # a label of too few counts nothing
    withheld = np.arange(40) % 7 == 0
    found = utility_per_model(
        given, labels, Membership(member), patient, queries=[1], withheld=withheld
    )
    for model in range(3):
        scores = given.model(model)[1].astype(float)
        inside = member[model][patient]
        for rows, value in ((~inside, found.outside), (inside & ~withheld, found.members)):
            if kind == "sigmoid":
                parts = [(scores[:, 0], labels == 1)]
            elif kind == "two":
                parts = [(scores[:, 1] - scores[:, 0], labels == 1)]
            elif kind == "multilabel":
                parts = [(scores[:, j], labels[:, j] == 1) for j in range(2)]
            else:
                p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
                parts = [(p[:, c], labels == c) for c in range(3)]
            each = [
                auroc(x[rows], truth[rows])
                for x, truth in parts
                if min(truth[rows].sum(), (~truth[rows]).sum()) >= 5
            ]
            expected = np.mean(each) if each else np.nan
            assert value[model] == pytest.approx(expected, nan_ok=True)
    assert found.metric == AUROC


def test_models_are_summed_up_with_their_interval() -> None:
    given = outputs("sigmoid", 1, models=5, records=60)
    rng = np.random.default_rng(19)
    labels, member = np.arange(60) % 2, rng.random((5, 60)) < 0.5
    groups = pd.DataFrame({"sex": np.where(np.arange(60) < 30, "f", "m"), "all": "x"})
    patient = np.arange(60)
    found, by_group = model_utility(
        given, labels, "binary", Membership(member), patient, groups, smallest_cell=5
    )
    each = utility_per_model(given, labels, Membership(member), patient, groups, smallest_cell=5)
    mean, error = each.outside.mean(), stats.sem(each.outside)
    assert found["count"] == 5
    inside = member.sum(axis=0)
    assert found["in_per_patient"] == {"min": inside.min(), "max": inside.max()}
    assert found["utility"]["mean"] == pytest.approx(mean)
    assert found["utility"]["low"] == pytest.approx(mean - 1.96 * error, abs=1e-4)
    assert found["utility"]["high"] == pytest.approx(mean + 1.96 * error, abs=1e-4)
    assert found["utility"]["n"] == 5
    assert (found["utility"]["metric"], found["utility"]["chance"]) == ("auroc", 0.5)
    assert found["utility"]["members"]["mean"] == pytest.approx(each.members.mean())
    assert found["learned"]["verdict"] == (found["utility"]["low"] > 0.5)
    assert set(by_group) == {"sex", "all"}
    assert by_group["all"]["x"]["mean"] == pytest.approx(mean)
    females = np.mean(
        [
            auroc(given.model(k).mean(axis=0)[rows, 0], labels[rows] == 1)
            for k in range(5)
            for rows in [~member[k] & (np.arange(60) < 30)]
        ]
    )
    assert by_group["sex"]["f"]["mean"] == pytest.approx(females)
    few, _ = model_utility(given, np.arange(60) < 3, "binary", Membership(member), patient)
    assert few["utility"] is None
    assert "fewer than 5 records" in few["learned"]["reason"]
    several, _ = model_utility(
        outputs("softmax", 3, 5, 60), np.arange(60) % 3, "multiclass", Membership(member), patient
    )
    assert several["utility"]["metric"] == MACRO_AUROC.name


def test_whether_anything_was_learned_is_asked_of_the_lower_end() -> None:
    labels, patient = np.arange(60) % 2, np.arange(60)
    member = Membership(np.zeros((2, 60), dtype=bool))
    member.reveal()[:, :20] = True
    for tilt, verdict in ((0.0, False), (5.0, True), (-5.0, False)):
        noise = np.random.default_rng(20).standard_normal((2, 1, 60, 1))
        given = Outputs.in_memory(noise + tilt * labels[:, None], "sigmoid")
        found, _ = model_utility(given, labels, "binary", member, patient)
        assert found["learned"]["verdict"] is verdict
        assert found["utility"]["low"] >= 0.0
        assert found["utility"]["high"] <= 1.0


def test_ready_signals_are_measured_by_their_own_metric() -> None:
    given = outputs("signal", 2, models=2, records=20)
    labels, patient = np.arange(20) % 2, np.arange(20)
    member = np.zeros((2, 20), dtype=bool)
    member[:, :8] = True
    found, _ = model_utility(given, labels, "binary", Membership(member), patient)
    assert found["learned"]["verdict"] is None
    assert found["utility"] is None
    metric = Metric(name="mean", what="mean", chance=None, low=-9.0, high=9.0)
    found, _ = model_utility(given, labels, "binary", Membership(member), patient, metric=metric)
    each = [given.model(k).mean(axis=0)[8:, 1].mean() for k in range(2)]
    assert found["utility"]["mean"] == pytest.approx(np.mean(each), abs=1e-6)
    assert found["learned"]["verdict"] is None
    assert "recipe.chance" in found["learned"]["reason"]
