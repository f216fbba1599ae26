"""The HTTP door: JSON in, JSON out, slowly enough, and only to the address that was named.

No redirect is followed, no proxy and no credential is taken from the environment, a certificate
that does not hold is never overlooked. Every batch that was answered is kept under the run's
secrets, so whatever goes wrong, the same command goes on where it stopped. Nothing of a request or
a reply is ever quoted: both may hold what a patient's record holds.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.files import write_bytes
from auscult.base.progress import SILENT, Progress
from auscult.base.version import __version__
from auscult.cohort import TrainingData
from auscult.recipes.python import describe
from auscult.release.doors import Door, ReleaseError
from auscult.release.graph import prepare_function
from auscult.release.payload import answers_of, records_of, request_body

WHERE = "release.url"
PASSING = (408, 425, 429, 500, 502, 503, 504)
LONGEST_PAUSE_SECONDS = 60.0
RANGES = {"requests_per_second": (1e-3, 1e5), "timeout_seconds": (1e-3, 86400.0)}
MOST_REPLY_BYTES = 1 << 28
RESUMES = "What was answered is kept: mend it and run the same command, it goes on from there"


@dataclass(frozen=True, kw_only=True)
class EndpointDoor(Door):
    """An HTTP endpoint.

    Attributes
    ----------
    url : str
        Where records are POSTed: https, or http on this machine.
    records : str
        Dotted place of the list of records in the request's JSON; "" when the list is the request.
    body : mapping
        The rest of the request's JSON.
    answers : str
        Dotted place of the list of answers in the reply; "" when the reply is the list.
    answer : str
        Dotted place of the number, the list of numbers or the object of classes in each answer.
    prepare : callable or str, optional
        "module:function" that makes a list of JSON values from the inputs of some records.
    headers_from : mapping of str to str
        Header name to the environment variable that holds its value: credentials stay out of files.
    batch : int
        Records per request.
    requests_per_second : float
    timeout_seconds : float
        For the connection and for each wait for bytes.
    retries : int
        Further attempts at a request that was answered with 408, 425, 429 or 5xx, timed out or lost
        its connection; pauses double, and Retry-After is heeded up to a minute.
    allow_plain_http : bool
        Let records travel unencrypted to another machine.
    certificates : Path, optional
        File of certificates to trust instead of the system's.
    version : str
        Of the model behind the address: other answers, other cache.
    folder : Path, optional
        Where to look for the module of `prepare` first.
    """

    url: str
    records: str = "records"
    body: Mapping[str, Any] = field(default_factory=dict)
    answers_at: str = "answers"
    answer: str = ""
    prepare: Callable[[Any], Any] | str | None = None
    headers_from: Mapping[str, str] = field(default_factory=dict)
    batch: int = 64
    requests_per_second: float = 10.0
    timeout_seconds: float = 30.0
    retries: int = 5
    allow_plain_http: bool = False
    certificates: Path | None = None
    version: str = ""
    folder: Path | None = None
    pause_seconds: float = 1.0

    kind = "endpoint"
    label = "endpoint"

    def check(self, data: TrainingData) -> None:  # noqa: ARG002
        """See :meth:`Door.check`. Sends nothing."""
        parts = self._address()
        if self.batch < 1 or self.retries < 0:
            raise ConfigError("batch is at least 1 and retries at least 0", where="release")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(
                    f"{value:g} cannot be",
                    where=f"release.{name}",
                    expected=f"{least:g} to {most:,.0f}",
                )
        if not self.records and self.body:
            raise ConfigError(
                "the records are the whole request, so body would be ignored", where="release.body"
            )
        if self.certificates is not None and parts.scheme != "https":
            raise ConfigError(
                "there are no certificates without https", where="release.certificates"
            )
        self._headers()
        self._tls()
        _httpx()
        if self.prepare is not None:
            prepare_function(self.prepare, self.folder)

    def answers(
        self, data: TrainingData, cache: Path | None = None, progress: Progress = SILENT
    ) -> NDArray[np.float64]:
        """See :meth:`Door.answers`."""
        self.check(data)
        records = len(data.labels)
        folder = None
        if cache is not None:
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = cache / self._identity(data)
        prepare = None if self.prepare is None else prepare_function(self.prepare, self.folder)
        starts = range(0, records, self.batch)
        found: list[NDArray[np.float64]] = []
        progress.start("Release", records)
        with _Line(self) as line:
            for number, start in enumerate(starts):
                rows = np.arange(start, min(start + self.batch, records))
                kept = None if folder is None else folder / f"batch-{number:06d}.json"
                values = None if kept is None else _read(kept, rows.size)
                if values is None:
                    body = request_body(self.body, self.records, records_of(data, rows, prepare))
                    values = line.ask(body, f"batch {number + 1} of {len(starts)}").read(
                        lambda reply, n=rows.size: answers_of(  # type: ignore[misc]
                            reply, self.answers_at, self.answer, data.classes, n
                        )
                    )
                    if kept is not None:
                        text = json.dumps(values.tolist(), allow_nan=False)
                        write_bytes(kept, text.encode(), secret=True)
                if found and values.shape[1:] != found[0].shape[1:]:
                    raise ReleaseError("the answers of two batches differ in length", where=WHERE)
                found.append(values)
                progress.advance(rows.size)
        progress.finish()
        return np.concatenate(found)

    def about(self) -> dict[str, Any]:
        """See :meth:`Door.about`."""
        return {"door": "endpoint", "what": self._address().hostname or ""}

    def plan(self, data: TrainingData) -> str:
        """See :meth:`Door.plan`."""
        records = len(data.labels)
        requests = -(-records // self.batch)
        return (
            f"{records:,} records will be sent to {self._address().netloc} in {requests:,} "
            f"requests, at most {self.requests_per_second:g} a second"
        )

    def _address(self) -> Any:  # noqa: ANN401
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError:  # it is none
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ConfigError("this is no address", where=WHERE, expected="https://host/path")
        if parts.username or parts.password:
            raise ConfigError(
                "the address holds a credential",
                where=WHERE,
                next_step="Put it into the environment and name it: release.headers_from",
            )
        if parts.scheme == "http" and not self.allow_plain_http and not _here(parts.hostname):
            raise ConfigError(
                "records would travel unencrypted to another machine",
                where=WHERE,
                expected="https",
                next_step="If your network is trusted, say so: allow_plain_http = true",
            )
        return parts

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": f"auscult/{__version__}", "Accept": "application/json"}
        for name, variable in self.headers_from.items():
            if variable not in os.environ:
                raise ConfigError(
                    f"the environment has no variable {variable}",
                    where=f"release.headers_from.{name}",
                )
            headers[name] = os.environ[variable]
        return headers

    def _tls(self) -> ssl.SSLContext | bool:
        if self.certificates is None:
            return True
        try:
            return ssl.create_default_context(cafile=str(self.certificates))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"certificates cannot be read ({type(error).__name__})",
                where="release.certificates",
                expected="a PEM file",
            ) from error

    def _identity(self, data: TrainingData) -> str:
        """Name of the folder of answers: of what was asked, and of what about."""
        prepare = None
        if self.prepare is not None:
            prepare = describe(prepare_function(self.prepare, self.folder))
        asked = {
            "url": self.url,
            "records": self.records,
            "body": dict(self.body),
            "answers": self.answers_at,
            "answer": self.answer,
            "prepare": prepare,
            "batch": self.batch,
            "version": self.version,
            "data": data.inputs.fingerprint(),
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Reply:
    content: bytes
    where: str

    def read(self, understand: Callable[[Any], NDArray[np.float64]]) -> NDArray[np.float64]:
        try:
            value = json.loads(self.content)
        except ValueError:
            raise ReleaseError(
                f"the reply to {self.where} is not JSON", where=WHERE, next_step=RESUMES
            ) from None
        try:
            return understand(value)
        except ReleaseError as error:
            raise ReleaseError(
                f"{error.what} ({self.where})",
                where=error.where,
                expected=error.expected,
                next_step=f"{error.next_step}. {RESUMES}" if error.next_step else RESUMES,
            ) from None


class _Line:
    """An open connection that keeps to the rate and tries again where that can help."""

    def __init__(self, door: EndpointDoor) -> None:
        self._door = door
        self._httpx = _httpx()
        self._next = 0.0
        self._client = self._httpx.Client(
            headers=door._headers(),
            timeout=door.timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            verify=door._tls(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, body: Any, where: str) -> _Reply:  # noqa: ANN401
        """Send one request, again where that can help, and return the reply of a 200."""
        try:
            content = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError):
            raise ReleaseError(
                "the records cannot be written as JSON",
                where="release.prepare",
                expected="numbers, texts, null, lists and objects",
            ) from None
        trouble: bytes | str = ""
        for attempt in range(self._door.retries + 1):
            pause, trouble = self._attempt(content, where)
            if isinstance(trouble, bytes):
                return _Reply(trouble, where)
            if attempt < self._door.retries:
                time.sleep(
                    min(
                        max(pause, self._door.pause_seconds * 2.0**attempt),
                        LONGEST_PAUSE_SECONDS,
                    )
                )
        attempts = self._door.retries + 1
        raise ReleaseError(
            f"{trouble!s} at {where}, {attempts} {'time' if attempts == 1 else 'times'}",
            where=WHERE,
            next_step=RESUMES,
        )

    def _attempt(self, content: bytes, where: str) -> tuple[float, bytes | str]:
        """Pause asked for and reply, or pause and what was wrong; raises where no retry helps."""
        httpx = self._httpx
        wait = self._next - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._next = time.monotonic() + 1 / self._door.requests_per_second
        self._client.cookies.clear()
        try:
            with self._client.stream(
                "POST",
                self._door.url,
                content=content,
                headers={"Content-Type": "application/json"},
            ) as response:
                status = response.status_code
                if status == 200:
                    return 0.0, self._body(response, where)
                asked = response.headers.get("Retry-After", "")
        except httpx.TimeoutException:
            return 0.0, "no answer in time"
        except httpx.TransportError as error:
            if _is_certificate(error):
                raise ReleaseError(
                    "the certificate does not hold, so nothing was sent",
                    where=WHERE,
                    expected="a certificate for this host from an authority that is trusted",
                    next_step=f"Name your authority: release.certificates. {RESUMES}",
                ) from None
            return 0.0, f"the connection failed ({type(error).__name__})"
        if status in PASSING:
            return float(asked) if asked.isdigit() else 0.0, f"status {status}"
        if 300 <= status < 400:
            raise ReleaseError(
                f"the endpoint points elsewhere (status {status}) and nothing was sent there",
                where=WHERE,
                next_step=f"Name the address that answers. {RESUMES}",
            )
        hint = "Check release.headers_from. " if status in (401, 403) else ""
        raise ReleaseError(
            f"the endpoint refused {where} (status {status})",
            where=WHERE,
            next_step=hint + RESUMES,
        )

    def _body(self, response: Any, where: str) -> bytes:  # noqa: ANN401
        pieces, size = [], 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > MOST_REPLY_BYTES:
                raise ReleaseError(f"the reply to {where} does not end", where=WHERE)
            pieces.append(piece)
        return b"".join(pieces)


def _read(path: Path, records: int) -> NDArray[np.float64] | None:
    """Answers that were kept, or None where there are none that can be used."""
    try:
        values = np.array(json.loads(path.read_text(encoding="utf-8")), dtype=np.float64)
    except (OSError, ValueError, TypeError):
        return None
    whole = values.ndim in (1, 2) and len(values) == records and bool(np.isfinite(values).all())
    return values if whole else None


def _here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_certificate(error: BaseException | None) -> bool:
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(
            error
        ):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _httpx() -> Any:  # noqa: ANN401
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise ConfigError(
            "an endpoint needs httpx, which is not installed",
            where="release",
            next_step='Install it: pip install ".[endpoint]"',
        ) from error
    return httpx
