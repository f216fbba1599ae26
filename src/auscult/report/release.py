"""The section on the model that is to go out: who would be named, rightly and falsely."""

from __future__ import annotations

from auscult.report.account import carried
from auscult.report.changes import share_of
from auscult.report.elements import (
    Block,
    Figure,
    Heading,
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
    count_interval,
    counted,
    decimal,
    interval,
    listed,
    quoted,
    sentence,
    share,
    share_interval,
    signed,
    signed_interval,
    whole,
    with_interval,
)


def release_section(summary: Part) -> Section | None:
    """The release audit; None where no release was asked."""
    release = summary.part("release")
    if not release:
        return None
    blocks: list[Block] = [
        Paragraph(text=_what(release)),
        Paragraph(text=_who(release)),
    ]
    if told := outside_sentence(release):
        blocks.append(Paragraph(text=told))
    if release.part("blind").part("auc").number("mean") is not None:
        blocks.append(Paragraph(text=blind_sentence(release)))
    if release.reason():
        because = sentence(release.reason())
        blocks.append(
            Paragraph(text=f"The release audit: {NOT_ESTIMABLE}. {because}", style="absent")
        )
        return _section([*blocks, *carried(summary)])
    blocks += _likeness(release.part("likeness"))
    if told := transfer_sentence(release):
        style = "absent" if release.part("transfer").truth("other_share") else ""
        blocks.append(Paragraph(text=told, style=style))
    blocks += _weights(release)
    blocks.append(_named(release))
    at_rate = release.parts("at_fpr")
    if at_rate:
        blocks.append(_at_rate(release, at_rate))
    blocks += _calibration(release.part("calibration"))
    return _section([*blocks, *carried(summary)])


def _weights(release: Part) -> list[Block]:
    """What somebody learns who has the weights of the release; empty where that was not asked."""
    white = release.part("white_box")
    if not white:
        return []
    if not white.truth("assessed"):
        return [Paragraph(text=f"The weights of this release: {white.text('reason')}.")]
    mine, plain = white.part("auc"), release.part("auc")
    further = white.part("further")
    seen = listed(further.texts("signals"))
    weighed = "weighed in" if further.truth("used") else "left out, as they did not help"
    if mine.number("estimate") is None:
        figures = f"AUC over patients {NOT_ESTIMABLE} ({mine.text('reason')})"
    else:
        figures = (
            f"AUC over patients {decimal(mine.number('estimate'))} "
            f"({interval(mine.number('low'), mine.number('high'))}), against "
            f"{decimal(plain.number('estimate'))} from its answers"
        )
    return [
        Paragraph(
            text=f"Somebody who has the weights of this release: {figures}. Looked at besides the "
            f"answers: {seen} ({weighed}). Who is named, below, follows from answers alone."
        )
    ]


def _section(blocks: list[Block]) -> Section:
    return Section(
        key="release",
        heading="This release: whom would it expose?",
        short="Release",
        blocks=tuple(blocks),
    )


def _what(release: Part) -> str:
    name = release.text("name")
    name = f"The model {quoted(name)}" if name else "The model to be released"
    version = f", version {release.text('version')}," if release.text("version") else ""
    doors = {
        "file": "a file of its outputs",
        "function": "a function",
        "onnx": "its ONNX file",
        "endpoint": "its endpoint",
    }
    door = doors.get(release.text("door"), release.text("door") or "an unknown door")
    decimals = release.number("decimals")
    rounded = f", rounded to {decimals:.0f} decimals" if decimals is not None else ""
    if release.truth("labels_only") is True:
        rounded = ", which are labels only (every one is 0 or 1)"
    return (
        f"{name}{version} was asked about every record through {door}; it shows "
        f"{release.text('output') or 'its outputs'}{rounded}. The shadow models, seen in the same "
        "way, tell how likely each patient is to be among its members."
    )


def _who(release: Part) -> str:
    members = release.part("members")
    if members.truth("known") is not True:
        return (
            "It is not known which patients trained it, so nobody can be counted as correctly or "
            "falsely named. The expected number of members among the named follows from the "
            "probabilities."
        )
    if members.reason():
        return f"Its members are known, but {members.reason()}."
    parts = [
        f"{whole(members.number(key))} {what}"
        for key, what in (
            ("members", "trained it"),
            ("non_members", "did not"),
            ("unknown", "may or may not have (not known)"),
        )
        if members.number(key)
    ]
    unmatched = members.number("unmatched")
    more = (
        f" {counted(unmatched, 'identifier')} of the list {'is' if unmatched == 1 else 'are'} not "
        "in the cohort."
        if unmatched
        else ""
    )
    return f"Of the cohort's patients, {listed(parts)}.{more}"


def blind_sentence(release: Part) -> str:
    """Whether members can be told from others without the model; empty where not tried."""
    blind = release.part("blind")
    auc = blind.part("auc")
    if auc.number("mean") is None:
        return ""
    figure = with_interval(
        decimal(auc.number("mean")), interval(auc.number("low"), auc.number("high"))
    )
    if blind.truth("above_chance"):
        return (
            "Without any model, the records alone tell its members from the others (AUC "
            f"{figure}): so separating them is not evidence that the model memorised anybody."
        )
    return (
        "Without any model, the records alone do not tell its members from the others (AUC "
        f"{figure})."
    )


def outside_sentence(release: Part) -> str:
    """What non-members from elsewhere can show, and what not; empty where there are none."""
    outside = release.part("outside")
    if not outside:
        return ""
    many = outside.number("patients")
    who = "Non-members" if many is None else f"{counted(many, 'patient')} of its non-members"
    come = "comes" if many == 1 else "come"
    text = (
        f"{who} {come} from elsewhere; the shadow models trained on them as on anybody in the "
        "cohort, and all figures of the cohort include them."
    )
    blind = outside.part("blind")
    auc = blind.part("auc")
    if auc.number("mean") is None:
        return f"{text} Whether they are like its members is not known: {blind.reason()}."
    figure = with_interval(
        decimal(auc.number("mean")), interval(auc.number("low"), auc.number("high"))
    )
    if blind.truth("above_chance"):
        return (
            f"{text} The records alone tell its members from them (AUC {figure}): false positive "
            "rates and calibration among them do not show what holds for non-members like its "
            "members."
        )
    return (
        f"{text} The records alone do not tell its members from them (AUC {figure}), which does "
        "not prove that they are alike."
    )


def _likeness(likeness: Part) -> list[Block]:
    blocks: list[Block] = []
    if likeness.truth("verdict") is False:
        blocks.append(
            Paragraph(
                text=f"This model is not like the shadow models: {likeness.reason()}. What they "
                "say about it may not hold, and a small number of named patients is not "
                "reassuring: rely on the number of exposed patients, which is about the "
                "recipe.",
                style="absent",
            )
        )
    return blocks


def transfer_sentence(release: Part) -> str:
    """How far the shadow models' probabilities hold for this release; empty where not known."""
    moved = release.part("transfer")
    trained, shadow = moved.number("share"), moved.number("shadow_share")
    parts = []
    for key, who in (("members", "members"), ("non_members", "non-members")):
        side = moved.part(key)
        difference = side.part("difference")
        if difference.number("estimate") is None:
            continue
        bounds = signed_interval(difference.number("low"), difference.number("high"))
        figure = with_interval(signed(difference.number("estimate")), bounds)
        parts.append(
            f"{decimal(side.number('posterior'))} for its {who}, {decimal(side.number('shadow'))} "
            f"for them in the shadow models (difference {figure})"
        )
    if trained is None or not parts:
        return ""
    text = f"Mean probability of membership at a prior of one half: {'; '.join(parts)}."
    if moved.truth("other_share") is not True:
        return text
    error = moved.part("error")
    off = with_interval(
        decimal(error.number("estimate")), interval(error.number("low"), error.number("high"))
    )
    text = (
        f"It trained on {share(trained)} of the patients, the shadow models on {share(shadow)}. "
        f"{text} The probabilities may therefore be off by {off}."
    )
    if len(parts) == 1:
        text += (
            " The other side is not known and was taken to be off by as much: patients who did not "
            "train it would tell."
        )
    return text


def _count_of(part: Part) -> str:
    value = part.number("estimate")
    if value is None:
        return NOT_ESTIMABLE
    return with_interval(whole(value), count_interval(part.number("low"), part.number("high")))


def _reasons(rows: tuple[Part, ...]) -> tuple[str, ...]:
    found = [row.part(key).reason() for row in rows for key in ("true", "false")]
    return tuple(
        f"{NOT_ESTIMABLE.capitalize()}: {reason}." for reason in dict.fromkeys(found) if reason
    )


_OWN_SHARE = (
    "Members expected: if the share of members in the population were the prior shown. Members and "
    "others named are counted among this cohort's patients, whatever the prior."
)


_ANOTHER_DRAW = (
    "Intervals of members and others who are named allow for another draw of members and others: "
    "they may reach beyond the number named."
)


def _named(release: Part) -> Table:
    rows = release.parts("named")
    priors = len({row.number("prior") for row in rows}) > 1
    cells = []
    for row in rows:
        label = f"at least {row.number('posterior'):g}"
        if priors:
            label += f", prior {row.number('prior'):.3g}"
        cells.append(
            (
                label,
                whole(row.number("patients")),
                _count_of(row.part("expected_members")),
                _count_of(row.part("true")),
                _count_of(row.part("false")),
                share_of(row.part("fpr")),
                share(row.number("shadow_fpr")),
            )
        )
    estimable = counted(release.number("estimable"), "patient")
    return Table(
        caption="Patients whom an attacker would name as members",
        columns=(
            "Probability of membership",
            "Named",
            "Members expected (95% interval)",
            "Members named (95% interval)",
            "Falsely named (95% interval)",
            "False positive rate (95% interval)",
            "The same, shadow models",
        ),
        rows=tuple(cells),
        notes=(
            f"n = {estimable}. {sentence(release.text('method'))}",
            *((_OWN_SHARE,) if priors else ()),
            *((_ANOTHER_DRAW,) if any(row.part("true") for row in rows) else ()),
            *_reasons(rows),
        ),
        key="release-named",
    )


def _at_rate(release: Part, rows: tuple[Part, ...]) -> Table:
    cells = []
    notes = []
    for row in rows:
        if row.number("patients") is None:
            notes.append(f"{share(row.number('rate'))}: {NOT_ESTIMABLE}, {row.reason()}.")
        cells.append(
            (
                share(row.number("rate")),
                whole(row.number("patients")),
                _count_of(row.part("true")),
                share_of(row.part("tpr")),
                share_of(row.part("fpr")),
                share(row.number("shadow_tpr")),
            )
        )
    models = counted(release.number("models"), "shadow model")
    return Table(
        caption="Members named at a threshold with a given false positive rate",
        columns=(
            "False positive rate aimed at",
            "Named",
            "Members named (95% interval)",
            "Share of members (95% interval)",
            "False positive rate found (95% interval)",
            "Share of members, shadow models",
        ),
        rows=tuple(cells),
        notes=(
            (
                f"The threshold is set on {models}, each judged by an attack that was fitted on "
                "others, and not on the release."
            ),
            *notes,
            *_reasons(rows),
        ),
        key="release-rates",
    )


def _calibration(calibration: Part) -> list[Block]:
    bins = [row for row in calibration.parts("bins") if row.number("pairs")]
    if not bins:
        return []
    ece, brier = calibration.part("ece"), calibration.part("brier")
    error = with_interval(
        decimal(ece.number("estimate"), 4), interval(ece.number("low"), ece.number("high"), 4)
    )
    score = with_interval(
        decimal(brier.number("estimate")), interval(brier.number("low"), brier.number("high"))
    )
    x = tuple(row.number("posterior") or 0.0 for row in bins)
    chart = LineChart(
        x=share_axis("Claimed probability of membership"),
        y=share_axis("Share that were members"),
        series=(
            Series(name="claimed", style="null", x=(0.0, 1.0), y=(0.0, 1.0)),
            Series(
                name="observed",
                style="joint",
                x=x,
                y=tuple(row.number("observed") for row in bins),
                low=tuple(row.number("low") for row in bins),
                high=tuple(row.number("high") for row in bins),
            ),
        ),
    )
    table = Table(
        caption=(
            "Claimed and observed membership among shadow models that took the place of the release"
        ),
        columns=("Claimed between", "Pairs", "Claimed, mean", "Members (95% interval)"),
        rows=tuple(
            (
                f"{row.number('from'):.1f} and {row.number('to'):.1f}",
                whole(row.number("pairs")),
                share(row.number("posterior")),
                with_interval(
                    share(row.number("observed")),
                    share_interval(row.number("low"), row.number("high")),
                ),
            )
            for row in bins
        ),
        key="calibration",
    )
    return [
        Heading(text="Can the probabilities be trusted?"),
        Figure(
            key="calibration",
            name="Reliability of the probabilities of membership",
            plot=chart,
            legend=(
                Key(name="observed, 95% interval", style="joint", shape="line"),
                Key(name="as claimed", style="null", shape="line"),
            ),
            sentence=f"On average the claimed probability is off by {error}; counting noise alone "
            f"would give {decimal(ece.number('null'), 4)}.",
            small_print=f"n = {counted(calibration.number('pairs'), 'pair')} of a patient and a "
            f"shadow model. Brier score {score}; 0.25 without any knowledge. "
            f"{sentence(calibration.text('method'))}",
            table=table,
        ),
    ]
