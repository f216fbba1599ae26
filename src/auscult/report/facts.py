"""The three figures under the answer."""

from __future__ import annotations

from auscult.report.answer import assessed, strongest_attack
from auscult.report.elements import Fact
from auscult.report.numbers import trained_on
from auscult.report.summary import Part
from auscult.report.words import counted, decimal, interval, share, share_interval, whole


def facts(summary: Part) -> tuple[Fact, ...]:
    """Whom the audit is about, what it finds on average, and what one model alone gives away."""
    cohort, models = summary.part("cohort"), summary.part("models")
    auc = summary.part("patients").part("auc")
    null_mean = summary.part("patients").part("raw").number("null_mean")
    records = cohort.number("records")
    of = f"with {counted(records, 'record')}" if records is not None else "records not recorded"
    part = trained_on(summary)
    trained = (
        f"each trained on {part or 'a random half'}"
        if summary.part("recipe")
        else f"outputs imported, trained elsewhere{part and f' on {part} each'}"
    )
    return (
        Fact(
            label="Patients",
            value=whole(cohort.number("patients")),
            note=f"{of}; {counted(models.number('count'), 'model')}, {trained}",
        ),
        Fact(
            label="Mean AUC per patient",
            value=decimal(auc.number("mean")),
            note=f"95% interval {interval(auc.number('mean_low'), auc.number('mean_high'))}; "
            f"by chance {decimal(null_mean)}; a coin flip is 0.5",
        ),
        *_one_model(summary),
    )


def _one_model(summary: Part) -> tuple[Fact, ...]:
    rate = summary.part("patients").part("one_model").part("at_fpr").part("0.01")
    found = rate.part("members")
    if found.number("estimate") is not None and assessed(summary):
        bounds = share_interval(found.number("low"), found.number("high"))
        return (
            Fact(
                label="Members found with one model",
                value=share(found.number("estimate")),
                note=f"where 1% of the others are accused falsely; 95% interval {bounds}",
            ),
        )
    strongest = strongest_attack(summary)
    if strongest is None:
        return ()
    name, part = strongest
    return (
        Fact(
            label="Aggregate AUC",
            value=decimal(part.number("auc")),
            note=f"all records pooled, {name}; 95% interval "
            f"{interval(part.number('low'), part.number('high'))}",
        ),
    )
