"""Runs an external program as a matting, to score a method without an implementation here (SSS, in MATLAB).

The program is called once for each image as ``PROGRAM IMAGE.png MATTE.png`` and writes the second file: grey, 0 to 255, of the
image's size.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image, read_alpha
from streammat.train.data.pool import write_image
from streammat.train.errors import DataError


def is_program(path: Path) -> bool:
    """Return whether a file is to be run, and not read: it may be executed, and its suffix is none of weights."""
    return os.access(path, os.X_OK) and path.suffix.lower() not in (".onnx", ".pth", ".pt", ".tar", ".safetensors")


def program_matting(path: Path) -> Callable[[Image], Mapping[str, NDArray[np.float32]]]:
    """Return a matting that runs a program, under the program's name.

    Raises (when an image is matted):
        DataError: the program cannot be run, fails, or writes no matte of the image's size.
    """

    def matting(rgb: Image) -> dict[str, NDArray[np.float32]]:
        with tempfile.TemporaryDirectory(prefix="streammat-") as folder:
            image, matte = Path(folder) / "image.png", Path(folder) / "matte.png"
            write_image(image, rgb)
            try:
                done = subprocess.run([path.absolute(), image, matte], capture_output=True, check=False)  # noqa: S603 (the user's own program)
            except OSError as error:
                raise DataError(f"program {path} cannot be run: {error.strerror}; expected one that takes IMAGE.png and writes MATTE.png") from error
            if done.returncode:
                said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
                raise DataError(f"program {path} ended with {done.returncode}: {said[-1]}; expected 0: run it by hand on one image")
            if not matte.exists():
                raise DataError(f"program {path} wrote no matte; expected it to write the file that is its second argument")
            alpha = read_alpha(matte)
        if alpha.shape != rgb.shape[:2]:
            raise DataError(
                f"program {path} wrote a matte of {alpha.shape[1]}x{alpha.shape[0]} for an image of {rgb.shape[1]}x{rgb.shape[0]}; expected one size"
            )
        return {path.name: alpha.astype(np.float32) / np.float32(255.0)}

    return matting
