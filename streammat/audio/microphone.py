"""A microphone, through PortAudio."""

from __future__ import annotations

from typing import Any

import numpy as np

from streammat.audio.source import Take
from streammat.audio.track import Block
from streammat.devices import portaudio

_LATENCY = 0.1
"""Seconds of sound that the device may buffer: Python is sometimes delayed that long; times stay exact."""


class Microphone:
    """A microphone as a ``SoundSource``.

    Args:
        text: ``default``, PortAudio's number, or a part of a name.

    Raises:
        InputError: it is missing, unknown or busy, or PortAudio is not there; the message says what to do.
    """

    def __init__(self, text: str) -> None:
        self._take: Take | None = None
        self._stream = portaudio.Stream(text, "input", self._block, _LATENCY)
        self.name = self._stream.name
        self.channels = self._stream.channels
        self.rate = self._stream.rate

    def start(self, take: Take) -> None:
        """See ``SoundSource.start``."""
        self._take = take
        self._stream.start()

    def alive(self) -> bool:
        """See ``SoundSource.alive``."""
        return self._stream.alive()

    def close(self) -> None:
        """See ``SoundSource.close``."""
        self._stream.close()

    def _block(self, samples: Any, captured: float, _lost: bool) -> None:
        # What was lost shows in the times that follow.
        if self._take is not None:
            self._take(Block(np.array(samples, np.float32), captured, self.rate))
