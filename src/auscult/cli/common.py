"""The application that commands are added to, and what several of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.errors import ConfigError

app = typer.Typer(
    name="auscult",
    help="Which patients does a medical AI model give away?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables: secrets
    rich_markup_mode=None,
)

Out = Annotated[Path | None, typer.Option(help="Run directory; a run in it is resumed.")]
Workers = Annotated[
    int | None, typer.Option(help="Worker processes, one per core by default; only the speed.")
]


def pairs(texts: list[str], where: str) -> dict[str, str]:
    """Options of the form name=value."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f'"{text}" is no setting', where=where, expected="name=value")
        found[name] = value
    return found


def finish(result: Any) -> None:  # noqa: ANN401
    """Say the headline and where the report is."""
    from auscult.results import REPORT

    typer.echo(f"{result.headline}.")
    typer.echo(f"Report: {result.path / REPORT}")
