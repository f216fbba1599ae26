"""What one model gives away, beside what many models show."""

from __future__ import annotations

from auscult.report.elements import Table
from auscult.report.figures.axes import false_positive_rate
from auscult.report.figures.axes import rate as rate_of
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    counted,
    listed,
    sentence,
    share,
    share_interval,
    whole,
    with_interval,
)


def one_model_sentence(summary: Part) -> str:
    """What an attacker finds who holds one model, without a full stop; empty where not analysed."""
    part = summary.part("patients").part("one_model")
    rows = [(float(fpr), row) for fpr, row in part.items("at_fpr")]
    if not rows:
        return ""
    found: list[str] = []
    exposed: list[str] = []
    absent: list[str] = []
    for fpr, row in sorted(rows, key=lambda one: -one[0]):
        rate = rate_of(fpr)
        members, theirs = row.part("members"), row.part("exposed")
        if members.number("estimate") is None:
            absent.append(f"at {rate}: {NOT_ESTIMABLE} ({row.reason() or 'no reason is given'})")
            continue
        said = " of its members" if not found else ""
        found.append(f"{_figure(members, said)} at {rate}{' false positives' * (not found)}")
        if theirs.number("estimate") is not None:
            exposed.append(f"{_figure(theirs)} at {rate}")
    if not found:
        return f"What one model alone reveals, {'; '.join(absent)}"
    text = f"With one model, and one threshold for everybody, an attacker finds {listed(found)}"
    if exposed:
        text += f"; of the exposed among its members, {listed(exposed)}"
    return "; ".join([text, *absent])


def one_model_table(summary: Part) -> Table | None:
    """The same as a table; None where it was not analysed."""
    part = summary.part("patients").part("one_model")
    rows = sorted(part.items("at_fpr"), key=lambda one: -float(one[0]))
    if not rows:
        return None
    reasons = dict.fromkeys(row.reason() for _, row in rows if row.reason())
    exposed = part.number("exposed_per_model")
    whose = "" if exposed is None else f", of whom other models count {whole(exposed)} as exposed"
    return Table(
        caption="What one model reveals, with one threshold for everybody",
        columns=(
            "False positive rate",
            "Members found (95% interval)",
            "Exposed members found (95% interval)",
        ),
        rows=tuple(
            (
                false_positive_rate(fpr),
                _cell(row.part("members")),
                _cell(row.part("exposed")),
            )
            for fpr, row in rows
        ),
        notes=(
            (
                f"n = {counted(part.number('patients'), 'patient')}; a model has "
                f"{whole(part.number('members_per_model'))} members{whose}, and "
                f"{counted(part.number('others_per_model'), 'non-member')}. By chance alone, an "
                "attacker finds a share of the members equal to the false positive rate. An AUC "
                "says how well membership can be told over many models; whoever holds one model "
                "finds fewer, and accuses others along with them."
            ),
            *(f"{NOT_ESTIMABLE.capitalize()}: {reason}." for reason in reasons),
            *([sentence(part.text("method"))] if part.text("method") else []),
        ),
        key="one-model",
    )


def _figure(part: Part, of: str = "") -> str:
    bounds = share_interval(part.number("low"), part.number("high"))
    return with_interval(share(part.number("estimate")) + of, bounds)


def _cell(part: Part) -> str:
    return NOT_ESTIMABLE if part.number("estimate") is None else _figure(part)
