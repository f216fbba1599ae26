"""Attacks against naive oracles, analytic cases and the null."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, ndtri

from auscult.attacks.joint import auc_in_folds, joint_scores, tuned
from auscult.attacks.record import RECORD_ATTACKS, rmia_scores
from auscult.attacks.roc import aggregate_roc, exact_auc
from auscult.layout import Centring, Layout, lay_out
from auscult.progress import SILENT
from tests.simulation import balanced, simulate

ATTACKS = {attack.name: attack for attack in RECORD_ATTACKS}


@pytest.fixture(scope="module")
def small() -> Layout:
    rng = np.random.default_rng(3)
    count = rng.integers(1, 4, 12)
    return simulate(rng.uniform(0.5, 0.95, 12), 40, rng, records=count).layout()


def scored(name: str, layout: Layout) -> NDArray[np.floating]:
    """Finished scores, shape (records, models)."""
    attack = ATTACKS[name]
    raw = attack.score(layout, SILENT)
    return np.stack([attack.of_target(raw, layout, m) for m in range(layout.models)], axis=1)


def by_target(scores: NDArray[np.floating]) -> Callable[[int], NDArray[np.floating]]:
    return lambda model: scores[:, model]


def fold_of(layout: Layout, patient: int, model: int) -> int:
    """Fold of a model, looked up in the deal, whose own tests are in test_layout.py."""
    dealt = layout.deal()
    places = (dealt.model[patient] == model) & (dealt.weight[patient] > 0)
    return int(np.flatnonzero(places.any(axis=(1, 2)))[0])


def references_of(
    layout: Layout, row: int, target: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IN and OUT reference signals of a record for a target, by loops."""
    patient = int(layout.patient[row])
    fold = fold_of(layout, patient, target)
    others = [m for m in range(layout.models) if fold_of(layout, patient, m) != fold]
    inside = [float(layout.signals[row, m]) for m in others if layout.member[patient, m]]
    outside = [float(layout.signals[row, m]) for m in others if not layout.member[patient, m]]
    return np.array(inside), np.array(outside)


def test_lira_online_equals_scipy_per_record(small: Layout) -> None:
    fast = scored("lira", small)
    for row in range(0, small.records, 3):
        for target in range(0, small.models, 7):
            inside, outside = references_of(small, row, target)
            x = small.signals[row, target]
            slow = stats.norm.logpdf(x, inside.mean(), inside.std(ddof=1))
            slow -= stats.norm.logpdf(x, outside.mean(), outside.std(ddof=1))
            assert fast[row, target] == pytest.approx(slow, abs=1e-9)


def test_lira_offline_equals_the_z_score_of_out_models(small: Layout) -> None:
    fast = scored("lira_offline", small)
    for row in range(0, small.records, 4):
        _, outside = references_of(small, row, 5)
        slow = (small.signals[row, 5] - outside.mean()) / outside.std(ddof=1)
        assert fast[row, 5] == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("name", ["rmia", "rmia_offline"])
def test_rmia_equals_the_double_loop(small: Layout, name: str) -> None:
    fast = scored(name, small)
    for target in (0, 11, 29):
        means = []
        for row in range(small.records):
            inside, outside = references_of(small, row, target)
            means.append((expit(inside).mean(), expit(outside).mean()))
        p_in, p_out = np.array(means).T
        if name == "rmia_offline":
            a = ((1 - p_in) * (1 - p_out)).sum() / ((1 - p_out) ** 2).sum()
            p_in = a * p_out + (1 - a)
        ratio = expit(small.signals[:, target]) / ((p_in + p_out) / 2)
        for x in range(small.records):
            won = [
                ratio[x] / ratio[z] > 2.0
                for z in range(small.records)
                if not small.member[small.patient[z], target]
            ]
            assert fast[x, target] == pytest.approx(np.mean(won), abs=1e-9)


def test_offline_rmia_infers_no_negative_mean_where_members_score_lower() -> None:
    rng = np.random.default_rng(8)
    layout = simulate(rng.uniform(0.02, 0.2, 14), 40, rng).layout()
    fast = scored("rmia_offline", layout)
    for target in (0, 17, 33):
        means = [[expit(s).mean() for s in references_of(layout, row, target)] for row in range(14)]
        p_in, p_out = np.array(means).T
        assert ((1 - p_in) * (1 - p_out)).sum() > ((1 - p_out) ** 2).sum(), "a would be above 1"
        ratio = expit(layout.signals[:, target]) / p_out  # a = 1: the IN mean is the OUT mean
        population = ratio[~layout.member[layout.patient, target]]
        slow = [(one / population > 2.0).mean() for one in ratio]
        np.testing.assert_allclose(fast[:, target], slow, atol=1e-9)


def test_rmia_counts_only_strict_dominance() -> None:
    scores = rmia_scores(np.array([2.0, 2.0001, 9.0]), np.array([1.0, 1.0, 4.5]), gamma=2.0)
    np.testing.assert_allclose(scores, [0, 2 / 3, 2 / 3])


def test_population_attack_is_the_signal(small: Layout) -> None:
    np.testing.assert_array_equal(scored("population", small), small.signals)


def test_few_models_borrow_variance_from_like_records() -> None:
    # With 8 models a record's own variance is near noise; borrowing must win on average.
    rng = np.random.default_rng(8)
    sim = simulate(np.full(400, 0.8), 8, rng)
    layout = sim.layout()
    scores = scored("lira", layout)
    borrowed = np.mean([exact_auc(*_split(layout, scores, m)) for m in range(8)])
    own = np.empty_like(scores)
    for row in range(layout.records):
        for target in range(layout.models):
            inside, outside = references_of(layout, row, target)
            x = layout.signals[row, target]
            own[row, target] = stats.norm.logpdf(x, inside.mean(), inside.std(ddof=1) + 1e-9)
            own[row, target] -= stats.norm.logpdf(x, outside.mean(), outside.std(ddof=1) + 1e-9)
    plain = np.mean([exact_auc(*_split(layout, own, m)) for m in range(8)])
    assert borrowed > plain + 0.02


def _split(
    layout: Layout, scores: NDArray[np.floating], model: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    inside = layout.member[layout.patient, model]
    return scores[inside, model], scores[~inside, model]


def test_exact_auc_counts_ties_half() -> None:
    assert exact_auc(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == 0.75
    assert exact_auc(np.zeros(5), np.zeros(7)) == 0.5
    rng = np.random.default_rng(8)
    for members, others in ((70_000, 40_001), (3, 100_000)):  # in pieces, with ties between them
        first, second = rng.integers(0, 500, members), rng.integers(-20, 480, others)
        wins = stats.mannwhitneyu(first, second, method="asymptotic").statistic
        expected = wins / (members * others)
        assert exact_auc(first / 7, second / 7) == pytest.approx(expected, abs=1e-12)


def test_roc_of_constant_scores_is_the_diagonal_in_any_order() -> None:
    rng = np.random.default_rng(0)
    layout = simulate(np.full(300, 0.7), 8, rng).layout()
    roc = aggregate_roc(layout, by_target(np.zeros(layout.signals.shape)), rng)
    assert roc.auc == 0.5
    np.testing.assert_allclose(roc.tpr, roc.fpr, atol=1e-9)


def test_roc_of_two_gaussians_matches_theory_and_its_interval_covers_it() -> None:
    covered, aucs = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sim = simulate(np.full(400, 0.8), 32, rng)
        layout = sim.layout()
        scores = (layout.signals - sim.level[:, None]) / sim.spread[:, None]
        roc = aggregate_roc(layout, by_target(scores), rng)
        aucs.append(roc.auc)
        covered.append(roc.low <= 0.8 <= roc.high)
        rate = roc.tpr_at(0.1)
        assert rate is not None
        assert rate[0] == pytest.approx(
            stats.norm.sf(ndtri(0.9) - ndtri(0.8) * np.sqrt(2)), abs=0.03
        )
    assert np.mean(aucs) == pytest.approx(0.8, abs=0.01)
    assert np.mean(covered) >= 0.8


def test_tpr_is_not_given_finer_than_the_records_resolve() -> None:
    rng = np.random.default_rng(0)
    layout = simulate(np.full(100, 0.8), 8, rng).layout()
    roc = aggregate_roc(layout, by_target(layout.signals), rng)
    assert roc.tpr_at(0.001) is None
    assert roc.fpr.min() >= 1 / 100


def test_joint_equals_loops() -> None:
    rng = np.random.default_rng(5)
    count = np.array([1, 2, 3, 2, 4, 1, 2, 3, 1, 2, 5, 2])
    sim = simulate(np.full(12, 0.85), 32, rng, records=count)
    layout = sim.layout()
    attack = tuned(layout, None)
    found = attack.score(layout, layout.signals)
    auc = auc_in_folds(found.values, found.deal.weight)
    for patient in range(12):
        k = int(count[patient])
        rows = np.arange(layout.first[patient], layout.first[patient] + k)
        low_high = {1: "1", 2: "2"}.get(k, "3-5")
        strengths = attack.strengths[low_high]
        won = pairs = 0.0
        for fold in range(4):
            effect = _band_effect(layout, count, k, fold)
            scores = {}
            train = [m for m in range(32) if fold_of(layout, patient, m) != fold]
            a = np.array([m for m in train if layout.member[patient, m]])
            b = np.array([m for m in train if not layout.member[patient, m]])
            x = layout.signals[rows]
            difference = x[:, a].mean(axis=1) - x[:, b].mean(axis=1)
            shrunk = _shrunk_covariance(x, a, b)
            weights = np.ones(k)
            if np.isfinite(strengths[fold]):
                pull = strengths[fold] / len(train) * np.trace(shrunk) / k
                scale = effect / np.sqrt(shrunk.sum())
                weights = np.linalg.solve(
                    shrunk + pull * np.eye(k), difference + pull * scale * np.ones(k)
                )
            for m in range(32):
                if fold_of(layout, patient, m) == fold:
                    scores[m] = float(weights @ x[:, m])
            for i in scores:
                for j in scores:
                    if layout.member[patient, i] and not layout.member[patient, j]:
                        pairs += 1
                        won += (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
        assert auc[patient] == pytest.approx(won / pairs, abs=1e-9)


def _shrunk_covariance(
    x: NDArray[np.floating], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float64]:
    k = x.shape[0]
    scatter = np.zeros((k, k))
    for part in (a, b):
        for m in part:
            d = x[:, m] - x[:, part].mean(axis=1)
            scatter += np.outer(d, d)
    covariance = scatter / (len(a) + len(b) - 2)
    return np.asarray(0.7 * covariance + 0.3 * np.diag(np.diag(covariance)))


def _band_effect(layout: Layout, count: NDArray[np.int64], k: int, fold: int) -> float:
    band = [p for p in range(len(count)) if (count[p] == k if k < 3 else 3 <= count[p] <= 5)]
    effects = []
    for p in band:
        rows = np.arange(layout.first[p], layout.first[p] + count[p])
        train = [m for m in range(layout.models) if fold_of(layout, p, m) != fold]
        a = np.array([m for m in train if layout.member[p, m]])
        b = np.array([m for m in train if not layout.member[p, m]])
        x = layout.signals[rows]
        difference = x[:, a].mean(axis=1) - x[:, b].mean(axis=1)
        effects.append(difference.sum() / np.sqrt(_shrunk_covariance(x, a, b).sum()))
    return max(float(np.mean(effects)), 0.05)


@pytest.mark.parametrize("k", [1, 2, 5, 20, 100])
def test_joint_null_is_one_half(k: int) -> None:
    means = []
    for seed in range(6):
        rng = np.random.default_rng(1000 * k + seed)
        patients = 400 if k < 20 else 60
        sim = simulate(np.full(patients, 0.5), 32, rng, records=np.full(patients, k), shared=0.3)
        layout = sim.layout()
        found = joint_scores(layout, Centring(layout))
        means.append(auc_in_folds(found.values, found.deal.weight).mean())
    # Standard error of a patient's AUC at 32 models is about 0.11.
    error = 0.11 / np.sqrt(6 * patients)
    assert abs(np.mean(means) - 0.5) < 4 * error


@pytest.mark.parametrize("k", [1, 4])
def test_joint_reaches_the_planted_auc(k: int) -> None:
    rng = np.random.default_rng(k)
    sim = simulate(np.full(500, 0.85), 128, rng, records=np.full(500, k))
    layout = sim.layout()
    found = joint_scores(layout, Centring(layout))
    mean = auc_in_folds(found.values, found.deal.weight).mean()
    # Weights learned from 96 models lose a little against the best ones.
    assert 0.83 < mean < 0.86


def test_centring_removes_what_a_model_gives_everybody() -> None:
    rng = np.random.default_rng(2)
    sim = simulate(np.full(300, 0.75), 32, rng)
    shifted = sim.signals + 5 * rng.normal(size=(32, 1))
    layout = lay_out(shifted, sim.member, sim.patient)
    plain = joint_scores(layout)
    better = joint_scores(layout, Centring(layout))
    assert auc_in_folds(better.values, better.deal.weight).mean() > 0.72
    assert auc_in_folds(plain.values, plain.deal.weight).mean() < 0.6


def test_centring_never_reads_the_patient_that_it_centres() -> None:
    rng = np.random.default_rng(6)
    sim = simulate(np.full(60, 0.7), 16, rng)

    def centres(signals: NDArray[np.float64]) -> NDArray[np.float64]:
        layout = lay_out(signals, sim.member, sim.patient)
        return np.asarray(layout.signals - Centring(layout).apply(layout), dtype=np.float64)

    usual = centres(sim.signals)
    for patient in range(0, 60, 7):
        changed = sim.signals.copy()
        # From one side of each model's median to the other: any median that holds it must move.
        low = changed[:, patient] < np.median(changed, axis=1)
        changed[:, patient] = np.where(low, 100.0, -100.0)
        found = centres(changed)
        np.testing.assert_allclose(found[patient], usual[patient], atol=1e-4)
        moved = (np.abs(found - usual) > 1e-3).any(axis=1)
        assert moved.sum() >= 40, "patients of other groups are centred on this one as well"


def test_patients_in_too_few_models_are_not_estimable() -> None:
    rng = np.random.default_rng(0)
    sim = simulate(np.full(30, 0.8), 16, rng)
    member = sim.member.copy()
    member[:, 0] = False
    member[:3, 0] = True
    layout = lay_out(sim.signals, member, sim.patient)
    found = joint_scores(layout)
    auc = auc_in_folds(found.values, found.deal.weight)
    assert np.isnan(auc[0])
    assert np.isfinite(auc[1:]).all()


def test_unbalanced_membership_is_handled() -> None:
    rng = np.random.default_rng(4)
    member = rng.random((32, 50)) < 0.4
    signals = rng.normal(size=(32, 50)) + member * 2
    layout = lay_out(signals, member, np.arange(50))
    found = joint_scores(layout)
    auc = auc_in_folds(found.values, found.deal.weight)
    assert np.nanmean(auc) == pytest.approx(stats.norm.cdf(2 / np.sqrt(2)), abs=0.03)


def test_balanced_membership_has_half() -> None:
    member = balanced(50, 16, np.random.default_rng(0))
    assert (member.sum(axis=0) == 8).all()
