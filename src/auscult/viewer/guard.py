"""Who is let in: the browser that was given the address, on this machine, to read.

Every request passes here first. The token of the address is exchanged for a cookie; the cookie is
sent below a random path only, because browsers send cookies of 127.0.0.1 to every port, whoever
listens there. Hosts of another name are refused: a page elsewhere whose name was made to point here
(DNS rebinding) gets nothing.
"""

from __future__ import annotations

import secrets
import sys
import traceback
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "auscult"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
KEYLESS = (
    "This page needs the address that `auscult view` printed, with its token. Copy it into the "
    "browser's address bar. It works as long as the command runs.\n"
)


class Guard:
    """Lets requests through to an application, or answers them itself.

    Parameters
    ----------
    app : ASGI application
        It sees paths below the random one.
    port : int
        That the server listens on.
    base : str
        Random path below which everything lies, without a slash at its end.
    """

    def __init__(self, app: ASGIApp, port: int, base: str) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        if port == 80:
            self._hosts |= {"127.0.0.1", "localhost"}
        self._token = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._base = base
        self.address = f"http://127.0.0.1:{port}/?token={self._token}"

    def __repr__(self) -> str:
        return "Guard(token secret)"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [(k, v) for k, v in message["headers"] if k.decode() not in HEADERS]
                added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": own + added}
            await send(message)

        try:
            await self._answer(scope, receive, guarded)
        except Exception as error:
            # Its message may hold data, and the server would log it.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name} line {frame.lineno}"
            sys.stderr.write(f"internal error: {type(error).__name__} in {place}\n")
            if not started:
                await _text(guarded, 500, "Something went wrong inside Auscult. This is a bug.\n")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        told: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            told.setdefault(name.lower(), []).append(value)
        hosts = [value.decode("latin-1").lower() for value in told.get(b"host", [])]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            await _text(send, 421, "This address is not this server's.\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await _text(send, 405, "This page can only be read.\n", {"allow": "GET, HEAD"})
        elif scope["path"] == "/" and self._is_token(scope["query_string"]):
            cookie = f"{COOKIE}={self._session}; Path={self._base}; HttpOnly; SameSite=Strict"
            headers = {"location": f"{self._base}/", "set-cookie": cookie}
            await _text(send, 303, "", headers)
        elif not self._is_known(told.get(b"cookie", [])) or not _from_here(told):
            await _text(send, 403, KEYLESS)
        elif not scope["path"].startswith(f"{self._base}/"):
            await _text(send, 404, "There is no such page.\n")
        else:
            path = scope["path"].removeprefix(self._base)
            inner = {**scope, "path": path, "raw_path": path.encode(), "root_path": ""}
            await self._app(inner, receive, send)

    def _is_token(self, query: bytes) -> bool:
        given = parse_qs(query.decode("latin-1")).get("token", [])
        return len(given) == 1 and _equal(given[0], self._token)

    def _is_known(self, cookies: list[bytes]) -> bool:
        for one in cookies:
            try:
                found = SimpleCookie(one.decode("latin-1")).get(COOKIE)
            except CookieError:
                continue
            if found is not None and _equal(found.value, self._session):
                return True
        return False


def _equal(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode(), secret.encode())


def _from_here(told: dict[bytes, list[bytes]]) -> bool:
    """Whether the browser says that the request comes from the page itself or from its user."""
    return told.get(b"sec-fetch-site", [b"none"]) in ([b"none"], [b"same-origin"])


async def _text(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    body = text.encode()
    said = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in said.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
