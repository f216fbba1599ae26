"""Which patients each model trains on, and the secret matrix that says so.

Models come in waves, and each patient is a member of exactly the same share of every wave, by
default half of them (METHOD 1): of one uniform draw per model of the wave, the lowest are IN. The
draws of a wave come from the audit's seed and the wave's number alone, so a run that grows by
further waves is the run that had them from the start.

A wave of 16 models is halved exactly, and one of 20 holds every multiple of 0.05. A last wave that
is shorter holds the share on average: of the models by which it misses the share a patient is IN
one more with the chance that is left, so that every model trains on the same share of the patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError
from auscult.base.parallel import let_go, scratch
from auscult.base.randomness import Stage, generator

MINIMUM_MODELS = 8
MINIMUM_PATIENTS = 20
PATIENTS_AT_ONCE = 1 << 16
HALF = 0.5
WAVE = 16  # models of which every patient is IN half, wave by wave
WAVE_OF_SHARES = 20  # models of a wave at every other share
STEP = 0.05  # shares are multiples of it: a wave of 20 holds them exactly
LOWEST, HIGHEST = 0.05, 0.95
AS_RELEASED = "as released"
FEWEST, RAREST, MANY = 4, 2, 16  # IN and OUT models; or of the rarer kind, and of the other then


def nearest_share(share: float) -> float:
    """The share of members that an audit can have which lies nearest to another one."""
    return float(np.clip(round(round(share / STEP) * STEP, 2), LOWEST, HIGHEST))


def share_of_steps(share: float, patients: int, smallest_cell: int) -> float:
    """Share of the records by which trainings like a release's count their steps.

    The release's own to a hundredth, no finer than may be told; the nearest one that waves hold
    where it lies far from that, or fewer patients than the smallest cell did or did not train it.

    Parameters
    ----------
    share : float
        Of the patients that trained the release.
    patients : int
    smallest_cell : int
    """
    nearest, own = nearest_share(share), round(share, 2)
    few = round(min(share, 1 - share) * patients)
    if 0 < few < smallest_cell or abs(own - nearest) > STEP + 1e-9:
        return nearest
    return own


def steps_like(share: float, nearest: float) -> dict[str, str]:
    """What a run's identity says of the share by which its trainings count their steps.

    Parameters
    ----------
    share : float
    nearest : float
        The share of the patients that they train on.
    """
    return {} if abs(share - nearest) < 1e-9 else {"share of training": f"{share:.9g}"}


def wave_of(share: float) -> int:
    """Models of a wave at a share of members."""
    return WAVE if share == HALF else WAVE_OF_SHARES


def check_share(share: object) -> None:
    """Raise AuscultError where no audit can have that share of members."""
    number = isinstance(share, int | float) and not isinstance(share, bool)
    fits = number and math.isfinite(share)  # type: ignore[arg-type]
    if not fits or abs(nearest_share(float(share)) - float(share)) > 1e-9:  # type: ignore[arg-type]
        raise AuscultError(
            f"{share!r} cannot be the share of the patients that a model trains on",
            where="audit.share",
            expected=f'a multiple of {STEP:g} from {LOWEST:g} to {HIGHEST:g}, or "{AS_RELEASED}"',
            next_step=f"The nearest one is {nearest_share(float(share)):g}"  # type: ignore[arg-type]
            if fits
            else "",
        )


class Membership:
    """Who is IN which model: a secret, shown as its size only.

    Parameters
    ----------
    matrix : bool array, shape (models, patients)
        True where the patient's records trained the model.
    """

    def __init__(self, matrix: NDArray[np.bool_]) -> None:
        self._matrix = matrix

    @property
    def models(self) -> int:
        """Number of models."""
        return int(self._matrix.shape[0])

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self._matrix.shape[1])

    def reveal(self) -> NDArray[np.bool_]:
        """The matrix, shape (models, patients). Write it under ``secret/`` only."""
        return self._matrix

    def members(self, model: int, patient_of_record: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the records that model number `model` trains on, ascending."""
        return np.flatnonzero(self._matrix[model][patient_of_record])

    def records(
        self,
        model: int,
        patient_of_record: NDArray[np.int64],
        withheld: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """As :meth:`members`, without the records that no model trains on.

        Parameters
        ----------
        model : int
        patient_of_record : int64 array, shape (records,)
        withheld : bool array, shape (records,), or None
            Records that no model trains on.
        """
        rows = self.members(model, patient_of_record)
        return rows if withheld is None else rows[~withheld[rows]]

    def __repr__(self) -> str:
        return f"Membership({self.models} models, {self.patients} patients, values secret)"


@dataclass(frozen=True, kw_only=True)
class Design:
    """How many models, over how many patients, from which seed.

    Attributes
    ----------
    models : int
        Even, at least 8. Where they are no whole number of waves, the last wave is a short one.
    patients : int
        At least 20.
    seed : int
        The audit's seed.
    share : float
        Of the models that each patient is IN, and of the patients that each model trains on.
    """

    models: int
    patients: int
    seed: int
    share: float = HALF

    @property
    def wave(self) -> int:
        """Models of a wave."""
        return wave_of(self.share)

    def fewest(self, models: int | None = None) -> tuple[int, int]:
        """OUT models and IN models that every patient has at least.

        Parameters
        ----------
        models : int, optional
            Instead of the design's.
        """
        models = self.models if models is None else models
        waves, rest = divmod(models, self.wave)
        inside = [round(self.share * self.wave)] * waves + [int(self.share * rest + 1e-9)]
        outside = [round((1 - self.share) * self.wave)] * waves
        outside += [int((1 - self.share) * rest + 1e-9)]
        return sum(outside), sum(inside)

    def carries(self, models: int) -> bool:
        """Whether so many models tell IN from OUT for every patient."""
        return models % 2 == 0 and _carry(*sorted(self.fewest(models)))

    def halves_carry(self, models: int) -> bool:
        """Whether either half of each patient's models, of so many, still tells IN from OUT."""
        rarer, other = sorted(self.fewest(models))
        return models % 2 == 0 and _carry(rarer // 2, other // 2)

    def check(self) -> None:
        """Raise AuscultError when the numbers cannot carry an audit."""
        if self.models < MINIMUM_MODELS or self.models % 2:
            raise AuscultError(
                f"{self.models} models cannot be used",
                where="audit.models",
                expected=f"an even number, at least {MINIMUM_MODELS} (64 is a good start)",
            )
        check_share(self.share)
        if self.share != HALF and not self.carries(self.models):
            outside, inside = self.fewest()
            rare = f"OUT of {outside}" if outside < inside else f"IN {inside}"
            least = self.models
            while not self.carries(least):
                least += 2
            raise AuscultError(
                f"at a share of {self.share:g}, {self.models} models are too few: a patient may be "
                f"{rare} of them only",
                where="audit.models",
                expected=f"an even number, at least {least}",
                next_step=f"Set audit.models = {least} or more (multiples of {self.wave} are "
                "balanced exactly), or a share nearer to 0.5",
            )
        if self.patients < MINIMUM_PATIENTS:
            raise AuscultError(
                f"the cohort has {self.patients} patients",
                where="cohort",
                expected=f"at least {MINIMUM_PATIENTS}",
                next_step="With fewer patients, results cannot be told from chance; use more data",
            )

    def membership(self) -> Membership:
        """Draw the matrix: each patient IN exactly the share of every whole wave (METHOD 1)."""
        self.check()
        matrix = scratch((self.models, self.patients), np.bool_)
        for wave, first in enumerate(range(0, self.models, self.wave)):
            size = min(self.wave, self.models - first)
            inside = self.share * size
            whole = int(inside + 1e-9)
            rng = generator(self.seed, Stage.MEMBERSHIP, *([wave] if wave else []))
            for start in range(0, self.patients, PATIENTS_AT_ONCE):
                here = slice(start, min(start + PATIENTS_AT_ONCE, self.patients))
                draws = rng.random((here.stop - start, size))
                ranks = draws.argsort(axis=1).argsort(axis=1)
                many = np.full((len(draws), 1), whole)
                if inside - whole > 1e-9:
                    many += rng.random(many.shape) < inside - whole
                matrix[first : first + size, here] = (ranks < many).T
                let_go(matrix)
        return Membership(matrix)


def _carry(rarer: int, other: int) -> bool:
    """Whether so many models that a patient is IN, and OUT of, tell one from the other."""
    return rarer >= FEWEST or (rarer >= RAREST and other >= MANY)


def withheld_records(
    share: float, patient_of_record: NDArray[np.int64], patients: int, seed: int
) -> NDArray[np.bool_]:
    """Records that no model trains on: other records of the same patients, as attackers hold them.

    Of each patient with several records, `share` of them, at least one and never all, drawn from
    the audit's seed. A secret, as the patients' rows are.

    Parameters
    ----------
    share : float
        Between 0 and 1.
    patient_of_record : int64 array, shape (records,)
    patients : int
    seed : int

    Returns
    -------
    bool array, shape (records,)
    """
    draws = generator(seed, Stage.WITHHOLD).random(patient_of_record.size)
    count = np.bincount(patient_of_record, minlength=patients)
    kept_back = np.where(count > 1, np.clip(np.rint(share * count), 1, count - 1), 0)
    order = np.lexsort((draws, patient_of_record))
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank = np.empty(patient_of_record.size, dtype=np.int64)
    rank[order] = np.arange(patient_of_record.size) - first[patient_of_record[order]]
    return np.asarray(rank < kept_back[patient_of_record])
