"""What an interface hands out of a model's answers, and what an informed attacker makes of it.

Logits, probabilities, probabilities that are rounded or softened by a temperature, the top label
with its confidence, labels alone, the weights themselves, or a view that another package adds. No
model is asked again: each access is a view of the stored outputs. A deployment is looked at through
every access, and a protection may be an access of its own. The attacker knows which it is, so the
attack adapts; see :mod:`auscult.attacks.views`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.log_odds import RECORDS_AT_ONCE
from auscult.attacks.views import (
    ACCESSES,
    MOST_DIGITS,
    WHERE,
    Label,
    Logits,
    Probabilities,
    Rounded,
    Score,
    Top,
    View,
    Weights,
)
from auscult.base.errors import AnalysisError, ConfigError
from auscult.base.plugins import Origin, guarded
from auscult.cohort.queries import parse_queries, places
from auscult.recipes.base import OutputKind
from auscult.store import Outputs

NAMES = tuple(view.name for view in ACCESSES.built_in())
SCORE = Score.name  # of outputs that are ready signals, of which the others cannot be made
WHITE_BOX = Weights.name  # of models that were looked into


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the interface returns.

    Attributes
    ----------
    digits : int, optional
        Probabilities are rounded to this number of decimals.
    temperature : float, optional
        Logits are divided by it before they become probabilities.
    label_only : bool
        The most probable class alone (of several labels: each label's yes or no).
    shows : {"probabilities", "logits", "top", "score", "weights"}
        What is shown otherwise; "top" is the most probable class with its probability, "score"
        one number per record that says how well the model fits it, of models in any task,
        "weights" the model itself.
    view : View, optional
        Instead of all these: a view of another package.
    """

    digits: int | None = None
    temperature: float | None = None
    label_only: bool = False
    shows: Literal["probabilities", "logits", "top", "score", "weights"] = "probabilities"
    view: View | None = None

    @property
    def seen(self) -> View:
        """The view that it is."""
        if self.view is not None:
            return self.view
        if self.label_only:
            return Label()
        if self.digits is not None:
            return Rounded(digits=self.digits, temperature=self.temperature)
        if self.shows == "logits":
            return Logits()
        if self.shows == "score":
            return Score()
        if self.shows == "weights":
            return Weights()
        if self.shows == "top":
            return Top(temperature=self.temperature)
        return Probabilities(temperature=self.temperature)

    @property
    def name(self) -> str:
        """One of the names that a deployment may declare."""
        return self.seen.name

    @property
    def label(self) -> str:
        """In words."""
        return self.seen.words()

    @property
    def continuous(self) -> bool:
        """Whether signals are fine enough to be treated as normal."""
        return self.seen.continuous

    @property
    def origin(self) -> Origin | None:
        """The package whose view it is; None for Auscult's own."""
        return None if self.view is None else ACCESSES.origin(self.view.name)

    def check(self, where: str) -> None:
        """Raise a ConfigError when, as a protection, its parts are not valid or change nothing."""
        if self.view is not None:
            if self != Access(view=self.view):
                raise ConfigError(
                    "a view cannot be combined with another key of an access", where=where
                )
            self.view.check(where)
            if self.view.as_plain:
                raise ConfigError(f'"{self.view.name}" is not a protection', where=where)
            return
        if self.digits is not None and not 1 <= self.digits <= MOST_DIGITS:
            raise ConfigError(
                f"{self.digits} digits", where=f"{where}.digits", expected=f"1 to {MOST_DIGITS}"
            )
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ConfigError(
                f"{self.temperature:g} is not a valid temperature",
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
                "it changes nothing" if not changes else f'"{self.shows}" is not a protection',
                where=where,
                expected="digits, temperature or label_only",
            )

    def describe(self) -> dict[str, Any]:
        """The change that it is as a protection, for the summary."""
        if self.view is not None:
            options = dataclasses.asdict(self.view) if dataclasses.is_dataclass(self.view) else {}
            return {"name": self.name, "label": self.label, "options": options}
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
            Ready signals are not predictions, so they cannot be rounded.
        """
        if kind == "signal" and self.name == SCORE:
            return np.asarray(values, dtype=np.float64)
        if kind == "signal":
            raise AnalysisError(
                "the recipe returns ready signals, which no interface can round",
                where="protect.access",
                expected="a recipe that returns predictions",
            )
        z = np.asarray(values, dtype=np.float64)
        if self.view is None:
            return self.seen.shown(z, kind)
        with guarded("access", self.name, "handing out answers", self.origin):
            shown = self.view.shown(z, kind)
        return self._whole(shown, z.shape)

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
        shown = self.handed_out(values, kind)
        if self.view is None:
            return self.seen.read(shown, labels, kind)
        with guarded("access", self.name, "reading answers", self.origin):
            signal = self.view.read(shown, labels, kind)
        return self._whole(signal, shown.shape[:-1])

    def _whole(self, found: object, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """What a view of another package gave: a finite number for each answer."""
        if not isinstance(found, np.ndarray) or found.shape != shape:
            raise AnalysisError(
                f"it returned shape {getattr(found, 'shape', None)}",
                where=f'access "{self.name}"',
                expected=f"a float array of shape {shape}",
            )
        if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
            raise AnalysisError(
                "it returned NaN, infinity or values that are not numbers",
                where=f'access "{self.name}"',
            )
        return found.astype(np.float64)


def parse_access(text: str) -> Access:
    """Read "probabilities", "rounded:3", ..., or the name of a view that another package adds.

    Raises
    ------
    ConfigError
        No such access.
    """
    name, colon, rest = text.partition(":")
    if text == SCORE:
        return Access(shows="score")
    if text == WHITE_BOX:
        return Access(shows="weights")
    unknown = ConfigError(
        f'there is no access "{text}"',
        where=WHERE,
        expected=", ".join((*ACCESSES.names(), SCORE, WHITE_BOX))
        + f"; rounded:3 for 3 digits (1 to {MOST_DIGITS})",
    )
    if name not in ACCESSES.names() or (colon and not rest):
        raise unknown
    view = ACCESSES.get(name, WHERE)
    try:
        with guarded("access", name, "reading its options", ACCESSES.origin(name)):
            found = view.from_text(rest)
    except ConfigError as error:
        if name in NAMES:
            raise unknown from error
        raise
    if isinstance(found, Rounded):
        return Access(digits=found.digits)
    if name in NAMES:
        return {
            "logits": Access(shows="logits"),
            "probabilities": Access(),
            "top": Access(shows="top"),
            "label": Access(label_only=True),
        }[name]
    found.check(WHERE)
    return Access(view=found)


def added_access(name: str, options: dict[str, Any], where: str) -> Access:
    """The access of a view of another package, with its options.

    Parameters
    ----------
    name : str
        Of the view.
    options : dict
        Fields of the view.
    where : str
        Key of the configuration, for messages.

    Raises
    ------
    ConfigError
        There is no such view, or it has no such options.
    """
    return Access(
        view=ACCESSES.made(name, options, named=f"{where}.name", where=f"{where}.options")
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
