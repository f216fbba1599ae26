"""Other engines: a real Dask scheduler with worker processes, submitit, lost workers, two runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auscult.base.errors import ConfigError
from auscult.training import dispatch
from auscult.training.engines import Engine, LostWorkerError
from auscult.training.warm import imported_by
from tests.cohorts import write_audit

pytestmark = pytest.mark.slow

SLOW = """
import os, time
from pathlib import Path
from sklearn.linear_model import LogisticRegression

def train(inputs, labels, seed):
    with open({log!r}, "a") as log:
        log.write(f"{{os.getpid()}} {{seed}}\\n")
    time.sleep(0.4)
    while Path({hold!r}).exists():
        time.sleep(0.05)
    table = inputs.select_dtypes("number").fillna(0.0)
    model = LogisticRegression().fit(table, labels)
    return lambda new: model.predict_proba(
        new.select_dtypes("number").fillna(0.0)
    )
"""


def auscult(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "auscult", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | settings
    )


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def summary(run: Path) -> bytes:
    return (run / "results" / "summary.json").read_bytes()


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    path = write_audit(folder, models=8)
    (folder / "slow_for_tests.py").write_text(
        SLOW.format(log=str(folder / "log"), hold=str(folder / "hold"))
    )
    text = path.read_text()
    recipe = 'kind = "python"\ntrain = "slow_for_tests:train"\n'
    path.write_text(re.sub(r'kind = "sklearn".*?max_iter = 200 }\n', recipe, text, flags=re.DOTALL))
    return path


@pytest.fixture(scope="module")
def local(audit: Path) -> Path:
    run = audit.parent / "local"
    done = auscult("run", audit, "--out", run, "--workers", 2)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A scheduler and two workers, each in its own process."""
    file = tmp_path / "scheduler.json"
    scheduler = start(
        "distributed.cli.dask_scheduler",
        *("--host", "127.0.0.1", "--port", 0, "--no-dashboard"),
        *("--no-show", "--scheduler-file", file),
    )
    processes = [scheduler]
    try:
        deadline = time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            assert scheduler.poll() is None, scheduler.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        processes += [
            start(
                "distributed.cli.dask_worker",
                *(address, "--nthreads", 1, "--no-nanny", "--no-dashboard"),
                *("--local-directory", tmp_path / f"worker-{i}"),
            )
            for i in range(2)
        ]
        yield address, processes
    finally:
        for process in processes:
            end(process)


def wait_for_workers(address: str) -> None:
    code = (
        "import sys; from distributed import Client; "
        "Client(sys.argv[1], timeout=60).wait_for_workers(2, timeout=60)"
    )
    subprocess.run([sys.executable, "-c", code, address], check=True, timeout=120)


def test_dask_gives_the_same_summary_though_a_worker_is_killed(
    audit: Path, local: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    address, (_, first, _) = cluster
    wait_for_workers(address)
    log, run = audit.parent / "log", tmp_path / "run"
    log.unlink()
    process = start(
        "auscult", "run", audit, "--out", run, "--engine", "dask", "--scheduler", address
    )
    try:
        deadline = time.monotonic() + 120
        while not (log.exists() and str(first.pid) in log.read_text()):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    finally:
        end(process)
    workers = {line.split()[0] for line in log.read_text().splitlines()}
    assert len(workers) == 2, "both workers trained something"
    assert summary(run) == summary(local)
    assert not list((run / "outputs").glob("*.*.npy")), "every attempt but one is gone"
    assert not list((run / "secret").glob("jobs-*"))


def test_submitit_gives_the_same_summary(audit: Path, local: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = auscult(
        *("run", audit, "--out", run, "--engine", "slurm"),
        *("--slurm", "cluster=local", "--slurm", "timeout_min=5"),
    )
    assert done.returncode == 0, done.stderr
    assert summary(run) == summary(local)
    assert not list((run / "secret").glob("jobs-*"))


def test_submitit_trains_a_lost_block_again(audit: Path, local: Path, tmp_path: Path) -> None:
    log, run = audit.parent / "log", tmp_path / "run"
    log.unlink(missing_ok=True)
    process = start(
        *("auscult", "run", audit, "--out", run, "--engine", "slurm", "--slurm", "cluster=local")
    )
    try:
        deadline = time.monotonic() + 120
        while not (log.exists() and log.read_text().endswith("\n")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(int(log.read_text().split()[0]), signal.SIGKILL)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    finally:
        end(process)
    assert summary(run) == summary(local)


def test_workers_end_with_the_run_that_is_killed(audit: Path, local: Path, tmp_path: Path) -> None:
    log, run = audit.parent / "log", tmp_path / "run"
    log.write_text("")
    first = start("auscult", "run", audit, "--out", run, "--workers", 2)
    try:
        wait_until(lambda: len(log.read_text().splitlines()) >= 3, first)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        workers = {int(line.split()[0]) for line in log.read_text().splitlines()}
        wait_until(lambda: not any(Path("/proc", str(pid)).exists() for pid in workers))
    finally:
        end(first)
    done = auscult("run", audit, "--out", run, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert summary(run) == summary(local)


def test_an_interrupted_run_says_how_to_go_on(audit: Path, local: Path, tmp_path: Path) -> None:
    log, run = audit.parent / "log", tmp_path / "run"
    log.write_text("")
    # A shell that starts something in the background may have told it to ignore interrupts.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from auscult.cli import main; main()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(audit), "--out", str(run), "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(log.read_text().splitlines()) >= 3, first)
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=60)[1]
    finally:
        end(first)
    assert first.returncode == 130
    assert "Stopped. Finished work is kept; run the same command again to resume." in said
    assert "Traceback" not in said
    done = auscult("run", audit, "--out", run, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert summary(run) == summary(local)


def test_workers_that_start_by_themselves_give_the_same(
    audit: Path, local: Path, tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path; import sys; from auscult.config import load\n"
        "audit, run = sys.argv[1:]\n"
        "loaded = load(Path(audit))\n"
        "loaded.audit().run(run, workers=2, configuration=loaded.resolved())"
    )
    run = tmp_path / "run"
    subprocess.run([sys.executable, "-c", code, str(audit), str(run)], check=True, timeout=300)
    assert summary(run) == summary(local)


def test_a_long_temporary_folder_is_no_obstacle(audit: Path, local: Path, tmp_path: Path) -> None:
    deep, run = tmp_path / ("x" * 100), tmp_path / "run"
    deep.mkdir()
    done = auscult("run", audit, "--out", run, "--workers", 2, TMPDIR=str(deep))
    assert done.returncode == 0, done.stderr
    assert summary(run) == summary(local)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_run_on_one_directory_says_who_holds_it(audit: Path, tmp_path: Path) -> None:
    log, hold, run = audit.parent / "log", audit.parent / "hold", tmp_path / "run"
    log.write_text("")
    hold.touch()  # the first run trains until this is gone
    first = start("auscult", "run", audit, "--out", run, "--workers", 1)
    try:
        wait_until(lambda: bool(log.read_text()), first)
        second = auscult("run", audit, "--out", run, "--workers", 1)
        assert first.poll() is None
    finally:
        end(first)
        hold.unlink()
    assert second.returncode == 2
    assert str(first.pid) in second.stderr


DIES = """
import os, signal
from sklearn.linear_model import LogisticRegression

def train(inputs, labels, seed):
    if os.environ.get("DIES"):
        {death}
    table = inputs.select_dtypes("number").fillna(0.0)
    model = LogisticRegression().fit(table, labels)
    return lambda new: model.predict_proba(new.select_dtypes("number").fillna(0.0))
"""


@pytest.mark.parametrize(
    ("death", "said", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 (SIGKILL)", "out of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11 (SIGSEGV)", "fault in compiled code"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "signal 15 (SIGTERM)", "terminated by somebody"),
        ("os._exit(3)", "exited with code 3", "ended the process"),
    ],
)
def test_a_worker_that_dies_says_of_what(death: str, said: str, cause: str, tmp_path: Path) -> None:
    path = write_audit(tmp_path, models=8)
    (tmp_path / "dies_for_tests.py").write_text(DIES.format(death=death))
    recipe = 'kind = "python"\ntrain = "dies_for_tests:train"\n'
    text = re.sub(
        r'kind = "sklearn".*?max_iter = 200 }\n', recipe, path.read_text(), flags=re.DOTALL
    )
    path.write_text(text)
    command = ("run", path, "--out", tmp_path / "run", "--workers", 1)
    done = auscult(*command, DIES="1")
    message = " ".join(done.stderr.split())
    assert done.returncode == 2, done.stderr
    assert said in message
    assert cause in message
    assert ("memory" in message) == ("9" in said), "memory is not guessed"
    if "compiled" in cause:
        assert "dies_for_tests.py" in done.stderr, "the line that called it is printed"
        assert "Traceback" not in done.stderr
    if "9" in said:
        assert auscult(*command).returncode == 0, "the same command resumes"


@pytest.mark.parametrize("name", ["SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_other_faults_are_known_too(name: str) -> None:
    number = getattr(signal, name)
    said = str(dispatch._lost(LostWorkerError([0, -number])))
    assert f"signal {int(number)} ({name})" in said
    assert "fault in compiled code" in said
    assert "memory" not in said


def test_two_attempts_at_a_block_leave_one(tmp_path: Path) -> None:
    import numpy as np

    from auscult.recipes.base import BlockOutputs
    from auscult.store import RunStore, plan_blocks
    from auscult.store.blocks import write_block_values

    plan = plan_blocks(4, 2)
    with RunStore.create_or_resume(
        tmp_path / "run", fingerprint={"x": "1"}, configuration="", blocks=plan, records=5
    ) as store:
        folder = store.path / "outputs"
        outputs = [
            BlockOutputs(values=np.full((2, 1, 5, 1), float(i), dtype=np.float32), kind="sigmoid")
            for i in range(2)
        ]
        first, second = (write_block_values(folder, plan[0], one, 5) for one in outputs)
        assert not store.has_block(0)
        store.adopt_block(plan[0], second)
        store.adopt_block(plan[0], first)
        store.write_block(plan[1], outputs[0])
        assert store.outputs().read(0, 5)[0].max() == 1.0
        assert sorted(p.name for p in folder.glob("*.npy")) == ["block-0000.npy", "block-0001.npy"]


@pytest.mark.parametrize(
    ("engine", "word"),
    [
        (Engine(kind="cloud"), "local, dask, slurm"),
        (Engine(kind="dask"), "must be given together"),
        (Engine(scheduler="tcp://x:1"), "must be given together"),
        (Engine(workers=0), "1 or more"),
        (Engine(options={"a": "b"}), "--engine slurm"),
    ],
)
def test_engines_that_do_not_fit_are_refused(engine: Engine, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        engine.check()


def test_no_scheduler_is_one_clear_word(audit: Path, tmp_path: Path) -> None:
    done = auscult(
        *("run", audit, "--out", tmp_path / "run", "--engine", "dask"),
        *("--scheduler", "tcp://127.0.0.1:1"),
    )
    assert done.returncode == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_libraries_of_the_users_code_are_found_in_its_text(tmp_path: Path) -> None:
    code = (
        "import os\n\ndef train(inputs, labels, seed):\n    from torch import nn\n    import own\n"
    )
    (tmp_path / "own.py").write_text(code, encoding="utf-8")
    assert imported_by("own:train", tmp_path) == ("torch", "torch._dynamo")
    assert imported_by("xgboost:XGBClassifier", tmp_path) == ("xgboost",)
    # What is named otherwise, lies elsewhere, hides a library or sets what libraries read when they
    # are imported is left to the worker.
    (tmp_path / "early.py").write_text("import os\nos.environ['X'] = '1'\nimport torch\n")
    assert imported_by("early:train", tmp_path) == ()
    assert imported_by("mlp", tmp_path) == imported_by(3, tmp_path) == ()
    assert imported_by("other:train", tmp_path) == ()
    (tmp_path / "torch.py").touch()
    assert imported_by("own:train", tmp_path) == ()
