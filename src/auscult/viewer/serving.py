"""The server of the page: 127.0.0.1 only, one address with a token, no log of what was asked."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.base.errors import AuscultError, ConfigError
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort
from auscult.viewer.owner import refuse_shared

if TYPE_CHECKING:
    from auscult.viewer.guard import Guard

MISSING = 'Install it: pip install "auscult[view]" -c constraints.txt'


def serve(
    run: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    cohort: Cohort | None = None,
    read_cohort: bool = True,
    port: int = 0,
    progress: Progress = SILENT,
    tell: Callable[[str], None] = print,
) -> None:
    """Show a finished run to the data's owner until the process is interrupted.

    Parameters
    ----------
    run : path-like
        The run directory. It is only read.
    against : path-like, optional
        Another finished run, whose patients are set beside this one's.
    cohort : Cohort, optional
        The run's cohort, for runs that were not started from a file.
    read_cohort : bool
        Whether to read the cohort again, to show patients' values.
    port : int
        Of 127.0.0.1; a free one when 0.
    progress : Progress
    tell : callable
        Gets what the user should read: the address, and what cannot be shown.

    Raises
    ------
    AuscultError
        The run is not finished, was changed, or is not the caller's own; or the extra ``view`` is
        not installed.
    """
    _require()
    import uvicorn

    with _listening(port) as listener:
        guard = prepared(
            run,
            port=listener.getsockname()[1],
            against=against,
            cohort=cohort,
            read_cohort=read_cohort,
            progress=progress,
            tell=tell,
        )
        tell(f"Open this address in a browser on this machine: {guard.address}")
        tell(
            "It shows patients: keep it to yourself. It is read-only and closes with this command "
            "(Ctrl-C)."
        )
        settings = uvicorn.Config(
            guard,
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
        )
        uvicorn.Server(settings).run(sockets=[listener])


def prepared(
    run: str | os.PathLike[str],
    *,
    port: int,
    against: str | os.PathLike[str] | None = None,
    cohort: Cohort | None = None,
    read_cohort: bool = True,
    progress: Progress = SILENT,
    tell: Callable[[str], None] = print,
) -> Guard:
    """The application behind its guard; see :func:`serve`.

    Parameters
    ----------
    run : path-like
    port : int
        That it will be reached at.
    against : path-like, optional
    cohort : Cohort, optional
    read_cohort : bool
    progress : Progress
    tell : callable
    """
    _require()
    from auscult.viewer.application import application
    from auscult.viewer.contents import Contents
    from auscult.viewer.guard import Guard
    from auscult.viewer.holding import Holding
    from auscult.viewer.peculiar import Reference

    path = Path(run)
    other_path = None if against is None else Path(against)
    for one in (path, other_path):
        if one is not None and (one / "manifest.json").exists():
            refuse_shared(one)
    holding = Holding.open(path)
    other = None if other_path is None else Holding.open(other_path)
    contents = Contents.of(holding, cohort, read=read_cohort, progress=progress)
    if contents.reason:
        tell(f"Values of patients are not shown: {contents.reason}")
    reference = Reference(holding, contents)
    progress.start("Preparing", 2)
    _ = reference.out  # what every patient's page compares with
    progress.advance()
    _ = reference.remoteness
    progress.finish()
    base = f"/{secrets.token_urlsafe(12)}"
    return Guard(application(reference, other, base), port, base)


def _require() -> None:
    for name in ("starlette", "uvicorn", "PIL"):
        if find_spec(name) is None:
            raise AuscultError(
                f"the viewer needs the package {name}", where="view", next_step=MISSING
            )


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # whoever uses the address at once waits
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"the viewer cannot listen on port {port} of 127.0.0.1",
            where="--port",
            expected="a free port from 1024 to 65535",
            next_step="Leave it out: a free one is taken",
        ) from error
    return listener
