"""The release audit: who would be named, how many of them rightly, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from auscult.attacks.access import WHITE_BOX, parse_access
from auscult.attacks.further import with_further
from auscult.attacks.layout import Layout, lay_out
from auscult.attacks.log_odds import log_odds_of_truth, signals_from_outputs
from auscult.attacks.more import more_seen
from auscult.attacks.places import Places
from auscult.base.errors import AnalysisError
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, generator
from auscult.blind import blind_baseline
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.cohort.design import Membership
from auscult.release.calibrator import reliability
from auscult.release.claims import claims_of
from auscult.release.declaration import Asked
from auscult.release.likeness import about_alike, likeness
from auscult.release.looked_into import Opened
from auscult.release.members import MEMBER, OUTSIDER, UNKNOWN, Roll
from auscult.release.named import (
    NO_MEMBERS,
    NO_OUTSIDERS,
    NOBODY_OUTSIDE,
    at_rate,
    auc_of,
    named_at,
    sides_of,
)
from auscult.release.ratios import FEWEST_MODELS, FOLDS, judged_in_each_fold, ratios
from auscult.release.transfer import other_share, transfer
from auscult.store import Outputs

POSTERIORS = (0.5, 0.9, 0.99)
FALSE_RATES = (0.001, 0.01, 0.1)
FEWEST_RARER = 3  # IN or OUT models of a patient
FEWEST_JUDGED = 20  # patients from whom a release can be judged

METHOD = (
    "The joint attack, fitted on all shadow models, scores the release once per patient; shadow "
    "models in the place of the release turn scores into probabilities, stretched by as much as "
    "more models tell. Rates of members and non-members named: exact (Clopper-Pearson) 95% "
    "intervals over patients. The prior of the audit is one half: a patient is as likely a member "
    "as not before the model is asked."
)
BLIND_PATIENTS = 1000  # of each side, for the blind baseline


@dataclass(frozen=True, kw_only=True, eq=False)
class ReleaseFindings:
    """What the release audit found.

    Attributes
    ----------
    summary : dict
        The "release" object of the summary: aggregates only.
    rows : DataFrame
        One row per patient, without identifiers: ratio, posterior, member. A secret.
    """

    summary: dict[str, Any] = field(repr=False)
    rows: pd.DataFrame = field(repr=False)


def assess_release(
    asked: Asked,
    outputs: Outputs,
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    stratum: NDArray[np.int64],
    seed: int,
    smallest_cell: int = SMALLEST_CELL,
    priors: tuple[float, ...] = (),
    withheld: NDArray[np.bool_] | None = None,
    progress: Progress = SILENT,
    places: Places | None = None,
) -> ReleaseFindings:
    """Audit the release.

    Parameters
    ----------
    asked : Asked
    outputs : Outputs
        Of the shadow models; their first query is the plain record.
    membership : Membership
        Of the shadow models.
    patient_of_record : int64 array, shape (records,)
    labels : int64 array, shape (records,) or (records, labels)
    stratum : int64 array, shape (records,)
        Class of each record, for centring.
    seed : int
    smallest_cell : int
        Fewer members or non-members than that are not counted.
    priors : tuple of float
        Further priors of membership, for example the deployment's.
    withheld : bool array, shape (records,), optional
        Records that no shadow model trained on: they say nothing of what the release's own say.
    progress : Progress
    places : Places, optional
        Where the records lie among each other.
    """
    state = asked.roll.reveal()
    summary: dict[str, Any] = {
        **asked.about,
        "patients": int(state.size),
        "models": membership.models,
        "members": _counts(asked, smallest_cell),
        "blind": _blind(asked, patient_of_record, labels, seed, smallest_cell, progress),
        "outside": _outside(asked, patient_of_record, labels, seed, smallest_cell, progress),
        "method": METHOD,
    }
    kept = np.ones(outputs.records, dtype=np.bool_) if withheld is None else ~withheld
    layout = None
    reason = _too_few(membership)
    if not reason:
        layout = _layout(asked, outputs, membership, patient_of_record, labels, stratum, kept)
        judged = judged_in_each_fold(layout)
        if judged < FEWEST_JUDGED:
            reason = (
                f"once a quarter of the {membership.models} shadow models is held back to show "
                "what their answers are worth, too few are left that have a patient, or lack one: "
                "train more models, or at a share nearer to one half"
            )
    if layout is None or reason:
        rows = pd.DataFrame({"ratio": np.full(state.size, np.nan)})
        return ReleaseFindings(
            summary=summary | {"estimable": 0, "reason": reason},
            rows=rows.assign(posterior=np.nan, member=_nullable(state)),
        )
    if places is not None:
        layout = replace(layout, order=np.flatnonzero(kept)[layout.order], places=places)
    centred = _centred(state, float(membership.reveal().mean()))
    found = ratios(layout, centred=centred, progress=progress)
    member = layout.member[:, :-1]
    shadow_share = float(membership.reveal().mean())
    share, total = _share(asked, smallest_cell)
    claims = claims_of(
        found,
        member,
        share if share is not None and 0 < share < 1 else shadow_share,
        (state == MEMBER)[:, None] if total else None,
    )
    held, release = claims.shadow, claims.release
    sides = sides_of(asked, found.shadow, member, found.release, smallest_cell)
    on_scale = sides_of(asked, held, member, release, smallest_cell)
    rng = generator(seed, Stage.RELEASE)
    summary |= {
        "estimable": int(np.isfinite(release).sum()),
        "centred": centred,
        "neighbours": found.neighbours,
        "folds": FOLDS,
        "known_total": total,
        "stretch": float(claims.stretch[0]),
        "likeness": likeness(layout, held, release, state),
        "transfer": {
            "share": share,
            "shadow_share": shadow_share,
            "other_share": other_share(share, shadow_share),
            **transfer(
                held,
                member,
                claims.like_shadow[:, 0],
                state,
                reasons={
                    MEMBER: on_scale.reason_members,
                    OUTSIDER: on_scale.reason_outsiders.replace(NO_OUTSIDERS, NOBODY_OUTSIDE),
                },
            ),
        },
        "calibration": reliability(held, member, rng),
        "auc": auc_of(sides),
        "named": [
            named_at(on_scale, posterior, prior, share, total=total, plain=claims.plain[:, 0])
            for prior in dict.fromkeys((0.5, *priors))
            for posterior in POSTERIORS
        ],
        "at_fpr": [at_rate(sides, rate) for rate in FALSE_RATES],
    }
    rows = pd.DataFrame(
        {"ratio": found.release, "posterior": expit(release), "member": _nullable(state)}
    )
    if asked.opened is not None:
        summary["white_box"], more = _with_weights(
            asked, asked.opened, outputs, labels, layout, kept, smallest_cell, progress
        )
        rows = rows.assign(**more)
    return ReleaseFindings(summary=summary, rows=rows)


def _with_weights(
    asked: Asked,
    weights: Opened,
    outputs: Outputs,
    labels: NDArray[np.int64],
    layout: Layout,
    kept: NDArray[np.bool_],
    smallest_cell: int,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """The same for somebody who has the weights: the "white_box" object, and columns of rows."""
    state = asked.roll.reveal()
    reason = ""
    if not _centred(state, float(layout.member[:, :-1].mean())):
        reason = (
            "another share of the cohort trained it than trains a shadow model, so what its "
            "weights say cannot be compared"
        )
    elif weights.names != outputs.inside:
        reason = "its network tells other things of its weights than those of the shadow models"
    if reason:
        return {"assessed": False, "reason": reason}, {}
    every = outputs.and_one(weights.values, weights.inside)
    signals = signals_from_outputs(every, labels, (0,))
    shadow = np.ones(layout.member.shape, dtype=np.bool_)
    shadow[:, -1] = False
    # With places, rows are numbered by the cohort already.
    order = layout.order if layout.places is not None else np.flatnonzero(kept)[layout.order]
    whole = replace(layout, signals=signals[:, order].T, order=order, used=shadow)
    more = more_seen(every, labels, parse_access(WHITE_BOX), (0,))
    told: dict[str, Any] = {}
    ready = False  # whether signals are centred already
    if more is not None:
        whole, weighed = with_further(whole, more)
        told, ready = {"further": weighed.summary()}, weighed.used
    found = ratios(replace(whole, used=None), centred=not ready, progress=progress)
    member = layout.member[:, :-1]
    release = claims_of(found, member, float(member.mean())).release
    auc = auc_of(sides_of(asked, found.shadow, member, found.release, smallest_cell))
    figures = {key: auc[key] for key in ("estimate", "low", "high", "reason") if key in auc}
    return (
        {"assessed": True, "reason": "", **told, "auc": figures},
        {"ratio_white_box": found.release, "posterior_white_box": expit(release)},
    )


def _too_few(membership: Membership) -> str:
    """Why the shadow models cannot calibrate a release; empty where they can."""
    if membership.models < FEWEST_MODELS:
        return (
            f"{membership.models} shadow models cannot calibrate it: at least {FEWEST_MODELS} "
            "are needed"
        )
    inside = membership.reveal().sum(axis=0)
    rarer = int(np.median(np.minimum(inside, membership.models - inside)))
    if rarer < FEWEST_RARER:
        return (
            f"a patient is IN or OUT of {rarer} shadow models only, which cannot calibrate it: at "
            f"least {FEWEST_RARER} are needed, one to judge and two to learn from"
        )
    return ""


def _layout(
    asked: Asked,
    outputs: Outputs,
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    labels: NDArray[np.int64],
    stratum: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> Layout:
    """Signals of the shadow models as the release would show them, and the release's own, last."""
    models = outputs.models
    signals = np.empty((models + 1, int(kept.sum())), dtype=np.float32)
    for number in range(models):
        plain = asked.view.through(outputs.model(number)[0])
        signals[number] = log_odds_of_truth(plain, labels, outputs.kind)[kept]
    signals[models] = log_odds_of_truth(asked.values, labels, outputs.kind)[kept]
    member = np.zeros((models + 1, membership.patients), dtype=np.bool_)
    member[:models] = membership.reveal()
    return lay_out(signals, member, patient_of_record[kept], stratum[kept])


def _centred(state: NDArray[np.int8], shadow: float) -> bool:
    """Whether about as many are members as in the shadow models, or it is not known.

    A model's median signal over others is a fair zero only where as many of them are members: a
    model that trained on everybody would be centred on its own members and look harmless.
    """
    members = (state == MEMBER).sum()
    if not members:
        return True
    return about_alike(members / state.size, shadow)


def _counts(asked: Asked, smallest_cell: int) -> dict[str, Any]:
    """How many members, non-members and unknown there are; none of them where one is too few."""
    state = asked.roll.reveal()
    counts = {
        "members": int((state == MEMBER).sum()),
        "non_members": int((state == OUTSIDER).sum()),
    }
    counts["unknown"] = int(state.size) - sum(counts.values())
    known = counts["members"] > 0
    outside = int(asked.roll.reveal_outside().sum())
    parts = (*counts.values(), outside, counts["non_members"] - outside)
    if any(0 < n < smallest_cell for n in parts):
        hidden: dict[str, Any] = dict.fromkeys(counts)
        return hidden | {
            "known": known,
            "share": None,
            "unmatched": asked.roll.unmatched,
            "reason": f"one of the numbers is below {smallest_cell} patients, so none is shown",
        }
    share = counts["members"] / state.size if known and not counts["unknown"] else None
    return {**counts, "known": known, "share": share, "unmatched": asked.roll.unmatched}


def _outside(
    asked: Asked,
    patient_of_record: NDArray[np.int64],
    labels: NDArray[np.int64],
    seed: int,
    smallest_cell: int,
    progress: Progress,
) -> dict[str, Any] | None:
    """Non-members from elsewhere, and whether members can be told from them without the model.

    If so, what is found for them says little of non-members like the members. None without any.
    """
    outside = asked.roll.reveal_outside()
    if not outside.any():
        return None
    state = asked.roll.reveal()
    alone = np.where((state == OUTSIDER) & ~outside, UNKNOWN, state).astype(np.int8)
    only = replace(asked, roll=Roll(alone))
    hidden = "reason" in _counts(asked, smallest_cell)
    found = _blind(only, patient_of_record, labels, seed, smallest_cell, progress)
    if hidden:
        for name in ("members", "others", "records"):
            found.pop(name, None)
    return {"patients": None if hidden else int(outside.sum()), "blind": found}


def _blind(
    asked: Asked,
    patient_of_record: NDArray[np.int64],
    labels: NDArray[np.int64],
    seed: int,
    smallest_cell: int,
    progress: Progress,
) -> dict[str, Any]:
    """Whether members can be told from the others without the model; "reason" where not tried."""
    state = asked.roll.reveal()
    nothing: dict[str, Any] = {"auc": {"mean": None, "low": None, "high": None}}
    if asked.inputs is None:
        return nothing | {"reason": "the records themselves are not at hand"}
    for side, reason in ((MEMBER, NO_MEMBERS), (OUTSIDER, NO_OUTSIDERS)):
        count = int((state == side).sum())
        if count < smallest_cell:
            what = "members" if side == MEMBER else "non-members"
            few = f"fewer than {smallest_cell} patients are known {what}"
            return nothing | {"reason": few if count else reason}
    of_record = state[patient_of_record]
    try:
        found = blind_baseline(
            asked.inputs,
            patient_of_record,
            of_record == MEMBER,
            labels=labels,
            seed=seed,
            max_patients=BLIND_PATIENTS,
            records=np.flatnonzero(of_record >= 0),
            progress=progress,
        )
    except AnalysisError as error:
        return nothing | {"reason": error.what}
    told = found.summary()
    del told["verdict"]
    if "reason" in _counts(asked, smallest_cell):
        # Both sides and all patients would give the number of unknown ones away.
        del told["members"], told["others"], told["records"]
    return told


def _share(asked: Asked, smallest_cell: int) -> tuple[float | None, bool]:
    """Share of the patients that trained the release, and whether their number is shown.

    None where somebody may or may not have trained it. Where a number is below the smallest cell,
    the share is that of half a cell: what is computed from it tells no more than that.
    """
    state = asked.roll.reveal()
    if (state < 0).any() or not (state == MEMBER).any():
        return None, False
    told = _counts(asked, smallest_cell)
    if told["share"] is not None:
        return float(told["share"]), 0.0 < told["share"] < 1.0
    few = smallest_cell / 2 / state.size
    return (1 - few if (state == MEMBER).mean() > 0.5 else few), False


def _nullable(state: NDArray[np.int8]) -> pd.Series[Any]:
    """1, 0 or missing."""
    return pd.Series(np.where(state < 0, np.nan, state)).astype("Int8")
