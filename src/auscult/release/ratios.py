"""How likely is each patient a member of this one model? Log-likelihood ratios from shadow models.

The joint attack, fitted on all shadow models, scores the release; the patient's own effect, shrunk
towards what all patients say, turns the score into a log-likelihood ratio: with scores normal of
deviation 1 within classes and means half an effect to either side, it is effect times score. To
know what such a ratio is worth, every shadow model is made to play the release: each patient's
models are dealt to folds, and the models of a fold are scored by an attack that was fitted, tuned
and shrunk on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from auscult.attacks.dealing import deal
from auscult.attacks.layout import AsTheyCome, Centring, Layout
from auscult.attacks.unseen import unseen_scores
from auscult.base.parallel import in_order
from auscult.base.progress import SILENT, Progress
from auscult.risk.patients import patient_risk

FOLDS = 4
FEWEST_MODELS = 16
DEALING = 20261125  # salt of the order in which models play the release; part of the format
LARGEST_EFFECT = 8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Ratios:
    """Log-likelihood ratios of membership, uncalibrated.

    Attributes
    ----------
    shadow : float32 array, shape (patients, models)
        Of every shadow model, from models of other folds; NaN where a patient is not estimable.
    fold : int8 array, shape (patients, models)
        The fold in which the model played the release.
    releases : float64 array, shape (patients, releases)
        Of the releases, from all shadow models.
    like_shadow : float64 array, shape (folds, patients, releases)
        Of the releases as shadow models of each fold are scored, from models of other folds.
    neighbours : dict
        Whether records nearby were controls, as in the summary's patients.
    """

    shadow: NDArray[np.float32]
    fold: NDArray[np.int8]
    releases: NDArray[np.float64]
    like_shadow: NDArray[np.float64]
    neighbours: dict[str, Any]

    @property
    def release(self) -> NDArray[np.float64]:
        """Of the first release, shape (patients,)."""
        return self.releases[:, 0]


def ratios(
    layout: Layout, *, centred: bool, progress: Progress = SILENT, releases: int = 1
) -> Ratios:
    """Score shadow models and release, or several releases that do not know of each other.

    Parameters
    ----------
    layout : Layout
        Of the shadow models and, as the last models, the releases; their columns of `member` are
        not read.
    centred : bool
        Whether each model's median signal over other patients is taken away.
    progress : Progress
    releases : int
    """
    patients, columns = layout.member.shape
    models = columns - releases
    known = np.ones((patients, columns), dtype=np.bool_)
    known[:, models:] = False
    fold = _folds(layout, known)
    centring = Centring(replace(layout, used=known)) if centred else AsTheyCome()
    shadow = np.full((patients, models), np.nan, dtype=np.float32)
    like_shadow = np.empty((FOLDS, patients, releases))
    progress.start("Release", (FOLDS + 1) * patients)
    for number in range(FOLDS):
        held = fold == number
        for where, found in _played(replace(layout, used=known & ~held), centring, progress):
            mine = held[where, :models]
            shadow[where][mine] = found[:, :models][mine]
            like_shadow[number, where] = found[:, models:]
    release = np.empty((patients, releases))
    for where, found in _played(replace(layout, used=known), centring, progress):
        release[where] = found[:, models:]
    progress.finish()
    return Ratios(
        shadow=shadow,
        fold=fold[:, :models],
        releases=release,
        like_shadow=like_shadow,
        neighbours=centring.neighbours.summary(),
    )


def judged_in_each_fold(layout: Layout) -> int:
    """Patients whom the models that are left can judge, whichever fold plays the release.

    A design may carry an audit and not this: of 20 models at a share of 0.8 a patient is OUT of 4,
    and 3 of them beside 12 others are too few to judge the fourth by.

    Parameters
    ----------
    layout : Layout
        As of :func:`ratios`.
    """
    known = np.ones(layout.member.shape, dtype=np.bool_)
    known[:, -1] = False
    fold = _folds(layout, known)
    parts = (replace(layout, used=known & (fold != number)) for number in range(FOLDS))
    return min(int(part.estimable().sum()) for part in parts)


def _folds(layout: Layout, known: NDArray[np.bool_]) -> NDArray[np.int8]:
    fold = np.full(known.shape, -1, dtype=np.int8)
    dealt = deal(layout.member, FOLDS, known, number=layout.number, salt=DEALING, wave=layout.wave)
    patient, number, label, place = np.nonzero(dealt.weight)
    fold[patient, dealt.model[patient, number, label, place]] = number
    return fold


def _played(
    layout: Layout, centring: Centring, progress: Progress
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Log-likelihood ratios of all models by an attack on those in use, part by part."""
    risk, _ = patient_risk(layout, (), progress, centring=centring, confirming=False)
    # AUC = Phi(d) with d = effect / sqrt(2); a patient whom nothing gives away has effect 0.
    effect = np.clip(np.sqrt(2.0) * ndtri(risk.posterior.mean), -LARGEST_EFFECT, LARGEST_EFFECT)

    def work(
        place: tuple[slice, slice, Layout],
    ) -> tuple[slice, NDArray[np.float64]]:
        where, _, part = place
        scores = unseen_scores(risk.attack, part, centring.apply(part))
        return where, effect[where][:, None] * scores

    yield from in_order(work, layout.parts())
