"""Libraries that training needs, loaded while the cohort is being read.

PyTorch takes more than a second to import. On Linux the command line starts a server process that
imports what the recipe's kind needs as soon as that is known; local workers are then forked from
it, import nothing, and share its memory. It holds no data and ends with the process that started
it. This module imports nothing that takes time.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
# The order of a set of texts follows from a hash that is otherwise another one in every process.
WORKERS = {**dict.fromkeys(THREAD_VARIABLES, "1"), "PYTHONHASHSEED": "0"}
ALWAYS = ("auscult.training.worker", "loky.process_executor")
IMPORTS = {
    "torch": ("auscult.recipes.torch.encoding", "auscult.recipes.torch.together"),
    "sklearn": (
        "auscult.recipes.sklearn",
        "sklearn.compose",
        "sklearn.ensemble",
        "sklearn.impute",
        "sklearn.preprocessing",
    ),
    "python": ("auscult.recipes.python",),
}
# What training code of the user's own imports may be imported once for all workers too: libraries
# that bear being forked as long as nothing was computed. Optimizers of torch load its compiler.
SHARED = {
    "torch": ("torch", "torch._dynamo"),
    "sklearn": IMPORTS["sklearn"][1:],
    "scipy": ("scipy.stats",),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
}
CODE = {"python": "train", "sklearn": "model"}  # keys that name the user's code
MOST_BYTES = 1 << 20  # of a file of training code

# Bytes of TMPDIR: the whole name of a socket has at most 107, of which 53 are those of the folder
# that is collected, multiprocessing's own in it, and the socket.
LONGEST = 54

_server: Any = None


def server() -> Any:  # noqa: ANN401
    """The multiprocessing context whose processes are forked from the server; None without one."""
    return _server


def warm_up_for(configuration: Path) -> None:
    """Start the server for a configuration; what is wrong with the file is said by who reads it."""
    with contextlib.suppress(OSError, ValueError, SyntaxError, RecursionError):
        recipe = tomllib.loads(configuration.read_text(encoding="utf-8")).get("recipe")
        recipe = recipe if isinstance(recipe, dict) else {}
        kind = recipe.get("kind")
        if isinstance(kind, str) and kind in IMPORTS:
            warm_up(kind, imported_by(recipe.get(CODE.get(kind)), configuration.parent))


def imported_by(code: object, folder: Path) -> tuple[str, ...]:
    """Modules to import once for all workers, of a reference to training code.

    The file is read, not run: what it imports shows in its text, inside functions too.

    Parameters
    ----------
    code : object
        What the recipe says, "module:name" where it names code.
    folder : Path
        Where modules of the user's own lie.

    Raises
    ------
    SyntaxError or ValueError
        The file is no Python.
    """
    if not isinstance(code, str) or ":" not in code:
        return ()
    module = code.partition(":")[0]
    names = {module.partition(".")[0]}
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    if file.is_file() and file.stat().st_size < MOST_BYTES:
        text = file.read_text(encoding="utf-8")
        if "environ" in text or "putenv" in text:
            return ()  # libraries read the environment as they are imported
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
        names.discard(module.partition(".")[0])
    # A file of the user's own may bear a library's name; it is what the code would get.
    ours = {name for name in names if (folder / name).exists() or (folder / f"{name}.py").exists()}
    return tuple(one for name in sorted(names - ours) for one in SHARED.get(name, ()))


def warm_up(kind: str, further: tuple[str, ...] = ()) -> None:
    """Start the server for a kind of recipe; without it workers start by themselves, later.

    Parameters
    ----------
    kind : {"torch", "sklearn", "python"}
    further : tuple of str
        More modules to import; those that are not installed are left out.
    """
    global _server

    if sys.platform != "linux" or _server is not None:
        return
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST:
        return
    import multiprocessing
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*ALWAYS, *IMPORTS[kind], *further])
    kept = {name: os.environ.get(name) for name in WORKERS}
    os.environ.update(WORKERS)
    try:
        _socket_is_collected()
        forkserver.ensure_running()
        _server = context
    except OSError:
        pass  # for example a TMPDIR without room
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _socket_is_collected() -> None:
    """Have the server's socket in a folder that is collected when this process is killed."""
    from multiprocessing import util

    from auscult.base.leftovers import drop_folder, make_folder

    folder, usual = make_folder(), tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        used = Path(util.get_temp_dir()).parent == folder  # else it had one already
    finally:
        tempfile.tempdir = usual
    if not used:
        drop_folder(folder)
        return
    # multiprocessing removes its own folder first, whose priority is -100.
    util.Finalize(None, drop_folder, args=(folder,), exitpriority=-200)
