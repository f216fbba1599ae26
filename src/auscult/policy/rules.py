"""A policy: a description of limits, apart from everything that judges by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from auscult.results.lacking import FEWEST_MODELS

LEAST_MODELS = 16


@dataclass(frozen=True, kw_only=True)
class ExposedLimit:
    """How many patients may lie above an AUC.

    Attributes
    ----------
    auc : str
        Threshold as the summary names it, for example "0.9".
    patients : float, optional
        Maximum number of patients.
    share : float, optional
        Maximum share of the patients assessed. Give one of the two.
    """

    auc: str
    patients: float | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class GroupLimits:
    """How far a group may lie above all others with equally many records.

    Attributes
    ----------
    difference : float, optional
        Of the mean AUC from that of all others.
    exposed_share : float, optional
        Of a group's patients above an AUC of 0.9.
    attributes : tuple of str
        Which attributes; all of them when empty.
    min_patients : int
        Smaller groups are not judged, and counted.
    """

    difference: float | None = None
    exposed_share: float | None = None
    attributes: tuple[str, ...] = ()
    min_patients: int = 0


@dataclass(frozen=True, kw_only=True)
class DeploymentLimits:
    """What an attacker may achieve in the declared deployment, over the whole range of its prior.

    Attributes
    ----------
    ppv : float, optional
        Probability that a patient whom the attacker names is a member.
    named : mapping of str to float
        Posterior ("0.5", "0.9", "0.99") to the most patients whose posterior passes it.
    belief : float, optional
        Belief in the condition, for a patient who is named.
    """

    ppv: float | None = None
    named: Mapping[str, float] = field(default_factory=dict)
    belief: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReleaseLimits:
    """What the release audit may find.

    Attributes
    ----------
    named : mapping of str to float
        Posterior ("0.5", "0.9", "0.99") to the most members named, at a prior of one half.
    tpr : mapping of str to float
        False positive rate ("0.001", "0.01", "0.1") to the largest share of members named.
    calibration_error : float
        Largest expected calibration error with which posteriors are trusted.
    """

    named: Mapping[str, float] = field(default_factory=dict)
    tpr: Mapping[str, float] = field(default_factory=dict)
    calibration_error: float = 0.02


@dataclass(frozen=True, kw_only=True)
class StructureLimits:
    """What a fitted model may carry of its training data.

    Attributes
    ----------
    most : mapping of str to float
        "records" (training records kept), "leaves" (under the smallest cell), "pure_leaves" (that
        answer with one class), "vocabulary" (words, where rare ones are kept) or "parameters" (per
        training record) to the most that is allowed.
    """

    most: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DisclosureRules:
    """How figures must have been released.

    Attributes
    ----------
    counts_rounded_to : int, optional
        Numbers of patients must be rounded to this, or to a multiple of it.
    ledger : str, optional
        Name of the release ledger in which the report must be entered.
    """

    counts_rounded_to: int | None = None
    ledger: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvidenceLimits:
    """The minimum evidence for a pass.

    Attributes
    ----------
    models : int
        Shadow models; at least 16.
    interval_width : float, optional
        Widest 95% interval of a patient of median risk, in AUC.
    null_clear : bool
        The same pipeline on shuffled membership must find nothing: its mean AUC within 0.02 of one
        half, and its counts within the limits.
    learned : bool
        The models must have learned their task.
    """

    models: int = FEWEST_MODELS
    interval_width: float | None = None
    null_clear: bool = True
    learned: bool = True


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Limits and the evidence that they need.

    Attributes
    ----------
    title : str
    exposed : tuple of ExposedLimit
    groups : GroupLimits, optional
    deployment : DeploymentLimits, optional
    release : ReleaseLimits, optional
    structure : StructureLimits, optional
    disclosure : DisclosureRules
    evidence : EvidenceLimits
    smallest_cell : int
        The report must show no smaller group.
    text : str
        The policy's own text, which is part of the decision.
    """

    title: str = ""
    exposed: tuple[ExposedLimit, ...] = ()
    groups: GroupLimits | None = None
    deployment: DeploymentLimits | None = None
    release: ReleaseLimits | None = None
    structure: StructureLimits | None = None
    disclosure: DisclosureRules = field(default_factory=DisclosureRules)
    evidence: EvidenceLimits = field(default_factory=EvidenceLimits)
    smallest_cell: int = 10
    text: str = ""
