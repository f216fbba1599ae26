"""The groups as a CSV file, which opens in a spreadsheet and runs nothing there."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from auscult.base.showing import cleaned
from auscult.report.elements import Number
from auscult.report.summary import read_summary

_FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # and their full-width forms
_CSV_NUMBERS = (
    ("patients", "patients"),
    ("mean_auc", "mean_auc"),
    ("mean_auc_low", "low"),
    ("mean_auc_high", "high"),
    ("exposed_0.9", "exposed_0.9"),
    ("exposed_0.9_low", "exposed_0.9_low"),
    ("exposed_0.9_high", "exposed_0.9_high"),
    ("difference", "difference"),
    ("difference_low", "difference_low"),
    ("difference_high", "difference_high"),
    ("difference_same_records", "difference_same_records"),
    ("difference_any_records", "difference_any_records"),
    ("difference_any_records_low", "difference_any_records_low"),
    ("difference_any_records_high", "difference_any_records_high"),
    ("patients_compared", "patients_compared"),
    ("others_compared", "others_compared"),
    ("p", "p"),
    ("q", "q"),
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
        Lines end in ``\r\n`` (RFC 4180), so that a line break in a name is quoted. The last
        two columns say how many groups of the attribute were suppressed, and
        below which number of patients.

    Raises
    ------
    StoreError
        The summary is damaged or of another schema.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
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
    text = cleaned(text, keep="\t\r\n")
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def _plain(value: Number) -> str:
    if value is None:
        return ""
    return repr(int(value)) if value == int(value) else repr(value)
