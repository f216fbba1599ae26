"""Sections that account for the audit: the cohort, how it was done, what it does not say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from auscult.attacks.record import RECORD_ATTACKS
from auscult.report.answer import assessed, not_repeated_sentence
from auscult.report.elements import Block, Heading, Items, Paragraph, Section, Table
from auscult.report.numbers import trained_on
from auscult.report.summary import Part
from auscult.report.words import (
    counted,
    decimal,
    listed,
    quoted,
    sentence,
    visible,
    whole,
)

MOST_CLASSES = 40


def cohort_section(summary: Part) -> Section:
    """Who was audited and what was left out."""
    cohort = summary.part("cohort")
    facts = [
        ("Source", cohort.text("source") or "not recorded"),
        ("Patients", whole(cohort.number("patients"))),
        ("Records", whole(cohort.number("records"))),
        ("Task", cohort.text("task") or "unknown"),
    ]
    withheld = cohort.part("withheld")
    if withheld:
        records = counted(withheld.number("records"), "record")
        number = withheld.number("patients")
        patients = "" if number is None else f" of {counted(number, 'patient')}"
        facts.append(("Withheld from all training", f"{records}{patients}"))
    per_patient = cohort.part("records_per_patient")
    if per_patient.number("median") is not None:
        facts.append(
            (
                "Records per patient",
                (
                    f"median {_short(per_patient.number('median'))}; "
                    f"{whole(per_patient.number('max'))} or more for the few with most"
                ),
            )
        )
    groups = [quoted(group) for group in cohort.texts("groups")]
    if groups:
        facts.append(("Groups", listed(groups, most=20)))
    label = summary.part("label")
    if label:
        facts.append(("Label, as a group", quoted(label.text("attribute") or label.reason())))
    blocks: list[Block] = [
        Table(
            caption="The cohort",
            columns=("What", "Value"),
            rows=tuple(facts),
            text_columns=frozenset({0, 1}),
            key="cohort",
        )
    ]
    bands = per_patient.parts("bands")
    if bands:
        blocks.append(
            Table(
                caption="Patients by number of records",
                columns=("Records", "Patients"),
                rows=tuple((b.text("records"), whole(b.number("patients"))) for b in bands),
                key="bands",
            )
        )
    if note := summary.part("disclosure").text("note"):
        blocks.append(Paragraph(text=sentence(note), style="note"))
    blocks += _classes(cohort.parts("classes"))
    blocks += _left_out(cohort)
    return Section(
        key="cohort",
        heading="Who was audited, and what was left out",
        short="Cohort",
        blocks=tuple(blocks),
    )


def _classes(classes: tuple[Part, ...]) -> list[Block]:
    if not classes:
        return []
    rest = classes[MOST_CLASSES:]
    notes: tuple[str, ...] = ()
    if rest:
        known = [part.number("records") for part in rest]
        records = sum(number for number in known if number is not None)
        whose = f" with {counted(records, 'record')}" if None not in known else ""
        notes = (f"{len(rest)} more classes{whose} are not listed.",)
    return [
        Table(
            caption="Labels",
            columns=("Class", "Records"),
            rows=tuple((p.text("name"), _records_of_class(p)) for p in classes[:MOST_CLASSES]),
            notes=notes,
            key="classes",
        )
    ]


def _records_of_class(part: Part) -> str:
    if part.reason():
        return "withheld"
    patients = part.number("patients")  # only where they are too few to say more
    return whole(part.number("records")) if patients is None else f"of {whole(patients)} patients"


def _left_out(cohort: Part) -> list[Block]:
    blocks: list[Block] = [Heading(text="Left out")]
    left_out = [part for part in cohort.parts("left_out") if part.number("records") != 0]
    if left_out:
        with_patients = any(part.number("patients") is not None for part in left_out)
        blocks.append(
            Table(
                caption="Records left out, and why",
                columns=("Reason", "Records", *(["Patients"] if with_patients else [])),
                rows=tuple(
                    (
                        part.text("reason"),
                        whole(part.number("records")),
                        *([whole(part.number("patients"))] if with_patients else []),
                    )
                    for part in left_out
                ),
                key="left-out",
            )
        )
    else:
        blocks.append(Paragraph(text="No record was left out."))
    notes = cohort.texts("notes")
    if notes:
        blocks.append(Heading(text="Notes on the data"))
        blocks.append(Items(items=tuple(("", quoted(note)) for note in notes)))
    return blocks


def method_section(summary: Part) -> Section:
    """The design, the models, the attacks and the statistics in plain words."""
    blocks: list[Block] = [Items(items=tuple(_steps(summary)), ordered=True)]
    recipe = summary.part("recipe")
    said = ("kind", "model")  # rows of their own
    settings = recipe.part("settings").content()
    rows = _flat({key: value for key, value in settings.items() if key not in said})
    rows += [(f"{name} (fact)", value) for name, value in _flat(recipe.part("facts").content())]
    if rows:
        blocks.append(
            Table(
                caption="The recipe",
                columns=("Setting", "Value"),
                rows=(
                    ("kind", recipe.text("kind") or "not recorded"),
                    ("model", recipe.text("model") or "not recorded"),
                    *rows,
                ),
                text_columns=frozenset({0, 1}),
                key="recipe",
            )
        )
    if not summary.part("release"):
        blocks += carried(summary)
    repeated = _repeated(recipe.part("repeated"))
    if repeated:
        blocks.append(Paragraph(text=repeated))
    notes = recipe.parts("notes")
    if notes:
        blocks.append(
            Table(
                caption="Counted while training and predicting",
                columns=("What", "Count"),
                rows=tuple((note.text("what"), whole(note.number("count"))) for note in notes),
                key="recipe-notes",
            )
        )
    return Section(key="method", heading="How it was done", short="Method", blocks=tuple(blocks))


def carried(summary: Part) -> list[Block]:
    """What one fitted model holds of its training data, read from its structure."""
    structure = summary.part("structure")
    if not structure:
        return []
    found = [one.text("what") for one in structure.parts("findings")]
    if not found:
        said = "No training record, small leaf or rare word was found in it. That is no proof."
        return [Paragraph(text=f"The structure of one fitted model was read. {said}")]
    return [
        Heading(text="What one model carries of its training data"),
        Items(items=tuple(("", sentence(one)) for one in found)),
        Paragraph(
            text="This is read from the model's structure and needs no attack: who gets the model "
            "itself gets this with it, whatever membership inference finds.",
            style="note",
        ),
    ]


def _repeated(repeated: Part) -> str:
    """Whether training again gave the same numbers."""
    if not repeated:
        return ""
    if not repeated.number("models"):
        return (
            "Whether training again gives the same numbers was not tested: "
            f"{repeated.text('reason')}."
        )
    if not repeated.number("different"):
        return (
            "The first model was trained again at the end and gave the same "
            f"{whole(repeated.number('answers'))} answers, bit for bit."
        )
    return f"{not_repeated_sentence(repeated)}."


def _drawn(summary: Part) -> str:
    part = trained_on(summary)
    return f"{part}, drawn at random," if part else "a random half of the patients"


def _steps(summary: Part) -> list[tuple[str, str]]:
    models, recipe = summary.part("models"), summary.part("recipe")
    inside = models.part("in_per_patient")
    least, most = whole(inside.number("min")), whole(inside.number("max"))
    each = least if least == most else f"{least} to {most}"
    count = counted(models.number("count"), "model")
    drawn = (
        f"{count}, each trained on {_drawn(summary)} with all of their records. Every "
        f"patient is a member of {each} of them."
        if recipe
        else f"{count} were imported with a record of which patients trained which model. The "
        "audit did not train them and relies on this record. Every patient is a member of "
        f"{each} of them."
    )
    patients = summary.part("patients")
    steps = [
        ("Design.", drawn),
        (
            "Signal.",
            "From each model and record, one number: how confident the model is in the truth, "
            "on the log-odds scale."
            if recipe
            else "From each model and record, one number: how confident the model is in the "
            "truth, as imported or computed from the imported outputs.",
        ),
        (
            "Attack on the patient.",
            f"A patient's records are combined ({counted(assessed(summary), 'patient')}) with "
            "weights that are learned on some models and evaluated on others. The AUC is the "
            "probability that a model that trained on the patient scores higher than one that did "
            "not. " + sentence(patients.text("method")),
        ),
    ]
    attacks = []
    own = {attack.name: attack.what for attack in RECORD_ATTACKS}
    for name, part in summary.items("aggregate"):
        label = part.text("label") or visible(name)
        words = (
            part.text("what") or own.get(name) or part.text("method") or "no description recorded"
        )
        attacks.append(f"{label}: {words.rstrip('.')}")
    if attacks:
        steps.append(("Attacks over all records.", "; ".join(attacks) + "."))
    steps.append(
        (
            "Chance.",
            (
                "Every patient's membership was shuffled over the models and the whole analysis "
                "was run again. What it still finds is due to chance."
            ),
        )
    )
    disparities = tuple(summary.items("disparities"))
    if disparities:
        methods = dict.fromkeys(part.text("method") for _, part in disparities)
        steps.append(
            (
                "Groups.",
                " ".join(sentence(method) for method in methods if method)
                or "The summary records no method.",
            )
        )
    return steps


def limits_section(summary: Part) -> Section:
    """What a reader must not conclude."""
    models = counted(summary.part("models").number("count"), "model")
    imported = not summary.part("recipe")
    items = [
        (
            "Membership only.",
            (
                "It says whether an attacker can tell that a patient's data trained the model. It "
                "does not say whether an image, a diagnosis or any other attribute can be "
                "extracted from it. But where the cohort is defined by a condition, membership "
                "itself reveals the condition."
            ),
        ),
        (
            "A recipe, not one released model.",
            (
                f"The figures are averages over {models}"
                + (f" that trained on {part} each" if (part := trained_on(summary)) else "")
                + ". A single model, trained on all patients or on other ones, may expose "
                "different patients."
            ),
        ),
        (
            "This recipe, this cohort.",
            (
                "Other data, another architecture, more epochs or different preprocessing may "
                "give a different answer."
            ),
        ),
        (
            "An informed attacker.",
            (
                "The attacker holds the patient's records as they were trained on, knows the "
                "training recipe, can query the model and has similar data to train shadow models "
                "on. Attackers who know less succeed less often."
            ),
        ),
        (
            "These attacks, not every attack.",
            (
                "A better attack may succeed where these fail. A leak that was found exists; one "
                "that was not found may still exist."
            ),
        ),
        (
            "Groups may differ in other ways.",
            (
                "The test of a difference adjusts for the number of records and for nothing else: "
                "a group may be exposed because of its age, its diseases or its hospital. A "
                "difference is not a cause."
            ),
        ),
    ]
    if imported:
        items.append(
            (
                "Imported outputs.",
                "How these models were trained, and on which patients, was declared, not observed.",
            )
        )
    items += _pretrained(summary.part("recipe").part("facts").part("pretrained"))
    return Section(
        key="limits",
        heading="What this report does not say",
        short="Limits",
        blocks=(Items(items=tuple(items)),),
    )


def _pretrained(facts: Part) -> list[tuple[str, str]]:
    """What weights from elsewhere mean for the audit."""
    said = facts.text("trained_on_cohort")
    if said == "yes":
        return [
            (
                "A backbone trained on every patient.",
                (
                    "The weights that the models start from were trained on patients of this "
                    "cohort, as declared. Each of these patients is a member of that backbone in "
                    "every model, so models with and without a patient differ only in what was "
                    "trained here: the figures measure the leakage of this last training. What "
                    "the backbone itself leaks is not included and adds to it."
                ),
            )
        ]
    if said == "not declared" and facts.number("same_parameters"):
        return [
            (
                "First weights of unknown origin.",
                (
                    f"{whole(facts.number('same_parameters'))} parameters of the network start "
                    "from the same values in every model. If they were read from a file, it was "
                    "not declared whether they were trained on patients of this cohort; if so, "
                    "what they give away about these patients is not in the figures and comes on "
                    "top. If they are drawn from a fixed seed, this means nothing. Declare it by "
                    "backbone_trained_on_cohort."
                ),
            )
        ]
    if said == "not declared":
        return [
            (
                "Frozen parameters of unknown origin.",
                (
                    "Parts of the network were not trained here, and it was not declared whether "
                    "they were trained on patients of this cohort. If they were, what they leak "
                    "about these patients is not included in the figures and adds to them."
                ),
            )
        ]
    return []


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Name and value of every leaf; lists of plain values stay on one line."""
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}{visible(key).replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{name}: ")
        else:
            rows.append((name, _plain(value)))
    return rows


def _plain(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Sequence) and all(not isinstance(v, Mapping | list) for v in value):
        return ", ".join(_plain(item) for item in value) or "none"
    return visible(json.dumps(value, ensure_ascii=False, default=str))


def _short(value: float | None) -> str:
    return whole(value) if value is None or value == int(value) else decimal(value, 1)
