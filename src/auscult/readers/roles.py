"""What columns are for: each must be there, and some cannot be two things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from auscult.base.errors import CohortError
from auscult.readers.tables import require_columns

# A label may be a group: risks by outcome. A group may be excluded: it is then no input.
_EXCLUSIVE = (
    ("patient", "label"),
    ("patient", "groups"),
    ("patient", "exclude"),
    ("patient", "numeric"),
    ("patient", "categorical"),
    ("patient", "inputs"),
    ("label", "inputs"),
    ("exclude", "inputs"),
    ("label", "exclude"),
    ("label", "numeric"),
    ("numeric", "categorical"),
    ("exclude", "numeric"),
)


def check_roles(
    frame: pd.DataFrame, roles: Mapping[str, Sequence[str]], bins: Sequence[str]
) -> None:
    """Raise for columns that the table lacks, that are named twice or for two things.

    Parameters
    ----------
    frame : DataFrame
    roles : mapping of str to sequence of str
        Columns by the key of the configuration that names them.
    bins : sequence of str
        Columns that cut points are given for.

    Raises
    ------
    CohortError
    """
    order = ("patient", "label", "groups", "bins", "exclude", "numeric", "categorical", "inputs")
    named = {**roles, "bins": bins}
    require_columns(
        frame, [(f"cohort.{key}", name) for key in order for name in named[key]], "table"
    )
    for key, names in roles.items():
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise CohortError(f'"{twice[0]}" is named twice', where=f"cohort.{key}")
    for one, other in _EXCLUSIVE:
        both = sorted(set(roles[one]) & set(roles[other]))
        if both:
            raise CohortError(
                f'"{both[0]}" is both {one} and {other}',
                where=f"cohort.{other}",
                expected="one of the two",
            )
    for name in bins:
        if name not in roles["groups"]:
            raise CohortError(
                f'"{name}" is not a group, so its bins would not be used',
                where="cohort.bins",
                expected="columns that cohort.groups names",
            )
