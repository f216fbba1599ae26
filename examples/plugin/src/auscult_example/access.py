"""An access: probabilities in coarse steps of the log-odds, as a traffic light shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.views import WHERE, View
from auscult.base.errors import ConfigError
from auscult.recipes.base import OutputKind


@dataclass(frozen=True, kw_only=True)
class Steps(View):
    """Log-odds (of several classes: of each class against the others) in steps.

    Attributes
    ----------
    width : float
        Of a step.
    """

    name = "steps"
    label = "steps of the log-odds"
    continuous = False

    width: float = 1.0

    def shown(self, z: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
        """Numbers from the middle of each step; no more than ten steps either way."""
        if kind == "softmax":
            z = z - z.mean(axis=-1, keepdims=True)
        return np.clip(np.round(z / self.width), -10, 10) * self.width

    def words(self) -> str:
        """Its label with the width."""
        return f"{self.label}, {self.width:g} wide"

    def check(self, where: str) -> None:
        """A step has a width."""
        if not 0 < self.width < float("inf"):
            raise ConfigError(
                f"{self.width:g} is not a valid width", where=where, expected="a number above 0"
            )

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Read "steps:0.5"."""
        try:
            return cls(width=float(rest)) if rest else cls()
        except ValueError:
            raise ConfigError(
                f'"{rest}" is not a number', where=WHERE, expected='for example "steps:0.5"'
            ) from None
