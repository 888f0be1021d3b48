"""Opens the engine that runs a model for frames of one size."""

from __future__ import annotations

from contextlib import ExitStack

from streammat.config import MattingOptions
from streammat.engines.base import Engine, Part
from streammat.engines.choice import choose, open_engine
from streammat.engines.model_files import ModelFiles
from streammat.engines.multiscale import several_sizes
from streammat.engines.registry import BACKENDS
from streammat.matting.device import BATCH
from streammat.matting.matting import network_sizes
from streammat.threads.interruptible import answer_of


class Networks:
    """Opens networks for successive runs.

    Args:
        keep: the last one stays open, so that a run that wants the same begins at once.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._kept: tuple[object, Engine] | None = None
        self.opened = 0
        """Number of networks opened so far."""

    def open(self, model: ModelFiles, size: tuple[int, int], rotation: int, options: MattingOptions, *, batch: int = 1, parallel: int = 1) -> Engine:
        """Open a network as ``open_network`` does; return it with ``give_back``."""
        wanted = model, size if rotation % 2 == 0 else size[::-1], options, batch, parallel
        if self._kept is not None and self._kept[0] == wanted:
            return self._kept[1]
        self.close()
        engine = open_network(model, size, rotation, options, batch=batch, parallel=parallel)
        self.opened += 1
        if self._keep:
            self._kept = wanted, engine
        return engine

    def give_back(self, engine: Engine) -> None:
        """Return a network after its run; may be called twice."""
        if self._kept is None or self._kept[1] is not engine:
            engine.close()

    def close(self) -> None:
        """Close the kept network."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None


def open_network(
    model: ModelFiles, size: tuple[int, int], rotation: int, options: MattingOptions, *, batch: int = 1, parallel: int = 1
) -> Engine:
    """Open the engine for ``model`` and frames of ``size`` (height, width), stored ``rotation`` quarter turns from upright;
    ``batch`` and ``parallel`` are as `streammat.engines.choice.open_engine` takes them.
    """
    return answer_of(lambda: _open_network(model, size if rotation % 2 == 0 else size[::-1], options, batch, parallel), "streammat-network")


def _open_network(model: ModelFiles, size: tuple[int, int], options: MattingOptions, batch: int, parallel: int) -> Engine:
    """Open the engine for upright frames, in the calling thread."""
    sizes = network_sizes(*size, options.quality, model.areas)
    fused = len(sizes) > 1 and bool(model.parts) and BACKENDS[choose(model, options.engine, options.precision, options.device, sizes[0], batch).backend].parts
    engines: list[Engine] = []
    with ExitStack() as undo:
        for wanted in sizes:
            part: Part = "alpha" if not fused else "glance" if engines else "focus"
            engines.append(open_engine(
                model, options.engine, options.precision, wanted, options.threads, device=options.device, batch=batch, part=part, parallel=parallel,
            ))  # fmt: skip
            undo.callback(engines[-1].close)
        undo.pop_all()
    return engines[0] if len(engines) == 1 else several_sizes(engines, fused=fused)


PARALLEL = 4
"""Most frames of a file that a CPU's network runs on in parallel, with its threads shared out: each takes 20 to 45 MB."""


def frames_at_once(model: ModelFiles, size: tuple[int, int], rotation: int, options: MattingOptions) -> int:
    """Return the batch size for a file's frames with ``open_network``'s engine. Torch takes any number up to one; a TensorRT
    engine is built for one number, by default one; a CPU gains nothing by a batch.
    """
    height, width = size if rotation % 2 == 0 else size[::-1]
    largest = network_sizes(height, width, options.quality, model.areas)[0]
    chosen = choose(model, options.engine, options.precision, options.device, largest).backend
    return BATCH if BACKENDS[chosen].any_batch else 1
