"""What holds for every test: its time limit, signals as a terminal has them, and no thread left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

# In the background of a script Ctrl-C is ignored, and every process that a test starts would inherit that and keep to it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run the whole suite in a process more than there are cores, as it waits for much; files that are named run in this process."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    # What the tests start compiles a module once, as it does for users, and not in each of hundreds of processes.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return min(4, 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test a time limit."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900 if "slow" in item.keywords else 400))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of imported models, which is not there yet."""
    folder = tmp_path / "models"
    monkeypatch.setenv("STREAMMAT_MODELS", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_leftover_threads() -> Iterator[None]:
    """Fail where a test leaves one of our threads running."""
    yield

    def ours() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("streammat-")]

    limit = time.monotonic() + 2.0
    while ours() and time.monotonic() < limit:
        time.sleep(0.01)
    assert not ours(), f"threads left running: {ours()}"


def pytest_configure(config: pytest.Config) -> None:
    """Refuse two test files of one name, before anything is collected: each can be run alone, and both together cannot."""
    seen: dict[str, Path] = {}
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        if (other := seen.setdefault(path.name, path)) != path:
            raise pytest.UsageError(f"{path} has the name of {other}: rename one of them")
