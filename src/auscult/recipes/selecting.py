"""What a fitted estimator's ColumnTransformer leaves untouched, though the table has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

MOST_PARTS = 100
DEEPEST = 8


def unselected(model: Any, table: pd.DataFrame) -> list[str]:  # noqa: ANN401
    """Notes on parts that select no column, and on kinds of columns that no part takes.

    Parameters
    ----------
    model : fitted estimator
    table : DataFrame
        What it was given. Only ColumnTransformers that read this very table are looked at.

    Returns
    -------
    list of str
        Names of parts and counts of columns; no value.
    """
    names = [str(name) for name in table.columns]
    notes: list[str] = []
    taken: set[int] = set()
    found = False
    for one in _column_transformers(model, set(), 0):
        if [str(name) for name in getattr(one, "feature_names_in_", ())] != names:
            continue
        found = True
        for part, how, columns in one.transformers_:
            chosen = _places(table, columns)
            if isinstance(how, str) and how == "drop":
                continue
            taken |= chosen
            if not chosen and part != "remainder":
                notes.append(f'the part "{part}" of the ColumnTransformer selects no column')
    if found:
        for kind, places in _kinds(table).items():
            if places and not places & taken:
                notes.append(
                    f"the ColumnTransformer takes none of the {len(places)} {kind} columns"
                )
    return notes


def _kinds(table: pd.DataFrame) -> dict[str, set[int]]:
    kinds: dict[str, set[int]] = {"boolean": set(), "number": set(), "text": set()}
    for place in range(table.shape[1]):
        column = table.iloc[:, place]
        kind = "text"
        if pd.api.types.is_bool_dtype(column) or (
            column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "boolean"
        ):
            kind = "boolean"
        elif pd.api.types.is_numeric_dtype(column):
            kind = "number"
        kinds[kind].add(place)
    return kinds


def _places(table: pd.DataFrame, columns: Any) -> set[int]:  # noqa: ANN401
    """Positions of the columns that a part of a ColumnTransformer was fitted on."""
    if callable(columns):
        columns = columns(table)
    every = pd.Series(np.arange(table.shape[1]), index=table.columns)
    if isinstance(columns, str):
        columns = [columns]
    elif isinstance(columns, slice):
        text = isinstance(columns.start, str) or isinstance(columns.stop, str)
        return {*(every.loc[columns] if text else every.iloc[columns]).tolist()}
    listed = np.atleast_1d(np.asarray(columns))
    if not listed.size:
        return set()
    if listed.dtype == bool or listed.dtype.kind in "iu":
        return {*every.iloc[listed].tolist()}
    return {*every.loc[listed].tolist()}


def _column_transformers(it: Any, seen: set[int], depth: int) -> Iterator[Any]:  # noqa: ANN401
    """Fitted ColumnTransformers in an estimator, in pipelines and searches too."""
    from sklearn.compose import ColumnTransformer

    if id(it) in seen or depth > DEEPEST:
        return
    seen.add(id(it))
    if isinstance(it, ColumnTransformer) and hasattr(it, "transformers_"):
        yield it
        return
    if isinstance(it, (list, tuple)):
        parts = list(it[:MOST_PARTS])
    elif isinstance(it, dict):
        parts = list(it.values())[:MOST_PARTS]
    elif hasattr(it, "fit") and hasattr(it, "__dict__"):
        parts = list(vars(it).values())
    else:
        return
    for part in parts:
        yield from _column_transformers(part, seen, depth + 1)
