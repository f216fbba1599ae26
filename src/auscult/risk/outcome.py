"""The label as a group of patients: who has the disease may be who is exposed.

The attribute that membership most often reveals is the one that the model predicts. So the label is
compared like any declared group: each class, small ones pooled by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DEFAULT_NAME = "label"
NO_LABEL = "none of the labels"
SIGNIFICANT = 0.05
FAR_MORE = 3.0  # times the share of the others, by the interval's lower bound
DECLARED_AWAY = "left out, as declared: label_group = false"
NO_LABELS = "no labels were given"
NO_CLASSES = {
    "number": "the outcome is a number, and no label_bins were declared to compare it by",
    "none": "the models predict no label",
}

RULE = (
    "A patient whose records carry several labels is counted under the rarest of them: the one "
    "that the fewest patients have."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Attributes:
    """Attributes of the patients that risks are compared by.

    Attributes
    ----------
    table : DataFrame, shape (patients, attributes)
        Declared groups, the label's attribute last where it is one of its own.
    label : str or None
        Which column is the label's; None where it is not compared.
    added : bool
        Whether that column was added to those declared.
    name : str
        The label's own name, empty where unknown.
    reason : str
        Why the label is not compared.
    """

    table: pd.DataFrame
    label: str | None
    added: bool
    name: str
    reason: str = ""

    @property
    def extra(self) -> str | None:
        """The column that was added to those declared."""
        return self.label if self.added else None

    def summary(self) -> dict[str, Any]:
        """The "label" object of the summary, without findings."""
        return {
            "name": self.name or None,
            "attribute": self.label,
            "several_labels": RULE if self.label is not None else None,
            "reason": self.reason,
            "findings": [],
        }


def with_label(
    groups: pd.DataFrame,
    labels: NDArray[np.int64] | None,
    classes: Sequence[str],
    patient_of_record: NDArray[np.int64],
    *,
    name: str = "",
    wanted: bool = True,
    absent: str = NO_LABELS,
) -> Attributes:
    """Add the label to the declared groups.

    A declared group of the label's name that puts the same patients together is the label's
    attribute itself. Where it puts others together, the label's is called "NAME (label)".

    Parameters
    ----------
    groups : DataFrame, shape (patients, attributes)
        As declared.
    labels : int64 array, shape (records,) or (records, labels), optional
    classes : sequence of str
        Names of the classes, or of the labels.
    patient_of_record : int64 array, shape (records,)
    name : str
        The label's own name.
    wanted : bool
        False where the label is declared to be left out.
    absent : str
        Why there are no labels to compare by.
    """
    if not wanted or labels is None:
        because = DECLARED_AWAY if not wanted else absent
        return Attributes(table=groups, label=None, added=False, name=name, reason=because)
    values = label_of_patients(labels, classes, patient_of_record, len(groups))
    attribute = name or DEFAULT_NAME
    taken = {str(column) for column in groups.columns}
    if attribute in taken:
        same = pd.factorize(groups[attribute].astype(str).to_numpy())[0]
        if np.array_equal(same, pd.factorize(values)[0]):
            return Attributes(table=groups, label=attribute, added=False, name=name)
        while attribute in taken:
            attribute += " (label)"
    table = groups.assign(**{attribute: values})
    return Attributes(table=table, label=attribute, added=True, name=name)


def label_of_patients(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    patient_of_record: NDArray[np.int64],
    patients: int,
) -> NDArray[np.object_]:
    """One class per patient: the rarest that any of its records has.

    Rare is what few patients ever had; of two that are as rare the later class counts. So nobody
    with a rare diagnosis is hidden among those with a common one, whichever value stands for it.

    Parameters
    ----------
    labels : int64 array, shape (records,) or (records, labels)
        Class of each record, or 0 and 1 per label; of several labels those that are 1 count.
    classes : sequence of str
    patient_of_record : int64 array, shape (records,)
    patients : int

    Returns
    -------
    object array of str, shape (patients,)
        ``"none of the labels"`` for patients of a multi-label task who have none.
    """
    if labels.ndim == 1:
        patient, label = patient_of_record, labels
    else:
        record, label = np.nonzero(labels)
        patient = patient_of_record[record]
    number = len(classes)
    pairs = np.unique(patient.astype(np.int64) * number + label)
    patient, label = pairs // number, pairs % number
    ever = np.bincount(label, minlength=number)
    rank = np.empty(number, dtype=np.int64)
    rank[np.lexsort((-np.arange(number), ever))] = np.arange(number)  # 0 is the rarest
    rarest = np.full(patients, number)
    np.minimum.at(rarest, patient, rank[label])
    nothing = NO_LABEL
    while nothing in classes:
        nothing = f"({nothing})"
    names = np.empty(number + 1, dtype=object)
    names[rank] = [str(one) for one in classes]
    names[number] = nothing
    return np.asarray(names[rarest], dtype=object)


def findings(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Classes of the label whose patients are more exposed than everybody else, gravest first.

    Parameters
    ----------
    entry : mapping
        The label's attribute in the "disparities" of the summary.

    Returns
    -------
    list of dict
        A class is found where its mean AUC lies above everybody else's beyond chance (q at most
        0.05; where nobody else has as many records, by the interval of the difference). It is
        "concentrated" where its share above an AUC of 0.9 is surely three times that of the
        others, and half of all exposed patients or more have it.
    """
    # Of a class whose figures are withheld nothing is known here, nor may follow from the others.
    groups = {n: row for n, row in entry["groups"].items() if row["exposed_0.9"] is not None}
    people = sum(row["patients"] for row in groups.values())
    exposed = sum(row["exposed_0.9"] * row["patients"] for row in groups.values())
    mean = sum(row["mean_auc"] * row["patients"] for row in groups.values())
    found = []
    for name, row in groups.items():
        others = people - row["patients"]
        if others < 1 or not _above(row):
            continue
        mine = row["exposed_0.9"] * row["patients"]
        theirs = (exposed - mine) / others
        of_exposed = mine / exposed if exposed > 0 else 0.0
        far = row["exposed_0.9_low"] > FAR_MORE * theirs and of_exposed >= 0.5 and mine >= 1
        found.append(
            {
                "group": name,
                "patients": row["patients"],
                "share_of_patients": row["patients"] / people,
                "exposed_0.9": row["exposed_0.9"],
                "exposed_0.9_low": row["exposed_0.9_low"],
                "exposed_0.9_high": row["exposed_0.9_high"],
                "others_exposed_0.9": max(theirs, 0.0),
                "share_of_exposed": of_exposed,
                "mean_auc": row["mean_auc"],
                "others_mean_auc": (mean - row["mean_auc"] * row["patients"]) / others,
                "q": row["q"],
                "concentrated": far,
            }
        )
    found.sort(key=lambda one: (not one["concentrated"], one["others_mean_auc"] - one["mean_auc"]))
    return found


def _above(row: Mapping[str, Any]) -> bool:
    if row["mean_auc"] is None or row["difference"] is None or row["difference"] <= 0:
        return False
    if row["q"] is None:
        return bool(row["difference_low"] > 0)
    return bool(row["q"] <= SIGNIFICANT)
