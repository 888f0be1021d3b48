"""``streammat batch --ray``: a node that is killed midway costs its shards a second attempt, and no frame."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media import frames_of, write_clip
from running import QUICK, REPOSITORY, spawn

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield nodes
    nodes.shutdown()


def test_a_lost_node_loses_no_frame(cluster: Any, tmp_path: Path) -> None:
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    clip = write_clip(tmp_path / "in.mov", size=(64, 64), frames=60)
    with spawn("batch", clip, tmp_path / "out", *QUICK[:-1], "1", "--ray", cluster.address, "--shard-frames", "20", "--json") as process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if other is not None and len({event["worker"] for event in events if event.get("state") == "started"}) == 2:
                cluster.remove_node(other, allow_graceful=False)
                other = None
    assert process.returncode == 0, process.stderr
    assert other is None
    assert len(frames_of(tmp_path / "out/in.mov")) == 60
    assert [event["state"] for event in events if event["event"] == "shard"].count("done") == 3
    assert any(event.get("state") == "lost" for event in events)
    assert [event["networks"] for event in events if event.get("state") == "done"] == [1, 1, 1]  # an actor keeps its own


@pytest.mark.timeout(600)
def test_three_nodes_of_which_one_is_killed_and_then_the_driver() -> None:
    """Every frame once, the bytes of one process, alpha within 1/255 of an unbroken run: the script ends with 0 only then."""
    command = [sys.executable, REPOSITORY / "benchmarks/reliability/batch.py", "nodes", "--frames", "240", "--shard-frames", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a node was killed after" in done.stdout
    assert "the bytes of one process with the same shards: True" in done.stdout
