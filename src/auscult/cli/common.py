"""The application that commands are added to, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from auscult.base.errors import ConfigError
from auscult.base.showing import cleaned
from auscult.cli.logs import verbosity_option


class WholeHelp(TyperGroup):
    """Commands with their whole first sentence, which click would cut to one line, and ``-v``."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(**attributes)
        self.params.append(verbosity_option())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """A command, which may be asked to say more."""
        found = super().get_command(ctx, cmd_name)
        if found is not None and not any(one.name == "verbose" for one in found.params):
            found.params.append(verbosity_option())
        return found

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the list of commands."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                said = " ".join((command.short_help or command.help or "").split())
                rows.append((name, said))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


app = typer.Typer(
    name="auscult",
    help="Which patients does a medical AI model expose?",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    cls=WholeHelp,
    pretty_exceptions_enable=False,  # its tracebacks show local variables: secrets
    rich_markup_mode=None,
)

RUN_ITSELF = (
    "manifest.json",
    "audit.toml",
    "report.html",
    ".writer",
    ".writer.lock",
    "outputs",
    "protection",
    "results",
    "secret",
    "sizes",
)

Out = Annotated[Path | None, typer.Option(help="Run directory; a run in it is resumed.")]
Workers = Annotated[
    int | None,
    typer.Option(help=("Worker processes, one per core by default. Affects only the speed.")),
]


def pairs(texts: list[str], where: str) -> dict[str, str]:
    """Options of the form name=value."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(
                f'"{text}" is not a valid setting', where=where, expected="name=value"
            )
        found[name] = value
    return found


def say(text: str = "", *, err: bool = False) -> None:
    """Print text, without anything in it that could act on the terminal or hide."""
    typer.echo(cleaned(text, keep="\n\t"), err=err)


def refuse_target(
    target: Path | None, option: str, *, read: Sequence[Path] = (), run: Path | None = None
) -> None:
    """Raise a ConfigError where a file to be written is one that is read, or a run's own.

    Parameters
    ----------
    target : Path, optional
    option : str
        That names it.
    read : sequence of Path
        Files that the command reads.
    run : Path, optional
        A run directory: what Auscult keeps in it is not written over.
    """
    if target is None:
        return
    place = target.resolve()
    if target.is_dir():
        raise ConfigError("this is a folder", where=f"{option} {target}", expected="a file")
    if place in {one.resolve() for one in read}:
        raise ConfigError("the command reads this file", where=f"{option} {target}")
    inside = run is not None and place.is_relative_to(run.resolve())
    if run is not None and inside and place.relative_to(run.resolve()).parts[0] in RUN_ITSELF:
        raise ConfigError(
            "the run reserves this path for its own files",
            where=f"{option} {target}",
            expected="a file elsewhere",
        )


def finish(result: Any) -> None:  # noqa: ANN401
    """Say what the report opens with and where it is."""
    from auscult.results.result import REPORT

    for said in result.opening:
        say(f"{said}.")
    if note := result.summary.get("disclosure", {}).get("note"):
        say(f"Note: {note}.")
    say(f"Report: {result.path / REPORT}")
