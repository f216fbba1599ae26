"""Protections that change what is trained on: which records, chosen how, in which words.

Each is a small class with its options, its checks and its action; one of another package is added
the same way. Nothing here trains.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.plugins import Optioned, Origin, PluginError, Registry, guarded
from auscult.cohort import TrainingData
from auscult.cohort.design import MINIMUM_PATIENTS
from auscult.protection.assessment import Subject
from auscult.protection.onion import chosen_on_half
from auscult.protection.selection import within_cap

SCORED = "records that are not trained on are scored and attacked like the others"


@dataclass(frozen=True, kw_only=True, eq=False)
class Choosing:
    """What a protection may look at when it chooses records.

    Attributes
    ----------
    data : TrainingData
        Inputs and labels, as recipes see them.
    patient_of_record : int64 array, shape (records,)
    withheld : bool array, shape (records,), optional
        Records that no model trains on anyhow.
    rng : numpy.random.Generator
        Its draws depend on the audit's seed and the protection's name alone.
    subject : Subject
        The audit itself, membership included: a secret.
    signals : callable
        The signals of the audit's own models, shape (models, records), once they are trained.
    """

    data: TrainingData
    patient_of_record: NDArray[np.int64]
    withheld: NDArray[np.bool_] | None
    rng: np.random.Generator
    subject: Subject
    signals: Callable[[], NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class Protection(Optioned, unfinished=True):
    """A choice of the records that are trained on. Options are the fields of the dataclass.

    Attributes
    ----------
    name, label : str
        Its key in configurations, and its name for people.
    note : str
        What the report must say of it; empty for nothing.
    reads_membership : bool
        Whether its choice depends on who is a member of which model.
    by_model : bool
        Whether records are left out model by model and not here.
    """

    note: ClassVar[str] = SCORED
    reads_membership: ClassVar[bool] = False
    by_model: ClassVar[bool] = False

    @abstractmethod
    def records(self, asked: Choosing) -> NDArray[np.bool_] | str:
        """Which records may be trained on, shape (records,); or why none can be left out.

        The same again every time: a run is resumed with the same choice or not at all.
        """

    def value(self) -> Any:  # noqa: ANN401
        """Its options for the summary; they make the identity of what is trained."""
        return {"label": self.words(), "options": dataclasses.asdict(self)}


PROTECTIONS: Registry[Any] = Registry("protection", Protection, of_classes=True)


@PROTECTIONS.add
@dataclass(frozen=True, kw_only=True)
class RecordCap(Protection):
    """At most so many records of a patient."""

    name = "max_records"
    label = "a maximum number of records per patient"

    most: int

    def records(self, asked: Choosing) -> NDArray[np.bool_]:
        """See :meth:`Protection.records`."""
        subject = asked.subject
        return within_cap(asked.patient_of_record, self.most, subject.seed, asked.withheld)

    def check(self, where: str) -> None:
        """See :meth:`Protection.check`."""
        if self.most < 1:
            raise ConfigError(
                f"{self.most} records", where=f"{where}.{self.name}", expected="1 or more"
            )

    def words(self) -> str:
        """See :meth:`Protection.words`."""
        return f"at most {self.most} record{'s' if self.most > 1 else ''} per patient"

    def value(self) -> int:
        """See :meth:`Protection.value`."""
        return self.most


@PROTECTIONS.add
@dataclass(frozen=True, kw_only=True)
class NoDuplicates(Protection):
    """Of a model's members no record that duplicates an earlier one: left out model by model."""

    name = "deduplicate"
    label = "no duplicates"
    by_model = True

    tolerance: float

    def records(self, asked: Choosing) -> NDArray[np.bool_]:
        """All: which are duplicates depends on the members of each model."""
        return np.ones(asked.patient_of_record.size, dtype=bool)

    def check(self, where: str) -> None:
        """See :meth:`Protection.check`."""
        if not 0 <= self.tolerance < float("inf"):
            raise ConfigError(
                f"{self.tolerance:g} is not a valid tolerance",
                where=f"{where}.{self.name}",
                expected='"exact" or a number above 0',
            )

    def words(self) -> str:
        """See :meth:`Protection.words`."""
        return "no duplicates" if not self.tolerance else f"no near duplicates ({self.tolerance:g})"

    def value(self) -> float | str:
        """See :meth:`Protection.value`."""
        return self.tolerance or "exact"


@dataclass(frozen=True, kw_only=True)
class _WithoutMostExposed(Protection, unfinished=True):
    """Nothing of the most exposed patients, who are found on one half of the models."""

    note = ""
    reads_membership = True

    bound: float

    @property
    @abstractmethod
    def _by(self) -> dict[str, float | None]:
        """Keywords of :func:`auscult.protection.onion.chosen_on_half`."""

    def records(self, asked: Choosing) -> NDArray[np.bool_] | str:
        """See :meth:`Protection.records`."""
        subject = asked.subject
        removed = chosen_on_half(asked.signals(), subject, **self._by)
        count, left = int(removed.sum()), int((~removed).sum())
        if count < subject.smallest_cell:
            return (
                f"fewer than {subject.smallest_cell} patients would be left out: nothing to "
                "compare, and too few to show"
            )
        if left < MINIMUM_PATIENTS:
            return f"fewer than {MINIMUM_PATIENTS} patients would be left"
        return np.asarray(~removed[asked.patient_of_record])

    def value(self) -> float:
        """See :meth:`Protection.value`."""
        return self.bound


@PROTECTIONS.add
@dataclass(frozen=True, kw_only=True)
class WithoutExposed(_WithoutMostExposed):
    """Nothing of patients whose AUC exceeds a bound."""

    name = "without_exposed"
    label = "without exposed patients"

    @property
    def _by(self) -> dict[str, float | None]:
        return {"threshold": self.bound, "share": None}

    def check(self, where: str) -> None:
        """See :meth:`Protection.check`."""
        if not 0.5 < self.bound < 1:
            raise ConfigError(
                f"{self.bound:g} is not a valid threshold",
                where=f"{where}.{self.name}",
                expected="an AUC above 0.5 and below 1",
            )

    def words(self) -> str:
        """See :meth:`Protection.words`."""
        return f"without patients above {self.bound:g}"


@PROTECTIONS.add
@dataclass(frozen=True, kw_only=True)
class WithoutTop(_WithoutMostExposed):
    """Nothing of a share of the patients, the most exposed."""

    name = "without_top"
    label = "without the most exposed patients"

    @property
    def _by(self) -> dict[str, float | None]:
        return {"threshold": None, "share": self.bound}

    def check(self, where: str) -> None:
        """See :meth:`Protection.check`."""
        if not 0 < self.bound < 1:
            raise ConfigError(
                f"{self.bound:g} is not a valid share",
                where=f"{where}.{self.name}",
                expected="more than 0 and less than 1",
            )

    def words(self) -> str:
        """See :meth:`Protection.words`."""
        return f"without the {100 * self.bound:g}% most exposed"


OWN = tuple(one.name for one in PROTECTIONS.built_in())


def added_protection(name: str, options: dict[str, Any], where: str) -> Protection:
    """A protection of another package, with its options.

    Parameters
    ----------
    name : str
        Of the protection.
    options : dict
        Its fields.
    where : str
        Key of the configuration, for messages.

    Raises
    ------
    ConfigError
        There is none of that name, or it has no such options.
    """
    if name in OWN:
        raise ConfigError(
            f'"{name}" is Auscult\'s own',
            where=f"{where}.name",
            next_step=f"Write it as a separate key: {name} = ...",
        )
    made: Protection = PROTECTIONS.made(
        name, options, named=f"{where}.name", where=f"{where}.options"
    )
    return made


def origin_of(protection: Protection) -> Origin | None:
    """The package that brings a protection; None for Auscult's own."""
    return PROTECTIONS.origin(protection.name)


def chosen(protection: Protection, asked: Choosing) -> NDArray[np.bool_] | str:
    """What a protection chooses, checked where it is another package's.

    Raises
    ------
    PluginError
        It failed, or its choice is not one of the cohort's records.
    """
    origin = origin_of(protection)
    with guarded("protection", protection.name, "choosing records", origin):
        found = protection.records(asked)
    records = asked.patient_of_record.size
    if isinstance(found, str):
        return found
    if (
        not isinstance(found, np.ndarray)
        or found.dtype != np.dtype(bool)
        or found.shape != (records,)
    ):
        raise PluginError(
            f"it returned {getattr(found, 'dtype', type(found).__name__)} of shape "
            f"{getattr(found, 'shape', None)}",
            where=f'protection "{protection.name}"',
            expected=f"a bool array of shape ({records},), or a text that says why not",
        )
    return found
