"""What an interface lets through: the stored outputs, seen as an attacker would see them.

Logits, probabilities, probabilities rounded to some digits, the top label with its confidence, the
label alone. No model is asked again: each access is a view of the same outputs, turned into one
signal per record, higher for a better fit. An attacker sees every class's number where the
interface shows numbers, and what cannot be seen (a probability shown as 0) stands half a step from
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from auscult.errors import ConfigError
from auscult.signals import RECORDS_AT_ONCE, log_odds_of_truth
from auscult.store import Outputs

NAMES = ("logits", "probabilities", "rounded", "top", "label")
DIGITS = 2
MOST_DIGITS = 6
WHERE = "deployment.access"


@dataclass(frozen=True, kw_only=True)
class Access:
    """One way to look at a model's outputs.

    Attributes
    ----------
    name : {"logits", "probabilities", "rounded", "top", "label"}
    digits : int
        Of "rounded": digits after the point.
    """

    name: str
    digits: int = DIGITS

    @property
    def label(self) -> str:
        """In words."""
        plural = "digit" if self.digits == 1 else "digits"
        return {
            "logits": "logits",
            "probabilities": "probabilities",
            "rounded": f"rounded to {self.digits} {plural}",
            "top": "top label with confidence",
            "label": "label only",
        }[self.name]

    @property
    def continuous(self) -> bool:
        """Whether signals are fine enough to be taken as normal."""
        return self.name not in ("rounded", "label")

    def signal(
        self, values: NDArray[np.floating], labels: NDArray[np.integer], kind: str
    ) -> NDArray[np.float64]:
        """Signal of each answer.

        Parameters
        ----------
        values : float array, shape (..., records, columns)
            Outputs of kind "sigmoid", "softmax" or "multilabel".
        labels : int array, shape (records,) or (records, labels)
        kind : str

        Returns
        -------
        float64 array, shape (..., records)
            Log-odds of the truth as far as it can be seen; for "label", the share of labels that
            are the truth.
        """
        z = np.asarray(values, dtype=np.float64)
        if self.name == "logits":
            return log_odds_of_truth(z, labels, kind)  # type: ignore[arg-type]
        if self.name == "label":
            return _right(z, labels, kind)
        if kind == "multilabel":
            truth = np.where(labels == 1, z, -z)
            if self.name == "probabilities":
                return log_odds_of_truth(_shown(z), labels, "multilabel")
            if self.name == "top":
                top = z.argmax(axis=-1)[..., None]
                return np.asarray(np.take_along_axis(truth, top, axis=-1)[..., 0])
            steps = self._rounded(expit(z))
            return log_odds_of_truth(np.log(steps) - np.log1p(-steps), labels, "multilabel")
        if kind == "sigmoid":
            z = np.concatenate([np.zeros_like(z), z], axis=-1)
        log_p = log_softmax(z, axis=-1)
        truth = labels.reshape((1,) * (z.ndim - 2) + (-1, 1)).astype(np.int64)
        truth = np.broadcast_to(truth, (*z.shape[:-1], 1))
        if self.name == "probabilities":
            # Every class's probability in 32 bits: those of the others add up without loss.
            shown = np.maximum(np.exp(log_p).astype(np.float32), np.finfo(np.float32).tiny)
            wide = shown.astype(np.float64)
            mine = np.take_along_axis(wide, truth, axis=-1)[..., 0]
            np.put_along_axis(wide, truth, 0.0, axis=-1)
            return np.asarray(np.log(mine) - np.log(wide.sum(axis=-1)))
        p = np.exp(log_p)
        if self.name == "rounded":
            seen = self._rounded(np.take_along_axis(p, truth, axis=-1)[..., 0])
            return np.asarray(np.log(seen) - np.log1p(-seen))
        best = log_p.argmax(axis=-1)[..., None]
        confidence = np.take_along_axis(log_p, best, axis=-1)[..., 0]
        rest = np.delete(np.sort(log_p, axis=-1), -1, axis=-1)
        others = np.log(np.exp(rest - rest[..., -1:]).sum(axis=-1)) + rest[..., -1]
        # Where the top label is wrong, the truth shares what is left with the other classes.
        left = others - np.log(z.shape[-1] - 1)
        wrong = left - np.log1p(-np.minimum(np.exp(left), 1 - 1e-12))
        return np.asarray(np.where(best[..., 0] == truth[..., 0], confidence - others, wrong))

    def _rounded(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        half = 0.5 * 10.0**-self.digits
        return np.clip(np.round(p, self.digits), half, 1 - half)


def parse_access(text: str) -> Access:
    """Read "probabilities", "rounded:3", ...

    Raises
    ------
    ConfigError
        No such access.
    """
    name, colon, rest = text.partition(":")
    if name in NAMES and not colon:
        return Access(name=name)
    if name == "rounded" and rest.isdecimal() and 0 < int(rest) <= MOST_DIGITS:
        return Access(name=name, digits=int(rest))
    raise ConfigError(
        f'there is no access "{text}"',
        where=WHERE,
        expected=", ".join(NAMES) + f"; rounded:3 for 3 digits (1 to {MOST_DIGITS})",
    )


def access_signals(
    outputs: Outputs, labels: NDArray[np.int64], access: Access, queries: Sequence[int]
) -> NDArray[np.float32]:
    """Signals of all models on all records through an access, averaged over queries.

    Parameters
    ----------
    outputs : Outputs
        Not of kind "signal".
    labels : int64 array, shape (records,) or (records, labels)
    access : Access
    queries : sequence of int
        Which of the stored answers are seen.

    Returns
    -------
    float32 array, shape (models, records)
    """
    signals = np.empty((outputs.models, outputs.records), dtype=np.float32)
    step = max(1, RECORDS_AT_ONCE // max(1, len(queries)))
    for start in range(0, outputs.records, step):
        stop = min(start + step, outputs.records)
        values = outputs.read(start, stop)[:, list(queries)]
        signals[:, start:stop] = access.signal(values, labels[start:stop], outputs.kind).mean(
            axis=1
        )
    return signals


def _shown(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds from both probabilities of each label in 32 bits."""
    tiny = np.finfo(np.float32).tiny
    positive, negative = (
        np.log(np.maximum(expit(side).astype(np.float32), tiny).astype(np.float64))
        for side in (z, -z)
    )
    return np.asarray(positive - negative)


def _right(z: NDArray[np.float64], labels: NDArray[np.integer], kind: str) -> NDArray[np.float64]:
    if kind == "softmax":
        return np.asarray(z.argmax(axis=-1) == labels, dtype=np.float64)
    if kind == "sigmoid":
        return np.asarray((z[..., 0] > 0) == (labels == 1), dtype=np.float64)
    return np.asarray(((z > 0) == (labels == 1)).mean(axis=-1))
