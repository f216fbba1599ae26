"""What is shown of an object, and of text that comes from outside: nothing that hides."""

from __future__ import annotations

import inspect
import unicodedata
from typing import Any

# Letters of some scripts are joined or not by these two, and stand between letters only.
_JOINERS = {0x200C, 0x200D}


def cleaned(text: object, keep: str = "") -> str:
    r"""Text from outside with everything that could hide, reorder or break it spelled out.

    Every name, header, key, category or message that others wrote is shown through this function:
    in errors, on the terminal, in CSV cells and on pages.

    Parameters
    ----------
    text : object
    keep : str
        Characters that stay as they are, for example line breaks.

    Returns
    -------
    str
        Control characters, lone surrogates, unassigned code points, marks of the writing direction,
        characters without width and separators of lines become ``\u202e`` and the like.
    """
    given = str(text)
    if given.isascii() and given.isprintable():
        return given
    shown = []
    for place, character in enumerate(given):
        if character in keep or not _hides(given, place):
            shown.append(character)
        else:
            code = ord(character)
            shown.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(shown)


def _hides(text: str, place: int) -> bool:
    if ord(text[place]) in _JOINERS:
        around = text[max(place - 1, 0) : place] + text[place + 1 : place + 2]
        return len(around) < 2 or not all(ord(c) > 0x2FF and not _hidden(c) for c in around)
    return _hidden(text[place])


def _hidden(character: str) -> bool:
    category = unicodedata.category(character)
    # Variation selectors and fillers are marks and letters by category, and show nothing.
    blank = (
        character in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
        or 0xE0100 <= ord(character) <= 0xE01EF
    )
    return blank or category in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")


def parameters(one: object) -> str:
    """Class and parameters other than their defaults, as scikit-learn shows estimators.

    Parameters
    ----------
    one : object
        Keeps each parameter of its constructor under the parameter's name.
    """
    shown = ", ".join(f"{name}={value}" for name, value in shown_parameters(one))
    return f"{type(one).__name__}({shown})"


def shown_parameters(one: object) -> list[tuple[str, str]]:
    """Names and values of parameters other than their defaults; see :func:`parameters`."""
    shown = []
    for name, parameter in inspect.signature(type(one)).parameters.items():
        if not hasattr(one, name):
            continue
        value = getattr(one, name)
        if not _same(value, parameter.default):
            shown.append((name, _text(value)))
    return shown


def _same(value: Any, default: Any) -> bool:  # noqa: ANN401
    try:
        return bool(value is default or value == default)
    except ValueError:  # an array has no truth
        return False


def _text(value: Any) -> str:  # noqa: ANN401
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)
