"""What each protection changes, at what price, for whom; and what a larger model exposes."""

from __future__ import annotations

import math

from auscult.report import answer
from auscult.report.answer import assessed, main_row
from auscult.report.axes import round_axis
from auscult.report.blocks import (
    Axis,
    Block,
    Figure,
    Heading,
    Headline,
    Items,
    Key,
    Number,
    Page,
    Paragraph,
    Point,
    ScatterChart,
    Section,
    Spot,
    Table,
)
from auscult.report.reading import Part
from auscult.report.scatter import drawable
from auscult.report.words import (
    MINUS,
    NOT_ESTIMABLE,
    count_interval,
    counted,
    decimal,
    expected,
    interval,
    listed,
    metric_name,
    quoted,
    sentence,
    share,
    signed,
    signed_interval,
    whole,
    with_interval,
)

UNPROTECTED = "Without protection"
NOTHING = "\N{EN DASH}"
SAME_MEMBERS = (
    "Each protection was audited like the model itself, on the same draw of members, by an "
    "attacker who knows the protection and trains with it. Differences are paired by patient and "
    "by model."
)
FINISHED = (
    "Each run is compared with {name}. Where both used the same draw of members, differences are "
    "paired by patient and by model; where not, the run's own words below say so."
)


def protection_section(summary: Part) -> Section | None:
    """The frontier of privacy and utility; None where no protection was tried."""
    entries = summary.parts("protection")
    if not entries:
        return None
    metric = _metric(summary)
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
    metric = _metric(summary)
    section = _section(summary, entries, metric, FINISHED.format(name=quoted(name)), name)
    count = len(entries) + 1
    return Page(
        title=summary.text("title") or "Untitled audit",
        kicker="Comparison of membership-inference audits",
        headline=Headline(
            lead=f"{count} runs", rest="of the same cohort, side by side", aside="", tone="open"
        ),
        verdict=(answer.count_sentence(summary).sentence + f" (in {quoted(name)}).",),
        facts=answer.facts(summary),
        sections=(section,),
        colophon=f"Auscult {summary.text('auscult')}. This file holds aggregates only.",
    )


def comparison_rows(summary: Part, entries: tuple[Part, ...], name: str) -> list[tuple[str, ...]]:
    """A short table for a terminal, its heading first."""
    metric = _metric(summary)
    utility = summary.part("models").part("utility")
    base = _base_row(summary, name)
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
                with_interval(
                    expected(exposed.number("estimate")),
                    count_interval(exposed.number("low"), exposed.number("high")),
                ),
                _signed_count(part.part("exposed_change")),
                with_interval(
                    decimal(mine.number("estimate")),
                    interval(mine.number("low"), mine.number("high")),
                ),
                _signed(part.part("utility_change")),
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
    figure = _frontier(summary, entries, metric, base)
    if figure is not None:
        blocks.append(figure)
    blocks += _tables(summary, entries, metric, base)
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
            blocks += _layers(place, part)
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
    texts += [_group_price(part, metric), *(sentence(note) for note in part.texts("notes"))]
    return " ".join(text for text in texts if text)


def _group_price(part: Part, metric: str) -> str:
    """What the group that loses most pays, if groups were compared."""
    loses = part.part("worst_group_utility_change")
    if loses.number("estimate") is None:
        return ""
    low, high = loses.number("low") or 0.0, loses.number("high") or 0.0
    who = f"{quoted(loses.text('group'))} ({quoted(loses.text('attribute'))})"
    if high < 0:
        return (
            f"Of all groups {who} pays most: {decimal(-(loses.number('estimate') or 0.0))} "
            f"{metric} ({interval(-high, -low)})."
        )
    return (
        f"Of all groups {who} seemed to lose most; measured on the other models it is "
        f"{signed(loses.number('estimate'))} ({signed_interval(low, high)})."
    )


def _privacy(part: Part) -> str:
    removed, change = part.part("removed"), part.part("exposed_change")
    low, high = removed.number("low"), removed.number("high")
    if low is None or high is None:
        if part.part("exposed").part("0.9").number("estimate") is None:
            return f"Change in exposed patients {NOT_ESTIMABLE}"
        return "Nobody to protect: no patient is expected above 0.9 without it"
    if low > 0:
        bounds = f"{share(low)} to {share(high)}"
        return f"Removes {share(removed.number('estimate'))} of the exposed patients ({bounds})"
    if high < 0:
        return f"Exposes more patients: {_signed_count(change)}"
    ends = f"{_count(change.number('low') or 0.0)} to {_count(change.number('high') or 0.0)}"
    return f"No measurable change in exposed patients ({ends})"


def _price(part: Part, metric: str) -> str:
    change = part.part("utility_change")
    low, high = change.number("low"), change.number("high")
    if low is None or high is None:
        return f"at a price that is {NOT_ESTIMABLE}"
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
                text="Without protection, the number of exposed patients does not stand clear of "
                "chance. There is nothing here that a protection could be seen to remove."
            )
        ]
    n = len(entries)
    together = f"; both bounds hold for all {n} protections together" if n > 1 else ""
    chosen = next((part for part in entries if part.truth("recommended")), None)
    if chosen is not None:
        text = (
            f"Try first: {quoted(chosen.text('name'))}. It removes at least "
            f"{_at_least(chosen.number('removed_at_least'))} of the exposed patients and "
            f"{_at_most(chosen.number('utility_lost_at_most'), metric)}{together}. "
            f"{_group_price(chosen, metric)}"
        ).rstrip()
        blocks: list[Block] = [Paragraph(text=text, style="verdict")]
    else:
        blocks = [
            Paragraph(
                text="None of these surely removes exposed patients at a surely small price (at "
                f"most 0.01 {metric}).",
                style="verdict",
            )
        ]
    able = [part for part in entries if (part.number("removed_at_least") or 0.0) > 0]
    best = max(able, key=lambda part: part.number("removed_at_least") or 0.0, default=None)
    if best is not None and _clearly_more(best, chosen):
        blocks.append(
            Paragraph(
                text=f"Most is removed by {quoted(best.text('name'))}: at least "
                f"{_at_least(best.number('removed_at_least'))}, {_price(best, metric)}."
            )
        )
    return blocks


def _clearly_more(best: Part, chosen: Part | None) -> bool:
    """Whether it surely removes more than the chosen one, by more than a hundredth."""
    if chosen is None:
        return True
    mine, theirs = (part.number("removed_at_least") or 0.0 for part in (best, chosen))
    return mine > theirs + 0.01


def _at_least(value: Number) -> str:
    """A lower bound as a percentage, rounded down; all of them is never sure."""
    if value is None:
        return NOT_ESTIMABLE
    return f"{min(math.floor(100 * value + 1e-9), 99)}%"


def _at_most(value: Number, metric: str) -> str:
    """An upper bound of a loss, rounded up."""
    if value is None:
        return f"costs a {metric} that is {NOT_ESTIMABLE}"
    if value == 0:
        return f"costs no {metric}"
    return f"costs at most {math.ceil(1000 * value - 1e-9) / 1000:.3f} {metric}"


def _frontier(summary: Part, entries: tuple[Part, ...], metric: str, base: str) -> Figure | None:
    row, utility = main_row(summary), summary.part("models").part("utility")
    spots = [
        Spot(
            mark="0",
            x=Point(
                value=utility.number("mean"), low=utility.number("low"), high=utility.number("high")
            ),
            y=Point(
                value=row.estimate if row else None,
                low=row.low if row else None,
                high=row.high if row else None,
            ),
            style="main",
            title=base,
        )
    ]
    for number, part in enumerate(entries, start=1):
        exposed, own = part.part("exposed").part("0.9"), part.part("utility")
        spots.append(
            Spot(
                mark=str(number),
                x=_point(own),
                y=_point(exposed),
                style="best" if part.truth("recommended") else "first",
                title=part.text("name"),
            )
        )
    drawn = tuple(spot for spot in spots if drawable(spot))
    if len(drawn) < 2:
        return None
    names = listed(
        [f"{spot.mark}: {quoted(spot.title)}" for spot in drawn if spot.mark != "0"], most=99
    )
    legend = [Key(name=f"0: {base}", style="main", shape="point")]
    if any(spot.style == "best" for spot in drawn):
        legend.append(Key(name="Try first", style="best", shape="point"))
    if any(spot.style == "first" for spot in drawn):
        legend.append(Key(name="Other protections", style="first", shape="point"))
    models = counted(summary.part("models").number("count"), "model")
    return Figure(
        key="frontier",
        name="Plane of utility and exposed patients, one point per protection",
        plot=ScatterChart(
            x=_axis(f"{metric} on patients the models never saw", [s.x for s in drawn]),
            y=_axis("Exposed patients (AUC above 0.9)", [s.y for s in drawn], floor=0.0),
            spots=drawn,
        ),
        legend=tuple(legend),
        sentence="The lower, the fewer patients are exposed; the further right, the better the "
        "predictions.",
        small_print=f"{names}. n = {counted(assessed(summary), 'patient')} and {models} each. "
        "Lines: 95% intervals of each alone; intervals of the differences, which are narrower, "
        "are in the table.",
        table=Table(
            caption="Where the points lie",
            columns=("Protection", metric, "Exposed patients"),
            rows=tuple(
                (
                    f"{spot.mark}: {spot.title}",
                    with_interval(decimal(spot.x.value), interval(spot.x.low, spot.x.high)),
                    with_interval(expected(spot.y.value), count_interval(spot.y.low, spot.y.high)),
                )
                for spot in drawn
            ),
            key="frontier",
        ),
    )


def _tables(summary: Part, entries: tuple[Part, ...], metric: str, base: str) -> list[Block]:
    """Counts, averages, utility: one wide table would not fit a sheet of paper."""
    utility, auc = summary.part("models").part("utility"), summary.part("patients").part("auc")
    risk: list[tuple[str, ...]] = [_base_row(summary, base)]
    average: list[tuple[str, ...]] = [
        (
            f"0: {base}",
            with_interval(
                decimal(auc.number("mean")),
                interval(auc.number("mean_low"), auc.number("mean_high")),
            ),
            NOTHING,
            NOTHING,
            NOTHING,
        )
    ]
    price: list[tuple[str, ...]] = [
        (
            f"0: {base}",
            with_interval(
                decimal(utility.number("mean")),
                interval(utility.number("low"), utility.number("high")),
            ),
            NOTHING,
            NOTHING,
            NOTHING,
        )
    ]
    for number, part in enumerate(entries, start=1):
        exposed, own = part.part("exposed").part("0.9"), part.part("utility")
        loses, name = part.part("worst_group_utility_change"), f"{number}: {part.text('name')}"
        removed = part.part("removed")
        risk.append(
            (
                name,
                with_interval(
                    expected(exposed.number("estimate")),
                    count_interval(exposed.number("low"), exposed.number("high")),
                ),
                expected(exposed.number("null")),
                _signed_count(part.part("exposed_change")),
                _removed(removed),
            )
        )
        mean, group = part.part("mean_auc"), part.part("worst_group")
        average.append(
            (
                name,
                with_interval(
                    decimal(mean.number("estimate")),
                    interval(mean.number("low"), mean.number("high")),
                ),
                _signed(part.part("mean_auc_change")),
                quoted(group.text("group")) if group else NOTHING,
                _signed(group.part("change")) if group else NOTHING,
            )
        )
        price.append(
            (
                name,
                with_interval(
                    decimal(own.number("estimate")), interval(own.number("low"), own.number("high"))
                ),
                _signed(part.part("utility_change")),
                quoted(loses.text("group")) if loses else NOTHING,
                _signed(loses) if loses else NOTHING,
            )
        )
    return [
        Table(
            caption="Patients exposed with each protection",
            columns=(
                "Protection",
                "Exposed (95% interval)",
                "By chance",
                "Change",
                "Removed",
            ),
            rows=tuple(risk),
            notes=_risk_notes(entries),
            key="protection",
        ),
        Table(
            caption="Mean AUC of the attack with each protection",
            columns=(
                "Protection",
                "Mean AUC (95% interval)",
                "Change",
                "Group most at risk",
                "Its change",
            ),
            rows=tuple(average),
            notes=tuple(
                sentence(method)
                for method in dict.fromkeys(p.part("worst_group").text("method") for p in entries)
                if method
            ),
            text_columns=frozenset({0, 3}),
            key="averages",
        ),
        Table(
            caption="What each protection costs in utility",
            columns=(
                "Protection",
                f"{metric} (95% interval)",
                "Change",
                "Group that loses most",
                "Its change",
            ),
            rows=tuple(price),
            notes=_price_notes(entries),
            text_columns=frozenset({0, 3}),
            key="price",
        ),
    ]


def _risk_notes(entries: tuple[Part, ...]) -> tuple[str, ...]:
    notes = [
        (
            "Exposed: expected number of patients with an AUC above 0.9. By chance: the same with "
            "each patient's membership shuffled. Changes are against the unprotected recipe, "
            "with 95% intervals of the paired difference, each on its own."
        ),
        *_methods(entries),
    ]
    different = [
        f"{number}: {expected(before.number('estimate'))} "
        f"({count_interval(before.number('low'), before.number('high'))})"
        for number, part in enumerate(entries, start=1)
        if " ranks" in part.text("method")
        and (before := part.part("exposed_before").part("0.9")).number("estimate") is not None
    ]
    if different:
        notes.append(
            "Where ranks are used, exposed patients without protection are counted the same way: "
            f"{'; '.join(different)}."
        )
    return tuple(note for note in notes if note)


def _methods(entries: tuple[Part, ...]) -> list[str]:
    """What all methods have in common, once, and what each adds."""
    said: dict[str, list[str]] = {}
    for number, part in enumerate(entries, start=1):
        if part.text("method"):
            said.setdefault(part.text("method"), []).append(str(number))
    if not said:
        return []
    common = min(said, key=len)
    notes = [sentence(common)]
    for method, numbers in said.items():
        more = method.removeprefix(common).strip()
        if more and more != method:
            notes.append(f"{listed(numbers, most=99)}: {sentence(more)}")
        elif method != common:
            notes.append(f"{listed(numbers, most=99)}: {sentence(method)}")
    return notes


def _price_notes(entries: tuple[Part, ...]) -> tuple[str, ...]:
    methods = (
        *dict.fromkeys(part.part("utility_change").text("method") for part in entries),
        *dict.fromkeys(part.part("worst_group_utility_change").text("method") for part in entries),
    )
    return tuple(sentence(method) for method in methods if method)


def _removed(part: Part) -> str:
    low, high = part.number("low"), part.number("high")
    if low is None or high is None:
        return NOT_ESTIMABLE
    value = part.number("estimate") or 0.0
    return with_interval(_signed_share(value), f"{_signed_share(low)} to {_signed_share(high)}")


def _signed_share(value: float) -> str:
    return f"{MINUS}{share(-value)}" if value < 0 else share(value)


def _base_row(summary: Part, base: str) -> tuple[str, ...]:
    row = main_row(summary)
    if row is None:
        return (f"0: {base}", NOT_ESTIMABLE, NOT_ESTIMABLE, NOTHING, NOTHING)
    return (
        f"0: {base}",
        with_interval(expected(row.estimate), count_interval(row.low, row.high)),
        expected(row.null),
        NOTHING,
        NOTHING,
    )


def _layers(place: int, part: Part) -> list[Block]:
    """Before and after for everybody, for those left out and for those who stay."""
    layers = part.part("layers")
    gone, stay = layers.part("removed"), layers.part("remaining")

    def cell(side: Part, key: str) -> str:
        one = side.part(key).part("0.9")
        return with_interval(
            expected(one.number("estimate")), count_interval(one.number("low"), one.number("high"))
        )

    def mean(side: Part, key: str) -> str:
        one = side.part(key)
        return with_interval(
            decimal(one.number("estimate")), interval(one.number("low"), one.number("high"))
        )

    everybody = part.part("exposed").part("0.9")
    rows = (
        (
            "Left out",
            whole(gone.number("patients")),
            cell(gone, "before"),
            "0 (never members)",
            mean(gone, "mean_auc_before"),
            mean(gone, "mean_auc"),
        ),
        (
            "Everybody else",
            whole(stay.number("patients")),
            cell(stay, "before"),
            cell(stay, "after"),
            mean(stay, "mean_auc_before"),
            mean(stay, "mean_auc"),
        ),
        (
            "All patients",
            whole(part.number("patients")),
            cell(part, "exposed_before"),
            with_interval(
                expected(everybody.number("estimate")),
                count_interval(everybody.number("low"), everybody.number("high")),
            ),
            NOTHING,
            NOTHING,
        ),
    )
    change = stay.part("change")
    low, high = change.number("low"), change.number("high")
    if low is not None and low > 0:
        meaning = "Others take the place of those who left: the next layer lies open."
    elif high is not None and high < 0:
        meaning = "The others are less exposed without them."
    else:
        meaning = "Among the others no change was measured."
    return [
        Heading(
            text=f"{part.text('name')[:1].upper()}{part.text('name')[1:]}: who is exposed then"
        ),
        Paragraph(
            text=f"{meaning} Exposed patients among those who stay: {_signed_count(change)}."
        ),
        Table(
            caption="Exposed patients (AUC above 0.9) before and after, counted among everybody",
            columns=(
                "Patients",
                "Number",
                "Exposed before (95% interval)",
                "Exposed after (95% interval)",
                "Mean AUC before (95% interval)",
                "Mean AUC after (95% interval)",
            ),
            rows=rows,
            notes=(
                sentence(layers.text("method")),
                sentence(gone.reason()),
            ),
            key=f"layers-{place}",
        ),
    ]


def sweep_section(summary: Part) -> Section | None:
    """Exposed patients against capacity; None where no sizes were compared."""
    sweep = summary.part("sweep")
    points = sweep.parts("points")
    if not points:
        return None
    metric = _metric(summary)
    spots = tuple(
        spot
        for number, part in enumerate(points, start=1)
        if drawable(
            spot := Spot(
                mark=str(number),
                x=Point(value=part.number("parameters")),
                y=_point(part.part("exposed").part("0.9")),
                style="main" if part.truth("base") else "first",
                title=part.text("name"),
            )
        )
    )
    blocks: list[Block] = [
        Paragraph(
            text="The same audit with models of other sizes, on the same draw of members: what "
            "capacity costs in privacy, and what it buys."
        )
    ]
    if len({spot.x.value for spot in spots}) > 1:
        blocks.append(_capacity_figure(summary, spots))
    else:
        blocks.append(
            Paragraph(
                text="No picture: the recipe does not tell its number of parameters, or all sizes "
                "have the same.",
                style="note",
            )
        )
    blocks.append(_sweep_table(summary, points, metric))
    return Section(
        key="sweep",
        heading="Exposed patients against capacity",
        short="Capacity",
        blocks=tuple(blocks),
    )


def _capacity_figure(summary: Part, spots: tuple[Spot, ...]) -> Figure:
    values = [spot.x.value or 1.0 for spot in spots]
    first, last = min(spots, key=_parameters), max(spots, key=_parameters)
    legend = []
    if any(spot.style == "main" for spot in spots):
        legend.append(Key(name="The audited recipe", style="main", shape="point"))
    if any(spot.style == "first" for spot in spots):
        legend.append(Key(name="Other sizes", style="first", shape="point"))
    models = counted(summary.part("models").number("count"), "model")
    names = listed([f"{spot.mark}: {quoted(spot.title)}" for spot in spots], most=99)
    return Figure(
        key="capacity",
        name="Exposed patients against the number of parameters",
        plot=ScatterChart(
            x=_log_axis("Parameters (logarithmic scale)", min(values), max(values)),
            y=_axis("Exposed patients (AUC above 0.9)", [s.y for s in spots], floor=0.0),
            spots=spots,
        ),
        legend=tuple(legend),
        sentence=f"From {whole(first.x.value)} to {whole(last.x.value)} parameters, exposed "
        f"patients go from {expected(first.y.value)} ({count_interval(first.y.low, first.y.high)}) "
        f"to {expected(last.y.value)} ({count_interval(last.y.low, last.y.high)}).",
        small_print=f"{names}. n = {counted(assessed(summary), 'patient')} and {models} each. "
        "Lines: 95% intervals.",
        table=Table(
            caption="Where the points lie",
            columns=("Size", "Parameters", "Exposed patients"),
            rows=tuple(
                (
                    f"{spot.mark}: {spot.title}",
                    whole(spot.x.value),
                    with_interval(expected(spot.y.value), count_interval(spot.y.low, spot.y.high)),
                )
                for spot in spots
            ),
            key="capacity",
        ),
    )


def _sweep_table(summary: Part, points: tuple[Part, ...], metric: str) -> Table:
    rows = []
    for number, part in enumerate(points, start=1):
        exposed, own = part.part("exposed").part("0.9"), part.part("utility")
        base = " (the audited recipe)" if part.truth("base") else ""
        rows.append(
            (
                f"{number}: {part.text('name')}{base}",
                whole(part.number("parameters")),
                with_interval(
                    expected(exposed.number("estimate")),
                    count_interval(exposed.number("low"), exposed.number("high")),
                ),
                expected(exposed.number("null")),
                _signed_count(part.part("exposed_change")),
                with_interval(
                    decimal(part.part("mean_auc").number("estimate")),
                    interval(
                        part.part("mean_auc").number("low"), part.part("mean_auc").number("high")
                    ),
                ),
                with_interval(
                    decimal(own.number("estimate")), interval(own.number("low"), own.number("high"))
                ),
            )
        )
    method = next((part.text("method") for part in points if part.text("method")), "")
    return Table(
        caption="Sizes of the model, on the same members",
        columns=(
            "Size",
            "Parameters",
            "Exposed (95% interval)",
            "By chance",
            "Change in exposed",
            "Mean AUC",
            metric,
        ),
        rows=tuple(rows),
        notes=(
            "Change: against the audited recipe, paired by patient, 95% interval.",
            f"n = {counted(assessed(summary), 'patient')}. {sentence(method)}".strip(),
        ),
        key="sweep",
    )


def _parameters(spot: Spot) -> float:
    return spot.x.value or 0.0


def _metric(summary: Part) -> str:
    return metric_name(summary.part("models").part("utility").text("metric") or "auroc")


def _point(part: Part) -> Point:
    return Point(value=part.number("estimate"), low=part.number("low"), high=part.number("high"))


def _axis(label: str, points: list[Point], floor: Number = None) -> Axis:
    values = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    low, high = min(values), max(values)
    return round_axis(label, low if floor is None else floor, max(high, low + 1e-3))


def _log_axis(label: str, low: float, high: float) -> Axis:
    """Axis over powers of ten and, where there are few, their halves and fifths."""
    first, last = math.floor(math.log10(low) - 0.02), math.ceil(math.log10(high) + 0.02)
    steps = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
    ticks = [step * 10.0**k for k in range(first, last + 1) for step in steps]
    below = [t for t in ticks if t <= 0.95 * low] or ticks[:1]
    above = [t for t in ticks if t >= 1.05 * high] or ticks[-1:]
    kept = [t for t in ticks if below[-1] <= t <= above[0]]
    return Axis(
        label=label,
        low=kept[0],
        high=kept[-1],
        ticks=tuple((t, f"{t:,.0f}") for t in kept),
        scale="log",
    )


def _signed(part: Part) -> str:
    return with_interval(
        signed(part.number("estimate")), signed_interval(part.number("low"), part.number("high"))
    )


def _signed_count(part: Part) -> str:
    low, high = part.number("low"), part.number("high")
    if low is None or high is None:
        return NOT_ESTIMABLE
    ends = f"{_count(math.floor(low + 1e-9))} to {_count(math.ceil(high - 1e-9))}"
    return with_interval(_count(part.number("estimate") or 0.0), ends)


def _count(value: float) -> str:
    """A change of a count with its sign and thousands separators."""
    whole_number = math.floor(abs(value) + 0.5)
    sign = "" if whole_number == 0 else MINUS if value < 0 else "+"
    return f"{sign}{whole_number:,}"
