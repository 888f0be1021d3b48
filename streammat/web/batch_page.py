"""The page that shows a batch at work: a table that is refreshed once a second, with the same access control as the control page.

=======================  ==============================================================
``GET /enter?token=…``   gives the cookie for a token of ``security.AccessTokens``
``GET /``                the page; its parts lie under ``/static/``
``GET /state``           the state of `streammat.cli.batch_table.Board`, as JSON
=======================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from streammat.live.control.listeners import Listener
from streammat.web.security import AccessTokens, Gate, parse_address
from streammat.web.server import entered, listening

_FILES: Final = {"batch.html": "text/html", "batch.js": "text/javascript", "batch.css": "text/css", "icon.svg": "image/svg+xml"}


class BatchPage(Listener):
    """Listens from construction, so that a port in use is reported early, and serves from ``start``.

    Args:
        address: as in ``--web``; port 0 takes any free one.
        allowed: further names and addresses of this machine for browsers.
        state: returns the table as JSON values; called in the page's thread.

    Raises:
        UsageError: not an address, or one that others could reach without ``allowed``.
        OutputError: listening on the address fails.
    """

    def __init__(self, address: str, allowed: tuple[str, ...], state: Callable[[], dict[str, Any]]) -> None:
        super().__init__("web")
        self._host, port = parse_address(address, allowed)
        self._socket = listening(address, self._host, port)
        self._port: int = self._socket.getsockname()[1]
        self._names = allowed
        self._state = state
        self._keys = AccessTokens(None, self._port)
        static = resources.files("streammat.web").joinpath("static")
        self._files = {name: static.joinpath(name).read_bytes() for name in _FILES}
        routes = [Route("/enter", self._enter), Route("/", self._page), Route("/static/{name}", self._file), Route("/state", self._told)]
        gate = Gate(Starlette(routes=routes), self._keys, self._port, allowed)
        self._server = uvicorn.Server(uvicorn.Config(
            gate, log_config=None, log_level="critical", access_log=False, lifespan="off", ws="none", proxy_headers=False, server_header=False,
            limit_concurrency=128, timeout_keep_alive=10, timeout_graceful_shutdown=1,
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
        return entered(request, self._keys)

    async def _page(self, request: Request) -> Response:
        del request
        return Response(self._files["batch.html"], media_type="text/html")

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            return PlainTextResponse("no such file\n", 404)
        return Response(self._files[name], media_type=_FILES[name])

    async def _told(self, request: Request) -> Response:
        del request
        return JSONResponse(self._state())
