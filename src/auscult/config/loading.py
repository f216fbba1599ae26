"""``audit.toml`` to an Audit and back."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from auscult.audit import Audit
from auscult.base.errors import AuscultError, ConfigError, RecipeError
from auscult.base.files import toml_text
from auscult.base.naming import arguments_of_a_file
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort
from auscult.config.cohort import CohortPart, JoinPart
from auscult.config.dataset import DATASET, FILES, AnyCohortPart, DatasetPart
from auscult.config.deployment import DeploymentPart
from auscult.config.dossier import DossierPart
from auscult.config.part import Part
from auscult.config.protect import (
    AccessChange,
    CohortChange,
    ProtectPart,
    SweepPart,
    recipe_part,
)
from auscult.config.recipe import ADDED, RECIPE_PARTS, DpPart, RecipePart
from auscult.config.release import ReleasePart
from auscult.config.toml import read_toml
from auscult.recipes.kinds import OWN, RECIPES


class AuditPart(Part):
    """``[audit]``."""

    models: int = 64
    seed: Annotated[int, Field(ge=0)] = 0
    smallest_cell: Annotated[int, Field(ge=1)] | None = None
    intersections: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = None
    title: str | None = None
    queries: list[str] | None = None
    withhold: Annotated[float, Field(ge=0, lt=1)] | None = None
    white_box: bool | None = None
    share: float | Literal["as released"] | None = None
    sizes: list[float] | None = None
    sizes_steps: Literal["same"] | None = None
    label_group: bool | None = None
    attacks: list[str] | None = None
    sections: list[str] | None = None
    ledger: Annotated[str, Field(min_length=1)] | None = None
    count_base: Annotated[int, Field(ge=1)] | None = None

    def settings(self, folder: Path) -> dict[str, Any]:
        """Keyword arguments of Audit."""
        given = self.given()
        if given.get("intersections") is not None:
            given["intersections"] = tuple((pair[0], pair[1]) for pair in given["intersections"])
        if self.ledger is not None:
            given["ledger"] = folder / self.ledger
        return given


class Configuration(Part):
    """A whole ``audit.toml``."""

    cohort: AnyCohortPart
    recipe: RecipePart
    audit: AuditPart = AuditPart()
    deployment: DeploymentPart | None = None
    release: ReleasePart | None = None
    protect: list[ProtectPart] = Field(default_factory=list)
    sweep: SweepPart | None = None
    dossier: DossierPart | None = None


class LoadedConfiguration:
    """A configuration and the folder that its paths and modules are relative to.

    Parameters
    ----------
    content : Configuration
    folder : Path
    """

    def __init__(self, content: Configuration, folder: Path) -> None:
        self.content = content
        self.folder = folder

    def cohort(self, progress: Progress = SILENT) -> Cohort:
        """Read the cohort."""
        with arguments_of_a_file():
            part, seed = self.content.release, self.content.audit.seed
            beside = None if part is None else part.beside(self.folder, self.content.cohort)
            if beside is None or isinstance(self.content.cohort, DatasetPart):
                return self.content.cohort.read(self.folder, seed, progress)
            return self.content.cohort.read(self.folder, seed, progress, beside)

    def audit(self, cohort: Cohort | None = None, progress: Progress = SILENT) -> Audit:
        """Make the audit."""
        with arguments_of_a_file():
            return self._audit(cohort, progress)

    def _audit(self, cohort: Cohort | None, progress: Progress) -> Audit:
        deployment = self.content.deployment
        cohort = self.cohort(progress) if cohort is None else cohort
        part = self.content.release
        base, sweep = self.content.recipe.given(), self.content.sweep
        protect = []
        for place, one in enumerate(self.content.protect):
            with _within(f"protect[{place}]"):
                protect.append(one.variant(base, self.folder))
        sizes = []
        if sweep is not None:
            with _within("sweep"):
                sizes = sweep.variants(base, self.folder)
        return Audit(
            cohort,
            self.content.recipe.recipe(self.folder),
            protect=protect,
            sweep=sizes,
            **self.content.audit.settings(self.folder),
            deployment=None if deployment is None else deployment.deployment(),
            dossier={} if self.content.dossier is None else self.content.dossier.given(),
            release=None
            if part is None
            else part.release(self.folder, self.content.cohort, cohort.record_rows),
        )

    def resolved(self, models: int | None = None) -> str:
        """The configuration as TOML, every path absolute, defaults of this file written out.

        Parameters
        ----------
        models : int, optional
            Of a run that grows; the file's by default.
        """
        content = self.content.model_dump()
        if models is not None:
            content["audit"]["models"] = models
        self.content.cohort.absolute(self.folder, content["cohort"])
        if content["recipe"].get("weights") is not None:
            weights = (self.folder / content["recipe"]["weights"]).resolve()
            content["recipe"]["weights"] = str(weights)
        for key in ("path", "members", "non_members", "certificates"):
            if content["release"] is not None and content["release"][key] is not None:
                content["release"][key] = str((self.folder / content["release"][key]).resolve())
        if content["audit"].get("ledger") is not None:
            content["audit"]["ledger"] = str((self.folder / content["audit"]["ledger"]).resolve())
        return toml_text(content)


@contextmanager
def _within(place: str) -> Iterator[None]:
    """Say in which table of the file it was that a recipe cannot be."""
    try:
        yield
    except (ConfigError, RecipeError) as error:
        raise type(error)(
            error.what,
            where=f"{place}.{error.where}" if error.where else place,
            expected=error.expected,
            next_step=error.next_step,
        ) from error


def load(path: str | Path) -> LoadedConfiguration:
    """Read and validate a configuration file.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    ConfigError
        It is missing, no TOML, or has keys or values that cannot be.
    """
    path = Path(path)
    _, content = read_toml(
        path,
        expected="a configuration",
        next_step="Make one: auscult init TABLE --patient COLUMN --label COLUMN > audit.toml",
    )
    return LoadedConfiguration(parse(content, str(path)), path.resolve().parent)


def parse(content: dict[str, Any], where: str) -> Configuration:
    """Validate a configuration.

    Raises
    ------
    ConfigError
        Names the first key that is wrong, and how many more there are.
    """
    try:
        found = Configuration.model_validate(content)
    except ValidationError as error:
        raise _first_problem(error, [], where) from None
    base = found.recipe.given()
    changes = [(f"protect.{i}", part.recipe) for i, part in enumerate(found.protect)]
    if found.sweep is not None:
        changes += [("sweep", change) for change in found.sweep.changes()]
    for place, change in changes:
        try:
            if change:
                recipe_part(base, change)
        except ValidationError as error:
            raise _first_problem(error, [place, "recipe"], where) from None
    return found


def _first_problem(error: ValidationError, place: list[str], where: str) -> AuscultError:
    problems = error.errors(include_url=False, include_context=True)
    problems = _of_the_form_written(problems)
    first = problems[0]
    # The name of the chosen kind of recipe is a step of pydantic's path, not of the file's.
    steps = [*place, *(str(step) for step in first["loc"])]
    kind = 1 + steps.index("recipe") if "recipe" in steps else 0
    if 0 < kind < len(steps) and steps[kind] in (*OWN, ADDED):
        del steps[kind]
    more = f" ({len(problems) - 1} more after it)" if len(problems) > 1 else ""
    return _problem(first, steps, where, more)


def listed_kinds() -> str:
    """Kinds of recipes, for a message."""
    *most, last = (f'"{kind}"' for kind in RECIPES.names())
    return f"{', '.join(most)} or {last}"


def _of_the_form_written(problems: list[Any]) -> list[Any]:
    """Problems of a key that may take several forms, as one: of a list what is said of lists.

    The form that was tried is a step of pydantic's path, not of the file's.
    """
    first = problems[0]
    place = next((i for i, step in enumerate(first["loc"]) if _is_form(step)), None)
    if place is None and first["loc"][-1:] and first["loc"][-1] in PLAIN:
        place = None if first["type"] in ABOUT_KEYS else len(first["loc"]) - 1
    if place is None:
        return problems
    key = first["loc"][:place]
    forms = [one for one in problems if one["loc"][:place] == key]
    lists = [one for one in forms if str(one["loc"][place]).startswith("list[")]
    if lists and any(one["type"] != "list_type" for one in lists):
        forms_written = lists[:1]
    else:
        forms_written = [one for one in forms if one not in lists] or forms
    said = list(dict.fromkeys(str(one["msg"]) for one in forms_written))
    said[1:] = [text[0].lower() + text[1:] for text in said[1:]]
    whole = {**forms_written[0], "loc": key, "msg": ", or ".join(said)}
    return [whole, *(one for one in problems if one not in forms)]


PLAIN = ("bool", "float", "int", "str")  # forms of a key that may be a number or a word
ABOUT_KEYS = ("extra_forbidden", "missing")


def _is_form(step: object) -> bool:
    return isinstance(step, str) and step.startswith(("constrained-", "literal[", "list["))


def _problem(first: Any, steps: list[str], where: str, more: str) -> AuscultError:  # noqa: ANN401
    key = ".".join(step for step in steps if step not in (FILES, DATASET))
    place = f"{where}: {key}" if key else where
    if first["type"] == "extra_forbidden":
        known = _known_keys(steps[:-1])
        close = difflib.get_close_matches(steps[-1], known, n=1)
        return ConfigError(
            f"there is no such key{more}",
            where=place,
            expected=f"one of {', '.join(known)}",
            next_step=f'Did you mean "{close[0]}"?' if close else "",
        )
    if first["type"] == "missing":
        return ConfigError(f"is missing{more}", where=place)
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return ConfigError(
            f"the kind of recipe is missing or unknown{more}",
            where=f"{where}: recipe.kind",
            expected=listed_kinds(),
        )
    message = str(first["msg"]).removeprefix("Value error, ")
    return ConfigError(message[0].lower() + message[1:] + more, where=place)


def _known_keys(steps: list[str]) -> list[str]:
    if DATASET in steps:
        return list(DatasetPart.model_fields)
    steps = [step for step in steps if step != FILES]
    if steps[:2] == ["cohort", "join"]:
        return list(JoinPart.model_fields)
    parts: dict[str, list[type[BaseModel]]] = {
        "cohort": [CohortPart],
        "recipe": list(RECIPE_PARTS),
        "audit": [AuditPart],
        "deployment": [DeploymentPart],
        "release": [ReleasePart],
        "protect": [ProtectPart],
        "sweep": [SweepPart],
        "dossier": [DossierPart],
    }
    models: Sequence[type[BaseModel]]
    if steps[-2:] == ["recipe", "dp"]:
        models = [DpPart]
    elif "recipe" in steps:
        models = RECIPE_PARTS
    elif steps[-1:] in (["cohort"], ["access"]) and len(steps) > 1:
        models = [CohortChange if steps[-1] == "cohort" else AccessChange]
    else:
        models = parts.get(steps[0], []) if steps else [Configuration]
    return list(dict.fromkeys(name for model in models for name in model.model_fields))
