# ruff: noqa: INP001 - scripts are no package
"""Ways of handing frames with alpha to another program on this machine: what FFmpeg of PyAV's wheel can write and read again, and what it takes.

Frames of 720p with a soft-edged subject, as ``--to alpha`` sends them, are written and read in memory; CPU is user and system time for a frame, on one
thread. ``alpha`` says whether it came back as it was. Then the network protocols that streaming programs ask for are looked up.

    python benchmarks/live/alpha.py
"""

from __future__ import annotations

import argparse
import io
import time
from fractions import Fraction

import av
import numpy as np

SIZE, FRAMES = (720, 1280), 30
WAYS = (
    ("nut", "rawvideo", "yuva420p", {}), ("nut", "ffv1", "yuva420p", {"level": "3", "slices": "4"}), ("nut", "utvideo", "gbrap", {}),
    ("nut", "png", "rgba", {}), ("matroska", "libvpx-vp9", "yuva420p", {"deadline": "realtime", "cpu-used": "8"}),
    ("mpegts", "libx264", "yuva420p", {"preset": "ultrafast"}),
)
PROTOCOLS = ("tcp", "udp", "rtmp", "rtsp", "srt", "rist")


def drawn() -> list[av.VideoFrame]:
    """The frames: a textured subject that moves, black where nothing is."""
    height, width = SIZE
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for index in range(FRAMES):
        alpha = np.clip((0.2 - np.hypot(y / height - 0.6, (x - 4 * index) / width - 0.45)) * 40, 0, 1)
        rgba = np.zeros((height, width, 4), np.uint8)
        rgba[..., :3] = (alpha[..., None] > 0) * random.integers(60, 160, (height, width, 3))
        rgba[..., 3] = np.rint(255 * alpha)
        frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format="yuva420p")
        frame.pts, frame.time_base = index, Fraction(1, 30)
        frames.append(frame)
    return frames


def alpha_of(frame: av.VideoFrame) -> np.ndarray:
    """(H, W)."""
    return frame.reformat(format="rgba").to_ndarray()[..., 3]


def tried(form: str, codec: str, pixels: str, options: dict[str, str], frames: list[av.VideoFrame]) -> str:
    """Return a row of the table."""
    try:
        out = io.BytesIO()
        container = av.open(out, "w", format=form)
        stream = container.add_stream(codec, rate=30, options=options)
        stream.height, stream.width, stream.pix_fmt = *SIZE, pixels
        stream.codec_context.thread_count = 1
        begin = time.process_time()
        for frame in [*frames, None]:
            container.mux(stream.encode(frame))
        container.close()
        written = time.process_time() - begin
        out.seek(0)
        begin = time.process_time()
        with av.open(out, format=form) as source:
            got = list(source.decode(video=0))
        read = time.process_time() - begin
    except (av.FFmpegError, ValueError, OSError) as error:
        return f"| {codec} in {form} | {' '.join(str(error).split())[:60]} | | | |"
    kept = "a" in got[0].format.name.removeprefix("yuv").removeprefix("gbr").removeprefix("rgb")
    worst = max(int(np.abs(alpha_of(one).astype(int) - alpha_of(other)).max()) for one, other in zip(frames, got, strict=True)) if kept else 255
    alpha = "exact" if worst == 0 else f"up to {worst} off" if kept else "lost"
    size = len(out.getvalue()) / 1e6 / len(frames) * 30
    return f"| {codec} in {form} | {1000 * written / len(frames):.1f} | {1000 * read / len(frames):.1f} | {size:.1f} | {alpha} |"


def there(protocol: str) -> bool:
    """Return whether FFmpeg knows ``protocol``; nobody answers at the address."""
    try:
        av.open(f"{protocol}://127.0.0.1:9", timeout=1).close()
    except av.error.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError, ValueError):
        pass
    return True


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    frames = drawn()
    print("| way | CPU ms, written | read | MB a second | alpha |\n|---|---|---|---|---|")
    for form, codec, pixels, options in WAYS:
        print(tried(form, codec, pixels, options, frames), flush=True)
    print("protocols: " + ", ".join(f"{protocol} {'there' if there(protocol) else 'missing'}" for protocol in PROTOCOLS))


if __name__ == "__main__":
    main()
