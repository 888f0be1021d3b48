"""``streammat bench``: what it says hangs together, what cannot run is told, what is interrupted keeps what was measured."""

from __future__ import annotations

import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from media import probe, write_clip
from running import REPOSITORY, Run, call, names, python, spawn, wait_for

from streammat.bench.child import JOBS
from streammat.bench.child_runner import ChildError, ChildRunner, Stopped
from streammat.bench.clip import rate_of, speed_up
from streammat.bench.report import SCHEMA, size_result
from streammat.bench.variants import Variant
from streammat.engines import registry as backends
from streammat.engines.registry import BACKENDS

SMALL = ("--size", "128x96", "--frames", "4", "--quality", "fast", "--threads", "1")
SCRIPT = REPOSITORY / "benchmarks" / "speed" / "performance_tables.py"
Json = dict[str, Any]


def bench(*arguments: str | Path) -> Run:
    return call("bench", *SMALL, *arguments)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(128, 96), frames=6)


@contextmanager
def measured_here() -> Iterator[None]:
    """Figures are measured in this process, for tests of what is told of them: to start one for each takes longer than all that is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChildRunner, "ask", lambda _, kind, **job: JOBS[kind](**job) | {"notes": []})
        yield


@pytest.fixture
def here() -> Iterator[None]:
    with measured_here():
        yield


@pytest.fixture(scope="module")
def both(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """ONNX Runtime in all its precisions, two sizes of batch, two rounds; the run, and the file that it wrote."""
    target = tmp_path_factory.mktemp("out") / "here.json"
    with measured_here():
        done = bench(
            clip, "--engine", "onnxruntime", "--precision", "all", "--device", "cpu", "--rounds", "2", "--live", "0.4", "--batch", "2", "--batch", "1",
            "--json", "--quiet", "--out", target,
        )
    return done.ok(), target


@pytest.fixture
def document(both: tuple[Run, Path]) -> Json:
    return both[0].report


def spreads(value: Any) -> Iterator[Json]:
    """Every figure of a document."""
    if isinstance(value, dict):
        if "rounds" in value and "median" in value:
            yield value
        else:
            for part in value.values():
                yield from spreads(part)
    elif isinstance(value, list):
        for part in value:
            yield from spreads(part)


def engines(document: Json) -> dict[str, Json]:
    return {" ".join((entry["engine"], entry["precision"], entry["device"])): entry for entry in document["sizes"][0]["engines"]}


def test_the_document_says_what_was_measured_where(document: Json, both: tuple[Run, Path], clip: Path) -> None:
    assert (document["schema"], document["schema_version"], document["stopped"]) == ("streammat-bench", SCHEMA, False)
    assert document["hardware"]["cores"] >= 1
    assert document["hardware"]["cpu"]
    assert document["hardware"]["libraries"]["onnxruntime"]
    assert document["options"]["clip"] == str(clip)
    assert document["options"]["sizes"] == [{"width": 128, "height": 96}]
    assert document["options"]["warm_up_calls"] > 0
    (size,) = document["sizes"]
    assert size["size"] == {"width": 128, "height": 96}
    (network,) = size["network_sizes"]
    assert network["width"] % 32 == network["height"] % 32 == 0
    assert set(engines(document)) == {"onnxruntime fp32 cpu", "onnxruntime int8 cpu"}
    assert both[1].read_text() == both[0].out
    assert names(both[1].parent) == [both[1].name]
    assert any("2 rounds" in warning for warning in document["warnings"])


def test_medians_and_extremes_are_those_of_the_rounds(document: Json) -> None:
    found = list(spreads(document["sizes"]))
    assert len(found) > 50
    for value in found:
        assert len(value["rounds"]) == 2
        assert value["median"] == statistics.median(value["rounds"])
        assert (value["min"], value["max"]) == (min(value["rounds"]), max(value["rounds"]))
        assert value["min"] >= 0


def test_ratios_are_those_of_the_times_of_each_round(document: Json) -> None:
    fastest = document["sizes"][0]["fastest"]
    assert set(fastest) == {"network:1", "network:2", "file"}
    known = engines(document)
    for index, batch in enumerate((1, 2)):
        best = known[fastest[f"network:{batch}"]]["network"][index]
        for entry in known.values():
            row = entry["network"][index]
            assert row["batch"] == batch
            assert row["p50_ms"]["median"] >= best["p50_ms"]["median"]
            ratios = [mine / other for mine, other in zip(row["p50_ms"]["rounds"], best["p50_ms"]["rounds"], strict=True)]
            assert row["ratio"]["rounds"] == pytest.approx(ratios, abs=1e-4)
            assert row["p99_ms"]["min"] >= row["p50_ms"]["min"]
        assert best["ratio"]["rounds"] == [1.0, 1.0]
    best = known[fastest["file"]]["file"]
    codec = document["sizes"][0]["codec"]
    for entry in known.values():
        whole = entry["file"]
        ratios = [other / mine for mine, other in zip(whole["fps"]["rounds"], best["fps"]["rounds"], strict=True)]
        assert whole["ratio"]["rounds"] == pytest.approx(ratios, rel=1e-3)
        parts = zip(codec["decode_cpu_ms"]["rounds"], codec["encode_cpu_ms"]["rounds"], entry["network"][0]["cpu_ms"]["rounds"], strict=True)
        overheads = [cpu / sum(part) for cpu, part in zip(whole["cpu_ms"]["rounds"], parts, strict=True)]
        assert whole["overhead"]["rounds"] == pytest.approx(overheads, rel=1e-3)


def test_every_figure_of_an_engine_is_there(document: Json) -> None:
    for name, entry in engines(document).items():
        assert entry["start_up_s"]["min"] > 0, name
        assert entry["memory_bytes"]["min"] >= 0, name  # in processes of their own: see test_ctrl_c_tells_what_was_measured
        assert entry["file"]["memory_bytes"]["min"] >= 0, name
        assert entry["threads"] == 1
        assert (entry["live"]["camera_fps"], entry["flooded"]["camera_fps"]) == (25.0, 100.0)
        for kind in ("live", "flooded"):
            live = entry[kind]
            assert all(came > lost for came, lost in zip(live["captured"]["rounds"], live["dropped"]["rounds"], strict=True))
            assert live["fps"]["min"] > 0
            assert live["faults"]["max"] == 0
            assert live["p99_ms"]["min"] >= live["p50_ms"]["min"] > 0
            assert live["within_33_ms"]["max"] <= 1
        assert entry["device_bytes"] is None


def test_differences_are_to_float32(document: Json) -> None:
    assert "fp32" in document["sizes"][0]["reference"]
    assert document["sizes"][0]["pictures"] == 4
    known = engines(document)
    assert known["onnxruntime fp32 cpu"]["difference_max"] == 0
    quantized = known["onnxruntime int8 cpu"]
    assert 0 < quantized["difference_mean"] <= quantized["difference_max"] <= 1


def test_the_best_quality_is_measured_with_all_its_passes(clip: Path, here: None) -> None:
    few = (clip, "--size", "640x480", "--frames", "2", "--rounds", "1", "--live", "0", "--engine", "onnxruntime", "--precision", "fp32", "--threads", "1")
    report = call("bench", *few, "--quality", "best", "--json", "--quiet").ok().report
    assert len(report["sizes"][0]["network_sizes"]) == 2
    # The reference looks twice too.
    assert report["sizes"][0]["engines"][0]["difference_max"] == 0


def test_people_are_told_the_same(clip: Path, here: None) -> None:
    done = bench(clip, "--engine", "onnxruntime", "--precision", "fp32", "--rounds", "1", "--live", "0.4").ok()
    for word in ("128x96", "onnxruntime fp32 cpu", "network alone", "file to file", "live, 25 fps", "live, 100 fps", "ratio: ", "from fp32: "):
        assert word in done.out, word
    assert "1 round:" in done.err
    assert "[1/6]" in done.err


def test_all_engines_are_measured_or_listed_with_the_reason(clip: Path, monkeypatch: pytest.MonkeyPatch, here: None) -> None:
    found = backends.find_spec
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name in ("openvino", "torch") else found(name))
    report = bench(clip, "--engine", "all", "--rounds", "1", "--live", "0", "--json", "--quiet", "--device", "cpu").ok().report
    refused = {entry["engine"]: entry for entry in report["not_run"]}
    measured = {entry["engine"] for entry in report["sizes"][0]["engines"]}
    assert measured | set(refused) == set(BACKENDS)
    assert "onnxruntime" in measured
    assert "pip install" in refused["openvino"]["reason"]
    assert "is not installed" in refused["cuda"]["reason"]
    assert not any(entry["asked"] for entry in refused.values())
    assert report["sizes"][0]["engines"][0]["live"] is None


@pytest.mark.slow
def test_what_breaks_when_it_is_opened_is_listed_and_the_rest_measured(clip: Path, tmp_path: Path) -> None:
    """A plain .onnx file has no int8; that shows only when the engine is opened, in another process."""
    from streammat.engines.shipped import shipped

    plain = tmp_path / "plain.onnx"
    shutil.copy(shipped().fp32, plain)
    few = (clip, "--engine", "onnxruntime", "--rounds", "2", "--live", "0", "--json", "--quiet", "--device", "cpu", "--model", plain)
    report = bench(*few, "--precision", "all").ok().report
    assert set(engines(report)) == {"onnxruntime fp32 cpu"}
    (refused,) = report["not_run"]
    assert (refused["precision"], refused["size"], refused["asked"]) == ("int8", {"width": 128, "height": 96}, False)
    assert "no int8 file" in refused["reason"]
    # Asked for by name it is a failure, after everything else has been told.
    done = bench(*few, "--precision", "fp32", "--precision", "int8")
    done.refused(1, "int8", "no int8 file")
    assert set(engines(json.loads(done.out))) == {"onnxruntime fp32 cpu"}
    # Where nothing is left there is nothing to tell.
    alone = bench(*few, "--precision", "int8")
    alone.refused(1, "no int8 file")
    assert set(alone.report) == {"error"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--size", "nonsense"], 2, ["expected WIDTHxHEIGHT"]),
        (["--size", "129x96"], 2, ["129x96", "even sides"]),
        (["--size", "32x32"], 2, ["at least 64"]),
        (["--bg", "transparent"], 2, ["transparent"]),
        (["--bg", "nosuch.jpg"], 1, ["nosuch.jpg"]),
        (["--model", "nosuch"], 2, ["no model is named"]),
        (["--device", "nosuch"], 1, ["unknown device"]),
        (["--engine", "onnxruntime", "--device", "nosuch"], 1, ["unknown device"]),
        (["--engine", "onnxruntime", "--precision", "bf16", "--device", "cpu"], 1, ["no bf16", "fp32, int8"]),
        (["nosuch.mp4"], 1, ["nosuch.mp4", "no such file"]),
        (["--out", "."], 1, ["--out .", "is a folder"]),
        (["--out", "nosuch/here.json"], 1, ["nosuch/here.json", "no folder nosuch", "make it"]),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_measured(arguments: list[str], code: int, words: list[str]) -> None:
    done = bench(*arguments)
    done.refused(code, *words)
    assert done.out == ""


def test_an_unknown_engine_is_refused_with_those_that_are_known() -> None:
    done = bench("--engine", "nosuch")
    assert done.code == 2
    assert all(name in done.err for name in ("all", "auto", *BACKENDS))


def test_an_engine_by_name_that_is_not_installed_is_an_error_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(BACKENDS["openvino"], needs=("no_such_module",))
    monkeypatch.setitem(backends.BACKENDS, "openvino", missing)  # type: ignore[arg-type]
    bench("--engine", "onnxruntime", "--engine", "openvino").refused(1, "openvino", "pip install")


def test_a_broken_clip_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing that can be played" * 50)
    (tmp_path / "kept.json").write_text("kept")
    monkeypatch.chdir(tmp_path)
    bench(broken, "--out", "kept.json").refused(1, "broken.mp4")
    assert (tmp_path / "kept.json").read_text() == "kept"
    assert names(tmp_path) == ["broken.mp4", "kept.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_tells_what_was_measured(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "here.json"
    arguments = (clip, *SMALL, "--engine", "onnxruntime", "--rounds", "500", "--live", "0", "--json", "--out", target)
    with spawn("bench", *arguments) as process:
        assert process.stderr is not None
        line = ""
        for line in process.stderr:
            if re.search(r"round ([2-9]|\d\d+)/500", line):
                break
        assert "round" in line
        ours = psutil.Process(process.pid)
        wait_for(lambda: bool(ours.children(recursive=True)))
        children = ours.children(recursive=True)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    report = json.loads(out)
    assert report["stopped"]
    assert json.loads(target.read_text()) == report
    (entry,) = report["sizes"][0]["engines"]
    assert 1 <= len(entry["file"]["fps"]["rounds"]) <= len(entry["network"][0]["p50_ms"]["rounds"]) < 500
    assert entry["memory_bytes"]["min"] > 1e6
    assert entry["file"]["memory_bytes"]["min"] > 1e6
    assert any("stopped early" in warning for warning in report["warnings"])
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_a_child_that_dies_is_told_in_one_line() -> None:
    runner = ChildRunner()
    with pytest.raises(ChildError, match=r"ended with code 1: KeyError: 'no such job'") as caught:
        runner.ask("no such job")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to die of")
def test_a_child_that_is_killed_and_one_that_is_stopped() -> None:
    others = set(psutil.Process().children())  # such as multiprocessing's own

    def children() -> set[psutil.Process]:
        return set(psutil.Process().children()) - others

    def when_it_runs(act: Any) -> threading.Thread:
        def body() -> None:
            wait_for(lambda: bool(children()))
            act()

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    job: Json = {"matting": {}, "clip": "nosuch", "target": "nosuch", "background": "green"}

    def kill() -> None:
        children().pop().kill()

    killer = when_it_runs(kill)
    with pytest.raises(ChildError, match="SIGKILL.*out of memory"):
        ChildRunner().ask("file", **job)
    killer.join()
    runner = ChildRunner()
    stopper = when_it_runs(runner.stop)
    with pytest.raises(Stopped):
        runner.ask("file", **job)
    stopper.join()
    with pytest.raises(Stopped):
        runner.ask("file", **job)


def test_memory_is_that_of_the_process_alone() -> None:
    """The peak grows by what is held, and a child does not begin with its parent's."""
    code = """
import subprocess, sys
from streammat.bench.machine import peak_memory
before = peak_memory()
held = bytearray(b"x") * (200 << 20)
child = subprocess.run([sys.executable, "-c", "from streammat.bench.machine import peak_memory; print(peak_memory())"], capture_output=True, check=True)
print(before, peak_memory(), int(child.stdout))
"""
    before, after, child = map(int, python(code).split())
    assert after - before >= 200 << 20
    assert child < before + (100 << 20)


# -- what cannot be had here: a GPU's shares, rounds that are missing ---------------------------------------------


def answer(p50: float, fps: float) -> Json:
    spec = {"version": "1", "threads": 0, "reason": "a test"}
    row = {"batch": 1, "p50_ms": p50, "p99_ms": 2 * p50, "cpu_ms": 1.0, "fps": fps}
    return {
        "batches": [row], "spec": spec, "start_up_s": 1.0, "memory_bytes": 5, "device_bytes": 7, "mean": 0.1, "max": 0.2,
    }


def test_rounds_that_are_missing_do_not_shift_ratios() -> None:
    """Stopped in the second round: the slow engine has one less, and is compared with the fast one's first."""
    fast, slow = Variant("openvino", "int8", "cpu"), Variant("onnxruntime", "fp32", "cpu")
    answers: Any = {
        slow: {"network": [answer(30.0, 1.0)]},
        fast: {"network": [answer(10.0, 1.0), answer(5.0, 1.0)]},
        Variant("cuda", "fp16", "cuda:0"): {},
    }
    result = size_result((96, 128), [(192, 256)], {"reference": None, "pictures": 4}, answers, [])
    assert result.fastest == {"network:1": "openvino int8 cpu"}
    assert [engine.network[0].ratio.rounds for engine in result.engines] == [(3.0,), (1.0, 1.0)]
    assert result.codec is result.engines[0].file is result.engines[0].live is None


# -- the clip -----------------------------------------------------------------------------------------------------


def test_a_hastened_clip_has_the_same_images_sooner(clip: Path, tmp_path: Path) -> None:
    quick = tmp_path / "quick.mp4"
    speed_up(clip, quick, 4)
    assert rate_of(str(clip)) == 25
    assert rate_of(str(quick)) == 100
    assert rate_of(None) == 30
    slow, fast = probe(clip), probe(quick)
    assert fast.frames == slow.frames == 6
    with av.open(str(quick)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0) if frame.pts is not None]
    assert [time - times[0] for time in times] == [Fraction(index, 100) for index in range(6)]


# -- the tables ---------------------------------------------------------------------------------------------------


def tables(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False)


def test_tables_are_made_of_the_document_between_the_page_s_markers(both: tuple[Run, Path], document: Json, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shutil.copy(REPOSITORY / "docs" / "performance.md", page)
    before = page.read_text()
    assert tables(both[1], "--page", page).returncode == 0
    once = page.read_text()
    for word in (document["hardware"]["cpu"], "128x96", "onnxruntime int8 cpu, batch 2", "**Warning:**"):
        assert word in once, word
    for entry in document["sizes"][0]["engines"]:
        assert f"{entry['file']['fps']['median']:.1f} (" in once
    widths = {line.count("|") for block in re.findall(r"(?:^\|.*\n)+", once.partition("## Tables")[2], re.MULTILINE) for line in block.splitlines()[:1]}
    assert widths == {9, 11}
    assert once.startswith(before.partition("<!-- tables")[0])
    # Again, and with two: the old ones are gone.
    assert tables(both[1], "--page", page).returncode == 0
    assert page.read_text() == once
    assert tables(both[1], both[1], "--page", page).returncode == 0
    assert page.read_text().count("### lite on") == 2


def test_tables_are_made_of_nothing_else(both: tuple[Run, Path], tmp_path: Path) -> None:
    other, page = tmp_path / "other.json", tmp_path / "page.md"
    page.write_text("no place\n")
    for content in ("[]", "{", '{"schema": "another", "schema_version": 1}'):
        other.write_text(content)
        done = tables(other, "--page", page)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "other.json" in done.stderr
    done = tables(both[1], "--page", page)
    assert (done.returncode, page.read_text()) == (1, "no place\n")
    assert "no place for tables" in done.stderr
