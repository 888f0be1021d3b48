"""The sink that collects a report: measures of every frame, images of a few."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from streammat.config import Content
from streammat.media.damage import Damage
from streammat.media.frame import Frame, Matte, Packet
from streammat.media.images import reformatted
from streammat.media.planes import full_scale
from streammat.report.measures import COLUMNS, Measures, Measuring
from streammat.sources import StreamInfo
from streammat.timecode import parse_moment

CHECKS: Final = 16
"""Most frames to check per shot."""
STRIP: Final = 12
"""Most images in a shot's strip."""
_APART: Final = Fraction(1, 2)
"""Least distance in seconds of two frames to check; the worst one of nearer frames is taken."""
_SMALL: Final = 256
"""Longer side in pixels of the images that are measured."""
_SHOWN: Final = 320
"""Longer side in pixels of the images in a report."""
_SQUARE: Final = 12
"""Side in pixels of the checkerboard's squares."""


Images = dict[str, str]
"""Images as JPEG in base64: ``before``, ``matte`` and ``checkerboard``."""


@dataclass
class Check:
    """A frame to check."""

    index: int
    """Index of the frame, from 0."""
    frame: int
    """Frame number, as ``--frames`` takes it."""
    seconds: float
    timecode: str
    """Timecode; empty if the input has none."""
    severity: float
    """Severity, 0..1."""
    reasons: dict[str, float]
    images: Images


@dataclass
class ShotReport:
    """Report on one shot."""

    name: str
    rate: float
    """Frames per second."""
    frames: list[int] = field(default_factory=list)
    """Number of each frame, as ``--frames`` takes it."""
    seconds: list[float] = field(default_factory=list)
    """Time of each frame."""
    values: dict[str, list[float]] = field(default_factory=lambda: {column: [] for column in COLUMNS})
    """Measures by name (`COLUMNS`), one value for each frame."""
    cuts: list[int] = field(default_factory=list)
    """Indices of frames that begin a new scene."""
    checks: list[Check] = field(default_factory=list)
    """Frames to check, the worst first."""
    strip: list[tuple[int, str]] = field(default_factory=list)
    """Images of the subject over a checkerboard: (index, JPEG in base64)."""
    first_timecode: str = ""
    """Timecode of the first frame; empty if the input has none."""
    ends: list[Images] = field(default_factory=list)
    """Reduced first and last frame, to measure the change across a seam between shards."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, found: dict[str, Any]) -> ShotReport:
        """Make a report from the result of ``as_dict``."""
        checks = [Check(**check) for check in found["checks"]]
        return cls(**{**found, "checks": checks, "strip": [(index, image) for index, image in found["strip"]]})


class ReportSink:
    """Collects the report on one stream for ``streammat.report.page``; a sink for mattes beside the others.

    Args:
        path: path of the page.
        name: name of the shot.
        info: properties of the source.
        overwrite: replace an existing page.
    """

    content: Content = "matte"

    def __init__(self, path: str, name: str, info: StreamInfo, *, overwrite: bool) -> None:
        self.notes: list[str] = []
        self.damage: tuple[Damage, ...] = ()
        self.frames = 0
        self._path = Path(path)
        self._overwrite = overwrite
        self._info = info
        self._measuring = Measuring()
        self._report = ShotReport(name, float(info.rate))
        self._waiting: dict[str, Check] = {}  # the worst so far of each reason, until half a second has passed
        self._last: tuple[Frame, Matte] | None = None
        self._stride = 1
        self._scaler = VideoReformatter()
        self._closed = False

    def write(self, frame: Frame, matte: Matte) -> None:
        """Measure a frame."""
        rgb, alpha = self._small(frame, matte, _SMALL)
        measured = self._measuring(alpha, rgb)
        time = frame.pts * frame.time_base
        report, index = self._report, self.frames
        if not index:
            report.ends.append(self._images(frame, matte))
            report.first_timecode = self._timecode(self._number(frame))
        self._last = frame, matte
        report.frames.append(self._number(frame))
        report.seconds.append(round(float(time), 6))
        for column in COLUMNS:
            report.values[column].append(round(getattr(measured, column), 5))
        if measured.cut:
            report.cuts.append(index)
        if measured.reasons:
            self._consider(frame, matte, measured)
        if index % self._stride == 0:
            report.strip.append((index, _jpeg(over_checkerboard(*self._small(frame, matte, _SHOWN // 2)))))
            if len(report.strip) > 2 * STRIP:
                report.strip = report.strip[::2]
                self._stride *= 2
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Ignore the packet: a report has no other tracks."""

    def close(self) -> None:
        """Write the page, and CSV and JSON beside it."""
        from streammat.report.page import write_report

        if self._closed:
            return
        self._closed = True
        report = self._report
        if self._last is not None:
            report.ends.append(self._images(*self._last))
            self._last = None
        report.checks += self._waiting.values()
        self._waiting = {}
        report.checks = worst(report.checks)
        report.strip = report.strip[:: max(1, -(-len(report.strip) // STRIP))]
        if self.frames:
            write_report(self._path, [report], overwrite=self._overwrite)

    def abort(self) -> None:
        """Write nothing."""
        self._closed = True

    def _consider(self, frame: Frame, matte: Matte, measured: Measures) -> None:
        """Keep a frame to check, unless a worse one is near in time."""
        time = float(frame.pts * frame.time_base)
        severity = max(measured.reasons.values())
        reason = max(measured.reasons, key=lambda each: measured.reasons[each])
        near = self._waiting.get(reason)
        if near is not None and time - near.seconds < _APART:
            if near.severity >= severity:
                return
        elif near is not None:
            self._report.checks = worst([*self._report.checks, near])
        number = self._number(frame)
        self._waiting[reason] = _check(self.frames, number, time, self._timecode(number), measured.reasons, self._images(frame, matte))

    def _number(self, frame: Frame) -> int:
        return self._info.numbers[0] + self.frames if frame.number is None else frame.number

    def _timecode(self, number: int) -> str:
        tags = {**self._info.metadata, **self._info.stream_metadata}
        try:
            return str(parse_moment(tags["timecode"]).later(number - self._info.numbers[0], self._info.rate))
        except (KeyError, ValueError):
            return ""

    def _images(self, frame: Frame, matte: Matte) -> Images:
        rgb, alpha = self._small(frame, matte, _SHOWN)
        grey = np.repeat(np.rint(alpha * 255).astype(np.uint8)[:, :, None], 3, 2)
        return {"before": _jpeg(rgb), "matte": _jpeg(grey), "checkerboard": _jpeg(over_checkerboard(rgb, alpha))}

    def _small(self, frame: Frame, matte: Matte, longest: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the upright frame as RGB (h, w, 3) and its alpha (h, w), 0..1, reduced to at most ``longest`` pixels on a side."""
        height, width = frame.size
        scale = min(1.0, longest / max(height, width))
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        image = reformatted(frame, "rgb24", self._scaler, size=(rows, columns), interpolation="AREA")
        alpha = cv2.resize(matte.alpha, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(full_scale(matte.alpha))
        turned = np.rot90(image.to_ndarray(), frame.rotation), np.rot90(alpha, frame.rotation)
        return np.ascontiguousarray(turned[0], np.uint8), np.ascontiguousarray(turned[1], np.float32)


def merged(name: str, parts: Sequence[tuple[int, int, float, ShotReport]]) -> ShotReport:
    """Merge the reports of a shot's pieces, in order: (index of its first frame, what its numbers lack, its seconds,
    report) each.
    """
    whole = ShotReport(name, parts[0][3].rate)
    before: ShotReport | None = None
    for first, lack, seconds, part in parts:
        whole.frames += [lack + each for each in part.frames]
        whole.seconds += [round(seconds + each, 6) for each in part.seconds]
        for column in COLUMNS:
            whole.values[column] += part.values[column]
        whole.cuts += [first + cut for cut in part.cuts]
        checks = [*part.checks, *([] if before is None else _across(before, part))]
        whole.checks += [replace(check, index=first + check.index, frame=lack + check.frame, seconds=seconds + check.seconds) for check in checks]
        whole.strip += [(first + index, image) for index, image in part.strip]
        before = part
    whole.checks = worst(whole.checks)
    whole.strip = whole.strip[:: max(1, -(-len(whole.strip) // STRIP))]
    return whole


def _across(before: ShotReport, after: ShotReport) -> list[Check]:
    """Return a check of a piece's first frame, if it differs suspiciously from the last one of the piece before."""
    measuring = Measuring()
    for images in (before.ends[-1], after.ends[0]):
        rgb, alpha = (np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(images[kind]), np.uint8), cv2.IMREAD_COLOR_RGB)) for kind in ("before", "matte"))
        scale = min(1.0, _SMALL / max(rgb.shape))
        rgb, alpha = (cv2.resize(each, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for each in (rgb, alpha))
        measured = measuring(alpha[:, :, 0].astype(np.float32) / np.float32(255), np.asarray(rgb, np.uint8))
    known = next((check for check in after.checks if check.index == 0), None)  # for what needs no frame before it
    if not measured.reasons or (known is not None and measured.reasons.keys() <= known.reasons.keys()):
        return []
    return [_check(0, after.frames[0], after.seconds[0], after.first_timecode, measured.reasons, after.ends[0])]


def _check(index: int, number: int, seconds: float, timecode: str, reasons: Mapping[str, float], images: Images) -> Check:
    return Check(index, number, seconds, timecode, round(max(reasons.values()), 3), {each: round(value, 3) for each, value in reasons.items()}, images)


def worst(checks: list[Check]) -> list[Check]:
    """Return the most severe frames to check, the worst first; of those within half a second of each other the worst stands for all."""
    found: list[Check] = []
    for check in sorted(checks, key=lambda check: (-check.severity, check.index)):
        if len(found) < CHECKS and all(abs(check.seconds - other.seconds) >= _APART for other in found):
            found.append(check)
    return found


def over_checkerboard(rgb: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the image over a checkerboard; uint8 (h, w, 3)."""
    rows, columns = np.indices(alpha.shape) // _SQUARE
    board = np.where((rows + columns) % 2, np.float32(150), np.float32(105))[:, :, None]
    return np.asarray(np.rint(board + alpha[:, :, None] * (rgb - board)), np.uint8)


def _jpeg(rgb: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done
    return base64.b64encode(data.tobytes()).decode("ascii")
