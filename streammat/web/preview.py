"""The preview: the outputs' frames as small JPEGs for control pages.

The live threads pass an image on only if a page has requested the next one, which costs them a lock; scaling and encoding happen
in another thread. A page requests the next image when it has drawn the last one, so that a slow page gets fewer and smaller
images.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import cv2
from av.video.reformatter import Interpolation, VideoReformatter

from streammat.live.fallback import OutputFrame
from streammat.media.frame import Frame, swscale_matrix

WIDTHS: Final = (320, 480, 640, 960)
"""Widths of preview images in pixels; none is larger than the frame."""
MOST_PER_SECOND: Final = 15.0
SLOW: Final = 0.35
"""Seconds from an image to the next request above which a client gets smaller images..."""
QUICK: Final = 0.12
"""...and below which, ``_PATIENCE`` times in a row, it gets larger ones again."""
_PATIENCE: Final = 15
_QUALITY: Final = 80  # of JPEG, 0..100
_KEPT: Final = 4
PASS_THROUGH: Final = 1
"""First byte of a message during pass-through; otherwise 0. The JPEG follows."""

Take = Callable[[OutputFrame | None], None]


class Tap:
    """Passes the next shown image to all clients that have requested it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[Take] = []
        self._closed = False

    def put(self, shown: OutputFrame) -> None:
        """Take an image from the live run; never waits, and keeps none."""
        if not self._asked:
            return
        with self._lock:
            asked, self._asked = self._asked, []
        for take in asked:
            take(shown)

    def ask(self, take: Take) -> None:
        """Request the next image: ``take`` is called once with it, from the drawing thread, or with None at the end. It must
        return at once.
        """
        with self._lock:
            if not self._closed:
                self._asked.append(take)
                return
        take(None)

    def close(self) -> None:
        """End the preview: no more images will come."""
        with self._lock:
            self._closed = True
            asked, self._asked = self._asked, []
        for take in asked:
            take(None)


class PreviewEncoder:
    """Encodes images as messages; clients with the same image and width share the encoding. One thread calls it."""

    def __init__(self) -> None:
        self._encoded: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def __call__(self, shown: OutputFrame, width: int) -> bytes:
        """Return the message for ``shown`` at about ``width`` pixels."""
        key = shown.frame.pts, width
        if key not in self._encoded:
            flag = PASS_THROUGH if shown.kind == "pass-through" else 0
            self._encoded[key] = bytes([flag]) + jpeg_of(shown.frame, width)
            if len(self._encoded) > _KEPT:
                self._encoded.popitem(last=False)
        return self._encoded[key]


def jpeg_of(frame: Frame, width: int) -> bytes:
    """Return ``frame`` as a JPEG of at most ``width`` pixels width."""
    height, full = frame.size
    width = min(width, full)
    rows = max(1, round(height * width / full))
    matrix = swscale_matrix(frame.colour, height)
    bgr = VideoReformatter().reformat(
        frame.image, width, rows, "bgr24", src_colorspace=matrix or None, interpolation=Interpolation.AREA if width < full else Interpolation.BILINEAR, threads=1,
    )
    made, data = cv2.imencode(".jpg", bgr.to_ndarray(), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert made
    return data.tobytes()


class Pace:
    """Chooses the image size of one client by how soon it requests the next one; it has no clock of its own."""

    def __init__(self) -> None:
        self._limit = WIDTHS[-1]
        self._quick = 0

    def answered(self, seconds: float) -> None:
        """Record that the client requested the next image ``seconds`` after the last one was sent."""
        index = WIDTHS.index(self._limit)
        self._quick = self._quick + 1 if seconds < QUICK else 0
        if seconds > SLOW:
            self._limit = WIDTHS[max(0, index - 1)]
        elif self._quick >= _PATIENCE:
            self._limit, self._quick = WIDTHS[min(len(WIDTHS) - 1, index + 1)], 0

    def width(self, wanted: int) -> int:
        """Return the image width for a client that shows it at ``wanted`` pixels."""
        enough = next((width for width in WIDTHS if width >= wanted), WIDTHS[-1])
        return min(enough, self._limit)
