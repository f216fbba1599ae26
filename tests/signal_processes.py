"""Signals of many kinds whose true AUCs are known: what the statistics must hold for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from auscult.attacks.layout import Layout, lay_out
from tests.simulation import balanced

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Signals, membership and true AUCs of one cohort."""

    signals: Floats  # (models, records)
    member: NDArray[np.bool_]  # (models, patients)
    patient: NDArray[np.int64]  # (records,)
    auc: Floats  # (patients,)

    def layout(self) -> Layout:
        return lay_out(self.signals.astype(np.float32), self.member, self.patient)


# Of one record per patient: membership, shape (models, patients), and the generator to signals and
# AUCs.
Process = Callable[[NDArray[np.bool_], np.random.Generator], tuple[Floats, Floats]]


def shifts(member: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """By how many deviations members are moved: most patients little, some much."""
    return np.asarray(rng.gamma(1.2, 0.8, member.shape[1]))


def normal(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    shift = shifts(member, rng)
    return rng.standard_normal(member.shape) + member * shift, np.asarray(ndtr(shift / np.sqrt(2)))


def in_of_deviation(deviation: float, gain: float) -> Process:
    """Members' signals are narrower or wider than others'."""

    def draw(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
        shift = gain * shifts(member, rng)
        noise = rng.standard_normal(member.shape)
        signals = np.where(member, deviation * noise + shift, noise)
        return signals, np.asarray(ndtr(shift / np.sqrt(1 + deviation**2)))

    return draw


def heavy_tails(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """t with 3 degrees of freedom."""
    shift = 1.3 * shifts(member, rng)
    return rng.standard_t(3, member.shape) + member * shift, auc_of_t3(shift)


def auc_of_t3(shift: Floats) -> Floats:
    """Probability that one t with 3 degrees exceeds another that is moved down by `shift`.

    Their difference has the characteristic function ``exp(-b |t|) (1 + b |t| / 2)^2``, b twice the
    root of 3.
    """
    b = 2 * np.sqrt(3)
    square = shift**2 + b**2
    inside = np.arctan(shift / b) + b * shift / square + b**3 * shift / (2 * square**2)
    return np.asarray(0.5 + inside / np.pi)


def skewed(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Minus the exponential of minus normal signals: a long lower tail."""
    signals, auc = normal(member, rng)
    return -np.exp(-signals), auc


def memorised_or_not(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A member is memorised, far above everybody, with a probability of its own."""
    share = rng.beta(2, 3, member.shape[1])
    memorised = member & (rng.random(member.shape) < share)
    return rng.standard_normal(member.shape) + 12 * memorised, np.asarray(0.5 + 0.5 * share)


def right_or_wrong(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Two values only; members are right more often."""
    outside = rng.uniform(0.05, 0.9, member.shape[1])
    inside = outside + (1 - outside) * rng.random(member.shape[1])
    right = rng.random(member.shape) < np.where(member, inside, outside)
    return np.where(right, 1.0, -1.0), np.asarray(0.5 + 0.5 * (inside - outside))


def rounded(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Log-odds of probabilities with two digits."""
    shift = shifts(member, rng)
    signals = rng.standard_normal(member.shape) + member * shift
    shown = np.clip(np.round(expit(signals), 2), 0.005, 0.995)
    edges = np.concatenate([[-np.inf], logit(np.arange(0.005, 1, 0.01)), [np.inf]])
    outside = np.diff(ndtr(edges))
    inside = np.diff(ndtr(edges - shift[:, None]), axis=1)
    return logit(shown), inside @ (np.cumsum(outside) - outside / 2)


def shared_factor(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Models differ by a factor that moves 60% of the patients, either way."""
    shift = shifts(member, rng)
    noise = rng.standard_normal(member.shape)
    factor = rng.standard_normal((len(member), 1))
    sign = np.where(rng.random(member.shape[1]) < 0.5, -1.0, 1.0)
    moved = rng.random(member.shape[1]) < 0.6
    noise = np.where(moved, np.sqrt(0.4) * noise + np.sqrt(0.6) * sign * factor, noise)
    return noise + member * shift, np.asarray(ndtr(shift / np.sqrt(2)))


def alike_right_or_wrong(
    member: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Members are right in 95%, others in 30%: everybody at 0.825."""
    right = rng.random(member.shape) < np.where(member, 0.95, 0.3)
    return np.where(right, 1.0, -1.0), np.full(member.shape[1], 0.825)


def alike_memorised(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Every member is memorised with probability 0.7: everybody at 0.85."""
    memorised = member & (rng.random(member.shape) < 0.7)
    return rng.standard_normal(member.shape) + 12 * memorised, np.full(member.shape[1], 0.85)


def alike_skewed(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A long upper tail, everybody at 0.85."""
    signals = rng.standard_normal(member.shape) + float(np.sqrt(2) * ndtri(0.85)) * member
    return np.exp(signals), np.full(member.shape[1], 0.85)


def alike_normal(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Everybody at 0.85."""
    signals = rng.standard_normal(member.shape) + float(np.sqrt(2) * ndtri(0.85)) * member
    return signals, np.full(member.shape[1], 0.85)


def nothing(member: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Signals say nothing of membership."""
    return rng.standard_normal(member.shape), np.full(member.shape[1], 0.5)


PROCESSES: dict[str, Process] = {
    "normal": normal,
    "IN deviation x 0.3": in_of_deviation(0.3, 1.0),
    "IN deviation x 3": in_of_deviation(3.0, 2.0),
    "t with 3 degrees": heavy_tails,
    "skewed": skewed,
    "memorised or not": memorised_or_not,
    "right or wrong": right_or_wrong,
    "rounded to two digits": rounded,
    "shared factor": shared_factor,
    "right or wrong, all 0.825": alike_right_or_wrong,
    "memorised or not, all 0.85": alike_memorised,
    "skewed, all 0.85": alike_skewed,
    "normal, all 0.85": alike_normal,
    "nothing": nothing,
}


def drawn(kind: str, patients: int, models: int, rng: np.random.Generator) -> Drawn:
    """A cohort with one record per patient."""
    member = balanced(patients, models, rng)
    signals, auc = PROCESSES[kind](member, rng)
    return Drawn(signals=signals, member=member, patient=np.arange(patients), auc=auc)


def drawn_with_records(patients: int, models: int, rng: np.random.Generator) -> Drawn:
    """Normal signals of patients with 1 to 50 records; the AUC is that of all of them together."""
    member = balanced(patients, models, rng)
    count = rng.integers(1, 51, patients)
    patient = np.repeat(np.arange(patients), count)
    shift = shifts(member, rng)
    signals = rng.standard_normal((models, patient.size))
    signals += member[:, patient] * (shift / np.sqrt(count))[patient]
    return Drawn(signals=signals, member=member, patient=patient, auc=ndtr(shift / np.sqrt(2)))
