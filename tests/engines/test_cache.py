"""Built engines on disk: keys, damage, locks between processes, folders that cannot be written."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from streammat.engines.base import EngineError
from streammat.engines.tensorrt.cache import BuildOptions, EngineCache, EngineKey, age, cache_folder

KEY = EngineKey("a" * 64, "fp16", (288, 512), 1, "NVIDIA H100", "9.0", "580.95", "11.0.0")
PLAN = b"plan" * 1000


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_what_is_stored_is_found_and_read(cache: EngineCache) -> None:
    assert cache.entries() == []
    assert cache.find(KEY) is None
    entry = cache.store("a model", KEY, PLAN, {"seconds": 3.5})
    assert entry.name.startswith("a_model-512x288-b1-fp16-")
    found = cache.find(KEY)
    assert found == entry
    assert cache.read(entry) == PLAN
    assert entry.details["seconds"] == 3.5
    assert sorted(path.suffix for path in cache.folder.iterdir()) == [".json", ".plan"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weights": "b" * 64}, "none has been built of these weights"),
        ({"precision": "fp32"}, "precision fp16, here fp32"),
        ({"size": (256, 480)}, "network input 512x288, here 480x256"),
        ({"batch": 4}, "batch 1, here 4"),
        ({"gpu": "NVIDIA L4"}, "GPU NVIDIA H100, here NVIDIA L4"),
        ({"sm": "8.9"}, "compute capability 9.0, here 8.9"),
        ({"driver": "590.1"}, "driver 580.95, here 590.1"),
        ({"tensorrt": "11.4.0"}, "TensorRT 11.0.0, here 11.4.0"),
        ({"revision": 0}, "revision"),
    ],
)
def test_a_foreign_engine_is_passed_over_with_the_reason(cache: EngineCache, changed: dict[str, object], words: str) -> None:
    cache.store("lite", KEY, PLAN, {})
    here = replace(KEY, **changed)
    assert cache.find(here) is None
    assert words in cache.why_none(here)
    assert here.digest != KEY.digest


def test_every_part_of_the_key_is_tried() -> None:
    """So that a new field cannot be forgotten above."""
    tried = {"weights", "precision", "size", "batch", "gpu", "sm", "driver", "tensorrt", "revision"}
    assert {item.name for item in fields(EngineKey)} == tried | {"options"}


def test_a_compatible_engine_runs_on_other_gpus_since_ampere(cache: EngineCache) -> None:
    entry = cache.store("lite", replace(KEY, options=BuildOptions(hardware_compatible=True)), PLAN, {})
    assert cache.find(replace(KEY, gpu="NVIDIA L4", sm="8.9")) == entry
    assert cache.find(replace(KEY, gpu="NVIDIA RTX 6000", sm="12.0")) == entry
    turing = replace(KEY, gpu="NVIDIA T4", sm="7.5")
    assert cache.find(turing) is None
    assert "8.0 or later, here 7.5" in cache.why_none(turing)
    assert cache.find(replace(KEY, driver="590.1")) is None


def test_options_make_another_engine_and_the_newest_runs(cache: EngineCache) -> None:
    cache.store("lite", KEY, PLAN, {})
    time.sleep(0.01)
    newer = cache.store("lite", replace(KEY, options=BuildOptions(optimization_level=5)), PLAN, {})
    assert len(cache.entries()) == 2
    assert cache.find(KEY) == newer


def test_building_again_replaces(cache: EngineCache) -> None:
    cache.store("lite", KEY, PLAN, {})
    entry = cache.store("lite", KEY, b"other", {})
    assert cache.read(cache.entries()[0]) == b"other"
    assert cache.entries() == [entry]


def test_damage_is_never_run(cache: EngineCache) -> None:
    entry = cache.store("lite", KEY, PLAN, {})
    for wrong, words in ((PLAN[:-1], "has 3999 bytes, expected 4000"), (PLAN[:-1] + b"x", "its sha256 is not"), (b"", "has 0 bytes")):
        entry.plan.write_bytes(wrong)
        with pytest.raises(EngineError, match=words):
            cache.read(entry)
    entry.plan.unlink()
    with pytest.raises(EngineError, match=r"cannot read engine .*streammat engine remove"):
        cache.read(entry)


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"key": {}}', "\x00\xff"])
def test_an_unreadable_note_is_passed_over_and_said(cache: EngineCache, note: str, caplog: pytest.LogCaptureFixture) -> None:
    entry = cache.store("lite", KEY, PLAN, {})
    (cache.folder / f"{entry.name}.json").write_bytes(note.encode("latin-1"))
    assert cache.find(KEY) is None
    assert "passed over" in caplog.text
    assert f"streammat engine remove {entry.name}" in caplog.text
    cache.remove(entry.name)
    assert list(cache.folder.iterdir()) == []


def test_a_note_of_a_later_version_is_passed_over(cache: EngineCache) -> None:
    entry = cache.store("lite", KEY, PLAN, {})
    path = cache.folder / f"{entry.name}.json"
    note = json.loads(path.read_text())
    note["key"]["something"] = 1
    path.write_text(json.dumps(note))
    assert cache.find(KEY) is None


def test_removing(cache: EngineCache) -> None:
    entry = cache.store("lite", KEY, PLAN, {})
    with pytest.raises(EngineError, match=f"no engine is named 'x'; known: {entry.name}"):
        cache.remove("x")
    cache.remove(entry.name)
    assert cache.entries() == []
    with pytest.raises(EngineError, match="known: none"):
        cache.remove(entry.name)


def test_two_processes_build_once(tmp_path: Path) -> None:
    """The second waits, says so, and finds what the first has built."""
    code = textwrap.dedent(
        """
        import logging, sys, time
        from pathlib import Path
        from streammat.engines.tensorrt.cache import EngineCache
        from test_cache import KEY, PLAN
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        cache = EngineCache(Path(sys.argv[1]))
        with cache.lock():
            print("holds", flush=True)
            if cache.find(KEY) is None:
                sys.stdin.readline()
                cache.store("lite", KEY, PLAN, {})
                print("built", flush=True)
            else:
                print("found", flush=True)
        """
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
        )

    first = start()
    assert first.stdout is not None
    assert first.stdout.readline() == "holds\n"
    second = start()
    assert second.stdout is not None
    assert "another process is building an engine" in second.stdout.readline()
    out, _ = first.communicate("go\n", timeout=60)
    assert out == "built\n"
    out, _ = second.communicate(timeout=60)
    assert out == "holds\nfound\n"
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_killed_builder_leaves_the_lock_free(cache: EngineCache) -> None:
    code = f"import os\nfrom pathlib import Path\nfrom streammat.engines.tensorrt.cache import EngineCache\nwith EngineCache(Path({str(cache.folder)!r})).lock(): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 9
    with cache.lock():
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EngineCache(tmp_path / "file" / "engines")
    assert cache.entries() == []
    for attempt in (lambda: cache.store("lite", KEY, PLAN, {}), lambda: cache.lock().__enter__()):
        with pytest.raises(EngineError, match=r"cannot write engines to .*set STREAMMAT_CACHE"):
            attempt()


def test_a_read_only_folder(tmp_path: Path) -> None:
    """In a process that is not root, for which no folder is read-only."""
    folder = tmp_path / "engines"
    EngineCache(folder).store("lite", KEY, PLAN, {})
    code = textwrap.dedent(
        f"""
        import os
        from pathlib import Path
        from streammat.engines.base import EngineError
        from streammat.engines.tensorrt.cache import EngineCache
        import filelock
        from test_cache import KEY, PLAN
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        cache = EngineCache(Path({str(folder)!r}))
        assert cache.read(cache.find(KEY)) == PLAN
        for attempt in (lambda: cache.store("lite", KEY, PLAN, {{}}), lambda: cache.lock().__enter__(), lambda: cache.remove(cache.find(KEY).name)):
            try:
                attempt()
            except EngineError as error:
                assert "check its permissions, or set STREAMMAT_CACHE" in str(error), error
            else:
                raise AssertionError("it was written")
        """
    )
    if sys.platform == "win32":
        pytest.skip("permissions are of another kind there")
    for path in (folder, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o555 if path == folder else 0o755)
    tmp_path.chmod(0o755)
    try:
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parent)
    finally:
        folder.chmod(0o755)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for it."""
    if sys.platform == "win32":
        pytest.skip("there are no such limits there")
    code = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from streammat.engines.base import EngineError
        from streammat.engines.tensorrt.cache import EngineCache
        from test_cache import KEY, PLAN
        cache = EngineCache(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(PLAN) // 2, len(PLAN) // 2))
        try:
            cache.store("lite", KEY, PLAN, {})
        except EngineError as error:
            assert "make room" in str(error), error
        else:
            raise AssertionError("it was written")
        assert list(cache.folder.iterdir()) == [], list(cache.folder.iterdir())
        """
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60, cwd=Path(__file__).parent)


def test_space_is_asked_for_before(cache: EngineCache) -> None:
    with cache.lock():
        cache.check_space(1)
        with pytest.raises(EngineError, match=r"may need \d+ MB .* free; make room"):
            cache.check_space(10**18)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' places are the library's business")
def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STREAMMAT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "engines"
    monkeypatch.delenv("STREAMMAT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "streammat" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "streammat" / "engines"


def test_age() -> None:
    assert [age(seconds) for seconds in (5, 61, 7300, 90000, 300000)] == ["less than a minute", "1 minute", "2 hours", "1 day", "3 days"]


def test_an_engine_that_is_half_replaced_is_none(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old note beside a new plan would say that the old engine is there."""
    cache.store("a model", KEY, PLAN, {})
    monkeypatch.setattr("streammat.engines.tensorrt.cache.write_whole", _full_after_the_plan)
    with pytest.raises(EngineError, match="the disk is full"):
        cache.store("a model", KEY, b"another" * 1000, {})
    assert cache.entries() == []
    assert cache.find(KEY) is None


def _full_after_the_plan(path: Path, data: bytes) -> None:
    if path.suffix != ".plan":
        raise OSError(28, "the disk is full")
    path.write_bytes(data)
