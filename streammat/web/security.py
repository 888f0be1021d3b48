"""Access control of the control page.

A page that controls a camera is a target for every web site that its user visits, so nothing is trusted just because it is local:

* The printed link contains a token that works once; it is exchanged for a cookie (HttpOnly, SameSite=Strict), without which
  nothing is served.
* Only known names are accepted in ``Host``, so that no foreign name can be pointed at this machine (DNS rebinding).
* Every request that changes something, and every WebSocket, needs the page's own ``Origin``; a missing one, ``null`` and others
  are refused.
* Responses carry a Content-Security-Policy that allows only the page's own files: no inline scripts, no frames.
"""

from __future__ import annotations

import hashlib
import hmac
import http.cookies
import ipaddress
import os
import re
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from streammat.config import WEB_ADDRESS
from streammat.errors import UsageError, shortened

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_DAYS: Final = 30
_TOKEN_SECONDS: Final = 24 * 3600.0
_MOST_TOKENS: Final = 8
_READS: Final = ("GET", "HEAD")
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def parse_address(text: str, allowed: tuple[str, ...]) -> tuple[str, int]:
    """Parse ``--web`` to (host, port): ``HOST:PORT``, a port alone, or ``[::1]:PORT``.

    Args:
        text: as the user wrote it.
        allowed: names of ``--web-allow``; without any, only loopback addresses are accepted.

    Raises:
        UsageError: not an address, or one that others could reach.
    """
    host, _, digits = text.rpartition(":")
    host = host or "127.0.0.1"
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535):
        raise UsageError(f"--web {text[:80]}: expected HOST:PORT, such as {WEB_ADDRESS}")
    for name in allowed:
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"--web-allow {shortened(repr(name))}: expected a name or an address of this machine alone, such as 192.168.1.5")
    if not allowed and not _is_loopback(host):
        raise UsageError(
            f"--web {text[:80]}: other machines could reach the page at this address; to mean that, name with --web-allow how browsers there call "
            f"this machine, such as --web-allow 192.168.1.5: the connection is not encrypted, and who has the link sees the output and can show the room"
        )
    return host.strip("[]"), int(digits)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


class AccessTokens:
    """Links and cookies: one-time tokens, and cookies signed with a key that outlives the run, so that pages can reconnect.

    Args:
        file: the key's file, readable by this user alone; created if missing. None, or a file that cannot be written: the key is
            valid for this run, and pages need a new link after a restart.
        port: part of the cookie's name, since browsers send cookies to every port of a host.
    """

    def __init__(self, file: Path | None, port: int) -> None:
        self.cookie = f"streammat-{port}"
        self._key = _kept_key(file)
        self._lock = threading.Lock()
        self._tokens: dict[str, float] = {}

    def token(self) -> str:
        """Return a new token, which works once within a day; if there are many, the oldest is dropped."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._tokens) >= _MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[token] = time.monotonic()
        return token

    def enter(self, token: str) -> str | None:
        """Exchange a token, which becomes invalid, for a cookie's value; None if it is unknown, used or old."""
        with self._lock:
            found = next((each for each in self._tokens if hmac.compare_digest(each.encode(), token.encode())), None)
            if found is None or time.monotonic() - self._tokens.pop(found) > _TOKEN_SECONDS:
                return None
        body = f"{int(time.time())}.{secrets.token_urlsafe(16)}"
        return f"{body}.{self._sign(body)}"

    def set_cookie(self, value: str) -> str:
        """Return the header value that sets the cookie in a browser."""
        return f"{self.cookie}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={_DAYS * 24 * 3600}"

    def known(self, cookies: str) -> bool:
        """Return whether a ``Cookie`` header has a valid cookie of ours."""
        try:
            found = http.cookies.SimpleCookie(cookies).get(self.cookie)
        except http.cookies.CookieError:
            return False
        body, _, signature = ("" if found is None else found.value).rpartition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            return False
        issued = int(body.partition(".")[0])
        return 0 <= time.time() - issued <= _DAYS * 24 * 3600

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, f"{self.cookie} {body}".encode(), hashlib.sha256).hexdigest()


def _kept_key(file: Path | None) -> bytes:
    fresh = secrets.token_bytes(32)
    if file is None:
        return fresh
    with suppress(OSError):
        os.makedirs(file.parent, exist_ok=True)
        with suppress(FileExistsError):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as made:
                made.write(fresh)
        # One that others can read or that somebody else made is no secret.
        status = os.stat(file)
        mine = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
        key = file.read_bytes()
        if mine and len(key) == len(fresh):
            return key
    return fresh


class Gate:
    """The first layer for every request: checks access.

    Args:
        app: the application behind it.
        keys: the run's keys.
        port: the listening port.
        allowed: further names and addresses of this machine for browsers.
    """

    def __init__(self, app: ASGIApp, keys: AccessTokens, port: int, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._keys = keys
        names = [*_LOOPBACK, *allowed]
        self._hosts = {f"{name.lower()}:{port}" for name in names} | ({name.lower() for name in names} if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and add the headers of every response."""
        reason = self._refusal(scope)
        if scope["type"] == "websocket":
            await (self._app if reason is None else WebSocketClose(1008, reason[1]))(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self._app if reason is None else PlainTextResponse(reason[1] + "\n", reason[0])
        await answer(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return (HTTP status, reason) of a refusal, or None."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 403, "this name is not allowed for the page; start with --web-allow NAME to allow it"
        reads = scope["type"] == "http" and scope["method"] in _READS
        if not reads and [origin.lower() for origin in origins] != [f"http://{hosts[0].lower()}"]:
            return 403, "only the page itself may do this; scripts use --control"
        if scope["path"] == "/enter" and reads:
            return None
        if not self._keys.known(headers.get("cookie", "")):
            return 401, "open the link that --web has printed, or ask for another on a page that is open already"
        return None
