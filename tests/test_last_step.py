"""The learned last step: it helps where something is to be learned, and changes nothing else."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult.attacks.layout import Layout, lay_out
from auscult.attacks.roc import exact_auc
from auscult.base import parallel
from auscult.exposure.calibration import terms_of
from auscult.exposure.cell import Points
from auscult.exposure.last_step import Levels, improved
from tests.simulation import balanced

PATIENTS, MODELS = 400, 32


def people(seed: int, gain: float) -> tuple[Layout, Points, NDArray[np.float64], Levels]:
    """Everybody's score tells members a little, and `gain` more where the plain signal is high."""
    rng = np.random.default_rng(seed)
    member = balanced(PATIENTS, MODELS, rng)
    plain = rng.normal(size=(PATIENTS, MODELS))
    z = rng.normal(size=plain.shape) + (0.3 + gain * (plain > 0.5)) * (member.T - 0.5)
    layout = lay_out(plain.T.astype(np.float32), member, np.arange(PATIENTS))
    patient, model = (axis.ravel() for axis in np.indices(plain.shape))
    score = z.ravel()
    points = Points(
        terms=terms_of(score, np.full(score.size, 0.5)),
        member=member.T.ravel(),
        patient=patient,
        model=model,
        half=model % 2,
        band=np.zeros(score.size, dtype=np.int64),
    )
    levels = Levels(plain=plain.astype(np.float32), nearby=np.zeros_like(plain, dtype=np.float32))
    return layout, points, np.tile(score, (2, 1)), levels


def found_at(points: Points, order: NDArray[np.float64], share: float) -> float:
    rates = []
    for m in range(MODELS):
        mine = points.model == m
        inside, outside = order[mine & points.member], order[mine & ~points.member]
        rates.append((inside > np.quantile(outside, 1 - share)).mean())
    return float(np.mean(rates))


def test_what_the_score_does_not_say_is_learned() -> None:
    layout, points, orders, levels = people(1, 2.5)
    after = improved(layout, points, orders, levels, 5)
    assert found_at(points, after, 0.01) > found_at(points, orders[0], 0.01) + 0.05
    inside = points.member
    best = orders[0] * np.where(levels.plain[points.patient, points.model] > 0.5, 2.8, 0.3)
    reached = exact_auc(after[inside], after[~inside])
    assert exact_auc(orders[0][inside], orders[0][~inside]) + 0.015 < reached
    assert reached < exact_auc(best[inside], best[~inside]) + 0.005, "no better than the truth"


@pytest.mark.parametrize("seed", range(6))
def test_where_nothing_more_is_to_be_learned_nothing_changes(seed: int) -> None:
    layout, points, orders, levels = people(seed, 0.0)
    after = improved(layout, points, orders, levels, seed)
    np.testing.assert_array_equal(after, orders[0])


def test_where_nothing_leaks_nothing_is_found() -> None:
    """Membership is drawn again after everything else: trees have nothing but noise to learn."""
    layout, points, orders, levels = people(1, 2.5)
    rates = []
    for seed in range(5):
        member = balanced(PATIENTS, MODELS, np.random.default_rng([9, seed])).T.ravel()
        chance = replace(points, member=member)
        rates.append(found_at(chance, improved(layout, chance, orders, levels, 5), 0.05))
    assert np.mean(rates) == pytest.approx(0.05, abs=0.006)  # three standard errors of 32,000


def test_nobodys_membership_decides_about_themselves() -> None:
    layout, points, orders, levels = people(1, 2.5)
    before = improved(layout, points, orders, levels, 5)
    mine = points.patient == 17
    member = np.where(mine, ~points.member, points.member)
    after = improved(layout, replace(points, member=member), orders, levels, 5)
    np.testing.assert_array_equal(after[mine], before[mine])
    assert (after != before).mean() > 0.2, "others of the other half learn from it"


def test_models_that_are_judged_are_not_learned_from() -> None:
    layout, points, orders, levels = people(1, 2.5)
    before = improved(layout, points, orders, levels, 5)
    judged = points.half == 0
    member = np.where(judged, np.random.default_rng(3).permutation(points.member), points.member)
    after = improved(layout, replace(points, member=member), orders, levels, 5)
    np.testing.assert_array_equal(after[judged], before[judged])


def test_filters_of_warnings_are_set_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """They belong to the process: threads that set and restore them in turn leave others behind."""
    setting: list[str] = []

    class Watched(warnings.catch_warnings):
        def __enter__(self) -> Any:  # noqa: ANN401
            setting.append(threading.current_thread().name)
            return super().__enter__()

    monkeypatch.setattr(parallel, "cores", lambda: 4)
    monkeypatch.setattr(warnings, "catch_warnings", Watched)
    improved(*people(1, 2.5), 5)
    assert len(setting) > 4, "trees set them"
    assert set(setting) == {threading.current_thread().name}


def test_few_patients_are_left_as_they_are() -> None:
    layout, points, orders, levels = people(1, 2.5)
    some = np.flatnonzero(points.patient < 30)
    few = Points(**{name: getattr(points, name)[some] for name in Points.__dataclass_fields__})
    small = lay_out(layout.signals[:30].T, layout.member[:30].T, np.arange(30))
    after = improved(small, few, orders[:, some], levels, 5)
    np.testing.assert_array_equal(after, orders[0][some])
