"""Which sizes an audit has, checked before anything is trained. Nothing runs here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from auscult.base.errors import AuscultError, ConfigError
from auscult.cohort.design import HALF, HIGHEST, LOWEST, STEP, Design, check_share
from auscult.risk.exposed import FEWEST_MODELS

WHERE = "audit.sizes"
FEWEST_SIZES = 2


@dataclass(frozen=True, kw_only=True)
class Size:
    """Shadow models that train on one share of the patients.

    Attributes
    ----------
    design : Design
        With as many models as the audit, or more where at this share a patient would be IN or OUT
        of too few of them.
    own : bool
        Whether these are the audit's own models.
    same_steps : bool
        Whether training takes as many steps as the audit's, instead of as many epochs.
    """

    design: Design
    own: bool
    same_steps: bool = False

    @property
    def share(self) -> float:
        """Of the patients that each model trains on."""
        return self.design.share

    @property
    def models(self) -> int:
        """Number of models."""
        return self.design.models

    @property
    def patients(self) -> int:
        """Patients that each model trains on, on average."""
        return round(self.share * self.design.patients)

    @property
    def name(self) -> str:
        """For people, for example "70% of the patients"."""
        return f"{100 * self.share:.0f}% of the patients"

    @property
    def slug(self) -> str:
        """Folder of its models."""
        return f"share-{100 * self.share:02.0f}" + ("-same-steps" if self.same_steps else "")


def sizes_of(
    shares: Sequence[float], design: Design, *, same_steps: bool = False
) -> tuple[Size, ...]:
    """The sizes of an audit, the smallest first.

    Parameters
    ----------
    shares : sequence of float
        As they were asked for; none for no curve.
    design : Design
        Of the audit's own models.
    same_steps : bool
        Whether every size takes as many training steps as the audit's own models.

    Raises
    ------
    ConfigError
        There is one size only, one is listed twice, or none can be as it is.
    """
    if not shares:
        return ()
    expected = (
        f"at least {FEWEST_SIZES} different multiples of {STEP:g} from {LOWEST:g} to {HIGHEST:g}, "
        "for example [0.5, 0.7, 0.9]"
    )
    for share in shares:
        try:
            check_share(share)
        except AuscultError as error:
            raise ConfigError(
                error.what, where=WHERE, expected=expected, next_step=error.next_step
            ) from None
    found = sorted(round(float(share), 2) for share in shares)
    for share in found:
        if found.count(share) > 1:
            raise ConfigError(f"{share:g} is listed twice", where=WHERE, expected=expected)
    if len(found) < FEWEST_SIZES:
        raise ConfigError(
            f"a curve cannot be drawn through {found[0]:g} alone", where=WHERE, expected=expected
        )
    return tuple(replace(_size(share, design), same_steps=same_steps) for share in found)


def _size(share: float, design: Design) -> Size:
    if share == design.share:
        return Size(design=design, own=True)
    models = design.models
    # An audit of so few models has bounds only, and its sizes need no more.
    wanted = FEWEST_MODELS if _worth(models, HALF) >= FEWEST_MODELS else 0
    while True:
        one = replace(design, models=models, share=share)
        if share == HALF or (one.carries(models) and _worth(models, share) >= wanted - 1e-9):
            return Size(design=one, own=False)
        models += 2


def _worth(models: int, share: float) -> float:
    """How many IN and as many OUT models say as much about a patient as these do."""
    return 2 * models * share * (1 - share)
