"""The section on deployment: what attackers learn with which access, knowledge and means."""

from __future__ import annotations

import math
from collections.abc import Sequence

from auscult.report.axes import percent, rate, share_axis
from auscult.report.blocks import (
    Axis,
    Block,
    Figure,
    Heading,
    Items,
    Key,
    LineChart,
    Mark,
    Number,
    Paragraph,
    Section,
    Series,
    Table,
)
from auscult.report.reading import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    count_interval,
    counted,
    decimal,
    expected,
    interval,
    listed,
    quoted,
    sentence,
    share,
    share_interval,
    whole,
    with_interval,
)

_STYLES = ("first", "second", "third", "fourth", "fifth", "sixth")
_USUAL = (0.01, 0.1)
_POSTERIORS = ("0.5", "0.9", "0.99")


def exposure_section(summary: Part) -> Section | None:
    """What an attacker learns in the declared deployment; None where nothing was asked."""
    cells = summary.parts("exposure")
    deployment = summary.part("deployment")
    if not cells and not deployment:
        return None
    mine = next((cell for cell in cells if cell.truth("declared")), None)
    shown = _priors_to_show(deployment)
    full = tuple(cell for cell in cells if cell.text("references") in ("all", ""))
    few = tuple(cell for cell in cells if cell not in full)
    blocks: list[Block] = [*_assumed(deployment, mine)]
    if mine is not None:
        blocks += _answer(mine, deployment)
    if full:
        blocks.append(_table(full, shown))
        figure = _figure(full, mine, deployment)
        if figure is not None:
            blocks.append(figure)
    if mine is not None and mine.parts("by_prior"):
        blocks += _by_prior(mine, deployment)
    if few:
        blocks += _by_means(few, full, shown)
    return Section(
        key="exposure",
        heading="In deployment: what an attacker learns",
        short="Deployment",
        blocks=tuple(blocks),
    )


def _priors_to_show(deployment: Part) -> tuple[float, ...]:
    declared = tuple(dict.fromkeys(p for p in deployment.numbers("prior") if p is not None))
    return declared or _USUAL


def _assumed(deployment: Part, mine: Part | None) -> list[Block]:
    """The deployment in words, as it was declared."""
    if not deployment:
        return [
            Paragraph(
                text="No deployment is declared, so this section shows what attackers reach with "
                "every access and knowledge that was looked at, and what that would mean where the "
                "cohort makes up 1% or 10% of the people whom an attacker has in mind."
            )
        ]
    low, high = (declared_priors(deployment) * 2)[:2]
    prior = percent(low) if low == high else f"{percent(low)} to {percent(high)}"
    items = [
        ("Membership reveals:", quoted(deployment.text("reveals")) + "."),
        ("The attacker draws from:", quoted(deployment.text("population")) + "."),
        ("Share of the cohort in it (prior):", f"{prior}."),
    ]
    prevalence = deployment.number("prevalence")
    if prevalence is not None:
        items.append(("Prevalence outside the cohort:", f"{percent(prevalence)}."))
    if mine is not None:
        items += [
            ("The interface returns:", f"{mine.text('access_label')}."),
            ("The attacker holds:", f"{mine.text('knowledge_label')}."),
            ("The attacker can train:", f"{_means(mine)}."),
        ]
    return [
        Paragraph(text="What is declared, and what the figures below take as given:"),
        Items(items=tuple(items)),
    ]


def _means(cell: Part) -> str:
    said = cell.content().get("references")
    if said == "all":
        return "as many reference models as the audit has"
    if said == 0:
        return "no reference model"
    return counted(float(said) if isinstance(said, int) else None, "reference model")


def _answer(mine: Part, deployment: Part) -> list[Block]:
    """The declared cell in sentences."""
    if mine.reason() and not mine.parts("by_prior"):
        return [
            Paragraph(
                text=f"What this attacker learns: {NOT_ESTIMABLE}. {sentence(mine.reason())}",
                style="absent",
            )
        ]
    priors = declared_priors(deployment)
    rows = [row for row in mine.parts("by_prior") if row.number("prior") in priors]
    texts = []
    exposed = mine.part("exposed").part("0.9")
    if exposed.number("estimate") is not None:
        texts.append(
            f"{expected(exposed.number('estimate'))} of "
            f"{counted(mine.number('patients'), 'patient')} can be told with an AUC above 0.9 "
            f"(95% interval {count_interval(exposed.number('low'), exposed.number('high'))}; by "
            f"chance alone: {expected(exposed.number('null'))})."
        )
    for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        ppv = row.part("ppv")
        texts.append(
            f"Where the cohort is {percent(row.number('prior') or 0.0)} of the population, an "
            f"attacker who wrongly accuses {rate(row.number('fpr'))} of the others is right in "
            f"{_share(ppv)} of the accusations" + _moved(row) + "."
        )
    return [Paragraph(text=" ".join(texts))]


def _moved(row: Part) -> str:
    belief = row.part("belief")
    if belief.number("from") is None:
        return ""
    return (
        f", and belief that an accused person has it moves from {share(belief.number('from'))} to "
        f"{_share(belief.part('to'))}"
    )


def _share(part: Part) -> str:
    return with_interval(
        share(part.number("estimate")), share_interval(part.number("low"), part.number("high"))
    )


def _count(part: Part) -> str:
    return with_interval(
        expected(part.number("estimate")), count_interval(part.number("low"), part.number("high"))
    )


def _auc(part: Part) -> str:
    return with_interval(
        decimal(part.number("mean")), interval(part.number("low"), part.number("high"))
    )


def _row_at(cell: Part, prior: float) -> Part:
    found = [row for row in cell.parts("by_prior") if row.number("prior") == prior]
    return found[0] if found else Part(None)


def by_knowledge(cells: tuple[Part, ...]) -> list[Part]:
    """Cells, those of the same knowledge one after the other."""
    order = list(dict.fromkeys(cell.text("knowledge") for cell in cells))
    return sorted(cells, key=lambda one: order.index(one.text("knowledge")))


def same_together(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """One row for all accesses (the first column) that give the same in every other column."""
    found: dict[tuple[str, ...], list[str]] = {}
    for access, *others in rows:
        found.setdefault(tuple(others), []).append(access)
    return tuple((listed(accesses), *others) for others, accesses in found.items())


def declared_priors(deployment: Part) -> tuple[float, ...]:
    """The ends of the declared range; 1% and 10% where nothing is declared."""
    known = tuple(p for p in deployment.numbers("prior") if p is not None)
    return known or _USUAL


def _table(cells: tuple[Part, ...], priors: tuple[float, ...]) -> Table:
    """Every access with every knowledge."""
    rows = []
    for cell in by_knowledge(cells):
        auc, exposed = cell.part("auc"), cell.part("exposed").part("0.9")
        mark = " (declared)" if cell.truth("declared") else ""
        rows.append(
            (
                cell.text("access_label") + mark,
                cell.text("knowledge_label"),
                *(_share(_row_at(cell, prior).part("ppv")) for prior in priors),
                _count(exposed),
                _auc(auc),
                decimal(auc.number("null_mean")),
                whole(cell.number("patients")),
            )
        )
    return Table(
        caption="What each access and each knowledge gives an attacker",
        columns=(
            "Access",
            "Knowledge",
            *(f"PPV at {percent(prior)} (95% interval)" for prior in priors),
            "Above 0.9 (95% interval)",
            "Mean AUC (95% interval)",
            "By chance",
            "Patients",
        ),
        rows=same_together(rows),
        notes=tuple(_notes(cells)),
        text_columns=frozenset({0, 1}),
        key="exposure",
    )


def _notes(cells: tuple[Part, ...]) -> list[str]:
    rates = dict.fromkeys(
        rate(row.number("fpr")) for cell in cells for row in cell.parts("by_prior")[:1]
    )
    wrong = (
        f" when the attacker wrongly accuses {_span(list(rates))} of the others" if rates else ""
    )
    notes = [
        (
            "Mean AUC: over patients, of the attack on each. Above 0.9: patients whose own AUC "
            "lies above it. PPV at a prior (the cohort's share of the population): of the people "
            f"who are accused, the share who are members{wrong}."
        )
    ]
    asked = {cell.text("access_label"): cell.number("queries") for cell in cells[::-1]}
    several = [f"{name} {whole(number)}" for name, number in asked.items() if (number or 0) > 1]
    if several:
        notes.append(f"Questions per record: {listed(several)}, all others 1.")
    longer = dict.fromkeys(
        f"{cell.text('knowledge_label')}: {cell.text('knowledge')}"
        for cell in cells
        if ":" in cell.text("knowledge")
    )
    if longer:
        notes.append(f"{sentence('; '.join(longer))}")
    for cell in cells:
        compared = cell.part("compared")
        if compared and cell.text("access") == "probabilities":
            notes.append(
                f"{sentence(cell.text('knowledge_label'))[:-1]}: the attack on the records trained "
                f"on has, on the same {counted(compared.number('patients'), 'patient')}, a mean "
                f"AUC of {_auc(compared.part('auc'))}. The score learns from the other models "
                "whether membership raises or lowers confidence in such a record."
            )
    errors = [
        value for cell in cells if (value := cell.part("calibration").number("error")) is not None
    ]
    if errors:
        notes.append(
            "Posteriors were checked on models that did not calibrate them: expected calibration "
            f"error at most {decimal(max(errors))}."
        )
    reasons = dict.fromkeys(
        f"{cell.text('access_label')}, {cell.text('knowledge_label')}: {cell.reason()}"
        for cell in cells
        if cell.reason()
    )
    if reasons:
        notes.append(f"Not estimable: {listed(list(reasons))}.")
    notes += [sentence(text) for text in dict.fromkeys(cell.text("method") for cell in cells)]
    return notes


def _span(rates: list[str]) -> str:
    return rates[0] if len(rates) == 1 else f"{min(rates, key=_value)} to {max(rates, key=_value)}"


def _value(text: str) -> float:
    return float(text.removesuffix("%")) if text.endswith("%") else 0.0


def _figure(cells: tuple[Part, ...], mine: Part | None, deployment: Part) -> Figure | None:
    """PPV over the prior, one line per access, for what the attacker holds."""
    held = mine.text("knowledge") if mine is not None else cells[0].text("knowledge")
    own = [
        cell for cell in cells if cell.text("knowledge") == held and len(cell.parts("by_prior")) > 1
    ]
    if not own:
        return None
    curves: dict[tuple[Number, ...], list[Part]] = {}
    for cell in own:
        curve = tuple(row.part("ppv").number("estimate") for row in cell.parts("by_prior"))
        curves.setdefault(tuple(v if v is None else round(v, 3) for v in curve), []).append(cell)
    grid = tuple(row.number("prior") or 0.0 for row in own[0].parts("by_prior"))
    series = []
    for place, (curve, same) in enumerate(curves.items()):
        rows = same[0].parts("by_prior")
        main = mine in same if mine is not None else place == 0
        series.append(
            Series(
                name=listed([cell.text("access_label") for cell in same]).capitalize(),
                style=_STYLES[place % len(_STYLES)],
                x=grid,
                y=curve,
                low=tuple(row.part("ppv").number("low") for row in rows) if main else (),
                high=tuple(row.part("ppv").number("high") for row in rows) if main else (),
            )
        )
    guess = Series(name="Guessing", style="null", x=grid, y=grid)
    priors = [p for p in deployment.numbers("prior") if p is not None]
    marks = [Mark(at=p, label=f"Prior {percent(p)}") for p in dict.fromkeys(priors)]
    label = own[0].text("knowledge_label")
    first = series[0]
    return Figure(
        key="exposure",
        name="Share of accusations that are right, over the cohort's share of the population",
        plot=LineChart(
            x=_prior_axis(grid),
            y=share_axis("Accusations that are right (PPV)"),
            series=(*series, guess),
            marks=tuple(marks),
        ),
        legend=tuple(Key(name=s.name, style=s.style, shape="line") for s in (*series, guess)),
        sentence=f"The rarer members are, the less an accusation is worth: with {label}, it is "
        f"right in {share(first.y[0])} of the cases at a prior of {percent(grid[0])} and in "
        f"{share(first.y[-1])} at {percent(grid[-1])} ({first.name.lower()}).",
        small_print=f"n = {counted(own[0].number('patients'), 'patient')}. Band: 95% interval of "
        "one access. Accesses whose lines are the same share one. Method: that of the table above.",
        table=Table(
            caption="Share of accusations that are right",
            columns=("Prior", *(s.name for s in series)),
            rows=tuple(
                (percent(prior), *(share(s.y[place]) for s in series))
                for place, prior in enumerate(grid)
            ),
            key="exposure-curve",
        ),
    )


def _prior_axis(grid: tuple[float, ...]) -> Axis:
    lowest = math.floor(math.log10(min(grid)) + 1e-9)
    ticks = [10.0**k for k in range(lowest, 1)]
    return Axis(
        label="Prior: the cohort's share of the population (logarithmic scale)",
        low=ticks[0],
        high=1.0,
        ticks=tuple((tick, percent(tick)) for tick in ticks),
        scale="log",
    )


def _by_prior(mine: Part, deployment: Part) -> list[Block]:
    """What the declared attacker's findings mean, prior by prior."""
    declared = set(declared_priors(deployment))
    with_belief = any(row.part("belief") for row in mine.parts("by_prior"))
    rows, believed = [], []
    for row in mine.parts("by_prior"):
        named = row.part("named")
        belief = row.part("belief")
        mark = " (declared)" if row.number("prior") in declared else ""
        prior = percent(row.number("prior") or 0.0) + mark
        rows.append(
            (
                prior,
                *(
                    cell
                    for q in _POSTERIORS
                    for cell in (
                        _count(named.part(q).part("patients")),
                        _count(named.part(q).part("false")),
                    )
                ),
            )
        )
        known = [share(belief.number("from")), _share(belief.part("to"))] if with_belief else []
        believed.append((prior, _share(row.part("ppv")), *known))
    who = Table(
        caption="The declared attacker: who is named",
        columns=(
            "Prior",
            *(
                column
                for q in _POSTERIORS
                for column in (f"Named at {q} (95% interval)", f"Falsely at {q} (95% interval)")
            ),
        ),
        rows=tuple(rows),
        notes=(
            (
                "Named: patients of a model trained on the whole cohort whose posterior of "
                "membership exceeds the value; falsely: people of the population who are no "
                "members and are named with them. 0 with an interval above it: none was counted "
                "among the models at hand."
            ),
        ),
        key="exposure-priors",
    )
    what = Table(
        caption="The declared attacker: what is believed of the accused",
        columns=(
            "Prior",
            "PPV (95% interval)",
            *(["Belief before", "Belief after (95% interval)"] if with_belief else []),
        ),
        rows=tuple(believed),
        notes=(
            *(
                [
                    (
                        "Belief: how sure one may be that a person has what membership reveals, "
                        "before the attack and after an accusation. Members have it; others with "
                        "the prevalence."
                    )
                ]
                if with_belief
                else []
            ),
        ),
        key="exposure-beliefs",
    )
    return [who, what]


def _by_means(
    few: tuple[Part, ...], full: tuple[Part, ...], priors: tuple[float, ...]
) -> list[Block]:
    """The same attacker with fewer reference models."""
    first = few[0]
    same = [
        cell
        for cell in full
        if cell.text("access") == first.text("access")
        and cell.text("knowledge") == first.text("knowledge")
    ]
    rows = []
    for cell in (*few, *same):
        at = _row_at(cell, priors[0])
        mark = " (declared)" if cell.truth("declared") else ""
        rows.append(
            (
                cell.text("references") + mark,
                decimal(cell.part("over_all").number("auc")),
                _share(at.part("tpr")),
                *(_share(_row_at(cell, prior).part("ppv")) for prior in priors),
            )
        )
    return [
        Heading(text="How much the attacker's means matter"),
        Table(
            caption="Reference models that the attacker can train",
            columns=(
                "Reference models",
                "AUC over all people",
                "Members found (95% interval)",
                *(f"PPV at {percent(prior)} (95% interval)" for prior in priors),
            ),
            rows=tuple(rows),
            notes=(
                (
                    f"Access: {first.text('access_label')}. Knowledge: "
                    f"{first.text('knowledge_label')}. AUC over all people: one threshold for "
                    "everybody, so it also counts how well the attacker knows where a patient's "
                    "threshold lies."
                ),
                (
                    "The models are drawn for each target; from them the attacker learns what to "
                    "expect of a patient's mean signal with and without its records. Without any, "
                    "the signal itself is the score."
                ),
            ),
            key="exposure-means",
        ),
    ]
