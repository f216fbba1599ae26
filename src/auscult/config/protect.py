"""``[[protect]]`` and ``[sweep]``: what is changed, on the same membership as the audit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from auscult.attacks.access import NAMES, Access, added_access
from auscult.base.errors import ConfigError
from auscult.config.part import Part
from auscult.config.recipe import RecipePart
from auscult.protection.changes import added_protection
from auscult.protection.variants import Variant

OWN_ACCESSES = "digits, temperature or label_only; or the name of an access of another package"
_RECIPE: TypeAdapter[Any] = TypeAdapter(RecipePart)


class CohortChange(Part):
    """``[protect.cohort]``: who and what is trained on."""

    max_records: Annotated[int, Field(ge=1)] | None = None
    deduplicate: Literal["exact"] | Annotated[float, Field(gt=0)] | None = None
    without_exposed: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    without_top: Annotated[float, Field(gt=0, lt=1)] | None = None
    name: str | None = None
    options: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> CohortChange:
        if self.options is not None and self.name is None:
            raise ValueError("options requires name, which is not given")
        return self


class AccessChange(Part):
    """``[protect.access]``: what the interface returns."""

    digits: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(gt=0)] | None = None
    label_only: Literal[True] | None = None
    name: str | None = None
    options: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_view(self) -> AccessChange:
        if self.options is not None and self.name is None:
            raise ValueError("options requires name, which is not given")
        if self.name is not None and self.given().keys() - {"name", "options"}:
            raise ValueError("name and options cannot be combined with another key of an access")
        return self

    def access(self, where: str) -> Access:
        """The access."""
        if self.name is None:
            return Access(**self.given())
        if self.name in NAMES:
            raise ConfigError(
                f'"{self.name}" is Auscult\'s own', where=f"{where}.name", expected=OWN_ACCESSES
            )
        return added_access(self.name, self.options or {}, where)


class ProtectPart(Part):
    """One ``[[protect]]``."""

    name: str | None = None
    recipe: dict[str, Any] | None = None
    cohort: CohortChange | None = None
    access: AccessChange | None = None

    @model_validator(mode="after")
    def _something(self) -> ProtectPart:
        if not any((self.recipe, self.cohort and self.cohort.given(), self.access)):
            raise ValueError("it changes nothing: give recipe, cohort or access")
        return self

    def variant(self, base: Mapping[str, Any], folder: Path) -> Variant:
        """The variant; modules are looked up in `folder` first.

        Parameters
        ----------
        base : mapping
            ``[recipe]`` as the file has it.
        folder : Path
        """
        cohort = {} if self.cohort is None else self.cohort.given()
        name, options = cohort.pop("name", None), cohort.pop("options", None)
        choice = None if name is None else added_protection(name, options or {}, "cohort")
        if cohort.get("deduplicate") == "exact":
            cohort["deduplicate"] = 0.0
        return Variant(
            name=self.name or "",
            recipe=None if not self.recipe else recipe_part(base, self.recipe).recipe(folder),
            recipe_change=self.recipe,
            access=None if self.access is None else self.access.access("access"),
            choice=choice,
            **cohort,
        )


class SweepPart(Part):
    """``[sweep]``: lists of values of the recipe's keys, taken together place by place."""

    recipe: Annotated[dict[str, list[Any]], Field(min_length=1)]

    @model_validator(mode="after")
    def _as_long(self) -> SweepPart:
        lengths = {len(values) for values in self.recipe.values()}
        if len(lengths) > 1:
            raise ValueError("its lists differ in length: they are combined place by place")
        if min(lengths) < 2:
            raise ValueError("give at least two values")
        return self

    def changes(self) -> list[dict[str, Any]]:
        """The change of the recipe at each place."""
        count = len(next(iter(self.recipe.values())))
        return [{key: values[i] for key, values in self.recipe.items()} for i in range(count)]

    def variants(self, base: Mapping[str, Any], folder: Path) -> list[Variant]:
        """One variant per place."""
        return [
            Variant(recipe=recipe_part(base, change).recipe(folder), recipe_change=change)
            for change in self.changes()
        ]


def recipe_part(base: Mapping[str, Any], change: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """``[recipe]`` with some keys changed; tables are merged, another kind replaces the whole.

    Raises
    ------
    ValidationError
        The changed recipe cannot be.
    """
    if change.get("kind", base.get("kind")) != base.get("kind"):
        return _RECIPE.validate_python(dict(change))
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = {**old, **value} if both else value  # type: ignore[dict-item]
    return _RECIPE.validate_python(merged)
