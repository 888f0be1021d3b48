"""Worker processes of the loader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os
import sys
from multiprocessing.util import Finalize

import numpy as np
from dataclasses import replace
from streammat.train.config import TrainConfig
from streammat.train.processes.distributed import process_group
from streammat.train.data.loader import load_batches
from streammat.train.data.samples import Sample

class Black:
    def __getitem__(self, key):
        if sys.argv[1] == "aborting":  # in the worker: it ends as some builds of torch do now and then
            Finalize(None, os.abort, exitpriority=1000)
        height, width = key.height, key.width
        plane = np.zeros((height, width), np.uint8)
        return Sample(np.zeros((height, width, 3), np.uint8), plane, plane, {"TT": plane[::2, ::2]})

if __name__ == "__main__":
    config = replace(TrainConfig(), workers=1, sizes=((64, 64, 1.0),), final_shares=(), pixels_per_batch=2 * 64 * 64)
    from torch.utils.data import DataLoader

    kept = []  # torch's own iterator, as an error's traceback may keep it
    make = DataLoader.__iter__
    DataLoader.__iter__ = lambda self: kept.append(make(self)) or kept[-1]
    with process_group("cpu") as group:
        batches = load_batches(Black(), config, 0, group)
        print(tuple(next(batches).rgb.shape))
        if sys.argv[1] != "open":
            batches.close()
    raise RuntimeError("left by an error")
"""


@pytest.mark.parametrize("state", ["open", "closed", "aborting"])
def test_an_error_ends_the_process(state: str, tmp_path: Path) -> None:
    """Workers block SIGTERM: a process that was left by an error waited for them for ever."""
    script = tmp_path / "left.py"
    script.write_text(PROGRAM)
    result = subprocess.run([sys.executable, script, state], check=False, capture_output=True, text=True, timeout=120)
    assert result.stdout == "(2, 64, 64, 3)\n"
    assert result.returncode == 1
    assert result.stderr.endswith("RuntimeError: left by an error\n")
