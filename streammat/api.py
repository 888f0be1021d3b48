"""The Python API: what `import streammat` offers. Keyword arguments have the names and defaults of the command line's options.

Images are uint8 or uint16 arrays (H, W, 3), RGB, full range; or a path or an open binary file of a PNG, JPEG, WebP or TIFF,
which is turned upright by its EXIF tag. Every function raises `StreammatError`: `UsageError` where the call cannot be meant,
`InputError` and `OutputError` where a file cannot be read or written, `EngineError` where the network cannot be opened or
fails.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from streammat.compositing.compositor import Compositor
from streammat.config import STILLS, LiveOptions, MattingOptions, VideoOptions, build
from streammat.engines.base import Engine, EngineSpec
from streammat.errors import InputError, UsageError, reason, shown
from streammat.media.frame import Frame, swscale_matrix, swscale_range
from streammat.stats import Report
from streammat.timecode import Moment, parse_moment

Rgb = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3), RGB, full range."""
ImageLike = Rgb | str | os.PathLike[str] | IO[bytes]
"""Pixels, or the path or open binary file of an image."""


class EngineKeywords(TypedDict, total=False):
    """Options of the network and the engine that runs it; see `streammat.config.MattingOptions` for defaults and meaning."""

    model: str
    engine: str
    device: str
    precision: str
    quality: str
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

    include: str | None
    exclude: str | None
    subject: str


class VideoKeywords(EngineKeywords, ControlKeywords, SubjectKeywords, total=False):
    """Options of `process_video`; see `streammat.config.VideoOptions` for defaults and meaning."""

    stable: bool
    background: str | None
    fit: str
    decontaminate: bool
    alpha: str
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
    missing: str
    layer: str | None
    color_space: str
    ocio: str | None
    exposure: float | None
    compression: str
    depth: str
    exr_layers: str | None
    verify: bool
    warm_up: int
    report: str | None


class LiveKeywords(EngineKeywords, ControlKeywords, SubjectKeywords, total=False):
    """Options of `LiveSession`; see `streammat.config.LiveOptions` for defaults and meaning."""

    stable: bool
    background: str | None
    fit: str
    decontaminate: bool
    alpha: str
    backgrounds: tuple[str, ...]
    camera: str
    size: tuple[int, int] | None
    fps: float
    microphone: str | None
    monitor: str | None
    sound_delay: float
    loop: bool
    outputs: tuple[str, ...]
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


def matte(image: ImageLike, **options: Unpack[EngineKeywords]) -> NDArray[np.float32]:
    """Return the alpha matte of one image, at quality ``best``; `Matting` is faster for many images: it keeps its engine open.

    Args:
        image: pixels, a path, or an open binary file.
        options: see `EngineKeywords`.

    Returns:
        float32 (H, W), 0..1, 1 = foreground, at the image's size, in steps of 1/255 (1/65535 for 16 bits).

    Raises:
        StreammatError: see the module.
    """
    options.setdefault("quality", STILLS.quality)
    with Matting(**options) as matting:
        return matting(image)


def cutout(image: ImageLike, **options: Unpack[EngineKeywords]) -> Rgb:
    """Return one image with its background removed, at quality ``best``.

    Args:
        image: pixels, a path, or an open binary file.
        options: see `EngineKeywords`.

    Returns:
        uint8 (H, W, 4), RGB and straight alpha, uint16 for deeper images; the old background's colour is removed from soft edges;
        away from the subject the colour is black.

    Raises:
        StreammatError: see the module.
    """
    options.setdefault("quality", STILLS.quality)
    with Matting(**options) as matting:
        return matting.cutout(image)


def process_video(source: str | os.PathLike[str], target: str | os.PathLike[str] | None, *, progress: Callable[[int], None] | None = None,
                  **options: Unpack[VideoKeywords]) -> Report:
    """Cut the subject out of a video and write it on another background, or transparent; sound and other tracks are kept.

    Args:
        source: a video file or URL.
        target: the output; its extension picks container and codec; None: ``matte`` or ``foreground`` alone.
        progress: called from time to time, in this thread, with the number of frames written.
        options: see `VideoKeywords`; times are seconds, text such as ``1:30``, or timecodes.

    Returns:
        A report: frames, times, notes, and the damaged parts of the input.

    Raises:
        StreammatError: see the module; a partly written output is kept under a name that contains ``.partial``.
    """
    from streammat.jobs.video import VideoJob

    given: dict[str, Any] = dict(options)
    for name in ("start", "duration"):
        if given.get(name) is not None:
            given[name] = _time(name, given[name])
    return VideoJob(_path("source", source), None if target is None else _path("target", target), build(VideoOptions, given)).run(progress)


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
    video: str | os.PathLike[str], *, start: float | str | Moment = 0, duration: float | str | Moment | None = None, stable: bool = MattingOptions.stable,
    **options: Unpack[EngineKeywords],
) -> Iterator[tuple[VideoFrame, NDArray[np.float32]]]:
    """Yield the frames of a video with their mattes, in presentation order.

    Args:
        video: a file or URL.
        start: where to begin, in seconds, as text such as ``1:30``, or a timecode.
        duration: how much of the video; None: to the end.
        stable: average out flicker where the image does not move.
        options: see `EngineKeywords`.

    Yields:
        The frame, and its alpha, float32 (H, W), 0..1, both upright.

    Raises:
        StreammatError: see the module.
    """
    from streammat.sources.file import FileSource

    until = None if duration is None else _time("duration", duration)
    reader = FileSource(_path("video", video), audio=False, start=_time("start", start), duration=until)
    with ExitStack() as stack:
        stack.callback(reader.close)
        matting = stack.enter_context(Matting(stable=stable, **options))
        for item in reader:
            if isinstance(item, Frame):
                alpha = np.ascontiguousarray(np.rot90(matting.alpha_of(item), item.rotation))
                yield VideoFrame(_rgb_of(item), item.pts, item.time_base, item.index), alpha


class Matting:
    """A matting network that stays open: called per image, or per frame in order.

    Use it as a context manager, or call `close`. Not thread-safe.

        with streammat.Matting(stable=True) as matting:
            for rgb in frames:
                alpha = matting(rgb)

    Args:
        stable: the images are successive frames: average out flicker where they do not move; call `reset` at a cut.
        options: see `EngineKeywords`.

    Raises:
        StreammatError: no such model or engine. That an engine cannot run here is known at the first image only.
    """

    def __init__(self, *, stable: bool = False, **options: Unpack[EngineKeywords]) -> None:
        from streammat.models.library import find_model

        self._options = build(MattingOptions, {**options, "stable": stable})
        self._model = find_model(self._options.model)
        self._engine: Engine | None = None
        self._size: tuple[int, int] | None = None
        self._matting: Any = None
        self._count = 0
        self._closed = False

    def __call__(self, image: ImageLike) -> NDArray[np.float32]:
        """Return the alpha matte of an image.

        Args:
            image: pixels, a path, or an open binary file.

        Returns:
            float32 (H, W), 0..1, 1 = foreground, at the image's size.

        Raises:
            StreammatError: see the module.
        """
        return self.alpha_of(self._frame(image))

    def cutout(self, image: ImageLike) -> Rgb:
        """Return an image with its background removed; see `streammat.cutout`.

        Args:
            image: pixels, a path, or an open binary file.

        Returns:
            uint8 (H, W, 4), RGB and straight alpha; uint16 for deeper images.

        Raises:
            StreammatError: see the module.
        """
        frame = self._frame(image)
        found = self._matte(frame)
        (drawn,) = Compositor(["transparent"], None, decontaminate=True, alpha="straight")(frame, found)
        green, blue, red = drawn.planes
        return np.dstack((red, green, blue, found.alpha))

    def alpha_of(self, frame: Frame) -> NDArray[np.float32]:
        """Return the matte of a frame of the runtime (`streammat.media.frame.Frame`), in its stored orientation."""
        alpha = self._matte(frame).alpha
        return np.asarray(np.divide(alpha, np.iinfo(alpha.dtype).max, dtype=np.float32), np.float32)

    def reset(self) -> None:
        """Forget the earlier frames: the next image begins a new sequence."""
        self._matting = None
        self._count = 0

    def close(self) -> None:
        """Free the engine; safe to call twice."""
        self._closed = True
        self._matting = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def spec(self) -> EngineSpec | None:
        """The engine at work: backend, precision, device, network size; None before the first image."""
        return None if self._engine is None else self._engine.spec

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frame(self, image: ImageLike) -> Frame:
        from dataclasses import replace

        frame = _frame_of(image)
        self._count += 1
        return replace(frame, pts=self._count)

    def _matte(self, frame: Frame) -> Any:
        from streammat.matting.matting import Matting as FrameMatting
        from streammat.matting.matting import network_sizes
        from streammat.matting.network import open_network
        from streammat.matting.temporal import TemporalFilter

        if self._closed:
            raise UsageError("this Matting is closed; make another one")
        upright = frame.size if frame.rotation % 2 == 0 else frame.size[::-1]
        wanted = network_sizes(*upright, self._options.quality, self._model.areas)[0]
        if self._engine is None or self._size != wanted:
            if self._engine is not None:
                self._engine.close()
            self._engine, self._size, self._matting = open_network(self._model, frame.size, frame.rotation, self._options), wanted, None
        if self._matting is None:
            self._matting = FrameMatting(self._engine, TemporalFilter() if self._options.stable else None)
        return self._matting(frame)


class LiveSession:
    """A live run in its own threads: reads a camera and shows its subject on another background.

        session = streammat.LiveSession(backgrounds=("beach.jpg",), outputs=("camera",))
        session.start()
        for event in session.events():
            print(event)

    The constructor opens and checks everything. `streammat.config.LiveOptions` has the options; docs/live.md the events and
    commands.

    Args:
        options: see `LiveKeywords`.

    Raises:
        StreammatError: see the module; nothing has been shown then.
    """

    def __init__(self, **options: Unpack[LiveKeywords]) -> None:
        from streammat.live.session import LiveRun

        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=1000)
        self._run = LiveRun(build(LiveOptions, dict(options)), self._tell)
        self._thread: threading.Thread | None = None
        self._report: Any = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Start the run; returns at once.

        Raises:
            UsageError: the session was started before.
        """
        if self._thread is not None:
            raise UsageError("this LiveSession was started before; make another one")
        self._thread = threading.Thread(target=self._body, name="streammat-session", daemon=True)
        self._thread.start()

    def stop(self) -> Any:
        """End the run cleanly and wait until it has ended.

        Returns:
            The `LiveReport` of the run; None where it was never started.

        Raises:
            StreammatError: the source or an output failed for good; recordings hold what was shown until then.
        """
        self._run.stop()
        return self.wait()

    def wait(self, timeout: float | None = None) -> Any:
        """Wait until the run ends by itself, at most ``timeout`` seconds; returns what `stop` returns, None while the run goes on."""
        if self._thread is None:
            return None
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return self._report

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the run's events until it ends: ``{"event": "status", …}`` once a second and others as they come. The oldest are
        dropped while nobody reads them.
        """
        while (event := self._events.get()) is not None:
            yield event

    def command(self, name: str, value: Any = None, *, confirm: bool = False) -> dict[str, Any]:
        """Steer the run while it goes on.

        Args:
            name: ``next``, ``previous``, ``background``, ``blur``, ``mirror``, ``pause``, ``mute``, ``pass-through``, ``status``,
                ``quit``.
            value: the command's argument; docs/live.md lists them.
            confirm: needed for ``pass-through``, which shows the camera's own image.

        Returns:
            The run's state after the command.

        Raises:
            UsageError: no such command or value.
        """
        from streammat.live.control import parse_command

        try:
            line = json.dumps({"command": name, "value": value, "confirm": confirm})
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{name}: value is {shown(repr(value))}; expected what JSON can hold") from error
        return self._run.obey(parse_command(line))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _tell(self, event: str, **details: Any) -> None:
        while True:
            try:
                self._events.put_nowait({"event": event, **details})
            except queue.Full:
                try:
                    self._events.get_nowait()
                except queue.Empty:
                    continue
            else:
                return

    def _body(self) -> None:
        try:
            self._report = self._run.run()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._error = error
        finally:
            if self._events.full():
                self._events.get_nowait()
            self._events.put(None)


def _time(name: str, value: float | str | Moment) -> Moment:
    if isinstance(value, Moment):
        return value
    try:
        return parse_moment(value if isinstance(value, str) else f"{value:.9f}")
    except (ValueError, TypeError):
        raise UsageError(f"{name} is {value!r}; expected seconds, text such as 1:30, or a timecode such as 0:01:30:12") from None


def _path(name: str, value: Any) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise UsageError(f"{name} is {shown(repr(value))}; expected a path as text or a path object")
    return path


def _frame_of(image: ImageLike) -> Frame:
    from streammat.sources.still import decode_still, frame_of, read_still

    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16) or not image.size:
            raise UsageError(f"the image is {image.dtype} {image.shape}; expected uint8 or uint16 (H, W, 3), RGB")
        return frame_of(image)
    if isinstance(image, str | os.PathLike):
        return read_still(_path("the image", image))[0]
    if hasattr(image, "read"):
        try:
            data = image.read()
        except (OSError, ValueError) as error:  # closed, or not opened for reading
            raise InputError(f"the image cannot be read from its file object ({reason(error)}); expected one opened in binary mode") from error
        if not isinstance(data, bytes):
            raise UsageError("the image is a text file object; expected one opened in binary mode")
        return decode_still(data, str(getattr(image, "name", "the file object")))[0]
    raise UsageError(f"the image is a {type(image).__name__}; expected an array, a path or an open binary file")


def _rgb_of(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame upright, as it is to be seen: uint8 (H, W, 3)."""
    matrix = None if frame.layout.rgb else swscale_matrix(frame.colour, frame.size[0])
    image = frame.image.reformat(format="rgb24", src_colorspace=matrix, src_color_range=swscale_range(frame), dst_color_range=2, interpolation="BICUBIC")
    return np.ascontiguousarray(np.rot90(image.to_ndarray(), frame.rotation))
