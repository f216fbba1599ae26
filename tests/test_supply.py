"""The lock files are those of pyproject.toml, pinned by hashes, and name no host."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = {"base": (), "torch": ("torch",), "test": ("test",)}
COPYLEFT = {"pylibjpeg-libjpeg"}


def project() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())[
        "project"
    ]
    return found


def wanted(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """What pyproject.toml asks for, with extras of extras."""
    content = project()
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    waiting = [*build, *content["dependencies"], *(f"auscult[{one}]" for one in extras)]
    seen: set[str] = set()
    while waiting:
        one = Requirement(waiting.pop())
        if one.name != "auscult":
            yield one
            continue
        for extra in one.extras - seen:
            seen.add(extra)
            waiting += content["optional-dependencies"][extra]


def pins(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """Package to its pins with the number of hashes of each; several where markers differ."""
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    found: dict[str, list[tuple[Requirement, int]]] = {}
    for part in re.split(r"\n(?=\S)", text.strip()):
        said, *hashes = part.replace("\\\n", " ").split("--hash=sha256:")
        assert all(re.fullmatch(r"[0-9a-f]{64}\s*", one) for one in hashes), said
        pin = Requirement(said.strip())
        found.setdefault(canonicalize_name(pin.name), []).append((pin, len(hashes)))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_in_step_with_the_project(name: str) -> None:
    found = pins(name)
    for one in wanted(LOCKS[name]):
        mine = found.get(canonicalize_name(one.name), [])
        assert mine, f"{one.name} is not locked: run .ci/supply lock"
        for pin, _ in mine:
            (version,) = pin.specifier
            assert version.operator == "=="
            assert one.specifier.contains(version.version, prereleases=True), pin
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            said = Requirement(line)
            for pin, _ in found.get(canonicalize_name(said.name), []):
                assert str(pin.specifier) == str(said.specifier)


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_host_is_named(name: str) -> None:
    assert all(hashes for several in pins(name).values() for _, hashes in several)
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    assert not re.search(r"://|file:|index-url|find-links|\.org|\.com", text)
    for several in pins(name).values():
        fitting = [p for p, _ in several if p.marker is None or p.marker.evaluate()]
        assert len(fitting) <= 1


def test_no_copyleft_decoder_comes_with_what_the_readme_installs() -> None:
    for name in LOCKS:
        assert not COPYLEFT & pins(name).keys()
    asked = {canonicalize_name(one.name) for one in wanted(("test", "imaging", "all"))}
    assert not COPYLEFT & asked


def test_the_readme_names_the_locks() -> None:
    assert "--require-hashes -r locks/" in (ROOT / "README.md").read_text()
