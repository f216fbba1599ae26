"""Commands for scores that were made elsewhere: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from auscult.base.errors import ConfigError
from auscult.cli.common import Out, app, finish, say


@app.command("import")
def import_(
    scores: Annotated[Path, typer.Argument(help="scores.npz, or a folder of model folders.")],
    out: Out = None,
    seed: Annotated[int, typer.Option(min=0, help="Of null, folds and bootstraps.")] = 0,
    table: Annotated[
        Path | None, typer.Option(help="For folders: row i describes record i.")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Column of the table.")] = None,
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
    labels_are: Annotated[str | None, typer.Option(help="classes, one-hot or multi-label.")] = None,
    smallest_cell: Annotated[int, typer.Option(min=1, help="Smaller groups are not shown.")] = 10,
    label_group: Annotated[
        bool, typer.Option(help="Compare risks by label as well, where there are labels.")
    ] = True,
    ledger: Annotated[
        Path | None, typer.Option(help="Folder of the release ledger, instead of one beside OUT.")
    ] = None,
) -> None:
    """Analyse and report scores that were made elsewhere; trains nothing."""
    from auscult.cli.display import progress_for
    from auscult.imported.declared import Declared
    from auscult.imported.importing import import_scores
    from auscult.imported.scores import read_model_folders, read_npz
    from auscult.readers.tables import read_table
    from auscult.results.analysis import AnalysisSettings

    if (table is None) != (patient is None):
        raise ConfigError("--table and --patient go together", where="import")
    declared = Declared(
        signals=cast("Any", signals_are),
        outputs=cast("Any", outputs_are),
        labels=cast("Any", labels_are),
        groups=tuple(group) if group and not scores.is_dir() else None,
    )
    if scores.is_dir():
        if signals_are is not None:
            raise ConfigError(
                "model folders hold outputs and no signals", where="import --signals-are"
            )
        rows = None if table is None else read_table(table)
        found = read_model_folders(scores, rows, patient, group or [], declared)
    elif table is not None:
        raise ConfigError(
            "--table and --patient go with a folder of model folders",
            where="import",
            next_step="An npz holds patients and groups as arrays of its own",
        )
    else:
        found = read_npz(scores, declared)
    for note in found.notes:
        say(f"Note     {note}")
    finish(
        import_scores(
            found,
            out or Path("runs") / scores.resolve().stem,
            seed=seed,
            settings=AnalysisSettings(
                smallest_cell=smallest_cell, label_group=label_group, ledger=ledger
            ),
            progress=progress_for(),
        )
    )
