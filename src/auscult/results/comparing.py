"""Several finished runs of one cohort beside the first of them; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.neighbours import NO_INPUTS
from auscult.base.errors import ConfigError, StoreError
from auscult.base.files import write_bytes
from auscult.base.notebooks import USUAL
from auscult.base.opening import npy_array, npz_arrays
from auscult.base.progress import Progress
from auscult.disclosure import released
from auscult.protection.assessment import Subject, assess, signals_of, utility_of
from auscult.protection.frontier import Side, entry, recommend, unpaired, withdraw
from auscult.recipes.metrics import metric_of_facts, on
from auscult.report.html import render_page
from auscult.report.protection import comparison_page
from auscult.report.summary import Part, read_summary
from auscult.results.lacking import lacking
from auscult.results.result import COHORT, NEARBY, Result
from auscult.results.roster import stratum_of
from auscult.store import Outputs, RunStore

AGAIN = "Run its command again: the results are rewritten, nothing is trained"
NOT_GROUPS = (
    "patient",
    "records",
    "auc",
    "auc_low",
    "auc_high",
    "auc_raw",
    "study_max_auc",
    "above_0.9",
    "confirmed_0.9",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """A finished run and whom it is about; `nearby` by record of the cohort, where it was used."""

    name: str
    store: RunStore
    summary: dict[str, Any]
    subject: Subject
    ids: NDArray[Any]
    labelled: bool
    nearby: NDArray[np.float32] | None

    @property
    def places_known(self) -> bool:
        """Whether controls from records nearby were tried."""
        told = self.summary["patients"].get("neighbours") or {"reason": NO_INPUTS}
        return bool(told["reason"] != NO_INPUTS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What was found.

    Attributes
    ----------
    name : str
        Of the run that the others are compared with.
    summary : dict
        Its summary.
    entries : list of dict
        One per other run, as in the summary's "protection".
    """

    name: str
    summary: dict[str, Any]
    entries: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The first run's figures and the entries of the others; released figures only."""
        patients, models = self.summary["patients"], self.summary["models"]
        mean = patients.get("auc") or {}
        return {
            "first": {
                "name": self.name,
                "patients": patients.get("estimable"),
                "models": models.get("count"),
                "exposed": patients.get("exposed"),
                "mean_auc": {
                    name: mean.get(key)
                    for name, key in (
                        ("estimate", "mean"),
                        ("low", "mean_low"),
                        ("high", "mean_high"),
                    )
                },
                "utility": models.get("utility"),
            },
            "runs": self.entries,
        }

    def write(self, path: Path) -> None:
        """Write the comparison as one offline HTML file."""
        parts = Part({"entries": self.entries}).parts("entries")
        page = comparison_page(read_summary(self.summary), parts, self.name)
        write_bytes(path, render_page(page).encode())


def compare(paths: Sequence[Path], progress: Progress = USUAL) -> Comparison:
    """Compare finished runs of one cohort with the first of them.

    Parameters
    ----------
    paths : sequence of Path
        At least two run directories.
    progress : Progress

    Raises
    ------
    ConfigError
        Fewer than two runs, or the same one twice.
    StoreError
        A run is not finished or has a different cohort.
    """
    if len(paths) < 2:
        raise ConfigError("one run cannot be compared", where="compare", expected="two or more")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("a run is listed twice", where="compare")
    names = _names(paths)
    runs = [_read(path, name) for path, name in zip(paths, names, strict=True)]
    first = runs[0]
    for other in runs[1:]:
        _refuse_another_cohort(first, other)
    progress.start("Runs", 2.0 * len(first.ids) * len(runs))
    base = _side(first, first.subject, progress)
    plain: Side | None = None
    entries = []
    for run in runs[1:]:
        before, notes = base, []
        if run.places_known != first.places_known:
            # One attacked harder than the other: neither as well as the better informed.
            poor = first if run.places_known else run
            notes = [f"without similar records as controls: {poor.name} was attacked without"]
            run = replace(run, nearby=None)
            if first.nearby is not None:
                plain = plain or _side(replace(first, nearby=None), first.subject, progress)
                before = plain
        own = run.subject
        subject = replace(
            first.subject,
            membership=own.membership,
            queries=own.queries,
            withheld=own.withheld,
        )
        side = _side(run, subject, progress)
        mine, theirs = (one.subject.membership.reveal() for one in (first, run))
        compared = len(runs) - 1
        if np.array_equal(mine, theirs):
            found = entry(
                name=run.name,
                kind="run",
                change={},
                before=before,
                after=side,
                subject=subject,
                compared=compared,
                notes=["the same draw of members: paired"],
            )
        else:
            found = unpaired(
                name=run.name, before=before, after=side, subject=subject, compared=compared
            )
        entries.append(found | {"notes": [*found["notes"], *notes]})
    progress.finish()
    recommend(entries)
    for one, run in zip(entries, runs[1:], strict=True):
        withdraw([one], "; ".join(dict.fromkeys((*lacking(first.summary), *lacking(run.summary)))))
    entries = [_released(one, first, run) for one, run in zip(entries, runs[1:], strict=True)]
    return Comparison(name=first.name, summary=first.summary, entries=entries)


def _released(one: dict[str, Any], first: _Run, run: _Run) -> dict[str, Any]:
    """An entry as it may be shown beside the first run's tables of groups."""
    few = [each.summary["patients"].get("few_models") for each in (first, run)]
    told = {
        "protection": [one],
        "disparities": first.summary["disparities"],
        "few_models": any(few),
    }
    found: dict[str, Any] = released(told, first.subject.smallest_cell)["protection"][0]
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the runs: their folders', or as they were given where those are not enough."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _read(path: Path, name: str) -> _Run:
    store = RunStore.open(path)
    result = Result(path)
    place = path / "secret" / COHORT
    content = npz_arrays(place, str(place), StoreError, next_step=AGAIN)
    try:
        of_record = content["patient_of_record"]
        smallest = int(content["smallest_cell"])
        labels = content.get("labels")
        withheld = content.get("withheld")
        truth = content.get("truth")
        queries = (0,) if bool(content.get("asked_more", False)) else None
    except Exception as error:  # whatever it holds
        raise StoreError(
            "the run does not say which patient each record belongs to",
            where=str(place),
            next_step=AGAIN,
        ) from error
    patients = result.patients
    known = np.zeros(len(of_record), dtype=np.int64) if labels is None else labels
    facts = (result.summary.get("recipe") or {}).get("facts") or {}
    seed = store.manifest()["fingerprint"].get("seed", "0")
    return _Run(
        name=name,
        store=store,
        summary=result.summary,
        subject=Subject(
            membership=store.read_membership(),
            patient_of_record=of_record,
            groups=_groups(patients),
            label_group=_label_group(result.summary),
            labels=known if truth is None else truth,
            stratum=stratum_of(known),
            metric=on(metric_of_facts(facts), truth),
            seed=int(seed),
            smallest_cell=smallest,
            queries=queries,
            withheld=withheld,
        ),
        ids=patients["patient"].to_numpy(),
        labelled=labels is not None or truth is not None,
        nearby=_nearby(path, result.summary, store.outputs(), withheld),
    )


def _nearby(
    path: Path,
    summary: Mapping[str, Any],
    outputs: Outputs,
    withheld: NDArray[np.bool_] | None,
) -> NDArray[np.float32] | None:
    """What records nearby said in a run, by record of its cohort; None where they were not used."""
    if not (summary["patients"].get("neighbours") or {}).get("used"):
        return None
    place = path / "secret" / NEARBY
    kept = np.ones(outputs.records, dtype=bool) if withheld is None else ~withheld
    shape = (int(kept.sum()), outputs.models)
    found: NDArray[np.float32] | None = None
    with suppress(StoreError):
        found = npy_array(place, str(place), StoreError)
    if found is None or found.shape != shape or found.dtype != np.float32:
        raise StoreError(
            "the run does not say what records nearby told",
            where=str(place),
            expected=f"32-bit floats of shape {shape}",
            next_step=AGAIN,
        )
    if withheld is None:
        return found
    everybody = np.zeros((outputs.records, outputs.models), dtype=np.float32)
    everybody[kept] = found
    return everybody


def _groups(patients: pd.DataFrame) -> pd.DataFrame:
    """Group columns of the secret rows under their own names."""
    columns = {}
    for name in map(str, patients.columns):
        if name in NOT_GROUPS:
            continue
        plain = name.removeprefix("group ")
        columns[plain if plain in NOT_GROUPS else name] = patients[name]
    return pd.DataFrame(columns, index=patients.index)


def _label_group(summary: Mapping[str, Any]) -> str | None:
    """The label's attribute, where it was not among the declared groups."""
    attribute = (summary.get("label") or {}).get("attribute")
    return None if attribute in summary["cohort"]["groups"] else attribute


def _refuse_another_cohort(first: _Run, other: _Run) -> None:
    mine, theirs = first.subject, other.subject
    same = (
        np.array_equal(first.ids, other.ids)
        and np.array_equal(mine.patient_of_record, theirs.patient_of_record)
        and np.array_equal(mine.labels, theirs.labels)
        and first.labelled == other.labelled
    )
    if not same:
        raise StoreError(
            f"{other.name} has a different cohort from {first.name} ({len(other.ids):,} patients "
            f"with {len(theirs.patient_of_record):,} records, and {len(first.ids):,} with "
            f"{len(mine.patient_of_record):,}, or other labels)",
            where="compare",
            expected="runs over the same patients, records and labels",
        )


def _side(run: _Run, subject: Subject, progress: Progress) -> Side:
    outputs = run.store.outputs()
    _, signals = signals_of(outputs, subject, None)
    return Side(
        risk=assess(signals, subject, nearby=run.nearby, progress=progress),
        utility=utility_of(outputs, subject) if run.labelled else None,
        facts=outputs.facts,
        models=outputs.models,
    )
