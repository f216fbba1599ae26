"""What the exposed have in common: factors that go with a higher or lower risk."""

from __future__ import annotations

from auscult.report.elements import Block, Paragraph, Section, Table
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    counted,
    listed,
    probability,
    sentence,
    signed,
    signed_interval,
    whole,
    with_interval,
)


def common_section(summary: Part) -> Section | None:
    """One sentence and a small table; None where the summary has nothing of it."""
    part = summary.part("in_common")
    if not part:
        return None
    blocks: list[Block] = []
    if part.reason():
        text = f"{NOT_ESTIMABLE.capitalize()}: {part.reason()}."
        blocks.append(Paragraph(text=text, style="absent"))
    else:
        blocks.append(Paragraph(text=common_sentence(part)))
        if part.parts("factors"):
            blocks.append(_table(part))
        blocks += [Paragraph(text=text, style="note") for text in _left_out(part)]
    return Section(
        key="common",
        heading="What the exposed have in common",
        short="In common",
        blocks=tuple(blocks),
    )


def common_sentence(part: Part) -> str:
    """The factors that are claimed; empty where nothing was looked at.

    Parameters
    ----------
    part : Part
        The "in_common" object.
    """
    factors = part.parts("factors")
    if not factors:
        return "" if part.reason() else "No factor could be looked at."
    claimed = [one for one in factors if one.truth("claimed")]
    if not claimed:
        return (
            "Nothing that was looked at (unusual values, doubtful labels, many records) goes with "
            "the risk beyond chance."
        )
    said = []
    for higher, word in ((True, "higher"), (False, "lower")):
        some = [one for one in claimed if ((one.number("difference") or 0.0) > 0) is higher]
        names = [f"{one.text('name')}, {signed(one.number('difference'), 2)}" for one in some]
        if names:
            said.append(f"the mean AUC is {word} where this holds: {listed(names)}")
    return sentence(f"the other factors held equal, {'; '.join(said)}")


def _table(part: Part) -> Table:
    rows = tuple(
        (
            one.text("name"),
            whole(one.number("patients")),
            with_interval(
                signed(one.number("difference"), 2),
                signed_interval(one.number("low"), one.number("high"), 2),
            ),
            probability(one.number("q")),
        )
        for one in part.parts("factors")
    )
    method = sentence(part.text("method"))
    sample = "" if part.truth("of_all") else ", an even sample of the cohort"
    return Table(
        caption="Factors, and the difference in mean AUC that goes with each",
        columns=("Patients with", "Patients", "Difference (95% interval)", "q"),
        rows=rows,
        notes=(
            (
                f"n = {counted(part.number('patients'), 'patient')}{sample}. A difference is a "
                "finding where q is under 0.05 and the interval leaves out 0. It is no cause: what "
                f"is not among the factors may explain it. {method}"
            ),
        ),
        key="common",
    )


def _left_out(part: Part) -> list[str]:
    """What was not looked at or may not be shown."""
    found = []
    withheld = part.number("withheld")
    if withheld:
        are = "is" if withheld == 1 else "are"
        found.append(
            f"{counted(withheld, 'factor')} {are} withheld: together with the other tables, it "
            "would reveal too much about a few patients."
        )
    gone = [f"{one.text('name')}: {one.reason()}" for one in part.parts("not_estimable")]
    if gone:
        found.append(sentence(f"Not looked at: {'; '.join(gone)}"))
    return found
