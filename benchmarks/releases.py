"""Releases trained on any share of the cohort: do their probabilities mean what they say?

    python -m benchmarks.releases [--state FOLDER] [--seconds S] [--releases N] [--cases C]

Releases are trained on known members, a share of the cohort each, and handed in as files of their
answers. Shadow models train on the share that "as released" picks. What is claimed of all releases
of a share is compared with what is found; the prior is the share on the list. In a folder given as
--state finished runs and cases are kept.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from auscult import Audit, Cohort, FileDoor, MemberList, Release
from auscult.attacks.layout import Layout, lay_out
from auscult.attacks.log_odds import log_odds_of_truth, signals_from_outputs
from auscult.attacks.places import Places
from auscult.base.progress import SILENT
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.cohort.design import AS_RELEASED, nearest_share
from auscult.config import LoadedConfiguration, parse
from auscult.demo import simulated_clinic
from auscult.recipes.base import Assignment
from auscult.release.assess import assess_release
from auscult.release.claims import Claims, claims_of
from auscult.release.declaration import Asked
from auscult.release.likeness import about_alike, likeness
from auscult.release.members import MEMBER, OUTSIDER
from auscult.release.named import auc_of, named_at, sides_of
from auscult.release.ratios import ratios
from auscult.release.transfer import transfer
from auscult.results.roster import stratum_of
from auscult.risk.patients import permuted
from auscult.store import RunStore
from benchmarks.attacks import joint
from benchmarks.real import COHORTS, data_folder, layout_of_audit
from benchmarks.results import record, table
from benchmarks.slices import in_slices

COMMAND = "python -m benchmarks.releases"
SEED = 7
MODELS = 64
PATIENTS = 1000  # of diabetes130
RELEASES = 16
SAME = 0.05  # mean difference of posteriors: choices on few models may turn out another way
SHARES = (0.4, 0.58, 0.8, 0.95, 1.0)
OTHER = (0.95, 0.8)  # a release, and shadow models of another share
NULL_SHARES = (0.5, 0.8, 0.95)
NULLS = 16  # permutations
BINS = 10
LEVELS = (0.5, 0.9)  # posteriors at which members are expected
CLINIC = """
[cohort]
table = "clinic.csv"
patient = "patient"
label = "readmitted"
positive = ["yes"]
"""
RECIPES: dict[str, dict[str, Any]] = {
    "MLP": {"kind": "torch", "model": "mlp", "hidden": [64, 64], "epochs": 15, "batch_size": 64},
    "gradient boosting": {
        "kind": "sklearn",
        "model": "gradient_boosting",
        "arguments": {"max_iter": 40},
    },
    "logistic regression": {"kind": "sklearn", "model": "logistic_regression"},
}
CASES = tuple((cohort, recipe) for cohort in ("diabetes130", "clinic") for recipe in RECIPES)


def audit_at(cohort: str, recipe: str, share: float, work: Path) -> Audit:
    """The audit of a case, with shadow models at a share."""
    content = tomllib.loads(CLINIC if cohort == "clinic" else COHORTS[cohort])
    content["cohort"].pop("groups", None)
    folder = data_folder()
    if cohort == "clinic":
        folder = work
        if not (work / "clinic.csv").exists():
            simulated_clinic()[0].to_csv(work / "clinic.csv", index=False)
    else:
        content["cohort"]["max_patients"] = PATIENTS
    content["recipe"] = RECIPES[recipe]
    content["audit"] = {"models": MODELS, "seed": SEED, "share": share}
    return LoadedConfiguration(parse(content, cohort), folder).audit()


def releases_of(
    audit: Audit, share: float, number: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Members of releases trained on a share, and the log-odds that these answer.

    Returns
    -------
    members : bool array, shape (releases, patients)
    answers : float32 array, shape (releases, records, outputs)
    """
    cohort = audit.cohort
    rng = np.random.default_rng([SEED, round(1000 * share)])
    many = round(share * cohort.patients)
    members = np.array([rng.permutation(cohort.patients) < many for _ in range(number)])
    block = [
        Assignment(
            model=i,
            members=np.flatnonzero(inside[cohort.patient_of_record]),
            seed=int(rng.integers(2**31)),
        )
        for i, inside in enumerate(members)
    ]
    data = cohort.training_data((), SEED, share)
    return members, audit.recipe.train_block(data, block, lambda _: None).values[:, 0]


def judged(
    audit: Audit, run: Path, members: NDArray[np.bool_], answers: NDArray[np.float32], work: Path
) -> list[dict[str, Any]]:
    """Releases of one share: claimed and found.

    All of them are scored at once: neighbours and centres then see the others' signals, which
    changes little. The first is audited as a release that is handed in as well, and must be given
    about the same probabilities.
    """
    cohort = audit.cohort
    store = RunStore.open(run)
    shadow = store.read_membership().reveal()
    models, many = len(shadow), len(members)
    signals = np.vstack(
        [signals_from_outputs(store.outputs(), cohort.labels)]
        + [log_odds_of_truth(one, cohort.labels, store.outputs().kind)[None] for one in answers]
    ).astype(np.float32)
    hidden = np.zeros((models + many, cohort.patients), dtype=np.bool_)
    hidden[:models] = shadow
    layout = lay_out(
        signals,
        hidden,
        cohort.patient_of_record,
        stratum_of(cohort.labels),
        Places.of(cohort.inputs, cohort.patient_of_record),
    )
    alone = lay_out(signals[: models + 1], hidden[: models + 1], cohort.patient_of_record)
    layout = replace(layout, wave=alone.wave, uneven=alone.uneven)
    share = float(members[0].mean())
    centred = about_alike(share, float(shadow.mean()))
    found = ratios(layout, centred=centred, releases=many)
    member = layout.member[:, :models]
    if share < 1:
        claimed = claims_of(found, member, share, members.T)
    else:
        claimed = claims_of(found, member, float(shadow.mean()))
    check = assess_release(
        asked_of(cohort, members[0], answers[0], work),
        store.outputs(),
        store.read_membership(),
        cohort.patient_of_record,
        cohort.labels,
        stratum=stratum_of(cohort.labels),
        seed=SEED,
        places=Places.of(cohort.inputs, cohort.patient_of_record),
    )
    apart = np.abs(check.rows["posterior"].to_numpy() - expit(claimed.releases[:, 0])).mean()
    if not apart < SAME:
        raise SystemExit(f"releases that are scored together differ by {apart:g}")
    told = []
    for i, inside in enumerate(members):
        one = replace(
            layout,
            signals=layout.signals[:, [*range(models), models + i]],
            member=layout.member[:, [*range(models), models + i]],
        )
        asked = asked_of(cohort, inside, answers[i], work)
        told.append(one_release(asked, one, claimed, i, inside))
    return told


def asked_of(
    cohort: Cohort, inside: NDArray[np.bool_], answers: NDArray[np.float32], work: Path
) -> Asked:
    """A release as it is handed in: a file of answers, and a list of members."""
    np.save(work / "answers.npy", answers)
    release = Release(
        door=FileDoor(path=work / "answers.npy"),
        output="logits",
        members=MemberList(source=cohort.patient_ids.reveal()[inside].tolist()),
    )
    return release.ask(cohort)


def one_release(
    asked: Asked,
    layout: Layout,
    claimed: Claims,
    place: int,
    inside: NDArray[np.bool_],
) -> dict[str, Any]:
    """What is claimed of a release, and what is found."""
    member = layout.member[:, :-1]
    held, claims = claimed.shadow, claimed.releases[:, place]
    share = float(inside.mean())
    sides = sides_of(asked, held, member, claims, SMALLEST_CELL)
    with np.errstate(divide="ignore"):
        p = expit(claims + logit(share))
    holds, widths = [], []
    for level in LEVELS:
        row = named_at(sides, level, 0.5, share, total=share < 1, plain=claimed.plain[:, place])[
            "expected_members"
        ]
        holds.append(row["low"] <= int(inside[expit(claims) >= level].sum()) <= row["high"])
        widths.append(row["high"] - row["low"])
    state = inside.astype(np.int8)
    reasons = {MEMBER: sides.reason_members, OUTSIDER: sides.reason_outsiders}
    moved = transfer(held, member, claimed.like_shadow[:, place], state, reasons=reasons)
    return {
        "claimed": np.round(p, 6).tolist(),
        "member": inside.astype(int).tolist(),
        "held": holds,
        "widths": widths,
        "stretch": float(claimed.stretch[place]),
        "auc": auc_of(sides)["estimate"],
        "like": likeness(layout, held, claims, state)["verdict"],
        "moved": [moved[side]["difference"]["estimate"] for side in ("members", "non_members")],
        "error": [moved["error"][end] for end in ("estimate", "low", "high")],
    }


def null_of(audit: Audit, run: Path) -> list[float]:
    """Mean AUC where each patient's membership is permuted over the models, and its error.

    Of errors the larger: over patients, and over permutations, where what models have in common
    moves all patients together.
    """
    layout = replace(
        layout_of_audit(audit, run, SILENT),
        places=Places.of(audit.cohort.inputs, audit.cohort.patient_of_record),
    )
    centring = joint(neighbours=True)(layout, None).centring
    found = []
    for i in range(NULLS):
        one = permuted(layout, np.random.default_rng([SEED, i]))
        found.append(joint(neighbours=True)(one, centring).auc)
    errors = []
    for axis in (0, 1):
        means = np.nanmean(found, axis=axis)
        errors.append(float(np.nanstd(means, ddof=1) / np.sqrt(len(means))))
    return [float(np.nanmean(found)), max(errors)]


def measured(number: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One case: releases of every share, and the nulls of shadow runs."""
    cohort, recipe = CASES[number]
    shares: dict[str, Any] = {}
    nulls: dict[str, Any] = {}

    def trained(share: float) -> tuple[Audit, Path]:
        audit = audit_at(cohort, recipe, nearest_share(share), work)
        if share != nearest_share(share):
            # As many steps as a release of that share takes.
            many = audit.cohort.patient_ids.reveal()[: round(share * audit.cohort.patients)]
            audit.share = AS_RELEASED
            audit.release = Release(
                door=FileDoor(path=work / "none.npy"), members=MemberList(source=many.tolist())
            )
            np.save(work / "none.npy", np.full(audit.cohort.records, 0.5))
        run = work / f"{cohort}-{recipe.replace(' ', '-')}-{round(100 * share)}"
        audit.run(run, workers=1, progress=SILENT)
        return audit, run

    for share, shadow in [(one, nearest_share(one)) for one in SHARES] + [OTHER]:
        audit, run = trained(share if (share, shadow) != OTHER else shadow)
        found = judged(audit, run, *releases_of(audit, share, given.releases), work)
        shares[f"{share:g} {shadow:g}"] = found
        print(cohort, recipe, *row_of(share, shadow, found), sep=" | ", flush=True)
    for share in NULL_SHARES:
        nulls[f"{share:g}"] = null_of(*trained(share))
        print(cohort, recipe, "null", share, nulls[f"{share:g}"], flush=True)
    return {"patients": audit.cohort.patients, "shares": shares, "nulls": nulls}


def row_of(share: float, shadow: float, found: list[dict[str, Any]]) -> list[Any]:
    """Row of the table: releases of one share together."""
    claimed = np.concatenate([one["claimed"] for one in found])
    inside = np.concatenate([one["member"] for one in found])
    order = np.argsort(claimed, kind="stable")
    bins = np.array_split(order, BINS)  # equally many pairs in each
    off = np.array([(claimed - inside)[one].mean() for one in bins])
    spread = claimed * (1 - claimed)
    noise = np.array([np.sqrt(spread[one].sum()) / one.size for one in bins])
    worst = int(np.abs(off).argmax())
    held = np.mean([one["held"] for one in found], axis=0)
    aucs = [one["auc"] for one in found if one["auc"] is not None]
    first = [
        f"{share:g}",
        f"{shadow:g}",
        f"{np.mean(aucs):.3f}" if aucs else "",
    ]
    last = [
        *(moved([one["moved"][side] for one in found]) for side in range(2)),
        "{:.3f} ({:.3f})".format(*np.mean([one["error"] for one in found], axis=0)[[0, 2]]),
        f"{sum(one['like'] for one in found)} of {len(found)}",
    ]
    if share == 1:
        return [*first, "1", "1", "", "", "", "", "", *last]
    return [
        *first,
        f"{claimed.mean():.3f}",
        f"{inside.mean():.3f}",
        f"{np.abs(off).mean():.4f} ({np.sqrt(2 / np.pi) * noise.mean():.4f})",
        f"{off[worst]:+.3f} ± {noise[worst]:.3f}",
        " / ".join(f"{round(h * len(found))}" for h in held) + f" of {len(found)}",
        " / ".join(f"{w:.1f}" for w in np.mean([one["widths"] for one in found], axis=0)),
        f"{np.mean([one['stretch'] for one in found]):.2f}",
        *last,
    ]


def moved(differences: list[float | None]) -> str:
    """Mean over releases, and its standard error."""
    known = np.array([one for one in differences if one is not None])
    if len(known) < 2:
        return ""
    return f"{known.mean():+.3f} ± {known.std(ddof=1) / np.sqrt(len(known)):.3f}"


def written(cases: dict[int, dict[str, Any]], given: argparse.Namespace) -> None:
    """The section of RESULTS.md."""
    text = (
        f"{MODELS} shadow models, {given.releases} releases of each share; diabetes130 with "
        f"{PATIENTS:,} patients, and the simulated clinic of `auscult demo`. Claimed: mean "
        "posterior at the share on the list as prior, made to add up to the number of members. By "
        "bins: mean absolute difference of claimed and found over ten bins of equally many "
        "patients by their posterior (what counting noise alone would give), and the largest of "
        "these differences with its standard error. Interval: releases whose interval of expected "
        "members holds the true number, at posteriors of "
        f"{' and '.join(f'{level:g}' for level in LEVELS)}, its mean width, and by how much the "
        "log-odds were stretched. Moved: mean posterior at a prior of "
        "one half less that of shadow models for the same patients on the same side, mean over "
        "releases with its standard error. Error: what one release is told that its posteriors may "
        "be off by, mean of the estimates (of the upper ends); of everybody, where non-members are "
        "not known, they are taken to be off as members are. The last row of each table: shadow "
        f"models of another share, {OTHER[1]:g} for {OTHER[0]:g}, as a measure of what a step in "
        "the share changes.\n"
    )
    for number, case in cases.items():
        cohort, recipe = CASES[number]
        text += f"\n{cohort}, {recipe}, {case['patients']:,} patients:\n\n"
        text += table(
            [
                "share",
                "shadow models",
                "AUC",
                "claimed",
                "found",
                "by bins (noise)",
                "largest",
                "interval holds",
                "its width",
                "stretch",
                "members moved",
                "non-members moved",
                "error",
                "like",
            ],
            [
                row_of(float(share), float(shadow), found)
                for (share, shadow), found in (
                    (name.split(), found) for name, found in case["shares"].items()
                )
            ],
        )
        nulls = ", ".join(
            f"{mean:.4f} ± {error:.4f} at {share}" for share, (mean, error) in case["nulls"].items()
        )
        text += f"\n\nMean AUC where membership is permuted: {nulls}.\n"
    left = [", ".join(case) for number, case in enumerate(CASES) if number not in cases]
    if left:
        text += f"\nNot measured here: {'; '.join(left)}."
    options = f"--releases {given.releases} --cases {given.cases}"
    record("releases", "Releases trained at any share", f"{COMMAND} {options}", text.rstrip("\n"))


def main() -> None:
    """Measure what the options say, and write the section; it names what is not there."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("--releases", type=int, default=RELEASES)
    parser.add_argument("--cases", type=int, default=len(CASES), help="only the first so many")
    parser.add_argument("--state", type=Path, help="folder for runs and what was found")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        work = given.state or Path(passing)
        work.mkdir(parents=True, exist_ok=True)
        kept = work / f"releases-{given.releases}-{MODELS}.json" if given.state else None
        found = in_slices(kept, given.cases, lambda n: measured(n, given, work), given.seconds)
    written(found, given)


if __name__ == "__main__":
    main()
