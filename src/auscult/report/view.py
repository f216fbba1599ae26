"""The report as a page of blocks: a pure function of the summary, aggregates only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.report import (
    account,
    answer,
    capacity,
    decision,
    exposure,
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
    thresholds,
)
from auscult.report.elements import Page
from auscult.report.summary import SCHEMA, read_summary


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
    sections = (
        decision.decision_section(part),
        thresholds.exposed_section(part),
        planted.planted_section(part),
        patients.survival_section(part),
        records.records_section(part),
        groups.groups_section(part),
        models.aggregate_section(part),
        models.utility_section(part),
        precision.precision_section(part),
        exposure.exposure_section(part),
        release.release_section(part),
        guarantee.guarantee_section(part),
        protection.protection_section(part),
        capacity.sweep_section(part),
        officer.officer_section(part),
        account.cohort_section(part),
        account.method_section(part),
        account.limits_section(part),
    )
    version = part.text("auscult")
    return Page(
        title=part.text("title") or part.part("cohort").text("source") or "Untitled audit",
        kicker="Membership-inference audit",
        headline=answer.headline(part),
        verdict=(*guarantee.defects(part), *answer.verdict(part)),
        facts=answer.facts(part),
        sections=tuple(section for section in sections if section is not None),
        colophon=f"Auscult {version or '(version not recorded)'}, summary of schema {SCHEMA}. "
        "This file holds aggregates only: no patient identifier, no membership, no row of a "
        "patient. It loads nothing from anywhere and runs no script.",
    )
