"""Images in the Python API: mattes and cut-outs, of one or of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from streammat.api.inputs import ImageLike, Rgb, frame_of_image
from streammat.api.keywords import EngineKeywords
from streammat.build_options import build
from streammat.compositing.compositor import Compositor
from streammat.config import STILLS, MattingOptions
from streammat.engines.base import Engine, EngineSpec
from streammat.errors import UsageError
from streammat.media.frame import Frame, Matte

if TYPE_CHECKING:
    from streammat.matting.matting import HostMatting


def matte(image: ImageLike, **options: Unpack[EngineKeywords]) -> NDArray[np.float32]:
    """Return the alpha matte of one image, at quality ``best``; `Matting` is faster for many images: it keeps its engine open.

    Args:
        image: pixels, uint8 or uint16 (H, W, 3), RGB; or the path or an open binary file of an image.
        options: the fields of `streammat.config.MattingOptions` as keyword arguments, such as ``quality="fast"``.

    Returns:
        float32 (H, W), 0..1, 1 = foreground, at the image's size, in steps of 1/255 (1/65535 for 16 bits).

    Raises:
        StreammatError: the image cannot be read, an option is wrong, or the network fails.
    """
    options.setdefault("quality", STILLS.quality)
    with Matting(**options) as matting:
        return matting(image)


def cutout(image: ImageLike, **options: Unpack[EngineKeywords]) -> Rgb:
    """Return one image with its background removed, at quality ``best``.

    Args:
        image: pixels, uint8 or uint16 (H, W, 3), RGB; or the path or an open binary file of an image.
        options: the fields of `streammat.config.MattingOptions` as keyword arguments, such as ``quality="fast"``.

    Returns:
        uint8 (H, W, 4), RGB and straight alpha, uint16 for deeper images; the old background's colour is removed from soft edges;
        away from the subject the colour is black.

    Raises:
        StreammatError: the image cannot be read, an option is wrong, or the network fails.
    """
    options.setdefault("quality", STILLS.quality)
    with Matting(**options) as matting:
        return matting.cutout(image)


class Matting:
    """A matting network that stays open: called per image, or per frame in order.

    Use it as a context manager, or call `close`. Not thread-safe.

        with streammat.Matting(stable=True) as matting:
            for rgb in frames:
                alpha = matting(rgb)

    Args:
        stable: the images are successive frames: average out flicker where they do not move; call `reset` at a cut.
        options: the fields of `streammat.config.MattingOptions` as keyword arguments, such as ``quality="fast"``.

    Raises:
        StreammatError: no such model or engine. That an engine cannot run here is known at the first image only.
    """

    def __init__(self, *, stable: bool = False, **options: Unpack[EngineKeywords]) -> None:
        from streammat.models.library import find_model

        self._options = build(MattingOptions, {**options, "stable": stable})
        self._model = find_model(self._options.model)
        self._engine: Engine | None = None
        self._size: tuple[int, int] | None = None
        self._matting: HostMatting | None = None
        self._count = 0
        self._closed = False

    def __call__(self, image: ImageLike) -> NDArray[np.float32]:
        """Return the alpha matte of an image.

        Args:
            image: pixels, uint8 or uint16 (H, W, 3), RGB; or the path or an open binary file of an image.

        Returns:
            float32 (H, W), 0..1, 1 = foreground, at the image's size.

        Raises:
            StreammatError: the image cannot be read, an option is wrong, or the network fails.
        """
        return self.alpha_of(self._frame(image))

    def cutout(self, image: ImageLike) -> Rgb:
        """Return an image with its background removed; see `streammat.cutout`.

        Args:
            image: pixels, uint8 or uint16 (H, W, 3), RGB; or the path or an open binary file of an image.

        Returns:
            uint8 (H, W, 4), RGB and straight alpha; uint16 for deeper images.

        Raises:
            StreammatError: the image cannot be read, an option is wrong, or the network fails.
        """
        frame = self._frame(image)
        found = self._matte(frame)
        (drawn,) = Compositor(["transparent"], None, decontaminate=True, alpha="straight")(frame, found)
        green, blue, red = drawn.planes
        return np.dstack((red, green, blue, found.alpha))

    def alpha_of(self, frame: Frame) -> NDArray[np.float32]:
        """Return the matte of a frame of the runtime (`streammat.media.frame.Frame`), as it is stored: float32 (H, W), 0..1."""
        alpha = self._matte(frame).alpha
        return np.asarray(np.divide(alpha, np.iinfo(alpha.dtype).max, dtype=np.float32), np.float32)

    def reset(self) -> None:
        """Forget the earlier frames: the next image begins a new sequence."""
        self._matting = None
        self._count = 0

    def close(self) -> None:
        """Free the engine; safe to call twice."""
        self._closed = True
        self._matting = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def spec(self) -> EngineSpec | None:
        """The engine at work: backend, precision, device, network size; None before the first image."""
        return None if self._engine is None else self._engine.spec

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frame(self, image: ImageLike) -> Frame:
        from dataclasses import replace

        frame = frame_of_image(image)
        self._count += 1
        return replace(frame, pts=self._count)

    def _matte(self, frame: Frame) -> Matte:
        from streammat.matting.matting import HostMatting, network_sizes
        from streammat.matting.network import open_network
        from streammat.matting.steady import SteadyFilter

        if self._closed:
            raise UsageError("this Matting is closed; make another one")
        upright = frame.size if frame.rotation % 2 == 0 else frame.size[::-1]
        wanted = network_sizes(*upright, self._options.quality, self._model.areas)[0]
        if self._engine is None or self._size != wanted:
            if self._engine is not None:
                self._engine.close()
            self._engine, self._size, self._matting = open_network(self._model, frame.size, frame.rotation, self._options), wanted, None
        if self._matting is None:
            self._matting = HostMatting(self._engine, SteadyFilter() if self._options.stable else None)
        return self._matting(frame)
