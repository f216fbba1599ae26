"""Typed reading of `summary.json`: what is absent is ``None``, what is wrong is an error.

A missing part, a ``null`` and an empty part mean the same: not estimable, with the reason that
stands beside it. A part of the wrong kind (text where a number belongs, NaN) means that the file is
damaged or was written by another program, and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auscult.base.errors import StoreError
from auscult.report.words import NOT_ESTIMABLE, Fewer, visible

SCHEMA = "auscult.summary/1"
WHERE = "summary.json"


class Part:
    """One object of the summary, read by keys.

    Parameters
    ----------
    content : mapping or None
        The object; None where the summary has none.
    path : str
        Where it stands, for messages.
    """

    def __init__(self, content: Mapping[str, Any] | None, path: str = "") -> None:
        self._content: Mapping[str, Any] = content or {}
        self._path = path

    def __bool__(self) -> bool:
        return bool(self._content)

    def part(self, key: str) -> Part:
        """The object under `key`, empty where there is none."""
        value = self._content.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self._wrong(key, "an object")
        return Part(value, self._at(key))

    def parts(self, key: str) -> tuple[Part, ...]:
        """The objects of the list under `key`."""
        found = []
        for place, value in enumerate(self._sequence(key)):
            if not isinstance(value, Mapping):
                raise self._wrong(f"{key}[{place}]", "an object")
            found.append(Part(value, self._at(f"{key}[{place}]")))
        return tuple(found)

    def items(self, key: str) -> Iterator[tuple[str, Part]]:
        """Names and objects of the object under `key`, in the summary's order; null is empty."""
        inner = self.part(key)
        for name in inner._content:
            yield name, inner.part(name)

    def number(self, key: str) -> float | None:
        """The finite number under `key`, or None; a count that is withheld is a :class:`Fewer`."""
        value = self._content.get(key)
        if value is None:
            cell = (self._content.get("fewer_than") or {}).get(key)
            return None if cell is None else Fewer(cell)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number or null")
        if not math.isfinite(value):
            raise self._wrong(key, "a finite number or null: strict JSON has no NaN or infinity")
        return float(value)

    def numbers(self, key: str) -> tuple[float | None, ...]:
        """The list of numbers under `key`; empty where there is none."""
        values = {str(place): value for place, value in enumerate(self._sequence(key))}
        inner = Part(values, self._at(key))
        return tuple(inner.number(place) for place in values)

    def text(self, key: str) -> str:
        """The text under `key`, made visible; empty where there is none."""
        value = self._content.get(key)
        if value is None or value == "":
            return ""
        if isinstance(value, Mapping | list):
            raise self._wrong(key, "a text")
        return visible(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts under `key`."""
        return tuple(visible(value) for value in self._sequence(key))

    def truth(self, key: str) -> bool | None:
        """The yes or no under `key`, or None."""
        value = self._content.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true, false or null")
        return value

    def content(self) -> Mapping[str, Any]:
        """The object itself, for parts whose keys are free (settings, deployments)."""
        return self._content

    def reason(self, key: str = "") -> str:
        """Why something could not be estimated, as far as the summary says."""
        inner = self.part(key) if key and isinstance(self._content.get(key), Mapping) else self
        text = inner.text("reason") or self.text("reason")
        return text.removeprefix(f"{NOT_ESTIMABLE}: ").rstrip(".")

    def _sequence(self, key: str) -> Sequence[Any]:
        value = self._content.get(key)
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self._wrong(key, "a list")
        return value

    def _at(self, key: str) -> str:
        return f"{self._path}.{visible(key)}".lstrip(".")

    def _wrong(self, key: str, expected: str) -> StoreError:
        return StoreError(
            f"{self._at(key)} cannot be read",
            where=WHERE,
            expected=expected,
            next_step="Run the audit's command again to rewrite the results; it resumes",
        )


def read_summary(summary: Mapping[str, Any]) -> Part:
    """Open a summary, or say why it is none that this version can read."""
    if not isinstance(summary, Mapping):
        raise StoreError(
            "is not a summary", where=WHERE, expected=f'an object of schema "{SCHEMA}"'
        )
    schema = summary.get("schema")
    if schema != SCHEMA:
        raise StoreError(
            f'schema "{visible(schema)}" is not one that this version reads',
            where=WHERE,
            expected=f'"{SCHEMA}"',
            next_step="Use the version of auscult that wrote it, or run the audit again",
        )
    return Part(summary)
