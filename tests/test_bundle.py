"""Bundles for output checkers, and a campaign of mutations of runs and bundles."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from auscult.base.errors import AuscultError, ConfigError, StoreError
from auscult.cli.common import app
from auscult.config.policy import parse_policy
from auscult.imported.importing import import_scores
from auscult.policy import judge_run
from auscult.store.bundle import verify_bundle, write_bundle
from benchmarks.mutations import Campaign


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("mutations"))


@pytest.fixture(scope="module")
def bundle(campaign: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Path(shutil.copytree(campaign.finished, campaign.folder / "judged"))
    text = '[exposed."0.9"]\npatients = 5\n'
    judge_run(run, parse_policy({"exposed": {"0.9": {"patients": 5}}}, text, "policy.toml"))
    out = tmp_path_factory.mktemp("bundle") / "request.zip"
    done = CliRunner().invoke(app, ["bundle", str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


def test_a_bundle_holds_what_a_checker_needs_and_no_secret(
    campaign: Campaign, bundle: Path
) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        everything = b"".join(archive.read(name) for name in names)
        results = json.loads(archive.read("results.json"))
        policy = archive.read("policy.toml").decode()
    assert {"report.html", "summary.json", "officer.md", "decision.json", "manifest.json"} <= names
    assert policy.startswith("[exposed")
    assert str(campaign.folder).encode() not in everything
    assert b"MRN" not in everything
    for one in results["results"].values():
        assert set(one) >= {"uid", "status", "files", "outcome", "comments", "exception"}
        assert f"checksums/{one['files'][0]['name']}.txt" in names
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 0
    assert "unchanged since they were bundled" in done.output


def test_every_changed_file_of_a_bundle_is_seen(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for number, name in enumerate(sorted(files)):
        for what in ("changed", "removed", "added"):
            made = dict(files)
            if what == "removed":
                made.pop(name)
            elif what == "added":
                made[f"{name}.more"] = b"x"
            else:
                made[name] = files[name][:-2] + b"?" + files[name][-1:]
            path = tmp_path / f"{number}-{what}.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for entry, content in made.items():
                    archive.writestr(entry, content)
            with pytest.raises(StoreError, match="create it again from the run"):
                verify_bundle(path)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(bundle.read_bytes()[:-30])
    with pytest.raises(StoreError):
        verify_bundle(cut)


def test_a_changed_run_is_not_bundled(campaign: Campaign, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(campaign.finished, tmp_path / "copy"))
    path = copy / "results" / "officer.md"
    path.write_text(path.read_text() + "Approved.\n")
    with pytest.raises(StoreError, match="changed since the run was sealed"):
        write_bundle(copy, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_signatures(campaign: Campaign, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make keys with")
    for name in ("mine", "other"):
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        make = [openssl, "genpkey", "-algorithm", "ed25519", "-out", str(private)]
        subprocess.run(make, check=True, capture_output=True)
        tell = [openssl, "pkey", "-in", str(private), "-pubout", "-out", str(public)]
        subprocess.run(tell, check=True, capture_output=True)
    out = tmp_path / "signed.zip"
    write_bundle(campaign.finished, out, tmp_path / "mine.pem")
    assert verify_bundle(out, tmp_path / "mine.pub")[1]
    with pytest.raises(StoreError, match="signature was not made with this key"):
        verify_bundle(out, tmp_path / "other.pub")
    with pytest.raises(ConfigError, match="openssl"):
        verify_bundle(out, tmp_path / "mine.pem")
    unsigned = tmp_path / "unsigned.zip"
    write_bundle(campaign.finished, unsigned)
    with pytest.raises(StoreError, match="not signed"):
        verify_bundle(unsigned, tmp_path / "mine.pub")


def test_the_page_on_bundles_is_followed_to_the_end(
    campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of docs/bundle.md, in its order, as it stands there."""
    pytest.importorskip("cryptography")
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make keys with")
    page = (Path(__file__).parents[1] / "docs" / "bundle.md").read_text(encoding="utf-8")
    shutil.copytree(campaign.finished, tmp_path / "RUN")
    (tmp_path / "policy.toml").write_text('[exposed."0.9"]\npatients = 5\n')
    monkeypatch.chdir(tmp_path)
    done = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            words = line.removeprefix("$ ").split()
            if words[0] == "openssl":
                subprocess.run(words, check=True, capture_output=True)
                continue
            found = CliRunner().invoke(app, words[1:])
            assert found.exit_code == 0 or words[1] == "gate", (line, found.output)
            done.append(words[1])
    assert done == ["verify", "gate", "bundle", "bundle", "verify"]
    with zipfile.ZipFile("request.zip") as archive:
        names = set(archive.namelist())
    told = set(re.findall(r"`([\w.]+\.(?:html|json|csv|md|toml|sig))`", page))
    assert told - {"audit.toml", "seal.json", "key.pem"} <= names
    assert f"checksums/{'results.json'}.txt" in names


def test_mutations_are_seen_or_harmless(campaign: Campaign) -> None:
    """A tenth of the campaign of ``benchmarks/mutations.py``."""
    found = campaign.run(21, seed=3, again_every=3)
    assert sum(found.values()) == 21
    assert found["another number"] == 0
    assert found["unseen by verify"] == 0
    assert found["seen"] + found["mended"] == 7


def test_the_campaign_would_notice(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.mutations.require_sealed", lambda run: len(str(run)))
    found = campaign.run(2, seed=1, kinds=("byte",), half=False)
    assert found["unseen by verify"] > 0


def test_import_refuses_what_is_not_its_run(campaign: Campaign, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(campaign.finished, tmp_path / "copy"))
    with pytest.raises(AuscultError):
        import_scores(campaign.other_scores, copy, seed=1)
    assert np.isfinite(campaign.reference.size)
