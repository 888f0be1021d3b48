"""The job of ``streammat image``: stills in, stills out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

from streammat.compositing.backgrounds import open_background, parse_background
from streammat.compositing.compositor import Compositor
from streammat.compositing.matte_controls import check_controls, controlled
from streammat.config import Content, EncodeOptions, StillOptions
from streammat.engines.base import Engine, EngineError
from streammat.errors import InputError, OutputError, StreammatError, UsageError
from streammat.film.masks import Masks
from streammat.film.subject import SubjectMatting, parse_subject
from streammat.jobs.outputs import GREEN, check_still, wants_alpha
from streammat.matting.matting import HostMatting, network_sizes
from streammat.matting.network import open_network
from streammat.media.frame import Frame, Matte
from streammat.media.image_files import ImageNotes
from streammat.models.library import find_model
from streammat.paths import listed
from streammat.pipeline import PATIENCE
from streammat.sinks.codecs import STILLS
from streammat.sinks.stills import STANDARD_STREAM, StillsSink
from streammat.sinks.targets import check_targets
from streammat.sources.still import decode_still, read_still
from streammat.threads.interruptible import NoAnswer, answer_of


class ImageJob:
    """The job of ``streammat image``: processes stills one after the other, with one engine for all of the same size.

    Args:
        sources: image files, folders of them, or ``-``: standard input.
        target: a file for a single source, a folder that gets ``<stem>.png`` for each, or ``-``: a PNG on standard output.
        options: matting and compositing options.
        overwrite: replace existing files.

    Raises:
        UsageError, InputError, OutputError, EngineError: in that case nothing has been changed.
    """

    def __init__(self, sources: list[str], target: str, options: StillOptions, *, overwrite: bool) -> None:
        check_controls(options.controls)
        matting, composite = options.matting, options.composite
        folder = Path(target)
        into_folder = len(sources) > 1 or target.endswith(("/", os.sep)) or os.path.isdir(target) or any(map(os.path.isdir, sources))
        sources = list(chain.from_iterable(map(_files_of, sources)))
        if into_folder and STANDARD_STREAM in (*sources, target):
            raise UsageError(f"{STANDARD_STREAM}: standard input and output take one image; give it alone, with one file or {STANDARD_STREAM}")
        if into_folder and folder.suffix.lower() in STILLS and not os.path.isdir(target):
            raise UsageError(f"{target}: is one file for {len(sources)} images; expected a folder")
        if not into_folder and target != STANDARD_STREAM and Path(target).suffix.lower() not in STILLS:
            raise UsageError(f"{target}: cannot tell the kind of image; expected one of {' '.join(STILLS)}, a folder, or {STANDARD_STREAM}")
        if into_folder and os.path.exists(target) and not os.path.isdir(target):
            raise UsageError(f"{target}: is a file; expected a folder for {len(sources)} images")
        self.outputs = [str(folder / f"{Path(source).stem}.png") for source in sources] if into_folder else [target]
        behind = [composite.background] if isinstance(composite.background, str) else []
        files = [output for output in self.outputs if output != STANDARD_STREAM]
        check_targets([*sources, *behind], files, EncodeOptions(overwrite=overwrite), made=into_folder)
        self._transparent = wants_alpha(files[0] if files else "out.png", composite, None)
        for output in files:
            check_still(output, "transparent" if self._transparent else "composite")
        self._spec = None if self._transparent else parse_background(GREEN if composite.background is None else composite.background)
        self._model = find_model(matting.model)
        if into_folder:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{target}: cannot be made ({error.strerror}); check the path and its permissions") from error
        self._sources = sources
        self._options = matting
        self._composite = composite
        self._controls = options.controls
        self._subject = parse_subject(options.subjects.subject)
        self._masks = Masks(options.subjects, numbered=False)
        self._background = None if self._spec is None else open_background(self._spec, composite.fit, Fraction(1))
        self._engine: Engine | None = None
        self._ending: float | None = None
        self._working = False

    def stop(self) -> None:
        """End after the current image, from any thread or a signal handler; an image that then stays in the network for seconds
        is abandoned.
        """
        self._ending = self._ending or time.monotonic()

    def run(self) -> Iterator[tuple[str, StreammatError | None]]:
        """Process the images until the last one or ``stop``; yields each output with its error, or None."""
        content: Content = "transparent" if self._transparent else "composite"
        compositor = Compositor(
            [content], self._background, decontaminate=self._composite.decontaminate, alpha=self._composite.alpha, controls=self._controls
        )
        for source, output in zip(self._sources, self.outputs, strict=True):
            if self._ending is not None:
                return
            try:
                frame, notes = self._read(source)
                matte = answer_of(partial(self._matte, frame), "streammat-network", self._overdue)
                (composite,) = compositor(frame, matte)
                sink = StillsSink(output, content, overwrite=True, alpha=self._composite.alpha, numbered=False, image=notes)
                sink.write(composite, matte)
                yield output, None
            except StreammatError as error:
                yield output, error
            except NoAnswer:
                yield output, EngineError(f"{source}: the network does not answer and was left as it is; run it again, or take another --engine")

    def close(self) -> None:
        """Free the engine and the background."""
        if self._engine is not None and not self._working:  # closed while it works, a library would crash
            self._engine.close()
        if self._background is not None:
            self._background.close()

    @property
    def engine(self) -> Engine | None:
        """Spec of the last image's engine."""
        return self._engine

    def _read(self, source: str) -> tuple[Frame, ImageNotes]:
        if source != STANDARD_STREAM:
            return read_still(source)
        return decode_still(answer_of(sys.stdin.buffer.read, "streammat-input", lambda: self._ending is not None), "standard input")

    def _matte(self, frame: Frame) -> Matte:
        self._working = True
        try:
            matting: Callable[[Frame], Matte] = HostMatting(self._engine_for(frame.size))
            if self._subject != "all":
                matting = SubjectMatting(matting, self._subject)
            return self._masks.applied(controlled(matting(frame), self._controls), frame)
        finally:
            self._working = False

    def _overdue(self) -> bool:
        return self._ending is not None and time.monotonic() - self._ending > PATIENCE

    def _engine_for(self, size: tuple[int, int]) -> Engine:
        wanted = network_sizes(*size, self._options.quality, self._model.areas)[0]
        if self._engine is None or self._engine.spec.size != wanted:
            if self._engine is not None:
                self._engine.close()
            self._engine = open_network(self._model, size, 0, self._options)
        return self._engine


def _files_of(source: str) -> list[str]:
    """Return the images in a folder, sorted by name; any other name alone."""
    if source == STANDARD_STREAM or not os.path.isdir(source):
        return [source]
    found = [str(path) for path in listed(source) if path.suffix.lower() in (*STILLS, ".jpg", ".jpeg")]
    if not found:
        raise InputError(f"{source}: holds no images; expected files that end in .jpg, .jpeg, {', '.join(STILLS)}")
    return found
