"""The command line: thin, quiet about secrets, one clear message for whatever can be mended."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from auscult import __version__
from auscult.errors import AuscultError, ConfigError

MENDABLE = 2
INTERNAL = 1
STOPPED = 130

app = typer.Typer(
    name="auscult",
    help="Which patients does a medical AI model give away?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables: secrets
    rich_markup_mode=None,
)

Out = Annotated[Path | None, typer.Option(help="Run directory; a run in it is resumed.")]
Workers = Annotated[
    int | None, typer.Option(help="Worker processes, one per core by default; only the speed.")
]


def main() -> None:
    """Run the command line; exit code 2 for what the user can mend."""
    try:
        app()
    except AuscultError as error:
        _say(f"error: {error}")
        sys.exit(MENDABLE)
    except KeyboardInterrupt:
        _say("\nStopped. What is finished is kept: the same command resumes.")
        sys.exit(STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INTERNAL)
    except Exception as error:
        _internal(error)
        sys.exit(INTERNAL)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("auscult-demo"),
    cohort: Annotated[
        str, typer.Option(help="simulated, or wisconsin (real; scikit-learn ships it).")
    ] = "simulated",
    workers: Workers = None,
) -> None:
    """Audit a simulated clinic whose truth is known: the whole way, in about a minute."""
    from auscult.demo import simulated_audit, wisconsin_audit
    from auscult.display import progress_for

    if cohort not in ("simulated", "wisconsin"):
        raise ConfigError(
            f'there is no cohort "{cohort}"', where="--cohort", expected="simulated or wisconsin"
        )
    planted = None
    if cohort == "simulated":
        audit, planted = simulated_audit()
    else:
        audit = wisconsin_audit()
    _finish(audit.run(out, workers=workers, progress=progress_for(), planted=planted))


@app.command()
def init(
    table: Annotated[str, typer.Argument(help="CSV, CSV.gz or Parquet: one row per record.")],
    patient: Annotated[str, typer.Option(help="Column that says whose record it is.")],
    label: Annotated[str, typer.Option(help="Column that the model predicts.")],
    group: Annotated[list[str] | None, typer.Option(help="Column to compare risks by.")] = None,
    images: Annotated[str | None, typer.Option(help="npy or npz; row i is row i.")] = None,
) -> None:
    """Write a commented configuration to standard output."""
    from auscult.starting import starting_configuration

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
) -> None:
    """Validate everything, show the cohort, train one model, estimate time, disk and precision."""
    from auscult.config import load
    from auscult.display import progress_for
    from auscult.results import read_summary_file
    from auscult.starting import describe_cohort, describe_planning, describe_trial

    loaded = load(configuration)
    found = None if pilot is None else read_summary_file(pilot)
    audit = loaded.audit()
    audit.check()
    typer.echo(describe_cohort(audit.cohort))
    trial = audit.trial(progress_for())
    typer.echo(describe_trial(audit, trial, workers))
    typer.echo(describe_planning(audit.models, width, found))


@app.command()
def run(
    configuration: Annotated[Path, typer.Argument(help="audit.toml")],
    out: Out = None,
    workers: Workers = None,
    engine: Annotated[str, typer.Option(help="local, dask or slurm.")] = "local",
    scheduler: Annotated[
        str | None, typer.Option(help="Of Dask: address of the scheduler.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="name=value for submitit: timeout_min, mem_gb, slurm_partition, ..."),
    ] = None,
) -> None:
    """Train, analyse, report. Resumes where it was stopped."""
    from auscult.config import load
    from auscult.crews import Engine
    from auscult.display import progress_for

    crew = Engine(
        kind=engine, workers=workers, scheduler=scheduler, options=_pairs(slurm or [], "--slurm")
    )
    crew.check()
    loaded = load(configuration)
    audit = loaded.audit()
    target = out or Path("runs") / configuration.resolve().stem
    _finish(
        audit.run(target, engine=crew, progress=progress_for(), configuration=loaded.resolved())
    )


@app.command()
def status(run: Annotated[Path, typer.Argument(help="Run directory.")]) -> None:
    """Show how far a run is."""
    from auscult.store import RunStore

    found = RunStore.open(run).status()
    typer.echo(
        f"Models: {found.models_done} of {found.models_total} "
        f"({found.blocks_done} of {found.blocks_total} blocks)"
    )
    typer.echo(f"Writing now: {found.writer or 'nobody'}")
    typer.echo(f"Results: {'there' if found.results else 'not yet'}")
    typer.echo(f"Report: {'there' if found.report else 'not yet'}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; RUN/report.html by default.")] = None,
) -> None:
    """Write the report of a finished run again."""
    from auscult.report import headline, write_report
    from auscult.results import REPORT, read_summary_file

    summary = read_summary_file(run)
    target = out or run / REPORT
    write_report(summary, target)
    typer.echo(f"{headline(summary)}.")
    typer.echo(f"Report: {target}")


@app.command("import")
def import_(
    scores: Annotated[Path, typer.Argument(help="scores.npz, or a folder of model folders.")],
    out: Out = None,
    seed: Annotated[int, typer.Option(min=0, help="Of null, folds and bootstraps.")] = 0,
    table: Annotated[
        Path | None, typer.Option(help="For folders: row i describes record i.")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Column of the table.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Column of the table.")] = None,
    smallest_cell: Annotated[int, typer.Option(min=1, help="Smaller groups are not shown.")] = 10,
) -> None:
    """Analyse and report scores that were made elsewhere; trains nothing."""
    from auscult.analysis import AnalysisSettings
    from auscult.display import progress_for
    from auscult.importing import import_scores, read_model_folders, read_npz
    from auscult.readers.tables import read_table

    if (table is None) != (patient is None):
        raise ConfigError("--table and --patient go together", where="import")
    if scores.is_dir():
        rows = None if table is None else read_table(table)
        found = read_model_folders(scores, rows, patient, group or [])
    elif table is not None or group:
        raise ConfigError(
            "--table, --patient and --group go with a folder of model folders",
            where="import",
            next_step="An npz holds patients and groups as arrays of its own",
        )
    else:
        found = read_npz(scores)
    _finish(
        import_scores(
            found,
            out or Path("runs") / scores.resolve().stem,
            seed=seed,
            settings=AnalysisSettings(smallest_cell=smallest_cell),
            progress=progress_for(),
        )
    )


def _pairs(texts: list[str], where: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f'"{text}" is no setting', where=where, expected="name=value")
        pairs[name] = value
    return pairs


def _finish(result: Any) -> None:  # noqa: ANN401
    from auscult.results import REPORT

    typer.echo(f"{result.headline}.")
    typer.echo(f"Report: {result.path / REPORT}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _internal(error: Exception) -> None:
    """Say where an unforeseen error arose; its message is left out, it may hold data."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "auscult" in frame.filename] or list(frames)
    place = f"{Path(own[-1].filename).name} line {own[-1].lineno}" if own else "?"
    _say(
        f"internal error: {type(error).__name__} in {place}. This is a fault of Auscult. "
        "AUSCULT_TRACEBACK=1 shows the whole of it, which may hold data of the cohort."
    )
    if os.environ.get("AUSCULT_TRACEBACK"):
        traceback.print_exception(error)
