"""Backgrounds over PQ and HLG, against the formulas of SMPTE ST 2084, BT.2100 and BT.2087, written down here once more."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media import BT709, BT2020_HLG, BT2020_PQ, Tags, probe, write_clip
from running import video
from scenes import blank, matte_of, rgb_at

from streammat.compositing.backgrounds import Background, ColourBackground, ImageBackground, VideoBackground
from streammat.media.frame import Colour, Frame
from streammat.media.images import read_image
from streammat.sources.shaper import Shaper

SIZE = (192, 108)
PQ, HLG = Colour(9, 9, 16, 1), Colour(9, 9, 18, 1)
COLOURS = [(255, 255, 255), (0, 177, 64), (255, 0, 0), (12, 30, 200), (3, 3, 3), (0, 0, 0)]
# BT.2087, from BT.709 to BT.2020.
WIDER = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(nits: float) -> float:
    """SMPTE ST 2084, 5.3."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    y = (nits / 10000) ** m1
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m2


def nits_of_pq(signal: float) -> float:
    """SMPTE ST 2084, 5.2."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return 10000 * (max(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def hlg(nits: np.ndarray) -> np.ndarray:
    """BT.2100, table 5: inverse OOTF of a display of 1000 cd/m2, then the OETF."""
    luminance = float(np.dot((0.2627, 0.6780, 0.0593), nits))
    scene = nits / 1000 * (luminance / 1000) ** ((1 - 1.2) / 1.2) if luminance else nits * 0
    a, b = 0.17883277, 1 - 4 * 0.17883277
    c = 0.5 - a * math.log(4 * a)
    return np.array([math.sqrt(3 * e) if e <= 1 / 12 else a * math.log(12 * e - b) + c for e in scene])


def expected(rgb: tuple[float, float, float], colour: Colour) -> np.ndarray:
    """The signal, 0..255, of an SDR colour: BT.2408, 203 cd/m2 for white."""
    nits = 203 * WIDER @ (np.array(rgb) / 255) ** 2.4
    return 255 * (np.array([pq(n) for n in nits]) if colour.transfer == 16 else hlg(nits))


def shown(background: Background, frame: Frame) -> np.ndarray:
    """The signal, 0..255, in the middle of the image."""
    planes = background.planes(frame, matte_of(np.zeros(frame.size), frame))
    assert background.planes(frame, matte_of(np.zeros(frame.size), frame)) is planes, "converted once"
    return rgb_at(planes, frame, frame.size[0] // 2, frame.size[1] // 2, 9)


def test_the_reference_levels() -> None:
    """BT.2408, table 1: 58 % of PQ, 75 % of HLG."""
    assert np.allclose(expected((255, 255, 255), PQ) / 255, 0.58, atol=0.002)
    assert np.allclose(expected((255, 255, 255), HLG) / 255, 0.75, atol=0.002)


@pytest.mark.parametrize("name", ["yuv420p10le", "yuv444p12le", "gbrp10le", "yuv422p", "yuva444p10le"])
@pytest.mark.parametrize("colour", [PQ, HLG, Colour(2, 2, 16, 0)], ids=["pq", "hlg", "transfer-alone"])
def test_colours_and_images_have_the_light_of_sdr(tmp_path: Path, name: str, colour: Colour) -> None:
    """A colour, and an image of 8 and of 16 bits, stored upright or turned."""
    for rgb in COLOURS:
        frame = blank(name, 48, 64, colour)
        near = 2.5 if frame.layout.depth == 8 else 0.7
        assert np.abs(shown(ColourBackground(rgb), frame) - expected(rgb, colour)).max() < near, rgb
        for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
            cv2.imwrite(str(tmp_path / "a.png"), np.full((80, 80, 3), np.array(rgb[::-1]) * factor, dtype))
            for rotation in (0, 1):
                frame = blank(name, 48, 64, colour, rotation=rotation)
                found = shown(ImageBackground(read_image(tmp_path / "a.png")), frame)
                assert np.abs(found - expected(rgb, colour)).max() < near + 0.3, (rgb, dtype, rotation)


def clip_of(path: Path, tags: Tags, luma: int) -> Path:
    """Two grey frames of 10 bits, lossless, all of one ``luma``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = (
            tags.primaries, tags.transfer, tags.matrix, tags.range,
        )  # fmt: skip
        for _ in range(2):
            image = av.VideoFrame(64, 48, "yuv420p10le")
            for index, plane in enumerate(image.planes):
                plane.update(np.full(plane.buffer_size // 2, 512 if index else luma, np.uint16).tobytes())
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("colour", [PQ, HLG], ids=["pq", "hlg"])
def test_clips_are_converted_where_their_transfer_is_another(tmp_path: Path, colour: Colour) -> None:
    """SDR clips as colours are; PQ over HLG and HLG over PQ by the light on a display of 1000 cd/m2; the same transfer not at all."""
    frame = blank("yuv420p10le", 48, 64, colour)
    sdr = VideoBackground(clip_of(tmp_path / "sdr.mkv", BT709, 64 + 438))
    assert np.abs(shown(sdr, frame) - expected((127.5, 127.5, 127.5), colour)).max() < 0.7
    signal = 438 / 876
    for tags, transfer in ((BT2020_PQ, 16), (BT2020_HLG, 18)):
        clip = VideoBackground(clip_of(tmp_path / f"{transfer}.mkv", tags, 64 + 438))
        nits = nits_of_pq(signal) if transfer == 16 else 1000 * (1 / 12) ** 1.2  # HLG's half signal is 1/12 of the scene's light
        wanted = signal if transfer == colour.transfer else pq(nits) if colour.transfer == 16 else hlg(np.full(3, nits))[0]
        assert np.abs(shown(clip, frame) - 255 * wanted).max() < 0.7, transfer


def test_sdr_frames_take_codes_as_they_are() -> None:
    """Whatever their primaries."""
    frame = blank("yuv420p10le", 48, 64, Colour(9, 9, 14, 1))
    assert np.abs(shown(ColourBackground((12, 200, 100)), frame) - (12, 200, 100)).max() < 0.7


def test_live_frames_are_hdr_too() -> None:
    """Of 8 bits, from a source of 10."""
    image = av.VideoFrame(64, 48, "yuv420p10le")
    image.colorspace, image.color_primaries, image.color_trc, image.color_range = 9, 9, 16, 1
    frame = Shaper()(image, 0, Fraction(1))
    assert np.abs(shown(ColourBackground((0, 177, 64)), frame) - expected((0, 177, 64), PQ)).max() < 2.5


@pytest.mark.parametrize(("tags", "luma"), [(BT2020_PQ, 573), (BT2020_HLG, 721)], ids=["pq", "hlg"])
def test_white_in_a_file_is_reference_white(tmp_path: Path, tags: Tags, luma: int) -> None:
    """From end to end."""
    source = write_clip(tmp_path / "in.mkv", codec="libx265", pix_fmt="yuv420p10le", tags=tags, frames=2, size=SIZE)
    video(source, tmp_path / "out.mkv", "--bg", "white", "--crf", "4").ok()
    assert probe(tmp_path / "out.mkv").tags == tags
    with av.open(str(tmp_path / "out.mkv")) as container:
        plane = next(container.decode(video=0)).planes[0]
        corner = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[4:20, 4:20]
    assert abs(corner.mean() - luma) < 6


@pytest.mark.parametrize(("size", "pix_fmt", "matrix"), [((1280, 720), "yuv420p", 1), (SIZE, "yuv444p", 5)], ids=["hd", "sd"])
def test_what_is_assumed_of_untagged_video_is_written_down(tmp_path: Path, size: tuple[int, int], pix_fmt: str, matrix: int) -> None:
    """Matrix and range; the background has the colour that was asked for under these tags, after a change of subsampling too."""
    source = write_clip(tmp_path / "in.mkv", pix_fmt=pix_fmt, frames=1, size=size)
    video(source, tmp_path / "out.mp4", "--bg", "#c83264", "--crf", "4", "--codec", "av1" if pix_fmt == "yuv444p" else "h264").ok()
    tags = probe(tmp_path / "out.mp4").tags
    assert (tags.matrix, tags.range) == (matrix, 1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        image = next(container.decode(video=0))
        assert int(image.colorspace) == matrix
        found = image.to_ndarray(format="rgb24", src_colorspace=matrix)[4:20, 4:20].mean((0, 1))
    assert np.abs(found - (200, 50, 100)).max() < 7
