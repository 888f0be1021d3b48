"""Opens the outputs that ``--to`` names."""

from __future__ import annotations

from collections.abc import Callable

from streammat.config import EncodeOptions, LiveOptions
from streammat.errors import UsageError, one_line
from streammat.events import Emit, OutputFailed
from streammat.live.outputs.worker import OutputWorker
from streammat.sinks import Sink, SoundSink
from streammat.sinks.alpha import AlphaSink, is_alpha
from streammat.sinks.codecs import container_of, is_still
from streammat.sinks.file import FileSink
from streammat.sinks.null import NullSink
from streammat.sinks.stream import StreamSink, is_stream, public
from streammat.sources import StreamInfo
from streammat.sources.shaper import Clock
from streammat.stats import OutputKind

_PATIENT = 30
"""Frames queued for a disk or a network: about a second, 40 MB at 720p."""


def is_file(text: str) -> bool:
    """Return whether ``--to`` names a file to record."""
    word = text.lower()
    return not (is_alpha(text) or word in ("preview", "null", "camera") or word.startswith(("camera:", "/dev/video")) or is_stream(text))


def check_output(text: str) -> None:
    """Refuse impossible outputs, before anything is opened.

    Raises:
        UsageError: an unknown kind of file, or numbered frames.
    """
    if not is_file(text):
        return
    if is_still(text):
        raise UsageError(f"--to {text}: a live recording is a video; expected .mkv, .mp4, .mov or .webm")
    try:
        container_of(text)
    except UsageError as error:
        raise UsageError(f"--to {text}: expected camera, /dev/videoN, preview, alpha, null, an rtmp:// or rtsp:// address, or a file such as rec.mkv") from error


def open_output(
    text: str, info: StreamInfo, clock: Clock, options: LiveOptions, key: Callable[[str], None], emit: Emit, camera: str,
    channels: int = 0, *, later: bool = False,
) -> OutputWorker:
    """Open the output that ``text`` names.

    Args:
        text: as in ``LiveOptions.outputs``.
        info: properties of the source.
        clock: the run's.
        options: encoding and bit rate.
        key: called with keys that are pressed in a preview.
        emit: called with the events of outputs that fail, and of servers that are lost and come back.
        camera: the source's name.
        channels: of the run's sound, 1 or 2; 0: no sound.
        later: the run goes on already; a recording begins at 0 all the same.

    Raises:
        UsageError, OutputError: it cannot be opened.
    """

    def failed(name: str, error: Exception) -> None:
        emit(OutputFailed(name, one_line(error)))

    name = public(text) if is_stream(text) else text
    if is_stream(text) or is_file(text):
        sink = _open_with_sound(text, info, options, emit, channels, later=later)
        hurry = sink.hurry if isinstance(sink, StreamSink) else None
        kind: OutputKind = "stream" if is_stream(text) else "recording"
        return OutputWorker(name, sink, clock, capacity=_PATIENT, failed=failed, hear=sink.hear if channels else None, hurry=hurry, kind=kind)
    if is_alpha(text):
        sink_with_alpha = AlphaSink(text, info)
        return OutputWorker(f"alpha at {sink_with_alpha.address}", sink_with_alpha, clock, capacity=1, failed=failed)
    return OutputWorker(name, _open(text, info, key, camera), clock, capacity=1, failed=failed, kind="null" if text.lower() == "null" else "shown")


def shows_now(text: str) -> bool:
    """Return True for outputs that are watched at once, False for those whose frames and sound carry times."""
    return not (is_file(text) or is_stream(text) or text.lower() == "null")


def _open_with_sound(text: str, info: StreamInfo, options: LiveOptions, emit: Emit, channels: int, *, later: bool) -> SoundSink:
    if is_stream(text):
        return StreamSink(text, info, options.bitrate, emit, channels=channels)
    encode = EncodeOptions(overwrite=options.overwrite, audio=False)
    return FileSink(text, info, "composite", encode, tracks=False, live=True, from_zero=later, channels=channels)


def _open(text: str, info: StreamInfo, key: Callable[[str], None], camera: str) -> Sink:
    word = text.lower()
    if word == "null":
        return NullSink(info)
    if word == "preview":
        from streammat.sinks.preview import PreviewSink

        return PreviewSink(key)
    from streammat.sinks.virtual_camera import VirtualCameraSink

    device = text if word.startswith("/dev/") else text.partition(":")[2] or None
    return VirtualCameraSink(device, info, camera)
