"""Fetching from a server on this machine: whole or not at all, checked, resumable."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auscult.base.errors import CohortError, ConfigError
from auscult.datasets import Dataset, Download, RemoteFile, dataset, datasets, register
from auscult.datasets.fetching import RECORD, fetch, terms
from tests.test_cli import run


class Server:
    """A folder served on loopback, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        asked: list[str] = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...  # noqa: ANN401

            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

        self.folder, self.asked = folder, asked
        handler = functools.partial(Handler, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    served = Server(tmp_path / "served")
    yield served
    served.close()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def made_up(download: Download) -> Dataset:
    return replace(dataset("fitzpatrick17k"), name="made-up", download=download)


def test_the_open_datasets_are_these() -> None:
    found = {one.name: one.download for one in datasets() if one.download is not None}
    assert sorted(found) == ["diabetes130", "fitzpatrick17k", "ptb-xl"]
    assert all(one.base_url.startswith("https://") for one in found.values())


def test_names_are_given_once() -> None:
    with pytest.raises(ConfigError, match="there already is"):
        register(dataset("ptb-xl"))
    with pytest.raises(ConfigError, match='Did you mean "ptb-xl"'):
        dataset("ptbxl")


def test_first_download_is_recorded_and_later_ones_must_equal_it(
    server: Server, tmp_path: Path
) -> None:
    (server.folder / "fitzpatrick17k.csv").write_bytes(b"md5hash\n1\n")
    root = tmp_path / "data"
    chosen = dataset("fitzpatrick17k")
    assert "no checksum is published" in terms(chosen)
    done = fetch(chosen, root, base_url=server.url)
    assert done.believed == ("fitzpatrick17k.csv",)
    recorded = json.loads((root / RECORD).read_text())
    assert recorded == {"fitzpatrick17k.csv": sha(b"md5hash\n1\n")}
    fetch(chosen, root, base_url=server.url)
    assert len(server.asked) == 1  # what is there and right is kept
    (root / "fitzpatrick17k.csv").write_bytes(b"damaged")
    fetch(chosen, root, base_url=server.url)
    assert (root / "fitzpatrick17k.csv").read_bytes() == b"md5hash\n1\n"
    (server.folder / "fitzpatrick17k.csv").write_bytes(b"md5hash\n2\n")
    (root / "fitzpatrick17k.csv").unlink()
    with pytest.raises(CohortError, match="at the first download"):
        fetch(chosen, root, base_url=server.url)
    assert not (root / "fitzpatrick17k.csv").exists()


def test_files_of_a_published_list(server: Server, tmp_path: Path) -> None:
    files = {"LICENSE.txt": b"CC", "records100/00000/1_lr.dat": b"a" * 100, "other.csv": b"no"}
    for name, content in files.items():
        (server.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (server.folder / name).write_bytes(content)
    listing = "".join(f"{sha(content)} {name}\n" for name, content in files.items()).encode()
    (server.folder / "SHA256SUMS.txt").write_bytes(listing)
    download = Download(
        base_url="https://example.org",
        listing=RemoteFile(name="SHA256SUMS.txt", sha256=sha(listing)),
        listed=("LICENSE.txt", "records100/"),
    )
    root = tmp_path / "data"
    done = fetch(made_up(download), root, base_url=server.url + "/")
    assert (done.files, done.believed) == (2, ())
    assert (root / "records100/00000/1_lr.dat").read_bytes() == b"a" * 100
    assert not (root / "other.csv").exists()
    assert not (root / RECORD).exists()
    (server.folder / "LICENSE.txt").write_bytes(b"changed")
    (root / "LICENSE.txt").unlink()
    with pytest.raises(CohortError, match="not the published one"):
        fetch(made_up(download), root, base_url=server.url)
    assert not (root / "LICENSE.txt").exists()
    assert (root / "records100/00000/1_lr.dat").exists()  # what is finished is kept


def test_ptb_xl_from_another_release_is_refused(server: Server, tmp_path: Path) -> None:
    (server.folder / "SHA256SUMS.txt").write_text(f"{'0' * 64} ptbxl_database.csv\n")
    with pytest.raises(CohortError, match="not the published one"):
        fetch(dataset("ptb-xl"), tmp_path / "data", base_url=server.url)
    assert not (tmp_path / "data" / "SHA256SUMS.txt").exists()


def test_a_list_cannot_lead_out_of_the_folder(server: Server, tmp_path: Path) -> None:
    listing = f"{'0' * 64} records100/../../outside.txt\n".encode()
    (server.folder / "SHA256SUMS.txt").write_bytes(listing)
    download = Download(
        base_url="https://example.org",
        listing=RemoteFile(name="SHA256SUMS.txt", sha256=sha(listing)),
        listed=("records100/",),
    )
    with pytest.raises(CohortError, match="outside its folder"):
        fetch(made_up(download), tmp_path / "data", base_url=server.url)
    assert len(server.asked) == 1


def test_members_of_a_zip_are_checked(server: Server, tmp_path: Path) -> None:
    def zipped(content: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("table.csv", content)
        return buffer.getvalue()

    whole = zipped(b"a,b\n")
    (server.folder / "all.zip").write_bytes(whole)
    files = (RemoteFile(name="all.zip", sha256=sha(whole)),)
    good = Download(
        base_url="https://example.org", files=files, members={"table.csv": sha(b"a,b\n")}
    )
    root = tmp_path / "data"
    fetch(made_up(good), root, base_url=server.url)
    assert (root / "table.csv").read_bytes() == b"a,b\n"
    (root / "table.csv").unlink()
    for members, words in (
        ({"table.csv": sha(b"other")}, "checksum of table.csv"),
        ({"x": ""}, "owner's zip"),
    ):
        with pytest.raises(CohortError, match=words):
            fetch(made_up(replace(good, members=members)), root, base_url=server.url)
    assert not (root / "table.csv").exists()


def test_failures_are_told(server: Server, tmp_path: Path) -> None:
    chosen = dataset("fitzpatrick17k")
    with pytest.raises(CohortError, match="status 404"):
        fetch(chosen, tmp_path / "data", base_url=server.url)
    with pytest.raises(CohortError, match="cannot be fetched"):
        fetch(chosen, tmp_path / "data", base_url="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="not an address"):
        fetch(chosen, tmp_path / "data", base_url="file:///etc")
    with pytest.raises(ConfigError, match="not openly available"):
        fetch(dataset("chexpert"), tmp_path / "data")
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / RECORD).write_text("[]")
    with pytest.raises(CohortError, match="not a list of checksums"):
        fetch(chosen, tmp_path / "data", base_url=server.url)
    assert not list((tmp_path / "data").glob("*.csv"))


def test_without_pooch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ConfigError, match="pooch is not installed"):
        fetch(dataset("fitzpatrick17k"), tmp_path, base_url="http://127.0.0.1:9")


def test_commands(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(monkeypatch, "datasets", "list")
    assert code == 0
    for words in (
        "CheXpert",
        "21,799 records of 18,869 patients",
        "not openly available",
        "CC BY 4.0",
    ):
        assert words in out
    (server.folder / "fitzpatrick17k.csv").write_bytes(b"x")
    root = tmp_path / "data"
    how = ("datasets", "fetch", "fitzpatrick17k", "--root", root, "--base-url", server.url)
    code, out, error = run(monkeypatch, *how)
    assert code == 2
    assert "Licence" in out
    assert "Groh M." in out
    assert "--accept-licence" in error
    assert not root.exists()
    assert not server.asked
    code, out, _ = run(monkeypatch, *how, "--accept-licence")
    assert code == 0
    assert "no published checksum" in out
    code, _, error = run(monkeypatch, "datasets", "fetch", "embed", "--root", root)
    assert code == 2
    assert "not openly available" in error
    code, _, error = run(monkeypatch, "datasets", "fetch", "nothing", "--root", root)
    assert code == 2
    assert "no dataset" in error
