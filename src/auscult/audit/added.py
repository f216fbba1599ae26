"""What other packages add to an audit: checked before anything is trained, named in the results."""

from __future__ import annotations

from collections.abc import Sequence

from auscult.attacks.access import parse_access
from auscult.attacks.record import ATTACKS, RECORD_ATTACKS
from auscult.base.errors import ConfigError
from auscult.base.plugins import Origin
from auscult.exposure import Deployment
from auscult.protection.changes import origin_of
from auscult.protection.plans import Plan
from auscult.recipes.base import Recipe
from auscult.recipes.kinds import RECIPES
from auscult.release import Door
from auscult.release.kinds_of_doors import RELEASES
from auscult.report.sections import SECTIONS, check_sections

ATTACKS_KEY = "audit.attacks"
__all__ = ["check_attacks", "check_sections", "plugins"]


def check_attacks(names: Sequence[str]) -> None:
    """Raise a ConfigError or PluginError where an attack cannot be added."""
    for name in names:
        if any(name == own.name for own in RECORD_ATTACKS) and ATTACKS.origin(name) is None:
            raise ConfigError(
                f'"{name}" is always run', where=ATTACKS_KEY, next_step="Leave it out"
            )
        if list(names).count(name) > 1:
            raise ConfigError(f'"{name}" is named twice', where=ATTACKS_KEY)
        ATTACKS.get(name, ATTACKS_KEY)


def plugins(
    *,
    attacks: Sequence[str],
    sections: Sequence[str],
    deployment: Deployment | None,
    recipes: Sequence[Recipe],
    door: Door | None,
    plans: Sequence[Plan],
) -> list[dict[str, str]]:
    """Packages whose parts shape the results, with their versions; for summary and manifest.

    Parameters
    ----------
    attacks, sections : sequence of str
        Names of added parts.
    deployment : Deployment or None
    recipes : sequence of Recipe
    door : Door or None
        Of the release.
    plans : sequence of Plan
        Of the protections.
    """
    found: list[Origin | None] = [ATTACKS.origin(name) for name in attacks]
    found += [SECTIONS.origin(name) for name in sections]
    found += [RECIPES.origin(recipe.kind) for recipe in recipes]
    if door is not None:
        found.append(RELEASES.origin(door.kind))
    if deployment is not None and deployment.access is not None:
        found.append(parse_access(deployment.access).origin)
    for plan in plans:
        if plan.variant.access is not None:
            found.append(plan.variant.access.origin)
        found += [origin_of(change) for change in plan.variant.changes]
    unique = dict.fromkeys(one for one in found if one is not None)
    return [one.summary() for one in unique]
