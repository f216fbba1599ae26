"""Folds of models: dealt per patient, and every labelling of a fold equally likely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from auscult.attacks.dealing import deal
from auscult.attacks.joint import auc_in_folds, joint_scores
from auscult.attacks.layout import lay_out, take_patients
from auscult.cohort.cohort import record_bands
from auscult.risk.patients import permuted
from tests.simulation import simulate


def balanced(
    patients: int, models: int, seed: int = 0
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    ranks = np.random.default_rng(seed).random((patients, models)).argsort(axis=1).argsort(axis=1)
    return np.asarray(ranks < models // 2)


def test_every_model_is_dealt_once_and_folds_are_balanced() -> None:
    member = balanced(30, 32)
    dealt = deal(member, 4)
    for patient in range(30):
        used = dealt.weight[patient] > 0
        assert sorted(dealt.model[patient][used].tolist()) == list(range(32))
        assert (used.sum(axis=2) == 4).all()
        for label in (0, 1):
            numbers = dealt.model[patient][:, label][used[:, label]]
            assert (member[patient, numbers] == bool(label)).all()
    again = deal(member, 4)
    np.testing.assert_array_equal(dealt.model, again.model)


def test_labels_inside_a_fold_do_not_follow_from_the_other_folds() -> None:
    # Two folds of 2 models each. Given which models are where and who is IN in the other fold, the
    # lower of a fold's two models is IN half of the time; dealt in order of numbers it is not:
    # IN, IN, OUT, OUT would always give the pairs (0, 2) and (1, 3).
    member = balanced(20_000, 4, seed=1)
    dealt = deal(member, 2)
    inside, outside = dealt.model[:, :, 1, 0], dealt.model[:, :, 0, 0]
    lower_is_in = inside[:, 0] < outside[:, 0]
    others = inside[:, 1] * 4 + outside[:, 1]
    for other in np.unique(others):
        here = others == other
        error = 0.5 / np.sqrt(here.sum())
        assert abs(lower_is_in[here].mean() - 0.5) < 4 * error


def test_odd_models_do_not_bias_the_null() -> None:
    # Two models that were trained badly give everybody the same odd signals.
    rng = np.random.default_rng(5)
    layout = simulate(np.full(200, 0.5), 32, rng, records=np.full(200, 12)).layout()
    signals = layout.signals.copy()
    signals[:, 7] -= 6.0
    signals[:, 21] += 3.0 * rng.normal(size=len(signals))
    means = []
    for seed in range(10):
        again = permuted(layout, np.random.default_rng(seed))
        found = joint_scores(replace(again, signals=signals))
        means.append(auc_in_folds(found.values, found.deal.weight).mean())
    # 2,000 patients' AUCs, standard deviation 0.12 each: 0.0027 is the error of their mean.
    assert abs(np.mean(means) - 0.5) < 3 * 0.0027


def test_taking_patients_keeps_their_rows() -> None:
    rng = np.random.default_rng(0)
    layout = simulate(rng.uniform(0.5, 0.9, 20), 16, rng, records=rng.integers(1, 4, 20)).layout()
    part, rows = take_patients(layout, np.array([3, 7, 3]))
    np.testing.assert_array_equal(part.signals, layout.signals[rows])
    np.testing.assert_array_equal(part.patient, np.repeat([0, 1, 2], layout.count[[3, 7, 3]]))
    np.testing.assert_array_equal(part.member, layout.member[[3, 7, 3]])
    np.testing.assert_array_equal(layout.patient[rows], np.repeat([3, 7, 3], part.count))
    again = lay_out(part.signals.T, part.member.T, part.patient)
    np.testing.assert_array_equal(again.first, part.first)


def test_bands_of_few_patients_join_the_one_before() -> None:
    count = np.array([1] * 50 + [2] * 20 + [3] * 12 + [9] * 4)
    names = [name for name, _ in record_bands(count, 10)]
    assert names == ["1", "2", "3+"]
    sizes = [int(inside.sum()) for _, inside in record_bands(count, 10)]
    assert sizes == [50, 20, 16]
    assert [name for name, _ in record_bands(count, 1)] == ["1", "2", "3-5", "6+"]
    few_first = np.array([1] * 3 + [2] * 20 + [7] * 30)
    assert [name for name, _ in record_bands(few_first, 10)] == ["1-2", "3-5", "6+"]
    assert [name for name, _ in record_bands(np.ones(9, dtype=np.int64), 10)] == ["1+"]
