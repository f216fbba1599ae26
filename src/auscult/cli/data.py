"""Commands about public datasets: datasets list, datasets fetch."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from auscult.base.errors import ConfigError
from auscult.base.plugins import PluginError
from auscult.cli.common import WholeHelp, app, say

datasets = typer.Typer(
    name="datasets",
    cls=WholeHelp,
    help="Public clinical datasets: list them, fetch the open ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(datasets)
WIDTH = 100


@datasets.command("list")
def list_() -> None:
    """Show each dataset with task, size, groups, licence, citation and access."""
    from auscult.datasets.registry import DATASETS

    for known in sorted(DATASETS.names()):
        try:
            dataset = DATASETS.get(known, known)
        except PluginError as error:  # a broken package must not hide the others
            say(f"{error}\n")
            continue
        say(f"{dataset.name}: {dataset.title}")
        rows = [
            ("Task", dataset.task),
            ("Size", f"{dataset.published.text()} as published"),
            ("Groups", ", ".join(dataset.groups)),
            ("Licence", dataset.licence),
            ("Cite", dataset.citation),
            ("Access", dataset.access),
            ("Layout", dataset.layout),
        ]
        if dataset.studied is not None:
            rows.insert(2, ("Study", f"{dataset.studied.text()} in the study"))
        if dataset.labels:
            rows.append(("Label", "; ".join(f"{k}: {v}" for k, v in dataset.labels.items())))
        fetched = f"auscult datasets fetch {dataset.name} --root DIR --accept-licence"
        rows.append(("Fetch", fetched if dataset.download else "not openly available"))
        for name, text in rows:
            indent = f"  {name:<9}"
            say(
                textwrap.fill(
                    text,
                    WIDTH,
                    initial_indent=indent,
                    subsequent_indent=" " * len(indent),
                    break_on_hyphens=False,
                    break_long_words=False,
                )
            )
        say("")


@datasets.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name from: auscult datasets list.")],
    root: Annotated[Path, typer.Option(help="Folder to put it in.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence and accept it.")
    ] = False,
    base_url: Annotated[
        str | None, typer.Option(help="A mirror, instead of the owner's address.")
    ] = None,
) -> None:
    """Fetch an open dataset and compare its checksums; existing files are kept."""
    from auscult.cli.display import progress_for
    from auscult.datasets import dataset
    from auscult.datasets.fetching import RECORD, terms
    from auscult.datasets.fetching import fetch as fetch_files

    chosen = dataset(name, "datasets fetch")
    say(terms(chosen))
    if not accept_licence:
        raise ConfigError(
            "nothing is fetched before its licence is accepted",
            where=f"datasets fetch {name}",
            next_step="Read the licence above, then run it again with --accept-licence",
        )
    done = fetch_files(chosen, root, base_url=base_url, progress=progress_for())
    say(f"Fetched: {done.files:,} files in {root}, checksums compared")
    if done.believed:
        say(
            f"Unverified: {', '.join(done.believed)} has no published checksum. The checksum of "
            f"this download is recorded in {RECORD}, and later downloads must match it"
        )
    say(f'Audit it: [cohort] dataset = "{name}", root = {json.dumps(str(root))}')
