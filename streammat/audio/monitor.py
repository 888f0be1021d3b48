"""The monitor: plays the microphone on an output device as late as the frames, for meetings beside the virtual camera."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from streammat.audio.track import REACH, AudioBuffer, SampleClock, Samples, mixed
from streammat.devices import portaudio
from streammat.errors import StreammatError
from streammat.events import Emit, MonitorBack, MonitorLost
from streammat.stats import MonitorReport
from streammat.threads.reconnect import reconnect

_AIM_SECONDS = 1.0
_OFTEN = 3  # times in that while that a device waited for sound
_LONGEST_LATENCY = 0.3  # seconds of sound that may wait at a device


class Follower:
    """Reads the audio buffer with a delay that follows a measured delay inaudibly.

    Small changes are made by playing at most ``SLEW`` faster or slower, which is less than a tenth of a semitone; large ones by a
    cross-fade over one block. Changes of less than ``JITTER`` seconds are not followed.

    Args:
        buffer: the buffer to read.
        rate: samples per second of the blocks asked for.
    """

    SLEW: Final = 0.004
    JITTER: Final = 0.005
    JUMP: Final = 0.04

    def __init__(self, buffer: AudioBuffer, rate: int) -> None:
        self.delay: float | None = None
        """Seconds of delay; None before the first ``aim``: silence is returned until then."""
        self._needed: deque[float] = deque(maxlen=500)
        self._buffer = buffer
        self._rate = rate
        self._target = 0.0

    @property
    def least(self) -> float:
        """Least possible delay in seconds: nearly all of the last blocks had arrived by then."""
        return float(np.quantile(list(self._needed), 0.98)) if self._needed else 0.0

    def aim(self, seconds: float) -> None:
        """Set the delay to reach, in seconds; it changes inaudibly."""
        wanted = max(seconds, self.least + self.JITTER)
        if self.delay is None:
            self.delay = self._target = wanted
        elif abs(wanted - self._target) > self.JITTER:
            self._target = wanted

    def render(self, time: float, period: float, count: int) -> Samples:
        """Return ``count`` samples to be played from ``time`` on, each for ``period`` seconds.

        Returns:
            (count, channels), -1..1.
        """
        times = np.asarray(time + period * np.arange(count), np.float64)
        if self._buffer.runs:
            self._needed.append(float(times[-1]) - self._buffer.end + REACH / self._rate)
        if self.delay is None:
            return np.zeros((count, self._buffer.channels), np.float32)
        before, self.delay = self.delay, self._towards(count / self._rate)
        ramp = np.linspace(0, 1, count, endpoint=False)
        if abs(self.delay - before) > self.JUMP:
            fade = ramp.astype(np.float32)[:, None]
            return self._buffer.read(times - before, self._rate) * (1 - fade) + self._buffer.read(times - self.delay, self._rate) * fade
        return self._buffer.read(np.asarray(times - (before + (self.delay - before) * ramp), np.float64), self._rate)

    def _towards(self, seconds: float) -> float:
        assert self.delay is not None
        missing = self._target - self.delay
        if abs(missing) > self.JUMP:
            return self._target
        most = self.SLEW * seconds
        return self.delay + min(most, max(-most, missing))


class CapturedSound(Protocol):
    """Sound that can be played while it is captured, such as `streammat.audio.capture.AudioCapture`."""

    buffer: AudioBuffer
    muted: bool
    """True while silence is wanted."""


class Monitor:
    """Plays a run's sound on a device.

    Args:
        text: ``default``, PortAudio's number, or a part of a name.
        sound: the run's sound.
        late: returns the latency of the frames in seconds; None while it is not known.
        emit: called with the events ``monitor-lost`` and ``monitor-back``.

    Raises:
        OutputError: it is missing, unknown or busy, or PortAudio is not there; the message says what to do.
    """

    def __init__(self, text: str, sound: CapturedSound, late: Callable[[], float | None], emit: Emit) -> None:
        self._text = text
        self._sound = sound
        self._late = late
        self._emit = emit
        self._missed = self._missed_before = 0
        self._latency: float | None = None
        self._gain = 1.0
        self._behind = 0.0
        self._delay: float | None = None
        self._clock: SampleClock | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._open()

    def start(self) -> None:
        """Begin to play."""
        self._thread = threading.Thread(target=self._watch, name="streammat-monitor", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End; a driver that hangs is abandoned."""
        self._stopping.set()
        if self._thread is None:
            self._stream.close()
        else:
            self._thread.join(seconds)

    def report(self) -> MonitorReport:
        """Return the summary so far."""
        return MonitorReport(self.name, round(1000 * (self._follower.delay or 0.0), 1), round(1000 * self._behind, 1), self._missed)

    def _open(self) -> None:
        self._stream = portaudio.Stream(self._text, "output", self._play, self._latency)
        self.name = self._stream.name
        self._clock = None
        self._follower = Follower(self._sound.buffer, self._stream.rate)
        self._follower.delay = self._delay

    def _watch(self) -> None:
        try:
            self._begin()
            while not self._stopping.wait(_AIM_SECONDS):
                missed, self._missed_before = self._missed - self._missed_before, self._missed
                if not self._stream.alive():
                    self._find_again("takes no more sound; is it unplugged?")
                elif missed >= _OFTEN and (self._latency or self._stream.latency) < _LONGEST_LATENCY:
                    self._enlarge_buffer()
                late = self._late()
                if late is not None:
                    self._follower.aim(late)
                    self._behind = max(0.0, self._follower.least - late)
                    self._delay = self._follower.delay
        finally:
            self._stream.close()

    def _begin(self) -> None:
        try:
            self._stream.start()
        except StreammatError as error:
            self._find_again(str(error))

    def _enlarge_buffer(self) -> None:
        """Buffer more sound at a device that repeatedly had to wait."""
        self._latency = min(_LONGEST_LATENCY, 2 * (self._latency or self._stream.latency))
        self._stream.close()
        try:
            self._open()
            self._stream.start()
        except StreammatError as error:
            self._find_again(str(error))

    def _find_again(self, why: str) -> None:
        self._emit(MonitorLost(f"monitor {self.name}: {why}"))
        self._stream.close()
        if reconnect(self._start_anew, self._stopping):
            self._emit(MonitorBack(self.name))

    def _start_anew(self) -> bool:
        """Look for the device again, open and start it.

        Raises:
            StreammatError: it is not back yet.
        """
        try:
            portaudio.refresh()
            self._open()
            self._stream.start()
        except StreammatError:
            self._stream.close()
            raise
        return True

    def _play(self, samples: Any, when: float, missed: bool) -> None:
        """Fill a block whose playback begins at ``when``."""
        self._missed += missed
        count, rate = len(samples), self._stream.rate
        if self._clock is None or self._clock.strayed is not None:
            # Samples were lost in between, or the driver told times that do not hold.
            self._clock = SampleClock(rate, when)
        found = self._follower.render(self._clock.time, self._clock.period, count)
        self._clock.add(count, when)
        gain = 0.0 if self._sound.muted else 1.0
        found *= np.linspace(self._gain, gain, count, dtype=np.float32)[:, None]
        self._gain = gain
        samples[:] = mixed(found, samples.shape[1])
