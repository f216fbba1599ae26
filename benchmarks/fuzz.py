"""Files and replies that nobody meant: every door answers with an AuscultError, or reads them.

    python -m benchmarks.fuzz [--minutes 5] [--door table ...] [--seed 0]

Each door gets a good file that was spoiled: bytes changed, cut, doubled and exchanged for numbers
that readers trip over, and for texts of JSON and TOML also values exchanged for others. What fails
is kept in the folder that --keep names, and told by its door, its error and the place it came from.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from auscult.base.errors import AuscultError

COMMAND = "python -m benchmarks.fuzz"
LONGEST_SECONDS = 30.0
TOKENS = (
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b"\n",
        b"\r\n",
        b",",
        b";",
        b"\t",
        b"[",
        b"{",
    ),
    *(
        b"nan",
        b"NaN",
        b"inf",
        b"-1",
        b"1e999",
        b"1e308",
        b"0x7fffffff",
        b"9" * 400,
        b"null",
        b"true",
    ),
    *(b"\xff" * 8, b"\x00" * 8, b"\x7f\xff\xff\xff", b"{}", b"[]", b"''", b"\xed\xa0\x80", b"|O"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        10**400,
        0.5,
        -0.0,
        1e308,
        "",
        "a",
        "\x00",
        "é" * 40,
    ),
    *("1e999", "nan", [], {}, [[]], [{}], {"": 1}, [None], ["a"], [1, "a"], "x" * 5000),
)

Door = Callable[[Path], object]


def spoiled(content: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them changed."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(found) + 1)
        until = min(len(found), at + rng.choice((1, 1, 2, 8, 64, 1 << 20)))
        how = rng.randrange(6)
        if how == 0 and found:
            found[min(at, len(found) - 1)] ^= 1 << rng.randrange(8)
        elif how == 1:
            del found[at:until]
        elif how == 2:
            found[at:at] = rng.choice(TOKENS)
        elif how == 3:
            token = rng.choice(TOKENS)
            found[at : at + len(token)] = token
        elif how == 4:
            found[at:at] = found[at:until] * rng.choice((1, 2))
        elif found:
            place = rng.randrange(len(found))
            found[at:until] = found[place : place + (until - at)]
    return bytes(found)


def exchanged(value: Any, rng: random.Random) -> Any:  # noqa: ANN401
    """A JSON value with one value in it exchanged, left out or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.05:
            return {**value, rng.choice(("", "extra", key + "x")): value[key]}
        return {**value, key: exchanged(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        if rng.random() < 0.2:
            return value[:at] + value[at + rng.randrange(2) :] + value[:1]
        return [*value[:at], exchanged(value[at], rng), *value[at + 1 :]]
    return rng.choice(VALUES)


# What each door is given before it is spoiled.


def good_table() -> bytes:
    """A table with limits, dates and patients of two records."""
    rng = np.random.default_rng(0)
    lines = ["patient,label,age,lab,when,sex"]
    lines += [
        f"p{i // 2},{'yes' if rng.random() < 0.5 else 'no'},{rng.integers(20, 90)},"
        f'"{"<" if i % 9 == 0 else ""}{rng.random():.3f}",2020-01-{1 + i % 28:02d},{"mf"[i % 2]}'
        for i in range(60)
    ]
    return "\n".join(lines).encode()


def good_parquet() -> bytes:
    """The same as Parquet."""
    import pandas as pd

    content = io.BytesIO()
    pd.read_csv(io.BytesIO(good_table())).to_parquet(content)
    return content.getvalue()


def good_npz(*, packed: bool = False) -> bytes:
    """Signals of eight models on twenty patients."""
    rng = np.random.default_rng(0)
    inside = rng.random((8, 20)).argsort(axis=0) < 4
    content = io.BytesIO()
    save = np.savez_compressed if packed else np.savez
    save(
        content,
        signals=rng.normal(size=(8, 20)) + inside,
        membership=inside,
        patient=np.arange(20),
        labels=rng.integers(0, 2, 20),
    )
    return content.getvalue()


def good_npy() -> bytes:
    """Small images."""
    content = io.BytesIO()
    np.save(content, np.random.default_rng(0).random((20, 4, 4)))
    return content.getvalue()


def good_safetensors() -> bytes:
    """One tensor."""
    header = {
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "__metadata__": {"b": "c"},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(16)


TOML = """
[cohort]
table = "clinic.csv"
patient = "patient"
label = "label"
groups = ["sex"]
exclude = ["when"]
missing = ["?"]
[recipe]
kind = "sklearn"
model = "logistic_regression"
[audit]
models = 16
seed = 7
withhold = 0.25
[deployment]
reveals = "has been treated"
population = "the town"
prior = 0.1
[release]
door = "endpoint"
url = "http://127.0.0.1:9/predict"
body = { signature = "predict" }
[[protect]]
name = "smaller"
"""
POLICY = """
schema = "auscult.policy/1"
title = "Release"
[patients]
exposed = { at = 0.9, most = 0 }
[evidence]
models = 64
"""
REPLY = {
    "answers": [[0.25, 0.75], {"no": 0.5, "yes": 0.5}, 0.25],
    "model": {"name": "x", "version": 1},
}


def spoiled_toml(text: str, rng: random.Random) -> bytes:
    """Bytes changed, or a value exchanged in what the text says."""
    import tomllib

    import tomli_w

    if rng.random() < 0.5:
        return spoiled(text.encode(), rng)
    value = tomllib.loads(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = exchanged(value, rng)
    try:
        return tomli_w.dumps(value).encode()
    except Exception:  # TOML has no such value: None, text alone, a number beyond 64 bits
        return spoiled(text.encode(), rng)


def read_cohort(path: Path) -> object:
    """A cohort from a table."""
    from auscult.readers.cohorts import from_table

    return from_table(path, patient="patient", label="label", groups=["sex"])


def read_scores_of(path: Path) -> object:
    """Scores in whatever layout they look like."""
    from auscult.imported.layouts import read_scores

    return read_scores(path)


def read_images(path: Path) -> object:
    """Every value of an array."""
    from auscult.readers.arrays import read_array

    array, _ = read_array(path, None)
    return np.asarray(array).sum()


def read_answers(path: Path) -> object:
    """What a released model answered."""
    from auscult.release.doors import FileDoor

    return FileDoor(path=path)._read()


def read_weights(path: Path) -> object:
    """Weights of a network."""
    from auscult.recipes.torch.weights import read_safetensors

    return read_safetensors(path)


def read_configuration(path: Path) -> object:
    """An audit.toml."""
    from auscult.config.loading import load

    return load(path)


def read_policy(path: Path) -> object:
    """A policy.toml."""
    from auscult.config.policy import load_policy

    return load_policy(path)


def read_reply(path: Path) -> object:
    """A reply of an endpoint, with answers at several places."""
    from auscult.release.connection import Reply
    from auscult.release.payload import answers_of

    for place, within in (("answers", ""), ("", ""), ("model.name", "a.0")):
        try:
            Reply(path.read_bytes(), "batch 1").read(
                lambda reply, p=place, w=within: answers_of(reply, p, w, ("no", "yes"), 3)  # type: ignore[misc]
            )
        except AuscultError:
            continue
    return None


def bytes_of(good: Callable[[], bytes]) -> Callable[[random.Random], bytes]:
    """A maker of spoiled bytes."""
    kept = good()
    return lambda rng: spoiled(kept, rng)


def reply(rng: random.Random) -> bytes:
    """A spoiled reply."""
    if rng.random() < 0.5:
        return spoiled(json.dumps(REPLY).encode(), rng)
    return json.dumps(exchanged(REPLY, rng)).encode()


def zipped(rng: random.Random) -> bytes:
    """A table that is packed, spoiled before or after."""
    if rng.random() < 0.5:
        return gzip.compress(spoiled(good_table(), rng))
    return spoiled(gzip.compress(good_table()), rng)


def inside_npz(rng: random.Random) -> bytes:
    """An npz whose archive is whole and whose members are spoiled."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good_npz())) as old, zipfile.ZipFile(content, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            one = old.read(name)
            new.writestr(name, spoiled(one, rng) if name == chosen else one)
    return content.getvalue()


DOORS: dict[str, tuple[str, Callable[[], Callable[[random.Random], bytes]], Door]] = {
    "table": ("csv", lambda: bytes_of(good_table), read_cohort),
    "gz": ("csv.gz", lambda: zipped, read_cohort),
    "parquet": ("parquet", lambda: bytes_of(good_parquet), read_cohort),
    "scores": ("npz", lambda: bytes_of(good_npz), read_scores_of),
    "scores-packed": ("npz", lambda: bytes_of(lambda: good_npz(packed=True)), read_scores_of),
    "scores-inside": ("npz", lambda: inside_npz, read_scores_of),
    "images": ("npy", lambda: bytes_of(good_npy), read_images),
    "answers-npy": ("npy", lambda: bytes_of(good_npy), read_answers),
    "answers": ("npz", lambda: inside_npz, read_answers),
    "weights": ("safetensors", lambda: bytes_of(good_safetensors), read_weights),
    "configuration": ("toml", lambda: lambda rng: spoiled_toml(TOML, rng), read_configuration),
    "policy": ("toml", lambda: lambda rng: spoiled_toml(POLICY, rng), read_policy),
    "reply": ("json", lambda: reply, read_reply),
}


class RunDoor:
    """A finished run whose files are spoiled one at a time, and the commands that read runs."""

    def __init__(self, folder: Path) -> None:
        from auscult.imported.importing import import_scores
        from auscult.imported.scores import read_npz

        (folder / "scores.npz").write_bytes(good_npz())
        self.run = folder / "run"
        import_scores(read_npz(folder / "scores.npz"), self.run)
        self.good = {
            path: path.read_bytes()
            for path in sorted(self.run.rglob("*"))
            if path.is_file() and path.suffix not in (".html", ".md", "")
        }

    def spoil(self, rng: random.Random) -> Path:
        """Spoil a file, with or without the seal that would tell of it."""
        path = rng.choice(list(self.good))
        if path.suffix == ".json" and rng.random() < 0.7:
            value = json.loads(self.good[path])
            for _ in range(rng.choice((1, 1, 3))):
                value = exchanged(value, rng)
            path.write_bytes(json.dumps(value).encode())
        else:
            path.write_bytes(spoiled(self.good[path], rng))
        if rng.random() < 0.8 and path.name != "seal.json":
            (self.run / "seal.json").unlink(missing_ok=True)
        return path

    def mend(self) -> None:
        """Make the run good again."""
        for path, content in self.good.items():
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    def read(self, path: Path) -> object:  # noqa: ARG002
        """Everything that reads a run and trains nothing."""
        from auscult.results import Result
        from auscult.results.comparing import compare
        from auscult.store import RunStore
        from auscult.store.seal import require_sealed

        def report() -> object:
            return Result(self.run).report(self.run / "other.html")

        def stored() -> object:
            store = RunStore.open(self.run)
            return store.status(), store.outputs(), store.read_membership()

        for step in (
            stored,
            report,
            lambda: Result(self.run).patients,
            lambda: compare([self.run, self.run]),
            lambda: require_sealed(self.run),
        ):
            try:
                step()
            except AuscultError:
                continue
        return None


def trouble(door: Door, path: Path) -> str | None:
    """What came instead of an AuscultError, or None."""
    begin = time.process_time()
    try:
        door(path)
    except AuscultError:
        pass
    except Exception as error:
        frames = [
            one for one in traceback.extract_tb(error.__traceback__) if "auscult" in one.filename
        ]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return f"{type(error).__name__} at {place}: {str(error)[:120]}"
    spent = time.process_time() - begin
    return f"took {spent:.0f} seconds of processor time" if spent > LONGEST_SECONDS else None


def main() -> None:
    """Spoil and read until the time is over; exit code 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--door", nargs="*", default=[*DOORS, "run"], choices=[*DOORS, "run"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None)
    given = parser.parse_args()
    rng = random.Random(given.seed)  # noqa: S311 - to spoil files, not to keep secrets
    found: dict[str, str] = {}
    tried = dict.fromkeys(given.door, 0)
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as work:
        path: Path
        door: Callable[[Path], object]
        made = {name: DOORS[name][1]() for name in given.door if name != "run"}
        run = RunDoor(Path(work)) if "run" in given.door else None
        while time.monotonic() < end:
            for name in given.door:
                if name == "run" and run is not None:
                    path, door = run.spoil(rng), run.read
                else:
                    path, door = Path(work) / f"file.{DOORS[name][0]}", DOORS[name][2]
                    path.write_bytes(made[name](rng))
                tried[name] += 1
                what = trouble(door, path)
                key = f"{name}: {what}"
                if what is not None and key not in found:
                    found[key] = path.name
                    sys.stdout.write(f"{key}  ({path.name})\n")
                    sys.stdout.flush()
                    if given.keep is not None:
                        given.keep.mkdir(parents=True, exist_ok=True)
                        (given.keep / f"{len(found):03d}-{name}-{path.name}").write_bytes(
                            path.read_bytes()
                        )
                if name == "run" and run is not None:
                    run.mend()
    for name, count in tried.items():
        sys.stdout.write(f"{name}: {count:,} tried\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
