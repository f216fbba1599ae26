"""Commands on finished runs: compare, verify, bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.base.errors import ConfigError
from auscult.cli.common import app, refuse_target, say
from auscult.cli.machine import AsJson, print_json


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished run directories of one cohort.")],
    html: Annotated[Path | None, typer.Option(help="Write the comparison to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare finished runs of one cohort; trains nothing."""
    from auscult.cli.display import progress_for
    from auscult.report.protection import comparison_rows
    from auscult.report.summary import Part, read_summary
    from auscult.results.comparing import compare as compare_runs

    for one in runs:
        refuse_target(html, "--html", run=one)
    found = compare_runs(runs, progress_for())
    if html is not None and as_json:
        found.write(html)
    if as_json:
        print_json("auscult.comparison/1", found.as_dict())
        return
    entries = Part({"entries": found.entries}).parts("entries")
    for line in _columns(comparison_rows(read_summary(found.summary), entries, found.name)):
        say(line)
    if html is not None:
        found.write(html)
        say(f"Comparison: {html}")


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit, or a bundle.")],
    key: Annotated[
        Path | None, typer.Option(help="Public key to check the signature with.")
    ] = None,
) -> None:
    """Check whether any file of a run or bundle was changed; needs no data, trains nothing."""
    from auscult.store.bundle import verify_bundle
    from auscult.store.seal import require_sealed

    if run.is_file():
        number, signed = verify_bundle(run, key)
        said = (
            "The signature matches this key."
            if key
            else ("Its signature was not checked; use --key.")
        )
        say(f"{number} files are unchanged since they were bundled.{' ' + said if signed else ''}")
        return
    if key is not None:
        raise ConfigError("a run is not signed", where="--key", expected="a bundle")
    files = require_sealed(run)
    say(f"{files} files are unchanged since the run.")


@app.command()
def bundle(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    out: Annotated[Path, typer.Option(help="The zip to write.")],
    key: Annotated[
        Path | None, typer.Option(help="Ed25519 private key (PEM) to sign with.")
    ] = None,
) -> None:
    """Write what an output checker needs to one zip: released figures and digests, no secret."""
    from auscult.store.bundle import write_bundle

    refuse_target(out, "--out", read=[] if key is None else [key], run=run)
    names = write_bundle(run, out, key)
    say(f"{len(names)} files{'' if key is None else ', signed'}: {out}")


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines of aligned columns."""
    widths: list[Any] = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
