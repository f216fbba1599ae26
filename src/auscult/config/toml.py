"""TOML files, read for configurations and policies alike."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from auscult.base.errors import ConfigError
from auscult.base.opening import DEEPEST, cause_of, depth, read_text

MOST_BYTES = 1 << 24
MOST_PARTS = 64
STRINGS = re.compile(r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'')
WORDS = re.compile(r"[^\w\-. \t]")  # what ends a dotted key


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
    where = str(path)
    if not path.exists():
        raise ConfigError(
            "there is no such file", where=where, expected=expected, next_step=next_step
        )
    text = read_text(path, where, ConfigError, most_bytes=MOST_BYTES)
    text = text.removeprefix("\ufeff")  # which editors on Windows write and TOML does not know
    # The parser's time grows with the square of the parts of a key.
    if any(one.count(".") > MOST_PARTS for one in WORDS.split(STRINGS.sub("s", text))):
        raise ConfigError("a key has too many parts", where=where, expected=f"at most {MOST_PARTS}")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", where=where) from error
    except Exception as error:  # whatever it holds
        raise ConfigError(cause_of(error), where=where, expected="TOML") from None
    if depth(content) > DEEPEST:
        raise ConfigError("it is nested too deeply", where=where)
    return text, content
