"""The job of ``streammat video``: a file or URL in, files out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

import cv2

from streammat.compositing.backgrounds import Background, parse_background
from streammat.compositing.compositor import Compositor
from streammat.compositing.matte_controls import ControlledMatting, check_controls
from streammat.config import Content, EncodeOptions, SequenceOptions, VideoOptions
from streammat.engines.base import EngineError
from streammat.errors import InputError, UsageError
from streammat.film.chosen_frames import ChosenFrames
from streammat.film.colour import ClipLook, check_config
from streammat.film.compositor import PlateCompositor, WithForeground
from streammat.film.layers import parse_layers
from streammat.film.masks import MaskedMatting, Masks
from streammat.film.sequence_sink import SequenceSink
from streammat.film.sequence_source import SequenceSource
from streammat.film.sequences import find_sequence, parse_frames
from streammat.film.subject import SubjectMatting, parse_subject
from streammat.jobs.outputs import GREEN, check_numbered, check_still, open_background_for, open_sink, wants_alpha
from streammat.jobs.warm_up import WarmedUp, frames_before, images_before
from streammat.matting.device import matting_for
from streammat.matting.network import PARALLEL, Networks, frames_at_once
from streammat.matting.steady import SteadyFilter
from streammat.media.containers import name_of
from streammat.media.frame import Frame, Matte
from streammat.models.library import find_model
from streammat.pipeline import PATIENCE, Pipeline
from streammat.sinks import TrackSink
from streammat.sinks.codecs import FILM, choose_codec, encode_beside, is_still
from streammat.sinks.targets import check_targets
from streammat.sources import Recorded
from streammat.sources.file import FileSource
from streammat.stats import Report
from streammat.threads.interruptible import answer_of
from streammat.timecode import BEGINNING


class VideoJob:
    """The job of ``streammat video``: the constructor opens and checks everything, ``run`` does the work.

    Args:
        source: a video file or URL, or an open binary file that can seek.
        target: the output; its extension picks container and codec; None: a matte or a foreground alone.
        options: everything else.
        networks: opens the network; by default one that is closed at the end of the run.

    Raises:
        UsageError, InputError, OutputError, EngineError: in that case nothing has been changed.
    """

    def __init__(self, source: str | IO[bytes], target: str | None, options: VideoOptions, networks: Networks | None = None) -> None:
        self.outputs = [path for path in (target, options.matte, options.foreground, options.report) if path is not None]
        if not self.outputs:
            raise UsageError(f"OUT is missing: {name_of(source)} alone is given; expected where the result goes, such as out.mp4, or --matte or --foreground; see streammat video --help")
        _check(source, self.outputs, options)
        transparent = target is None or wants_alpha(target, options.composite, options.encode.codec)
        contents = self._contents(target, options, transparent)
        encodes = [self._encode(path, content, target, options, transparent) for path, content in contents]
        behind = options.composite.background
        spec = None if transparent else parse_background(GREEN if behind is None else behind)
        with ExitStack() as undo:
            reader = open_recorded(source, options)
            undo.callback(reader.close)
            self.info = reader.info
            background = open_background_for(spec, options.composite, reader.info, undo)
            look = look_of(source, reader, options.sequence)
            model = find_model(options.matting.model)
            shape = model, reader.info.size, reader.info.rotation, options.matting
            batch = frames_at_once(*shape)
            self._networks = Networks() if networks is None else networks
            self.engine = self._networks.open(*shape, batch=batch, parallel=PARALLEL)
            undo.callback(self._networks.give_back, self.engine)
            sinks: list[TrackSink] = []
            for (path, content), encode in zip(contents, encodes, strict=True):
                if path == options.report:
                    from streammat.report.collect import ReportSink

                    sinks.append(ReportSink(path, Path(name_of(source)).stem, reader.info, overwrite=encode.overwrite))
                elif takes_plates(path, reader, options.sequence):
                    layers = parse_layers(options.sequence.exr_layers) if path == _layered(self.outputs) else ()
                    sinks.append(SequenceSink(
                        path, reader.info, content, options.sequence, overwrite=encode.overwrite, alpha=options.composite.alpha,
                        own_space=None if look is None else look.space, layers=layers,
                    ))  # fmt: skip
                else:
                    sinks.append(open_sink(
                        path, reader.info, content, encode, tracks=path == target, alpha=options.composite.alpha, verify=options.sequence.verify,
                    ))  # fmt: skip
                undo.callback(sinks[-1].abort)
            compositor = compositor_for(reader, sinks, background, options)
            stable = SteadyFilter() if options.matting.stable else None
            matting = answer_of(lambda: matting_for(self.engine, stable, batch, look, later=True), "streammat-network")
            subject = parse_subject(options.subjects.subject)
            mattes: Callable[[Frame], Matte] = matting if subject == "all" else SubjectMatting(matting, subject)
            mattes = ControlledMatting(mattes, options.controls)
            read = reader.files if isinstance(reader, SequenceSource) else []
            if (masks := Masks(options.subjects)).given:
                mattes = MaskedMatting(mattes, masks)
                read = [*read, *masks.files]
            check_numbered(read, sinks, reader.info.numbers)
            if options.warm_up:
                mattes = WarmedUp(mattes, partial(self._earlier, source, reader, options), lambda: not self.pipeline.stopping)
            self.pipeline = Pipeline(reader, mattes, compositor, sinks, matting.ahead)
            self._matting = matting
            self._sinks = sinks
            self._background = background
            undo.pop_all()

    def run(self, progress: Callable[[int], None] | None = None) -> Report:
        """Process to the end or until ``pipeline.stop``.

        Args:
            progress: called from time to time, in this thread, with the number of frames written.

        Raises:
            InputError, OutputError, EngineError: the run was aborted; the message says what was kept.
        """
        # The stages are the parallelism: OpenCV's own threads would only get in their way.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return self.pipeline.run(progress)
        except (InputError, EngineError) as error:
            if not (kept := self.written()):
                raise
            frames = min(sink.frames for sink in self._sinks)
            raise type(error)(f"{error}; {', '.join(kept)}: holds the {frames} frames done till then") from error
        finally:
            cv2.setNumThreads(threads)
            if not self.pipeline.left and self._matting.idle(PATIENCE):  # closed while it works, a library would crash
                self._networks.give_back(self.engine)
            if self._background is not None:
                self._background.close()

    @staticmethod
    def _earlier(source: str | IO[bytes], reader: Recorded, options: VideoOptions) -> Iterator[Frame]:
        """Return the frames before the first one to write, for the warm-up."""
        if isinstance(reader, SequenceSource) and isinstance(source, str):
            return images_before(source, reader, options.sequence, options.warm_up)
        if isinstance(reader, ChosenFrames):
            reader = reader.source
        if isinstance(reader, FileSource) and reader.start and options.frames is None and isinstance(source, str):
            return frames_before(source, reader, options.warm_up, deinterlace=options.deinterlace)
        return iter(())

    def written(self) -> list[str]:
        """Return the outputs that contain anything."""
        return [path for path, sink in zip(self.outputs, self._sinks, strict=True) if sink.frames]

    @staticmethod
    def _encode(path: str, content: Content, target: str | None, options: VideoOptions, transparent: bool) -> EncodeOptions:
        """Return the encoding options of one output; raises UsageError if it cannot be written."""
        if path == options.report:
            return options.encode
        if is_still(path):
            check_still(path, content)
            return options.encode
        if path == target:
            codec = choose_codec(path, options.encode.codec, alpha=content == "transparent")
            codec.encoder_options(options.encode, alpha=content == "transparent")
            return options.encode
        requested = options.matte_codec if content == "matte" else options.foreground_codec
        return encode_beside(path, content, requested, target, options.encode, transparent=transparent)

    @staticmethod
    def _contents(target: str | None, options: VideoOptions, transparent: bool) -> list[tuple[str, Content]]:
        contents: list[tuple[str, Content]] = [] if target is None else [(target, "transparent" if transparent else "composite")]
        if options.matte is not None:
            contents.append((options.matte, "matte"))
        if options.foreground is not None:
            contents.append((options.foreground, "foreground"))
        if options.report is not None:
            contents.append((options.report, "matte"))
        return contents


def _check(source: str | IO[bytes], outputs: list[str], options: VideoOptions) -> None:
    """Refuse what cannot work, before anything is opened."""
    behind = options.composite.background
    check_targets([*_files_of(source), *([behind] if isinstance(behind, str) else [])], outputs, options.encode)
    check_controls(options.controls)
    if options.report is not None:
        from streammat.report.page import check_report

        check_report(options.report, overwrite=options.encode.overwrite)
    if options.sequence.ocio is not None:  # also where nothing comes to ask it
        check_config(options.sequence.ocio)
    for name in ("matte", "foreground"):
        if getattr(options, f"{name}_codec") is not None and getattr(options, name) is None:
            raise UsageError(f"--{name}-codec: there is no --{name} whose codec it could be; give --{name} FILE, too")
    parse_subject(options.subjects.subject)
    if parse_layers(options.sequence.exr_layers) and _layered(outputs) is None:
        raise UsageError(f"--exr-layers {options.sequence.exr_layers}: no output is EXR; expected one such as out.####.exr")
    if options.warm_up and not isinstance(source, str):
        raise UsageError("warm_up: the input is read a second time for it, which an open file cannot be; expected a path")


def _layered(outputs: Sequence[str]) -> str | None:
    """Return the output that additional layers go into: the first EXR; None if there is none."""
    return next((path for path in outputs if Path(path).suffix.lower() == ".exr"), None)


def _files_of(source: str | IO[bytes]) -> list[str]:
    """Return the name of the file that is read, if it has one."""
    name = source if isinstance(source, str) else getattr(source, "name", None)
    return [name] if isinstance(name, str) else []


def open_recorded(source: str | IO[bytes], options: VideoOptions) -> Recorded:
    """Open a recorded source: a sequence of numbered images, or a clip, possibly with selected frames only."""
    name = find_sequence(source) if isinstance(source, str) else None
    if name is not None:
        if options.start != BEGINNING or options.duration is not None:
            raise UsageError(f"{source}: --start and --duration are for clips; choose frames of a sequence with --frames, such as 1001-1100")
        return SequenceSource(name, options.sequence, options.frames)
    numbers = None if options.frames is None else parse_frames(options.frames)
    clip = FileSource(source, audio=options.encode.audio, start=options.start, duration=options.duration, deinterlace=options.deinterlace)
    if numbers is None and options.start_number == 1:
        return clip
    try:
        return ChosenFrames(clip, options.start_number, numbers, name_of(source))
    except UsageError:
        clip.close()
        raise


def look_of(clip: str | IO[bytes], source: Recorded, options: SequenceOptions) -> ClipLook | None:
    """Return the display conversion for a clip in its own colour space; None if not needed (sequences bring their own)."""
    if isinstance(source, SequenceSource) or options.color_space.lower() == "auto":
        return None
    look = ClipLook(clip, options.color_space, options.ocio, options.exposure)
    if look.space.kind == "display":
        return None
    source.notes.append(f"{look.space.name}: the network sees it in sRGB; outputs keep the clip's own values")
    return look


def takes_plates(path: str, source: Recorded, options: SequenceOptions) -> bool:
    """Return whether ``path`` names film files, which take plates: EXR and DPX always, TIFF and PNG for sequences or with a ``--depth``."""
    suffix = Path(path).suffix.lower()
    return suffix in FILM or (suffix in (".tif", ".tiff", ".png") and (isinstance(source, SequenceSource) or options.depth != "auto"))


def compositor_for(
    source: Recorded, sinks: Sequence[TrackSink], background: Background | None, options: VideoOptions
) -> Callable[[Frame, Matte], Sequence[Frame]]:
    """Return the compositor that draws the images of ``sinks``, in order."""
    decontaminate, alpha = options.composite.decontaminate, options.composite.alpha
    contents: list[tuple[Content, bool]] = [(sink.content, isinstance(sink, SequenceSink)) for sink in sinks]
    beside = [isinstance(sink, SequenceSink) and "foreground" in sink.layers for sink in sinks]
    if any(beside):
        contents.append(("foreground", True))
    compositor: Compositor | PlateCompositor
    if isinstance(source, SequenceSource):
        compositor = PlateCompositor(contents, background, decontaminate=decontaminate, alpha=alpha, controls=options.controls)
    else:
        if any(isinstance(sink, SequenceSink) and sink.content == "transparent" for sink in sinks):
            alpha = "straight"  # the sink multiplies, in light
        compositor = Compositor([content for content, _ in contents], background, decontaminate=decontaminate, alpha=alpha, controls=options.controls)
    return WithForeground(compositor, beside) if any(beside) else compositor
