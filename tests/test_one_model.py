"""What one model gives away: analytic case, oracle, null, and what is not resolved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from auscult.attacks.layout import Layout
from auscult.attacks.roc import aggregate_roc, exact_auc
from auscult.exposure.calibration import GROUPS, terms_of
from auscult.exposure.cell import Points
from auscult.exposure.one_model import comparable_scores, one_model, orders_of
from auscult.risk.patients import patient_risk, permuted
from auscult.risk.stability import Halves, half_risks
from tests.simulation import simulate


def found(layout: Layout, *, smallest_cell: int = 10, halves: bool = True) -> dict[str, Any]:
    risk, _ = patient_risk(layout, (0.9,))
    half = half_risks(layout, np.random.default_rng(1)) if halves else None
    return one_model(layout, risk.attack, risk.centring, half, seed=3, smallest_cell=smallest_cell)


@pytest.fixture(scope="module")
def mixed() -> Layout:
    """A tenth of 1,200 patients at an AUC of 0.97, the others near a coin flip."""
    rng = np.random.default_rng(8)
    auc = np.where(np.arange(1200) < 120, 0.97, 0.55)
    return simulate(auc, 32, rng).layout()


@pytest.fixture(scope="module")
def usual(mixed: Layout) -> dict[str, Any]:
    return found(mixed)


def test_members_found_are_those_of_two_normals() -> None:
    rng = np.random.default_rng(4)
    layout = simulate(np.full(1000, 0.9), 64, rng).layout()
    one = found(layout)
    right = float(ndtr(np.sqrt(2) * ndtri(0.9) + ndtri(0.01)))
    row = one["at_fpr"]["0.01"]["members"]
    # Weights and levels are estimated from 48 models, which costs an attacker a little.
    assert right - 0.06 < row["estimate"] < right + 0.02
    assert row["low"] < row["estimate"] < row["high"]
    assert one["members_per_model"] + one["others_per_model"] == pytest.approx(1000, abs=2)


def test_shuffled_membership_finds_as_many_members_as_false_positives(mixed: Layout) -> None:
    one = found(permuted(mixed, np.random.default_rng(2)))
    assert one["at_fpr"]["0.01"]["members"]["estimate"] == pytest.approx(0.01, abs=0.003)
    assert one["auc"]["estimate"] == pytest.approx(0.5, abs=0.01)


def test_what_chance_teaches_of_one_half_is_not_reversed_on_the_other() -> None:
    """0.490 where own models teach it: of 32 a patient is OUT of 3, in one half or in the other."""
    patients, models, aucs = 100, 32, []
    number = np.arange(patients * models)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        member = np.ones((patients, models), dtype=np.bool_)
        member[:, :3] = False
        points = Points(
            terms=terms_of(rng.normal(size=number.size), rng.normal(size=patients).repeat(models)),
            member=rng.permuted(member, axis=1).ravel(),
            patient=number // models,
            model=number % models,
            half=number % 2,
            band=np.zeros(number.size, dtype=np.int64),
        )
        orders = orders_of(points, points.patient % GROUPS)
        own = np.take_along_axis(orders, points.half[None], axis=0)[0]
        aucs.append(exact_auc(own[points.member], own[~points.member]))
    # Of 60 cohorts, 0.02 each.
    assert abs(np.mean(aucs) - 0.5) < 0.006


def test_rates_are_those_of_a_loop_over_models(mixed: Layout, usual: dict[str, Any]) -> None:
    risk, _ = patient_risk(mixed, ())
    scores = comparable_scores(mixed, risk.attack, risk.centring, 3)
    rates = []
    for model in range(mixed.models):
        inside = mixed.member[:, model]
        others = np.sort(scores[~inside, model])[::-1]
        allowed = int(0.01 * others.size)
        low, high = (
            (scores[inside, model] >= others[n - 1]).mean() for n in (allowed, allowed + 1)
        )
        share = 0.01 * others.size - allowed
        rates.append((1 - share) * low + share * high)
    one = usual["at_fpr"]["0.01"]["members"]["estimate"]
    assert one == pytest.approx(float(np.mean(rates)), abs=2e-3)


def test_the_exposed_are_found_far_more_often_than_the_others(usual: dict[str, Any]) -> None:
    row = usual["at_fpr"]["0.01"]
    assert row["exposed"]["low"] > 3 * row["members"]["high"]
    # All of the exposed are members of half of the models.
    assert usual["exposed_per_model"] == pytest.approx(60, rel=0.25)


def test_who_is_exposed_is_told_by_the_half_without_the_attacked_model(mixed: Layout) -> None:
    risk, _ = patient_risk(mixed, ())
    halves = half_risks(mixed, np.random.default_rng(1))
    assert halves is not None
    everybody, nobody = np.ones(mixed.patients), np.zeros(mixed.patients)
    for above, own in (((everybody, nobody), ~halves.first), ((nobody, everybody), halves.first)):
        planted = Halves(first=halves.first, aucs=halves.aucs, above=above)
        one = one_model(mixed, risk.attack, risk.centring, planted, seed=3, smallest_cell=10)
        assert one["exposed_per_model"] == (mixed.member & own).sum() / mixed.models


def test_rates_finer_than_the_patients_are_not_given(usual: dict[str, Any]) -> None:
    row = usual["at_fpr"]["0.001"]
    assert row["members"] is None
    assert row["exposed"] is None
    assert "0.1% of them is fewer than one" in row["reason"]


def test_few_models_and_few_exposed_are_said(mixed: Layout) -> None:
    row = found(mixed, halves=False)["at_fpr"]["0.01"]
    assert row["exposed"] is None
    assert row["reason"] == "fewer than 16 models"
    one = found(mixed, smallest_cell=500)
    assert one["exposed_per_model"] is None
    assert "fewer than 500 of a model's members" in one["at_fpr"]["0.01"]["reason"]


def test_weights_of_zero_and_one_leave_members_out() -> None:
    rng = np.random.default_rng(5)
    layout = simulate(rng.uniform(0.5, 0.99, 400), 16, rng).layout()
    kept = rng.random(400) < 0.5
    scores = layout.signals

    def without(model: int) -> np.ndarray:
        out = layout.member[:, model] & ~kept
        return np.where(out, np.nan, scores[:, model])

    one = aggregate_roc(
        layout,
        lambda m: scores[:, m],
        np.random.default_rng(1),
        weight=lambda _: kept.astype(float),
    )
    other = aggregate_roc(layout, without, np.random.default_rng(1))
    np.testing.assert_allclose(one.tpr, other.tpr, atol=1e-12)
    np.testing.assert_allclose(one.tpr_high, other.tpr_high, atol=1e-12)


def test_the_same_seed_gives_the_same_figures(mixed: Layout, usual: dict[str, Any]) -> None:
    assert found(mixed) == usual


@pytest.mark.slow
def test_intervals_cover_what_other_cohorts_of_the_kind_give() -> None:
    rows = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        auc = np.where(rng.random(400) < 0.15, 0.96, 0.6)
        row = found(simulate(auc, 32, rng).layout())["at_fpr"]["0.01"]
        rows.append([[row[key][name] for name in ("estimate", "low", "high")]
                     for key in ("members", "exposed")])  # fmt: skip
    figures = np.array(rows)
    truth = figures[:, :, 0].mean(axis=0)
    inside = (figures[:, :, 1] <= truth) & (truth <= figures[:, :, 2])
    assert (inside.mean(axis=0) >= 0.85).all()
    # Models and patients are drawn together, so that an interval is rather wide than narrow.
    widths = (figures[:, :, 2] - figures[:, :, 1]).mean(axis=0) / 3.92
    assert (widths < 2 * figures[:, :, 0].std(axis=0)).all()
