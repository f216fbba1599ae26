"""`[recipe.dp]`: what is asked of private training, and what it comes to on a cohort.

Nothing here may depend on who is a member. The rate, the number of steps and the expected batch
follow from the cohort's size and the settings alone, so they are the same for every model and tell
nothing about anybody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from auscult.base.errors import ConfigError, one_of
from auscult.cohort import TrainingData
from auscult.recipes.accounting import (
    ACCOUNTANT,
    LEAST_NOISE,
    RELATION,
    epsilon_for,
    noise_for,
)

UNITS = ("record", "patient")
KEYS = ("unit", "epsilon", "noise", "delta", "clip")
DELTA = 1e-5
SCALING = "by statistics of the whole cohort, the same for every model"


@dataclass(frozen=True, kw_only=True)
class DpSettings:
    """What the user asked for.

    Attributes
    ----------
    unit : {"record", "patient"}
    epsilon : float or None
        Infinite for no noise; None where `noise` is given.
    noise : float or None
    delta : float
    clip : float
        Largest norm of a unit's gradient; infinite for no clipping.
    """

    unit: str
    epsilon: float | None
    noise: float | None
    delta: float
    clip: float

    @property
    def noiseless(self) -> bool:
        """Whether no noise is added, so that nothing is promised."""
        return self.noise == 0 or (self.epsilon is not None and math.isinf(self.epsilon))

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> DpSettings:
        """Check `[recipe.dp]`.

        Raises
        ------
        ConfigError
            A key that does not exist, or values that do not fit.
        """
        where = "recipe.dp"
        if not isinstance(given, Mapping):
            raise ConfigError(
                "it is not a table", where=where, expected='for example { unit = "record", ... }'
            )
        for name in given:
            if name not in KEYS:
                raise ConfigError(
                    f'there is no key "{name}"', where=where, expected=one_of(name, KEYS)
                )
        unit = given.get("unit")
        if unit not in UNITS:
            raise ConfigError(
                f"{unit!r} is not a valid unit" if "unit" in given else "the unit is missing",
                where=f"{where}.unit",
                expected='"record" or "patient": whose gradient is clipped and protected',
            )
        if ("epsilon" in given) == ("noise" in given):
            raise ConfigError(
                "one of epsilon and noise is needed, not both",
                where=where,
                expected='epsilon = 8 (or "inf"), or noise = 1.0',
            )
        epsilon = _positive(given, "epsilon", infinite=True)
        noise = _positive(given, "noise", zero=True)
        delta = _positive(given, "delta")
        if delta is not None and delta >= 1:
            raise ConfigError(
                f"{delta:g} is not a valid delta", where=f"{where}.delta", expected="under 1"
            )
        clip = _positive(given, "clip", infinite=True)
        found = cls(
            unit=str(unit),
            epsilon=epsilon,
            noise=noise,
            delta=DELTA if delta is None else delta,
            clip=math.inf if clip is None else clip,
        )
        if math.isinf(found.clip) and not found.noiseless:
            raise ConfigError(
                "noise protects nobody whose gradient is not clipped",
                where=f"{where}.clip",
                expected="a number, for example 1.0",
            )
        if found.noise is not None and 0 < found.noise < LEAST_NOISE:
            raise ConfigError(
                f"noise {found.noise:g} protects nobody",
                where=f"{where}.noise",
                expected=f"0 for none, or {LEAST_NOISE:g} and more",
            )
        return found

    def as_settings(self) -> dict[str, Any]:
        """JSON-able, for the run's identity."""
        asked = {"noise": self.noise} if self.epsilon is None else {"epsilon": _json(self.epsilon)}
        return {"unit": self.unit, **asked, "delta": self.delta, "clip": _json(self.clip)}


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """What private training does on one cohort.

    Attributes
    ----------
    settings : DpSettings
    noise : float
        Noise multiplier.
    rate : float
        Probability with which a step takes a unit.
    steps : int
        Of the whole training.
    expected : float
        Expected number of records of a step: what sums of gradients are divided by.
    epsilon : float
    """

    settings: DpSettings
    noise: float
    rate: float
    steps: int
    expected: float
    epsilon: float

    def facts(self) -> dict[str, Any]:
        """For manifest and report; see ``auscult.recipes.accounting`` for what it allows."""
        return {
            "unit": self.settings.unit,
            "epsilon": _json(self.epsilon),
            "delta": self.settings.delta,
            "noise": self.noise,
            "clip": _json(self.settings.clip),
            "sampling": "Poisson",
            "rate": self.rate,
            "steps": self.steps,
            "expected_batch": self.expected,
            "relation": RELATION,
            "accountant": ACCOUNTANT,
            "mechanisms": "every model of the audit is an independent mechanism; the guarantee "
            "holds for anyone who sees one of them",
            "scaling": SCALING,
        }


def guarantee(
    settings: DpSettings, data: TrainingData, *, batch_size: int, epochs: int, steps: int
) -> Guarantee:
    """What the settings come to on a cohort.

    A share of the cohort are members on average, by default half, so `batch_size` records are
    expected in a step when every unit is taken with probability ``batch_size / (records share)``.

    Parameters
    ----------
    settings : DpSettings
    data : TrainingData
    batch_size : int
        Records expected in a step.
    epochs : int
    steps : int
        Steps of an epoch.

    Raises
    ------
    ConfigError
        No noise gives the epsilon, or delta is too large for the cohort.
    """
    records = len(data.inputs)
    units = records
    if settings.unit == "patient" and data.patient_of_record is not None:
        units = int(np.unique(data.patient_of_record).size)
    if settings.delta >= 1 / units and not settings.noiseless:
        raise ConfigError(
            f"delta {settings.delta:g} allows revealing somebody completely",
            where="recipe.dp.delta",
            expected=f"well under 1 / {settings.unit}s = {1 / units:.2g}",
        )
    rate = min(1.0, batch_size / (records * data.share))
    total = epochs * steps
    if settings.noiseless:
        noise, epsilon = 0.0, math.inf
    else:
        asked, delta = settings.epsilon or math.inf, settings.delta
        noise = settings.noise or noise_for(asked, rate=rate, steps=total, delta=delta)
        epsilon = epsilon_for(noise, rate=rate, steps=total, delta=delta)
    return Guarantee(
        settings=settings,
        noise=noise,
        rate=rate,
        steps=total,
        expected=rate * records * data.share,
        epsilon=epsilon,
    )


def unkept(given: Mapping[str, Any], data: TrainingData, dtype: str) -> str | None:
    """Why the settings cannot be kept on this data, or None.

    Parameters
    ----------
    given : mapping
        The settings of private training, as `recipe.dp` has them.
    data : TrainingData
    dtype : str
    """
    if DpSettings.read(given).unit == "patient" and data.patient_of_record is None:
        return "private training at patient level needs the patient of each record"
    if dtype in ("bfloat16", "tf32"):
        return (
            "norms of gradients need more than 16 bits: dp cannot be combined with dtype = "
            f'"{dtype}"'
        )
    return None


def _positive(
    given: Mapping[str, Any], name: str, *, zero: bool = False, infinite: bool = False
) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if value == "inf" and infinite:
        return math.inf
    fits = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if not fits or value < 0 or (value == 0 and not zero) or (math.isinf(value) and not infinite):
        raise ConfigError(
            f"{value!r} is not a valid value",
            where=f"recipe.dp.{name}",
            expected=f"a number {'from 0 on' if zero else 'above 0'}"
            + (', or "inf"' if infinite else ""),
        )
    return float(value)


def _json(value: float) -> float | str:
    """Strict JSON has no infinity."""
    return "inf" if math.isinf(value) else value
