"""Frames with alpha for OBS, read as OBS reads them: by FFmpeg, from the address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from media import write_clip
from numpy.typing import NDArray
from running import QUICK, call, wait_for
from test_live_outputs import steered


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's person."""
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(192, 108), frames=25)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def read(port: int) -> Iterator[Iterator[list[NDArray[np.uint8]]]]:
    """Planes of the frames: luma, both of chroma, alpha."""

    def frames(container: av.container.InputContainer) -> Iterator[list[NDArray[np.uint8]]]:
        last = -1.0
        for frame in container.decode(video=0):
            assert frame.format.name == "yuva420p"
            assert float(frame.time) > last
            last = float(frame.time)
            yield [np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy() for plane in frame.planes]

    with av.open(f"tcp://127.0.0.1:{port}", format="nut", timeout=(30.0, 30.0)) as container:
        yield frames(container)


def alphas(frames: Iterator[list[NDArray[np.uint8]]], wanted: str) -> list[NDArray[np.uint8]]:
    """The first frame whose alpha is ``some``, ``none`` or ``all``."""
    for _, planes in zip(range(600), frames, strict=False):
        mean = float(planes[3].mean())
        if (wanted == "some" and 10 < mean < 245) or (wanted == "none" and mean == 0) or (wanted == "all" and mean == 255):
            return planes
    raise AssertionError(f"no frame with alpha {wanted}")


def test_the_subject_comes_with_its_alpha_and_the_room_is_not_in_it(clip: Path, port: int) -> None:
    """Nothing is there in a pause, the room after a confirmation alone; who does not read holds nobody up."""
    with steered(clip, "--to", f"alpha:{port}", "--to", "null") as run, socket.socket() as deaf:
        deaf.connect(("127.0.0.1", port))
        with read(port) as frames:
            luma, blue, red, alpha = alphas(frames, "some")
            assert alpha.max() == 255
            far = np.s_[:20, :20]  # the upper corner: the room
            assert alpha[far].max() == 0
            assert (luma[far] == 16).all()
            assert (blue[:10, :10] == 128).all()
            assert (red[:10, :10] == 128).all()
            assert np.ptp(luma[alpha == 255]) > 30
            assert (luma[alpha == 0] == 16).mean() > 0.5
            run.ask("pause", True)
            assert (alphas(frames, "none")[0] == 16).all()
            run.ask("pause", False)
            alphas(frames, "some")
            assert "confirm" in run.ask("pass-through", True)["error"]
            alphas(frames, "some")
        with read(port) as again:  # who leaves may come back
            alphas(again, "some")
        seen = run.ask("status")
        assert seen["outputs"][0]["name"] == f"alpha at tcp://127.0.0.1:{port}"
        wait_for(lambda: run.ask("status")["composed"] > seen["composed"] + 10, 60)
    assert run.process.returncode == 143
    assert run.told("ended")[0]["outputs"][0]["error"] is None


def test_ports_that_are_none_or_taken(clip: Path, port: int) -> None:
    call("webcam", "--camera", clip, *QUICK, "--to", "alpha:x").refused(2, "alpha:PORT")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        call("webcam", "--camera", clip, *QUICK, "--to", f"alpha:{port}").refused(1, f"port {port} cannot be listened on")
