"""The dossier's checklist: what texts ask, and the key of the summary that answers, or nothing.

What a text asks is given in a few words of ours; the text itself decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from auscult.report import answer
from auscult.report.elements import Block, Table
from auscult.report.numbers import bounds_only, patients_cell
from auscult.report.officer_tables import groups_above
from auscult.report.summary import Part
from auscult.report.words import counted, decimal, expected, sentence, whole

NOT_TESTED = "not tested"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: the text, what it asks, which key of the summary answers, and how it reads."""

    text: str
    asks: str
    key: str = ""
    reads: Callable[[Part], str] | None = None


def _exposed(part: Part) -> str:
    row = answer.main_row(part)
    if row is None or row.low is None:
        return ""
    cell = patients_cell(row.estimate, row.low, row.high, bounds_only(part))
    return f"{cell} of {counted(answer.assessed(part), 'patient')} exposed"


def _chance(part: Part) -> str:
    row = answer.main_row(part)
    return "" if row is None or row.null is None else f"yes; {expected(row.null)} exposed by chance"


def _one_model(part: Part) -> str:
    found = part.part("patients").part("one_model").part("at_fpr").part("0.01").part("members")
    value = found.number("estimate")
    return "" if value is None else f"{100 * value:.1f}% of members found at 1% false positives"


def _groups(part: Part) -> str:
    above, compared = groups_above(part)
    if not compared:
        return ""
    return f"{above or 'none'} of {counted(float(compared), 'group')} above chance"


def _tried(part: Part) -> str:
    tried = part.parts("protection")
    return f"{counted(float(len(tried)), 'protection')} tried" if tried else ""


def _deployed(part: Part) -> str:
    return "declared" if part.part("deployment") else ""


def _release(part: Part) -> str:
    release = part.part("release")
    if not release:
        return ""
    return "could not be judged" if release.reason() else "tested"


def _confidentiality(part: Part) -> str:
    models = part.part("models").number("count")
    if answer.main_row(part) is None or models is None:
        return ""
    return f"by membership inference alone, with {counted(models, 'model')}"


def _learned(part: Part) -> str:
    known = part.part("models").part("learned").truth("verdict")
    return {True: "yes", False: "no", None: ""}[known]


def _cell(part: Part) -> str:
    cell = part.part("disclosure").number("smallest_cell")
    return "" if cell is None else f"no group or count under {whole(cell)} patients"


def _structure(part: Part) -> str:
    structure = part.part("structure")
    if not structure:
        return ""
    found = structure.parts("findings")
    return sentence(found[0].text("what"))[:-1] if found else "nothing found"


def _private(part: Part) -> str:
    promised = part.part("guarantee").part("dp")
    if not promised:
        return ""
    return f"epsilon {decimal(promised.number('epsilon'))} per {promised.text('unit')}"


def _said(key: str) -> Callable[[Part], str]:
    return lambda part: "declared" if part.part("dossier").text(key) else ""


def _data(part: Part) -> str:
    cohort = part.part("cohort")
    return f"{counted(cohort.number('patients'), 'patient')}, left out and why in the report"


def _repeated(part: Part) -> str:
    again = part.part("recipe").part("repeated")
    if not again.number("models"):
        return ""
    return "differs when trained again" if again.number("different") else "same when trained again"


EDPB, GDPR, ICO = "EDPB Opinion 28/2024", "GDPR Art. 35", "ICO, model status"
CNIL, ACT, HIPAA = "CNIL, model status", "EU AI Act", "HIPAA 164.514(b)(1)"
SATRE = "SATRE 2.0"
LINES = (
    Line(text=EDPB, asks="Can data be inferred by asking the model?", key="patients.exposed.0.9",
         reads=_exposed),
    Line(text=EDPB, asks="By all means likely to be used, in its real use?", key="deployment",
         reads=_deployed),
    Line(text=EDPB, asks="Can training records be copied out of it?"),
    Line(text=GDPR, asks="What is the system for, and who answers for it?", key="dossier.purpose",
         reads=_said("purpose")),
    Line(text=GDPR, asks="What is the risk to people?", key="patients.exposed.0.9", reads=_exposed),
    Line(text=GDPR, asks="Are some groups at higher risk?", key="disparities", reads=_groups),
    Line(text=GDPR, asks="What measures lower it?", key="protection", reads=_tried),
    Line(text=GDPR, asks="Is it necessary and proportionate?"),
    Line(text=ICO, asks="Can a motivated person single somebody out?", key="patients.one_model",
         reads=_one_model),
    Line(text=ICO, asks="Does the model hold records in itself?", key="structure",
         reads=_structure),
    Line(text=CNIL, asks="Was membership inference tried?", key="patients.exposed.0.9.null",
         reads=_chance),
    Line(text=CNIL, asks="Were inversion and attribute inference tried?"),
    Line(text=ACT, asks="Art. 10: is the data described, with its gaps?", key="cohort",
         reads=_data),
    Line(text=ACT, asks="Art. 15: does it do its task?", key="models.learned", reads=_learned),
    Line(text=ACT, asks="Art. 15(5): is it tested against attacks on confidentiality?",
         key="models.count", reads=_confidentiality),
    Line(text=ACT, asks="Art. 15(5): is it tested against poisoning and evasion?"),
    Line(text=HIPAA, asks="Is the risk to a person very small?", key="patients.exposed.0.9",
         reads=_exposed),
    Line(text=HIPAA, asks="Are methods and results documented, and do they repeat?",
         key="recipe.repeated", reads=_repeated),
    Line(text=SATRE, asks="Is what leaves checked for small numbers?",
         key="disclosure.smallest_cell", reads=_cell),
    Line(text=SATRE, asks="Was the model itself checked before it leaves?", key="release",
         reads=_release),
    Line(text=SATRE, asks="Is there a guarantee by private training?", key="guarantee.dp",
         reads=_private),
)  # fmt: skip


def checklist(part: Part) -> list[Block]:
    """The lines with their answers."""
    rows = []
    for line in LINES:
        found = line.reads(part) if line.reads is not None else ""
        rows.append((line.text, line.asks, found or NOT_TESTED, line.key if found else ""))
    return [
        Table(
            caption="What the texts ask, and what this audit can answer",
            columns=("Text", "Asks", "Answer", "Key in summary.json"),
            rows=tuple(rows),
            notes=("The texts decide, not this list: each line is a reminder in a few words.",),
            text_columns=frozenset({0, 1, 2, 3}),
            key="checklist",
        )
    ]
