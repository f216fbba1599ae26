"""The datasets by name; a name is given once."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from auscult.base.errors import ConfigError, one_of
from auscult.datasets.facts import Dataset

_MODULES = ("chest", "breast", "eye", "skin", "ecg", "records")
_known: dict[str, Dataset] = {}
_loaded: list[bool] = []


def register(dataset: Dataset) -> Dataset:
    """Add a dataset.

    Raises
    ------
    ConfigError
        The name is taken.
    """
    if dataset.name in _known:
        raise ConfigError(
            f'there already is a dataset "{dataset.name}"',
            where="datasets",
            expected="a name of its own",
        )
    _known[dataset.name] = dataset
    return dataset


def datasets() -> Iterator[Dataset]:
    """All datasets, by name."""
    _load()
    return iter([_known[name] for name in sorted(_known)])


def dataset(name: str, where: str = "cohort.dataset") -> Dataset:
    """The dataset of that name.

    Raises
    ------
    ConfigError
        There is none.
    """
    _load()
    if name not in _known:
        raise ConfigError(
            f'there is no dataset "{name}"', where=where, expected=one_of(name, sorted(_known))
        )
    return _known[name]


def _load() -> None:
    if not _loaded:
        _loaded.append(True)
        for module in _MODULES:
            import_module(f"auscult.datasets.{module}")
