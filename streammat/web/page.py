"""What the control page and the page of a batch share: a server's thread, its socket, links, access, the page's files."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from streammat.errors import OutputError, first_line
from streammat.live.control.listeners import Listener
from streammat.web.security import AccessTokens, Gate, parse_address

_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# A page of our own goes on to the next: a redirect would count as coming from wherever the link was clicked, and take no cookie
# along.
_ENTERED: Final = '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/"><title>streammat</title>'


class ServedPage(Listener):
    """Listens from construction, so that a port in use is reported early, and serves from ``start``.

    Args:
        address: as in ``--web``; port 0 takes any free one.
        allowed: further names and addresses of this machine for browsers.
        key_file: see ``security.AccessTokens``.
        index: name of the page's own file; all files lie under ``/static/``.
        routes: further routes.
        server: further options of ``uvicorn.Config``.

    Raises:
        UsageError: not an address, or one that others could reach without ``allowed``.
        OutputError: listening on the address fails.
    """

    def __init__(
        self, address: str, allowed: tuple[str, ...], key_file: Path | None, index: str, routes: Sequence[BaseRoute], **server: Any
    ) -> None:
        super().__init__("web")
        self._host, port = parse_address(address, allowed)
        self._socket = listening(address, self._host, port)
        self._port: int = self._socket.getsockname()[1]
        self._names = allowed
        self._keys = AccessTokens(key_file, self._port)
        self._index = index
        self._files = {
            each.name: each.read_bytes() for each in resources.files("streammat.web").joinpath("static").iterdir() if Path(each.name).suffix in _TYPES
        }
        own = [Route("/enter", self._enter), Route("/", self._page), Route("/static/{name}", self._file)]
        gate = Gate(Starlette(routes=[*own, *routes]), self._keys, self._port, allowed)
        self._server = uvicorn.Server(uvicorn.Config(
            gate, log_config=None, log_level="critical", access_log=False, lifespan="off", proxy_headers=False, server_header=False,
            timeout_keep_alive=10, timeout_graceful_shutdown=1, **server,
        ))  # fmt: skip

    def link(self) -> str:
        """Return a link that admits one browser, once."""
        name = self._names[0] if self._names else f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{name}:{self._port}/enter?token={self._keys.token()}"

    def close(self) -> None:
        """Close all connections; may be called twice."""
        self._server.should_exit = True
        super().close()
        self._socket.close()

    def _listen(self) -> None:
        self._server.run(sockets=[self._socket])

    async def _enter(self, request: Request) -> Response:
        """Answer a link: sets a cookie if its token is valid."""
        if request.method != "GET":  # a look at the link must not use it up
            return PlainTextResponse("")
        value = self._keys.enter(request.query_params.get("token", ""))
        if value is None:
            return PlainTextResponse("this link was used already, or is not of this run; ask for another on a page that is open, or start anew\n", 401)
        return HTMLResponse(_ENTERED, headers={"set-cookie": self._keys.set_cookie(value)})

    async def _page(self, request: Request) -> Response:
        del request
        return Response(self._files[self._index], media_type=_TYPES[".html"])

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            return PlainTextResponse("no such file\n", 404)
        return Response(self._files[name], media_type=_TYPES[Path(name).suffix])


def listening(address: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address of ``--web``.

    Raises:
        OutputError: listening fails.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        try:
            if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # on Windows it would let two programs listen
            made.bind(where)
            made.listen(64)
        except OSError:
            made.close()
            raise
    except (OSError, UnicodeError) as error:
        raise OutputError(f"--web {address}: cannot be listened on ({first_line(error)}); give another port, or end what uses it") from error
    return made
