"""The decision as SARIF 2.1.0: what code scanning of GitHub, GitLab, Azure and editors reads.

Broken limits and open ones are errors: the gate's exit code stops a pipeline for either, and code
scanning stops one for errors alone, so that it would call an inconclusive gate a clean one
otherwise. For the same reason both are results of kind "fail" (the standard's "open" has no level,
and few tools show it). An open one says so in its message and in its properties. What passed is
listed as rules only: many tools show every result as a finding, whatever its kind.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from auscult.base.files import write_json
from auscult.base.version import __version__
from auscult.policy.judging import Decision
from auscult.policy.limits import Check
from auscult.policy.rules import Policy
from auscult.report.words import visible

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
LEVEL = "error"
OPEN = "Not decided: "


def write_sarif(decision: Decision, path: Path, policy: Policy, file: Path) -> None:
    """Write the decision as SARIF: one rule per key of the policy, one result per open limit.

    Parameters
    ----------
    decision : Decision
    path : Path
    policy : Policy
    file : Path
        The policy's own, which results point to.
    """
    keys = list(dict.fromkeys(one.key for one in decision.checks))
    rules = [
        {
            "id": visible(key),
            "name": _name(key),
            "shortDescription": {"text": visible(_what(decision, key))},
            "defaultConfiguration": {"level": LEVEL},
        }
        for key in keys
    ]
    results = [
        _result(one, keys.index(one.key), policy, _address(file))
        for one in decision.checks
        if one.verdict != "pass"
    ]
    driver = {"name": "Auscult", "version": __version__, "rules": rules}
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"auscult/gate/{visible(policy.title or 'policy')}"},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "verdict": decision.verdict,
            "checks": len(decision.checks),
            "passed": sum(one.verdict == "pass" for one in decision.checks),
        },
    }
    write_json(path, {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _what(decision: Decision, key: str) -> str:
    """What a key asks for; the key itself where several groups are judged by it."""
    found = {one.what for one in decision.checks if one.key == key}
    return found.pop() if len(found) == 1 else key


def _name(key: str) -> str:
    """A rule's name as the standard asks for it: one word, without what only its id needs."""
    words = re.findall(r"[A-Za-z0-9]+", key)
    return "".join(word[:1].upper() + word[1:] for word in words) or "Check"


def _result(check: Check, rule: int, policy: Policy, address: str) -> dict[str, Any]:
    figures = {
        name: value
        for name in ("limit", "estimate", "low", "high")
        if (value := getattr(check, name)) is not None
    }
    said = visible(check.reason or check.what)
    if check.verdict == "inconclusive":
        said = f"{OPEN}{said}"
    place = f"{check.key}\0{check.what}".encode()
    return {
        "ruleId": visible(check.key),
        "ruleIndex": rule,
        "kind": "fail",
        "level": LEVEL,
        "message": {"text": said},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": address},
                    "region": {"startLine": line_of(policy.text, check.key)},
                }
            }
        ],
        "partialFingerprints": {"auscultCheck/v1": hashlib.sha256(place).hexdigest()},
        "properties": {"verdict": check.verdict, **figures},
    }


def _address(file: Path) -> str:
    """The policy's place below the current folder, its name alone where it is elsewhere."""
    whole, here = file.resolve(), Path.cwd()
    inside = whole.relative_to(here).as_posix() if whole.is_relative_to(here) else file.name
    return quote(inside)


def line_of(text: str, key: str) -> int:
    """Line of a policy on which the table begins that asks for a check; 1 where none does.

    Parameters
    ----------
    text : str
    key : str
        Of the check, for example "exposed.0.9" or "groups.difference: race".
    """
    table, _, rest = key.partition(":")[0].partition(".")
    headers = [
        (number, line.strip().strip("[]").replace('"', "").replace("'", "").replace(" ", ""))
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip().startswith("[")
    ]
    own = [number for number, name in headers if name == f"{table}.{rest}"]
    whole = [number for number, name in headers if name == table or name.startswith(f"{table}.")]
    return next(iter([*own, *whole]), 1)
