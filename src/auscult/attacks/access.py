"""What an interface hands out of a model's answers, and what an informed attacker makes of it.

Logits, probabilities, probabilities that are rounded or softened by a temperature, the top label
with its confidence, labels alone. No model is asked again: each access is a view of the stored
outputs. A deployment is looked at through every access, and a protection may be an access of its
own. The attacker knows which it is, so the attack adapts: a known temperature is undone, every
class's number is read where it is shown, a probability that is shown as 0 or 1 stands half a step
from it, and of a label it is read whether it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logsumexp

from auscult.attacks.log_odds import RECORDS_AT_ONCE, log_odds_of_truth
from auscult.base.errors import AnalysisError, ConfigError
from auscult.cohort.queries import parse_queries, places
from auscult.recipes.base import OutputKind
from auscult.store import Outputs

NAMES = ("logits", "probabilities", "rounded", "top", "label")
SCORE = "score"  # of outputs that are ready signals, of which the others cannot be made
DIGITS = 2
MOST_DIGITS = 7
WHERE = "deployment.access"


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
    shows : {"probabilities", "logits", "top", "score"}
        What is shown otherwise; "top" is the most probable class with its probability, "score"
        one number per record that says how well the model fits it, of models in any task.
    """

    digits: int | None = None
    temperature: float | None = None
    label_only: bool = False
    shows: Literal["probabilities", "logits", "top", "score"] = "probabilities"

    @property
    def name(self) -> str:
        """One of the names that a deployment may declare."""
        if self.label_only:
            return "label"
        return self.shows if self.digits is None else "rounded"

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
            "score": "the loss of each record, or what it follows from",
        }[self.name]

    @property
    def continuous(self) -> bool:
        """Whether signals are fine enough to be taken as normal."""
        return self.name not in ("rounded", "label")

    def check(self, where: str) -> None:
        """Raise a ConfigError when, as a protection, its parts cannot be or change nothing."""
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
        changes = self.label_only or self.digits is not None or self.temperature is not None
        if not changes or self.shows != "probabilities":
            raise ConfigError(
                "it changes nothing" if not changes else f'"{self.shows}" is no protection',
                where=where,
                expected="digits, temperature or label_only",
            )

    def describe(self) -> dict[str, Any]:
        """The change that it is as a protection, for the summary."""
        change: dict[str, Any] = {}
        if self.label_only:
            change["label_only"] = True
        if self.digits is not None:
            change["digits"] = self.digits
        if self.temperature is not None:
            change["temperature"] = self.temperature
        return change

    def handed_out(self, values: NDArray[np.floating], kind: OutputKind) -> NDArray[np.float64]:
        """Outputs as a user gets them, in the form and shape that the outputs have.

        Parameters
        ----------
        values : float array, shape (..., outputs)
            As a recipe returns them: logits or log-odds.
        kind : {"softmax", "sigmoid", "multilabel", "signal"}

        Returns
        -------
        float64 array
            Log-odds or log-probabilities. Labels are 1 and -1, and 1 and 0 where one of several
            classes is named; classes below the top one share what it leaves.

        Raises
        ------
        AnalysisError
            Ready signals are no predictions that could be rounded.
        """
        if kind == "signal" and self.name == "score":
            return np.asarray(values, dtype=np.float64)
        if kind == "signal":
            raise AnalysisError(
                "the recipe returns ready signals, which no interface can round",
                where="protect.access",
                expected="a recipe that returns predictions",
            )
        z = np.asarray(values, dtype=np.float64)
        if self.name == "logits":
            return z
        if self.name == "label":
            if kind == "softmax":
                best = z.argmax(axis=-1)[..., None]
                return np.asarray(np.arange(z.shape[-1]) == best).astype(float)
            return np.where(z > 0, 1.0, -1.0)
        if self.temperature is not None:
            z = z / self.temperature
        if kind == "softmax":
            logs = np.asarray(log_softmax(z, axis=-1))
            if self.name == "top":
                return _only_top(logs)
            return np.log(self._shown(np.exp(logs)))
        if self.name == "top":
            return z  # one number says all of two classes
        both = self._shown(expit(z)), self._shown(expit(-z))
        return np.asarray(np.log(both[0]) - np.log(both[1]))

    def signal(
        self, values: NDArray[np.floating], labels: NDArray[np.integer], kind: OutputKind
    ) -> NDArray[np.float64]:
        """The attacker's signal of each answer, higher for a better fit.

        Parameters
        ----------
        values : float array, shape (..., records, outputs)
            Outputs of kind "sigmoid", "softmax" or "multilabel".
        labels : int array, shape (records,) or (records, labels)
        kind : str

        Returns
        -------
        float64 array, shape (..., records)
            Log-odds of the truth as far as it can be seen; for "label", the share of labels that
            are the truth.
        """
        if self.name == "label":
            return _right(np.asarray(values), labels, kind)
        if self.name == "top" and kind == "multilabel":
            z = np.asarray(values, dtype=np.float64)
            top = z.argmax(axis=-1)[..., None]
            return np.asarray(np.take_along_axis(np.where(labels == 1, z, -z), top, -1)[..., 0])
        seen = self.handed_out(values, kind)
        if self.temperature is not None:
            seen = seen * self.temperature
        elif self.digits is not None and kind == "softmax":
            # The truth's own number tells best what the others add up to: each was rounded.
            log_p = seen[..., np.arange(seen.shape[-2]), labels]
            return np.asarray(log_p - np.log1p(-np.exp(log_p)))
        return log_odds_of_truth(seen, labels, kind)

    def _shown(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities in the digits that are shown: 32 bits, unless they are rounded."""
        if self.digits is None:
            return np.maximum(p.astype(np.float32), np.finfo(np.float32).tiny).astype(np.float64)
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
    if name in (*NAMES, SCORE) and not colon:
        return {
            "logits": Access(shows="logits"),
            "probabilities": Access(),
            "rounded": Access(digits=DIGITS),
            "top": Access(shows="top"),
            "label": Access(label_only=True),
            SCORE: Access(shows="score"),
        }[name]
    if name == "rounded" and rest.isdecimal() and 0 < int(rest) <= MOST_DIGITS:
        return Access(digits=int(rest))
    raise ConfigError(
        f'there is no access "{text}"',
        where=WHERE,
        expected=", ".join((*NAMES, SCORE)) + f"; rounded:3 for 3 digits (1 to {MOST_DIGITS})",
    )


def answers_seen(access: Access, known: Sequence[int], queries: Sequence[str]) -> tuple[int, ...]:
    """Places of the answers that are looked at: a label alone needs several questions.

    Parameters
    ----------
    access : Access
    known : sequence of int
        Places of the answers to what the attacker holds.
    queries : sequence of str
        As declared; augmented views of the very records, where models were asked about them, are
        what an attacker makes up for a label with.
    """
    seen = list(known)
    if access.name == "label" and seen == [0]:
        where = places(queries)
        for query in parse_queries(queries):
            if query.kind == "augmented":
                seen += where[query.text]
    return tuple(seen)


def access_signals(
    outputs: Outputs, labels: NDArray[np.int64], access: Access, queries: Sequence[int]
) -> NDArray[np.float32]:
    """Signals of all models on all records through an access, averaged over queries.

    Parameters
    ----------
    outputs : Outputs
        Of kind "signal" with access "score" only.
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


def served(outputs: Outputs, access: Access, queries: Sequence[int] | None = None) -> Outputs:
    """All models' outputs as the interface hands them out, to some of the queries or all.

    Parameters
    ----------
    outputs : Outputs
    access : Access
    queries : sequence of int, optional
        Numbers of the queries; all when None.
    """
    asked = list(range(outputs.queries) if queries is None else queries)
    values = np.empty(
        (outputs.models, len(asked), outputs.records, outputs.columns), dtype=np.float32
    )
    for start in range(0, outputs.records, RECORDS_AT_ONCE):
        stop = min(start + RECORDS_AT_ONCE, outputs.records)
        values[:, :, start:stop] = access.handed_out(
            outputs.read(start, stop)[:, asked], outputs.kind
        )
    return Outputs.in_memory(values, outputs.kind)


def _only_top(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The top class's log-probability; the others share what it leaves."""
    best = log_p.argmax(axis=-1)[..., None]
    below = log_p.copy()
    np.put_along_axis(below, best, -np.inf, axis=-1)
    left = logsumexp(below, axis=-1, keepdims=True) - np.log(log_p.shape[-1] - 1)
    return np.where(np.arange(log_p.shape[-1]) == best, log_p, left)


def _right(z: NDArray[np.float64], labels: NDArray[np.integer], kind: str) -> NDArray[np.float64]:
    if kind == "softmax":
        return np.asarray(z.argmax(axis=-1) == labels, dtype=np.float64)
    if kind == "sigmoid":
        return np.asarray((z[..., 0] > 0) == (labels == 1), dtype=np.float64)
    return np.asarray(((z > 0) == (labels == 1)).mean(axis=-1))
