"""Commands from a cohort to a report: demo, init, check, run, status, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.base.errors import ConfigError
from auscult.cli.common import Out, Workers, app, finish, pairs, refuse_target, say
from auscult.cli.machine import AsJson, only_json, print_json
from auscult.cli.until import goal_of, told


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("auscult-demo"),
    cohort: Annotated[
        str, typer.Option(help="simulated, or wisconsin (real data that comes with scikit-learn).")
    ] = "simulated",
    workers: Workers = None,
) -> None:
    """Run a complete audit of a simulated clinic with known truth, in about a minute."""
    from auscult.training.warm import warm_up

    if cohort not in ("simulated", "wisconsin"):
        raise ConfigError(
            f'there is no cohort "{cohort}"', where="--cohort", expected="simulated or wisconsin"
        )
    warm_up("sklearn")
    from auscult.cli.display import progress_for
    from auscult.demo import simulated_audit, wisconsin_audit

    planted = None
    if cohort == "simulated":
        audit, planted = simulated_audit()
    else:
        audit = wisconsin_audit()
    finish(audit.run(out, workers=workers, progress=progress_for(), planted=planted))


@app.command()
def init(
    table: Annotated[str, typer.Argument(help="CSV, CSV.gz or Parquet: one row per record.")],
    patient: Annotated[str, typer.Option(help="Column with the patient identifiers.")],
    label: Annotated[str, typer.Option(help="Column that the model predicts.")],
    group: Annotated[list[str] | None, typer.Option(help="Column to compare risks by.")] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help=("npy or npz whose row i belongs to row i of the table; or a folder of files.")
        ),
    ] = None,
) -> None:
    """Write a commented configuration to standard output."""
    from auscult.cli.starting import starting_configuration

    typer.echo(starting_configuration(table, patient, label, group or [], images), nl=False)


@app.command()
def check(
    configuration: Annotated[Path, typer.Argument(help="audit.toml")],
    workers: Workers = None,
    width: Annotated[
        float, typer.Option(min=0.001, max=1, help="Wanted width of a patient's 95% interval.")
    ] = 0.1,
    pilot: Annotated[
        Path | None, typer.Option(help="Finished run with fewer models, to plan from.")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help=("Do not contact the release's endpoint, not even to test it.")
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Validate everything, show the cohort, train one model, estimate time, disk and precision."""
    from auscult.training.warm import warm_up_for

    if as_json:
        with only_json(True):
            warm_up_for(configuration)
            schema, content = _checked(configuration, workers, width, pilot, offline=offline)
        print_json(schema, content)
        return
    warm_up_for(configuration)
    from auscult.cli.describing import (
        describe_cohort,
        describe_planning,
        describe_trial,
        describe_variants,
    )
    from auscult.cli.display import progress_for
    from auscult.config import load
    from auscult.results.result import read_summary_file

    loaded = load(configuration)
    found = None if pilot is None else read_summary_file(pilot)
    audit = loaded.audit(progress=progress_for())
    audit.check()
    say(describe_cohort(audit.cohort, audit.smallest_cell, audit.attributes()))
    if audit.release is not None:
        data = audit.cohort.training_data()
        say(f"Release  {audit.release.plan(data)}")
        tried = "" if offline else audit.release.try_out(data)
        if tried:
            say(f"         {tried}")
    trial = audit.trial(progress_for())
    say(describe_trial(audit, trial, workers))
    for one in audit.structure() or ():
        say(f"Carries  {one.what}")
    if audit.protect or audit.sweep or audit.sizes:
        variants = audit.variant_trials(trial, progress_for())
        say(describe_variants(audit, trial, variants, workers))
    say(describe_planning(audit.models, width, found, audit.share_of_members))


def _checked(
    configuration: Path, workers: int | None, width: float, pilot: Path | None, *, offline: bool
) -> tuple[str, dict[str, Any]]:
    """The schema and the object of `check --json`."""
    from auscult.cli.checked import SCHEMA, checked
    from auscult.cli.display import progress_for
    from auscult.config import load
    from auscult.results.result import read_summary_file

    loaded = load(configuration)
    found = None if pilot is None else read_summary_file(pilot)
    audit = loaded.audit(progress=progress_for())
    audit.check()
    release = None
    if audit.release is not None:
        data = audit.cohort.training_data()
        tried = "" if offline else audit.release.try_out(data)
        release = {"plan": audit.release.plan(data), "tried": tried or None}
    trial = audit.trial(progress_for())
    further = audit.protect or audit.sweep or audit.sizes
    variants = audit.variant_trials(trial, progress_for()) if further else []
    return SCHEMA, checked(
        audit,
        trial,
        variants,
        workers=workers,
        width=width,
        pilot=found,
        release=release,
        carries=[one.what for one in audit.structure() or ()],
    )


@app.command()
def run(
    configuration: Annotated[Path, typer.Argument(help="audit.toml")],
    out: Out = None,
    workers: Workers = None,
    engine: Annotated[str, typer.Option(help="local, dask or slurm.")] = "local",
    scheduler: Annotated[str | None, typer.Option(help="Address of the Dask scheduler.")] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="name=value for submitit: timeout_min, mem_gb, slurm_partition, ..."),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help=(
                "Resume although parts of the training code cannot be checked: you vouch that "
                "they are unchanged."
            ),
        ),
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(
            help="Begin with 16 models and double them until this is reached: decided (with "
            "--policy), or width=0.1 of a patient's 95% interval."
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="policy.toml that --until decided is about.")
    ] = None,
    at_most: Annotated[
        list[str] | None,
        typer.Option(
            help="Budget of --until: models (256), hours (8h), or money at the price of an hour of "
            "this machine (40@2.50); models and one of the others may be given together."
        ),
    ] = None,
) -> None:
    """Train, analyse and report. Resumes an interrupted run; adds models to a finished one."""
    from auscult.training.warm import warm_up_for

    if engine == "local":
        warm_up_for(configuration)
    from auscult.cli.display import progress_for
    from auscult.config import load
    from auscult.training.engines import Engine

    crew = Engine(
        kind=engine, workers=workers, scheduler=scheduler, options=pairs(slurm or [], "--slurm")
    )
    crew.check()
    loaded = load(configuration)
    goal = goal_of(until, policy, at_most or [], loaded.content.audit.models)
    audit = loaded.audit(progress=progress_for())
    target = out or Path("runs") / configuration.resolve().stem
    if goal is not None:
        grown = audit.run_until(
            target,
            goal,
            engine=crew,
            progress=progress_for(),
            configuration=loaded.resolved,
            trust_code=trust_code,
        )
        for line in told(grown):
            say(line)
        finish(grown.result)
        return
    finish(
        audit.run(
            target,
            engine=crew,
            progress=progress_for(),
            configuration=loaded.resolved(),
            trust_code=trust_code,
        )
    )


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="Run directory.")], as_json: AsJson = False
) -> None:
    """Show the progress of a run."""
    from auscult.store import RunStore

    found = RunStore.open(run).status()
    folders = [
        path.parent
        for kind in ("protection", "sizes")
        for path in sorted((run / kind).glob("*/manifest.json"))
    ]
    variants = [(one.name, RunStore.open(one).status()) for one in folders]
    if as_json:
        print_json(
            "auscult.status/1",
            {
                "run": str(run),
                "models": {"done": found.models_done, "total": found.models_total},
                "blocks": {"done": found.blocks_done, "total": found.blocks_total},
                "variants": [
                    {"name": name, "models": {"done": one.models_done, "total": one.models_total}}
                    for name, one in variants
                ],
                "writer": found.writer,
                "results": found.results,
                "report": found.report,
            },
        )
        return
    say(
        f"Models: {found.models_done} of {found.models_total} "
        f"({found.blocks_done} of {found.blocks_total} blocks)"
    )
    for name, part in variants:
        say(f"Variant {name}: {part.models_done} of {part.models_total} models")
    say(f"Writing now: {found.writer or 'nobody'}")
    say(f"Results: {'there' if found.results else 'not yet'}")
    say(f"Report: {'there' if found.report else 'not yet'}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; RUN/report.html by default.")] = None,
    dossier: Annotated[
        bool,
        typer.Option(
            "--dossier",
            help="Write the dossier to sign instead: dossier.html and, where it can be made, .pdf.",
        ),
    ] = False,
    card: Annotated[
        str | None,
        typer.Option(
            help="Write sections for a model card instead, as Markdown: hf (Hugging Face) or chai "
            "(CHAI applied model card); to standard output without --out."
        ),
    ] = None,
) -> None:
    """Write the report of a finished run again, or its dossier."""
    from auscult.report import opening, write_report
    from auscult.results.result import REPORT, read_summary_file
    from auscult.store import RunStore
    from auscult.store.seal import require_sealed

    summary = read_summary_file(run)
    if dossier and card is not None:
        raise ConfigError("this is another document than --dossier", where="--card")
    if card is not None:
        from auscult.cli.signing import write_the_card

        write_the_card(run, summary, card, out)
        return
    if dossier:
        from auscult.cli.signing import write_the_dossier

        write_the_dossier(run, summary, out)
        return
    refuse_target(out if out != run / REPORT else None, "--out", run=run)
    target = out or run / REPORT
    if target.resolve() == (run / REPORT).resolve():
        with RunStore.take_up(run) as store:
            require_sealed(run, values=False, but=(REPORT.as_posix(),))
            write_report(summary, store.path / REPORT)
    else:
        write_report(summary, target)
    for said in opening(summary):
        say(f"{said}.")
    say(f"Report: {target}")
