"""What an audit says of itself to those who analyse its outputs: people, groups, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from auscult.attacks.places import Places
from auscult.cohort.cohort import CLASS_TASKS
from auscult.cohort.design import HALF, Membership
from auscult.protection.assessment import Subject
from auscult.recipes.metrics import on
from auscult.results.roster import Planted, Roster, stratum_of

if TYPE_CHECKING:
    from auscult.audit.audit import Audit


def subject_of(audit: Audit, membership: Membership, places: Places | None = None) -> Subject:
    """What protections are compared on: the audit's membership, groups and settings.

    Parameters
    ----------
    audit : Audit
    membership : Membership
    places : Places, optional
        Where the cohort's records lie among each other.
    """
    attributes = audit.attributes()
    classes, _ = audit.cohort.compared
    return Subject(
        membership=membership,
        patient_of_record=audit.cohort.patient_of_record,
        groups=attributes.table,
        label_group=attributes.extra,
        labels=audit.cohort.labels,
        stratum=stratum_of(audit.cohort.labels if classes is None else classes),
        metric=on(audit.recipe.metric(), audit.cohort.labels),
        seed=audit.seed,
        smallest_cell=audit.smallest_cell,
        queries=None if audit._inquiry() is None else (0,),
        withheld=audit._withheld(),
        asked=audit.queries,
        priors=() if audit.deployment is None else audit.deployment.priors,
        places=places,
        share=audit.share_of_members,
        share_of_training=audit.share_of_training,
    )


def roster_of(
    audit: Audit,
    recipe: dict[str, Any],
    planted: Planted | None,
    places: Places | None = None,
) -> Roster:
    """Whom the audit's outputs are about.

    Parameters
    ----------
    audit : Audit
    recipe : dict
        Kind and settings of its recipe, for the summary.
    planted : Planted or None
    places : Places, optional
        Where the cohort's records lie among each other.
    """
    cohort = audit.cohort
    classes, names = cohort.compared
    return Roster(
        title=audit.title or cohort.source,
        cohort=cohort.summary(audit.smallest_cell) | _withheld_summary(audit),
        recipe=recipe | {"model": _model_name(recipe["settings"], audit.recipe.kind)},
        patient_of_record=cohort.patient_of_record,
        patient_ids=cohort.patient_ids,
        record_rows=cohort.record_rows,
        groups=cohort.groups,
        labels=classes,
        task=cohort.task,
        classes=names,
        truth=None if cohort.task in CLASS_TASKS else cohort.labels,
        metric=audit.recipe.metric(),
        label_name=cohort.label_name,
        planted=planted,
        places=places,
        inputs=cohort.inputs,
    )


def settings_of(audit: Audit, recipe: dict[str, Any]) -> dict[str, Any]:
    """What an audit is, for a run that was not started from a file."""
    return {
        "cohort": {"source": audit.cohort.source, "groups": list(audit.cohort.groups.columns)},
        "recipe": {"kind": recipe["kind"], "settings": recipe["settings"]},
        "audit": {
            "models": audit.models,
            "seed": audit.seed,
            "smallest_cell": audit.smallest_cell,
            **({"queries": list(audit.queries)} if audit.queries else {}),
            **({"withhold": audit.withhold} if audit.withhold else {}),
            **({"white_box": True} if audit.white_box else {}),
            **({"share": audit.share} if audit.share != HALF else {}),
            **({"sizes": list(audit.sizes)} if audit.sizes else {}),
            **({"sizes_steps": audit.sizes_steps} if audit.sizes_steps else {}),
            **({} if audit.label_group else {"label_group": False}),
        },
        **(
            {"deployment": audit.deployment.summary(scores=audit._scores())}
            if audit.deployment
            else {}
        ),
    }


def _withheld_summary(audit: Audit) -> dict[str, Any]:
    withheld = audit._withheld()
    if withheld is None:
        return {}
    patients = int(np.unique(audit.cohort.patient_of_record[withheld]).size)
    others = audit.cohort.patients - patients
    # The others are those with one record: a small band of them is not shown either.
    told = patients >= audit.smallest_cell and (others == 0 or others >= audit.smallest_cell)
    return {
        "withheld": {
            "share": audit.withhold,
            "records": int(withheld.sum()),
            "patients": patients if told else None,
        }
    }


def _model_name(settings: dict[str, Any], kind: str) -> str:
    """Short name of the model for the report."""
    for key in ("model", "class", "train"):
        value = settings.get(key)
        if isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, str):
            return value.rsplit(":", 1)[-1] if key != "model" else value
    return kind
