"""The control page's server: a separate thread beside the live run, which it never delays.

=======================  ===============================================================================================
``GET /enter?token=…``   gives the cookie for a token of ``security.AccessTokens``
``GET /``                the page; its parts lie under ``/static/``
``GET /thumbnail``       ``?background=TEXT``: a small image of a background of the list
``POST /settings.toml``  what is set now, for ``--config``; backgrounds that were sent are copied to where they outlive the run
``POST /backgrounds``    an image or a clip as the body: it joins the list and is shown
``POST /link``           a link for another browser
``WebSocket /control``   commands and events, as ``streammat.live.control.commands`` has them, a JSON object a message
``WebSocket /preview``   each message of a client, a width in pixels, is answered with one image: see ``streammat.web.preview``
=======================  ===============================================================================================
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import av
import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from streammat.compositing.backgrounds import BackgroundSpec, can_only_be_file, open_background
from streammat.errors import StreammatError, UsageError, first_line
from streammat.live.control.commands import LONGEST_LINE, Command, Target, answer
from streammat.live.events import Events
from streammat.live.fallback import OutputFrame
from streammat.media.frame import Colour, Frame, Matte, layout_of, planes_of
from streammat.threads.scheduling import give_way
from streammat.web.page import ServedPage
from streammat.web.preview import MOST_PER_SECOND, Pace, PreviewEncoder, Tap, jpeg_of
from streammat.web.uploads import MOST_BYTES, Uploads

_MOST_CLIENTS: Final = 16
"""Most open pages, each with two connections."""
_UPLOAD_SECONDS: Final = 120.0
_WAITING: Final = 256
"""Events buffered for a slow page; the oldest are dropped first."""
_THUMBNAIL: Final = (90, 160)


class Steered(Target, Protocol):
    """Protocol of the live run that the page controls."""

    def backgrounds(self) -> list[str]:
        """Return the list of backgrounds, as the user wrote it."""
        ...

    def background_of(self, text: str) -> BackgroundSpec:
        """Return a background of the list; UsageError if it is none."""
        ...


class ControlPage(ServedPage):
    """The control page of a live run.

    Args:
        address: as in ``--web``; port 0 takes any free one.
        allowed: further names and addresses of this machine for browsers.
        target: the live run.
        events: sent to every page.
        key_file: see ``security.AccessTokens``.

    Raises:
        UsageError: not an address, or one that others could reach without ``allowed``.
        OutputError: listening on the address fails.
    """

    def __init__(self, address: str, allowed: tuple[str, ...], target: Steered, events: Events, key_file: Path | None) -> None:
        routes = [
            Route("/thumbnail", self._thumbnail), Route("/settings.toml", self._settings, methods=["POST"]),
            Route("/backgrounds", self._upload, methods=["POST"]), Route("/link", self._link, methods=["POST"]),
            WebSocketRoute("/control", self._control), WebSocketRoute("/preview", self._preview),
        ]
        super().__init__(
            address, allowed, key_file, "index.html", routes, ws="websockets-sansio", ws_max_size=LONGEST_LINE,
            ws_per_message_deflate=False,  # JPEGs get no smaller
            limit_concurrency=8 * _MOST_CLIENTS,
        )
        self._target = target
        self._events = events
        self.tap = Tap()
        """The tap to call with each shown image."""
        self._kept = None if key_file is None else key_file.parent / "backgrounds"
        self._uploads = Uploads()
        self._encode = PreviewEncoder()
        self._encoding = ThreadPoolExecutor(1, "streammat-web-encode", give_way)
        self._commands = ThreadPoolExecutor(2, "streammat-web-command")
        self._clients = {"control": 0, "preview": 0}
        self._thumbnails: dict[str, bytes] = {}

    def kept(self, background: str) -> str:
        """Return a background that outlives the run: a file that a page has sent is copied into the user's data folder.

        Raises:
            OutputError: it cannot be copied.
        """
        return background if self._kept is None else str(self._uploads.keep(Path(background), self._kept)) if can_only_be_file(background) else background

    def close(self) -> None:
        """Close all connections; may be called twice."""
        self.tap.close()
        super().close()
        for pool in (self._encoding, self._commands):
            pool.shutdown(wait=False, cancel_futures=True)
        self._uploads.close()

    def _listen(self) -> None:
        give_way()
        super()._listen()

    # -- pages and files ----------------------------------------------------------------------------------------

    async def _link(self, request: Request) -> Response:
        del request
        return JSONResponse({"link": self.link()})

    async def _settings(self, request: Request) -> Response:
        del request
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._commands, self._target.obey, Command("settings"))
        except StreammatError as error:
            return PlainTextResponse(f"{error}\n", 507)
        return PlainTextResponse(found["toml"], headers={"content-disposition": 'attachment; filename="streammat.toml"'})

    async def _thumbnail(self, request: Request) -> Response:
        text = request.query_params.get("background", "")
        if text not in self._target.backgrounds():
            return PlainTextResponse("no background of the list\n", 404)
        if text not in self._thumbnails:
            try:
                made = await asyncio.get_running_loop().run_in_executor(self._encoding, thumbnail, self._target.background_of(text))
            except StreammatError as error:
                return PlainTextResponse(f"{error}\n", 404)
            if len(self._thumbnails) >= 4 * _MOST_CLIENTS:
                self._thumbnails.clear()
            self._thumbnails[text] = made
        return Response(self._thumbnails[text], media_type="image/jpeg")

    async def _upload(self, request: Request) -> Response:
        length = request.headers.get("content-length", "0")
        try:
            if length.isdigit() and int(length) > MOST_BYTES:
                raise UsageError(f"the file is larger than {MOST_BYTES >> 20} MiB; expected a smaller one: give it with --bg")
            async with asyncio.timeout(_UPLOAD_SECONDS):
                path = await self._uploads.save(request.stream())
        except UsageError as error:
            return JSONResponse({"ok": False, "error": str(error)}, 400, {"connection": "close"})
        except (TimeoutError, ClientDisconnect):
            return JSONResponse({"ok": False, "error": f"the file took longer than {_UPLOAD_SECONDS:.0f} s; expected a smaller one"}, 408, {"connection": "close"})
        except OSError as error:
            return JSONResponse({"ok": False, "error": f"the file cannot be kept ({first_line(error)}); make room in the folder for temporary files"}, 507)
        show = partial(self._target.obey, Command("background", str(path)))
        try:
            shown = await asyncio.get_running_loop().run_in_executor(self._commands, show)
        except Exception as error:  # noqa: BLE001 - whatever the decoder makes of it, the page is told
            self._uploads.drop(path)
            return JSONResponse({"ok": False, "error": str(error).replace(str(path), path.name)}, 400)
        return JSONResponse({"ok": True, **shown})

    # -- connections that last ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _accepted(self, client: WebSocket, kind: str) -> AsyncIterator[bool]:
        """Accept a connection, unless there are too many of its kind."""
        if self._clients[kind] >= _MOST_CLIENTS:
            await client.close(1013, "too many pages are open")
            yield False
            return
        self._clients[kind] += 1
        try:
            await client.accept()
            with suppress(WebSocketDisconnect):
                yield True
        finally:
            self._clients[kind] -= 1

    async def _control(self, client: WebSocket) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        def wait(message: dict[str, Any]) -> None:
            if waiting.qsize() >= _WAITING:
                waiting.get_nowait()
            waiting.put_nowait(message)

        def hear(message: dict[str, Any]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(wait, message)

        async def send() -> None:
            while True:
                await client.send_text(json.dumps(await waiting.get()))

        async with self._accepted(client, "control") as taken:
            if not taken:
                return
            for message in self._events.subscribe(hear):
                await client.send_text(json.dumps(message))
            sending = asyncio.create_task(send())
            try:
                while not sending.done():
                    wait(await self._obeyed(await client.receive_text()))
            finally:
                self._events.unsubscribe(hear)
                sending.cancel()
                with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                    await sending

    async def _obeyed(self, line: str) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(self._commands, answer, _FromPage(self._target), line)

    async def _preview(self, client: WebSocket) -> None:
        loop = asyncio.get_running_loop()
        pace, sent = Pace(), 0.0
        async with self._accepted(client, "preview") as taken:
            while taken:
                wanted = await client.receive_text()
                now = time.monotonic()
                if sent:
                    pace.answered(now - sent)
                await asyncio.sleep(max(0.0, sent + 1 / MOST_PER_SECOND - now))
                shown = await self._next(loop)
                if shown is None:
                    return
                width = pace.width(int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else 0)
                message = await loop.run_in_executor(self._encoding, self._encode, shown, width)
                del shown  # not held while the client draws
                sent = time.monotonic()
                await client.send_bytes(message)

    async def _next(self, loop: asyncio.AbstractEventLoop) -> OutputFrame | None:
        """Return the next shown image; None at the end of the run."""
        coming: asyncio.Future[OutputFrame | None] = loop.create_future()

        def set_it(shown: OutputFrame | None) -> None:
            if not coming.done():
                coming.set_result(shown)

        def take(shown: OutputFrame | None) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(set_it, shown)

        self.tap.ask(take)
        return await coming


class _FromPage:
    """The live run as pages may use it: they cannot name files of this machine."""

    def __init__(self, target: Steered) -> None:
        self._target = target

    def obey(self, command: Command) -> dict[str, Any]:
        """Execute a command as the target does, but refuse files that are not in the list of backgrounds."""
        if command.name == "events":
            return {}  # every page is told them anyway
        if command.name == "background" and command.value not in self._target.backgrounds() and can_only_be_file(command.value):
            raise UsageError("a page may choose a background of the list, a colour or a blur; drop a file on the page to add it")
        return self._target.obey(command)


def thumbnail(spec: BackgroundSpec) -> bytes:
    """Return a small JPEG of a background that is not a blur.

    Raises:
        StreammatError: it is a blur, or can no longer be read.
    """
    if spec.kind in ("blur", "transparent"):
        raise UsageError(f"{spec.kind}: cannot be previewed; expected a colour, an image or a clip")
    layout = layout_of("yuv420p")
    assert layout is not None
    height, width = _THUMBNAIL
    image = av.VideoFrame(width, height, layout.name)
    frame = Frame(image, layout, Colour(5, 1, 1, 1), 0, Fraction(1, 1000), 0, 0, planes_of(image, layout))
    background = open_background(spec)
    try:
        for target, plane in zip(frame.planes, background.planes(frame, Matte(np.zeros(frame.size, np.uint8))), strict=True):
            target[:] = plane
    finally:
        background.close()
    return jpeg_of(frame, width)
