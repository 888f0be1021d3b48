"""Cut people and animals out of images, recorded and live video, and put them on another background.

    import streammat

    alpha = streammat.matte("me.jpg")                                   # float32 (H, W), 0..1
    rgba = streammat.cutout(rgb)                                        # uint8 (H, W, 4), straight alpha
    streammat.process_video("in.mp4", "out.mp4", background="beach.jpg")

Importing the package loads no other library; each name below loads what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streammat import events
    from streammat.api.live import LiveSession
    from streammat.api.matting import Matting, cutout, matte
    from streammat.api.video import VideoFrame, mattes, process_video
    from streammat.engines.base import EngineError
    from streammat.errors import CameraLostError, InputError, OutputError, StreammatError, UsageError
    from streammat.stats import LiveReport, Report

__all__ = [
    "CameraLostError",
    "EngineError",
    "InputError",
    "LiveReport",
    "LiveSession",
    "Matting",
    "OutputError",
    "Report",
    "StreammatError",
    "UsageError",
    "VideoFrame",
    "__version__",
    "cutout",
    "events",
    "matte",
    "mattes",
    "process_video",
]

_HOMES = {
    "streammat.api.live": ("LiveSession",),
    "streammat.api.matting": ("Matting", "cutout", "matte"),
    "streammat.api.video": ("VideoFrame", "mattes", "process_video"),
    "streammat.engines.base": ("EngineError",),
    "streammat.errors": ("CameraLostError", "InputError", "OutputError", "StreammatError", "UsageError"),
    "streammat.stats": ("LiveReport", "Report"),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    from importlib import import_module, metadata

    value: Any = None
    if name == "__version__":
        value = metadata.version("streammat")
    elif name == "events":
        value = import_module("streammat.events")
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home), name)
    if value is None:
        raise AttributeError(f"module 'streammat' has no attribute {name!r}; public names: {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
