"""The dossier: four to six pages that somebody signs, from the released figures alone.

It is a second document of the same summary, in plain words: what the system is, who could attack
it, what was found, what remains, and a checklist whose every line names the key of the summary that
answers it, or says that it was not tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.base.errors import ConfigError
from auscult.report import answer
from auscult.report.changes import (
    alone,
    base_row,
    change_cell,
    from_another,
    most_lost,
    not_surely_cheap,
    share_of,
)
from auscult.report.checklist import checklist
from auscult.report.common import common_sentence
from auscult.report.elements import Block, Items, Page, Paragraph, Section, Table
from auscult.report.exposure_tables import usual_priors
from auscult.report.facts import facts
from auscult.report.figures.axes import percent
from auscult.report.first import decided
from auscult.report.numbers import bounds_only, exposed_cell, patients_cell, weights_read
from auscult.report.officer_tables import group_items, named_sentence
from auscult.report.one_model import one_model_sentence
from auscult.report.summary import Part, read_summary
from auscult.report.words import (
    at_least,
    counted,
    expected,
    listed,
    metric_name,
    quoted,
    sentence,
    whole,
)

FACTS = {
    "system": "System",
    "version": "Version",
    "controller": "Controller",
    "owner": "Owner of the data",
    "purpose": "Purpose",
    "lawful_basis": "Lawful basis",
    "contact": "Contact",
    "approver": "Approver",
}
NOT_DECLARED = "not declared"
LONGEST = 500
SHOWN_THRESHOLDS = ("0.8", "0.9", "0.95")
MOST_PROTECTIONS = 6
HOW_OFTEN = (
    "Shown one model that was trained on the patient and one that was not, the attacker names the "
    "right one so often; a coin would be right 5 times of 10. Confirmed: patients for whom this is "
    "shown one by one, at most 5% of them wrongly."
)


def declared(given: Mapping[str, Any]) -> dict[str, str]:
    """What a person declared, checked.

    Parameters
    ----------
    given : mapping
        Keys of :data:`FACTS` to text.

    Raises
    ------
    ConfigError
        A key that is not known, or a value that is no text or too long.
    """
    for key, value in given.items():
        if key not in FACTS:
            raise ConfigError(
                f'there is no fact "{key}"', where="dossier", expected=", ".join(FACTS)
            )
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST:
            raise ConfigError(
                "it is not a text", where=f"dossier.{key}", expected=f"1 to {LONGEST} characters"
            )
    return {key: str(given[key]) for key in FACTS if key in given}


def dossier_page(summary: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> Page:
    """Build the dossier.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``: released figures.
    record : mapping, optional
        The run's manifest: versions, seed and fingerprints. Nothing else of the run is read.

    Returns
    -------
    Page

    Raises
    ------
    StoreError
        The summary is damaged or of another schema.
    """
    part = read_summary(summary)
    title = part.part("dossier").text("system") or part.text("title")
    sections = (
        _section("system", "1. The system", _system(part)),
        _section("attackers", "2. Who could attack, and how", _attackers(part)),
        _section("findings", "3. What was found", findings(part)),
        _section("groups", "4. Groups of patients", [*group_items(part), *_common(part)]),
        _section("mitigation", "5. What lowers the risk, and what remains", mitigation(part)),
        _section("limits", "6. What this does not show", limits(part)),
        _section("checklist", "7. Checklist", checklist(part)),
        _section("record", "8. Record and sign-off", _record(part, Part(record))),
    )
    return Page(
        title=title or part.part("cohort").text("source") or "Untitled audit",
        kicker="Privacy dossier of a medical AI model",
        headline=answer.headline(part),
        verdict=tuple(f"{said}." for said in answer.beside(part)[:2]),
        facts=facts(part),
        sections=sections,
        colophon="Made from the released figures alone: no data of a single patient. Intervals "
        "are 95% intervals.",
        decision=decided(part),
        signed=True,
    )


def _section(key: str, heading: str, blocks: list[Block]) -> Section:
    return Section(key=key, heading=heading, short=heading, blocks=tuple(blocks))


def _system(part: Part) -> list[Block]:
    said, cohort, models = part.part("dossier"), part.part("cohort"), part.part("models")
    rows = [(name, said.text(key) or NOT_DECLARED) for key, name in FACTS.items()]
    recipe = part.part("recipe")
    kind = {"torch": "neural network", "sklearn": "scikit-learn model"}
    what = kind.get(recipe.text("kind"), "the developer's own code") if recipe else "made elsewhere"
    utility = models.part("utility")
    rows += [
        ("Kind of model", f"{what} {recipe.text('model')}".strip()),
        ("Data", _data(cohort)),
        ("Left out", _left_out(cohort)),
    ]
    if utility.number("mean") is not None:
        metric = metric_name(utility.text("metric"))
        quality = f"{utility.number('mean'):.2f} ({metric}) on patients never seen"
        rows.append(("Quality of the model", quality))
    return [
        Table(
            caption="What is declared by people, and what the audit read itself",
            columns=("What", "Answer"),
            rows=tuple(rows),
            text_columns=frozenset({0, 1}),
            key="system",
        )
    ]


def _data(cohort: Part) -> str:
    size = f"{counted(cohort.number('records'), 'record')} of "
    size += counted(cohort.number("patients"), "patient")
    return f"{cohort.text('source') or 'not recorded'}: {size}"


def _left_out(cohort: Part) -> str:
    records = sum(one.number("records") or 0.0 for one in cohort.parts("left_out"))
    if not records:
        return "no record"
    return f"{counted(records, 'record')}, each with a reason in the report"


def _attackers(part: Part) -> list[Block]:
    deployment = part.part("deployment")
    models = counted(part.part("models").number("count"), "model")
    blocks: list[Block] = [
        Paragraph(
            text="The question: can somebody who uses the model tell that a given patient's data "
            "trained it? Such an attacker holds the patient's own records, knows how the model is "
            f"trained, and trains similar models. The audit played this attacker with {models}."
        )
    ]
    if deployment:
        priors = usual_priors(deployment)
        shown = " to ".join(dict.fromkeys(percent(one) for one in priors))
        blocks.append(
            Items(
                items=(
                    ("Being in the data reveals:", f"{quoted(deployment.text('reveals'))}."),
                    ("The attacker asks about:", f"{quoted(deployment.text('population'))}."),
                    ("Before any attack,", f"{shown} of these people are in the data."),
                )
            )
        )
        mine = next((one for one in part.parts("exposure") if one.truth("declared")), None)
        if mine is not None and mine.parts("by_prior"):
            blocks.append(_accusations(mine, priors))
    else:
        blocks.append(
            Paragraph(
                text="Where the model will be used was not declared. What being in the data "
                "reveals, and who may ask the model, must be added by hand.",
                style="absent",
            )
        )
    return blocks


def _accusations(mine: Part, priors: tuple[float, ...]) -> Paragraph:
    rows = [row for row in mine.parts("by_prior") if row.number("prior") in priors]
    said = [
        f"{share_of(row.part('ppv'))} are in the data if {percent(row.number('prior') or 0.0)} of "
        "those asked about are"
        for row in rows
    ]
    return Paragraph(text=f"Of the people whom this attacker names, {listed(said)}.")


def findings(part: Part) -> list[Block]:
    """Patients by how often the attacker is right, one model alone, the released model."""
    few = bounds_only(part)
    rows = [
        (
            f"{round(10 * row.threshold, 1):g} times of 10",
            patients_cell(row.estimate, row.low, row.high, few),
            expected(row.null),
            whole(row.confirmed),
        )
        for row in answer.exposed_at(part)
        if row.name in SHOWN_THRESHOLDS
    ]
    blocks: list[Block] = []
    if rows and answer.main_row(part) is not None:
        blocks.append(
            Table(
                caption="Patients whom the attacker tells from others, by how often rightly",
                columns=("More often than", "Patients (95% interval)", "By chance", "Confirmed"),
                rows=tuple(rows),
                notes=(HOW_OFTEN,),
                key="findings",
            )
        )
    one = one_model_sentence(part)
    blocks += [Paragraph(text=sentence(one))] if one else []
    release = part.part("release")
    if release and not release.reason():
        blocks.append(Paragraph(text=named_sentence(release)))
    elif release:
        blocks.append(
            Paragraph(text=f"The released model could not be judged: {release.reason()}.")
        )
    else:
        blocks.append(
            Paragraph(
                text="The released model itself was not tested. The figures are about models that "
                "were trained in the same way."
            )
        )
    return blocks


def _common(part: Part) -> list[Block]:
    """What goes with the risk, in one sentence."""
    found = part.part("in_common")
    text = common_sentence(found) if found.parts("factors") else ""
    return [Paragraph(text=text)] if text else []


def mitigation(part: Part) -> list[Block]:
    """What was tried against the risk, and what remains."""
    tried = [one for one in part.parts("protection") if one.part("exposed")]
    if not tried:
        return [
            Paragraph(
                text="No protection was tried. If the risk above is not acceptable, try fewer "
                "training steps, coarser answers, fewer records per patient or private training."
            )
        ]
    few = bounds_only(part)
    base = base_row(part, "As it is")
    rows = [(base[0].removeprefix("0: "), base[1], "", "")]
    rows += [
        (
            one.text("name"),
            exposed_cell(one.part("exposed").part("0.9"), few),
            change_cell(one),
            _cost(one),
        )
        for one in tried[:MOST_PROTECTIONS]
    ]
    best = next((one for one in tried if one.truth("recommended")), None)
    unsupported = next((one.text("unsupported") for one in tried if one.text("unsupported")), "")
    if best is not None:
        said = (
            f"First choice: {quoted(best.text('name'))}. It removes at least "
            f"{at_least(best.number('removed_at_least'))} of the exposed patients. The patients "
            "in its row are the risk that remains."
        )
    elif unsupported:
        said = f"None is recommended, because evidence is missing: {unsupported}."
    else:
        said = "None of them is known to remove exposed patients at a small cost."
        if near := not_surely_cheap(tuple(tried)):
            said = f"{said[:-1]}: {near}."
    more = len(tried) - MOST_PROTECTIONS
    return [
        Table(
            caption="Protections tried: exposed patients and what they cost",
            columns=("Protection", "Exposed (95% interval)", "Change", "Loss of quality"),
            rows=tuple(rows),
            notes=(
                *(
                    f"{one.text('name')}: judged where {alone(one)} are exposed without it. Its "
                    "change is from that number."
                    for one in tried[:MOST_PROTECTIONS]
                    if from_another(part, one)
                ),
                *((f"{more} more are in the report.",) if more > 0 else ()),
            ),
            key="mitigation",
        ),
        Paragraph(text=said),
    ]


def _cost(one: Part) -> str:
    lost = one.number("utility_lost_at_most")
    return "not measured" if lost is None else f"at most {most_lost(lost)}"


def limits(part: Part) -> list[Block]:
    """What the audit does not show."""
    items = [
        (
            "Other attacks.",
            "Copying out records, guessing attributes: not tested. Of the weights, only gradients "
            "and the last layer's features were read."
            if weights_read(part)
            else "Copying out records, guessing attributes, reading weights: not tested.",
        ),
        (
            "Better attacks.",
            "Each figure is what this attacker reached. A better one may reach more.",
        ),
        ("One patient.", "A low number of exposed patients does not make each patient safe."),
        ("What was declared", "(use, population, who sees the answers) is taken as true."),
        (
            "Compliance.",
            "This is evidence for an assessment. It is no legal advice and no approval.",
        ),
    ]
    learned = part.part("models").part("learned").truth("verdict")
    if learned is not True:
        said = "They have not learned their task. " + answer.unlearned(part)
        unknown = "It is not shown that they learned their task."
        items.insert(0, ("The models.", said if learned is False else unknown))
    items.append(
        ("Test again", "when the model, the data or its use change, and at least once a year.")
    )
    return [Items(items=tuple(items))]


def _record(part: Part, record: Part) -> list[Block]:
    said = part.part("dossier")
    prints = record.part("fingerprint")
    versions = record.part("versions").content()
    rows = [("Auscult", part.text("auscult") or "not recorded")]
    rows += [
        (f"Fingerprint of the {key}", prints.text(key))
        for key in ("cohort", "recipe", "scores")
        if prints.text(key)
    ]
    rows += [("Seed", prints.text("seed") or "not recorded")]
    if versions:
        rows.append(("Software", ", ".join(f"{name} {value}" for name, value in versions.items())))
    if record.text("summary"):
        rows.append(("SHA-256 of summary.json", record.text("summary")))
    if record.text("written"):
        rows.append(("Results written", record.text("written")))
    sign = tuple(
        (role, name, "", "")
        for role, name in (
            ("Prepared by", ""),
            ("Reviewed by", said.text("contact")),
            ("Approved by", said.text("approver")),
        )
    )
    return [
        Table(
            caption="What was run",
            columns=("What", "Value"),
            rows=tuple(rows),
            text_columns=frozenset({0, 1}),
            key="record",
        ),
        Table(
            caption="Sign-off",
            columns=("Role", "Name", "Date", "Signature"),
            rows=sign,
            text_columns=frozenset({0, 1, 2, 3}),
            key="sign",
        ),
    ]
