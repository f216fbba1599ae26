"""Groups of patients: who is more exposed than everybody else?"""

from __future__ import annotations

import math
import re

from auscult.report.elements import (
    Block,
    Figure,
    Heading,
    IntervalChart,
    Items,
    Key,
    Mark,
    Number,
    Paragraph,
    Point,
    Row,
    Section,
    Table,
)
from auscult.report.figures.axes import rate, round_axis
from auscult.report.label import label_absence, label_sentences
from auscult.report.numbers import bounds_only, share_above
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    counted,
    decimal,
    interval,
    listed,
    metric_name,
    probability,
    quoted,
    sentence,
    signed,
    signed_interval,
    visible,
    whole,
    with_interval,
)

FALSE_DISCOVERY_RATE = 0.05
Groups = tuple[tuple[str, Part], ...]

_RANGE = re.compile(r"\s*[\[(<>=\u2264\u2265]*\s*(-?\d+(?:\.\d+)?)")


def groups_section(summary: Part) -> Section:
    """One figure and one table per attribute."""
    attributes = tuple(summary.items("disparities"))
    label = summary.part("label").text("attribute")
    # What the model predicts comes first: who has the disease may be who is exposed.
    attributes = tuple(sorted(attributes, key=lambda one: visible(one[0]) != label))
    blocks: list[Block] = [
        Paragraph(
            text="Each group is compared with everybody else who has equally many records, so "
            "that a group with more visits is not singled out for that reason alone."
        )
    ]
    if not attributes:
        blocks.append(
            Paragraph(
                text="No groups were compared: this audit was given no patient attributes, or none "
                "had groups large enough to show.",
                style="absent",
            )
        )
    blocks += _label(summary)
    blocks += _reading(tuple(part for _, part in attributes))
    mean = summary.part("patients").part("auc").number("mean")
    few = bounds_only(summary)
    if few and attributes:
        because = summary.part("patients").text("few_models")
        blocks.append(
            Paragraph(
                text=f"Shares of groups above 0.9: {NOT_ESTIMABLE}. {sentence(because)}",
                style="absent",
            )
        )
    for place, (name, part) in enumerate(attributes):
        blocks += _attribute(place, visible(name), part, mean, few)
    return Section(key="groups", heading="Who is exposed", short="Groups", blocks=tuple(blocks))


def _label(summary: Part) -> list[Block]:
    """What was found of the label, or why it is not compared."""
    said: list[Block] = [Paragraph(text=f"{one}.") for one in label_sentences(summary)]
    label = summary.part("label")
    if label.text("attribute"):
        if not said:
            said.append(
                Paragraph(
                    text=f"No class of the label ({quoted(label.text('attribute'))}) is more "
                    "exposed than the others beyond chance."
                )
            )
        said.append(Paragraph(text=sentence(label.text("several_labels")), style="note"))
    elif absent := label_absence(summary):
        said.append(Paragraph(text=absent, style="absent"))
    return said


def _reading(parts: tuple[Part, ...]) -> list[Block]:
    """How to read the tables, said once."""
    if not parts:
        return []
    points = [
        (
            "Difference at equal records:",
            (
                "the group's mean AUC minus that of other patients with equally many records; "
                "this is what q belongs to. At any records: the same against all other patients, "
                "which includes the effect of having more or fewer records."
            ),
        ),
        (
            "q:",
            (
                "the share of false findings to expect among groups with a q this small or "
                f"smaller. Under {FALSE_DISCOVERY_RATE} a difference is called a finding."
            ),
        ),
    ]
    if any(part.part("composition") for part in parts):
        points.append(
            (
                "Residual in top:",
                (
                    "whether the group is among the most exposed patients more often than its "
                    "size explains (Pearson residual); above about +2 it is; below about "
                    "\N{MINUS SIGN}2 it is there less often. Patients with more records are there "
                    "more often; the column at equal records adjusts for that."
                ),
            )
        )
    if any(_suppressed(part) for part in parts):
        cell = next(
            (n for part in parts if (n := part.part("suppressed").number("smallest_cell"))), None
        )
        points.append(
            (
                "Small groups:",
                (
                    f"a group of under {counted(cell, 'patient')} could identify individuals, so "
                    "its name and size are withheld. Such groups are pooled, together with a "
                    "larger one where a small one could be worked out from the total by "
                    "subtraction."
                ),
            )
        )
    methods = dict.fromkeys(part.text("method") for part in parts if part.text("method"))
    points += [("Method:", sentence(method)) for method in methods]
    return [Items(items=tuple(points))]


def _attribute(place: int, name: str, part: Part, mean: Number, few: bool) -> list[Block]:
    blocks: list[Block] = [Heading(text=f"By {quoted(name)}")]
    groups = _ordered(tuple((visible(group), inner) for group, inner in part.items("groups")))
    hidden = _suppressed(part)
    if any(inner.number("mean_auc") is not None for _, inner in groups):
        blocks.append(_figure(place, name, part, groups, mean, hidden, few))
    elif groups:
        because = sentence(part.reason() or "the patients' AUCs are not estimable")
        blocks.append(Paragraph(text=f"Risk by group: {NOT_ESTIMABLE}. {because}", style="absent"))
        blocks.append(_table(place, name, groups, part, hidden, few))
    else:
        blocks.append(Paragraph(text=hidden or "No group to show.", style="absent"))
    return blocks


def _ordered(groups: Groups) -> Groups:
    """Groups by falling risk; ranges of numbers (age bins) by rising number, the others last."""
    numbers = [_RANGE.match(name) for name, _ in groups]
    if sum(found is not None for found in numbers) < max(2, len(groups) - 1):
        return tuple(sorted(groups, key=lambda item: -(item[1].number("mean_auc") or 0.0)))

    def place(item: tuple[str, Part]) -> tuple[float, bool, str]:
        found = _RANGE.match(item[0])
        above = not item[0].lstrip().startswith(("<", "\u2264"))
        return (float(found[1]) if found else math.inf, above, item[0])

    return tuple(sorted(groups, key=place))


def _figure(
    place: int, name: str, part: Part, groups: Groups, mean: Number, hidden: str, few: bool
) -> Figure:
    values = [
        value
        for _, group in groups
        for key in ("mean_auc", "low", "high")
        if (value := group.number(key)) is not None
    ]
    marks = () if mean is None else (Mark(at=mean, label=f"All patients {decimal(mean)}"),)
    values += [mark.at for mark in marks]
    patients = part.number("n_patients")
    if patients is None:
        patients = sum(group.number("patients") or 0.0 for _, group in groups)
    return Figure(
        key=f"groups-{place}",
        name=f"Mean AUC of each group, by {quoted(name)}",
        plot=IntervalChart(
            axis=round_axis("Mean AUC of the group's patients", min(values), max(values)),
            rows=tuple(_row(label, group) for label, group in groups),
            marks=marks,
        ),
        legend=(
            Key(name="Differs from everybody else", style="differs", shape="point"),
            Key(name="Not distinguishable", style="alike", shape="point"),
        ),
        sentence=_finding(groups),
        small_print=f"n = {counted(patients, 'patient')}. Whiskers: 95% interval. Method: as "
        "described at the start of this section.",
        table=_table(place, name, groups, part, hidden, few),
        table_open=" & " not in name,
    )


def _row(label: str, group: Part) -> Row:
    value, low, high = (group.number(key) for key in ("mean_auc", "low", "high"))
    return Row(
        label=label,
        note=counted(group.number("patients"), "patient"),
        points=(
            Point(
                value=value,
                low=low,
                high=high,
                style="differs" if _differs(group) else "alike",
                title=f"{label}: {decimal(value)} ({interval(low, high)})",
            ),
        ),
    )


def _differs(group: Part) -> bool:
    q = group.number("q")
    return q is not None and q < FALSE_DISCOVERY_RATE


def _finding(groups: Groups) -> str:
    compared = [group for _, group in groups if group.number("q") is not None]
    if len(groups) == 1:
        return "There is one group only, so there is nobody to compare it with."
    if not compared:
        return "The groups were not tested against each other, so no difference is a finding."
    found = [(label, group) for label, group in groups if _differs(group)]
    rate = f"false discovery rate {FALSE_DISCOVERY_RATE:.0%}"
    if not found:
        return f"No group differs from everybody else beyond chance ({rate})."
    named = listed(
        [f"{quoted(label)} ({signed(at_equal_records(group)[0])})" for label, group in found]
    )
    verb = "differs" if len(found) == 1 else "differ"
    return (
        f"{len(found)} of {counted(len(compared), 'group')} {verb} in mean AUC from everybody else "
        f"with equally many records ({rate}): {named}."
    )


def at_equal_records(group: Part) -> tuple[Number, Number, Number]:
    """The difference that q belongs to, with its interval.

    A summary without a difference at any records is an older one: what it calls the difference, and
    its interval, are at any records.
    """
    same = group.number("difference_same_records")
    if same is not None and group.number("difference_any_records") is None:
        return same, None, None
    low, high = group.number("difference_low"), group.number("difference_high")
    return group.number("difference"), low, high


def compared_in_part(group: Part) -> str:
    """How many of a group's patients and of all others were compared, or "" for all of them."""
    if at_equal_records(group)[0] is None or "patients_compared" not in group.content():
        return ""
    here, of = group.number("patients_compared"), group.number("patients")
    there, others = group.number("others_compared"), group.number("others")
    if here == of and there == others:
        return ""

    def of_all(number: Number, total: Number) -> str:
        if number == total:
            return f"all {whole(total)}"
        return f"{'all but a few' if number is None else whole(number)} of {whole(total)}"

    return f"{of_all(here, of)} patients with {of_all(there, others)} others"


def _table(place: int, name: str, groups: Groups, part: Part, hidden: str, few: bool) -> Table:
    residuals = dict(part.part("composition").items("groups"))
    with_residuals = bool(residuals)
    with_any = any(group.number("difference_any_records") is not None for _, group in groups)
    with_top = any(
        inner.number("residual_same_records") is not None for inner in residuals.values()
    )
    with_utility = any(group.part("utility") for _, group in groups)
    metrics = {m for _, group in groups if (m := group.part("utility").text("metric"))}
    columns = [
        "Group",
        "Patients",
        "Mean AUC (95% interval)",
        *([] if few else ["Above 0.9 (95% interval)"]),
        *(["Difference at any records (95% interval)"] if with_any else []),
        "Difference at equal records (95% interval)",
        "q",
    ]
    columns += ["Residual in top"] if with_residuals else []
    columns += ["At equal records"] if with_top else []
    if with_utility:
        metric = f", {metric_name(metrics.pop())}" if len(metrics) == 1 else ""
        columns.append(f"Utility{metric} (95% interval)")
    rows = []
    raw_names = {visible(raw): raw for raw in residuals}
    for label, group in groups:
        equal, low, high = at_equal_records(group)
        cells = [
            label,
            whole(group.number("patients")),
            with_interval(
                decimal(group.number("mean_auc")),
                interval(group.number("low"), group.number("high")),
            ),
            *([] if few else [share_above(group, few)]),
            *([_at_any_records(group)] if with_any else []),
            with_interval(signed(equal), signed_interval(low, high)),
            probability(group.number("q")),
        ]
        if with_residuals:
            inner = residuals.get(raw_names.get(label, ""))
            cells.append(signed(inner.number("residual") if inner else None, 1))
            if with_top:
                cells.append(signed(inner.number("residual_same_records") if inner else None, 1))
        if with_utility:
            utility = group.part("utility")
            bounds = interval(utility.number("low"), utility.number("high"))
            cells.append(with_interval(decimal(utility.number("mean")), bounds))
        rows.append(tuple(cells))
    return Table(
        caption=f"Risk by {quoted(name)}",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=tuple(note for note in (*_notes(groups, part), hidden) if note),
        key=f"groups-{place}",
    )


def _at_any_records(group: Part) -> str:
    key = "difference_any_records"
    ends = signed_interval(group.number(f"{key}_low"), group.number(f"{key}_high"))
    return with_interval(signed(group.number(key)), ends)


def _notes(groups: Groups, part: Part) -> tuple[str, ...]:
    notes = []
    spread = part.part("spread")
    if spread.number("estimate") is not None:
        notes.append(
            f"Largest minus smallest group mean at equal records: "
            f"{decimal(spread.number('estimate'))}; by chance alone "
            f"{decimal(spread.number('null_mean'))} (p = {probability(spread.number('p'))})."
        )
    composition = part.part("composition")
    if composition.number("top_share") is not None:
        top = composition.number("patients")
        share_of = f"the {rate(composition.number('top_share'))} most exposed patients"
        number = f" ({whole(top)})" if top is not None else ""
        chi_squared = composition.number("chi_squared")
        test = (
            f"chi-squared {decimal(chi_squared, 1)}, p = {probability(composition.number('p'))}"
            if chi_squared is not None
            else f"chi-squared {NOT_ESTIMABLE}: {composition.reason() or 'no reason is given'}"
        )
        notes.append(f"Residual in top: among {share_of}{number}; {test}.")
    in_part = [(label, words) for label, group in groups if (words := compared_in_part(group))]
    if in_part:
        shares = listed([f"{quoted(label)}: {words}" for label, words in in_part])
        notes.append(
            "Some patients are left out of the comparison at equal records, because nobody on the "
            f"other side has as many records. Compared: {shares}."
        )
    untested = dict.fromkeys(reason for _, group in groups if (reason := group.reason()))
    for reason in untested:
        named = [quoted(label) for label, group in groups if group.reason() == reason]
        notes.append(f"Not comparable, because {reason}: {listed(named)}.")
    return tuple(notes)


def _suppressed(part: Part) -> str:
    suppressed = part.part("suppressed")
    number = suppressed.number("groups")
    if suppressed.reason():
        return "Small groups are not shown by name; their number would tell their sizes."
    if not number:
        return ""
    return f"{counted(number, 'small group')} {'is' if number == 1 else 'are'} not shown by name."
