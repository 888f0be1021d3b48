"""Control of a live run: keys, and JSON lines on stdin or a unix socket for scripts and stream decks.

Requests and answers are those of ``streammat.live.control.commands``, one on each line. After ``{"command": "events"}`` a socket is
sent each event of the run, too. The control page (``streammat.web``) speaks the same over a WebSocket.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from queue import Empty, Full, Queue
from typing import IO, Any, Final

from streammat.errors import OutputError, UsageError
from streammat.live.control.commands import LONGEST_LINE, Command, CommandName, Target, answer, error_line
from streammat.live.events import Events

KEYS: Final[dict[str, tuple[CommandName, int | None]]] = {
    "n": ("next", None), "b": ("previous", None), "+": ("blur", 10), "=": ("blur", 10), "-": ("blur", -10),
    "m": ("mirror", None), "s": ("mute", None), "p": ("pause", None), " ": ("pause", None), "q": ("quit", None), "\x1b": ("quit", None),
}
KEYS_HELP: Final = "keys: n/b background, +/- blur, m mirror, s sound off/on, p pause, r show the room (then y), q quit"
_CONFIRM_SECONDS: Final = 5.0
_WAITING: Final = 256
"""Events buffered for a program that reads slowly; the oldest are dropped first."""
_MOST_CLIENTS: Final = 32
_TOO_LONG: Final = {"ok": False, "error": f"a line of more than {LONGEST_LINE} bytes; expected a short JSON object"}
# The system is out of descriptors; connected programs will release some.
_FOR_NOW: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)


class KeyCommands:
    """Single keys as commands; pass-through takes ``r`` and then ``y`` within five seconds.

    Args:
        target: the live run.
        say: called with one line for people after each key.
    """

    def __init__(self, target: Target, say: Callable[[str], None]) -> None:
        self._target = target
        self._say = say
        self._asked_at: float | None = None

    def press(self, key: str) -> None:
        """Execute the command of a key; unknown keys do nothing."""
        asked, self._asked_at = self._asked_at, None
        confirmed = asked is not None and key.lower() == "y" and time.monotonic() - asked < _CONFIRM_SECONDS
        if key.lower() == "r":
            self._asked_at = time.monotonic()
            self._say("show the room as it is, or hide it again? press y")
        elif confirmed:
            self._obey(Command("pass-through", None, confirm=True))
        elif key.lower() in KEYS:
            name, value = KEYS[key.lower()]
            self._obey(Command(name, value))

    def _obey(self, command: Command) -> None:
        try:
            now = self._target.obey(command)
        except Exception as error:  # noqa: BLE001 - the next key is obeyed
            self._say(error_line(error))
            return
        self._say(", ".join(f"{name} {value}" for name, value in now.items() if name != "status") or command.name)


class Listener(ABC):
    """Base class: waits for commands in its own thread, and never delays the end of the run."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"streammat-{name}", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    @abstractmethod
    def _listen(self) -> None:
        """Wait for commands until ``_stopping`` is set."""


class SocketListener(Listener):
    """Reads JSON lines from a unix socket that only this user may open; up to 32 programs at once.

    Args:
        path: of the socket.
        target: the live run.
        events: sent to the programs that subscribe to them.

    Raises:
        UsageError: this system has no unix sockets, or the path is in use.
        OutputError: the socket cannot be made.
    """

    def __init__(self, path: str, target: Target, events: Events | None = None) -> None:
        super().__init__("control")
        self._path = path
        self._target = target
        self._events = events
        if not hasattr(socket, "AF_UNIX"):
            raise UsageError("--control: this system has no unix sockets; use --control - for stdin")
        _make_way(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            self._socket.bind(path)
            self._socket.listen(8)
        except OSError as error:
            self._socket.close()
            raise OutputError(f"--control {path}: cannot be made ({error.strerror}); check that the folder exists, and a path of under 100 letters") from error
        finally:
            os.umask(mask)
        self._socket.settimeout(0.2)

    def close(self) -> None:
        """Stop listening and remove the socket."""
        super().close()
        self._socket.close()
        with suppress(OSError):
            os.unlink(self._path)

    def _listen(self) -> None:
        clients: list[threading.Thread] = []
        while not self._stopping.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno not in _FOR_NOW:
                    break
                self._stopping.wait(0.2)
                continue
            clients = [thread for thread in clients if thread.is_alive()]
            if len(clients) >= _MOST_CLIENTS:
                _turn_away(client)
                continue
            clients.append(threading.Thread(target=self._serve, args=(client,), name="streammat-control-client", daemon=True))
            clients[-1].start()
        for thread in clients:
            thread.join(1.0)

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(0.2)
        pending = b""
        with client, suppress(OSError), ExitStack() as undo:
            connection = _Connection(client, self._target, self._events)
            undo.callback(connection.close)
            while not self._stopping.is_set() and not connection.broken:
                try:
                    data = client.recv(4096)
                except TimeoutError:
                    continue
                if not data:
                    return
                if len(pending) > LONGEST_LINE:
                    connection.send(_TOO_LONG)
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        connection.send(answer(connection, line.decode("utf-8", "replace")))


class _Connection:
    """One program on the socket: executes its commands, and sends it events if it subscribes."""

    def __init__(self, client: socket.socket, target: Target, events: Events | None) -> None:
        self._client = client
        self._target = target
        self._events = events
        self._lock = threading.Lock()
        self._waiting: Queue[dict[str, Any]] = Queue(_WAITING)
        self._telling: threading.Thread | None = None
        self._ended = False
        self.broken = False
        """True if the program does not read its events."""

    def obey(self, command: Command) -> dict[str, Any]:
        """Execute a command as ``Target.obey`` does; also handles ``events``, which only a connection has."""
        if command.name != "events" or self._events is None:
            return self._target.obey(command)
        if self._telling is None:
            self._telling = threading.Thread(target=self._tell, name="streammat-control-events", daemon=True)
            self._events.subscribe(self._hear)
            self._telling.start()
        return {}

    def send(self, message: dict[str, Any]) -> None:
        """Send one whole line; thread-safe."""
        with self._lock:
            self._client.sendall(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Send no more events."""
        self._ended = True
        if self._telling is not None and self._events is not None:
            self._events.unsubscribe(self._hear)
            self._telling.join(1.0)

    def _hear(self, message: dict[str, Any]) -> None:
        while True:
            try:
                self._waiting.put_nowait(message)
            except Full:
                with suppress(Empty):
                    self._waiting.get_nowait()
            else:
                return

    def _tell(self) -> None:
        while not self._ended:
            try:
                message = self._waiting.get(timeout=0.1)
            except Empty:
                continue
            try:
                self.send(message)
            except OSError:  # a part of a line may have gone out: there is no way on
                self.broken = True
                return


class StdinListener(Listener):
    """Reads JSON lines from stdin; answers go to ``reply``. The end of stdin does not end the run."""

    def __init__(self, stream: IO[bytes], target: Target, reply: Callable[[dict[str, Any]], None]) -> None:
        super().__init__("control")
        self._stream = stream
        self._target = target
        self._reply = reply

    def _listen(self) -> None:
        pending = b""
        for data in _bytes(self._stream, self._stopping):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if line.strip():
                    self._reply(answer(self._target, line.decode("utf-8", "replace")))
            if len(pending) > LONGEST_LINE:
                self._reply(_TOO_LONG)
                pending = b""


class KeyListener(Listener):
    """Reads single keys from the terminal on stdin, if there is one (not on Windows, where the preview takes keys)."""

    def __init__(self, stream: IO[bytes], keys: KeyCommands) -> None:
        super().__init__("keys")
        self._stream = stream
        self._keys = keys
        self._found: list[Any] | None = None

    def restore(self) -> None:
        """Restore the terminal's settings at once; from any thread."""
        if self._found is not None:
            import termios

            with suppress(termios.error):
                # At once, because the call would wait for a stopped terminal.
                termios.tcsetattr(self._stream.fileno(), termios.TCSANOW, self._found)

    def _listen(self) -> None:
        """Read keys unbuffered and without echo; Ctrl-C keeps its meaning."""
        import termios
        import tty

        descriptor = self._stream.fileno()
        self._found = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor, termios.TCSANOW)
            for data in _bytes(self._stream, self._stopping):
                for key in data.decode("utf-8", "ignore"):
                    self._keys.press(key)
        finally:
            self.restore()


def _turn_away(client: socket.socket) -> None:
    client.settimeout(0.2)
    with client, suppress(OSError):
        client.sendall(json.dumps({"ok": False, "error": f"{_MOST_CLIENTS} programs are connected; wait until one is done"}).encode() + b"\n")


def has_keys(stream: IO[Any]) -> bool:
    """Return whether single keys can be read from ``stream``: a terminal with this process in the foreground."""
    if sys.platform == "win32" or stream.closed or not stream.isatty():
        return False
    with suppress(OSError):
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()  # reading in the background would stop the process
    return False


def _bytes(stream: IO[bytes], stopping: threading.Event) -> Iterator[bytes]:
    """Yield chunks as they come, until the end of the stream or of the run."""
    if sys.platform == "win32":
        # select takes no pipes there: a line at a time, in a thread that nobody waits for.
        yield from stream
        return
    import select

    descriptor = stream.fileno()
    while not stopping.is_set():
        ready, _, _ = select.select([descriptor], [], [], 0.2)
        if ready:
            data = os.read(descriptor, 4096)
            if not data:
                return
            yield data


def _make_way(path: str) -> None:
    """Remove a stale socket.

    Raises:
        UsageError: the path is not a socket, or another run is listening.
    """
    if not os.path.lexists(path):
        return
    # Connecting to an ordinary file is refused, too, and that one is not ours to remove.
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise UsageError(f"--control {path}: is there already and is no socket; give another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise UsageError(f"--control {path}: cannot be opened ({error.strerror}); give another path") from error
    raise UsageError(f"--control {path}: another run listens there; give another path")
