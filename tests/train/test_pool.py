"""Work over many files: broken ones are named, whole files only, interruptions cost nothing that was done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from streammat.train.data.manifest import read_manifest, write_manifest
from streammat.train.data.pool import Outcome, check_outcomes, run_jobs, write_image
from streammat.train.errors import DataError, RunError
from streammat.train.rssn.compose_sample import Steps

SLOW = """
import os, sys, time
from pathlib import Path
from streammat.train.data.pool import run_jobs

def work(folder):
    Path(folder, f"{os.getpid()}.pid").touch()
    time.sleep(0.3)

if __name__ == "__main__":
    run_jobs(work, [sys.argv[1]] * 1000, 2, print, "slow")
"""


def double(number: int) -> int:
    if number == 3:
        raise DataError("three is broken")
    if number == 7:
        raise KeyboardInterrupt
    if number == 9:
        os._exit(1)
    return 2 * number


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_do_not_stop_the_others(workers: int) -> None:
    lines: list[str] = []
    outcomes = run_jobs(double, [5, 3, 1], workers, lines.append, "doubling")
    assert outcomes == [Outcome(5, 10), Outcome(3, None, "three is broken"), Outcome(1, 2)]
    assert "doubling: three is broken" in lines
    assert lines[-1].startswith("doubling: 3/3, 1 broken in ")
    with pytest.raises(DataError, match="doubling: 1 of 3 could not be done"):
        check_outcomes(outcomes, "doubling")
    check_outcomes(outcomes[:1], "doubling")


def test_an_interruption_says_how_far_it_came() -> None:
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_jobs(double, [1, 2, 7, 4], 0, lines.append, "doubling")
    assert lines == ["doubling: stopped; 2 of 4 are done and kept"]


def test_a_worker_that_dies_is_an_error_of_one_line() -> None:
    with pytest.raises(RunError, match="worker process died after .* of 2"):
        run_jobs(double, [9, 9], 1, lambda _line: None, "doubling")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes otherwise")
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """Killed, by a scheduler or for want of memory, it cannot tell them to."""
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, str(tmp_path / "slow.py"), str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        limit = time.monotonic() + 60
        while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < limit:
            time.sleep(0.05)
        process.kill()
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(workers) == 2
    limit = time.monotonic() + 20
    while any(map(works, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(map(works, workers))


def works(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_images_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    write_image(tmp_path / "deep/a.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "deep/a.png"))[:, :, ::-1], image)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(RunError, match=r"cannot write .*b\.png: No space left on device"):
            write_image(tmp_path / "deep/b.png", image)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.png"]
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        write_image(tmp_path / "file/c.png", image)


def test_manifests_come_back_and_strangers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = [Outcome("a, b", "1", 'said "no"'), Outcome("c\nd", "2", "")]
    assert read_manifest(path, Outcome) == []
    write_manifest(path, rows, Outcome)
    assert read_manifest(path, Outcome) == rows
    with pytest.raises(RunError, match="no manifest of this command .*expected columns denoise, kernel, noise"):
        read_manifest(path, Steps)
    path.write_bytes(b"")
    with pytest.raises(RunError, match="no manifest"):
        read_manifest(path, Outcome)
