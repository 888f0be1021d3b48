"""Commands of a live run, and JSON as their form.

A request is one object, ``{"command": "next"}``; the answer is one object, ``{"ok": true, …}`` or ``{"ok": false, "error": …}``,
with the request's ``id`` where it has one. ``docs/live.md`` lists the commands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from streammat.errors import StreammatError, UsageError, one_line

CommandName = Literal[
    "next", "previous", "background", "blur", "blur-strength", "mirror", "pause", "mute", "pass-through", "quality",
    "hold-rate", "matte", "record", "stream", "events", "status", "settings", "save", "quit",
]
_TEXT: Final = (str,)
_NUMBER: Final = (int, float)
_SWITCH: Final = (bool, type(None))
_NOTHING: Final = (type(None),)
COMMANDS: Final[dict[CommandName, tuple[type, ...]]] = {
    "next": _NOTHING, "previous": _NOTHING, "background": _TEXT, "blur": _NUMBER, "blur-strength": _NUMBER, "mirror": _SWITCH, "pause": _SWITCH,
    "mute": _SWITCH, "pass-through": _SWITCH, "quality": _TEXT, "hold-rate": _SWITCH, "matte": (dict,), "record": _SWITCH, "stream": (str, *_SWITCH),
    "events": _NOTHING, "status": _NOTHING, "settings": _NOTHING, "save": _NOTHING, "quit": _NOTHING,
}
"""Commands, with the types that each one's value may have; None: the value may be missing."""
LONGEST_LINE: Final = 65536
"""Largest request in bytes."""
_LONGEST_ID: Final = 64
_PERCENT: Final = 100


@dataclass(frozen=True)
class Command:
    """One request."""

    name: CommandName
    value: Any = None
    confirm: bool = False


class Target(Protocol):
    """Protocol of the live run that commands control."""

    def obey(self, command: Command) -> dict[str, Any]:
        """Execute the command and return the new state; from any thread.

        Raises:
            StreammatError: the command failed; nothing has changed.
        """
        ...


def parse_command(line: str) -> Command:
    """Parse one line of JSON.

    Raises:
        UsageError: not a JSON object, an unknown command, or a value of the wrong type.
    """
    return _command_of(_object_of(line))


def _object_of(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{line.strip()[:80]!r} is no JSON; expected a line such as {{"command": "next"}}') from error
    return found if isinstance(found, dict) else {}


def _command_of(found: dict[str, Any]) -> Command:
    name = next((each for each in COMMANDS if each == found.get("command")), None)
    if name is None:
        raise UsageError(f"unknown command {str(found.get('command'))[:80]!r}; expected one of {', '.join(COMMANDS)}")
    value, confirm = found.get("value"), found.get("confirm", False)
    wanted = COMMANDS[name]
    if not isinstance(value, wanted) or not isinstance(confirm, bool) or (isinstance(value, bool) and bool not in wanted):
        expected = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in wanted)
        raise UsageError(f"{name}: value is {_short(value)}; expected {expected}")
    least = -_PERCENT if name == "blur" else 0
    if isinstance(value, (int, float)) and not least <= value <= _PERCENT:  # nor is NaN
        raise UsageError(f"{name}: value is {_short(value)}; expected {least} to {_PERCENT}")
    return Command(name, value, confirm)


def _short(value: Any) -> str:
    """Return a value as text for a message; Python refuses to print integers with very many digits."""
    try:
        return repr(value)[:80]
    except ValueError:
        return "a number of very many digits"


def answer(target: Target, line: str) -> dict[str, Any]:
    """Execute one line; any error is returned as the answer."""
    tag: dict[str, Any] = {}
    try:
        found = _object_of(line)
        if isinstance(found.get("id"), str | int) and len(_short(found["id"])) <= _LONGEST_ID:
            tag = {"id": found["id"]}
        return {"ok": True, **tag, **target.obey(_command_of(found))}
    except Exception as error:  # noqa: BLE001 - who asked is answered, and the next line is obeyed
        return {"ok": False, **tag, "error": error_line(error)}


def error_line(error: Exception) -> str:
    """Return an error in one line, even an unexpected one."""
    said, name = one_line(error), type(error).__name__
    return said if isinstance(error, StreammatError) or said == name else f"{name}: {said}"[:300]
