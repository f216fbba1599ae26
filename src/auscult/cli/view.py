"""The command that shows patients to their owner: view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auscult.cli.common import app, say


@app.command()
def view(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit, your own.")],
    against: Annotated[
        Path | None, typer.Option(help="Another finished run, to set its patients beside.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; a free one by default.")
    ] = 0,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Read the cohort, to show patients' values.")
    ] = True,
) -> None:
    """Show every patient of a run in a browser on this machine, read-only, to the data's owner."""
    from auscult.cli.display import progress_for
    from auscult.viewer import serve

    try:
        serve(
            run,
            against=against,
            read_cohort=data,
            port=port,
            progress=progress_for(),
            tell=say,
        )
    except KeyboardInterrupt:
        say("The viewer is closed.")
