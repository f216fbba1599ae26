"""The tables and the picture of a deployment: every access, knowledge and means."""

from __future__ import annotations

import math
from collections.abc import Sequence

from auscult.report.changes import share_of
from auscult.report.elements import (
    Axis,
    Block,
    Figure,
    Heading,
    Key,
    LineChart,
    Mark,
    Number,
    Series,
    Table,
)
from auscult.report.figures.axes import percent, rate, share_axis
from auscult.report.numbers import exposed_cell
from auscult.report.summary import Part
from auscult.report.words import (
    count_interval,
    counted,
    decimal,
    expected,
    interval,
    listed,
    sentence,
    share,
    whole,
    with_interval,
)

_STYLES = ("first", "second", "third", "fourth", "fifth", "sixth")
USUAL = (0.01, 0.1)
_POSTERIORS = ("0.5", "0.9", "0.99")


def _count(part: Part) -> str:
    return with_interval(
        expected(part.number("estimate")), count_interval(part.number("low"), part.number("high"))
    )


def _auc(part: Part) -> str:
    return with_interval(
        decimal(part.number("mean")), interval(part.number("low"), part.number("high"))
    )


def row_at(cell: Part, prior: float) -> Part:
    """What a cell finds at a prior; empty where it has none."""
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


def cells_table(cells: tuple[Part, ...], priors: tuple[float, ...], *, few: bool = False) -> Table:
    """Every access with every knowledge.

    Parameters
    ----------
    cells : tuple of Part
    priors : tuple of float
    few : bool
        Whether models are too few for more than bounds of a number of patients.
    """
    rows = []
    for cell in by_knowledge(cells):
        auc, exposed = cell.part("auc"), cell.part("exposed").part("0.9")
        mark = " (declared)" if cell.truth("declared") else ""
        rows.append(
            (
                cell.text("access_label") + mark,
                cell.text("knowledge_label"),
                *(share_of(row_at(cell, prior).part("ppv")) for prior in priors),
                exposed_cell(exposed, few),
                _auc(auc),
                decimal(auc.number("null_mean")),
                whole(cell.number("patients")),
            )
        )
    return Table(
        caption="What each type of access and knowledge gives an attacker",
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
    notes += further_notes(cells)
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
        most = math.ceil(1000 * max(errors)) / 1000  # "at most" is never rounded down
        notes.append(
            "Posteriors were checked on models that were not used to calibrate them: expected "
            f"calibration error at most {decimal(most)}."
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


def further_notes(cells: tuple[Part, ...]) -> list[str]:
    """What else is seen of a record than its truth's log-odds, and whether it was of use.

    Parameters
    ----------
    cells : tuple of Part
    """
    said: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        further = cell.part("further")
        if further:
            names = listed(further.texts("signals"))
            outcome = "" if further.truth("used") else further.text("reason")
            where = f"{cell.text('access_label')}, {cell.text('knowledge_label')}"
            said.setdefault((names, outcome), []).append(where)
    return [
        f"Beside the log-odds of the truth ({listed(where)}): {names}. "
        + (
            f"They are left out: {outcome}."
            if outcome
            else "They are weighed in, by weights that are learned from other patients."
        )
        for (names, outcome), where in said.items()
    ]


def _span(rates: list[str]) -> str:
    return rates[0] if len(rates) == 1 else f"{min(rates, key=_value)} to {max(rates, key=_value)}"


def _value(text: str) -> float:
    return float(text.removesuffix("%")) if text.endswith("%") else 0.0


def prior_figure(cells: tuple[Part, ...], mine: Part | None, deployment: Part) -> Figure | None:
    """PPV over the prior, one line per access, for what the attacker holds.

    Parameters
    ----------
    cells : tuple of Part
        Cells of the exposure table.
    mine : Part or None
        The deployment's own cell.
    deployment : Part
    """
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
    for place, same in enumerate(curves.values()):
        rows = same[0].parts("by_prior")
        main = mine in same if mine is not None else place == 0
        series.append(
            Series(
                name=listed([cell.text("access_label") for cell in same]).capitalize(),
                style=_STYLES[place % len(_STYLES)],
                x=grid,
                # Of the first: what is rounded to find lines that lie on each other is not shown.
                y=tuple(row.part("ppv").number("estimate") for row in rows),
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
        "one access. Types of access with the same line share one. Method: as in the "
        "table above.",
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


def priors_tables(mine: Part, deployment: Part) -> list[Table]:
    """What the declared attacker's findings mean, prior by prior."""
    declared = set(usual_priors(deployment))
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
        known = [share(belief.number("from")), share_of(belief.part("to"))] if with_belief else []
        believed.append((prior, share_of(row.part("ppv")), *known))
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
                "membership exceeds the value; falsely: people of the population who are not "
                "members and are named as well. 0 with an interval above it: none was counted "
                "among the available models."
            ),
        ),
        key="exposure-priors",
    )
    what = Table(
        caption="The declared attacker: what is believed about the accused",
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
                        "Belief: the probability that a person has what membership reveals, "
                        "before the attack and after an accusation. Members have it; others have "
                        "it with the declared prevalence."
                    )
                ]
                if with_belief
                else []
            ),
        ),
        key="exposure-beliefs",
    )
    return [who, what]


def means_blocks(
    few: tuple[Part, ...], full: tuple[Part, ...], priors: tuple[float, ...]
) -> list[Block]:
    """The same attacker with fewer reference models.

    Parameters
    ----------
    few, full : tuple of Part
        Cells with few reference models, and with all.
    priors : tuple of float
    """
    first = few[0]
    same = [
        cell
        for cell in full
        if cell.text("access") == first.text("access")
        and cell.text("knowledge") == first.text("knowledge")
    ]
    rows = []
    for cell in (*few, *same):
        at = row_at(cell, priors[0])
        mark = " (declared)" if cell.truth("declared") else ""
        rows.append(
            (
                cell.text("references") + mark,
                decimal(cell.part("over_all").number("auc")),
                share_of(at.part("tpr")),
                *(share_of(row_at(cell, prior).part("ppv")) for prior in priors),
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


def usual_priors(deployment: Part) -> tuple[float, ...]:
    """The declared priors, or usual ones."""
    known = tuple(p for p in deployment.numbers("prior") if p is not None)
    return known or USUAL
