"""Steering: parsing, keys, stdin and the socket, against a target that only remembers."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from running import wait_for

from streammat.config import CompositeOptions
from streammat.errors import OutputError, UsageError
from streammat.live.background_switcher import BackgroundSwitcher
from streammat.live.control.commands import Command, answer, parse_command
from streammat.live.control.listeners import KeyCommands, SocketListener, StdinListener


class Target:
    def __init__(self) -> None:
        self.got: list[Command] = []

    def obey(self, command: Command) -> dict[str, Any]:
        self.got.append(command)
        if command.name == "blur":
            raise UsageError("no blur\nhere")
        return {"background": "green"}


def test_commands() -> None:
    assert parse_command('{"command": "next"}') == Command("next")
    assert parse_command('{"command": "blur", "value": -10}') == Command("blur", -10)
    assert parse_command('{"command": "background", "value": "beach.jpg"}') == Command("background", "beach.jpg")
    assert parse_command('{"command": "pass-through", "value": true, "confirm": true}') == Command("pass-through", True, True)


@pytest.mark.parametrize("line", [
    "next", "[]", "{}", '"next"', '{"command": "explode"}', '{"command": ["next"]}', '{"command": "blur"}', '{"command": "blur", "value": true}',
    '{"command": "background", "value": 3}', '{"command": "pause", "value": "yes"}', '{"command": "pass-through", "confirm": "true"}', "{" * 5000,
    "[" * 60_000, f'{{"command": "blur", "value": {"9" * 400}}}', f'{{"command": "blur", "value": {"9" * 5000}}}',
    '{"command": "blur", "value": NaN}', '{"command": "blur", "value": -Infinity}', f'{{"command": "{"x" * 50_000}"}}',
])
def test_what_is_no_command_is_answered_in_one_line(line: str) -> None:
    target = Target()
    reply = answer(target, line)
    assert reply["ok"] is False
    assert "\n" not in reply["error"]
    assert len(reply["error"]) < 300
    assert not target.got


def test_a_command_that_cannot_be_done_is_answered() -> None:
    assert answer(Target(), '{"command": "blur", "value": 5}') == {"ok": False, "error": "no blur here"}


def test_keys_and_that_the_room_takes_two() -> None:
    target, said = Target(), []
    keys = KeyCommands(target, said.append)
    for key in "n?+ryxry":
        keys.press(key)
    passed = [command for command in target.got if command.name == "pass-through"]
    assert [command.name for command in target.got] == ["next", "blur", "pass-through", "pass-through"]
    assert all(command.confirm for command in passed)
    target.got.clear()
    for key in "yrny":  # y alone, and r that something else follows
        keys.press(key)
    assert [command.name for command in target.got] == ["next"]


def test_stdin(tmp_path: Path) -> None:
    target, replies = Target(), []
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as stream:
        listener = StdinListener(stream, target, replies.append)
        listener.start()
        os.write(writer, b'{"command": "ne')
        os.write(writer, b'xt"}\n\nnonsense\n')
        wait_for(lambda: len(replies) == 2)
        os.close(writer)
        listener.close()
    assert [reply["ok"] for reply in replies] == [True, False]


def test_socket(tmp_path: Path) -> None:
    path, target = str(tmp_path / "s"), Target()
    listener = SocketListener(path, target)
    listener.start()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    replies = []
    for _ in range(2):  # one after the other, each with two requests
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            lines = client.makefile("rwb")
            for line in (b'{"command": "next"}\n', b"\xff\xfe\n"):
                lines.write(line)
                lines.flush()
                replies.append(json.loads(lines.readline())["ok"])
            lines.close()
    assert replies == [True, False, True, False]
    with pytest.raises(UsageError, match="another run"):
        SocketListener(path, target)
    listener.close()
    listener.close()
    assert not os.path.exists(path)


def test_one_without_an_end_is_answered_and_the_next_obeyed(tmp_path: Path) -> None:
    """On a socket, where the connection ends, and on stdin, which goes on."""
    path, target, replies = str(tmp_path / "s"), Target(), []
    listener = SocketListener(path, target)
    listener.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"[" * 70_000)
        assert "65536" in json.loads(client.makefile("rb").readline())["error"]
    listener.close()
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as stream:
        listener = StdinListener(stream, target, replies.append)
        listener.start()
        os.write(writer, b"[" * 70_000)
        wait_for(lambda: len(replies) == 1)
        os.write(writer, b'\n{"command": "next"}\n')
        wait_for(lambda: len(replies) == 3 or replies[-1]["ok"])
        os.close(writer)
        listener.close()
    assert "65536" in replies[0]["error"]
    assert replies[-1]["ok"] is True


def test_a_fault_that_nobody_meant_is_answered() -> None:
    """As a name that is too long for the system is."""

    class Long:
        def obey(self, command: Command) -> dict[str, Any]:
            return {"size": os.stat(command.value).st_size}

    reply = answer(Long(), json.dumps({"command": "background", "value": "x" * 5000}))
    assert reply["ok"] is False
    assert "name too long" in reply["error"]


def test_a_crowd_and_descriptors_that_are_used_up_end_nothing(tmp_path: Path) -> None:
    """Whoever comes after is obeyed again."""
    import resource

    def ask(client: socket.socket) -> dict[str, Any]:
        client.sendall(b'{"command": "next"}\n')
        with client.makefile("rb") as lines:
            return json.loads(lines.readline())

    path = str(tmp_path / "s")
    listener = SocketListener(path, Target())
    listener.start()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(60)]
    for client in crowd[:32]:
        client.connect(path)
        assert ask(client)["ok"]
    crowd[32].connect(path)
    with crowd[32].makefile("rb") as lines:
        assert "32 programs" in json.loads(lines.readline())["error"]
    for client in crowd[:33]:
        client.close()
    late = socket.socket(socket.AF_UNIX)
    used = max(map(int, os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))) + 1
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        late.connect(path)
        time.sleep(0.5)  # the listener has found that it cannot take it
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    late.settimeout(5)
    assert ask(late)["ok"]
    for client in (*crowd, late):
        client.close()
    listener.close()


def test_a_socket_left_behind_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()
    SocketListener(str(tmp_path / "s"), Target()).close()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="no socket"):
        SocketListener(str(tmp_path / "file"), Target())
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(OutputError, match="folder"):
        SocketListener(str(tmp_path / "missing" / "s"), Target())



def test_backgrounds_that_scripts_add_do_not_pile_up() -> None:
    scenes = BackgroundSwitcher(("black", "blur"), CompositeOptions())
    for value in range(100):
        assert scenes.choose(f"{value},0,0").text == f"{value},0,0" == scenes.current.text
    assert scenes.names == ["black", "blur", *(f"{value},0,0" for value in range(84, 100))]
    assert scenes.step(1).text == "black"  # what is on was the last of the list
    assert scenes.choose("90,0,0").text == "90,0,0"
    assert len(scenes.names) == 18
