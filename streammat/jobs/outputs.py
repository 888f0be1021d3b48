"""Outputs of a job: the content, background and sink of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from streammat.compositing.backgrounds import Background, BackgroundSpec, open_background
from streammat.config import AlphaType, CompositeOptions, Content, EncodeOptions
from streammat.errors import UsageError
from streammat.film.sequence_sink import SequenceSink
from streammat.sinks import TrackSink
from streammat.sinks.codecs import FILM, STILLS_WITH_ALPHA, can_carry_alpha, is_still
from streammat.sinks.file import FileSink
from streammat.sinks.stills import StillsSink
from streammat.sinks.targets import file_identity
from streammat.sources import StreamInfo

GREEN = "green"


def wants_alpha(target: str, composite: CompositeOptions, codec: str | None) -> bool:
    """Return whether the output is transparent: requested, or the default for its format."""
    if composite.background is None:
        return can_carry_alpha(target, codec)
    return isinstance(composite.background, str) and composite.background.strip().lower() == "transparent"


def open_background_for(
    spec: BackgroundSpec | None, composite: CompositeOptions, info: StreamInfo, undo: ExitStack
) -> Background | None:
    """Open the background for a source's frames; returns None if the output is transparent."""
    if spec is None:
        return None
    background = open_background(spec, composite.fit, info.sample_aspect_ratio)
    undo.callback(background.close)
    return background


def open_sink(
    path: str, info: StreamInfo, content: Content, encode: EncodeOptions, *, tracks: bool, alpha: AlphaType, verify: bool
) -> TrackSink:
    """Open the sink for ``path``; it reads stills back with ``verify``."""
    if is_still(path):
        return StillsSink(path, content, overwrite=encode.overwrite, alpha=alpha, numbers=info.numbers, verify=verify)
    return FileSink(path, info, content, encode, tracks=tracks)


def check_still(path: str, content: Content) -> None:
    """Refuse stills that cannot show ``content``.

    Raises:
        UsageError: alpha is wanted and the format has none.
    """
    suffix = Path(path).suffix.lower()
    if content == "transparent" and suffix not in (*STILLS_WITH_ALPHA, *FILM):
        raise UsageError(f"{path}: {suffix} cannot carry alpha; use {', '.join(STILLS_WITH_ALPHA)}, or give a background with --bg")


def check_numbered(sources: Sequence[Path], sinks: Sequence[TrackSink], numbers: Sequence[int]) -> None:
    """Refuse numbered outputs that would overwrite files of a sequence, or each other: the patterns alone do not show it.

    Raises:
        UsageError: an output is also a source, or two outputs have the same names.
    """
    read = {file_identity(path) for path in sources}
    written: set[object] = set()
    for sink in sinks:
        if not isinstance(sink, SequenceSink | StillsSink):
            continue
        for number in numbers:
            path = sink.path(number)
            if file_identity(path) in read:
                raise UsageError(f"{path}: is both source and target; give the output another name")
            if (real := Path(os.path.realpath(path))) in written:
                raise UsageError(f"two outputs have the same name ({path}); give each its own")
            written.add(real)
