"""Recorded video in the Python API: a file to a file, or frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from streammat.api.inputs import Path, VideoLike, options_of, path_of, video_of
from streammat.api.keywords import EngineKeywords, VideoKeywords
from streammat.api.matting import Matting
from streammat.build_options import build
from streammat.config import MattingOptions, VideoOptions
from streammat.errors import UsageError
from streammat.media.frame import Frame
from streammat.stats import Report
from streammat.timecode import Moment, parse_moment


def process_video(source: VideoLike, target: Path | None, *, progress: Callable[[int], None] | None = None,
                  **options: Unpack[VideoKeywords]) -> Report:
    """Cut the subject out of a video and write it on another background, or transparent; sound and other tracks are kept.

    Args:
        source: the path or URL of a video, a pattern of numbered images, or an open binary file that can seek.
        target: the output's path; its extension picks container and codec; None: ``matte`` or ``foreground`` alone.
        progress: called from time to time, in this thread, with the number of frames written.
        options: the fields of `streammat.config.VideoOptions` and of its groups as keyword arguments; ``background`` and the masks
            ``include`` and ``exclude`` may be arrays, too; times are seconds, text such as ``1:30``, or timecodes.

    Returns:
        A report: frames, times, notes, and the damaged parts of the input.

    Raises:
        StreammatError: the input cannot be read, the output cannot be written, an option is wrong, or the network fails; a partly written output is kept under a name that contains ``.partial``.
    """
    from streammat.jobs.video import VideoJob

    given = options_of(options)
    for name in ("start", "duration"):
        if given.get(name) is not None:
            given[name] = _time(name, given[name])
    return VideoJob(video_of("source", source), None if target is None else path_of("target", target), build(VideoOptions, given)).run(progress)


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video, upright."""

    rgb: NDArray[np.uint8]
    """uint8 (H, W, 3), RGB, full range."""
    pts: int
    """Presentation time in units of ``time_base``."""
    time_base: Fraction
    """Seconds per tick, exact."""
    index: int
    """Counts from 0."""

    @property
    def time(self) -> Fraction:
        """Presentation time in seconds, exact, on the file's own clock."""
        return self.pts * self.time_base


def mattes(
    video: VideoLike, *, start: float | str | Moment = 0, duration: float | str | Moment | None = None, stable: bool = MattingOptions.stable,
    **options: Unpack[EngineKeywords],
) -> Iterator[tuple[VideoFrame, NDArray[np.float32]]]:
    """Yield the frames of a video with their mattes, in presentation order.

    Args:
        video: the path or URL of a video, or an open binary file that can seek.
        start: where to begin, in seconds, as text such as ``1:30``, or a timecode.
        duration: how much of the video; None: to the end.
        stable: average out flicker where the image does not move.
        options: the fields of `streammat.config.MattingOptions` as keyword arguments, such as ``quality="fast"``.

    Yields:
        The frame, and its alpha, float32 (H, W), 0..1, both upright.

    Raises:
        StreammatError: the video cannot be read, an option is wrong, or the network fails.
    """
    from streammat.sources.file import FileSource

    until = None if duration is None else _time("duration", duration)
    reader = FileSource(video_of("video", video), audio=False, start=_time("start", start), duration=until)
    with ExitStack() as stack:
        stack.callback(reader.close)
        matting = stack.enter_context(Matting(stable=stable, **options))
        for item in reader:
            if isinstance(item, Frame):
                alpha = np.ascontiguousarray(np.rot90(matting.alpha_of(item), item.rotation))
                yield VideoFrame(_rgb_of(item), item.pts, item.time_base, item.index), alpha


def _time(name: str, value: float | str | Moment) -> Moment:
    if isinstance(value, Moment):
        return value
    try:
        return parse_moment(value if isinstance(value, str) else f"{value:.9f}")
    except (ValueError, TypeError):
        raise UsageError(f"{name} is {value!r}; expected seconds, text such as 1:30, or a timecode such as 0:01:30:12") from None


def _rgb_of(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame upright, as it is to be seen: uint8 (H, W, 3)."""
    from av.video.reformatter import VideoReformatter

    from streammat.media.images import reformatted

    return np.ascontiguousarray(np.rot90(reformatted(frame, "rgb24", VideoReformatter()).to_ndarray(), frame.rotation))
