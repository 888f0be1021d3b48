"""The test clip: the user's own or a drawn scene, in each size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import av
import cv2
import numpy as np

from streammat.errors import InputError
from streammat.media.frame import Frame
from streammat.sources.file import FileSource

RATE = Fraction(30)
"""Frames per second of the drawn scene."""
_FASTEST = Fraction(240)


def rate_of(clip: str | None) -> Fraction:
    """Return the frame rate for a clip's measurement: its own, or 30 if it names none that a camera could have."""
    if clip is None:
        return RATE
    reader = FileSource(clip, audio=False)
    reader.close()
    return reader.info.rate if 1 <= reader.info.rate <= _FASTEST else RATE


def write_clip(
    path: Path, images: Iterable[av.VideoFrame], size: tuple[int, int], frames: int, rate: Fraction = RATE, pixels: str = "yuv420p"
) -> None:
    """Encode ``frames`` images of ``size`` (height, width) as H.264 in the format ``pixels`` at ``rate`` frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        stream.thread_type = "AUTO"
        for index, image in enumerate(islice(images, frames)):
            image.pts, image.time_base = index, 1 / rate
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


def speed_up(source: Path, target: Path, factor: int) -> None:
    """Copy a clip's packets with ``factor`` times its frame rate."""
    with av.open(str(source)) as given, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is None:
                continue  # the demuxer's way to say that it is done
            packet.time_base /= factor
            packet.stream = stream
            copy.mux(packet)


def clip_images(clip: str | None, size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    """Yield yuv420p images of ``size`` without end: the clip over and over, or a drawn scene."""
    if clip is None:
        yield from _drawn(size)
        return
    while True:
        reader = FileSource(clip, audio=False)
        found = False
        for item in reader:
            if isinstance(item, Frame):
                found = True
                image = item.image.reformat(size[1], size[0], "yuv420p", interpolation="AREA")
                image.pict_type = 0
                yield image
        reader.close()
        if not found:
            raise InputError(f"{clip}: it has no frames; give another clip")


def _drawn(size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    height, width = size
    rng = np.random.default_rng(0)
    # Soft and plain: before strong noise a live run rightly refuses mattes (`streammat.live.guarding.guard`).
    wall = cv2.resize(rng.integers(110, 170, (5, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    # Sliding over one sheet of noise is as good for an encoder as new noise each time, and much quicker to make.
    sheet = rng.integers(0, 6, (height + 64, width + 64, 3), np.uint8)
    for index in count():
        scene = wall.copy()
        x = int(width * (0.5 + 0.08 * np.sin(index / 15)))
        cv2.ellipse(scene, (x, height), (width // 5, int(height * 0.45)), 0, 0, 360, (60, 40, 120), -1, cv2.LINE_AA)
        cv2.ellipse(scene, (x, int(height * 0.38)), (width // 14, height // 6), 0, 0, 360, (200, 160, 140), -1, cv2.LINE_AA)
        top, left = rng.integers(0, 65, 2)
        noisy = np.asarray(cv2.add(scene, sheet[top : top + height, left : left + width]), np.uint8)
        yield av.VideoFrame.from_ndarray(noisy, format="rgb24").reformat(format="yuv420p")
