"""Public clinical datasets as their owners lay them out: list, fetch, read."""

from auscult.datasets.assembling import read_cohort
from auscult.datasets.facts import Counts, Dataset, Download, RemoteFile, Source
from auscult.datasets.registry import dataset, datasets, register

__all__ = [
    "Counts",
    "Dataset",
    "Download",
    "RemoteFile",
    "Source",
    "dataset",
    "datasets",
    "read_cohort",
    "register",
]
