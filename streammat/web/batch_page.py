"""The page that shows a batch at work: a table that is refreshed once a second, with the same access control as the control page.

=======================  ==============================================================
``GET /enter?token=…``   gives the cookie for a token of ``security.AccessTokens``
``GET /``                the page; its parts lie under ``/static/``
``GET /state``           the state of `streammat.cli.batch_table.Board`, as JSON
=======================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streammat.web.page import ServedPage


class BatchPage(ServedPage):
    """The page of a batch.

    Args:
        address: as `ServedPage` takes it; likewise ``allowed``.
        state: returns the table as JSON values; called in the page's thread.
    """

    def __init__(self, address: str, allowed: tuple[str, ...], state: Callable[[], dict[str, Any]]) -> None:
        self._state = state
        super().__init__(address, allowed, None, "batch.html", [Route("/state", self._told)], ws="none", limit_concurrency=128)

    async def _told(self, request: Request) -> Response:
        del request
        return JSONResponse(self._state())
