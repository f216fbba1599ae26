"""Models that train on another share of the patients than half."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult import Audit, Cohort, SklearnRecipe
from auscult.attacks.dealing import deal, waves_of
from auscult.attacks.joint import auc_in_folds, joint_scores
from auscult.attacks.layout import Centring, lay_out
from auscult.base.errors import AuscultError, ConfigError, StoreError
from auscult.base.ranks import ranks
from auscult.cohort.design import Design, nearest_share
from auscult.protection.variants import Variant
from auscult.release.calibrator import fit_calibrator, held_out_log_odds, reliability
from auscult.risk.patients import permuted
from auscult.risk.stability import both_halves
from tests.cohorts import visits
from tests.test_growing import Remembering, here, people, release, results_of

__all__ = ["here", "people", "release"]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_every_patient_is_in_the_share_of_every_whole_wave(share: float) -> None:
    design = Design(models=64, patients=3000, seed=1, share=share)
    member = design.membership().reveal()
    for first in range(0, 64 - design.wave + 1, design.wave):
        inside = member[first : first + design.wave].sum(axis=0)
        assert (inside == round(share * design.wave)).all()
    total = member.sum(axis=0)
    assert math.floor(64 * share) <= total.min()
    assert total.max() <= math.ceil(64 * share)
    # A short last wave trains on as many patients as the others.
    np.testing.assert_allclose(member.mean(axis=1), share, atol=0.04)
    outside, inside = design.fewest()
    assert ((64 - total) >= outside).all()
    assert (total >= inside).all()
    assert waves_of(member) == design.wave


def test_models_that_do_not_fit_are_refused_with_a_number_that_does() -> None:
    with pytest.raises(AuscultError, match="OUT of 1 of them only") as refused:
        Design(models=20, patients=50, seed=1, share=0.95).check()
    assert "40" in str(refused.value)
    Design(models=40, patients=50, seed=1, share=0.95).check()
    with pytest.raises(AuscultError, match=r"nearest one is 0\.95"):
        Design(models=64, patients=50, seed=1, share=0.97).check()
    assert [nearest_share(x) for x in (0.38, 0.58, 1.0, 0.0)] == [0.4, 0.6, 0.95, 0.05]


@pytest.mark.parametrize(("share", "models"), [(0.5, 16), (0.7, 28), (0.8, 40), (0.9, 40)])
def test_halves_of_the_models_tell_of_every_patient(share: float, models: int) -> None:
    design = Design(models=models, patients=300, seed=1, share=share)
    assert next(n for n in range(8, 100, 2) if design.halves_carry(n)) == models
    layout = lay_out(np.zeros((models, 300)), design.membership().reveal(), np.arange(300))
    for half in both_halves(layout, 1):
        assert replace(layout, used=half).estimable().all()


def test_too_few_models_to_choose_the_most_exposed_are_refused() -> None:
    cohort = Cohort.from_table(visits(60), patient="person", label="outcome")
    leaves = [Variant(without_top=0.2)]
    audit = Audit(
        cohort, SklearnRecipe("logistic_regression"), models=16, share=0.7, protect=leaves
    )
    with pytest.raises(ConfigError, match="at a share of 0\\.7\\. Expected: at least 28"):
        audit.plans()
    audit.models = 28
    assert [plan.name for plan in audit.plans()] == ["without the 20% most exposed"]


@pytest.mark.parametrize(("share", "folds"), [(0.5, 4), (0.8, 4), (0.9, 2), (0.95, 3)])
def test_every_fold_has_both_kinds_and_every_model_lies_in_one(share: float, folds: int) -> None:
    member = Design(models=64, patients=200, seed=1, share=share).membership().reveal()
    layout = lay_out(np.zeros((64, 200), dtype=np.float32), member, np.arange(200))
    assert layout.folds == folds
    assert layout.estimable().all()
    dealt = layout.deal()
    assert (dealt.weight.sum(axis=3) > 0).all()
    for patient in range(200):
        used = dealt.weight[patient] > 0
        assert sorted(dealt.model[patient][used]) == list(range(64))
        for label in (0, 1):
            mine = dealt.model[patient][:, label][used[:, label]]
            assert (member[mine, patient] == bool(label)).all()
    # A patient is dealt the same way whoever is dealt with it.
    some = deal(member.T[5:9].copy(), folds, number=np.arange(5, 9), wave=layout.wave)
    for patient in range(4):
        for fold in range(folds):
            for label in (0, 1):
                a = some.model[patient, fold, label][some.weight[patient, fold, label] > 0]
                other = dealt.weight[patient + 5, fold, label] > 0
                b = dealt.model[patient + 5, fold, label][other]
                assert sorted(a) == sorted(b)


def _nobody(seed: int, share: float) -> tuple[NDArray[np.float32], NDArray[np.bool_], Any]:
    """Signals that other patients' membership moves, and the own never."""
    rng = np.random.default_rng(seed)
    member = Design(models=64, patients=200, seed=seed, share=share).membership().reveal()
    of = np.repeat(np.arange(200), 4)
    pull = rng.normal(size=(of.size, 200))
    pull[np.arange(of.size), of] = 0
    return ((member - share) @ pull.T).astype(np.float32), member, of


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_nothing_is_found_where_nothing_leaks(share: float) -> None:
    """At a share of 0.95, 0.506 where the models of a wave are dealt to several folds."""
    found = []
    for seed in range(12):
        layout = lay_out(*_nobody(seed, share))
        scores = joint_scores(layout, Centring(layout))
        found.append(np.nanmean(auc_in_folds(scores.values, scores.deal.weight)))
    assert abs(np.mean(found) - 0.5) < max(0.005, 3 * np.std(found) / np.sqrt(12))


@pytest.mark.parametrize("in_use", [False, True])
def test_shuffled_membership_says_nothing_of_the_signals_of_a_short_wave(in_use: bool) -> None:
    """0.5054 where a patient is called OUT in the last wave whenever it truly was."""
    n = 4000
    member = Design(models=64, patients=n, seed=3, share=0.95).membership().reveal()
    signals = np.random.default_rng(0).normal(size=member.shape) + 2.2 * member
    layout = lay_out(signals.astype(np.float32), member, np.arange(n))
    if in_use:
        layout = replace(layout, used=np.ones(layout.member.shape, dtype=np.bool_))
    rank = ranks(layout.signals.astype(np.float64))
    found, shares = [], []
    for seed in range(12):
        again = permuted(layout, np.random.default_rng(seed)).member
        many = again.sum(axis=1)
        won = np.where(again, rank, 0).sum(axis=1) - many * (many + 1) / 2
        found.append((won / (many * (64 - many))).mean())
        shares.append(again.mean())
        for first in range(0, 60, 20):
            assert (again[:, first : first + 20].sum(axis=1) == 19).all()
    # Of 48,000 patients with a standard deviation of 0.17: an error of 0.0008.
    assert abs(np.mean(found) - 0.5) < 0.0024
    # Everybody's membership of the last wave is somebody's.
    np.testing.assert_allclose(shares, member.mean())


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_ratios_are_calibrated_at_any_share(share: float) -> None:
    """Two normals: the true log-likelihood ratio is known, whatever the share of members."""
    rng = np.random.default_rng(1)
    member = rng.random((2000, 40)) < share
    score = rng.normal(size=member.shape) + np.where(member, 1.0, -1.0)
    ratio = 2 * score
    fold = np.broadcast_to(np.arange(40) % 4, member.shape).astype(np.int8)
    found = held_out_log_odds(ratio, member, fold)
    told = reliability(found, member, rng)
    assert told["ece"]["estimate"] < 0.01
    middle = np.abs(ratio) < 1.5
    assert abs(float((found - ratio)[middle].mean())) < 0.1
    assert fit_calibrator(ratio.ravel(), member.ravel())(np.array([0.0])) == pytest.approx(
        0, abs=0.3
    )


def test_an_epoch_is_one_pass_over_the_members() -> None:
    from auscult.recipes.torch.training import steps_per_epoch

    assert steps_per_epoch(1000, 100) == 5
    assert steps_per_epoch(1000, 100, 0.8) == 8
    assert steps_per_epoch(1000, 100, 0.95) == 10


@pytest.mark.usefixtures("here")
def test_runs_of_any_share_grow_and_another_share_is_another_run(
    people: Cohort, tmp_path: Path
) -> None:
    def audit(models: int, share: float) -> Audit:
        return Audit(people, Remembering(), models=models, seed=3, share=share)

    grown, whole = tmp_path / "a" / "run", tmp_path / "b" / "run"
    audit(20, 0.8).run(grown, workers=1)
    with pytest.raises(StoreError, match="share"):
        audit(20, 0.5).run(grown, workers=1)
    result = audit(48, 0.8).run(grown, workers=1)
    audit(48, 0.8).run(whole, workers=1)
    assert results_of(grown) == results_of(whole)
    assert result.summary["models"]["trained_on"] == {"patients": 48, "of": 60}
    assert "each model trained on 48 of the 60 patients" in result.headline


@pytest.mark.usefixtures("here")
def test_the_share_of_the_release_is_taken_from_its_members(
    people: Cohort,
    release: Any,  # noqa: ANN401
) -> None:
    assert (
        Audit(people, Remembering(), share="as released", release=release).share_of_members == 0.5
    )
    with pytest.raises(AuscultError, match="not known which share"):
        Audit(people, Remembering(), share="as released").check()
