"""What ``--camera`` means: text in, a live source out."""

from __future__ import annotations

from pathlib import Path

from streammat.config import LiveOptions
from streammat.errors import UsageError
from streammat.sources.camera import CameraSource, resolve
from streammat.sources.capture import Clock, LiveSource
from streammat.sources.file import is_url
from streammat.sources.playback import PlaybackSource, StreamSource


def open_live_source(options: LiveOptions, clock: Clock, *, shape: tuple[int, int] | None = None) -> LiveSource:
    """The source that ``options.camera`` names: a camera, a file in its stead, or a URL.

    Args:
        options: of the run.
        clock: the run's.
        shape: (height, width) that frames must have, whatever the source gives; None leaves it to the source.

    Raises:
        UsageError: the size has odd sides or is tiny.
        InputError: it cannot be opened.
    """
    size = options.size
    if size is not None and (min(size) < 64 or any(side % 2 for side in size)):
        raise UsageError(f"--size {size[1]}x{size[0]}: expected even sides of at least 64, such as 1280x720")
    if is_url(options.camera):
        stream = StreamSource(options.camera, clock, size=shape or size)
        if not stream.finite:
            return stream
        stream.close()
        return PlaybackSource(options.camera, clock, size=shape or size, loop=options.loop)
    if not options.camera.startswith("/dev/") and Path(options.camera).exists():
        return PlaybackSource(options.camera, clock, size=shape or size, loop=options.loop)
    if options.loop:
        raise UsageError(f"--loop: {options.camera} is a camera; only a file begins again")
    return CameraSource(resolve(options.camera), clock, size=size, fps=options.fps, shape=shape)
