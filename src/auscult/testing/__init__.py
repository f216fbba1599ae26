"""Checks that every part must pass: Auscult's own, and those of other packages.

Each check makes small data whose truth it knows, uses the part as an audit does, and raises
:class:`CheckError` (an AssertionError) with the first property that does not hold. Call it from a
test of your own suite. It takes seconds at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auscult.base.lazily import lazily

if TYPE_CHECKING:
    from auscult.testing.access import check_access
    from auscult.testing.attack import check_attack
    from auscult.testing.dataset import check_dataset
    from auscult.testing.failing import CheckError
    from auscult.testing.protection import check_protection
    from auscult.testing.reader import check_reader
    from auscult.testing.recipe import check_recipe
    from auscult.testing.release import check_release
    from auscult.testing.section import check_section

_PLACES = {
    "CheckError": "auscult.testing.failing",
    "check_access": "auscult.testing.access",
    "check_attack": "auscult.testing.attack",
    "check_dataset": "auscult.testing.dataset",
    "check_protection": "auscult.testing.protection",
    "check_reader": "auscult.testing.reader",
    "check_recipe": "auscult.testing.recipe",
    "check_release": "auscult.testing.release",
    "check_section": "auscult.testing.section",
}

__all__ = [
    "CheckError",
    "check_access",
    "check_attack",
    "check_dataset",
    "check_protection",
    "check_reader",
    "check_recipe",
    "check_release",
    "check_section",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _PLACES)
