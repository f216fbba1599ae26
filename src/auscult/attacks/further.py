"""Further signals of a record beside its log-odds: weighed into one where members are told better.

An attacker who sees every class's number, or has the weights, knows more of a record than how
likely its truth is: what else the model thought of, how far a step of training would still move it.
Each such signal is centred like the log-odds, neighbours as controls included, and then they are
weighed together: one signal again, which goes the way of every other.

    x = w0 z0 / u0 + w1 z1 / u1 + ...,   w = (W + h T)^-1 (d + h T e0 d0 / W00)

with ``z0`` the margin (log-odds of the truth), ``z1`` and so on the others, ``d`` the mean
difference of members and others, ``W`` their covariance within, ``T`` its diagonal and ``e0`` the
margin alone, towards which ``h`` pulls the weights. Units ``u`` are one for all records, or each
record's own spread over models. Like the amounts of centring, the weights, their strength and the
units of a group of patients are learned from *other* patients, half of whom learn what the other
half judges: nobody's membership decides how their own signals are weighed, and a null stays a null.
Where nothing is surely better than the margin alone, the margin is used as it is.

Weighing comes after centring because what is left of two signals when their controls are taken away
is less alike than they are. On diabetes130 the centred margin and norm of the gradient correlate at
0.09 within members and others. Weighed before centring they told nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.amounts import told_apart
from auscult.attacks.layout import Centring, Layout, spaced, take_patients
from auscult.base.parallel import let_go, scratch

STRENGTHS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
JUDGES = 2048  # patients by whose membership weights are learned and judged
MOST_VALUES = 1 << 22  # of a sample: records times models times signals
FEWEST_PATIENTS = 60
GROUPS = 3  # of patients: one is weighed, the two others learn and judge in turn
SURE = 2.0  # standard errors by which a choice must be better than the margin alone
NUGGET = 1e-6  # of each variance: signals may follow from each other
AT_ONCE = 4096
FEW = f"fewer than {FEWEST_PATIENTS} patients can be told by"
NO_GAIN = "they do not tell other patients' membership better than the log-odds of the truth alone"


@dataclass(frozen=True, kw_only=True, eq=False)
class More:
    """What else is seen of each record.

    Attributes
    ----------
    names : tuple of str
    read : callable
        From the number of a first record and that of the one after the last to a float array of
        shape (models, records, signals).
    records : int
        Of the cohort.
    at_once : int
        Records to be read together.
    """

    names: tuple[str, ...]
    read: Callable[[int, int], NDArray[np.floating]]
    records: int
    at_once: int

    def pieces(self) -> Iterator[tuple[int, int]]:
        """First and last of the records that are read together, all of them in turn."""
        for start in range(0, self.records, self.at_once):
            yield start, min(start + self.at_once, self.records)


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """What came of further signals.

    Attributes
    ----------
    names : tuple of str
        Of the signals that were looked at.
    used : bool
    reason : str
        Why they were not used; empty where they were.
    """

    names: tuple[str, ...]
    used: bool
    reason: str = ""

    def summary(self) -> dict[str, object]:
        """The "further" object of a cell."""
        return {"signals": list(self.names), "used": self.used, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class _Choice:
    strength: float
    own_scale: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """Patients by whom weights are learned and judged.

    `values` holds their centred signals, the margin first, shape (signals, rows, models): in the
    one unit of all records (place 0) or in each record's own (place 1).
    """

    part: Layout
    group: NDArray[np.int64]  # (patients,)
    values: tuple[NDArray[np.float64], NDArray[np.float64]]


def with_further(layout: Layout, more: More) -> tuple[Layout, Weighed]:
    """A layout whose signals weigh in what else is seen of each record.

    Parameters
    ----------
    layout : Layout
        Whole, with the margin as signal; `order` names records of the cohort.
    more : More

    Returns
    -------
    Layout
        Of centred signals; the given one where nothing was found to be worth weighing in.
    Weighed
    """
    most = MOST_VALUES // (layout.models * (1 + len(more.names)))
    mean = max(1.0, layout.records / max(layout.patients, 1))
    judges = min(JUDGES, max(FEWEST_PATIENTS, int(most / mean)))
    chosen = spaced(np.flatnonzero(layout.estimable()), judges)
    if chosen.size < FEWEST_PATIENTS:
        return layout, Weighed(names=more.names, used=False, reason=FEW)
    signals = _centred(layout, more)
    spread = _spread(signals)
    usual = np.array([np.median(one[one > 0]) if (one > 0).any() else np.inf for one in spread])
    sample = _sampled(layout, chosen, signals, spread, usual)
    choices = [_chosen(sample, group) for group in range(GROUPS)]
    if not any(choices):
        return layout, Weighed(names=more.names, used=False, reason=NO_GAIN)
    found = _applied(layout, sample, signals, spread, usual, choices)
    return replace(layout, signals=found), Weighed(names=more.names, used=True)


def _centred(layout: Layout, more: More) -> list[NDArray[np.float32]]:
    """Signals of all rows, the margin first, each less what others say; in files when large."""
    found = [
        scratch((layout.records, layout.models), np.float32) for _ in range(1 + len(more.names))
    ]
    row_of = np.full(more.records, -1, dtype=np.int64)
    row_of[layout.order] = np.arange(layout.records)
    for start, stop in more.pieces():
        wanted = np.flatnonzero(row_of[start:stop] >= 0)
        if wanted.size:
            values = more.read(start, stop)[:, wanted]
            for place, one in enumerate(found[1:]):
                one[row_of[start:stop][wanted]] = values[:, :, place].T
                let_go(one)
    found[0][:] = layout.signals
    for one in found:
        own = replace(layout, signals=one)
        centring = Centring(own)
        for _, rows, part in own.parts():
            one[rows] = centring.apply(part)
            let_go(one)
    return found


def _spread(signals: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Deviation of each row's signals over models, shape (signals, rows)."""
    spread = np.empty((len(signals), len(signals[0])))
    for mine, one in zip(spread, signals, strict=True):
        for start in range(0, len(one), AT_ONCE):
            mine[start : start + AT_ONCE] = one[start : start + AT_ONCE].std(axis=1)
        let_go(one)
    return spread


def _units(
    spread: NDArray[np.float64], usual: NDArray[np.float64], *, own_scale: bool
) -> NDArray[np.float64]:
    """What signals are divided by, shape (signals, rows); infinite where they never vary."""
    varies = spread > 1e-6 * np.where(np.isfinite(usual), usual, 0.0)[:, None]
    return np.where(varies, spread if own_scale else usual[:, None], np.inf)


def _sampled(
    layout: Layout,
    chosen: NDArray[np.int64],
    signals: list[NDArray[np.float32]],
    spread: NDArray[np.float64],
    usual: NDArray[np.float64],
) -> _Sample:
    part, rows = take_patients(layout, chosen)
    raw = np.stack([one[rows] for one in signals]).astype(np.float64)
    raw -= raw.mean(axis=2, keepdims=True)
    values = [
        raw / _units(spread[:, rows], usual, own_scale=own)[:, :, None] for own in (False, True)
    ]
    return _Sample(part=part, group=part.number % GROUPS, values=(values[0], values[1]))


def _learned(
    sample: _Sample, groups: list[int], *, own_scale: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean difference of members and others, and covariance within, over rows of some patients."""
    part = sample.part
    rows = np.flatnonzero(np.isin(sample.group, groups)[part.patient])
    x = sample.values[own_scale][:, rows]
    member = part.member[part.patient[rows]]
    used = np.ones_like(member) if part.used is None else part.used[part.patient[rows]]
    inside, outside = member & used, ~member & used
    many, few = inside.sum(axis=1), outside.sum(axis=1)
    known = (many >= 2) & (few >= 2)
    x, inside, outside = x[:, known], inside[known], outside[known]
    many, few = many[known], few[known]
    high = np.einsum("srm,rm->sr", x, inside) / many
    low = np.einsum("srm,rm->sr", x, outside) / few
    left = x - np.where(inside, high[:, :, None], low[:, :, None])
    flat = (left * (inside | outside)).reshape(len(x), -1)
    return (high - low).mean(axis=1), flat @ flat.T / max(float((many + few - 2).sum()), 1.0)


def _solved(
    difference: NDArray[np.float64], within: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Weights of the signals, in the scale of the margin: their sum varies within as it does."""
    variance = np.diag(within)
    alone = np.zeros(len(variance))
    alone[0] = 1.0
    if variance[0] <= 0:
        return alone
    silent = variance <= 0  # a signal that never varies gets no weight
    scale = np.where(silent, 1.0, variance)
    left = within + np.diag((strength + NUGGET) * scale + silent)
    right = np.where(silent, 0.0, difference) + strength * difference[0] * alone
    found = np.linalg.solve(left, right)
    size = float(found @ within @ found)
    return np.asarray(found * np.sqrt(variance[0] / size)) if size > 0 else alone


def _chosen(sample: _Sample, group: int) -> _Choice | None:
    """What tells the members of the other groups best, each judged by weights of the other one."""
    first, second = (g for g in range(GROUPS) if g != group)
    best, most = None, 0.0
    parts = {
        g: take_patients(sample.part, np.flatnonzero(sample.group == g)) for g in (first, second)
    }
    for own_scale in (False, True):
        moments = {g: _learned(sample, [g], own_scale=own_scale) for g in (first, second)}
        x = {g: sample.values[own_scale][:, rows] for g, (_, rows) in parts.items()}
        before = {g: told_apart(part, x[g][0]) for g, (part, _) in parts.items()}
        for strength in STRENGTHS:
            gains = []
            for learned, judged in ((first, second), (second, first)):
                weights = _solved(*moments[learned], strength)
                after = told_apart(parts[judged][0], np.tensordot(weights, x[judged], axes=1))
                gains.append(after - before[judged])
            gain = np.concatenate(gains)
            gain = gain[np.isfinite(gain)]
            if gain.size < 2:
                continue
            mean = float(gain.mean())
            sure = mean > SURE * float(gain.std(ddof=1)) / np.sqrt(gain.size)
            if sure and mean > most:
                best, most = _Choice(strength=strength, own_scale=own_scale), mean
    return best


def _applied(
    layout: Layout,
    sample: _Sample,
    signals: list[NDArray[np.float32]],
    spread: NDArray[np.float64],
    usual: NDArray[np.float64],
    choices: list[_Choice | None],
) -> NDArray[np.float32]:
    """Weighed signals of all rows, in the unit of their margin; the margin is overwritten."""
    group = layout.number[layout.patient] % GROUPS
    weight = np.zeros((len(signals), layout.records))
    for g, choice in enumerate(choices):
        mine = group == g
        if choice is None:
            weight[0, mine] = 1.0
            continue
        others = [h for h in range(GROUPS) if h != g]
        learned = _learned(sample, others, own_scale=choice.own_scale)
        unit = _units(spread[:, mine], usual, own_scale=choice.own_scale)
        back = np.where(np.isfinite(unit[0]), unit[0], 1.0)
        weight[:, mine] = _solved(*learned, choice.strength)[:, None] * back / unit
    found = signals[0]
    for start in range(0, layout.records, AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        total = found[rows] * weight[0, rows, None]
        for mine, one in zip(weight[1:], signals[1:], strict=True):
            total += one[rows] * mine[rows, None]
            let_go(one)
        found[rows] = total
        let_go(found)
    return found
