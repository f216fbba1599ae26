"""Commands on finished runs: compare, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.common import app, refuse_target


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished run directories of one cohort.")],
    html: Annotated[Path | None, typer.Option(help="Write the comparison to this file.")] = None,
) -> None:
    """Put finished runs of one cohort side by side; trains nothing."""
    from auscult.cli.display import progress_for
    from auscult.report.protection import comparison_rows
    from auscult.report.summary import Part, read_summary
    from auscult.results.comparing import compare as compare_runs

    for one in runs:
        refuse_target(html, "--html", run=one)
    found = compare_runs(runs, progress_for())
    entries = Part({"entries": found.entries}).parts("entries")
    for line in _columns(comparison_rows(read_summary(found.summary), entries, found.name)):
        typer.echo(line)
    if html is not None:
        found.write(html)
        typer.echo(f"Comparison: {html}")


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
) -> None:
    """Tell whether any file of a finished run was changed; needs no data, trains nothing."""
    from auscult.store.seal import require_sealed

    files = require_sealed(run)
    typer.echo(f"{files} files are as the run left them.")


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines of aligned columns."""
    widths: list[Any] = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
