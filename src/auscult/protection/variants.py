"""Descriptions of variants: a change of recipe, cohort or access. Nothing runs here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auscult.attacks.access import Access
from auscult.base.errors import ConfigError
from auscult.protection.changes import (
    OWN,
    NoDuplicates,
    Protection,
    RecordCap,
    WithoutExposed,
    WithoutTop,
)
from auscult.recipes.base import Recipe

LONGEST_SLUG = 40
LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """The audit with one thing changed, on the same membership.

    Attributes
    ----------
    name : str, optional
        Derived from the change when empty.
    recipe : Recipe, optional
        Instead of the audit's.
    recipe_change : mapping, optional
        The change of the recipe in the user's own terms; the settings that differ when None.
    max_records : int, optional
        At most so many records of a patient are trained on.
    deduplicate : float, optional
        Of a model's members, records that duplicate an earlier one are not trained on: 0 for
        identical inputs, more for near ones; see :func:`auscult.protection.selection.find_twins`.
    without_exposed : float, optional
        Patients whose AUC exceeds it are never trained on.
    without_top : float, optional
        That share of the patients, the most exposed, is never trained on.
    access : Access, optional
        What the interface returns.
    choice : Protection, optional
        Another choice of the records that are trained on, added by another package.
    """

    name: str = ""
    recipe: Recipe | None = None
    recipe_change: Mapping[str, Any] | None = None
    max_records: int | None = None
    deduplicate: float | None = None
    without_exposed: float | None = None
    without_top: float | None = None
    access: Access | None = None
    choice: Protection | None = None

    @property
    def changes(self) -> tuple[Protection, ...]:
        """What changes in the records that are trained on."""
        found: list[Protection] = []
        if self.max_records is not None:
            found.append(RecordCap(most=self.max_records))
        if self.deduplicate is not None:
            found.append(NoDuplicates(tolerance=self.deduplicate))
        if self.without_exposed is not None:
            found.append(WithoutExposed(bound=self.without_exposed))
        if self.without_top is not None:
            found.append(WithoutTop(bound=self.without_top))
        if self.choice is not None:
            found.append(self.choice)
        return tuple(found)

    @property
    def removes(self) -> bool:
        """Whether it trains without the most exposed patients."""
        return self.without_exposed is not None or self.without_top is not None

    @property
    def selects(self) -> bool:
        """Whether it leaves records out of training."""
        return bool(self.changes)

    @property
    def trains(self) -> bool:
        """Whether it trains its own models."""
        return self.recipe is not None or self.selects

    @property
    def kind(self) -> str:
        """For example "recipe", "cohort", "access", or "recipe and access"."""
        parts = (
            ("recipe", self.recipe is not None),
            ("cohort", self.selects),
            ("access", self.access is not None),
        )
        return " and ".join(name for name, there in parts if there)

    def check(self, where: str) -> None:
        """Raise a ConfigError when its parts are not valid."""
        if len(self.name) > LONGEST_NAME:
            raise ConfigError(
                f"it has {len(self.name):,} characters",
                where=f"{where}.name",
                expected=f"at most {LONGEST_NAME}",
            )
        if not (self.trains or self.access):
            raise ConfigError(
                "it changes nothing", where=where, expected="recipe, cohort or access"
            )
        if self.without_exposed is not None and self.without_top is not None:
            raise ConfigError(
                "without_exposed and without_top cannot be combined", where=f"{where}.cohort"
            )
        for change in self.changes:
            change.check(f"{where}.cohort")
        if self.access is not None:
            self.access.check(f"{where}.access")

    def change(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """What differs from the base, for the summary.

        Parameters
        ----------
        base : mapping
            Settings of the base's recipe.
        """
        found: dict[str, Any] = {}
        if self.recipe is not None:
            said = self.recipe_change
            found["recipe"] = dict(said) if said else _differing(base, self.recipe.settings())
        cohort = {change.name: change.value() for change in self.changes}
        if cohort:
            found["cohort"] = cohort
        if self.access is not None:
            found["access"] = self.access.describe()
        return found

    def title(self, base: Mapping[str, Any]) -> str:
        """Its name, or one made from the change."""
        return self.name or describe(self.change(base))

    def slug(self, base: Mapping[str, Any]) -> str:
        """Folder of its models: the change in few letters and a digest of what it trains."""
        change = self.change(base)
        change.pop("access", None)
        recipe = None if self.recipe is None else [self.recipe.kind, self.recipe.settings()]
        text = json.dumps([change.get("cohort"), recipe], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        letters = re.sub(r"[^a-z0-9]+", "-", describe(change).lower())[:LONGEST_SLUG].strip("-")
        return f"{letters}-{digest}" if letters else digest


def describe(change: Mapping[str, Any]) -> str:
    """A change in words, for example "weight decay 0.1"."""
    words = [f"{key.replace('_', ' ')} {_short(value)}" for key, value in _leaves(change)]
    words += [_of_cohort(*one) for one in change.get("cohort", {}).items()]
    access = change.get("access", {})
    if "label" in access:
        words.append(str(access["label"]))
    if access.get("label_only"):
        words.append("labels only")
    if "digits" in access:
        words.append(f"{access['digits']} digit{'s' if access['digits'] > 1 else ''}")
    if "temperature" in access:
        words.append(f"temperature {access['temperature']:g}")
    return ", ".join(words)


def _of_cohort(name: str, value: Any) -> str:  # noqa: ANN401
    if name not in OWN:
        return str(value["label"])
    settings: dict[str, Any] = {name: 0.0 if value == "exact" else value}
    change = Variant(**settings).changes[0]
    return change.words()


def _leaves(change: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in change.get("recipe", {}).items():
        if key == "dp" and isinstance(value, Mapping):
            size = "noise" if value.get("epsilon") is None else "epsilon"
            found.append((f"DP-SGD per {value.get('unit')}, {size}", value.get(size)))
        elif isinstance(value, Mapping):
            found += [(str(inner), value[inner]) for inner in value]
        else:
            found.append((str(key), value))
    return found


def _short(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return str(value)


def _differing(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ; None where the other has none."""
    return {
        key: other.get(key)
        for key in [*other, *(key for key in base if key not in other)]
        if base.get(key) != other.get(key)
    }
