"""What the exposed have in common: a planted factor is found, others are not, intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult.risk import associations as module
from auscult.risk.associations import Factor, associations

N = 800


def made(seed: int, effect: float) -> tuple[NDArray[np.float64], list[Factor]]:
    """AUCs of simulated patients.

    Nothing that the method was made for: the spread of the noise depends on the factors, its tails
    are heavy, values are cut at 1, record counts act on risk by a curve and
    with another factor, and on a factor too, and `effect` is that of the first factor alone.
    """
    rng = np.random.default_rng(seed)
    records = 1 + rng.poisson(1.0, N)
    far = rng.gamma(2.0, size=N)
    rare = rng.random(N) < 1 - 0.85**records  # more records, more chances
    planted = rng.random(N) < 0.15 + 0.1 * (records > 2)
    label = rng.random(N)
    level = 0.6 + 0.12 * np.log(records) + effect * planted + 0.03 * ((records > 2) & (far > 3))
    spread = 0.04 + 0.05 * planted + 0.02 * np.minimum(far, 3)
    y = np.clip(level + spread * rng.standard_t(5, N), 0, 1)
    scores = np.log(records)[:, None]
    return y, [
        Factor(name="planted", has=planted, scores=planted[:, None].astype(float)),
        Factor(name="rare", has=rare, scores=rare[:, None].astype(float)),
        Factor(name="far", has=far > 4, scores=far[:, None]),
        Factor(name="label", has=label > 0.9, scores=label[:, None]),
        Factor(name="records", has=records > 2, scores=scores),
    ]


@pytest.mark.slow
def test_a_planted_factor_is_found_and_its_interval_covers() -> None:
    draws, covered, found, false = 300, 0, 0, 0
    for seed in range(draws):
        y, factors = made(seed, 0.06)
        result = {one.name: one for one in associations(y, factors, rng(seed)).factors}
        planted = result["planted"]
        assert planted.low is not None
        assert planted.high is not None
        covered += planted.low <= 0.06 <= planted.high
        found += planted.claimed
        false += any(result[name].claimed for name in ("rare", "label"))
    print(covered, found, false)
    assert covered >= 0.92 * draws
    assert found >= 0.9 * draws
    assert false <= 0.08 * draws


@pytest.mark.slow
def test_where_risk_is_permuted_at_most_one_in_twenty_claims_anything() -> None:
    draws, claims, inside = 600, 0, 0
    for seed in range(draws):
        y, factors = made(seed, 0.1)
        shuffled = np.random.default_rng(1000 + seed).permutation(y)
        result = associations(shuffled, factors, rng(seed))
        claims += any(one.claimed for one in result.factors)
        inside += sum(one.low <= 0 <= one.high for one in result.factors if one.low is not None)  # type: ignore[operator]
        assert result.explained is not None
        assert result.explained < 0.05
    print(claims, inside)
    assert claims <= 0.05 * draws + 2.6 * np.sqrt(0.05 * 0.95 * draws)
    assert inside >= 0.935 * draws * 5


def test_permutations_correct_as_a_naive_loop_does() -> None:
    generator = rng(5)
    p = [0.02, 0.3, 0.02, 0.001]
    by_chance = generator.random((4, 99)) ** 2
    corrected = module._stepped(p, by_chance)
    order = sorted(range(4), key=lambda place: p[place])
    largest = 0.0
    for rank, place in enumerate(order):
        rest = order[rank:]
        below = sum(min(by_chance[one, draw] for one in rest) <= p[place] for draw in range(99))
        largest = max(largest, (1 + below) / 100)
        assert corrected[place] == largest


def test_the_folds_predict_as_ridge_regression_does() -> None:
    from sklearn.linear_model import Ridge

    generator = rng(6)
    x, y = generator.standard_normal((120, 2)), generator.standard_normal(120)
    fold = generator.permutation(120) % module.FOLDS
    lines = module.Lines(x, fold)
    found = lines.predicted(y[:, None])[:, 0]
    bent = module._bent(x)
    for one in range(module.FOLDS):
        rest = fold != one
        told = Ridge(alpha=1.0).fit(bent[rest], y[rest]).predict(bent[~rest])
        np.testing.assert_allclose(found[~rest], told, atol=1e-9)
    weights = generator.standard_normal(120)
    assert lines.transposed(weights) @ y == pytest.approx(weights @ found)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed + 77)


def test_without_other_factors_it_is_the_difference_of_means() -> None:
    generator = rng(0)
    has = generator.random(4000) < 0.3
    y = 0.6 + 0.1 * has + 0.05 * generator.standard_normal(4000)
    one = associations(
        y, [Factor(name="a", has=has, scores=has[:, None].astype(float))], rng(1)
    ).factors[0]
    assert one.difference == pytest.approx(y[has].mean() - y[~has].mean(), abs=2e-3)
    assert one.mean_with == pytest.approx(y[has].mean())
    naive = np.sqrt(y[has].var() / has.sum() + y[~has].var() / (~has).sum())
    assert one.high is not None
    assert one.low is not None
    assert one.high - one.low == pytest.approx(2 * 1.96 * naive, rel=0.05)


def test_a_factor_that_only_goes_with_another_is_not_claimed() -> None:
    generator = rng(2)
    cause = generator.random(3000) < 0.3
    shadow = np.where(generator.random(3000) < 0.8, cause, generator.random(3000) < 0.3)
    y = 0.6 + 0.15 * cause + 0.05 * generator.standard_normal(3000)
    result = associations(
        y,
        [
            Factor(name="cause", has=cause, scores=cause[:, None].astype(float)),
            Factor(name="shadow", has=shadow, scores=shadow[:, None].astype(float)),
        ],
        rng(3),
    )
    first, second = result.factors
    assert first.claimed
    assert second.mean_with is not None
    assert second.mean_without is not None
    assert second.mean_with - second.mean_without > 0.1  # looks like a cause
    assert not second.claimed


def test_rare_and_unestimable_ones_are_not_estimated() -> None:
    y = np.linspace(0.4, 1, 400)
    y[::7] = np.nan
    few = np.zeros(400, dtype=bool)
    few[:10] = True
    same = np.arange(400) % 2 == 0
    both = [
        Factor(name="few", has=few, scores=few[:, None].astype(float)),
        Factor(name="a", has=same, scores=same[:, None].astype(float)),
        Factor(name="b", has=same, scores=same[:, None].astype(float)),
    ]
    result = associations(y, both, rng(4))
    assert [bool(one.reason) for one in result.factors] == [True, True, True]
    assert not any(one.claimed for one in result.factors)
    assert result.patients == int(np.isfinite(y).sum())


def test_holm_by_hand() -> None:
    assert module._holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert module._holm([]) == []
