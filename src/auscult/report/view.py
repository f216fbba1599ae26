"""The report as a page of blocks: a pure function of the summary, aggregates only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.report import (
    account,
    answer,
    capacity,
    common,
    decision,
    exposure,
    first,
    groups,
    guarantee,
    models,
    officer,
    patients,
    planted,
    precision,
    protection,
    records,
    release,
    sizes,
    thresholds,
)
from auscult.report.elements import Page
from auscult.report.facts import facts
from auscult.report.sections import SECTIONS, ReportSection, added_sections
from auscult.report.summary import SCHEMA, Part, read_summary

# In the order of the page.
for _name, _label, _write in (
    ("decision", "Decision", decision.decision_section),
    ("officer", "Officer", officer.officer_section),
    ("exposed", "Exposed", thresholds.exposed_section),
    ("sizes", "Size", sizes.sizes_section),
    ("planted", "Planted", planted.planted_section),
    ("survival", "Survival", patients.survival_section),
    ("records", "Records", records.records_section),
    ("groups", "Groups", groups.groups_section),
    ("common", "In common", common.common_section),
    ("aggregate", "Aggregate", models.aggregate_section),
    ("utility", "Utility", models.utility_section),
    ("precision", "Precision", precision.precision_section),
    ("exposure", "Exposure", exposure.exposure_section),
    ("release", "Release", release.release_section),
    ("guarantee", "Guarantee", guarantee.guarantee_section),
    ("protection", "Protection", protection.protection_section),
    ("sweep", "Sweep", capacity.sweep_section),
    ("cohort", "Cohort", account.cohort_section),
    ("method", "Method", account.method_section),
    ("limits", "Limits", account.limits_section),
):
    SECTIONS.add(ReportSection(name=_name, label=_label, write=_write))


def _title(part: Part) -> str:
    """What was audited: as declared, or the source of the data and what is predicted."""
    given = part.text("title") or part.part("dossier").text("system")
    source, label = part.part("cohort").text("source"), part.part("label").text("attribute")
    if given and given != source:
        return given
    if not source:
        return "Untitled audit"
    return f"Model of {label}, data of {source}" if label else f"Model on data of {source}"


def page(summary: Mapping[str, Any]) -> Page:
    """Build the page.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.

    Returns
    -------
    Page

    Raises
    ------
    StoreError
        The summary is damaged or of another schema. Missing parts are no error: they are reported
        as not estimable.
    """
    part = read_summary(summary)
    sections = (*(kind.write(part) for kind in SECTIONS.built_in()), *added_sections(part))
    version = part.text("auscult")
    return Page(
        title=_title(part),
        kicker="Membership-inference audit",
        headline=answer.headline(part),
        verdict=(*guarantee.defects(part), *answer.verdict(part)),
        facts=facts(part),
        sections=tuple(section for section in sections if section is not None),
        decision=first.decided(part),
        to_do=first.to_do(part),
        unknown=first.unknown(part),
        colophon=f"Auscult {version or '(version not recorded)'}, summary of schema {SCHEMA}. "
        "This file holds aggregates only: no patient identifier, no membership, no row "
        "of a patient. It loads no external resources and runs no script.",
    )
