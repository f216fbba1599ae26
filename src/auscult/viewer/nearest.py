"""A patient's neighbours: other patients whose records look alike, and how far off they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auscult.attacks.places import Places
from auscult.attacks.remoteness import Crowd, squares
from auscult.viewer.contents import Contents
from auscult.viewer.holding import Holding

SHOWN = 8
MOST_RECORDS = 20  # of the patient
AT_ONCE = 1 << 16
CROWD = 20_000  # records among whom distances are compared
PEERS = 400  # patients whose distances are compared


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another patient: their nearest record, this patient's record that it is near to.

    Attributes
    ----------
    patient, record, own : int
    distance : float
        Euclidean, over all columns in their units.
    identical : bool
        Whether the two records hold exactly the same.
    """

    patient: int
    record: int
    own: int
    distance: float
    identical: bool


def neighbours(holding: Holding, contents: Contents, patient: int) -> list[Neighbour]:
    """The nearest other patients, nearest first; empty where inputs are not at hand.

    Parameters
    ----------
    holding : Holding
    contents : Contents
    patient : int
    """
    places = contents.places
    if places is None:
        return []
    mine = holding.records_of(patient)[:MOST_RECORDS]
    points = places.points[mine]
    best = np.full(holding.patients, np.inf, dtype=np.float32)
    which = np.full(holding.patients, -1, dtype=np.int64)
    own = np.full(holding.patients, -1, dtype=np.int64)
    of_record = holding.patient_of_record
    for start in range(0, len(places), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        square = squares(points, places.points[some], places.lengths[some])
        near, row = square.min(axis=0), square.argmin(axis=0)
        rows = np.arange(start, start + near.size)
        # From far to near: the last that is written of a patient is the nearest.
        order = np.argsort(-near, kind="stable")
        whom = of_record[rows[order]]
        closer = near[order] < best[whom]
        order, whom = order[closer], whom[closer]
        best[whom], which[whom], own[whom] = near[order], rows[order], mine[row[order]]
    best[patient] = np.inf
    chosen = np.argsort(best, kind="stable")[: min(SHOWN, holding.patients - 1)]
    found = []
    for one in chosen.tolist():
        if not np.isfinite(best[one]):
            continue
        here, there = int(own[one]), int(which[one])
        gap = places.points[here].astype(np.float64) - places.points[there]
        found.append(
            Neighbour(
                patient=one,
                record=there,
                own=here,
                distance=float(np.sqrt((gap**2).sum())),
                identical=bool(contents.alike(here, np.array([there]))[0]),
            )
        )
    return sorted(found, key=lambda neighbour: neighbour.distance)


class Remoteness:
    """How far patients lie from others.

    Parameters
    ----------
    holding : Holding
    places : Places
    """

    def __init__(self, holding: Holding, places: Places) -> None:
        self._holding = holding
        self._crowd = Crowd(places, CROWD)
        peers = np.unique(np.linspace(0, holding.patients - 1, PEERS).astype(np.int64))
        mine = [holding.records_of(int(one))[:MOST_RECORDS] for one in peers]
        self._peers = np.sort(self._crowd.distances(mine, peers))

    def of(self, patient: int) -> float:
        """Of one patient."""
        mine = self._holding.records_of(patient)[:MOST_RECORDS]
        return float(self._crowd.distances([mine], [patient])[0])

    def share_nearer(self, distance: float) -> float:
        """Share of patients that lie nearer to others."""
        return float((self._peers < distance).mean())
