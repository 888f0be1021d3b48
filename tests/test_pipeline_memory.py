"""A stage that waits for its next frame keeps none of those that it has handed on."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from streammat.media.frame import Colour, Frame, Matte, layout_of, planes_of
from streammat.pipeline import Pipeline


class Waiting:
    """A source of two frames that then gives nothing until it is let go on."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.damage: list[object] = []
        self.go_on = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        import av

        layout = layout_of("yuv420p")
        assert layout is not None
        for index in range(2):
            image = av.VideoFrame(64, 64, "yuv420p")
            yield Frame(image, layout, Colour(), index, Fraction(1, 25), 1, index, planes_of(image, layout))
            del image
        self.go_on.wait(20)

    def close(self) -> None:
        """Nothing is open."""


def test_waiting_stages_keep_no_frame_alive() -> None:
    source, alive, written = Waiting(), [], threading.Semaphore(0)

    def matting(frame: Frame) -> Matte:
        matte = Matte(np.zeros(frame.size, np.uint8))
        alive.extend(map(weakref.ref, (*frame.planes, matte.alpha)))
        return matte

    def compositor(frame: Frame, _: Matte) -> Sequence[Frame]:
        drawn = planes_of(frame.image.reformat(format="yuv444p"), frame.layout)
        alive.extend(map(weakref.ref, drawn))
        return [Frame(frame.image, frame.layout, frame.colour, frame.pts, frame.time_base, 1, frame.index, drawn)]

    sink = SimpleNamespace(content="composite", notes=[], damage=[], write=lambda *_: written.release(), copy=None, close=lambda: None)
    pipeline = Pipeline(source, matting, compositor, [sink])  # type: ignore[arg-type]
    run = threading.Thread(target=pipeline.run)
    run.start()
    try:
        assert all(written.acquire(timeout=10) for _ in range(2))
        limit = time.monotonic() + 5
        while any(each() is not None for each in alive) and time.monotonic() < limit:
            gc.collect()
            time.sleep(0.01)
        kept = [each() is not None for each in alive]
        assert len(kept) == 14
        assert not any(kept)
    finally:
        source.go_on.set()
        run.join(20)
