"""The release decision: limits, the evidence they need, and what a finished run says to them."""

from auscult.policy.gate import judge_run
from auscult.policy.judging import Decision, judge
from auscult.policy.limits import Check
from auscult.policy.rules import (
    DeploymentLimits,
    DisclosureRules,
    EvidenceLimits,
    ExposedLimit,
    GroupLimits,
    Policy,
    ReleaseLimits,
    StructureLimits,
)

__all__ = [
    "Check",
    "Decision",
    "DeploymentLimits",
    "DisclosureRules",
    "EvidenceLimits",
    "ExposedLimit",
    "GroupLimits",
    "Policy",
    "ReleaseLimits",
    "StructureLimits",
    "judge",
    "judge_run",
]
