"""Several looks at a run that grows: how much error each look may spend.

A run that is judged after 16 models, then after 32, and so on until a verdict is sure, errs more
often than one that is judged once: each look is another chance of a wrong verdict. The error of 5%
is therefore spent over all looks that will ever be made, as in a confidence sequence: the look with
n models, after one with m, may err with probability 5% (f(n) - f(m)), where f(n) = n / (n + 64).
The sum stays below 5% whatever stops the run, and whenever: a verdict, a budget, or a person. Where
the next looks lie, and how many there will be, need not be known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

ERROR = 0.05
HALF_SPENT = 64  # models after which half of the error is spent
FIRST_LOOK = 16  # models


def level(looks: Sequence[int]) -> float:
    """Error that the last of some looks may spend.

    Parameters
    ----------
    looks : sequence of int
        Models of the run at each look, ascending.
    """
    before = looks[-2] if len(looks) > 1 else 0
    return ERROR * (_spent(looks[-1]) - _spent(before))


def _spent(models: int) -> float:
    return models / (models + HALF_SPENT)


def widening(looks: Sequence[int]) -> float:
    """By what the distance of a 95% bound from its estimate is multiplied at the last look.

    A bound that is exceeded with probability p / 2 lies log(p / 2) / log(0.025) times as far as the
    bound of a 95% interval where tails are exponential, as those of small counts are. Tails of a
    normal distribution are lighter, so that there the widened bound errs less.

    Parameters
    ----------
    looks : sequence of int
        Empty where the run was looked at once, without a plan to look again: 1.
    """
    return math.log(level(looks) / 2) / math.log(ERROR / 2) if looks else 1.0


def widened(figure: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A figure with its bounds farther away; whichever of them it has.

    Parameters
    ----------
    figure : mapping
        With "estimate", "low" and "high", or a "reason".
    factor : float
        From :func:`widening`.
    """
    low, high, estimate = (figure.get(name) for name in ("low", "high", "estimate"))
    if low is None or high is None:
        return dict(figure)
    middle = (low + high) / 2 if estimate is None else min(max(estimate, low), high)
    return {
        **figure,
        "low": middle - factor * (middle - low),
        "high": middle + factor * (high - middle),
    }


def next_look(models: int, most: int) -> int:
    """Models of the next look: twice as many, at most `most`.

    Parameters
    ----------
    models : int
        Of the last look, 0 before the first.
    most : int
    """
    return min(max(2 * models, FIRST_LOOK), most)
