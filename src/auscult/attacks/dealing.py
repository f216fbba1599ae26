"""Models dealt to folds, patient by patient, so that nothing is judged by what it was learned on.

Everything that is estimated on some models is evaluated on others (law 5). Each patient's IN models
and OUT models are dealt in turn to `folds` folds, so every fold holds as many IN and OUT models of
the patient as can be, and an estimate for one fold is made from the other folds. Folds are the
patient's own: membership is drawn per patient, so what one patient's folds share is independent of
another's. Where membership was drawn in waves, of each of which a patient is IN the same number of
models, every wave is dealt apart: who is IN a wave's other models would otherwise tell who is IN
those of a fold. Where a wave has fewer models of one kind than there are folds, whole waves are
dealt: a fold with IN models only of a wave whose OUT model trains the others would be judged by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST_FOLDS = 2  # with both kinds: one to learn from, one to judge
FIRST_LOOK = 64  # patients among whom most sizes of a wave are ruled out
DEALING = 20260610  # salt of the order in which models are dealt to folds; part of the format


@dataclass(frozen=True, kw_only=True, eq=False)
class Deal:
    """Which models lie where, for some patients: fold by class by place.

    Attributes
    ----------
    model : int64 array, shape (patients, folds, 2, places)
        Model number; class 0 is OUT, class 1 is IN. Unused places repeat a model and weigh nothing.
    weight : float64 array, same shape
        1 where the place is used, 0 where it is padding.
    """

    model: NDArray[np.int64]
    weight: NDArray[np.float64]

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.model.shape[1])

    def take(self, patients: NDArray[np.int64] | slice) -> Deal:
        """Deal of some of the patients."""
        return Deal(model=self.model[patients], weight=self.weight[patients])


def deal(
    member: NDArray[np.bool_],
    folds: int,
    used: NDArray[np.bool_] | None = None,
    *,
    number: NDArray[np.int64] | None = None,
    salt: int = DEALING,
    wave: int | None = None,
) -> Deal:
    """Deal each patient's IN and OUT models to folds, in an order drawn for each patient.

    Dealt in the order of their numbers, which models of a fold are IN would depend on which are in
    the other folds, and a few odd models would bias the null of all patients alike (by 0.004 on
    brain slices with 32 models). In a random order every labelling of a fold is equally likely
    given the others, also where membership was drawn in waves: these follow each other, each in an
    order of its own. The order depends on the patient's number alone: a patient is dealt the same
    way whoever is dealt with it.

    Parameters
    ----------
    member : bool array, shape (patients, models)
    folds : int
    used : bool array, shape (patients, models), optional
        Models to deal; all of them when absent.
    number : int64 array, shape (patients,), optional
        Number of each patient; its row when absent.
    salt : int
        Another salt, another order.
    wave : int, optional
        Models of a wave; all are one wave when absent.

    Returns
    -------
    Deal
        The j-th IN model of a patient, in the order drawn, lies in fold j mod folds; or a wave's
        models in one, where they have fewer of a kind than there are folds.
    """
    dealt = _one_by_one(member, folds, used, number=number, salt=salt, wave=wave)
    rarer = rarer_of_a_wave(member, wave)
    if folds == 1 or rarer is None or wave is None or rarer >= folds:
        return dealt
    fold, possible = _by_waves(member, folds, used, number, salt, wave)
    return _instead(dealt, _packed(member, folds, used, fold), possible)


def _one_by_one(
    member: NDArray[np.bool_],
    folds: int,
    used: NDArray[np.bool_] | None = None,
    *,
    number: NDArray[np.int64] | None,
    salt: int,
    wave: int | None,
) -> Deal:
    """Models of each class and wave in turn, see :func:`deal`."""
    patients, models = member.shape
    keys = _hashed(np.arange(patients) if number is None else number, models, salt)
    # Sorted by class, wave and hash; the model's number rides in the lowest bits.
    column = np.arange(models, dtype=np.uint64)
    waves = column // np.uint64(wave or models)
    bits = int(waves[-1]).bit_length()
    keys &= np.uint64((1 << 61 - bits) - (1 << 16))
    keys |= (waves << np.uint64(61 - bits)) | column
    keys |= member.astype(np.uint64) << np.uint64(61)
    inside = member
    if used is not None:
        keys |= (~used).astype(np.uint64) << np.uint64(62)
        inside = member & used
    keys.sort(axis=1)
    order = (keys & np.uint64(0xFFFF)).astype(np.int64)
    inside_count = inside.sum(axis=1)
    total = np.full(patients, models) if used is None else used.sum(axis=1)
    counts = (total - inside_count, inside_count)
    most = max(1, *(int(count.max(initial=0)) for count in counts))
    places = -(-most // folds)
    # Place p of fold f holds the (p folds + f)-th model of its class.
    position = (np.arange(places)[None, :] * folds + np.arange(folds)[:, None]).reshape(1, -1)
    model = np.empty((patients, folds, 2, places), dtype=np.int64)
    weight = np.empty((patients, folds, 2, places))
    for label, first in ((0, np.zeros_like(total)), (1, counts[0])):
        filled = position < counts[label][:, None]
        place = np.minimum(position + first[:, None], models - 1)
        taken = np.where(filled, np.take_along_axis(order, place, axis=1), 0)
        model[:, :, label] = taken.reshape(patients, folds, places)
        weight[:, :, label] = filled.reshape(patients, folds, places)
    return Deal(model=model, weight=weight)


def rarer_of_a_wave(member: NDArray[np.bool_], wave: int | None) -> int | None:
    """Models of the rarer kind in a wave, the same for every patient; None without waves."""
    if wave is None or not len(member):
        return None
    inside = int(member[0, :wave].sum())
    return min(inside, wave - inside)


def _by_waves(
    member: NDArray[np.bool_],
    folds: int,
    used: NDArray[np.bool_] | None,
    number: NDArray[np.int64] | None,
    salt: int,
    wave: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Fold of every model, whole waves together, and for which patients two folds have both kinds.

    Waves that hold both kinds come first, in an order drawn for each patient.
    """
    patients, models = member.shape
    of_wave = np.arange(models) // wave
    first = np.arange(0, models, wave)
    both = np.minimum(
        *(np.add.reduceat(mask, first, axis=1, dtype=np.int64) for mask in classes(member, used))
    )
    drawn = _hashed(np.arange(patients) if number is None else number, first.size, ~salt & 0xFFFFFF)
    order = np.lexsort((drawn, both == 0), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(first.size)[None, :], axis=1)
    return (place % folds)[:, of_wave], (both > 0).sum(axis=1) >= FEWEST_FOLDS


def _packed(
    member: NDArray[np.bool_],
    folds: int,
    used: NDArray[np.bool_] | None,
    fold: NDArray[np.int64],
) -> Deal:
    """The deal that puts every model in its fold."""
    patients, models = member.shape
    cell = 2 * fold + member
    if used is not None:
        cell = np.where(used, cell, 2 * folds)
    order = np.argsort(cell, axis=1, kind="stable")
    row = np.arange(patients)[:, None]
    cell = cell[row, order]
    count = np.zeros((patients, 2 * folds + 1), dtype=np.int64)
    np.add.at(count, (np.broadcast_to(row, cell.shape), cell), 1)
    start = np.cumsum(count, axis=1) - count
    at = np.arange(models)[None, :] - start[row, cell]
    places = max(1, int(count[:, :-1].max(initial=0)))
    model = np.zeros((patients, 2 * folds, places), dtype=np.int64)
    weight = np.zeros(model.shape)
    who, column = np.nonzero(cell < 2 * folds)
    where = (who, cell[who, column], at[who, column])
    model[where], weight[where] = order[who, column], 1.0
    shape = (patients, folds, 2, places)
    return Deal(model=model.reshape(shape), weight=weight.reshape(shape))


def _instead(dealt: Deal, other: Deal, rows: NDArray[np.bool_]) -> Deal:
    """Another deal for some patients."""
    places = max(dealt.model.shape[3], other.model.shape[3])

    def merged(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        wide = [np.pad(x, [(0, 0)] * 3 + [(0, places - x.shape[3])]) for x in (a, b)]
        return np.where(rows[:, None, None, None], wide[1], wide[0])

    return Deal(model=merged(dealt.model, other.model), weight=merged(dealt.weight, other.weight))


def _hashed(number: NDArray[np.int64], models: int, salt: int) -> NDArray[np.uint64]:
    """Hash of patient and model by splitmix64 (Steele et al. 2014), shape (patients, models)."""
    column = np.arange(models, dtype=np.uint64)
    x = number.astype(np.uint64)[:, None] * np.uint64(1 << 16) + column
    x += np.uint64(salt)
    x *= np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def classes(
    member: NDArray[np.bool_], used: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """OUT and IN masks over the models in use."""
    return (~member, member) if used is None else (~member & used, member & used)


def waves_of(member: NDArray[np.bool_]) -> int | None:
    """Models of a wave: every patient is IN as many models of each whole wave. Proved, not assumed.

    Parameters
    ----------
    member : bool array, shape (models, patients)

    Returns
    -------
    int or None
        The smallest size for which this holds of every patient; None where it holds of none, or
        there are fewer than two whole waves.
    """
    models = len(member)
    for wave in range(2, models // 2 + 1):
        if _in_waves(member[:, :FIRST_LOOK], wave) and _in_waves(member, wave):
            return wave
    return None


def _in_waves(member: NDArray[np.bool_], wave: int) -> bool:
    first = member[:wave].sum(axis=0)
    return all(
        np.array_equal(member[start : start + wave].sum(axis=0), first)
        for start in range(wave, len(member) - wave + 1, wave)
    )
