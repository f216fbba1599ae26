"""The way in: errors become one message and an exit code, secrets stay where they are."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from auscult.base.errors import AuscultError
from auscult.base.naming import arguments_of_a_file
from auscult.base.version import __version__
from auscult.cli import (  # noqa: F401 - importing them adds their commands
    audits,
    blind,
    data,
    gate,
    plugins,
    runs,
    scores,
    view,
)
from auscult.cli.common import app, say
from auscult.cli.machine import json_asked, print_error

MENDABLE = 2
INTERNAL = 1
STOPPED = 130
WORDS_OF_STOPPING = "\nStopped. Finished work is kept; run the same command again to resume."


def main() -> None:
    """Run the command line; exit code 2 for what the user can mend."""
    asked = json_asked()
    try:
        with arguments_of_a_file():
            if asked:
                sys.exit(app(standalone_mode=False) or 0)
            app()
    except AuscultError as error:
        if asked:
            print_error(type(error).__name__, str(error), MENDABLE, error)
        else:
            _say(f"error: {error}")
        sys.exit(MENDABLE)
    except KeyboardInterrupt:
        _stopped(asked)
        sys.exit(STOPPED)
    except SystemExit as end:
        if end.code == STOPPED:  # typer's own way of saying that the user interrupted
            _stopped(asked)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INTERNAL)
    except Exception as error:
        if asked and type(error).__name__ == "Abort":  # the same, where typer raises it
            _stopped(asked)
            sys.exit(STOPPED)
        if asked and hasattr(error, "format_message"):  # an option or argument that is none
            print_error("usage", error.format_message(), MENDABLE)
            sys.exit(MENDABLE)
        _internal(error, asked)
        sys.exit(INTERNAL)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        say(__version__)
        raise typer.Exit


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _stopped(asked: bool) -> None:
    if asked:
        print_error("stopped", WORDS_OF_STOPPING.strip(), STOPPED)
    else:
        _say(WORDS_OF_STOPPING)


def _internal(error: Exception, asked: bool) -> None:
    """Say where an unforeseen error arose; its message is left out, it may hold data."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "auscult" in frame.filename] or list(frames)
    place = f"{Path(own[-1].filename).name} line {own[-1].lineno}" if own else "?"
    said = (
        f"internal error: {type(error).__name__} in {place}. This is a bug in Auscult. Set "
        "AUSCULT_TRACEBACK=1 to see the full traceback, which may contain data of the cohort."
    )
    if asked:
        print_error("internal", said, INTERNAL)
    else:
        _say(said)
    if os.environ.get("AUSCULT_TRACEBACK"):
        traceback.print_exception(error)
