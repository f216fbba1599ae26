"""Downloads of open datasets: whole or not at all, checked, resumable.

A file is compared with the checksum that its owner or the literature publishes. Where none is
published the first download is believed and its checksum recorded beside the data; every later one
must equal it. That tells of a changed file, not of a first one that was wrong.
"""

from __future__ import annotations

import json
import logging
import re
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from auscult.base.errors import CohortError, ConfigError
from auscult.base.files import sha256_of_file, write_json, write_whole
from auscult.base.progress import SILENT, Progress
from auscult.datasets.facts import Dataset, Download, RemoteFile

RECORD = "auscult-checksums.json"
CONNECTIONS = 8
TIMEOUT_SECONDS = 60
LONGEST_LISTING = 64 << 20
MOST_UNPACKED = 1 << 30
_SUM = re.compile(r"^([0-9a-fA-F]{64})[ \t]+\*?(.+)$")


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a download did.

    Attributes
    ----------
    files : int
        In the folder now, checked.
    believed : tuple of str
        Files without a published checksum, taken as they came and recorded.
    """

    files: int
    believed: tuple[str, ...]


def terms(dataset: Dataset) -> str:
    """What a user has to know before fetching: licence, citation, size."""
    download = openly(dataset)
    lines = [
        f"{dataset.title}: {dataset.published.text()}",
        f"Licence  {dataset.licence}",
        f"Cite     {dataset.citation}",
        f"From     {download.base_url} ({download.size})",
    ]
    if download.note:
        lines.append(f"Without  {download.note}")
    if _unpublished(download):
        lines.append(
            "Note     no checksum is published for "
            + ", ".join(_unpublished(download))
            + f": the first download is trusted and recorded in {RECORD}"
        )
    return "\n".join(lines)


def openly(dataset: Dataset) -> Download:
    """Where anybody may fetch it.

    Raises
    ------
    ConfigError
        It is not open.
    """
    if dataset.download is None:
        raise ConfigError(
            f"this dataset is not openly available: {dataset.access}",
            where=f"datasets fetch {dataset.name}",
            next_step="Get it from its owner; cohort.root then names its folder",
        )
    return dataset.download


def fetch(
    dataset: Dataset,
    root: Path,
    *,
    base_url: str | None = None,
    progress: Progress = SILENT,
) -> Fetched:
    """Fetch what is open of a dataset into a folder. What is there and right is not fetched again.

    Parameters
    ----------
    dataset : Dataset
    root : Path
        Made when missing.
    base_url : str, optional
        A mirror that holds the owner's files under the owner's names.
    progress : Progress

    Raises
    ------
    ConfigError
        Not open, or pooch is not installed, or the URL is none.
    CohortError
        A file cannot be had, or is not what it should be. Files that were finished stay.
    """
    download = openly(dataset)
    base = (base_url or download.base_url).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise ConfigError(
            "this is not an address that files can be fetched from",
            where="--base-url",
            expected="http:// or https://",
        )
    recorded = _recorded(root)
    files = list(download.files)
    if download.listing is not None:
        path = _one(download.listing, base, root, recorded)
        files += _listed(path, download.listed)
    progress.start(f"Fetching {dataset.title}", len(files))

    def get(file: RemoteFile) -> None:
        _one(file, base, root, recorded)
        progress.advance()

    with ThreadPoolExecutor(min(CONNECTIONS, max(len(files), 1))) as pool:
        tasks = [pool.submit(get, file) for file in files]
        try:
            for task in tasks:
                task.result()
        finally:
            pool.shutdown(cancel_futures=True)
            if recorded:
                write_json(root / RECORD, {name: recorded[name] for name in sorted(recorded)})
    if download.members:
        _unpack(root / download.files[0].name, root, download)
    progress.finish()
    return Fetched(files=len(files), believed=_unpublished(download))


def _unpublished(download: Download) -> tuple[str, ...]:
    named = [*download.files, *([download.listing] if download.listing else [])]
    return tuple(file.name for file in named if file.sha256 is None)


def _one(file: RemoteFile, base: str, root: Path, recorded: dict[str, str]) -> Path:
    """One file, checked; fetched unless it is there and right."""
    target = root / file.name
    wanted = file.sha256 or recorded.get(file.name)
    if target.is_file() and wanted is not None and sha256_of_file(target) == wanted:
        return target
    _retrieve(f"{base}/{file.name}", target)
    found = sha256_of_file(target)
    if wanted is not None and found != wanted:
        target.unlink()
        source = "published" if file.sha256 else f"recorded in {RECORD} at the first download"
        raise CohortError(
            f"its checksum is not the {source} one; it is not kept",
            where=f"{base}/{file.name}",
            expected=f"SHA-256 {wanted}",
            next_step="Try again; if this persists, the owner has changed the file"
            + ("" if file.sha256 else f": look at it, then remove its line from {RECORD}"),
        )
    if file.sha256 is None:
        recorded[file.name] = found
    return target


def _retrieve(url: str, target: Path) -> None:
    try:
        import pooch
        import requests
    except ImportError as error:
        raise ConfigError(
            "pooch is not installed",
            where="datasets fetch",
            next_step='Install it: pip install "auscult[datasets]"',
        ) from error
    pooch.get_logger().setLevel(logging.ERROR)
    target.unlink(missing_ok=True)
    try:
        pooch.retrieve(
            url,
            known_hash=None,
            fname=target.name,
            path=target.parent,
            downloader=_download,
        )
    except requests.exceptions.HTTPError as error:
        status = "an error" if error.response is None else f"status {error.response.status_code}"
        raise CohortError(
            f"the server answers with {status}", where=url, next_step="Check --base-url"
        ) from error
    except requests.exceptions.RequestException as error:
        raise CohortError(
            f"it cannot be fetched ({type(error).__name__})",
            where=url,
            next_step="Try again: finished files are kept. To use a mirror, give --base-url",
        ) from error
    except OSError as error:
        raise CohortError(
            f"it cannot be written ({error.strerror or type(error).__name__})", where=str(target)
        ) from error


def _download(url: str, output: str, _: object) -> None:
    """Stream a file to the temporary one that pooch moves into its place."""
    import requests

    with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        with Path(output).open("wb") as handle:
            for piece in response.iter_content(1 << 16):
                handle.write(piece)


def _recorded(root: Path) -> dict[str, str]:
    path = root / RECORD
    if not path.exists():
        return {}
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CohortError(
            f"it cannot be read ({type(error).__name__})",
            where=str(path),
            next_step="Remove it to record the checksums again",
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise CohortError("it is not a list of checksums", where=str(path))
    return dict(content)


def _listed(path: Path, beginnings: Sequence[str]) -> list[RemoteFile]:
    """Files of the owner's own list, those that are wanted."""
    if path.stat().st_size > LONGEST_LISTING:
        raise CohortError("it is too long for a list of files", where=path.name)
    files = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        found = _SUM.match(line.strip())
        if found is None:
            continue
        name = found[2].removeprefix("./")
        if not name.startswith(tuple(beginnings)):
            continue
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name:
            raise CohortError(
                "it names a file outside its folder", where=path.name, expected="plain names"
            )
        files.append(RemoteFile(name=name, sha256=found[1].lower()))
    if not files:
        raise CohortError("it lists none of the wanted files", where=path.name)
    return files


def _unpack(path: Path, root: Path, download: Download) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name, wanted in download.members.items():
                info = archive.getinfo(name)
                if info.file_size > MOST_UNPACKED:
                    raise CohortError("a file in it is too large", where=path.name)
                target = root / name
                if target.is_file() and sha256_of_file(target) == wanted:
                    continue
                with archive.open(info) as member:

                    def write(handle: IO[bytes], member: IO[bytes] = member) -> None:
                        while piece := member.read(1 << 20):
                            handle.write(piece)

                    write_whole(target, write)
                if sha256_of_file(target) != wanted:
                    target.unlink()
                    raise CohortError(
                        f"the checksum of {name} in it is not the published one",
                        where=path.name,
                        expected=f"SHA-256 {wanted}",
                    )
    except (zipfile.BadZipFile, KeyError) as error:
        raise CohortError("it is not the owner's zip", where=path.name) from error
