"""The shipped files hold together: torch, every installed backend in fp32, and int8, on real images."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from streammat.engines import shipped as models
from streammat.engines.choice import installed_backends, open_engine
from streammat.engines.network.checkpoint import load_network

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STREAMMAT_DATA", REPOSITORY.parent / "shared" / "data"))
PORTRAITS = DATA / "val" / "people_portraits"
SIZE = (288, 512)


def example() -> list[np.ndarray]:
    """A few frames of the example clip, uint8 (H, W, 3) RGB."""
    with av.open(str(REPOSITORY / "examples" / "portrait.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames[::25]


def alphas(images: list[np.ndarray], backend: str, precision: str, size: tuple[int, int]) -> np.ndarray:
    engine = open_engine(models.shipped(), backend, precision, size)
    scaled = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image in images]
    result = np.stack([engine.infer(image[None])[0] for image in scaled])
    engine.close()
    return result


@pytest.mark.parametrize("backend", installed_backends())
def test_fp32_is_what_torch_computes(backend: str) -> None:
    shipped = models.shipped()
    network = load_network(shipped.fp32.with_name("lite.safetensors")).eval()
    images = example()
    with torch.no_grad():
        batch = np.stack([cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA) for image in images])
        expected = network.predict(torch.from_numpy(batch).permute(0, 3, 1, 2).float()).alpha[:, 0].numpy()
    assert expected.max() > 0.99  # a matte, not an empty image
    assert np.abs(alphas(images, backend, "fp32", SIZE) - expected).max() < 1e-3


@pytest.mark.parametrize("backend", installed_backends())
def test_int8_stays_close_on_the_example(backend: str) -> None:
    difference = alphas(example(), backend, "int8", SIZE) - alphas(example(), backend, "fp32", SIZE)
    assert np.abs(difference).mean() < 0.01


@pytest.mark.skipif(not PORTRAITS.exists(), reason="the validation portraits are not here; set STREAMMAT_DATA")
@pytest.mark.parametrize("backend", installed_backends())
def test_portraits(backend: str) -> None:
    """int8 within 0.01 of fp32 and a mean IoU of at least 0.94, on every fourth validation portrait."""
    paths = sorted((PORTRAITS / "img").iterdir())[::4]
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    size = (448, 320)
    exact, fast = (alphas(images, backend, precision, size) for precision in ("fp32", "int8"))
    assert np.abs(exact - fast).mean() < 0.01
    for result in (exact, fast):
        scores = []
        for path, alpha in zip(paths, result, strict=True):
            label = cv2.imread(str(next((PORTRAITS / "mask").glob(f"{path.stem}.*"))), cv2.IMREAD_GRAYSCALE) > 127
            found = cv2.resize(alpha, label.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
            scores.append((found & label).sum() / max(1, (found | label).sum()))
        assert np.mean(scores) > 0.94
