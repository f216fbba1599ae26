"""``policy.toml`` to a Policy."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from auscult.base.errors import ConfigError, StoreError
from auscult.config.part import Part
from auscult.config.toml import read_toml
from auscult.disclosure import ledger_name
from auscult.policy import (
    DeploymentLimits,
    DisclosureRules,
    EvidenceLimits,
    ExposedLimit,
    GroupLimits,
    Policy,
    ReleaseLimits,
    StructureLimits,
)
from auscult.policy.rules import LEAST_MODELS
from auscult.results.lacking import FEWEST_MODELS

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Level = Literal["0.5", "0.9", "0.99"]
Rate = Literal["0.001", "0.01", "0.1"]
Threshold = Literal["0.6", "0.7", "0.8", "0.9", "0.95", "0.99"]


class ExposedPart(Part):
    """One threshold of ``[exposed]``."""

    patients: Count | None = None
    share: Share | None = None

    @model_validator(mode="after")
    def _one(self) -> ExposedPart:
        if (self.patients is None) == (self.share is None):
            raise ValueError("give patients or share, one of the two")
        return self


class GroupsPart(Part):
    """``[groups]``."""

    difference: Share | None = None
    exposed_share: Share | None = None
    attributes: list[str] = Field(default_factory=list)
    min_patients: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _some(self) -> GroupsPart:
        if self.difference is None and self.exposed_share is None:
            raise ValueError("it sets no limit: give difference or exposed_share")
        return self


class DeploymentPart(Part):
    """``[deployment]``."""

    ppv: Share | None = None
    named: dict[Level, Count] = Field(default_factory=dict)
    belief: Share | None = None

    @model_validator(mode="after")
    def _some(self) -> DeploymentPart:
        if self.ppv is None and not self.named and self.belief is None:
            raise ValueError("it sets no limit: give ppv, named or belief")
        return self


class ReleasePolicyPart(Part):
    """``[release]`` of a policy."""

    named: dict[Level, Count] = Field(default_factory=dict)
    tpr: dict[Rate, Share] = Field(default_factory=dict)
    calibration_error: Share = 0.02

    @model_validator(mode="after")
    def _some(self) -> ReleasePolicyPart:
        if not self.named and not self.tpr:
            raise ValueError("it sets no limit: give named or tpr")
        return self


class StructurePart(Part):
    """``[structure]``."""

    records: Count | None = None
    leaves: Count | None = None
    pure_leaves: Count | None = None
    vocabulary: Count | None = None
    parameters: Count | None = None

    @model_validator(mode="after")
    def _some(self) -> StructurePart:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError(f"it limits nothing: give one of {', '.join(type(self).model_fields)}")
        return self


class DisclosurePart(Part):
    """``[disclosure]``."""

    counts_rounded_to: Annotated[int, Field(ge=2)] | None = None
    ledger: Annotated[str, Field(min_length=1)] | None = None


class EvidencePart(Part):
    """``[evidence]``."""

    models: Annotated[int, Field(ge=LEAST_MODELS)] = FEWEST_MODELS
    interval_width: Annotated[float, Field(gt=0, le=1)] | None = None
    null_clear: bool = True
    learned: bool = True


class PolicyFile(Part):
    """A whole ``policy.toml``."""

    title: Annotated[str, Field(max_length=500)] = ""
    smallest_cell: Annotated[int, Field(ge=1)] = 10
    exposed: dict[Threshold, ExposedPart] = Field(default_factory=dict)
    groups: GroupsPart | None = None
    deployment: DeploymentPart | None = None
    release: ReleasePolicyPart | None = None
    structure: StructurePart | None = None
    disclosure: DisclosurePart = DisclosurePart()
    evidence: EvidencePart = EvidencePart()

    @model_validator(mode="after")
    def _some(self) -> PolicyFile:
        limits = (self.groups, self.deployment, self.release, self.structure)
        if not self.exposed and not any(limits):
            raise ValueError(
                "it sets no limit, so everything would pass: give exposed, groups, deployment, "
                "release or structure"
            )
        base = self.disclosure.counts_rounded_to
        if base is not None and base > self.smallest_cell:
            raise ValueError(
                f"disclosure.counts_rounded_to is {base}, more than the smallest cell "
                f"({self.smallest_cell}): no report could be made so"
            )
        return self


_TABLES: dict[str, type[BaseModel]] = {
    "groups": GroupsPart,
    "deployment": DeploymentPart,
    "release": ReleasePolicyPart,
    "structure": StructurePart,
    "disclosure": DisclosurePart,
    "evidence": EvidencePart,
    "exposed": ExposedPart,
}


def load_policy(path: Path) -> Policy:
    """Read and validate a policy.

    Raises
    ------
    ConfigError
        It is missing, no TOML, limits nothing, or has a key or value that cannot be.
    """
    text, content = read_toml(path, expected="a policy (see docs/gate.md)")
    return parse_policy(content, text, str(path))


def parse_policy(content: dict[str, Any], text: str, where: str) -> Policy:
    """Validate a policy's content; `text` is what stands in the decision.

    Parameters
    ----------
    content : dict
        The TOML as it was parsed.
    text : str
    where : str
        Name of the file, for messages.
    """
    try:
        file = PolicyFile.model_validate(content)
    except ValidationError as error:
        raise _problem(error, where) from None
    return Policy(
        title=file.title,
        exposed=tuple(
            ExposedLimit(auc=auc, patients=one.patients, share=one.share)
            for auc, one in file.exposed.items()
        ),
        groups=None
        if file.groups is None
        else GroupLimits(
            difference=file.groups.difference,
            exposed_share=file.groups.exposed_share,
            attributes=tuple(file.groups.attributes),
            min_patients=file.groups.min_patients,
        ),
        deployment=None
        if file.deployment is None
        else DeploymentLimits(
            ppv=file.deployment.ppv,
            named={str(key): most for key, most in file.deployment.named.items()},
            belief=file.deployment.belief,
        ),
        release=None
        if file.release is None
        else ReleaseLimits(
            named={str(key): most for key, most in file.release.named.items()},
            tpr={str(key): most for key, most in file.release.tpr.items()},
            calibration_error=file.release.calibration_error,
        ),
        structure=None
        if file.structure is None
        else StructureLimits(most=file.structure.model_dump(exclude_none=True)),
        disclosure=DisclosureRules(
            counts_rounded_to=file.disclosure.counts_rounded_to,
            ledger=_ledger(file.disclosure.ledger, where),
        ),
        evidence=EvidenceLimits(**file.evidence.model_dump()),
        smallest_cell=file.smallest_cell,
        text=text,
    )


def _ledger(folder: str | None, where: str) -> str | None:
    """Which ledger the policy means; its folder is relative to the policy's."""
    if folder is None:
        return None
    try:
        return ledger_name(Path(where).parent / folder)
    except StoreError as error:
        raise ConfigError(
            error.what,
            where=f"{where}: disclosure.ledger",
            expected="the folder of a release ledger, as audit.ledger names it",
            next_step="It is made by the first report: run the audit with this ledger first",
        ) from error


def _problem(error: ValidationError, where: str) -> ConfigError:
    problems = error.errors(include_url=False)
    first = problems[0]
    steps = [str(step) for step in first["loc"] if step != "[key]"]
    key = ".".join(steps)
    more = f" ({len(problems) - 1} more after it)" if len(problems) > 1 else ""
    place = f"{where}: {key}" if key else where
    if first["type"] == "extra_forbidden":
        model = _TABLES.get(steps[0], PolicyFile) if len(steps) > 1 else PolicyFile
        known = list(model.model_fields)
        close = difflib.get_close_matches(steps[-1], known, n=1)
        return ConfigError(
            f"there is no such key{more}",
            where=place,
            expected=f"one of {', '.join(known)}",
            next_step=f'Did you mean "{close[0]}"?' if close else "",
        )
    message = str(first["msg"]).removeprefix("Value error, ")
    return ConfigError(message[0].lower() + message[1:] + more, where=place)
