"""The connection of the HTTP door: slowly enough, and only to the address that was named.

No redirect is followed, no proxy and no credential is taken from the environment, a certificate
that does not hold is never overlooked. Nothing of a request or a reply is ever quoted.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.opening import DEEPEST, depth
from auscult.release.doors import ReleaseError
from auscult.release.protocols import MOST_OF_A_REFUSAL, field_of

if TYPE_CHECKING:
    from auscult.release.endpoint import EndpointDoor

LOG = logging.getLogger(__name__)
WHERE = "release.url"
PASSING = (408, 425, 429, 500, 502, 503, 504)
LONGEST_PAUSE_SECONDS = 60.0
MOST_REPLY_BYTES = 1 << 28
LONGEST_REPLY = 4  # times timeout_seconds, however steadily bytes come
RESUMES = "Answers so far are kept: fix the problem and run the same command again to continue"


@dataclass(frozen=True)
class Reply:
    """The bytes of a reply, and which request they answer."""

    content: bytes
    where: str

    def read(self, understand: Callable[[Any], NDArray[np.float64]]) -> NDArray[np.float64]:
        """What `understand` makes of the JSON value.

        Raises
        ------
        ReleaseError
            It is no JSON, nested without an end, or not understood.
        """
        try:
            value = json.loads(self.content)
            if depth(value) > DEEPEST:
                raise RecursionError
        except Exception as error:  # whatever it holds
            what = "is not JSON"
            if isinstance(error, RecursionError):
                what = "is nested too deeply"
            raise ReleaseError(
                f"the reply to {self.where} {what}", where=WHERE, next_step=RESUMES
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


def written(body: Any) -> bytes:  # noqa: ANN401
    """What is sent for a JSON value.

    Raises
    ------
    ReleaseError
        It cannot be written as JSON.
    """
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError):
        raise ReleaseError(
            "the records cannot be written as JSON",
            where="release.prepare",
            expected="numbers, texts, null, lists and objects",
        ) from None


class Line:
    """An open connection that keeps to the rate and tries again where that can help."""

    def __init__(self, door: EndpointDoor) -> None:
        self._door = door
        self._httpx = httpx_library()
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

    def ask(self, content: bytes, where: str, known: Collection[str] = ()) -> Reply:
        """Send one request, again where that can help, and return the reply of a 200.

        Parameters
        ----------
        content : bytes
            The request's JSON.
        where : str
            Names the request in errors.
        known : collection of str
            Names that a refusal may repeat.
        """
        trouble: bytes | str = ""
        for attempt in range(self._door.retries + 1):
            pause, trouble = self._attempt(content, where, known)
            if isinstance(trouble, bytes):
                return Reply(trouble, where)
            LOG.info("The endpoint: %s (attempt %d)", trouble, attempt + 1)
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

    def _attempt(
        self, content: bytes, where: str, known: Collection[str]
    ) -> tuple[float, bytes | str]:
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
                refusal = self._refusal(response) if status in (400, 422) else b""
        except httpx.TimeoutException:
            return 0.0, "no answer in time"
        except httpx.TransportError as error:
            if _is_certificate(error):
                raise ReleaseError(
                    "the certificate is not valid, so nothing was sent",
                    where=WHERE,
                    expected="a certificate for this host from a trusted authority",
                    next_step=f"Name your certificate authority: release.certificates.  {RESUMES}",
                ) from None
            return 0.0, f"the connection failed ({type(error).__name__})"
        if status in PASSING:
            return float(asked) if asked.isdigit() else 0.0, f"status {status}"
        if 300 <= status < 400:
            raise ReleaseError(
                f"the endpoint redirects elsewhere (status {status}), and nothing was sent there",
                where=WHERE,
                next_step=f"Name the address that answers. {RESUMES}",
            )
        hint = "Check release.headers_from. " if status in (401, 403) else ""
        about = field_of(refusal, known)
        if about:
            hint = "Convert the records to its format: release.prepare. "
        raise ReleaseError(
            f"the endpoint refused {where} (status {status}{f': {about}' if about else ''})",
            where=WHERE,
            next_step=hint + RESUMES,
        )

    def _refusal(self, response: Any) -> bytes:  # noqa: ANN401
        """The beginning of a refusal, where it is not packed."""
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            return b""
        found = b""
        for piece in response.iter_raw():
            found += piece
            if len(found) > MOST_OF_A_REFUSAL:
                break
        return found

    def _body(self, response: Any, where: str) -> bytes:  # noqa: ANN401
        """The reply, unpacked here: the client would unpack a bomb before its size is seen."""
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "", "gzip", "x-gzip"):
            raise ReleaseError(
                f"the reply to {where} is encoded in a way that was not requested",
                where=WHERE,
                expected="plain JSON, or JSON packed by gzip once",
            )
        unpack = None if coding in ("identity", "") else zlib.decompressobj(wbits=31)
        end = time.monotonic() + LONGEST_REPLY * self._door.timeout_seconds
        pieces, size = [], 0
        for raw in response.iter_raw():
            piece = raw
            if unpack is not None:
                try:
                    piece = unpack.decompress(raw, MOST_REPLY_BYTES - size + 1)
                except zlib.error:
                    raise ReleaseError(
                        f"the reply to {where} is damaged", where=WHERE, next_step=RESUMES
                    ) from None
            size += len(piece)
            if size > MOST_REPLY_BYTES or time.monotonic() > end:
                raise ReleaseError(f"the reply to {where} does not end", where=WHERE)
            pieces.append(piece)
        return b"".join(pieces)


def _is_certificate(error: BaseException | None) -> bool:
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(
            error
        ):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def httpx_library() -> Any:  # noqa: ANN401
    """The module httpx.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise ConfigError(
            "an endpoint needs httpx, which is not installed",
            where="release",
            next_step='Install it: pip install ".[endpoint]"',
        ) from error
    return httpx
