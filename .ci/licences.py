"""Fail where an installed package has a licence that Auscult may not bring with it, or none."""

from __future__ import annotations

import re
import sys
from importlib import metadata

COPYLEFT = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|SSPL|EUPL|CC-BY-NC)", re.IGNORECASE)
LESSER = re.compile(r"\b(LGPL|Lesser General Public)", re.IGNORECASE)
# Permissive by their own statement, with an exception for a part that is not linked.
EXCEPTION = re.compile(
    r"(GCC|linking|runtime)[ -](runtime[ -]library[ -])?exception", re.IGNORECASE
)

# One of several licences, or of files that are not installed; looked at by hand.
SETTLED = {
    "axe-playwright-python": "MIT; the axe-core in it is under MPL-2.0: tests run it unchanged",
    "docutils": "public domain and BSD; the GPL is that of an Emacs mode that no wheel holds",
}


def said(of: metadata.Distribution) -> str:
    """What a package says of its licence: the expression, the classifiers, else the first line."""
    found = of.metadata.get_all("Classifier") or []
    classified = [one.split(" :: ")[-1] for one in found if one.startswith("License ::")]
    expression = of.metadata.get("License-Expression") or ""
    first = (of.metadata.get("License") or "").strip().splitlines()[:1]
    return "; ".join(one for one in (expression, *classified) if one) or " ".join(first)


def main() -> int:
    """List what may not be brought along."""
    wrong = []
    for of in sorted(metadata.distributions(), key=lambda one: one.metadata["Name"].lower()):
        text = said(of)
        if of.metadata["Name"].lower() in SETTLED:
            continue
        refused = COPYLEFT.search(LESSER.sub("", text)) and not EXCEPTION.search(text)
        if not text or refused:
            wrong.append(f"{of.metadata['Name']} {of.version}: {text or 'no licence is named'}")
    sys.stdout.write("\n".join(wrong or ["All licences are permissive or lesser copyleft."]) + "\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
