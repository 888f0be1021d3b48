"""The errors that streammat raises on purpose.

StreammatError              root of all; defined in `streammat.engines.errors`, so that engines and training share it
├── UsageError              the request is wrong: bad option, unknown colour, target equals source
├── InputError              something to be read is missing, broken or of the wrong kind
│   └── CameraLostError an open camera delivers no more images; it may come back
├── OutputError             something cannot be written: folder, disk, codec, container
├── EngineError             the network cannot be opened, or failed while it ran (`streammat.engines.base`)
└── TrainError              training and evaluation (`streammat.train.errors`)

Each message is one line: what was found; what was expected; what to do. ``first_line`` makes such lines of libraries' errors.
"""

from __future__ import annotations

from streammat.engines.errors import StreammatError, first_line, one_line, shortened

__all__ = ["CameraLostError", "InputError", "OutputError", "StreammatError", "UsageError", "first_line", "one_line", "shortened"]


class UsageError(StreammatError):
    """The request itself is wrong; exit code 2."""


class InputError(StreammatError):
    """An input is missing, empty, truncated, of the wrong kind, or cannot be decoded."""


class CameraLostError(InputError):
    """An open camera or stream delivers no more images: unplugged, switched off, network lost."""


class OutputError(StreammatError):
    """An output cannot be opened, encoded or finished."""
