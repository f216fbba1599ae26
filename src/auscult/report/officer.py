"""The page for the privacy officer: the audit in the words of an impact assessment.

Everything here is read from the summary; where something was not declared or not measured it says
so, and what that leaves open. What a legal text asks is quoted in its own few words and set beside
what the audit can contribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.report import answer
from auscult.report.changes import not_surely_cheap
from auscult.report.elements import Block, Heading, Items, Paragraph, Section
from auscult.report.label import label_reveals
from auscult.report.markdown import markdown
from auscult.report.numbers import trained_on, weights_read
from auscult.report.officer_tables import exposure_table, group_items, named_sentence, worst_table
from auscult.report.one_model import one_model_sentence
from auscult.report.release import blind_sentence
from auscult.report.summary import Part, read_summary
from auscult.report.words import (
    Fewer,
    at_least,
    count_interval,
    counted,
    decimal,
    interval,
    listed,
    metric_name,
    quoted,
    sentence,
    whole,
)

LEAD = (
    "Written for a data protection impact assessment. It contains aggregates only: counts of "
    "patients, never data of a single patient. Intervals are 95% intervals."
)


def officer_markdown(summary: Mapping[str, Any]) -> str:
    """The page as Markdown.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.
    """
    part = read_summary(summary)
    title = part.text("title") or part.part("cohort").text("source") or "Untitled audit"
    return markdown(title, officer_section(part))


def officer_section(summary: Part) -> Section:
    """The page as a section of the report."""
    blocks: list[Block] = [
        Paragraph(text=LEAD),
        Heading(text="What the model is"),
        Paragraph(text=_model(summary)),
        Heading(text="What membership would reveal"),
        Paragraph(text=_reveals(summary)),
        Heading(text="Who could attack, with what"),
        *_attackers(summary),
        Heading(text="What was tried"),
        Paragraph(text=_tried(summary)),
        Heading(text="The most exposed patients"),
        *_worst(summary),
        Heading(text="Groups"),
        *group_items(summary),
        Heading(text="This release"),
        Paragraph(text=_release(summary)),
        Heading(text="Protections tried"),
        *_protections(summary),
        Heading(text="How sure this is"),
        Items(items=tuple(_uncertainty(summary))),
        Heading(text="The decision"),
        Paragraph(text=_decision(summary)),
        Heading(text="How this relates to the legal texts"),
        _texts(summary),
        Heading(text="What this audit cannot certify"),
        Items(items=_limits()),
        Heading(text="When to test again"),
        Items(items=_again()),
    ]
    return Section(
        key="officer",
        heading="For the privacy officer",
        short="Privacy officer",
        blocks=tuple(blocks),
    )


def _model(summary: Part) -> str:
    recipe, cohort = summary.part("recipe"), summary.part("cohort")
    kind = {
        "torch": "a neural network (PyTorch)",
        "sklearn": "a scikit-learn model",
        "python": "a model trained by the developer's own function",
    }
    if recipe:
        what = kind.get(recipe.text("kind"), f"a model of kind {recipe.text('kind')}")
        name = f" called {quoted(recipe.text('model'))}" if recipe.text("model") else ""
        parameters = recipe.part("facts").number("parameters")
        size = f" with {counted(parameters, 'parameter')}" if parameters else ""
        text = f"The audited recipe produces {what}{name}{size}."
    else:
        text = "The outputs of models that were trained elsewhere were audited; how they were "
        text += "trained was declared, not observed."
    task = cohort.text("task")
    trained = "It is" if recipe else "They are"
    predicts = f" {trained} for a {task} task" if task and task != "unknown" else f" {trained}"
    text += (
        f"{predicts} on {counted(cohort.number('records'), 'record')} of "
        f"{counted(cohort.number('patients'), 'patient')} ({quoted(cohort.text('source'))})."
    )
    numbers = [part.number("records") or 0.0 for part in cohort.parts("left_out")]
    small = [one for one in numbers if isinstance(one, Fewer)]
    left_out = sum(one for one in numbers if not isinstance(one, Fewer))
    if small and not left_out:
        number = f"Fewer than {whole(sum(float(one) for one in small))} records"
        text += f" {number} were left out, each with a reason (see Cohort)."
    elif left_out:
        more = "More than " if small else ""
        text += (
            f" {more}{counted(left_out, 'record')} were left out, each with a reason (see Cohort)."
        )
    withheld = cohort.part("withheld")
    if withheld:
        patients = withheld.number("patients")
        whose = "" if patients is None else f" of {counted(patients, 'patient')}"
        text += (
            f" {counted(withheld.number('records'), 'record')}{whose} were kept out of every "
            "training and used by the attack; the other figures are for the remaining records."
        )
    utility = summary.part("models").part("utility")
    if utility.number("mean") is not None:
        bounds = interval(utility.number("low"), utility.number("high"), 2)
        text += (
            f" On patients it did not train on, it reaches {decimal(utility.number('mean'), 2)} "
            f"({bounds}) in {metric_name(utility.text('metric')) or 'its metric'}."
        )
    return text


def _reveals(summary: Part) -> str:
    deployment = summary.part("deployment")
    reveals = deployment.text("reveals")
    if not reveals:
        return (
            "Not declared. Being in the training data reveals at least that the patient was "
            "treated where and when the cohort was collected; where the cohort is defined by a "
            "condition, it reveals that the patient has the condition. The assessment must state "
            "what it reveals here; whoever runs the audit can declare it, and it then stands on "
            "this page. "
            f"{label_reveals(summary)}"
        ).rstrip()
    text = f"Being in the training data reveals: {quoted(reveals.rstrip('.'))}."
    if deployment.text("population"):
        text += f" The attacker draws from: {quoted(deployment.text('population').rstrip('.'))}."
    priors = deployment.numbers("prior")
    if priors:
        shown = " to ".join(f"{100 * p:.3g}%" for p in dict.fromkeys(priors) if p is not None)
        text += (
            " Before any attack, a person of this population is a member with a probability of "
            f"{shown}."
        )
    if deployment.number("prevalence") is not None:
        share = 100 * (deployment.number("prevalence") or 0.0)
        text += f" The condition's prevalence outside the cohort is taken as {share:.3g}%."
    return f"{text} {label_reveals(summary)}".rstrip()


def _attackers(summary: Part) -> list[Block]:
    table = exposure_table(summary)
    if table is not None:
        return [
            Paragraph(
                text="Each row is an attacker: what the interface shows, what is held about the "
                "patient, and how many similar models the attacker can train."
            ),
            table,
        ]
    return [
        Paragraph(
            text="No deployment was declared, so the strongest attacker that the audit has was "
            "measured: one who sees the model's full confidence, holds the very records "
            "trained on, and trains as many similar models as the audit did, knowing who is "
            "in each. Who can query the model in its deployment, and what they see, must be "
            "stated beside this: a weaker attacker achieves less, and a stronger one cannot "
            "be excluded."
        )
    ]


def _tried(summary: Part) -> str:
    models = summary.part("models").number("count")
    ran = [
        part.text("label") or name
        for name, part in summary.items("aggregate")
        if part.number("auc") is not None
    ]
    weights = "other attacks on the weights" if weights_read(summary) else "attacks on the weights"
    return (
        f"Membership inference with {counted(models, 'shadow model')}, each trained on "
        f"{trained_on(summary) or 'a random half of the patients'}: one attack on all of a "
        "patient's records together, and per record "
        f"{listed(ran) or 'none that could run'}. Each figure was computed a second time with "
        "membership shuffled: that is what chance alone gives. Not tried: extraction of records or "
        f"of attributes, {weights}, attacks on gradients during training, and on explanations."
    )


def _worst(summary: Part) -> list[Block]:
    table = worst_table(summary)
    if table is None:
        because = sentence(answer.why_not(summary))
        return [Paragraph(text=f"Not estimable. {because}", style="absent")]
    return [
        Paragraph(text=sentence(answer.headline(summary).sentence)),
        table,
        *([Paragraph(text=sentence(one))] if (one := one_model_sentence(summary)) else []),
        *([Paragraph(text=sentence(one))] if (one := answer.whole_cohort(summary)) else []),
    ]


def _release(summary: Part) -> str:
    release = summary.part("release")
    if not release:
        return (
            "No particular model was audited: the figures are about the recipe. The released "
            "model is one draw from it and may expose more or fewer patients."
        )
    if release.reason():
        return f"The release audit is not estimable: {release.reason()}."
    blind = blind_sentence(release) if release.part("blind").truth("above_chance") else ""
    return f"{named_sentence(release)} {blind}".rstrip()


def _protections(summary: Part) -> list[Block]:
    tried = summary.parts("protection")
    if not tried:
        return [
            Paragraph(
                text="No protection was tried in this run. An assessment that finds a risk must "
                "weigh what would lower it: fewer training steps, less detailed outputs, "
                "training with differential privacy, leaving out or pooling rare records."
            )
        ]
    names = [
        quoted(part.text("label") or part.text("name") or f"variant {place}")
        for place, part in enumerate(tried, 1)
    ]
    return [
        Paragraph(
            text=f"{counted(float(len(tried)), 'variant')} tried: {listed(names)}. "
            + _recommended(tried)
            + " What each changes and costs is described in the report under Protection."
        )
    ]


def _recommended(tried: tuple[Part, ...]) -> str:
    best = next((part for part in tried if part.truth("recommended")), None)
    unsupported = next((one.text("unsupported") for one in tried if one.text("unsupported")), "")
    if best is None and unsupported:
        return f"None is recommended, because the evidence is missing: {unsupported}."
    if best is None:
        near = not_surely_cheap(tried)
        return (
            f"None of them clearly removes exposed patients at a small cost{near and ': '}{near}."
        )
    name = quoted(best.text("label") or best.text("name"))
    removed = at_least(best.number("removed_at_least"))
    return f"To try first: {name}, which removes at least {removed} of the exposed patients."


def _uncertainty(summary: Part) -> list[tuple[str, str]]:
    items = []
    models = summary.part("models")
    learned = models.part("learned")
    if learned.truth("verdict") is False:
        items.append(
            (
                "The models have learned nothing.",
                answer.unlearned(summary),
            )
        )
    width = next(
        (
            row.number("interval_width")
            for row in summary.part("patients").parts("planning")
            if row.number("models") == models.number("count")
        ),
        None,
    )
    if width is not None:
        items.append(
            (
                "A single patient's risk",
                (
                    f"is known to an interval {decimal(width)} wide in AUC, for a patient of "
                    "median risk; more models narrow it."
                ),
            )
        )
    lost = summary.part("patients").parts("not_estimable")
    items += [
        (
            f"{counted(part.number('patients'), 'patient')} could not be assessed:",
            f"{part.reason()}. Nothing is known about them.",
        )
        for part in lost
        if part.number("patients")
    ]
    items.append(
        (
            "An upper bound is not a worst case.",
            (
                "Intervals cover the randomness of which models and patients were drawn, not "
                "attacks that were not tried."
            ),
        )
    )
    return items


def _decision(summary: Part) -> str:
    verdict = summary.part("decision").text("verdict")
    if not verdict:
        return (
            "No policy was applied. Where the institution sets limits in a policy, whoever runs "
            "the audit can have the bounds compared with them, and the verdict then stands here."
        )
    said = {
        "pass": "Pass: the upper bounds lie within the limits of the institution's policy.",
        "fail": "Fail: at least one limit of the institution's policy is broken.",
        "inconclusive": "Inconclusive: the evidence is not sufficient to pass. This is not a pass.",
    }
    return f"{said.get(verdict, verdict)} What was judged is listed under Decision."


def _texts(summary: Part) -> Items:
    row = answer.main_row(summary)
    found = (
        "not estimable"
        if row is None or row.high is None
        else f"{count_interval(row.low, row.high)} patients above an AUC of {row.name}"
    )
    return Items(
        items=(
            (
                "EDPB Opinion 28/2024 (GDPR)",
                (
                    "asks of an anonymous model that extracting personal data, and obtaining them "
                    "from queries, be insignificant in likelihood for each data subject, "
                    "considering all means reasonably likely to be used. This audit contributes "
                    f"the likelihood of inferring membership, patient by patient: {found}. It does "
                    "not settle the extraction of content, means that were not tried, or which "
                    "means are reasonably likely."
                ),
            ),
            (
                "GDPR Art. 35 (impact assessment)",
                (
                    "asks for the risks to data subjects and the measures that address them. This "
                    "audit contributes a measured risk with intervals, by group, and what "
                    "protections change. It does not settle necessity and proportionality, or "
                    "risks other than membership."
                ),
            ),
            (
                "HIPAA expert determination, 45 CFR 164.514(b)(1),",
                (
                    "asks an expert to find the risk very small that an anticipated recipient "
                    "identifies an individual, and to document methods and results. This audit "
                    "contributes both for one kind of attack. It does not settle whether a model "
                    "is de-identified information; what counts as very small is for the expert to "
                    "decide."
                ),
            ),
            (
                "EU AI Act Art. 15(5)",
                (
                    "asks of high-risk systems, where appropriate, measures against attacks, "
                    "confidentiality attacks among them. This audit contributes a test of one such "
                    "attack that a pipeline can repeat (the gate). It does not settle poisoning, "
                    "evasion, other confidentiality attacks, or conformity."
                ),
            ),
        )
    )


def _limits() -> tuple[tuple[str, str], ...]:
    return (
        (
            "That the model is anonymous.",
            "Failing to infer membership is necessary for it, not sufficient.",
        ),
        (
            "That no better attack exists.",
            (
                "Every figure is a lower bound on what the best attacker reaches. Only a "
                "guarantee such as differential privacy bounds attacks that are not known yet."
            ),
        ),
        (
            "That a patient is safe.",
            (
                "A low estimate for a group or a cohort says little about its most exposed member; "
                "that is why patients are counted."
            ),
        ),
        (
            "That declarations are true.",
            (
                "What the interface shows, who may query it, what membership reveals and how "
                "common the condition is were declared and are taken as given."
            ),
        ),
        (
            "Compliance.",
            "This page is evidence for an assessment. It is neither legal advice nor an approval.",
        ),
    )


def _again() -> tuple[tuple[str, str], ...]:
    return (
        ("The model is trained again,", "fine-tuned, or its recipe, size or epochs change."),
        ("The cohort changes:", "new patients, new sites, records removed on request."),
        (
            "The deployment changes:",
            (
                "more of the output is shown, more people may query it, the weights are passed "
                "on, or another population is asked about."
            ),
        ),
        (
            "Attacks improve,",
            "or this tool does: at least once a year, and with each new version of it.",
        ),
        (
            "The risk changes",
            "in any other way: GDPR Art. 35(11) asks for a review then.",
        ),
    )
