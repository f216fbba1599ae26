"""Changes of finished and half-finished runs: each is seen by run and verify, or harmless.

    python -m benchmarks.mutations [--number 200] [--state DIR] [--seconds S]

Bytes are flipped, files cut, removed, swapped and edited, blocks of another run put in. The run is
then verified, and made again from the same scores. A change that `verify` does not see, or after
which the run ends well with other figures, ends the campaign with exit code 1. With `--state`, a
later call goes on.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError
from auscult.imported.importing import import_scores
from auscult.imported.scores import Scores, read_npz
from auscult.store.seal import SEAL, require_sealed
from benchmarks.results import record, table
from benchmarks.slices import arguments, in_slices, kept

KINDS = ("byte", "cut", "remove", "swap", "foreign", "edit", "empty")
PATIENTS, MODELS = 40, 16


def _scores(folder: Path, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    member = rng.random((MODELS, PATIENTS)).argsort(0) < MODELS // 2
    signals = (rng.standard_normal((MODELS, PATIENTS)) + member).astype("f4")
    names = np.array([f"MRN{i:04d}" for i in range(PATIENTS)])
    path = folder / f"scores{seed}.npz"
    np.savez(path, signals=signals, membership=member, patient=names)
    return read_npz(path)


class Campaign:
    """Two runs, and what becomes of the first when it is changed.

    Parameters
    ----------
    folder : Path
        Empty; everything is made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scores, self.other_scores = _scores(folder, 1), _scores(folder, 2)
        self.finished, self.foreign = folder / "run1", folder / "run2"
        import_scores(self.scores, self.finished, seed=1)
        import_scores(self.other_scores, self.foreign, seed=2)
        self.reference = self._figures(self.finished)

    @staticmethod
    def _figures(run: Path) -> NDArray[np.uint8]:
        return np.frombuffer((run / "results" / "summary.json").read_bytes(), dtype=np.uint8)

    def run(
        self,
        number: int,
        *,
        seed: int = 0,
        kinds: Sequence[str] = KINDS,
        half: bool = True,
        again_every: int = 1,
    ) -> Counter[str]:
        """Try so many changes.

        Returns
        -------
        Counter
            "seen", "mended" (harmless: the run is made again, byte for byte), and the two that
            may not be: "another number" and "unseen by verify". Where `again_every` is above 1, the
            run is made again after every so many changes only; the others are "verified".
        """
        found: Counter[str] = Counter()
        for place in range(number):
            again = place % again_every == again_every - 1
            found[self.one(place, seed=seed, kinds=kinds, half=half, again=again)] += 1
        return found

    def one(
        self,
        place: int,
        *,
        seed: int = 0,
        kinds: Sequence[str] = KINDS,
        half: bool = True,
        again: bool = True,
    ) -> str:
        """Try the change of one number; see :meth:`run`."""
        rng = np.random.default_rng([seed, place])
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.finished, copy)
        unfinished = half and place % 3 == 2
        if unfinished:
            self._halve(copy, rng)
        changed = self._change(copy, kinds[place % len(kinds)], rng)
        return self._outcome(copy, changed and not unfinished, again=again)

    def _outcome(self, copy: Path, expect_seen: bool, *, again: bool) -> str:
        if expect_seen:
            try:
                require_sealed(copy)
            except AuscultError:
                pass
            else:
                return "unseen by verify"
        if not again:
            return "verified"
        try:
            import_scores(self.scores, copy, seed=1)
        except AuscultError:
            return "seen"
        return "mended" if np.array_equal(self._figures(copy), self.reference) else "another number"

    @staticmethod
    def _halve(copy: Path, rng: np.random.Generator) -> None:
        """As if it had been killed: no seal, no results, some blocks not yet there."""
        (copy / SEAL).unlink()
        shutil.rmtree(copy / "results")
        blocks = sorted((copy / "outputs").glob("*.json"))
        for path in blocks[int(rng.integers(1, len(blocks))) :]:
            path.unlink()
            path.with_suffix(".npy").unlink()

    def _change(self, copy: Path, kind: str, rng: np.random.Generator) -> bool:
        """Make one change; False where the file is as before."""
        files = sorted(p for p in copy.rglob("*") if p.is_file() and p.stat().st_size)
        files = [p for p in files if p.name != ".writer.lock"]
        path = files[int(rng.integers(len(files)))]
        before = path.read_bytes()
        if kind == "byte":
            content = bytearray(before)
            content[int(rng.integers(len(content)))] ^= int(rng.integers(1, 256))
            path.write_bytes(bytes(content))
        elif kind == "cut":
            path.write_bytes(before[: int(rng.integers(len(before)))])
        elif kind == "remove":
            path.unlink()
        elif kind == "swap":
            other = files[int(rng.integers(len(files)))]
            path.write_bytes(other.read_bytes())
            other.write_bytes(before)
            return other.read_bytes() != path.read_bytes()
        elif kind == "foreign":
            blocks = [p for p in files if p.parent.name == "outputs"]
            stem = blocks[int(rng.integers(len(blocks)))].stem
            for one in (self.foreign / "outputs").glob(f"{stem}.*"):
                shutil.copy(one, copy / "outputs" / one.name)
        elif kind == "edit":
            texts = [p for p in files if p.suffix == ".json"]
            path = texts[int(rng.integers(len(texts)))]
            path.write_text(json.dumps(_edited(json.loads(path.read_text()), rng)))
        else:
            path.write_bytes(b"")
        return True


def _edited(content: object, rng: np.random.Generator) -> object:
    """One number or text of a JSON document changed."""
    if isinstance(content, dict) and content:
        key = sorted(content)[int(rng.integers(len(content)))]
        return content | {key: _edited(content[key], rng)}
    if isinstance(content, list) and content:
        place = int(rng.integers(len(content)))
        return [*content[:place], _edited(content[place], rng), *content[place + 1 :]]
    if isinstance(content, int | float):
        return content + 1
    return f"{content or ''}x"


def main() -> int:
    """Run the campaign, or a slice of it."""
    options = arguments(number=200)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder))
        outcomes = in_slices(
            kept(options, "mutations"), options.number, campaign.one, options.seconds
        )
    found = Counter(outcomes.values())
    rows = [(name, times) for name, times in sorted(found.items())]
    text = table(("outcome", "changes"), rows)
    print(text)
    if len(outcomes) == options.number:
        command = f"python -m benchmarks.mutations --number {options.number}"
        record("mutations", "Changes of finished and half-finished runs", command, text)
    return int(found["another number"] + found["unseen by verify"] > 0)


if __name__ == "__main__":
    sys.exit(main())
