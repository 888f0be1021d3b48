"""Types of the keyword arguments of the Python API, for type checkers and editors; choices are those of `streammat.config`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict

from streammat.api.inputs import BackgroundLike, MaskLike
from streammat.config import AlphaType, BitDepth, Compression, EngineName, Fit, MissingFrames, Precision, Quality
from streammat.timecode import Moment


class EngineKeywords(TypedDict, total=False):
    """Options of the network and the engine that runs it; see `streammat.config.MattingOptions` for defaults and meaning."""

    model: str
    engine: EngineName
    device: str
    precision: Precision
    quality: Quality
    threads: int


class ControlKeywords(TypedDict, total=False):
    """Adjustments of a finished matte; see `streammat.config.MatteControls` for defaults and meaning."""

    clip_black: float
    clip_white: float
    grow: float
    feather: float
    despeckle: int
    despill: str | None


class SubjectKeywords(TypedDict, total=False):
    """Options that select the subject; see `streammat.config.SubjectOptions` for defaults and meaning."""

    include: MaskLike | None
    exclude: MaskLike | None
    subject: str


class VideoKeywords(EngineKeywords, ControlKeywords, SubjectKeywords, total=False):
    """Options of `process_video`; see `streammat.config.VideoOptions` for defaults and meaning."""

    stable: bool
    background: BackgroundLike | None
    fit: Fit
    decontaminate: bool
    alpha: AlphaType
    codec: str | None
    crf: int | None
    preset: str | None
    audio: bool
    overwrite: bool
    matte: str | None
    foreground: str | None
    matte_codec: str | None
    foreground_codec: str | None
    start: float | str | Moment
    duration: float | str | Moment | None
    deinterlace: bool
    frames: str | None
    start_number: int
    fps: float | None
    missing: MissingFrames
    layer: str | None
    color_space: str
    ocio: str | None
    exposure: float | None
    compression: Compression
    depth: BitDepth
    exr_layers: str | None
    verify: bool
    warm_up: int
    report: str | None


class LiveKeywords(EngineKeywords, ControlKeywords, SubjectKeywords, total=False):
    """Options of `LiveSession`; see `streammat.config.LiveOptions` for defaults and meaning."""

    stable: bool
    background: BackgroundLike | None
    fit: Fit
    decontaminate: bool
    alpha: AlphaType
    backgrounds: Sequence[BackgroundLike]
    camera: str | os.PathLike[str] | int
    size: tuple[int, int] | None
    fps: float
    microphone: str | None
    monitor: str | None
    sound_delay: float
    loop: bool
    outputs: Sequence[str | os.PathLike[str]]
    recordings: str
    overwrite: bool
    mirror: bool
    fixed: bool
    bitrate: int
    duration: float | None
    control: str | None
    config: str | None
    web: str | None
    rest: bool
    web_allow: tuple[str, ...]
