"""Group columns: one value per patient, numbers binned on request, disagreement shown as such."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.cohort.cohort import group_of_patients
from auscult.readers.values import numbers, texts

MOST_UNBINNED = 20


def read_groups(
    frame: pd.DataFrame,
    names: Sequence[str],
    patient_of_record: NDArray[np.int64],
    patients: int,
    *,
    missing: Sequence[str],
    bins: Mapping[str, Sequence[float]],
    categorical: Sequence[str],
) -> tuple[pd.DataFrame, list[str]]:
    """One string per patient and attribute.

    Numbers of columns declared (or typed) categorical are codes and need no bins.

    Parameters
    ----------
    frame : DataFrame
        One row per record.
    names : sequence of str
        Columns that hold attributes.
    patient_of_record : int64 array, shape (records,)
    patients : int
    missing : sequence of str
        Words that stand for a missing value.
    bins : mapping of str to sequence of float
        Where numbers are cut, by column.
    categorical : sequence of str
        Columns whose numbers are codes.

    Returns
    -------
    groups : DataFrame, shape (patients, attributes)
    notes : list of str

    Raises
    ------
    CohortError
        A numeric column of many values without bins, or bins for text.
    """
    columns: dict[str, NDArray[np.object_]] = {}
    notes: list[str] = []
    for name in names:
        array, unparsable = numbers(frame[name], missing)
        if name in bins:
            if unparsable:
                raise CohortError(
                    f"{unparsable} values are not numbers",
                    where=f"column {name}",
                    expected="numbers, because cohort.bins names it",
                )
            values = bin_numbers(array, bins[name], f"cohort.bins.{name}")
            notes.append(f"{name}: binned at {', '.join(map(number_text, bins[name]))}")
        else:
            values = texts(frame[name], missing)
            codes = name in categorical or isinstance(frame[name].dtype, pd.CategoricalDtype)
            distinct = len(np.unique(array[~np.isnan(array)]))
            if not unparsable and distinct > MOST_UNBINNED and not codes:
                cuts = np.unique(np.round(np.nanquantile(array, [1 / 3, 2 / 3]), 2))
                raise CohortError(
                    f"the group has {distinct} different numbers",
                    where=f"column {name}",
                    expected="bins for a numeric group",
                    next_step=f'Write below [cohort.bins]: "{name}" = '
                    f"[{', '.join(map(number_text, cuts))}]; or, where the numbers are codes, "
                    "name the column in cohort.categorical",
                )
        columns[name] = group_of_patients(
            ["" if v is None else str(v) for v in values.tolist()], patient_of_record, patients
        )
    return pd.DataFrame(columns, index=pd.RangeIndex(patients)), notes


def number_text(value: float) -> str:
    """A number as a person writes it, none of its digits lost."""
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def bin_names(cuts: Sequence[float]) -> tuple[str, ...]:
    """For cuts 40 and 65: "< 40", "40 to < 65", ">= 65"."""
    text = [number_text(cut) for cut in cuts]
    middle = (f"{low} to < {high}" for low, high in itertools.pairwise(text))
    return (f"< {text[0]}", *middle, f">= {text[-1]}")


def bin_numbers(
    values: NDArray[np.float64], cuts: Sequence[float], where: str
) -> NDArray[np.object_]:
    """Name of each number's bin, None where it is NaN.

    Parameters
    ----------
    values : float64 array, shape (n,)
    cuts : sequence of float
        In ascending order.
    where : str
        The key of the configuration, for messages.

    Raises
    ------
    CohortError
        The cuts do not ascend.
    """
    if not len(cuts) or not np.isfinite(cuts).all() or (np.diff(cuts) <= 0).any():
        raise CohortError(
            "the cut points do not ascend", where=where, expected="ascending finite numbers"
        )
    names = np.array(bin_names(cuts), dtype=object)
    result = names[np.digitize(values, cuts)]  # NaN goes to the last bin and is taken out below
    result[np.isnan(values)] = None
    return np.asarray(result, dtype=object)
