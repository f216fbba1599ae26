"""Attackers with few reference models: oracle, null, no weaker than the field's scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from auscult.attacks.layout import Layout, lay_out
from auscult.attacks.roc import exact_auc
from auscult.base.randomness import Stage, generator
from auscult.exposure.cell import How, attack
from auscult.exposure.references import ratio_to_references
from auscult.risk.patients import permuted
from tests.simulation import balanced

PROCESSES = ("sure of most", "levels apart", "heavy tails")


def cohort(process: str, seed: int, *, patients: int = 500, models: int = 16) -> Layout:
    """One record each; where models are sure, a member is hardly surer in log-odds."""
    rng = np.random.default_rng(seed)
    member = balanced(patients, models, rng)
    noise = rng.normal(size=(models, patients))
    if process == "sure of most":
        level = rng.exponential(3, patients) - 1
        signals = level + 0.5 * noise * np.exp(level / 3) + member * expit(-level)
    elif process == "levels apart":
        signals = rng.normal(0, 3, patients) + noise + member
    else:
        signals = rng.standard_t(2, patients) + rng.standard_t(2, noise.shape) + member
    return lay_out(signals.astype(np.float32), member, np.arange(patients))


def scored(layout: Layout, references: int) -> NDArray[np.float64]:
    """The ratio as a table of patients and models."""
    scores = ratio_to_references(layout, references, 3)
    found = np.full((layout.patients, layout.models), np.nan)
    row, *_ = np.nonzero(scores.deal.weight)
    inside = scores.deal.weight > 0
    found[row, scores.deal.model[inside]] = scores.values[inside]
    return found


@pytest.mark.parametrize("references", [1, 3])
def test_the_ratio_equals_loops(references: int) -> None:
    rng = np.random.default_rng(1)
    member = balanced(30, 8, rng)
    of = np.repeat(np.arange(30), rng.integers(1, 4, 30))
    signals = rng.normal(0, 4, (8, of.size)).astype(np.float32)
    layout = lay_out(signals, member, of)
    fold = np.full((30, 8), -1)
    dealt = layout.deal()
    for p, f, label, k in np.ndindex(dealt.weight.shape):
        if dealt.weight[p, f, label, k] > 0:
            fold[p, dealt.model[p, f, label, k]] = f
    expected = np.full((30, 8), np.nan)
    for target in range(8):
        order = [m for m in generator(3, Stage.REFERENCES, target).permutation(8) if m != target]
        for p in range(30):
            mine = layout.order[layout.patient == p]
            sure = [expit(float(np.mean(signals[m, mine].astype(float)))) for m in range(8)]
            seen = [m for m in order if fold[p, m] != fold[p, target]][:references]
            outside = [sure[m] for m in seen if not layout.member[p, m]]
            if outside:
                expected[p, target] = np.log(sure[target] / np.mean(outside))
        column = expected[:, target]
        column[np.isnan(column)] = np.nanmean(column)
    expected /= expected.std()
    found = scored(layout, references)
    inside = np.isfinite(found)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("references", [1, 4])
def test_no_score_of_the_field_is_stronger(process: str, references: int) -> None:
    layout = cohort(process, 2, patients=1500)
    ours = attack(layout, How(references=references, signed=False, seed=3)).evidence
    ratio = scored(layout, references)
    inside = np.isfinite(ratio)
    member = layout.member
    for score in (ratio, layout.signals):
        theirs = exact_auc(score[inside & member], score[inside & ~member])
        assert ours.auc() > theirs - 0.004
    assert ours.calibration()["error"] < 0.03


def test_a_ratio_helps_where_models_are_sure_of_most() -> None:
    layout = cohort("sure of most", 2, patients=1500)
    how = How(references=4, signed=False, seed=3)
    ours = attack(layout, how).evidence.auc()
    # A signal that expit cannot tell from certainty has no ratio; all else is as it was.
    sure = attack(replace(layout, signals=layout.signals + np.float32(60)), how).evidence.auc()
    assert ours > sure + 0.005


def test_how_far_signals_lie_from_zero_does_not_matter_to_the_signal_itself() -> None:
    layout = cohort("sure of most", 2, patients=1500)
    how = How(references=1, signed=False, seed=3)
    # Both so far that there is no ratio.
    some, more = (
        attack(replace(layout, signals=layout.signals + np.float32(shift)), how).evidence.auc()
        for shift in (64, 2048)
    )
    assert more == pytest.approx(some, abs=1e-3)
    assert some > exact_auc(layout.signals[layout.member], layout.signals[~layout.member])


def test_where_nothing_leaks_no_reference_finds_anything() -> None:
    found, claimed = [], []
    for seed in range(4):
        for process in PROCESSES:
            layout = permuted(cohort(process, seed), np.random.default_rng([seed, 5]))
            for references in (1, 4):
                how = How(references=references, signed=False, seed=seed)
                evidence = attack(layout, how).evidence
                found.append(evidence.auc())
                claimed.append(np.abs(evidence.ratio).mean())
    error = np.std(found) / np.sqrt(len(found))
    assert 0.488 < np.mean(found) < 0.5 + 3 * error
    assert np.mean(claimed) < 0.1


def test_models_that_are_all_trained_on_somebody_say_nothing_of_them() -> None:
    rng = np.random.default_rng(4)
    for models, patients in ((8, 2), (8, 40)):
        member = balanced(patients, models, rng)
        signals = np.full((models, patients), 40.0, dtype=np.float32)
        layout = lay_out(signals, member, np.arange(patients))
        values = ratio_to_references(layout, 1, 3).values
        assert layout.estimable().all()
        assert np.abs(values).max() == 0
