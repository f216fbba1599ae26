"""blind: can members be told from non-members without any model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auscult.base.errors import ConfigError
from auscult.cli.common import app, refuse_target, say


@app.command()
def blind(
    configuration: Annotated[Path, typer.Argument(help="audit.toml: its [cohort] is read.")],
    members: Annotated[
        Path, typer.Option(help="CSV or Parquet: the patients who trained a model.")
    ],
    column: Annotated[
        str | None,
        typer.Option(help=("Column of their identifiers, if the file has several columns.")),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds and permutations.")] = 0,
) -> None:
    """Try to tell members of a model from other patients without querying the model."""
    import numpy as np

    from auscult.base.files import write_json
    from auscult.blind import blind_baseline
    from auscult.cli.display import progress_for
    from auscult.config import load
    from auscult.readers.tables import read_table, require_columns
    from auscult.readers.values import texts

    refuse_target(out, "--out", read=[members, configuration])
    table = read_table(members)
    if column is None and table.shape[1] > 1:
        raise ConfigError(
            f"it has {table.shape[1]} columns",
            where=str(members),
            expected="one column, of patients",
            next_step="Name it with --column",
        )
    name = column or str(table.columns[0])
    require_columns(table, [("--column", name)], members.name)
    listed = {str(one) for one in texts(table[name]).tolist() if one is not None}
    cohort = load(configuration).cohort(progress_for())
    ids = cohort.patient_ids.reveal()
    inside = np.isin(ids, [*listed])
    absent = len(listed) - int(inside.sum())
    found = blind_baseline(
        cohort.inputs,
        cohort.patient_of_record,
        inside[cohort.patient_of_record],
        labels=cohort.labels,
        seed=seed,
    )
    say(found.verdict())
    for note in found.notes:
        say(f"Note     {note}")
    if absent:
        say(f"Note     {absent:,} listed members are not patients of the cohort")
    if out is not None:
        write_json(out, {**found.summary(), "members_outside_cohort": absent})
        say(f"Figures: {out}")
