"""What `init` writes: a configuration to start from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auscult.base.errors import CohortError

if TYPE_CHECKING:
    import zipfile

    import pandas as pd


FEW_VALUES = 20
MOST_CODED = 60
ASKED_ABOUT = 0.8  # AUC of a column by itself
# Names of columns whose whole numbers are codes.
_CODED = re.compile(r"(_id|_code|_type|_cd|id)$", re.IGNORECASE)
# Words that are hardly ever a category of their own; "none" and "-" often are.
MISSING_IN_TEXT = {
    *("?", "--", "..", "...", "unknown", "unk", "missing", "na", "n.a.", "n.a", "(blank)"),
    *("not available", "not known", "unbekannt", "k.a.", "keine angabe", "inconnu", "desconocido"),
}


def starting_configuration(
    table: str, patient: str, label: str, groups: Sequence[str], images: str | None
) -> str:
    """A commented ``audit.toml`` for a table that exists.

    Parameters
    ----------
    table : str
        Path of the table.
    patient : str
        Column of the patients' identifiers.
    label : str
        Column of the label.
    groups : sequence of str
        Columns of the groups to compare.
    images : str or None
        Folder of images, where the table describes some.

    Raises
    ------
    CohortError
        The table cannot be read or lacks a column.
    """
    from auscult.readers.labels import PERHAPS_MISSING
    from auscult.readers.tables import read_table, require_columns
    from auscult.readers.values import numbers, texts

    frame = read_table(table)
    require_columns(
        frame,
        [("--patient", patient), ("--label", label), *(("--group", name) for name in groups)],
        Path(table).name,
    )
    words = sorted(
        {
            str(value)
            for value in texts(frame[label]).tolist()
            if value is not None and str(value).lower() in PERHAPS_MISSING
        }
    )
    of_label = bool(words)
    labels = texts(frame[label], words)
    values = sorted({str(value) for value in labels.tolist() if value is not None})
    if len(values) < 2:
        raise CohortError(
            "all records have the same label", where=f"column {label}", expected="two classes"
        )
    lines = [
        "# What is audited: this cohort, trained on by this recipe. Every key is explained in",
        "# docs/configuration.md; `auscult check audit.toml` validates it and estimates the cost.",
        "",
        "[cohort]",
        f"table = {_quoted(table)}",
    ]
    if images is not None and images.lower().endswith((".npy", ".npz")):
        lines += [
            f"images = {_quoted(images)}",
            *_arrays_of(images, len(frame)),
        ]
    elif images is not None:
        lines += [
            f"images = {_quoted(images)}",
            f"path = {_quoted(_column_of_paths(frame, images))}     # of the table: files in it",
            "image_size = 64                # what your model sees, or [height, width]",
            (
                '# slices = "each"              # of files with several: or "middle", "volume", a '
                "number"
            ),
        ]
    lines += [
        f"patient = {_quoted(patient)}     # patient identifier: the unit of the audit",
        f"label = {_quoted(label)}",
    ]
    array, unparsable = numbers(frame[label], words)
    regression = False
    if len(values) > FEW_VALUES and not unparsable:
        cuts = np.unique(np.nanquantile(array, [1 / 3, 2 / 3]))
        shown = ", ".join(f"{cut:.4g}" for cut in cuts)
        regression = images is None
        lines += (
            [
                'outcome = "number"             # a regression; or classes, cut at:',
                f"# label_bins = [{shown}]",
            ]
            if regression
            else [f"label_bins = [{shown}]  # to classes"]
        )
    elif len(values) > 2:
        shown = ", ".join(map(_quoted, values[:FEW_VALUES]))
        lines += [
            f"# {len(values)} classes: {shown}",
            "# positive = [...]             # the values that count as positive; all others do not",
        ]
    lines.append(
        f"groups = [{', '.join(map(_quoted, groups))}]"
        + ("" if groups else "   # columns to compare risks by, for example sex, age, ethnicity")
    )
    if images is None:
        inputs = [str(name) for name in frame.columns if name not in {patient, label}]
        words = sorted({*words, *_words_of_inputs(frame, inputs)})
        lines += _inputs_of(frame, patient, label, groups, words)
    lines += [
        f"missing = [{', '.join(map(_quoted, words))}]   "
        + ("# for the label: " if of_label else "# ")
        + ("remove values that are a class" if of_label else "remove values that are not missing")
        if words
        else '# missing = ["?"]              # values that mean missing, besides empty, NA, null',
        "# max_patients = 5000          # a random subset, to try things out",
    ]
    bins = []
    for name in groups:
        array, unparsable = numbers(frame[name])
        if not unparsable and len(np.unique(array[~np.isnan(array)])) > FEW_VALUES:
            cuts = np.unique(np.round(np.nanquantile(array, [1 / 3, 2 / 3])))
            bins.append(f"{_quoted(name)} = [{', '.join(f'{cut:g}' for cut in cuts)}]")
    if bins:
        lines += ["", "[cohort.bins]                  # cut points of numeric groups", *bins]
    model = "gradient_boosting"
    if regression:
        model = "gradient_boosting_regressor"
    lines += ["", "[recipe]                       # how your model is trained, from start to end"]
    if images is None:
        lines += [
            'kind = "sklearn"               # or "torch", or "python" for your own function',
            f'model = "{model}"    # built-in name, or "module:name" beside this file',
        ]
    else:
        lines += [
            'kind = "torch"                 # or "python" for your own function',
            'model = "cnn"                  # built-in name, or "module:factory" beside this file',
        ]
    lines += [
        "",
        "[audit]",
        "models = 64                    # shadow models: more of them, narrower intervals",
        "seed = 7",
        "",
    ]
    return "\n".join(lines)


def _arrays_of(images: str, rows: int) -> list[str]:
    """Which array of an npz: the one that has an entry for each row."""
    import zipfile

    if not images.lower().endswith(".npz") or not Path(images).is_file():
        return []
    try:
        with zipfile.ZipFile(images) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
            fitting = [n for n in names if _entries(archive, n) == rows]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CohortError(
            "it cannot be read", where=f"--images {images}", expected="a complete npz file"
        ) from error
    if len(names) < 2:
        return []
    if len(fitting) == 1:
        return [f"array = {_quoted(fitting[0])}            # the one with an entry for each row"]
    return [f"array = {_quoted((fitting or names)[0])}     # or another of: {', '.join(names)}"]


def _entries(archive: zipfile.ZipFile, name: str) -> int:
    """Length of the first axis of a member of two dimensions or more; -1 of others."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape = read(member)[0]
    return int(shape[0]) if len(shape) > 1 else -1


def _words_of_inputs(frame: pd.DataFrame, names: Sequence[str]) -> set[str]:
    """Words of input columns that mean missing: among numbers any that may, in text the plain ones.

    Numbers such as 999 are left alone: in a column of numbers they may be measured.
    """
    from auscult.readers.labels import PERHAPS_MISSING
    from auscult.readers.quantities import parse
    from auscult.readers.values import plain_numbers, texts

    found: set[str] = set()
    for name in names:
        column = frame[name]
        if column.dtype.kind in "biufcmM" or plain_numbers(column) is not None:
            continue
        values = [str(one) for one in sorted({t for t in texts(column).tolist() if t is not None})]
        parsed, _ = parse(values)
        number = np.isfinite(parsed)
        words = {one for one, numeric in zip(values, number, strict=True) if not numeric}
        known = PERHAPS_MISSING if number.sum() > FEW_VALUES else MISSING_IN_TEXT
        found |= {one for one in words if one.lower() in known}
    return found


def _inputs_of(
    frame: pd.DataFrame, patient: str, label: str, groups: Sequence[str], words: Sequence[str]
) -> list[str]:
    """Which columns are no inputs and why, and what becomes of dates and of codes."""
    from auscult.readers.columns import Dates, table_inputs
    from auscult.readers.leakage import reasons, told_alone

    known = {patient, label, *groups}
    excluded = dict.fromkeys(_likely_identifiers(frame, known), "an identifier")
    inputs = [str(name) for name in frame.columns if name not in {patient, label}]
    aucs = told_alone(frame[[n for n in inputs if n not in excluded]], frame[label])
    excluded = {**reasons(aucs), **excluded}
    # What the reader asks about a column is answered here, and said to be a decision.
    dated: Dates | None = None
    codes: list[str] = []
    nobody = np.arange(len(frame))
    codes += [
        name
        for name in inputs
        if name not in excluded and _CODED.search(name) and _few_whole(frame[name], words)
    ]
    moments: dict[str, str] = {}
    for name in inputs:
        if name in excluded:
            continue
        for _ in range(2):
            try:
                table_inputs(
                    frame[[name]],
                    nobody,
                    missing=words,
                    numeric=(),
                    categorical=codes,
                    max_levels=2,
                    min_level_patients=1,
                    dated=dated,
                )
            except CohortError as error:
                if 'dates = "days"' in error.next_step:
                    dated = "exclude"
                elif "cohort.categorical" in error.next_step:
                    codes.append(name)
                elif "cohort.exclude" in error.next_step:
                    moments[name] = "dates or times as numbers; cohort.numeric if they are measured"
                    break
                else:
                    break
            else:
                break
    excluded |= moments
    lines = [f"exclude = [{', '.join(map(_quoted, excluded))}]   # no inputs"]
    lines += [f"#   {name}: {reason}" for name, reason in excluded.items()]
    lines += ["#   (list identifiers and whatever is known only after the outcome)"]
    asked = {n: auc for n, auc in aucs.items() if auc >= ASKED_ABOUT and n not in excluded}
    lines += [
        f"#   {name}? It tells much of the label by itself (AUC {auc:.3f}): only if known before"
        for name, auc in asked.items()
    ]
    if dated is not None:
        lines.append(
            'dates = "exclude"              # or "days" since the first date of each patient'
        )
    if codes:
        lines.append(
            f"categorical = [{', '.join(map(_quoted, codes))}]   # numbers mixed with other "
            "values: codes?"
        )
    return lines


def _few_whole(column: pd.Series[Any], words: Sequence[str]) -> bool:
    """Whether a column holds few different whole numbers, and no other."""
    from auscult.readers.values import numbers

    values, unparsable = numbers(column, words)
    seen = np.unique(values[~np.isnan(values)])
    whole = bool((seen == np.round(seen)).all())
    return not unparsable and whole and 2 < len(seen) <= MOST_CODED


def _column_of_paths(frame: pd.DataFrame, folder: str) -> str:
    """The first column whose values are files in a folder.

    Raises
    ------
    CohortError
        There is no such folder or column.
    """
    from auscult.readers.paths import folder_of, inside_of
    from auscult.readers.values import texts

    root = folder_of(folder, "--images")
    for name in map(str, frame.columns):
        values = [str(value) for value in texts(frame[name].head(FEW_VALUES)).tolist() if value]
        if any(inside_of(root, value) for value in values):
            return name
    raise CohortError(
        "no column of the table holds paths of files in this folder",
        where=f"--images {folder}",
        expected="paths relative to the folder, one per row",
    )


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped)
    return f'"{escaped}"'


def _likely_identifiers(frame: object, known: set[str]) -> list[str]:
    import pandas as pd

    from auscult.readers.quantities import looks_like_dates

    if not isinstance(frame, pd.DataFrame):
        return []
    return [
        str(name)
        for name in frame.columns
        if name not in known
        and frame[name].nunique() == len(frame)
        and ("id" in str(name).lower() or not pd.api.types.is_float_dtype(frame[name]))
        and not any("." in str(value) for value in frame[name].head(50))
        and not looks_like_dates([str(value) for value in frame[name].head(50).dropna()])
    ]
