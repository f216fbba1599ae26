"""Section on private training: what it promises, what was found, and whether both agree."""

from __future__ import annotations

from auscult.report.elements import (
    Block,
    Figure,
    Key,
    LineChart,
    Paragraph,
    Section,
    Series,
    Table,
)
from auscult.report.figures.axes import share_axis
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    counted,
    decimal,
    interval,
    sentence,
    share,
    whole,
    with_interval,
)

_FLOOR = 1e-4
_NO_LIMIT = 1e-9


def defects(summary: Part) -> tuple[str, ...]:
    """What contradicts the guarantee; it comes before everything else."""
    return tuple(sentence(text) for text in summary.part("guarantee").texts("defects"))


def guarantee_section(summary: Part) -> Section | None:
    """Promise beside finding; None for a recipe that promises nothing."""
    part = summary.part("guarantee")
    if not part:
        return None
    dp = part.part("dp")
    blocks: list[Block] = [Paragraph(text=text, style="verdict") for text in defects(summary)]
    blocks.append(Paragraph(text=_promise(dp)))
    if dp.number("noise"):
        blocks += [_figure(summary, part), _rates(part)]
    blocks += [_bands(part), Paragraph(text=_empirical(part.part("empirical")))]
    return Section(
        key="guarantee",
        heading="What the training guarantees, and what was found",
        short="Guarantee",
        blocks=tuple(blocks),
    )


def _promise(dp: Part) -> str:
    unit = dp.text("unit")
    if not dp.number("noise"):
        return (
            f"Batches were drawn {unit} by {unit} as in differentially private training, but no "
            "noise was added: nothing is guaranteed."
        )
    whose = "one record" if unit == "record" else "all records of one patient"
    return (
        f"Trained with differential privacy at {unit} level: epsilon "
        f"{decimal(dp.number('epsilon'))} at delta {dp.number('delta'):g}. Adding or removing "
        f"{whose} changes what a model says by no more than that. Noise multiplier "
        f"{dp.number('noise'):g}, gradients clipped to a norm of {dp.text('clip')}, Poisson "
        f"sampling at a rate of {dp.number('rate'):.3g}, {whole(dp.number('steps'))} steps. Each "
        "model of this audit is a separate mechanism; the guarantee holds for anyone who sees one "
        f"of them. Not covered: the scaling ({dp.text('scaling')}); the choice of settings; this "
        "audit itself."
    )


def _figure(summary: Part, part: Part) -> Figure:
    curve = part.part("trade_off")
    fpr = tuple(value or 0.0 for value in curve.numbers("fpr"))
    bound = Series(
        name="Maximum that the guarantee allows", style="first", x=fpr, y=curve.numbers("tpr")
    )
    series = [bound]
    roc = summary.part("aggregate").part("lira").part("roc")
    if len(roc.numbers("fpr")) > 1:
        series.append(
            Series(
                name="Attack over all records (LiRA)",
                style="second",
                x=tuple(value or 0.0 for value in roc.numbers("fpr")),
                y=roc.numbers("tpr"),
            )
        )
    series.append(Series(name="Coin flip", style="null", x=fpr, y=fpr))
    unit = part.part("dp").text("unit")
    text = (
        f"No attack on one {unit} can have an AUC above {decimal(part.number('auc_bound'))} if the "
        "guarantee is kept."
    )
    return Figure(
        key="guarantee",
        name="Trade-off that the guarantee allows, beside the attack",
        plot=LineChart(
            x=share_axis("False positive rate (false alarms)", floor=_FLOOR),
            y=share_axis("True positive rate (members found)", floor=_FLOOR),
            series=tuple(series),
        ),
        legend=tuple(Key(name=s.name, style=s.style, shape="line") for s in series),
        sentence=text,
        small_print=f"{part.text('method')} The bound is for one {unit}; patients are compared in "
        "the table below, by their number of records.",
        table=Table(
            caption="Largest true positive rate at each false positive rate",
            columns=("False positive rate", "True positive rate"),
            rows=tuple(
                (f"{x:.2g}", share(y)) for x, y in list(zip(fpr, bound.y, strict=True))[::5]
            ),
            text_columns=frozenset({0}),
            key="guarantee-curve",
        ),
    )


def _rates(part: Part) -> Table:
    rates = tuple(part.part("tpr_bound").content())
    rows = [("members found", *(share(part.part("tpr_bound").number(r)) for r in rates))]
    for prior, row in part.items("ppv_bound"):
        rows.append(
            (
                f"right among those named, prior {share(float(prior))}",
                *(share(row.number(r)) for r in rates),
            )
        )
    return Table(
        caption="Maximum that any attack can reach",
        columns=("Share", *(f"at {share(float(rate))} false alarms" for rate in rates)),
        rows=tuple(rows),
        text_columns=frozenset({0}),
        key="guarantee-rates",
    )


def _bands(part: Part) -> Table:
    rows = []
    for row in part.parts("patients"):
        bound = row.number("bound")
        cell = decimal(row.number("auc"))
        if row.number("low") is not None:
            cell = with_interval(cell, interval(row.number("low"), row.number("high")))
        rows.append(
            (
                row.text("records"),
                whole(row.number("patients")),
                cell,
                "no limit" if bound is None or bound >= 1 - _NO_LIMIT else decimal(bound),
                _epsilon(row),
            )
        )
    return Table(
        caption="Patients by number of records: mean AUC found, and the bound",
        columns=("Records", "Patients", "AUC found", "AUC allowed", "Epsilon"),
        rows=tuple(rows),
        notes=(
            (
                "AUC allowed: for the largest number of records in the row; a guarantee at record "
                "level is translated to a group of that many records."
            ),
        ),
        key="guarantee-patients",
    )


def _epsilon(row: Part) -> str:
    text = row.text("epsilon")
    return "no limit" if text == "inf" else decimal(row.number("epsilon"))


def _empirical(part: Part) -> str:
    if part.number("epsilon") is None:
        return f"Lower bound for epsilon from the attack: {NOT_ESTIMABLE}. {part.reason()}."
    worst = part.part("worst")
    return (
        "Lower bound for epsilon from the attack itself, with 95% confidence: "
        f"{decimal(part.number('epsilon'))} over {counted(part.number('patients'), 'patient')} "
        f"({decimal(part.number('epsilon_if_gaussian'))} if the trade-off has a Gaussian's "
        f"shape); {decimal(worst.number('epsilon'))} for the worst of "
        f"{whole(worst.number('patients'))} patients, each taken separately, where "
        f"{whole(worst.number('models'))} models could show "
        f"{decimal(worst.number('most_possible'))} at most. {part.text('method')}"
    )
