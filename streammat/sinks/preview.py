"""Sink for a window on the screen, through OpenCV, which also reads keys. Only this module uses OpenCV's windows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cv2

from streammat.config import Content
from streammat.errors import OutputError
from streammat.media.frame import Frame, Matte, Packet

TITLE = "streammat"
# Qt ends the whole process where it finds no display, so a child tries first.
_TRIAL = "import cv2; cv2.namedWindow('streammat'); cv2.waitKey(1)"


class PreviewSink:
    """One window; if the user closes it, this output ends, and the others go on.

    Args:
        key: called with each key that is pressed in the window, as a character.
        ui: the module that draws; OpenCV, except in tests.

    Raises:
        OutputError: there is no display.
    """

    def __init__(self, key: Callable[[str], None], ui: Any = None) -> None:
        self.content: Content = "composite"
        self.notes: list[str] = []
        self.frames = 0
        self._key = key
        self._open = False
        if ui is None:
            _check_display()
        self._ui: Any = cv2 if ui is None else ui

    def write(self, frame: Frame, matte: Matte) -> None:
        """Draw one frame and check for a key.

        Raises:
            OutputError: the window was closed.
        """
        del matte
        if not self._open:
            # Made by the thread that draws: toolkits insist on that.
            self._ui.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            self._open = True
        elif self._ui.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            raise OutputError("preview: the window was closed")
        self._ui.imshow(TITLE, frame.image.to_ndarray(format="bgr24"))
        pressed = self._ui.waitKey(1)
        if pressed >= 0:
            self._key(chr(pressed & 0xFF))
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Ignore the packet: a window has no other tracks."""

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._open:
            self._open = False
            self._ui.destroyAllWindows()

    def abort(self) -> None:
        """Close the window."""
        self.close()


def _check_display() -> None:
    x11 = sys.platform.startswith("linux")
    if x11 and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OutputError("preview: no display (DISPLAY and WAYLAND_DISPLAY are not set); leave out --to preview, or run it on a desktop")
    if not x11:
        return
    trial = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    if trial.returncode:
        said = (trial.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OutputError(f"preview: no window can be opened ({said[:160]}); check DISPLAY, or leave out --to preview")
