"""Chooses the tracks of a file that are read: its video, and the tracks that are passed on beside it."""

from __future__ import annotations

import av

from streammat.errors import InputError
from streammat.media.frame import decoder_threads


def choose_video(container: av.container.InputContainer, path: str, notes: list[str]) -> av.VideoStream:
    """Return the first video track, set up to be decoded; adds to ``notes`` what of the video is not used.

    Raises:
        InputError: there is none, or FFmpeg does not know its codec.
    """
    # For FFmpeg covers and thumbnails are video streams, too.
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise InputError(f"{path}: no video in it (found: {kinds}); expected a file with a video track")
    stream = streams[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: FFmpeg does not know its video codec; convert it, such as to H.264")
    if len(streams) > 1:
        notes.append(f"{len(streams)} video tracks found, the first is used")
    pixels = stream.codec_context.format
    has_alpha = pixels is not None and len(pixels.components) in (2, 4) and not pixels.has_palette
    if has_alpha or "alpha_mode" in stream.metadata:
        notes.append("the input's own alpha is not used")
    # Frame threads for files: the default (slices) is slower wherever a frame is one slice.
    stream.thread_type = "AUTO"
    stream.thread_count = decoder_threads()
    return stream


def choose_passengers(container: av.container.InputContainer, notes: list[str], *, audio: bool) -> tuple[av.stream.Stream, ...]:
    """Return the tracks whose packets are passed on: subtitles, and sound if ``audio``; adds to ``notes`` which are left out."""
    kept: list[av.stream.Stream] = []
    for stream in container.streams:
        if stream.type == "audio" and not audio:
            continue
        if stream.type in ("audio", "subtitle"):
            if stream.codec_context is None:  # of an unknown codec; PyAV's types do not know of this
                notes.append(f"track {stream.index} ({stream.type}) has a codec unknown to FFmpeg and is left out")  # type: ignore[unreachable]
                continue
            kept.append(stream)
        elif stream.type == "attachment" or (stream.type == "data" and "timecode" not in stream.metadata):
            # A timecode's track is its tag, which is kept.
            notes.append(f"track {stream.index} ({stream.type}) is left out")
    return tuple(kept)
