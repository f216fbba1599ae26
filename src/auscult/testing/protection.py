"""Checks of protections that choose what is trained on."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.cohort import TrainingData
from auscult.cohort.cohort import Cohort
from auscult.cohort.design import Membership
from auscult.protection.assessment import Subject as Audited
from auscult.protection.changes import Choosing, Protection, chosen
from auscult.testing.failing import Subject
from auscult.testing.simulated import Signals

WITHHELD = 0.2


def check_protection(protection: Protection) -> None:
    """Check a protection that chooses the records that are trained on.

    Its choice names records of the cohort, is the same every time, leaves something out and
    something of every patient (a patient whom no model knows would look protected), and depends on
    the membership only where `reads_membership` says so. Its options can be written down, and the
    data is left as it was.

    Parameters
    ----------
    protection : Protection

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    subject = Subject("protection", protection.name)
    with subject.doing("checking its options"):
        protection.check("protect")
        words, value = protection.words(), protection.value()
    subject.need(isinstance(words, str) and words.strip(), "words() does not return a text")
    with subject.doing("writing its options down"):
        json.dumps(value, sort_keys=True, allow_nan=False)
    cohort = _cohort()
    before = cohort.fingerprint()
    found = _choice(subject, protection, cohort, seed=1)
    subject.need(cohort.fingerprint() == before, "it changes the data that it is given")
    again = _choice(subject, protection, cohort, seed=1)
    subject.need(
        np.array_equal(found, again),
        "it chooses different records every time: draw from the generator that it is given",
    )
    if not protection.reads_membership:
        other = _choice(subject, protection, cohort, seed=2)
        subject.need(
            np.array_equal(found, other),
            "its choice depends on the membership, but reads_membership does not say so",
        )
        withheld = np.random.default_rng(9).random(cohort.records) < WITHHELD
        _, first = np.unique(cohort.patient_of_record, return_index=True)
        withheld[first] = False
        for away, what in ((None, ""), (withheld, ", where some are withheld from all training")):
            choice = _choice(subject, protection, cohort, seed=1, withheld=away)
            usable = choice if away is None else choice & ~away
            left = np.bincount(cohort.patient_of_record[usable], minlength=cohort.patients)
            subject.need(
                left.all(),
                f"it leaves {int((left == 0).sum())} of {cohort.patients} patients no record to "
                f"train on{what}: they would look protected because no model was trained on them",
            )
    if not protection.by_model:
        subject.need(
            not found.all(),
            "it leaves nothing out of patients with four records, two of them alike",
        )


def _cohort() -> Cohort:
    """Patients with four records each, of which the last is a copy of the first."""
    rng = np.random.default_rng(6)
    table = pd.DataFrame(rng.normal(size=(120, 4)), columns=[*"abcd"])
    table["patient"] = np.arange(120) // 4
    table.loc[3::4, [*"abcd"]] = table.loc[0::4, [*"abcd"]].to_numpy()
    table["label"] = np.where(np.arange(120) // 4 % 2 == 0, "ill", "well")
    return Cohort.from_table(table, patient="patient", label="label")


def _choice(
    subject: Subject,
    protection: Protection,
    cohort: Cohort,
    *,
    seed: int,
    withheld: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    signals = Signals(0.0, seed, patients=cohort.patients, models=32)
    shift = np.where(np.arange(cohort.patients) < 8, 5.0, 0.0)[cohort.patient_of_record]
    member = signals.member[:, cohort.patient_of_record]
    noise = np.random.default_rng(seed).normal(size=member.shape)
    audited = Audited(
        membership=Membership(signals.member),
        patient_of_record=cohort.patient_of_record,
        groups=cohort.groups,
        labels=cohort.labels,
        stratum=cohort.labels,
        seed=3,
        smallest_cell=1,
        queries=None,
        withheld=withheld,
    )
    data: TrainingData = cohort.training_data()
    asked = Choosing(
        data=data,
        patient_of_record=cohort.patient_of_record,
        withheld=withheld,
        rng=np.random.default_rng(4),
        subject=audited,
        signals=lambda: noise + member * shift,
    )
    with subject.doing("choosing records"):
        found = chosen(protection, asked)
    subject.need(not isinstance(found, str), f"it says that nothing can be left out: {found}")
    assert isinstance(found, np.ndarray)  # noqa: S101 - for type checkers
    return found
