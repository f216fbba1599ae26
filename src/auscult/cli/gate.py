"""The gate: a policy's verdict on a finished run, as an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auscult.base.errors import ConfigError
from auscult.cli.common import app, refuse_target, say

if TYPE_CHECKING:
    from auscult.policy import Decision

MOST_GROUPS = 5
EXITS = {"pass": 0, "fail": 1, "inconclusive": 3}


def reasons(decision: Decision) -> Iterator[str]:
    """What is broken first, then what is open; of many open limits of groups, some."""
    for one in decision.checks:
        if one.verdict == "fail":
            yield f"fail: {one.reason}"
    groups = 0
    for one in decision.checks:
        if one.verdict == "inconclusive":
            groups += one.key.startswith("groups.")
            if groups <= MOST_GROUPS or not one.key.startswith("groups."):
                yield f"inconclusive: {one.reason}"
    if groups > MOST_GROUPS:
        yield f"inconclusive: {groups - MOST_GROUPS} more limits of groups; see the report"


@app.command()
def gate(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit.")],
    policy: Annotated[Path, typer.Option(help="policy.toml: limits and the evidence they need.")],
    json: Annotated[Path | None, typer.Option(help="Also write the decision here.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Also write SARIF 2.1.0 here.")] = None,
) -> None:
    """Judge a run by a policy. Exit code: 0 pass, 1 fail, 2 usage error, 3 inconclusive."""
    from auscult.config.policy import load_policy
    from auscult.policy import judge_run
    from auscult.policy.gate import write_decision_json, write_junit
    from auscult.policy.sarif import write_sarif
    from auscult.report.words import visible
    from auscult.results.result import REPORT, read_summary_file

    limits = load_policy(policy)
    places: dict[Path, str] = {}
    for option, target in (("--json", json), ("--junit", junit), ("--sarif", sarif)):
        refuse_target(target, option, read=[policy], run=run)
        if target is not None:
            other = places.setdefault(target.resolve(), option)
            if other != option:
                raise ConfigError(f"this is also the file of {other}", where=option)
    decision = judge_run(run, limits)
    if json is not None:
        write_decision_json(read_summary_file(run)["decision"], json)
    if junit is not None:
        write_junit(decision, junit, limits.title)
    if sarif is not None:
        write_sarif(decision, sarif, limits, policy)
    for line in reasons(decision):
        say(visible(line))
    passed = sum(one.verdict == "pass" for one in decision.checks)
    say(f"{decision.verdict.upper()}: {passed} of {len(decision.checks)} checks passed.")
    say(f"Report: {run / REPORT}")
    raise typer.Exit(EXITS[decision.verdict])
