"""The errors that train raises on purpose.

TrainError (StreammatError)
├── DataError           a data set, image or matte is missing, broken, of the wrong kind or does not fit its partner
└── RunError            a training run cannot start, go on or be written: preset, checkpoint, disk, device

Each message is one line: what was found; what was expected; what to do.
"""

from __future__ import annotations

from streammat.engines.errors import StreammatError


class TrainError(StreammatError):
    """Root of the errors of training."""


class DataError(TrainError):
    """A folder, image or matte is missing, broken, of the wrong kind or size."""


class RunError(TrainError):
    """A run cannot start, be resumed, or be written."""
