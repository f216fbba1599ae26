"""What each kind of interface shows of an answer, and what an informed attacker reads from that.

A view says how an answer is handed out (:meth:`View.shown`); the attacker's signal is made from
what was handed out and from nothing else (:meth:`View.read`), so that no view can give the attacker
more than it shows. Each is a class of its own: one whose action is forgotten cannot be made.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logsumexp

from auscult.attacks.log_odds import log_odds_of_truth
from auscult.base.errors import ConfigError
from auscult.base.plugins import Optioned, Registry
from auscult.recipes.base import OutputKind

DIGITS = 2
MOST_DIGITS = 7
WHERE = "deployment.access"


@dataclass(frozen=True, kw_only=True)
class View(Optioned, unfinished=True):
    """A way of handing out answers. Options are the fields of the dataclass; all have defaults.

    Attributes
    ----------
    name, label : str
        Its key in configurations, and its name for people.
    as_plain : frozenset of {"softmax", "sigmoid", "multilabel"}
        Kinds of outputs of which it hands out all that plain probabilities tell. Of all others it
        must hide something.
    continuous : bool
        Whether what is shown is fine enough to be taken as normal.
    """

    as_plain: ClassVar[frozenset[str]] = frozenset()
    continuous: ClassVar[bool] = True

    @abstractmethod
    def shown(self, z: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
        """What a user gets, in the form and shape that the outputs have.

        Parameters
        ----------
        z : float64 array, shape (..., outputs)
            Logits ("softmax") or log-odds ("sigmoid", "multilabel").
        kind : {"softmax", "sigmoid", "multilabel"}

        Returns
        -------
        float64 array, same shape
            Log-probabilities ("softmax") or log-odds; finite. An answer's own: it depends on no
            other answer.
        """

    def read(
        self, shown: NDArray[np.float64], labels: NDArray[np.integer], kind: OutputKind
    ) -> NDArray[np.float64]:
        """The attacker's signal, higher for a better fit; log-odds of the truth where not changed.

        Parameters
        ----------
        shown : float64 array, shape (..., records, outputs)
            Of :meth:`shown`.
        labels : int array, shape (records,) or (records, labels)
        kind : {"softmax", "sigmoid", "multilabel"}

        Returns
        -------
        float64 array, shape (..., records)
        """
        return log_odds_of_truth(shown, labels, kind)

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Read what stands behind "name:" in ``deployment.access``; empty where nothing does.

        Raises
        ------
        ConfigError
            It has no such option.
        """
        if rest:
            raise ConfigError(
                f'there is no access "{cls.name}:{rest}"',
                where=WHERE,
                expected=f'"{cls.name}", which has no options here',
            )
        return cls()


ACCESSES: Registry[Any] = Registry("access", View, of_classes=True)
_ALL = frozenset({"softmax", "sigmoid", "multilabel"})


@ACCESSES.add
@dataclass(frozen=True, kw_only=True)
class Logits(View):
    """Logits as they are."""

    name = "logits"
    label = "logits"
    as_plain = _ALL

    def shown(self, z: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:  # noqa: ARG002
        """See :meth:`View.shown`."""
        return z


@dataclass(frozen=True, kw_only=True)
class _Softened(View, unfinished=True):
    """Softened by a temperature, which the attacker knows and undoes."""

    temperature: float | None = None

    def softened(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logits or log-odds at the temperature."""
        return z if self.temperature is None else z / self.temperature

    def read(
        self, shown: NDArray[np.float64], labels: NDArray[np.integer], kind: OutputKind
    ) -> NDArray[np.float64]:
        """See :meth:`View.read`."""
        if self.temperature is not None:
            shown = shown * self.temperature
        return super().read(shown, labels, kind)


@ACCESSES.add
@dataclass(frozen=True, kw_only=True)
class Probabilities(_Softened):
    """Probabilities of 32 bits, softened by a temperature, which the attacker undoes."""

    name = "probabilities"
    label = "probabilities"
    as_plain = _ALL

    def shown(self, z: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
        """See :meth:`View.shown`."""
        z = self.softened(z)
        if kind == "softmax":
            return np.log(self.digits_of(np.exp(np.asarray(log_softmax(z, axis=-1)))))
        both = self.digits_of(expit(z)), self.digits_of(expit(-z))
        return np.asarray(np.log(both[0]) - np.log(both[1]))

    def digits_of(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities in the digits that are shown."""
        return np.maximum(p.astype(np.float32), np.finfo(np.float32).tiny).astype(np.float64)


@ACCESSES.add
@dataclass(frozen=True, kw_only=True)
class Rounded(Probabilities):
    """Probabilities of a few decimals; one that is shown as 0 or 1 stands half a step from it."""

    name = "rounded"
    label = "rounded probabilities"
    as_plain = frozenset()
    continuous = False

    digits: int = DIGITS

    def words(self) -> str:
        """See :meth:`View.words`."""
        return f"rounded to {self.digits} {'digit' if self.digits == 1 else 'digits'}"

    def digits_of(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :meth:`Probabilities.digits_of`."""
        half = 0.5 * 10.0**-self.digits
        return np.clip(np.round(p, self.digits), half, 1 - half)

    def read(
        self, shown: NDArray[np.float64], labels: NDArray[np.integer], kind: OutputKind
    ) -> NDArray[np.float64]:
        """See :meth:`View.read`."""
        if self.temperature is None and kind == "softmax":
            # The truth's own number tells best what the others add up to: each was rounded.
            log_p = shown[..., np.arange(shown.shape[-2]), labels]
            return np.asarray(log_p - np.log1p(-np.exp(log_p)))
        return super().read(shown, labels, kind)

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """See :meth:`View.from_text`."""
        if not rest:
            return cls()
        if rest.isdecimal() and 0 < int(rest) <= MOST_DIGITS:
            return cls(digits=int(rest))
        raise ConfigError(
            f'there is no access "rounded:{rest}"',
            where=WHERE,
            expected=f"rounded:3 for 3 digits (1 to {MOST_DIGITS})",
        )


@ACCESSES.add
@dataclass(frozen=True, kw_only=True)
class Top(_Softened):
    """The most probable class with its probability; of two classes one number says all."""

    name = "top"
    label = "top label with confidence"
    as_plain = frozenset({"sigmoid"})

    def shown(self, z: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
        """See :meth:`View.shown`; classes below the top one share what it leaves."""
        z = self.softened(z)
        if kind == "sigmoid":
            return z
        if kind == "softmax":
            return _only_top(np.asarray(log_softmax(z, axis=-1)))
        # Of several labels the others are known to be less likely than the top one, and no more.
        best = z.argmax(axis=-1)[..., None]
        highest = np.take_along_axis(z, best, axis=-1)
        return np.where(np.arange(z.shape[-1]) == best, z, np.minimum(highest, 0.0) - 1.0)

    def read(
        self, shown: NDArray[np.float64], labels: NDArray[np.integer], kind: OutputKind
    ) -> NDArray[np.float64]:
        """See :meth:`View.read`."""
        if kind == "multilabel":
            if self.temperature is not None:
                shown = shown * self.temperature
            top = shown.argmax(axis=-1)[..., None]
            signs = np.where(labels == 1, shown, -shown)
            return np.asarray(np.take_along_axis(signs, top, -1)[..., 0])
        return super().read(shown, labels, kind)


@ACCESSES.add
@dataclass(frozen=True, kw_only=True)
class Label(View):
    """The most probable class alone; of several labels, each label's yes or no."""

    name = "label"
    label = "label only"
    continuous = False

    def shown(self, z: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
        """See :meth:`View.shown`; labels are 1 and -1, and 1 and 0 where one class is named."""
        if kind == "softmax":
            best = z.argmax(axis=-1)[..., None]
            return np.asarray(np.arange(z.shape[-1]) == best).astype(float)
        return np.where(z > 0, 1.0, -1.0)

    def read(
        self, shown: NDArray[np.float64], labels: NDArray[np.integer], kind: OutputKind
    ) -> NDArray[np.float64]:
        """See :meth:`View.read`; the share of labels that are the truth."""
        if kind == "softmax":
            return np.asarray(shown.argmax(axis=-1) == labels, dtype=np.float64)
        if kind == "sigmoid":
            return np.asarray((shown[..., 0] > 0) == (labels == 1), dtype=np.float64)
        return np.asarray(((shown > 0) == (labels == 1)).mean(axis=-1))


@dataclass(frozen=True, kw_only=True)
class Score(View):
    """One number per record that says how well the model fits it, in any task.

    No view of predictions: it is offered only where outputs are ready signals, and then alone.
    """

    name = "score"
    label = "the loss of each record, or what it follows from"

    def shown(self, z: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:  # noqa: ARG002
        """See :meth:`View.shown`."""
        return z


@dataclass(frozen=True, kw_only=True)
class Weights(Logits):
    """The model itself: its logits, and what its weights say of each record besides.

    No view of answers: it is offered only where models were looked into as they were trained.
    """

    name = "white-box"
    label = "the weights (white-box)"


def _only_top(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The top class's log-probability; the others share what it leaves."""
    best = log_p.argmax(axis=-1)[..., None]
    below = log_p.copy()
    np.put_along_axis(below, best, -np.inf, axis=-1)
    left = logsumexp(below, axis=-1, keepdims=True) - np.log(log_p.shape[-1] - 1)
    return np.where(np.arange(log_p.shape[-1]) == best, log_p, left)
