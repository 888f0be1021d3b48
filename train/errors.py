"""The errors that train raises on purpose.

TrainError (StreammatError)
├── DataError           a data set, image or matte is missing, broken, of the wrong kind or does not fit its partner
└── RunError            a training run cannot start, go on or be written: preset, checkpoint, disk, device

Each message is one line that names what was found, what was expected and the cure.
"""

from __future__ import annotations

from streammat.engines.errors import StreammatError


class TrainError(StreammatError):
    """Root of what training raises."""


class DataError(TrainError):
    """A folder, image or matte is missing, broken, of the wrong kind or size."""


class RunError(TrainError):
    """A run cannot start, be resumed, or be written."""
