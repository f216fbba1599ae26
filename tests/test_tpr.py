"""TPR of a patient: null for any signals, analytic case, naive oracle."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from auscult.attacks.layout import Centring, Layout, lay_out
from auscult.risk.tpr import passing, share_passing, tpr_of_patients
from tests.simulation import balanced, simulate


def of_layout(layout: Layout, rates: tuple[float, ...] = (0.1,)) -> np.ndarray:
    return tpr_of_patients(layout, Centring(layout).apply(layout), rates)


NOISE = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "skewed": lambda rng, shape: -np.exp(-rng.standard_normal(shape)),
    "right or wrong": lambda rng, shape: (rng.random(shape) < 0.8).astype(float),
    "rounded": lambda rng, shape: np.round(rng.standard_normal(shape)),
    "two modes": lambda rng, shape: rng.normal(3.0 * (rng.random(shape) < 0.3), 0.3),
}


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("models", [40, 64, 400])
def test_noise_passes_at_the_rate(kind: str, models: int) -> None:
    every = []
    for records, patients in ((1, 300_000 // models), (5, 120_000 // models)):
        rng = np.random.default_rng([models, records])
        signals = NOISE[kind](rng, (models, patients * records)).astype(np.float32)
        member = balanced(patients, models, rng)
        layout = lay_out(signals, member, np.repeat(np.arange(patients), records))
        every.append(of_layout(layout)[0])
    tpr = np.concatenate(every)
    error = tpr.std() / np.sqrt(tpr.size)
    assert error < 0.0025
    assert abs(tpr.mean() - 0.1) < 3.5 * error


@pytest.mark.parametrize("n", [20, 21, 32, 50, 200])
@pytest.mark.parametrize("rate", [0.1, 0.25])
def test_every_rank_alike_passes_at_exactly_the_rate(n: int, rate: float) -> None:
    # Where IN and OUT scores are alike, each of the n + 1 ranks is as likely.
    assert passing(n, rate).mean() == pytest.approx(rate)
    assert passing(n, rate)[0] == pytest.approx(1.0) or n < 50
    assert passing(n, rate)[-1] == 0.0


def test_perfect_separation_is_found_in_full() -> None:
    rng = np.random.default_rng(0)
    member = balanced(50, 40, rng)
    layout = lay_out(member.astype(float) + 0.1 * rng.random(member.shape), member, np.arange(50))
    np.testing.assert_allclose(tpr_of_patients(layout, layout.signals, (0.1,)), 1.0)


@pytest.mark.parametrize("models", [40, 64, 400])
@pytest.mark.parametrize("auc", [0.6, 0.75, 0.9])
def test_two_gaussians(models: int, auc: float) -> None:
    patients = 400_000 // models
    layout = simulate(np.full(patients, auc), models, np.random.default_rng(models)).layout()
    tpr = of_layout(layout)[0]
    true = norm.cdf(np.sqrt(2) * norm.ppf(auc) + norm.ppf(0.1))
    # What the extrapolation leaves of the bias, 1 / n squared, is at most a hundredth.
    assert abs(tpr.mean() - true) < 0.01 + 3.5 * tpr.std() / np.sqrt(patients)


def test_learned_weights_find_what_equal_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    member = balanced(300, 128, rng)
    signals = rng.standard_normal((128, 300, 4))
    signals[:, :, 0] += 2.5 * member  # one record of four gives the patient away
    layout = lay_out(signals.reshape(128, -1), member, np.repeat(np.arange(300), 4))
    equal = norm.cdf(2.5 / 2 + norm.ppf(0.1))
    assert of_layout(layout)[0].mean() > equal + 0.1


def naive(inside: np.ndarray, outside: np.ndarray, rate: float) -> float:
    """Coins and ties in full: all halves of the OUT scores, one by one."""

    def by_bar(score: float, others: np.ndarray) -> float:
        above, equal = (others > score).sum(), (others == score).sum()
        places = range(above, above + equal + 1)
        return float(np.mean([np.clip(rate * (len(others) + 1) - r, 0, 1) for r in places]))

    n = len(outside)
    half = max(n // 2, int(np.ceil(1 / rate)) - 1)
    halves = [outside[list(chosen)] for chosen in combinations(range(n), half)]
    whole = np.mean([by_bar(score, outside) for score in inside])
    part = np.mean([[by_bar(score, some) for score in inside] for some in halves])
    return float(whole + (whole - part) * (1 / n) / (1 / half - 1 / n))


@pytest.mark.parametrize("decimals", [8, 0])
@pytest.mark.parametrize("n", [8, 9])
def test_rule_agrees_with_all_halves_one_by_one(decimals: int, n: int) -> None:
    rng = np.random.default_rng([n, decimals])
    for _ in range(5):
        shifted = rng.normal(size=n + 6) + 1.0 * (np.arange(n + 6) >= n)
        scores = np.asarray(np.round(shifted, decimals), dtype=np.float64)
        outside = np.arange(n + 6) < n
        found = share_passing(scores[None], outside[None], ~outside[None], (0.25,))
        assert found[0, 0] == pytest.approx(naive(scores[~outside], scores[outside], 0.25))


def test_a_rate_that_few_models_do_not_resolve_is_not_given() -> None:
    layout = simulate(np.full(20, 0.8), 64, np.random.default_rng(0)).layout()
    found = of_layout(layout, (0.01, 0.1))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    few = simulate(np.full(20, 0.8), 38, np.random.default_rng(0)).layout()
    assert np.isnan(of_layout(few)).all()
