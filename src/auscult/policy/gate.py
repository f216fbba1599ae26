"""The gate: judge a finished run, write the decision into it, and say it to machines."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from auscult.base.errors import StoreError
from auscult.base.files import write_bytes, write_json
from auscult.base.version import __version__
from auscult.policy.judging import Decision, judge
from auscult.policy.limits import Check
from auscult.policy.rules import Policy
from auscult.report.words import visible
from auscult.results.result import EXACT, read_summary_file
from auscult.results.writing import write_summary
from auscult.store import RunStore
from auscult.store.seal import require_sealed

LOG = logging.getLogger(__name__)
LOOKS, JUDGED = "looks", "judged"  # of the manifest: models at each look, and when judged once


def judge_run(run: str | os.PathLike[str], policy: Policy, *, again: bool = False) -> Decision:
    """Judge a finished run and write the decision into its summary, report and officer's page.

    Parameters
    ----------
    run : path-like
        The run directory.
    policy : Policy
    again : bool
        Whether the run may be judged again with more models, depending on the verdict. Once this
        was so, it holds for the run: bounds are wider, so that all verdicts together err in 5%. A
        run that was judged and then had models added is judged in the same way from there on.

    Returns
    -------
    Decision

    Raises
    ------
    StoreError
        The run is not finished, damaged, changed after it was sealed, or another process writes to
        it; nothing was changed.
    """
    with RunStore.take_up(run) as store:
        require_sealed(store.path, values=False)
        summary = read_summary_file(store.path)
        looks = _looks(store, again=again)
        found = (_entered(store, one) for one in (_exact(store, summary), summary))
        decision = _released(*(judge(policy, one, looks) for one in found))
        summary["decision"] = {
            **decision.as_dict(),
            "title": policy.title,
            "policy": policy.text,
            "fingerprints": fingerprints(policy, store.manifest()),
        }
        write_summary(store.path, summary)
    LOG.info("Judged %s: %s", store.path, decision.verdict)
    return decision


def _looks(store: RunStore, *, again: bool) -> list[int]:
    """Models at every look up to this one, which is kept; empty where the run is judged once."""
    manifest = store.manifest()
    kept, judged = manifest.get(LOOKS, []), manifest.get(JUDGED)
    models = sum(len(block.models) for block in store.blocks)
    if not (kept or again) and judged in (None, models):
        if judged is None:
            store.update_manifest(**{JUDGED: models})
        return []
    before = kept or ([] if judged is None else [judged])
    looks = [*(one for one in before if one < models), models]
    if looks != kept:
        store.update_manifest(**{LOOKS: looks})
    return looks


def _entered(store: RunStore, summary: dict[str, Any]) -> dict[str, Any]:
    """A summary that also says in which ledger its report was entered."""
    disclosure = {**(summary.get("disclosure") or {}), "ledger": store.manifest().get("ledger")}
    return {**summary, "disclosure": disclosure}


def _exact(store: RunStore, summary: dict[str, Any]) -> dict[str, Any]:
    """The figures as they were found, which the seal covers; of older runs those released."""
    path = store.secret_path(EXACT)
    if not path.is_file():
        return summary
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            "the exact figures cannot be read",
            where=str(path),
            next_step="Run again: the results are recomputed from the outputs",
        ) from error
    return dict(found)


def _released(exact: Decision, public: Decision) -> Decision:
    """The verdicts by the exact figures, with the figures that may be published."""
    checks = []
    for one, shown in zip(exact.checks, public.checks, strict=True):
        figures = (one.estimate, one.low, one.high)
        if figures == (shown.estimate, shown.low, shown.high):
            checks.append(one)
            continue
        reason = shown.reason if shown.verdict == one.verdict else ""
        if not reason and one.verdict != "pass":
            reason = f"{one.what}: not within the limit of {one.limit:g}"
        checks.append(replace(shown, verdict=one.verdict, reason=reason))
    return replace(exact, checks=tuple(checks))


def fingerprints(policy: Policy, manifest: dict[str, Any]) -> dict[str, str]:
    """What was judged, by what, with what: SHA-256 of data, recipe, code and policy."""
    found = {str(key): str(value) for key, value in manifest["fingerprint"].items()}
    data = found.get("cohort") or next(iter(found.values()), "")
    return {
        "data": data,
        "recipe": found.get("recipe", "none: the scores were imported"),
        "models": f"{sum(len(block) for block in manifest['blocks'])}, seed {found.get('seed')}",
        "code": f"{__version__} {_code()}",
        "policy": hashlib.sha256(policy.text.encode()).hexdigest(),
    }


def _code() -> str:
    """SHA-256 of Auscult's own source files."""
    digest = hashlib.sha256()
    folder = Path(str(resources.files("auscult")))
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_decision_json(decision: dict[str, Any], path: Path) -> None:
    """Write the decision as strict JSON."""
    write_json(path, {"schema": "auscult.decision/1", **decision})


def write_junit(decision: Decision, path: Path, title: str) -> None:
    """Write the decision as JUnit XML: a broken limit is a failure, an open one an error.

    Parameters
    ----------
    decision : Decision
    path : Path
    title : str
        Name of the suite of tests.
    """
    suite = ElementTree.Element(
        "testsuite",
        name=visible(title or "auscult gate"),
        tests=str(len(decision.checks)),
        failures=str(sum(one.verdict == "fail" for one in decision.checks)),
        errors=str(sum(one.verdict == "inconclusive" for one in decision.checks)),
        skipped="0",
        time="0",
    )
    for one in decision.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=visible(one.key), name=visible(one.what), time="0"
        )
        if one.verdict != "pass":
            tag = "failure" if one.verdict == "fail" else "error"
            inner = ElementTree.SubElement(case, tag, message=visible(one.reason), type=one.verdict)
            inner.text = visible(_numbers(one))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    write_bytes(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _numbers(check: Check) -> str:
    names = ("limit", "estimate", "low", "high")
    given = [(name, getattr(check, name)) for name in names]
    return ", ".join(f"{name} {value:.6g}" for name, value in given if value is not None) or "none"
