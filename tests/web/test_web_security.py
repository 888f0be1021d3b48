"""Attacks on the control page of a real run: each is tried, none is let in."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from media import write_clip
from running import call, names, wait_for
from web_parts import PageRun, in_browser_of, page_run

pytest.importorskip("starlette", reason="the extra web is not installed")
sync = pytest.importorskip("websockets.sync.client")
exceptions = pytest.importorskip("websockets.exceptions")

ENDS = [("GET", "/"), ("GET", "/static/main.js"), ("GET", "/thumbnail?background=green"), ("POST", "/settings.toml"), ("POST", "/backgrounds"), ("POST", "/link")]
SOCKETS = ["/control", "/preview"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(192, 108), frames=12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[PageRun]:
    data = tmp_path_factory.mktemp("data")
    with page_run(clip, data, "--bg", "green", "--bg", "blur", "--log", data / "log") as running:
        yield running


@pytest.fixture(scope="module")
def cookie(run: PageRun) -> str:
    return run.enter()


def socket_refused(run: PageRun, path: str, headers: dict[str, str], origin: str | None) -> int:
    """The HTTP status that a WebSocket is refused with; fails where it is accepted."""
    with pytest.raises(exceptions.InvalidStatus) as refused, sync.connect(f"ws://{run.host}{path}", additional_headers=headers, origin=origin):
        pass
    status = refused.value.response.status_code
    assert isinstance(status, int)
    return status


def status_of(run: PageRun) -> dict[str, Any]:
    seen = len(run.events)
    wait_for(lambda: any(event["event"] == "status" for event in run.events[seen:]), 60)
    return next(event for event in reversed(run.events) if event["event"] == "status")


# --------------------------------------------------------------------------------------------------------------------
# Getting in


def test_the_link_works_once_and_its_cookie_cannot_be_read_by_scripts(run: PageRun, cookie: str) -> None:
    """``cookie`` has used it up."""
    query = run.link.partition("/enter")[2]
    again = run.ask("GET", f"/enter{query}")
    assert again.status == 401
    assert "set-cookie" not in again.headers
    link = run.ask("POST", "/link", in_browser_of(run, cookie)).json["link"]
    path = link.removeprefix(run.origin)
    assert run.ask("HEAD", path).status == 200  # a look at a link, as messengers take it, does not use it up
    answer = run.ask("GET", path)
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    assert b"token" not in answer.body
    assert run.ask("GET", path).status == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "%00", "%ff", "%C3%A9"])
def test_tokens_that_are_made_up(run: PageRun, token: str) -> None:
    answer = run.ask("GET", f"/enter?token={token}")
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("forged", ["", "1.x.y", "..", "x", "1795819616.AAAA." + "0" * 64, "9" * 500, "é"])
@pytest.mark.parametrize(("method", "path"), ENDS)
def test_nothing_is_served_without_the_cookie(run: PageRun, method: str, path: str, forged: str) -> None:
    """Not even with one that looks like it."""
    name = f"streammat-{run.host.rpartition(':')[2]}"
    headers = {"Origin": run.origin, **({"Cookie": f"{name}={forged}".encode().decode("latin-1")} if forged else {})}
    answer = run.ask(method, path, headers, b"" if method == "POST" else None)
    assert answer.status == 401
    assert b"<script" not in answer.body


def test_a_cookie_whose_signature_or_time_was_changed(run: PageRun, cookie: str) -> None:
    name, _, value = cookie.partition("=")
    time, random, signature = value.split(".")
    for changed in (f"{int(time) + 1}.{random}.{signature}", f"{time}.{random}x.{signature}", f"{time}.{random}.{signature[::-1]}", f"{time}.{random}"):
        assert run.ask("GET", "/", {"Cookie": f"{name}={changed}"}).status == 401
    assert run.ask("GET", "/", {"Cookie": cookie}).status == 200


@pytest.mark.parametrize("path", SOCKETS)
def test_sockets_need_the_cookie_too(run: PageRun, path: str) -> None:
    assert socket_refused(run, path, {}, run.origin) == 403


# --------------------------------------------------------------------------------------------------------------------
# Other sites in the same browser


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", "127.0.0.1:{port}@evil.example", "[::1].evil:{port}", ""])
def test_names_that_were_pointed_here(run: PageRun, cookie: str, host: str) -> None:
    """DNS rebinding: the browser has the attacker's name in ``Host``, and may well send a cookie."""
    host = host.format(port=run.host.rpartition(":")[2])
    for method, path in [*ENDS, ("GET", "/enter?token=x")]:
        answer = run.ask(method, path, {"Host": host, "Cookie": cookie, "Origin": f"http://{host}"}, b"" if method == "POST" else None)
        assert answer.status == 403, (method, path)
        assert "set-cookie" not in answer.headers


def test_the_names_of_this_machine_are_taken(run: PageRun, cookie: str) -> None:
    port = run.host.rpartition(":")[2]
    for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
        assert run.ask("GET", "/", {"Host": f"{name}:{port}", "Cookie": cookie}).status == 200


ORIGINS = [None, "null", "http://evil.example", "https://{host}", "http://{host}.evil.example", "http://{host}:1", "http://localhost:3000", "file://", ""]


@pytest.mark.parametrize("origin", ORIGINS)
def test_what_other_sites_send(run: PageRun, cookie: str, origin: str | None) -> None:
    """Requests that change something, with the cookie: as from a form, a script, or a frame in a sandbox."""
    headers = {"Cookie": cookie, **({} if origin is None else {"Origin": origin.format(host=run.host)})}
    for path in ("/backgrounds", "/link"):
        assert run.ask("POST", path, headers, b"").status == 403
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert run.ask(method, "/backgrounds", headers, b"").status == 403


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("origin", ORIGINS)
def test_sockets_of_other_sites(run: PageRun, cookie: str, path: str, origin: str | None) -> None:
    assert socket_refused(run, path, {"Cookie": cookie}, None if origin is None else origin.format(host=run.host)) == 403


def test_an_origin_of_another_allowed_name_is_another_site(run: PageRun, cookie: str) -> None:
    port = run.host.rpartition(":")[2]
    assert run.ask("POST", "/link", {"Cookie": cookie, "Origin": f"http://localhost:{port}"}, b"").status == 403


def test_what_every_answer_forbids(run: PageRun, cookie: str) -> None:
    for path, headers in (("/", {"Cookie": cookie}), ("/", {}), ("/none", {"Cookie": cookie}), ("/", {"Host": "evil.example"}), ("/static/main.js", {"Cookie": cookie})):
        found = run.ask("GET", path, headers).headers
        policy = found["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in found


def test_the_page_holds_no_inline_scripts_and_asks_nobody_else(run: PageRun, cookie: str) -> None:
    page = run.ask("GET", "/", {"Cookie": cookie}).body.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"\son\w+=|\sstyle=|javascript:", page) == []
    for name in {"main.js", *re.findall(r"/static/([\w.]+)", page)}:
        text = run.ask("GET", f"/static/{name}", {"Cookie": cookie}).body.decode()
        assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+", text.replace("http://www.w3.org/2000/svg", "")) == [], name


# --------------------------------------------------------------------------------------------------------------------
# Files


def test_files_of_this_machine_are_out_of_reach(run: PageRun, cookie: str, clip: Path) -> None:
    for path in ("/static/../server.py", "/static/..%2f..%2fserver.py", "/static/%2e%2e/security.py", "/../../etc/passwd", "/static/page.css/..", "/static/"):
        assert run.ask("GET", path, {"Cookie": cookie}).status == 404, path
    for name in ("/etc/passwd", str(clip), "blue", "../in.mp4", "%00"):
        assert run.ask("GET", f"/thumbnail?background={name}", {"Cookie": cookie}).status == 404, name
    assert command(run, cookie, {"command": "background", "value": str(clip)})["ok"] is False
    assert command(run, cookie, {"command": "background", "value": "/etc/passwd"})["error"] == command(run, cookie, {"command": "background", "value": "/none"})["error"]
    assert command(run, cookie, {"command": "background", "value": "transparent"})["ok"] is False
    assert command(run, cookie, {"command": "background", "value": "green"})["ok"] is True


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("body", [
    PLAYLIST, b"ffconcat version 1.0\nfile /etc/passwd\n", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", b"%PDF-1.4", b"GIF", b"",
    b"\x89PNG\r\n\x1a\n" + PLAYLIST, b"\xff\xd8\xff" + b"\0" * 100, b"\0\0\0\x18ftypisom" + PLAYLIST, b"\x1a\x45\xdf\xa3" + b"\0" * 64, b"II*\0" + b"\xff" * 64,
], ids=range(11))
def test_uploads_that_are_no_background(run: PageRun, cookie: str, body: bytes) -> None:
    """By content, whatever they claim to be; nothing is left of them, and what was shown is shown still."""
    before = status_of(run)["backgrounds"]
    answer = run.ask("POST", "/backgrounds", {**in_browser_of(run, cookie), "Content-Type": "image/png"}, body)
    assert answer.status == 400
    assert answer.json["ok"] is False
    assert "/tmp" not in answer.json["error"]
    assert status_of(run)["backgrounds"] == before
    assert [name for folder in folders(run) for name in names(folder)] == []


def test_uploads_lie_in_a_folder_of_the_run_under_names_of_ours(run: PageRun, cookie: str) -> None:
    import cv2
    import numpy as np

    data = cv2.imencode(".png", np.full((20, 30, 3), 200, np.uint8))[1].tobytes()
    for name in ("../../evil.png", "/etc/evil.png"):
        headers = {**in_browser_of(run, cookie), "Content-Disposition": f'attachment; filename="{name}"', "X-File-Name": name}
        shown = run.ask("POST", "/backgrounds", headers, data).json
        assert re.fullmatch(r"[0-9a-f]{16}\.png", Path(shown["background"]).name)
        assert stat.S_IMODE(os.stat(Path(shown["background"]).parent).st_mode) == 0o700
        assert run.ask("GET", f"/thumbnail?background={shown['background']}", {"Cookie": cookie}).headers["content-type"] == "image/jpeg"


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(run: PageRun, cookie: str) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    answer = run.ask("POST", "/backgrounds", in_browser_of(run, cookie), bomb)
    assert answer.status == 400
    assert "60000x60000" in answer.json["error"]


def test_uploads_that_are_too_large_are_refused_by_their_length_and_by_their_bytes(run: PageRun, cookie: str) -> None:
    claimed = run.ask("POST", "/backgrounds", {**in_browser_of(run, cookie), "Content-Length": str(1 << 40)})
    assert claimed.status == 400
    assert "MiB" in claimed.json["error"]


def folders(run: PageRun) -> list[Path]:
    """Folders for uploads that the run has open; there is none before the first file."""
    import tempfile

    return [path for path in Path(tempfile.gettempdir()).glob("streammat-web-*") if path.stat().st_ctime > os.stat(f"/proc/{run.process.pid}").st_ctime - 5 and not names(path)]


# --------------------------------------------------------------------------------------------------------------------
# Commands


def command(run: PageRun, cookie: str, *messages: dict[str, Any] | str) -> dict[str, Any]:
    """The answer to the last of these messages."""
    with sync.connect(f"ws://{run.host}/control", additional_headers={"Cookie": cookie}, origin=run.origin) as socket:
        for message in messages:
            socket.send(message if isinstance(message, str) else json.dumps(message))
        found = {}
        for _ in messages:
            while "ok" not in (found := json.loads(socket.recv(timeout=30))):
                pass
        return dict(found)


def test_the_room_takes_a_confirmation(run: PageRun, cookie: str) -> None:
    assert "confirm" in command(run, cookie, {"command": "pass-through", "value": True})["error"]
    assert status_of(run)["pass-through"] is False
    assert command(run, cookie, {"command": "pass-through", "value": True, "confirm": True, "id": 7}) == {
        "ok": True, "id": 7, **{key: status_of(run)[key] for key in ("background", "mirror", "paused")}, "pass-through": True,
    }
    assert command(run, cookie, {"command": "pass-through", "value": False})["pass-through"] is False


@pytest.mark.parametrize("line", ["", "{", "[" * 60_000, '{"command": "explode"}', '{"command": "blur", "value": NaN}', '{"command": "quality", "value": "x"}'])
def test_lines_that_are_no_commands_are_answered(run: PageRun, cookie: str, line: str) -> None:
    assert command(run, cookie, line)["ok"] is False


def test_messages_without_an_end_close_the_connection_and_nothing_else(run: PageRun, cookie: str) -> None:
    with sync.connect(f"ws://{run.host}/control", additional_headers={"Cookie": cookie}, origin=run.origin) as socket:
        socket.send("[" * 100_000)
        with pytest.raises(exceptions.ConnectionClosed):
            while True:
                socket.recv(timeout=30)
    assert command(run, cookie, {"command": "status"})["ok"] is True


def test_a_crowd_is_turned_away_and_gone_again(run: PageRun, cookie: str) -> None:
    headers = {"Cookie": cookie}
    with ExitStack() as sockets:
        for _ in range(16):
            sockets.enter_context(sync.connect(f"ws://{run.host}/preview", additional_headers=headers, origin=run.origin))
        assert socket_refused(run, "/preview", headers, run.origin) == 403
    wait_for(lambda: _accepted(run, headers))


def _accepted(run: PageRun, headers: dict[str, str]) -> bool:
    try:
        with sync.connect(f"ws://{run.host}/preview", additional_headers=headers, origin=run.origin):
            return True
    except exceptions.InvalidStatus:
        return False


# --------------------------------------------------------------------------------------------------------------------
# Starting


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.168.1.5:0", "example.com:80"])
def test_other_addresses_take_an_explicit_word(clip: Path, address: str) -> None:
    call("webcam", "--camera", clip, "--to", "null", "--web", address).refused(2, "--web-allow", "not encrypted")


@pytest.mark.parametrize("address", ["", "x", "localhost", "127.0.0.1:99999", "127.0.0.1:-1", ":", "127.0.0.1:²"])
def test_addresses_that_are_none(clip: Path, address: str) -> None:
    call("webcam", "--camera", clip, "--to", "null", "--web", address).refused(2, "--web")


def test_a_port_that_is_taken(run: PageRun, clip: Path) -> None:
    call("webcam", "--camera", clip, "--to", "null", "--web", run.host).refused(1, "--web", "another port")


def test_without_the_extra_it_says_what_to_install(clip: Path) -> None:
    code = "import sys; sys.modules['uvicorn'] = None\nfrom streammat.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "webcam", "--camera", str(clip), "--to", "null", "--web"], capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 2
    assert 'pip install "streammat[web]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_link_stands_in_no_log(run: PageRun, tmp_path_factory: pytest.TempPathFactory) -> None:
    logs = list(tmp_path_factory.getbasetemp().glob("data*/log"))
    assert logs
    assert all("token" not in log.read_text() for log in logs)


def test_another_run_with_another_key_does_not_know_the_cookie(run: PageRun, cookie: str, clip: Path, tmp_path: Path) -> None:
    """And the key of a run's cookies is for its user alone."""
    with page_run(clip, tmp_path, web="127.0.0.1:0") as other:
        value = cookie.partition("=")[2]
        name = f"streammat-{other.host.rpartition(':')[2]}"
        assert other.ask("GET", "/", {"Cookie": f"{name}={value}"}).status == 401
        assert stat.S_IMODE(os.stat(tmp_path / "streammat" / "web.key").st_mode) == 0o600
