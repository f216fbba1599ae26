"""``-v`` and ``-vv``: what the library logs, on standard error."""

import logging
import sys
from typing import Annotated, Any

import typer
import typer.main

from auscult.base.showing import cleaned

NAME = "auscult"
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
HELP = "Log what is done to standard error; twice for more."


class _Lines(logging.Formatter):
    """A line that nothing in a message can break or hide."""

    def format(self, record: logging.LogRecord) -> str:
        return cleaned(super().format(record), keep="\n\t")


def set_verbosity(times: int) -> None:
    """Log warnings, what is done (1), and its details (2) to standard error.

    Parameters
    ----------
    times : int
        How often ``-v`` was given.
    """
    logger = logging.getLogger(NAME)
    for one in [one for one in logger.handlers if isinstance(one.formatter, _Lines)]:
        logger.removeHandler(one)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(LEVELS[min(times, len(LEVELS) - 1)])


def verbosity_option() -> Any:  # noqa: ANN401
    """The option that every command has, so that it may stand before or after its name."""

    def given(context: typer.Context, times: int) -> None:
        root = context.find_root()
        root.meta[NAME] = root.meta.get(NAME, 0) + times
        set_verbosity(root.meta[NAME])

    probe = typer.Typer(add_completion=False)

    @probe.command()
    def made(
        verbose: Annotated[
            int,
            typer.Option(
                "-v",
                "--verbose",
                count=True,
                expose_value=False,
                callback=given,
                help=HELP,
                show_default=False,
            ),
        ] = 0,
    ) -> None: ...

    return typer.main.get_command(probe).params[0]
