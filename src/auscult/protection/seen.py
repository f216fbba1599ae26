"""What an interface hands out of a model's outputs, and what an informed attacker makes of it.

The owner may round probabilities, soften them by a temperature or return labels only. The attacker
knows which, so the attack adapts: a known temperature is undone, a rounded zero stands for less
than half of the last digit, and of a label it is read whether it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.errors import AnalysisError, ConfigError
from auscult.signals import OutputKind, log_odds_of_truth
from auscult.store import Outputs

RECORDS_AT_ONCE = 65_536
MOST_DIGITS = 7


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the interface returns.

    Attributes
    ----------
    digits : int, optional
        Probabilities are rounded to so many decimals.
    temperature : float, optional
        Logits are divided by it before they become probabilities.
    label_only : bool
        The most probable class alone (of several labels: each label's yes or no).
    """

    digits: int | None = None
    temperature: float | None = None
    label_only: bool = False

    def check(self, where: str) -> None:
        """Raise a ConfigError when the parts cannot be or do not go together."""
        if self.digits is not None and not 1 <= self.digits <= MOST_DIGITS:
            raise ConfigError(
                f"{self.digits} digits", where=f"{where}.digits", expected=f"1 to {MOST_DIGITS}"
            )
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ConfigError(
                f"{self.temperature:g} is no temperature",
                where=f"{where}.temperature",
                expected="more than 0",
            )
        if self.label_only and (self.digits is not None or self.temperature is not None):
            raise ConfigError(
                "a label has neither digits nor a temperature: they would be ignored", where=where
            )
        if not self.label_only and self.digits is None and self.temperature is None:
            raise ConfigError(
                "it changes nothing", where=where, expected="digits, temperature or label_only"
            )

    def describe(self) -> dict[str, Any]:
        """The change, for the summary."""
        change: dict[str, Any] = {}
        if self.label_only:
            change["label_only"] = True
        if self.digits is not None:
            change["digits"] = self.digits
        if self.temperature is not None:
            change["temperature"] = self.temperature
        return change


def seen_through(
    values: NDArray[np.floating], kind: OutputKind, access: Access
) -> NDArray[np.float64]:
    """Outputs as an attacker gets them, in the form and shape that the outputs have.

    Parameters
    ----------
    values : float array, shape (..., outputs)
        As a recipe returns them: logits or log-odds.
    kind : {"softmax", "sigmoid", "multilabel", "signal"}
    access : Access

    Returns
    -------
    float64 array
        Log-odds or log-probabilities of what was handed out. Labels are 1 and -1, and 1 and 0 where
        one of several classes is named.

    Raises
    ------
    AnalysisError
        Ready signals are no predictions that could be rounded.
    """
    if kind == "signal":
        raise AnalysisError(
            "the recipe returns ready signals, which no interface can round",
            where="protect.access",
            expected="a recipe that returns predictions",
        )
    z = np.asarray(values, dtype=np.float64)
    if access.label_only:
        if kind == "softmax":
            return np.asarray(np.arange(z.shape[-1]) == z.argmax(axis=-1)[..., None]).astype(float)
        return np.where(z > 0, 1.0, -1.0)
    if access.temperature is not None:
        z = z / access.temperature
    if kind == "softmax":
        peak = z.max(axis=-1, keepdims=True)
        logs = z - peak - np.log(np.exp(z - peak).sum(axis=-1, keepdims=True))
        return logs if access.digits is None else np.log(_rounded(np.exp(logs), access.digits))
    if access.digits is None:
        return z
    p = _rounded(0.5 * (1 + np.tanh(0.5 * z)), access.digits)
    return np.asarray(np.log(p) - np.log1p(-p))


def _rounded(p: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Rounded probabilities; what rounds to 0 or 1 lies half-way within its half unit."""
    edge = 0.25 * 10.0**-digits
    return np.clip(np.round(p, digits), edge, 1 - edge)


def served(outputs: Outputs, access: Access, queries: Sequence[int] | None = None) -> Outputs:
    """All models' outputs as the interface hands them out, to some of the queries or all."""
    asked = list(range(outputs.queries) if queries is None else queries)
    values = np.empty(
        (outputs.models, len(asked), outputs.records, outputs.columns), dtype=np.float32
    )
    for start in range(0, outputs.records, RECORDS_AT_ONCE):
        stop = min(start + RECORDS_AT_ONCE, outputs.records)
        values[:, :, start:stop] = seen_through(
            outputs.read(start, stop)[:, asked], outputs.kind, access
        )
    return Outputs.in_memory(values, outputs.kind)


def adapted_signals(
    outputs: Outputs, labels: NDArray[np.int64], access: Access
) -> NDArray[np.float32]:
    """The attacker's signals, shape (models, records), from outputs that were :func:`served`."""
    signals = np.empty((outputs.models, outputs.records), dtype=np.float32)
    for start in range(0, outputs.records, RECORDS_AT_ONCE):
        stop = min(start + RECORDS_AT_ONCE, outputs.records)
        known = outputs.read(start, stop).astype(np.float64) * (access.temperature or 1.0)
        piece = log_odds_of_truth(known, labels[start:stop], outputs.kind)
        signals[:, start:stop] = piece.mean(axis=1)
    return signals
