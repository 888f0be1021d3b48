"""Counts lost and repaired frames of a file, with their places, by following packets into the decoder and images out of it."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

import av

from streammat.media.damage import Damage
from streammat.media.frame import Packet

_LATEST = 64
"""Packets after which a decoder has returned a packet's image, or never will: it holds 16 for reordering and one per thread."""
_BETWEEN = 64
"""Most bytes between two packets in Matroska: headers of blocks and clusters."""
_ONE_EACH = {"h264", "hevc", "vvc", "av1", "mpeg1video", "mpeg2video", "prores", "ffv1", "mjpeg", "dnxhd"}
"""Codecs with one image per packet, unless fields have their own packets; others have packets without an image."""


class PacketWatch:
    """Follows every packet of a file in file order, and every decoded image of its video.

    Args:
        video: the decoded track.
        rate: frames per second.
        zero: the input's time, in seconds, at which the output's clock begins; earlier damage is not counted.
        matroska: packets are contiguous in the file, so that a hole shows skipped data.
        broadcast: sound has no gaps, so that a gap shows skipped data.
    """

    def __init__(self, video: av.VideoStream, rate: Fraction, zero: Fraction | None, *, matroska: bool, broadcast: bool) -> None:
        self._video = video.index
        self._rate = rate
        self._zero = zero
        self._matroska = matroska
        self._broadcast = broadcast
        self._one_each = video.codec_context.codec.canonical_name in _ONE_EACH
        self._headless = Damage("video", "frame before the first keyframe is lost", "frames before the first keyframe are lost")
        self._lost = Damage("video", "frame is lost", "frames are lost")
        self._patched = Damage("video", "damaged frame is shown as the decoder mends it", "damaged frames are shown as the decoder mends them")
        self._silent: dict[int, Damage] = {}
        self._misplaced: dict[int, Damage] = {}
        self._waiting: dict[int, tuple[Fraction, int | None]] = {}  # by pts: the time, and the frame that is shown next
        self._suspect: tuple[int, Fraction, int] | None = None  # of the last packet, where its container calls it damaged: pts, time, seams
        self._suspects: set[int] = set()
        self._counted: deque[int] = deque(maxlen=_LATEST)
        self._unplaced: list[tuple[Fraction, int]] = []  # times and numbers of lost frames, till it is known which frame comes next
        self._next = 0  # number of the next frame
        self._begun = False
        self._end = 0  # of the packet that lies last so far, in bytes
        self._holes = 0
        self._track: dict[int, tuple[Fraction, int, int]] = {}  # when a track's next packet is due; holes and seams till then

    @property
    def damage(self) -> list[Damage]:
        """The damage found; complete once ``finish`` has been called."""
        return [each for each in (self._headless, self._lost, self._patched, *self._silent.values(), *self._misplaced.values()) if each]

    def passes(self, packet: Packet, seams: int) -> None:
        """Record a packet of sound or video; ``seams``: number of seams so far."""
        index = packet.stream.index
        if self._matroska and packet.pos is not None and packet.pos >= 0:
            if self._end and packet.pos > self._end + _BETWEEN:
                self._holes += 1
            self._end = max(self._end, packet.pos + packet.size)
        if packet.is_corrupt:
            self._holes += 1
        if packet.dts is None or packet.time_base is None:
            return
        time = packet.dts * packet.time_base
        step = (packet.duration or 0) * packet.time_base or 1 / self._rate
        due, holes, parts = self._track.get(index, (time, self._holes, seams))
        skipped = holes < self._holes or (self._broadcast and index != self._video)
        if time - due > step / 2 and skipped and parts == seams:
            self._missed(index, due, max(1, round((time - due) / step)))
        # A packet marked as damaged may be the one after the hole, or the one before it.
        self._track[index] = (time + step, self._holes - packet.is_corrupt, seams)

    def repaired(self, packet: Packet) -> None:
        """Record that the time of a packet was damaged and repaired."""
        index, at = packet.stream.index, packet.dts or 0
        track = "video" if index == self._video else f"{packet.stream.type} track {index}"
        new = Damage(track, "damaged time is mended", "damaged times are mended")
        self._count(self._misplaced.setdefault(index, new), at * packet.time_base, None)

    def given(self, packet: Packet, seams: int) -> None:
        """Record that the decoder gets a packet of the video."""
        if self._suspect is not None:
            # A recording that ends at a seam is called damaged there, and is not.
            if self._suspect[2] == seams:
                self._confirm()
            self._suspect = None
        if packet.pts is None or not packet.size or packet.is_discard:
            return
        time = packet.pts * packet.time_base
        if packet.is_corrupt:
            self._suspect = packet.pts, time, seams
        self._waiting[packet.pts] = time, None
        if len(self._waiting) > _LATEST:
            self._give_up(next(iter(self._waiting)))

    def refused(self, packet: Packet) -> None:
        """Record that the decoder failed on this packet or an earlier one."""
        if not self._one_each or packet.pts is None:
            at = packet.dts if packet.pts is None else packet.pts
            self._unplaced.append(((at or 0) * packet.time_base, 1))

    def shows(self, image: av.VideoFrame, index: int) -> None:
        """Record that the decoder returned an image, which becomes frame ``index``."""
        self._next = index + 1
        if image.interlaced_frame:
            self._one_each = False
        pts = image.pts
        if pts is None:
            return
        self._waiting.pop(pts, None)
        time = pts * (image.time_base or Fraction(0))
        for at, number in [each for each in self._unplaced if each[0] < time]:
            self._count(self._lost, at, index, number)
        self._unplaced = [each for each in self._unplaced if each[0] >= time]
        earlier = [each for each in self._waiting if each < pts]
        if not self._begun:
            self._begun = True
            if earlier:
                first = self._waiting[min(earlier)][0]
                number = len(earlier) if self._one_each else max(1, round((time - first) * self._rate))
                self._count(self._headless, first, index, number)
            for each in earlier:
                del self._waiting[each]
        else:
            for each in earlier:
                if self._waiting[each][1] is None:
                    self._waiting[each] = self._waiting[each][0], index
        if image.is_corrupt or pts in self._suspects:
            self._suspects.discard(pts)
            self._counted.append(pts)
            self._count(self._patched, time, index)

    def finish(self, end: Fraction | None = None) -> None:
        """Record that the video was decoded up to ``end``, in seconds of the input's clock, or to its own end."""
        if self._suspect is not None:
            self._confirm()
        for pts, (time, _) in list(self._waiting.items()):
            if end is None or time < end:
                self._give_up(pts)
        for at, number in self._unplaced:
            if end is None or at < end:
                self._count(self._lost, at, None, number)
        self._unplaced = []

    def _confirm(self) -> None:
        """Report the image of a packet that the container called damaged; it may have been returned already."""
        assert self._suspect is not None
        pts, time, _ = self._suspect
        if pts in self._waiting:
            self._suspects.add(pts)
        elif pts not in self._counted:
            self._counted.append(pts)
            self._count(self._patched, time, max(0, self._next - 1))

    def _give_up(self, pts: int) -> None:
        """Count a packet without an image."""
        time, frame = self._waiting.pop(pts)
        self._suspects.discard(pts)
        if self._one_each:
            self._count(self._lost, time, frame)

    def _missed(self, index: int, time: Fraction, count: int) -> None:
        """Count packets of a track that are missing in the file."""
        if index == self._video:
            self._unplaced.append((time, count))
            return
        new = Damage(f"audio track {index}", "packet is missing", "packets are missing")
        self._count(self._silent.setdefault(index, new), time, None, count)

    def _count(self, damage: Damage, time: Fraction, frame: int | None, count: int = 1) -> None:
        seconds = time - (self._zero or 0)
        if self._zero is None or seconds >= 0:
            damage.add(seconds, frame, count)
