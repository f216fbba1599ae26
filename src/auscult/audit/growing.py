"""A run that grows until its answer is sure, or its budget is spent."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.base.errors import ConfigError, StoreError
from auscult.policy.gate import judge_run
from auscult.policy.judging import Decision
from auscult.policy.looks import next_look
from auscult.policy.rules import Policy
from auscult.results import Result
from auscult.store import RunStore

if TYPE_CHECKING:
    from auscult.audit.audit import Audit

INCONCLUSIVE = "inconclusive"
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Until:
    """When a run has grown enough, and what it may cost.

    Attributes
    ----------
    policy : Policy, optional
        Until it is decided: passed or failed.
    width : float, optional
        Until the 95% interval of a patient of median risk is no wider, in AUC. Give one of the two.
    most : int
        Models of the run at most: even, at least 8.
    hours : float, optional
        No further models are begun that would probably take longer than this in all, counted from
        the start of this call.
    """

    policy: Policy | None = None
    width: float | None = None
    most: int = 64
    hours: float | None = None

    def check(self) -> None:
        """Raise a ConfigError when the parts cannot be combined."""
        if (self.policy is None) == (self.width is None):
            raise ConfigError(
                "it must be said what the run shall grow for",
                where="until",
                expected="a policy or a width, one of the two",
            )
        if self.policy is not None and not isinstance(self.policy, Policy):
            raise ConfigError(
                f"{type(self.policy).__name__} is not a policy",
                where="until.policy",
                expected="a Policy, as load_policy(path) reads it",
            )
        for name, kind in (("width", Real), ("most", Integral), ("hours", Real)):
            value = getattr(self, name)
            absent = value is None and name != "most"
            if isinstance(value, bool) or not (absent or isinstance(value, kind)):
                raise ConfigError(
                    f"{value!r} is not {'a whole number' if kind is Integral else 'a number'}",
                    where=f"until.{name}",
                )
        if self.width is not None and not 0 < self.width <= 1:
            raise ConfigError(
                f"{self.width} is not the width of an interval of an AUC",
                where="until.width",
                expected="a number above 0, at most 1 (0.1 is a good start)",
            )
        if self.hours is not None and not self.hours > 0:
            raise ConfigError(
                f"{self.hours} hours", where="until.hours", expected="a number above 0"
            )


@dataclass(frozen=True, kw_only=True)
class Grown:
    """What became of a run that grew.

    Attributes
    ----------
    result : Result
    looks : tuple of int
        Models at each look of this call.
    reached : bool
        Whether the goal was reached.
    stopped_by : str
        What ended it otherwise: "models" or "hours"; empty where the goal was reached.
    width : float or None
        Of the interval of a patient of median risk; None where it is not estimable.
    decision : Decision or None
        The policy's, where one was given.
    """

    result: Result
    looks: tuple[int, ...]
    reached: bool
    stopped_by: str
    width: float | None
    decision: Decision | None


def grow(
    audit: Audit,
    out: str | os.PathLike[str],
    until: Until,
    *,
    configuration: Callable[[int], str] | None,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,  # noqa: ANN401
) -> Grown:
    """Run with a few models, look, double them, and so on; see :meth:`Audit.run_until`.

    Parameters
    ----------
    audit : Audit
    out : path-like
    until : Until
    configuration : callable or None
        Number of models to the text of ``audit.toml``.
    clock : callable
        Seconds.
    **options
        Of :meth:`Audit.run`.

    Raises
    ------
    AuscultError
        Says what to correct; finished work is kept.
    """
    until.check()
    models = _there(Path(out))
    if models > until.most:
        raise StoreError(
            f"the run has {models} models already, more than the {until.most} that it may have",
            where=str(out),
            next_step=f"Allow {models} models or more, or use another run directory",
        )
    models = models or _first_look(audit, until.most)
    begun = clock()
    trained, looks = 0, list[int]()
    while True:
        before = _trained(Path(out))
        grown = copy.copy(audit)
        grown.models = models
        text = None if configuration is None else configuration(models)
        result = grown.run(out, configuration=text, **options)
        trained += models - before
        looks.append(models)
        width = _width(result.summary, models)
        decision = None
        if until.policy is not None:
            decision = judge_run(out, until.policy, again=True)
            reached = decision.verdict != INCONCLUSIVE
        else:
            reached = width is not None and width <= (until.width or 0.0)
        following = next_look(models, until.most)
        spent = clock() - begun
        stopped = ""
        if not reached and following == models:
            stopped = "models"
        elif not reached and until.hours is not None and trained:
            # What was trained in this call tells what the next models take.
            expected = spent + spent / trained * (following - models)
            stopped = "hours" if expected > until.hours * SECONDS_PER_HOUR else ""
        if reached or stopped:
            return Grown(
                result=Result(out),
                looks=tuple(looks),
                reached=reached,
                stopped_by=stopped,
                width=width,
                decision=decision,
            )
        models = following


def _first_look(audit: Audit, most: int) -> int:
    """The first number of models that tells IN from OUT for every patient; most, if none does.

    Where a protection leaves out the most exposed, either half of the models must.
    """
    design, models = audit._design(), next_look(0, most)
    removes = any(variant.removes for variant in audit.protect)
    tells = design.halves_carry if removes else design.carries
    while not tells(models) and models < most:
        models = next_look(models, most)
    return models


def _there(run: Path) -> int:
    """Models that a run has, or is about to have; 0 where there is none."""
    if not (run / "manifest.json").exists():
        return 0
    return RunStore.open(run).status().models_total


def _trained(run: Path) -> int:
    if not (run / "manifest.json").exists():
        return 0
    return RunStore.open(run).status().models_done


def _width(summary: dict[str, Any], models: int) -> float | None:
    rows = summary["patients"].get("planning") or []
    return next((row["interval_width"] for row in rows if row["models"] == models), None)
