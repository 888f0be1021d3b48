"""Exchanges the network of a live run while the one before it works on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, get_args

from streammat import events
from streammat.config import LiveOptions, MattingOptions, Quality
from streammat.engines.base import Engine, EngineError
from streammat.errors import UsageError
from streammat.live.events import Faults
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.live.pipeline import PATIENCE, FrameCounts
from streammat.live.quality import QualityController, QualityLevel, levels
from streammat.sources import StreamInfo

_QUALITIES: Final[tuple[Quality, ...]] = get_args(Quality)
# The network is opened anew after nothing but faults, so many at least, for so many seconds.
_REPAIR_FAULTS, _REPAIR_SECONDS, _LONGEST_PATIENCE = 3, 2.0, 60.0


class NetworkExchange:
    """Opens another network for three reasons: a cheaper one holds the frame rate, another quality was asked for, or all frames fail.

    Args:
        matting: its engine is exchanged.
        open_network: opens an engine with other options of matting.
        areas: as in `streammat.matting.matting.network_sizes`.
        options: options of the run; `ask_for` replaces them.
        info: properties of the source.
        adopt: called with each new level of quality.
        faults: called with the error of a network that cannot be opened.
        emit: called with ``level`` and ``said``.
    """

    def __init__(
        self, matting: CheckedMatting, open_network: Callable[[MattingOptions], Engine], areas: Sequence[int], options: LiveOptions, info: StreamInfo,
        adopt: Callable[[QualityLevel], None], faults: Faults, emit: events.Emit,
    ) -> None:
        self.options = options
        self._matting, self._open_network, self._areas, self._info = matting, open_network, areas, info
        self._adopt, self._faults, self._emit = adopt, faults, emit
        self._controller = self._new_controller()
        self._at_work = self._controller.level.matting
        self._opening: threading.Thread | None = None
        self._asked = False
        self._composed = self._faults_then = 0
        self._good_at, self._patience = time.monotonic(), _REPAIR_SECONDS

    @property
    def lowered(self) -> int:
        """Number of steps below the quality that was asked for."""
        return self._controller.index

    @property
    def opening(self) -> bool:
        """True while another network is being opened."""
        return self._opening is not None and self._opening.is_alive()

    def choose_quality(self, wanted: str) -> None:
        """Use another quality from the next `update` on.

        Raises:
            UsageError: there is no such quality.
        """
        known = next((quality for quality in _QUALITIES if quality == wanted), None)
        if known is None:
            raise UsageError(f"quality: value is {wanted[:80]!r}; expected {', '.join(_QUALITIES)}")
        self.ask_for(replace(self.options, matting=replace(self.options.matting, quality=known)))

    def ask_for(self, options: LiveOptions) -> None:
        """Use other options from the next `update` on."""
        self.options = options
        self._controller = self._new_controller()
        self._asked = True

    def update(self, now: float, progress: FrameCounts, busy_ms: Callable[[], float], *, paused: bool) -> None:
        """Exchange the network if it is time to.

        Args:
            now: seconds, of ``time.monotonic``.
            progress: frame counts of the run.
            busy_ms: returns the time of the slowest stage per frame.
            paused: the image is held, so the frame rate says nothing.
        """
        self._repair(now, progress.composed, progress.faults)
        if self.opening:
            return
        if self._asked:
            self._asked = False
            self._work_at_level()
        elif not (self.options.fixed or paused):
            # Frames that failed say nothing about speed.
            worked_on = progress.captured - progress.faults
            if self._controller.update(now, worked_on, progress.composed, busy_ms(), float(self._info.rate)):
                self._work_at_level()

    def wait(self) -> None:
        """Wait a moment for a network that is being opened; afterwards `opening` says whether it still is."""
        if self._opening is not None:
            self._opening.join(PATIENCE)

    def _new_controller(self) -> QualityController:
        return QualityController(levels(self.options, self._matting.spec, self._info.size, self._areas))

    def _work_at_level(self) -> None:
        level, index = self._controller.level, self._controller.index
        self._emit(events.Level(f"to hold the rate: {level}" if index else f"the quality that was asked for: {level}", index))
        self._adopt(level)
        if level.matting == self._at_work:
            self._controller.restart()
        else:
            self._exchange(level.matting)

    def _exchange(self, matting: MattingOptions) -> None:
        """Open another network while the current one works on, then replace it."""
        if self.opening:
            return

        def body() -> None:
            try:
                self._matting.exchange(self._open_network(matting))
                self._at_work = matting
            except EngineError as error:
                self._faults(error)
            self._controller.restart()

        self._opening = threading.Thread(target=body, name="streammat-network", daemon=True)
        self._opening.start()

    def _repair(self, now: float, composed: int, faults: int) -> None:
        """Reopen the network if all its frames fail, each time after twice the waiting time."""
        if composed != self._composed:
            self._composed, self._faults_then, self._good_at = composed, faults, now
            self._patience = _REPAIR_SECONDS
        elif faults - self._faults_then >= _REPAIR_FAULTS and now - self._good_at > self._patience:
            self._good_at, self._faults_then = now, faults
            self._patience = min(_LONGEST_PATIENCE, 2 * self._patience)
            self._emit(events.Said("the network is opened anew"))
            self._exchange(self._controller.level.matting)
