"""The command that lists parts: plugins."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from auscult.cli.common import app, say


@app.command()
def plugins(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Auscult's own parts as well.")] = False,
) -> None:
    """List attacks, accesses, readers and other parts that installed packages add.

    Each is loaded, so that one that cannot be used is told with the reason.
    """
    from auscult.attacks.record import ATTACKS
    from auscult.attacks.views import ACCESSES
    from auscult.base.plugins import PluginError, Registry
    from auscult.datasets.registry import DATASETS
    from auscult.protection.changes import PROTECTIONS
    from auscult.readers.arrays import READERS
    from auscult.recipes.kinds import RECIPES
    from auscult.release.kinds_of_doors import RELEASES
    from auscult.report.sections import SECTIONS

    registries: list[Registry[Any]] = [
        ATTACKS, ACCESSES, PROTECTIONS, READERS, DATASETS, RECIPES, RELEASES, SECTIONS,
    ]  # fmt: skip
    rows = []
    for registry in registries:
        for name in registry.names():
            origin = registry.origin(name)
            if origin is None and not everything:
                continue
            row: dict[str, Any] = {"kind": registry.kind, "name": name}
            row["package"] = "auscult" if origin is None else str(origin)
            try:
                row["label"], row["error"] = registry.get(name, "plugins").label, None
            except PluginError as error:  # the others are listed all the same
                row["label"], row["error"] = None, str(error)
            rows.append(row)
    if as_json:
        say(json.dumps(rows, indent=2))
        return
    if not rows:
        say("No installed package adds a part. docs/extending.md shows how to write one.")
        return
    for row in rows:
        what = row["label"] if row["error"] is None else f"cannot be used: {row['error']}"
        say(f'{row["kind"]} "{row["name"]}" ({row["package"]}): {what}')
