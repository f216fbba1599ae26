"""Sections about the models: the attack on average, and whether they learned anything at all."""

from __future__ import annotations

import math

from auscult.report.answer import unlearned
from auscult.report.elements import (
    Block,
    Figure,
    IntervalChart,
    Key,
    LineChart,
    Mark,
    Paragraph,
    Point,
    Row,
    Section,
    Series,
    Table,
)
from auscult.report.figures.axes import false_positive_rate, rate, round_axis, share_axis, thinned
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    counted,
    decimal,
    interval,
    listed,
    metric_name,
    sentence,
    share,
    share_interval,
    visible,
    whole,
    with_interval,
)

_STYLES = ("first", "second", "third", "fourth", "fifth", "sixth")
_LOWEST_DECADE = 5


def aggregate_section(summary: Part) -> Section:
    """The attacks over all records: ROC on logarithmic axes, TPR at small FPR."""
    attacks = tuple(
        (part.text("label") or visible(name), part) for name, part in summary.items("aggregate")
    )
    blocks: list[Block] = [
        Paragraph(
            text="The usual way to report such an audit is one curve over all records. It is "
            "shown for comparison, on logarithmic axes, because an attacker who must rarely "
            "be wrong works in its lower left corner."
        )
    ]
    known = sorted(
        ((label, part) for label, part in attacks if part.number("auc") is not None),
        key=lambda attack: -(attack[1].number("auc") or 0.0),
    )
    if not known:
        because = next((part.reason() for _, part in attacks if part.reason()), "")
        blocks.append(
            Paragraph(
                text=f"Attacks over all records: {NOT_ESTIMABLE}. "
                f"{sentence(because or 'the summary gives no reason')}",
                style="absent",
            )
        )
    curves = [(label, part) for label, part in known if len(part.part("roc").numbers("fpr")) > 1]
    if curves:
        blocks.append(_roc_figure(curves))
    if attacks:
        blocks.append(_aggregate_table(attacks, with_method=not curves))
    return Section(
        key="aggregate",
        heading="The attack over all records",
        short="Average attack",
        blocks=tuple(blocks),
    )


def _roc_figure(curves: list[tuple[str, Part]]) -> Figure:
    series, targets = [], set()
    smallest = 1.0
    for place, (label, part) in enumerate(curves):
        roc = part.part("roc")
        fpr, tpr = roc.numbers("fpr"), roc.numbers("tpr")
        low, high = roc.numbers("low"), roc.numbers("high")
        positive = [value for value in fpr if value]
        smallest = min([smallest, *positive])
        targets.add(counted(part.number("targets"), "target model"))
        series.append(
            Series(
                name=f"{label}, AUC {decimal(part.number('auc'))}",
                style=_STYLES[place % len(_STYLES)],
                x=tuple(value or 0.0 for value in fpr),
                y=tpr,
                low=low if place == 0 and len(low) == len(fpr) else (),
                high=high if place == 0 and len(high) == len(fpr) else (),
            )
        )
    decades = min(_LOWEST_DECADE, max(1, math.ceil(-math.log10(smallest) - 1e-9)))
    grid = tuple(10.0 ** (-decades + k * decades / 40) for k in range(41))
    chance = Series(name="Coin flip", style="null", x=grid, y=grid)
    methods = dict.fromkeys(part.text("method") for _, part in curves if part.text("method"))
    return Figure(
        key="roc",
        name="ROC curve of each attack over all records, on logarithmic axes",
        plot=LineChart(
            x=share_axis("False positive rate (false alarms)", floor=10.0**-decades),
            y=share_axis("True positive rate (members found)", floor=10.0**-decades),
            series=(*series, chance),
        ),
        legend=tuple(Key(name=s.name, style=s.style, shape="line") for s in (*series, chance)),
        sentence=_roc_sentence(curves[0]),
        small_print=f"n = {listed(sorted(targets))}; each model in turn is the target. Band: 95% "
        f"interval of {curves[0][0]}, the strongest. {' '.join(map(sentence, methods))}".strip(),
        table=_roc_table(curves),
    )


def _roc_sentence(best: tuple[str, Part]) -> str:
    label, part = best
    auc = part.number("auc") or 0.0
    low = part.number("low")
    text = f"Over all records the strongest attack, {label}, has an AUC of {decimal(auc)}"
    found = part.part("tpr_at_fpr").number("0.01")
    if found is not None:
        text += (
            f"; where it wrongly accuses 1 in 100 non-members, it finds {share(found)} of the "
            "members"
        )
    if low is not None and low <= 0.5:
        text += ", and a coin flip (0.5) is within its interval"
    return text + "."


def _roc_table(curves: list[tuple[str, Part]]) -> Table:
    grids = {part.part("roc").numbers("fpr") for _, part in curves}
    rows: list[tuple[str, ...]] = []
    if len(grids) == 1:
        grid = grids.pop()
        rows = [
            (
                rate(grid[k]),
                *(share(part.part("roc").numbers("tpr")[k]) for _, part in curves),
            )
            for k in thinned(len(grid), 21)
        ]
        columns = ("False positive rate", *(label for label, _ in curves))
        text_columns = frozenset({0})
    else:
        columns = ("Attack", "False positive rate", "True positive rate")
        text_columns = frozenset({0})
        for label, part in curves:
            roc = part.part("roc")
            fpr, tpr = roc.numbers("fpr"), roc.numbers("tpr")
            rows += [(label, rate(fpr[k]), share(tpr[k])) for k in thinned(len(fpr), 11)]
    return Table(
        caption="True positive rate at each false positive rate",
        columns=columns,
        rows=tuple(rows),
        text_columns=text_columns,
        key="roc",
    )


def _aggregate_table(attacks: tuple[tuple[str, Part], ...], *, with_method: bool) -> Table:
    rates = sorted(
        {name for _, part in attacks for name in part.part("tpr_at_fpr").content()}, key=_rate
    )
    rows = []
    for label, part in attacks:
        found, ends = part.part("tpr_at_fpr"), part.part("tpr_at_fpr_interval")
        cells = [label, with_interval(decimal(part.number("auc")), _bounds(part))]
        for name in rates:
            cell = share(found.number(name))
            bounds = ends.numbers(name)
            if len(bounds) == 2:
                cell = with_interval(cell, share_interval(*bounds))
            cells.append(cell)
        rows.append((*cells, whole(part.number("targets"))))
    notes = [
        "Members found: true positive rate at the given false positive rate, with its 95% interval."
    ]
    resolution = max(
        (part.number("out_records_per_target") or 0.0 for _, part in attacks), default=0.0
    )
    unresolved = [name for name in rates if resolution and _rate(name) * resolution < 1]
    if unresolved:
        notes.append(
            f"Not estimable below a false positive rate of {rate(1 / resolution)}: a target has "
            f"about {whole(resolution)} non-member records, which cannot resolve a smaller rate."
        )
    notes += [
        f"{label}: {NOT_ESTIMABLE}. {sentence(part.reason())}"
        for label, part in attacks
        if part.number("auc") is None and part.reason()
    ]
    if with_method:
        methods = dict.fromkeys(part.text("method") for _, part in attacks if part.text("method"))
        notes += [sentence(method) for method in methods]
    return Table(
        caption="Attacks over all records",
        columns=(
            "Attack",
            "AUC (95% interval)",
            *(f"Members found at FPR {false_positive_rate(name)}" for name in rates),
            "Targets",
        ),
        rows=tuple(rows),
        notes=tuple(notes),
        key="aggregate",
    )


def _bounds(part: Part) -> str:
    return interval(part.number("low"), part.number("high"))


def _rate(name: str) -> float:
    try:
        return float(name)
    except ValueError:
        return 1.0


def utility_section(summary: Part) -> Section:
    """Whether the models learned, and how much better they are on patients they have seen."""
    models = summary.part("models")
    learned, utility = models.part("learned"), models.part("utility")
    verdict = learned.truth("verdict")
    blocks: list[Block] = [
        Paragraph(
            text={
                True: "Yes, the models have learned.",
                False: f"No, the models have not learned. {unlearned(summary)}",
                None: f"Whether the models have learned, and how well: {NOT_ESTIMABLE}.",
            }[verdict]
            + (f" {sentence(learned.reason())}" if learned.reason() else ""),
            style="" if verdict else "absent",
        )
    ]
    if utility.number("mean") is not None:
        blocks.append(_utility_figure(utility))
    elif not learned.reason():
        because = utility.reason() or models.reason() or "the summary gives no reason"
        blocks.append(
            Paragraph(text=f"Utility: {NOT_ESTIMABLE}. {sentence(because)}", style="absent")
        )
    return Section(
        key="utility", heading="Have the models learned?", short="Utility", blocks=tuple(blocks)
    )


def _utility_figure(utility: Part) -> Figure:
    metric = metric_name(utility.text("metric") or "the metric")
    members, chance = utility.part("members"), utility.number("chance")
    sides = [("Held-out patients", utility, "main")]
    if members.number("mean") is not None:
        sides.append(("Members (trained on)", members, "study"))
    values = [
        value
        for _, part, _ in sides
        for key in ("mean", "low", "high")
        if (value := part.number(key)) is not None
    ]
    marks = () if chance is None else (Mark(at=chance, label=f"Chance {decimal(chance, 2)}"),)
    values += [mark.at for mark in marks]
    models = utility.number("n")
    rows = tuple(
        Row(
            label=name,
            note="",
            points=(
                Point(
                    value=part.number("mean"),
                    low=part.number("low"),
                    high=part.number("high"),
                    style=style,
                    title=f"{name}: {decimal(part.number('mean'))}",
                ),
            ),
        )
        for name, part, style in sides
    )
    gap = ""
    if len(sides) == 2:
        ahead = (members.number("mean") or 0.0) - (utility.number("mean") or 0.0)
        gap = (
            f", and {decimal(members.number('mean'))} on patients they were trained on: "
            f"a gap of {decimal(ahead)}"
            + (", which is what membership inference exploits" if ahead > 0.02 else "")
        )
    return Figure(
        key="utility",
        name=f"Utility ({metric}) on held-out patients and on members",
        plot=IntervalChart(
            axis=round_axis(f"Utility: {metric}", min(values), max(values)), rows=rows, marks=marks
        ),
        legend=(),
        sentence=f"On patients they have not seen, the models reach {metric} "
        f"{decimal(utility.number('mean'))}{gap}.",
        small_print=f"n = {counted(models, 'model')}. Whiskers: 95% interval. "
        f"{sentence(utility.text('method'))}".strip(),
        table=Table(
            caption=f"Utility ({metric})",
            columns=("Patients", "Mean", "95% interval"),
            rows=(
                *(
                    (
                        name,
                        decimal(part.number("mean")),
                        interval(part.number("low"), part.number("high")),
                    )
                    for name, part, _ in sides
                ),
                ("Chance", decimal(chance), "none: a fixed value"),
            ),
            key="utility",
        ),
    )
