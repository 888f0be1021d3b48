"""Jobs on a folder of clips: pairs each clip with its output."""

from __future__ import annotations

import os
from pathlib import Path

from streammat.config import VideoOptions
from streammat.errors import OutputError, UsageError, first_line
from streammat.media.containers import CLIPS
from streammat.paths import listed
from streammat.sinks.codecs import CONTAINERS


def clips_of(source: str, target: str | None, options: VideoOptions) -> list[tuple[str, str | None]]:
    """Return the clips of a folder, each with its output.

    Args:
        source: a folder; anything else, and a folder of numbered images, counts as having no clips.
        target: the output folder, which is created; each output keeps its clip's name, with ``.mp4`` if its own format cannot be
            written.
        options: options of the run.

    Returns:
        (clip, output) sorted by name; empty if ``source`` is no folder of clips.

    Raises:
        UsageError: the target is missing or a file, an option names one file for all, or two clips have the same output.
        OutputError: the folder of outputs cannot be made.
    """
    if not os.path.isdir(source):
        return []
    clips = [path for path in listed(source) if path.suffix.lower() in CLIPS]
    if not clips:
        return []  # numbered images, or nothing
    if target is None or (os.path.exists(target) and not os.path.isdir(target)):
        raise UsageError(f"{source}: is a folder of {len(clips)} clips; expected a folder as OUT")
    for name in ("matte", "foreground", "report"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name}: is one file for {len(clips)} clips; take them one by one, or with streammat batch")
    try:
        os.makedirs(target, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be made ({first_line(error)}); check the path and its permissions") from error
    outputs = [Path(target) / (clip.name if clip.suffix.lower() in CONTAINERS else f"{clip.stem}.mp4") for clip in clips]
    if twice := {output for output in outputs if outputs.count(output) > 1}:
        raise UsageError(f"{source}: two clips would become {min(twice)}; rename one of them")
    return [(str(clip), str(output)) for clip, output in zip(clips, outputs, strict=True)]
