"""How much of the median is taken away: oracle, processes, null, and who has a say in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult.attacks.amounts import told_apart
from auscult.attacks.joint import tuned
from auscult.attacks.layout import Centring, Layout, lay_out
from auscult.risk.patients import count_patients, permuted
from tests.simulation import balanced


def cohort(seed: int, *, follow: bool, patients: int = 200, models: int = 32) -> Layout:
    """Two records each; half of the patients leak: those who follow what is shared, or the others.

    Signals of both vary as much, so by their scale nobody can tell how far they follow.
    """
    rng = np.random.default_rng(seed)
    member = balanced(patients, models, rng)
    patient = np.repeat(np.arange(patients), 2)
    followers = (rng.random(patients) < 0.5)[patient]
    shared = 2.0 * rng.normal(size=(models, 1))
    own = 2.0 * rng.normal(size=(models, patient.size))
    signals = rng.normal(size=own.shape) + np.where(followers, shared, own)
    signals += 2.0 * (member[:, patient] & (followers == follow))
    return lay_out(signals.astype(np.float32), member, patient)


def auc_of(layout: Layout, centring: Centring) -> NDArray[np.float64]:
    signals = centring.apply(layout)
    return count_patients(layout, signals, tuned(layout, centring).score(layout, signals))[0].auc


def test_the_auc_of_a_patients_signals_equals_loops_over_pairs() -> None:
    rng = np.random.default_rng(1)
    layout = cohort(1, follow=True, patients=12, models=16)
    layout = replace(layout, signals=np.round(layout.signals))
    used = rng.random(layout.member.shape) < 0.8
    for one in (layout, replace(layout, used=used)):
        looked = np.ones_like(used) if one.used is None else used
        expected = []
        for row in range(one.records):
            p, x = one.patient[row], one.signals[row]
            a, b = (x[looked[p] & side] for side in (one.member[p], ~one.member[p]))
            expected.append(np.mean([(u > v) + 0.5 * (u == v) for u in a for v in b]))
        pairs = np.mean(np.reshape(expected, (-1, 2)), axis=1)
        pairs[~one.estimable()] = np.nan
        np.testing.assert_allclose(told_apart(one, one.signals), pairs)


def test_less_is_taken_where_members_do_not_follow_the_others() -> None:
    gains = []
    for seed in range(4):
        layout = cohort(seed, follow=False)
        before = auc_of(layout, Centring(layout, learned=False))
        gains.append(auc_of(layout, Centring(layout)).mean() - before.mean())
        assert Centring(layout)._amount.max() < 1
    assert min(gains) > 0.005


def test_all_of_it_is_taken_where_members_follow_the_others() -> None:
    layout = cohort(5, follow=True, patients=400)
    np.testing.assert_allclose(Centring(layout)._amount, 1.0, atol=0.26)
    before = auc_of(layout, Centring(layout, learned=False))
    change = auc_of(layout, Centring(layout)) - before
    assert change.mean() > -3 * change.std() / np.sqrt(change.size) - 1e-3


def test_where_nothing_leaks_nothing_is_found() -> None:
    """The amount chosen anew under each permutation, and once and for all under the truth."""
    for follow in (False, True):
        layout = cohort(6, follow=follow, patients=150)
        once = Centring(layout)
        shuffled = [permuted(layout, np.random.default_rng([7, i])) for i in range(40)]
        for again in (True, False):
            found = [auc_of(one, Centring(one) if again else once).mean() for one in shuffled]
            error = np.std(found) / np.sqrt(len(found))
            assert abs(np.mean(found) - 0.5) < max(3 * error, 0.002)
            assert error < 0.0025


def test_nobodys_membership_decides_about_their_own_signals() -> None:
    layout = cohort(8, follow=False)
    first = Centring(layout)
    for group in range(5):
        mine = layout.number % 5 == group
        turned = replace(layout, member=np.where(mine[:, None], ~layout.member, layout.member))
        second = Centring(turned)
        assert second._amount[group] == first._amount[group]
        rows = mine[layout.patient]
        np.testing.assert_array_equal(second.apply(layout)[rows], first.apply(layout)[rows])


@pytest.mark.parametrize("patients", [8, 39])
def test_few_patients_choose_nothing(patients: int) -> None:
    layout = cohort(9, follow=False, patients=patients)
    np.testing.assert_array_equal(Centring(layout)._amount, 1.0)


def test_unused_models_have_no_say() -> None:
    layout = cohort(10, follow=False)
    used = np.random.default_rng(11).random(layout.member.shape) < 0.7
    one = Centring(replace(layout, used=used))
    other = Centring(replace(layout, used=used, member=np.where(used, layout.member, True)))
    np.testing.assert_array_equal(one._amount, other._amount)
