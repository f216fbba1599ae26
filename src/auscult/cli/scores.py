"""Commands for scores that were made elsewhere: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from auscult.base.errors import ConfigError
from auscult.cli.common import Out, app, finish, say


@app.command("import")
def import_(
    scores: Annotated[
        Path,
        typer.Argument(
            help="scores.npz, a table of one row per model and record, a folder of model folders, "
            "or the log folder of Privacy Meter."
        ),
    ],
    out: Out = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the null, the folds and the bootstraps.")
    ] = 0,
    layout: Annotated[
        str | None,
        typer.Option(
            help=(
                "npz, table, folders, leakoscope or privacy-meter; detected from the files by "
                "default."
            )
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="For folders: a table whose row i describes record i.")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Column of the table.")] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the table, where the scores contain no labels.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Column of the table, or array of the npz.")
    ] = None,
    signals_are: Annotated[
        str | None,
        typer.Option(help="scores, losses, cross-entropy or probabilities (of the true class)."),
    ] = None,
    outputs_are: Annotated[
        str | None, typer.Option(help="logits, probabilities or log-probabilities.")
    ] = None,
    labels_are: Annotated[
        str | None, typer.Option(help="classes, one-hot, multi-label or multi-hot.")
    ] = None,
    no_finding: Annotated[
        int | None,
        typer.Option(min=0, help="Column that rows of labels without any 1 belong to, from 0."),
    ] = None,
    smallest_cell: Annotated[int, typer.Option(min=1, help="Smaller groups are not shown.")] = 10,
    label_group: Annotated[
        bool, typer.Option(help="Compare risks by label as well, where there are labels.")
    ] = True,
    ledger: Annotated[
        Path | None, typer.Option(help="Folder of the release ledger, instead of one beside OUT.")
    ] = None,
    count_base: Annotated[
        int, typer.Option(min=1, help="Round numbers of patients to this, for example 5.")
    ] = 1,
) -> None:
    """Analyse and report scores computed elsewhere; trains nothing."""
    from auscult.cli.display import progress_for
    from auscult.imported.declared import Declared
    from auscult.imported.importing import import_scores
    from auscult.imported.layouts import read_scores
    from auscult.readers.tables import read_table
    from auscult.results.analysis import AnalysisSettings

    if (table is None) != (patient is None):
        raise ConfigError("--table and --patient must be given together", where="import")
    if count_base > smallest_cell:
        raise ConfigError(
            f"{count_base} is more than the smallest cell, {smallest_cell}",
            where="--count-base",
            expected="at most the smallest cell",
        )
    declared = Declared(
        signals=cast("Any", signals_are),
        outputs=cast("Any", outputs_are),
        labels=cast("Any", labels_are),
        no_finding=no_finding,
    )
    found = read_scores(
        scores,
        declared,
        layout=layout,
        table=None if table is None else read_table(table),
        patient=patient,
        label=label,
        groups=group or (),
    )
    for note in found.notes:
        say(f"Note     {note}")
    finish(
        import_scores(
            found,
            out or Path("runs") / scores.resolve().stem,
            seed=seed,
            settings=AnalysisSettings(
                smallest_cell=smallest_cell,
                label_group=label_group,
                ledger=ledger,
                count_base=count_base,
            ),
            progress=progress_for(),
        )
    )
