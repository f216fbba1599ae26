"""What is unusual about a patient: hints why a model may remember them, none of them proof."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from auscult.report.words import counted, listed, quoted, share
from auscult.viewer.contents import Contents, Line
from auscult.viewer.holding import Holding
from auscult.viewer.nearest import Neighbour, Remoteness

UNUSUAL = 0.99
NAMED = 5
UNUSUAL_VALUE = 0.01


@dataclass(frozen=True, kw_only=True)
class Peculiarity:
    """One candidate; `unusual` where fewer than 1 in 100 are as far out."""

    title: str
    text: str
    unusual: bool = False
    known: bool = True


class Reference:
    """What patients are compared with; each part is made when it is first needed.

    Parameters
    ----------
    holding : Holding
    contents : Contents
    """

    def __init__(self, holding: Holding, contents: Contents) -> None:
        self.holding, self.contents = holding, contents
        self._out: NDArray[np.float64] | None = None
        self._remoteness: Remoteness | None = None
        self.counts = np.sort(np.diff(holding.first))

    @property
    def out(self) -> NDArray[np.float64]:
        """Mean signals of OUT models on a sample of records, ascending."""
        if self._out is None:
            self._out = self.holding.out_means()
        return self._out

    @property
    def remoteness(self) -> Remoteness | None:
        """Distances of a sample of patients."""
        if self._remoteness is None and self.contents.places is not None:
            self._remoteness = Remoteness(self.holding, self.contents.places)
        return self._remoteness


def peculiarities(
    reference: Reference,
    patient: int,
    out_means: NDArray[np.float64],
    lines: list[Line],
    near: list[Neighbour],
) -> list[Peculiarity]:
    """What may have made a model remember one patient.

    Parameters
    ----------
    reference : Reference
    patient : int
    out_means : float64 array, shape (records of the patient,)
        Mean signal over OUT models; NaN where there are none.
    lines : list of Line
        Values of the patient's records.
    near : list of Neighbour
    """
    found = [_label(reference, out_means), _distance(reference, patient)]
    found += [_values(reference.contents, lines), _twins(reference, near)]
    found.append(_records(reference, patient))
    return found


def _label(reference: Reference, means: NDArray[np.float64]) -> Peculiarity:
    title = "Models that never saw the patient disagree with the label"
    means = means[np.isfinite(means)]
    if not means.size or not reference.out.size:
        return Peculiarity(title=title, text="No model was trained without them.", known=False)
    worst = float(means.min())
    below = float(np.searchsorted(reference.out, worst, "left")) / reference.out.size
    unusual = below <= 1 - UNUSUAL
    rest = f"{share(1 - below)} of all records are fitted better."
    if not reference.holding.tells_probability:
        text = f"Their mean signal is {worst:.3g} on the record that fits worst; {rest}"
        return Peculiarity(title=title, text=text, unusual=unusual)
    text = (
        f"They give the recorded label a probability of {share(float(expit(worst)))} on the record "
        f"that fits worst; {rest}"
    )
    if unusual and worst < 0:
        text += " The label may be wrong, or the patient an exception to the rule."
    return Peculiarity(title=title, text=text, unusual=unusual)


def _distance(reference: Reference, patient: int) -> Peculiarity:
    title = "Far from all others"
    remote = reference.remoteness
    if remote is None:
        return Peculiarity(title=title, text="Inputs are not at hand.", known=False)
    distance = remote.of(patient)
    nearer = remote.share_nearer(distance)
    text = (
        f"The fifth nearest record of another patient lies {distance:.3g} away from the one that "
        f"is farthest off; {share(nearer)} of patients lie nearer to others."
    )
    return Peculiarity(title=title, text=text, unusual=nearer >= UNUSUAL)


def _values(contents: Contents, lines: list[Line]) -> Peculiarity:
    title = "Rare levels and extreme values"
    if contents.cohort is None:
        return Peculiarity(title=title, text="Inputs are not at hand.", known=False)
    if not lines:
        return Peculiarity(title=title, text="The records have no table.", known=False)
    rare = [
        (cell.rarity, f"{quoted(line.name)} = {quoted(cell.text)} ({cell.told})")
        for line in lines
        for cell in line.cells
        if cell.unusual
    ]
    if not rare:
        return Peculiarity(title=title, text="None that fewer than 1% of records have.")
    said = list(dict.fromkeys(text for _, text in sorted(rare)))
    columns = len(lines)
    text = f"{'; '.join(said[:NAMED])}."
    if len(said) > NAMED:
        text += f" And {len(said) - NAMED} more."
    text += f" Of {columns} columns, some are rare in most records by chance alone."
    return Peculiarity(title=title, text=text, unusual=min(rare)[0] < UNUSUAL_VALUE / columns)


def _twins(reference: Reference, near: list[Neighbour]) -> Peculiarity:
    title = "Identical or similar to others"
    holding = reference.holding
    if reference.contents.cohort is None:
        return Peculiarity(title=title, text="Inputs are not at hand.", known=False)
    same = [one for one in near if one.identical]
    if not same:
        return Peculiarity(title=title, text="No other patient has an identical record.")
    other = [one for one in same if holding.label_text(one.own) != holding.label_text(one.record)]
    several = "At least " if len(same) == len(near) else ""
    have = "has" if len(same) == 1 else "have"
    text = f"{several}{counted(len(same), 'other patient')} {have} an identical record"
    if other:
        text += f", {len(other)} of them with another label: only memory can tell them apart"
    return Peculiarity(title=title, text=f"{text}.", unusual=bool(other))


def _records(reference: Reference, patient: int) -> Peculiarity:
    own = int(reference.holding.first[patient + 1] - reference.holding.first[patient])
    counts = reference.counts
    fewer = float(np.searchsorted(counts, own, "left")) / counts.size
    text = f"{counted(own, 'record')}; {share(fewer)} of patients have fewer."
    return Peculiarity(title="Many records", text=text, unusual=fewer >= UNUSUAL)


def summary_of(found: list[Peculiarity]) -> str:
    """One sentence of what is unusual."""
    names = [one.title[0].lower() + one.title[1:] for one in found if one.unusual]
    if not names:
        return "Nothing that is looked at here is unusual about this patient."
    return f"Unusual about this patient: {listed(names)}."
