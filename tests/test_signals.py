"""Signals: against direct formulas, at the extremes, and the single-sigmoid bug."""

from __future__ import annotations

import numpy as np
import pytest

from auscult.attacks.log_odds import log1mexp, log_odds_of_truth
from auscult.base.errors import AnalysisError


def test_softmax_equals_the_log_odds_of_the_probability() -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(3, 50, 4)), rng.integers(0, 4, 50)
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    truth = p[:, np.arange(50), y]
    signal = log_odds_of_truth(z, y, "softmax")
    np.testing.assert_allclose(signal, np.log(truth / (1 - truth)), atol=1e-10)


@pytest.mark.parametrize("label", [0, 1])
def test_one_sigmoid_saturates_for_neither_class(label: int) -> None:
    # Taking log p of one class only makes confident positives indistinguishable.
    z = np.array([[[40.0], [60.0]]]) * (1 if label else -1)
    signal = log_odds_of_truth(z, np.array([label, label]), "sigmoid")
    np.testing.assert_array_equal(signal, [[40.0, 60.0]])


def test_multilabel_equals_the_product_over_labels() -> None:
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(2, 30, 5)), rng.integers(0, 2, (30, 5))
    p = np.where(y == 1, 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))).prod(axis=-1)
    signal = log_odds_of_truth(z, y, "multilabel")
    np.testing.assert_allclose(signal, np.log(p / (1 - p)), atol=1e-9)


def test_multilabel_stays_finite_and_ordered_at_the_extremes() -> None:
    z = np.array([[[50.0, 50.0], [90.0, 90.0], [-800.0, 1.0]]])
    signal = log_odds_of_truth(z, np.ones((3, 2), dtype=np.int64), "multilabel")[0]
    assert np.isfinite(signal).all()
    assert signal[1] > signal[0] > signal[2]


def test_log1mexp_keeps_precision_on_both_sides() -> None:
    x = np.array([-1e-12, -0.5, -40.0])
    expected = np.array([np.log(1e-12), np.log(1 - np.exp(-0.5)), -np.exp(-40.0)])
    np.testing.assert_allclose(log1mexp(x), expected, rtol=1e-9)


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(AnalysisError, match="2 labels for 3 records"):
        log_odds_of_truth(np.zeros((1, 3, 2)), np.zeros(2, dtype=np.int64), "softmax")
