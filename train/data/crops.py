"""Training samples as in the paper's Section 5.2.2: crops of three sizes, half of them at a transition, at one size.

Sample ``i`` depends on the seed and ``i`` alone, so a resumed run sees exactly the samples of an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image
from streammat.train.data.samples import ImageSet, Key, Sample
from streammat.train.data.targets import KERNELS, TRIMAP, TRIMAP_KERNELS, rosta_classes

_ORDER_STREAM = (0, 0, 0, 1)
"""Start of the random counter for the order of an epoch; the samples' own, with the same key, start at 0."""


@dataclass(frozen=True)
class CropOptions:
    """Options of the choice of crops."""

    sides: tuple[int, ...] = (640, 960, 1280)
    """Possible short sides of the crop in image pixels; one is drawn for each sample."""
    transition: float = 0.5
    """Probability that the crop is centred on a pixel of TT's transition area; otherwise its position is uniform."""
    flip: float = 0.5
    """Probability of a horizontal flip."""


class CropDataset:
    """Map from a sample's index to a training sample.

    Index ``i`` belongs to epoch ``i // len(images)``; each epoch shows every image once, in its own order.

    A crop never leaves its image: if the drawn side does not fit, the largest crop of that shape is taken and enlarged.

    Args:
        images: whole images.
        heads: RoSTas that need a glance target: ``TT``, ``FT``, ``BT``; or ``trimap``, made by a random dilation.
        stride: input pixels per output pixel of the network.
        seed: seed of all random choices, 0 or larger.
        options: options of the choice of crops.
    """

    def __init__(
        self, images: ImageSet, heads: tuple[str, ...], stride: int, seed: int, options: CropOptions | None = None
    ) -> None:
        self.images = images
        self.heads = heads
        self.stride = stride
        self.seed = seed
        self.options = options or CropOptions()
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def __getitem__(self, key: Key) -> Sample:
        """Make sample ``index`` at ``height`` x ``width``.

        Class maps are those of the image at its full size, with the paper's kernels (`streammat.train.data.targets.KERNELS`),
        sampled at the network's output resolution.

        Args:
            key: key of a sample that is not part of a pair.

        Returns:
            A sample with a class map for each head.

        Raises:
            DataError: a file of the image is missing or broken.
        """
        index, height, width, _ = key
        rng = np.random.Generator(np.random.Philox(key=[self.seed, index]))
        layers = self.images.load(self._picture(index), rng)
        top, left, rows, columns = self._place(rng, layers.alpha, height, width)
        window = np.s_[top : top + rows, left : left + columns]
        step = -1 if rng.random() < self.options.flip else 1

        def resized(plane: Image) -> Image:
            smooth = cv2.INTER_AREA if rows >= height else cv2.INTER_LINEAR
            return _contiguous(cv2.resize(plane, (width, height), interpolation=smooth)[:, ::step])

        def sampled(classes: Image) -> Image:
            size = (width // self.stride, height // self.stride)
            return _contiguous(cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST_EXACT)[:, ::step])

        # Drawn after everything else, so that samples of networks without a trimap are what they were.
        kernels = {TRIMAP: int(rng.integers(TRIMAP_KERNELS[0], TRIMAP_KERNELS[1] + 1))} if TRIMAP in self.heads else {}
        difference = cv2.absdiff(layers.foreground[window], layers.background[window])
        contrast = resized(difference.astype(np.uint8, copy=False)).mean(axis=2)
        return Sample(
            resized(layers.rgb[window]),
            resized(layers.alpha[window]),
            np.rint(contrast).astype(np.uint8),
            {name: sampled(_classes_within(layers.alpha, name, kernels.get(name), top, left, rows, columns)) for name in self.heads},
            number=key.number,
        )

    def _picture(self, index: int) -> int:
        """Return the index of the image for sample ``index``."""
        epoch, place = divmod(index, len(self.images))
        if self._order is None or self._order[0] != epoch:
            rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=_ORDER_STREAM))
            self._order = epoch, rng.permutation(len(self.images))
        return int(self._order[1][place])

    def _place(self, rng: np.random.Generator, alpha: Image, height: int, width: int) -> tuple[int, int, int, int]:
        """Return top, left, rows and columns of a crop."""
        limits = alpha.shape
        scale = min(rng.choice(self.options.sides) / min(height, width), limits[0] / height, limits[1] / width)
        size = np.array([round(scale * height), round(scale * width)])
        room = np.array(limits) - size
        corner = rng.integers(room + 1)
        if rng.random() < self.options.transition:
            transition = np.flatnonzero(rosta_classes(alpha, "TT") == 1)
            if transition.size:
                centre = np.array(divmod(int(rng.choice(transition)), limits[1]))
                corner = np.clip(centre - size // 2, 0, room)
        return int(corner[0]), int(corner[1]), int(size[0]), int(size[1])


def _classes_within(alpha: Image, name: str, kernel: int | None, top: int, left: int, rows: int, columns: int) -> Image:
    """Return a window of an image's class map; computed only as far as the kernel reaches."""
    reach = (kernel or KERNELS[name]) // 2
    above, before = max(0, top - reach), max(0, left - reach)
    rosta = "TT" if name == TRIMAP else name
    classes = rosta_classes(alpha[above : top + rows + reach, before : left + columns + reach], rosta, kernel)
    return classes[top - above :, left - before :][:rows, :columns]


def _contiguous(plane: object) -> Image:
    return np.ascontiguousarray(plane, dtype=np.uint8)
