"""Everything that a run tells of one patient, for the page about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.special import expit

from auscult.report.words import decimal, share
from auscult.viewer.beside import Beside
from auscult.viewer.contents import Line, recording, slices
from auscult.viewer.holding import Holding
from auscult.viewer.nearest import Neighbour, neighbours
from auscult.viewer.peculiar import Peculiarity, Reference, peculiarities, summary_of
from auscult.viewer.strips import curves, strips

MOST_RECORDS = 24  # on a page
MOST_LINES = 60
NO_PROTECTION = "No protection was tried in this run."
OLDER = (
    "The run does not tell what its protections do to single patients: run its command again, the "
    "results are written anew and nothing is trained."
)


@dataclass(frozen=True, kw_only=True)
class RecordRow:
    """One record: its row in the source, label, AUC, and what models give to its label."""

    number: int
    row: int
    label: str
    auc: float | None
    low: float | None
    high: float | None
    inside: str
    outside: str
    withheld: bool


@dataclass(frozen=True, kw_only=True)
class ProtectedRow:
    """One protection; `auc` is None where `text` says why."""

    name: str
    auc: float | None
    low: float | None
    high: float | None
    change: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Pictures of one record: addresses of images, or a drawing of a recording."""

    number: int
    name: str
    images: tuple[str, ...]
    drawing: Markup | None


@dataclass(frozen=True, kw_only=True, eq=False)
class OnePatient:
    """The page's content; see the template for what stands where."""

    number: int
    identifier: str
    figures: dict[str, float | None]
    confirmed: bool | None
    rank: int
    of: int
    attributes: tuple[tuple[str, str], ...]
    inside: int
    outside: int
    records: tuple[RecordRow, ...]
    record_count: int
    drawings: tuple[Markup, Markup] | None
    signal_text: str
    signal_name: str
    peculiar: tuple[Peculiarity, ...]
    summary: str
    lines: tuple[Line, ...]
    line_count: int
    pictures: tuple[Shown, ...]
    near: tuple[tuple[Neighbour, str, str, str, float | None], ...]
    reason: str
    protections: tuple[ProtectedRow, ...]
    protections_text: str
    other: tuple[float | None, float | None, float | None] | None


def one_patient(reference: Reference, beside: Beside | None, patient: int) -> OnePatient:
    """Gather what is known of one patient.

    Parameters
    ----------
    reference : Reference
    beside : Beside or None
    patient : int
    """
    holding, contents = reference.holding, reference.contents
    roll = holding.roll
    every = holding.records_of(patient)
    records = every[:MOST_RECORDS]
    signals = holding.signals(records)
    member = holding.member[:, patient]
    out_means = _means(signals, ~member)
    lines = contents.table(records)
    near = neighbours(holding, contents, patient)
    peculiar = peculiarities(reference, patient, out_means, lines, near)
    kept = np.ones(len(records), dtype=bool)
    if holding.withheld is not None:
        kept = ~holding.withheld[records]
    drawings, said = _signals(holding, signals[:, kept], member)
    shown_lines = lines
    if len(lines) > MOST_LINES:
        shown_lines = sorted(lines, key=lambda line: line.rarity)[:MOST_LINES]
    rows, text = _protections(holding, patient)
    return OnePatient(
        number=patient,
        identifier=roll.identifier(patient),
        figures={name: _finite(values[patient]) for name, values in roll.numbers.items()},
        confirmed=None if roll.confirmed is None else bool(roll.confirmed[patient]),
        rank=roll.rank(patient),
        of=len(roll),
        attributes=tuple((one.name, one.text(patient)) for one in roll.attributes),
        inside=int(member.sum()),
        outside=int((~member).sum()),
        records=tuple(_records(holding, records, out_means, _means(signals, member))),
        record_count=len(every),
        drawings=drawings,
        signal_text=said,
        signal_name=_signal_name(holding),
        peculiar=tuple(peculiar),
        summary=summary_of(peculiar),
        lines=tuple(shown_lines),
        line_count=len(lines),
        pictures=tuple(_pictures(reference, records)),
        near=tuple(_near(holding, near)),
        reason=contents.reason,
        protections=rows,
        protections_text=text,
        other=None
        if beside is None
        else tuple(_finite(v[patient]) for v in (beside.auc, beside.low, beside.high)),  # type: ignore[arg-type]
    )


def _means(signals: NDArray[np.float64], models: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not models.any():
        return np.full(signals.shape[1], np.nan)
    return np.asarray(signals[models].mean(axis=0))


def _signal_name(holding: Holding) -> str:
    if holding.tells_probability:
        return "log-odds of the recorded label"
    return f"signal of a model ({holding.outputs.facts.get('output', 'higher is a better fit')})"


def _signals(
    holding: Holding, signals: NDArray[np.float64], member: NDArray[np.bool_]
) -> tuple[tuple[Markup, Markup] | None, str]:
    if not signals.shape[1] or not member.any() or member.all():
        return None, "The patient is in all models or in none: nothing can be told."
    mean = signals.mean(axis=1)
    inside, outside = mean[member], mean[~member]
    several = "mean " if signals.shape[1] > 1 else ""
    drawn = strips(
        [
            (f"{inside.size} models trained with the patient", "level-4", inside),
            (f"{outside.size} models trained without", "level-2", outside),
        ],
        f"{several}{_signal_name(holding)}",
    )
    better = (inside[:, None] > outside[None, :]).mean() + (
        0.5 * (inside[:, None] == outside[None, :]).mean()
    )
    text = (
        f"Mean {decimal(float(inside.mean()), 2)} with the patient and "
        f"{decimal(float(outside.mean()), 2)} without; in "
        f"{share(float(better))} of pairs of a model with and one without, the one with the "
        "patient fits better. The attack itself also subtracts what each model does to records of "
        "other patients, and weighs the records."
    )
    return drawn, text


def _records(
    holding: Holding,
    records: NDArray[np.int64],
    outside: NDArray[np.float64],
    inside: NDArray[np.float64],
) -> list[RecordRow]:
    rows = []
    for place, record in enumerate(records.tolist()):
        rows.append(
            RecordRow(
                number=record,
                row=int(holding.record_rows[record]),
                label=holding.label_text(record),
                auc=_finite(holding.record_auc[record]),
                low=_finite(holding.record_low[record]),
                high=_finite(holding.record_high[record]),
                inside=_fit(holding, inside[place]),
                outside=_fit(holding, outside[place]),
                withheld=holding.withheld is not None and bool(holding.withheld[record]),
            )
        )
    return rows


def _fit(holding: Holding, value: float) -> str:
    if not np.isfinite(value):
        return "none"
    return share(float(expit(value))) if holding.tells_probability else f"{value:.3g}"


def _pictures(reference: Reference, records: NDArray[np.int64]) -> list[Shown]:
    found = []
    for part, (name, inputs) in enumerate(reference.contents.arrays().items()):
        count = slices(inputs)
        for record in records.tolist():
            spread = sorted({count // 4, count // 2, 3 * count // 4})
            places = spread if count > 1 else range(count)
            found.append(
                Shown(
                    number=record,
                    name=name,
                    images=tuple(f"image/{record}/{part}/{place}.png" for place in places),
                    drawing=None if count else curves(recording(inputs, record)),
                )
            )
    return found


def _near(
    holding: Holding, near: list[Neighbour]
) -> list[tuple[Neighbour, str, str, str, float | None]]:
    return [
        (
            one,
            holding.roll.identifier(one.patient),
            holding.label_text(one.own),
            holding.label_text(one.record),
            _finite(holding.roll.numbers["auc"][one.patient]),
        )
        for one in near
    ]


def _protections(holding: Holding, patient: int) -> tuple[tuple[ProtectedRow, ...], str]:
    entries: list[dict[str, Any]] = holding.summary.get("protection") or []
    if not entries:
        return (), NO_PROTECTION
    if holding.protected is None:
        return (), OLDER
    rows = []
    for k, entry in enumerate(entries):
        values = {
            name: holding.protected[f"{name} {k}"][patient]
            for name in ("auc", "low", "high", "left out")
            if f"{name} {k}" in holding.protected
        }
        auc = low = high = change = None
        text = ""
        if "reason" in entry and not values:
            text = f"not run: {entry['reason']}"
        elif "left out" in values:
            gone = bool(values["left out"])
            text = "leaves this patient out" if gone else "keeps this patient, leaves others out"
        else:
            auc, low, high = (_finite(values[name]) for name in ("auc", "low", "high"))
            before = _finite(holding.protected["auc"][patient])
            change = None if auc is None or before is None else auc - before
        rows.append(
            ProtectedRow(
                name=str(entry["name"]), auc=auc, low=low, high=high, change=change, text=text
            )
        )
    return tuple(rows), ""


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
