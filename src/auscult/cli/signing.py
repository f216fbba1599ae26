"""What `report --dossier` and `--card` do: documents that leave the house."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auscult.base.files import write_bytes
from auscult.cli.common import refuse_target, say
from auscult.report import write_dossier
from auscult.report.model_card import KINDS, model_card
from auscult.report.paper import write_pdf
from auscult.results.result import SUMMARY
from auscult.store import RunStore
from auscult.store.seal import require_sealed

NAME = "dossier.html"


def write_the_card(run: Path, summary: Mapping[str, Any], kind: str, out: Path | None) -> None:
    """Write the sections of a model card where they are asked for, or to standard output.

    Parameters
    ----------
    run : Path
    summary : mapping
        The contents of its ``summary.json``.
    kind : {"hf", "chai"}
    out : Path, optional
    """
    text = model_card(summary, kind)
    refuse_target(out, "--out", run=run)
    require_sealed(run, values=False, but=("report.html",))
    if out is None:
        say(text.rstrip("\n"))
        return
    write_bytes(out, text.encode())
    say(f"Sections for a {KINDS[kind]}: {out}")


def write_the_dossier(run: Path, summary: Mapping[str, Any], out: Path | None) -> None:
    """Write the dossier of a finished run beside it, or where it is asked for.

    Parameters
    ----------
    run : Path
    summary : mapping
        The contents of its ``summary.json``.
    out : Path, optional
        The HTML file; the current folder's ``dossier.html`` when None. The PDF goes beside it.
    """
    target = Path(NAME) if out is None else out
    refuse_target(target, "--out", run=run)
    require_sealed(run, values=False, but=("report.html",))
    content = (run / SUMMARY).read_bytes()
    written = datetime.fromtimestamp((run / SUMMARY).stat().st_mtime, UTC)
    manifest = RunStore.open(run).manifest()
    record: dict[str, Any] = {
        **{key: manifest[key] for key in ("fingerprint", "versions") if key in manifest},
        "summary": hashlib.sha256(content).hexdigest(),
        "written": f"{written:%Y-%m-%d}",
    }
    write_dossier(summary, target, record)
    say(f"Dossier: {target}")
    pdf = target.with_suffix(".pdf")
    refuse_target(pdf, "--out", run=run)
    missing = write_pdf(target, pdf)
    say(f"Note: {missing}." if missing else f"PDF: {pdf}")
