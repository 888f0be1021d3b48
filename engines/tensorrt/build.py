"""Builds half-precision TensorRT engines from a model's weights, compares them with torch, and stores them in the cache.

TensorRT's networks are strongly typed: each layer computes in the type of its tensors. So the exported network determines the
types, `streammat.engines.network.folded.FoldedMatte` in half precision with float inputs and outputs; no builder option does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streammat.engines.backends.cuda import device_error, load_weights, run_on_host
from streammat.engines.base import EngineError, EngineUnavailableError, check_rgb, check_size
from streammat.engines.export.parity import NOTICEABLE, Parity, compare, draw
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import check_present, probe
from streammat.engines.tensorrt.cache import BuildOptions, Cached, EngineCache
from streammat.engines.tensorrt.convert import LESS, Progress, export_half, serialize
from streammat.engines.tensorrt.engine import HINT, DeviceEngine, key_here
from streammat.engines.tensorrt.types import Layers, count_layers

if TYPE_CHECKING:
    from streammat.engines.network.gfm import GFM

logger = logging.getLogger(__name__)

LEVELS = range(6)
LARGEST_MEAN = 5e-3
LARGEST_OFF = 0.1
"""Where `lite` is uncertain, as in the drawn images, summing float16 in float16, as some kernels do, changes alpha by 0.0017 on
average, and by more than `NOTICEABLE` in 8 % of the pixels, at the worst of three sizes (emulated on a CPU); in the photograph by
0.00002. Bfloat16 changes it by 0.012 and 17 % in the drawn ones. So photographs, for which the network is certain, have their own
bounds.
"""
PHOTOGRAPHS_MEAN = 2e-3
PHOTOGRAPHS_OFF = 0.02


@dataclass(frozen=True)
class Built:
    """A built engine and its measurements."""

    plan: bytes
    """The serialized engine, which runs with the TensorRT runtime alone: input ``rgb`` uint8 (N, H, W, 3), output ``output0``
    float32 (N, H/s, W/s), static.
    """
    parity: Parity
    """Difference from torch in float32, over the images."""
    layers: Layers
    seconds: float
    """Build time in seconds, without the comparison."""


def build_plan(
    model: ModelFiles, size: tuple[int, int], batch: int = 1, *, device: str = "cuda:0", options: BuildOptions | None = None,
    images: Sequence[NDArray[np.uint8]] = (), timings: Path | None = None, progress: Progress | None = None,
) -> Built:
    """Build an engine, and compare it with its network.

    Args:
        model: the model's files; its weights are used.
        size: network input (height, width) in pixels, multiples of 32, fixed in the engine.
        batch: batch size, fixed in the engine.
        device: ``cuda:N``; the engine runs on that kind of GPU.
        options: build options; None: the defaults.
        images: uint8 (N, H, W, 3) RGB of ``size``, photographs for the comparison, in addition to two drawn images.
        timings: file of kernel timings, read and extended; None: no file.
        progress: see `Progress`.

    Returns:
        The plan and its measurements.

    Raises:
        EngineUnavailableError: there is no GPU, or a needed package is not installed.
        EngineError: the weights cannot be used, TensorRT cannot build them, a convolution is not in half precision, or alpha
            is too far from that of torch in float32.
        KeyboardInterrupt: passed on, when the builder has stopped.
    """
    options = options or BuildOptions()
    check_request(size, batch, options)
    check_builder(device)
    import torch

    network = load_weights(model)
    begin = time.monotonic()
    try:
        with torch.cuda.device(device):
            half = export_half(network, size, batch, device)
            torch.cuda.empty_cache()
            plan = serialize(model.name, half, device, options, timings, progress or _no_progress)
            del half
        seconds = time.monotonic() - begin
        opened = DeviceEngine(plan, model.name, size, batch, device)
        try:
            layers = count_layers(opened.describe(), model.name)
            parity, photographs = _compare(network, opened, size, batch, device, images)
        finally:
            opened.close()
    except EngineError:
        raise
    except RuntimeError as error:
        raise device_error(device, error, f"building {model.name!r}", LESS) from error
    check_parity(model.name, parity)
    if photographs is not None:
        check_parity(model.name, photographs, PHOTOGRAPHS_MEAN, PHOTOGRAPHS_OFF)
    return Built(plan, parity, layers, seconds)


def build_engine(
    model: ModelFiles, size: tuple[int, int], batch: int = 1, *, device: str = "cuda:0", options: BuildOptions | None = None,
    images: Sequence[NDArray[np.uint8]] = (), cache: EngineCache | None = None, force: bool = False, progress: Progress | None = None,
) -> tuple[Cached, bool]:
    """Build an engine into the cache, unless it exists. The arguments are those of `build_plan`, and ``cache`` (None: the
    user's); ``force`` builds it even if it exists.

    Returns:
        The engine, and whether it was built just now.

    Raises:
        EngineUnavailableError, EngineError: as `build_plan`; or the cache cannot be written.
    """
    cache = EngineCache() if cache is None else cache
    options = options or BuildOptions()
    check_request(size, batch, options)
    check_builder(device)
    key = key_here(model, size, batch, device, options)

    def there() -> Cached | None:
        found = None if force else next((entry for entry in cache.entries() if entry.key == key), None)
        if found is not None:
            with suppress(EngineError):
                cache.read(found)
                return found
        return None

    if found := there():
        return found, False
    with cache.lock():
        # Whoever held the lock may have built just this one.
        if found := there():
            return found, False
        if not force and any(entry.key == key for entry in cache.entries()):
            logger.warning("the engine that is there is damaged; it is built again")
        cache.check_space(2 * _weights_bytes(model))
        logger.info("%s", estimate(cache, key.gpu))
        built = build_plan(
            model, size, batch, device=device, options=options, images=images, timings=cache.timings(key), progress=progress
        )
        details = {"parity": asdict(built.parity), "layers": asdict(built.layers), "seconds": round(built.seconds, 1)}
        return cache.store(model.name, key, built.plan, details), True


def check_request(size: tuple[int, int], batch: int, options: BuildOptions) -> None:
    """Refuse impossible build requests; raises EngineError."""
    check_size(size)
    if batch < 1:
        raise EngineError(f"batch is {batch}; expected 1 or more")
    if options.optimization_level not in LEVELS:
        raise EngineError(f"optimization level is {options.optimization_level}; expected {LEVELS[0]} to {LEVELS[-1]}")
    if options.workspace < 0:
        raise EngineError(f"workspace is {options.workspace} bytes; expected 0 (unlimited) or more")


def check_builder(device: str) -> None:
    """Refuse to build if this machine cannot.

    Raises:
        EngineUnavailableError: no GPU, no driver, no TensorRT, no onnx.
    """
    found = probe("tensorrt")
    if find_spec("onnx") is None:
        raise EngineUnavailableError(f"onnx, which building needs, is not installed; {HINT}")
    check_present(device, found)


def check_parity(model: str, parity: Parity, mean: float | None = None, off: float | None = None) -> None:
    """Refuse an engine that is too far from float32.

    Args:
        model: id, for the message.
        parity: the measured difference.
        mean: the largest mean difference; None: `LARGEST_MEAN`.
        off: the largest share of pixels that differ; None: `LARGEST_OFF`.

    Raises:
        EngineError: the difference exceeds them.
    """
    mean, off = LARGEST_MEAN if mean is None else mean, LARGEST_OFF if off is None else off
    if not (parity.mean <= mean and parity.off <= off):  # so that NaN is refused, too
        raise EngineError(
            f"the engine of {model!r} disagrees with torch in float32: alpha differs by {parity.mean:.1e} on average and by more than {NOTICEABLE} in "
            f"{parity.off:.2%} of the pixels; at most {mean:.0e} and {off:.1%} are allowed; it is not kept; take --engine cuda"
        )


def estimate(cache: EngineCache, gpu: str) -> str:
    """Return an estimate of the build time here, as one clause."""
    known = sorted(float(entry.details["seconds"]) for entry in cache.entries() if entry.key.gpu == gpu and "seconds" in entry.details)
    if not known:
        return "building the engine; how long this GPU takes is not known before its first one: a network of hundreds of layers is timed kernel by kernel, expect minutes"
    span = f"{known[0]:.0f}" if len(known) == 1 else f"{known[0]:.0f} to {known[-1]:.0f}"
    return f"building the engine; earlier ones took {span} s on this GPU"


def _compare(
    network: GFM, opened: DeviceEngine, size: tuple[int, int], batch: int, device: str, images: Sequence[NDArray[np.uint8]]
) -> tuple[Parity, Parity | None]:
    """Compare the plan with torch in float32, image by image: returns the parity over all images, and over ``images`` alone, if
    any.
    """
    import torch

    from streammat.engines.network.folded import FoldedMatte

    rng = np.random.default_rng(11)
    for given in images:
        check_rgb(given, size)
    photographs = [image[None] for given in images for image in given]
    every = [*photographs, draw(*size, rng), draw(*size, rng)]
    exact = FoldedMatte(network).to(device)
    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        for rgb in every:
            expected = exact(torch.from_numpy(rgb.copy()).to(device)).cpu().numpy()
            # A whole batch of it: what the engine does to the last image counts as well.
            found = run_on_host(opened, np.repeat(rgb, batch, axis=0), batch, device)
            pairs.extend((one[None], expected) for one in found)
    # The photographs come first, a batch of each.
    return compare(pairs), compare(pairs[: batch * len(photographs)]) if photographs else None


def _weights_bytes(model: ModelFiles) -> int:
    assert model.weights is not None  # without them there is no key
    try:
        return model.weights.stat().st_size
    except OSError as error:
        raise EngineError(f"cannot read model file {model.weights}: {error.strerror}; {model.hint}") from error


def _no_progress(_phase: str, _done: float) -> None:
    pass
