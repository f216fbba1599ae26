"""TOML files, read for configurations and policies alike."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from auscult.base.errors import ConfigError


def read_toml(path: Path, *, expected: str, next_step: str = "") -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and what it says.

    Parameters
    ----------
    path : path
    expected : str
        What should be there, for the message where it is missing.
    next_step : str, optional
        How to make one.

    Raises
    ------
    ConfigError
        The file is missing, no text, or no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            "there is no such file", where=str(path), expected=expected, next_step=next_step
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot be read ({type(error).__name__})", where=str(path), expected="UTF-8 text"
        ) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", where=str(path)) from error
