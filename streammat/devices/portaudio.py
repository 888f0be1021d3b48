"""PortAudio, through sounddevice, which only this module imports: lists sound devices and opens streams.

PortAudio looks for devices once. ``refresh`` makes it look again, which ends all open streams.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from streammat.devices import v4l2
from streammat.errors import InputError, OutputError, StreammatError, one_line

Kind = Literal["input", "output"]
_NOUNS: Final = {"input": "microphone", "output": "monitor"}
_PATIENCE = 2.0
"""Seconds without a block after which a device counts as lost."""
_COMMON_RATES = (48_000, 44_100, 32_000, 16_000)
# PortAudio's numbers of errors, from portaudio.h.
_WRONG_CHANNELS, _WRONG_RATE, _UNAVAILABLE = -9998, -9997, -9985

# Searching for devices again would terminate PortAudio while another thread opens one.
_lock = threading.Lock()
_open_streams = 0


@dataclass(frozen=True)
class SoundDevice:
    """A microphone or a sound output."""

    id: int
    """PortAudio's number."""
    name: str
    channels: int
    rate: int
    """Preferred rate in samples per second."""


def devices(kind: Kind) -> tuple[SoundDevice, ...]:
    """Return all microphones, or all sound outputs.

    Raises:
        InputError, OutputError: PortAudio is missing or fails; the message says what to do.
    """
    library = _library(kind)
    try:
        found = library.query_devices()
    except Exception as error:  # PortAudioError, which cannot be named before the import
        raise _error(kind, f"PortAudio failed ({one_line(error)}); check the sound system") from error
    return tuple(
        SoundDevice(number, str(device["name"]), int(device[f"max_{kind}_channels"]), round(device["default_samplerate"]))
        for number, device in enumerate(found)
        if device[f"max_{kind}_channels"] > 0
    )


def find(text: str, kind: Kind) -> SoundDevice:
    """Return the device that ``text`` names: ``default``, a number, or a part of a name.

    Raises:
        InputError, OutputError: there is none; the message lists the devices.
    """
    known = devices(kind)
    noun = _NOUNS[kind]
    if not known:
        raise _error(kind, f"{noun} {text}: there is none at all; plug one in, and check that streammat devices lists it")
    if text.lower() == "default":
        chosen = int(_library(kind).default.device[kind])
        for device in known:
            if device.id == chosen:
                return device
        return known[0]
    if text.isdigit():
        matching = [device for device in known if device.id == int(text)]
    else:
        exact = [device for device in known if device.name.lower() == text.lower()]
        matching = exact or [device for device in known if text.lower() in device.name.lower()]
    if not matching:
        listed = ", ".join(f"{device.id} {device.name}" for device in known)
        raise _error(kind, f"{noun} {text}: no such device; found: {listed}")
    return matching[0]


class Stream:
    """A stream of 32-bit float blocks from or to a device; the constructor opens it, ``start`` starts it.

    PortAudio converts the device's sample format. The stream has the device's own rate, so that only ``AudioBuffer`` resamples.

    Args:
        text: as ``find`` takes it.
        kind: input or output.
        block: called by PortAudio's thread with (samples (n, channels) to read or fill, when the first was captured or will be
            played, in seconds of ``time.monotonic``, whether samples were lost).
        latency: seconds of sound that the device may buffer; None: the device's high latency, some hundredths.

    Raises:
        InputError, OutputError: the device is missing, busy, or supports no rate that is known here.
    """

    def __init__(self, text: str, kind: Kind, block: Callable[[Any, float, bool], None], latency: float | None = None) -> None:
        global _open_streams  # noqa: PLW0603 - PortAudio itself is one for the whole process
        self._kind = kind
        self._block = block
        self._last = 0.0
        self._closed = False
        with _lock:
            self.device = find(text, kind)
            self.name = self.device.name
            self.channels = min(2, self.device.channels)
            self._stream, self.rate = self._opened(latency)
            _open_streams += 1

    def start(self) -> None:
        """Begin.

        Raises:
            InputError, OutputError: the device does not start.
        """
        self._last = time.monotonic() + 2 * _PATIENCE  # the first block may be late
        try:
            self._stream.start()
        except Exception as error:
            raise self._refused(error) from error

    def alive(self) -> bool:
        """Return False once the stream has ended by itself, or no block has come for a while."""
        with suppress(Exception):
            return bool(self._stream.active) and time.monotonic() - self._last < _PATIENCE
        return False

    def close(self) -> None:
        """End at once; may be called twice."""
        global _open_streams  # noqa: PLW0603
        if not self._closed:
            self._closed = True
            with suppress(Exception):  # a device that is gone cannot be closed in order
                self._stream.abort()
            with suppress(Exception):
                self._stream.close()
            with _lock:
                _open_streams -= 1

    def _opened(self, latency: float | None) -> tuple[Any, int]:
        library = _library(self._kind)
        kind = library.InputStream if self._kind == "input" else library.OutputStream
        first: Exception | None = None
        for rate in dict.fromkeys((self.device.rate, *_COMMON_RATES)):
            try:
                stream = kind(
                    samplerate=rate, device=self.device.id, channels=self.channels, dtype="float32",
                    latency=latency or "high", callback=self._called,
                )
            except Exception as error:  # noqa: BLE001 - PortAudioError
                first = first or error
                if _code(error) != _WRONG_RATE:
                    break
            else:
                return stream, rate
        assert first is not None
        raise self._refused(first) from first

    def _called(self, samples: Any, count: int, times: Any, status: Any) -> None:
        stream_now, now = self._stream.time, time.monotonic()
        self._last = max(self._last, now)
        # Some drivers leave the times out, and some tell nonsense after they have lost samples: what was captured lies before
        # now,
        # and what will be played does not.
        if self._kind == "input":
            ahead, usual = times.inputBufferAdcTime - stream_now, -count / self.rate
            ahead = min(ahead, usual) if abs(ahead) < _PATIENCE else usual
            lost = bool(status.input_overflow)
        else:
            ahead, usual = times.outputBufferDacTime - stream_now, float(self._stream.latency)
            ahead = ahead if 0 <= ahead < 2 * usual + 0.1 else usual
            lost = bool(status.output_underflow)
        self._block(samples, now + ahead, lost)

    @property
    def latency(self) -> float:
        """Seconds that sound takes between the device and ``block``, according to PortAudio."""
        return float(self._stream.latency)

    def _refused(self, error: Exception) -> StreammatError:
        name = f"{_NOUNS[self._kind]} {self.device.id} {self.name}"
        if _code(error) == _UNAVAILABLE:
            held = self._holders()
            who = f"held by {', '.join(held)}" if held else "another program may hold it"
            return _error(self._kind, f"{name}: is busy; {who}, close that and try again, or take another: streammat devices lists them")
        if _code(error) in (_WRONG_RATE, _WRONG_CHANNELS):
            return _error(self._kind, f"{name}: takes neither {self.device.rate} nor {'/'.join(map(str, _COMMON_RATES))} Hz "
                                      f"with {self.channels} channels; take another: streammat devices lists them")
        return _error(self._kind, f"{name}: cannot be opened ({one_line(error)}); check that it is plugged in and that the sound system runs")

    def _holders(self) -> list[str]:
        """Return the programs that use an ALSA device, whose name ends like (hw:1,0)."""
        found = re.search(r"\(hw:(\d+),(\d+)\)", self.name)
        if not found or not sys.platform.startswith("linux"):
            return []
        return v4l2.holders(f"/dev/snd/pcmC{found[1]}D{found[2]}{'c' if self._kind == 'input' else 'p'}")


def refresh() -> bool:
    """Search for devices again, to find new ones; returns False if that would end an open stream."""
    with _lock:
        if _open_streams:
            return False
        library = _library("input")
        with suppress(Exception), _quiet():
            library._terminate()  # noqa: SLF001 - there is no other way
            library._initialize()  # noqa: SLF001
        return True


def _library(kind: Kind) -> Any:
    try:
        with _quiet():
            import sounddevice
    except (OSError, ImportError) as error:  # OSError: the Python part is there, PortAudio is not
        hint = "pip install --force-reinstall sounddevice"
        if sys.platform.startswith("linux"):
            hint = "sudo apt install libportaudio2 (on Fedora: sudo dnf install portaudio)"
        raise _error(kind, f"{_NOUNS[kind]}s need PortAudio, which cannot be loaded ({one_line(error)}); run: {hint}") from error
    except Exception as error:  # PortAudioError: it cannot be started
        raise _error(kind, f"PortAudio failed ({one_line(error)}); check the sound system") from error
    _silence_alsa()
    return sounddevice


@cache
def _silence_alsa() -> Any:
    """Install an error handler that silences ALSA, which writes to stderr from any thread; PortAudio reports what matters."""
    kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
    handler = kind(lambda *_: None)
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(handler)
    return handler  # kept, because ALSA keeps its address


@contextmanager
def _quiet() -> Iterator[None]:
    """Redirect stderr while PortAudio searches for devices: ALSA and JACK print everything that they do not find."""
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is no stderr
        yield
        return
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _error(kind: Kind, message: str) -> StreammatError:
    return InputError(message) if kind == "input" else OutputError(message)


def _code(error: Exception) -> int | None:
    return error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else None
