"""Sources that play files and URLs as cameras.

A file plays at its own rate, by its timestamps, once or looped; early frames wait, late ones are passed on at once, and the
channels may drop them. A URL is live: its frames carry the time at which they arrived.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av

from streammat.errors import CameraLostError, InputError, first_line
from streammat.media.containers import images_of, open_url
from streammat.media.frame import Frame
from streammat.sources import StreamInfo
from streammat.sources.file import FileSource
from streammat.sources.shaper import Clock, Shaper, live_info


class PlaybackSchedule:
    """The start times of a playing file's passes, for its sound; written by one thread, read by others."""

    def __init__(self) -> None:
        self._known: list[tuple[float, float]] = []
        self._changed = threading.Condition()

    def add(self, begin: float, origin: float) -> None:
        """Add a pass that begins at ``begin``, in seconds of ``time.monotonic``, with the file's frame at ``origin``."""
        with self._changed:
            self._known.append((begin, origin))
            self._changed.notify_all()

    def zero(self, number: int, seconds: float) -> float | None:
        """Return the moment of the file's time 0 in pass ``number`` (from 0); None if it is not known after ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._known) > number, seconds)
            return self._known[number][0] - self._known[number][1] if len(self._known) > number else None

    def begin(self, number: int) -> float | None:
        """Return the moment at which pass ``number`` begins; None if it is not known yet."""
        with self._changed:
            return self._known[number][0] if len(self._known) > number else None


class PlaybackSource:
    """A video file in place of a camera.

    Args:
        path: the file, or the URL of one.
        clock: the run's; playing starts with the first frame that is taken.
        size: (height, width) to scale to; None keeps the file's own.
        loop: restart at the end, without limit.

    Raises:
        InputError: it cannot be read, or no frame can be decoded.
    """

    def __init__(self, path: str, clock: Clock, *, size: tuple[int, int] | None = None, loop: bool = False) -> None:
        self.name = path
        self.notes: list[str] = []
        self.passes = PlaybackSchedule()
        self._clock = clock
        self._loop = loop
        self._stopping = threading.Event()
        self._shaper = Shaper(size)
        self._reader = FileSource(path, audio=False)
        info = self._reader.info
        self._aspect = info.sample_aspect_ratio
        first = next(item for item in self._images())
        # The reader begins again: the frame was taken only to know its shape.
        self._reader.close()
        self._reader = FileSource(path, audio=False)
        shaped = self._shaper(first.image, 0, self._aspect, first.rotation)
        rate = info.rate if Fraction(1) <= info.rate <= 240 else Fraction(30)
        self._tick = 1 / rate
        self.info: StreamInfo = live_info(shaped.size, rate, shaped.colour)

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames, each at its time.

        Raises:
            InputError: the file is damaged; everything before that has been yielded.
        """
        begin = time.monotonic()
        offset = Fraction(0)
        while True:
            end, origin = offset, None
            for decoded in self._images():
                at = decoded.pts * decoded.time_base
                if origin is None:
                    origin = at
                    if not offset:
                        self.passes.add(begin, float(origin))
                due = offset + at - origin
                end = due + (decoded.duration * decoded.time_base or self._tick)
                moment = begin + float(due)
                if self._stopping.wait(max(0.0, moment - time.monotonic())):
                    return
                yield self._shaper(decoded.image, self._clock.ticks(moment), self._aspect, decoded.rotation)
            if not self._loop or self._stopping.is_set() or origin is None:
                return
            # The last frame is shown for its duration too.
            offset = end
            self.passes.add(begin + float(offset), float(origin))
            self._reader.close()
            self._reader = FileSource(self.name, audio=False)

    def stop(self) -> None:
        """End the iteration at once; from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Close the file once iteration has ended; may be called twice."""
        self._reader.close()

    def _images(self) -> Iterator[Frame]:
        for item in self._reader:
            if isinstance(item, Frame):
                yield item


class StreamSource:
    """A live stream, such as ``rtsp://`` or ``http://``.

    Args:
        url: what FFmpeg can open.
        clock: the run's.
        size: (height, width) to scale to; None keeps the stream's own.

    Raises:
        InputError: the server does not answer, or there is no video.
    """

    _OPEN_SECONDS, _READ_SECONDS = 10.0, 5.0

    def __init__(self, url: str, clock: Clock, *, size: tuple[int, int] | None = None) -> None:
        self.name = url
        self.notes: list[str] = []
        self._clock = clock
        self._stopping = threading.Event()
        self._shaper = Shaper(size)
        # UDP loses packets, and a lost packet smears until the next keyframe. Not nobuffer: it throws away what was read
        # while looking at the stream, its first keyframe included; the channels drop what is old anyway.
        options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
        try:
            self._container = open_url(url, (self._OPEN_SECONDS, self._READ_SECONDS), options)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{url}: cannot be opened ({first_line(error)}); check the address and that the stream is on") from error
        try:
            if not self._container.streams.video:
                raise InputError(f"{url}: has no video; expected a stream with images")
            self._stream = self._container.streams.video[0]
            # Slices, not frames: threads that work on several frames at once hold each of them back.
            self._stream.thread_type = "SLICE"
            self._images = images_of(self._container, self._stream)
            first = next(self._images, None)
            if first is None:
                raise InputError(f"{url}: gives no image that can be decoded; check that the stream is on")
        except av.FFmpegError as error:
            self._container.close()
            raise InputError(f"{url}: gives no image ({first_line(error)}); check that the stream is on") from error
        except BaseException:
            self._container.close()
            raise
        self.finite = bool(self._container.duration)
        """True if the stream has a length: a file on a server, not a live stream."""
        self._aspect = self._stream.sample_aspect_ratio or Fraction(1)
        self._first: Frame | None = self._shaper(first, clock.ticks(), self._aspect)
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(30)
        self.info: StreamInfo = live_info(
            self._first.size, rate if Fraction(1) <= rate <= 240 else Fraction(30), self._first.colour
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames as they arrive.

        Raises:
            CameraLostError: the stream ended or broke off.
        """
        first, self._first = self._first, None
        if first is not None:
            yield first
        try:
            for image in self._images:
                if self._stopping.is_set():
                    return
                yield self._shaper(image, self._clock.ticks(), self._aspect)
        except (av.FFmpegError, OSError) as error:
            raise CameraLostError(f"{self.name}: broke off ({first_line(error)})") from error
        if not self._stopping.is_set():
            raise CameraLostError(f"{self.name}: the stream has ended")

    def stop(self) -> None:
        """End the iteration at its next frame, or when the stream's time limit is over; from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Close the connection once iteration has ended; may be called twice."""
        self._container.close()
