"""Whether an audit can be run as it is described, asked before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auscult.audit import added
from auscult.audit.arguments import check_kinds
from auscult.audit.sizing import check_steps
from auscult.base.errors import ConfigError, RecipeError, one_of
from auscult.cohort.queries import parse_queries

if TYPE_CHECKING:
    from auscult.audit.audit import Audit


def check_audit(audit: Audit) -> None:
    """Validate everything that can be validated without training.

    Raises
    ------
    AuscultError
        Says what does not fit.
    """
    check_kinds(audit)
    audit._design().check()
    check_steps(audit, audit.size_plans())
    if audit.seed < 0:
        raise ConfigError(
            f"{audit.seed} is not a valid seed", where="audit.seed", expected="0 or more"
        )
    if audit.smallest_cell < 1:
        raise ConfigError(
            f"{audit.smallest_cell} is not a valid cell size",
            where="audit.smallest_cell",
            expected="1 or more (10 is usual)",
        )
    if not 1 <= audit.count_base <= audit.smallest_cell:
        raise ConfigError(
            f"numbers of patients cannot be rounded to {audit.count_base}",
            where="audit.count_base",
            expected=f"1 to the smallest cell, {audit.smallest_cell} (3 or 5 is usual)",
        )
    if audit.ledger is not None and Path(audit.ledger).exists() and not Path(audit.ledger).is_dir():
        raise ConfigError(
            f'"{Path(audit.ledger).name}" is a file',
            where="audit.ledger",
            expected="a folder, which is made where there is none",
        )
    for pair in audit.intersections or ():
        for name in pair:
            if name not in audit.attributes().table.columns:
                raise ConfigError(
                    f'"{name}" is not a group of the cohort',
                    where="audit.intersections",
                    expected=one_of(name, map(str, audit.attributes().table.columns)),
                )
    for query in parse_queries(audit.queries):
        reason = query.supports(audit.cohort.inputs)
        if reason is not None:
            raise ConfigError(f'"{query.text}" cannot be asked: {reason}', where="audit.queries")
    if not 0 <= audit.withhold < 1:
        raise ConfigError(
            f"{audit.withhold:g} is not a valid share of records",
            where="audit.withhold",
            expected="a number from 0 to below 1, for example 0.2",
        )
    if audit.withhold > 0 and audit.cohort.records == audit.cohort.patients:
        raise ConfigError(
            "every patient has a single record, so no other record can be withheld",
            where="audit.withhold",
            expected="patients with several records",
            next_step="Leave it out",
        )
    if audit.deployment is not None:
        audit.deployment.check(
            audit.queries,
            audit.withhold,
            audit.models,
            scores=audit._scores(),
            white_box=audit.white_box,
        )
    added.check_attacks(audit.attacks)
    added.check_sections(audit.sections)
    reason = audit.recipe.supports(audit.cohort.training_data())
    if reason is not None:
        raise RecipeError(reason, where="recipe")
    closed = audit.recipe.why_closed(audit.cohort.training_data()) if audit.white_box else None
    if closed is not None:
        raise ConfigError(
            f"the models cannot be looked into: {closed}",
            where="audit.white_box",
            expected='kind = "torch"',
            next_step="Leave it out: the report is then about attackers who get answers",
        )
    audit.recipe.metric()
    if audit.release is not None:
        audit.release.check(audit.cohort, audit.recipe)
        if audit.release.weights is not None and not audit.white_box:
            raise ConfigError(
                "the shadow models are not looked into, so its weights have nothing to be compared "
                "with",
                where="release.weights",
                next_step="Set audit.white_box = true, or leave the weights out",
            )
    audit.plans()
