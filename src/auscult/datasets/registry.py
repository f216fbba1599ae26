"""The datasets by name; a name is given once."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from auscult.base.plugins import Registry
from auscult.datasets.facts import Dataset

_MODULES = ("chest", "breast", "eye", "skin", "ecg", "records")
DATASETS: Registry[Dataset] = Registry("dataset", Dataset)


def _load() -> None:
    for module in _MODULES:
        import_module(f"auscult.datasets.{module}")


DATASETS.when_needed(_load)


def register(dataset: Dataset) -> Dataset:
    """Add a dataset.

    Raises
    ------
    PluginError
        The name is taken.
    """
    DATASETS.add(dataset)
    return dataset


def datasets() -> Iterator[Dataset]:
    """All datasets, by name: Auscult's own and those of other packages."""
    return iter([DATASETS.get(name, "datasets") for name in sorted(DATASETS.names())])


def dataset(name: str, where: str = "cohort.dataset") -> Dataset:
    """The dataset of that name.

    Raises
    ------
    ConfigError
        There is none.
    PluginError
        Its package cannot be loaded.
    """
    return DATASETS.get(name, where)
