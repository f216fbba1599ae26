"""Runs that are killed at random moments: the next start ends with the same bytes, and tidies up.

    python -m benchmarks.kills [--series 25] [--state DIR] [--seconds S]

A small audit with a protection and a release is run once undisturbed. Then it is started again and
again in new folders, and killed (SIGKILL; the process alone, or its workers with it) at moments
spread over its whole time, three times before it may end. Every file but those that tell the
time must be the same, and nothing may lie about: in the run, beside it, in the ledger, in the
folder of temporary files, or as a process. Exit code 1 where something does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.results import record, table
from benchmarks.slices import arguments, in_slices, kept

PATIENTS, MODELS, IN_A_ROW = 60, 16, 3
POLL_SECONDS = 0.05
TIMED = frozenset({"manifest.json", "seal.json"})
# A block says what its training took; its seal covers that as well.
MEASURED = frozenset({"speed", "seal"})
SHARED = Path("/dev/shm")  # noqa: S108 - where Linux keeps named semaphores
MODULE = """
import numpy as np
from sklearn.linear_model import LogisticRegression

def train(inputs, labels, seed):
    table = inputs.select_dtypes("number").fillna(0.0)
    model = LogisticRegression(C=1000.0).fit(table, labels)
    return lambda new: model.predict_proba(new.select_dtypes("number").fillna(0.0))

def predict(inputs):
    return 1 / (1 + np.exp(-3 * inputs["x0"].to_numpy()))
"""
AUDIT = """
[cohort]
table = "visits.csv"
patient = "person"
label = "outcome"
groups = ["sex"]
exclude = ["sex"]

[recipe]
kind = "python"
train = "auscult_killed:train"

[audit]
models = {models}
seed = 5

[[protect]]
name = "one record each"
cohort.max_records = 1

[release]
door = "function"
function = "auscult_killed:predict"
"""


class Campaign:
    """One undisturbed run, and others that are killed.

    Parameters
    ----------
    folder : Path
        Empty; everything is made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[int] = []  # processes of the present series
        self._write_audit()
        self.whole = self._undisturbed()
        self.reference = _files(folder / "whole" / "run")
        self.beside = _beside(folder / "whole")
        self.again = min(self._undisturbed(), self.whole)  # with all models there
        if _files(folder / "whole" / "run") != self.reference:
            raise RuntimeError("the same command gives other files")

    def _undisturbed(self) -> float:
        process, _ = self._start(self.folder / "whole")
        used = 0.0
        while process.poll() is None:
            used = max(used, _processor_seconds(process.pid))
            time.sleep(POLL_SECONDS)
        if process.returncode:
            raise RuntimeError((self.folder / "said").read_text(encoding="utf-8"))
        return used

    def _write_audit(self) -> None:
        rng = np.random.default_rng(1)
        person = np.repeat(np.arange(PATIENTS), 1 + rng.poisson(0.5, PATIENTS))
        table = pd.DataFrame(
            rng.normal(size=(person.size, 6)).round(4), columns=[f"x{i}" for i in range(6)]
        )
        table["person"] = [f"P{i:04d}" for i in person]
        table["sex"] = np.where(rng.random(PATIENTS) < 0.5, "f", "m")[person]
        table["outcome"] = np.where(table["x0"] + rng.normal(size=person.size) > 0, "yes", "no")
        table.to_csv(self.folder / "visits.csv", index=False)
        (self.folder / "auscult_killed.py").write_text(MODULE, encoding="utf-8")
        (self.folder / "audit.toml").write_text(AUDIT.format(models=MODELS), encoding="utf-8")

    def _start(self, place: Path) -> tuple[subprocess.Popen[bytes], Path]:
        temporary = place / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "auscult", "run", str(self.folder / "audit.toml")]
        command += ["--out", str(place / "run"), "--workers", "2"]
        with (self.folder / "said").open("wb") as said:
            process = subprocess.Popen(
                command,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TMPDIR": str(temporary)},
                start_new_session=True,
            )
        self.started.append(process.pid)
        return process, temporary

    def one(self, series: int) -> list[str]:
        """Kill a run three times, let it end, and say what became of it each time.

        Returns
        -------
        list of str
            "killed while training", "... analysing" or "... with results" for each kill, at last
            "same", or what went wrong.
        """
        rng = np.random.default_rng([7, series])
        self.started = []
        place = self.folder / f"series{series}"
        found = []
        for number in range(IN_A_ROW):
            # A run that goes on takes less time, by the models that are there.
            missing = 1 - len(list((place / "run").rglob("block-*.json"))) / self._blocks()
            length = self.again + (self.whole - self.again) * max(missing, 0.0)
            moment = float(rng.uniform(0.05, 1.0)) * length
            late = float(rng.uniform(0, POLL_SECONDS))
            together = bool((series + number) % 2)
            found.append(self._killed(place, moment, late, together=together))
        found.append(self._ended(place))
        shutil.rmtree(place)
        return found

    def _killed(self, place: Path, moment: float, late: float, *, together: bool) -> str:
        process, _ = self._start(place)
        # Moments are of processor time: another load on the machine would move those of a clock.
        while _processor_seconds(process.pid) < moment:
            if process.poll() is not None:
                return "ended before it was killed"
            time.sleep(POLL_SECONDS)
        time.sleep(late)
        (os.killpg if together else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        run = place / "run"
        if (run / "report.html").exists():
            return "killed with results"
        blocks = len(list(run.rglob("block-*.json")))
        return "killed while training" if blocks < self._blocks() else "killed while analysing"

    def _blocks(self) -> int:
        return sum(Path(n).match("block-*.json") for n in self.reference)

    def _ended(self, place: Path) -> str:
        process, temporary = self._start(place)
        if process.wait():
            return "failed: " + (self.folder / "said").read_text(encoding="utf-8")[-300:]
        files = _files(place / "run")
        differ = sorted(
            n for n in {*files, *self.reference} if files.get(n) != self.reference.get(n)
        )
        if differ:
            return f"other bytes: {', '.join(differ[:3])}"
        left = sorted(p.name for p in temporary.iterdir())
        if left:
            return f"left in the temporary folder: {', '.join(left[:3])}"
        if (beside := _beside(place)) != self.beside:
            return f"beside the run: {beside}"
        if alive := _workers_of(place):
            return f"processes left: {alive}"
        if semaphores := sum(len(list(SHARED.glob(f"sem.loky-{one}-*"))) for one in self.started):
            return f"semaphores left: {semaphores}"
        return "same"


def _processor_seconds(group: int) -> float:
    """What a process and those that it started have used."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _files(run: Path) -> dict[str, bytes]:
    """Every file of a run without what tells time and memory."""
    found = {}
    for path in sorted(run.rglob("*")):
        if not path.is_file() or path.name in TIMED:
            continue
        content = path.read_bytes()
        if path.parent.name == "outputs" and path.suffix == ".json":
            block = json.loads(content)
            content = repr([(k, v) for k, v in block.items() if k not in MEASURED]).encode()
        found[path.relative_to(run).as_posix()] = content
    return found


def _beside(place: Path) -> tuple[int, int]:
    """Entries of the ledger, and all other files beside a run but its key and lock."""
    entries = list((place / ".auscult-ledger").glob("*.npz"))
    others = [
        p
        for p in (place / ".auscult-ledger").iterdir()
        if p not in entries and p.name not in ("key", ".lock")
    ]
    others += [p for p in place.iterdir() if p.name not in ("run", "tmp", ".auscult-ledger")]
    return len(entries), len(others)


def _workers_of(place: Path) -> int:
    """Processes whose temporary folder is that of the run, two seconds later at most."""
    mark = f"TMPDIR={place / 'tmp'}".encode()
    for _ in range(20):
        alive = 0
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                alive += mark in path.read_bytes().split(b"\0")
            except OSError:
                continue
        if not alive:
            return 0
        time.sleep(0.1)
    return alive


def main() -> int:
    """Run the campaign, or a slice of it."""
    options = arguments(series=25)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder))
        outcomes = in_slices(kept(options, "kills"), options.series, campaign.one, options.seconds)
    found = Counter(one for series in outcomes.values() for one in series)
    text = table(("what", "times"), sorted(found.items()))
    print(text)
    for series, outcome in outcomes.items():
        if outcome[-1] != "same":
            print(series, outcome)
    if len(outcomes) == options.series:
        command = f"python -m benchmarks.kills --series {options.series}"
        record("kills", "Runs that are killed at random moments", command, text)
    fine = {"same", "ended before it was killed"}
    return int(any(not n.startswith("killed") and n not in fine for n in found))


if __name__ == "__main__":
    sys.exit(main())
