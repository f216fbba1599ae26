"""From a score to a posterior: how much likelier is it, for a member, to be scored like this?

A logistic regression on what the attack says of a patient under a model (its score, and how far the
patient's own models lie apart) orders them; a monotone function of it, from counts of members and
others, is the log likelihood ratio that is claimed, in the tails no larger than the counts show.
Both are learned on some models and used on others. The prior enters afterwards: log posterior odds
= log likelihood ratio + log prior odds (METHOD 7). What learning costs in precision is seen by
leaving out groups of patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from auscult.risk.reliability import monotone_log_odds

RIDGE = 3.0
STEPS = 25
LARGEST = 8.0
GROUPS = 20
FEWEST_POINTS = 40  # in a step of the monotone function
STEPS_OF_RATIO = 80
SCORE, EFFECT = 3, 6  # places of the score itself and of the effect among the terms


def terms_of(score: NDArray[np.float64], effect: NDArray[np.float64]) -> NDArray[np.float64]:
    """Terms of the regression, shape (n, terms).

    With normal scores of equal variance the log likelihood ratio is score times effect, measured
    from the middle of both classes; the other terms let the data shrink an uncertain effect and
    bend what is not normal.

    Parameters
    ----------
    score, effect : float64 array, shape (n,)
        In deviations; clipped at 8.
    """
    z, d = np.clip(score, -LARGEST, LARGEST), np.clip(effect, -LARGEST, LARGEST)
    return np.column_stack([z * d, z * d * np.abs(d), z * d**3, z, z * z, z * z * d, d, d * d])


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Log likelihood ratios from terms.

    Attributes
    ----------
    middle, scale : float64 array, shape (terms,)
    weights : float64 array, shape (1 + groups, 1 + terms)
        The offset first. Row 0 is learned from everybody, row 1 + g without group g.
    steps : tuple of pair of float64 array, shape (steps,)
        The monotone function of each row: values of the regression, ratios claimed there.
    """

    middle: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    steps: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]

    def order(self, terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of the regression, shape (1 + groups, n): they order points, with few ties."""
        return np.asarray(self.weights[:, :1] + self.weights[:, 1:] @ self._scaled(terms).T)

    def of_others(
        self, terms: NDArray[np.float64], group: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Values of the regression as each point's own group did not teach it, shape (n,).

        Who is OUT of more models in one half of them is OUT of fewer in the other: what chance had
        taught about a patient on the one is reversed on the other. But for the offset, which would
        tell how often the group itself is OUT: it is everybody's.

        Parameters
        ----------
        terms : float64 array, shape (n, terms)
        group : int64 array, shape (n,)
        """
        scaled = self._scaled(terms)
        found = np.empty(len(terms))
        for g in range(len(self.weights) - 1):
            mine = np.flatnonzero(group == g)
            found[mine] = self.weights[0, 0] + scaled[mine] @ self.weights[1 + g, 1:]
        return found

    def _scaled(self, terms: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.clip((terms - self.middle) / self.scale, -10, 10))

    def claimed(self, order: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log likelihood ratios that are claimed for values of the regression, row by row."""
        return np.stack(
            [np.interp(row, *steps) for row, steps in zip(order, self.steps, strict=True)]
        )


def calibrate(
    terms: NDArray[np.float64],
    member: NDArray[np.bool_],
    group: NDArray[np.int64] | None = None,
) -> Calibration:
    """Learn a calibration.

    Parameters
    ----------
    terms : float64 array, shape (n, terms)
    member : bool array, shape (n,)
        Both values must occur.
    group : int64 array, shape (n,), optional
        Group of each point's patient, below 20: each is left out once, by one step of Newton's
        method from the solution for everybody.
    """
    middle = terms.mean(axis=0)
    spread = terms.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    x = np.clip((terms - middle) / scale, -10, 10)
    # Members and others weigh the same: the offset is that of a prior of one half.
    share = member.mean()
    weight = np.where(member, 0.5 / share, 0.5 / (1 - share))
    weights = _logistic(x, member, weight, group)
    steps = _monotone(weights[0, 0] + x @ weights[0, 1:], member, group)
    return Calibration(middle=middle, scale=scale, weights=weights, steps=steps)


def _logistic(
    x: NDArray[np.float64],
    member: NDArray[np.bool_],
    weight: NDArray[np.float64],
    group: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Ridge logistic regression by Newton's method; the offset is not pulled."""
    design = np.column_stack([np.ones(len(x)), x])
    pull = np.diag([1e-9, *([RIDGE] * x.shape[1])])
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p = expit(design @ beta)
        slope = design.T @ (weight * (member - p)) - pull @ beta
        curve = (design * (weight * p * (1 - p))[:, None]).T @ design + pull
        step = np.linalg.solve(curve, slope)
        # A long step would overshoot where classes lie far apart.
        beta = beta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    rows = [beta]
    if group is not None:
        p = expit(design @ beta)
        away, bend = weight * (member - p), weight * p * (1 - p)
        for g in range(GROUPS):
            mine = np.flatnonzero(group == g)
            own = design[mine]
            without = curve - (own * bend[mine, None]).T @ own
            rows.append(beta - np.linalg.solve(without, own.T @ away[mine]))
    return np.stack(rows)


def _monotone(
    order: NDArray[np.float64], member: NDArray[np.bool_], group: NDArray[np.int64] | None
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Monotone log likelihood ratio, for everybody and without each group.

    Points are put into runs, fine in both tails and coarse between them; equal values share a run.
    """
    x = np.sort(order)
    n = len(x)
    tail = np.log(max(n / FEWEST_POINTS, 4.0))
    cuts = (expit(np.linspace(-tail, tail, STEPS_OF_RATIO)) * n).astype(np.int64)
    kept = [0]
    for cut in np.searchsorted(x, x[np.clip(cuts, 0, n - 1)], "right").tolist():
        if cut - kept[-1] >= FEWEST_POINTS and n - cut >= FEWEST_POINTS:
            kept.append(cut)
    run = np.searchsorted(x[kept[1:]], order, "right")
    runs, groups = len(kept), 1 if group is None else GROUPS
    cell = run if group is None else run + runs * group

    def counted(weight: NDArray[Any]) -> NDArray[np.float64]:
        found = np.bincount(cell, weights=weight, minlength=groups * runs)
        return np.asarray(found.reshape(groups, runs), dtype=np.float64)

    tables = [counted(weight) for weight in (member, np.ones(n), order)]
    whole = [table.sum(axis=0) for table in tables]
    rows = [whole]
    if group is not None:
        rows += [[w - t[g] for w, t in zip(whole, tables, strict=True)] for g in range(GROUPS)]
    return tuple(_pooled(*row) for row in rows)


def _pooled(
    inside: NDArray[np.float64], total: NDArray[np.float64], place: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log likelihood ratios of pooled runs: the odds, less those of everybody."""
    where, odds = monotone_log_odds(inside, total, place)
    share = inside.sum() / total.sum()
    return where, odds - np.log(share / (1 - share))
