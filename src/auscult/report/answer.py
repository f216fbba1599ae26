"""The answer: how many patients are exposed, whether that stands clear of chance.

Everything else in the report explains or qualifies what is said here.
"""

from __future__ import annotations

from dataclasses import dataclass

from auscult.base.errors import StoreError
from auscult.report.elements import Headline, Number
from auscult.report.label import label_sentences
from auscult.report.numbers import trained_on, whole_cohort_sentence
from auscult.report.one_model import one_model_sentence
from auscult.report.summary import WHERE, Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    Fewer,
    count_interval,
    counted,
    decimal,
    expected,
    listed,
    quoted,
    sentence,
    visible,
    whole,
)

HEADLINE_THRESHOLD = "0.9"
MEMORISED = (
    "On patients that they never saw, these models do no better than chance: they have memorised "
    "their members and learned nothing that generalises. A better model may expose fewer or more."
)
UNLEARNED = (
    "That such models expose nobody clearly above an AUC of 0.9 proves nothing about models that "
    "have learned."
)
UNKNOWN = "What such models expose is not known here, and would say little of models that learned."
MOST_CLASSES = 2  # of the label that are spoken of beside the answer
EXPOSED = (
    "exposed: over many models, their membership can be told from non-membership with an AUC above"
)


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """Patients above one threshold."""

    name: str
    threshold: float
    estimate: Number
    low: Number
    high: Number
    confirmed: Number
    null: Number
    raw: Number
    raw_null: Number
    study: Number
    study_null: Number
    reason: str

    @property
    def clear(self) -> bool | None:
        """Whether the interval lies above what chance alone gives; None where that is open."""
        if self.low is None or self.null is None:
            return None
        return self.low > self.null


def assessed(summary: Part) -> Number:
    """Patients that the figures per patient are about."""
    patients = summary.part("patients")
    estimable = patients.number("estimable")
    return patients.number("count") if estimable is None else estimable


def exposed_at(summary: Part) -> tuple[Exposed, ...]:
    """Rows of ``patients.exposed``, by rising threshold."""
    patients = summary.part("patients")
    rows = []
    for name, part in patients.items("exposed"):
        try:
            threshold = float(name)
        except ValueError:
            raise StoreError(
                f'patients.exposed has a threshold "{visible(name)}" that is not a number',
                where=WHERE,
                next_step="Run the audit's command again to rewrite the results",
            ) from None
        rows.append(
            Exposed(
                name=visible(name),
                threshold=threshold,
                estimate=part.number("estimate"),
                low=part.number("low"),
                high=part.number("high"),
                confirmed=part.number("confirmed"),
                null=part.number("null"),
                raw=part.number("raw"),
                raw_null=part.number("raw_null"),
                study=part.number("study"),
                study_null=part.number("study_null"),
                reason=part.reason(),
            )
        )
    return tuple(sorted(rows, key=lambda row: row.threshold))


def main_row(summary: Part) -> Exposed | None:
    """The row of the headline."""
    rows = (row for row in exposed_at(summary) if row.name == HEADLINE_THRESHOLD)
    return next(rows, None)


def why_not(summary: Part) -> str:
    """Why the patients' figures are not estimable, in the summary's words."""
    patients = summary.part("patients")
    row = main_row(summary)
    reasons = [row.reason if row else "", patients.reason()]
    for part in patients.parts("not_estimable"):
        if part.number("patients"):
            affected = counted(part.number("patients"), "patient")
            reasons.append(f"{part.text('reason')} ({affected})")
    reasons = [reason for reason in reasons if reason]
    return reasons[0] if reasons else "the summary gives no reason"


def not_learned(summary: Part) -> bool:
    """Whether the audit says that its models have learned nothing."""
    return summary.part("models").part("learned").truth("verdict") is False


def memorised(summary: Part) -> bool:
    """Whether models that have learned nothing expose patients all the same."""
    row = main_row(summary)
    return not_learned(summary) and row is not None and bool(row.clear)


def proves_nothing(summary: Part) -> bool:
    """Whether nobody is exposed clearly, by models that have learned nothing."""
    row = main_row(summary)
    if row is None or row.estimate is None:
        return False
    return not_learned(summary) and not memorised(summary)


def unlearned(summary: Part) -> str:
    """What it means for the figures that the models have not learned."""
    row = main_row(summary)
    if row is None or row.clear is None or inverted(summary) or disagreement(summary):
        return UNKNOWN
    return MEMORISED if row.clear else UNLEARNED


def count_sentence(summary: Part) -> Headline:
    """Say how many patients are exposed, whatever the models learned."""
    row = main_row(summary)
    if row is None or row.estimate is None:
        return Headline(
            lead=f"{NOT_ESTIMABLE.capitalize()}:",
            rest="how many patients are exposed",
            aside=f"({why_not(summary)})",
            tone="open",
        )
    few = summary.part("patients").text("few_models")
    if few:
        lead = f"{count_interval(row.low, row.high)} of {counted(assessed(summary), 'patient')}"
        return Headline(
            lead=lead[0].upper() + lead[1:],
            rest=f"are {EXPOSED} {row.name}",
            aside=f"({few}); by chance alone: {expected(row.null)}{_each(summary)}",
            tone="exposed" if row.clear else "open",
        )
    lead = f"{whole(row.estimate)} of {counted(assessed(summary), 'patient')}"
    return Headline(
        lead=lead[0].upper() + lead[1:],
        rest=f"{'is' if whole(row.estimate) == '1' else 'are'} {EXPOSED} {row.name}",
        aside=f"(95% interval {count_interval(row.low, row.high)}); "
        f"by chance alone: {expected(row.null)}{_each(summary)}",
        tone="exposed" if row.clear else "calm",
    )


def _each(summary: Part) -> str:
    """How many of the patients a model trained on: another number would expose others."""
    part = trained_on(summary)
    return f"; each model trained on {part}" if part else ""


def headline(summary: Part) -> Headline:
    """The sentence that the report opens with."""
    if inverted(summary):
        return Headline(
            lead="No conclusion:",
            rest="the models fit members worse than others, so the sign of their output looks "
            "reversed",
            aside="",
            tone="open",
        )
    if proves_nothing(summary):
        return Headline(
            lead="No conclusion:",
            rest="these models have not learned their task, and that they expose nobody clearly "
            "above an AUC of 0.9 proves nothing",
            aside="",
            tone="open",
        )
    if disagreement(summary):
        return Headline(
            lead="No conclusion:",
            rest="the number of exposed patients does not agree with the AUCs it is made of",
            aside="",
            tone="open",
        )
    return count_sentence(summary)


def verdict(summary: Part) -> tuple[str, ...]:
    """Two or three sentences that say what the headline is worth."""
    row = main_row(summary)
    if inverted(summary):
        counts = count_sentence(summary).sentence
        return (sentence(inverted(summary)), f"For the record: {counts}.")
    if proves_nothing(summary):
        learned = summary.part("models").part("learned")
        counts = count_sentence(summary).sentence
        return (
            sentence(
                learned.reason() or "Held-out patients are predicted no better than by chance"
            ),
            (
                "A better trained model of the same kind may well expose patients. "
                "This is not evidence of safety."
            ),
            f"For the record: {counts}.",
            *([milder] if row is not None and (milder := _milder(summary, row)) else []),
            *(f"{said}." for said in beside(summary)),
        )
    if disagreement(summary) and row is not None:
        counts = count_sentence(summary).sentence
        return (*(f"{said}." for said in beside(summary)), f"For the record: {counts}.")
    if row is None or row.estimate is None:
        return (
            "Nothing below should be read as evidence of safety: it is an absence of evidence.",
        )
    meaning = (
        f"A member is a patient whose records trained the model. An AUC of {row.name} means: "
        "shown one model that was trained on a patient's records and one that was not, the "
        f"attacker names the right one {round(10 * row.threshold)} times out of 10. A coin flip "
        "would be right 5 times out of 10. This is how well membership can be told over many "
        "models; it is not a certainty about any single model."
    )
    return (
        *(f"{said}." for said in beside(summary)),
        *([MEMORISED] if memorised(summary) else []),
        _worth(summary, row),
        meaning,
        *_unassessed(summary),
    )


def inverted(summary: Part) -> str:
    """Why the sign of ready signals looks reversed; empty where it does not."""
    found = summary.part("models").part("signal")
    return found.text("reason") if found and found.truth("inverted") else ""


def beside(summary: Part) -> tuple[str, ...]:
    """What stands next to the answer: who is exposed, and what one model gives away."""
    row = main_row(summary)
    again = not_repeated(summary)
    if row is None or row.estimate is None:
        return again
    one = one_model_sentence(summary)
    doubt = disagreement(summary)
    return (
        *([doubt] if doubt else []),
        *again,
        *label_sentences(summary)[:MOST_CLASSES],
        *([one] if one else []),
        *([carried] if (carried := whole_cohort(summary)) else []),
    )


def whole_cohort(summary: Part) -> str:
    """What to expect of a model of everybody, where the counts of this audit are a finding."""
    if inverted(summary) or proves_nothing(summary) or disagreement(summary):
        return ""
    return whole_cohort_sentence(summary)


def disagreement(summary: Part) -> str:
    """That the figures contradict each other, without a full stop; empty where they agree."""
    found = summary.part("patients").part("agreement")
    if not found or found.truth("agrees"):
        return ""
    return (
        f"These figures do not agree: the AUCs as counted have a mean of "
        f"{decimal(found.number('raw_mean'))}, and the estimates behind the number of exposed "
        f"patients one of {decimal(found.number('posterior_mean'))}. The number cannot be relied on"
    )


def not_repeated(summary: Part) -> tuple[str, ...]:
    """That training again gives other numbers, without a full stop; nothing where it does not."""
    repeated = summary.part("recipe").part("repeated")
    said = [
        not_repeated_sentence(repeated),
        *(
            not_repeated_sentence(part, f"Of the variant {quoted(name)}, the model")
            for name, part in repeated.items("variants")
        ),
        shared_folder(summary),
    ]
    return tuple(one for one in said if one)


def shared_folder(summary: Part) -> str:
    """That models trained side by side may have read each other's files; empty where not."""
    written = summary.part("recipe").part("written")
    entries = written.number("entries")
    if not entries or (written.number("workers") or 1) < 2:
        return ""
    return (
        f"While models were trained side by side, {counted(entries, 'entry', 'entries')} of the "
        "current folder appeared or changed. If the training code keeps files there and reads them "
        "again, models read each other's, and these are not the results of that code: let it ask "
        "for `scratch`, a folder for each model, or train again with one worker"
    )


def not_repeated_sentence(repeated: Part, which: str = "The model") -> str:
    """How the answers of a model that was trained again differ; empty where they do not."""
    different = repeated.number("different")
    if not different:
        return ""
    drawn = repeated.texts("drawn")
    calls = f" (its code calls {listed(drawn)})" if drawn else ""
    largest = repeated.number("largest")
    size = "" if largest is None else f", by up to {largest:.3g}"
    return (
        f"{which} that was trained again from its seed gave different answers ({whole(different)} "
        f"of {whole(repeated.number('answers'))} differ{size}): these results cannot be "
        "reproduced exactly, and may change with the number of workers. Probably "
        f"{repeated.text('cause') or 'it draws random numbers that no seed controls'}{calls}"
    )


def _worth(summary: Part, row: Exposed) -> str:
    if row.clear is None:
        return (
            "Whether this exceeds chance cannot be determined: "
            f"{row.reason or 'its interval or its null is missing'}."
        )
    models = counted(summary.part("models").number("count"), "model")
    if row.clear:
        return (
            "This exceeds chance: the same analysis with each patient's membership shuffled finds "
            f"{_found(row.null)}."
        )
    return _milder(summary, row) or (
        "This does not exceed chance, at this threshold or any other reported one: with "
        f"{models}, this audit found no patient whom this attack exposes. That is evidence for "
        "this recipe and this attack, not proof for every attack."
    )


def _milder(summary: Part, row: Exposed) -> str:
    """That more patients than by chance lie above another threshold; empty where they do not."""
    milder = [other for other in exposed_at(summary) if other.clear]
    if not milder:
        return ""
    best = max(milder, key=lambda other: other.threshold)
    return (
        f"Above {row.name} this does not exceed chance, so it is not a finding. Above "
        f"{best.name} it is one: {counted(best.estimate, 'patient')} (95% interval "
        f"{count_interval(best.low, best.high)}) against {expected(best.null)} by chance "
        "alone."
    )


def _found(null: Number) -> str:
    found = expected(null)
    return "none" if found == "0" else f"{found} in their place"


def _unassessed(summary: Part) -> tuple[str, ...]:
    patients = summary.part("patients")
    count, estimable = patients.number("count"), patients.number("estimable")
    parts = patients.parts("not_estimable")
    if count is None or estimable is None or (estimable >= count and not parts):
        return ()
    reasons = [
        f"{part.text('reason')} ({whole(part.number('patients'))})"
        for part in patients.parts("not_estimable")
        if part.number("patients")
    ]
    because = f": {'; '.join(reasons)}" if reasons else ""
    lost: float = count - estimable
    if cell := next((n for part in parts if isinstance(n := part.number("patients"), Fewer)), None):
        lost = cell if len(parts) == 1 else lost
    return (
        (
            f"{counted(lost, 'patient')} of {whole(count)} could not be assessed "
            f"and {'is' if lost == 1 else 'are'} not counted{because}."
        ),
    )


def strongest_attack(summary: Part) -> tuple[str, Part] | None:
    """Label and figures of the aggregate attack with the highest AUC."""
    attacks = [
        (part.text("label") or visible(name), part)
        for name, part in summary.items("aggregate")
        if part.number("auc") is not None
    ]
    return max(attacks, key=lambda attack: attack[1].number("auc") or 0.0, default=None)
