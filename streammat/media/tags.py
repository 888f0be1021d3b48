"""Tags of files: titles, languages, the timecode."""

from __future__ import annotations

from fractions import Fraction

import av

from streammat.errors import UsageError
from streammat.timecode import parse_moment


def tags_of(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[dict[str, str], dict[str, str]]:
    """Return the tags of the file and of its video; ``timecode`` is among the latter wherever the file has it."""
    of_video = dict(stream.metadata)
    for other in container.streams.data:
        if "timecode" in other.metadata:
            of_video.setdefault("timecode", other.metadata["timecode"])
    if "TIMECODE" in of_video:
        of_video.setdefault("timecode", of_video.pop("TIMECODE"))
    return dict(container.metadata), of_video


def later_timecode(tags: dict[str, str], frames: int, rate: Fraction) -> str | None:
    """Advance the timecode in ``tags``, if there is one, by ``frames``; an invalid one for ``rate`` is removed and returned."""
    if "timecode" not in tags:
        return None
    try:
        tags["timecode"] = str(parse_moment(tags["timecode"]).later(frames, rate))
    except (ValueError, UsageError):
        return tags.pop("timecode")
    return None
