"""``--until`` and ``--at-most`` of `auscult run`: what a run grows for, and what it may cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.base.errors import ConfigError

if TYPE_CHECKING:
    from auscult.audit.growing import Grown, Until

DECIDED, WIDTH = "decided", "width"
GOALS = "decided (with --policy policy.toml) or width=0.1"


def goal_of(
    until: str | None, policy: Path | None, at_most: Sequence[str], models: int
) -> Until | None:
    """The goal and the budget of some options; None where the run does not grow.

    Parameters
    ----------
    until : str or None
    policy : Path or None
    at_most : sequence of str
    models : int
        The configuration's, the budget where none is given.

    Raises
    ------
    ConfigError
        The options cannot be combined or read.
    """
    from auscult.audit.growing import Until
    from auscult.config.policy import load_policy

    if until is None:
        for option, given in (("--policy", policy), ("--at-most", at_most)):
            if given:
                raise ConfigError(f"{option} requires --until", where=option, expected=GOALS)
        return None
    name, equals, value = until.partition("=")
    width = None
    if until == DECIDED:
        if policy is None:
            raise ConfigError("--until decided requires a policy", where="--policy")
    elif name == WIDTH and equals:
        if policy is not None:
            raise ConfigError("--policy requires --until decided", where="--policy")
        width = _number(value, "--until", GOALS)
    else:
        raise ConfigError(f'"{until}" is no goal', where="--until", expected=GOALS)
    most, hours = None, None
    for text in at_most:
        expected = (
            "models (256) and hours (8h) or money at the price of an hour (40@2.50), each once"
        )
        money, at, price = text.partition("@")
        if at or text.endswith("h"):
            if hours is not None:
                raise ConfigError("hours are given twice", where="--at-most", expected=expected)
            hours = (
                _hours(money, price, expected) if at else _number(text[:-1], "--at-most", expected)
            )
        elif text.isascii() and text.isdigit():
            if most is not None:
                raise ConfigError("models are given twice", where="--at-most", expected=expected)
            most = int(text)
        else:
            raise ConfigError(f'"{text}" is no budget', where="--at-most", expected=expected)
    found = Until(
        policy=None if policy is None else load_policy(policy),
        width=width,
        most=models if most is None else most,
        hours=hours,
    )
    found.check()
    return found


def _number(text: str, where: str, expected: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f'"{text}" is not a number', where=where, expected=expected) from None


def _hours(money: str, price: str, expected: str) -> float:
    """Hours that some money pays for."""
    each = _number(price, "--at-most", expected)
    if not each > 0:
        raise ConfigError(
            f'an hour cannot cost "{price}"',
            where="--at-most",
            expected="a price above 0 after the @",
        )
    return _number(money, "--at-most", expected) / each


def told(grown: Grown) -> Iterator[str]:
    """How far a run came, and why it ended.

    Parameters
    ----------
    grown : Grown
    """
    from auscult.cli.gate import reasons
    from auscult.report.words import visible

    models = grown.looks[-1]
    if grown.decision is not None:
        if not grown.reached:
            yield from map(visible, reasons(grown.decision))
        yield f"{grown.decision.verdict.upper()} after {models} models."
    elif grown.width is None:
        yield f"After {models} models the width of a patient's interval is not estimable."
    else:
        yield f"A patient's 95% interval is {grown.width:.3f} wide after {models} models."
    if grown.stopped_by:
        spent = "its models" if grown.stopped_by == "models" else "its hours or money"
        yield (
            f"Not reached: the budget ended with {spent} (--at-most). Run again with a larger one "
            "to go on from here."
        )
