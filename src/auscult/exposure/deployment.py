"""What a deployment is: what membership reveals there, to whom, and who could attack with what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from auscult.attacks.access import NAMES, SCORE, WHITE_BOX, parse_access
from auscult.base.errors import ConfigError
from auscult.cohort.queries import PLAIN, parse_queries

ONE_RECORD = "one record"
OTHER_RECORDS = "other records"
REFERENCES = (0, 1, 4, 16)
LEAST_PRIOR = 1e-10  # one person of all mankind
ALL = "all"
# Shares of members that a table shows where no deployment says which one is its own.
USUAL_PRIORS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where a model will be used. Affects only the analysis; no model is retrained for it.

    Attributes
    ----------
    reveals : str
        What membership reveals about a person, for example "was treated for HIV at this clinic".
    population : str
        The population that the attacker considers.
    prior : float or pair of float
        The cohort's share of that population, between 0 and 1, or a range of it.
    prevalence : float, optional
        Share of the people outside the cohort who have what membership reveals.
    access : str, optional
        What the interface returns: "logits", "probabilities", "rounded" (or "rounded:3"), "top",
        "label"; "white-box" where the weights are handed out (needs ``white_box``); "score" for
        models that give one number per record. By default the probabilities, or the score.
    knowledge : str
        What the attacker holds: "records" (the very records trained on), "one record" of them,
        "other records" of the same patient (needs ``withhold``), or the text of a query.
    references : int or "all"
        How many models like it the attacker can train; 0 for none.
    """

    reveals: str
    population: str
    prior: float | tuple[float, float]
    prevalence: float | None = None
    access: str | None = None
    knowledge: str = PLAIN
    references: int | str = ALL

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest prior."""
        if isinstance(self.prior, tuple):
            return self.prior
        return (self.prior, self.prior)

    @property
    def priors(self) -> tuple[float, ...]:
        """Priors that are shown: both ends, and the middle of a range on a logarithmic scale."""
        low, high = self.range
        if low == high:
            return (low,)
        return (low, float(f"{math.sqrt(low * high):.2g}"), high) if high > 2 * low else (low, high)

    def check(
        self,
        queries: tuple[str, ...],
        withhold: float,
        models: int,
        *,
        scores: bool = False,
        white_box: bool = False,
    ) -> None:
        """Raise a ConfigError when the audit cannot say anything about this deployment.

        Parameters
        ----------
        queries : tuple of str
            The audit's queries.
        withhold : float
            Share of records that no model trains on.
        models : int
            Models of the audit.
        scores : bool
            Whether models give one number per record instead of predictions of classes.
        white_box : bool
            Whether models are looked into as they are trained.
        """
        for name in ("reveals", "population"):
            text = getattr(self, name)
            if not text.strip() or len(text) > 500:
                raise ConfigError(
                    "it is empty" if not text.strip() else "it is too long",
                    where=f"deployment.{name}",
                    expected="a few words, for the report",
                )
        low, high = self.range
        if not LEAST_PRIOR <= low <= high <= 1 - LEAST_PRIOR:
            raise ConfigError(
                f"{_shown(self.prior)} is not a valid share of members",
                where="deployment.prior",
                expected="a number between 0 and 1, or a range [low, high] of them; at least one "
                f"in {1 / LEAST_PRIOR:,.0f}",
            )
        if self.prevalence is not None and not 0 <= self.prevalence < 1:
            raise ConfigError(
                f"{self.prevalence:g} is not a valid prevalence",
                where="deployment.prevalence",
                expected="a number from 0 to 1 (people outside the cohort who have it)",
            )
        if self.access == WHITE_BOX and not white_box:
            raise ConfigError(
                "the models are not looked into",
                where="deployment.access",
                next_step="Set audit.white_box = true: gradients are taken when models are trained",
            )
        if self.access is not None:
            score = parse_access(self.access).name == SCORE
            if score != scores:
                raise ConfigError(
                    "the models give one number per record (a loss or a score)"
                    if scores
                    else "the models give predictions of classes",
                    where="deployment.access",
                    expected=f'"{SCORE}"' if scores else ", ".join((*NAMES, WHITE_BOX)),
                    next_step="Or leave it out",
                )
        asked = [q.text for q in parse_queries(queries) if q.kind != "augmented"]
        known = [PLAIN, ONE_RECORD, *([OTHER_RECORDS] if withhold > 0 else []), *asked]
        if self.knowledge not in known:
            needs = (
                "Set audit.withhold, for example 0.2"
                if self.knowledge == OTHER_RECORDS
                else "Declare it in audit.queries: models answer queries when they are trained"
            )
            raise ConfigError(
                f'the models are not queried with "{self.knowledge}"',
                where="deployment.knowledge",
                expected=", ".join(known),
                next_step=needs,
            )
        fits = self.references == ALL or (
            isinstance(self.references, int) and 0 <= self.references <= models // 2
        )
        if not fits:
            raise ConfigError(
                f"{self.references!r} is not a valid number of reference models",
                where="deployment.references",
                expected=f'0 to {models // 2} (half of the models) or "all"',
            )

    def summary(self, *, scores: bool = False) -> dict[str, Any]:
        """The "deployment" object of the summary."""
        return {
            "reveals": self.reveals,
            "population": self.population,
            "prior": list(self.range),
            "prevalence": self.prevalence,
            "access": self.access or (SCORE if scores else "probabilities"),
            "knowledge": self.knowledge,
            "references": self.references,
        }


def _shown(prior: float | tuple[float, float]) -> str:
    return str(list(prior)) if isinstance(prior, tuple) else f"{prior:g}"
