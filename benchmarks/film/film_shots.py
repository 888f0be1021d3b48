# ruff: noqa: INP001 - scripts are no package
"""Eight shots as film tools hand them over, matted by one ``streammat batch``, and what it wrote checked.

Clips become EXR (ACEScg; linear with overscan; LogC4 in a layer), DPX (S-Log3; Rec.709) and ProRes (Rec.709 with sound; LogC3; ACEScct), with numbers,
timecodes and rates of their own. Outputs are read with OpenImageIO, ``oiiotool --info -v`` and FFmpeg, and compared with the plates:

    python benchmarks/film/film_shots.py examples/portrait.mp4 /tmp/film
    python benchmarks/film/film_shots.py CLIPS_FOLDER /tmp/film --frames 12 --width 960 --quality balanced

The exit code is 1 where a check fails. ``sheet.png`` in the folder shows a frame of each shot: in sRGB, its matte, and what was written over a checkerboard.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import OpenImageIO as oiio  # noqa: N813 - the library's own short name
import PyOpenColorIO as ocio  # noqa: N813 - the same
from numpy.typing import NDArray

from streammat.timecode import Moment, parse_moment

OVERSCAN = (8, 4)
"""Pixels beyond the display window, to the left and right, and above and below."""


@dataclass(frozen=True)
class Shot:
    """A shot as it is handed over, and its outputs."""

    name: str
    kind: str
    """``exr``, ``dpx`` or a ProRes profile."""
    space: str
    """A name of OpenColorIO's studio config."""
    option: str
    """What is given as ``--color-space``."""
    rate: Fraction
    first: int
    digits: int
    timecode: str
    bits: int = 16
    layer: str = ""
    overscan: bool = False
    interop: bool = False
    """The plates say their space."""


SHOTS = (
    Shot("sh010", "exr", "ACEScg", "auto", Fraction(24000, 1001), 1001, 4, "10:20:30:22", interop=True),
    Shot("sh020", "exr", "Linear Rec.709 (sRGB)", "linear", Fraction(25), 86400, 7, "01:00:00:00", overscan=True),
    Shot("sh030", "exr", "ARRI LogC4", "logc4", Fraction(24), 1, 4, "00:59:59:20", layer="beauty"),
    Shot("sh040", "dpx", "S-Log3 S-Gamut3.Cine", "slog3", Fraction(24), 101, 5, "13:00:00:10", bits=10),
    Shot("sh050", "dpx", "Gamma 2.4 Encoded Rec.709", "rec709", Fraction(25), 1001, 4, "23:59:59:22", bits=16),
    Shot("sh060", "hq", "Gamma 2.4 Encoded Rec.709", "auto", Fraction(30000, 1001), 1001, 4, "01:00:59;28"),
    Shot("sh070", "4444", "ARRI LogC3 (EI800)", "logc3", Fraction(24), 1001, 4, "02:00:00:00"),
    Shot("sh080", "4444", "ACEScct", "acescct", Fraction(50), 1001, 4, "01:00:00:47"),
)


class Checks:
    """Counts what holds, and prints what does not."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []

    def __call__(self, what: str, holds: object, found: object = "") -> None:
        """Note that ``what`` holds or not."""
        self.done += 1
        if not bool(holds):
            self.failed.append(f"{what}: {found}")
            print(f"FAILED: {self.failed[-1]}")


def images_of(clip: Path, count: int, width: int) -> list[NDArray[np.float32]]:
    """``count`` images from the middle of a clip, light of Rec.709 primaries: (H, W, 3)."""
    found = []
    with av.open(str(clip)) as container:
        container.seek((container.duration or 0) // 2)
        for image in container.decode(video=0):
            height = round(image.height * width / image.width / 2) * 2
            rgb = image.reformat(width, height, "rgb48le", interpolation="AREA").to_ndarray()
            found.append(np.power(rgb.astype(np.float32) / np.float32(65535), np.float32(2.4)))
            if len(found) == count:
                break
    return found


def converted(pixels: NDArray[np.float32], space: str, source: str = "lin_rec709") -> NDArray[np.float32]:
    """Pixels of ``source`` in ``space``."""
    config = ocio.Config.CreateFromFile("ocio://studio-config-latest")
    pixels = np.array(pixels, np.float32)
    config.getProcessor(source, space).getDefaultCPUProcessor().applyRGB(pixels)
    return pixels


def timecode_of(shot: Shot, index: int) -> Moment:
    """Return the timecode of frame ``index``."""
    return parse_moment(shot.timecode).later(index, shot.rate)


def write_plates(shot: Shot, images: list[NDArray[np.float32]], folder: Path) -> None:
    """The shot as a sequence."""
    folder.mkdir(parents=True)
    for index, light in enumerate(images):
        pixels = converted(light, shot.space)
        path = folder / f"{shot.name}.{shot.first + index:0{shot.digits}}.{shot.kind}"
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, "half" if shot.kind == "exr" else "uint16")
        if shot.layer:
            pixels = np.concatenate((np.zeros_like(pixels), pixels), 2)
            spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 6, "half")
            spec.channelnames = ("R", "G", "B", *(f"{shot.layer}.{name}" for name in "RGB"))
        if shot.overscan:
            x, y = OVERSCAN
            spec.x, spec.y = -x, -y
            spec.full_x, spec.full_y, spec.full_width, spec.full_height = 0, 0, spec.width - 2 * x, spec.height - 2 * y
        if shot.kind == "dpx":
            spec["oiio:BitsPerSample"] = shot.bits
            spec["dpx:FrameRate"] = spec["dpx:TemporalFrameRate"] = float(shot.rate)
            pixels = np.clip(pixels, 0, 1)
        else:
            spec.attribute("framesPerSecond", oiio.TypeDesc("rational"), (shot.rate.numerator, shot.rate.denominator))
        if shot.interop:
            space = ocio.Config.CreateFromFile("ocio://studio-config-latest").getColorSpace(shot.space)
            spec["colorInteropID"] = space.getInteropID()
        digits = str(timecode_of(shot, index)).replace(";", ":").split(":")
        bits = int("".join(digits), 16)
        spec.attribute("smpte:TimeCode", oiio.TypeDesc("timecode"), (bits, 0))
        file = oiio.ImageOutput.create(str(path))
        done = file.open(str(path), spec) and file.write_image(np.ascontiguousarray(pixels)) and file.close()
        assert done, file.geterror()


def write_clip(shot: Shot, images: list[NDArray[np.float32]], path: Path) -> None:
    """The shot as a ProRes clip with timecode and a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("prores_ks", shot.rate, options={"profile": shot.kind})
        height, width = images[0].shape[:2]
        video.width, video.height, video.pix_fmt = width, height, "yuv422p10le" if shot.kind == "hq" else "yuv444p10le"
        context = video.codec_context
        context.time_base = 1 / shot.rate
        context.color_primaries = context.color_trc = context.colorspace = 1
        context.color_range = 1
        video.metadata["timecode"] = shot.timecode
        sound: Any = out.add_stream("pcm_s16le", 48000)
        sound.layout = "mono"
        for index, light in enumerate(images):
            coded = np.rint(np.clip(converted(light, shot.space), 0, 1) * 65535).astype(np.uint16)
            image = av.VideoFrame.from_ndarray(coded, "rgb48le").reformat(format=video.pix_fmt, dst_colorspace=1, dst_color_range=1, src_color_range=2)
            image.pts, image.time_base = index, 1 / shot.rate
            out.mux(video.encode(image))
        out.mux(video.encode(None))
        tone = (np.sin(np.arange(round(48000 * len(images) / shot.rate)) / 20) * 9000).astype(np.int16)
        block = av.AudioFrame.from_ndarray(tone.reshape(1, -1), "s16", "mono")
        block.sample_rate, block.pts, block.time_base = 48000, 0, Fraction(1, 48000)
        out.mux(sound.encode(block))
        out.mux(sound.encode(None))


def job_of(shot: Shot, source: Path) -> str:
    """A ``[[shot]]`` table."""
    lines = [f'source = "{source}"', f'name = "{shot.name}"', f'color-space = "{shot.option}"']
    if shot.kind in ("exr", "dpx"):
        lines += ['output = "{out}/{shot}/{shot}_cut.{frame}.exr"', 'matte = "{out}/{shot}/{shot}_matte.{frame}.exr"', 'exr-layers = "confidence,foreground"']
        lines += [f'layer = "{shot.layer}"'] if shot.layer else []
    else:
        lines += ['matte = "{out}/{shot}/{shot}_matte.{frame:04d}.exr"', f"start-number = {shot.first}"]
    return "\n".join(("[[shot]]", *lines))


def opened(path: Path) -> tuple[Any, dict[str, NDArray[Any]]]:
    """An image's spec, and its channels by name as they stand in the file."""
    file = oiio.ImageInput.open(str(path))
    assert file is not None, oiio.geterror()
    spec = file.spec()
    pixels = np.asarray(file.read_image(0, 0, 0, spec.nchannels, str(spec.format)))
    file.close()
    return spec, {name: pixels[:, :, place] for place, name in enumerate(spec.channelnames)}


def stacked(channels: dict[str, NDArray[Any]], prefix: str = "") -> NDArray[Any]:
    """(H, W, 3) of a layer."""
    return np.dstack([channels[f"{prefix}{name}"] for name in "RGB"])


def info_of(path: Path) -> str:
    """Return what ``oiiotool --info -v`` says."""
    tool = shutil.which("oiiotool", path=str(Path(sys.executable).parent)) or shutil.which("oiiotool")
    assert tool is not None, "oiiotool comes with OpenImageIO"
    return subprocess.run([tool, "--info", "-v", str(path)], check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command line


def check_sequence(shot: Shot, plates: Path, out: Path, count: int, check: Checks) -> dict[str, Any]:
    """Compare a cut-out and a matte with the plates."""
    names = sorted(path.name for path in (out / shot.name).iterdir())
    numbers = [f"{shot.first + index:0{shot.digits}}" for index in range(count)]
    check(f"{shot.name} numbers", names == sorted(f"{shot.name}_{kind}.{number}.exr" for kind in ("cut", "matte") for number in numbers), names)
    soft_error, full_share = 0.0, 0.0
    for index, number in enumerate(numbers):
        spec, cut = opened(out / shot.name / f"{shot.name}_cut.{number}.exr")
        _, matte = opened(out / shot.name / f"{shot.name}_matte.{number}.exr")
        plate_spec, plate = opened(plates / f"{shot.name}.{number}.{shot.kind}")
        wanted = stacked(plate, f"{shot.layer}." if shot.layer else "")
        if shot.kind == "dpx":
            wanted = (wanted.astype(np.float32) / np.float32(65535)).astype(np.float16)
        check(f"{shot.name} channels", (*cut, *matte) == ("R", "G", "B", "A", "confidence.Y", "foreground.R", "foreground.G", "foreground.B", "A"), (*cut, *matte))
        info = info_of(out / shot.name / f"{shot.name}_cut.{number}.exr")
        check(f"{shot.name} oiiotool", "half" in info and re.search(r"channel list: R, G, B, A, confidence\.Y, foreground\.R", info), info)
        check(f"{shot.name} timecode", f"smpte:TimeCode: {str(timecode_of(shot, index)).replace(';', ':')}" in info.replace(";", ":"), info)
        rate = spec.getattribute("framesPerSecond")
        check(f"{shot.name} rate", rate and Fraction(*map(int, rate)) == shot.rate, rate)
        windows = [(each.x, each.y, each.width, each.height, each.full_x, each.full_y, each.full_width, each.full_height) for each in (spec, plate_spec)]
        check(f"{shot.name} windows", windows[0] == windows[1], windows)
        space = ocio.Config.CreateFromFile("ocio://studio-config-latest").getColorSpace(shot.space).getInteropID()
        check(f"{shot.name} colorInteropID", spec.get_string_attribute("colorInteropID") == space, spec.get_string_attribute("colorInteropID"))
        alpha = cut["A"].astype(np.float32)
        full, empty = alpha == 1, alpha == 0
        colour, front = stacked(cut), stacked(cut, "foreground.")
        check(f"{shot.name} matte is alpha", np.array_equal(matte["A"], cut["A"]))
        check(f"{shot.name} nothing where alpha is 0", not colour[empty].any())
        exact = "the plate's bits" if shot.kind == "exr" else "the plate's codes as half"
        check(f"{shot.name} {exact} where alpha is 1", np.array_equal(colour[full], wanted[full]), np.abs(colour[full].astype(float) - wanted[full]).max(initial=0))
        soft_error = max(soft_error, float(np.abs(colour.astype(np.float32) - front.astype(np.float32) * alpha[:, :, None]).max()))
        full_share += float(full.mean()) / count
        with av.open(str(out / shot.name / f"{shot.name}_cut.{number}.exr")) as container:
            seen = half_floats(next(container.decode(video=0)))
        inside = (slice(None), slice(None))
        if shot.overscan:  # FFmpeg gives the display window
            x, y = OVERSCAN
            inside = (slice(y, -y), slice(x, -x))
        ours = np.dstack((colour, cut["A"]))[inside]
        check(f"{shot.name} FFmpeg reads the same", seen.shape == ours.shape and np.array_equal(seen, ours), seen.shape)
    check(f"{shot.name} colours are multiplied by alpha", soft_error < 0.004, soft_error)
    check(f"{shot.name} a subject", 0.01 < full_share < 0.95, full_share)
    return {"alpha is 1": f"{full_share:.0%}", "largest difference to foreground x A": f"{soft_error:.4f}"}


def check_clip(shot: Shot, source: Path, out: Path, count: int, check: Checks) -> dict[str, Any]:
    """Compare a ProRes 4444 clip and its EXR mattes with their source."""
    target = out / f"{shot.name}.mov"
    with av.open(str(source)) as container:
        before = [image.reformat(format="yuv444p12le") for image in container.decode(video=0)]
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        tags = {**video.metadata, **{key: value for stream in container.streams.data for key, value in stream.metadata.items()}}
        check(f"{shot.name} codec", video.codec_context.codec.canonical_name == "prores" and video.codec_context.format.name.startswith("yuva444p"), video)
        check(f"{shot.name} rate", video.average_rate == shot.rate, video.average_rate)
        check(f"{shot.name} timecode", tags.get("timecode") == shot.timecode, tags)
        check(f"{shot.name} sound", [stream.codec_context.name for stream in container.streams.audio] == ["pcm_s16le"])
        images = list(container.decode(video=0))
    check(f"{shot.name} frames", len(images) == len(before) == count, len(images))
    check(f"{shot.name} times", [image.pts * image.time_base for image in images] == [index / shot.rate for index in range(count)])
    worst, full_share = 0.0, 0.0
    for index, (image, plain) in enumerate(zip(images, before, strict=True)):
        spec, matte = opened(out / shot.name / f"{shot.name}_matte.{shot.first + index:04}.exr")
        check(f"{shot.name} matte", tuple(matte) == ("A",) and spec.width == image.width, tuple(matte))
        planes = [plane_of(image, place) for place in range(4)]
        alpha = planes[3] / 4095
        check(f"{shot.name} alpha of both outputs", np.abs(alpha - matte["A"]).max() < 1 / 255, np.abs(alpha - matte["A"]).max())
        full = matte["A"] == 1
        inner = cv2.erode(full.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0  # blocks of ProRes mix neighbours
        for place in range(3):
            difference = np.abs(planes[place] - plane_of(plain, place))[inner]
            worst = max(worst, float(difference.mean()) / 4 if difference.size else 0.0)
        full_share += float(full.mean()) / count
    check(f"{shot.name} colours where alpha is 1", worst < 3, worst)
    check(f"{shot.name} a subject", 0.01 < full_share < 0.95, full_share)
    return {"alpha is 1": f"{full_share:.0%}", "mean difference of colour there, of 1023": f"{worst:.2f}"}


def half_floats(image: av.VideoFrame) -> NDArray[np.float16]:
    """(H, W, 4) of an EXR that FFmpeg decoded."""
    assert image.format.name == "gbrapf16le", image.format.name
    planes = [np.frombuffer(memoryview(plane), np.float16).reshape(plane.height, -1)[:, : plane.width] for plane in image.planes]
    return np.dstack([planes[place] for place in (2, 0, 1, 3)])


def plane_of(image: av.VideoFrame, place: int) -> NDArray[np.float32]:
    """A plane of 4:4:4 video of 12 bits."""
    plane = image.planes[place]
    return np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width].astype(np.float32)


def straight_of(shot: Shot, out: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first cut-out as it was written: straight light of Rec.709 primaries (H, W, 3), and alpha (H, W, 1)."""
    if shot.kind in ("exr", "dpx"):
        (path, *_) = sorted((out / shot.name).glob(f"{shot.name}_cut.*.exr"))
        cut = {name: channel.astype(np.float32) for name, channel in opened(path)[1].items()}
        alpha = cut["A"][:, :, None]
        coded = np.where(alpha > 0, stacked(cut) / np.maximum(alpha, 1e-3), 0)
    else:
        with av.open(str(out / f"{shot.name}.mov")) as container:
            rgba = next(container.decode(video=0)).to_ndarray(format="rgba64le").astype(np.float32) / np.float32(65535)
        coded, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    return converted(np.ascontiguousarray(coded, np.float32), "lin_rec709", source=shot.space), alpha


def sheet(shots: list[tuple[Shot, Path]], out: Path, clips: dict[str, list[NDArray[np.float32]]]) -> NDArray[np.uint8]:
    """A row for each shot: the image in sRGB, the matte, and what was written over a checkerboard."""
    rows = []
    for shot, _ in shots:
        light, alpha = straight_of(shot, out)
        y, x = np.indices(alpha.shape[:2]) // 16
        board = ((x + y) % 2 * 0.3 + 0.4)[:, :, None]
        seen, cut = (np.power(np.clip(each, 0, 1), 1 / 2.2) for each in (clips[shot.name][0], light))
        parts = [seen, np.repeat(alpha, 3, 2), cut * alpha + board * (1 - alpha)]
        rows.append(cv2.resize(np.hstack(parts)[:, :, ::-1], (960, 180), interpolation=cv2.INTER_AREA))
    return np.asarray(np.rint(np.vstack(rows) * 255), np.uint8)


def main() -> int:
    """Make the shots, matte them, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="a clip, or a folder of clips, which are taken in turn")
    parser.add_argument("folder", type=Path, help="for plates and results; what a run before left there is removed")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    sources = sorted(path for path in arguments.clips.iterdir() if path.suffix in (".mp4", ".mkv", ".mov")) if arguments.clips.is_dir() else [arguments.clips]
    plates, out = arguments.folder / "plates", arguments.folder / "out"
    for each in (plates, out):
        shutil.rmtree(each, ignore_errors=True)
    shots, clips = [], {}
    for index, shot in enumerate(SHOTS):
        clips[shot.name] = images_of(sources[index % len(sources)], arguments.frames, arguments.width)
        source = plates / shot.name if shot.kind in ("exr", "dpx") else plates / f"{shot.name}.mov"
        (write_plates if source.suffix == "" else write_clip)(shot, clips[shot.name], source)
        shots.append((shot, source))
    job = arguments.folder / "shots.toml"
    job.write_text("\n\n".join(job_of(shot, source.relative_to(arguments.folder)) for shot, source in shots))
    command = [sys.executable, "-m", "streammat", "batch", str(job), str(out), "--quality", arguments.quality, "--workers", str(arguments.workers), "--json"]
    begin = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own command line
    took = time.monotonic() - begin
    print(done.stderr, end="")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    check = Checks()
    check("batch", done.returncode == 0 and sum(event["event"] == "done" for event in events) == len(SHOTS), done.returncode)
    if check.failed:
        return 1
    print(f"{len(SHOTS)} shots of {arguments.frames} frames, {arguments.width} pixels wide, in one command: {took:.0f} s")
    for shot, source in shots:
        checked = check_sequence if source.is_dir() else check_clip
        found = checked(shot, source, out, arguments.frames, check)
        print(f"| {shot.name} | {shot.kind} {shot.space} | {', '.join(f'{name}: {value}' for name, value in found.items())} |")
    cv2.imwrite(str(arguments.folder / "sheet.png"), sheet(shots, out, clips))
    print(f"{check.done} checks, {len(check.failed)} failed")
    return int(bool(check.failed))


if __name__ == "__main__":
    sys.exit(main())
