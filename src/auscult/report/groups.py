"""Groups of patients: who is more exposed than everybody else, and the same as a CSV file."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from typing import Any

from auscult.report.axes import rate, round_axis
from auscult.report.blocks import (
    Block,
    Figure,
    Heading,
    IntervalChart,
    Key,
    Mark,
    Number,
    Paragraph,
    Point,
    Row,
    Section,
    Table,
)
from auscult.report.reading import Part, read_summary
from auscult.report.words import (
    NOT_ESTIMABLE,
    counted,
    decimal,
    interval,
    listed,
    probability,
    quoted,
    sentence,
    share,
    signed,
    signed_interval,
    visible,
    whole,
    with_interval,
)

FALSE_DISCOVERY_RATE = 0.05
Groups = tuple[tuple[str, Part], ...]

_FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # and their full-width forms
_RANGE = re.compile(r"\s*[\[(<>=\u2264\u2265]*\s*(-?\d+(?:\.\d+)?)")
_CSV_NUMBERS = (
    ("patients", "patients"),
    ("mean_auc", "mean_auc"),
    ("mean_auc_low", "low"),
    ("mean_auc_high", "high"),
    ("exposed_0.9", "exposed_0.9"),
    ("difference", "difference"),
    ("difference_low", "difference_low"),
    ("difference_high", "difference_high"),
    ("p", "p"),
    ("q", "q"),
)


def groups_section(summary: Part) -> Section:
    """One figure and one table per attribute."""
    attributes = tuple(summary.items("disparities"))
    blocks: list[Block] = [
        Paragraph(
            text="Each group is compared with everybody else. Whether a difference could be chance "
            "is judged among patients with equally many records, so that a group with more "
            "visits is not singled out for that reason alone."
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
    mean = summary.part("patients").part("auc").number("mean")
    for place, (name, part) in enumerate(attributes):
        blocks += _attribute(place, visible(name), part, mean)
    return Section(key="groups", heading="Who is exposed", short="Groups", blocks=tuple(blocks))


def _attribute(place: int, name: str, part: Part, mean: Number) -> list[Block]:
    blocks: list[Block] = [Heading(text=f"By {quoted(name)}")]
    groups = _ordered(tuple((visible(group), inner) for group, inner in part.items("groups")))
    hidden = _suppressed(part)
    if any(inner.number("mean_auc") is not None for _, inner in groups):
        blocks.append(_figure(place, name, part, groups, mean, hidden))
    elif groups:
        because = sentence(part.reason() or "the patients' AUCs are not estimable")
        blocks.append(Paragraph(text=f"Risk by group: {NOT_ESTIMABLE}. {because}", style="absent"))
        blocks.append(_table(place, name, groups, part, hidden))
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


def _figure(place: int, name: str, part: Part, groups: Groups, mean: Number, hidden: str) -> Figure:
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
        small_print=f"n = {counted(patients, 'patient')}. Whiskers: 95% interval. "
        f"{sentence(part.text('method'))}".strip(),
        table=_table(place, name, groups, part, hidden),
        table_open=True,
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
        [f"{quoted(label)} ({signed(group.number('difference'))})" for label, group in found]
    )
    verb = "differs" if len(found) == 1 else "differ"
    return (
        f"{len(found)} of {counted(len(compared), 'group')} {verb} from everybody else in mean AUC "
        f"({rate}): {named}."
    )


def _table(place: int, name: str, groups: Groups, part: Part, hidden: str) -> Table:
    residuals = dict(part.part("composition").items("groups"))
    with_residuals = bool(residuals)
    with_utility = any(group.part("utility") for _, group in groups)
    metrics = {m for _, group in groups if (m := group.part("utility").text("metric"))}
    columns = [
        "Group",
        "Patients",
        "Mean AUC (95% interval)",
        "Share above 0.9",
        "Difference (95% interval)",
        "q",
    ]
    columns += ["Residual in top"] if with_residuals else []
    if with_utility:
        metric = f" {metrics.pop()}" if len(metrics) == 1 else ""
        columns.append(f"Utility{metric} (95% interval)")
    rows = []
    raw_names = {visible(raw): raw for raw in residuals}
    for label, group in groups:
        cells = [
            label,
            whole(group.number("patients")),
            with_interval(
                decimal(group.number("mean_auc")),
                interval(group.number("low"), group.number("high")),
            ),
            share(group.number("exposed_0.9")),
            with_interval(
                signed(group.number("difference")),
                signed_interval(group.number("difference_low"), group.number("difference_high")),
            ),
            probability(group.number("q")),
        ]
        if with_residuals:
            inner = residuals.get(raw_names.get(label, ""))
            cells.append(signed(inner.number("residual") if inner else None, 1))
        if with_utility:
            utility = group.part("utility")
            bounds = interval(utility.number("low"), utility.number("high"))
            cells.append(with_interval(decimal(utility.number("mean")), bounds))
        rows.append(tuple(cells))
    return Table(
        caption=f"Risk by {quoted(name)}",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=tuple(note for note in (*_notes(part), hidden) if note),
        key=f"groups-{place}",
    )


def _notes(part: Part) -> tuple[str, ...]:
    notes = [
        (
            "Difference: the group's mean AUC minus that of all other patients. q: the share of "
            "false findings to expect among groups with a q this small or smaller."
        )
    ]
    spread = part.part("spread")
    if spread.number("estimate") is not None:
        notes.append(
            f"Largest minus smallest group mean: {decimal(spread.number('estimate'))}; by chance "
            f"alone {decimal(spread.number('null_mean'))} (p = {probability(spread.number('p'))})."
        )
    composition = part.part("composition")
    if composition:
        notes.append(
            f"Residual in top: Pearson residual of the group among the "
            f"{rate(composition.number('top_share'))} most exposed patients; above about +2 a "
            f"group is there more often than its size explains (chi-squared "
            f"{decimal(composition.number('chi_squared'), 1)}, "
            f"p = {probability(composition.number('p'))})."
        )
    return tuple(notes)


def _suppressed(part: Part) -> str:
    suppressed = part.part("suppressed")
    number = suppressed.number("groups")
    if not number:
        return ""
    verb = "is" if number == 1 else "are"
    cell = suppressed.number("smallest_cell")
    return (
        f"{counted(number, 'group')} {verb} not shown, name and size withheld: a group of under "
        f"{counted(cell, 'patient')} could point at persons, and so could a larger one if a small "
        "one followed from it by subtraction."
    )


def groups_csv(summary: Mapping[str, Any]) -> str:
    r"""The disparities as CSV: one row per attribute and group, numbers unrounded.

    A figure that is not estimable is an empty cell. Text that a spreadsheet would run as a formula
    (it starts with ``=``, ``+``, ``-``, ``@``, a tab or a line break) gets a leading apostrophe.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.

    Returns
    -------
    str
        Lines end in ``\n``. The last two columns say how many groups of the attribute were
        suppressed, and below which number of patients.

    Raises
    ------
    StoreError
        The summary is damaged or of another schema.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    utility = ("utility_metric", "utility_mean", "utility_low", "utility_high")
    tail = ("groups_suppressed", "smallest_cell")
    writer.writerow(("attribute", "group", *(name for name, _ in _CSV_NUMBERS), *utility, *tail))
    for attribute, part in read_summary(summary).items("disparities"):
        suppressed = part.part("suppressed")
        end = [_plain(suppressed.number(key)) for key in ("groups", "smallest_cell")]
        groups = tuple(part.items("groups"))
        for name, group in groups:
            inner = group.part("utility")
            writer.writerow(
                (
                    _inert(attribute),
                    _inert(name),
                    *(_plain(group.number(key)) for _, key in _CSV_NUMBERS),
                    _inert(inner.text("metric")),
                    *(_plain(inner.number(key)) for key in ("mean", "low", "high")),
                    *end,
                )
            )
        if not groups:  # all suppressed: that, too, is a row
            empty = ("",) * (1 + len(_CSV_NUMBERS) + len(utility))
            writer.writerow((_inert(attribute), *empty, *end))
    return written.getvalue()


def _inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula; lone surrogates cannot be written, so shown."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def _plain(value: Number) -> str:
    if value is None:
        return ""
    return repr(int(value)) if value == int(value) else repr(value)
