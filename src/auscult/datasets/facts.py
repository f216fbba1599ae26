"""What a public dataset is: facts that can be shown without it, and how its folder becomes a table.

A description reads tables only. Which files belong to the records is a column of paths; decoding
them is the readers' work, so a new dataset is a page of facts and one function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.plugins import PluginError, check_words
from auscult.cohort import LeftOut

Kind = Literal["table", "images", "archives", "signals"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many records of how many patients; patients is None where the owner names none."""

    records: int
    patients: int | None

    def text(self) -> str:
        """For example "21,799 records of 18,869 patients"."""
        if self.patients is None:
            return f"{self.records:,} records"
        return f"{self.records:,} records of {self.patients:,} patients"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that the owner serves.

    Attributes
    ----------
    name : str
        Below the base URL, and below the folder it is kept in.
    sha256 : str, optional
        Published checksum. Without one the first download is recorded and later ones compared.
    """

    name: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Download:
    """What anybody may fetch.

    Attributes
    ----------
    base_url : str
        Folder of the files at the owner's.
    files : tuple of RemoteFile
    listing : RemoteFile, optional
        A list of SHA-256 sums, one line per file, that the owner keeps beside the data.
    listed : tuple of str
        Beginnings of the names that are taken from the listing.
    members : mapping of str to str
        Files to unpack from the (only) zip, with their SHA-256.
    size : str
        About how much, for people.
    note : str
        What is not fetched.
    """

    base_url: str
    files: tuple[RemoteFile, ...] = ()
    listing: RemoteFile | None = None
    listed: tuple[str, ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)
    size: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A dataset's folder as one table, a row per record, ready for the readers.

    Attributes
    ----------
    table : DataFrame, shape (records, columns)
        Records that stay, with their patient, labels, groups and, for files, their paths.
    rows : int64 array, shape (records,)
        Row of each record in the owner's main table (0-based).
    reading : mapping
        Keywords of :class:`auscult.readers.Reading`.
    kind : {"table", "images", "archives", "signals"}
        Inputs are the table's columns, image files, one array inside each npz, or WFDB records.
    files : str
        Column of paths, relative to `root`; empty for "table".
    key : str
        Which array, for "archives".
    signals : mapping
        Keywords of :class:`auscult.readers.signals.SignalSettings`, for "signals".
    root : Path
        No file of a record is read outside of it.
    found : Counts
        In the owner's tables, before anything is left out.
    left_out : tuple of LeftOut
    notes : tuple of str
    """

    table: pd.DataFrame
    rows: NDArray[np.int64]
    reading: Mapping[str, Any]
    kind: Kind
    root: Path
    found: Counts
    files: str = ""
    key: str = ""
    signals: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A public clinical dataset.

    Attributes
    ----------
    name : str
        As ``cohort.dataset`` writes it.
    title, task : str
        For people.
    published : Counts
        As the owner states them.
    studied : Counts, optional
        As the study used them, after its exclusions (before it set test records apart).
    groups : tuple of str
    licence, citation, access : str
        `access` says how to get it.
    layout : str
        The files that are read.
    labels : mapping of str to str
        Columns that may be the label and what they mean; the first is the default.
    read : callable
        From the folder to a Source.
    image_size : (height, width)
        The study's, where there are images.
    download : Download, optional
        Where anybody may fetch it.
    """

    name: str
    title: str
    task: str
    published: Counts
    studied: Counts | None = None
    groups: tuple[str, ...]
    licence: str
    citation: str
    access: str
    layout: str
    labels: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[Path], Source]
    image_size: tuple[int, int] = (64, 64)
    download: Download | None = None

    def __post_init__(self) -> None:
        where = f"dataset {self.name!r}"
        check_words(self, where)
        for key in ("task", "licence", "citation", "access", "layout"):
            if not getattr(self, key).strip():
                raise PluginError(f"its {key} is empty", where=where, expected="a few words")
        if not callable(self.read):
            raise PluginError("read is not a function", where=where)

    @property
    def label(self) -> str:
        """Its title: what every part calls its name for people."""
        return self.title
