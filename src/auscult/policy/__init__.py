"""The release decision: limits, the evidence they need, and what a finished run says to them."""

from auscult.policy.description import (
    DeploymentLimits,
    EvidenceLimits,
    ExposedLimit,
    GroupLimits,
    Policy,
    ReleaseLimits,
)
from auscult.policy.gate import judge_run
from auscult.policy.judging import Decision, judge
from auscult.policy.limits import Check

__all__ = [
    "Check",
    "Decision",
    "DeploymentLimits",
    "EvidenceLimits",
    "ExposedLimit",
    "GroupLimits",
    "Policy",
    "ReleaseLimits",
    "judge",
    "judge_run",
]
