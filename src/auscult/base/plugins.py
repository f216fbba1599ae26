"""Parts by name: what Auscult brings, and what installed packages add through entry points.

A part is an object that carries its own name, words, options, checks and action. Each kind of part
has a :class:`Registry`; a package adds to it by an entry point of the registry's group. The names
of entry points are read without importing anything, and a package is loaded only when one of its
parts is asked for by name: a broken package harms nobody who does not use it.
"""

from __future__ import annotations

import re
import traceback
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from auscult.base.errors import AuscultError, ConfigError, one_of
from auscult.base.options import construct

GROUPS = {
    "attack": "auscult.attacks",
    "access": "auscult.accesses",
    "protection": "auscult.protections",
    "array reader": "auscult.readers",
    "dataset": "auscult.datasets",
    "recipe": "auscult.recipes",
    "release door": "auscult.releases",
    "report section": "auscult.report_sections",
}
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
LONGEST_LABEL = 200
_loaded: dict[tuple[str, str], Any] = {}


class PluginError(ConfigError):
    """A part of another package cannot be loaded, is not whole, or failed."""


class Named(Protocol):
    """What every part has."""

    @property
    def name(self) -> str:
        """Its key in configurations and summaries."""

    @property
    def label(self) -> str:
        """Its name for people."""


Part = TypeVar("Part", bound=Named)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The package that a part comes from.

    Attributes
    ----------
    kind : str
        Kind of part, a key of :data:`GROUPS`.
    name : str
        Of the part.
    distribution, version : str
    """

    kind: str
    name: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()

    def summary(self) -> dict[str, str]:
        """For the summary and the manifest."""
        return {
            "kind": self.kind,
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
        }


class Described(ABC):
    """Base of parts that are classes: one without its name or its label cannot be defined.

    Methods that are forgotten are abstract, so that the class cannot be made; see
    :meth:`Registry.add`.
    """

    name: ClassVar[str]
    label: ClassVar[str]

    def __init_subclass__(cls, *, unfinished: bool = False, **more: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**more)
        if not unfinished:
            check_words(cls, cls.__name__)


class Optioned(Described, unfinished=True):
    """Base of parts that are dataclasses whose fields are the user's options."""

    def words(self) -> str:
        """Its name for people, with its options."""
        return self.label

    def check(self, where: str) -> None:
        """Raise a ConfigError when an option has a value that it cannot have."""


def check_words(part: Any, where: str) -> None:  # noqa: ANN401
    """Raise a PluginError where a part has no usable name or label."""
    for key in ("name", "label"):
        value = getattr(part, key, None)
        if not isinstance(value, str) or not value.strip():
            raise PluginError(
                f"it has no {key}", where=where, expected=f'{key} = "...", a text that is not empty'
            )
    if not _NAME.fullmatch(part.name):
        raise PluginError(
            "its name is not valid",
            where=where,
            expected="up to 40 lower-case letters, digits, _, . or -, a letter first",
        )
    if len(part.label) > LONGEST_LABEL or not part.label.isprintable():
        raise PluginError(
            "its label is not valid",
            where=where,
            expected=f"at most {LONGEST_LABEL} printable characters",
        )


class Registry(Generic[Part]):
    """All parts of one kind by name.

    Parameters
    ----------
    kind : str
        A key of :data:`GROUPS`.
    base : type
        What every part must be an instance of, or, where `of_classes`, a subclass of.
    of_classes : bool
        Whether parts are classes, made anew with options for each use.
    """

    def __init__(self, kind: str, base: type[Any], *, of_classes: bool = False) -> None:
        self.kind = kind
        self.group = GROUPS[kind]
        self._base = base
        self._of_classes = of_classes
        self._built_in: dict[str, Part] = {}
        self._load_built_in: list[Callable[[], object]] = []

    def add(self, part: Any) -> Any:  # noqa: ANN401
        """Add a part of Auscult's own, or of the user's program; also a decorator of classes.

        Raises
        ------
        PluginError
            The name is taken, or something is missing.
        """
        self._check(part, f"{self.kind} {getattr(part, 'name', part)!r}")
        if part.name in self._built_in:
            raise PluginError(
                f'there already is a part named "{part.name}"',
                where=self.kind,
                expected="a name of its own",
            )
        self._built_in[part.name] = part
        return part

    def when_needed(self, load: Callable[[], object]) -> None:
        """Call this (which adds parts) before the first look-up."""
        self._load_built_in.append(load)

    def built_in(self) -> tuple[Part, ...]:
        """Auscult's own parts, in the order in which they were added."""
        while self._load_built_in:
            load = self._load_built_in.pop()
            try:
                load()
            except BaseException:  # the next look-up must not find less
                self._load_built_in.append(load)
                raise
        return tuple(self._built_in.values())

    def names(self) -> tuple[str, ...]:
        """All names, Auscult's own first."""
        own = [part.name for part in self.built_in()]
        return (*own, *sorted({entry.name for entry in self._entries()} - set(own)))

    def get(self, name: str, where: str) -> Part:
        """The part of that name.

        Parameters
        ----------
        name : str
        where : str
            The key of the configuration that names it, for the message.

        Raises
        ------
        ConfigError
            There is none.
        PluginError
            Its package cannot be loaded, or lacks something, or takes a name that is taken.
        """
        own = {part.name: part for part in self.built_in()}
        entries = [entry for entry in self._entries() if entry.name == name]
        if len(entries) + (name in own) > 1:
            owners = [*(["Auscult itself"] if name in own else []), *map(_owner, entries)]
            raise PluginError(
                f'the {self.kind} "{name}" is provided by {" and by ".join(owners)}',
                where=where,
                expected="one package for each name; no package may take a name of Auscult's",
                next_step="Uninstall the other one, or ask its authors for another name",
            )
        if name in own:
            return own[name]
        if not entries:
            raise ConfigError(
                f'there is no {self.kind} "{name}"',
                where=where,
                expected=one_of(name, self.names(), shown=20),
            )
        key = (self.group, name)
        if key not in _loaded:
            _loaded[key] = self._load(entries[0], where)
        return _loaded[key]  # type: ignore[no-any-return]

    def made(
        self,
        name: str,
        options: dict[str, Any],
        *,
        named: str,
        where: str,
        folder: Path | None = None,
    ) -> Any:  # noqa: ANN401
        """A part of a kind whose parts are classes, with the options that the user wrote.

        Parameters
        ----------
        name : str
        options : dict
            Its constructor's keyword arguments.
        named : str
            The key of the configuration that names it, for messages.
        where : str
            The key of the configuration that holds the options.
        folder : Path, optional
            The configuration's; see :func:`auscult.base.options.construct`.

        Raises
        ------
        ConfigError
            There is no such part, or it has no such options.
        PluginError
            Its package cannot be loaded, or failed.
        """
        part: Any = self.get(name, named)
        with guarded(self.kind, name, "being made", self.origin(name)):
            return construct(part, options, where, folder)

    def origin(self, name: str) -> Origin | None:
        """The package that brings a part; None for Auscult's own and the program's."""
        if any(part.name == name for part in self.built_in()):
            return None
        for entry in self._entries():
            if entry.name == name:
                return Origin(
                    kind=self.kind,
                    name=name,
                    distribution=entry.dist.name if entry.dist else "",
                    version=entry.dist.version if entry.dist else "",
                )
        return None

    def _entries(self) -> list[metadata.EntryPoint]:
        return [entry for entry in _all_entries() if entry.group == self.group]

    def _load(self, entry: metadata.EntryPoint, where: str) -> Part:
        whose = f'{self.kind} "{entry.name}" of {_owner(entry)}'
        try:
            part = entry.load()
            if isinstance(part, type) and not self._of_classes:
                part = part()
        except PluginError as error:
            raise _of(error, whose, where) from error
        except (Exception, SystemExit) as error:
            said = "".join(c if c.isprintable() else " " for c in str(error))
            said = " ".join(said.split())[:LONGEST_LABEL]
            raise PluginError(
                f"the {whose} cannot be loaded ({type(error).__name__}: {said})",
                where=where,
                next_step=f"Update or uninstall {_owner(entry)}",
            ) from error
        try:
            self._check(part, entry.value)
        except PluginError as error:
            raise _of(error, whose, where) from error
        if part.name != entry.name:
            raise PluginError(
                f'the {whose} is named "{part.name}"',
                where=where,
                expected="one name for the entry point and its part",
            )
        return part  # type: ignore[no-any-return]

    def _check(self, part: Any, where: str) -> None:  # noqa: ANN401
        if self._of_classes:
            fits = isinstance(part, type) and issubclass(part, self._base)
        else:
            fits = isinstance(part, self._base)
        if not fits:
            kind = "a subclass" if self._of_classes else "an instance"
            raise PluginError(
                "it is of the wrong type",
                where=where,
                expected=f"{kind} of {self._base.__module__}.{self._base.__qualname__}",
            )
        missing = sorted(
            getattr(part if self._of_classes else type(part), "__abstractmethods__", ())
        )
        if missing:
            raise PluginError(f"it does not define {', '.join(missing)}", where=where)
        check_words(part, where)


@contextmanager
def guarded(kind: str, name: str, doing: str, origin: Origin | None) -> Iterator[None]:
    """Turn whatever a part of another package raises into one clear message.

    The message of a foreign exception is not repeated: it may quote the data.

    Parameters
    ----------
    kind, name : str
    doing : str
        For example "scoring".
    origin : Origin or None
        None for Auscult's own parts, whose exceptions pass.
    """
    try:
        yield
    except AuscultError:
        raise
    except Exception as error:
        if origin is None:
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"it raised {type(error).__name__} while {doing} ({Path(frame.filename).name} line "
            f"{frame.lineno})",
            where=f'{kind} "{name}" of {origin}',
            next_step=f"Report it to the authors of {origin.distribution}",
        ) from error


def forget() -> None:
    """Read entry points anew, after packages were installed."""
    _all_entries.cache_clear()
    _loaded.clear()


@cache
def _all_entries() -> tuple[metadata.EntryPoint, ...]:
    # A package that is found twice on the path (in a build and installed) is one package.
    found: dict[tuple[str, str, str], metadata.EntryPoint] = {}
    everything = metadata.entry_points()
    for group in GROUPS.values():
        for entry in everything.select(group=group):
            found.setdefault((entry.group, entry.name, _project(entry)), entry)
    return tuple(found.values())


def _project(entry: metadata.EntryPoint) -> str:
    return re.sub(r"[-_.]+", "-", entry.dist.name).lower() if entry.dist else entry.value


def _owner(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _of(error: PluginError, whose: str, where: str) -> PluginError:
    return PluginError(
        f"the {whose} is incomplete: {error.what}",
        where=where,
        expected=error.expected,
        next_step=error.next_step,
    )
