"""Sources of sound: the protocol, and the sound of a file that plays as the camera; ``microphone.py`` has microphones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import av
import numpy as np

from streammat.audio.track import Block
from streammat.errors import InputError, first_line
from streammat.media.containers import open_container
from streammat.sources.playback import PlaybackSchedule

Take = Callable[[Block], None]


class SoundSource(Protocol):
    """Delivers blocks of sound as they are captured."""

    name: str
    """Name for people."""
    channels: int

    def start(self, take: Take) -> None:
        """Begin; ``take`` is called from the source's own thread and must return quickly."""
        ...

    def alive(self) -> bool:
        """Return False once the source has stopped delivering; it may work again after it is reopened."""
        ...

    def close(self) -> None:
        """End: no blocks follow; may be called twice."""
        ...


class FileSound:
    """The sound of the file that plays as the camera; each sample has its own time beside the frames.

    Args:
        path: of the file.
        schedule: when it plays, from ``PlaybackSource.passes``.

    Raises:
        InputError: the file has no sound that can be decoded.
    """

    def __init__(self, path: str, schedule: PlaybackSchedule) -> None:
        self.name = path
        self._schedule = schedule
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        with self._open() as container:
            if not container.streams.audio:
                raise InputError(f"{path}: has no sound; leave --microphone out, or name a microphone")
            if container.streams.audio[0].codec_context is None:  # of an unknown codec; PyAV's types do not know of this
                raise InputError(f"{path}: its sound has a codec unknown to FFmpeg; leave --microphone out")
            self.channels = min(2, container.streams.audio[0].channels)
            self._rate = container.streams.audio[0].rate

    def start(self, take: Take) -> None:
        """See ``SoundSource.start``."""
        self._thread = threading.Thread(target=self._play, args=(take,), name="streammat-file-sound", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Return True: a file does not disappear; after its end there is silence."""
        return True

    def close(self) -> None:
        """See ``SoundSource.close``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _play(self, take: Take) -> None:
        number = 0
        while not self._stopping.is_set():
            zero = self._schedule.zero(number, 0.1)
            if zero is None:
                continue
            for block in self._blocks(zero):
                until = self._schedule.begin(number + 1)
                if until is not None and block.time >= until:
                    break
                if block.time < (self._schedule.begin(number) or 0.0):
                    continue
                # As a microphone: a block is there when its last sample has been heard.
                if self._stopping.wait(max(0.0, block.time + len(block.samples) / block.rate - time.monotonic())):
                    return
                take(block)
            number += 1

    def _blocks(self, zero: float) -> Iterator[Block]:
        """Yield the file's sound from its beginning, without damaged parts."""
        resampler = av.AudioResampler("flt", "mono" if self.channels == 1 else "stereo", self._rate)
        with self._open() as container:
            stream = container.streams.audio[0]
            try:
                for packet in container.demux(stream):
                    try:
                        decoded = packet.decode()
                    except av.FFmpegError:  # decoders have errors of their own, such as AC-3's
                        continue
                    for frame in decoded:
                        for ready in resampler.resample(frame):
                            if ready.pts is not None and ready.time_base is not None:
                                samples = ready.to_ndarray().reshape(-1, self.channels)
                                yield Block(np.asarray(samples, np.float32), zero + float(ready.pts * ready.time_base), self._rate, exact=True)
            except (av.FFmpegError, OSError):
                return  # the frames tell what is wrong with the file

    def _open(self) -> av.container.InputContainer:
        try:
            return open_container(self.name, timeout=(10.0, 30.0))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{self.name}: its sound cannot be read ({first_line(error)}); leave --microphone out") from error
