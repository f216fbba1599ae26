"""What an output checker gets of a run: one zip of released files, with a digest of each.

The bundle holds nothing that is secret by construction: its files are named here one by one, all
of them public files of the run or parts of its manifest that are counts, versions and digests. Its
``results.json`` and ``checksums/`` are those that ACRO writes and that SACRO Outputs Viewer opens.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auscult.base.errors import ConfigError, StoreError
from auscult.base.files import write_bytes
from auscult.base.version import __version__
from auscult.store.seal import SEAL, require_sealed

SCHEMA = "auscult.bundle/1"
INDEX, SIGNATURE = "bundle.json", "bundle.sig"
COPIED = {
    "report.html": "report.html",
    "summary.json": "results/summary.json",
    "groups.csv": "results/groups.csv",
    "officer.md": "results/officer.md",
}
TOLD = ("schema", "fingerprint", "blocks", "records", "versions", "timings")
MOST_BYTES = 200_000_000
_DATE = (1980, 1, 1, 0, 0, 0)
_WHAT = {
    "report.html": "Report of the membership inference audit",
    "summary.json": "All released figures",
    "groups.csv": "Risk by group of patients",
    "officer.md": "The privacy officer's page",
    "decision.json": "Verdict of the policy",
    "policy.toml": "The policy that was applied",
    "manifest.json": "What was audited, with which software",
}
_SIGNING = "auscult bundle/1\0"


def write_bundle(run: Path, out: Path, key: Path | None = None) -> list[str]:
    """Write the bundle of a finished run.

    Parameters
    ----------
    run : Path
    out : Path
        The zip; a file that is there is replaced.
    key : Path, optional
        Ed25519 private key (PEM, PKCS #8, without a passphrase) to sign with.

    Returns
    -------
    list of str
        Names of the files in it.

    Raises
    ------
    StoreError
        The run is not finished, or was changed since it was sealed.
    ConfigError
        The key cannot be used.
    """
    require_sealed(run, values=False)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    files = {name: (run / path).read_bytes() for name, path in COPIED.items()}
    decision = dict(json.loads(files["summary.json"]).get("decision") or {})
    policy = decision.get("policy")
    if isinstance(policy, str) and policy:
        files["policy.toml"] = policy.encode()
    decision = decision or {"verdict": None, "reason": "the run was not judged by a policy"}
    files["decision.json"] = _json({"schema": "auscult.decision/1", **decision})
    files["manifest.json"] = _json({name: manifest[name] for name in TOLD if name in manifest})
    files["results.json"] = _json(_for_checkers(files))
    for name in sorted((*(_WHAT.keys() & files.keys()), "results.json")):
        files[f"checksums/{name}.txt"] = hashlib.sha256(files[name]).hexdigest().encode()
    index = {
        "schema": SCHEMA,
        "auscult": __version__,
        "run": json.loads((run / SEAL).read_text(encoding="utf-8"))["run"],
        "seal": hashlib.sha256((run / SEAL).read_bytes()).hexdigest(),
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    files[INDEX] = _json({**index, "digest": _digest(index)})
    if key is not None:
        files[SIGNATURE] = _sign(files[INDEX], key)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _DATE), files[name], zipfile.ZIP_DEFLATED)
    write_bytes(out, content.getvalue())
    return sorted(files)


def verify_bundle(path: Path, key: Path | None = None) -> tuple[int, bool]:
    """Check every file of a bundle, and its signature where a public key is given.

    Parameters
    ----------
    path : Path
    key : Path, optional
        Ed25519 public key (PEM).

    Returns
    -------
    files : int
        How many were checked.
    signed : bool
        Whether it carries a signature; it was checked only where a key was given.

    Raises
    ------
    StoreError
        Something was changed, added or removed, or the signature is not of that key.
    """
    files = _read(path)
    try:
        index = json.loads(files[INDEX])
        said = dict(index["files"])
        fine = index["schema"] == SCHEMA and index["digest"] == _digest(index)
    except (KeyError, ValueError, TypeError):
        fine, said = False, {}
    if not fine:
        raise _broken(path, f"{INDEX} is missing or was changed after it was written")
    there = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    signature = files.get(SIGNATURE)
    there.pop(INDEX)
    there.pop(SIGNATURE, None)
    wrong = [name for name in sorted({*said, *there}) if said.get(name) != there.get(name)]
    if wrong:
        raise _broken(path, f"changed, added or removed: {', '.join(wrong[:5])}")
    if key is not None:
        if signature is None:
            raise _broken(path, "it is not signed")
        _check(files[INDEX], signature, key, path)
    return len(there), signature is not None


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len({one.filename for one in entries}) != len(entries):
                raise _broken(path, "a name occurs twice in it")
            if sum(one.file_size for one in entries) > MOST_BYTES:
                raise _broken(path, f"it unpacks to more than {MOST_BYTES // 1_000_000} MB")
            return {one.filename: archive.read(one) for one in entries}
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise _broken(path, "it cannot be read as a zip") from error
    except Exception as error:
        if isinstance(error, StoreError):
            raise
        raise _broken(path, "it cannot be unpacked") from error  # zlib's own error, for example


def _for_checkers(files: Mapping[str, bytes]) -> dict[str, Any]:
    """``results.json`` as ACRO writes it for an output that a person has to review."""
    found = {}
    for number, name in enumerate(sorted(_WHAT.keys() & files.keys())):
        found[f"output_{number}"] = {
            "uid": f"output_{number}",
            "status": "review",
            "type": "custom",
            "properties": {},
            "files": [{"name": name, "sdc": {}}],
            "outcome": {},
            "command": f"auscult {__version__}",
            "summary": "review",
            "timestamp": "",
            "comments": [_WHAT[name]],
            "exception": "",
        }
    return {"version": "0.4.8", "results": found}


def _digest(index: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in index.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _json(value: Any) -> bytes:  # noqa: ANN401
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _broken(path: Path, what: str) -> StoreError:
    return StoreError(
        what,
        where=str(path),
        expected="a bundle written by `auscult bundle`",
        next_step="Ask the sender to create it again from the run",
    )


def _keys() -> Any:  # noqa: ANN401
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise ConfigError(
            "signatures need the package cryptography",
            where="bundle",
            next_step="Install it: pip install 'auscult[sign]'",
        ) from error
    return serialization


def _sign(index: bytes, key: Path) -> bytes:
    serialization = _keys()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _no_key(key, "private") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _no_key(key, "private")
    signed: bytes = private.sign(_SIGNING.encode() + index)
    return signed


def _check(index: bytes, signature: bytes, key: Path, path: Path) -> None:
    serialization = _keys()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = serialization.load_pem_public_key(key.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise _no_key(key, "public") from error
    if not isinstance(public, Ed25519PublicKey):
        raise _no_key(key, "public")
    try:
        public.verify(signature, _SIGNING.encode() + index)
    except InvalidSignature as error:
        raise _broken(path, "its signature was not made with this key") from error


def _no_key(key: Path, which: str) -> ConfigError:
    option = "-out key.pem" if which == "private" else "-in key.pem -pubout -out public.pem"
    command = "genpkey -algorithm ed25519" if which == "private" else "pkey"
    return ConfigError(
        f"this is not a usable {which} key",
        where=str(key),
        expected=f"an Ed25519 {which} key in a PEM file without a passphrase",
        next_step=f"For example: openssl {command} {option}",
    )
