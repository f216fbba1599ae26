"""Tables and sentences of the privacy officer's page that need some reading of the summary."""

from __future__ import annotations

from auscult.report import answer
from auscult.report.elements import Block, Items, Paragraph, Table
from auscult.report.exposure_tables import by_knowledge, same_together, usual_priors
from auscult.report.figures.axes import percent
from auscult.report.groups import at_equal_records, compared_in_part
from auscult.report.label import label_absence, label_sentences
from auscult.report.numbers import bounds_only, exposed_cell, patients_cell
from auscult.report.release import outside_sentence, transfer_sentence
from auscult.report.summary import Part
from auscult.report.words import (
    count_interval,
    counted,
    expected,
    listed,
    quoted,
    share,
    share_interval,
    signed,
    signed_interval,
    whole,
    with_interval,
)

MOST_ROWS = 24
MOST_GROUPS = 8


def worst_table(summary: Part) -> Table | None:
    """Patients above each threshold; None where nobody could be assessed."""
    rows = [row for row in answer.exposed_at(summary) if row.estimate is not None]
    if not rows:
        return None
    return Table(
        caption="Patients by how well their membership can be told over many models",
        columns=("AUC above", "Patients (95% interval)", "Confirmed", "By chance alone"),
        rows=tuple(
            (
                row.name,
                patients_cell(row.estimate, row.low, row.high, bounds_only(summary)),
                whole(row.confirmed),
                expected(row.null),
            )
            for row in rows
        ),
        notes=(
            (
                f"n = {counted(answer.assessed(summary), 'patient')}. An AUC of 0.5 is a coin "
                "flip; at 0.9, a model that trained on the patient scores higher than one that "
                "did not in nine of ten comparisons. This is how well membership can be told over "
                "many models; it is not a certainty about any single model. Confirmed: individual "
                "patients for whom this is established, with at most 5% false among them."
            ),
        ),
        key="officer-worst",
    )


def exposure_table(summary: Part) -> Table | None:
    """Attackers, one row each; None where no deployment was analysed."""
    cells = summary.parts("exposure")
    declared = usual_priors(summary.part("deployment"))
    rows = []
    for cell in by_knowledge(cells):
        if not cell.text("access"):
            continue
        reference = cell.content().get("references")
        references = reference if isinstance(reference, str) else whole(cell.number("references"))
        exposed = cell.part("exposed").part("0.9")
        priors = cell.parts("by_prior")
        ppv = max(
            (
                row.part("ppv")
                for row in priors
                if min(declared) <= (row.number("prior") or 0.0) <= max(declared)
                and row.part("ppv").number("high") is not None
            ),
            key=lambda one: one.number("high") or 0.0,
            default=Part(None),
        )
        rows.append(
            (
                (cell.text("access_label") or cell.text("access"))
                + (" (as declared)" if cell.truth("declared") else ""),
                cell.text("knowledge_label") or cell.text("knowledge"),
                references,
                exposed_cell(exposed, bounds_only(summary)),
                with_interval(
                    share(ppv.number("estimate")),
                    share_interval(ppv.number("low"), ppv.number("high")),
                ),
            )
        )
    if not rows:
        return None
    together = same_together(rows)
    more = len(together) - MOST_ROWS
    return Table(
        caption="Attackers, and what each achieves",
        columns=(
            "Sees",
            "Holds",
            "Similar models",
            "Patients above 0.9 (95% interval)",
            "A named patient is a member (95% interval)",
        ),
        rows=together[:MOST_ROWS],
        notes=(
            f"The last column is at the least favourable prior {_prior_words(summary, declared)}.",
            *((f"{more} more attackers are listed under Deployment.",) if more > 0 else ()),
        ),
        text_columns=frozenset({0, 1}),
        key="officer-exposure",
    )


def _prior_words(summary: Part, priors: tuple[float, ...]) -> str:
    shown = " to ".join(percent(prior) for prior in dict.fromkeys(priors))
    if summary.part("deployment"):
        return f"that was declared ({shown})"
    return f"of {shown}; none was declared"


def _pooled(hidden: float, untold: bool) -> str:
    """How many groups are too small to show; of some attributes that is not said."""
    if not hidden and not untold:
        return ""
    number = counted(hidden, "group") if not untold else f"More than {whole(hidden)} groups"
    return f" {number if hidden else 'Groups'} too small to show were pooled."


def group_items(summary: Part) -> list[Block]:
    """Groups that lie above everybody else, after correction for how many were looked at."""
    attributes = list(summary.items("disparities"))
    if not attributes:
        return [
            Paragraph(
                text="No groups were compared. This run does not show whether the risk is higher "
                "in some groups than in others."
            ),
            *([Paragraph(text=absent)] if (absent := label_absence(summary)) else []),
        ]
    found, hidden, looked_at, apart, in_part = [], 0.0, 0, 0, 0
    untold = any(part.part("suppressed").reason() for _, part in attributes)
    for attribute, part in attributes:
        hidden += part.part("suppressed").number("groups") or 0.0
        for name, row in part.items("groups"):
            q, gap = row.number("q"), _gap_above(row)
            looked_at += q is not None
            apart += q is None
            in_part += bool(compared_in_part(row))
            if gap is not None:
                found.append((gap, attribute, name, row))
    found.sort(key=lambda one: -one[0])
    names = listed([quoted(name) for name, _ in attributes], most=12)
    blocks: list[Block] = [
        *(Paragraph(text=f"{said}.") for said in label_sentences(summary)),
        *([Paragraph(text=absent)] if (absent := label_absence(summary)) else []),
        Paragraph(
            text=f"{counted(float(looked_at), 'group')} of {names} "
            f"{'was' if looked_at == 1 else 'were'} compared with everybody else who has equally "
            f"many records; {counted(float(len(found)), 'group')} "
            f"{'lies' if len(found) == 1 else 'lie'} above, beyond chance (5% false discoveries)."
            + (_apart(apart, in_part))
            + _pooled(hidden, untold)
        ),
    ]
    if found:
        blocks.append(
            Items(
                items=tuple(
                    (
                        f"{quoted(attribute)} = {quoted(name)}:",
                        (
                            f"{counted(row.number('patients'), 'patient')}, mean AUC "
                            f"{signed(gap)} "
                            f"({_gap(row)})"
                            f" against everybody else with equally many records{_part(row)}"
                            f"{_above(summary, row)}."
                        ),
                    )
                    for gap, attribute, name, row in found[:MOST_GROUPS]
                )
            )
        )
    if len(found) > MOST_GROUPS:
        blocks.append(
            Paragraph(
                text=f"{len(found) - MOST_GROUPS} more are in the report, under Groups.",
                style="note",
            )
        )
    return blocks


def groups_above(summary: Part) -> tuple[int, int]:
    """How many groups lie above everybody else beyond chance, and how many were compared."""
    rows = [row for _, part in summary.items("disparities") for _, row in part.items("groups")]
    compared = sum(row.number("q") is not None for row in rows)
    return sum(_gap_above(row) is not None for row in rows), compared


def _gap_above(row: Part) -> float | None:
    """By how much a group lies above everybody else; None where it does not, beyond chance."""
    q, gap = row.number("q"), at_equal_records(row)[0]
    return gap if q is not None and q <= 0.05 and gap is not None and gap > 0 else None


def _above(summary: Part, row: Part) -> str:
    if bounds_only(summary):
        return ""
    return f", {share(row.number('exposed_0.9'))} above 0.9"


def _apart(apart: int, in_part: int) -> str:
    """Groups that could not be compared, or not with all of their patients."""
    text = ""
    if apart:
        text += (
            f" {counted(float(apart), 'group')} could not be compared: there is nobody else, or "
            "too few have as many records."
        )
    if in_part:
        text += (
            f" In {counted(float(in_part), 'comparison')}, patients were left out on one side or "
            "both, because too few on the other have as many records."
        )
    return text


def _part(row: Part) -> str:
    words = compared_in_part(row)
    return f" (compared: {words})" if words else ""


def _gap(row: Part) -> str:
    return signed_interval(*at_equal_records(row)[1:])


def named_sentence(release: Part) -> str:
    """Who would be named by the release with a posterior of 0.9."""
    rows = release.parts("named")
    row = next(
        (r for r in rows if r.number("posterior") == 0.9 and r.number("prior") == 0.5), Part(None)
    )
    name = release.text("name")
    name = f"The model {quoted(name)}" if name else "The released model"
    if not row.number("patients"):
        return (
            f"{name} would not let an attacker give any patient a probability of membership of "
            "90% or more, if member and non-member are equally likely beforehand." + _doubt(release)
        )
    text = (
        f"{name} would let an attacker give {counted(row.number('patients'), 'patient')} a "
        "probability of membership of 90% or more, if member and non-member are equally likely "
        "beforehand."
    )
    true, false = row.part("true"), row.part("false")
    if true.number("estimate") is not None:
        # The interval is of another draw of members: of 115 named, "100 to 130" are not members.
        rate = row.part("tpr")
        text += f" {_begun(whole(true.number('estimate')))} of them are members"
        if rate.number("estimate") is not None:
            bounds = share_interval(rate.number("low"), rate.number("high"))
            text += f", {share(rate.number('estimate'))} of all its members ({bounds})"
        text += "."
    else:
        wanted = row.part("expected_members")
        bounds = count_interval(wanted.number("low"), wanted.number("high"))
        text += (
            f" {whole(wanted.number('estimate'))} of them are expected to be members ({bounds})."
        )
    if false.number("estimate") is not None:
        text += f" {_begun(whole(false.number('estimate')))} would be accused falsely."
    else:
        text += f" False accusations: not estimable, {false.reason()}."
    return text + _doubt(release)


def _begun(text: str) -> str:
    """The same at the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _doubt(release: Part) -> str:
    likeness = release.part("likeness")
    moved = ""
    if release.part("transfer").truth("other_share") is True:
        moved = f" {transfer_sentence(release)}".rstrip()
    if told := outside_sentence(release):
        moved += f" {told}"
    if likeness.truth("verdict") is not False:
        return moved
    return f"{moved} But it is not like the models it was compared with: {likeness.reason()}."
