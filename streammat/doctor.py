"""Checks whether live video will work here, and says what to do about each problem."""

from __future__ import annotations

import hashlib
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from streammat.audio.microphone import Microphone
from streammat.audio.track import Block
from streammat.bench.clip import clip_images, write_clip
from streammat.config import LiveOptions
from streammat.devices import listing as devices
from streammat.devices import portaudio, virtual_cameras
from streammat.engines import shipped as models
from streammat.engines.base import default_threads
from streammat.engines.choice import int8_feature
from streammat.engines.registry import installed_backends
from streammat.errors import StreammatError, one_line
from streammat.jobs.live import LiveRun
from streammat.stats import LiveReport

State = Literal["ok", "warning", "failed"]
TRIAL_SIZE: Final = (720, 1280)
TRIAL_SECONDS: Final = 3.0
_LISTEN_SECONDS: Final = 0.7
SYSTEM: Callable[[], virtual_cameras.System] = virtual_cameras.System
"""The machine to check."""
_LEAST_SHARE: Final = 0.9  # of the camera's frames that must be shown


@dataclass(frozen=True)
class Finding:
    """One finding of the check."""

    name: str
    state: State
    message: str
    """What was found, and what to do about it if there is no ``next_step``."""
    next_step: str | None = None
    """What to do next."""
    details: dict[str, Any] = field(default_factory=dict)
    """Details for a request for help."""


def examine(options: LiveOptions, seconds: float = TRIAL_SECONDS) -> Iterator[Finding]:
    """Check everything, one after the other, and yield the findings; a failure is a finding, not an error.

    Args:
        options: engine and quality of the trial run.
        seconds: length of the trial run.
    """
    for name, check in (
        ("weights", _weights), ("cpu", _cpu), ("engine", lambda: _engine(options)), ("cameras", _cameras),
        ("virtual camera", _virtual_camera), ("browsers", _browsers), ("microphones", _microphones), ("trial", lambda: _trial(options, seconds)),
    ):
        yield _guarded(name, check)


def _guarded(name: str, check: Callable[[], tuple[State, str] | Finding]) -> Finding:
    try:
        found = check()
        if isinstance(found, Finding):
            return found
        state, message = found
    except (StreammatError, OSError) as error:
        # Without sound everything else works.
        state, message = "warning" if name == "microphones" else "failed", one_line(error)
    return Finding(name, state, message)


def _weights() -> tuple[State, str]:
    wrong = []
    card = models.card()
    files = models.shipped()
    for kind, path in (("fp32", files.fp32), ("int8", files.int8)):
        if path is None:
            continue
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if digest != card["files"][kind]["sha256"]:
            wrong.append(Path(path).name)
    if wrong:
        return "failed", f"{', '.join(wrong)}: not what was shipped (sha256 differs); reinstall streammat"
    return "ok", f"{card.get('name', 'lite')}: fp32 and int8 files are as they were shipped"


def _cpu() -> tuple[State, str]:
    feature = int8_feature()
    threads = default_threads()
    if feature is None:
        return "warning", f"{threads} threads, no int8 dot products: the network runs in fp32, which is slower"
    return "ok", f"{threads} threads, {feature}: the network runs in int8"


def _engine(options: LiveOptions) -> tuple[State, str]:
    from streammat.matting.network import open_network
    from streammat.models.library import find_model

    engine = open_network(find_model(options.matting.model), TRIAL_SIZE, 0, options.matting)
    spec = engine.spec
    engine.close()
    height, width = spec.size
    message = f"{spec.backend} {spec.version}, {spec.precision}, {width}x{height} for 720p ({spec.reason})"
    if "openvino" not in installed_backends():
        return "ok", f"{message}; on Intel and AMD pip install 'streammat[openvino]' is faster"
    return "ok", message


def _cameras() -> tuple[State, str]:
    found = devices.find()
    if not found.cameras:
        return "warning", "none found; plug one in, or give --camera a file or an address"
    return "ok", "; ".join(f"{camera.id} {camera.name} ({len(camera.modes)} modes)" for camera in found.cameras)


def _virtual_camera() -> Finding:
    found = virtual_cameras.backends(SYSTEM())
    good = [backend for backend in found if backend.ready]
    steps = [backend.next_step for backend in good or found if backend.next_step is not None]
    message = "; ".join(backend.found for backend in found)
    if good:
        message += f"; in the meeting choose {' or '.join(dict.fromkeys(backend.name for backend in good))}"
    details = {"system": platform.platform(), "backends": [asdict(backend) for backend in found]}
    return Finding("virtual camera", "ok" if good else "warning", message, "; ".join(dict.fromkeys(steps)) or None, details)


def _browsers() -> Finding:
    hidden = virtual_cameras.portal(SYSTEM())
    if hidden is not None:
        return Finding("browsers", "warning", "this is a Wayland session", hidden)
    return Finding("browsers", "ok", "start streammat webcam first, then the meeting: many look for cameras at their start only")


def _microphones() -> tuple[State, str]:
    found = portaudio.devices("input")
    if not found:
        return "warning", "none found; plug one in where recordings and streams shall have sound"
    others = "; ".join(f"{microphone.id} {microphone.name}" for microphone in found)
    microphone = Microphone("default")
    blocks: list[Block] = []
    try:
        microphone.start(blocks.append)
        time.sleep(_LISTEN_SECONDS)
    finally:
        microphone.close()
    heard = sum(len(block.samples) for block in blocks) / microphone.rate
    peak = max((float(np.abs(block.samples).max()) for block in blocks), default=0.0)
    line = f"{microphone.name}: {heard:.1f} s at {microphone.rate} Hz heard in {_LISTEN_SECONDS:g} s"
    if heard < _LISTEN_SECONDS / 2:
        return "warning", f"{line}; check that no other program holds it (found: {others})"
    if not peak:
        return "warning", f"{line}, nothing but silence; is it switched off, or not allowed for this program? (found: {others})"
    return "ok", f"{line}, up to {20 * math.log10(peak):.0f} dB (found: {others})"


def _trial(options: LiveOptions, seconds: float) -> tuple[State, str]:
    """Run a drawn scene at 720p and 30 frames per second through all parts but a camera."""
    with tempfile.TemporaryDirectory(prefix="streammat-doctor-") as folder:
        clip = Path(folder) / "trial.mp4"
        write_clip(clip, clip_images(None, TRIAL_SIZE), TRIAL_SIZE, 30)
        report = _run(replace(options, camera=str(clip), loop=True, outputs=("null",), duration=seconds, fixed=True, control=None))
    latency = report.outputs[0].latency
    kept = 1 - report.dropped / report.captured if report.captured else 0.0
    line = (
        f"720p at 30 fps for {seconds:g} s: {report.fps:.1f} fps shown, latency {latency.p50_ms:.0f}/{latency.p99_ms:.0f} ms "
        f"(p50/p99), {report.dropped} of {report.captured} frames dropped"
    )
    if not report.shown.get("composite"):
        return "failed", f"{line}; no frame got through, {report.faults} faults"
    if kept < _LEAST_SHARE:
        return "warning", f"{line}; this machine does not keep up now: close other programs, or use --quality fast or a smaller --size"
    return "ok", line


def _run(options: LiveOptions) -> LiveReport:
    return LiveRun(options, lambda _: None).run()  # the report has the result


