"""What ``--json`` needs: nothing but JSON on standard output, and errors that can be read."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from auscult.base.errors import AuscultError
from auscult.base.version import __version__

AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON object to standard output instead of text.")
]
COMMANDS = frozenset({"check", "status", "compare"})  # elsewhere --json names a file, or is text's
ERROR = "auscult.error/1"


def json_asked() -> bool:
    """Whether this call of the program is one of a command with ``--json``."""
    given = sys.argv[1:]
    options = given[: given.index("--")] if "--" in given else given
    command = next((one for one in options if not one.startswith("-")), "")
    return command in COMMANDS and "--json" in options


def print_json(schema: str, content: Mapping[str, Any]) -> None:
    """Write one object: strict JSON in ASCII, its schema and Auscult's version first.

    Parameters
    ----------
    schema : str
    content : mapping
    """
    told = {"schema": schema, "auscult": __version__, **content}
    sys.stdout.write(json.dumps(_strict(told), indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_error(kind: str, message: str, code: int, error: AuscultError | None = None) -> None:
    """Write one line of JSON to standard error.

    Parameters
    ----------
    kind : str
        "usage", "stopped", "internal", or the class of the error.
    message : str
    code : int
        What the program exits with.
    error : AuscultError, optional
    """
    parts = ("what", "where", "expected", "next_step")
    told = {
        "schema": ERROR,
        "kind": kind,
        "message": message,
        **{part: "" if error is None else getattr(error, part) for part in parts},
        "exit": code,
    }
    sys.stderr.write(json.dumps(told) + "\n")


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Send whatever else prints, training code and its processes, to standard error.

    Parameters
    ----------
    wanted : bool
        Nothing is changed where it is false.
    """
    if not wanted:
        yield
        return
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # no such stream: nothing can be printed there either
        kept = None
    try:
        if kept is not None:
            os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _strict(content: Any) -> Any:  # noqa: ANN401
    """Numbers of numpy as Python's, and null for what is none or infinite."""
    if isinstance(content, Mapping):
        return {str(key): _strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_strict(value) for value in content]
    if hasattr(content, "tolist"):
        return _strict(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content if isinstance(content, str | int | float | None) else str(content)
