"""Sink for numbered film files: EXR, DPX, TIFF and PNG through OpenImageIO, each read back and compared."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from streammat.config import AlphaType, Content, SequenceOptions
from streammat.errors import OutputError, UsageError
from streammat.film.colour import ColourSpace
from streammat.film.header import Header, later, openimageio
from streammat.film.images import Pixels, depth_of, write_image
from streammat.film.layers import channels_of, confidence_of
from streammat.film.sequences import SequenceName, parse_sequence
from streammat.media.damage import Damage
from streammat.media.frame import HDR, Frame, Matte, Packet, layout_of, planes_of
from streammat.media.images import reformatted
from streammat.media.planes import full_scale
from streammat.sources import StreamInfo
from streammat.timecode import parse_moment

_BT1886 = 2.4
"""Exponent of a video display's curve (ITU-R BT.1886)."""


class SequenceSink:
    """Writes one file per frame, under the frame's own number.

    EXR holds a matte in the channel ``A`` alone, and a cut-out as ``R``, ``G``, ``B`` multiplied by ``A``; other formats hold
    grey, and straight or multiplied colour. Colours of sequences stay in the space of the input; colours of clips are linear
    Rec.709 in EXR. EXR may hold additional layers: see ``film.layers``.

    Args:
        pattern: such as ``out.####.exr``; a single ``#`` takes as many digits as the input's names have, or four.
        info: properties of the source.
        content: what to write.
        options: compression, depth, whether to read files back.
        overwrite: replace files that are there.
        alpha: colour of transparent images in formats other than EXR.
        own_space: the colour space of a clip that EXR keeps its colours in; None: they are converted to linear Rec.709.
        layers: additional layers of EXR from ``layers.parse_layers``; for ``foreground``, frames carry theirs.

    Raises:
        UsageError: the pattern has no counter, a file exists, or the format cannot hold the content.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self, pattern: str, info: StreamInfo, content: Content, options: SequenceOptions, *, overwrite: bool, alpha: AlphaType,
        own_space: ColourSpace | None = None, layers: tuple[str, ...] = (),
    ) -> None:
        self.content = content
        self.layers = layers
        self.notes: list[str] = []
        self.damage: tuple[Damage, ...] = ()
        self.frames = 0
        self._options = options
        self._info = info
        self._overwrite = overwrite
        self._name = _named(pattern, info)
        suffix = Path(pattern).suffix.lower()
        self._exr = suffix == ".exr"
        self._own_space = own_space
        self._linear = self._exr and own_space is None
        self._multiplied = self._exr or alpha == "premultiplied"
        self._converter = VideoReformatter()
        self._half = depth_of(suffix, options.depth, alpha=content == "transparent")[0] == "half"
        openimageio()
        if info.colour.transfer in HDR and self._linear and content != "matte":
            raise UsageError(f"{pattern}: the input is HDR, and its light cannot be written to EXR yet; write a matte, or another format")
        folder = self._name.folder
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise OutputError(f"{pattern}: cannot be created; check that the folder {folder} exists and may be written")
        there = [] if overwrite else [path for number in info.numbers if (path := self._name.path(number)).exists()]
        if there:
            raise UsageError(f"{there[0]}: is there already; give -y to replace it")

    def path(self, number: int) -> Path:
        """Return the file of frame ``number``."""
        return self._name.path(number)

    def write(self, frame: Frame, matte: Matte) -> None:
        """Write one file.

        Raises:
            OutputError: it cannot be written, or differs when it is read back.
        """
        number = self.frames + 1 if frame.number is None else frame.number
        header = self._header(frame) if frame.plate is None else frame.plate.header
        alpha = matte.alpha.astype(np.float32)[:, :, None] / np.float32(full_scale(matte.alpha))
        if self._half:  # colours are multiplied by what the file holds
            alpha = alpha.astype(np.float16).astype(np.float32)
        names: tuple[str, ...] = ("R", "G", "B")
        if self.content == "matte":
            pixels, names = alpha, ("A",) if self._exr else ("Y",)
        else:
            pixels = self._colour(frame)
            if self.content == "transparent":
                pixels, names = self._with_alpha(pixels, alpha), ("R", "G", "B", "A")
        if self.layers:
            pixels, names = self._with_layers(pixels, frame, matte, alpha), names + channels_of(self.layers)
        if frame.rotation:  # EXR and DPX cannot say it: all are upright, as other stills are
            pixels = np.ascontiguousarray(np.rot90(pixels, frame.rotation))
            window = (0, 0, pixels.shape[1], pixels.shape[0])
            header = replace(header, window=window, display=window)
        write_image(self.path(number), pixels, names, header, self._options, overwrite=self._overwrite, associated=self._multiplied)
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Ignore the packet: numbered files have no other tracks."""

    def close(self) -> None:
        """Do nothing: every file is complete already."""

    def abort(self) -> None:
        """Keep the files written so far: each is complete."""

    def _with_alpha(self, colour: Pixels, alpha: Pixels) -> Pixels:
        """Return (H, W, 4), multiplied by alpha if the file wants that; float16 if ``colour`` and the file are."""
        cut = np.empty((*colour.shape[:2], 4), colour.dtype if self._half else np.float32)
        if self._multiplied:
            # Half numbers times one are the same half numbers; and where alpha is 0 there is nothing, not even what is no number.
            np.multiply(colour, alpha, out=cut[:, :, :3], casting="same_kind", where=alpha > 0)
            cut[:, :, :3][alpha[:, :, 0] == 0] = 0
        else:
            cut[:, :, :3] = colour
        cut[:, :, 3:] = alpha
        return cut

    def _with_layers(self, base: Pixels, frame: Frame, matte: Matte, alpha: Pixels) -> Pixels:
        """Return ``base`` followed by the channels of the additional layers."""
        parts = [base]
        for layer in self.layers:
            if layer == "foreground":
                assert frame.foreground is not None
                parts.append(self._colour(frame.foreground))
            else:
                parts.append(alpha if layer == "matte" else confidence_of(matte))
        # Half where all is to be half: a colour's infinity would not come back from float.
        kind = np.float16 if self._half else np.float32
        return np.concatenate([np.asarray(part, kind) for part in parts], 2)

    def _colour(self, frame: Frame) -> Pixels:
        if frame.plate is not None:
            pixels: Pixels = frame.plate.pixels
            return pixels
        layout = layout_of("gbrp16le")
        assert layout is not None
        green, blue, red = planes_of(reformatted(frame, layout.name, self._converter), layout)
        coded = np.dstack((red, green, blue)).astype(np.float32) / np.float32(65535)
        return np.power(coded, np.float32(_BT1886)) if self._linear else coded

    def _header(self, frame: Frame) -> Header:
        """Return the header for a clip's frame."""
        oiio = openimageio()
        height, width = self._info.size
        rate, aspect = self._info.rate.limit_denominator(1001), self._info.sample_aspect_ratio
        kept: list[tuple[str, Any, Any]] = [("framesPerSecond", oiio.TypeDesc("rational"), (rate.numerator, rate.denominator))]
        if aspect != 1:
            kept.append(("PixelAspectRatio", oiio.TypeDesc("float"), float(aspect)))
        interop = "lin_rec709_scene" if self._linear else "" if self._own_space is None else self._own_space.interop
        if interop and self.content != "matte":
            kept.append(("colorInteropID", oiio.TypeDesc("string"), interop))
        window = (0, 0, width, height)
        header = Header(window, window, tuple(kept), rate, None, aspect, frame.rotation)
        text = self._info.stream_metadata.get("timecode")
        if text is None:
            return header
        frames = self.frames if frame.number is None else frame.number - self._info.numbers[0]
        try:
            return later(header, parse_moment(text).later(frames, Fraction(self._info.rate)), self._info.rate)
        except (ValueError, UsageError):
            return header


def _named(pattern: str, info: StreamInfo) -> SequenceName:
    name = parse_sequence(pattern)
    if name is None:
        path = Path(pattern)
        raise UsageError(f"{pattern}: a video becomes many files; expected a pattern such as {path.stem}.####{path.suffix}")
    if name.frames is not None:
        raise UsageError(f"{pattern}: contains a frame range; choose frames with --frames, and write {name}")
    return name if name.digits is not None or info.digits is None else replace(name, digits=info.digits)
