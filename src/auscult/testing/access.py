"""Checks of accesses: what an interface shows, and what an attacker reads from it."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.log_odds import log_odds_of_truth
from auscult.attacks.views import ACCESSES, Probabilities, View
from auscult.recipes.base import OutputKind
from auscult.testing.failing import Subject

KINDS: tuple[OutputKind, ...] = tuple(kind for kind in get_args(OutputKind) if kind != "signal")
ALIKE = 1e-4  # log-odds
TOLERATED = 0.02  # of an AUC


def check_access(view: View | str) -> None:
    """Check a view: of every kind of outputs, what it shows and what is read from that.

    What is shown is finite, has the form of the outputs, is the same every time, depends on no
    other answer, and is not what plain probabilities show unless the view says so (`as_plain`). The
    attacker's signal is higher where the model fits better, and tells no more of membership than
    the logits do.

    Parameters
    ----------
    view : View or str
        Or its name, for the view with its default options.

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    seen: View = ACCESSES.get(view, "check_access")() if isinstance(view, str) else view
    subject = Subject("access", seen.name)
    with subject.doing("checking its options"):
        seen.check("access")
        words = seen.words()
    subject.need(isinstance(words, str) and words.strip(), "words() does not return a text")
    unknown = sorted(set(seen.as_plain) - set(KINDS))
    subject.need(not unknown, f"as_plain names {unknown}, which are not kinds of outputs")
    for kind in KINDS:
        _check_shown(subject, seen, kind)
        _check_read(subject, seen, kind)


def _answers(
    kind: OutputKind, seed: int, models: int = 12, records: int = 60
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Answers (models, records, outputs) that fit members better, labels, and who is a member."""
    rng = np.random.default_rng(seed)
    columns = {"softmax": 4, "sigmoid": 1, "multilabel": 3}[kind]
    z = rng.normal(scale=1.5, size=(models, records, columns))
    member = rng.random((models, records)) < 0.5
    if kind == "softmax":
        labels = rng.integers(0, columns, records)
        z[:, np.arange(records), labels] += 0.8 + 1.0 * member
        return z, labels, member
    labels = rng.integers(0, 2, (records, columns))
    z += np.where(labels == 1, 1, -1) * (0.5 + 1.0 * member[:, :, None])
    return z, labels[:, 0] if kind == "sigmoid" else labels, member


def _check_shown(subject: Subject, view: View, kind: OutputKind) -> None:
    z, _, _ = _answers(kind, seed=3)
    before = z.copy()
    with subject.doing(f"handing out {kind} outputs"):
        shown = view.shown(z, kind)
        again = view.shown(before.copy(), kind)
        apart = np.stack([view.shown(row[None], kind)[0] for row in before[0]])
        certain = view.shown(np.full_like(z, 80.0) * np.sign(z), kind)
    subject.need(np.array_equal(z, before), f"it changes the {kind} outputs that it is given")
    subject.need(
        isinstance(shown, np.ndarray) and shown.shape == z.shape,
        f"for {kind} outputs of shape {z.shape} it shows {getattr(shown, 'shape', None)}",
    )
    subject.need(np.isfinite(shown).all(), f"for {kind} outputs it shows NaN or infinity")
    subject.need(
        np.isfinite(certain).all(),
        (f"for {kind} outputs of certain answers it shows NaN or infinity"),
    )
    subject.need(
        np.array_equal(shown, again), f"it shows the same {kind} outputs differently every time"
    )
    subject.need(
        np.allclose(shown[0], apart, rtol=0, atol=1e-9),
        f"what it shows for one answer ({kind}) depends on the others",
    )
    plain = Probabilities().shown(before, kind)
    same = _alike(shown, plain, kind)
    subject.need(
        not same or kind in view.as_plain,
        f"for {kind} outputs it hands out plain probabilities, but as_plain does not say so",
    )


def _alike(a: NDArray[np.float64], b: NDArray[np.float64], kind: OutputKind) -> bool:
    if kind == "softmax":  # logits and log-probabilities say the same
        a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    return bool((np.abs(a - b) < ALIKE).all(axis=-1).mean() > 0.5)


def _check_read(subject: Subject, view: View, kind: OutputKind) -> None:
    z, labels, member = _answers(kind, seed=4, models=40)
    with subject.doing(f"reading {kind} outputs"):
        shown = view.shown(z.copy(), kind)
        signal = view.read(shown.copy(), labels, kind)
        several = view.read(np.stack([shown, shown]), labels, kind)
    subject.need(
        isinstance(signal, np.ndarray) and signal.shape == z.shape[:-1],
        f"for {kind} outputs of shape {z.shape} it reads {getattr(signal, 'shape', None)}; "
        f"expected a signal for each record, {z.shape[:-1]}",
    )
    subject.need(np.isfinite(signal).all(), f"it reads NaN or infinity from {kind} outputs")
    subject.need(
        np.allclose(several, signal), f"what it reads from one model ({kind}) depends on the others"
    )
    best = _auc(log_odds_of_truth(z, labels, kind), member)
    auc = _auc(signal, member)
    subject.need(
        auc > 0.5 - TOLERATED,
        f"its signal of {kind} outputs is lower for members (AUC {auc:.2f}): higher must mean a "
        "better fit",
    )
    subject.need(
        auc <= best + TOLERATED,
        f"its signal of {kind} outputs tells more (AUC {auc:.2f}) than the logits ({best:.2f})",
    )


def _auc(signal: NDArray[np.float64], member: NDArray[np.bool_]) -> float:
    """Mean over records of the AUC over models."""
    wins = (signal[:, None] > signal[None]) + 0.5 * (signal[:, None] == signal[None])
    pairs = member[:, None] & ~member[None]
    return float(np.mean((wins * pairs).sum(axis=(0, 1)) / np.maximum(pairs.sum(axis=(0, 1)), 1)))
