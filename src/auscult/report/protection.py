"""What each protection changes, at what price, for whom."""

from __future__ import annotations

from auscult.report import answer
from auscult.report.answer import main_row
from auscult.report.changes import (
    NOTHING,
    base_row,
    change_cell,
    change_withheld,
    most_lost,
    signed_estimate,
    signed_whole,
    utility_name,
)
from auscult.report.elements import (
    Block,
    Heading,
    Headline,
    Items,
    Number,
    Page,
    Paragraph,
    Section,
)
from auscult.report.facts import facts
from auscult.report.frontier import frontier_figure, protection_tables
from auscult.report.layers import layers
from auscult.report.numbers import bounds_only, exposed_cell
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    at_least,
    decimal,
    interval,
    quoted,
    sentence,
    share,
    signed,
    signed_interval,
    with_interval,
)

UNPROTECTED = "Without protection"
SAME_MEMBERS = (
    "Each protection was audited like the model itself, on the same draw of members, by an "
    "attacker who knows the protection and trains with it. Differences are paired by patient and "
    "by model."
)
FINISHED = (
    "Each run is compared with {name}. Where both used the same draw of members, differences are "
    "paired by patient and by model; where they did not, it is noted below."
)


def protection_section(summary: Part) -> Section | None:
    """The frontier of privacy and utility; None where no protection was tried."""
    entries = summary.parts("protection")
    if not entries:
        return None
    metric = utility_name(summary)
    return _section(summary, entries, metric, SAME_MEMBERS)


def comparison_page(summary: Part, entries: tuple[Part, ...], name: str) -> Page:
    """Several finished runs beside the first of them.

    Parameters
    ----------
    summary : Part
        Of the first run.
    entries : tuple of Part
        One per other run, as in ``protection``.
    name : str
        Of the first run.
    """
    metric = utility_name(summary)
    section = _section(summary, entries, metric, FINISHED.format(name=quoted(name)), name)
    count = len(entries) + 1
    return Page(
        title=summary.text("title") or "Untitled audit",
        kicker="Comparison of membership-inference audits",
        headline=Headline(
            lead=f"{count} runs", rest="of the same cohort, side by side", aside="", tone="open"
        ),
        verdict=(answer.count_sentence(summary).sentence + f" (in {quoted(name)}).",),
        facts=facts(summary),
        sections=(section,),
        colophon=f"Auscult {summary.text('auscult')}. This file holds aggregates only.",
    )


def comparison_rows(summary: Part, entries: tuple[Part, ...], name: str) -> list[tuple[str, ...]]:
    """A short table for a terminal, its heading first.

    Parameters
    ----------
    summary : Part
    entries : tuple of Part
        One per protection.
    name : str
        Of the first column.
    """
    metric = utility_name(summary)
    utility = summary.part("models").part("utility")
    base = base_row(summary, name)
    own = with_interval(
        decimal(utility.number("mean")), interval(utility.number("low"), utility.number("high"))
    )
    rows: list[tuple[str, ...]] = [
        ("Run", "Exposed at 0.9", "Change", metric, f"Change in {metric}", "Paired"),
        (name, base[1], NOTHING, own, NOTHING, NOTHING),
    ]
    for part in entries:
        mine, exposed = part.part("utility"), part.part("exposed").part("0.9")
        rows.append(
            (
                part.text("name"),
                exposed_cell(exposed, bounds_only(summary)),
                change_cell(part),
                with_interval(
                    decimal(mine.number("estimate")),
                    interval(mine.number("low"), mine.number("high")),
                ),
                signed_estimate(part.part("utility_change")),
                "no: another draw of members" if "another draw" in part.text("method") else "yes",
            )
        )
    return rows


def _section(
    summary: Part, entries: tuple[Part, ...], metric: str, intro: str, base: str = UNPROTECTED
) -> Section:
    blocks: list[Block] = [
        Paragraph(text=intro),
        *_recommendation(summary, entries, metric),
    ]
    figure = frontier_figure(summary, entries, metric, base)
    if figure is not None:
        blocks.append(figure)
    blocks += protection_tables(summary, entries, metric, base)
    blocks.append(Heading(text="In words"))
    blocks.append(
        Items(
            items=tuple(
                (f"{quoted(part.text('name'))}.", verdict(part, metric)) for part in entries
            )
        )
    )
    for place, part in enumerate(entries):
        if part.part("layers"):
            blocks += layers(place, part)
    return Section(
        key="protection",
        heading="What protection changes",
        short="Protection",
        blocks=tuple(blocks),
    )


def verdict(part: Part, metric: str) -> str:
    """What one protection does, in a sentence that its intervals bear out."""
    if part.reason() and not part.part("exposed"):
        return f"Not tried: {part.reason()}."
    texts = [f"{_privacy(part)}, {_price(part, metric)}."]
    group = part.part("worst_group")
    change = group.part("change")
    if change.number("estimate") is not None:
        low, high = change.number("low"), change.number("high")
        where = f"the group most at risk, {quoted(group.text('group'))}"
        texts.append(
            f"Mean AUC of {where}: {signed(change.number('estimate'), 2)} "
            f"({signed_interval(low, high, 2)})."
        )
    texts += [
        _group_price(part, metric),
        _promise(part),
        *(sentence(note) for note in part.texts("notes")),
    ]
    return " ".join(text for text in texts if text)


def _promise(part: Part) -> str:
    """Whether what was found keeps within what private training promises."""
    guarantee = part.part("guarantee")
    if not guarantee:
        return ""
    defects = guarantee.texts("defects")
    if defects:
        return " ".join(sentence(defect) for defect in defects)
    if guarantee.part("dp").text("epsilon") == "inf":
        return "It guarantees nothing: no noise is added."
    rows = [
        f"{row.text('records')} {'record' if row.text('records') == '1' else 'records'}: "
        f"{decimal(row.number('auc'))} of at most {decimal(row.number('bound'))}"
        for row in guarantee.parts("patients")
    ]
    return f"Mean AUC within the guarantee ({'; '.join(rows)})." if rows else ""


def _group_price(part: Part, metric: str) -> str:
    """What the group that loses most pays, if groups were compared."""
    loses = part.part("worst_group_utility_change")
    if loses.number("estimate") is None:
        return ""
    low, high = loses.number("low") or 0.0, loses.number("high") or 0.0
    who = f"{quoted(loses.text('group'))} ({quoted(loses.text('attribute'))})"
    if high < 0:
        return (
            f"Of all groups {who} loses most: {decimal(-(loses.number('estimate') or 0.0))} "
            f"{metric} ({interval(-high, -low)})."
        )
    return (
        f"Of all groups {who} seemed to lose most; measured on the other models it is "
        f"{signed(loses.number('estimate'))} ({signed_interval(low, high)})."
    )


def _privacy(part: Part) -> str:
    removed, change = part.part("removed"), part.part("exposed_change")
    low, high = removed.number("low"), removed.number("high")
    if change_withheld(part):
        return "Change in exposed patients not shown: too few are exposed"
    if low is None or high is None:
        if change.reason():
            return f"Change in exposed patients {NOT_ESTIMABLE} ({change.reason()})"
        if part.part("exposed").part("0.9").number("estimate") is None:
            return f"Change in exposed patients {NOT_ESTIMABLE}"
        return "Nobody to protect: no patient is expected above 0.9 without it"
    if low > 0:
        bounds = f"{share(low)} to {share(high)}"
        return f"Removes {share(removed.number('estimate'))} of the exposed patients ({bounds})"
    if high < 0:
        return f"Exposes more patients: {change_cell(part)}"
    ends = [signed_whole(change.number(end) or 0.0) for end in ("low", "high")]
    return f"No measurable change in exposed patients ({' to '.join(ends)})"


def _price(part: Part, metric: str) -> str:
    change = part.part("utility_change")
    low, high = change.number("low"), change.number("high")
    if low is None or high is None:
        return f"at a cost that is {NOT_ESTIMABLE}"
    if high < 0:
        return (
            f"and costs {decimal(-(change.number('estimate') or 0.0))} {metric} "
            f"({interval(-high, -low)})"
        )
    if low > 0:
        return (
            f"and predicts better by {decimal(change.number('estimate'))} {metric} "
            f"({interval(low, high)})"
        )
    return f"at no measurable loss (at most {decimal(max(-low, 0.0))} {metric})"


def _recommendation(summary: Part, entries: tuple[Part, ...], metric: str) -> list[Block]:
    row = main_row(summary)
    if row is not None and row.clear is False:
        return [
            Paragraph(
                text="Without protection, the number of exposed patients does not exceed chance. "
                "There is no exposure here that a protection could be shown to remove."
            )
        ]
    n = len(entries)
    together = f"; both bounds hold for all {n} protections together" if n > 1 else ""
    chosen = next((part for part in entries if part.truth("recommended")), None)
    if chosen is not None:
        text = (
            f"Try first: {quoted(chosen.text('name'))}. It removes at least "
            f"{at_least(chosen.number('removed_at_least'))} of the exposed patients and "
            f"{_at_most(chosen.number('utility_lost_at_most'), metric)}{together}. "
            f"{_group_price(chosen, metric)}"
        ).rstrip()
        blocks: list[Block] = [Paragraph(text=text, style="verdict")]
    elif unsupported := _unsupported(entries):
        text = f"No protection is recommended, because the evidence is missing: {unsupported}."
        return [Paragraph(text=text, style="absent")]
    else:
        blocks = [
            Paragraph(
                text="None of these clearly removes exposed patients at a cost that is clearly "
                f"small (at most 0.01 {metric}).",
                style="verdict",
            )
        ]
    able = [part for part in entries if (part.number("removed_at_least") or 0.0) > 0]
    best = max(able, key=lambda part: part.number("removed_at_least") or 0.0, default=None)
    if best is not None and _clearly_more(best, chosen):
        blocks.append(
            Paragraph(
                text=f"The largest reduction comes from {quoted(best.text('name'))}: at least "
                f"{at_least(best.number('removed_at_least'))}, {_price(best, metric)}."
            )
        )
    return blocks


def _unsupported(entries: tuple[Part, ...]) -> str:
    return next((one.text("unsupported") for one in entries if one.text("unsupported")), "")


def _clearly_more(best: Part, chosen: Part | None) -> bool:
    """Whether it surely removes more than the chosen one, by more than a hundredth."""
    if chosen is None:
        return True
    mine, theirs = (part.number("removed_at_least") or 0.0 for part in (best, chosen))
    return mine > theirs + 0.01


def _at_most(value: Number, metric: str) -> str:
    """An upper bound of a loss, rounded up."""
    if value is None:
        return f"costs a {metric} that is {NOT_ESTIMABLE}"
    if value == 0:
        return f"costs no {metric}"
    return f"costs at most {most_lost(value)} {metric}"
