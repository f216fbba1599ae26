"""One record of no patient: what a release is asked before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from auscult.cohort.inputs import ArrayInputs, Inputs, NamedInputs, TableInputs

LOOKED_AT = 256


def of_nobody(inputs: Inputs) -> Inputs:
    """Medians of columns, their first levels, or the median of images or signals: one record.

    Text that no level stands for, such as notes, is empty: it could only be a patient's.
    """
    if isinstance(inputs, NamedInputs):
        return NamedInputs(
            parts={
                name: part
                for name, one in inputs.parts.items()
                if not isinstance(part := of_nobody(one), NamedInputs)
            }
        )
    if isinstance(inputs, TableInputs):
        known = [column[~np.isnan(column)] for column in inputs.numeric.T]
        medians = [np.median(column) if column.size else 0.0 for column in known]
        return TableInputs(
            numeric=np.array([np.trunc(medians)], dtype=np.float32),
            numeric_names=inputs.numeric_names,
            codes=np.zeros((1, len(inputs.levels)), dtype=np.int32),
            categorical_names=inputs.categorical_names,
            levels=inputs.levels,
            own=_own_of_nobody(inputs),
        )
    step = max(1, len(inputs) // LOOKED_AT)
    some = inputs.take(np.arange(0, len(inputs), step))
    array = np.median(some, axis=0)[None].astype(some.dtype)
    return ArrayInputs(array=array, rows=np.zeros(1, dtype=np.int64), channels=inputs.channels)


def _own_of_nobody(inputs: TableInputs) -> pd.DataFrame | None:
    if inputs.own is None:
        return None
    first = dict(zip(inputs.categorical_names, (names[0] for names in inputs.levels), strict=True))
    columns: dict[str, pd.Series[Any]] = {}
    for name, column in inputs.own.items():
        value: Any
        if (
            pd.api.types.is_bool_dtype(column)
            or column.map(lambda one: isinstance(one, bool)).any()
        ):
            value = False
        elif pd.api.types.is_numeric_dtype(column):
            middle = np.trunc(column.median()) if column.notna().any() else 0.0
            value = middle if column.dtype.kind == "f" else int(middle)
        else:
            value = first.get(str(name), "")
        kind = column.dtype
        if isinstance(kind, pd.CategoricalDtype) and value not in kind.categories:
            value = None
        columns[str(name)] = pd.Series([value], dtype=kind)
    return pd.DataFrame(columns)
