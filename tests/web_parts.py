"""A live run with its control page, and browsers made of sockets that send whatever a test wants."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from running import QUICK, spawn, wait_for


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass
class PageRun:
    """A run in a process of its own."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    def event(self, name: str) -> dict[str, Any]:
        """The first event of that name; waited for."""
        wait_for(lambda: any(event["event"] == name for event in self.events) or self.process.poll() is not None, 60)
        return next(event for event in self.events if event["event"] == name)

    @property
    def link(self) -> str:
        found = self.event("page")["link"]
        assert isinstance(found, str)
        return found

    @property
    def origin(self) -> str:
        return f"http://{urlsplit(self.link).netloc}"

    @property
    def host(self) -> str:
        return urlsplit(self.link).netloc

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        """One request with these headers and no others but ``Host`` and ``Content-Length``."""
        host, _, port = self.host.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            given = {"Host": self.host, **(headers or {})}
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if body is not None and "Content-Length" not in given:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def enter(self, link: str | None = None) -> str:
        """Use up a link; the ``Cookie`` header that comes of it."""
        parts = urlsplit(link or self.link)
        answer = self.ask("GET", f"{parts.path}?{parts.query}")
        assert answer.status == 200, answer.body
        return answer.headers["set-cookie"].partition(";")[0]


@contextmanager
def page_run(camera: Path, data: Path, *arguments: str | Path, web: str = "127.0.0.1:0", outputs: tuple[str, ...] = ("--to", "null")) -> Iterator[PageRun]:
    """A run on a file as the camera that ends with the block; ``data`` holds the key of its cookies."""
    with spawn(
        "webcam", "--camera", camera, "--loop", *QUICK, "--json", *outputs, "--web", web, *arguments, environment={"XDG_DATA_HOME": str(data)},
    ) as process:
        run = PageRun(process)

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                run.events.append(json.loads(line))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield run
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            reader.join(10)
    assert process.returncode == 143, (process.returncode, process.stderr.read() if process.stderr and not process.stderr.closed else "")


def in_browser_of(run: PageRun, cookie: str) -> dict[str, str]:
    """The headers of a request that the page makes itself."""
    return {"Cookie": cookie, "Origin": run.origin}
