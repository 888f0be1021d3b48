"""The plan of a shot: its frames, and the shards they are divided into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from streammat.batch.files import is_pattern
from streammat.batch.join import CONTAINERS, JOINED
from streammat.batch.manifest import Shard
from streammat.batch.shots import Shot
from streammat.config import BatchOptions, SequenceOptions
from streammat.film.sequence_source import SequenceSource
from streammat.film.sequences import find_sequence, frames_text
from streammat.media.containers import open_video
from streammat.media.frame import Frame
from streammat.sinks.codecs import choose_codec
from streammat.sources import Recorded
from streammat.sources.file import FileSource
from streammat.timecode import Moment

_UNSHARDED: Final = ("--start", "--duration", "--deinterlace", "--subject")
"""Options that rule out shards: a shard sets them itself, or they depend on the first frame."""
_JITTER: Final = Fraction(1, 4)
"""Largest deviation from a regular frame time, in frames: containers round to their time unit."""
_WIDTH: Final = 256
"""Width in pixels of the reduced image in which cuts are searched."""


@dataclass(frozen=True)
class Plan:
    """The plan of one shot."""

    shot: Shot
    size: tuple[int, int]
    """(height, width) of its frames, in pixels."""
    rate: Fraction
    """Frames per second."""
    shards: tuple[Shard, ...]

    @property
    def sequence_options(self) -> SequenceOptions:
        """The options that determine which frames a sequence has."""
        return _sequence_options(self.shot)

    @property
    def frames(self) -> int:
        """Expected number of frames; 0 if unknown."""
        return sum(shard.frames for shard in self.shards)


def plan_of(shot: Shot, options: BatchOptions, *, cuts: bool = True) -> Plan:
    """Make the plan of a shot from its input.

    Args:
        shot: the shot.
        options: the longest length of a shard.
        cuts: end shards at scene cuts; this decodes the whole input.

    Raises:
        InputError: it cannot be read.
    """
    sequence = find_sequence(shot.source)
    if sequence is not None:
        images = SequenceSource(sequence, _sequence_options(shot), _given(shot).get("--frames"))
        longest = options.shard_frames if options.shard_frames and may_shard(shot) else images.info.frames
        found = _cuts(images) if cuts and images.info.frames > longest else ()
        return Plan(shot, images.info.size, images.info.rate, shards_of(images.info.frames, found, longest))
    source = FileSource(shot.source, audio=False)
    info = source.info
    try:
        frames = info.frames
        shards: tuple[Shard, ...] = (Shard(1, 0, frames),)
        if options.shard_frames and frames > options.shard_frames and may_shard(shot) and (counted := _regular_frames(shot.source, info.rate)):
            shards = shards_of(counted, _cuts(source) if cuts else (), options.shard_frames)
    finally:
        source.close()
    return Plan(shot, info.size, info.rate, shards)


def _given(shot: Shot) -> dict[str, str]:
    """Return the shot's options that take a value."""
    return dict(word.split("=", 1) for word in shot.options if "=" in word)


def _sequence_options(shot: Shot) -> SequenceOptions:
    """Return the options that determine which frames a sequence has, and how they are shown."""
    given = _given(shot)
    missing: Any = given.get("--missing", "error")
    fps, exposure = (float(given[name]) if name in given else None for name in ("--fps", "--exposure"))
    space = given.get("--color-space", SequenceOptions.color_space)
    return SequenceOptions(missing=missing, layer=given.get("--layer"), fps=fps, color_space=space, ocio=given.get("--ocio"), exposure=exposure)


def may_shard(shot: Shot) -> bool:
    """Return whether the outputs can be made in pieces: numbered files always, clips as `JOINED` and `CONTAINERS` allow."""
    if any(word.split("=")[0] in _UNSHARDED for word in shot.options):
        return False
    given = _given(shot)
    sequence = find_sequence(shot.source)
    if "--frames" in given and sequence is None:
        return False
    for kind, path in shot.outputs:
        if is_pattern(path):
            continue
        if sequence is not None or Path(path).suffix.lower() not in CONTAINERS:
            return False
        requested = given.get("--codec" if kind == "output" else f"--{kind}-codec", given.get("--codec") if kind == "foreground" else None)
        alpha = kind == "output" and given.get("--bg", "transparent") == "transparent" and Path(path).suffix.lower() == ".mov"
        if choose_codec(path, requested, alpha=alpha, matte=kind == "matte").name not in JOINED:
            return False
    return True


def shards_of(frames: int, cuts: Sequence[int], longest: int) -> tuple[Shard, ...]:
    """Divide ``frames`` into shards of at most ``longest``; each ends at the last cut in its second half, else when full.

    Args:
        frames: number of frames.
        cuts: first frame of each scene, from 0, in order.
        longest: most frames of a shard.
    """
    shards: list[Shard] = []
    first = 0
    while first < frames:
        end = min(first + longest, frames)
        if end < frames:
            end = max((cut for cut in cuts if first + longest // 2 < cut <= end), default=end)
        shards.append(Shard(len(shards) + 1, first, end - first))
        first = end
    return tuple(shards)


def moment_of(frame: int, rate: Fraction) -> Moment:
    """Return the timecode of frame ``index`` (from 0) in a video that starts at 0."""
    seconds, rest = divmod(frame, max(1, round(rate)))
    return Moment(Fraction(seconds), rest)


def arguments_of(shot: Shot, shard: Shard, of: Sequence[Shard], rate: Fraction, warm_up: float) -> tuple[str, ...]:
    """Return the options of ``streammat video`` that choose a shard; none where there is one only.

    For a clip these are times, because they can be sought; ``--frames`` would decode it from its beginning.

    Args:
        shot: the shot.
        shard: the shard.
        of: all shards of the shot.
        rate: frames per second.
        warm_up: seconds that are matted before the shard and not written.
    """
    if len(of) == 1:
        return ()
    frames = 0 if "--no-stable" in shot.options else round(warm_up * rate)
    sequence = find_sequence(shot.source)
    if sequence is not None:
        numbers = SequenceSource(sequence, _sequence_options(shot), _given(shot).get("--frames")).info.numbers
        return f"--frames={frames_text(numbers[shard.first : shard.first + shard.frames])}", f"--warm-up={frames}"
    words = ["--no-audio"]
    if shard.first:
        words += [f"--start={moment_of(shard.first, rate)}", f"--warm-up={frames}"]
    if shard.number < len(of):
        # Half a frame short: whichever way a container rounds the next frame's time, it is not in.
        words.append(f"--duration={float((shard.frames - Fraction(1, 2)) / rate):.9f}")
    return tuple(words)


def _regular_frames(path: str, rate: Fraction) -> int:
    """Return the number of frames if frame n is shown n / ``rate`` seconds after the beginning; else 0."""
    container = open_video(path)
    try:
        stream = next(each for each in container.streams.video if not each.disposition & av.stream.Disposition.attached_pic)
        base = stream.time_base or Fraction(1, 90_000)
        times = np.sort(np.array([packet.pts for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard], np.int64))
        origin = Fraction(container.start_time or 0, 1_000_000)
    except av.FFmpegError:
        return 0  # whoever decodes it will say why
    finally:
        container.close()
    regular = np.arange(len(times)) * float(1 / rate)
    off = np.abs(times * float(base) - float(origin) - regular)
    return len(times) if len(times) and float(off.max()) <= float(_JITTER / rate) else 0


def _cuts(source: Recorded) -> list[int]:
    """Return the first frame of each scene, by PySceneDetect; nothing if that is not installed."""
    try:
        from scenedetect import ContentDetector, FrameTimecode
    except ModuleNotFoundError:
        return []
    detector, rate = ContentDetector(), float(source.info.rate)
    found: list[int] = []
    for index, image in enumerate(_small(source)):
        found += [cut.frame_num for cut in detector.process_frame(FrameTimecode(index, rate), image)]
    return sorted(set(found))


def _small(source: Recorded) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Yield a source's frames as small BGR images (h, w, 3)."""
    scaler = VideoReformatter()
    for item in source:
        if isinstance(item, Frame):
            height, width = item.size
            small = scaler.reformat(item.image, _WIDTH, max(1, round(_WIDTH * height / width)), format="bgr24", interpolation="AREA", threads=1)
            yield np.asarray(small.to_ndarray(), np.uint8)
