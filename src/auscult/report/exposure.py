"""The section on deployment: what attackers learn with which access, knowledge and means."""

from __future__ import annotations

from auscult.report.changes import share_of
from auscult.report.elements import (
    Block,
    Items,
    Paragraph,
    Section,
)
from auscult.report.exposure_tables import (
    USUAL,
    cells_table,
    means_blocks,
    prior_figure,
    priors_tables,
    usual_priors,
)
from auscult.report.figures.axes import percent, rate
from auscult.report.label import label_reveals
from auscult.report.numbers import bounds_only
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    count_interval,
    counted,
    decimal,
    expected,
    interval,
    quoted,
    sentence,
    share,
    whole,
)


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
    blocks: list[Block] = [*_assumed(deployment, mine, label_reveals(summary))]
    if mine is not None:
        blocks += _answer(mine, deployment, few=bounds_only(summary))
    if full:
        blocks.append(cells_table(full, shown, few=bounds_only(summary)))
        blocks += _with_weights(full)
        figure = prior_figure(full, mine, deployment)
        if figure is not None:
            blocks.append(figure)
    if mine is not None and mine.parts("by_prior"):
        blocks += priors_tables(mine, deployment)
    if few:
        blocks += means_blocks(few, full, shown)
    return Section(
        key="exposure",
        heading="In deployment: what an attacker learns",
        short="Deployment",
        blocks=tuple(blocks),
    )


def _priors_to_show(deployment: Part) -> tuple[float, ...]:
    declared = tuple(dict.fromkeys(p for p in deployment.numbers("prior") if p is not None))
    return declared or USUAL


def _assumed(deployment: Part, mine: Part | None, label: str) -> list[Block]:
    """The deployment in words, as it was declared, and what the label adds to it."""
    if not deployment:
        return [
            *([Paragraph(text=label)] if label else []),
            Paragraph(
                text="No deployment is declared, so this section shows what attackers achieve "
                "with each type of access and knowledge that was assessed, and what it would "
                "mean if the cohort made up 1% or 10% of the people whom an attacker "
                "considers."
            ),
        ]
    low, high = (usual_priors(deployment) * 2)[:2]
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
    if label:
        items.insert(1, ("Beyond what is declared:", label))
    return [
        Paragraph(text="What is declared, and what the figures below assume:"),
        Items(items=tuple(items)),
    ]


def _means(cell: Part) -> str:
    said = cell.content().get("references")
    if said == "all":
        return "as many reference models as the audit has"
    if said == 0:
        return "no reference model"
    return counted(float(said) if isinstance(said, int) else None, "reference model")


def _answer(mine: Part, deployment: Part, *, few: bool) -> list[Block]:
    """The declared cell in sentences."""
    if mine.reason() and not mine.parts("by_prior"):
        return [
            Paragraph(
                text=f"What this attacker learns: {NOT_ESTIMABLE}. {sentence(mine.reason())}",
                style="absent",
            )
        ]
    priors = usual_priors(deployment)
    rows = [row for row in mine.parts("by_prior") if row.number("prior") in priors]
    texts = []
    exposed = mine.part("exposed").part("0.9")
    if exposed.number("estimate") is not None:
        bounds = count_interval(exposed.number("low"), exposed.number("high"))
        number = bounds if few else whole(exposed.number("estimate"))
        texts.append(
            f"{number[0].upper()}{number[1:]} of "
            f"{counted(mine.number('patients'), 'patient')} can be recognised as members with an "
            f"AUC above 0.9 ({'' if few else f'95% interval {bounds}; '}by chance alone: "
            f"{expected(exposed.number('null'))})."
        )
    for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        ppv = row.part("ppv")
        texts.append(
            f"Where the cohort is {percent(row.number('prior') or 0.0)} of the population, an "
            f"attacker who wrongly accuses {rate(row.number('fpr'))} of the others is right in "
            f"{share_of(ppv)} of the accusations" + _moved(row) + "."
        )
    return [Paragraph(text=" ".join(texts))]


def _with_weights(cells: tuple[Part, ...]) -> list[Block]:
    """What who has the weights learns beyond who gets answers; empty where that was not asked."""
    texts = []
    for cell in cells:
        beyond = cell.part("beyond")
        if not beyond:
            continue
        gain, before = beyond.part("difference"), beyond.part("auc")
        known = f"{cell.text('knowledge_label')}, {counted(beyond.number('patients'), 'patient')}"
        if cell.part("further").truth("used"):
            texts.append(
                f"Who has the weights reaches a mean AUC of "
                f"{decimal(cell.part('auc').number('mean'))}, against "
                f"{decimal(before.number('mean'))} from all logits ({known}): a difference of "
                f"{decimal(gain.number('mean'))} "
                f"({interval(gain.number('low'), gain.number('high'))})."
            )
        else:
            texts.append(
                "Who has the weights learns nothing here beyond all logits, mean AUC "
                f"{decimal(before.number('mean'))} ({known})."
            )
    if not texts:
        return []
    texts.append(
        "Weights that are handed out once are handed out for good. What was looked at is what the "
        "table's notes name; attacks on weights that nobody has published yet may find more."
    )
    return [Paragraph(text=" ".join(texts))]


def _moved(row: Part) -> str:
    belief = row.part("belief")
    if belief.number("from") is None:
        return ""
    return (
        f", and belief that an accused person has it moves from {share(belief.number('from'))} to "
        f"{share_of(belief.part('to'))}"
    )
