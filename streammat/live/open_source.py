"""Opens the sources that ``--camera`` and ``--microphone`` name."""

from __future__ import annotations

import os

from streammat.audio.source import FileSound, SoundSource
from streammat.config import LiveOptions
from streammat.errors import UsageError
from streammat.media.containers import is_url
from streammat.sources.camera import CameraSource, resolve
from streammat.sources.playback import PlaybackSource, StreamSource
from streammat.sources.shaper import Clock, LiveSource


def open_live_source(options: LiveOptions, clock: Clock, *, shape: tuple[int, int] | None = None) -> LiveSource:
    """Open the source that ``options.camera`` names: a camera, a file in its place, or a URL.

    Args:
        options: options of the run.
        clock: the run's.
        shape: (height, width) that all frames get; None: the source's own.

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
    if _is_path(options.camera):
        return PlaybackSource(options.camera, clock, size=shape or size, loop=options.loop)
    if options.loop:
        raise UsageError(f"--loop: {options.camera} is a camera; only a file begins again")
    return CameraSource(resolve(options.camera), clock, size=size, fps=options.fps, shape=shape)


def _is_path(camera: str) -> bool:
    """Return True for a file in place of a camera; a name with a folder in front always counts as a file."""
    return not camera.startswith("/dev/") and (os.path.lexists(camera) or os.path.dirname(camera) != "")


def open_sound(text: str, camera: LiveSource) -> SoundSource:
    """Open the source of sound that ``text`` names.

    Args:
        text: as in ``LiveOptions.microphone``.
        camera: the source whose file is taken if ``text`` is ``file``.

    Raises:
        UsageError: the camera is no file.
        InputError: it cannot be opened.
    """
    if text == "file":
        if not isinstance(camera, PlaybackSource):
            raise UsageError(f"--microphone file: the camera, {camera.name}, is no file; name a microphone (streammat devices lists them)")
        return FileSound(camera.name, camera.passes)
    from streammat.audio.microphone import Microphone
    from streammat.devices import portaudio

    portaudio.refresh()
    return Microphone(text)
