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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.files import write_bytes
from auscult.base.progress import SILENT, Progress
from auscult.base.version import __version__
from auscult.cohort import TrainingData
from auscult.recipes.python import plain_inputs, rows_of
from auscult.release.connection import WHERE, Line, httpx_library, written
from auscult.release.doors import Door, ReleaseError
from auscult.release.graph import prepare_function
from auscult.release.nobody import of_nobody
from auscult.release.payload import answers_of, place_in, records_in, request_body
from auscult.release.protocols import (
    PLACES,
    Protocol,
    kserve_answers,
    kserve_inputs,
    mlflow_body,
    refuse_gaps,
)

RANGES = {"requests_per_second": (1e-3, 1e5), "timeout_seconds": (1e-3, 86400.0)}


@dataclass(frozen=True, kw_only=True)
class EndpointDoor(Door):
    """An HTTP endpoint.

    Attributes
    ----------
    url : str
        Where records are POSTed: https, or http on this machine.
    protocol : {"json", "kserve-v2", "mlflow", "tf-serving", "record"}
        What the server speaks; "record" is one record per request.
    records : str, optional
        Dotted place of the list of records in the request's JSON; "" when the list is the request.
    body : mapping
        The rest of the request's JSON.
    answers_at : str, optional
        Dotted place of the list of answers in the reply; "" when the reply is the list.
    answer : str
        Dotted place of the number, the list of numbers or the object of classes in each answer.
    prepare : callable or str, optional
        "module:function" that makes a list of JSON values from the inputs of some records.
    inputs : mapping of str to str or sequence of str
        For KServe: the columns that each tensor gets; see :func:`kserve_inputs`.
    datatypes : mapping of str to str
        For KServe: types of tensors, where the server expects another than the column has.
    headers_from : mapping of str to str
        Header name to the environment variable that holds its value: credentials stay out of files.
    batch : int
        Records per request.
    requests_per_second : float
    timeout_seconds : float
        For the connection and for each wait for bytes.
    retries : int
        Further attempts at a request that was answered with 408, 425, 429 or 5xx, timed out or lost
        its connection; pauses double, and Retry-After is respected up to a minute.
    allow_plain_http : bool
        Allow records to be sent unencrypted to another machine.
    certificates : Path, optional
        File of certificates to trust instead of the system's.
    version : str
        Of the model behind the address: answers are cached per version.
    folder : Path, optional
        Where to look for the module of `prepare` first.
    """

    url: str
    protocol: Protocol = "json"
    records: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    answers_at: str | None = None
    answer: str = ""
    prepare: Callable[[Any], Any] | str | None = None
    inputs: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    datatypes: Mapping[str, str] = field(default_factory=dict)
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

    def __repr__(self) -> str:
        # Addresses and bodies hold keys, before they are checked and where nothing forbids it.
        try:
            host = urlsplit(self.url).hostname
        except ValueError:
            host = None
        return f"EndpointDoor({host or 'no valid address'!r}, protocol={self.protocol!r})"

    def check(self, data: TrainingData) -> None:  # noqa: ARG002
        """See :meth:`Door.check`. Sends nothing."""
        parts = self._address()
        if self.protocol not in PLACES:
            raise ConfigError(
                f'"{self.protocol}" is not a protocol',
                where="release.protocol",
                expected=", ".join(PLACES),
            )
        for name, given, with_it in (
            ("inputs", self.inputs, ("kserve-v2",)),
            ("datatypes", self.datatypes, ("kserve-v2",)),
            ("records", self.records, ("json", "tf-serving", "record")),
            ("answers", self.answers_at, ("json", "tf-serving", "mlflow", "record")),
        ):
            if given and self.protocol not in with_it:
                raise ConfigError(
                    f"it cannot be combined with protocol = {self.protocol} and would be ignored",
                    where=f"release.{name}",
                )
        if self.batch < 1 or self.retries < 0:
            raise ConfigError("batch is at least 1 and retries at least 0", where="release")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(
                    f"{value:g} is not a valid value",
                    where=f"release.{name}",
                    expected=f"{least:g} to {most:,.0f}",
                )
        if not self._records and self.body and self.protocol == "json":
            raise ConfigError(
                "the records are the whole request, so body would be ignored", where="release.body"
            )
        if self.certificates is not None and parts.scheme != "https":
            raise ConfigError(
                "there are no certificates without https", where="release.certificates"
            )
        self._headers()
        self._tls()
        httpx_library()
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
        starts = range(0, records, self._at_once)
        inputs = plain_inputs(data.inputs)
        found: list[NDArray[np.float64]] = []
        progress.start("Release", records)
        with Line(self) as line:
            for number, start in enumerate(starts):
                rows = np.arange(start, min(start + self._at_once, records))
                question = self._question(inputs, rows, prepare, data.classes)
                # An answer belongs to the very bytes that were sent: whatever changes what
                # `prepare` makes of the records, its code or what this reads, asks again.
                digest = hashlib.sha256(question.content).hexdigest()[:32]
                kept = None if folder is None else folder / f"batch-{number:06d}-{digest}.json"
                values = None if kept is None else _read(kept, rows.size)
                if values is None:
                    name = f"batch {number + 1} of {len(starts)}"
                    reply = line.ask(question.content, name, question.known)
                    values = reply.read(question.understand)
                    if kept is not None:
                        text = json.dumps(values.tolist(), allow_nan=False)
                        write_bytes(kept, text.encode(), secret=True)
                if found and values.shape[1:] != found[0].shape[1:]:
                    raise ReleaseError("the answers of two batches differ in length", where=WHERE)
                found.append(values)
                progress.advance(rows.size)
        progress.finish()
        return np.concatenate(found)

    def try_out(self, data: TrainingData) -> str:
        """See :meth:`Door.try_out`. Sends one synthetic record."""
        self.check(data)
        prepare = None if self.prepare is None else prepare_function(self.prepare, self.folder)
        nobody = plain_inputs(of_nobody(data.inputs))
        question = self._question(nobody, np.arange(1), prepare, data.classes)
        with Line(self) as line:
            reply = line.ask(question.content, "the synthetic record", question.known)
            reply.read(question.understand)
        return f"{self._address().netloc} answered one synthetic record (medians)"

    @property
    def _records(self) -> str:
        return PLACES[self.protocol][0] if self.records is None else self.records

    @property
    def _answers(self) -> str:
        return PLACES[self.protocol][1] if self.answers_at is None else self.answers_at

    @property
    def _at_once(self) -> int:
        return 1 if self.protocol == "record" else self.batch

    def _question(
        self,
        inputs: Any,  # noqa: ANN401
        rows: NDArray[np.int64],
        prepare: Callable[[Any], Any] | None,
        classes: tuple[str, ...],
    ) -> _Question:
        """What is sent for some records, and how the answer is read."""
        part = rows_of(inputs, rows)
        if prepare is None:
            refuse_gaps(part, self.protocol)
        known = {*map(str, getattr(part, "columns", ())), *self._records.split("."), *self.body}
        if self.protocol == "kserve-v2":
            given = part if prepare is None else prepare(part)
            tensors = kserve_inputs(given, self.inputs, self.datatypes)
            return _Question(
                written({**self.body, "inputs": tensors}),
                frozenset(known),
                lambda said: answers_of(
                    kserve_answers(said, self.answer, rows.size), "", "", classes, rows.size
                ),
            )
        items = records_in(inputs, rows, prepare)
        if self.protocol == "mlflow":
            made = prepare is not None and all(isinstance(one, dict) for one in items)
            shown = part if prepare is None else pd.DataFrame(items) if made else np.empty(0)
            body: Any = {**self.body, **mlflow_body(shown, items)}
        elif self.protocol == "record":
            body = items[0]
            if self._records:
                body = request_body(self.body, self._records, body)
            elif self.body:
                body = {**self.body, **body}
        else:
            body = request_body(self.body, self._records, items)
        alone = self.protocol == "record"
        return _Question(
            written(body),
            frozenset(known),
            lambda said: answers_of(
                [place_in(said, self._answers)] if alone else said,
                "" if alone else self._answers,
                self.answer,
                classes,
                rows.size,
            ),
        )

    def about(self) -> dict[str, Any]:
        """See :meth:`Door.about`."""
        return {"door": "endpoint", "what": self._address().hostname or ""}

    def plan(self, data: TrainingData) -> str:
        """See :meth:`Door.plan`."""
        records = len(data.labels)
        requests = -(-records // self._at_once)
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
            raise ConfigError("this is not an address", where=WHERE, expected="https://host/path")
        if parts.username or parts.password:
            raise ConfigError(
                "the address contains a credential",
                where=WHERE,
                next_step="Put it into the environment and name it: release.headers_from",
            )
        if parts.scheme == "http" and not self.allow_plain_http and not _here(parts.hostname):
            raise ConfigError(
                "records would be sent unencrypted to another machine",
                where=WHERE,
                expected="https",
                next_step="If your network is trusted, set allow_plain_http = true",
            )
        return parts

    def _headers(self) -> dict[str, str]:
        headers = {
            "User-Agent": f"auscult/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
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
        """Name of the folder of answers: of who was asked, and of what about."""
        asked = {
            "url": self.url,
            "records": self._records,
            "body": dict(self.body),
            "answers": self._answers,
            "answer": self.answer,
            "batch": self._at_once,
            "version": self.version,
            "data": data.inputs.fingerprint(),
        }
        if self.protocol != "json":
            asked |= {"protocol": self.protocol, "inputs": dict(self.inputs)}
            asked["datatypes"] = dict(self.datatypes)
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Question:
    """The bytes of a request, names in it that a refusal may repeat, and how a reply is read."""

    content: bytes
    known: frozenset[str]
    understand: Callable[[Any], NDArray[np.float64]]


def _read(path: Path, records: int) -> NDArray[np.float64] | None:
    """Answers that were kept, or None where there are none that can be used."""
    try:
        values = np.array(json.loads(path.read_text(encoding="utf-8")), dtype=np.float64)
    except Exception:  # whatever it holds: it is asked again
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
