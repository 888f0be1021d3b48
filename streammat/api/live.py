"""Live video in the Python API."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self, Unpack

from streammat.api.inputs import background_of, options_of
from streammat.api.keywords import LiveKeywords
from streammat.build_options import build
from streammat.config import LiveOptions
from streammat.errors import UsageError, shortened

if TYPE_CHECKING:
    from streammat.events import Event
    from streammat.live.control.commands import CommandName
    from streammat.stats import LiveReport


class LiveSession:
    """A live run in its own threads: reads a camera and shows its subject on another background.

        session = streammat.LiveSession(backgrounds=("beach.jpg",), outputs=("camera",))
        session.start()
        for event in session.events():
            print(event)

    The constructor opens and checks everything. `streammat.config.LiveOptions` has the options; docs/live.md the events and
    commands.

    Args:
        options: the fields of `streammat.config.LiveOptions` and of its groups as keyword arguments; backgrounds may be arrays, too.

    Raises:
        StreammatError: the camera, an output or the network cannot be opened, or an option is wrong; nothing has been shown then.
    """

    def __init__(self, **options: Unpack[LiveKeywords]) -> None:
        from streammat.jobs.live import LiveRun

        self._events: queue.Queue[Event | None] = queue.Queue(maxsize=1000)
        given = options_of(options)
        if (one := given.pop("background", None)) is not None:
            if "backgrounds" in given:
                raise UsageError("background and backgrounds are both given; expected one of them")
            given["backgrounds"] = (one,)
        if isinstance(given.get("camera"), Integral) and not isinstance(given["camera"], bool):
            given["camera"] = str(given["camera"])
        self._run = LiveRun(build(LiveOptions, given), self._emit)
        self._thread: threading.Thread | None = None
        self._report: LiveReport | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Start the run; returns at once.

        Raises:
            UsageError: the session was started before.
        """
        if self._thread is not None:
            raise UsageError("this LiveSession was started before; make another one")
        self._thread = threading.Thread(target=self._body, name="streammat-session", daemon=True)
        self._thread.start()

    def stop(self) -> LiveReport | None:
        """End the run cleanly and wait until it has ended.

        Returns:
            The `LiveReport` of the run; None where it was never started.

        Raises:
            StreammatError: the source or an output failed for good; recordings hold what was shown until then.
        """
        self._run.stop()
        return self.wait()

    def wait(self, timeout: float | None = None) -> LiveReport | None:
        """Wait until the run ends by itself, at most ``timeout`` seconds; returns what `stop` returns, None while the run goes on."""
        if self._thread is None:
            return None
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return self._report

    def events(self) -> Iterator[Event]:
        """Yield the run's events until it ends: a `streammat.events.Status` once a second and others as they come. The oldest are
        dropped while nobody reads them.
        """
        while (event := self._events.get()) is not None:
            yield event

    def command(self, name: CommandName, value: Any = None, *, confirm: bool = False) -> dict[str, Any]:
        """Steer the run while it goes on.

        Args:
            name: the command; docs/live.md lists them.
            value: its argument; of ``background`` also a path, a colour or an array, as the options take them.
            confirm: needed for ``pass-through``, which shows the camera's own image.

        Returns:
            The run's state after the command.

        Raises:
            UsageError: no such command or value.
        """
        from streammat.live.control.commands import Command, parse_command

        if name == "background" and not isinstance(value, str):
            return self._run.obey(Command(name, background_of("background", value)))
        try:
            line = json.dumps({"command": name, "value": value, "confirm": confirm})
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{name}: value is {shortened(repr(value))}; expected what JSON can hold") from error
        return self._run.obey(parse_command(line))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _emit(self, event: Event) -> None:
        while True:
            try:
                self._events.put_nowait(event)
            except queue.Full:
                try:
                    self._events.get_nowait()
                except queue.Empty:
                    continue
            else:
                return

    def _body(self) -> None:
        try:
            self._report = self._run.run()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._error = error
        finally:
            if self._events.full():
                self._events.get_nowait()
            self._events.put(None)
