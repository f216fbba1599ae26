"""Checks of attacks on records."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout, take_patients
from auscult.attacks.record import ATTACKS, RecordAttack
from auscult.base.progress import SILENT
from auscult.base.ranks import average_ranks
from auscult.testing.failing import Subject
from auscult.testing.simulated import Signals

CLEAR = 0.55  # where members' signals are higher by 1.5 deviations, an AUC below finds nothing
NULLS = 6
TOLERATED = 4.5  # standard errors from 0.5 where nothing leaks


def check_attack(attack: RecordAttack | str) -> None:
    """Check an attack on records.

    Higher scores mean members; where nothing leaks it finds nothing, so that no target is judged by
    its own membership; every record that can be estimated gets a number; scores depend neither on
    the order of records nor on which are scored together, are the same every time, and the data is
    left as it was.

    Parameters
    ----------
    attack : RecordAttack or str
        Or its name.

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    if isinstance(attack, str):
        attack = ATTACKS.get(attack, "check_attack")
    subject = Subject("attack", attack.name)
    signals = Signals(1.5, seed=1)
    layout = signals.layout()
    before = layout.signals.copy(), layout.member.copy()
    with subject.doing("scoring"):
        found = _scored(attack, layout)
    subject.need(
        np.array_equal(layout.signals, before[0]) and np.array_equal(layout.member, before[1]),
        "it changes the signals or the membership that it is given",
    )
    subject.need(np.isfinite(found).all(), "it returns NaN or infinity for records with signals")
    again = _scored(attack, signals.layout())
    subject.need(np.array_equal(found, again), "it scores the same signals differently every time")
    _check_direction(subject, found, layout)
    _check_order(subject, attack, signals, found, layout)
    _check_batches(subject, attack, layout)
    _check_null(subject, attack)


def _scored(attack: RecordAttack, layout: Layout) -> NDArray[np.float64]:
    """Finished scores, shape (records, models)."""
    raw = attack.score(layout, SILENT)
    columns = [attack.of_target(raw, layout, model) for model in range(layout.models)]
    return np.stack(columns, axis=1).astype(np.float64)


def _aucs(scores: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """AUC of each target over all records, shape (models,)."""
    inside = layout.member[layout.patient]
    ranks = average_ranks(scores.T).T
    n = inside.sum(axis=0)
    area = (ranks * inside).sum(axis=0) - n * (n + 1) / 2
    return np.asarray(area / (n * (len(scores) - n)))


def _within(scores: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """AUC of each record over the targets of the same fold, shape (records,).

    Targets of several folds have different references, so that their scores are not compared.
    """
    dealt = layout.deal()
    model, weight = dealt.model[layout.patient], dealt.weight[layout.patient]
    placed = np.take_along_axis(scores, model.reshape(len(scores), -1), axis=1)
    placed = placed.reshape(model.shape)
    inside, outside = placed[:, :, 1, :, None], placed[:, :, 0, None, :]
    wins = (inside > outside) + 0.5 * (inside == outside)
    pairs = weight[:, :, 1, :, None] * weight[:, :, 0, None, :]
    return np.asarray((wins * pairs).sum(axis=(1, 2, 3)) / pairs.sum(axis=(1, 2, 3)))


def _check_direction(subject: Subject, scores: NDArray[np.float64], layout: Layout) -> None:
    auc = float(_aucs(scores, layout).mean())
    subject.need(
        auc > 1 - CLEAR,
        f"its AUC is {auc:.2f} where members' signals are higher: its sign is flipped (a higher "
        "score must mean a member)",
    )
    subject.need(
        auc >= CLEAR,
        f"its AUC is {auc:.2f} where members' signals are higher by 1.5 deviations: it finds "
        "nothing",
    )


def _check_order(
    subject: Subject,
    attack: RecordAttack,
    signals: Signals,
    scores: NDArray[np.float64],
    layout: Layout,
) -> None:
    order = np.arange(signals.patient.size)[::-1]
    other = signals.layout(order)
    with subject.doing("scoring records in another order"):
        moved = _scored(attack, other)
    there, here = np.empty_like(moved), np.empty_like(scores)
    there[order[other.order]], here[layout.order] = moved, scores
    subject.need(_alike(there, here), "its scores depend on the order of records")


def _check_batches(subject: Subject, attack: RecordAttack, layout: Layout) -> None:
    with subject.doing("scoring some records at a time"):
        whole = attack.begin(layout)(layout)
        score = attack.begin(layout)
        for start in (0, 7, 31):
            some = np.arange(start, start + 1 + start % 4)
            part, _ = take_patients(layout, some)
            rows = np.flatnonzero(np.isin(layout.patient, some))
            subject.need(
                _alike(score(part), whole[rows]),
                "its scores depend on which records are scored together",
            )


def _check_null(subject: Subject, attack: RecordAttack) -> None:
    """Nothing leaks: both the AUC of a target and that of a record must be 0.5 on average."""
    records: list[NDArray[np.float64]] = []
    targets: list[float] = []
    for seed in range(NULLS):
        layout = Signals(0.0, seed=100 + seed, patients=80, models=16).layout()
        with subject.doing("scoring signals that tell nothing"):
            scores = _scored(attack, layout)
        records.append(_within(scores, layout))
        targets.append(float(_aucs(scores, layout).mean()))
    aucs = np.concatenate(records)
    for values, kind in ((aucs, "record"), (np.array(targets), "target")):
        error = float(values.std(ddof=1) / np.sqrt(values.size))
        off = float(values.mean()) - 0.5
        subject.need(
            abs(off) <= max(TOLERATED * error, 0.005),
            f"its AUC per {kind} is {0.5 + off:.3f} on average where nothing leaks, but should be "
            "0.5: it reads the membership in the models that it scores (use the models outside a "
            "target's fold only)",
        )


def _alike(a: NDArray[np.floating], b: NDArray[np.floating]) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True))
