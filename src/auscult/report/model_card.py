"""Sections on privacy for a model's card: Hugging Face's, and CHAI's applied model card.

Both are Markdown with the headings of the card, to be pasted there: the released figures in the
words of the dossier. What an audit does not know, for example who may use the model, is left to
the card's author.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.base.errors import ConfigError
from auscult.report import answer
from auscult.report.dossier import findings, limits, mitigation
from auscult.report.elements import Block, Items, Page, Paragraph, Section
from auscult.report.facts import facts
from auscult.report.first import decided, to_do, unknown
from auscult.report.markdown import sections_of
from auscult.report.officer_tables import group_items
from auscult.report.summary import Part, read_summary
from auscult.report.words import counted, decimal, interval, metric_name, with_interval

KINDS = {"hf": "Hugging Face model card", "chai": "CHAI applied model card"}
GOAL = (
    "Whether somebody who uses the model can tell that a given patient's data trained it, counted "
    "per patient and per group."
)
TEST = (
    "Membership-inference audit: models trained in the same way are attacked by an attacker who "
    "holds the patient's records. 95% intervals; figures by chance from shuffled membership."
)


def model_card(summary: Mapping[str, Any], kind: str) -> str:
    """The sections of a card as Markdown.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``: released figures.
    kind : {"hf", "chai"}

    Raises
    ------
    ConfigError
        There is no such card.
    StoreError
        The summary is damaged or of another schema.
    """
    return sections_of(card_page(summary, kind).sections, _level)


def card_page(summary: Mapping[str, Any], kind: str) -> Page:
    """The same as blocks; see :func:`model_card`.

    Parameters
    ----------
    summary : mapping
    kind : {"hf", "chai"}
    """
    if kind not in KINDS:
        raise ConfigError(f'there is no card "{kind}"', where="--card", expected=" or ".join(KINDS))
    part = read_summary(summary)
    return Page(
        title=part.text("title"),
        kicker=KINDS[kind],
        headline=answer.headline(part),
        verdict=(),
        facts=facts(part),
        sections=tuple(_hugging_face(part) if kind == "hf" else _chai(part)),
        colophon="",
    )


def _level(section: Section) -> int:
    return int(section.key.partition(" ")[0])


def _section(level: int, heading: str, blocks: list[Block]) -> Section:
    return Section(key=f"{level} {heading}", heading=heading, short=heading, blocks=tuple(blocks))


def _hugging_face(part: Part) -> list[Section]:
    return [
        _section(2, "Bias, Risks, and Limitations", []),
        _section(3, "Privacy: patients whose membership can be told", _answer(part)),
        _section(3, "Privacy: groups of patients", group_items(part)),
        _section(3, "Privacy: what was not tested", [_open(part), *limits(part)]),
        _section(3, "Recommendations", [_advice(part), *mitigation(part)]),
        _section(2, "Evaluation", []),
        _section(3, "Testing Data, Factors & Metrics", [Paragraph(text=f"{GOAL} {TEST}")]),
        _section(3, "Results", [*_data(part), *findings(part)]),
        _section(2, "Technical Specifications", []),
        _section(3, "Software", [_made_with(part)]),
    ]


def _chai(part: Part) -> list[Section]:
    return [
        _section(2, "Warnings", []),
        _section(3, "Known Risks and Limitations", [*_answer(part), _open(part), *limits(part)]),
        _section(3, "Known Biases or Ethical Considerations", group_items(part)),
        _section(2, "Trust Ingredients", []),
        _section(3, "Development Data Characterization", _data(part)),
        _section(3, "Bias Mitigation Approaches", mitigation(part)),
        _section(3, "Security", [_advice(part)]),
        _section(2, "Key Metrics: Usefulness, Usability, Efficacy", []),
        *_metric(
            goal="How well the audited models predict for patients whom they never saw.",
            result=_utility(part),
            meaning="A model that has learned nothing exposes nobody and proves nothing.",
            part=part,
        ),
        _section(2, "Key Metrics: Fairness, Equity", []),
        *_metric(
            goal="Whether the risk is higher in some groups of patients than in others.",
            result=group_items(part),
            meaning="A group that lies above everybody else carries more of the risk.",
            part=part,
        ),
        _section(2, "Key Metrics: Safety, Reliability", []),
        *_metric(
            goal=GOAL,
            result=findings(part),
            meaning="Patients above a threshold can be told from others so often; see the risks.",
            part=part,
        ),
    ]


def _metric(*, goal: str, result: list[Block], meaning: str, part: Part) -> list[Section]:
    """The six fields that the applied model card has of each metric."""
    models = counted(part.part("models").number("count"), "model")
    checked = f"{models}, each tested on patients that it did not train on. {decided(part)}".strip()
    return [
        _section(3, "Goal of Metric", [Paragraph(text=goal)]),
        _section(3, "Result", result),
        _section(3, "Interpretation", [Paragraph(text=meaning)]),
        _section(3, "Test Type", [Paragraph(text=TEST)]),
        _section(3, "Testing Data Description", _data(part)),
        _section(3, "Validation Process and Justification", [Paragraph(text=checked)]),
    ]


def _answer(part: Part) -> list[Block]:
    said = [answer.headline(part).sentence, *answer.beside(part)]
    verdict = decided(part)
    return [
        *(Paragraph(text=f"{one}.") for one in said),
        *([Paragraph(text=verdict)] if verdict else []),
        Paragraph(text="Groups, Protection and Decision, where they are named, are in its report."),
    ]


def _open(part: Part) -> Items:
    return Items(items=tuple(("", one) for one in unknown(part)))


def _advice(part: Part) -> Items:
    return Items(items=tuple(("", one) for one in to_do(part)))


def _data(part: Part) -> list[Block]:
    cohort = part.part("cohort")
    size = f"{counted(cohort.number('records'), 'record')} of "
    size += counted(cohort.number("patients"), "patient")
    return [Paragraph(text=f"{cohort.text('source') or 'Source not recorded'}: {size}.")]


def _utility(part: Part) -> list[Block]:
    found = part.part("models").part("utility")
    if found.number("mean") is None:
        return [Paragraph(text="Not measured by this audit.", style="absent")]
    value = with_interval(
        decimal(found.number("mean")), interval(found.number("low"), found.number("high"))
    )
    return [Paragraph(text=f"{metric_name(found.text('metric'))} {value}.")]


def _made_with(part: Part) -> Paragraph:
    return Paragraph(text=f"Audited with Auscult {part.text('auscult')}.".replace(" .", "."))
