"""The picture and the tables of protections: exposed patients, mean AUC, utility."""

from __future__ import annotations

from auscult.report.answer import assessed, main_row
from auscult.report.changes import (
    FROM_ANOTHER,
    NOTHING,
    alone,
    axis_of,
    base_row,
    change_cell,
    change_withheld,
    from_another,
    mean_auc_notes,
    point_of,
    share_of,
    signed_estimate,
)
from auscult.report.elements import (
    Block,
    Figure,
    Key,
    Point,
    ScatterChart,
    Spot,
    Table,
)
from auscult.report.figures.scatter import drawable, without_dots
from auscult.report.numbers import (
    bounds_only,
    exposed_cell,
    exposed_point,
    patients_cell,
    point_between,
)
from auscult.report.summary import Part
from auscult.report.words import (
    MINUS,
    NOT_ESTIMABLE,
    counted,
    decimal,
    expected,
    interval,
    listed,
    quoted,
    sentence,
    share,
    with_interval,
)


def frontier_figure(
    summary: Part, entries: tuple[Part, ...], metric: str, base: str
) -> Figure | None:
    """One point per protection in the plane of utility and exposed patients.

    Parameters
    ----------
    summary : Part
    entries : tuple of Part
        One per protection.
    metric : str
        Name of the utility that is shown.
    base : str
        Name of the unprotected recipe.
    """
    row, utility = main_row(summary), summary.part("models").part("utility")
    few = bounds_only(summary)
    spots = [
        Spot(
            mark="0",
            x=Point(
                value=utility.number("mean"), low=utility.number("low"), high=utility.number("high")
            ),
            y=Point(value=None)
            if row is None
            else point_between(row.estimate, row.low, row.high, few),
            style="main",
            title=base,
        )
    ]
    exposed = {"0": "" if row is None else patients_cell(row.estimate, row.low, row.high, few)}
    for number, part in enumerate(entries, start=1):
        theirs, own = part.part("exposed").part("0.9"), part.part("utility")
        if part.part("layers"):
            continue  # counted on half of the models: not to be set beside the others
        exposed[str(number)] = exposed_cell(theirs, few)
        spots.append(
            Spot(
                mark=str(number),
                x=point_of(own),
                y=exposed_point(theirs, few),
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
            x=axis_of(f"{metric} on patients the models never saw", [s.x for s in drawn]),
            y=axis_of("Exposed patients (AUC above 0.9)", [s.y for s in drawn], floor=0.0),
            spots=drawn,
        ),
        legend=tuple(legend),
        sentence="The lower, the fewer patients are exposed; the further right, the better the "
        "predictions.",
        small_print=f"{names}. {_apart(entries)}n = {counted(assessed(summary), 'patient')} and "
        f"{models} each. {without_dots(drawn)}Lines: 95% intervals of each alone; intervals of "
        "the differences, which are narrower, are in the table.",
        table=Table(
            caption="Where the points lie",
            columns=("Protection", metric, "Exposed patients"),
            rows=tuple(
                (
                    f"{spot.mark}: {spot.title}",
                    with_interval(decimal(spot.x.value), interval(spot.x.low, spot.x.high)),
                    exposed[spot.mark],
                )
                for spot in drawn
            ),
            key="frontier",
        ),
    )


def _apart(entries: tuple[Part, ...]) -> str:
    """Which protections are not in the picture, and why."""
    numbers = [str(n) for n, part in enumerate(entries, start=1) if part.part("layers")]
    if not numbers:
        return ""
    verb = "is" if len(numbers) == 1 else "are"
    return f"Not shown: {listed(numbers, most=99)}, which {verb} counted on half of the models. "


def protection_tables(
    summary: Part, entries: tuple[Part, ...], metric: str, base: str
) -> list[Block]:
    """Counts, averages, utility: one wide table would not fit a sheet of paper.

    Parameters
    ----------
    summary : Part
    entries : tuple of Part
        One per protection.
    metric : str
        Name of the utility that is shown.
    base : str
        Name of the unprotected recipe.
    """
    utility, auc = summary.part("models").part("utility"), summary.part("patients").part("auc")
    risk: list[tuple[str, ...]] = [base_row(summary, base)]
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
        risk.append(
            (
                name,
                exposed_cell(exposed, bounds_only(summary)),
                expected(exposed.number("null")),
                change_cell(part),
                _removed(part),
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
                signed_estimate(part.part("mean_auc_change")),
                quoted(group.text("group")) if group else NOTHING,
                signed_estimate(group.part("change")) if group else NOTHING,
            )
        )
        price.append(
            (
                name,
                with_interval(
                    decimal(own.number("estimate")), interval(own.number("low"), own.number("high"))
                ),
                signed_estimate(part.part("utility_change")),
                quoted(loses.text("group")) if loses else NOTHING,
                signed_estimate(loses) if loses else NOTHING,
            )
        )
    exposed_patients, averages, costs = (
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
            notes=_risk_notes(summary, entries),
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
            notes=(
                *mean_auc_notes(summary, entries),
                *(
                    sentence(method)
                    for method in dict.fromkeys(
                        p.part("worst_group").text("method") for p in entries
                    )
                    if method
                ),
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
    )
    return [exposed_patients, *_accusations(entries, base), averages, costs]


def _accusations(entries: tuple[Part, ...], base: str) -> list[Block]:
    """What an accusation is worth with each protection; nothing where no deployment is declared."""
    priors = list(dict.fromkeys(row.number("prior") for e in entries for row in e.parts("ppv")))
    if not priors:
        return []

    def row_of(name: str, rows: list[Part]) -> tuple[str, ...]:
        return (name, *(share_of(row) for row in rows))

    def at(part: Part, prior: float | None) -> Part:
        rows = part.parts("ppv")
        return next((row for row in rows if row.number("prior") == prior), Part(None))

    told = [(number, part) for number, part in enumerate(entries, start=1) if part.parts("ppv")]
    rates = sorted({row.number("fpr") or 0.0 for _, part in told for row in part.parts("ppv")})
    without = [at(told[0][1], prior).part("before") for prior in priors]
    rows = [row_of(f"0: {base}", without)]
    rows += [
        row_of(f"{number}: {part.text('name')}", [at(part, prior) for prior in priors])
        for number, part in told
    ]
    reasons = dict.fromkeys(row.reason() for _, part in told for row in part.parts("ppv"))
    notes = [
        sentence(told[0][1].parts("ppv")[0].text("method")),
        f"False positive rates: {listed([share(rate) for rate in rates if rate], most=99)}."
        if any(rates)
        else "",
        *(sentence(f"{NOT_ESTIMABLE}: {reason}") for reason in reasons if reason),
    ]
    return [
        Table(
            caption="Accusations that would be right, with each protection",
            columns=("Protection", *(f"Prior {share(prior)}" for prior in priors)),
            rows=tuple(rows),
            notes=tuple(note for note in notes if note),
            key="accusations",
        )
    ]


def _risk_notes(summary: Part, entries: tuple[Part, ...]) -> tuple[str, ...]:
    notes = [
        (
            "Exposed: expected number of patients with an AUC above 0.9. By chance: the same with "
            "each patient's membership shuffled. Changes are against the unprotected recipe, "
            "with 95% intervals of the paired difference, each on its own."
        ),
        *(
            f"{number}: counted on half of the models, where {FROM_ANOTHER} "
            f"{alone(part)} are exposed: its change is from that number."
            for number, part in enumerate(entries, start=1)
            if part.part("layers")
        ),
        *(
            f"{number}: attacked in the same way, {alone(part)} are exposed {FROM_ANOTHER}: its "
            "change is from that number."
            for number, part in enumerate(entries, start=1)
            if not part.part("layers") and from_another(summary, part)
        ),
        "Not estimable: a change from or to a number that is too small to be shown."
        if any(change_withheld(part) for part in entries)
        else "",
        *_methods(entries),
    ]
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


def _removed(entry: Part) -> str:
    part = entry.part("removed")
    low, high = part.number("low"), part.number("high")
    if low is None or high is None or change_withheld(entry):
        return NOT_ESTIMABLE
    value = part.number("estimate") or 0.0
    return with_interval(_signed_share(value), f"{_signed_share(low)} to {_signed_share(high)}")


def _signed_share(value: float) -> str:
    return f"{MINUS}{share(-value)}" if value < 0 else share(value)
